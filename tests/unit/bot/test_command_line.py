import shlex
from pathlib import Path

import pytest

from orchestration.bot.command_line import Interpreter, Invocation, is_same_command, parse_invocation

_PYTHON = Interpreter.PYTHON
_SHELL = Interpreter.SHELL


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("", Invocation()),
        ("python bot.py", Invocation(interpreter=_PYTHON, program="bot.py")),
        ("/usr/bin/python3.11 -u -B bot.py a", Invocation(interpreter=_PYTHON, program="bot.py", arguments=("a",))),
        ("python3 -X dev -W error -uB bot.py", Invocation(interpreter=_PYTHON, program="bot.py")),
        ("python3 -Xdev -Werror bot.py", Invocation(interpreter=_PYTHON, program="bot.py")),
        ("python3 -uX dev bot.py", Invocation(interpreter=_PYTHON, program="bot.py")),
        ("python --check-hash-based-pycs never bot.py", Invocation(interpreter=_PYTHON, program="bot.py")),
        ("python -m bot --x", Invocation(interpreter=_PYTHON, module="bot", arguments=("--x",))),
        ("python -umbot --x", Invocation(interpreter=_PYTHON, module="bot", arguments=("--x",))),
        ("python -um bot", Invocation(interpreter=_PYTHON, module="bot")),
        ("python -c 'import bot' bot.py", Invocation(interpreter=_PYTHON)),
        ("python -", Invocation(interpreter=_PYTHON)),
        ("python", Invocation(interpreter=_PYTHON)),
        ("python -- -bot.py", Invocation(interpreter=_PYTHON, program="-bot.py")),
        (r"'C:\bot\.venv\Scripts\python.exe' bot.py", Invocation(interpreter=_PYTHON, program="bot.py")),
        ("pypy3 bot.py", Invocation(interpreter=_PYTHON, program="bot.py")),
        ("python3.13t bot.py", Invocation(interpreter=_PYTHON, program="bot.py")),
        ("bash -eu run.sh --paper", Invocation(interpreter=_SHELL, program="run.sh", arguments=("--paper",))),
        ("bash -euo pipefail run.sh", Invocation(interpreter=_SHELL, program="run.sh")),
        ("bash --norc -- run.sh", Invocation(interpreter=_SHELL, program="run.sh")),
        ("-bash", Invocation(interpreter=_SHELL)),
        ("sh -c 'python bot.py'", Invocation(interpreter=_SHELL)),
        ("sh -lc 'python bot.py'", Invocation(interpreter=_SHELL)),
        ("env A=1 -u B python bot.py", Invocation(interpreter=_PYTHON, program="bot.py")),
        ("nohup nice -n 5 python bot.py", Invocation(interpreter=_PYTHON, program="bot.py")),
        ("node bot.js", Invocation(program="node", arguments=("bot.js",))),
        ("vim bot.py", Invocation(program="vim", arguments=("bot.py",))),
        ("pythonista bot.py", Invocation(program="pythonista", arguments=("bot.py",))),
    ],
)
def test_a_command_line_tells_what_it_runs(command: str, expected: Invocation) -> None:
    assert parse_invocation(tuple(shlex.split(command))) == expected


_SAME = [
    ("python bot.py", "python bot.py"),
    ("python bot.py", "/opt/bot/.venv/bin/python3.12 -u ./bot.py --gateway-port 4002"),
    ("python -u bot.py", "python bot.py"),
    ("python bot.py", "python /opt/bot/bot.py"),
    ("python bot.py", "./bot.py"),
    ("./bot.py", "/usr/bin/python3 ./bot.py"),
    ("./run.sh", "/bin/bash ./run.sh --paper"),
    ("python -m bot", "/usr/bin/python3 -Xdev -m bot --x"),
    ("python bot.py --config a.yml", "python bot.py --config a.yml --gateway-host h"),
    ("env A=1 python bot.py", "python bot.py"),
    ("bash -eu run.sh", "bash run.sh"),
    ("node bot.js", "/opt/node22/bin/node bot.js"),
    ("sh -c 'exec bot'", "sh -c 'exec bot'"),
    ("/opt/bot/bin/trader", "bin/trader --live"),
]
_DIFFERENT = [
    ("python bot.py", "vim bot.py"),
    ("python bot.py", "less bot.py"),
    ("python bot.py", "tail -f bot.py"),
    ("python bot.py", "grep -r bot.py ."),
    ("python bot.py", "sh -c 'python bot.py'"),
    ("python bot.py", "bash bot.py"),
    ("python bot.py", "python other.py bot.py"),
    ("python bot.py", "python -m pdb bot.py"),
    ("python bot.py", "python -m bot"),
    ("python bot.py", "python /srv/bot/bot.py"),
    ("python bot.py", "python sub/bot.py"),
    ("python bot.py", "python -c 'import bot' bot.py"),
    ("python bot.py", "python"),
    ("python bot.py", ""),
    ("python bot.py --config a.yml", "python bot.py"),
    ("python bot.py --config a.yml", "python bot.py --config b.yml"),
    ("python bot.py --config a.yml", "python bot.py --x --config a.yml"),
    ("python -m bot", "python -m bot.tools"),
    ("python -m bot", "python -m pytest bot"),
    ("python -m orchestration.bot.reference", "grep -r orchestration.bot.reference"),
    ("python -m orchestration.bot.reference", "python orchestration/bot/reference.py"),
    ("sh -c 'exec bot'", "sh -c 'exec other'"),
    ("/opt/bot/bin/trader", "/srv/bin/trader"),
    ("/opt/bot/bin/trader", "vim /opt/bot/bin/trader"),
    ("", "python bot.py"),
    ("", ""),
]


@pytest.mark.parametrize(("configured", "running"), _SAME)
def test_the_same_bot_is_recognised_however_it_was_started(configured: str, running: str) -> None:
    assert _is_same(configured, running)


@pytest.mark.parametrize(("configured", "running"), _DIFFERENT)
def test_another_program_is_not_the_bot_whatever_it_mentions(configured: str, running: str) -> None:
    assert not _is_same(configured, running)


def _is_same(configured: str, running: str) -> bool:
    return is_same_command(
        tuple(shlex.split(configured)),
        tuple(shlex.split(running)),
        workdir=Path("/opt/bot"),
        search_path="/usr/bin:/bin",
    )
