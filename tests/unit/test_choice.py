"""What `pytest` runs when it is not told, and what it runs when it is."""

import os

import pytest

from tests.conftest import choose_tests
from tests.programs import PROJECT

_NEITHER = "not docker and not rackmount and not years and not hosts"


@pytest.mark.parametrize(
    ("arguments", "markers", "expression", "processes_each"),
    [
        (["tests"], "", _NEITHER, 4),
        ([str(PROJECT)], "", _NEITHER, 4),
        (["tests/unit", "tests/integration"], "", _NEITHER, 4),
        (["tests"], "not browser", f"(not browser) and {_NEITHER}", 4),
        (["tests/unit"], "", _NEITHER, 1),
        (["tests/integration/test_files.py"], "", _NEITHER, 0),
        (["tests"], "docker", "(docker) and not rackmount and not years and not hosts", 0),
        (["tests"], "rackmount", "(rackmount) and not docker and not years and not hosts", 0),
        (["tests"], "docker or rackmount", "(docker or rackmount) and not years and not hosts", 0),
        (["tests/e2e/test_stack.py"], "", "not rackmount and not years and not hosts", 0),
        (["tests/rackmount"], "", "not docker and not years and not hosts", 0),
        (["tests"], "hosts", "(hosts) and not docker and not rackmount and not years", 0),
        (["tests/integration/test_contracts.py::test_with_an_engine"], "", "", 0),
    ],
)
def test_an_engine_and_a_host_are_for_those_who_ask(
    arguments: list[str], markers: str, expression: str, processes_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    assert choose_tests(arguments, markers) == (expression, processes_each * (os.cpu_count() or 1))
