"""How often a boot service has failed lately, and whether it is tried again.

Pure counting, and a small file in the state folder that outlives the process and a reboot. Failed starts and unplanned
ends count; ordered stops, reboots and waiting for a second factor do not. What a retry cannot fix ends the tries at
once. A start by hand clears the record.

Times are the wall clock's, for nothing else outlives a reboot. A clock that was set back makes a failure lie in the
future: it is taken for one of now, so that it neither counts for ever nor is forgotten at once.
"""

import contextlib
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from orchestration.errors import FailureWord
from orchestration.settings import Settings
from orchestration.state_dir import attempts_path, read_fields, write_fields
from orchestration.system.clock import describe_instant
from orchestration.system.processes import read_userspace_boot_id

_UNPLANNED_END = "the bot ended, or had to be ended"
# Trying again fixes none of these: the configuration is wrong, or the broker says no.
_FOR_A_PERSON = frozenset(
    {FailureWord.CONFIG_INVALID, FailureWord.GATEWAY_LOGIN_FAILED, FailureWord.GATEWAY_WRONG_ACCOUNT}
)
# It was meant (a hold, a stop), the system runs already, or a phone has not been looked at.
_NOT_COUNTED = frozenset(
    {
        FailureWord.HELD,
        FailureWord.ALREADY_STARTING,
        FailureWord.BOT_ALREADY_RUNNING,
        FailureWord.INTERRUPTED,
        FailureWord.GATEWAY_SECOND_FACTOR,
    }
)


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """What is on record.

    Attributes:
        failed_at: When starts failed and bots ended, oldest first, aware, ISO 8601. Once there are enough to give up,
            none is added.
        given_up: Why there are no more tries, as a sentence; empty while there are.
        given_up_at: Since when there are no more tries; empty while there are.
        word: The failure word of the last failure; empty for a bot's unplanned end.
        boot_id: The boot of the service manager in which the last try was made or refused; empty where that is unknown.
    """

    failed_at: tuple[str, ...] = ()
    given_up: str = ""
    given_up_at: str = ""
    word: str = ""
    boot_id: str = ""

    @property
    def has_given_up(self) -> bool:
        """Whether only a start by hand begins again."""
        return bool(self.given_up)

    @property
    def given_up_since(self) -> str:
        """Since when, for people, in the host's own time zone."""
        try:
            return describe_instant(datetime.fromisoformat(self.given_up_at))
        except ValueError:
            return "an unknown time"


NONE = Attempts()


@dataclass(frozen=True, kw_only=True)
class CountedFailure:
    """What follows from a failure.

    Attributes:
        gives_up: Whether the supervisor is to end with 78.
        is_news: Whether that is to be told: it is said once.
        reason: Why, as a sentence; empty if it goes on.
        failures: How many failures count now.
    """

    gives_up: bool
    is_news: bool = False
    reason: str = ""
    failures: int = 0


def count_failure(
    attempts: Attempts, word: FailureWord | None, *, now: datetime, most: int, window_s: float
) -> tuple[Attempts, CountedFailure]:
    """Count one failure. Pure.

    Args:
        attempts: What is on record.
        word: Why the start failed; None for a bot's unplanned end.
        now: The wall clock's time, aware.
        most: How many failures within the window end the tries.
        window_s: For how long a failure counts, in seconds.
    """
    kept = _drop_old(attempts.failed_at, now, window_s)
    if attempts.has_given_up:
        return attempts, CountedFailure(gives_up=True, reason=attempts.given_up, failures=len(kept))
    if word in _NOT_COUNTED:
        return replace(attempts, failed_at=kept), CountedFailure(gives_up=False, failures=len(kept))
    failed_at = (*kept, now.isoformat())
    reason = ""
    if word in _FOR_A_PERSON:
        reason = f"{word}: trying again does not fix it"
    elif len(failed_at) >= most:
        reason = f"{len(failed_at)} failures within {_render(window_s)}, the last one: {word or _UNPLANNED_END}"
    attempts = Attempts(
        failed_at=failed_at, given_up=reason, given_up_at=now.isoformat() if reason else "", word=word or ""
    )
    return attempts, CountedFailure(gives_up=bool(reason), is_news=bool(reason), reason=reason, failures=len(failed_at))


def give_up(attempts: Attempts, reason: str, *, now: datetime) -> tuple[Attempts, CountedFailure]:
    """Try no more, as something that a retry cannot fix was found while the system ran. Pure."""
    if attempts.has_given_up:
        return attempts, CountedFailure(gives_up=True, reason=attempts.given_up, failures=len(attempts.failed_at))
    attempts = replace(attempts, given_up=reason, given_up_at=now.isoformat())
    return attempts, CountedFailure(gives_up=True, is_news=True, reason=reason, failures=len(attempts.failed_at))


def _drop_old(failed_at: tuple[str, ...], now: datetime, window_s: float) -> tuple[str, ...]:
    instants = (min(datetime.fromisoformat(one), now) for one in failed_at)
    return tuple(one.isoformat() for one in sorted(instants) if now - one < timedelta(seconds=window_s))


def _render(window_s: float) -> str:
    minutes = window_s / 60
    return f"{minutes:.0f} minutes" if minutes >= 1 else f"{window_s:.0f} s"


def note_failed_start(settings: Settings, word: FailureWord | None, *, now: datetime) -> CountedFailure:
    """Write down that a start has failed. Where that cannot be written there are no more tries: nothing is for ever."""
    return _note(settings, word or FailureWord.INTERNAL_ERROR, now=now)


def note_unplanned_end(settings: Settings, *, now: datetime) -> CountedFailure:
    """Write down that the bot has ended, and was not asked to."""
    return _note(settings, None, now=now)


def note_given_up(settings: Settings, reason: str, *, now: datetime) -> CountedFailure:
    """Write down that manual action is required."""
    attempts, outcome = give_up(read(settings.state_dir), reason, now=now)
    return _write(settings.state_dir, attempts, outcome)


def _note(settings: Settings, word: FailureWord | None, *, now: datetime) -> CountedFailure:
    attempts, outcome = count_failure(
        read(settings.state_dir),
        word,
        now=now,
        most=settings.startup_max_attempts,
        window_s=settings.startup_attempt_window_s,
    )
    return _write(settings.state_dir, attempts, outcome)


def begins_by_hand(settings: Settings, attempts: Attempts, *, boot_id: str) -> bool:
    """Whether this start of a boot service that has given up was requested by hand. Records that it was tried.

    systemd starts the service once in a boot, and not again after 78. So a second start in the same boot was
    requested by hand (`systemctl start`) and is done. A repeating trigger of Windows looks the same as one by hand.

    Args:
        settings: The configuration; its environment says whether systemd is who starts.
        attempts: What is on record, given up.
        boot_id: This boot of the service manager.
    """
    if not settings.environ.get("NOTIFY_SOCKET") or not boot_id:
        return False
    if attempts.boot_id == boot_id:
        return True
    _write(settings.state_dir, replace(attempts, boot_id=boot_id), CountedFailure(gives_up=True))
    return False


def _write(state_dir: Path, attempts: Attempts, outcome: CountedFailure) -> CountedFailure:
    try:
        write_fields(attempts_path(state_dir), asdict(replace(attempts, boot_id=read_userspace_boot_id())))
    except OSError as error:
        if outcome.gives_up:
            return outcome
        # What cannot be counted could be tried for ever.
        reason = f"failures cannot be counted: {attempts_path(state_dir)} cannot be written ({error.strerror or error})"
        return replace(outcome, gives_up=True, is_news=True, reason=reason)
    return outcome


def read(state_dir: Path) -> Attempts:
    """What is on record; nothing where there is no record, or none that can be understood."""
    try:
        fields = read_fields(attempts_path(state_dir))
        failed_at = tuple(str(one) for one in fields["failed_at"])
        if any(datetime.fromisoformat(one).tzinfo is None for one in failed_at):
            return NONE
        return Attempts(
            failed_at=failed_at,
            given_up=str(fields["given_up"]),
            given_up_at=str(fields["given_up_at"]),
            word=str(fields.get("word", "")),  # an earlier release wrote neither
            boot_id=str(fields.get("boot_id", "")),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return NONE


def clear(state_dir: Path) -> bool:
    """Forget it all: the operator has started the system. Returns whether there was anything.

    A record that cannot be removed stays; a start that failed for it would help no one.
    """
    had = read(state_dir) != NONE
    with contextlib.suppress(OSError):
        (attempts_path(state_dir)).unlink()
    return had
