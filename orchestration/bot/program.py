"""Is the bot's program there at all? Asked before the gateway's login, which may need the operator's phone."""

import importlib.machinery
import importlib.util
import os
import shutil
import sys

from orchestration.bot.command_line import Interpreter, parse_invocation
from orchestration.docker.compose import find_compose_files
from orchestration.settings import BotRuntime, Settings
from orchestration.system.commands import CommandNotFoundError, Commands, CommandTimedOutError, SystemCommands
from orchestration.system.files import is_file_there, is_folder_there, is_there

_MODULE_IS_MISSING = 3
# Looks for a module as `python -m` does, without running any of it but the packages' own search paths.
_LOOK_FOR_MODULE = f"""
import importlib.machinery, importlib.util, sys
first, *rest = sys.argv[1].split(".")
spec = importlib.util.find_spec(first)
for part in rest:
    if spec is None or spec.submodule_search_locations is None:
        break
    spec = importlib.machinery.PathFinder.find_spec(part, list(spec.submodule_search_locations))
sys.exit(0 if spec is not None else {_MODULE_IS_MISSING})
"""
_LOOK_TIMEOUT_S = 10.0
_ABSENT = "does not exist, or is hidden from this user"


def command_problem(settings: Settings, *, commands: Commands | None = None) -> str | None:
    """What `find_command_problems` finds, in one line, or None if nothing is seen."""
    return "; ".join(find_command_problems(settings, commands=commands)) or None


def find_command_problems(settings: Settings, *, commands: Commands | None = None) -> tuple[str, ...]:
    """What keeps the bot's command from being started: one sentence for each variable that has to be corrected.

    Runs nothing of the bot. Another interpreter than our own is asked whether it has the module.
    """
    if settings.watched_state_dir is not None:
        return ("WATCHED_STATE_DIR: set, and nothing is started where another container's system is watched",)
    if settings.bot_runtime is BotRuntime.DOCKER:
        if find_compose_files(settings.bot_compose_dir):
            return ()
        return (f"BOT_COMPOSE_DIR: there is no Compose file in {settings.bot_compose_dir}",)
    problem = _find_program_problem(settings)
    if not is_folder_there(settings.bot_workdir):
        missing = f"BOT_WORKDIR: {settings.bot_workdir} is not a folder"
        # A program that is not looked for in the working folder is wrong whatever that will be.
        return (missing,) if problem is None or _is_relative(settings.bot_command[0]) else (missing, problem)
    problem = problem or _find_script_problem(settings, commands or SystemCommands())
    return (problem,) if problem else ()


def describe_program(settings: Settings) -> str:
    """What would be started, for people."""
    if settings.bot_runtime is BotRuntime.DOCKER:
        return f"container {settings.bot_container_name} of image {settings.bot_image}"
    return " ".join(settings.bot_command)


def _is_relative(program: str) -> bool:
    return ("/" in program or os.sep in program) and not os.path.isabs(program)  # noqa: PTH117 - `~` is expanded by now


def _find_program_problem(settings: Settings) -> str | None:
    program = settings.bot_command[0]
    if "/" not in program and os.sep not in program:
        if shutil.which(program, path=settings.environ.get("PATH")) is None:
            return f"BOT_COMMAND: the program {program} is not on PATH"
        return None
    path = settings.bot_workdir / program
    if not is_file_there(path):
        return f"BOT_COMMAND: {path} {'is not a file' if is_there(path) else _ABSENT}"
    if not os.access(path, os.X_OK):
        return f"BOT_COMMAND: {path} is not executable; run `chmod +x` on it, or name its interpreter before it"
    return None


def _find_script_problem(settings: Settings, commands: Commands) -> str | None:
    invocation = parse_invocation(settings.bot_command)
    if invocation.interpreter is None:
        return None
    if invocation.module:
        if _has_module(settings, invocation.module, commands):
            return None
        return (
            f"BOT_COMMAND: {settings.bot_command[0]} has no module {invocation.module}, "
            f"looked for from {settings.bot_workdir} too"
        )
    # A shell looks a script without a folder up on PATH as well; Python does not.
    script = settings.bot_workdir / invocation.program
    is_on_path = invocation.interpreter is Interpreter.SHELL and shutil.which(
        invocation.program, path=settings.environ.get("PATH")
    )
    if invocation.program and not is_there(script) and not is_on_path:
        return f"BOT_COMMAND: {script} {_ABSENT}"
    return None


def _has_module(settings: Settings, module: str, commands: Commands) -> bool:
    """Whether an interpreter finds a module. True too where that is unknown: the start will show it."""
    program = settings.bot_command[0]
    if program == sys.executable:
        places = [str(settings.bot_workdir), *settings.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return _finds_module(module, [place for place in places if place])
    resolved = shutil.which(program, path=settings.environ.get("PATH")) if "/" not in program else program
    if parse_invocation((program, "script")).interpreter is not Interpreter.PYTHON or resolved is None:
        return True  # `env python -m …`: who will be the interpreter is not worth guessing
    try:
        looked = commands.run(
            (str(settings.bot_workdir / resolved), "-c", _LOOK_FOR_MODULE, module),
            timeout_s=_LOOK_TIMEOUT_S,
            cwd=settings.bot_workdir,
        )
    except (CommandNotFoundError, CommandTimedOutError, OSError):
        return True
    return looked.exit_code != _MODULE_IS_MISSING


def _finds_module(module: str, places: list[str]) -> bool:
    """The same question to the interpreter that we run in, which costs no process."""
    first, *rest = module.split(".")
    try:
        spec = importlib.machinery.PathFinder.find_spec(first, places) or importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return True
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            break
        # By its last name alone: by its whole one a namespace package would want its parent to be imported.
        spec = importlib.machinery.PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec is not None
