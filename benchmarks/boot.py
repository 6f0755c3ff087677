"""From power on to the bot, on a whole host: systemd is pid 1, Docker and the system start at boot.

The host is a container (`tests/rackmount/host.py`), its kernel is this machine's: firmware, boot loader and kernel are
not in the figures. For the same reason one monotonic clock holds for both, and every instant is read afterwards from
systemd and from the run's journal; nothing looks at the host while it boots.
"""

import contextlib
import dataclasses
import statistics
import subprocess
import time
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from benchmarks.figures import SceneResult, Series
from benchmarks.place import IMAGE, Place, SceneFailedError, explain_no_engine

if TYPE_CHECKING:
    from tests.rackmount.host import Project, RackHost

_MOST_BOOTS, _QUICK_BOOTS = 5, 2
_QUIET_S = 5.0
_LOOK_S = 1.0
_PATIENCE_S = 180.0
_UNIT = "zero-touch-startup.service"
_SYSTEMD, _BASIC, _DOCKER, _STARTED = "systemd begins", "basic.target", "Docker is up", "the unit is started"
_READY = "the bot said READY"


def explain_no_host() -> str:
    """Why there can be no such host here; empty if there can."""
    from tests.rackmount.host import why_no_host

    return explain_no_engine() or why_no_host()


def measure_boot(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """Install the system on a host, then shut the host down and switch it on, again and again."""
    from tests.rackmount.host import NoHostError, build_ready_image, running_host

    boots = min(runs, _QUICK_BOOTS if place.is_quick else _MOST_BOOTS)
    try:
        image = build_ready_image()
    except NoHostError as error:
        return dataclasses.replace(result, skipped=str(error))
    try:
        with running_host(image) as host:
            project = _install(host, place)
            _boot(project)  # not counted: the first start makes the container and fills the caches
            seen = [_boot(project) for _ in range(boots)]
            systemd = host.run("systemd-analyze time", check=False).out.splitlines()
    except (AssertionError, subprocess.SubprocessError) as error:
        raise SceneFailedError(str(error)) from error
    series = [
        Series(
            label=f"{earlier} → {later}",
            unit="s",
            samples=tuple(instants[later] - instants[earlier] for instants in seen),
        )
        for earlier, later in pairwise(seen[0])
    ]
    totals = tuple(instants[_READY] for instants in seen)
    series.append(Series(label="altogether: power on → the bot said READY", unit="s", samples=totals))
    own_s = statistics.median(instants[_READY] - instants[_STARTED] for instants in seen)
    notes = (
        "the gateway is the simulator, whose login takes no time; a real one's comes on top",
        f"of the whole, {own_s:.2f} s are ours: the unit is started → the bot said READY (median)",
        *(f"the last boot as `systemd-analyze` tells it: {line.strip()}" for line in systemd[:1]),
    )
    return dataclasses.replace(result, series=tuple(series), notes=notes)


def _install(host: "RackHost", place: Place) -> "Project":
    host.load_image(IMAGE)
    project = host.copy_project()
    plan = f"{project.folder}/benchmark_plan.json"
    host.write(plan, (place.root / "gameplan.json").read_text(encoding="utf-8"), user=project.user)
    project.write_env(
        GATEWAY_IMAGE=IMAGE,
        TWS_USERID="benchmark",
        TWS_PASSWORD="benchmark",  # noqa: S106 - of no account
        GAMEPLAN_PATH=plan,
        MARKET_CALENDAR="daily",
    )
    project.inv("install", sudo=True)
    return project


def _boot(project: "Project") -> dict[str, float]:
    """Shut down in order, switch on, and wait; when each thing was so, in seconds since power on, in their order."""
    host = project.host
    host.shut_down()
    on_s = time.monotonic()
    wall_minus_monotonic_s = time.time() - on_s
    subprocess.run(["docker", "start", host.name], check=True, capture_output=True)
    time.sleep(_QUIET_S)
    deadline_s = on_s + _PATIENCE_S
    while not _is_active(host):
        if time.monotonic() > deadline_s:
            raise SceneFailedError(f"{_UNIT} is not up {_PATIENCE_S:g} s after power on:\n{host.journal(_UNIT)}")
        time.sleep(_LOOK_S)
    run = project.inv("history", "--json", "--limit", "1").document["runs"][0]
    instants = {
        "power on": on_s,
        _SYSTEMD: _read_instant_s(host, "", "UserspaceTimestamp"),
        _BASIC: _read_instant_s(host, "basic.target", "ActiveEnterTimestamp"),
        _DOCKER: _read_instant_s(host, "docker.service", "ActiveEnterTimestamp"),
        _STARTED: _read_instant_s(host, _UNIT, "ExecMainStartTimestamp"),
    }
    steps: list[dict[str, Any]] = run["steps"]
    begun = f"`{steps[0]['name']}` begins"
    instants[begun] = _parse_s(steps[0]["started_at"]) - wall_minus_monotonic_s
    for step in steps:
        name = _READY if step["name"] == "bot.start" else f"`{step['name']}` done"
        instants[name] = _parse_s(step["ended_at"]) - wall_minus_monotonic_s
    instants["the unit is active"] = _read_instant_s(host, _UNIT, "ActiveEnterTimestamp")
    return {name: at_s - on_s for name, at_s in instants.items()}


def _is_active(host: "RackHost") -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return host.run(["systemctl", "is-active", "--quiet", _UNIT], check=False, timeout_s=10).ok
    return False


def _read_instant_s(host: "RackHost", unit: str, name: str) -> float:
    argv = ["systemctl", "show", f"--property={name}Monotonic", "--value", *([unit] if unit else [])]
    return int(host.run(argv).out) / 1e6


def _parse_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
