"""The test run itself: what a test that takes too long costs, and what test processes share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system import PATIENCE_S, PROJECT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and file locks of POSIX")

_SLOW = """
import time

def test_that_takes_too_long():
    time.sleep(600)

def test_that_comes_after_it():
    pass
"""


def test_a_test_that_takes_too_long_fails_and_its_worker_goes_on(tmp_path: Path) -> None:
    module = tmp_path / "test_slow.py"
    module.write_text(_SLOW, encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-c", str(PROJECT / "pyproject.toml"), f"--rootdir={tmp_path}"]
    options = ["-p", "no:cacheprovider", "-n", "1", "-o", "timeout=1", str(module)]
    # Without the options of the run that this test is part of: they name that run's report and cache.
    environ = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    ended = subprocess.run(
        [*argv, *options], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert "1 failed, 1 passed" in ended.stdout, ended.stdout
    assert "Timeout" in ended.stdout, "it says why"
    assert "crashed" not in ended.stdout, "a worker that ends takes with it what the test would have cleaned up"


@pytest.mark.timeout(20)
def test_two_users_of_an_image_have_it_at_the_same_time_and_the_last_one_removes_it(tmp_path: Path) -> None:
    from tests.e2e.images import share_image

    done: list[str] = []

    def build(tag: str) -> str:
        done.append(f"build {tag}")
        return tag

    def remove(tag: str) -> None:
        done.append(f"remove {tag}")

    with share_image(tmp_path / "image", "bot", build, remove) as one:
        with share_image(tmp_path / "image", "bot", build, remove) as other:
            assert other == one
        assert done == [f"build {one}"] * 2, "the first one still uses it"
    assert done[2:] == [f"remove {one}"]
