"""A whole system for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import System, system_in


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """An instance of its own, on the built-in gateway; whatever it started is ended after the test."""
    with system_in(tmp_path / "system") as made:
        yield made
