"""Deploying to a whole host over real SSH: the first time, again, badly, and back."""

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rackmount.site import (
    BASE,
    SECRET,
    SERVICE_USER,
    UNIT,
    Site,
    read_until,
    watching_processes,
)

pytestmark = pytest.mark.rackmount


def test_a_bare_host_is_made_ready_once(site: Site) -> None:
    planned = site.fab("provision", "--dry-run", "--json").only
    assert planned["result"] == "would_change"
    assert not site.host.exists(BASE)
    assert site.fab("provision", "--json").only["changes"] == planned["changes"]
    again = site.fab("provision", "--json").only
    assert (again["result"], again["changes"]) == ("changed_nothing", [])
    groups = site.host.run(["id", "-nG", SERVICE_USER]).out.split()
    assert groups == [SERVICE_USER, "docker"]


def test_a_deploy_without_settings_says_what_is_missing(site: Site) -> None:
    ended = site.deploy()
    assert ended.code == 1
    assert "--env-file" in str(ended.only)
    assert site.releases() == []


def test_a_first_release_that_is_not_good_is_stopped_for_good(site: Site) -> None:
    site.write_env(BOT_COMMAND="/bin/false")
    ended = site.deploy(f"--env-file={site.env_file}")
    assert (ended.code, ended.only["result"]) == (1, "stopped"), str(ended)
    assert site.bots() == []
    assert site.host.run(["docker", "ps", "--quiet"]).out == ""
    shown = site.host.show(UNIT, "ActiveState", "UnitFileState")
    assert shown == {"ActiveState": "inactive", "UnitFileState": "disabled"}


def test_the_first_deploy_brings_it_up_and_no_command_line_shows_a_secret(site: Site) -> None:
    site.write_env()
    with watching_processes(site.host, SECRET) as seen:
        ended = site.deploy(f"--env-file={site.env_file}")
    assert (ended.code, ended.only["result"]) == (0, "deployed"), str(ended)
    assert site.is_well()
    looks, *lines = seen
    assert int(looks) > 20
    assert [line for line in lines if line] == []
    assert SECRET not in str(ended)
    assert SECRET not in site.host.read(f"{BASE}/shared/deploys.log")
    # The container's own files hold it; nothing that the deploy left does.
    left = site.host.run(["grep", "-rlF", SECRET, BASE, "/run/zero-touch-deploy", "/etc/systemd"], check=False).out
    assert left.split() == [f"{BASE}/shared/.env"]


def test_what_it_leaves_belongs_to_the_services_user(deployed: Site) -> None:
    assert deployed.host.run(f"find {BASE} -not -user {SERVICE_USER}").out == ""
    assert deployed.host.run(["stat", "-c", "%a %U", f"{BASE}/shared/.env"]).out.strip() == f"600 {SERVICE_USER}"
    (bot,) = deployed.bots()
    assert deployed.host.run(["ps", "-o", "user:20=", "-p", str(bot)]).out.strip() == SERVICE_USER
    line = deployed.audit()[-1]
    assert line["outcome"] == "good"
    assert line["address"]
    assert line["commit"] == deployed.git("rev-parse", "HEAD").strip()


def test_after_a_reboot_it_is_up_by_itself(deployed: Site) -> None:
    deployed.host.reboot()
    deployed.wait_until_well()


def test_nothing_new_is_done_at_once(deployed: Site) -> None:
    bots = deployed.bots()
    ended = deployed.fab("deploy", "--json")
    assert (ended.code, ended.only["result"]) == (0, "nothing_new")
    assert [step["name"] for step in ended.only["steps"]] == ["connect", "check"]
    assert deployed.bots() == bots


def test_a_new_commit_replaces_and_the_gateway_is_left_alone(deployed: Site) -> None:
    inspect = "docker inspect --format '{{.Id}} {{.State.StartedAt}}' ibkr-gateway"
    container, before = deployed.host.run(inspect).out, deployed.current()
    deployed.host.run(f"touch {BASE}/shared/state/kept {BASE}/shared/logs/kept")
    deployed.commit("another", **{"README.md": "\nMore.\n"})
    planned = deployed.fab("deploy", "--dry-run", "--json", f"--env-file={deployed.env_file}").only
    assert (planned["result"], planned["changes"]) == ("would_deploy", ["M README.md"])
    assert "+More." in planned["difference"]
    assert "new settings" not in planned["message"]
    ended = deployed.deploy()
    assert (ended.code, ended.only["result"]) == (0, "deployed"), str(ended)
    assert deployed.current() != before
    assert deployed.is_well()
    assert deployed.host.run(inspect).out == container
    assert deployed.host.exists(f"{BASE}/current/state/kept")
    assert deployed.host.exists(f"{BASE}/current/logs/kept")


def test_a_change_of_the_gateways_files_makes_its_container_anew(deployed: Site) -> None:
    inspect = "docker inspect --format '{{.Id}}' ibkr-gateway"
    container = deployed.host.run(inspect).out
    deployed.commit("the gateway", **{"docker/gateway/docker-compose.yml": "# Another line.\n"})
    ended = deployed.deploy()
    assert ended.code == 0, str(ended)
    assert deployed.host.run(inspect).out != container
    assert deployed.is_well()


def break_syntax(site: Site) -> tuple[str, ...]:
    site.commit("bad code", **{"orchestration/supervision/supervisor.py": "\nthis is no Python\n"})
    return ()


def break_start(site: Site) -> tuple[str, ...]:
    site.commit(
        "worse code",
        **{"orchestration/commands/supervise.py": "\nraise RuntimeError('it broke while it was loaded')\n"},
    )
    return ()


def break_requirement(site: Site) -> tuple[str, ...]:
    line = f"\nno-such-package-at-all==1.0 --hash=sha256:{'0' * 64}\n"
    site.commit("bad requirement", **{"requirements.txt": line})
    return ()


def break_settings(site: Site) -> tuple[str, ...]:
    site.write_env(GATEWAY_PORT="many")
    return (f"--env-file={site.env_file}",)


def break_bot(site: Site) -> tuple[str, ...]:
    site.write_env(BOT_COMMAND="/bin/false")
    return (f"--env-file={site.env_file}",)


def break_gateway(site: Site) -> tuple[str, ...]:
    site.write_env(SIMULATOR_FAULTS="accepts_silent", GATEWAY_HEALTH_TIMEOUT=6)
    site.commit("the gateway falls silent", **{"docker/gateway/docker-compose.yml": "# Rebuilt.\n"})
    return (f"--env-file={site.env_file}",)


def break_program(site: Site) -> tuple[str, ...]:
    site.write_env(BOT_COMMAND="/nowhere/bot")
    return (f"--env-file={site.env_file}",)


def break_account(site: Site) -> tuple[str, ...]:
    site.write_env(GATEWAY_ACCOUNT="DU999999")
    return (f"--env-file={site.env_file}",)


@pytest.mark.parametrize(
    ("break_it", "result", "cause"),
    [
        (break_syntax, "not_made", "SyntaxError"),
        (break_start, "kept", "it broke while it was loaded"),
        (break_requirement, "not_made", "no-such-package-at-all"),
        (break_settings, "kept", "GATEWAY_PORT"),
        (break_bot, "went_back", "exit code 1"),
        (break_program, "kept", "/nowhere/bot"),
        (break_account, "went_back", "GATEWAY_WRONG_ACCOUNT"),
        (break_gateway, "went_back", "GATEWAY_"),
    ],
    ids=[
        *("bad code", "code that breaks at the start", "bad requirement", "bad settings", "dead bot", "no bot"),
        *("wrong account", "gateway not ready"),
    ],
)
def test_a_bad_release_goes_back_by_itself(
    deployed: Site, break_it: Callable[[Site], tuple[str, ...]], result: str, cause: str
) -> None:
    before = deployed.current()
    settings, lines = deployed.host.read(f"{BASE}/shared/.env"), len(deployed.audit())
    good = deployed.git("rev-parse", "HEAD").strip()
    try:
        ended = deployed.deploy(*break_it(deployed))
    finally:
        deployed.git("reset", "--quiet", "--hard", good)
    found = ended.only
    assert (ended.code, found["result"]) == (1, result), str(ended)
    assert cause in "\n".join(found["evidence"]), str(ended)
    assert deployed.current() == before
    deployed.wait_until_well()
    assert deployed.host.read(f"{BASE}/shared/.env") == settings
    assert [line["outcome"] for line in deployed.audit()[lines:]] == [result]
    assert not deployed.host.exists(f"{BASE}/shared/.env.new")


def test_rollback_goes_back_to_the_last_good_one_or_to_a_named_one_with_its_settings(deployed: Site) -> None:
    first, settings = deployed.current(), deployed.host.read(f"{BASE}/shared/.env")
    hooks = deployed.checkout / ".deploy/hooks"
    hooks.mkdir(parents=True)
    for name in ("pre-deploy", "post-deploy"):
        (hooks / name).write_text(f"#!/bin/sh\nenv | grep ^DEPLOY_ >{deployed.folder}/{name}.env\n")
        (hooks / name).chmod(0o755)
    wanted = deployed.commit("one more", **{"README.md": "\nYet more.\n"})
    deployed.commit("not wanted yet", **{"README.md": "\nLater.\n"})
    deployed.write_env(BOT_LOG_LEVEL="DEBUG")
    ended = deployed.deploy(f"--env-file={deployed.env_file}", f"--revision={wanted[:12]}")
    deployed.git("reset", "--quiet", "--hard", wanted)
    newer = deployed.env_file.read_text()
    deployed.write_env()
    assert ended.code == 0, str(ended)
    second = deployed.current()
    assert second.endswith(wanted[:10])
    facts = (deployed.folder / "post-deploy.env").read_text().splitlines()
    assert {f"DEPLOY_COMMIT={wanted}", f"DEPLOY_RELEASE={second}", "DEPLOY_RESULT=deployed"} <= set(facts)
    assert f"DEPLOY_REVISION={wanted[:12]}" in (deployed.folder / "pre-deploy.env").read_text().splitlines()
    assert SECRET not in "\n".join(facts)

    back = deployed.fab("rollback", "--json")
    assert (back.code, back.only["release"]) == (0, first), str(back)
    assert "BOT_LOG_LEVEL" in back.only["message"]
    assert deployed.host.read(f"{BASE}/shared/.env") == settings
    assert deployed.host.run(["stat", "-c", "%a %U", f"{BASE}/shared/.env"]).out.strip() == f"600 {SERVICE_USER}"
    assert deployed.is_well()
    forward = deployed.fab("rollback", "--json", f"--release={second}")
    assert (forward.code, forward.only["release"]) == (0, second), str(forward)
    assert deployed.host.read(f"{BASE}/shared/.env") == newer
    assert deployed.is_well()
    unknown = deployed.fab("rollback", "--json", "--release=no-such")
    assert unknown.code == 1
    assert second in unknown.only["next_action"]


def test_five_releases_are_kept_and_the_current_one_always(deployed: Site) -> None:
    for number in range(6):
        deployed.host.run(["cp", "-a", f"{BASE}/current/", f"{BASE}/releases/2020010{number + 1}T000000Z_abcdef0"])
    deployed.commit("prune", **{"README.md": "\nPrune.\n"})
    assert deployed.deploy().code == 0
    assert len(deployed.releases()) == 5
    assert deployed.current() in deployed.releases()
    assert deployed.is_well()


def test_a_bad_release_is_rolled_back_without_a_connection(deployed: Site) -> None:
    before, lines = deployed.current(), len(deployed.audit())
    break_bot(deployed)
    deployed.commit("bad, and cut off")
    with deployed.deploying(f"--env-file={deployed.env_file}") as process:
        read_until(process, lambda line: "] start" in line)
        process.kill()
    deployed.wait_for_audit("went_back", before=lines)
    assert deployed.current() == before
    deployed.wait_until_well()


def test_a_disk_that_fills_up_is_the_old_releases_luck(deployed: Site) -> None:
    small = "/opt/small"
    bots = deployed.bots()
    arguments = (f"--base={small}", f"--env-file={deployed.env_file}")
    deployed.host.run(f"mkdir -p {small} && mount -t tmpfs -o size=100m small {small}")
    try:
        assert deployed.fab("provision", "--json", f"--base={small}").code == 0
        refused = deployed.deploy(*arguments)
        assert "MiB of disk are free" in refused.only["message"]
        # Room for the release and not for its environment: no more files.
        deployed.host.run(f"mount -o remount,size=2g,nr_inodes=900 {small}")
        full = deployed.deploy(*arguments)
        assert (full.code, full.only["result"]) == (1, "not_made"), str(full)
        assert ", 0 files" in full.only["evidence"][-1], str(full)
        assert deployed.host.run(["ls", f"{small}/releases"]).out == ""
    finally:
        deployed.host.run(f"umount {small}")
    assert deployed.bots() == bots
    assert deployed.is_well()


def test_a_key_in_the_agent_and_a_jump_host_work_and_the_jump_host_must_be_known_too(deployed: Site) -> None:
    said = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    agent = dict(re.findall(r"(SSH_\w+)=([^;]+);", said))
    try:
        subprocess.run(["ssh-add", "-q", deployed.folder / "key"], env={**os.environ, **agent}, check=True)
        known = (deployed.folder / "known_hosts").read_text()
        inner = re.sub(r"\[127\.0\.0\.1\]:\d+", "localhost", known)
        deployed.use_ssh(known=known + inner, jumps=True)
        ended = deployed.fab("deploy", "--json", hosts="behind", environ=agent)
        assert (ended.code, ended.only["result"]) == (0, "nothing_new"), str(ended)
        deployed.use_ssh(known=inner, jumps=True)
        refused = deployed.fab("deploy", "--json", hosts="behind", environ=agent)
        assert "is not known" in refused.only["message"], str(refused)
    finally:
        os.kill(int(agent["SSH_AGENT_PID"]), signal.SIGTERM)


def test_an_unknown_host_key_is_refused_with_the_command_that_mends_it(deployed: Site) -> None:
    deployed.use_ssh(known="")
    ended = deployed.fab("deploy", "--json")
    assert ended.code == 1
    assert "is not known" in ended.only["message"]
    assert f"ssh-keyscan -p {deployed.host.ssh_port} 127.0.0.1 >> ~/.ssh/known_hosts" in ended.only["next_action"]


def test_a_changed_host_key_is_refused_loudly(deployed: Site, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    key = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    deployed.use_ssh(known=f"[127.0.0.1]:{deployed.host.ssh_port} {key}\n")
    ended = deployed.fab("deploy", "--json")
    assert ended.code == 1
    assert "HAS CHANGED" in ended.only["message"]


def test_a_tree_that_is_not_committed_is_refused_by_name(deployed: Site) -> None:
    (deployed.checkout / "forgotten.txt").write_text("x")
    try:
        ended = deployed.fab("deploy", "--json")
    finally:
        (deployed.checkout / "forgotten.txt").unlink()
    assert ended.code == 1
    assert "?? forgotten.txt" in ended.only["evidence"]
    assert ended.only["steps"] == []


def test_one_host_that_fails_does_not_stop_the_next(deployed: Site) -> None:
    ended = deployed.fab("deploy", "--json", hosts="nowhere,rackmount")
    outcomes = {one["host"]: one["result"] for one in json.loads(ended.out)["hosts"]}
    assert ended.code == 1
    assert outcomes == {"nowhere": "failed", "rackmount": "nothing_new"}


def test_status_and_logs_show_the_host(deployed: Site) -> None:
    status = deployed.fab("status", "--json")
    assert (status.code, status.only["release"]) == (0, deployed.current())
    assert status.only["document"]["bot"]["pid"] == deployed.bots()[0]
    logs = deployed.fab("logs", "--of=bot", "--lines=200")
    assert logs.code == 0
    assert "INFO ready; strategy A" in logs.out, str(logs)


def test_a_held_system_is_not_deployed_to(deployed: Site) -> None:
    inv = f"cd {BASE}/current && runuser -u {SERVICE_USER} -- .venv/bin/python -m invoke"
    deployed.host.run(f"{inv} hold --reason=maintenance", timeout_s=120)
    try:
        ended = deployed.fab("deploy", "--json")
    finally:
        deployed.host.run(f"{inv} resume && systemctl restart {UNIT}")
    assert ended.code == 1
    assert "held by" in str(ended.only)


def test_the_settings_are_never_readable_by_others(deployed: Site) -> None:
    deployed.write_env(LOG_KEEP=31)
    assert deployed.deploy(f"--env-file={deployed.env_file}").only["result"] == "deployed"
    mode = int(deployed.host.run(["stat", "-c", "%f", f"{BASE}/shared/.env"]).out, 16)
    assert stat.S_IMODE(mode) == 0o600
    deployed.wait_until_well()


def test_hold_resume_restart_lock_and_audit_work_from_here(deployed: Site) -> None:
    before = len(deployed.audit())
    bot = deployed.bots()
    restarted = deployed.fab("restart", "--json")
    assert restarted.code == 0, str(restarted)
    deployed.wait_until_well()
    deployed.host.wait_until(lambda: deployed.bots() not in ([], bot), "another bot")
    locked = deployed.fab("lock", "--message=earnings week", "--json")
    assert (locked.code, locked.only["document"]["lock"]["message"]) == (0, "earnings week"), str(locked)
    refused = deployed.fab("rollback", "--json")
    assert refused.code == 1
    assert "earnings week" in refused.only["message"]
    assert deployed.fab("unlock", "--json").only["result"] == "unlocked"
    held = deployed.fab("hold", "--reason=earnings week", "--json")
    assert held.code == 0, str(held)
    assert deployed.bots() == []
    assert "earnings week" in deployed.fab("status").out
    resumed = deployed.fab("resume", "--json")
    assert resumed.code == 0, str(resumed)
    trail = deployed.fab("audit", "--lines=100", "--json").only["document"]["audit"]
    assert [one["action"] for one in trail][before:] == ["restart", "lock", "unlock", "hold", "resume"]
    deployed.host.run(["systemctl", "start", "zero-touch-startup"], timeout_s=240)
    deployed.wait_until_well()
