"""The bot's program started for a trial, in a real network namespace of its own, and never in this one."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.bot.dry_start import NOT_STARTED
from orchestration.deploy.on_host.bot_trial import is_broken
from tests.system import Ended, System

_UNSHARE = ("unshare", "--map-root-user", "--net")
_NETWORK = Path("/proc/self/ns/net")


def can_unshare() -> bool:
    return shutil.which("unshare") is not None and not subprocess.run([*_UNSHARE, "true"], check=False).returncode


pytestmark = pytest.mark.skipif(
    not os.environ.get("CI") and not can_unshare(), reason="this machine makes no network namespaces"
)


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    """Where the bot lies; each test writes its program."""
    return tmp_path / "bot.py"


def start(system: System, bot: Path, *, isolated: bool = True, command: str = "", **environ: str) -> Ended:
    argv = [sys.executable, "-m", "orchestration.bot.dry_start", str(_NETWORK.readlink())]
    settings = {"BOT_COMMAND": command or f"{sys.executable} {bot}", "BOT_WORKDIR": str(bot.parent), **environ}
    return system.run([*_UNSHARE, *argv] if isolated else argv, environ=settings)


def test_a_bot_that_heeds_help_is_whole(system: System, bot: Path) -> None:
    bot.write_text("import argparse\nargparse.ArgumentParser().parse_args()\n")
    ended = start(system, bot)
    assert ended.code == 0, ended.err
    assert "usage: bot.py" in ended.out


def test_the_reference_bot_is_whole(system: System, bot: Path) -> None:
    ended = start(system, bot, command=f"{sys.executable} -m orchestration.bot.reference")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("def main(:\n", "SyntaxError"),
        ("if True:\nprint()\n", "IndentationError"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("from os import no_such_name\n", "ImportError"),
        ("import sys\nprint(no_such_name)\n", "NameError"),
        ("import helper\n", "helper.py"),
    ],
)
def test_a_bot_that_cannot_run_is_told(system: System, bot: Path, program: str, cause: str) -> None:
    bot.write_text(program)
    bot.with_name("helper.py").write_text("x = = 1\n")
    ended = start(system, bot)
    assert is_broken(ended.code, ended.out + ended.err), ended
    assert cause in ended.err


def test_a_script_with_its_interpreter_in_its_first_line_is_started_too(system: System, bot: Path) -> None:
    bot.write_text(f"#!{sys.executable}\nimport no_such_module\n")
    bot.chmod(0o755)
    ended = start(system, bot, command=str(bot))
    assert is_broken(ended.code, ended.out + ended.err), ended


def test_a_bot_that_heeds_no_help_reaches_no_gateway(system: System, bot: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        gateway.settimeout(0)
        port = gateway.getsockname()[1]
        bot.write_text(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)\n")
        ended = start(system, bot)
        with pytest.raises(BlockingIOError):
            gateway.accept()
    assert ended.code == 1
    assert not is_broken(ended.code, ended.out + ended.err), ended


def test_nothing_is_started_where_there_is_a_network(system: System, bot: Path) -> None:
    bot.write_text("open('started', 'w')\n")
    assert start(system, bot, isolated=False).code == NOT_STARTED
    assert not bot.with_name("started").exists()
    assert start(system, bot).code == 0
    assert bot.with_name("started").exists()


@pytest.mark.parametrize("command", ["/bin/sh {bot}", "/usr/bin/env /bin/sh {bot}", "{bot}"])
def test_what_is_not_python_is_not_started(system: System, bot: Path, command: str) -> None:
    bot.write_text("#!/bin/sh\ntouch started\n")
    bot.chmod(0o755)
    assert start(system, bot, command=command.format(bot=bot)).code == 0
    assert not bot.with_name("started").exists()


def test_the_trial_is_not_taken_for_the_bot(system: System, bot: Path) -> None:
    bot.write_text("import os\nassert 'BOT_RECORD' not in os.environ\nassert 'NOTIFY_SOCKET' not in os.environ\n")
    assert start(system, bot).code == 0
