"""The rollback if the host goes down while a release is on trial: at the next boot the previous one is active.

From before the switch until the trial's end a unit stands ready that runs at boot before the system's own. It puts the
link and the settings back and removes itself.
"""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration.deploy.on_host.base import Layout, refuse
from orchestration.deploy.on_host.release_settings import SETTINGS_FILE

UNIT_FOLDER = Path("/etc/systemd/system")
STATE_FOLDER = Path("/var/lib/zero-touch-deploy")
RUN_FOLDER = Path("/run/zero-touch-deploy")
UNIT = "zero-touch-go-back.service"


@dataclass(frozen=True)
class BootGuard:
    """What stands ready while a release is on trial.

    Attributes:
        layout: Where things lie.
        user: The service's user, whose files they are.
        previous: The release that is to be active again.
        audit_line: What is added to the audit trail then, but for the time.
        unit_folder: Where units lie.
        state_folder: Where the program lies.
    """

    layout: Layout
    user: str
    previous: str
    audit_line: Mapping[str, str]
    unit_folder: Path = UNIT_FOLDER
    state_folder: Path = STATE_FOLDER

    @property
    def program(self) -> Path:
        """What runs at boot."""
        return self.state_folder / "go-back"

    @property
    def unit(self) -> Path:
        """The unit that runs it."""
        return self.unit_folder / UNIT

    @property
    def wanted(self) -> Path:
        """What makes systemd start it at boot."""
        return self.unit_folder / "multi-user.target.wants" / UNIT

    def arm(self, before: str) -> None:
        """Stand ready, on the disk, before anything is switched.

        Args:
            before: The system's own unit.

        Raises:
            RefusedError: It cannot be written.
        """
        try:
            self.state_folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            _write(self.program, render_program(self), mode=0o755)
            _write(self.unit, render_unit(self.program, before=before), mode=0o644)
            self.wanted.parent.mkdir(exist_ok=True)
            self.wanted.unlink(missing_ok=True)
            self.wanted.symlink_to(self.unit)
            for folder in (self.state_folder, self.unit_folder, self.wanted.parent):
                _sync(folder)
        except OSError as error:
            refuse(f"the way back after a power cut cannot be written: {error}", "Is the disk full? `df -h` there.")

    def disarm(self) -> None:
        """The trial is over, one way or the other."""
        for path in (self.wanted, self.unit, self.program):
            path.unlink(missing_ok=True)
        if self.unit_folder.is_dir():
            _sync(self.unit_folder)


def render_program(guard: BootGuard) -> str:
    """The shell program: as the service's user what is its own, as root the guard's own end."""
    layout = guard.layout
    audit = shlex.quote(json.dumps({**guard.audit_line, "outcome": "went_back_at_boot"})[1:])
    now = '"$(date -u +%Y-%m-%dT%H:%M:%S+00:00)"'
    before, own = _quote(layout.env_previous), _quote(layout.release(guard.previous) / SETTINGS_FILE)
    env = _quote(layout.env)
    steps = (
        f"if [ -e {before} ]; then mv -f {before} {env}; elif [ -e {own} ]; then mv -f {own} {env}; fi",
        f"ln -sfn {_quote(Path('releases') / guard.previous)} {_quote(layout.link_new)}",
        f"mv -fT {_quote(layout.link_new)} {_quote(layout.current)}",
        f"""printf '{{"at": "%s", %s\\n' {now} {audit} >>{_quote(layout.audit)}""",
    )
    as_user = "umask 027; set -e; " + "; ".join(steps)
    files = " ".join(_quote(path) for path in (guard.wanted, guard.unit, guard.program))
    return f"#!/bin/sh\nset -e\nrunuser -u {shlex.quote(guard.user)} -- sh -c {shlex.quote(as_user)}\nrm -f {files}\n"


def render_unit(program: Path, *, before: str) -> str:
    """The unit."""
    return (
        "[Unit]\n"
        "Description=Activate the previous release again: the host went down while another one was on trial\n"
        f"Before={before}\n"
        "After=local-fs.target\n"
        f"ConditionPathExists=!{RUN_FOLDER}\n"  # gone after a boot: while a trial is on, nothing may start this
        "\n"
        "[Service]\n"
        "Type=oneshot\n"
        f"ExecStart={program}\n"
    )


def _write(path: Path, text: str, *, mode: int) -> None:
    path.unlink(missing_ok=True)
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _quote(path: Path) -> str:
    return shlex.quote(str(path))
