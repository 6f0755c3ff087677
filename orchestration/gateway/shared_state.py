"""The shared state of one gateway: the history of what was done to it, in a file, and a lock for acting on it.

Several instances may use one gateway. Each of them looks after it, and without shared state all of them would start,
restart or stop it at the same moment. So the one that acts holds the gateway's lock and records what it did; the others
read that before they act. Both live in `GATEWAY_SHARED_DIR`, which all instances of this user have in common,
whatever their checkout, state folder or service is.

Instants are of the monotonic clock, which all processes of one boot share, and carry the boot's id: what was done
before a reboot counts for nothing.
"""

import contextlib
import dataclasses
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.history import (
    NO_HISTORY,
    GatewayHistory,
    GatewayRestart,
    GatewayStop,
    StopReason,
    name_start,
)
from orchestration.gateway.record import GatewayRecord, build_record_fields, parse_record
from orchestration.gateway.soft_restart import measure_longest_restart_s
from orchestration.settings import Settings
from orchestration.state_dir import read_fields, write_fields
from orchestration.system.clock import Clock
from orchestration.system.lock import HeldLock, IrregularLockError, LockHeldError, hold_lock, read_lock_holder
from orchestration.system.processes import read_boot_id

_RESTARTS_KEPT = 50  # the limit of a day is six
_CHANGE_MARGIN_S = 100.0  # beyond the time for an image or a restart; less than a supervisor may be silent (`serve`)
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.1, 1.0
_READABLE = 0o644
_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)


class GatewayBusy(StartupFailure):
    """Another instance has been at work on the gateway for longer than one was ready to wait."""


class SharedGatewayState:
    """The shared state of one gateway, as one instance reads and writes it.

    Args:
        settings: That instance's configuration.
        key: What the gateway is known by (`name_port`, `name_container`).
        clock: Tells the time.

    Attributes:
        owner: The instance's state folder, links followed.
        patience_s: How long any act of another instance may take: fetching an image, or the longest restart.
    """

    def __init__(self, settings: Settings, key: str, *, clock: Clock) -> None:
        self._instance = settings.instance
        self.owner = os.path.realpath(settings.state_dir)
        self.patience_s = _CHANGE_MARGIN_S + max(
            settings.docker_pull_timeout_s, measure_longest_restart_s(settings.gateway_stop_grace_s)
        )
        self._clock = clock
        folder = settings.gateway_shared_dir / "gateways"
        self._path = folder / f"{key}.json"
        self._lock = folder / f"{key}.lock"
        self.first_start_marker = folder / f"{key}.started"
        self.simulator_settings_dir = folder / f"{key}.settings"

    @contextlib.contextmanager
    def hold(
        self, purpose: str, on_progress: Callable[[str], None], *, patience_s: float | None = None
    ) -> Iterator[HeldLock | None]:
        """Be the only instance that acts on this gateway; waits for another one to finish.

        Where the folder cannot be written there is nothing to agree by: it goes on without a lock (None), and says so
        in the log.

        Args:
            purpose: What is to be done, for those who wait.
            on_progress: Told who is waited for.
            patience_s: For how long; None for as long as any act may take, the fetching of an image included.

        Raises:
            GatewayBusy: `GATEWAY_START_FAILED`: another one is still at it then.
            StartupFailure: `GATEWAY_START_FAILED`: something else than a file stands where the lock should be.
        """
        patience_s = self.patience_s if patience_s is None else patience_s
        deadline_s = self._clock.monotonic_s() + patience_s
        with contextlib.ExitStack() as held:
            is_told, look_s = False, _FIRST_LOOK_S
            lock: HeldLock | None = None
            while True:
                try:
                    lock = held.enter_context(
                        hold_lock(
                            self._lock,
                            purpose=f"{purpose} of the gateway by instance {self._instance}",
                            since=self._clock.now().isoformat(timespec="seconds"),
                        )
                    )
                    break
                except LockHeldError as error:
                    if self._clock.monotonic_s() >= deadline_s:
                        raise GatewayBusy(
                            FailureWord.GATEWAY_START_FAILED,
                            f"another instance has been at work on this gateway for {patience_s:.0f} s: {error.holder}",
                            next_action="Look at that process; end it if it hangs.",
                        ) from error
                    if not is_told:
                        on_progress(f"waiting for another instance that is at work on this gateway: {error.holder}")
                        is_told = True
                    self._clock.sleep(look_s)
                    look_s = min(2 * look_s, _LONGEST_LOOK_S)
                except IrregularLockError as error:
                    raise StartupFailure(
                        FailureWord.GATEWAY_START_FAILED,
                        f"GATEWAY_SHARED_DIR: the gateway's lock {self._lock} cannot be opened ({error.strerror})",
                        next_action=f"Remove {self._lock}, or move it away; it is made again.",
                    ) from error
                except OSError as error:
                    _LOG.warning("GATEWAY_SHARED_DIR: %s cannot be opened (%s)", self._lock, error.strerror)
                    break
            yield lock

    def read(self) -> GatewayHistory:
        """What was done in this boot; nothing where there is no file, or none that can be understood."""
        history = self._read(_parse_history)
        return NO_HISTORY if history is None else history

    def read_process(self) -> GatewayRecord | None:
        """A simulator's process, of any launcher."""
        return self._read(lambda fields: fields["process"] and parse_record(fields["process"]))

    def note_started(self, *, process: GatewayRecord | None = None) -> None:
        """The gateway was started: no stop is in effect any more."""
        history = self.read()
        self._write(replace(history, stop=None, process=process or history.process))

    def is_held(self) -> bool:
        """Whether another process is at work on the gateway now."""
        return read_lock_holder(self._lock) is not None

    def note_restart(self, status: GatewayStatus) -> None:
        """The gateway is about to be restarted. Written first: a process that looks meanwhile knows who it is."""
        history = self.read()
        one = GatewayRestart(
            by=self._instance,
            owner=self.owner,
            at=self._clock.now(),
            at_s=self._clock.monotonic_s(),
            start=name_start(status),
        )
        self._write(replace(history, restarts=(*history.restarts, one)[-_RESTARTS_KEPT:], stop=None))

    def note_soft_restart(self) -> None:
        """The gateway has restarted itself: the restart that was noted last came about without a new container."""
        history = self.read()
        if history.restarts:
            self._write(
                replace(history, restarts=(*history.restarts[:-1], replace(history.restarts[-1], is_soft=True)))
            )

    def withdraw_restart(self) -> None:
        """The restart that was noted last did not come about."""
        history = self.read()
        self._write(replace(history, restarts=history.restarts[:-1]))

    def note_stop(self, reason: StopReason, status: GatewayStatus) -> None:
        """The gateway is about to be stopped, and it is meant."""
        stop = GatewayStop(
            by=self._instance, owner=self.owner, at=self._clock.now(), reason=reason, start=name_start(status)
        )
        self._write(replace(self.read(), stop=stop))

    def _read(self, parse: Callable[[Any], _T | None]) -> _T | None:
        try:
            return parse(read_fields(self._path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def _write(self, history: GatewayHistory) -> None:
        fields = dataclasses.asdict(history) | {
            "boot": read_boot_id(),
            "process": None if history.process is None else build_record_fields(history.process),
        }
        try:
            # Nothing of it is secret, and what root wrote under sudo its owner must be able to read.
            write_fields(self._path, fields, mode=_READABLE)
        except OSError as error:
            # Which start an act was about still keeps two from doing it twice.
            _LOG.warning("GATEWAY_SHARED_DIR: %s cannot be written (%s)", self._path, error.strerror)


def _parse_history(fields: Any) -> GatewayHistory:  # noqa: ANN401 - whatever a file holds
    stop = fields["stop"]
    is_this_boot = fields["boot"] == read_boot_id()
    return GatewayHistory(
        restarts=tuple(
            GatewayRestart(
                by=str(one["by"]),
                owner=str(one["owner"]),
                at=_parse_moment(one["at"]),
                at_s=float(one["at_s"]),
                start=str(one["start"]),
                is_soft=one.get("is_soft") is True,  # an earlier release did not write it
            )
            for one in (fields["restarts"] if is_this_boot else ())
        ),
        # A stop outlives a reboot, as a stopped container does.
        stop=stop
        and GatewayStop(
            by=str(stop["by"]),
            owner=str(stop["owner"]),
            at=_parse_moment(stop["at"]),
            reason=StopReason(stop["reason"]),
            start=str(stop["start"]),
        ),
        process=fields["process"] and parse_record(fields["process"]),
    )


def _parse_moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return moment


def name_port(port: int) -> str:
    """What a simulated gateway is known by. Pure."""
    return f"port-{port}"


def name_container(settings: Settings, container: str) -> str:
    """What a gateway in a container is known by. Pure."""
    engine = name_engine(settings)
    marked = f"-{hashlib.sha256(engine.encode()).hexdigest()[:8]}" if engine else ""
    return f"container-{container}{marked}"


def name_engine(settings: Settings) -> str:
    """Which Docker engine is meant, as far as the environment says it; empty for the usual one. Pure."""
    host = settings.environ.get("DOCKER_HOST", "").strip()
    if host in {"unix:///var/run/docker.sock", "unix:///run/docker.sock"}:
        return ""
    context = settings.environ.get("DOCKER_CONTEXT", "").strip()
    return host or ("" if context == "default" else context)
