"""Ctrl-C while `fab` acts on several hosts: what came of every one is told, and nothing goes on unsaid."""

import contextlib
import getpass
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
import pytest

from tests.integration.ssh_server import RELAY, SshServer, make_key, serving
from tests.system import PATIENCE_S, PROJECT, System, system_in, wait_until

# Says READY, notes each SIGTERM, and goes on.
_STUBBORN_BOT = """
import os, signal, socket, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: Path(sys.argv[1]).touch())
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
    talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    time.sleep(0.05)
"""


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """Three hosts: `idle` runs nothing, `silent` says nothing, `busy` (behind a proxy) has a bot that does not end."""

    home: Path
    base: Path
    idle: System
    busy: System
    asked: Path
    silent: socket.socket

    def begin(self, *words: str, hosts: str = "idle,busy,silent") -> "subprocess.Popen[str]":
        where = (f"--base={self.base}", f"--user={getpass.getuser()}")
        return subprocess.Popen(
            [sys.executable, "-m", "fabric", "-t", "60", "-H", hosts, *words, *where],
            cwd=PROJECT,
            env={**os.environ, "HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # a terminal's Ctrl-C is for all that run in its foreground
        )


def _alias(name: str, port: int) -> str:
    return f"Host {name}\n HostName 127.0.0.1\n Port {port}\n HostKeyAlias rack\n"


def _via_proxy(home: Path, port: int) -> str:
    relay = home / "relay.py"
    relay.write_text(RELAY)
    return f" ProxyCommand '{sys.executable}' '{relay}' 127.0.0.1 {port}\n"


def _build_release(base: Path) -> None:
    release = base / "current"
    release.mkdir(parents=True)
    (release / ".venv").symlink_to(sys.prefix)
    for name in ("tasks.py", "orchestration"):
        (release / name).symlink_to(PROJECT / name)


def _serve(held: contextlib.ExitStack, key: paramiko.PKey, system: System) -> SshServer:
    return held.enter_context(serving([key], environ={**os.environ, **system.environ}))


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    make_key(home / ".ssh/id_ed25519")
    make_key(tmp_path / "host")
    key = paramiko.Ed25519Key(filename=str(tmp_path / "host"))
    (home / ".ssh/known_hosts").write_text(f"rack {key.get_name()} {key.get_base64()}\n")
    _build_release(tmp_path / "base")
    with contextlib.ExitStack() as held:
        idle = held.enter_context(system_in(tmp_path / "idle"))
        busy = held.enter_context(system_in(tmp_path / "busy"))
        asked = tmp_path / "asked"
        busy.use_small_bot(f"'{asked}'", code=_STUBBORN_BOT)
        busy.environ["BOT_STOP_TIMEOUT"] = "600"
        silent = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        ports = {
            "idle": _serve(held, key, idle).port,
            "busy": _serve(held, key, busy).port,
            "silent": silent.getsockname()[1],
        }
        aliases = [_alias(name, port) for name, port in ports.items()]
        aliases.insert(2, _via_proxy(home, ports["busy"]))
        (home / ".ssh/config").write_text("".join(aliases))
        yield Hosts(home=home, base=tmp_path / "base", idle=idle, busy=busy, asked=asked, silent=silent)


def _interrupt(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGINT)


def _read_hosts(out: str) -> dict[str, Any]:
    return {one["host"]: one for one in json.loads(out)["hosts"]}


def test_after_an_interrupt_every_host_says_what_was_done_and_what_was_not(hosts: Hosts) -> None:
    assert hosts.busy.startup("--simulate").code == 0
    process = hosts.begin("hold", "--reason=test", "--json", hosts="busy,silent")
    wait_until(hosts.asked.exists, "SIGTERM for the bot")
    _interrupt(process)
    out, err = process.communicate(timeout=PATIENCE_S)
    found = _read_hosts(out)

    assert process.returncode == 1
    assert "Traceback" not in err
    assert {name: one["result"] for name, one in found.items()} == {"busy": "interrupted", "silent": "interrupted"}
    assert "What runs on busy is asked to end" in err
    # The host's own last word, and what it had done by then.
    assert found["busy"]["message"] == "INTERRUPTED: SIGTERM arrived during bot.stop."
    assert "may still be ending" in found["busy"]["next_action"]
    assert (hosts.busy.state / "hold.json").exists()
    assert "nothing that runs there was touched" in found["silent"]["message"]

    # Once more, and the program there cannot answer: a second interrupt does not wait for it.
    hosts.asked.unlink()
    process = hosts.begin("hold", "--json", hosts="busy,silent")
    wait_until(hosts.asked.exists, "SIGTERM for the bot, again")
    for one in hosts.busy.processes():
        if "hold" in one.cmdline():
            one.suspend()
    _interrupt(process)
    assert process.stderr is not None
    said = next((line for line in process.stderr if line.startswith("Interrupted")), "")
    _interrupt(process)
    out, err = process.communicate(timeout=PATIENCE_S)
    found = _read_hosts(out)

    assert "waiting at most" in said
    assert process.returncode == 1
    assert "Traceback" not in err
    assert found["busy"]["result"] == found["silent"]["result"] == "interrupted"
    assert "may be half done" in found["busy"]["message"]
    assert found["busy"]["next_action"] == "fab -H busy status"


@pytest.mark.parametrize("action", ["restart", "deploy"])
def test_hosts_whose_turn_had_not_come_are_named(hosts: Hosts, action: str) -> None:
    """Both go from one host to the next; the first one never answers."""
    process = hosts.begin(action, hosts="silent,idle,busy")
    hosts.silent.settimeout(PATIENCE_S)
    connected, _ = hosts.silent.accept()
    with connected:
        _interrupt(process)
        out, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert "Traceback" not in err
    rows = {line.split()[0]: line for line in out.splitlines() if "interrupted" in line}
    assert set(rows) == {"silent", "idle", "busy"}
    assert "not_begun" in rows["idle"]
    assert "not_begun" in rows["busy"]
