"""The order guard's process: when a bot needs one, its record, its start and its end.

On Strategy C the bot is given the guard's address instead of the gateway's, and is started without the right to
connect to the gateway's ports where the kernel can deny it (`orchestration.system.landlock`). What the guard lets pass
is decided by `orchestration.gateway.order_guard`; the program is `orchestration.supervision.guard_process`. It writes
its own record, so a guard whose launcher was killed is found all the same, and lives on without its launcher for as
long as its bot does.
"""

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.errors import FailureWord, StartupFailure
from orchestration.logs import prune_logs
from orchestration.redaction import read_last_lines, redactor_for
from orchestration.settings import PROJECT_DIR, GatewayRuntime, Settings, StrategyCBot
from orchestration.settings.child_environ import build_own_environ
from orchestration.state_dir import ORDER_GUARD, read_fields, write_fields
from orchestration.system.clock import Clock
from orchestration.system.endpoint import Endpoint
from orchestration.system.process_table import read_argv, read_pids, read_state
from orchestration.system.processes import (
    LaunchedProcess,
    ProcessIdentity,
    collect_exit_code,
    end_process_tree,
    is_running,
    launch_detached,
    read_identity,
)

NO_TRADING = "C"
LOOPBACK = "127.0.0.1"
MODULE = "orchestration.supervision.guard_process"

# Where a gateway, or TWS, usually listens: 4001 and 4002, 7496 and 7497; 4003 and 4004 within the container.
_USUAL_PORTS = frozenset({4001, 4002, 4003, 4004, 7496, 7497})
_FIRST_PORT_ABOVE_GATEWAY = 100
_PORTS_TRIED = 40
_MAX_PORT = 65535
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 3.0
_LOOK_S = 0.02
_WATCH_S = 0.25
_EVIDENCE_LINES = 10
_STOPPED = "T"
_SECRETS = frozenset({"DISCORD_WEBHOOK_URL", "ALERT_URLS", "DISCORD_MENTION"})  # for its alerts


@dataclass(frozen=True, kw_only=True)
class GuardRecord:
    """A guard, as it wrote itself down.

    Attributes:
        pid: Its process id.
        birth: Its `ProcessIdentity.birth`.
        host: Where the bot connects.
        port: Likewise.
        gateway_host: The gateway behind it.
        gateway_port: Likewise.
        started_at: When it began to listen, ISO 8601.
        log: Its own log.
        refused: How many requests it has refused, by kind (`gateway.order_guard.Refused`).
        last_refused_at: When it refused one last, ISO 8601; empty before the first.
        open_orders: What could still fill when it began, a phrase each; None where that is unknown.
        open_positions: What was open then; likewise.
        stopped_bots: How often it ended a bot that had connected past it.
    """

    pid: int
    birth: str
    host: str
    port: int
    gateway_host: str
    gateway_port: int
    started_at: str = ""
    log: str = ""
    refused: Mapping[str, int] = field(default_factory=dict)
    last_refused_at: str = ""
    open_orders: tuple[str, ...] | None = None
    open_positions: tuple[str, ...] | None = None
    stopped_bots: int = 0

    @property
    def identity(self) -> ProcessIdentity:
        """Exactly which process it is."""
        return ProcessIdentity(pid=self.pid, birth=self.birth)

    @property
    def refusals(self) -> int:
        """How many requests it has refused in all."""
        return sum(self.refused.values())


def is_guarded(settings: Settings, strategy: str) -> bool:
    """Whether a bot on this strategy is to be kept behind an order guard. Pure."""
    return strategy == NO_TRADING and settings.strategy_c_bot is StrategyCBot.GUARDED


def has_no_bot(settings: Settings, strategy: str) -> bool:
    """Whether no bot is to run on this strategy (`STRATEGY_C_BOT=none`). Pure."""
    return strategy == NO_TRADING and settings.strategy_c_bot is StrategyCBot.NONE


def list_gateway_ports(gateway_port: int, *, but: int) -> frozenset[int]:
    """The ports that a guarded bot must not connect to: the gateway's, and those that gateways usually have. Pure.

    Args:
        gateway_port: The gateway's own.
        but: The guard's.
    """
    return (_USUAL_PORTS | {gateway_port}) - {but}


def build_guard_path(settings: Settings) -> Path:
    """Where this instance's guard writes itself down."""
    return Path(os.path.realpath(settings.state_dir)) / ORDER_GUARD


def write_guard(path: Path, record: GuardRecord) -> None:
    """Write the record, whole or not at all.

    Raises:
        OSError: It could not be written.
    """
    write_fields(path, {**dataclasses.asdict(record), "refused": dict(record.refused)})


def read_guard(settings: Settings) -> GuardRecord | None:
    """The guard that was recorded last, whether it still runs or not; None where there is none that can be read."""
    folder = settings.watched_state_dir
    path = build_guard_path(settings) if folder is None else folder / ORDER_GUARD
    try:
        return _parse(read_fields(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def find_guard(settings: Settings) -> GuardRecord | None:
    """The guard of this instance that runs now, or None."""
    record = read_guard(settings)
    return record if record is not None and is_running(record.identity) else None


def is_suspended(record: GuardRecord) -> bool:
    """Whether it is stopped by a signal (SIGSTOP): then nothing passes, reads neither."""
    return is_running(record.identity) and read_state(record.pid) == _STOPPED


def is_guard_missing(settings: Settings, *, port: int | None) -> bool:
    """Whether the guard at this port has ended or is suspended: the bot that was told of it is cut off."""
    guard = find_guard(settings)
    return guard is None or guard.port != port or is_suspended(guard)


def ensure_guard(
    settings: Settings,
    gateway: Endpoint,
    *,
    run_id: str,
    clock: Clock,
    host: str = LOOPBACK,
    port: int | None = None,
) -> GuardRecord:
    """Start a guard in front of this gateway, in the place of any other of this instance.

    Args:
        settings: Whose it is.
        gateway: Where the gateway's API is.
        run_id: The run that starts it.
        clock: Tells the time.
        host: Where it is to listen.
        port: At which port; None for the first free one from 100 above the gateway's.

    Raises:
        StartupFailure: `STRATEGY_C_FAILED`: it does not run, so nothing keeps a bot on Strategy C from trading.
    """
    end_guard(settings)
    ports = _list_candidates(gateway.port) if port is None else (port,)
    log = settings.log_dir / f"guard_{clock.now().astimezone():%Y%m%d_%H%M%S_%f}.log"
    argv = [
        *(sys.executable, "-m", MODULE, "--record", str(build_guard_path(settings))),
        *("--listen", host, "--ports", ",".join(map(str, ports))),
        *("--gateway-host", gateway.host, "--gateway-port", str(gateway.port)),
        *("--log-dir", str(settings.log_dir), "--log", str(log)),
        *("--instance", settings.instance, "--run-id", run_id, "--launcher", str(os.getpid())),
        *(["--simulated"] if settings.gateway_runtime is GatewayRuntime.SIMULATOR else []),
    ]
    try:
        launched = launch_detached(argv, cwd=PROJECT_DIR, environ=_build_environ(settings), output=log)
    except OSError as error:
        raise build_failure(f"it could not be started: {error}") from error
    prune_logs(settings.log_dir, prefix="guard", keep=settings.log_keep, spare=[log])
    try:
        record = _wait_until_listening(settings, launched, log, clock)
    except BaseException:
        end_process_tree(launched.identity, timeout_s=0.0)
        launched.poll_exit_code()
        raise
    finally:
        launched.disown()
    return record


def end_guard(settings: Settings, *, only: GuardRecord | None = None) -> bool:
    """End this instance's guards, also one that was never recorded. Returns whether one ran.

    Args:
        settings: Whose they are.
        only: The one that is meant; None for all.
    """
    if settings.watched_state_dir is not None:
        return False
    path = build_guard_path(settings)
    last = read_guard(settings)
    recorded = find_guard(settings)
    if last is not None and recorded is None:
        collect_exit_code(last.pid)  # one that was killed, if it was this process's own child
    if only is not None:
        if recorded is not None and recorded.identity == only.identity:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        was_running = is_running(only.identity)
        _end(only.identity)
        return was_running
    found = {one.pid: one for one in (*([recorded.identity] if recorded is not None else []), *_find_by_argv(path))}
    for one in found.values():
        _end(one)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return bool(found)


def _build_environ(settings: Settings) -> dict[str, str]:
    """What it needs to run and to alert. It finds its own modules, whatever Python is told of folders."""
    environ = build_own_environ(settings.environ, needed_secrets=_SECRETS)
    inherited = environ.get("PYTHONPATH")
    return {**environ, "PYTHONPATH": os.pathsep.join([str(PROJECT_DIR), *([inherited] if inherited else [])])}


def _end(identity: ProcessIdentity) -> None:
    end_process_tree(identity, timeout_s=_STOP_TIMEOUT_S)
    collect_exit_code(identity.pid)  # where it is this process's own child


class GuardWatch:
    """Tells when this instance's guard ends, is suspended, or works again.

    Args:
        settings: Whose it is.
        on_change: Called from a thread of its own; must not block.
    """

    def __init__(self, settings: Settings, *, on_change: Callable[[], None]) -> None:
        self._settings = settings
        self._on_change = on_change
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="order-guard-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        worked = True
        while not self._closed.wait(_WATCH_S):
            guard = find_guard(self._settings)
            works = guard is not None and not is_suspended(guard)
            if works is not worked:
                worked = works
                self._on_change()


def _wait_until_listening(settings: Settings, launched: LaunchedProcess, log: Path, clock: Clock) -> GuardRecord:
    deadline_s = clock.monotonic_s() + _START_TIMEOUT_S
    while clock.monotonic_s() < deadline_s:
        record = read_guard(settings)
        if record is not None and record.identity == launched.identity:
            return record
        if launched.poll_exit_code() is not None:
            break
        clock.sleep(_LOOK_S)
    try:
        lines = read_last_lines(log, _EVIDENCE_LINES, redactor_for(settings.secrets))
    except OSError:
        lines = ()
    code = launched.poll_exit_code()
    how = f"it did not listen within {_START_TIMEOUT_S:g} s" if code is None else f"it ended at once, with code {code}"
    raise build_failure(how, lines)


def build_failure(how: str, evidence: tuple[str, ...] = ()) -> StartupFailure:
    """The failure of a start whose order guard does not run."""
    return StartupFailure(
        FailureWord.STRATEGY_C_FAILED,
        f"The order guard does not run, so no bot is started on Strategy C: {how}.",
        next_action="Read its last lines; STRATEGY_C_BOT=none starts no bot on Strategy C.",
        evidence=evidence,
    )


def _list_candidates(gateway_port: int) -> tuple[int, ...]:
    first = gateway_port + _FIRST_PORT_ABOVE_GATEWAY
    if first + _PORTS_TRIED > _MAX_PORT:
        first = gateway_port - _FIRST_PORT_ABOVE_GATEWAY - _PORTS_TRIED
    taken = list_gateway_ports(gateway_port, but=0)
    return tuple(port for port in range(first, first + _PORTS_TRIED) if port not in taken)


def _find_by_argv(path: Path) -> list[ProcessIdentity]:
    """Guards of this instance, by their own arguments."""
    found = []
    for pid in read_pids():
        try:
            argv = read_argv(pid)
        except PermissionError:
            continue  # another user's, so not started by us
        is_ours = MODULE in argv and "--record" in argv[:-1] and argv[argv.index("--record") + 1] == str(path)
        identity = read_identity(pid) if is_ours and pid != os.getpid() else None
        if identity is not None:
            found.append(identity)
    return found


def _parse(fields: Mapping[str, Any]) -> GuardRecord:
    started_at = str(fields.get("started_at") or "")
    if started_at:
        datetime.fromisoformat(started_at)
    return GuardRecord(
        pid=_read_number(fields["pid"], least=2),
        birth=str(fields["birth"]),
        host=str(fields["host"]),
        port=_read_number(fields["port"], most=_MAX_PORT),
        gateway_host=str(fields["gateway_host"]),
        gateway_port=_read_number(fields["gateway_port"], most=_MAX_PORT),
        started_at=started_at,
        log=str(fields.get("log") or ""),
        refused={str(kind): _read_number(count, least=0) for kind, count in (fields.get("refused") or {}).items()},
        last_refused_at=str(fields.get("last_refused_at") or ""),
        open_orders=_read_phrases(fields.get("open_orders")),
        open_positions=_read_phrases(fields.get("open_positions")),
        stopped_bots=_read_number(fields.get("stopped_bots") or 0, least=0),
    )


def _read_phrases(value: object) -> tuple[str, ...] | None:
    return tuple(str(one) for one in value) if isinstance(value, list) else None


def _read_number(value: object, *, least: int = 1, most: int = 2**31 - 1) -> int:
    # As a process id, 1 and below mean groups of processes to the system's calls: never take one from a file.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError("no number that can be one")
    return value
