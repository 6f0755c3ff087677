"""The operator's own programs around a deploy."""

from pathlib import Path

import pytest

from orchestration.deploy.errors import DeployError
from orchestration.deploy.hooks import FOLDER, run_post_deploy, run_pre_deploy
from orchestration.deploy.workflow import Outcome
from orchestration.system.commands import SystemCommands

COMMANDS = SystemCommands()
FACTS = {"DEPLOY_COMMIT": "b" * 40, "DEPLOY_BY": "ann@desk"}


def write_hook(project: Path, name: str, text: str, *, mode: int = 0o755) -> None:
    path = project / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)


def test_without_hooks_nothing_happens(tmp_path: Path) -> None:
    outcome = Outcome(host="rackmount", action="deploy", ok=True, message="it runs")
    run_pre_deploy(tmp_path, COMMANDS, FACTS, host="rackmount")
    run_post_deploy(tmp_path, COMMANDS, FACTS, outcome)
    assert (outcome.ok, outcome.message) == (True, "it runs")


def test_they_have_the_facts_in_their_environment_and_run_in_the_projects_folder(tmp_path: Path) -> None:
    write_hook(tmp_path, "pre-deploy", 'echo "$DEPLOY_HOST $DEPLOY_COMMIT $DEPLOY_BY" >before; echo "checking"')
    write_hook(tmp_path, "post-deploy", 'echo "$DEPLOY_HOST $DEPLOY_OK $DEPLOY_RESULT $DEPLOY_RELEASE" >after')
    said: list[str] = []
    run_pre_deploy(tmp_path, COMMANDS, FACTS, host="rackmount", on_line=said.append)
    assert (tmp_path / "before").read_text() == f"rackmount {'b' * 40} ann@desk\n"
    assert said == ["checking"]
    outcome = Outcome(host="rackmount", action="deploy", result="went_back", release="20261117T090000Z_aaaaaaaaaa")
    run_post_deploy(tmp_path, COMMANDS, FACTS, outcome)
    assert (tmp_path / "after").read_text() == "rackmount no went_back 20261117T090000Z_aaaaaaaaaa\n"


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [("echo the tests fail; exit 3", 0o755, "ended with 3"), ("exit 0", 0o644, "chmod [+]x")],
)
def test_a_hook_before_it_that_fails_ends_the_deploy(tmp_path: Path, text: str, mode: int, said: str) -> None:
    write_hook(tmp_path, "pre-deploy", text, mode=mode)
    with pytest.raises(DeployError, match=said) as caught:
        run_pre_deploy(tmp_path, COMMANDS, FACTS, host="rackmount")
    assert "nothing was touched" in caught.value.message
    assert caught.value.evidence == (("the tests fail",) if mode == 0o755 else ())


def test_a_hook_after_it_that_fails_is_said_and_the_deploy_stays_what_it_was(tmp_path: Path) -> None:
    write_hook(tmp_path, "post-deploy", "echo no chat >&2; exit 1")
    outcome = Outcome(host="rackmount", action="deploy", ok=True, result="deployed", message="it runs")
    run_post_deploy(tmp_path, COMMANDS, FACTS, outcome)
    assert (outcome.ok, outcome.result) == (True, "deployed")
    assert outcome.message == "it runs; the hook .deploy/hooks/post-deploy ended with 1"
    assert outcome.evidence == ("no chat",)
