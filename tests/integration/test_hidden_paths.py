"""Settings that name what this user may not look at, or what no file system can hold: told, never a crash."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import Ended, System

# Root passes by every permission bit; without these two capabilities it does not.
UNPRIVILEGED = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
)
needs_permissions = pytest.mark.skipif(
    os.name != "posix" or bool(UNPRIVILEGED and shutil.which("setpriv") is None), reason="needs permission bits"
)


@contextlib.contextmanager
def hidden(folder: Path) -> Iterator[Path]:
    """A folder that no user may enter."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0)
    try:
        yield folder
    finally:
        folder.chmod(0o700)


def inv(system: System, *arguments: str, **changes: str) -> Ended:
    return system.run([*UNPRIVILEGED, sys.executable, "-m", "invoke", *arguments], environ=changes)


@needs_permissions
def test_a_plan_in_a_folder_that_may_not_be_entered_leads_to_strategy_c(system: System, tmp_path: Path) -> None:
    system.use_small_bot("--ready")
    with hidden(tmp_path / "hidden") as folder:
        started = inv(system, "startup", "--json", GAMEPLAN_PATH=str(folder / "plan.json"))
    assert started.code == 2, started.err
    assert started.document["fallback"] == "GAMEPLAN_UNREADABLE"


def test_a_plan_with_a_name_that_no_folder_can_hold_leads_to_strategy_c(system: System, tmp_path: Path) -> None:
    checked = system.inv("gameplan.check", "--json", environ={"GAMEPLAN_PATH": str(tmp_path / ("x" * 300))})
    assert checked.code == 0, checked.err
    assert checked.document["gameplan"]["strategy"] == "C"
    assert checked.document["fallback"] in {"GAMEPLAN_MISSING", "GAMEPLAN_UNREADABLE"}


@needs_permissions
@pytest.mark.parametrize(
    "settings",
    [
        {"BOT_COMMAND": "{folder}/bot"},
        {"BOT_WORKDIR": "{folder}/work", "GAMEPLAN_SCHEMA": "{folder}/schema.json"},
        {"BOT_COMMAND": "python3 {folder}/bot.py", "STATE_DIR": "{folder}/state"},
        {"ENV_FILE": "{folder}/.env"},
        {"TWS_PASSWORD_FILE": "{folder}/password"},
    ],
)
def test_preflight_tells_which_settings_name_what_this_user_may_not_look_at(
    system: System, tmp_path: Path, settings: dict[str, str]
) -> None:
    with hidden(tmp_path / "hidden") as folder:
        changes = {name: value.format(folder=folder) for name, value in settings.items()}
        looked = inv(system, "preflight", "--json", **changes)
    assert looked.code == 1, looked.err
    told = [check["detail"] for check in looked.document["checks"] if check["status"] == "fail"]
    assert [name for name in settings if not any(name in detail for detail in told)] == [], told


@needs_permissions
def test_a_compose_folder_that_may_not_be_entered_is_told(system: System, tmp_path: Path) -> None:
    with hidden(tmp_path / "hidden") as folder:
        looked = inv(system, "preflight", "--json", GATEWAY_RUNTIME="docker", DOCKER_COMPOSE_DIR=str(folder / "x"))
    assert looked.code == 1, looked.err


@needs_permissions
def test_logs_that_may_not_be_looked_at_are_told(system: System, tmp_path: Path) -> None:
    with hidden(tmp_path / "hidden") as folder:
        looked = inv(system, "logs", LOG_DIR=str(folder / "logs"))
    assert looked.code == 1
    assert "Traceback" not in looked.err
    assert str(folder) in looked.err


@needs_permissions
def test_whether_a_bot_runs_cannot_be_told_from_a_state_folder_that_may_not_be_entered(system: System) -> None:
    with hidden(system.state):
        looked = inv(system, "status", "--json")
    assert looked.code == 4, looked.out
