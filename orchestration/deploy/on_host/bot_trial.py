"""The bot's program on trial: it is started with `--help` before the old one is stopped, where it can do no harm.

A bot that heeds no `--help` would begin to trade beside the one that runs. So the program is started in a sandbox of
systemd's: no network (the gateway cannot be reached), nothing can be written, no Docker, killed after some seconds.
There a program may fail for many reasons that are none of its own. What counts is what no sandbox causes: it cannot be
executed, has a syntax error, or lacks a module or a name.
"""

import re
from pathlib import Path

from orchestration.deploy.on_host.base import refuse, run
from orchestration.deploy.on_host.service import release_python

_MODULE = "orchestration/bot/dry_start.py"
_UNIT = "zero-touch-dry-start"
_ALLOWED_S = 20  # libraries of data science take seconds to load
_KILLED = 3
_SANDBOX = (
    "PrivateNetwork=yes",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "ReadOnlyPaths=/",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "NoNewPrivileges=yes",
    "InaccessiblePaths=-/run/docker.sock",
    "InaccessiblePaths=-/run/containerd",
    "KillMode=control-group",
    f"TimeoutStopSec={_KILLED}",
    f"RuntimeMaxSec={_ALLOWED_S + 2 * _KILLED}",
)
_CANNOT_BE_EXECUTED = {126, 127}
_EXCEPTION = re.compile(r"(?:\w+\.)*(\w+)(?::|$)")
_ITS_OWN = {
    "SyntaxError",
    "IndentationError",
    "TabError",
    "ImportError",
    "ModuleNotFoundError",
    "NameError",
    "UnboundLocalError",
}
# What the interpreter itself says where it finds no program to run.
_NO_PROGRAM = re.compile(
    r"\S*(?:python|pypy)[\w.]*: "
    r"(?:No module named|can't open file|can't find '__main__'|Error while finding module specification)"
)
_ENDS_WITH = {1, 2}  # an uncaught exception; the interpreter's own usage


def check_bot(release: Path, user: str, *, env_file: Path | None) -> None:
    """Start the program that a release's settings name.

    Args:
        release: The release's folder; one of an older version that cannot do this is let pass.
        user: The service's user.
        env_file: The settings that come with it; None for the current ones.

    Raises:
        RefusedError: It cannot run.
    """
    if not (release / _MODULE).is_file():
        return
    network = str(Path("/proc/self/ns/net").readlink())
    environ = {"PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1", **({"ENV_FILE": str(env_file)} if env_file else {})}
    sandbox = (f"User={user}", f"WorkingDirectory={release}", *_SANDBOX)
    ended = run(
        (
            *("systemd-run", "--wait", "--pipe", "--collect", "--quiet", f"--unit={_UNIT}"),
            *(f"--property={one}" for one in sandbox),
            *(f"--setenv={name}={value}" for name, value in environ.items()),
            *("timeout", f"--kill-after={_KILLED}", str(_ALLOWED_S)),
            *(release_python(release), "-m", "orchestration.bot.dry_start", network),
        ),
        timeout_s=3 * _ALLOWED_S,
    )
    if is_broken(ended.code, f"{ended.out}\n{ended.err}"):
        refuse("the bot's program does not start", "Correct it, commit, and deploy again.", ended.last_lines())


def is_broken(code: int, said: str) -> bool:
    """Whether a program that ended like this cannot run outside of the sandbox either. Pure.

    Args:
        code: Its exit code.
        said: All that it printed.
    """
    if code in _CANNOT_BE_EXECUTED:
        return True
    if code not in _ENDS_WITH:
        return False
    lines = [line for line in said.splitlines() if line.strip()]
    if lines and _NO_PROGRAM.match(lines[-1]):
        return True
    # An exception's name stands at the beginning of the first line that follows the last line of code.
    code_lines = [number for number, line in enumerate(lines) if line.startswith("  ")]
    after = lines[code_lines[-1] + 1 :] if code_lines else []
    found = _EXCEPTION.match(after[0]) if after else None
    return found is not None and found.group(1) in _ITS_OWN
