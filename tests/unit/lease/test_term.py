"""When a host may run the bot, and when it certainly may not: the pure part of the lease."""

import dataclasses

import pytest

from orchestration.lease.etcd import Row, StoreResult
from orchestration.lease.term import (
    FailoverRequest,
    Holder,
    LeaseState,
    Seen,
    Term,
    Times,
    explain_takeover,
    find_earliest_start_s,
    find_store_problem,
    is_renewed,
    name_keys,
    read_seen,
    remember,
    write_released,
)

_TIMES = Times(ttl_s=15.0)
_OTHER = Holder(host="b", session="1", since="2026-11-18T14:00:00+00:00", ttl_s=15.0)
_TERM = Term(revision=7, lease=1, since="", renewed_s=100.0, starts_s=0.0, fence_s=_TIMES.fence_s)


def _seen(at_s: float = 50.0, **changes: object) -> Seen:
    return dataclasses.replace(Seen(at_s=at_s, revision=20, cluster="c"), **changes)  # type: ignore[arg-type]  # any field


def test_the_bot_is_dead_before_the_lease_can_expire_and_each_request_leaves_room_for_another() -> None:
    assert _TIMES.fence_s == pytest.approx(9.0)
    assert _TIMES.request_s == pytest.approx(3.0)
    # One renewal that takes its whole time and fails leaves time for a second one before the deadline.
    assert _TIMES.renew_every_s + 2 * _TIMES.request_s + _TIMES.try_again_s <= _TIMES.fence_s + _TIMES.try_again_s
    assert Times(ttl_s=4.2).grant_s == 5  # the store counts whole seconds: never fewer than were promised


def test_a_renewal_counts_from_before_its_request() -> None:
    assert _TERM.find_loss(108.9) == ""
    assert "9.0 s" in _TERM.find_loss(109.0)  # noon of the deadline itself is too late
    assert _TERM.find_loss(10_000.0)  # a frozen host that wakes


@pytest.mark.parametrize(
    ("ttl_s", "holder_revision", "counts"),
    [(15, 7, True), (0, 7, False), (-1, 7, False), (15, 8, False), (15, 0, False)],
)
def test_a_renewal_counts_only_for_a_living_lease_and_the_key_of_this_very_term(
    ttl_s: int, holder_revision: int, *, counts: bool
) -> None:
    assert is_renewed(_TERM, ttl_s=ttl_s, seen=_seen(holder_revision=holder_revision)) is counts


def test_a_new_holder_waits_from_when_the_key_was_seen_to_be_gone() -> None:
    memory = remember(LeaseState(), _seen(40.0, holder=_OTHER, holder_revision=9, term_revision=9))
    gone = _seen(50.0, term_revision=9, last=_OTHER)
    memory = remember(memory, gone)
    later = remember(memory, dataclasses.replace(gone, at_s=55.0))
    assert later.absent_since_s == 50.0
    assert find_earliest_start_s(later, gone, _TIMES) == pytest.approx(50.0 + 9.0 + 2.0)


def test_the_wait_is_as_long_as_the_last_holders_own_time_to_live_asks_for() -> None:
    gone = _seen(term_revision=9, last=dataclasses.replace(_OTHER, ttl_s=60.0))
    assert find_earliest_start_s(remember(LeaseState(), gone), gone, _TIMES) == pytest.approx(50.0 + 36.0 + 2.0)


def test_a_host_that_has_just_come_up_waits_too() -> None:
    gone = _seen(term_revision=9, last=_OTHER)
    assert find_earliest_start_s(remember(LeaseState(), gone), gone, _TIMES) == pytest.approx(61.0)


def test_there_is_no_wait_after_an_orderly_end_or_where_no_host_ever_led() -> None:
    released = _seen(term_revision=9, last=_OTHER, released_revision=12)
    never = _seen()
    for seen in (released, never):
        assert find_earliest_start_s(remember(LeaseState(), seen), seen, _TIMES) == 0.0


def test_the_release_of_an_earlier_term_says_nothing_about_the_last_one() -> None:
    gone = _seen(term_revision=15, last=_OTHER, released_revision=12)
    assert find_earliest_start_s(remember(LeaseState(), gone), gone, _TIMES) == pytest.approx(61.0)


def test_a_term_that_came_and_went_between_two_looks_begins_the_wait_anew() -> None:
    first = _seen(50.0, term_revision=9, last=_OTHER)
    second = _seen(70.0, term_revision=18, last=_OTHER)
    memory = remember(remember(LeaseState(), first), second)
    assert find_earliest_start_s(memory, second, _TIMES) == pytest.approx(81.0)


def test_a_store_that_has_gone_back_or_is_another_one_is_not_believed() -> None:
    memory = remember(LeaseState(), _seen())
    assert find_store_problem(memory, _seen()) == ""
    assert "gone back" in find_store_problem(memory, _seen(revision=19))
    assert "another cluster" in find_store_problem(memory, _seen(cluster="d", revision=500))


def test_what_the_store_keeps_is_read_by_prefix_and_damage_is_the_slowest_holder() -> None:
    prefix = name_keys("paper")
    rows = {
        f"{prefix}holder": Row(value=_OTHER.write(), create_revision=9, mod_revision=9),
        f"{prefix}term": Row(value="{", create_revision=2, mod_revision=9),
        f"{prefix}released": Row(value="2", create_revision=4, mod_revision=8),
        f"{prefix}failover": Row(value='{"to": "a", "by": "ann@b", "at": "x"}', create_revision=6, mod_revision=6),
        f"{prefix}hold": Row(value="", create_revision=6, mod_revision=6),
    }
    seen = read_seen(StoreResult(revision=20, cluster="c", succeeded=True, rows=rows), prefix, at_s=1.0)
    assert seen.holder == _OTHER
    assert (seen.holder_revision, seen.term_revision, seen.released_revision) == (9, 9, 8)
    assert seen.last is not None
    assert seen.last.ttl_s == 900.0  # what cannot be read may have been anything
    assert seen.failover == FailoverRequest(to="a", by="ann@b", at="x", revision=6)
    assert seen.hold == "held"


def test_a_standby_goes_through_all_members_before_it_pauses_and_a_holder_never_does() -> None:
    pauses = [_TIMES.find_pause_s(failed, members=3, is_leading=False) for failed in range(1, 7)]

    soon_s, look_s = _TIMES.try_again_s, _TIMES.look_every_s
    assert soon_s < look_s
    assert pauses == [soon_s, soon_s, look_s, soon_s, soon_s, look_s]
    assert {_TIMES.find_pause_s(failed, members=3, is_leading=True) for failed in range(1, 7)} == {soon_s}
    assert _TIMES.find_pause_s(1, members=1, is_leading=False) == look_s


@pytest.mark.parametrize(
    ("released", "said"),
    [
        (None, "the lease of b expired"),
        (write_released(9, "its supervisor was asked to end"), "b released it: its supervisor was asked to end"),
        ("9", "b released it"),  # as an earlier release wrote it
        ("{", "b released it"),
    ],
)
def test_why_the_lease_changed_is_read_from_what_the_last_holder_left(released: str | None, said: str) -> None:
    prefix = name_keys("paper")
    rows = {f"{prefix}term": Row(value=_OTHER.write(), create_revision=2, mod_revision=9)}
    if released is not None:
        rows[f"{prefix}released"] = Row(value=released, create_revision=4, mod_revision=12)
    seen = read_seen(StoreResult(revision=20, cluster="c", succeeded=True, rows=rows), prefix, at_s=1.0)

    why = explain_takeover(seen)
    assert why.startswith(said)
    assert explain_takeover(_seen()) == "no host led before"


def test_a_holder_of_an_earlier_release_is_read_without_what_it_did_not_write() -> None:
    text = '{"host": "a", "session": "s", "since": "x", "ttl_s": 15}'
    assert Holder.read(text) == Holder(host="a", session="s", since="x", ttl_s=15.0)
