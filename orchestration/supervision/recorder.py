"""What a watcher writes down of its looks, so that `inv report` can say what was up, and when no watcher looked."""

from dataclasses import replace
from datetime import datetime

from orchestration.bot.record import BotRecord
from orchestration.bot.state import BotState
from orchestration.gateway.api_status import ApiState, ApiStatus
from orchestration.gateway.readiness import Sight
from orchestration.journal import FULL_LOGIN_SEEN, Journal, Sighting
from orchestration.supervision import Decision, Observation
from orchestration.system.clock import Clock

_LATE_LOOKS = 3  # a look that is later than so many intervals says nothing of the time before it
_LATE_MARGIN_S = 5.0
_DAY_S = 86400.0  # a report of any day then finds it


class WatchRecorder:
    """Writes down the looks of one watcher.

    Args:
        journal: Where.
        run_id: The run that it belongs to.
        watcher: `supervisor` or `monitor`.
        interval_s: How often it looks at the least.
        clock: Tells the time.
    """

    def __init__(self, journal: Journal, *, run_id: str, watcher: str, interval_s: float, clock: Clock) -> None:
        self._journal = journal
        self._run_id = run_id
        self._watcher = watcher
        self._most_gap_s = _LATE_LOOKS * interval_s + _LATE_MARGIN_S
        self._clock = clock
        self._last: Sighting | None = None
        self._answered_s = float("-inf")
        self._full_login_at: datetime | None = None
        self._full_login_noted_s = float("-inf")

    @property
    def most_gap_s(self) -> float:
        """Within how many seconds of a look the next one comes, unless something holds the watcher up."""
        return self._most_gap_s

    def begin(self, *, pid: int) -> None:
        """The watch begins."""
        self._journal.add_event(self._run_id, "watch_began", {"watcher": self._watcher, "pid": pid})

    def note(self, observation: Observation, decision: Decision, kept: ApiStatus) -> None:
        """A look was taken and judged."""
        self._note(
            Sighting(
                run_id=self._run_id,
                watcher=self._watcher,
                gateway=_name_gateway(observation, decision),
                bot=name_bot(observation.bot),
                bot_key=observation.bot.key if observation.bot.is_running else "",
                excuse=_name_excuse(observation),
                latency_ms=self._take_latency(kept),
            )
        )

    def note_full_login(self, full_login_at: datetime | None) -> None:
        """The gateway's last full login as it is known now; written down when it changes, and once a day."""
        now_s = self._clock.monotonic_s()
        is_known = full_login_at == self._full_login_at and now_s - self._full_login_noted_s < _DAY_S
        if full_login_at is None or is_known:
            return
        self._full_login_at, self._full_login_noted_s = full_login_at, now_s
        self._journal.add_event(
            self._run_id, FULL_LOGIN_SEEN, {"watcher": self._watcher, "at": full_login_at.isoformat()}
        )

    def note_bot_stopped(self) -> None:
        """The bot was stopped on purpose: it does not count as running until the next look."""
        if self._last is not None:
            self._note(
                Sighting(
                    run_id=self._run_id,
                    watcher=self._watcher,
                    gateway=self._last.gateway,
                    bot="stopped" if self._last.bot == "running" else self._last.bot,
                    excuse=self._last.excuse,
                )
            )

    def note_bot_started(self, record: BotRecord) -> None:
        """A bot was started, and the gateway validated for it."""
        if self._last is not None:
            self._note(
                Sighting(
                    run_id=self._run_id,
                    watcher=self._watcher,
                    gateway=Sight.READY.value,
                    bot="running",
                    bot_key=f"{record.pid}:{record.birth}",
                    excuse=self._last.excuse,
                )
            )

    def end(self, *, exit_code: int, ended_by: str) -> None:
        """The watch ends.

        Args:
            exit_code: What the watcher ends with.
            ended_by: The signal that asked for it; empty where none did.
        """
        if self._last is not None:
            self._note(replace(self._last, latency_ms=None))
        detail = {"watcher": self._watcher, "exit_code": exit_code, "ended_by": ended_by}
        self._journal.add_event(self._run_id, "watch_ended", detail)

    def _note(self, sighting: Sighting) -> None:
        self._last = sighting
        self._journal.note_sighting(sighting, most_gap_s=self._most_gap_s)

    def _take_latency(self, kept: ApiStatus) -> float | None:
        """The last round trip, unless it was written down already."""
        if kept.state is not ApiState.READY or kept.last_answer_age_s is None:
            return None
        answered_s = self._clock.monotonic_s() - kept.last_answer_age_s
        is_new = answered_s > self._answered_s + 0.01  # the age is counted again at each look
        self._answered_s = max(answered_s, self._answered_s)
        return kept.latency_ms if is_new else None


def _name_gateway(observation: Observation, decision: Decision) -> str:
    """What the look amounts to. An engine that does not answer takes nothing from a gateway that does."""
    if decision.sight is Sight.ENGINE_GONE and observation.api.is_identified and not observation.api.is_link_down:
        return Sight.READY.value
    return decision.sight.value


def name_bot(bot: BotState) -> str:
    """`running`, `stopped` (on purpose), `finished` (by itself, with 0) or `ended` (unplanned)."""
    if bot.is_running:
        return "running"
    if bot.is_stopping or bot.is_withheld:
        return "stopped"
    return "finished" if bot.is_finished else "ended"


def _name_excuse(observation: Observation) -> str:
    if observation.in_reset_window:
        return "broker_reset"
    return "gateway_restart" if observation.in_restart_window else ""
