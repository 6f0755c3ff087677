"""Which faults a soak run puts in, and how it is judged."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.errors import StartupFailure
from orchestration.gateway.history import DAY_S, RESTART_SPACING_S, RESTARTS_A_DAY
from orchestration.journal import AlertDelivery, Evidence, ReportedAlert
from orchestration.reports import Injected, build_period_report
from orchestration.settings import Settings
from orchestration.soak.catalogue import Fault
from orchestration.soak.channel import ACCEPT, BAD_REQUEST, UNAVAILABLE, LoopbackChannel, Received
from orchestration.soak.judging import build_limits, judge_channel, judge_trial
from orchestration.soak.safety import RULE_OF, SystemSeen, count_restarts, find_bugs, find_leaks, judge_safety
from orchestration.soak.schedule import (
    LEAST_REAL_S,
    MOST_PATIENCE_SCALE,
    RECOVERIES,
    Planned,
    Schedule,
    cost_s,
    plan_faults,
)
from orchestration.soak.trial import TrialResult

BEGIN = datetime(2026, 11, 18, 9, 0, tzinfo=UTC)
_LENGTHS = [(48, 480), (48, 1), (4, 480), (168, 100), (1, 1), (1, 5)]


@pytest.mark.parametrize(("hours", "scale"), _LENGTHS)
@pytest.mark.parametrize("seed", range(5))
def test_the_supervisors_own_bounds_are_respected(hours: float, scale: float, seed: int) -> None:
    schedule = plan_faults(hours=hours, time_scale=scale, seed=seed)
    patience = schedule.patience_scale
    times_s = [one.at_s for one in schedule.faults if RECOVERIES[one.fault].restarts_gateway]
    spacing_s = RESTART_SPACING_S / patience
    assert all(two - one >= spacing_s for one, two in itertools.pairwise(times_s))
    assert all(sum(at_s <= other < at_s + DAY_S / patience for other in times_s) < RESTARTS_A_DAY for at_s in times_s)


@pytest.mark.parametrize(("hours", "scale"), _LENGTHS)
def test_faults_follow_each_other_without_overlap_and_end_within_the_run(hours: float, scale: float) -> None:
    schedule = plan_faults(hours=hours, time_scale=scale, seed=3)
    ends_s = [one.at_s + cost_s(one.fault, schedule.patience_scale) for one in schedule.faults]
    assert schedule.faults
    assert ends_s[-1] < schedule.real_s
    starts_s = [one.at_s for one in schedule.faults][1:]
    assert all(end_s <= start_s + 0.01 for end_s, start_s in zip(ends_s, starts_s, strict=False))


def test_the_same_seed_picks_the_same_faults_and_another_one_others() -> None:
    one, same, other = (plan_faults(hours=48, time_scale=480, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.faults != other.faults


@pytest.mark.parametrize("seed", range(5))
def test_six_minutes_hold_every_kind_of_fault(seed: int) -> None:
    schedule = plan_faults(hours=48, time_scale=480, seed=seed)
    assert {one.fault for one in schedule.faults} == set(RECOVERIES)


def test_a_run_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="--hours"):
        plan_faults(hours=LEAST_REAL_S / 3600 / 2, time_scale=1, seed=1)


def test_patience_is_shortened_tenfold_at_the_most() -> None:
    assert plan_faults(hours=48, time_scale=480, seed=1).patience_scale == MOST_PATIENCE_SCALE
    assert plan_faults(hours=1, time_scale=5, seed=1).patience_scale == 5
    assert plan_faults(hours=1, time_scale=1, seed=1).patience_scale == 1


def test_a_supervisors_patience_may_be_shortened_on_the_built_in_gateway_only() -> None:
    assert Settings.from_environ({"GATEWAY_RUNTIME": "simulator", "SIMULATOR_TIME_SCALE": "10"}).simulator_time_scale
    for environ in ({}, {"GATEWAY_RUNTIME": "external"}, {"TRADING_MODE": "live"}):
        with pytest.raises(StartupFailure, match="SIMULATOR_TIME_SCALE"):
            Settings.from_environ({**environ, "SIMULATOR_TIME_SCALE": "10"})


def _alert(number: int, delivery: AlertDelivery = AlertDelivery.DELIVERED) -> ReportedAlert:
    at = BEGIN + timedelta(seconds=number)
    return ReportedAlert(
        number=number,
        run_id="r",
        at=at,
        severity="info",
        title="t",
        cause="",
        incident="",
        delivery=delivery,
        delivered_at=at,
        tries=1,
        note="",
        is_summary=False,
    )


def _taken(number: int) -> Received:
    embed = {"timestamp": (BEGIN + timedelta(seconds=number)).isoformat(), "title": "t"}
    return Received("POST", "/", {"embeds": [embed]}, 0.0)


_OF_ANOTHER_FORM = Received("POST", "/", {"text": "no embed"}, 0.0)


@pytest.mark.parametrize(
    ("alerts", "taken", "found"),
    [
        ([_alert(1), _alert(2)], [_taken(1), _taken(2)], "2 of 2"),
        ([_alert(1), _alert(2)], [_taken(1)], "1 called delivered that never arrived"),
        ([_alert(1)], [_taken(1), _taken(1)], "1 arrived twice"),
        ([_alert(1)], [_taken(1), _taken(2)], "1 arrived that the journal does not know as delivered"),
        ([_alert(1)], [_taken(1), _OF_ANOTHER_FORM], "1 arrived that the journal does not know as delivered"),
        ([_alert(1), _alert(2, AlertDelivery.PENDING)], [_taken(1)], "1 not delivered"),
    ],
)
def test_the_channel_and_the_journal_must_agree(alerts: list[ReportedAlert], taken: list[Received], found: str) -> None:
    criterion = judge_channel(alerts, taken)
    assert criterion.found == found
    assert criterion.is_met == (found == "2 of 2")


_SCHEDULE = Schedule(
    hours=1,
    time_scale=10,
    seed=1,
    faults=(Planned(at_s=10, fault=Fault.BOT_KILLED), Planned(at_s=100, fault=Fault.GATEWAY_KILLED)),
)
_INJECTED = tuple(
    Injected(at=BEGIN, fault=one.fault.value, about="", found="", is_met=True) for one in _SCHEDULE.faults
)
_GOOD = TrialResult(
    began_at=BEGIN,
    ended_at=BEGIN + timedelta(seconds=360),
    injected=_INJECTED,
    outside=SystemSeen(most_bots=1),
    starts=2,
    interrupted_by="",
    given_up="",
)


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (_GOOD, []),
        (replace(_GOOD, outside=SystemSeen(most_bots=2)), ["one_bot_outside"]),
        (replace(_GOOD, outside=SystemSeen(most_bots=0)), ["one_bot_outside"]),
        (replace(_GOOD, outside=SystemSeen(most_bots=1, left=("process 7",))), ["nothing_left"]),
        (replace(_GOOD, outside=SystemSeen(most_bots=1, most_restarts=2)), ["one_restart_a_run"]),
        (replace(_GOOD, outside=SystemSeen(most_bots=1, leaks=("s is in a.log",))), ["no_secret_outside"]),
        (replace(_GOOD, outside=SystemSeen(most_bots=1, bugs=("Supervision failed",))), ["no_bug"]),
        (replace(_GOOD, interrupted_by="SIGINT", injected=()), ["whole_run", "faults"]),
        (replace(_GOOD, given_up="it did not come up"), ["whole_run"]),
        (replace(_GOOD, injected=_INJECTED[:1]), ["faults"]),
        (replace(_GOOD, injected=(_INJECTED[0], replace(_INJECTED[1], is_met=False))), ["faults"]),
    ],
)
def test_a_run_is_judged_by_an_outsider_too(result: TrialResult, names: list[str]) -> None:
    report = build_period_report(
        Evidence(),
        instance="soak",
        since=BEGIN,
        until=_GOOD.ended_at,
        made_at=_GOOD.ended_at,
        limits=build_limits(_SCHEDULE),
    )
    # An alert about the end of the run itself is no part of it.
    judged = judge_trial(report, result, _SCHEDULE, [_taken(361)])
    assert judged.verdict is not None
    unmet = [one.name for one in judged.verdict.criteria if not one.is_met]
    assert [name for name in unmet if name not in {"watched", "gateway_up", "bot_up"}] == names


def test_each_safety_criterion_belongs_to_a_rule_and_is_met_by_a_system_in_which_nothing_happened() -> None:
    criteria = judge_safety(SystemSeen(most_bots=0), must_have_bot=False)
    assert [one.name for one in criteria] == [*RULE_OF]
    assert all(one.is_met for one in criteria)


def test_a_secret_a_second_restart_and_an_error_of_its_own_are_seen(tmp_path: Path) -> None:
    (tmp_path / "instance").mkdir()
    (tmp_path / "instance/startup_1.log").write_text("Gateway restart attempted: 1\nGateway restart attempted: 2\n")
    (tmp_path / "startup_2.log").write_text("token-7\nGateway restart attempted\n")
    assert count_restarts(tmp_path) == 2
    texts = {"an alert": "see token-7", "an argument list": "python -m token"}
    assert find_leaks({"the token": "token-7", "the password": "other"}, (tmp_path,), texts) == (
        "the token is in startup_2.log",
        "the token is in an alert",
    )
    titles = ["Operational", "Start-up failed: INTERNAL_ERROR", "Supervision failed"]
    assert find_bugs(titles) == tuple(titles[1:])


def test_what_the_faults_may_cost_is_taken_off_and_no_more() -> None:
    limits = build_limits(_SCHEDULE)
    assert limits.least_evidence_s == 60
    assert build_limits(replace(_SCHEDULE, time_scale=90)).least_evidence_s == 10, "a run of 40 s is judged too"
    cost = cost_s(Fault.GATEWAY_KILLED, 10)
    assert limits.gateway_up == pytest.approx(0.99 - (cost + 5) / 360)
    assert limits.bot_up == pytest.approx(0.99 - (RECOVERIES[Fault.BOT_KILLED].bot_down_s + 5) / 360)


def test_a_channel_that_is_out_of_order_takes_nothing() -> None:
    channel = LoopbackChannel(is_down=True)
    message = b'{"embeds": [{"timestamp": "2026-11-18T09:00:00+00:00", "title": "t"}]}'
    assert channel.take("POST", "/", message) is UNAVAILABLE
    channel.is_down = False
    assert [channel.take("POST", "/", content) for content in (message, b"not JSON")] == [ACCEPT, BAD_REQUEST]
    assert (channel.refused, [one.title for one in channel.received]) == (1, ["t"])
