"""The safety rules that hold whatever fault is put into a system, judged from outside it.

`inv soak` and the fault campaign of the test suite give the same verdict, by these rules: each looks at the system in
its own way (for hours, or from its staging to its shutdown), notes what it saw, and has it judged here. Nothing of it
is asked of the program that is judged.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import FailureWord
from orchestration.reports import Criterion

RULE_OF = {
    "one_bot_outside": 2,
    "nothing_left": 3,
    "one_restart_a_run": 3,
    "no_bug": 3,
    "no_secret_outside": 4,
}
"""Which of the five safety rules of the README a criterion belongs to."""

_RESTARTED = "Gateway restart attempted"  # what a start shows and logs, once for each restart
_BUGS = (FailureWord.INTERNAL_ERROR, "Supervision failed")


@dataclass(frozen=True, kw_only=True)
class SystemSeen:
    """What was seen of a system from outside.

    Attributes:
        most_bots: The most bots that ran at once.
        left: The processes that were left after its end.
        most_restarts: The most restarts of the gateway in one start.
        leaks: Where one of its secrets stood.
        bugs: What it said of errors of its own.
    """

    most_bots: int
    left: tuple[str, ...] = ()
    most_restarts: int = 0
    leaks: tuple[str, ...] = ()
    bugs: tuple[str, ...] = ()


def judge_safety(seen: SystemSeen, *, must_have_bot: bool) -> tuple[Criterion, ...]:
    """The criteria, met or not. Pure.

    Args:
        seen: What was seen.
        must_have_bot: Whether a system in which no bot was ever seen breaks a rule, too.
    """
    return (
        Criterion(
            name="one_bot_outside",
            text="Seen from outside, there were never two bots.",
            found=f"{seen.most_bots} at the most",
            is_met=seen.most_bots == 1 or (seen.most_bots == 0 and not must_have_bot),
        ),
        _judge_none("nothing_left", "After the end nothing of the system was left running.", seen.left),
        Criterion(
            name="one_restart_a_run",
            text="No start restarted the gateway more than once.",
            found=f"{seen.most_restarts} at the most",
            is_met=seen.most_restarts <= 1,
        ),
        _judge_none("no_bug", "No alert reported an error of the program itself.", seen.bugs),
        _judge_none(
            "no_secret_outside", "No secret stood in a file, an argument list, an output or an alert.", seen.leaks
        ),
    )


def _judge_none(name: str, text: str, found: tuple[str, ...]) -> Criterion:
    return Criterion(name=name, text=text, found=", ".join(found) or "nothing", is_met=not found)


def find_leaks(secrets: Mapping[str, str], folders: Iterable[Path], texts: Mapping[str, str]) -> tuple[str, ...]:
    """Where secrets stand.

    Args:
        secrets: What must stand nowhere, each by what it is called: the secret itself is not repeated.
        folders: Folders whose files are read whole, at any depth.
        texts: Further texts, each by what it is called.
    """
    found: list[str] = []
    files = list(_read_files(folders))
    for called, secret in secrets.items():
        found += [f"{called} is in {path.name}" for path, content in files if secret.encode() in content]
        found += [f"{called} is in {name}" for name, text in texts.items() if secret in text]
    return tuple(found)


def _read_files(folders: Iterable[Path]) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    yield path, path.read_bytes()


def count_restarts(logs: Path) -> int:
    """The most restarts of the gateway that the log of one start tells of."""
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in logs.rglob("startup_*.log"))
    return max((text.count(_RESTARTED) for text in texts), default=0)


def find_bugs(titles: Iterable[str]) -> tuple[str, ...]:
    """The alerts, by their titles, that tell of an error of the program itself."""
    return tuple(dict.fromkeys(title for title in titles if any(bug in title for bug in _BUGS)))
