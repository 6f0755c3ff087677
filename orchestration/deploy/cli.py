"""`fab` commands: one function each, for one host; what came of all of them is shown at the end.

What only looks, and what must take effect everywhere at once (`hold`), is done on all hosts at the same time. What
restarts a system goes from one host to the next, so that a bad release does not stop all of them together; among hosts
that carry one instance (LEASE_ETCD), in the order that `cluster` finds.
"""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable
from pathlib import Path

from orchestration import presenter as console
from orchestration.deploy import deploy as steps
from orchestration.deploy.checkout import Checkout, build_archive, build_wheel_archive, read_checkout, read_difference
from orchestration.deploy.cluster import Turn, build_refusal, find_order, perform_in_order, read_part
from orchestration.deploy.connection import SshAccess, SshRemote, describe_caller
from orchestration.deploy.errors import DeployError
from orchestration.deploy.hooks import run_post_deploy, run_pre_deploy
from orchestration.deploy.host import Facts, Host
from orchestration.deploy.link import Secrets
from orchestration.deploy.ready import refuse_unless_watched
from orchestration.deploy.show import (
    choose_message,
    describe_audit_line,
    describe_status,
    explain,
    say,
    show,
    show_all,
    tell,
    tell_of_begin,
)
from orchestration.deploy.ssh_config import find_config_files
from orchestration.deploy.workflow import DeployOptions, Outcome, Workflow, build_json, build_not_begun
from orchestration.redaction import protect
from orchestration.settings import PROJECT_DIR, Settings, expand_home
from orchestration.settings.child_environ import list_secret_names
from orchestration.settings.env_file import read_values
from orchestration.settings.sources import read_secret_texts
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands, withhold

BASE = "/opt/zero-touch"
USER = "zero-touch"
_INV_TIMEOUT_S = 120.0
_ACT_TIMEOUT_S = 900.0  # a bot's and a gateway's time to end, and a validated start
_AT_ONCE = frozenset({"status", "audit", "hold", "resume", "lock", "unlock"})
_MOST_AT_ONCE = 16
_FOLLOW_S = 30 * 24 * 3600.0
# A wait without a limit may miss Ctrl-C: one that comes right before it does not interrupt it.
_LOOK_S = 0.2
_INTERRUPTED_S = 20.0  # for a program on a host to end what it has begun, tell its alert channels, and say so


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostTarget:
    """Where on a host.

    Attributes:
        host: The host as it was typed.
        base: The base folder.
        user: The service's user.
        hosts: All the hosts of the command line.
        ssh_config: The SSH configuration that the command line names; empty for the user's own.
        connect_timeout_s: Seconds for connecting; None for the configuration's.
        secrets: What the command line gave for logging in.
    """

    host: str
    base: str
    user: str
    hosts: tuple[str, ...]
    ssh_config: str
    connect_timeout_s: float | None
    secrets: Secrets


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pending:
    """A host's deploy or rollback, before its turn: see `cluster.Turn`; `undo` takes the release to go back to."""

    work: Workflow
    act: Callable[[], None]
    undo: Callable[[str], None]


class Session:
    """One command line: its hosts' outcomes, and the tree, which is read once."""

    def __init__(self) -> None:
        # These commands need no settings of this computer, but must neither hand down nor show its secrets.
        withhold(list_secret_names())
        Settings.load(lenient=True)  # for the secrets here: a hook or a proxy command may print one
        self.outcomes: list[Outcome] = []
        self.as_json = False
        self.clock = SystemClock()
        self._commands = SystemCommands()
        self._warned: set[str] = set()
        self._remotes: list[SshRemote] = []
        self._checkout: Checkout | None = None
        self._archive: bytes | None = None
        self._revision = ""
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        # The event says that it is done: Python 3.11 takes a thread for ended once Ctrl-C has interrupted its `join`.
        self._under_way: list[tuple[threading.Event, Workflow]] = []
        self._works: list[Workflow] = []
        self._pending: list[_Pending] = []

    def deploy(
        self,
        target: HostTarget,
        *,
        dry_run: bool,
        revision: str,
        env_file: str,
        wheels: str,
        timeout_s: float,
        as_json: bool,
    ) -> None:
        """`fab deploy` for one host."""
        self.as_json = as_json
        work = self._begin(target, "deploy")
        options = DeployOptions(dry_run=dry_run, timeout_s=timeout_s, by=describe_caller())

        def act() -> None:
            with work.judged():
                self._deploy(work, options, revision=revision, env_file=env_file, wheels=wheels)

        self._take_turn(target, work, act, options)

    def _deploy(self, work: Workflow, options: DeployOptions, *, revision: str, env_file: str, wheels: str) -> None:
        self._revision = revision
        checkout = self._read_checkout()
        options = dataclasses.replace(
            options,
            env=read_env(env_file) if env_file else None,
            wheels=build_wheel_archive(Path(expand_home(wheels))) if wheels and not options.dry_run else None,
        )
        facts: dict[str, str] = {}
        if not options.dry_run:
            facts |= {
                "DEPLOY_BY": options.by,
                "DEPLOY_COMMIT": checkout.commit,
                "DEPLOY_REVISION": revision,
                "DEPLOY_SUBJECT": checkout.subject,
            }
            run_pre_deploy(PROJECT_DIR, self._commands, facts, host=work.host.name, on_line=work.host.on_say)
        outcome = steps.deploy(work, checkout, self._read_archive, options)
        if facts:
            run_post_deploy(PROJECT_DIR, self._commands, facts, outcome, on_line=work.host.on_say)
        if options.dry_run and outcome.replaces:
            outcome.difference = read_difference(checkout, outcome.replaces, self._commands)

    def rollback(
        self, target: HostTarget, *, release: str, keeps_settings: bool, timeout_s: float, as_json: bool
    ) -> None:
        """`fab rollback` for one host."""
        self.as_json = as_json
        work = self._begin(target, "rollback")
        options = DeployOptions(timeout_s=timeout_s, by=describe_caller(), keeps_settings=keeps_settings)
        self._take_turn(target, work, lambda: _discard(steps.rollback(work, release, options)), options)

    def _take_turn(self, target: HostTarget, work: Workflow, act: Callable[[], None], options: DeployOptions) -> None:
        """Act on one host; of several, on all of them when the last one is named."""

        def undo(previous: str) -> None:
            if previous:
                steps.rollback(work, previous, dataclasses.replace(options, discredits=True))

        if len(target.hosts) == 1:
            act()
            return
        self._pending.append(_Pending(work=work, act=act, undo=undo))
        if len(self._pending) == len(target.hosts):
            pending, self._pending = self._pending, []
            self._take_turns(pending, options)

    def _take_turns(self, pending: list[_Pending], options: DeployOptions) -> None:
        """Hosts without a lease as they were named, then those of each instance in their order."""
        groups: dict[str, list[Turn]] = {}
        cut_off = []
        for one in pending:
            found: list[Facts] = []
            with one.work.judged():
                one.work.step("connect", one.work.host.connect)
                found.append(one.work.host.look(status=True))
            part = read_part(found[0]) if found else None
            if not found:
                cut_off.append(one.work)
            elif part is not None:
                undo = functools.partial(one.undo, found[0].current)
                commit = found[0].release.commit if found[0].release else ""
                turn = Turn(work=one.work, part=part, commit=commit, act=one.act, undo=undo)
                groups.setdefault(part.instance, []).append(turn)
        in_order = {id(turn.work) for turns in groups.values() for turn in turns}
        for one in pending:
            if id(one.work) not in in_order and one.work not in cut_off:
                one.act()
        for turns in groups.values():
            self._take_turns_in_order(turns, cut_off, options)

    def _take_turns_in_order(self, turns: list[Turn], cut_off: list[Workflow], options: DeployOptions) -> None:
        """The hosts of one instance."""
        try:
            if cut_off:
                raise build_refusal([f"{work.host.name}: {work.outcome.message}" for work in cut_off])
            order = find_order([turn.part for turn in turns])
        except DeployError as error:
            for turn in turns:
                turn.work.take_refusal(error)
            return
        if order is None or options.dry_run:
            for turn in turns:
                turn.act()
        else:
            perform_in_order(turns, order, timeout_s=options.timeout_s, clock=self.clock)

    def provision(self, target: HostTarget, *, dry_run: bool, as_json: bool) -> None:
        """`fab provision` for one host."""
        self.as_json = as_json
        work = self._begin(target, "provision")
        outcome = work.outcome
        with work.judged():
            work.step("connect", work.host.connect)
            outcome.changes = work.step("provision", lambda: work.host.provision(dry_run=dry_run))
            outcome.ok = True
            outcome.result = ("would_change" if dry_run else "changed") if outcome.changes else "changed_nothing"
            outcome.message = _count_changes(len(outcome.changes), dry_run=dry_run)

    def status(self, target: HostTarget, *, as_json: bool) -> None:
        """`fab status` for one host: the current release, and what `inv status` there says, word for word."""
        self.as_json = as_json
        self._perform(self._begin(target, "status"), self._look)

    def _look(self, work: Workflow) -> None:
        work.host.connect()
        facts = work.host.look(status=True)
        said: list[str] = []
        if facts.current and facts.status and not self.as_json:
            work.host.run_inv("status", on_line=said.append, timeout_s=_INV_TIMEOUT_S)
        describe_status(work.outcome, facts, said)

    def hold(self, target: HostTarget, *, reason: str, as_json: bool) -> None:
        """`fab hold` for one host. It does not wait for a deploy's lock: a hold takes effect at once."""
        self.as_json = as_json
        words = ("hold", *((f"--reason={reason}",) if reason else ()))
        self._perform(self._begin(target, "hold"), lambda work: _run_inv(work, words))

    def resume(self, target: HostTarget, *, as_json: bool) -> None:
        """`fab resume` for one host."""
        self.as_json = as_json
        self._perform(self._begin(target, "resume"), lambda work: _run_inv(work, ("resume",)))

    def restart(self, target: HostTarget, *, as_json: bool) -> None:
        """`fab restart` for one host: a bot that something watches is validated again and restarted.

        One host after the other: not all bots are down at the same time.
        """
        self.as_json = as_json
        self._perform(self._begin(target, "restart"), lambda work: _run_inv(work, ("bot.restart",)))
        self._wait()

    def audit(self, target: HostTarget, *, lines: int, as_json: bool) -> None:
        """`fab audit` for one host: who did what there, the oldest first."""
        self.as_json = as_json
        self._perform(self._begin(target, "audit"), lambda work: _show_audit(work, lines))

    def lock(self, target: HostTarget, *, message: str, as_json: bool) -> None:
        """`fab lock` for one host: no deploy and no rollback begins there until `fab unlock`."""
        self.as_json = as_json
        self._perform(self._begin(target, "lock"), lambda work: _lock(work, message.strip()))

    def unlock(self, target: HostTarget, *, as_json: bool) -> None:
        """`fab unlock` for one host."""
        self.as_json = as_json
        self._perform(self._begin(target, "unlock"), _unlock)

    def _perform(self, work: Workflow, act: Callable[[Workflow], None]) -> None:
        """Act on one host; on several at the same time. `finish` waits for all of them."""
        done = threading.Event()

        def perform() -> None:
            try:
                with self._places, work.judged():
                    act(work)
            finally:
                done.set()

        self._under_way.append((done, work))
        threading.Thread(target=perform, name=f"host-{work.host.name}", daemon=True).start()

    def _wait(self) -> None:
        """Wait for the hosts that are being acted on. Ctrl-C ends the wait, not what they do: see `end_interrupted`."""
        for done, _ in self._under_way:
            while not done.wait(_LOOK_S):
                pass
        self._under_way.clear()

    def end_interrupted(self, hosts: tuple[str, ...]) -> None:
        """After Ctrl-C: have what is under way end, then show what came of every host.

        A second Ctrl-C waits for nothing more.

        Args:
            hosts: All the hosts of the command line.
        """
        with contextlib.suppress(KeyboardInterrupt):
            self._settle()
        for work in self._works:
            work.explain_interrupt()
        # What a thread finds out from now on is told to nobody: the outcomes shown are those of this moment.
        self.outcomes = [dataclasses.replace(one) for one in self.outcomes]
        action = self._works[0].outcome.action if self._works else ""
        known = {one.host for one in self.outcomes}
        self.outcomes += [build_not_begun(host, action) for host in hosts if host not in known]
        self._show()

    def _settle(self) -> None:
        """Have nothing more begin, and wait until the hosts that had begun say what they did."""
        begun = [(done, work) for done, work in self._under_way if not done.is_set() and work.interrupt()]
        if begun:
            names = ", ".join(work.host.name for _, work in begun)
            console.warn(
                f"Interrupted. What runs on {names} is asked to end; waiting at most {_INTERRUPTED_S:.0f} s until it "
                "says what it did (Ctrl-C again does not wait) …"
            )
        ends_s = self.clock.monotonic_s() + _INTERRUPTED_S
        for done, _ in begun:
            while self.clock.monotonic_s() < ends_s and not done.wait(_LOOK_S):
                pass

    def logs(self, target: HostTarget, *, of: str, follow: bool, lines: int) -> None:
        """`fab logs` for one host: what `inv logs` there says."""
        host = self._host(target)
        outcome = Outcome(host=host.name, action="logs")
        self.outcomes.append(outcome)
        if len(target.hosts) > 1:
            console.print_line(f"==== {host.name}")
        words = ("logs", f"--of={of}", f"--lines={lines}", *(("--follow",) if follow else ()))
        try:
            host.connect()
            code = host.run_inv(*words, on_line=console.print_line, timeout_s=_FOLLOW_S if follow else _INV_TIMEOUT_S)
            outcome.ok, outcome.message = code == 0, f"`inv {' '.join(words)}` ended there with {code}"
        except DeployError as error:
            outcome.message, outcome.next_action, outcome.evidence = error.message, error.next_action, error.evidence
        except KeyboardInterrupt:
            outcome.ok = True  # that is how one leaves it
        except Exception as error:  # noqa: BLE001 - one host's failure, whatever it is, does not stop the next
            outcome.take_unexpected(error)
        if not outcome.ok:
            explain(outcome)

    def finish_logs(self) -> int:
        """The exit code: 1 if any host's log could not be shown."""
        self._close()
        return 0 if all(outcome.ok for outcome in self.outcomes) else 1

    def finish(self) -> int:
        """Show what came of every host; returns the exit code: 1 if any failed."""
        self._wait()
        self._show()
        return 0 if all(outcome.ok for outcome in self.outcomes) else 1

    def _show(self) -> None:
        self._close()
        if self.as_json:
            now = self.clock.now()
            console.print_json({"hosts": [build_json(outcome, now=now) for outcome in self.outcomes]})
        else:
            for outcome in self.outcomes:
                show(outcome)
            show_all(self.outcomes)

    def _begin(self, target: HostTarget, action: str) -> Workflow:
        host = self._host(target)
        # Steps of several hosts would take each other's place in the line that shows what is running.
        is_alone = len(target.hosts) == 1 or action not in _AT_ONCE
        on_begin = tell_of_begin(host.name) if is_alone else lambda _: None
        work = Workflow(host, action, clock=self.clock, on_step=tell(host.name), on_begin=on_begin)
        self._works.append(work)
        self.outcomes.append(work.outcome)
        return work

    def _host(self, target: HostTarget) -> Host:
        access = SshAccess(
            files=find_config_files(target.ssh_config),
            secrets=target.secrets,
            connect_timeout_s=target.connect_timeout_s,
            commands=self._commands,
            clock=self.clock,
            on_warn=self._warn_once,
        )
        remote = SshRemote(target.host, access)
        self._remotes.append(remote)
        return Host(remote=remote, base=target.base.rstrip("/"), user=target.user, on_say=say(remote.name))

    def _close(self) -> None:
        for remote in self._remotes:
            remote.close()

    def _warn_once(self, text: str) -> None:
        """Each line of a file that all hosts share is complained of once."""
        if text not in self._warned:
            self._warned.add(text)
            console.warn(text)

    def _read_checkout(self) -> Checkout:
        self._checkout = self._checkout or read_checkout(PROJECT_DIR, self._commands, revision=self._revision)
        return self._checkout

    def _read_archive(self) -> bytes:
        self._archive = self._archive or build_archive(self._read_checkout(), self._commands)
        return self._archive


def read_env(name: str) -> bytes:
    """The settings for a host; from now on nothing shows the secrets in them.

    Raises:
        DeployError: The file cannot be read.
    """
    path = Path(expand_home(name))
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        protect(read_secret_texts((read_values(content.decode("utf-8-sig", "replace")),)))
        return content
    raise DeployError(f"{path} cannot be read", next_action="--env-file names the settings for that host.")


def _discard(_: object) -> None:
    """What came of it stands in the workflow's outcome."""


def _count_changes(count: int, *, dry_run: bool) -> str:
    if not count:
        return "would change nothing: it is ready" if dry_run else "changed nothing: it is ready"
    return f"{'would make ' if dry_run else ''}{count} change{'' if count == 1 else 's'}"


def _run_inv(work: Workflow, words: tuple[str, ...]) -> None:
    """Have the release there do something; what it says itself is the outcome's message."""
    outcome, host = work.outcome, work.host
    said: list[str] = []
    work.step("connect", host.connect)
    facts = work.step("check", lambda: host.look(status=outcome.action == "restart"))
    outcome.release = facts.current
    if outcome.action == "restart":
        refuse_unless_watched(facts)
    work.begin_to_act()
    code = work.step(outcome.action, lambda: host.run_inv(*words, on_line=said.append, timeout_s=_ACT_TIMEOUT_S))
    outcome.ok = code == 0
    outcome.result = "done" if outcome.ok else "failed"
    message, next_action = choose_message(said, is_good=outcome.ok)
    outcome.changes = tuple(line for line in said if line not in {message, f"next: {next_action}"})
    outcome.message = host.advise(message or f"`inv {words[0]}` ended there with {code}")
    outcome.next_action = host.advise(next_action)
    host.audit(action=outcome.action, by=describe_caller(), target=facts.current, outcome=outcome.result, cause="")


def _show_audit(work: Workflow, lines: int) -> None:
    outcome = work.outcome
    work.host.connect()
    found = work.host.read_audit(lines=lines)
    outcome.ok, outcome.result = True, "shown"
    outcome.document = {"audit": list(found)}
    outcome.changes = tuple(describe_audit_line(one) for one in found)
    outcome.message = f"{len(found)} line{'' if len(found) == 1 else 's'} of the audit trail"


def _lock(work: Workflow, message: str) -> None:
    outcome = work.outcome
    if not message:
        raise DeployError("--message is empty", next_action="Give the reason, which a refused deploy shows.")
    work.host.connect()
    work.begin_to_act()
    lock = work.host.put_lock(by=describe_caller(), message=message)
    outcome.ok, outcome.result, outcome.document = True, "locked", {"lock": lock}
    outcome.message = f"deploys are locked: {lock['message']} (fab -H {work.host.name} unlock ends it)"
    work.host.audit(action="lock", by=describe_caller(), outcome="locked", cause=str(lock["message"]))


def _unlock(work: Workflow) -> None:
    outcome = work.outcome
    work.host.connect()
    work.begin_to_act()
    lock = work.host.remove_lock()
    outcome.ok, outcome.result, outcome.document = True, "unlocked", {"lock": lock or None}
    was = f"it was locked by {lock.get('by')} since {lock.get('since')}: {lock.get('message')}" if lock else ""
    outcome.message = was or "it was not locked"
    if lock:
        work.host.audit(action="unlock", by=describe_caller(), outcome="unlocked", cause=str(lock["message"]))
