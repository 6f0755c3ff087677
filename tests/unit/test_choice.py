"""What `pytest` runs when it is not told, and what it runs when it is."""

import pytest

from tests.conftest import choose_tests
from tests.programs import PROJECT

_NEITHER = "not docker and not rackmount"


@pytest.mark.parametrize(
    ("arguments", "markers", "expression", "is_parallel"),
    [
        (["tests"], "", _NEITHER, True),
        ([str(PROJECT)], "", _NEITHER, True),
        (["tests/unit", "tests/integration"], "", _NEITHER, True),
        (["tests"], "not browser", f"(not browser) and {_NEITHER}", True),
        (["tests/unit"], "", _NEITHER, False),
        (["tests/integration/test_files.py"], "", _NEITHER, False),
        (["tests"], "docker", "(docker) and not rackmount", False),
        (["tests"], "rackmount", "(rackmount) and not docker", False),
        (["tests"], "docker or rackmount", "(docker or rackmount)", False),
        (["tests/e2e/test_stack.py"], "", "not rackmount", False),
        (["tests/rackmount"], "", "not docker", False),
        (["tests/integration/test_contracts.py::test_with_an_engine"], "", "", False),
    ],
)
def test_an_engine_and_a_host_are_for_those_who_ask(
    arguments: list[str], markers: str, expression: str, *, is_parallel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    assert choose_tests(arguments, markers) == (expression, is_parallel)
