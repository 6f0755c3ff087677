"""What an operator does at three in the morning to a host that is deployed to, and what must not come of it."""

import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.rackmount.host import GUEST, RackHost
from tests.rackmount.site import BASE, SERVICE_USER, UNIT, Fabbed, Site, read_until

pytestmark = pytest.mark.rackmount


@pytest.fixture(scope="module")
def provisioned(site: Site) -> Site:
    """A host made ready."""
    ended = site.fab("provision", "--json")
    assert ended.code == 0, str(ended)
    return site


@pytest.fixture
def running(provisioned: Site, deployed: Site) -> Site:
    """The last commit runs there, and all is well."""
    assert provisioned is deployed
    return deployed


def cut_power(host: RackHost) -> None:
    host.cut_power()


def shut_down(host: RackHost) -> None:
    host.shut_down()


@pytest.mark.parametrize("go_down", [cut_power, shut_down])
def test_a_host_that_goes_down_during_a_trial_boots_the_previous_release(
    running: Site, go_down: Callable[[RackHost], None]
) -> None:
    before, settings = running.current(), running.host.read(f"{BASE}/shared/.env")
    running.commit("on trial", **{"README.md": "\nOn trial.\n"})
    running.write_env(BOT_COMMAND="/bin/sleep 600", BOT_ARGUMENTS="none", BOT_START_GRACE=90)
    with running.deploying(f"--env-file={running.env_file}") as process:
        read_until(process, lambda line: "bot_starting" in line)
        assert running.current() != before
        go_down(running.host)
    running.host.switch_on()
    running.wait_until_well()
    assert running.current() == before
    assert running.host.read(f"{BASE}/shared/.env") == settings
    assert running.audit()[-1]["outcome"] == "went_back_at_boot"
    assert not running.host.exists("/etc/systemd/system/zero-touch-go-back.service")
    running.use_ssh()
    running.write_env()
    assert running.deploy(f"--env-file={running.env_file}").code == 0
    assert running.is_well()


def test_a_deploy_to_another_folder_leaves_the_system_that_runs_alone(running: Site) -> None:
    bots = running.bots()
    other = ("--base=/opt/other", f"--env-file={running.env_file}")
    assert running.fab("provision", "--json", other[0]).code == 0
    ended = running.deploy(*other)
    assert ended.code == 1
    assert f"{UNIT} is another system's: it runs in {BASE}/current" in ended.only["message"]
    assert "nothing was started" in ended.only["message"]
    assert running.bots() == bots
    assert running.is_well()


def test_settings_that_name_another_instance_are_refused(running: Site) -> None:
    bots = running.bots()
    running.write_env(INSTANCE="second")
    ended = running.deploy(f"--env-file={running.env_file}")
    assert (ended.code, ended.only["result"]) == (1, "kept"), str(ended)
    assert "change INSTANCE" in ended.only["message"]
    assert running.bots() == bots
    assert not running.host.exists(f"{BASE}/shared/.env.new")


def test_settings_that_name_another_gateway_end_the_one_before(running: Site) -> None:
    try:
        running.write_env(GATEWAY_RUNTIME="simulator")
        ended = running.deploy(f"--env-file={running.env_file}")
        assert (ended.code, ended.only["result"]) == (0, "deployed"), str(ended)
        assert running.host.run(["docker", "ps", "--quiet"]).out == ""
    finally:
        running.write_env()
        ended = running.deploy(f"--env-file={running.env_file}")
    assert (ended.code, ended.only["result"]) == (0, "deployed"), str(ended)
    assert running.is_well()


def test_an_interrupt_tells_what_goes_on(running: Site) -> None:
    running.commit("interrupted", **{"README.md": "\nInterrupted.\n"})
    lines = len(running.audit())
    with running.deploying() as process:
        read_until(process, lambda line: "] switch" in line)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the host goes on by itself" in said
    running.wait_for_audit("good", before=lines)
    running.wait_until_well()


def find_followers(site: Site) -> list[str]:
    return site.host.run(["pgrep", "-f", "invoke logs"], check=False).out.split()


def test_a_log_is_followed_until_ctrl_c_and_not_for_a_moment_longer(running: Site) -> None:
    argv = running.fab_argv("logs", "--of=bot", "--follow")
    with subprocess.Popen(argv, cwd=running.checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert find_followers(running)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    running.host.wait_until(lambda: not find_followers(running), "nobody follows", timeout_s=20)


def test_one_host_whose_log_cannot_be_shown_does_not_stop_the_next(running: Site) -> None:
    ended = running.fab("logs", "--of=bot", "--lines=200", hosts="nowhere,rackmount")
    assert ended.code == 1
    assert "INFO ready" in ended.out
    assert "nowhere cannot be reached" in ended.err


def as_user(site: Site, user: str, *words: str) -> Fabbed:
    config = site.folder / "config"
    config.write_text(re.sub(r"User trader", f"User {user}", config.read_text()))
    return site.fab(*words)


def test_whoever_may_not_use_sudo_without_a_password_is_told_so_at_once(running: Site) -> None:
    host = running.host
    host.authorize((running.folder / "key.pub").read_text(), user=GUEST)
    refused: list[dict[str, Any]] = []
    for rule in ("", f"{GUEST} ALL=(ALL:ALL) ALL\n", f"{GUEST} ALL=(ALL:ALL) NOPASSWD: ALL\n"):
        host.write(f"/etc/sudoers.d/{GUEST}", rule, mode="440")
        ended = as_user(running, GUEST, "status", "--json")
        if ended.code:
            refused.append(ended.only)
    assert [one["message"] for one in refused] == [f"{GUEST} may not use sudo on rackmount without a password"] * 2
    assert "NOPASSWD" in refused[0]["next_action"]
    running.use_ssh()


def test_a_shell_that_talks_at_the_log_in_is_no_obstacle(running: Site) -> None:
    host = running.host
    host.run("sed -i '1i echo welcome' /home/trader/.bashrc || echo 'echo welcome' >/home/trader/.bashrc")
    try:
        running.commit("a talking shell", **{"README.md": "\nWelcome.\n"})
        ended = running.deploy()
        assert (ended.code, ended.only["result"]) == (0, "deployed"), str(ended)
    finally:
        host.run("sed -i '/^echo welcome$/d' /home/trader/.bashrc")
    assert running.release_of(running.bots()[0]) == running.current()
    assert host.run(["stat", "-c", "%U", f"{BASE}/current/tasks.py"]).out.strip() == SERVICE_USER
