"""The whole stack in containers (K2): `docker compose up -d` alone, no `inv` on the host, on a real engine."""

import io
import json
import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestration.settings.env_file import render_value
from orchestration.system.landlock import can_deny_ports
from tests.system import PROJECT, build_plan, find_free_port, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
PASSWORD, TOKEN = "s3cret-of-ann", "planted-token"


@dataclass
class Stack:
    """Three containers of this test's own."""

    key: str
    env_file: Path
    plans: Path
    overrides: list[str] = field(default_factory=list)

    def stack(self, *words: str, check: bool = True) -> str:
        """The documented command: `docker/stack`, which hands the settings to Compose as they stand in the file."""
        program = str(PROJECT / "docker" / "stack")
        return self._run([program, "--env-file", str(self.env_file), *words], self.env_file.parent, check=check)

    def set(self, **lines: str) -> None:
        """Change settings in the file; the last line of a name counts."""
        with self.env_file.open("a", encoding="utf-8") as file:
            file.write("".join(f"{name}={value}\n" for name, value in lines.items()))

    def lose_patience_soon(self) -> None:
        """Scale what is outlasted by a login of 400 s to one of 20 s, 1 in 20 or shorter.

        Compose finds the gateway unhealthy after some 5 s (348 s as shipped: a start period of 300 s and four checks),
        and the monitor waits 6 s for a gateway to become ready (120 s). The bot's container waits for a day.
        """
        self.set(GATEWAY_HEALTH_TIMEOUT="6")
        override = self.env_file.with_name("override.yml")
        check = "healthcheck: {start_period: 3s, interval: 1s, retries: 2}"
        override.write_text(f"services:\n  gateway:\n    {check}\n", encoding="utf-8")
        self.overrides += ["-f", str(override)]

    def alerts(self, part: str) -> list[tuple[str, str]]:
        """What this part has alerted, or would have: title and next action. Its container may be starting again."""

        def read() -> list[list[str]] | None:
            said = self.docker("exec", self.name(part), "python3", "-c", _READ_ALERTS)
            return [["", ""], *json.loads(said)] if said.startswith("[") else None

        found = wait_until(read, f"journal of the {part}")
        return [(title, str(json.loads(body)["next_action"])) for title, body in found or () if title]

    def titles(self) -> list[str]:
        """What bot and monitor have alerted together."""
        return [title for part in ("bot", "monitor") for title, _ in self.alerts(part)]

    def bot_runs(self) -> bool:
        """Whether a bot that is up is on record, and its process there."""
        return self.docker("exec", self.name("bot"), "python3", "-c", _LOOK_FOR_THE_BOT) == "up"

    def copy_password(self) -> bytes:
        """The password as it lies in the gateway's container, which need not run."""
        source = f"{self.name('gateway')}:/run/secrets/tws_password"
        copied = subprocess.run(["docker", "cp", source, "-"], capture_output=True, timeout=60, check=True)
        with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as archive:
            file = archive.extractfile("tws_password")
            assert file is not None
            return file.read()

    def networks(self, part: str) -> list[str]:
        """The Docker networks that it is in."""
        template = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
        return sorted(self.docker("inspect", "--format", template, self.name(part)).split())

    def gateway_of_default_route(self) -> str:
        """Where the gateway's container sends what is for the internet."""
        return self.docker("exec", self.name("gateway"), "python3", "-c", _READ_DEFAULT_ROUTE)

    def use_bot(self, program: str) -> None:
        """Run this Python program as the bot."""
        (self.env_file.parent / "bot.py").write_text(program, encoding="utf-8")
        service = {
            "environment": {"BOT_COMMAND": "python3 /opt/bot.py"},
            "volumes": [f"{self.env_file.parent}/bot.py:/opt/bot.py:ro"],
        }
        override = self.env_file.with_name("bot.yml")
        override.write_text(json.dumps({"services": {"bot": service}}), encoding="utf-8")
        self.overrides += ["-f", str(override)]

    def bot_said(self) -> list[dict[str, str]]:
        """What each bot so far has printed, a document a line."""
        said = self.docker("exec", self.name("bot"), "sh", "-c", "cat /var/lib/zero-touch/logs/bot_*.log")
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    def state(self, part: str) -> str:
        return self.docker("inspect", "--format", "{{.State.Status}}", self.name(part))

    def start_of(self, part: str) -> str:
        return self.docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", self.name(part))

    def compose(self, *words: str, file: str = "compose.yaml", check: bool = True) -> str:
        given = ["--env-file", str(self.env_file), "-f", f"docker/{file}", *self.overrides]
        return self._run(["docker", "compose", *given, *words], PROJECT, check=check)

    def _run(self, argv: list[str], cwd: Path, *, check: bool) -> str:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.env_file.parent)}
        ended = subprocess.run(argv, cwd=cwd, env=environ, capture_output=True, text=True, timeout=240, check=False)
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
        "MARKET_CALENDAR": "daily",
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
    api, broker = f"{stack.name('gateway')}_default", f"{stack.name('gateway')}_broker"
    assert {part: stack.networks(part) for part in ("gateway", "bot", "monitor")} == {
        "gateway": [broker, api],
        "bot": [api],
        "monitor": [broker],
    }
    assert stack.gateway_of_default_route() == stack.docker(
        "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", broker
    ), "the broker is reached whatever becomes of the bot's network"
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


@pytest.mark.skipif(not can_deny_ports(), reason="the engine's kernel has no network rules of Landlock")
def test_on_strategy_c_the_bot_reaches_the_order_guard_alone_and_on_a_plan_that_trades_the_gateway(
    stack: Stack,
) -> None:
    stack.use_bot(_TRY_TO_CONNECT)
    stack.compose("up", "-d")
    wait_until(lambda: len(stack.bot_said()) == 1, "bot on Strategy C", 120)
    assert stack.bot_said()[0] == {"given": "127.0.0.1:4104", "given is": "reached", "gateway:4004 is": "EACCES"}
    wait_until(lambda: "Operational" in stack.titles()[-1], "end of the start")
    stack.use_plan()
    stack.docker("restart", stack.name("bot"))
    wait_until(lambda: len(stack.bot_said()) == 2, "bot on strategy A", 120)
    assert stack.bot_said()[1] == {"given": "gateway:4004", "given is": "reached", "gateway:4004 is": "reached"}


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


def test_a_bots_container_that_is_paused_is_seen_from_the_monitor(stack: Stack) -> None:
    stack.use_plan()
    override = stack.env_file.with_name("pace.yml")
    override.write_text("services:\n  bot:\n    environment: {MONITOR_INTERVAL: 1}\n", encoding="utf-8")
    stack.overrides += ["-f", str(override)]
    stack.compose("up", "-d")

    def read() -> tuple[int, str]:
        ended = subprocess.run(
            ["docker", "exec", stack.name("monitor"), "inv", "status"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ended.returncode, ended.stdout

    wait_until(lambda: read()[0] == 0, "bot that is seen to be well", 120)
    assert "Docker starts this container again" in read()[1]
    stack.docker("pause", stack.name("bot"))
    try:
        wait_until(lambda: read()[0] == 1, "bot that gives no sign of life", 120)
        assert f"the bot (container {stack.name('bot')}) has given no sign of life for" in read()[1]
    finally:
        stack.docker("unpause", stack.name("bot"))
    wait_until(lambda: read()[0] == 0, "bot that is well again", 120)


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


def test_a_login_that_outlasts_composes_patience_is_waited_for_and_told_once(stack: Stack) -> None:
    stack.use_plan()
    stack.lose_patience_soon()
    stack.set(SIMULATOR_FAULTS="second_factor=20")
    said = stack.compose("up", "-d")
    assert "is unhealthy" in said, "Compose did not lose its patience: nothing is tested"
    assert stack.state("bot") == "running", "it waits by itself"
    before = stack.start_of("gateway")
    wait_until(lambda: stack.health("bot") == "healthy", "healthy bot", 120)
    wait_until(lambda: {"Second factor confirmed", "Operational"} <= set(stack.titles()), "word of login and bot")
    assert stack.start_of("gateway") == before, "nothing was restarted while the phone was waited for"
    assert sorted(stack.titles()) == [
        *("Bot started", "Operational", "Second factor confirmed", "Second factor needed", "Start-up begun")
    ]
    advice = dict(stack.alerts("monitor"))["Second factor needed"]
    assert f"`docker restart -t 120 {stack.name('gateway')}`" in advice
    assert "inv gateway" not in advice


def test_a_second_factor_that_is_missed_three_times_counts_as_no_failure(stack: Stack) -> None:
    stack.use_plan()
    stack.lose_patience_soon()
    stack.set(SIMULATOR_FAULTS="second_factor=26:6")
    stack.compose("up", "-d")
    wait_until(lambda: stack.health("bot") == "healthy", "healthy bot", 120)
    assert stack.said("gateway").count("IBC returned exit status 87") >= 3
    assert stack.titles().count("Second factor needed") == 1
    assert not [title for title in stack.titles() if "Given up" in title or "failed" in title or "lost" in title]
    assert stack.docker("exec", stack.name("bot"), "ls", "/var/lib/zero-touch/state/attempts.json").startswith("ls:")


def test_a_refused_password_ends_the_login_loop_and_a_corrected_one_is_taken(stack: Stack) -> None:
    stack.use_plan()
    stack.set(SIMULATOR_FAULTS="wrong_password=3")
    stack.compose("up", "-d")
    wait_until(lambda: stack.state("gateway") == "exited", "stopped gateway")
    assert stack.said("gateway").count("IBC: Login failed") <= 5
    assert stack.state("bot") == "running", "it waits for the gateway"
    assert stack.titles().count("Broker refuses user or password") == 1
    advice = dict(stack.alerts("monitor"))["Broker refuses user or password"]
    assert "`docker/stack up -d --force-recreate gateway`" in advice
    # A second wrong one is no news of the first: it is stopped, and told, again.
    stack.compose("up", "-d", "--force-recreate", "--no-deps", "gateway")
    wait_until(lambda: stack.titles().count("Broker refuses user or password") == 2, "second refusal")
    wait_until(lambda: stack.state("gateway") == "exited", "stopped gateway")
    stack.set(SIMULATOR_FAULTS="")
    stack.stack("up", "-d", "--force-recreate", "--no-deps", "gateway")
    wait_until(lambda: stack.health("bot") == "healthy", "healthy bot", 120)
    wait_until(lambda: "Login accepted" in stack.titles(), "word of the login")
    assert "Gateway lost" not in stack.titles(), "that it was stopped is the same incident"
    assert not [title for title in stack.titles() if "Given up" in title]


def test_a_bot_that_ends_again_and_again_is_given_up_once_and_tried_again_when_there_is_a_reason(stack: Stack) -> None:
    stack.use_plan()
    stack.stack("up", "-d")

    def kill_bots(*, started_before: int) -> None:
        for number in range(3):
            # One that is killed earlier is not a bot that ended, but a start that failed.
            is_up = started_before + number + 1
            wait_until(lambda is_up=is_up: stack.titles().count("Operational") == is_up, "bot that is up", 120)  # type: ignore[misc] # of the default
            wait_until(stack.bot_runs, "bot", 120)
            ends = stack.titles().count("Bot ended") + 1
            stack.docker("exec", stack.name("bot"), "python3", "-c", _KILL_THE_BOT)
            wait_until(lambda ends=ends: stack.titles().count("Bot ended") == ends, "alert of its end")  # type: ignore[misc] # of the default

    kill_bots(started_before=0)
    wait_until(lambda: "Given up: no further try" in stack.titles(), "end of the tries")
    given_up = stack.start_of("bot")
    wait_until(lambda: "No more tries since" in stack.said("bot"), "word of it")
    assert stack.titles().count("Given up: no further try") == 1
    assert f"docker restart {stack.name('bot')}" in dict(stack.alerts("bot"))["Given up: no further try"]
    # A gateway that was away and is back is a reason.
    stack.docker("stop", stack.name("gateway"))
    wait_until(lambda: "bot does not run" in stack.said("monitor"), "monitor that knows")
    assert stack.start_of("bot") == given_up, "Docker does not start it again and again"
    stack.docker("start", stack.name("gateway"))
    wait_until(stack.bot_runs, "bot after the gateway's return", 120)
    # So is a person.
    kill_bots(started_before=3)
    wait_until(lambda: stack.titles().count("Given up: no further try") == 2, "end of the tries")
    stack.docker("restart", stack.name("bot"))
    wait_until(stack.bot_runs, "bot after a person's restart", 120)


@pytest.mark.parametrize(
    "password",
    ["pa$w0rd#1", "${HOME} $$ `id`", " blanks all round ", 'it\'s "quoted"', "back\\slash\\\\ %d {br}", "#é☃;!&|<>"],
)
def test_the_gateway_gets_exactly_the_password_that_stands_in_the_file(stack: Stack, password: str) -> None:
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    stack.set(TWS_PASSWORD=f"'{quoted}'")
    said = stack.stack("create", "gateway")
    name = stack.name("gateway")
    assert stack.copy_password() == password.encode()
    assert "variable is not set" not in said
    for piece in (password, "w0rd"):
        assert piece not in said
        assert piece not in stack.docker("inspect", name)


def test_an_unquoted_dollar_arrives_too(stack: Stack) -> None:
    value = "pa$w0rd#1"
    stack.set(TWS_PASSWORD=value)
    said = stack.stack("create", "gateway")
    assert stack.copy_password() == value.encode()
    assert "w0rd" not in said


@pytest.mark.parametrize("password", ["pa$w0rd#1", "${HOME} $$ w0rd", " w0rd 'x' ", "w0rd\\a %d {br}", 'w0rd"\\\\'])
def test_what_init_writes_arrives_exactly_through_a_plain_compose_too(stack: Stack, password: str) -> None:
    stack.set(TWS_PASSWORD=render_value(password))
    said = stack.compose("create", "gateway")
    assert stack.copy_password() == password.encode()
    assert "w0rd" not in said


def test_the_monitors_docker_says_what_dockers_own_says_and_knows_one_container(stack: Stack) -> None:
    stack.compose("up", "-d", "gateway")
    name = stack.name("gateway")
    wait_until(lambda: stack.health("gateway") == "healthy", "healthy gateway")
    project = f"label=com.docker.compose.project={name}"
    for words in (
        ("version", "--format", "{{.Server.Version}}"),
        ("container", "inspect", "zt-no-such-container"),
        ("ps", "--all", "--no-trunc", "--quiet", "--filter", project),
        ("exec", name, "sh", "-c", "echo out; echo err >&2; exit 3"),
        ("exec", name, "no-such-program"),
        ("stop", "-t", "5", name),
        ("container", "inspect", name),
        ("logs", "--tail", "5", name),
        ("logs", "--tail", "100", "--since", "2020-01-01T00:00:00.000000Z", "--timestamps", name),
        ("unpause", name),
        ("restart", "-t", "5", name),
    ):
        ours, theirs = (
            subprocess.run(
                [*program, *words], capture_output=True, text=True, timeout=60, check=False,
                env={**os.environ, "GATEWAY_CONTAINER_NAME": name},
            )
            for program in ((sys.executable, "-I", str(PROJECT / "docker/monitor/engine_client.py")), ("docker",))
        )  # fmt: skip
        assert (ours.stdout, ours.stderr, ours.returncode) == (theirs.stdout, theirs.stderr, theirs.returncode), words
    refused = subprocess.run(
        [sys.executable, "-I", str(PROJECT / "docker/monitor/engine_client.py"), "stop", name],
        capture_output=True, text=True, check=False, env={**os.environ, "GATEWAY_CONTAINER_NAME": "another"},
    )  # fmt: skip
    assert refused.returncode == 1
    assert "only container another may be used here" in refused.stderr
    assert stack.state("gateway") == "running"


def test_the_stack_is_valid_with_nothing_but_the_example_settings(stack: Stack, tmp_path: Path) -> None:
    stack.env_file = tmp_path / "example.env"
    stack.env_file.write_bytes((PROJECT / ".env.example").read_bytes())
    services = json.loads(stack.compose("config", "--format", "json"))["services"]
    assert set(services) == {"gateway", "bot", "monitor"}
    assert services["bot"]["depends_on"]["gateway"]["condition"] == "service_healthy"


_READ_DEFAULT_ROUTE = """
import socket, struct
for line in open("/proc/net/route").read().splitlines()[1:]:
    interface, destination, gateway, *_ = line.split()
    if int(destination, 16) == 0:
        print(socket.inet_ntoa(struct.pack("<I", int(gateway, 16))))
"""
_TRY_TO_CONNECT = """
import errno, json, os, socket, time
def try_to_connect(host, port):
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "reached"
host, port = os.environ["GATEWAY_HOST"], int(os.environ["GATEWAY_PORT"])
found = {"given": f"{host}:{port}", "given is": try_to_connect(host, port)}
print(json.dumps({**found, "gateway:4004 is": try_to_connect("gateway", 4004)}), flush=True)
time.sleep(3600)
"""
_READ_ALERTS = """
import json, sqlite3
try:
    journal = sqlite3.connect("file:/var/lib/zero-touch/state/journal.sqlite3?mode=ro", uri=True)
    rows = journal.execute("SELECT title, body FROM alerts ORDER BY id").fetchall()
except sqlite3.OperationalError:
    rows = []  # nothing has begun there yet
print(json.dumps(rows))
"""
_LOOK_FOR_THE_BOT = """
import json, os
record = json.load(open("/var/lib/zero-touch/state/bot.json"))
print("up" if record["ready_by"] and os.path.exists(f"/proc/{record['pid']}") else "")
"""
_KILL_THE_BOT = """
import json, os, signal
record = json.load(open("/var/lib/zero-touch/state/bot.json"))
os.kill(record["pid"], signal.SIGKILL)
"""
