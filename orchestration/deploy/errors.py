"""The one exception of this room."""

from orchestration.errors import OperationError


class DeployError(OperationError):
    """A deploy cannot continue. What ran before runs still, unless the message says otherwise."""
