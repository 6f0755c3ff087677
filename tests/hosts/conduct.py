"""One run: what was drawn goes wrong on hosts that work, and then they must work again."""

import json
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from orchestration.lease.term import Times
from tests.hosts import effects
from tests.hosts.draw import Case, Fault, Kind, State, Step
from tests.hosts.effects import NoEffectError
from tests.hosts.hosts import Host, Scene
from tests.hosts.network import Cut
from tests.hosts.observer import Life, measure_overlap_s, now_s
from tests.hosts.states import find_leader, leave, reach, read_state, split_plan, write_plans

_SETTLE_TTLS = 4
_SETTLE_S = 40.0
_STABLE_S = 1.5
_LONGEST_PROBE_S = 4.0
_PULSE_STOP_S, _PULSE_GO_S = 0.5, 0.2
_CLOCK_STEPS_S = (-3600, -300, 300, 3600, 86400)
_CUTS = {Fault.CUT_BOTH: Cut.BOTH, Fault.CUT_IN: Cut.IN, Fault.CUT_OUT: Cut.OUT, Fault.CUT_STORE: Cut.STORE}


@dataclass
class Result:
    """What a run has shown.

    Attributes:
        number: The run's.
        is_apart: See `Case.is_apart`.
        kind: How the hosts were set up.
        told: What went wrong, in words.
        met: Each fault, and what its host did when it struck.
        verified: Faults that were seen to do what they say; those that overlap with another one are not looked at.
        overlap_s: For how long bots lived on two hosts.
        begun_s: From the loss of the holder until the next sequence began: what `Times.takeover_s` limits. None where
            more than one thing went wrong, or no holder was lost.
        away_s: The same until another host's bot began, whatever went wrong.
        recovered_s: From the end of the last fault until a sequence began; 0 where one was under way or a bot lived.
        logins: How many sessions the broker gave.
        plan: The plan that had reached the leader alone; empty where all hosts had the same.
        broken: The rules that were broken.
    """

    number: int
    is_apart: bool
    kind: str
    told: list[str] = field(default_factory=list)
    met: list[list[str]] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    overlap_s: float = 0.0
    begun_s: float | None = None
    away_s: float | None = None
    recovered_s: float | None = None
    logins: int = 0
    plan: str = ""
    broken: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def conduct(scene: Scene, case: Case) -> Result:
    """Run it. The scene works before; it does not afterwards only if a rule is broken."""
    result = Result(case.number, case.is_apart, case.kind)
    first = len(scene.observer.lives)
    last_revision = max((one.revision for one in scene.observer.lives), default=0)
    try:
        result.plan = split_plan(scene, case.number) if case.splits_plan else ""
        target = reach(scene, case.state)
    except AssertionError as error:
        result.broken.append(f"{case.state} was not reached: {error}")
        return result
    began_s, hosts = now_s(), []
    undone: list[threading.Thread] = []
    for index, step in enumerate(case.steps):
        time.sleep(max(0.0, began_s + step.at_s - now_s()))
        leader = find_leader(scene)
        host = target if index == 0 else leader if step.on_leader else pick(scene, leader.number, step)
        hosts.append(host)
        state = read_state(scene, host)
        result.met.append([step.fault, state])
        result.told.append(f"+{step.at_s:.1f} s {step.fault} on host {host.number}, {state}, for {step.for_s:.1f} s")
        thread = threading.Thread(target=_inflict, args=(scene, host, step, case, result), daemon=True)
        thread.start()
        undone.append(thread)
    for thread in undone:
        thread.join()
    if scene.is_held and any(one.begin_s > began_s for one in scene.observer.lives[first:]):
        result.broken.append("a bot began while the instance was held")
    over_s = now_s()
    leave(scene, keeps_plans=case.splits_plan)
    settle(scene, result)
    if case.splits_plan:
        _judge_plans(scene.observer.lives[first:], result, began_s)
        write_plans(scene)
    _judge(scene, case, result, target, first=first, began_s=began_s, over_s=over_s)
    check_revisions(scene.observer.lives[first:], last_revision, result)
    return result


def _inflict(scene: Scene, host: Host, step: Step, case: Case, result: Result) -> None:
    """Let it go wrong; look whether it does, where no other fault can be taken for it."""
    is_alone = sum(one.at_s < step.at_s + step.for_s and step.at_s < one.at_s + one.for_s for one in case.steps) == 1
    try:
        inflict(scene, host, step, is_alone=is_alone)
    except NoEffectError as error:
        result.broken.append(f"{step.fault} without effect: {error}")
    else:
        result.verified += [step.fault] if is_alone else []


def _judge(
    scene: Scene, case: Case, result: Result, target: Host, *, first: int, began_s: float, over_s: float
) -> None:
    lives, told = scene.observer.lives, scene.observer.told
    result.overlap_s = measure_overlap_s(lives, now_s())
    if result.overlap_s:
        result.broken.append(f"two bots for {result.overlap_s:.2f} s")
    moved = [one for one in lives[first:] if one.host != target.number and one.begin_s > began_s]
    if moved and case.steps[0].on_leader:
        result.away_s = round(moved[0].begin_s - began_s, 2)
    limit_s = Times(ttl_s=scene.ttl_s).takeover_s
    begins = [one for one in told if one.code is None and one.at_s > began_s]
    if len(case.steps) == 1 and case.steps[0].fault in LOSSES and result.met[0][1] in _LEADING:
        ended_s = max(
            (one.end_s or began_s for one in lives if one.host == target.number and one.begin_s < began_s),
            default=began_s,
        )
        is_over = ended_s > began_s
        taken = next((one for one in begins if one.host != target.number or (is_over and one.at_s > ended_s)), None)
        result.begun_s = None if taken is None else round(taken.at_s - began_s, 2)
        if result.begun_s is not None and result.begun_s > limit_s:
            result.broken.append(f"the next sequence began after {result.begun_s:.2f} s, {limit_s:g} s are allowed")
    if case.state is not State.HELD:
        stable_s = Times(ttl_s=scene.ttl_s).fence_s + _STABLE_S
        is_up = any(one.begin_s < over_s and (one.end_s is None or one.end_s > over_s + stable_s) for one in lives)
        last = next((one for one in reversed(told) if one.at_s < over_s), None)
        later = next((one.at_s - over_s for one in begins if one.at_s > over_s), 0.0)
        result.recovered_s = 0.0 if is_up or (last is not None and last.code is None) else round(later, 2)
        if result.recovered_s > limit_s:
            result.broken.append(f"no sequence for {result.recovered_s:.2f} s after the last fault")
    if scene.kind is not Kind.HOT:  # there each host logs in with a user name of its own, also while it stands by
        _judge_logins(scene, result, began_s)


def _judge_plans(lives: list[Life], result: Result, began_s: float) -> None:
    """Every bot goes on with the plan that was in force, on whichever host it is."""
    others = {f"{one.plan} on host {one.host}" for one in lives if one.begin_s > began_s and one.plan != result.plan}
    result.broken += [f"a bot ran on {one}, and {result.plan} was in force" for one in sorted(others)]


def _judge_logins(scene: Scene, result: Result, began_s: float) -> None:
    """At the broker only the host logs in whose sequence was the last one to begin."""
    addresses = {host.space.address: host.number for host in scene.stores}
    known: set[str] = set()
    for line in scene.broker_log.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["event"] != "login" or event["token"] in known:
            continue
        known.add(event["token"])
        if event["at_s"] < began_s:
            continue
        result.logins += 1
        number = addresses[event["peer"]]
        last = next(
            (one for one in reversed(scene.observer.told) if one.code is None and one.at_s < event["at_s"]), None
        )
        if last is None or last.host != number:
            result.broken.append(f"host {number} logged in though host {last and last.host} had begun after it")


def pick(scene: Scene, leader: int, step: Step) -> Host:
    """Another host than the leader."""
    others = [host for host in scene.hosts if host.number != leader]
    return others[int(step.size * len(others))]


def settle(scene: Scene, result: Result) -> None:
    """Wait until exactly one host runs a bot, and goes on to do so for longer than a fence waits."""
    stable_s = Times(ttl_s=scene.ttl_s).fence_s + _STABLE_S
    deadline_s = now_s() + _SETTLE_TTLS * scene.ttl_s + _SETTLE_S
    since_s, hosts = now_s(), set[int]()
    while now_s() < deadline_s:
        found = scene.observer.find_hosts()
        if found != hosts or len(found) != 1:
            since_s, hosts = now_s(), found
        if now_s() - since_s > stable_s:
            return
        time.sleep(0.05)
    result.broken.append(f"no steady bot again: {sorted(hosts)}")


def check_revisions(lives: list[Life], last: int, result: Result) -> None:
    """The fencing number grows with each term, and is the same for all processes of one."""
    for one in sorted(lives, key=lambda life: life.begin_s):
        if one.revision < last:
            result.broken.append(f"revision {one.revision} after {last}")
        last = max(last, one.revision)


def inflict(scene: Scene, host: Host, step: Step, *, is_alone: bool = True) -> None:
    """Let it go wrong, wait, and put it right.

    Args:
        scene: All hosts.
        host: The one that it strikes.
        step: What, and for how long.
        is_alone: Whether to look if it has its effect: no other fault is at work.

    Raises:
        NoEffectError: It has not.
    """
    look = (lambda check: check()) if is_alone else (lambda _: None)
    if step.fault in _CUTS:
        _cut(scene, host, step, look)
    else:
        _INFLICT[step.fault](scene, host, step, look)


_Look = Callable[[Callable[[], None]], None]


def _cut(scene: Scene, host: Host, step: Step, look: _Look) -> None:
    cut = _CUTS[step.fault]
    host.space.cut(cut)
    until_s = now_s() + step.for_s
    try:
        look(lambda: effects.require_cut(scene, host, cut))
        _wait_until(until_s)
        look(lambda: effects.require_dropped(host.space.count_dropped(), cut))
    finally:
        _wait_until(until_s)
        host.space.heal()


def _wait_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - now_s()))


def _kill(find: Callable[[Scene, Host], list[int]]) -> Callable[[Scene, Host, Step, _Look], None]:
    def inflict_kill(scene: Scene, host: Host, _: Step, look: _Look) -> None:
        pids = find(scene, host)
        host.send(signal.SIGKILL, pids)
        look(lambda: effects.require_gone(pids))

    return inflict_kill


def _find_supervisor(_: Scene, host: Host) -> list[int]:
    return [] if host.supervisor is None else [host.supervisor.pid]


def _find_bots(scene: Scene, host: Host) -> list[int]:
    return [one.pid for one in scene.observer.lives if one.host == host.number and not one.end_s]


def _power_loss(_: Scene, host: Host, step: Step, look: _Look) -> None:
    host.die()
    look(lambda: effects.require_gone(host.space.list_pids()))
    time.sleep(step.for_s)
    host.boot()


def _stop(find: Callable[[Host], list[int]]) -> Callable[[Scene, Host, Step, _Look], None]:
    def inflict_stop(_: Scene, host: Host, step: Step, look: _Look) -> None:
        pids = find(host)
        host.send(signal.SIGSTOP, pids)
        until_s = now_s() + step.for_s
        try:
            look(lambda: effects.require_stopped(pids))
            _wait_until(until_s)
        finally:
            _wait_until(until_s)
            host.send(signal.SIGCONT, pids)

    return inflict_stop


def _delay(_: Scene, host: Host, step: Step, look: _Look) -> None:
    delay_s = 0.1 + 2.0 * step.size
    host.set_delay(delay_s)
    until_s = now_s() + step.for_s
    try:
        if step.for_s > 3 * delay_s:
            look(lambda: effects.require_delay(host, delay_s))
        _wait_until(until_s)
    finally:
        _wait_until(until_s)
        host.set_delay(0.0)


def _clock(_: Scene, host: Host, step: Step, look: _Look) -> None:
    by_s = _CLOCK_STEPS_S[int(step.size * len(_CLOCK_STEPS_S))]
    host.set_clock_ahead(by_s)
    until_s = now_s() + step.for_s
    try:
        look(lambda: effects.require_clock(host, by_s))
        _wait_until(until_s)
    finally:
        host.set_clock_ahead(0)


def _store_minority(scene: Scene, host: Host, step: Step, look: _Look) -> None:
    members = [one for one in scene.stores if one is not host]
    for one in members:
        one.stop_store()
    until_s = now_s() + step.for_s
    try:
        if step.for_s > _LONGEST_PROBE_S:
            look(lambda: effects.require_no_quorum(host))
        _wait_until(until_s)
    finally:
        for one in members:
            one.start_store()


def _store_restart(scene: Scene, _: Host, step: Step, look: _Look) -> None:
    pids = [one.store.pid for one in scene.stores if one.store is not None]
    for one in scene.stores:
        one.stop_store()
    look(lambda: effects.require_gone(pids))
    time.sleep(step.size)
    for one in scene.stores:
        one.start_store()


def _store_slow(scene: Scene, _: Host, step: Step, look: _Look) -> None:
    until_s = now_s() + step.for_s
    rng = random.Random(step.size)  # noqa: S311 - to be repeated
    while now_s() < until_s:
        store = rng.choice(scene.stores).store
        pids = [] if store is None else [store.pid]
        Host.send(signal.SIGSTOP, pids)
        stopped = pids
        try:
            look(lambda stopped=stopped: effects.require_stopped(stopped))  # type: ignore[misc]  # bound in the loop
            time.sleep(_PULSE_STOP_S)
        finally:
            Host.send(signal.SIGCONT, pids)
        time.sleep(_PULSE_GO_S)


def _disk(_: Scene, host: Host, step: Step, look: _Look) -> None:
    if host.disk is None:
        raise NoEffectError("the host has no disk of its own")
    host.disk.freeze()
    until_s = now_s() + step.for_s
    try:
        with host.disk.start_write() as writer:
            _wait_until(until_s)
            look(lambda: effects.require(writer.poll() is None, "a write came to its end"))
            host.disk.thaw()
    finally:
        host.disk.thaw_if_frozen()


# The holder is lost, and the store keeps its quorum.
LOSSES = frozenset(
    {
        *(Fault.KILL_SUPERVISOR, Fault.STOP_SUPERVISOR, Fault.STOP_ALL, Fault.POWER_LOSS, Fault.DISK),
        *(Fault.CUT_BOTH, Fault.CUT_IN, Fault.CUT_OUT, Fault.CUT_STORE),
    }
)
_LEADING = frozenset({State.WAITING, State.STARTING, State.TRADING, State.ON_C})
_INFLICT: dict[Fault, Callable[[Scene, Host, Step, _Look], None]] = {
    Fault.KILL_SUPERVISOR: _kill(_find_supervisor),
    Fault.KILL_BOT: _kill(_find_bots),
    Fault.KILL_GATEWAY: _kill(lambda _, host: host.find_gateways()),
    Fault.POWER_LOSS: _power_loss,
    Fault.STOP_SUPERVISOR: _stop(lambda host: [] if host.supervisor is None else [host.supervisor.pid]),
    Fault.STOP_ALL: _stop(lambda host: host.find(with_store=False, with_fence=False)),
    Fault.FREEZE: _stop(lambda host: host.find(with_store=True, with_fence=True)),
    Fault.DELAY: _delay,
    Fault.CLOCK: _clock,
    Fault.STORE_MINORITY: _store_minority,
    Fault.STORE_RESTART: _store_restart,
    Fault.STORE_SLOW: _store_slow,
    Fault.DISK: _disk,
}
