"""What is known about a gameplan once it has been looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestration.errors import FallbackWord


class GameplanError(Exception):
    """A plan that cannot be used.

    Attributes:
        word: The fallback word that names why.
        message: One sentence: which file, and what is wrong with it.
        problems: Every problem with its place, where the file could be read as JSON.
        is_unsettled: The file changed while it was read: another look may find it whole.
    """

    def __init__(
        self, word: FallbackWord, message: str, *, problems: tuple[str, ...] = (), is_unsettled: bool = False
    ) -> None:
        super().__init__(word, message)
        self.word = word
        self.message = message
        self.problems = problems
        self.is_unsettled = is_unsettled

    def __str__(self) -> str:
        return f"{self.word}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class GameplanVerdict:
    """The judgement on one gameplan file.

    Attributes:
        word: Why it may not be used; None for a valid plan.
        message: One sentence that names the file and the cause.
        problems: Every problem with its place, for example `hard_limits.max_daily_loss_pct: 1.7 is greater than the
            maximum of 1`; empty for a valid plan.
        warnings: What is allowed but worth a look.
        is_information: Out of date at a weekend: expected, and no reason for a warning.
        path: The file, absolute; None where none is configured.
        content: Exactly the bytes that were judged; None where they could not be read.
        sha256: Their SHA-256 in hexadecimal.
        plan: The plan, once it satisfies the schema (also when it is out of date or quarantined); None otherwise.
    """

    word: FallbackWord | None
    message: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_information: bool = False
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    sha256: str | None = None
    plan: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def is_valid(self) -> bool:
        """Whether the plan may be activated."""
        return self.word is None and self.plan is not None and self.content is not None

    @property
    def strategy(self) -> str | None:
        """`A`, `B` or `C` as the plan says; None where the plan does not satisfy the schema."""
        return None if self.plan is None else str(self.plan["strategy"])

    @property
    def date(self) -> str | None:
        """The plan's date, `YYYY-MM-DD`; None where the plan does not satisfy the schema."""
        return None if self.plan is None else str(self.plan["date"])
