"""One run: what was drawn goes wrong on hosts that work, and then they must work again."""

import contextlib
import json
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from tests.hosts.draw import Case, Fault, Step
from tests.hosts.hosts import Host, Scene
from tests.hosts.network import Cut
from tests.hosts.observer import Life, measure_overlap_s, now_s

_SETTLE_TTLS = 4
_SETTLE_S = 40.0
_STABLE_S = 2.0
_PULSE_STOP_S, _PULSE_GO_S = 0.5, 0.2
_CLOCK_STEPS_S = (-3600, -300, 300, 3600, 86400)
_CUTS = {Fault.CUT_BOTH: Cut.BOTH, Fault.CUT_IN: Cut.IN, Fault.CUT_OUT: Cut.OUT, Fault.CUT_STORE: Cut.STORE}


@dataclass
class Result:
    """What a run has shown.

    Attributes:
        number: The run's.
        is_apart: See `Case.is_apart`.
        told: What went wrong, in words.
        overlap_s: For how long bots lived on two hosts.
        away_s: From the first fault on the leader until a bot began on another host; None if that did not come about.
        is_steady: Whether the holder ended, and the store kept its quorum and its leader all the time.
        broken: The rules that were broken.
    """

    number: int
    is_apart: bool
    told: list[str] = field(default_factory=list)
    overlap_s: float = 0.0
    away_s: float | None = None
    is_steady: bool = True
    broken: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def conduct(scene: Scene, case: Case) -> Result:
    """Run it. The scene works before; it does not afterwards only if a rule is broken."""
    result = Result(case.number, case.is_apart)
    began_s = now_s()
    first = len(scene.observer.lives)
    last_revision = max((one.revision for one in scene.observer.lives), default=0)
    leader = min(scene.observer.find_hosts(), default=0)
    undone: list[threading.Thread] = []
    for step in case.steps:
        time.sleep(max(0.0, began_s + step.at_s - now_s()))
        leader = min(scene.observer.find_hosts(), default=leader)
        host = scene.hosts[leader] if step.on_leader else pick(scene, leader, step)
        result.told.append(f"+{step.at_s:.1f} s {step.fault} on host {host.number} for {step.for_s:.1f} s")
        thread = threading.Thread(target=inflict, args=(scene, host, step), daemon=True)
        thread.start()
        undone.append(thread)
    for thread in undone:
        thread.join()
    result.is_steady = len(case.steps) == 1 and case.steps[0].fault in STEADY
    settle(scene, result)
    lives = scene.observer.lives
    result.overlap_s = measure_overlap_s(lives, now_s())
    if result.overlap_s:
        result.broken.append(f"two bots for {result.overlap_s:.2f} s")
    before = [one for one in lives[:first] if one.end_s is None or one.end_s > began_s]
    old = before[0].host if before else leader
    moved = [one for one in lives[first:] if one.host != old]
    if moved and case.steps[0].on_leader:
        result.away_s = moved[0].begin_s - began_s
    check_revisions(lives[first:], last_revision, result)
    return result


def pick(scene: Scene, leader: int, step: Step) -> Host:
    """Another host than the leader."""
    others = [host for host in scene.hosts if host.number != leader]
    return others[int(step.size * len(others))]


def settle(scene: Scene, result: Result) -> None:
    """Wait until exactly one host runs a bot, and goes on to do so."""
    deadline_s = now_s() + _SETTLE_TTLS * scene.ttl_s + _SETTLE_S
    since_s, hosts = now_s(), set[int]()
    while now_s() < deadline_s:
        found = scene.observer.find_hosts()
        if found != hosts or len(found) != 1:
            since_s, hosts = now_s(), found
        if now_s() - since_s > _STABLE_S:
            return
        time.sleep(0.05)
    result.broken.append(f"no steady bot again: {sorted(hosts)}")


def check_revisions(lives: list[Life], last: int, result: Result) -> None:
    """The fencing number grows with each term, and is the same for all processes of one."""
    for one in sorted(lives, key=lambda life: life.begin_s):
        if one.revision < last:
            result.broken.append(f"revision {one.revision} after {last}")
        last = max(last, one.revision)


def inflict(scene: Scene, host: Host, step: Step) -> None:
    """Let it go wrong, wait, and put it right."""
    if step.fault in _CUTS:
        host.space.cut(_CUTS[step.fault])
        time.sleep(step.for_s)
        host.space.heal()
        return
    _INFLICT[step.fault](scene, host, step)


def _kill_supervisor(_: Scene, host: Host, __: Step) -> None:
    if host.supervisor is not None:
        host.send(signal.SIGKILL, [host.supervisor.pid])


def _kill_bot(scene: Scene, host: Host, _: Step) -> None:
    host.send(signal.SIGKILL, [one.pid for one in scene.observer.lives if one.host == host.number and not one.end_s])


def _kill_gateway(_: Scene, host: Host, __: Step) -> None:
    host.send(signal.SIGKILL, host.find_gateways())


def _power_loss(_: Scene, host: Host, step: Step) -> None:
    host.die()
    time.sleep(step.for_s)
    host.boot()


def _stop(find: Callable[[Host], list[int]]) -> Callable[[Scene, Host, Step], None]:
    def inflict_stop(_: Scene, host: Host, step: Step) -> None:
        pids = find(host)
        host.send(signal.SIGSTOP, pids)
        time.sleep(step.for_s)
        host.send(signal.SIGCONT, pids)

    return inflict_stop


def _delay(_: Scene, host: Host, step: Step) -> None:
    host.set_delay(0.1 + 2.0 * step.size)
    time.sleep(step.for_s)
    host.set_delay(0.0)


def _clock(_: Scene, host: Host, step: Step) -> None:
    host.set_clock_ahead(_CLOCK_STEPS_S[int(step.size * len(_CLOCK_STEPS_S))])
    time.sleep(step.for_s)
    host.set_clock_ahead(0)


def _store_minority(scene: Scene, host: Host, step: Step) -> None:
    members = [one for one in scene.stores if one is not host]
    for one in members:
        one.stop_store()
    time.sleep(step.for_s)
    for one in members:
        one.start_store()


def _store_restart(scene: Scene, _: Host, step: Step) -> None:
    for one in scene.stores:
        one.stop_store()
    time.sleep(step.size)
    for one in scene.stores:
        one.start_store()


def _store_slow(scene: Scene, _: Host, step: Step) -> None:
    until_s = now_s() + step.for_s
    rng = random.Random(step.size)  # noqa: S311 - to be repeated
    while now_s() < until_s:
        member = rng.choice(scene.stores)
        for number, for_s in ((signal.SIGSTOP, _PULSE_STOP_S), (signal.SIGCONT, _PULSE_GO_S)):
            with contextlib.suppress(AttributeError):
                member.send(number, [member.store.pid])  # type: ignore[union-attr]  # None is what is suppressed
            time.sleep(for_s)


# The holder ends at once, and the store notices nothing.
STEADY = frozenset({Fault.KILL_SUPERVISOR, Fault.STOP_SUPERVISOR, Fault.STOP_ALL})
_INFLICT: dict[Fault, Callable[[Scene, Host, Step], None]] = {
    Fault.KILL_SUPERVISOR: _kill_supervisor,
    Fault.KILL_BOT: _kill_bot,
    Fault.KILL_GATEWAY: _kill_gateway,
    Fault.POWER_LOSS: _power_loss,
    Fault.STOP_SUPERVISOR: _stop(lambda host: [] if host.supervisor is None else [host.supervisor.pid]),
    Fault.STOP_ALL: _stop(lambda host: host.find(with_store=False, with_fence=False)),
    Fault.FREEZE: _stop(lambda host: host.find(with_store=True, with_fence=True)),
    Fault.DELAY: _delay,
    Fault.CLOCK: _clock,
    Fault.STORE_MINORITY: _store_minority,
    Fault.STORE_RESTART: _store_restart,
    Fault.STORE_SLOW: _store_slow,
}
