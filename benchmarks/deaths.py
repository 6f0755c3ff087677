"""How soon the operator is told: from the death of the bot, or of the gateway, to the alert at the channel."""

import contextlib
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from benchmarks.figures import SceneResult, Series, claim_at_most
from benchmarks.place import CONTAINER, Place, SceneFailedError, inv, wait_for
from orchestration.soak.channel import LoopbackChannel, open_channel
from orchestration.soak.instance import window_far_from_now

if TYPE_CHECKING:
    import psutil

_MOST_MEDIAN_S = 1.0
_SETTLED_AFTER_S = 1.5  # the watch has its first looks and its connection behind it
_RANDOM = secrets.SystemRandom()


def measure_alerts(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """Supervise, kill one, wait for the alert; each time with a supervisor of its own, at a random moment."""
    is_in_container = "GATEWAY_RUNTIME" not in place.environ
    gateway = "the gateway's container, `docker kill`" if is_in_container else "the gateway's process, SIGKILL"
    kill_gateway = _kill_container if is_in_container else _kill_simulator
    found: dict[tuple[str, str], list[float]] = {}
    if not is_in_container:
        place.environ["GATEWAY_RUNTIME"] = "simulator"
    with open_channel() as channel:
        supervise(place, webhook=channel.address)
        try:
            with _supervisor(place, "--foreground"):
                pass  # fills the caches of Python and of the disk
            for _ in range(runs):
                for switch in ("--service", "--foreground"):
                    for what, title, kill in (
                        ("the bot, SIGKILL", "Bot ended", _kill_bot),
                        (gateway, "Gateway lost", kill_gateway),
                    ):
                        took_s = _measure_once(place, channel, switch, title, kill)
                        found.setdefault((what, switch), []).append(took_s)
        finally:
            place.run(inv("shutdown"), codes=(0, 1))
    series = tuple(
        Series(label=f"{what} → the alert, `{switch}`", unit="s", samples=tuple(samples))
        for (what, switch), samples in sorted(found.items())
    )
    claims = tuple(claim_at_most(f"median, {one.label}", one.median, _MOST_MEDIAN_S, "s") for one in series)
    return dataclasses.replace(result, series=series, claims=claims)


def supervise(place: Place, *, webhook: str = "") -> None:
    """Settings of a supervised system, whatever the time of day is: no window in which silence would be right."""
    window = window_far_from_now()
    place.environ.update(
        INSTANCE=f"measured-{place.port}",
        BROKER_RESET_WINDOWS=window,
        GATEWAY_RESTART_WINDOW=window,
        STARTUP_MAX_ATTEMPTS="100",  # every killed bot is an unplanned end
    )
    if webhook:
        place.environ["DISCORD_WEBHOOK_URL"] = webhook


def begin_supervisor(place: Place, switch: str) -> "subprocess.Popen[bytes]":
    """Begin a supervised start; returns once it watches."""
    logs = place.root / "logs"
    seen = set(logs.rglob("supervisor_*.log"))  # not their number: old ones are cleared away
    process = place.begin((sys.executable, "-m", "orchestration.startup", switch))
    wait_for("the watch", lambda: set(logs.rglob("supervisor_*.log")) - seen or process.poll() is not None)
    if process.poll() is not None:
        place.end_of(process, ("startup", switch), codes=())  # fails, with what it said
    return process


def end_supervisor(place: Place, process: "subprocess.Popen[bytes]") -> None:
    """End it in order, if it still runs."""
    if process.poll() is None:
        process.terminate()
    place.end_of(process, ("the supervisor",), codes=(0, 1))


@contextlib.contextmanager
def _supervisor(place: Place, switch: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = begin_supervisor(place, switch)
    try:
        yield process
    finally:
        end_supervisor(place, process)


def _measure_once(
    place: Place,
    channel: LoopbackChannel,
    switch: str,
    title: str,
    kill: Callable[[Place, "subprocess.Popen[bytes]"], float],
) -> float:
    with _supervisor(place, switch) as process:
        time.sleep(_SETTLED_AFTER_S + _RANDOM.random())
        channel.received.clear()
        killed_s = kill(place, process)
        return wait_for(f"an alert {title!r}", lambda: find_arrivals_s(channel, title))[0] - killed_s


def find_arrivals_s(channel: LoopbackChannel, title: str) -> list[float]:
    """When alerts with this title arrived, on the monotonic clock."""
    return [one.at_s for one in channel.received if one.title.removeprefix("[SIMULATED] ") == title]


def find_bot(place: Place, supervisor: "subprocess.Popen[bytes]") -> "psutil.Process":
    """The bot of a supervisor.

    Raises:
        SceneFailedError: It has none.
    """
    import psutil

    for child in psutil.Process(supervisor.pid).children():
        if place.bot_argv[-1] in child.cmdline():
            return child
    raise SceneFailedError("the supervisor has no bot")


def _kill_bot(place: Place, supervisor: "subprocess.Popen[bytes]") -> float:
    return _kill(find_bot(place, supervisor).pid)


def _kill_simulator(place: Place, _: "subprocess.Popen[bytes]") -> float:
    record = next((place.root / "state").rglob("gateway.json"))
    return _kill(json.loads(record.read_text(encoding="utf-8"))["pid"])


def _kill_container(_: Place, __: "subprocess.Popen[bytes]") -> float:
    # From the command, not from the death: what the command itself takes is in the figure.
    killed_s = time.monotonic()
    subprocess.run(["docker", "kill", CONTAINER], check=True, stdout=subprocess.DEVNULL)
    return killed_s


def _kill(pid: int) -> float:
    killed_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return killed_s
