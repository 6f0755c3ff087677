"""What a check is, and the checks of the host: folders, disk, `.env`, clock, WSL. Read-only."""

import os
import shlex
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from orchestration import settings as configuration
from orchestration.errors import Check, FailureWord, StepStatus
from orchestration.settings import Settings, variables_by_field
from orchestration.settings.env_file import find_read_otherwise, is_read_alike, read_values, render_value
from orchestration.settings.image_variables import secret_names
from orchestration.system.commands import CommandNotFoundError, Commands, CommandTimedOutError
from orchestration.system.files import is_folder_there, is_there, read_regular

_LOW_DISK_BYTES = 500 * 1024 * 1024  # some days of bot logs (BOT_LOG_MAX_MB) and an image layer
_MAX_ENV_FILE_BYTES = 1024 * 1024
_CLOCK_CHECK_TIMEOUT_S = 2.0


def check_state_folder(settings: Settings) -> Check:
    """Can the state folder be written, or made?"""
    return _check_folder(settings.state_dir, name="state folder", variable="STATE_DIR")


def check_log_folder(settings: Settings) -> Check:
    """Can the log folder be written, or made? Without it neither gateway nor bot can be started."""
    return _check_folder(settings.log_dir, name="log folder", variable="LOG_DIR")


def _check_folder(wanted: Path, *, name: str, variable: str) -> Check:
    folder = wanted
    while not is_there(folder) and folder != folder.parent:
        folder = folder.parent
    if is_folder_there(folder) and os.access(folder, os.W_OK | os.X_OK):
        return Check(name=name, status=StepStatus.OK, detail=str(wanted))
    return Check(
        name=name,
        status=StepStatus.FAIL,
        detail=f"{variable}: {wanted} cannot be written by this user.",
        fix=f"Make {folder} a folder that this user may write to, or set {variable} to another one.",
        failure=FailureWord.CONFIG_INVALID,
    )


def check_env_file(settings: Settings) -> Check:
    """S5: secrets live in `.env`; who can read it?"""
    path = configuration.find_env_file(settings.environ, settings.project_dir)
    if path is None or not is_there(path):
        return Check(name=".env file", status=StepStatus.SKIP, detail="there is none")
    if settings.in_stack:
        return Check(name=".env file", status=StepStatus.SKIP, detail=f"{path} is made by Compose")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        return Check(
            name=".env file",
            status=StepStatus.WARN,
            detail=f"{path} can be read by other users, and secrets live there",
            fix=f"`chmod 600 {shlex.quote(str(path))}`",
        )
    return Check(name=".env file", status=StepStatus.OK, detail=str(path))


def check_env_notation(settings: Settings) -> Iterator[Check]:
    """K4: would a plain `docker compose --env-file` read another secret out of `.env`? A row only where it would."""
    path = configuration.find_env_file(settings.environ, settings.project_dir)
    if path is None or settings.in_stack:
        return
    try:
        text = read_regular(path, max_bytes=_MAX_ENV_FILE_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return  # the configuration could not have been read from it either
    secrets = {variable.name for variable in variables_by_field().values() if variable.secret} | secret_names()
    found = find_read_otherwise(text, secrets | {"TWS_USERID"})
    if not found:
        return
    lines = ", ".join(f"{name} (line {line})" for name, line in found.items())
    command = f"docker compose --env-file {shlex.quote(str(path))}"
    yield Check(
        name=".env quotes",
        status=StepStatus.WARN,
        detail=f"a plain `{command}` reads another value: {lines}; `inv` and `docker/stack` do not",
        fix=_build_notation_fix(read_values(text), found),
    )


def _build_notation_fix(values: Mapping[str, str], names: Iterable[str]) -> str:
    """The line to write, without the secret."""
    steps = []
    for name in names:
        value = values.get(name, "")
        written = render_value(value)
        if not value:
            steps.append(f"write {name}= alone, without a comment behind it")
        elif not is_read_alike(written):
            steps.append(f"use `docker/stack` only: no notation of {name}'s value is read alike by Compose")
        elif written.startswith('"'):
            steps.append(f'write {name}="…", each \\ in it as \\\\ and each " as \\"')
        else:
            steps.append(f"write {name}='…' in single quotes" + (", each ' in it as \\'" if "\\'" in written else ""))
    sentence = "; ".join(steps)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def check_disk(settings: Settings) -> Check:
    """S5: is there room for plans, journal and logs?"""
    folder = settings.state_dir
    while not is_there(folder) and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free at {folder}"
    if free < _LOW_DISK_BYTES:
        return Check(name="disk", status=StepStatus.WARN, detail=f"only {text}", fix="Free some space.")
    return Check(name="disk", status=StepStatus.OK, detail=text)


def check_wsl(*, hands_over: bool) -> Iterator[Check]:
    """S5: WSL ends an idle distribution, and a bot that was handed over with it."""
    release = Path("/proc/sys/kernel/osrelease")
    try:
        inside_wsl = "microsoft" in release.read_text(encoding="ascii", errors="replace").lower()
    except OSError:
        return
    if inside_wsl and hands_over:
        yield Check(
            name="WSL",
            status=StepStatus.WARN,
            detail="an idle WSL distribution is ended, and a detached bot with it",
            fix="Use `inv startup --foreground`, or `inv install --target=windows`.",
        )


def check_clock(commands: Commands) -> Check:
    """Is the host's clock synchronised? The gateway's own time is compared later, over its API."""
    name = "clock"
    try:
        result = commands.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"], timeout_s=_CLOCK_CHECK_TIMEOUT_S
        )
    except (CommandNotFoundError, CommandTimedOutError):
        return Check(name=name, status=StepStatus.SKIP, detail="this host cannot say whether it is synchronised")
    answer = result.stdout.strip()
    if not result.ok or answer not in {"yes", "no"}:
        return Check(name=name, status=StepStatus.SKIP, detail="this host cannot say whether it is synchronised")
    if answer == "no":
        return Check(
            name=name,
            status=StepStatus.WARN,
            detail="the host's clock is not synchronised; over 60 s of skew lead to Strategy C",
            fix="sudo timedatectl set-ntp true",
        )
    return Check(name=name, status=StepStatus.OK, detail="synchronised")
