"""The bot as a container (BOT_RUNTIME=docker), on a real engine: started, found, watched, adopted, stopped."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.docker_system import docker, docker_system_in, name_of
from tests.e2e.images import build_from_recipe
from tests.integration.alerts_scene import run_channel
from tests.system import PATIENCE_S, PROJECT, SIGKILL, SIGTERM, System, end_and_read, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
# A new network namespace has its loopback down; without it any address can be bound.
_WITH_LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as asked:
    fcntl.ioctl(asked, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
os.execv(sys.argv[1], sys.argv[1:])
"""
PASSWORD = "s3cret-of-ann"  # noqa: S105 - planted by `docker_system_in`


@contextlib.contextmanager
def contained_system_in(root: Path, *, image: str, bot_image: str) -> Iterator[System]:
    """A system whose gateway and bot are containers of its own, gone afterwards with all that belongs to them."""
    name = f"zt-bot-{uuid.uuid4().hex[:10]}"
    with docker_system_in(root, image=image) as made:
        del made.environ["BOT_COMMAND"], made.environ["BOT_WORKDIR"]
        made.environ |= {
            "BOT_RUNTIME": "docker",
            "BOT_CONTAINER_NAME": name,
            "BOT_IMAGE": bot_image,
            "BOT_START_GRACE": "20",
        }
        try:
            yield made
        finally:
            made.close()
            docker("rm", "--force", "--volumes", name)
            docker("volume", "rm", "--force", f"{name}_state")
            docker("network", "rm", f"{name}_guarded")
            docker("image", "rm", "--force", own_image(name))
        # Asked for by what all their names have in common: of a test run nothing may stay.
        left = [docker("container", "ls", "--all", "--quiet", "--filter", f"name={name}")]
        left += [docker(kind, "ls", "--quiet", "--filter", f"name={name}") for kind in ("volume", "network")]
        left += [docker("image", "ls", "--quiet", "--filter", f"reference=*/*:{name}")]
        assert left == [""] * 4


@pytest.fixture
def system(simulator_image: str, bot_image: str, tmp_path: Path) -> Iterator[System]:
    with contained_system_in(tmp_path / "a system", image=simulator_image, bot_image=bot_image) as made:
        yield made


def own_image(container: str) -> str:
    """The tag of the operator's own image whose bot runs as this container, see `use_command`."""
    return f"zero-touch-test/own:{container}"


def bot_of(system: System) -> str:
    return system.environ["BOT_CONTAINER_NAME"]


def look(system: System, template: str) -> str:
    return docker("inspect", "--format", template, bot_of(system))


def state_of(system: System) -> str:
    return look(system, "{{.State.Status}}")


def alive(system: System) -> list[str]:
    """The containers of this bot that run, by id."""
    return docker("ps", "--quiet", "--no-trunc", "--filter", f"name={bot_of(system)}").split()


def use_command(system: System, command: str) -> None:
    """An image of the operator's own, whose bot is this shell command."""
    tag = own_image(bot_of(system))
    recipe = f"FROM {system.environ['BOT_IMAGE']}\nENV BOT_COMMAND={json.dumps(command)}\n"
    build_from_recipe(tag, recipe, system.root / "own-image")
    system.environ |= {"BOT_IMAGE": tag, "BOT_ARGUMENTS": "none"}


def test_the_whole_sequence_runs_with_the_bot_in_a_container(system: System) -> None:
    webhook = "http://127.0.0.1:9/api/webhooks/1/planted-token"
    started = system.startup(environ={"DISCORD_WEBHOOK_URL": webhook})
    assert started.code == 0, started.err
    bot, plan = started.document["bot"], started.document["gameplan"]
    assert (bot["container"], bot["log"], bot["ready_by"]) == (bot_of(system), None, "notify")
    # The very bytes that were judged, and nothing that it could write to.
    inside = subprocess.run(
        ["docker", "exec", bot_of(system), "cat", f"/run/gameplan/{Path(plan['path']).name}"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert hashlib.sha256(inside.stdout).hexdigest() == plan["sha256"]
    target = f"/run/gameplan/{Path(plan['path']).name}"
    assert target in look(system, "{{range .Mounts}}{{if not .RW}}{{.Destination}} {{end}}{{end}}")
    assert docker("exec", bot_of(system), "id", "-u") != "0"
    shown = docker("inspect", bot_of(system)) + docker("exec", bot_of(system), "sh", "-c", "env; cat /run/*.env")
    assert PASSWORD not in shown
    assert "planted-token" not in shown
    status = system.inv("status", "--json")
    assert (status.code, status.document["bot"]["container"]) == (0, bot_of(system)), status.out
    assert "strategy A" in system.inv("logs", "--of", "bot").out
    again = system.startup()
    assert (again.code, again.document["failure"]) == (1, "BOT_ALREADY_RUNNING")
    first = alive(system)
    assert system.startup("--replace").code == 0
    assert len(alive(system)) == 1
    assert alive(system) != first
    assert list(system.logs.glob("bot_*.log")), "what the replaced one said is kept"
    assert system.inv("shutdown").code == 0
    assert (state_of(system), look(system, "{{.State.ExitCode}}")) == ("exited", "0")
    assert system.inv("status").code == 3
    assert "asked to stop" in system.inv("logs", "--of", "bot").out


def test_on_strategy_c_it_shares_no_network_with_the_gateway_and_reads_through_the_guard(system: System) -> None:
    del system.environ["GAMEPLAN_PATH"]
    started = system.startup()
    assert (started.code, started.document["bot"]["gateway_connection"]) == (2, True), started.err
    guard = json.loads((system.state / "order_guard.json").read_text(encoding="utf-8"))
    networks = look(system, "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}").split()
    assert networks == [f"{bot_of(system)}_guarded"]
    gateway = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name_of(system))
    reach = (
        "import socket, sys\n"
        "for host, port in ((sys.argv[1], 4004), (sys.argv[1], 4002), (sys.argv[2], int(sys.argv[3]))):\n"
        "    try: socket.create_connection((host, port), timeout=3).close(); print('reached', host, port)\n"
        "    except OSError: pass\n"
    )
    bridge, port = guard["host"], str(system.port)
    assert docker("exec", bot_of(system), "python3", "-c", reach, gateway, bridge, port) == ""
    reached = docker("exec", bot_of(system), "python3", "-c", reach, gateway, bridge, str(guard["port"]))
    assert reached == f"reached {bridge} {guard['port']}"
    assert system.inv("status").code == 0
    system.use_plan()
    assert system.inv("bot.restart").code == 0
    networks = look(system, "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}").split()
    assert networks == [f"{name_of(system)}_default"]
    reached = docker("exec", bot_of(system), "python3", "-c", reach, gateway, bridge, port)
    assert reached == f"reached {gateway} 4004"
    assert not (system.state / "order_guard.json").exists()
    assert system.inv("shutdown").code == 0


def test_preflight_tells_where_the_engines_networks_are_not_on_this_host(system: System) -> None:
    # What Docker Desktop and a rootless engine have in common: its socket is here, its networks are not.
    elsewhere = ["unshare", "--net", sys.executable, "-c", _WITH_LOOPBACK, sys.executable, "-m", "invoke"]
    checks = system.run([*elsewhere, "preflight", "--json"]).document["checks"]
    (row,) = (check for check in checks if check["name"] == "Strategy C")
    assert row["status"] == "warn"
    assert "no address on this host" in row["detail"]
    here = system.inv("preflight", "--json").document["checks"]
    assert [check["status"] for check in here if check["name"] == "Strategy C"] == ["ok"]


def test_a_container_that_is_started_again_by_hand_does_not_run_the_bot(system: System) -> None:
    assert system.startup().code == 0
    assert system.inv("bot.stop").code == 0
    docker("start", bot_of(system))
    wait_until(lambda: state_of(system) == "exited", "container that has ended")
    assert look(system, "{{.State.ExitCode}}") == "1"
    assert "inv startup" in system.inv("logs", "--of", "bot").out
    assert system.startup().code == 0


def test_a_bot_that_dies_at_once_is_a_failed_start_with_its_last_lines(system: System) -> None:
    use_command(system, "sh -c 'echo no licence >&2; exit 7'")
    started = system.startup()
    assert (started.code, started.document["failure"]) == (1, "BOT_START_FAILED"), started.err
    assert "exit code 7" in started.document["message"]
    assert started.document["evidence"][-1].endswith("no licence")
    assert alive(system) == []
    assert system.inv("status").code == 3


def test_a_bot_that_says_nothing_is_up_when_it_stays_alive(system: System) -> None:
    use_command(system, "sleep 3600")
    system.environ |= {"BOT_START_GRACE": "1.5", "BOT_STOP_TIMEOUT": "2"}
    started = system.startup()
    assert started.code == 0, started.err
    assert started.document["bot"]["ready_by"] == "grace"
    assert system.inv("bot.stop").code == 0
    assert alive(system) == []


_ANOTHER_USER = """
import os, socket, sys, time
os.setgid(65534); os.setuid(65534)
while True:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        try:
            client.sendto(b"READY=1", sys.argv[1])
            print("said", flush=True)
        except FileNotFoundError:
            pass
    time.sleep(0.05)
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_of_this_host_cannot_say_that_the_bot_is_ready(simulator_image: str, bot_image: str) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        contained_system_in(Path(folder) / "s", image=simulator_image, bot_image=bot_image) as system,
    ):
        Path(folder).chmod(0o755)
        use_command(system, "sleep 3600")
        system.environ |= {"BOT_START_GRACE": "3", "BOT_STOP_TIMEOUT": "2"}
        argv = ["/usr/bin/python3", "-c", _ANOTHER_USER, str(system.state / "notify" / "notify.sock")]
        stranger = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        try:
            started = system.startup()
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == "said\n"
        finally:
            stranger.kill()
            stranger.communicate()
        assert started.code == 0, started.err
        assert started.document["bot"]["ready_by"] == "grace"


def test_a_secret_that_the_bot_needs_reaches_it_as_a_file(system: System) -> None:
    system.environ |= {"BOT_PASS_ENV": "HEARTBEAT_URL", "HEARTBEAT_URL": "http://127.0.0.1:9/planted-heartbeat"}
    assert system.startup().code == 0
    assert "planted" not in docker("inspect", bot_of(system))
    inside = docker("exec", bot_of(system), "sh", "-c", 'cat "$HEARTBEAT_URL_FILE"')
    assert inside == "http://127.0.0.1:9/planted-heartbeat"


def test_many_starts_at_the_same_instant_make_one_container(system: System) -> None:
    assert system.inv("gateway.up", "gateway.wait").code == 0
    begun = [system.begin() for _ in range(6)]
    codes = sorted(process.wait(timeout=PATIENCE_S * 2) for process in begun)
    assert codes == [0, 1, 1, 1, 1, 1]
    assert len(alive(system)) == 1


@pytest.mark.parametrize("instant", ["the step begins", "the container is made", "the container runs"])
def test_a_start_that_is_killed_is_followed_by_one_that_converges(system: System, instant: str) -> None:
    use_command(system, "sh -c 'sleep 4; exec python3 -m orchestration.bot.reference'")
    process = system.begin()
    system.wait_for_log("step bot.start")
    if instant == "the container is made":
        wait_until(lambda: state_of(system) in {"created", "running"}, "container")
    elif instant == "the container runs":
        wait_until(lambda: alive(system), "container that runs")
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    again = system.startup("--replace")
    assert again.code == 0, again.err
    assert len(alive(system)) == 1
    assert look(system, '{{index .Config.Labels "zero-touch.run"}}') == again.document["run_id"]


def test_an_interrupted_start_leaves_no_bot(system: System) -> None:
    use_command(system, "sleep 3600")
    process = system.begin()
    wait_until(lambda: alive(system), "container that runs")
    ended = end_and_read(process, SIGTERM)
    assert (ended.code, ended.document["failure"]) == (1, "INTERRUPTED")
    assert alive(system) == []


def test_a_container_of_another_system_is_left_alone(system: System) -> None:
    docker(
        *("run", "--detach", "--name", bot_of(system), "--label", "zero-touch.bot-record=/somewhere/else/bot.json"),
        *("--entrypoint", "sleep", system.environ["BOT_IMAGE"], "3600"),
    )
    started = system.startup()
    assert (started.code, started.document["failure"]) == (1, "BOT_START_FAILED"), started.err
    assert "BOT_CONTAINER_NAME" in started.document["next_action"]
    assert system.inv("shutdown").code == 0
    assert state_of(system) == "running"


def test_a_container_that_was_started_by_hand_is_found(system: System) -> None:
    docker("run", "--detach", "--name", bot_of(system), "--entrypoint", "sleep", system.environ["BOT_IMAGE"], "3600")
    started = system.startup()
    assert (started.code, started.document["failure"]) == (1, "BOT_ALREADY_RUNNING"), started.err


@pytest.mark.parametrize("what", ["bot.json", "all of the state folder"])
def test_a_container_whose_record_is_lost_is_found_after_a_switch_to_processes(system: System, what: str) -> None:
    assert system.startup().code == 0
    first = alive(system)
    assert len(first) == 1
    if what == "bot.json":
        (system.state / "bot.json").unlink()
    else:
        shutil.rmtree(system.state)
    system.environ["BOT_RUNTIME"] = "process"
    started = system.startup()
    assert (started.code, started.document["failure"]) == (1, "BOT_ALREADY_RUNNING"), started.err
    assert bot_of(system) in started.document["message"]
    assert system.bots() == []
    status = system.inv("status", "--json").document["bot"]
    assert (status["running"], status["container"]) == (True, bot_of(system))
    assert system.inv("shutdown").code == 0
    assert alive(system) == []


def test_a_process_whose_record_is_lost_is_found_after_a_switch_to_containers(system: System) -> None:
    system.environ["BOT_RUNTIME"] = "process"
    assert system.startup().code == 0
    assert len(system.bots()) == 1
    (system.state / "bot.json").unlink()
    system.environ["BOT_RUNTIME"] = "docker"
    started = system.startup()
    assert (started.code, started.document["failure"]) == (1, "BOT_ALREADY_RUNNING"), started.err
    assert alive(system) == []
    assert system.inv("shutdown").code == 0
    assert system.bots() == []


def test_a_supervisor_tells_of_the_containers_end_at_once_and_ends_with_it(system: System) -> None:
    with run_channel() as channel:
        system.environ["DISCORD_WEBHOOK_URL"] = channel.address
        supervisor = system.begin("--foreground")
        wait_until(lambda: "Operational" in " ".join(channel.titles), "supervisor at work", 120)
        docker("kill", bot_of(system))
        assert supervisor.wait(timeout=PATIENCE_S) == 1
        told = [received for received in channel.received if "ended" in received.title.lower()]
        assert len(told) == 1, channel.titles
        assert "137" in json.dumps(told[0].document)


def test_stopping_the_supervisor_stops_the_container_in_order(system: System) -> None:
    supervisor = system.begin("--foreground")
    system.wait_for_log("result success")
    assert end_and_read(supervisor, SIGTERM).code == 0
    assert (state_of(system), look(system, "{{.State.ExitCode}}")) == ("exited", "0")


def test_a_bot_whose_supervisor_was_killed_is_adopted(system: System) -> None:
    supervisor = system.begin("--foreground")
    system.wait_for_log("result success")
    first = alive(system)
    supervisor.send_signal(SIGKILL)
    supervisor.communicate(timeout=PATIENCE_S)
    assert alive(system) == first, "no service manager has ended it here"
    watched = set(system.logs.glob("supervisor_*.log"))
    second = system.begin("--foreground")
    system.wait_for_log("adopted")
    # `status` calls it supervised from the moment the second start holds the supervisor's lock.
    wait_until(lambda: set(system.logs.glob("supervisor_*.log")) > watched, "second supervisor at its watch")
    assert system.inv("status", "--json").document["bot"]["supervised"]
    assert alive(system) == first
    assert end_and_read(second, SIGTERM).code == 0
    assert alive(system) == []


def leave_behind(system: System) -> None:
    supervisor = system.begin("--foreground")
    wait_until(lambda: list(system.logs.glob("supervisor_*.log")), "supervisor at work")
    supervisor.send_signal(SIGKILL)
    supervisor.communicate(timeout=PATIENCE_S)
    assert len(alive(system)) == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [({"GATEWAY_ACCOUNT": "DU999"}, "GATEWAY_WRONG_ACCOUNT"), ({"MONITOR_INTERVAL": "often"}, "CONFIG_INVALID")],
)
def test_a_start_that_cannot_adopt_the_container_stops_it_and_says_so(
    system: System, change: dict[str, str], word: str
) -> None:
    with run_channel() as channel:
        system.environ["DISCORD_WEBHOOK_URL"] = channel.address
        leave_behind(system)
        ended = system.startup("--foreground", environ=change)
        assert (ended.code, ended.document["failure"]) == (1, word), ended.err
        assert (state_of(system), look(system, "{{.State.ExitCode}}")) == ("exited", "0")
        assert channel.titles.count("Bot stopped") == 1


def test_where_the_engine_does_not_tell_whether_the_container_runs_a_person_is_told(system: System) -> None:
    with run_channel() as channel:
        system.environ["DISCORD_WEBHOOK_URL"] = channel.address
        leave_behind(system)
        ended = system.startup("--foreground", environ={"DOCKER_HOST": "unix:///no/engine.sock"})
        assert (ended.code, ended.document["failure"]) == (1, "DOCKER_UNAVAILABLE"), ended.err
        assert channel.titles.count("Bot perhaps left running, unsupervised") == 1


def test_what_the_unit_runs_after_its_end_stops_the_container_of_a_dead_supervisor(system: System) -> None:
    wrapper = str(PROJECT / "docker/gateway/scripts/production-startup.sh")
    with run_channel() as channel:
        system.environ["DISCORD_WEBHOOK_URL"] = channel.address
        leave_behind(system)
        assert system.run(["/bin/bash", wrapper, "--stop-left-behind"]).code == 0
        assert (state_of(system), look(system, "{{.State.ExitCode}}")) == ("exited", "0")
        assert channel.titles.count("Bot stopped") == 1
        before = sorted(system.logs.iterdir())
        assert system.run(["/bin/bash", wrapper, "--stop-left-behind"]).code == 0
        assert sorted(system.logs.iterdir()) == before


def foreground(system: System, address: str, *, interval_s: int = 1) -> "subprocess.Popen[str]":
    """A supervisor at work that looks each second, or so often."""
    system.environ |= {"DISCORD_WEBHOOK_URL": address, "MONITOR_INTERVAL": str(interval_s)}
    supervisor = system.begin("--foreground")
    wait_until(lambda: list(system.logs.glob("supervisor_*.log")), "supervisor at work", 120)
    return supervisor


def test_a_paused_container_is_an_incident_and_shown(system: System) -> None:
    with run_channel() as channel:
        supervisor = foreground(system, channel.address, interval_s=3600)  # Docker's events tell it, not the next look
        docker("pause", bot_of(system))
        status = system.inv("status", "--json")
        assert status.code == 1
        assert "is paused" in status.document["bot"]["suspended"]
        wait_until(lambda: "Bot is suspended" in channel.titles, "alert", 60)
        docker("unpause", bot_of(system))
        wait_until(lambda: "Bot resumed" in channel.titles, "end of the incident", 60)
        assert supervisor.poll() is None
        assert end_and_read(supervisor, SIGTERM).code == 0


@pytest.mark.parametrize("command", ["stop", "restart", "rm"])
def test_a_container_that_another_program_ended_is_an_unplanned_end_though_its_exit_code_is_0(
    system: System, command: str
) -> None:
    with run_channel() as channel:
        supervisor = foreground(system, channel.address)
        if command == "rm":
            docker("rm", "--force", bot_of(system))
        else:
            docker(command, bot_of(system))
        assert supervisor.wait(timeout=PATIENCE_S) == 1
        told = json.dumps([one.document for one in channel.received if "Bot ended" in one.title])
        assert any(how in told for how in ("was stopped through the Docker engine", "was started again", "was removed"))
        assert "Bot has finished" not in channel.titles
        assert alive(system) == []


def test_a_container_that_ends_with_0_has_finished_at_any_time(system: System) -> None:
    use_command(system, "sh -c 'echo market is closed; sleep 1'")
    started = system.startup()
    assert (started.code, started.document["bot"]["finished"]) == (0, True), started.err
    with run_channel() as channel:
        supervisor = foreground(system, channel.address)
        wait_until(lambda: "Bot has finished" in channel.titles or supervisor.poll() is not None, "alert", 60)
        assert supervisor.poll() is None, (channel.titles, system.startup_log())
        assert "Bot has finished" in channel.titles
        status = system.inv("status", "--json")
        assert (status.code, status.document["bot"]["finished"]) == (0, True)
        assert end_and_read(supervisor, SIGTERM).code == 0


def test_a_containers_connection_is_seen_from_outside(system: System) -> None:
    assert system.startup().code == 0
    wait_until(lambda: system.inv("status", "--json").document["bot"]["gateway_connection"], "connection", 60)
    assert system.inv("bot.stop").code == 0
    use_command(system, "sleep 3600")
    system.environ |= {"BOT_START_GRACE": "2", "BOT_STOP_TIMEOUT": "2"}
    started = system.startup()
    assert started.document["bot"]["gateway_connection"] is False
    assert "no connection yet" in started.document["message"]
