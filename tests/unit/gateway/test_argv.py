"""Every command line that is given to Docker, as golden lines: a change to one of them is seen in review."""

from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from orchestration.docker import compose, container, engine
from orchestration.gateway import soft_restart
from orchestration.gateway.compose import build_compose_environ
from orchestration.gateway.simulator_runtime import build_simulator_argv
from orchestration.settings import Settings

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "gateway_argv.txt"
SINCE = datetime(2026, 11, 18, 14, 0, 0, 250000, tzinfo=UTC)
TARGET = compose.ComposeTarget(
    files=(Path("/srv/zero touch/docker-compose.yml"), Path("/srv/zero touch/docker-compose.override.yml")),
    project="ibkr-gateway",
    service="gateway",
)
PORTS = soft_restart.Ports(command=7462, api=4002)
BY_HAND = compose.ComposeTarget(files=TARGET.files, project="algo-trader", service="ib-gateway", is_as_by_hand=True)
SIMULATED = Settings.from_environ({"SIMULATOR_FAULTS": "slow_login=3"})
ARGV = {
    "engine": engine.VERSION_ARGV,
    "compose version": engine.COMPOSE_VERSION_ARGV,
    "inspect": container.inspect_argv("ibkr-gateway"),
    "find by labels": container.find_by_labels_argv(project="ibkr-gateway", service="gateway"),
    "start": container.start_argv("ibkr-gateway"),
    "unpause": container.unpause_argv("c0ffee"),
    "restart": container.restart_argv("c0ffee", timeout_s=30.0),
    "stop": container.stop_argv("c0ffee", timeout_s=30.0),
    "ask for a soft restart": soft_restart.ask_argv("c0ffee", PORTS),
    "look at a soft restart": soft_restart.look_argv("c0ffee", PORTS),
    "remove": container.remove_argv("c0ffee"),
    "logs": container.logs_argv("ibkr-gateway", lines=200, timestamps=True),
    "logs since": container.logs_argv("ibkr-gateway", lines=200, since=SINCE, timestamps=True),
    "follow logs": container.logs_argv("ibkr-gateway", lines=2000, since=SINCE, follow=True),
    "events": container.events_argv("ibkr-gateway", since_s=5),
    "remove stopped": container.remove_stopped_argv("c0ffee"),
    "wait": container.wait_argv("c0ffee"),
    "copy out": container.copy_out_argv("c0ffee", "/run/secrets/tws_password"),
    "image": container.image_exists_argv("ghcr.io/gnzsnz/ib-gateway:stable"),
    "compose config": compose.config_argv(TARGET),
    "compose pull": compose.pull_argv(TARGET),
    "compose up": compose.up_argv(TARGET),
    "compose up unchanged": compose.up_argv(TARGET, recreates=False),
    "compose up and build": compose.build_up_argv(TARGET),
    "compose config in their folder": compose.config_argv(BY_HAND),
    "compose up in their folder": compose.up_argv(BY_HAND, recreates=False),
    "image's environment": container.image_environ_argv("ghcr.io/gnzsnz/ib-gateway:stable"),
    "simulator": (
        "PYTHON",
        *build_simulator_argv(SIMULATED, marker=Path("/srv/simulator_started"), settings_dir=Path("/srv/settings"))[1:],
    ),
}


def render() -> str:
    lines = []
    for name, argv in ARGV.items():
        shown = [PurePosixPath(word).as_posix() if "/srv/" in word or "\\srv\\" in word else word for word in argv]
        lines.append(f"{name}: {shown!r}\n")
    return "".join(lines)


def test_the_command_lines_are_the_golden_ones() -> None:
    assert render() == GOLDEN.read_text(encoding="utf-8")


def test_no_command_line_can_carry_a_secret() -> None:
    settings = Settings.from_environ({"TWS_USERID": "planted-user", "TWS_PASSWORD": "planted-password"})
    environ = build_compose_environ(settings)
    assert environ["TWS_PASSWORD"] == "planted-password"  # noqa: S105 - planted
    assert "planted" not in render()
    assert not any(
        "planted" in word
        for word in build_simulator_argv(
            settings, marker=Path("/srv/simulator_started"), settings_dir=Path("/srv/settings")
        )
    )
