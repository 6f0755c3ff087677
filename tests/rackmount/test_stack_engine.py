"""The stack in containers (K2, K4) on a whole host whose Docker engine restarts, crashes, or keeps containers alive."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.images import build_bot_image, build_simulator_image
from tests.rackmount.host import HOME, USER, Project, RackHost
from tests.rackmount.site import IMAGE
from tests.system import build_plan

pytestmark = [pytest.mark.rackmount]
_BOT_IMAGE = "zero-touch-test/bot:rackmount"
_PLANS = f"{HOME}/plans"
_ENGINE = "docker.service"
_READ_STATUS = ("docker", "exec", "ibkr-bot", "inv", "status", "--json")
_READ_ALERTS = (
    "import json, sqlite3; "
    "journal = sqlite3.connect('file:/var/lib/zero-touch/state/journal.sqlite3?mode=ro', uri=True); "
    "print(json.dumps([title for title, in journal.execute('SELECT title FROM alerts ORDER BY id')]))"
)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Gateway, bot and monitor of a host, as `docker/stack up -d` made them."""

    project: Project

    @property
    def host(self) -> RackHost:
        return self.project.host

    def up(self) -> None:
        """The documented command; returns once the bot runs on its plan."""
        self.host.run(f"cd {self.project.folder} && docker/stack up -d", user=USER, timeout_s=240)
        self.wait_until_well()

    def wait_until_well(self) -> None:
        self.host.wait_until(self.is_well, "the stack is well", timeout_s=180)

    def is_well(self) -> bool:
        seen = self.host.run(_READ_STATUS, check=False)
        return seen.ok and json.loads(seen.out)["gameplan"]["strategy"] == "A"

    def starts(self) -> dict[str, str]:
        """When each container that runs was started."""
        template = "{{.Name}} {{.State.StartedAt}} {{.State.Running}}"
        parts = ("ibkr-gateway", "ibkr-bot", "ibkr-monitor")
        rows = [
            line.split() for line in self.host.run(["docker", "inspect", "--format", template, *parts]).out.splitlines()
        ]
        return {name: started for name, started, is_running in rows if is_running == "true"}

    def alerts(self, part: str) -> list[str]:
        """The titles of what this part has alerted, oldest first; its container runs."""
        return list(json.loads(self.host.run(["docker", "exec", part, "python3", "-c", _READ_ALERTS]).out))

    def validations(self) -> int:
        """How often the bot's container has validated the gateway."""
        said = self.host.run(["docker", "logs", "ibkr-bot"])
        return (said.out + said.err).count("gateway.wait: ok")

    def crash_engine(self) -> None:
        """Kill the engine, and wait until systemd has started another one that answers."""
        killed = self.host.show(_ENGINE, "MainPID")["MainPID"]
        # systemd starts it three times a minute, and the tests before have used some of these.
        self.host.run(["systemctl", "reset-failed", _ENGINE])
        self.host.run(["systemctl", "kill", "--signal=KILL", _ENGINE])
        self.host.wait_until(
            lambda: self.host.show(_ENGINE, "MainPID")["MainPID"] not in {"0", killed}, "a new engine", timeout_s=180
        )
        self.host.wait_for_boot()

    def keep_alive(self) -> None:
        """What docs/how-to/run-the-stack.md recommends."""
        path = "/etc/docker/daemon.json"
        settings = json.loads(self.host.read(path)) if self.host.exists(path) else {}
        self.host.write(path, json.dumps({**settings, "live-restore": True}))
        self.host.run(["systemctl", "restart", _ENGINE], timeout_s=240)
        self.host.wait_for_boot()


@pytest.fixture(scope="module")
def stack(host: RackHost) -> Iterator[Stack]:
    host.load_image(build_simulator_image(IMAGE))
    host.load_image(build_bot_image(_BOT_IMAGE))
    project = host.copy_project()
    host.run(["mkdir", "-p", _PLANS], user=USER)
    host.write(f"{_PLANS}/gameplan.json", json.dumps(build_plan()))
    lines = {
        "GATEWAY_IMAGE": IMAGE,
        "BOT_IMAGE": _BOT_IMAGE,
        "TWS_USERID": "someone",
        "TWS_PASSWORD": "any",
        "STACK_GAMEPLAN_DIR": _PLANS,
        "MARKET_CALENDAR": "daily",
        "MONITOR_INTERVAL": "2",
    }
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    host.write(f"{project.folder}/.env", text, user=USER, mode="600")
    made = Stack(project=project)
    made.up()
    yield made
    host.run(f"cd {project.folder} && docker/stack down --volumes", user=USER, timeout_s=240)


@pytest.mark.parametrize("is_host", [False, True], ids=["engine", "host"])
def test_a_restart_in_order_ends_all_gracefully_and_brings_all_back_validated(stack: Stack, *, is_host: bool) -> None:
    before, stopped, validated = stack.starts(), stack.alerts("ibkr-bot").count("Bot stopped"), stack.validations()
    if is_host:
        stack.host.reboot()
    else:
        stack.host.run(["systemctl", "restart", _ENGINE], timeout_s=240)
    stack.wait_until_well()
    after = stack.starts()
    assert after.keys() == before.keys()
    assert not set(before.values()) & set(after.values())
    assert stack.alerts("ibkr-bot").count("Bot stopped") == stopped + 1
    assert stack.validations() == validated + 1, "the gateway was validated again"


def test_an_engine_that_crashes_leaves_all_stopped_and_one_command_brings_it_back(stack: Stack) -> None:
    # moby issue 41302: an engine that was killed stops what still runs, and counts that as stopped by hand.
    stack.wait_until_well()
    stack.crash_engine()
    assert stack.starts() == {}, "the page says that nothing comes back by itself"
    told = stack.host.run(["docker", "logs", "--tail", "2", "ibkr-bot"])
    assert "Bot stopped: The supervisor was asked to end (SIGTERM)." in told.out + told.err
    stack.up()


def test_an_engine_that_keeps_containers_alive_may_crash_and_the_bot_and_the_login_stay(stack: Stack) -> None:
    stack.keep_alive()
    stack.up()
    before, alerted = stack.starts(), stack.alerts("ibkr-bot")
    stack.crash_engine()
    stack.wait_until_well()
    assert stack.starts() == before
    assert stack.alerts("ibkr-bot") == alerted
    stack.host.reboot()
    stack.wait_until_well()
    assert stack.alerts("ibkr-bot").count("Bot stopped") == alerted.count("Bot stopped") + 1, "and it ends gracefully"
