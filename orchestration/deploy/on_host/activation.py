"""Activate a release: check, switch, install, start, watch; and roll back if it is not healthy."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.deploy.on_host.base import (
    FAILED_FILE,
    VERIFIED_FILE,
    Layout,
    RefusedError,
    as_refusal,
    become,
    print_line,
    refuse,
    run,
)
from orchestration.deploy.on_host.boot_guard import BootGuard
from orchestration.deploy.on_host.candidate import check_candidate, refuse_failed_install
from orchestration.deploy.on_host.prepare import prune
from orchestration.deploy.on_host.release_settings import (
    SETTINGS_FILE,
    adopt_interrupted,
    describe_settings,
    restore_settings,
    save_settings,
    stage_settings,
)
from orchestration.deploy.on_host.room import check_room
from orchestration.deploy.on_host.service import (
    Place,
    inv,
    is_good_status,
    is_standby_status,
    read_journal,
    read_place,
    read_status,
    read_unit,
)

_LOOK_S = 0.5  # a look takes some 10 ms of the processor, which the start needs
_RESTART_TIMEOUT_S = 300
_INSTALL_TIMEOUT_S = 120
_MADE_IN = '{{index .Config.Labels "com.docker.compose.project.working_dir"}}'


@dataclass
class Activation:
    """One release on its way into force.

    Attributes:
        layout: Where things lie.
        user: The service's user.
        target: The release's name.
        previous: The name of the previously active release; empty for none.
        gateway_changed: Whether the container has to be recreated.
        brings_env: Whether new settings came along, to be activated with it.
        restores_env: Whether the settings that the release ran with before are activated with it.
        hold_timeout_s: For how long it may take until it is good.
        keep: How many releases stay.
        least_free_bytes: What must be free on the disks of its folders right before anything is stopped.
        audit_line: What the audit trail says of this activation, but for its outcome.
        cause: Why it was not good, and lines that show it.
        gap_s: Seconds from the order to start until all was good; None if it did not come to that.
        settings: What became of the settings, where they were to be restored; empty for nothing.
        discredited: A release that was found good here and is not; empty for none.
        stands_by: Whether the release is good because another host leads: it has started nothing yet.
    """

    layout: Layout
    user: str
    target: str
    previous: str
    gateway_changed: bool
    brings_env: bool
    hold_timeout_s: float
    keep: int
    restores_env: bool = False
    least_free_bytes: int = 64 * 1024**2
    audit_line: Mapping[str, str] = field(default_factory=dict)
    cause: RefusedError | None = None
    gap_s: float | None = None
    settings: str = ""
    discredited: str = ""
    stands_by: bool = False
    _saved: str = ""  # the release whose settings are kept already

    def perform(self) -> str:
        """Do it. Returns the outcome: `good`, `kept`, `went_back`, `went_back_not_good` or `stopped`."""
        release = self.layout.release(self.target)
        guard = BootGuard(self.layout, self.user, self.previous, self.audit_line)
        try:
            self._take_up_settings()
            self._step("trial", lambda: self._check(release))
            if self.previous:
                guard.arm(read_place(release, self.user).unit)
            folders = (self.layout.base, *read_place(release, self.user).folders)
            self._step("room", lambda: check_room(folders, least_free_bytes=self.least_free_bytes))
        except (RefusedError, OSError) as error:
            self.cause = as_refusal(error)
            guard.disarm()
            self._leniently(lambda: self.layout.env_new.unlink(missing_ok=True))
            return "kept"
        try:
            self._bring_up(self.target, takes_env=self.brings_env)
        except (RefusedError, OSError) as error:
            self.cause = as_refusal(error)
            if self.target != self.previous:
                self._leniently(lambda: self._mark(release, FAILED_FILE))
            outcome = self._roll_back()
        else:
            outcome = "good"
            self._leniently(lambda: self._mark(release, VERIFIED_FILE))
            if self.discredited and self.discredited != self.target:
                self._leniently(lambda: self._mark(self.layout.release(self.discredited), FAILED_FILE))
        guard.disarm()
        self._leniently(lambda: self.layout.env_previous.unlink(missing_ok=True))
        self._step("prune", lambda: self._leniently(lambda: prune(self.layout, keep=self.keep)))
        return outcome

    def _take_up_settings(self) -> None:
        """Keep what an interrupted trial replaced, and lay ready what is to be restored."""
        layout, previous, target = self.layout, self.previous, self.target
        if layout.env_previous.exists():
            self._as_user(lambda: adopt_interrupted(layout, previous))
            self._saved = previous
        if self.restores_env and target != layout.read_current():
            self.settings = self._as_user(lambda: describe_settings(layout, target))
            self._as_user(lambda: stage_settings(layout, target))
            self.brings_env = layout.env_new.exists()

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
        env_file = self.layout.env_new if self.brings_env else None
        place = check_candidate(self.layout, release, self.user, previous=self.previous, env_file=env_file)
        before = read_place(self.layout.release(self.previous), self.user).gateway if self.previous else ()
        if before and before != place.gateway:
            self.gateway_changed = True  # else the old one would go on, logged in, or hold the port

    def _take_gateway_down(self) -> None:
        """The gateway's own files changed: its container must be recreated by the release that comes."""
        release = self.layout.current.resolve()
        place = read_place(release, self.user)
        run(("systemctl", "stop", place.unit), timeout_s=_RESTART_TIMEOUT_S)
        self._end_gateway(release)
        if place.container:
            self._remove_container(place.container)

    def _remove_container(self, name: str) -> None:
        """Remove the stopped container if a release made it: one that is there would be started again as it is."""
        shown = run(("docker", "inspect", "--format", _MADE_IN, name), user=self.user)
        if shown.ok and shown.out.strip().startswith(f"{self.layout.base}/"):
            run(("docker", "rm", name), user=self.user)  # one that runs, for another instance, is refused

    def _end_gateway(self, release: Path) -> None:
        ended = inv(release, "gateway.down", user=self.user, timeout_s=_RESTART_TIMEOUT_S)
        if not ended.ok:  # not ours, or in use by another instance
            print_line({"say": f"the gateway stays as it is: {' '.join(ended.last_lines(2))}"})

    def _switch(self, release: Path, *, takes_env: bool, gives_env_back: bool) -> None:
        def switch() -> None:
            layout, left = self.layout, self.layout.read_current()
            if left and left not in {release.name, self._saved}:
                save_settings(layout, left)
            if takes_env:
                with suppress(FileNotFoundError):
                    _copy_private(layout.env, layout.env_previous)
                layout.env_new.rename(layout.env)
            elif gives_env_back and layout.env_previous.exists():
                layout.env_previous.rename(layout.env)
            elif gives_env_back:
                restore_settings(layout, release.name)
            layout.link_new.unlink(missing_ok=True)
            layout.link_new.symlink_to(Path("releases") / release.name)
            layout.link_new.rename(layout.current)
            (release / SETTINGS_FILE).unlink(missing_ok=True)  # from here on `.env` is what it runs with

        self._as_user(switch)

    def _install(self, release: Path) -> None:
        ended = inv(release, "install", "--target=linux", "--json", timeout_s=_INSTALL_TIMEOUT_S)
        refuse_failed_install(ended)

    def _start(self, place: Place) -> None:
        # A deploy is a start by hand: what a boot service counted before does not keep this one from trying.
        self._leniently(lambda: (place.state_dir / "attempts.json").unlink(missing_ok=True))
        run(("systemctl", "reset-failed", place.unit))
        ended = run(("systemctl", "restart", "--no-block", place.unit))
        if not ended.ok:
            refuse(f"{place.unit} cannot be started", f"systemctl status {place.unit}", ended.last_lines())

    def _hold(self, place: Place, *, since: str, before: str) -> None:
        """Wait until `inv status` says good; a start that failed, or the time-out, ends it.

        What the run before this one (its `InvocationID`) still shows while it is being stopped says nothing.
        """
        deadline_s = time.monotonic() + self.hold_timeout_s
        said, told, lines = "", set(), ()
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
                if is_good_status(status):
                    self.stands_by = is_standby_status(status)
                    return
                lines = tuple(status["lines"])
            said = unit.get("StatusText", "") or said
            if said and said not in told:  # what comes and goes is told once
                told.add(said)
                print_line({"say": said})
            if time.monotonic() >= deadline_s:
                refuse(
                    f"it was not good after {self.hold_timeout_s:g} s: {said or unit.get('ActiveState', 'unknown')}",
                    "The lines say why; a longer --timeout gives it more time.",
                    (*lines, *read_journal(place.unit, since=since)),
                )
            time.sleep(_LOOK_S)

    def _roll_back(self) -> str:
        if not self.previous:
            place = read_place(self.layout.release(self.target), self.user)
            self._step("back: stop", lambda: self._stop_for_good(place))
            return "stopped"
        try:
            self._bring_up(self.previous, gives_env_back=True, prefix="back: ")
        except (RefusedError, OSError) as error:
            print_line({"say": f"the rollback to {self.previous} failed: {as_refusal(error).message}"})
            return "went_back_not_good"
        return "went_back"

    def _stop_for_good(self, place: Place) -> None:
        """There is nothing to go back to: all of it stays stopped, now and at the next boot.

        The gateway's container too: the next attempt may come with other settings or files for it.
        """
        run(("systemctl", "disable", place.unit))
        run(("systemctl", "stop", place.unit), timeout_s=_RESTART_TIMEOUT_S)
        run(("systemctl", "reset-failed", place.unit))
        self._end_gateway(self.layout.release(self.target))
        self.layout.current.unlink(missing_ok=True)

    @staticmethod
    def _mark(release: Path, name: str) -> None:
        for other in (VERIFIED_FILE, FAILED_FILE):
            (release / other).unlink(missing_ok=True)
        (release / name).touch()

    def _leniently(self, act: Callable[[], object]) -> None:
        """Do it as the service's user; that it cannot be done, on a full disk say, is said, and stops nothing."""
        with suppress(RefusedError, OSError):  # the child has said what it was
            self._as_user(act)

    def _as_user(self, act: Callable[[], object]) -> str:
        """Do it in a child that is the service's user: files are its own, and no link of its leads root astray.

        Returns:
            The text that came of it; empty for anything else.

        Raises:
            RefusedError: The child failed.
        """
        sys.stdout.flush()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                become(self.user)
                found = act()
                os.write(writing, found.encode() if isinstance(found, str) else b"")
                code = 0
            except (OSError, RefusedError) as error:
                print_line({"say": str(error)})
            finally:
                os._exit(code)
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            text = file.read().decode(errors="replace")
        if os.waitpid(child, 0)[1]:
            refuse("the files of the release could not be switched", "Is the disk full? `df -h` there.")
        return text

    def _step(self, name: str, act: Callable[[], object]) -> None:
        began_s = time.monotonic()
        ok = False
        try:
            act()
            ok = True
        finally:
            print_line({"step": name, "ok": ok, "duration_s": round(time.monotonic() - began_s, 3)})


def _copy_private(source: Path, target: Path) -> None:
    content = source.read_bytes()
    target.unlink(missing_ok=True)
    number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(content)
