"""The whole program over simulated days. The seeds that once failed stand here by what they had found."""

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import programs

pytestmark = [pytest.mark.years, pytest.mark.timeout(300)]  # of a machine that is busy with something else

_FIXED = (7,)
_DAYS = 12.0


# What a seed that nobody has looked at fails on. The rules about alerts and answers are judged for known seeds and the
# dense days: a breach of them by a new seed is printed, to be looked into, for the oracle may be what is wrong.
_SAFETY = (
    "one bot",
    "plan of the day",
    "hold",
    "gateway validated",
    "no secret told",
    "no restart while a person is waited for",
    "state files whole",
)


def _run(*arguments: str, timeout_s: float = 280.0) -> str:
    """Run the simulation as a program; what it printed. Fails where it found a breach of the safety rules."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.years", *arguments],
        cwd=programs.PROJECT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    said = f"{' '.join(arguments)}\n{ended.stdout}{ended.stderr}"
    assert ended.returncode in {0, 1}, said
    assert ended.stdout.startswith("seed "), said
    assert not [line for line in ended.stdout.splitlines() if any(f" s: {rule}: " in line for rule in _SAFETY)], said
    print(ended.stdout)
    return ended.stdout


def _cover(seed: int, days: float = _DAYS) -> Sequence[str]:
    return ("--seed", str(seed), "--years", f"{days / 365.25:.5f}", "--interval", "300", "--every-days", "0.8")


@pytest.mark.parametrize("seed", _FIXED)
def test_a_fixed_seed_breaks_no_safety_rule(seed: int) -> None:
    _run(*_cover(seed))


def test_a_new_seed_breaks_no_safety_rule() -> None:
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")  # what failed is replayed with it
    _run(*_cover(seed))


def test_one_seed_gives_one_trace_byte_for_byte(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        _run(*_cover(3, days=4.0), "--trace", str(path))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_text(encoding="utf-8").count("bot: launched") > 1
