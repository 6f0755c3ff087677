"""The steps of a deploy against a host that is a strict fake."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from orchestration.deploy.checkout import Checkout
from orchestration.deploy.deploy import deploy, rollback
from orchestration.deploy.errors import DeployError
from orchestration.deploy.host import Host
from orchestration.deploy.release import build_gateway_digest
from orchestration.deploy.workflow import DeployOptions, Outcome, Workflow
from tests.fakes.clock import FakeClock
from tests.fakes.remote import FakeRemote

OLD, NEW = "a" * 40, "b" * 40
OLD_NAME = "20261117T090000Z_aaaaaaaaaa"
NEW_NAME = "20261118T140000Z_bbbbbbbbbb"  # the fake clock's time
TREE = Checkout(folder=Path("/checkout"), commit=NEW, subject="something new", files={"a": "2", "b": "1"})
GOOD = {"code": 0, "document": {}, "lines": []}
SECRET = b"TWS_PASSWORD=planted\n"


def facts(**changes: object) -> dict[str, Any]:
    """A host that is ready, with one good release that runs."""
    gateway = build_gateway_digest({"a": "1"})
    one = {"name": OLD_NAME, "commit": OLD, "gateway": gateway, "complete": True, "verified": True, "failed": False}
    return {
        "python": "3.12.3",
        "has_venv": True,
        "has_systemd": True,
        "user": {"uid": 998, "home": "/home/zero-touch", "groups": ["zero-touch", "docker"]},
        "docker": "27.1.1",
        "docker_problem": "",
        "free_bytes": 10 * 1024**3,
        "base_owner": "zero-touch",
        "current": OLD_NAME,
        "files": {"a": "1"},
        "releases": [one],
        "env_mode": 0o600,
        "activation": False,
        "hold": {},
        "status": GOOD,
        **changes,
    }


def activated(outcome: str, current: str, **changes: object) -> dict[str, Any]:
    said = {"outcome": outcome, "current": current, "gap_s": 3.1, "message": "", "next_action": "", "evidence": []}
    return {"result": {**said, **changes}}


@pytest.fixture
def remote() -> FakeRemote:
    remote = FakeRemote()
    remote.expect("look", {"result": facts()})
    remote.expect("ensure_folders", {"result": {"cleared": []}})
    remote.expect("unpack", {"result": {}})
    remote.expect("build", {"say": "building"}, {"result": {"found": True}})
    remote.expect("seal", {"result": {}})
    remote.expect("begin", {"result": {}})
    remote.expect("follow", {"step": "switch", "ok": True, "duration_s": 0.1}, {}, activated("good", NEW_NAME))
    return remote


def run(remote: FakeRemote, options: DeployOptions | None = None, *, tree: Checkout = TREE) -> Outcome:
    host = Host(remote=remote, base="/opt/zero-touch", user="zero-touch")
    work = Workflow(host, "deploy", clock=FakeClock(), on_step=lambda _: None)
    return deploy(work, tree, lambda: b"archive", options or DeployOptions(by="ann@desk"))


def test_a_new_commit_is_uploaded_built_sealed_and_activated(remote: FakeRemote) -> None:
    outcome = run(remote)
    assert (outcome.ok, outcome.result, outcome.release) == (True, "deployed", NEW_NAME)
    assert remote.commands == ["look", "look", "ensure_folders", "unpack", "build", "seal", "begin", "follow"]
    assert remote.uploads["unpack"] == b"archive"
    begun = dict(remote.calls)["begin"]
    assert (begun["target"], begun["previous"], begun["gateway_changed"]) == (NEW_NAME, OLD_NAME, False)
    assert [step.name for step in outcome.steps] == [
        *("connect", "check", "lock", "look again", "folders", "upload", "environment", "seal", "switch"),
    ]
    assert outcome.changes == ("M a", "A b")
    assert remote.held is not None
    assert not remote.held.is_held


def test_changed_files_of_the_gateway_have_its_container_made_anew(remote: FakeRemote) -> None:
    tree = dataclasses.replace(TREE, files={**TREE.files, "docker/gateway/docker-compose.yml": "1"})
    assert run(remote, tree=tree).ok
    assert dict(remote.calls)["begin"]["gateway_changed"] is True


def test_the_argument_list_is_the_loader_and_a_length_whatever_is_sent(remote: FakeRemote) -> None:
    remote.expect("put_env", {"result": {"changed": True}})
    assert run(remote, DeployOptions(env=SECRET, wheels=b"wheels")).ok
    assert remote.uploads["put_env"] == SECRET
    assert "planted" not in str(remote.argvs)
    assert {argv[:6] for argv in remote.argvs if argv[2] == "python3"} == {
        ("sudo", "-n", "python3", "-I", "-c", remote.argvs[0][5])
    }


def test_wheels_are_sent_only_if_there_is_no_environment_for_these_requirements(remote: FakeRemote) -> None:
    assert run(remote, DeployOptions(wheels=b"wheels")).ok
    assert (remote.commands.count("unpack"), remote.commands.count("build")) == (1, 1)
    remote.answers["build"] = [[{"result": {"found": False}}], [{"say": "building"}, {"result": {"found": False}}]]
    assert run(remote, DeployOptions(wheels=b"wheels")).ok
    assert remote.uploads["unpack"] == b"wheels"
    assert [arguments.get("only_found", False) for command, arguments in remote.calls if command == "build"][1:] == [
        True,
        False,
    ]


def test_root_needs_no_sudo() -> None:
    remote = FakeRemote(user="root")
    remote.expect("look", {"result": facts(releases=[{**facts()["releases"][0], "commit": NEW}])})
    assert run(remote).result == "nothing_new"
    assert remote.argvs[0][0] == "python3"


def test_nothing_new_takes_no_lock_and_changes_nothing() -> None:
    remote = FakeRemote()
    remote.expect("look", {"result": facts(releases=[{**facts()["releases"][0], "commit": NEW}])})
    outcome = run(remote)
    assert (outcome.ok, outcome.result) == (True, "nothing_new")
    assert remote.held is None


def test_the_same_commit_that_is_not_well_is_started_anew_without_an_upload(remote: FakeRemote) -> None:
    same = facts(releases=[{**facts()["releases"][0], "commit": NEW}], status={**GOOD, "code": 3})
    remote.answers["look"] = [[{"result": same}]]
    assert run(remote).result == "deployed"
    assert "unpack" not in remote.commands
    assert dict(remote.calls)["begin"]["target"] == OLD_NAME


def test_a_dry_run_only_looks() -> None:
    remote = FakeRemote()
    remote.expect("look", {"result": facts()})
    outcome = run(remote, DeployOptions(dry_run=True))
    assert (outcome.ok, outcome.result, outcome.changes) == (True, "would_deploy", ("M a", "A b"))
    assert remote.commands == ["look"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"python": "3.10.12"}, "3.11 or newer"),
        ({"has_venv": False}, "python3-venv"),
        ({"has_systemd": False}, "systemd"),
        ({"user": {}}, "no user zero-touch"),
        ({"docker": "", "docker_problem": "permission denied"}, "permission denied"),
        ({"free_bytes": 5 * 1024**2}, "5 MiB"),
        ({"base_owner": ""}, "no known owner"),
        ({"env_mode": None}, "--env-file"),
        ({"env_mode": 0o644}, "chmod 600"),
        ({"hold": {"by": "bob@rack", "since": "today"}}, "held by bob@rack"),
        ({"hold": {"by": "bob@rack"}}, "/current && sudo -u zero-touch .venv/bin/inv resume` there"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_host_that_is_not_ready_is_left_alone(change: dict[str, Any], words: str) -> None:
    remote = FakeRemote()
    remote.expect("look", {"result": facts(**change)})
    outcome = run(remote)
    assert not outcome.ok
    assert words in str(outcome.evidence)
    fix = {"free_bytes": "Fix", "env_mode": "Fix", "hold": "Fix"}.get(next(iter(change)), "provision")
    assert fix in outcome.next_action
    assert remote.commands == ["look"]


def test_the_holder_of_the_lock_is_named(remote: FakeRemote) -> None:
    remote.locked_by = '{"by": "bob@desk (process 7)", "since": "2026-11-18T13:59:00+00:00", "action": "deploy"}'
    outcome = run(remote)
    assert "by bob@desk (process 7) since 2026-11-18T13:59" in outcome.message
    assert remote.commands == ["look"]


@pytest.mark.parametrize("lost_at", ["unpack", "build", "seal"])
def test_a_deploy_that_lost_the_lock_goes_no_further(remote: FakeRemote, lost_at: str) -> None:
    remote.loses_lock_at = lost_at
    remote.expect("discard", {"result": {}})
    remote.expect("audit", {"result": {}})
    outcome = run(remote)
    assert not outcome.ok
    assert "lock was lost" in outcome.message
    assert "begin" not in remote.commands


@pytest.mark.parametrize("command", ["unpack", "build", "seal"])
def test_a_release_that_cannot_be_made_is_removed_and_audited(remote: FakeRemote, command: str) -> None:
    refused = {"refused": {"message": "the disk is full", "next_action": "", "evidence": ["No space left"]}}
    remote.answers[command] = [[refused]]
    remote.expect("discard", {"result": {}})
    remote.expect("audit", {"result": {}})
    outcome = run(remote)
    assert (outcome.ok, outcome.result, outcome.message) == (False, "not_made", "the disk is full")
    assert "begin" not in remote.commands
    assert dict(remote.calls)["audit"]["outcome"] == "not_made"
    assert remote.held is not None
    assert not remote.held.is_held


def test_a_connection_that_breaks_is_the_outcome_even_if_nothing_can_be_cleared_away(remote: FakeRemote) -> None:
    broken = DeployError("the connection to rackmount broke")
    for command in ("build", "discard"):
        remote.answers[command] = [[broken]]
    assert run(remote).message == "the connection to rackmount broke"


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("kept", "runs on"),
        ("went_back", "runs again"),
        ("went_back_not_good", "NOT HEALTHY"),
        ("stopped", "are stopped"),
    ],
)
def test_what_became_of_a_bad_release_is_said(remote: FakeRemote, outcome: str, words: str) -> None:
    remote.answers["follow"] = [[activated(outcome, OLD_NAME, message="it did not start", evidence=["a line"])]]
    found = run(remote)
    assert (found.ok, found.result, found.evidence) == (False, outcome, ("a line",))
    assert words in found.message


def test_an_activation_that_a_cut_deploy_left_behind_is_waited_for(remote: FakeRemote) -> None:
    new = [{**facts()["releases"][0], "commit": NEW}]
    looks = [facts(activation=True), facts(activation=True), facts(releases=new)]
    remote.answers["look"] = [[{"result": one}] for one in looks]
    assert run(remote).result == "nothing_new"
    assert "begin" not in remote.commands
    assert remote.commands.count("follow") == 1


def test_the_first_release_has_nothing_before_it(remote: FakeRemote) -> None:
    remote.answers["look"] = [[{"result": facts(current="", releases=[], files={}, status=None)}]]
    assert run(remote).ok
    begun = dict(remote.calls)["begin"]
    assert (begun["previous"], begun["gateway_changed"]) == ("", False)


def test_a_host_without_sudo_or_python_is_told_what_it_needs() -> None:
    for errors, words in (
        ("sudo: a password is required", "without a password"),
        ("sudo: python3: command not found", "no python3"),
        ("Killed", "no result"),
    ):
        host = Host(remote=FakeRemote(dies_with=errors), base="/opt/zero-touch", user="zero-touch")
        with pytest.raises(DeployError, match=words):
            host.look()


@pytest.mark.parametrize(
    ("code", "errors", "words"),
    [
        (126, "nothing is deployed in /opt/zero-touch/current", "nothing is deployed"),
        (1, "sudo: a password is required", "without a password"),
    ],
)
def test_a_log_that_cannot_be_shown_says_why(code: int, errors: str, words: str) -> None:
    host = Host(remote=FakeRemote(dies_with=errors, dies_with_code=code), base="/opt/zero-touch", user="zero-touch")
    with pytest.raises(DeployError, match=words):
        host.run_inv("logs", on_line=lambda _: None, timeout_s=1)


def test_a_release_that_was_never_found_good_is_no_way_back_if_there_is_a_good_one(remote: FakeRemote) -> None:
    cut = {"name": NEW_NAME, "commit": "c" * 40, "complete": True, "verified": False, "failed": False}
    remote.answers["look"] = [[{"result": facts(current=NEW_NAME, releases=[facts()["releases"][0], cut])}]]
    assert run(remote).ok
    assert dict(remote.calls)["begin"]["previous"] == OLD_NAME


def test_a_full_disk_is_no_obstacle_on_the_way_back(remote: FakeRemote) -> None:
    newer = {"name": NEW_NAME, "commit": NEW, "complete": True, "verified": True, "failed": False}
    full = facts(current=NEW_NAME, releases=[facts()["releases"][0], newer], free_bytes=50 * 1024**2)
    remote.answers["look"] = [[{"result": full}]]
    assert back(remote, "").ok
    assert "MiB" in run(remote).message


def test_a_dry_run_tells_new_settings_without_laying_them_there() -> None:
    remote = FakeRemote()
    remote.expect("look", {"result": facts(releases=[{**facts()["releases"][0], "commit": NEW}])})
    remote.expect(
        "compare_env",
        {"result": {"changed": True}},
    )
    outcome = run(remote, DeployOptions(dry_run=True, env=SECRET))
    assert outcome.result == "would_deploy"
    assert "new settings" in outcome.message
    remote.answers["compare_env"] = [[{"result": {"changed": False}}]]
    assert run(remote, DeployOptions(dry_run=True, env=SECRET)).result == "nothing_new"
    assert set(remote.commands) == {"look", "compare_env"}


def test_an_interrupt_is_an_outcome_that_says_what_goes_on(remote: FakeRemote) -> None:
    work = Workflow(Host(remote=remote, base="/b", user="u"), "deploy", clock=FakeClock(), on_step=lambda _: None)
    work.under_way = True
    with pytest.raises(KeyboardInterrupt), work.judged():
        raise KeyboardInterrupt
    assert work.outcome.result == "interrupted"
    assert "continues by itself" in work.outcome.message


def back(remote: FakeRemote, words: str, *, keeps_settings: bool = False) -> Outcome:
    host = Host(remote=remote, base="/opt/zero-touch", user="zero-touch")
    work = Workflow(host, "rollback", clock=FakeClock(), on_step=lambda _: None)
    return rollback(work, words, DeployOptions(keeps_settings=keeps_settings))


def test_rollback_takes_the_last_good_one_or_the_named_one(remote: FakeRemote) -> None:
    newer = {"name": NEW_NAME, "commit": NEW, "complete": True, "verified": True, "failed": False}
    remote.answers["look"] = [[{"result": facts(current=NEW_NAME, releases=[facts()["releases"][0], newer])}]]
    assert back(remote, "").result == "rolled_back"
    assert dict(remote.calls)["begin"]["target"] == OLD_NAME
    assert back(remote, "bbbb").ok
    assert [arguments["target"] for command, arguments in remote.calls if command == "begin"] == [OLD_NAME, NEW_NAME]


def test_rollback_takes_the_releases_own_settings_unless_they_are_to_be_kept(remote: FakeRemote) -> None:
    newer = {"name": NEW_NAME, "commit": NEW, "complete": True, "verified": True, "failed": False}
    remote.answers["look"] = [[{"result": facts(current=NEW_NAME, releases=[facts()["releases"][0], newer])}]]
    remote.answers["follow"] = [[activated("good", OLD_NAME, settings="with its own settings")]]
    assert back(remote, "").message == f"{OLD_NAME} runs with its own settings"
    assert back(remote, "", keeps_settings=True).ok
    assert [sent["restores_env"] for command, sent in remote.calls if command == "begin"] == [True, False]


def test_rollback_without_an_earlier_one_says_which_there_are(remote: FakeRemote) -> None:
    for words in ("", "no-such"):
        outcome = back(remote, words)
        assert not outcome.ok
        assert OLD_NAME in outcome.next_action
    assert "begin" not in remote.commands


LOCKED = {"by": "ann@desk", "since": "2026-11-18T14:00:00+00:00", "message": "earnings week"}


def test_a_host_that_an_operator_has_locked_is_neither_deployed_to_nor_rolled_back(remote: FakeRemote) -> None:
    remote.answers["look"] = [[{"result": facts(locked=LOCKED)}]]
    outcome = run(remote)
    assert not outcome.ok
    assert "locked by ann@desk since 2026-11-18T14:00:00+00:00: earnings week" in outcome.message
    assert "fab -H rackmount unlock" in outcome.next_action
    work = Workflow(
        Host(remote=remote, base="/opt/zero-touch", user="zero-touch"),
        "rollback",
        clock=FakeClock(),
        on_step=lambda _: None,
    )
    assert not rollback(work, OLD_NAME, DeployOptions(by="ben@desk")).ok
    assert set(remote.commands) == {"look"}


def test_a_lock_that_comes_while_the_deploy_waits_for_its_turn_counts(remote: FakeRemote) -> None:
    remote.answers["look"] = [[{"result": facts()}], [{"result": facts(locked=LOCKED)}]]
    outcome = run(remote)
    assert (outcome.ok, "unpack" in remote.commands) == (False, False)
    assert "earnings week" in outcome.message


def test_a_dry_run_is_not_kept_away_by_a_lock(remote: FakeRemote) -> None:
    remote.answers["look"] = [[{"result": facts(locked=LOCKED)}]]
    assert run(remote, DeployOptions(dry_run=True)).result == "would_deploy"
