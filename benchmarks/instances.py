"""Twenty instances against one: they start at the same instant on one gateway, watch it, and lose it together."""

import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cost import read_used
from benchmarks.deaths import supervise
from benchmarks.figures import SceneResult, Series, claim_at_most
from benchmarks.idle import read_proportional_mb
from benchmarks.place import Place, inv, wait_for
from orchestration.system.sockets import count_connections

if TYPE_CHECKING:
    import subprocess

_MANY, _QUICK_MANY = 20, 4
_WINDOW_S, _QUICK_WINDOW_S = 60.0, 15.0
_SETTLED_AFTER_S = 75.0  # a whole interval: those who find the gateway crowded have let go of their connections
_QUICK_SETTLED_AFTER_S = 5.0
_LOOK_S = 0.01
_HOUR_S = 3600.0


@dataclasses.dataclass
class _Instance:
    """One instance under supervision."""

    place: Place
    begun_s: float
    process: "subprocess.Popen[bytes]"
    up_after_s: float = 0.0

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.place.root / "state" / self.place.environ["INSTANCE"]

    def is_up(self) -> bool:
        """Whether its bot has said READY."""
        if self.process.poll() is not None:
            self.place.end_of(self.process, ("startup",), codes=())  # fails, with what it said
        return self.read_bot().get("ready_by") is not None

    def read_bot(self) -> dict[str, object]:
        """What is recorded of its bot."""
        try:
            found: dict[str, object] = json.loads((self.state / "bot.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found


def measure_instances(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """One alone, then many side by side, each measured in the same way."""
    many = _QUICK_MANY if place.is_quick else _MANY
    series: list[Series] = []
    with _started(place, 1, "one") as alone:
        series += _measure(alone, "one", is_quick=place.is_quick)
        series.append(_time_status(alone, runs, f"`inv status --all`, {1} instance"))
    with _started(place, many, "many") as crowd:
        series += _measure(crowd, str(many), is_quick=place.is_quick)
        series.append(_time_status(crowd, runs, f"`inv status --all`, {many} instances"))
        recovery, restarts = _kill_gateway(crowd)
        series.append(recovery)
    by_label = {one.label: one for one in series}
    slowest = by_label[f"start: {many} at the same instant, each one's bot up"].most
    claims = (
        claim_at_most(f"restarts of the gateway by {many} supervisors that lost it together", restarts, 1, ""),
        claim_at_most(f"the slowest of {many} that start at the same instant", slowest, 60, "s"),
    )
    notes = ("built-in gateway; the reference bot, which holds one connection; memory is proportional (PSS)",)
    return dataclasses.replace(result, series=tuple(series), claims=claims, notes=notes)


@contextlib.contextmanager
def _started(place: Place, count: int, name: str) -> Iterator[list[_Instance]]:
    """So many instances under supervision, begun at the same instant; ended, with their gateway, afterwards."""
    root = place.root / name
    places: list[Place] = []
    for number in range(count):
        one = Place.build(root / f"bot{number:02d}", is_quick=place.is_quick)
        supervise(one)
        one.environ.update(
            {
                "INSTANCE": f"bot{number:02d}",
                "GATEWAY_RUNTIME": "simulator",
                "GATEWAY_PORT": str(places[0].port if places else one.port),
                "GATEWAY_SHARED_DIR": str(root / "shared"),
                "PYTHONPYCACHEPREFIX": place.environ["PYTHONPYCACHEPREFIX"],
            }
        )
        for variable in ("BOT_COMMAND", "BOT_WORKDIR"):
            one.environ.pop(variable)
        places.append(one)
    instances: list[_Instance] = []
    try:
        for one in places:
            argv = (sys.executable, "-m", "orchestration.startup", "--foreground")
            instances.append(_Instance(one, time.perf_counter(), one.begin(argv)))
        waiting = list(instances)
        while waiting:
            for instance in [one for one in waiting if one.is_up()]:
                instance.up_after_s = time.perf_counter() - instance.begun_s
                waiting.remove(instance)
            time.sleep(_LOOK_S)
        yield instances
    finally:
        for instance in instances:  # all of them first: one after the other they would take minutes
            instance.process.send_signal(signal.SIGTERM)
        for instance in instances:
            instance.place.end_of(instance.process, ("the supervisor",), codes=(0, 1))
        for one in places:
            one.run(inv("shutdown"), codes=(0, 1))


def _measure(instances: list[_Instance], count: str, *, is_quick: bool) -> list[Series]:
    """Start, memory and processor, for each instance."""
    import psutil

    time.sleep(_QUICK_SETTLED_AFTER_S if is_quick else _SETTLED_AFTER_S)
    supervisors = [psutil.Process(one.process.pid) for one in instances]
    bots = [int(str(one.read_bot()["pid"])) for one in instances]
    before, begun_s = [read_used(one)[0] for one in supervisors], time.perf_counter()
    time.sleep(_QUICK_WINDOW_S if is_quick else _WINDOW_S)
    took_s = time.perf_counter() - begun_s
    used = [(read_used(one)[0] - used_s) * _HOUR_S / took_s for one, used_s in zip(supervisors, before, strict=True)]
    memory = [read_proportional_mb(one.pid) for one in supervisors]
    of_bots = [read_proportional_mb(pid) for pid in bots]
    port = int(instances[0].place.environ["GATEWAY_PORT"])
    at = "alone" if count == "one" else f"{count} at the same instant"
    return [
        Series(label=f"start: {at}, each one's bot up", unit="s", samples=tuple(one.up_after_s for one in instances)),
        Series(label=f"memory: a supervisor, of {count}", unit="MB", samples=tuple(memory)),
        Series(label=f"memory: a bot, of {count}", unit="MB", samples=tuple(of_bots)),
        Series(label=f"processor: a supervisor in an hour, of {count}", unit="s/h", samples=tuple(used)),
        Series(label=f"connections at the gateway, {count}", unit="", samples=(float(count_connections(port) or 0),)),
    ]


def _time_status(instances: list[_Instance], runs: int, label: str) -> Series:
    samples = []
    place = instances[0].place
    for _ in range(runs):
        begun_s = time.perf_counter()
        place.run(inv("status", "--all"), codes=(0, 1))
        samples.append(time.perf_counter() - begun_s)
    return Series(label=label, unit="s", samples=tuple(samples))


def _kill_gateway(instances: list[_Instance]) -> tuple[Series, float]:
    """From the gateway's death until all are well again, and how often it was restarted for that."""
    (shared_state,) = Path(instances[0].place.environ["GATEWAY_SHARED_DIR"]).glob("gateways/*.json")
    before = json.loads(shared_state.read_text(encoding="utf-8"))
    killed = before["process"]["pid"]
    os.kill(killed, signal.SIGKILL)
    begun_s = time.perf_counter()
    wait_for(
        "the new gateway", lambda: json.loads(shared_state.read_text(encoding="utf-8"))["process"]["pid"] != killed
    )
    port = int(instances[0].place.environ["GATEWAY_PORT"])
    wait_for("all bots' connections", lambda: (count_connections(port) or 0) >= len(instances))
    took_s = time.perf_counter() - begun_s
    restarts = len(json.loads(shared_state.read_text(encoding="utf-8"))["restarts"]) - len(before["restarts"])
    label = "the gateway killed → as many connections again as there are bots"
    return Series(label=label, unit="s", samples=(took_s,)), float(restarts)
