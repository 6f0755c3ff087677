"""Deploying to a whole host over SSH: the first time, again, with nothing new, and back; ours and one of pyinfra's.

Each run has a host of its own for either (`tests/rackmount/host.py`), made ready by `fab provision`, which is not
counted. Both reach it through a relay that counts (`relay.py`), install from the same folder of wheels, and end when
`inv status` there is 0. While a release is replaced, a process on the host waits for the old bot's end; the rest of the
instants are read afterwards, from systemd and from the run's journal.
"""

import dataclasses
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmarks.figures import Claim, SceneResult, Series
from benchmarks.place import IMAGE, Place, SceneFailedError
from benchmarks.relay import Relay

if TYPE_CHECKING:
    from tests.rackmount.host import RackHost
    from tests.rackmount.site import Site

_MOST_RUNS, _QUICK_RUNS = 5, 1
_PYINFRA = "pyinfra==3.10.0"
_BASELINE = Path(__file__).resolve().parent / "pyinfra_deploy.py"
_OURS, _THEIRS = "`fab deploy`", "pyinfra"
_ACTS = ("first deploy", "replacing deploy", "deploy with nothing new", "rollback")
_GAP = "no bot runs while a release is replaced"
_PATIENCE_S = 600.0
# Says when the process whose id it is given has ended, to the microsecond, and costs nothing until then.
_WATCHER = """
import os, select, sys, time
number = os.pidfd_open(int(sys.argv[1]))
print("watching", flush=True)
select.select([number], [], [])
print(time.monotonic(), flush=True)
"""


class Tool(Protocol):
    """A way to deploy."""

    @property
    def base(self) -> str:
        """The folder on the host."""
        ...

    def deploy(self) -> None:
        """Bring the checkout's last commit into force."""
        ...

    def roll_back(self) -> None:
        """Bring the commit before it into force again."""
        ...


@dataclass
class Ours:
    """`fab`."""

    site: "Site"
    base: str = "/opt/zero-touch"

    def deploy(self) -> None:
        """See `Tool.deploy`."""
        self._run("deploy", f"--env-file={self.site.env_file}", f"--wheels={self.site.wheels}")

    def roll_back(self) -> None:
        """See `Tool.roll_back`."""
        self._run("rollback")

    def _run(self, *words: str) -> None:
        ended = self.site.fab(*words, "--json")
        if ended.code:
            raise SceneFailedError(f"fab {words[0]}: {ended}")


@dataclass
class Theirs:
    """The baseline."""

    site: "Site"
    relay: Relay
    program: Path
    wheels: Path
    base: str = "/opt/baseline"

    def deploy(self) -> None:
        """See `Tool.deploy`."""
        self._run("HEAD")

    def roll_back(self) -> None:
        """See `Tool.roll_back`."""
        self._run("HEAD~1")

    def _run(self, what: str) -> None:
        from tests.rackmount.host import USER
        from tests.rackmount.site import SERVICE_USER, UNIT

        site, folder = self.site, self.site.folder
        commit = site.git("rev-parse", what).strip()
        archive = folder / "release.tar.gz"
        site.git("archive", "--format=tar.gz", f"--output={archive}", commit)
        requirements = site.checkout / "requirements.txt"
        data = {
            "ssh_port": self.relay.port,
            "ssh_user": USER,
            "ssh_key": str(folder / "key"),
            "ssh_known_hosts_file": str(folder / "known_hosts"),
            "base": self.base,
            "service_user": SERVICE_USER,
            "unit": UNIT,
            "commit": commit,
            "requirements": hashlib.sha256(requirements.read_bytes()).hexdigest()[:16],
            "requirements_file": str(requirements),
            "env_file": str(site.env_file),
            "wheels": str(self.wheels),
            "archive": str(archive),
        }
        inventory = folder / "inventory.py"
        inventory.write_text(f"hosts = [('127.0.0.1', {data!r})]\n", encoding="utf-8")
        ended = subprocess.run(
            [self.program, "-y", inventory, _BASELINE],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        if ended.returncode:
            raise SceneFailedError(
                f"pyinfra ended with {ended.returncode}:\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}"
            )


@dataclass
class Samples:
    """What was measured of one tool.

    Attributes:
        values: By act and unit, in the order of the runs.
        gaps: For each replacing deploy, the instants from the old bot's end to the new one's READY, in order.
    """

    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    gaps: list[dict[str, float]] = field(default_factory=list)

    def add(self, act: str, unit: str, value: float) -> None:
        """Note one."""
        self.values.setdefault((act, unit), []).append(value)


def measure_deploys(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """Ours and the baseline in turns, each on a host of its own."""
    from tests.rackmount.host import NoHostError, build_ready_image, download_wheels

    try:
        image = build_ready_image()
    except NoHostError as error:
        return dataclasses.replace(result, skipped=str(error))
    wheels = place.root / "wheels.tar"
    with tarfile.open(wheels, "w") as archive:
        for wheel in download_wheels().glob("*.whl"):
            archive.add(wheel, arcname=wheel.name)
    program, about = _install_pyinfra(place)
    ours, theirs = Samples(), Samples()
    for number in range(min(runs, _QUICK_RUNS if place.is_quick else _MOST_RUNS)):
        folder = place.root / str(number)
        with _site(image, folder / "ours") as (site, relay):
            _measure(Ours(site), site, relay, ours)
        if program is not None:
            with _site(image, folder / "theirs") as (site, relay):
                _measure(Theirs(site, relay, program, wheels), site, relay, theirs)
    series = [*_render(_OURS, ours), *(_render(_THEIRS, theirs) if program is not None else ())]
    return dataclasses.replace(
        result, series=tuple(series), claims=_claim(ours, theirs), notes=(about, *_describe_gap(ours))
    )


def _measure(tool: Tool, site: "Site", relay: Relay, samples: Samples) -> None:
    _time(_ACTS[0], tool.deploy, relay, samples)
    site.commit("another one", **{"README.md": "\nAnother line.\n"})
    samples.gaps.append(_watch_gap(site, tool.base, lambda: _time(_ACTS[1], tool.deploy, relay, samples)))
    _time(_ACTS[2], tool.deploy, relay, samples)
    _time(_ACTS[3], tool.roll_back, relay, samples)
    _inv(site.host, tool.base, "status")  # fails unless all is well


def _time(act: str, perform: Callable[[], None], relay: Relay, samples: Samples) -> None:
    before, begun_s = relay.read(), time.perf_counter()
    perform()
    samples.add(act, "s", time.perf_counter() - begun_s)
    after = relay.read()
    samples.add(act, "", after[1] - before[1])
    samples.add(act, "MB", (after[2] - before[2]) / 1e6)


def _watch_gap(site: "Site", base: str, replace: Callable[[], None]) -> dict[str, float]:
    """Replace a release; when each thing was so, in seconds since the old bot's end, in their order."""
    from tests.rackmount.site import UNIT

    host = site.host
    (bot,) = site.bots()
    argv = ["docker", "exec", host.name, "python3", "-c", _WATCHER, str(bot)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watcher:
        lines = iter(watcher.stdout or ())
        next(lines)
        try:
            replace()
        except BaseException:
            watcher.kill()  # it would wait for ever for a bot that is not stopped
            raise
        ended_s = float(next(lines))
    instants = {
        "the old bot has ended": ended_s,
        "its supervisor has ended": _read_instant_s(host, UNIT, "InactiveEnterTimestamp"),
        "the new one is started": _read_instant_s(host, UNIT, "ExecMainStartTimestamp"),
    }
    wall_minus_monotonic_s = time.time() - time.monotonic()
    (run,) = json.loads(_inv(host, base, "history", "--json", "--limit=1"))["runs"]
    instants["`preflight` begins"] = _parse_s(run["steps"][0]["started_at"]) - wall_minus_monotonic_s
    for step in run["steps"]:
        name = "the new bot said READY" if step["name"] == "bot.start" else f"`{step['name']}` done"
        instants[name] = _parse_s(step["ended_at"]) - wall_minus_monotonic_s
    return {name: at_s - ended_s for name, at_s in instants.items()}


def _render(name: str, samples: Samples) -> Iterator[Series]:
    for act in _ACTS:
        for unit, what in (("s", ""), ("", ", round trips"), ("MB", ", sent")):
            yield Series(label=f"{name}: {act}{what}", unit=unit, samples=tuple(samples.values[act, unit]))
    yield Series(label=f"{name}: {_GAP}", unit="s", samples=tuple(_read_gaps(samples)))
    for earlier, later in pairwise(samples.gaps[0]):
        took = tuple(instants[later] - instants[earlier] for instants in samples.gaps)
        yield Series(label=f"{name}: of these, {earlier} → {later}", unit="s", samples=took)


def _read_gaps(samples: Samples) -> list[float]:
    return [list(instants.values())[-1] for instants in samples.gaps]


def _claim(ours: Samples, theirs: Samples) -> tuple[Claim, ...]:
    gap_s = statistics.median(_read_gaps(ours))
    claims = [Claim(text=f"{_GAP}: at most 2 s (median)", found=f"{gap_s:.2f} s", held=gap_s <= 2)]
    for act, unit, what in ((_ACTS[2], "s", "seconds"), (_ACTS[1], "", "round trips")):
        if theirs.values:
            mine, other = (statistics.median(one.values[act, unit]) for one in (ours, theirs))
            text = f"{act}: no more {what} than pyinfra needs (medians)"
            claims.append(Claim(text=text, found=f"{mine:.3g} beside {other:.3g}", held=mine <= other))
    return tuple(claims)


def _describe_gap(ours: Samples) -> tuple[str, ...]:
    own = [instants["the new bot said READY"] - instants["`gameplan.check` done"] for instants in ours.gaps]
    return (f"of the gap, the bot's own start takes {statistics.median(own):.2f} s (median)",)


@contextmanager
def _site(image: str, folder: Path) -> Iterator[tuple["Site", Relay]]:
    """A host made ready, and the operator's side of it, behind a relay."""
    from tests.rackmount.host import download_wheels, running_host
    from tests.rackmount.site import Site

    folder.mkdir(parents=True)
    try:
        with running_host(image) as host, Relay.running(host.ssh_port) as relay:
            host.load_image(IMAGE)
            site = Site(host=host, folder=folder, wheels=download_wheels())
            site.set_up()
            site.write_env(GATEWAY_IMAGE=IMAGE)
            site.use_ssh(port=relay.port)
            provisioned = site.fab("provision")
            if provisioned.code:
                raise SceneFailedError(f"fab provision: {provisioned}")
            yield site, relay
    except (AssertionError, subprocess.SubprocessError) as error:
        raise SceneFailedError(str(error)) from error


def _install_pyinfra(place: Place) -> tuple[Path | None, str]:
    """The baseline in a virtual environment of its own, and a word on it; None and why, where it cannot be had."""
    folder = place.root / "pyinfra"
    for argv in (
        (sys.executable, "-m", "venv", str(folder)),
        (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", _PYINFRA),
    ):
        # With the whole environment: how packages are fetched here is the machine's matter.
        ended = subprocess.run(argv, check=False, capture_output=True, text=True, env=dict(os.environ))
        if ended.returncode:
            said = ((ended.stderr or ended.stdout).strip().splitlines() or ["no word"])[-1]
            return None, f"pyinfra could not be installed, so it is not measured: {said}"
    return folder / "bin" / "pyinfra", f"{_PYINFRA} of PyPI runs `pyinfra_deploy.py`"


def _inv(host: "RackHost", base: str, *words: str) -> str:
    from tests.rackmount.site import SERVICE_USER

    argv = ["runuser", "-u", SERVICE_USER, "--", f"{base}/current/.venv/bin/python", "-m", "invoke", *words]
    return host.run(argv, cwd=f"{base}/current").out


def _read_instant_s(host: "RackHost", unit: str, name: str) -> float:
    return int(host.run(["systemctl", "show", f"--property={name}Monotonic", "--value", unit]).out) / 1e6


def _parse_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
