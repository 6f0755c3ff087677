"""Start the bot's program with `--help`, for the trial of a release: does it load at all?

    python -m orchestration.bot.dry_start NETWORK

A bot may ignore `--help` and begin to trade. So the caller puts this into a sandbox without a network, in which nothing
can be written (`deploy.on_host.bot_trial`). `NETWORK` names the network outside, as `/proc/self/ns/net` does; where it
is this very one, nothing is started. Only programs in Python are: their own errors can be told from what the sandbox
causes.
"""

import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestration.bot.argv import build_bot_argv
from orchestration.bot.command_line import Interpreter, parse_invocation
from orchestration.bot.environment import build_bot_environ
from orchestration.bot.record import RECORD_MARKER
from orchestration.errors import StartupFailure
from orchestration.settings import BotRuntime, Settings

_LOG = logging.getLogger(__name__)  # without a handler: to standard error, which the trial reads
NOT_STARTED = 125  # as `timeout` and `docker run` end where they could not do their own part
_NOT_FOUND = 127
_NETWORK = Path("/proc/self/ns/net")
_FIRST_LINE_BYTES = 256


def main(words: Sequence[str]) -> int:
    """Become the bot's program; returns only where that cannot be, with the exit code.

    Args:
        words: The command line's: the network outside of the sandbox.
    """
    outside = words[0] if words else ""
    if not outside or str(_NETWORK.readlink()) == outside:
        _LOG.error("the bot's program is only started without a network")
        return NOT_STARTED
    try:
        settings = Settings.load()
    except StartupFailure as failure:
        _LOG.error("%s", failure)
        return NOT_STARTED
    if not is_python(settings):
        return 0
    environ = build_bot_environ(
        settings,
        settings.gateway,
        gameplan=settings.emergency_gameplan_path,
        notify_socket=None,
    )
    del environ[RECORD_MARKER]  # it must not be taken for the bot
    argv = build_bot_argv(
        settings,
        settings.gateway,
        gameplan=settings.emergency_gameplan_path,
    )
    try:
        os.chdir(settings.bot_workdir)
        os.execvpe(argv[0], [*argv, "--help"], environ)  # noqa: S606 - the bot's own command, as a start has it
    except OSError as error:
        _LOG.error("%s: %s", argv[0], error.strerror)
        return _NOT_FOUND


def is_python(settings: Settings) -> bool:
    """Whether the bot is a process of Python: by its command, or by the first line of its script."""
    if settings.bot_runtime is BotRuntime.DOCKER:
        return False
    invocation = parse_invocation(settings.bot_command)
    if invocation.interpreter is not None:
        return invocation.interpreter is Interpreter.PYTHON
    program = invocation.program
    found = program if "/" in program else shutil.which(program, path=settings.environ.get("PATH")) or program
    try:
        with (settings.bot_workdir / found).open("rb") as file:
            first = file.read(_FIRST_LINE_BYTES).split(b"\n")[0].decode(errors="replace")
    except OSError:
        return False
    words = first.removeprefix("#!").split() if first.startswith("#!") else []
    return bool(words) and parse_invocation((*words, "script")).interpreter is Interpreter.PYTHON


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
