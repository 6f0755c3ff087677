"""A runtime whose gateway other instances may use too: acting on it takes its lock, and is recorded.

A start that finds another one at it waits, and then finds the gateway running. A restart is about one start: who comes
second finds a newer one, and leaves it alone. What the operator stopped, and what was stopped because the broker
refuses the password, no process brings back on its own.

Right before anything is started or restarted, the locks are looked at once more: the gateway's, and those of the run.
"""

from collections.abc import Callable

from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.history import (
    RESTART_SPACING_S,
    GatewayHistory,
    GatewayUser,
    Left,
    Spared,
    StopReason,
    is_in_effect,
)
from orchestration.gateway.runtime import FindUsers, OnText, OwnRuntime, RestartKind, Start, require_no_locks
from orchestration.gateway.shared_state import GatewayBusy, SharedGatewayState
from orchestration.system.clock import Clock
from orchestration.system.lock import HeldLock

_SUPERVISORS_PATIENCE_S = 20.0


def _show_nothing(text: str) -> None:
    del text


class SharedRuntime:
    """See `runtime.Runtime`.

    Args:
        own: What runs the gateway.
        shared_state: What was done to it.
        clock: Tells the time.
        find_users: Who else uses it now.
        require_locks: Raises `ALREADY_STARTING` where the caller's locks no longer count.
    """

    can_control = True

    def __init__(
        self,
        own: OwnRuntime,
        shared_state: SharedGatewayState,
        *,
        clock: Clock,
        find_users: FindUsers,
        require_locks: Callable[[], None] = require_no_locks,
    ) -> None:
        self._own = own
        self._shared_state = shared_state
        self._clock = clock
        self._find_users = find_users
        self._require_locks = require_locks
        self.kind = own.kind
        self.container_name = own.container_name
        self.has_events = own.has_events
        # What only looks is the runtime's own.
        self.build_record = own.build_record
        self.probe_engine = own.probe_engine
        self.wait_for_engine = own.wait_for_engine
        self.probe = own.probe
        self.find_drift = own.find_drift
        self.read_log = own.read_log
        self.follow_log = own.follow_log
        self.read_launcher_log = own.read_launcher_log
        self.watch = own.watch

    def find_users(self) -> tuple[GatewayUser, ...]:
        """See `Runtime.find_users`."""
        return self._find_users(self._own.build_record())

    def read_history(self, status: GatewayStatus | None) -> GatewayHistory:
        """See `Runtime.read_history`."""
        history = self._shared_state.read()
        stop = history.stop if status is not None and is_in_effect(history.stop, status) else None
        is_under_way = bool(history.restarts) and self._shared_state.is_held()
        others = history.list_others(self._shared_state.owner, status, is_under_way=is_under_way)
        return GatewayHistory(restarts=others, stop=stop)

    def ensure_started(self, *, on_progress: OnText) -> bool:
        """See `Runtime.ensure_started`."""
        with self._shared_state.hold("start", on_progress) as held:
            self._refuse_after_rejection()
            self._require(held)

            def show(text: str) -> None:
                # A step of the start is about to be taken, after an image was pulled for minutes perhaps.
                self._require(held)
                on_progress(text)

            is_changed = self._own.ensure_started(on_progress=show)
            if is_changed:
                self._shared_state.note_started()
            return is_changed

    def restart(self, *, is_gentle: bool = True, on_progress: OnText | None = None) -> RestartKind:
        """See `Runtime.restart`."""
        on_progress = on_progress or _show_nothing
        with self._shared_state.hold("restart", on_progress) as held:
            return self._restart(self._own.probe(), held, is_gentle=is_gentle, on_progress=on_progress)

    def restart_lost(
        self,
        about: Start | None,
        *,
        yields: bool,
        on_restart: Callable[[], None],
        on_progress: OnText,
        is_gentle: bool = True,
    ) -> Spared | None:
        """See `Runtime.restart_lost`."""
        try:
            # A supervisor must hear what it is told to do meanwhile, so it does not wait for long.
            patience_s = None if yields else _SUPERVISORS_PATIENCE_S
            with self._shared_state.hold("restart", on_progress, patience_s=patience_s) as held:
                status = self._own.probe()
                spared = self._find_reason_against(about, status, yields=yields)
                if spared is None:
                    on_restart()
                    self._restart(status, held, is_gentle=is_gentle, on_progress=on_progress)
                return spared
        except GatewayBusy as busy:
            return Spared(why=busy.message, is_restarted=True)

    def stop(
        self, *, timeout_s: float, reason: StopReason = StopReason.ASKED, on_progress: OnText = _show_nothing
    ) -> bool:
        """See `Runtime.stop`."""
        is_urgent = reason is StopReason.LOGIN_REJECTED
        with self._shared_state.hold("stop", on_progress, patience_s=_SUPERVISORS_PATIENCE_S if is_urgent else None):
            return self._stop(timeout_s, reason)

    def lift_stop(self) -> None:
        """See `Runtime.lift_stop`."""
        self._shared_state.note_started()

    def stop_unless_used(self, *, timeout_s: float, on_progress: OnText) -> Left:
        """See `Runtime.stop_unless_used`."""
        if users := self.find_users():  # at once, also while one of them is at work on it
            return Left(users=users)
        with self._shared_state.hold("stop", on_progress):
            users = self.find_users()
            return Left(users=users, in_time=bool(users) or self._stop(timeout_s, StopReason.ASKED))

    def _require(self, held: HeldLock | None) -> None:
        self._require_locks()
        if held is not None and not held.is_in_place():
            raise StartupFailure(
                FailureWord.ALREADY_STARTING,
                f"the gateway's lock {held.path} was deleted, replaced or renamed while it was held, so another "
                "instance may be at work on the gateway: it is not touched",
                next_action="Check with `inv status --all` what is running, then start again. Leave the files in "
                "GATEWAY_SHARED_DIR alone while it runs.",
            )

    def _restart(
        self, status: GatewayStatus, held: HeldLock | None, *, is_gentle: bool, on_progress: OnText
    ) -> RestartKind:
        self._require(held)
        self._shared_state.note_restart(status)
        try:
            kind = self._own.restart(is_gentle=is_gentle, on_progress=on_progress)
        except StartupFailure:
            self._shared_state.withdraw_restart()  # it did not come about: the others need not wait for it
            raise
        if kind is RestartKind.SOFT:
            self._shared_state.note_soft_restart()
        return kind

    def _stop(self, timeout_s: float, reason: StopReason) -> bool:
        status = self._own.probe()
        # The first one's word stands: the second finds it stopped.
        if not is_in_effect(self._shared_state.read().stop, status):
            self._shared_state.note_stop(reason, status)
        return self._own.stop(timeout_s=timeout_s)

    def _refuse_after_rejection(self) -> None:
        """Each start would be another login with a password that the broker refuses: only who found it tries again."""
        stop = self._shared_state.read().stop
        if stop is None or stop.reason is not StopReason.LOGIN_REJECTED or stop.owner == self._shared_state.owner:
            return
        if is_in_effect(stop, self._own.probe()):
            raise StartupFailure(
                FailureWord.GATEWAY_LOGIN_FAILED,
                f"the gateway is down: {stop}",
                next_action="Correct TWS_USERID and TWS_PASSWORD (try them on the broker's website first: too many "
                f"tries lock the account), then start instance {stop.by} first, or `inv gateway.restart` here.",
            )

    def _find_reason_against(self, about: Start | None, status: GatewayStatus, *, yields: bool) -> Spared | None:
        history, now_s = self._shared_state.read(), self._clock.monotonic_s()
        if (
            history.stop is not None
            and history.stop.owner != self._shared_state.owner
            and is_in_effect(history.stop, status)
        ):
            is_rejected = history.stop.reason is StopReason.LOGIN_REJECTED
            raise StartupFailure(
                FailureWord.GATEWAY_LOGIN_FAILED if is_rejected else FailureWord.GATEWAY_START_FAILED,
                f"the gateway is down and not brought back: {history.stop}",
                next_action="Fix the cause, then `inv gateway.restart`.",
            )
        others = history.list_others(self._shared_state.owner, status, is_under_way=False)  # we hold the lock
        if others and now_s - others[-1].at_s < RESTART_SPACING_S:
            return Spared(why=f"{others[-1]}; it is not restarted again", is_restarted=True)
        if about is not None and status.is_up and status.start != about:
            return Spared(why="it has just been restarted; it is not restarted again", is_restarted=True)
        users = [user for user in self.find_users() if user.has_bot] if yields and status.is_up else []
        if users:
            used_by = "; ".join(user.detail for user in users)
            return Spared(why=f"it is in use ({used_by}), so this start does not restart it", is_restarted=False)
        return None
