"""Which tests run, and how: `pytest` alone runs the unit and integration tests, in parallel.

Tests that need a Docker Engine, and those on a whole Linux host, run when they are asked for. They skip with a reason
where there is no engine, and fail there in CI.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import warm_workers
from tests.bytecode import compile_test_modules
from tests.thorough import PROFILE

# Set for the tests, it is not meant for the programs that they start: without byte code each one costs half a second
# more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long one example takes says something of the machine, not of the code. The same examples each time: a build that
# fails has to fail again when it is looked into.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True)
# For CI: more examples and seeds of the tests that ask `tests.thorough` how many.
hypothesis.settings.register_profile(PROFILE, deadline=None, derandomize=True)
hypothesis.settings.load_profile("project")

_HERE = Path(__file__).resolve().parent
_PROCESSES_PER_PROCESSOR = {_HERE.parent: 4, _HERE: 4, _HERE / "integration": 4, _HERE / "unit": 1}
# Marker and folder of what takes minutes, and an engine or a store.
_ON_DEMAND = {"docker": "e2e", "rackmount": "rackmount", "years": "years", "hosts": "hosts"}
# What a large program that is not the project's own is needed for: a browser alone computes as long as forty starts.
_BESIDE_PROGRAMS = ("browser", "prometheus", "ntfy", "wine")
_WARM = pytest.StashKey[warm_workers.WarmServer]()
_LOOK_TIMEOUT_S = 20
_LEAST_ENGINE = 25  # fast health checks while a container starts


@functools.cache
def _what_the_engine_lacks() -> str:
    """Why the end-to-end tests cannot run here, or an empty string."""
    if shutil.which("docker") is None:
        return "there is no docker program"
    for argv in (["docker", "version", "--format", "{{.Server.Version}}"], ["docker", "compose", "version", "--short"]):
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_LOOK_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return f"`{' '.join(argv[:3])}` does not answer"
        if done.returncode != 0:
            return f"`{' '.join(argv[:3])}` fails: {(done.stderr or done.stdout).strip()}"
        if argv[1] == "version" and int(done.stdout.partition(".")[0]) < _LEAST_ENGINE:
            return f"engine {done.stdout.strip()} is older than {_LEAST_ENGINE}"
    return ""


def choose_tests(arguments: Iterable[str], markers: str) -> tuple[str, int]:
    """Which tests are meant by a command line, and how many processes are to run them.

    Those on an engine or on whole hosts are left out unless their marker, their folder or a single test is named; those
    with a browser or the like unless their marker or a file is. Unit tests take a processor each; integration tests
    nearly always wait for something. Where files are named, one process begins sooner than many.

    Args:
        arguments: The paths it names, or the default ones.
        markers: What it says with `-m`.

    Returns:
        The expression for `-m`, and the number of processes; 0 for this one.
    """
    paths = [str(argument) for argument in arguments]
    is_single = any("::" in path for path in paths)
    left_out = [
        marker
        for marker, folder in _ON_DEMAND.items()
        if marker not in markers and not is_single and not any(f"tests/{folder}" in path for path in paths)
    ]
    given = [f"({markers})"] if markers else []
    processes = 0
    is_parallel = len(left_out) == len(_ON_DEMAND)
    if not any(path.endswith(".py") for path in paths) and not is_single:
        left_out += [marker for marker in _BESIDE_PROGRAMS if marker not in markers]
    if is_parallel:
        processors = os.cpu_count() or 1
        processes = processors * max(_PROCESSES_PER_PROCESSOR.get(Path(path).resolve(), 0) for path in paths)
    return " and ".join([*given, *(f"not {marker}" for marker in left_out)]), processes


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    config.option.markexpr, processes = choose_tests(map(str, config.args), config.option.markexpr)
    may_choose = getattr(config.option, "numprocesses", 0) is None and not config.option.usepdb
    if processes and may_choose and not hasattr(config, "workerinput"):
        config.option.numprocesses = processes
        config.option.dist = "worksteal"
        if hasattr(os, "fork"):
            compile_test_modules(os.cpu_count() or 1)
        if warm_workers.is_possible():
            config.stash[_WARM] = warm_workers.WarmServer(["tests/unit", "tests/integration"])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    if _WARM in config.stash:
        for spec in specs:
            spec.python = config.stash[_WARM].python


def pytest_unconfigure(config: pytest.Config) -> None:
    if _WARM in config.stash:
        config.stash[_WARM].close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") is None:
        return
    reason = _what_the_engine_lacks()
    if reason and os.environ.get("CI"):
        pytest.fail(f"CI must have a Docker Engine: {reason}", pytrace=False)
    if reason:
        pytest.skip(f"{reason}; .ci/engine starts one")


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, object] | None, dict[str, object] | None]:
    """Let every report be sent: text that is not UTF-8, in a log or a message, would kill xdist's worker."""
    data = yield
    if data is None or not (data.get("longrepr") or data.get("sections")):  # all else is pytest's own, or escaped by it
        return data
    return {name: _without_surrogates(value) for name, value in data.items()}


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without_surrogates(one) for one in value)
    return value
