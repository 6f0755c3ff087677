"""What an operator does at three in the morning to a host that is deployed to, and what must not come of it."""

import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.rackmount.host import GUEST, RackHost
from tests.rackmount.site import BASE, PLAN, SERVICE_USER, UNIT, Fabbed, Site, read_until

pytestmark = pytest.mark.rackmount
INV = f"cd {BASE}/current && runuser -u {SERVICE_USER} -- .venv/bin/python -m invoke"


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
    assert "the host continues by itself" in said
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
    running.host.wait_until(lambda: not find_followers(running), "nothing follows it", timeout_s=20)


def test_one_host_whose_log_cannot_be_shown_does_not_stop_the_next(running: Site) -> None:
    ended = running.fab("logs", "--of=bot", "--lines=200", hosts="nowhere,rackmount")
    assert ended.code == 1
    assert "INFO ready" in ended.out
    assert "nowhere cannot be reached" in ended.err


def as_user(site: Site, user: str, *words: str) -> Fabbed:
    config = site.folder / "config"
    config.write_text(re.sub(r"User trader", f"User {user}", config.read_text()))
    return site.fab(*words)


def test_a_user_without_passwordless_sudo_is_told_so_at_once(running: Site) -> None:
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


def test_an_instance_of_another_name_comes_up_at_its_first_deploy(running: Site) -> None:
    bots = running.bots()
    base = "--base=/opt/third"
    running.write_env(INSTANCE="third", GATEWAY_RUNTIME="simulator", GATEWAY_PORT=4102)
    try:
        assert running.fab("provision", "--json", base).code == 0
        ended = running.deploy(base, f"--env-file={running.env_file}")
        assert (ended.code, ended.only["result"]) == (0, "deployed"), str(ended)
        for folder in ("state/third", "logs/third"):
            shown = running.host.run(["stat", "-c", "%a %U", f"/opt/third/shared/{folder}"]).out.strip()
            assert shown == f"700 {SERVICE_USER}"
        assert len(running.bots()) == len(bots) + 1
    finally:
        running.host.run("systemctl disable --now zero-touch-startup-third; rm -rf /opt/third", check=False)
    assert running.bots() == bots


def keep(site: Site, *words: str) -> dict[str, Any]:
    """Deploy what must be found bad while the old system runs on, untouched."""
    bots, release, settings = site.bots(), site.current(), site.host.read(f"{BASE}/shared/.env")
    ended = site.deploy(*words)
    assert (ended.code, ended.only["result"]) == (1, "kept"), str(ended)
    assert (site.bots(), site.current(), site.host.read(f"{BASE}/shared/.env")) == (bots, release, settings)
    return ended.only


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("def main(:\n", "SyntaxError"),
        ("import no_such_module_at_all\n", "No module named 'no_such_module_at_all'"),
        ("print(no_such_name)\n", "NameError"),
    ],
)
def test_a_bot_that_cannot_start_is_found_before_the_old_one_is_stopped(
    running: Site, program: str, cause: str
) -> None:
    running.host.run(["mkdir", "-p", "/srv/bot"])
    running.host.write("/srv/bot/bot.py", program)
    running.write_env(BOT_WORKDIR="/srv/bot", BOT_COMMAND="/usr/bin/python3 bot.py")
    kept = keep(running, f"--env-file={running.env_file}")
    assert "the bot's program does not start" in kept["message"]
    assert cause in "\n".join(kept["evidence"])
    running.write_env()


# What the worst bot does: it heeds no `--help`, and trades as soon as it reaches the gateway.
_HEEDLESS = """
import pathlib, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path("/tmp/started").touch()
socket.create_connection(("127.0.0.1", 4002), timeout=5)
pathlib.Path("traded" if "--help" not in sys.argv else "traded-in-its-trial").touch()
while True:
    time.sleep(1)
"""


def test_a_bot_that_heeds_no_help_reaches_nothing_in_its_trial(running: Site) -> None:
    running.host.run(["install", "-d", "-o", SERVICE_USER, "/srv/heedless"])
    running.host.write("/srv/heedless/bot.py", _HEEDLESS)
    running.write_env(BOT_WORKDIR="/srv/heedless", BOT_COMMAND="/usr/bin/python3 bot.py")
    try:
        ended = running.deploy(f"--env-file={running.env_file}")
        assert (ended.code, ended.only["result"]) == (0, "deployed"), str(ended)
        assert running.host.run(["ls", "/srv/heedless"]).out.split() == ["bot.py", "traded"]
    finally:
        running.write_env()
        ended = running.deploy(f"--env-file={running.env_file}")
    assert ended.code == 0, str(ended)


def test_a_disk_that_fills_up_after_the_check_stops_nothing(running: Site) -> None:
    running.commit("the disk fills up", **{"README.md": "\nFull.\n"})
    logs, lines, bots = f"{BASE}/shared/logs", len(running.audit()), running.bots()
    mount = f"mount -t tmpfs -o size=1m,uid=$(id -u {SERVICE_USER}),mode=700 small {logs}"
    try:
        with running.deploying() as process:
            read_until(process, lambda line: "] seal" in line)
            running.host.run(mount)
            _, said = process.communicate(timeout=120)
    finally:
        running.host.run(["umount", logs], check=False)
    assert process.returncode == 1, said
    assert "there is no room for a start" in said
    assert f"MiB of disk are free for {BASE}" in said
    assert running.audit()[lines:][0]["outcome"] == "kept"
    assert running.bots() == bots


def test_another_users_look_alike_is_none_of_ours(running: Site) -> None:
    running.commit("look-alikes", **{"README.md": "\nAlike.\n"})
    host = running.host
    host.run(["mkdir", "-p", "/srv/alike/orchestration/bot"])
    host.write("/srv/alike/orchestration/bot/reference.py", "import time\ntime.sleep(600)\n")
    python = f"{BASE}/current/.venv/bin/python"
    host.run(f"cd /srv/alike && {python} -m orchestration.bot.reference >/dev/null 2>&1 &", user=GUEST)
    try:
        ended = running.deploy()
        assert (ended.code, ended.only["result"]) == (0, "deployed"), str(ended)
    finally:
        host.run(["pkill", "-u", GUEST, "-f", "orchestration.bot.reference"], check=False)


def test_a_bot_without_a_supervisor_is_shown_as_such_and_replaced_by_a_deploy(running: Site) -> None:
    running.host.run(["systemctl", "stop", UNIT], timeout_s=120)
    running.host.run(f"{INV} startup", timeout_s=120)
    shown = running.fab("status")
    assert shown.code == 0, str(shown)
    assert "unsupervised: nothing watches it" in shown.out, str(shown)
    assert "all is well" not in str(shown)
    running.commit("by hand", **{"README.md": "\nBy hand.\n"})
    ended = running.deploy()
    assert (ended.code, ended.only["result"]) == (0, "deployed"), str(ended)
    assert running.is_well()


def test_a_bot_that_was_started_without_this_program_is_not_stopped_by_a_deploy(running: Site) -> None:
    running.commit("by hand", **{"README.md": "\nAnd by hand.\n"})
    running.host.run(["systemctl", "stop", UNIT], timeout_s=120)
    bot = ".venv/bin/python -m orchestration.bot.reference --gateway-host 127.0.0.1 --gateway-port 4002"
    plan = f"--gameplan {PLAN} --log-level INFO"
    try:
        running.host.run(f"cd {BASE}/current && runuser -u {SERVICE_USER} -- setsid {bot} {plan} >/dev/null 2>&1 &")
        running.host.wait_until(running.bots, "the bot runs")
        kept = keep(running)
        assert "was started by hand: `inv bot.stop`" in kept["message"]
    finally:
        running.host.run(f"{INV} bot.stop; systemctl start {UNIT}", timeout_s=180)
    running.wait_until_well()
