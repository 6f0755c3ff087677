"""The whole stack in containers (K2): `docker compose up -d` alone, no `inv` on the host, on a real engine."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system import PROJECT, build_plan, find_free_port, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
PASSWORD, TOKEN = "s3cret-of-ann", "planted-token"


@dataclass
class Stack:
    """Three containers of this test's own."""

    key: str
    env_file: Path
    plans: Path

    def compose(self, *words: str, file: str = "compose.yaml", check: bool = True) -> str:
        ended = subprocess.run(
            ["docker", "compose", "--env-file", str(self.env_file), "-f", f"docker/{file}", *words],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "HOME": str(self.env_file.parent)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert not check or ended.returncode == 0, ended.stderr
        return ended.stdout + ended.stderr

    def name(self, part: str) -> str:
        return f"zt-{part}-{self.key}"

    def docker(self, *words: str) -> str:
        ended = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=False)
        return (ended.stdout + ended.stderr).strip()

    def health(self, part: str) -> str:
        return self.docker("inspect", "--format", "{{.State.Health.Status}}", self.name(part))

    def said(self, part: str) -> str:
        return self.docker("logs", self.name(part))

    def use_plan(self) -> None:
        (self.plans / "gameplan.json").write_text(json.dumps(build_plan()), encoding="utf-8")

    def remove(self) -> None:
        self.compose("down", "--volumes", "--timeout", "10", check=False)
        for part in ("gateway", "bot", "monitor"):
            self.docker("rm", "--force", self.name(part))


@pytest.fixture
def stack(simulator_image: str, bot_image: str, tmp_path: Path) -> Iterator[Stack]:
    key = uuid.uuid4().hex[:10]
    plans = tmp_path / "plans"
    plans.mkdir()
    tmp_path.chmod(0o755)
    made = Stack(key=key, env_file=tmp_path / "stack.env", plans=plans)
    lines = {
        "GATEWAY_CONTAINER_NAME": made.name("gateway"),
        "BOT_CONTAINER_NAME": made.name("bot"),
        "MONITOR_CONTAINER_NAME": made.name("monitor"),
        "GATEWAY_IMAGE": simulator_image,
        "BOT_IMAGE": bot_image,
        "GATEWAY_PORT": str(find_free_port()),
        "TWS_PASSWORD": PASSWORD,
        "DISCORD_WEBHOOK_URL": f"http://127.0.0.1:9/api/webhooks/1/{TOKEN}",
        "STACK_GAMEPLAN_DIR": str(plans),
        "MONITOR_INTERVAL": "1",
    }
    made.env_file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")
    yield made
    made.remove()


def test_the_whole_stack_comes_up_with_one_command_each_part_on_its_own_duty(stack: Stack) -> None:
    stack.use_plan()
    stack.compose("up", "-d")
    wait_until(lambda: stack.health("bot") == "healthy", "healthy bot", 120)
    wait_until(lambda: stack.health("monitor") == "healthy", "healthy monitor", 120)
    assert "gameplan.check: ok" in stack.said("bot")
    assert "strategy A" in stack.said("bot")
    wait_until(lambda: "bot runs on strategy A of" in stack.said("monitor"), "monitor that sees the bot")
    networks = {
        stack.docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", stack.name(part)).split(":")[0]
        for part in ("gateway", "bot", "monitor")
    }
    assert len(networks) == 1, "one shared network"
    for part in ("bot", "monitor"):
        assert stack.docker("exec", stack.name(part), "id", "-u") == "1000"
        shown = stack.docker("inspect", stack.name(part)) + stack.docker("exec", stack.name(part), "env")
        assert TOKEN not in shown
        assert TOKEN not in stack.said(part)
    # The same commands as on the host.
    assert stack.docker("exec", stack.name("bot"), "inv", "status").splitlines()[-1].endswith("the gateway is ready.")
    assert stack.docker("exec", stack.name("monitor"), "inv", "status").splitlines()[-1].endswith("gateway is ready.")
    refused = stack.docker("exec", stack.name("monitor"), "inv", "shutdown")
    assert "WATCHED_STATE_DIR" in refused
    assert stack.health("bot") == "healthy"


def test_the_bot_waits_for_a_healthy_gateway_and_starts_on_strategy_c_without_a_plan(stack: Stack) -> None:
    stack.compose("up", "-d")
    wait_until(lambda: "Strategy C (GAMEPLAN_MISSING)" in stack.said("bot"), "bot on the emergency plan", 120)
    born, healthy = (
        stack.docker("inspect", "--format", template, stack.name(part))
        for part, template in (
            ("bot", "{{.State.StartedAt}}"),
            ("gateway", "{{range .State.Health.Log}}{{if eq .ExitCode 0}}{{.End}} {{end}}{{end}}"),
        )
    )
    assert born[:19] >= healthy[:10] + "T" + healthy[11:19], "not before the gateway's first good check"


def test_a_bot_that_dies_is_seen_by_the_monitor_and_started_anew_by_a_validated_run(stack: Stack) -> None:
    stack.use_plan()
    stack.compose("up", "-d")
    wait_until(lambda: "bot runs on strategy A of" in stack.said("monitor"), "monitor that sees the bot")
    # The bot itself, not its supervisor, which then ends with 1.
    stack.docker("exec", stack.name("bot"), "python3", "-c", _KILL_THE_BOT)
    wait_until(lambda: stack.said("bot").count("gateway.wait: ok") >= 2, "second validated run", 120)
    wait_until(lambda: stack.health("bot") == "healthy", "healthy bot", 120)
    wait_until(lambda: "does not run" in stack.said("monitor"), "monitor that missed it")


@pytest.mark.parametrize("file", ["gateway/docker-compose.yml", "bot/docker-compose.yml", "monitor/docker-compose.yml"])
def test_each_part_starts_alone(stack: Stack, file: str) -> None:
    part = file.partition("/")[0]
    try:
        stack.compose("up", "-d", file=file)
        assert stack.docker("inspect", "--format", "{{.State.Running}}", stack.name(part)) == "true"
        if part != "gateway":  # it waits for one, and says so
            wait_until(lambda: "gateway" in stack.said(part), "word about the gateway")
    finally:
        stack.compose("down", "--volumes", "--timeout", "5", file=file, check=False)


def test_the_stack_is_valid_with_nothing_but_the_example_settings(stack: Stack, tmp_path: Path) -> None:
    stack.env_file = tmp_path / "example.env"
    stack.env_file.write_bytes((PROJECT / ".env.example").read_bytes())
    services = json.loads(stack.compose("config", "--format", "json"))["services"]
    assert set(services) == {"gateway", "bot", "monitor"}
    assert services["bot"]["depends_on"]["gateway"]["condition"] == "service_healthy"


_KILL_THE_BOT = """
import json, os, signal
record = json.load(open("/var/lib/zero-touch/state/bot.json"))
os.kill(record["pid"], signal.SIGKILL)
"""
