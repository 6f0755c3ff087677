"""What happens in a simulated world: the days as they are, and the faults that a seed draws.

A scenario is a list of `Happening`s, which can be written down, left out one by one, and replayed.
"""

import json
import math
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

from tests.years.clockwork import DAY_S, MARKET
from tests.years.gateway import next_market_night
from tests.years.world import Bot, World

_HOUR_S = 3600.0
_MINUTE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One thing that goes wrong, or that the operator does.

    Attributes:
        kind: What, by its name in `KINDS`.
        at_s: When, in seconds of the simulation.
        lasts_s: For how long; means nothing for what takes no time.
    """

    kind: str
    at_s: float
    lasts_s: float = 0.0

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.0f} s" if self.lasts_s else ""
        return f"{self.kind} at {self.at_s:.0f} s{lasts}"


Act = Callable[[World, Happening], None]


def _end_gateway(world: World, _: Happening) -> None:
    world.gateway.end(1)


def _hang_gateway(world: World, _: Happening) -> None:
    if world.gateway.is_ready:
        world.gateway.hang()


def _stop_engine(world: World, one: Happening) -> None:
    if world.is_host_up and world.gateway.is_engine_up:
        world.gateway.stop_engine()
        world.clockwork.after(one.lasts_s, lambda: world.gateway.start_engine() if world.is_host_up else None)


def _end_bot(code: int) -> Act:
    def act(world: World, _: Happening) -> None:
        for bot in list(world.bots):
            world.table.end(bot.process, code)

    return act


def _break_channel(status: int | None, takes_s: float = 0.2, wait_s: float | None = None) -> Act:
    def act(world: World, one: Happening) -> None:
        world.posts = lambda: (status, wait_s, takes_s)
        world.clockwork.say("channel", f"answers {status} from now on")

        def mend() -> None:
            world.posts = world.answer_post
            world.clockwork.say("channel", "works again")

        world.clockwork.after(one.lasts_s, mend)

    return act


def _signal_service(number: int) -> Act:
    def act(world: World, _: Happening) -> None:
        world.signal_service(number)

    return act


def _kill_at_door(world: World, one: Happening) -> None:
    """The next start of the service is killed at one of its calls of a door; the present one now."""
    calls = 1 + int(math.exp(one.lasts_s))
    waits = [calls]
    world.on_death_at_door = lambda: None
    world.dies_at = lambda name: waits.pop() if name == "service" and waits else 0
    world.signal_service(int(signal.SIGKILL))


def _cut_power_at_door(world: World, one: Happening) -> None:
    """The power goes at one of the calls of a door of the next start of the service: in the middle of a replacement."""
    calls = 1 + int(math.exp(one.lasts_s))

    def fail() -> None:
        world.cut_power()
        world.clockwork.after(_MINUTE_S, world.boot)

    def draw(name: str) -> int:
        if name != "service":
            return 0
        world.dies_at = lambda _name: 0
        world.on_death_at_door = fail
        return calls

    world.dies_at = draw
    world.signal_service(int(signal.SIGKILL))


def _cut_power(world: World, one: Happening) -> None:
    if world.is_host_up:
        world.cut_power()
        world.clockwork.after(one.lasts_s, world.boot)


def _step_clock(direction: float) -> Act:
    def act(world: World, one: Happening) -> None:
        clockwork = world.clockwork
        clockwork.wall_s += direction * one.lasts_s
        clockwork.say("host", f"clock set {direction * one.lasts_s:+.0f} s")

        def mend() -> None:
            clockwork.wall_s = clockwork.true_s
            clockwork.say("host", "clock right again")

        clockwork.after(_HOUR_S, mend)

    return act


def _suspend(world: World, one: Happening) -> None:
    if world.is_host_up:
        world.suspend(one.lasts_s)


def _lose_link(world: World, one: Happening) -> None:
    world.gateway.tell_all(1100, "Connectivity between IB and Trader Workstation has been lost.")
    world.clockwork.after(
        one.lasts_s, lambda: world.gateway.tell_all(1102, "Connectivity has been restored - data maintained.")
    )


def _forget_phone(world: World, one: Happening) -> None:
    gateway, until_s = world.gateway, world.clockwork.now_s + one.lasts_s
    before = gateway.phone_s

    def answer() -> float | None:
        left_s = until_s - world.clockwork.now_s
        return before() if left_s <= 0 else None

    gateway.phone_s = answer
    world.clockwork.after(one.lasts_s, lambda: setattr(gateway, "phone_s", before))


def _operate(name: str) -> Act:
    def act(world: World, _: Happening) -> None:
        if world.is_host_up:
            world.spawn(name, OPERATOR[name])

    return act


def _hold(world: World, one: Happening) -> None:
    if not world.is_host_up:
        return
    world.spawn("hold", OPERATOR["hold"])

    def end() -> None:
        if world.is_host_up:
            world.spawn("resume", OPERATOR["resume"], on_end=lambda _code: world.want_service())

    world.clockwork.after(one.lasts_s, end)


def _fill_disk(world: World, one: Happening) -> None:
    world.free_bytes = 10**6
    world.clockwork.say("host", "disk nearly full")

    def mend() -> None:
        world.free_bytes = 50 * 10**9
        world.clockwork.say("host", "disk has room again")

    world.clockwork.after(one.lasts_s, mend)


def _run_hold() -> int:
    from orchestration.commands import control

    return control.hold("maintenance", as_json=False)


def _run_resume() -> int:
    from orchestration.commands import control

    return control.resume(as_json=False)


def _run_restart() -> int:
    from orchestration.commands import control

    return control.restart_bot(as_json=False)


def _run_startup() -> int:
    from orchestration import presenter
    from orchestration.startup.sequence import StartupOptions, run_startup

    return int(run_startup(StartupOptions(), presenter.build_display(as_json=False)).exit_code)


def _run_shutdown() -> int:
    from orchestration.commands import control
    from orchestration.shutdown import BOT_STOP_FIRST, GATEWAY_STOP

    return control.run_steps("shutdown", (BOT_STOP_FIRST, GATEWAY_STOP), as_json=False)


OPERATOR: dict[str, Callable[[], int]] = {
    "hold": _run_hold,
    "resume": _run_resume,
    "bot.restart": _run_restart,
    "startup": _run_startup,
    "shutdown": _run_shutdown,
}


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what it does, how long it lasts (least and most), how often it is drawn."""

    act: Act
    least_s: float = 0.0
    most_s: float = 0.0
    weight: int = 2


KINDS: dict[str, Kind] = {
    "gateway_dies": Kind(_end_gateway, weight=4),
    "gateway_hangs": Kind(_hang_gateway, weight=3),
    "engine_away": Kind(_stop_engine, 20.0, 1200.0),
    "bot_crashes": Kind(_end_bot(3), weight=3),
    "bot_finishes": Kind(_end_bot(0)),
    "channel_away": Kind(_break_channel(None), 60.0, 2 * _HOUR_S),
    "channel_500": Kind(_break_channel(500), 60.0, _HOUR_S, 1),
    "channel_429": Kind(_break_channel(429, wait_s=7.0), 60.0, _HOUR_S, 1),
    "channel_slow": Kind(_break_channel(204, takes_s=45.0), 60.0, _HOUR_S, 1),
    "service_killed": Kind(_signal_service(int(signal.SIGKILL))),
    "service_killed_at_door": Kind(_kill_at_door, 0.0, 7.5, 4),
    "power_cut": Kind(_cut_power, 30.0, 3 * _HOUR_S),
    "power_cut_at_door": Kind(_cut_power_at_door, 0.0, 7.5),
    "clock_ahead": Kind(_step_clock(1.0), 60.0, 3 * _HOUR_S, 1),
    "clock_behind": Kind(_step_clock(-1.0), 60.0, 3 * _HOUR_S, 1),
    # The host is suspended. Not drawn: what a gateway does that sleeps through its restart or Sunday is not known.
    "clock_suspended": Kind(_suspend, 60.0, 10 * _HOUR_S, weight=0),
    "link_lost": Kind(_lose_link, 30.0, 600.0),
    "phone_forgotten": Kind(_forget_phone, _HOUR_S, 12 * _HOUR_S),
    "bot_restart_asked": Kind(_operate("bot.restart")),
    "startup_by_hand": Kind(_operate("startup")),
    "hold": Kind(_hold, 5 * _MINUTE_S, 6 * _HOUR_S),
    "disk_full": Kind(_fill_disk, 10 * _MINUTE_S, 3 * _HOUR_S),
    "plan_absent": Kind(lambda _world, _one: None, DAY_S, DAY_S),
    "plan_late": Kind(lambda _world, _one: None, DAY_S, DAY_S),
    "plan_old": Kind(lambda _world, _one: None, DAY_S, DAY_S, 1),
    "plan_invalid": Kind(lambda _world, _one: None, DAY_S, DAY_S, 1),
    "plan_quarantined": Kind(lambda _world, _one: None, DAY_S, DAY_S, 1),
}
PLAN_KINDS = tuple(name for name in KINDS if name.startswith("plan_"))


def draw_faults(seed: int, *, days: float, every_days: float = 1.5) -> tuple[Happening, ...]:
    """The faults of a seed: one each `every_days` on average, none in the first hour and the last two days."""
    chance = random.Random(f"faults {seed}")  # noqa: S311 - a simulation has to repeat itself
    names = list(KINDS)
    weights = [KINDS[name].weight for name in names]
    found = []
    at_s = _HOUR_S
    while (at_s := at_s + chance.expovariate(1 / (every_days * DAY_S))) < (days - 2) * DAY_S:
        name = chance.choices(names, weights)[0]
        kind = KINDS[name]
        lasts_s = round(chance.uniform(kind.least_s, kind.most_s), 1)
        found.append(Happening(kind=name, at_s=round(at_s, 1), lasts_s=lasts_s))
        if chance.random() < 0.2:  # one seldom comes alone
            at_s -= every_days * DAY_S * 0.2
            at_s = max(at_s, found[-1].at_s + chance.uniform(0.0, 600.0))
    return tuple(sorted(found, key=lambda one: one.at_s))


def play(world: World, faults: Sequence[Happening], *, days: float) -> None:
    """Let the days pass as they do, and the faults happen. Boots the host; the caller lets time run."""
    clockwork = world.clockwork
    first = clockwork.market_now.date()
    _play_nights(world)
    for number in range(int(days) + 2):
        _play_day(world, first + timedelta(days=number), faults)
    for one in faults:
        kind = KINDS[one.kind]
        clockwork.after(one.at_s, lambda kind=kind, one=one: _begin(world, kind, one))  # type: ignore[misc]
    world.boot()


def _begin(world: World, kind: Kind, one: Happening) -> None:
    world.clockwork.say("fault", str(one))
    kind.act(world, one)


def _play_nights(world: World) -> None:
    clockwork = world.clockwork

    def restart() -> None:
        if clockwork.market_now.hour == 23:  # else the host was suspended then
            world.gateway.restart_itself()
        clockwork.after(1.0, _play_nights_again)

    def _play_nights_again() -> None:
        clockwork.after((next_market_night(clockwork) - clockwork.now).total_seconds(), restart, is_outside=True)

    _play_nights_again()


def _play_day(world: World, day: date, faults: Sequence[Happening]) -> None:
    clockwork = world.clockwork
    if day.weekday() == 6:
        clockwork.at_market_time(day, time(1, 0), world.gateway.invalidate)
    if not is_session(day):
        return
    midnight_s = (datetime.combine(day, time(), MARKET) - clockwork.now).total_seconds()
    spoilt = next(
        (one.kind for one in faults if one.kind in PLAN_KINDS and midnight_s <= one.at_s < midnight_s + DAY_S), ""
    )
    at = time(8, 30)
    match spoilt:
        case "plan_absent":
            return
        case "plan_late":
            clockwork.at_market_time(day, time(10, 20), lambda: world.write_plan(day))
        case "plan_old":
            clockwork.at_market_time(day, at, lambda: world.write_plan(day - timedelta(days=1)))
        case "plan_invalid":
            clockwork.at_market_time(day, at, lambda: world.write_plan(day, strategy="Z"))
        case "plan_quarantined":
            clockwork.at_market_time(day, at, lambda: world.write_plan(day, data_quarantine=True))
        case _:
            clockwork.at_market_time(day, at, lambda: world.write_plan(day))


def is_session(day: date) -> bool:
    """Whether the exchange is open; the holidays stand here as the exchange publishes them."""
    return day.weekday() < 5 and day not in _CLOSED


# NYSE, as published for these years.
_CLOSED = frozenset(
    date.fromisoformat(text)
    for text in [
        "2026-01-01",
        "2026-01-19",
        "2026-02-16",
        "2026-04-03",
        "2026-05-25",
        "2026-06-19",
        "2026-07-03",
        "2026-09-07",
        "2026-11-26",
        "2026-12-25",
        "2027-01-01",
        "2027-01-18",
        "2027-02-15",
        "2027-03-26",
        "2027-05-31",
        "2027-06-18",
        "2027-07-05",
        "2027-09-06",
        "2027-11-25",
        "2027-12-24",
        "2028-01-17",
        "2028-02-21",
        "2028-04-14",
        "2028-05-29",
        "2028-06-19",
        "2028-07-04",
        "2028-09-04",
        "2028-11-23",
        "2028-12-25",
    ]
)


def write_faults(path: Path, faults: Sequence[Happening]) -> None:
    """Write a scenario down."""
    path.write_text(json.dumps([asdict(one) for one in faults], indent=1) + "\n", encoding="utf-8")


def read_faults(path: Path) -> tuple[Happening, ...]:
    """Read one."""
    return tuple(Happening(**one) for one in json.loads(path.read_text(encoding="utf-8")))


__all__ = ["KINDS", "Bot", "Happening", "draw_faults", "is_session", "play", "read_faults", "write_faults"]
