"""`inv startup --simulate` with the operator's own bot: it runs, and reaches no gateway but the built-in one (F43)."""

import socket
import sys
from collections.abc import Iterator

import pytest

from orchestration.system.landlock import can_deny_ports
from tests.system import System, wait_until

needs_landlock = pytest.mark.skipif(not can_deny_ports(), reason="needs Landlock network rules (Linux 6.7)")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's seccomp")

# It has the real gateway's port written into it, and notes how far it gets there and at the port that it was given.
_BOT = """
import os, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def reach(port):
    try:
        return socket.create_connection(("127.0.0.1", int(port)), timeout=5)
    except OSError as error:
        return type(error).__name__
written, given = reach({port}), reach(os.environ["GATEWAY_PORT"])
print("reached", written if isinstance(written, str) else "a real gateway", not isinstance(given, str), flush=True)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
    talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    signal.pause()
"""


@pytest.fixture
def real_gateway(system: System) -> Iterator[socket.socket]:
    """Something that listens at the port that `.env` names, for which the own bot was written."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (system.root / "settings.env").write_text(f"GATEWAY_PORT={port}\n", encoding="utf-8")
        system.use_small_bot(code=_BOT.format(port=port))
        system.environ["BOT_START_GRACE"] = "30"  # so that it is up by its own word, however slow the machine is
        yield server


@needs_landlock
def test_a_trial_runs_the_own_bot_which_reaches_the_built_in_gateway_alone(
    system: System, real_gateway: socket.socket
) -> None:
    started = system.inv("startup", "--simulate", "--json")
    assert started.code == 0, started.err
    bot = started.document["bot"]
    assert (bot["program"], bot["ready_by"], bot["gateway_connection"]) == ("small_bot.py", "notify", True)
    log = system.inv("logs", "--of", "bot").out
    assert "reached PermissionError True" in log
    detail = started.document["steps"][-1]["detail"]
    assert "small_bot.py" in detail
    assert "your own bot (BOT_COMMAND), on trial" in detail
    assert str(real_gateway.getsockname()[1]) in system.startup_log(), "the ports that it cannot connect to are named"
    assert system.inv("shutdown").code == 0
    assert system.processes() == []


@needs_linux
def test_where_the_kernel_cannot_confine_it_a_trial_beside_a_real_gateway_is_refused(
    system: System, real_gateway: socket.socket
) -> None:
    python = sys.executable
    argv = [python, "-m", "tests.without_landlock", python, "-m", "orchestration.startup", "--simulate", "--json"]
    started = system.run(argv)
    assert (started.code, started.document["failure"]) == (1, "CONFIG_INVALID"), started.err
    assert "Landlock" in started.document["message"]
    assert system.processes() == []
    real_gateway.settimeout(0)
    with pytest.raises(BlockingIOError):
        real_gateway.accept()


@needs_landlock
def test_a_supervised_trial_restarts_the_own_bot_confined(system: System, real_gateway: socket.socket) -> None:
    assert real_gateway.fileno() >= 0
    system.environ["MONITOR_INTERVAL"] = "1"
    supervisor = system.begin("--simulate", "--foreground")
    logs = system.logs.glob

    def count_refused() -> int:
        return sum("reached PermissionError True" in path.read_text(encoding="utf-8") for path in logs("bot_*.log"))

    wait_until(lambda: count_refused() == 1, "the own bot's first line")
    wait_until(lambda: system.inv("status", "--json").document["bot"]["ready_by"] == "notify", "a bot that is up")
    restarted = system.inv("bot.restart", "--json")
    assert restarted.code == 0, restarted.err
    wait_until(lambda: count_refused() == 2, "the own bot's first line after its restart")
    supervisor.terminate()
    supervisor.communicate(timeout=60)
