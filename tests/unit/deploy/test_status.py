"""`fab status`: what `inv status` on the host says is handed on, word for word."""

import sys
from pathlib import Path
from typing import Any

import pytest

from orchestration.deploy.errors import DeployError
from orchestration.deploy.host import Facts, Host
from orchestration.deploy.ready import refuse_unless_watched
from orchestration.deploy.show import describe_audit_line, describe_status, name_fab
from orchestration.deploy.workflow import Outcome
from tests.fakes.remote import FakeRemote
from tests.unit.deploy.test_deploy import OLD_NAME, facts

WELL = "The bot runs as process 7 on strategy A, and the gateway is ready."
DOWN = "The bot does not run."


def show(said: tuple[str, ...] = (), **changes: object) -> Outcome:
    remote = FakeRemote()
    remote.expect("look", {"result": facts(**changes)})
    host = Host(remote=remote, base="/opt/zero-touch", user="zero-touch")
    outcome = Outcome(host="rackmount", action="status")
    describe_status(outcome, host.look(status=True), said)
    return outcome


def status(code: int, message: str, **document: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON document
    lines = [] if code == 0 else [message]
    return {"code": code, "document": {"message": message, **document}, "lines": lines}


def test_every_line_of_the_hosts_own_status_is_shown() -> None:
    outcome = show(("bot  process 7, unsupervised: nothing watches it", WELL), status=status(0, WELL))
    assert outcome.changes[1:] == ("  bot  process 7, unsupervised: nothing watches it", f"  {WELL}")
    assert (outcome.ok, outcome.result, outcome.message) == (True, "status_0", WELL)


@pytest.mark.parametrize("code", [1, 3, 4])
def test_it_is_as_bad_as_the_host_says(code: int) -> None:
    outcome = show(status=status(code, DOWN))
    assert (outcome.ok, outcome.result, outcome.message) == (False, f"status_{code}", DOWN)


def test_a_host_that_stands_by_is_good() -> None:
    assert show(status=status(5, "stands by")).ok


def test_what_is_bad_beside_a_good_code_is_said() -> None:
    bot = {"running": True, "supervised": False}
    assert show(status=status(0, WELL, bot=bot)).message == f"{WELL} The bot is unsupervised: nothing watches it."
    told = "The bot runs unsupervised."
    assert show(status=status(0, told, bot=bot)).message == told
    service = {"state": "activating (auto-restart)"}
    assert show(status=status(3, DOWN, service=service)).message == (
        f"{DOWN} The boot service is activating (auto-restart)."
    )
    assert show(status=status(0, WELL), activation=True).message == (
        f"{WELL} An activation is under way there (zero-touch-activate.service)."
    )


def test_a_status_without_a_document_is_told_by_its_lines() -> None:
    assert show(status={"code": 1, "document": None, "lines": ["a traceback"]}).message == "a traceback"
    assert show(status={"code": 1, "document": None, "lines": []}).message == "`inv status` ended with 1."


def test_nothing_deployed_is_said_with_the_command_that_deploys() -> None:
    outcome = show(current="", releases=[], status=None)
    assert (outcome.ok, outcome.result, outcome.next_action) == (False, "not_deployed", "fab -H rackmount deploy")
    under_way = show(current="", releases=[], status=None, activation=True)
    assert "activation is under way" in under_way.message
    assert OLD_NAME not in under_way.message


def test_a_next_step_names_fab_so_that_the_line_works_here() -> None:
    own = str(Path(sys.prefix, "bin", "fab"))
    assert name_fab("fab -H rackmount deploy", on_path=own) == "fab -H rackmount deploy"
    for on_path in (None, "/usr/bin/fab"):
        said = name_fab("fab -H rackmount provision makes packages ready.", on_path=on_path)
        assert said.startswith("cd ")
        assert said.endswith("bin/fab -H rackmount provision makes packages ready.")
        assert name_fab(said, on_path=on_path) == said


def test_a_lock_of_deploys_is_said() -> None:
    locked = {"by": "ann@desk", "since": "today", "message": "earnings week"}
    assert show(status=status(0, WELL), locked=locked).message == (
        f"{WELL} Deploys are locked by ann@desk since today: earnings week."
    )


def test_only_a_bot_that_is_watched_is_restarted() -> None:
    def look(**changes: object) -> Facts:
        remote = FakeRemote()
        remote.expect("look", {"result": facts(**changes)})
        return Host(remote=remote, base="/opt/zero-touch", user="zero-touch").look(status=True)

    refuse_unless_watched(look(status=status(0, WELL, bot={"running": True, "supervised": True})))
    service = {"name": "zero-touch-startup.service", "state": "inactive"}
    for bot in ({"running": True, "supervised": False}, {"running": False, "supervised": None}):
        with pytest.raises(DeployError, match="nothing was restarted") as caught:
            refuse_unless_watched(look(status=status(3, DOWN, bot=bot, service=service)))
        assert caught.value.next_action == "There: sudo systemctl restart zero-touch-startup.service"
    with pytest.raises(DeployError, match="nothing is deployed"):
        refuse_unless_watched(look(current="", releases=[], status=None))


def test_a_line_of_the_audit_trail_says_who_from_where_what_and_what_came_of_it() -> None:
    line = {"at": "2026-11-18", "by": "ann@desk", "address": "10.0.0.7", "action": "deploy", "target": OLD_NAME}
    assert describe_audit_line({**line, "outcome": "good", "cause": ""}) == (
        f"2026-11-18  ann@desk from 10.0.0.7  deploy {OLD_NAME}: good"
    )
    assert describe_audit_line({**line, "target": "", "outcome": "kept", "cause": "no room"}).endswith(
        "deploy: kept (no room)"
    )
