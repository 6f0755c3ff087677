"""The keys that the page of commands names are those that the commands print."""

from pathlib import Path
from typing import Any

import pytest

from tests.documentation.documents import JSON_KEYS, VARIANTS, Keys
from tests.system import System, system_in

pytestmark = pytest.mark.timeout(180)


def _compare(document: Any, keys: Keys, path: str) -> None:  # noqa: ANN401 - a JSON document
    for one in document if isinstance(document, list) else [document]:
        if one is None:
            continue
        assert set(one) == {key for key in keys if key}, path
        for key, meaning in keys.items():
            if not isinstance(meaning, str):
                _compare(one[key], meaning, f"{path}.{key}")


def _hold_against_page(system: System, keys: Keys, *words: str) -> None:
    _compare(system.inv(*words, "--json").document, keys, " ".join(words))


def test_every_document_has_the_keys_that_the_page_names(tmp_path: Path) -> None:
    with system_in(tmp_path / "system") as system:
        system.use_small_bot("--ready")
        plan = system.use_plan()
        _hold_against_page(system, VARIANTS["startup", "--dry-run"], "startup", "--dry-run")
        _hold_against_page(system, VARIANTS["gameplan.check", "--path FILE"], "gameplan.check", "--path", str(plan))
        for task in (
            "preflight",
            "startup",
            "status",
            "history",
            "config",
            "alert.test",
            "hold",
            "status",
            "resume",
            "failover",
        ):
            _hold_against_page(system, JSON_KEYS[task], task)
        _hold_against_page(system, JSON_KEYS["install"], "install", "--output", str(tmp_path / "unit"))
        for task in ("bot.stop", "shutdown", "failover"):
            _hold_against_page(system, JSON_KEYS[task], task)
