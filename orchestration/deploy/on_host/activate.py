"""Putting a release in force: switch, install, start, hold; and, if it is not good, the way back.

This runs as a unit of systemd's own, beside the connection that asked for it: once begun it ends in one of two ways,
whatever becomes of the cable. The new release was found good, or the previous one is in force again.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

from orchestration.deploy.on_host.base import (
    FAILED_FILE,
    SENT,
    VERIFIED_FILE,
    Layout,
    RefusedError,
    become,
    print_line,
    refuse,
    run,
)
from orchestration.deploy.on_host.prepare import prune
from orchestration.deploy.on_host.service import (
    ACTIVATION_UNIT,
    Place,
    check_settings,
    inv,
    is_activation_under_way,
    read_journal,
    read_place,
    read_status,
    read_unit,
)

_RUN_FOLDER = Path("/run/zero-touch-deploy")
_PROGRAM = _RUN_FOLDER / "program.json"
_PROGRESS = _RUN_FOLDER / "progress.jsonl"
_LOOK_S = 0.25  # a look takes some 10 ms
_FOLLOW_S = 0.2
_RESTART_TIMEOUT_S = 300
_INSTALL_TIMEOUT_S = 120


@dataclass
class Activation:
    """One release on its way into force.

    Attributes:
        layout: Where things lie.
        user: The service's user.
        target: The release's name.
        previous: The name of the one in force before; empty for none.
        gateway_changed: Whether the container has to be made anew.
        brings_env: Whether new settings came along, to be in force with it.
        hold_timeout_s: For how long it may take until it is good.
        keep: How many releases stay.
        cause: Why it was not good, and lines that show it.
    """

    layout: Layout
    user: str
    target: str
    previous: str
    gateway_changed: bool
    brings_env: bool
    hold_timeout_s: float
    keep: int
    cause: RefusedError | None = None
    gap_s: float | None = None
    _steps: list[str] = field(default_factory=list)

    def perform(self) -> str:
        """Do it. Returns the outcome: `good`, `kept`, `went_back`, `went_back_not_good` or `stopped`."""
        release = self.layout.release(self.target)
        self._as_user(lambda: self.layout.env_previous.unlink(missing_ok=True))  # of one that was cut off
        try:
            self._step("settings", lambda: self._check(release))
        except RefusedError as error:
            self.cause = error
            self._forget_new_env()
            return "kept" if self.previous else "stopped"
        try:
            self._bring_up(self.target, takes_env=self.brings_env)
        except RefusedError as error:
            self.cause = error
            if self.target != self.previous:
                self._mark(release, FAILED_FILE)
            return self._go_back()
        self._mark(release, VERIFIED_FILE)
        self._as_user(lambda: self.layout.env_previous.unlink(missing_ok=True))
        self._step("prune", lambda: self._as_user(lambda: prune(self.layout, keep=self.keep)))
        return "good"

    def _bring_up(self, name: str, *, takes_env: bool = False, gives_env_back: bool = False, prefix: str = "") -> None:
        release = self.layout.release(name)
        if self.gateway_changed and self.layout.read_current():
            self._step(f"{prefix}gateway", self._take_gateway_down)
        self._step(f"{prefix}switch", lambda: self._switch(release, takes_env=takes_env, gives_env_back=gives_env_back))
        place = read_place(release, self.user)
        self._step(f"{prefix}install", lambda: self._install(release))
        since, before = f"@{int(time.time())}", read_unit(place.unit).get("InvocationID", "")
        began_s = time.monotonic()
        self._step(f"{prefix}start", lambda: self._start(place))
        self._step(f"{prefix}hold", lambda: self._hold(place, since=since, before=before))
        if not prefix:
            self.gap_s = round(time.monotonic() - began_s, 1)

    def _check(self, release: Path) -> None:
        check_settings(release, self.user, env_file=self.layout.env_new if self.brings_env else None)

    def _take_gateway_down(self) -> None:
        """The gateway's own files changed: its container must be made anew by the release that comes."""
        release = self.layout.current.resolve()
        run(("systemctl", "stop", read_place(release, self.user).unit), timeout_s=_RESTART_TIMEOUT_S)
        inv(release, "gateway.down", user=self.user, timeout_s=_RESTART_TIMEOUT_S)

    def _switch(self, release: Path, *, takes_env: bool, gives_env_back: bool) -> None:
        def switch() -> None:
            layout = self.layout
            if takes_env:
                with suppress(FileNotFoundError):
                    _copy_private(layout.env, layout.env_previous)
                layout.env_new.rename(layout.env)
            elif gives_env_back and layout.env_previous.exists():
                layout.env_previous.rename(layout.env)
            temporary = layout.base / ".current.new"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(Path("releases") / release.name)
            temporary.rename(layout.current)

        self._as_user(switch)

    def _install(self, release: Path) -> None:
        ended = inv(release, "install", "--target=linux", "--json", timeout_s=_INSTALL_TIMEOUT_S)
        if not ended.ok:
            evidence: tuple[str, ...] = ended.last_lines()
            with suppress(ValueError, KeyError, TypeError):
                found = json.loads(ended.out)
                evidence = (str(found["problem"]), *found.get("evidence", ()))
            refuse("the boot service could not be installed", "fab -H HOST provision", evidence)

    def _start(self, place: Place) -> None:
        # A deploy is a start by hand: what a boot service counted before does not keep this one from trying.
        (place.state_dir / "attempts.json").unlink(missing_ok=True)
        run(("systemctl", "reset-failed", place.unit))
        ended = run(("systemctl", "restart", "--no-block", place.unit))
        if not ended.ok:
            refuse(f"{place.unit} cannot be started", f"systemctl status {place.unit}", ended.last_lines())

    def _hold(self, place: Place, *, since: str, before: str) -> None:
        """Wait until `inv status` is 0; a start that failed, or the time-out, ends it.

        What the run before this one (its `InvocationID`) still shows while it is being stopped says nothing.
        """
        deadline_s = time.monotonic() + self.hold_timeout_s
        said, lines = "", ()
        while True:
            unit = read_unit(place.unit)
            if unit.get("InvocationID", "") == before:
                unit = {}
            if unit.get("ActiveState") in {"failed", "inactive"} or unit.get("SubState") == "auto-restart":
                refuse(
                    f"it did not start: {place.unit} ended ({unit.get('Result', 'unknown')})",
                    "The lines say why; correct it, commit, and deploy again.",
                    read_journal(place.unit, since=since),
                )
            if unit.get("ActiveState") == "active":
                status = read_status(self.layout, self.user)
                if status["code"] == 0:
                    return
                lines = tuple(status["lines"])
            if unit.get("StatusText", "") not in {"", said}:
                said = unit["StatusText"]
                print_line({"say": said})
            if time.monotonic() >= deadline_s:
                refuse(
                    f"it was not good after {self.hold_timeout_s:g} s: {said or unit.get('ActiveState', 'unknown')}",
                    "The lines say why; a longer --timeout gives it more time.",
                    (*lines, *read_journal(place.unit, since=since)),
                )
            time.sleep(_LOOK_S)

    def _go_back(self) -> str:
        if not self.previous:
            place = read_place(self.layout.release(self.target), self.user)
            self._step("back: stop", lambda: self._stop_for_good(place))
            return "stopped"
        try:
            self._bring_up(self.previous, gives_env_back=True, prefix="back: ")
        except RefusedError as error:
            print_line({"say": f"the previous release is in force again, and is not good either: {error.message}"})
            return "went_back_not_good"
        return "went_back"

    def _stop_for_good(self, place: Place) -> None:
        """There is nothing to go back to: it stays stopped, now and at the next boot."""
        run(("systemctl", "disable", place.unit))
        run(("systemctl", "stop", place.unit), timeout_s=_RESTART_TIMEOUT_S)
        run(("systemctl", "reset-failed", place.unit))
        self.layout.current.unlink(missing_ok=True)

    def _forget_new_env(self) -> None:
        self._as_user(lambda: self.layout.env_new.unlink(missing_ok=True))

    def _mark(self, release: Path, name: str) -> None:
        def mark() -> None:
            for other in (VERIFIED_FILE, FAILED_FILE):
                (release / other).unlink(missing_ok=True)
            (release / name).touch()

        self._as_user(mark)

    def _as_user(self, act: Callable[[], object]) -> None:
        """Do it in a child that is the service's user: files are its own, and no link of its leads root astray.

        Raises:
            RefusedError: The child failed.
        """
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                become(self.user)
                act()
                code = 0
            except (OSError, RefusedError) as error:
                print_line({"say": str(error)})
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1]:
            refuse("the files of the release could not be switched", "Is the disk full? `df -h` there.")

    def _step(self, name: str, act: Callable[[], object]) -> None:
        began_s = time.monotonic()
        ok = False
        try:
            act()
            ok = True
        finally:
            print_line({"step": name, "ok": ok, "duration_s": round(time.monotonic() - began_s, 3)})


def begin(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Start an activation as a unit of its own. As root; `activate` gets the same arguments there."""
    if is_activation_under_way():
        refuse("another activation is under way", "Wait until it has ended: it ends by itself.")
    _RUN_FOLDER.mkdir(mode=0o700, exist_ok=True)
    _PROGRESS.unlink(missing_ok=True)
    bundle = {**SENT, "arguments": {**arguments, "command": "activate"}}
    _PROGRAM.write_text(json.dumps(bundle), encoding="utf-8")
    argv = ("systemd-run", f"--unit={ACTIVATION_UNIT}", "--collect", "--quiet")
    log = f"--property=StandardOutput=append:{_PROGRESS}"
    started = run((*argv, log, sys.executable, "-I", "-c", SENT["loader"], _PROGRAM))
    if not started.ok:
        refuse("the activation could not be started", "systemctl status on the host", started.last_lines())
    return {}


def follow(_: Mapping[str, Any]) -> dict[str, Any]:
    """Hand on what an activation says, until it has ended; its last line is the result."""
    offset, ended = 0, False
    while True:
        text = _PROGRESS.read_text(encoding="utf-8", errors="replace") if _PROGRESS.exists() else ""
        whole = text[offset : text.rfind("\n") + 1]
        offset += len(whole)
        for line in whole.splitlines():
            document = json.loads(line)
            if "activated" in document:
                return dict(document["activated"])
            print_line(document)
        if ended:
            refuse("the activation ended without a word", f"journalctl -u {ACTIVATION_UNIT} on the host")
        ended = not is_activation_under_way()
        print_line({})  # whoever asked may be gone: then this ends here
        time.sleep(_FOLLOW_S)


def activate(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The unit's own work; see `Activation`. Writes the audit line and the result."""
    # A host that shuts down has systemd end this; the next deploy sees a release that was not found good.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    layout = Layout(Path(arguments["base"]))
    activation = Activation(
        layout=layout,
        user=arguments["user"],
        target=arguments["target"],
        previous=arguments["previous"],
        gateway_changed=bool(arguments["gateway_changed"]),
        brings_env=bool(arguments["brings_env"]),
        hold_timeout_s=float(arguments["hold_timeout_s"]),
        keep=int(arguments["keep"]),
    )
    outcome = activation.perform()
    cause = activation.cause
    write_audit({**arguments, "outcome": outcome, "cause": cause.message if cause else ""})
    return {
        "outcome": outcome,
        "current": layout.read_current(),
        "gap_s": activation.gap_s,
        "message": cause.message if cause else "",
        "next_action": cause.next_action if cause else "",
        "evidence": list(cause.evidence) if cause else [],
    }


def write_audit(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Add a line to the audit trail: who, from where, when, what, and what came of it. As the service's user."""
    layout = Layout(Path(arguments["base"]))
    line = {"at": datetime.now(tz=timezone.utc).isoformat(timespec="seconds")}  # noqa: UP017 - also on Python 3.10
    for name in ("action", "by", "address", "target", "commit", "previous", "outcome", "cause"):
        line[name] = str(arguments.get(name, ""))
    text = json.dumps(line) + "\n"
    argv = ("sh", "-c", 'umask 027; printf %s "$1" >>"$2"', "sh", text, layout.audit)
    run(argv, user=str(arguments["user"]))
    return {}


def _copy_private(source: Path, target: Path) -> None:
    content = source.read_bytes()
    target.unlink(missing_ok=True)
    number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(content)


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
