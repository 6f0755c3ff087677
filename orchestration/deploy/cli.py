"""`fab` commands: one function each, for one host; what came of all of them is shown at the end."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration import console
from orchestration.deploy import deploy as steps
from orchestration.deploy.checkout import Checkout, build_archive, build_wheel_archive, read_checkout
from orchestration.deploy.connection import FabricRemote, describe_caller
from orchestration.deploy.errors import DeployError
from orchestration.deploy.host import Host
from orchestration.deploy.release import Release
from orchestration.settings import PROJECT_DIR
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands

if TYPE_CHECKING:
    from fabric import Connection

BASE = "/opt/zero-touch"
USER = "zero-touch"
_INV_TIMEOUT_S = 120.0
_FOLLOW_S = 30 * 24 * 3600.0
_RUNNING, _UNKNOWN = 0, 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """Where on a host.

    Attributes:
        connection: Fabric's, not open yet.
        base: The base folder.
        user: The service's user.
    """

    connection: "Connection"
    base: str
    user: str


class Session:
    """One command line: its hosts' outcomes, and the tree, which is read once."""

    def __init__(self) -> None:
        self.outcomes: list[steps.Outcome] = []
        self.as_json = False
        self.clock = SystemClock()
        self._commands = SystemCommands()
        self._checkout: Checkout | None = None
        self._archive: bytes | None = None

    def deploy(
        self, target: Target, *, dry_run: bool, env_file: str, wheels: str, timeout_s: float, as_json: bool
    ) -> None:
        """`fab deploy` for one host."""
        self.as_json = as_json
        work = self._begin(target, "deploy")
        with work.judged():
            checkout = self._read_checkout()
            options = steps.Options(
                dry_run=dry_run,
                env=_read_env(env_file) if env_file else None,
                wheels=build_wheel_archive(Path(wheels).expanduser()) if wheels and not dry_run else None,
                timeout_s=timeout_s,
                by=describe_caller(),
            )
            steps.deploy(work, checkout, self._read_archive, options)

    def rollback(self, target: Target, *, release: str, timeout_s: float, as_json: bool) -> None:
        """`fab rollback` for one host."""
        self.as_json = as_json
        work = self._begin(target, "rollback")
        steps.rollback(work, release, steps.Options(timeout_s=timeout_s, by=describe_caller()))

    def provision(self, target: Target, *, dry_run: bool, as_json: bool) -> None:
        """`fab provision` for one host."""
        self.as_json = as_json
        work = self._begin(target, "provision")
        outcome = work.outcome
        with work.judged():
            work.step("connect", work.host.connect)
            outcome.changes = work.step("provision", lambda: work.host.provision(dry_run=dry_run))
            outcome.ok = True
            outcome.result = ("would_change" if dry_run else "changed") if outcome.changes else "changed_nothing"
            outcome.message = f"{len(outcome.changes)} changes" if outcome.changes else "changed nothing: it is ready"

    def status(self, target: Target, *, as_json: bool) -> None:
        """`fab status` for one host: the release in force, and what `inv status` there says."""
        self.as_json = as_json
        work = self._begin(target, "status")
        outcome = work.outcome
        with work.judged():
            work.host.connect()
            facts = work.host.look(status=True)
            outcome.release = facts.current
            code = facts.status["code"] if facts.status else _UNKNOWN
            outcome.ok, outcome.result = code == _RUNNING, f"status_{code}" if facts.current else "not_deployed"
            if not facts.current:
                outcome.message, outcome.next_action = "nothing is deployed", f"fab -H {outcome.host} deploy"
            elif facts.status:
                outcome.message = "all is well" if code == _RUNNING else "; ".join(facts.status["lines"])
                outcome.document = facts.status["document"]
            outcome.changes = tuple(
                f"{'* ' if one.name == facts.current else '  '}{one.name}{_mark(one)}" for one in facts.releases
            )

    def logs(self, target: Target, *, of: str, follow: bool, lines: int) -> int:
        """`fab logs` for one host: what `inv logs` there says; returns its exit code."""
        host = self._host(target)
        try:
            host.connect()
            words = ("logs", f"--of={of}", f"--lines={lines}", *(("--follow",) if follow else ()))
            return host.run_inv(*words, on_line=console.print_line, timeout_s=_FOLLOW_S if follow else _INV_TIMEOUT_S)
        except DeployError as error:
            _explain(host.name, error.message, error.next_action, error.evidence)
            return 1
        except KeyboardInterrupt:
            return 0

    def finish(self) -> int:
        """Show what came of every host; returns the exit code: 1 if any failed."""
        if self.as_json:
            now = self.clock.now()
            console.print_json({"hosts": [steps.build_json(outcome, now=now) for outcome in self.outcomes]})
        else:
            for outcome in self.outcomes:
                _show(outcome)
            if len(self.outcomes) > 1:
                rows = [(one.host, "ok" if one.ok else "FAILED", one.result, one.message) for one in self.outcomes]
                console.print_table(("host", "", "", ""), rows)
        return 0 if all(outcome.ok for outcome in self.outcomes) else 1

    def _begin(self, target: Target, action: str) -> steps.Workflow:
        host = self._host(target)
        work = steps.Workflow(host, action, clock=self.clock, on_step=_tell(host.name))
        self.outcomes.append(work.outcome)
        return work

    def _host(self, target: Target) -> Host:
        remote = FabricRemote(target.connection)
        return Host(remote=remote, base=target.base.rstrip("/"), user=target.user, on_say=_say(remote.name))

    def _read_checkout(self) -> Checkout:
        self._checkout = self._checkout or read_checkout(PROJECT_DIR, self._commands)
        return self._checkout

    def _read_archive(self) -> bytes:
        self._archive = self._archive or build_archive(self._read_checkout(), self._commands)
        return self._archive


def _read_env(name: str) -> bytes:
    path = Path(name).expanduser()
    with contextlib.suppress(OSError):
        return path.read_bytes()
    raise DeployError(f"{path} cannot be read", next_action="--env-file names the settings for that host.")


def _mark(release: Release) -> str:
    if not release.complete:
        return " (half-made)"
    return " (good)" if release.verified else " (failed)" if release.failed else " (never found good)"


def _tell(host: str) -> Callable[[steps.Step], None]:
    return lambda step: console.warn(
        f"[{host}] {step.name:<12} {'ok' if step.ok else 'FAILED'}, {step.duration_s:.1f} s"
    )


def _say(host: str) -> Callable[[str], None]:
    return lambda text: console.warn(f"[{host}]   {text}")


def _show(outcome: steps.Outcome) -> None:
    shown = outcome.changes
    for line in shown:
        console.print_line(f"  {line}")
    if outcome.steps:
        rows = [(one.name, "ok" if one.ok else "FAILED", f"{one.duration_s:.1f} s") for one in outcome.steps]
        total = sum(one.duration_s for one in outcome.steps)
        console.print_table((f"{outcome.action} {outcome.host}", "", "took"), [*rows, ("", "", f"{total:.1f} s")])
    if outcome.ok:
        console.print_line(f"{outcome.host}: {outcome.message}")
    else:
        _explain(outcome.host, outcome.message, outcome.next_action, outcome.evidence)


def _explain(host: str, message: str, next_action: str, evidence: tuple[str, ...]) -> None:
    console.warn(f"{host}: {message}")
    for line in evidence:
        console.warn(f"  | {line}")
    if next_action:
        console.warn(f"  {next_action}")
