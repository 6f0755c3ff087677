import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from orchestration.bot.program import command_problem
from orchestration.settings import Settings
from orchestration.system.commands import CommandResult, CommandTimedOutError, OnLine
from tests.fakes.commands import Answer, FakeCommands


class _AnyCommand(FakeCommands):
    """Gives one answer to whatever is run."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        self.expect(argv, self._answer)
        return super().run(argv, timeout_s=timeout_s, cwd=cwd, environ=environ, on_line=on_line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.py").write_text("")
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "inner" / "bot.py").write_text("raise SystemExit('this must not run')")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "no-right").write_text("#!/bin/sh\n")
    return tmp_path


def _problem(folder: Path, command: str, commands: FakeCommands | None = None, **variables: str) -> str | None:
    environ = {"BOT_COMMAND": command, "BOT_WORKDIR": str(folder), "PATH": f"{folder}:/usr/bin:/bin", **variables}
    return command_problem(Settings.from_environ(environ), commands=commands or FakeCommands())


@pytest.mark.parametrize(
    "command",
    [
        "program", "./program --x", "{folder}/program", "{python} bot.py", "{python} -u ./bot.py --x", "sh bot.py",
        "sh program", "sh -c 'whatever'", "{python} -c 'whatever'", "{python} -m package.inner.bot",
        "{python} -m orchestration.bot.reference", "{python} -m json.tool",
    ],
)  # fmt: skip
def test_a_command_that_is_there_has_no_problem(folder: Path, command: str) -> None:
    assert _problem(folder, command.format(folder=folder, python=sys.executable)) is None


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("no-such-program", "not on PATH"),
        ("./no-such-program", "does not exist"),
        ("./package", "is not a file"),
        ("./no-right", "chmod +x"),
        ("no-right", "not on PATH"),
        ("{python} no_bot.py", "no_bot.py does not exist"),
        ("sh no_bot.sh", "no_bot.sh does not exist"),
        ("{python} -m no_such_bot", "has no module no_such_bot"),
        ("{python} -m package.inner.none", "has no module package.inner.none"),
    ],
)
def test_what_is_missing_is_named(folder: Path, command: str, expected: str) -> None:
    problem = _problem(folder, command.format(python=sys.executable))
    assert problem is not None
    assert problem.startswith("BOT_COMMAND: ")
    assert expected in problem


def test_a_working_folder_that_does_not_exist_is_named(folder: Path) -> None:
    assert _problem(folder, "sh", BOT_WORKDIR=str(folder / "none")) == f"BOT_WORKDIR: {folder / 'none'} is not a folder"


def test_a_module_in_the_bots_python_path_is_found(folder: Path) -> None:
    assert _problem(folder, f"{sys.executable} -m inner.bot", PYTHONPATH=str(folder / "package")) is None


@pytest.mark.parametrize(
    ("answer", "is_problem"),
    [
        (CommandResult(argv=(), exit_code=0), False),
        (CommandResult(argv=(), exit_code=3), True),
        (CommandResult(argv=(), exit_code=1), False),
        (CommandTimedOutError(("python3",), 10.0), False),
    ],
)
def test_another_interpreter_is_asked_whether_it_has_the_module(
    folder: Path,
    answer: Answer,
    is_problem: bool,  # noqa: FBT001 - a column of the table
) -> None:
    other = folder / "python3"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    commands = _AnyCommand(answer)
    assert (_problem(folder, "python3 -m trader", commands) is not None) is is_problem
    assert commands.calls[0][0] == str(other)
    assert commands.calls[0][-1] == "trader"
