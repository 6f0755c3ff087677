"""The reference bot and the prerequisites, against the built-in gateway."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from orchestration.bot.find import find_bot
from orchestration.bot.launch import LaunchRequest, launch_bot
from orchestration.bot.record import ReadyBy
from orchestration.bot.stop import stop_bot
from orchestration.errors import FailureWord, FallbackWord, StartupFailure
from orchestration.gameplan import build_strategy_c, write_sample_plan
from orchestration.prerequisites import PrerequisiteError, require
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.endpoint import Endpoint
from tests import programs
from tests.integration.bot_scene import PROJECT, build_scene, read_log, wait_until
from tests.integration.simulated_gateway import SimulatedGateway, simulated_gateway
from tests.system import find_free_port

_NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture(scope="module")
def gateway() -> Iterator[SimulatedGateway]:
    with simulated_gateway() as running:
        yield running


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return write_sample_plan(tmp_path / "plan.json", clock=SystemClock(), market_timezone=_NEW_YORK)


def _run(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
    names = {"GATEWAY_PORT", "GAMEPLAN_PATH", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    environ = {name: value for name, value in os.environ.items() if name not in names}
    # An instance of its own: in the project's folder it would else be the default instance's bot, started by hand.
    return programs.Popen(
        [sys.executable, "-m", "orchestration.bot.reference", *arguments],
        cwd=PROJECT, env={**environ, "INSTANCE": "reference-test", **variables},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _read_until(bot: "subprocess.Popen[str]", text: str) -> str:
    assert bot.stderr is not None
    heard = ""
    for line in bot.stderr:
        heard += line
        if text in line:
            return heard
    raise AssertionError(f"the bot never said {text!r}:\n{heard}")


def test_the_whole_way_launched_ready_heartbeat_and_left_in_order(
    tmp_path: Path, gateway: SimulatedGateway, plan: Path
) -> None:
    command = f"{sys.executable} -m orchestration.bot.reference --heartbeat-interval 0.1"
    # In a folder from which the package cannot be imported: it is found all the same.
    settings = build_scene(tmp_path, command=command, BOT_START_GRACE="60")
    bot = launch_bot(
        settings,
        LaunchRequest(
            clock=SystemClock(),
            run_id="r",
            gateway=Endpoint(host="127.0.0.1", port=gateway.port),
            gameplan=plan,
            strategy="A",
            sha256="",
        ),
    )
    try:
        assert bot.ready_by is ReadyBy.NOTIFY
        assert bot.status_text.startswith("connected; strategy A on SPY, QQQ")
        assert bot.watchdog_at_s is not None
        wait_until(lambda: read_log(settings).count("heartbeat: connected") > 2, "it has a heartbeat")
    finally:
        outcome = stop_bot(settings, find_bot(settings), timeout_s=30)
    assert outcome.in_time
    assert "no order was ever sent" in read_log(settings)
    assert "says 321" not in read_log(settings), "what the gateway answers to an order"


def test_everything_may_come_from_the_environment(gateway: SimulatedGateway, plan: Path) -> None:
    with _run(GATEWAY_PORT=str(gateway.port), GAMEPLAN_PATH=str(plan), LOG_LEVEL="info") as bot:
        _read_until(bot, "ready; strategy A")
        bot.terminate()
        _read_until(bot, "stopping gracefully")
        assert bot.wait(30) == 0


def test_ctrl_c_ends_it_in_order_too(gateway: SimulatedGateway, plan: Path) -> None:
    with _run("--gateway-port", str(gateway.port), "--gameplan", str(plan)) as bot:
        _read_until(bot, "ready;")
        bot.send_signal(signal.SIGINT)
        assert bot.wait(30) == 0


def test_it_keeps_the_watchdog_at_twice_the_pace_it_is_asked_for(
    tmp_path: Path, gateway: SimulatedGateway, plan: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "s"))
        supervisor.settimeout(60)
        with _run(
            "--gateway-port", str(gateway.port), "--gameplan", str(plan),
            NOTIFY_SOCKET=str(tmp_path / "s"), WATCHDOG_USEC="200000",
        ) as bot:  # fmt: skip
            heard = [supervisor.recv(4096).decode() for _ in range(8)]
            bot.terminate()
            while not heard[-1].startswith("STOPPING=1"):
                heard.append(supervisor.recv(4096).decode())
            assert bot.wait(30) == 0
        assert heard.count("WATCHDOG=1") >= 5
        assert sum(words.startswith("READY=1") for words in heard) == 1


def test_it_takes_the_next_client_id_if_one_is_in_use(gateway: SimulatedGateway, plan: Path) -> None:
    arguments = ("--gateway-port", str(gateway.port), "--gameplan", str(plan), "--client-id", "41")
    with _run(*arguments) as first:
        _read_until(first, "as client 41")
        with _run(*arguments) as second:
            _read_until(second, "as client 42")
            second.terminate()
        first.terminate()


def test_strategy_c_allows_no_entries(tmp_path: Path, gateway: SimulatedGateway) -> None:
    emergency = build_strategy_c(SystemClock().now(), _NEW_YORK, FallbackWord.GAMEPLAN_MISSING)
    plan = tmp_path / "emergency.json"
    plan.write_text(json.dumps(emergency))
    with _run("--gateway-port", str(gateway.port), "--gameplan", str(plan)) as bot:
        _read_until(bot, "ready; strategy C: no entries")
        bot.terminate()


def test_it_connects_again_when_the_gateway_goes_away_and_comes_back(plan: Path) -> None:
    port = find_free_port()
    with simulated_gateway("--port", str(port)) as gateway:
        bot = _run("--gateway-port", str(port), "--gameplan", str(plan), "--heartbeat-interval", "0.2")
        with bot:
            _read_until(bot, "heartbeat")
            gateway.close()
            _read_until(bot, "trying again in 1 s")
            assert bot.poll() is None
            with simulated_gateway("--port", str(port)):
                _read_until(bot, "ready;")
                bot.terminate()
                assert bot.wait(30) == 0


@pytest.mark.parametrize("fault", ["accepts_silent", "accepts_closes", "garbage", "half_frame", "error=504"])
def test_a_gateway_that_never_gets_ready_ends_it_with_1(plan: Path, fault: str) -> None:
    with simulated_gateway(faults=fault) as gateway:
        arguments = ("--gateway-port", str(gateway.port), "--gameplan", str(plan), "--connect-timeout", "0.2")
        with _run(*arguments) as bot:
            _read_until(bot, "giving up")
            assert bot.wait(30) == 1


def test_no_gateway_at_all_ends_it_with_1(plan: Path) -> None:
    with _run("--gateway-port", str(find_free_port()), "--gameplan", str(plan), "--connect-timeout", "0.2") as bot:
        _read_until(bot, "giving up")
        assert bot.wait(30) == 1


@pytest.mark.parametrize("content", [None, "", "{}", '{"date": "2026-11-18"}'])
def test_without_a_valid_plan_it_does_not_start(tmp_path: Path, content: str | None) -> None:
    plan = tmp_path / "plan.json"
    if content is not None:
        plan.write_text(content)
    with _run("--gameplan", str(plan)) as bot:
        assert "GAMEPLAN_" in _read_until(bot, str(plan))
        assert bot.wait(30) == 1


def test_no_plan_at_all_is_said(tmp_path: Path) -> None:
    (tmp_path / "env").touch()
    with _run(ENV_FILE=str(tmp_path / "env")) as bot:
        _read_until(bot, "no plan was given")
        assert bot.wait(30) == 1


_GUARDED_BOT = """
from orchestration.prerequisites import check_or_exit
given = check_or_exit()
print("may run", given.plan["strategy"], given.gateway_port, given.accounts, flush=True)
"""


def _run_guarded(tmp_path: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    script = tmp_path / "guarded.py"
    script.write_text(_GUARDED_BOT)
    names = {"GATEWAY_PORT", "GAMEPLAN_PATH"}
    environ = {name: value for name, value in os.environ.items() if name not in names}
    environ |= {"PYTHONPATH": str(PROJECT), "MARKET_CALENDAR": "daily"}
    return subprocess.run(
        [sys.executable, str(script), *arguments], env={**environ, **variables},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_bot_with_todays_plan_and_a_ready_gateway_may_run(
    tmp_path: Path, gateway: SimulatedGateway, plan: Path
) -> None:
    ended = _run_guarded(tmp_path, "--gateway-port", str(gateway.port), "--gameplan", str(plan), "--own", "argument")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"may run A {gateway.port} ('DU1234567',)\n"
    ended = _run_guarded(tmp_path, GATEWAY_PORT=str(gateway.port), GAMEPLAN_PATH=str(plan))
    assert ended.returncode == 0, ended.stderr


def test_what_a_bot_is_told_to_do_is_a_line_that_works_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "env").touch()
    plan = tmp_path / "it's no plan.json"
    plan.write_text("{}", encoding="utf-8")
    ended = _run_guarded(tmp_path, "--gameplan", os.path.relpath(plan), ENV_FILE=str(tmp_path / "env"))
    (line,) = re.findall(r"`([^`]+)`", ended.stderr)
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    checked = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 1, checked
    assert "hard_limits" in checked.stdout + checked.stderr


def _install_copy(tmp_path: Path, direct_url: str | None) -> Path:
    """What `pip install .` leaves in a bot's environment."""
    site_packages = tmp_path / "bot's own/site-packages"
    shutil.copytree(PROJECT / "orchestration", site_packages / "orchestration")
    record = site_packages / "zero_touch_startup-0.1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: zero-touch-startup\nVersion: 0.1.0\n")
    if direct_url is not None:
        (record / "direct_url.json").write_text(json.dumps({"url": direct_url, "dir_info": {}}))
    return site_packages


def test_a_bot_with_a_copy_of_the_package_goes_by_the_settings_and_commands_of_the_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "the project"
    checkout.mkdir()
    for name in ("orchestration", "tasks.py", "templates", ".venv"):
        (checkout / name).symlink_to(PROJECT / name)
    plan = tmp_path / "plan.json"
    (checkout / ".env").write_text(f"GAMEPLAN_PATH={plan}\n")
    plan.write_text("{}", encoding="utf-8")
    copy = _install_copy(tmp_path, checkout.as_uri())
    ended = _run_guarded(tmp_path, PYTHONPATH=str(copy))
    assert ended.returncode == 1
    assert str(plan) in ended.stderr  # which only `.env` of the checkout names
    (line,) = re.findall(r"`([^`]+)`", ended.stderr)
    assert line == f"cd '{checkout}' && .venv/bin/inv gameplan.check --path {plan}"
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    checked = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, "hard_limits" in checked.stdout + checked.stderr) == (1, True), checked


def test_a_copy_whose_checkout_is_not_known_names_no_folder(tmp_path: Path) -> None:
    copy = _install_copy(tmp_path, None)
    ended = _run_guarded(tmp_path, PYTHONPATH=str(copy))
    assert ended.returncode == 1
    assert "`inv bot.start` in the project's folder" in ended.stderr
    assert "site-packages" not in ended.stderr


def test_a_bot_started_at_the_wrong_moment_stops_with_1_and_says_what_to_do(
    tmp_path: Path, gateway: SimulatedGateway, plan: Path
) -> None:
    port = str(gateway.port)
    (tmp_path / "env").touch()
    old = tmp_path / "old.json"
    old.write_text(json.dumps({**json.loads(plan.read_text()), "date": "2020-01-02"}))
    for arguments, expected in (
        (("--gateway-port", port), "No gameplan was given"),
        (("--gateway-port", port, "--gameplan", str(tmp_path / "none.json")), "GAMEPLAN_MISSING"),
        (("--gateway-port", port, "--gameplan", str(old)), "2020-01-02"),
        (("--gateway-port", str(find_free_port()), "--gameplan", str(plan)), "inv status"),
        (("--gateway-port", "api", "--gameplan", str(plan)), "no port"),
        (("--gameplan",), "expected one argument"),
    ):
        ended = _run_guarded(tmp_path, *arguments, ENV_FILE=str(tmp_path / "env"))
        assert ended.returncode == 1, ended
        assert expected in ended.stderr
        assert "Traceback" not in ended.stderr
        assert ended.stdout == ""


def test_the_next_days_plan_is_refused_unless_freshness_is_off(
    tmp_path: Path, gateway: SimulatedGateway, plan: Path
) -> None:
    later = (SystemClock().now() + timedelta(days=9)).date().isoformat()
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "date": later}))

    def settings(freshness: str) -> Settings:
        return build_scene(tmp_path, GATEWAY_PORT=str(gateway.port), GAMEPLAN_FRESHNESS=freshness)

    with pytest.raises(PrerequisiteError, match=later):
        require(gameplan=plan, settings=settings("today"))
    assert require(gameplan=plan, settings=settings("off")).gateway_port == gateway.port


def test_a_reference_bot_without_a_gateway_is_a_failed_start_with_its_last_lines(tmp_path: Path, plan: Path) -> None:
    command = f"{sys.executable} -m orchestration.bot.reference --connect-timeout 0.1"
    settings = build_scene(tmp_path, command=command, BOT_START_GRACE="60")
    with pytest.raises(StartupFailure) as caught:
        launch_bot(
            settings,
            LaunchRequest(
                clock=SystemClock(),
                run_id="r",
                gateway=Endpoint(host="127.0.0.1", port=find_free_port()),
                gameplan=plan,
                strategy="A",
                sha256="",
            ),
        )
    assert caught.value.word is FailureWord.BOT_START_FAILED
    assert "Its last status: leaving." in caught.value.message
    assert any("giving up" in line for line in caught.value.evidence)
