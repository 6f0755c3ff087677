"""Which gateway a run used: `status`, `logs` and `shutdown` act on that one, whatever the environment says later."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.settings import GatewayRuntime, Settings
from orchestration.state_dir import GATEWAY_RECORD, read_fields, write_fields
from orchestration.system.endpoint import Endpoint

RECORD_NAME = GATEWAY_RECORD
_MAX_PORT = 65535
_TEXTS = ("container", "project", "service", "compose_dir", "birth", "log")


@dataclass(frozen=True, kw_only=True)
class GatewayRecord:
    """The gateway of a run.

    Attributes:
        runtime: Who runs it.
        host: The host of its API.
        port: The port of its API.
        container: The container's name; empty where there is none.
        project: The Compose project; empty where there is none.
        service: The Compose service; empty where there is none.
        compose_dir: The folder of its Compose file; empty where there is none.
        pid: A simulator's process; None where there is none.
        birth: What tells that process from a later one with its pid.
        log: The log file of a simulator's process; empty where there is none.
        simulated: Whether it is the built-in simulator.
    """

    runtime: GatewayRuntime
    host: str
    port: int
    container: str = ""
    project: str = ""
    service: str = ""
    compose_dir: str = ""
    pid: int | None = None
    birth: str = ""
    log: str = ""
    simulated: bool = False


def locate_api(record: GatewayRecord | None, settings: Settings) -> Endpoint:
    """Where the API of the gateway is that this instance started, or is to start. Pure."""
    return settings.gateway if record is None else Endpoint(host=record.host, port=record.port)


def write_record(state_dir: Path, record: GatewayRecord) -> None:
    """Put the record into the state folder.

    Raises:
        OSError: It could not be written.
    """
    write_fields(state_dir / RECORD_NAME, build_record_fields(record))


def build_record_fields(record: GatewayRecord) -> dict[str, Any]:
    """The record as JSON has it. Pure."""
    return {**dataclasses.asdict(record), "runtime": record.runtime.value}


def parse_record(fields: Mapping[str, Any]) -> GatewayRecord:
    """The record that such fields are. Pure.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: They are none.
    """
    return GatewayRecord(
        runtime=GatewayRuntime(fields["runtime"]),
        host=_read_text(fields["host"]),
        port=_read_number(fields["port"], most=_MAX_PORT),
        pid=None if fields.get("pid") is None else _read_number(fields["pid"], least=2),
        simulated=fields.get("simulated") is True,
        **{name: _read_text(fields[name]) for name in _TEXTS if name in fields},
    )


def read_record(state_dir: Path) -> GatewayRecord | None:
    """The record in the state folder, or None if there is none that can be understood."""
    try:
        return parse_record(read_fields(state_dir / RECORD_NAME))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _read_text(value: object) -> str:
    # It ends up in argument lists and paths, which take no such byte.
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("no text")
    return value


def _read_number(value: object, *, least: int = 1, most: int = 2**31 - 1) -> int:
    # As a process id, 1 and below mean the whole system or groups of processes: never take one from a file.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError("no number that can be one")
    return value


def remove_record(state_dir: Path) -> None:
    """Forget the record: its gateway was stopped."""
    (state_dir / RECORD_NAME).unlink(missing_ok=True)
