"""The scenes: each measures one thing, ours and the baseline's in turns, so that noise meets both alike."""

import dataclasses
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Claim, SceneResult, Series, claim_at_most, claim_ratio
from benchmarks.place import CONTAINER, Place, SceneFailedError, explain_no_engine, inv, read_listening_since, wait_for

if TYPE_CHECKING:
    import subprocess

_CLASSIC = Path(__file__).resolve().parent / "classic.py"
_RETRY_INTERVAL_S = 0.5  # GATEWAY_HEALTH_RETRY_INTERVAL as it is by default
_CLASSIC_PERIOD_S = 5.0
_RANDOM = secrets.SystemRandom()

_ONE_TASK = '''\
from invoke import task


@task
def hello(c):
    """Say hello."""
'''


class Part(StrEnum):
    """What belongs together: measured by one run, published as one table."""

    START = "start"
    WATCH = "watch"
    INSTANCES = "instances"
    DEPLOY = "deploy"
    JOURNAL = "journal"
    GUARD = "guard"
    VIEWS = "views"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Something to measure.

    Attributes:
        name: What `--only` takes.
        title: One line for people.
        measure: Measures it in a place of its own, so many times.
        needs_engine: Whether it needs Docker and the simulator's image.
        part: Under which heading of `README.md` its figures stand.
        explain_why_not: Why it cannot be measured here, beyond that; empty if it can.
    """

    name: str
    title: str
    measure: Callable[[Place, int, SceneResult], SceneResult]
    needs_engine: bool = False
    part: Part = Part.START
    explain_why_not: Callable[[], str] = str

    def run(self, folder: Path, runs: int, *, is_quick: bool = False) -> SceneResult:
        """Measure it, and leave nothing behind.

        Raises:
            SceneFailedError: It could not be measured.
        """
        result = SceneResult(name=self.name, title=self.title)
        reason = (explain_no_engine() if self.needs_engine else "") or self.explain_why_not()
        if reason:
            return dataclasses.replace(result, skipped=reason)
        place = Place.build(folder / self.name, is_quick=is_quick)
        if not self.needs_engine:
            place.environ["GATEWAY_RUNTIME"] = "external"
        try:
            return self.measure(place, runs, result)
        finally:
            place.run(inv("bot.stop"), codes=(0, 1))
            if self.needs_engine:
                place.remove_container()


def measure_warm_start(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """The gateway is up and healthy, no bot runs: the whole command, from nothing to its end."""
    with _gateway_up(place):
        ours, bare, classic = [], [], []
        for command in ("startup", "bot.stop"):  # fills the caches of Python and of the disk
            place.run(inv(command))
        no_byte_code = place.forget_own_byte_code()
        for _ in range(runs):
            ours.append(place.run(inv("startup")))
            place.run(inv("bot.stop"))
            bare.append(place.run(inv("startup"), environ=no_byte_code))
            place.run(inv("bot.stop"))
            classic.append(_run_classic(place))
    series = (
        Series(label="`inv startup`", unit="s", samples=tuple(ours)),
        Series(label="the classic way", unit="s", samples=tuple(classic)),
        Series(label="`inv startup`, none of our byte code kept", unit="s", samples=tuple(bare)),
    )
    claims = (
        claim_at_most("median of `inv startup`", series[0].median, 1.2, "s"),
        claim_ratio("than the classic way", series[1], series[0], 4),
    )
    return dataclasses.replace(result, series=series, claims=claims)


def measure_reaction(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """A gateway logs in late: from the instant at which it can first be used to the bot's launch."""
    in_container = "GATEWAY_RUNTIME" not in place.environ
    login = _log_in_late_in_container if in_container else _log_in_late_as_process
    place.run(inv("config"))  # fills the caches
    ours, classic = [], []
    for number in range(runs):
        # Spread evenly over the baseline's period, and at random within: no poll lines up with the login.
        slow_s = 4.0 + _CLASSIC_PERIOD_S * (number + _RANDOM.random()) / runs
        ours.append(login(place, slow_s, _react_ours))
        classic.append(login(place, slow_s, _react_classic))
    where = "the container healthy" if in_container else "the API open"
    series = (
        Series(label=f"{where} → the bot's first instruction", unit="s", samples=tuple(ours)),
        Series(label="the same, the classic way", unit="s", samples=tuple(classic)),
    )
    limit_s = 0.3 if in_container else 0.3 + _RETRY_INTERVAL_S / 2
    claims = (
        claim_at_most("median", series[0].median, limit_s, "s"),
        claim_at_most("worst", series[0].most, 0.8, "s"),
    )
    note = f"the classic way takes {series[1].median / series[0].median:.0f} times as long (medians)"
    return dataclasses.replace(result, series=series, claims=claims, notes=(note,))


def measure_list(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """`inv --list` here, and on a file with one task."""
    small = place.root / "one_task"
    small.mkdir()
    (small / "tasks.py").write_text(_ONE_TASK, encoding="utf-8")
    ours, classic, bare = [], [], []
    place.run(inv("--list"))
    no_byte_code = place.forget_own_byte_code()
    for _ in range(2 * runs):
        ours.append(place.run(inv("--list")))
        classic.append(place.run(inv("--list"), cwd=small))
        bare.append(place.run(inv("--list"), environ=no_byte_code))
    series = (
        Series(label="`inv --list`", unit="s", samples=tuple(ours)),
        Series(label="`inv --list` on a one-task file", unit="s", samples=tuple(classic)),
        Series(label="`inv --list`, none of our byte code kept", unit="s", samples=tuple(bare)),
    )
    ratio = series[0].median / series[1].median
    claim = Claim(
        text="at most 1.25 times `inv --list` on a one-task file", found=f"{ratio:.2f} times", held=ratio <= 1.25
    )
    return dataclasses.replace(result, series=series, claims=(claim,))


def measure_status(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """`inv status` with a bot that runs."""
    if "GATEWAY_RUNTIME" in place.environ:
        place.environ["GATEWAY_RUNTIME"] = "simulator"
    else:
        place.start_container()
        wait_for("a healthy container", place.read_healthy_since)
    place.run(inv("startup"))
    try:
        samples = [place.run(inv("status")) for _ in range(runs + 1)][1:]
    finally:
        place.run(inv("shutdown"))
    series = Series(label="`inv status`, the bot up", unit="s", samples=tuple(samples))
    return dataclasses.replace(result, series=(series,), claims=(claim_at_most("median", series.median, 0.8, "s"),))


def _run_classic(place: Place) -> float:
    begun_s = time.perf_counter()
    process = _begin_classic(place)
    place.end_of(process, ("the classic start-up",))
    took_s = time.perf_counter() - begun_s
    _end_classic_bot(place)
    return took_s


def _begin_classic(place: Place) -> "subprocess.Popen[bytes]":
    place.forget_launch()
    container = () if "GATEWAY_RUNTIME" in place.environ else ("--container", CONTAINER)
    plan, log = str(place.root / "gameplan.json"), str(place.root / "classic_bot.log")
    options = (*container, "--port", str(place.port), "--gameplan", plan, "--log", log)
    return place.begin((sys.executable, str(_CLASSIC), *options, *place.bot_argv))


def _end_classic_bot(place: Place) -> None:
    import psutil

    for process in psutil.process_iter():
        try:
            if tuple(process.cmdline()) == place.bot_argv:
                process.kill()
        except psutil.Error:
            continue


def _gateway_up(place: Place) -> AbstractContextManager[object]:
    if "GATEWAY_RUNTIME" in place.environ:
        return place.simulator()
    place.start_container()
    wait_for("a healthy container", place.read_healthy_since)
    return nullcontext()


def _log_in_late_in_container(place: Place, slow_s: float, react: Callable[[Place], float]) -> float:
    place.start_container(faults=f"slow_login={slow_s:.2f}")
    time.sleep(_RANDOM.random())
    launched_at = react(place)
    ready_at = place.read_healthy_since()
    if ready_at is None:
        raise SceneFailedError("the bot was launched, and the container is not healthy")
    return launched_at - ready_at


def _log_in_late_as_process(place: Place, slow_s: float, react: Callable[[Place], float]) -> float:
    with place.simulator(fault=f"slow_login={slow_s:.2f}") as log:
        time.sleep(_RANDOM.random())
        launched_at = react(place)
        ready_at = read_listening_since(log)
    if ready_at is None:
        raise SceneFailedError("the bot was launched, and the API is not open")
    return launched_at - ready_at


def _react_ours(place: Place) -> float:
    place.forget_launch()
    place.run(inv("startup"))
    launched_at = place.wait_for_launch()
    place.run(inv("bot.stop"))
    return launched_at


def _react_classic(place: Place) -> float:
    process = _begin_classic(place)
    launched_at = place.wait_for_launch()
    process.kill()  # its proof of life is no matter here
    process.wait()
    _end_classic_bot(place)
    return launched_at
