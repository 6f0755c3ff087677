"""Tests that need a Docker Engine skip with a reason where there is none, and fail there in CI.

Those on a whole Linux host build one and reboot it, for a quarter of an hour: they run when they are asked for.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Generator

import hypothesis
import pytest

# Whoever set this for the tests did not mean the programs that they start: without byte code each one costs half a
# second more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long one example takes says something of the machine, not of the code.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests on a whole host out, unless the command line names their marker or their folder."""
    is_asked = "rackmount" in config.option.markexpr or any("rackmount" in str(one) for one in config.args)
    if is_asked:
        return
    for item in items:
        if item.get_closest_marker("rackmount") is not None:
            item.add_marker(pytest.mark.skip(reason="takes a quarter of an hour: pytest -m rackmount"))


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
    return None if data is None else {name: _without_surrogates(value) for name, value in data.items()}


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without_surrogates(one) for one in value)
    return value
