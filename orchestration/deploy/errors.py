"""The one exception of this room."""


class DeployError(Exception):
    """It cannot continue; manual action is required. What ran before runs still, unless the message says otherwise.

    Attributes:
        message: One sentence: what was found.
        next_action: The command or setting that fixes it.
        evidence: Lines that show it.
    """

    def __init__(self, message: str, *, next_action: str = "", evidence: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.next_action = next_action
        self.evidence = evidence

    def __str__(self) -> str:
        return self.message
