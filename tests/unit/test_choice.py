"""What `pytest` runs when it is not told, and what it runs when it is."""

import os

import pytest

from tests.conftest import choose_tests
from tests.programs import PROJECT

_NEITHER = "not docker and not rackmount and not years and not hosts"
_NONE = "not browser and not prometheus and not ntfy and not wine"


@pytest.mark.parametrize(
    ("arguments", "markers", "expression", "processes_each"),
    [
        (["tests"], "", f"{_NEITHER} and {_NONE}", 4),
        ([str(PROJECT)], "", f"{_NEITHER} and {_NONE}", 4),
        (["tests/unit", "tests/integration"], "", f"{_NEITHER} and {_NONE}", 4),
        (["tests"], "long", f"(long) and {_NEITHER} and {_NONE}", 4),
        (["tests/unit"], "", f"{_NEITHER} and {_NONE}", 1),
        (["tests/integration/test_files.py"], "", _NEITHER, 0),
        (["tests"], "browser", f"(browser) and {_NEITHER} and not prometheus and not ntfy and not wine", 4),
        (
            ["tests"],
            "browser or prometheus or ntfy or wine",
            f"(browser or prometheus or ntfy or wine) and {_NEITHER}",
            4,
        ),
        (["tests"], "docker", f"(docker) and not rackmount and not years and not hosts and {_NONE}", 0),
        (["tests"], "rackmount", f"(rackmount) and not docker and not years and not hosts and {_NONE}", 0),
        (["tests"], "docker or rackmount", f"(docker or rackmount) and not years and not hosts and {_NONE}", 0),
        (["tests/e2e/test_stack.py"], "", "not rackmount and not years and not hosts", 0),
        (["tests/rackmount"], "", f"not docker and not years and not hosts and {_NONE}", 0),
        (["tests"], "hosts", f"(hosts) and not docker and not rackmount and not years and {_NONE}", 0),
        (["tests/integration/test_contracts.py::test_with_an_engine"], "", "", 0),
    ],
)
def test_an_engine_a_host_and_a_browser_are_for_those_who_ask(
    arguments: list[str], markers: str, expression: str, processes_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    assert choose_tests(arguments, markers) == (expression, processes_each * (os.cpu_count() or 1))
