"""What a host does: read from what it wrote and what was seen of it; and how it is brought to do that."""

import functools
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar

from orchestration.gameplan.check import name_copy
from orchestration.lease.held import Role
from orchestration.lease.published_plan import PlanState, PublishedPlan
from tests.hosts.draw import State
from tests.hosts.hosts import Host, Scene
from tests.hosts.observer import now_s
from tests.system import PROJECT, build_plan, wait_until

_Found = TypeVar("_Found")
_ON_C_CODE = 2
_PATIENCE_S = 60.0
_REQUESTED = ("was asked for by", "is held on all hosts")


def read_role(host: Host) -> Role | None:
    """Its part in the lease, as its supervisor last wrote it down."""
    try:
        return Role(json.loads((host.root / "state/lease.json").read_bytes())["role"])
    except (OSError, ValueError, KeyError):
        return None


def read_state(scene: Scene, host: Host) -> State:
    """What the host does now."""
    if scene.is_held:
        return State.HELD
    role = read_role(host)
    if role is Role.LEADING and not has_been_asked_to_stop(host):
        last = scene.observer.find_last(host.number)
        if last is None or last.code is None:
            return State.STARTING
        return State.ON_C if last.code == _ON_C_CODE else State.TRADING
    if role in {Role.LEADING, Role.LOST}:
        return State.SHUTTING_DOWN
    return State.WAITING if role is Role.WAITING else State.STANDING_BY


def has_been_asked_to_stop(host: Host) -> bool:
    """Whether the present term is to be ended on request."""
    for path in sorted((host.root / "logs").glob("lease_*.log"))[-1:]:
        text = path.read_text(encoding="utf-8", errors="replace")
        return any(one in text[max(0, text.rfind("the lease is acquired")) :] for one in _REQUESTED)
    return False


def find_leader(scene: Scene) -> Host:
    """The host that leads; the one with the bot, where two think that they do."""
    found = [host for host in scene.hosts if read_role(host) in {Role.LEADING, Role.WAITING}]
    with_bot = scene.observer.find_hosts()
    return next((one for one in found if one.number in with_bot), found[0] if found else scene.hosts[0])


def inv(scene: Scene, host: Host, *words: str) -> "subprocess.Popen[bytes]":
    """An operator's command on this host; `leave` waits for its end."""
    environ = host.environ | {"PYTHONFAULTHANDLER": "1"}
    with (host.root / "operator.log").open("ab") as log:
        argv = [*host.space.inside, sys.executable, "-m", "invoke", *words]
        command = subprocess.Popen(argv, cwd=PROJECT, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    scene.commands.append(command)
    return command


def _has_succeeded(command: "subprocess.Popen[bytes]") -> bool:
    """Whether it ends with 0. One that does not end says where it stands (operator.log), and is killed."""
    try:
        return command.wait(_PATIENCE_S) == 0
    except subprocess.TimeoutExpired:
        command.send_signal(signal.SIGABRT)
        return command.wait(_PATIENCE_S) == 0


def _write_plan(host: Host, **changes: object) -> str:
    """Put a plan on this host. Returns its hash."""
    content = json.dumps(build_plan(**changes)).encode()
    new = host.root / "gameplan.new"
    new.write_bytes(content)
    new.replace(host.root / "gameplan.json")
    return sha256(content).hexdigest()


def write_plans(scene: Scene, **changes: object) -> None:
    """Put the same plan on all hosts."""
    for host in scene.hosts:
        _write_plan(host, **changes)


def read_published(host: Host) -> PublishedPlan | None:
    """The plan in force, as this host has seen it in the store."""
    try:
        return PublishedPlan.read(json.loads((host.root / "state/lease.json").read_bytes())["plan"])
    except (OSError, ValueError, KeyError):
        return None


def split_plan(scene: Scene, number: int) -> str:
    """Put a plan on the leader alone, and have its bot run on it. Returns the name that its copies have."""
    digest = _write_plan(find_leader(scene), notes=f"run {number}")

    def is_in_force() -> bool:
        leader = find_leader(scene)
        published = read_published(leader)
        lives = [one for one in scene.observer.lives if one.host == leader.number and one.end_s is None]
        is_run = bool(lives) and all(name_copy(str(build_plan()["date"]), digest) == one.plan for one in lives)
        return is_run and published is not None and published.sha256 == digest

    _wait(lambda: _has_succeeded(inv(scene, find_leader(scene), "bot.restart")), "restart of the bot")
    _wait(is_in_force, "bot on the plan that reached one host")
    return name_copy(str(build_plan()["date"]), digest)


def reach(scene: Scene, state: State) -> Host:
    """Bring a host into this state. Returns the one that is in it."""
    leader = find_leader(scene)
    found = leader
    match state:
        case State.STANDING_BY:
            found = next(host for host in scene.hosts if host is not leader)
        case State.WAITING:
            # The store stays as it is, so that the take-over that follows has all its members.
            stopped = leader.find(with_store=False, with_fence=False)
            leader.send(signal.SIGSTOP, stopped)
            try:
                found = _wait(lambda: _find(scene, State.WAITING), "host that waits") or leader
            finally:
                leader.send(signal.SIGCONT, stopped)
        case State.STARTING:
            since_s = now_s()
            inv(scene, leader, "failover")
            _wait(lambda: any(one.code is None and one.at_s > since_s for one in scene.observer.told), "sequence")
            began = next(one for one in scene.observer.told if one.at_s > since_s and one.code is None)
            found = scene.hosts[began.host]
        case State.ON_C:
            write_plans(scene, strategy="no such strategy")
            # Before that the plan in force is another one, and would be taken over.
            _wait(lambda: _has_succeeded(inv(scene, find_leader(scene), "bot.restart")), "restart of the bot")
            _wait(lambda: _is_without_plan(find_leader(scene)), "leader without a plan")
            since_s = now_s()
            _wait(lambda: _has_succeeded(inv(scene, find_leader(scene), "failover")), "planned fail-over")
            _wait(lambda: any(one.code == _ON_C_CODE and one.at_s > since_s for one in scene.observer.told), "bot on C")
            found = find_leader(scene)
        case State.HELD:
            scene.is_held = True
            _has_succeeded(inv(scene, leader, "hold", "--reason=campaign"))
            _wait(lambda: not scene.observer.find_hosts(), "end of the bot")
        case State.SHUTTING_DOWN:
            inv(scene, leader, "failover")
            _wait(lambda: has_been_asked_to_stop(leader), "request to stop")
    return found


def _is_without_plan(host: Host) -> bool:
    published = read_published(host)
    return published is not None and published.state is PlanState.NONE


def leave(scene: Scene, *, keeps_plans: bool) -> None:
    """End what `reach` has begun: no hold any more, and, unless the plans are to be judged, a plan that trades."""
    if scene.is_held:
        # The hold of all hosts is in the store, and each host has its own file.
        for host in scene.hosts:
            _wait(functools.partial(_resume, scene, host), "end of the hold")
        scene.is_held = False
    if not keeps_plans:
        write_plans(scene)
    for command in scene.commands:
        command.wait(_PATIENCE_S)
    scene.commands.clear()


def _resume(scene: Scene, host: Host) -> bool:
    return _has_succeeded(inv(scene, host, "resume"))


def _find(scene: Scene, state: State) -> Host | None:
    return next((host for host in scene.hosts if host.is_up and read_state(scene, host) is state), None)


def _wait(condition: Callable[[], _Found], what: str) -> _Found:
    return wait_until(condition, what, _PATIENCE_S)
