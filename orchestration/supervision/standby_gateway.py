"""The gateway of a host that stands by with STANDBY_GATEWAY=hot: kept up and logged in, under a user name of its own.

A take-over then needs no login. It is kept by a thread, so that nothing of it, an image that is pulled or a second
factor that is not confirmed, delays the take-over: the start of the bot finds the gateway as it is by then.
"""

import logging
import threading
from collections.abc import Callable

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.api import probe_api
from orchestration.gateway.record import read_record, write_record
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.gateway.wait import WaitEvent, check_ready_now, wait_until_ready
from orchestration.hold import read_hold
from orchestration.lease.term import Holder
from orchestration.preflight.engine import refuse_without_credentials
from orchestration.preflight.instances import build_find_users, sign_up
from orchestration.preflight.lease import refuse_policy
from orchestration.settings import Settings, StandbyGateway
from orchestration.startup.wait_events import classify_event
from orchestration.supervision.standby_alerts import StandbyAlerts
from orchestration.system.clock import Clock
from orchestration.system.commands import SystemCommands
from orchestration.system.platform import platform

_JOIN_TIMEOUT_S = 30.0
_TRY_AGAIN_S = 300.0
_TRY_AGAIN_WITH_A_PERSON_S = 3600.0
# Each try asks a person for a second factor.
_NEEDS_A_PERSON = frozenset({FailureWord.GATEWAY_SECOND_FACTOR})
# Each try would be another login with a password that the broker refuses; the account is locked after some.
_IS_FINAL = frozenset({FailureWord.GATEWAY_LOGIN_FAILED, FailureWord.CONFIG_INVALID})


def find_reason_for_cold(settings: Settings, leader: Holder | None, own_login: str) -> str:
    """Why the gateway of a host that stands by is to be logged out; empty where it may be kept up.

    Args:
        settings: The configuration.
        leader: The other host that leads; None where none does, and nothing is started.
        own_login: The fingerprint of this host's user name; empty where it is not known.
    """
    if settings.standby_gateway is not StandbyGateway.HOT:
        return "STANDBY_GATEWAY is cold"
    if read_hold(settings.state_dir) is not None:
        return "this host is held"
    if leader is None:
        return "no other host leads"
    if not leader.login or not own_login:
        return f"unknown whether {leader.host} logs in with another user name (TWS_USERID)"
    if leader.login == own_login:
        return f"{leader.host} logs in with the same user name: a hot standby needs one of its own (TWS_USERID)"
    return ""


class _NotWantedError(StartupFailure):
    """The host leads now, or may not have a gateway any more."""

    def __init__(self) -> None:
        super().__init__(FailureWord.INTERRUPTED, "the gateway is not kept up any longer", next_action="Nothing to do.")


class HotGateway:
    """Keeps the gateway up while it is wanted. Its methods may be called from any thread, and return soon.

    Args:
        settings: The configuration.
        clock: Tells the time.
        log: The log.
        alerts: Tells the operator.
        on_state: Told how the gateway is, in a few words; empty while it is not kept up.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        log: logging.Logger,
        alerts: StandbyAlerts,
        on_state: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._alerts = alerts
        self._on_state = on_state
        self._wake = threading.Event()
        self._at_rest = threading.Event()
        self._is_wanted = False
        self._is_over = False
        self._failed: FailureWord | None = None
        self._tries_again_s = 0.0
        self._state = ""
        self._thread = platform().start_thread(self._run, name="hot gateway")

    def keep_up(self) -> None:
        """From now on it is kept up."""
        if not self._is_wanted:
            self._is_wanted = True
            self._wake.set()

    def let_go(self) -> bool:
        """It is not acted upon any more. Returns whether that is so already; what is under way ends soon."""
        if self._is_wanted:
            self._is_wanted = False
            self._at_rest.clear()
            self._wake.set()
            self._at_rest.wait(self._settings.health_check_timeout_s)
        return self._at_rest.is_set()

    def close(self) -> None:
        """End the thread; the gateway is left as it is."""
        self._is_wanted, self._is_over = False, True
        self._wake.set()
        self._thread.join(_JOIN_TIMEOUT_S)

    def _run(self) -> None:
        while not self._is_over:
            self._wake.clear()
            if self._is_wanted:
                self._at_rest.clear()
                try:
                    self._look_after()
                except _NotWantedError:
                    self._log.info("the gateway is not kept up any longer")
                except Exception as error:  # noqa: BLE001 - the thread's boundary: the take-over must not depend on it
                    self._log.exception("the thread that keeps the gateway up failed")
                    self._say(f"unknown: {type(error).__name__}")
            if not self._is_wanted:
                self._say("")
                self._at_rest.set()
            self._clock.wait(self._wake, self._settings.monitor_interval_s)

    def _look_after(self) -> None:
        runtime = self._build_runtime()
        if self._failed is not None and self._clock.monotonic_s() < self._tries_again_s:
            self._look_again(runtime)
            return
        try:
            self._ensure_ready(runtime)
        except _NotWantedError:
            raise
        except StartupFailure as failure:
            self._note_failure(failure)
        else:
            self._note_ready()

    def _look_again(self, runtime: Runtime) -> None:
        """A person may have confirmed the login meanwhile; nothing is started or restarted for now."""
        try:
            check_ready_now(runtime, self._settings, clock=self._clock, probe=probe_api)
        except StartupFailure:
            return
        self._note_ready()

    def _ensure_ready(self, runtime: Runtime) -> None:
        settings = self._settings
        status = runtime.probe()
        refuse_without_credentials(settings, status)
        if any(one.name == "EXISTING_SESSION_DETECTED_ACTION" for one in runtime.find_drift(status)):
            raise StartupFailure(
                FailureWord.CONFIG_INVALID,
                "the gateway's container was made without EXISTING_SESSION_DETECTED_ACTION=secondary",
                next_action=f"Remove it (`docker rm -f {runtime.container_name}`): it is made again within minutes.",
            )
        if not status.is_up:
            self._say("starting")
        runtime.ensure_started(on_progress=self._show)
        write_record(settings.state_dir, runtime.build_record())
        sign_up(settings, runtime.build_record())
        refuse_policy(settings, SystemCommands())
        wait_until_ready(
            runtime,
            settings,
            clock=self._clock,
            probe=probe_api,
            on_event=self._tell_event,
            on_progress=lambda _elapsed_s, _left_s, text: self._show(text),
        )

    def _build_runtime(self) -> Runtime:
        return build_runtime(
            self._settings,
            commands=SystemCommands(),
            clock=self._clock,
            record=read_record(self._settings.state_dir),
            find_users=build_find_users(self._settings),
            require_locks=self._require_wanted,
        )

    def _require_wanted(self) -> None:
        if not self._is_wanted:
            raise _NotWantedError

    def _show(self, text: str) -> None:
        self._require_wanted()
        self._log.debug("%s", text)
        if self._state != "logged in":
            self._say(text)

    def _tell_event(self, event: WaitEvent) -> None:
        self._log.info("%s: %s", event.kind, event.message)
        found = classify_event(event.kind)
        if found is not None:
            severity, title = found
            self._alerts.tell(
                AlertContent(
                    severity=severity,
                    title=f"{title} (standby)",
                    message=f"The gateway of this host, which stands by: {event.message}",
                    cause=event.kind,
                    next_action=event.next_action or "Nothing to do yet.",
                    evidence=event.evidence,
                )
            )

    def _note_ready(self) -> None:
        if self._failed is not None:
            self._log.info("the gateway is logged in again")
        self._failed = None
        self._say("logged in")

    def _note_failure(self, failure: StartupFailure) -> None:
        self._require_wanted()
        pause_s = _TRY_AGAIN_WITH_A_PERSON_S if failure.word in _NEEDS_A_PERSON else _TRY_AGAIN_S
        self._tries_again_s = float("inf") if failure.word in _IS_FINAL else self._clock.monotonic_s() + pause_s
        self._say(f"not ready: {failure.word}")
        self._log.error("%s: %s", failure.word, failure.message)
        if failure.word is self._failed:
            return
        self._failed = failure.word
        again = (
            "It is not tried again before this host's supervisor is started again."
            if failure.word in _IS_FINAL
            else f"It is tried again in {pause_s / 60:.0f} minutes."
        )
        self._alerts.tell(
            AlertContent(
                severity=Severity.WARNING,
                title="Standby's gateway is not ready",
                message=f"The gateway of this host, which stands by, is not ready: {failure.message}. The host "
                f"still takes over, and then logs in. {again}",
                cause=failure.word,
                next_action=failure.next_action,
                evidence=failure.evidence,
            )
        )

    def _say(self, text: str) -> None:
        if text != self._state:
            self._state = text
            self._on_state(text)
