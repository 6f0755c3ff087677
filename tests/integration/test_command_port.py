"""The program that asks a controller for a restart inside its container, run here against real ports and files (G5)."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.gateway.soft_restart import (
    BEGINS_WITHIN_S,
    MOST_S,
    Asked,
    CommandReply,
    Ports,
    ask_argv,
    look_argv,
    parse_asked,
    parse_look,
)
from orchestration.system.commands import CommandResult
from tests.system import find_free_port

RESTART = "2026-11-28 10:00:00.000 INFO  [main] - ---------- IB GATEWAY RESTART ----------\n"
_ANSWER_S = "1"  # in place of the seconds for which an answer is awaited


@contextlib.contextmanager
def controller(answer: bytes, *, closes: bool) -> Iterator[int]:
    """A command port that says this to the first command, and then closes or hangs."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as taken:
                taken.recv(100)
                taken.sendall(answer)
                if not closes:
                    over.wait(60)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listener.getsockname()[1])
        over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def run(argv: tuple[str, ...], settings: Path) -> CommandResult:
    """What stands after `docker exec`, as its own process."""
    assert argv[:3] == ("docker", "exec", "c0ffee")
    environ = {"PATH": os.environ["PATH"], "TWS_SETTINGS_PATH": str(settings)}
    ended = subprocess.run(
        argv[3:], env=environ, capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    return CommandResult(argv=argv, exit_code=ended.returncode, stdout=ended.stdout, stderr=ended.stderr)


def ask(port: int, settings: Path) -> Asked:
    argv = ask_argv("c0ffee", Ports(command=port, api=find_free_port()))
    return parse_asked(run((*argv[:-1], _ANSWER_S), settings))


@pytest.mark.parametrize(
    ("answer", "closes", "reply", "patience_s"),
    [
        pytest.param(b"OK RESTART in progress\n", False, CommandReply.TAKEN, BEGINS_WITHIN_S, id="taken"),
        pytest.param(b"OK RESTART at 23:15\r\n", False, CommandReply.TAKEN, MOST_S, id="taken, and when"),
        pytest.param(b"hello\nOK RESTART at 23:15\n", False, CommandReply.TAKEN, MOST_S, id="after a greeting"),
        pytest.param(b"ERROR Command invalid\n", False, CommandReply.REFUSED, BEGINS_WITHIN_S, id="refused"),
        pytest.param(b"ERROR Command inv", True, CommandReply.REFUSED, BEGINS_WITHIN_S, id="half a refusal, closed"),
        pytest.param(b"ERROR Command inv", False, CommandReply.REFUSED, BEGINS_WITHIN_S, id="half a refusal, hanging"),
        pytest.param(b"OK RESTART at 23:15", True, CommandReply.TAKEN, MOST_S, id="half a yes, closed"),
        pytest.param(b"OK RESTART at 23:15", False, CommandReply.TAKEN, MOST_S, id="half a yes, hanging"),
        pytest.param(b"", True, CommandReply.TAKEN, BEGINS_WITHIN_S, id="closed at once"),
        pytest.param(b"", False, CommandReply.TAKEN, BEGINS_WITHIN_S, id="hanging"),
        pytest.param(b"220 smtp ready\n", False, CommandReply.TAKEN, BEGINS_WITHIN_S, id="something else"),
        pytest.param(b"x" * 300_000, False, CommandReply.TAKEN, BEGINS_WITHIN_S, id="a line without an end"),
        pytest.param(b"\xff\x00\xfe\n" * 50_000, False, CommandReply.TAKEN, BEGINS_WITHIN_S, id="no text"),
    ],
)
def test_an_answer_in_whatever_form_is_understood_and_awaited_for_so_long_only(
    tmp_path: Path, answer: bytes, *, closes: bool, reply: CommandReply, patience_s: float
) -> None:
    with controller(answer, closes=closes) as port:
        asked = ask(port, tmp_path)
    assert (asked.reply, asked.patience_s) == (reply, patience_s)


def test_where_no_port_is_open_nothing_is_asked(tmp_path: Path) -> None:
    assert ask(find_free_port(), tmp_path).reply is CommandReply.NOT_ASKED


@pytest.mark.parametrize("kind", ["none", "folder", "pipe", "sparse", "log"])
def test_starts_are_counted_in_a_log_and_nothing_else_blocks_the_look(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "launcher.log"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in {"sparse", "log"}:
        with path.open("wb") as file:
            file.seek(20 * 1024**3 if kind == "sparse" else 0)
            file.write(b"\n" + RESTART.encode() * 2)
    looked = parse_look(run(look_argv("c0ffee", Ports(command=1, api=find_free_port())), tmp_path))
    assert looked is not None
    assert looked.restarts == (2 if kind in {"sparse", "log"} else 0)
