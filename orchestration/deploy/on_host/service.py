"""The host service as systemd shows it, and the system as its own `inv status` does."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.deploy.on_host.base import Ended, Layout, RefusedError, run

ACTIVATION_UNIT = "zero-touch-activate.service"
_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "StatusText",
    "InvocationID",
    "MainPID",
    "UnitFileState",
    "WorkingDirectory",
)
_RUNS, _STANDS_BY = 0, 5  # exit codes of `inv status`
_PYTHON = ".venv/bin/python"  # a release's own
_GATEWAY = ("GATEWAY_RUNTIME", "GATEWAY_CONTAINER_NAME", "GATEWAY_HOST", "GATEWAY_PORT", "TRADING_MODE")
_BASE_NAME = "zero-touch-startup"
_INV_TIMEOUT_S = 120
_JOURNAL_LINES = 25


@dataclass(frozen=True)
class Place:
    """What a release's own settings say about where its system lives.

    Attributes:
        unit: The host service's unit.
        state_dir: The state folder.
        folders: Those that the system writes to: what the unit makes writable must be there before it starts.
        gateway: Which gateway is its own: where these differ, it is another one.
        container: The gateway's container; empty where it has none that this program makes.
    """

    unit: str
    state_dir: Path
    folders: tuple[Path, ...] = ()
    gateway: tuple[str, ...] = ()
    container: str = ""


def inv(
    release: Path, *words: str, user: str = "", env_file: Path | None = None, timeout_s: float = _INV_TIMEOUT_S
) -> Ended:
    """Run a release's own `inv`, with its own environment."""
    # Root leaves no byte code of its own in the user's release.
    bare = {} if user else {"PYTHONDONTWRITEBYTECODE": "1"}
    environ = {"PYTHONUTF8": "1", **bare, **({"ENV_FILE": str(env_file)} if env_file else {})}
    argv: tuple[str | Path, ...] = (release_python(release), "-m", "invoke", *words)
    return run(argv, user=user, cwd=release, environ=environ, timeout_s=timeout_s)


def check_settings(release: Path, user: str, *, env_file: Path | None = None) -> Place:
    """Have a release read its settings; that also loads its code.

    Raises:
        RefusedError: It cannot.
    """
    ended = inv(release, "config", "--json", user=user, env_file=env_file)
    problems: tuple[str, ...] = ()
    try:
        document = json.loads(ended.out)
        problems = tuple(str(problem) for problem in document.get("problems", ()))
        values = document["values"]
        instance, state = str(document["instance"]), Path(values["STATE_DIR"]["value"])
        folders = tuple(dict.fromkeys(_find_folders(release, values)))
        gateway = tuple(str(values.get(name, {}).get("value")) for name in _GATEWAY)
    except (ValueError, KeyError, TypeError, AttributeError):
        document = None
    if not ended.ok or document is None:
        raise RefusedError(
            "the release does not accept its configuration",
            next_action="Correct the settings (`--env-file`), or the code, and deploy again.",
            evidence=problems or ended.last_lines(),
        )
    return Place(
        unit=f"{_BASE_NAME}.service" if instance == "default" else f"{_BASE_NAME}-{instance}.service",
        state_dir=release / state,
        folders=folders,
        gateway=gateway,
        container=gateway[1] if gateway[0] == "docker" else "",
    )


def _find_folders(release: Path, values: Mapping[str, Any]) -> Iterator[Path]:
    for name in ("STATE_DIR", "LOG_DIR"):
        yield release / values[name]["value"]
    if values.get("EMERGENCY_GAMEPLAN_PATH", {}).get("value"):
        yield (release / values["EMERGENCY_GAMEPLAN_PATH"]["value"]).parent
    shared = values.get("GATEWAY_SHARED_DIR", {})
    if shared.get("value") and shared.get("source") != "default":  # the default lies in the user's home
        yield release / shared["value"]


def read_place(release: Path, user: str) -> Place:
    """The same; what stands where nothing is said, if the release cannot say it."""
    try:
        return check_settings(release, user)
    except RefusedError:
        return Place(unit=f"{_BASE_NAME}.service", state_dir=release / "state")


def read_unit(unit: str) -> dict[str, str]:
    """What systemd says of it."""
    shown = run(("systemctl", "show", unit, f"--property={','.join(_PROPERTIES)}"))
    pairs = (line.partition("=") for line in shown.out.splitlines())
    return {name: value for name, separator, value in pairs if separator}


def read_status(layout: Layout, user: str) -> dict[str, Any]:
    """What `inv status --json` of the current release says: `code`, and the `document` or None."""
    ended = inv(layout.current.resolve(), "status", "--json", user=user)
    try:
        document = json.loads(ended.out)
    except ValueError:
        document = None
    said = [str(document["message"])] if document and document.get("message") else list(ended.last_lines(5))
    return {"code": ended.code, "document": document, "lines": [] if ended.ok else said}


def read_journal(unit: str, *, since: str, count: int = _JOURNAL_LINES) -> tuple[str, ...]:
    """The unit's last lines since then (`@` and seconds since 1970)."""
    argv = ("journalctl", "--unit", unit, "--no-pager", "--output=cat", f"--lines={count}", f"--since={since}")
    return run(argv).last_lines(count)


def is_activation_under_way() -> bool:
    """Whether a release is being activated right now."""
    return read_unit(ACTIVATION_UNIT).get("ActiveState") in {"active", "activating", "deactivating"}


def is_good_status(status: Mapping[str, Any]) -> bool:
    """Whether `inv status`, as `read_status` returns it, says that the system runs or stands by."""
    return status.get("code") in {_RUNS, _STANDS_BY}


def is_standby_status(status: Mapping[str, Any]) -> bool:
    """Whether it says that another host leads."""
    return status.get("code") == _STANDS_BY


def describe_activation() -> str:
    """What is said of an activation that is under way, as a sentence."""
    return f"An activation is under way there ({ACTIVATION_UNIT})."


def release_python(release: Path) -> Path:
    """The interpreter of a release's own environment."""
    return release / _PYTHON
