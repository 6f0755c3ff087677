"""The whole system on a whole host: real boots and deaths, a real Docker Engine, a real HTTP server for the alerts."""

import json
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.images import build_simulator_image
from tests.rackmount.host import Project, RackHost
from tests.system import build_plan, window_far_from_now

pytestmark = pytest.mark.rackmount

UNIT = "zero-touch-startup.service"
IMAGE = "zero-touch-test/simulator:rackmount"
GATEWAY = "ibkr-gateway"
ALERTS = "/var/log/alerts.jsonl"
# Writes each alert's title, a line each. On the host's own loopback, for a webhook may be plain http only there.
RECEIVER = f"""
import http.server, json
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        alert = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open("{ALERTS}", "a") as file:
            file.write(alert["embeds"][0]["title"] + "\\n")
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8099), Receiver).serve_forever()
"""
RECEIVER_UNIT = """
[Service]
ExecStart=/usr/bin/python3 /opt/receiver.py
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def project(host: RackHost) -> Project:
    """A checkout with a plan of today, an account on the simulator's image, and the service installed."""
    host.load_image(build_simulator_image(IMAGE))
    host.write("/opt/receiver.py", RECEIVER)
    host.write("/etc/systemd/system/receiver.service", RECEIVER_UNIT)
    host.run("systemctl daemon-reload && systemctl enable --now receiver")
    project = host.copy_project()
    write_settings(project)
    project.inv("install", sudo=True)
    return project


@pytest.fixture(autouse=True)
def well(project: Project) -> None:
    """Each test begins with a system that is up, and with no alerts."""
    host = project.host
    write_settings(project)
    project.inv("resume", check=False)
    host.run(
        f"rm -f {project.folder}/state/attempts.json; systemctl reset-failed; systemctl start {UNIT}", timeout_s=240
    )
    wait_until_up(project)
    host.run(f"rm -f {ALERTS}")


def write_settings(project: Project, **changes: object) -> None:
    today = datetime.now(ZoneInfo("America/New_York"))
    plan = json.dumps(build_plan(date=today.date().isoformat()))
    project.host.write(f"{project.folder}/plan.json", plan, user=project.user)
    settings: dict[str, object] = {
        "GATEWAY_IMAGE": IMAGE,
        "TWS_USERID": "ann",
        "TWS_PASSWORD": "s3cret-of-ann",
        "GAMEPLAN_PATH": f"{project.folder}/plan.json",
        "MARKET_CALENDAR": "daily",
        "DISCORD_WEBHOOK_URL": "http://127.0.0.1:8099/api/webhooks/1/planted-token",
        "MONITOR_INTERVAL": 5,
        "GATEWAY_HEALTH_TIMEOUT": 60,
        "BROKER_RESET_WINDOWS": window_far_from_now(),
        "GATEWAY_RESTART_WINDOW": window_far_from_now(),
    }
    project.write_env(**(settings | changes))


def status(project: Project) -> dict[str, object]:
    ended = project.inv("status", "--json", check=False)
    return dict(ended.document)


def bots(project: Project) -> list[int]:
    found = project.host.run(["pgrep", "-f", "orchestration.bot.reference"], check=False).out.split()
    return [int(pid) for pid in found]


def is_up(project: Project) -> bool:
    active = project.host.show(UNIT, "ActiveState", "StatusText")
    said = active["StatusText"]
    return active["ActiveState"] == "active" and "bot runs on strategy A" in said and "gateway ready" in said


def wait_until_up(project: Project) -> None:
    project.host.wait_until(lambda: is_up(project), "the system is up", timeout_s=180)
    assert len(bots(project)) == 1
    assert project.inv("status").code == 0


def alerts(project: Project) -> list[str]:
    ended = project.host.run(["cat", ALERTS], check=False)
    return ended.out.splitlines()


def wait_for_alert(project: Project, title: str) -> None:
    project.host.wait_until(lambda: title in alerts(project), f"alert {title!r}", timeout_s=180)


def main_pid(project: Project) -> int:
    return int(project.host.show(UNIT, "MainPID")["MainPID"])


@pytest.mark.scenario("reboot")
def test_five_boots_bring_it_up_five_times_with_one_bot_each(project: Project) -> None:
    seen = set()
    for _ in range(5):
        project.host.reboot()
        wait_until_up(project)
        seen.add(bots(project)[0])
    shown = project.host.show(UNIT, "ActiveState", "SubState", "NRestarts")
    assert (shown["ActiveState"], shown["SubState"], shown["NRestarts"]) == ("active", "running", "0")
    stopped = [run for run in project.inv("history", "--json").document["runs"] if run["result"] != "success"]
    assert stopped == []


@pytest.mark.scenario("reboot")
def test_a_power_cut_is_no_obstacle(project: Project) -> None:
    project.host.cut_power()
    project.host.switch_on()
    wait_until_up(project)


def test_the_bots_death_runs_the_whole_sequence_again(project: Project) -> None:
    dead = bots(project)[0]
    project.host.run(["kill", "-KILL", str(dead)])
    wait_for_alert(project, "Bot ended")
    project.host.wait_until(lambda: is_up(project) and bots(project) not in ([], [dead]), "a new bot", timeout_s=180)
    wait_until_up(project)
    assert alerts(project).count("Bot ended") == 1


def test_on_strategy_c_the_services_bot_is_confined_and_its_guard_ends_with_it(project: Project) -> None:
    project.host.run(f"rm {project.folder}/plan.json")
    project.inv("bot.restart")
    project.host.wait_until(
        lambda: "Strategy C (emergency)" in project.host.show(UNIT, "StatusText")["StatusText"],
        "the bot is on Strategy C",
        timeout_s=180,
    )
    record = json.loads(project.host.run(["cat", f"{project.folder}/state/bot.json"]).out)
    assert record["guarded"] is True
    assert 4002 in record["denied_ports"], "the unit's filter of system calls lets Landlock through"
    assert status(project)["order_guard"]
    project.host.run(["systemctl", "stop", UNIT], timeout_s=120)
    left = project.host.run(["pgrep", "-f", "orchestration.supervision.guard_process"], check=False).out
    assert left.split() == []


def test_the_supervisors_death_takes_the_bot_with_it_and_starts_afresh(project: Project) -> None:
    before, dead = main_pid(project), bots(project)[0]
    project.host.run(["kill", "-KILL", str(before)])
    project.host.wait_until(lambda: main_pid(project) not in (0, before), "a new supervisor", timeout_s=180)
    wait_until_up(project)
    assert bots(project) != [dead]


def test_a_supervisor_that_hangs_is_ended_by_the_watchdog(project: Project) -> None:
    before = main_pid(project)
    project.host.run(["kill", "-STOP", str(before)])
    project.host.wait_until(lambda: main_pid(project) not in (0, before), "the watchdog fires", timeout_s=300)
    wait_for_alert(project, "Boot service was ended by the system")
    wait_until_up(project)
    assert "watchdog ended it" in project.inv("history").out


def test_the_gateways_death_is_told_mended_and_its_recovery_told(project: Project) -> None:
    bot = bots(project)
    project.host.run(["docker", "kill", GATEWAY])
    wait_for_alert(project, "Gateway lost")
    wait_for_alert(project, "Gateway is back")
    wait_until_up(project)
    assert alerts(project).count("Gateway lost") == 1
    assert bots(project) == bot, "a gateway that comes back needs no new bot"


def test_an_engine_that_dies_is_told_and_survived(project: Project) -> None:
    # A new supervisor: one that has just restarted the gateway waits a quarter of an hour before it does so again.
    project.host.run(["systemctl", "restart", UNIT], timeout_s=240)
    wait_until_up(project)
    killed = project.host.show("docker.service", "MainPID")["MainPID"]
    project.host.run("systemctl kill --signal=KILL docker.service")
    project.host.wait_until(
        lambda: project.host.show("docker.service", "MainPID")["MainPID"] not in {"0", killed}, "a new engine"
    )
    # What the unit says of itself may be older than the engine's death by some seconds: what is so counts.
    project.host.wait_until(lambda: project.inv("status", check=False).code == 0, "all is well again", timeout_s=180)
    project.host.wait_until(lambda: is_up(project), "the system is up", timeout_s=180)
    assert len(bots(project)) == 1
    told = alerts(project)
    assert all(told.count(title) == 1 for title in set(told) if "is back" not in title), told


def test_stopping_the_service_stops_the_bot_in_order(project: Project) -> None:
    project.host.run(["systemctl", "stop", UNIT], timeout_s=120)
    assert bots(project) == []
    shown = project.host.show(UNIT, "ActiveState", "Result", "ExecMainStatus")
    assert (shown["ActiveState"], shown["Result"], shown["ExecMainStatus"]) == ("inactive", "success", "0")
    assert project.inv("status", check=False).code == 3


def test_shutdown_under_the_service_stays_down_until_the_next_boot(project: Project) -> None:
    project.inv("shutdown")
    assert bots(project) == []
    project.host.wait_until(lambda: project.host.show(UNIT, "ActiveState")["ActiveState"] == "inactive", "its end")
    assert project.host.show(UNIT, "Result")["Result"] == "success"
    project.host.reboot()
    wait_until_up(project)


def test_a_hold_outlives_a_reboot(project: Project) -> None:
    project.inv("hold", "--reason", "new disk")
    project.host.reboot()
    project.host.wait_until(
        lambda: "The system is held by" in project.host.run(f"journalctl --boot --unit {UNIT}").out,
        "the unit says who holds the system",
        timeout_s=120,
    )
    project.host.wait_until(
        lambda: project.host.show(UNIT, "ActiveState")["ActiveState"] == "inactive", "the unit has ended"
    )
    shown = project.host.show(UNIT, "Result", "ExecMainStatus")
    assert (shown["Result"], shown["ExecMainStatus"]) == ("success", "0")
    assert bots(project) == []
    assert status(project)["hold"] is not None


def test_a_wrong_password_is_not_tried_again_not_even_after_a_reboot(project: Project) -> None:
    project.inv("shutdown")
    write_settings(project, SIMULATOR_FAULTS="wrong_password")
    project.host.run(["systemctl", "start", UNIT], check=False, timeout_s=240)
    project.host.wait_until(
        lambda: project.host.show(UNIT, "ExecMainStatus")["ExecMainStatus"] == "78", "the unit gives up", timeout_s=120
    )
    count = "docker inspect --format '{{.State.Status}} {{.RestartCount}}' " + GATEWAY
    assert project.host.run(count).out.startswith("exited")
    project.host.reboot()
    project.host.wait_until(
        lambda: project.host.show(UNIT, "ActiveState")["ActiveState"] == "failed", "the unit gives up", timeout_s=120
    )
    assert project.host.run(count).out.startswith("exited"), "no further login may be tried"


def test_three_failures_end_the_tries_until_a_person_starts_it(project: Project) -> None:
    project.inv("shutdown")
    write_settings(project, BOT_COMMAND="/bin/false")
    project.host.run(["systemctl", "start", UNIT], check=False, timeout_s=240)
    project.host.wait_until(
        lambda: project.host.show(UNIT, "ExecMainStatus")["ExecMainStatus"] == "78", "the unit gives up", timeout_s=300
    )
    assert alerts(project).count("Given up: no further try") == 1
    write_settings(project)
    project.host.reboot()
    project.host.wait_until(
        lambda: project.host.show(UNIT, "ActiveState")["ActiveState"] == "failed", "it stays given up", timeout_s=120
    )
    assert bots(project) == []
    assert project.inv("startup").code == 0
    assert project.inv("bot.stop").code == 0
    project.host.run(f"systemctl reset-failed {UNIT}; systemctl start {UNIT}", timeout_s=240)
    wait_until_up(project)
