"""What a look at the API means, and the pure parts of looking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.gateway.api import ApiCode, ApiState, ApiStatus
from orchestration.gateway.api_status import find_broken
from orchestration.gateway.connection import compute_skew_s


def probe(*codes: int | tuple[int, str], state: ApiState = ApiState.READY) -> ApiStatus:
    said = [(code, "") if isinstance(code, int) else code for code in codes]
    return ApiStatus(state=state).hear(tuple(ApiCode(code=code, text=text) for code, text in said))


@pytest.mark.parametrize("outcome", ApiState)
def test_only_a_completed_handshake_is_ready(outcome: ApiState) -> None:
    assert probe(state=outcome).is_ready is (outcome is ApiState.READY)


def test_the_words_of_the_states_are_stable() -> None:
    assert [str(state) for state in ApiState] == [
        "idle",
        "paused",
        "connecting",
        "ready",
        "silent",
        "refused",
        "closed",
        "garbage",
        "outdated",
        "client_id_in_use",
        "full",
        "not_connected",
        "disclaimer",
    ]


@pytest.mark.parametrize(
    ("codes", "is_down"),
    [
        ((), False),
        ((2104, 2106, 2158), False),
        ((1100,), True),
        ((2110,), True),
        ((1100, 2104), True),
        ((1100, 1101), False),
        ((1100, 1102), False),
        ((2110, 1102), False),
        ((1102, 1100), True),
        ((1100, 1102, 2110), True),
        ((2103,), False),
    ],
)
def test_the_link_is_down_when_the_last_word_on_it_says_so(codes: tuple[int, ...], is_down: object) -> None:
    assert probe(*codes).is_link_down is is_down


def test_a_broken_farm_stays_broken_until_that_farm_is_reported_fine() -> None:
    usfarm, ushmds = (2103, "Market data farm connection is broken:usfarm"), (2105, "HMDS is broken:ushmds")
    assert [said.code for said in find_broken(probe(usfarm, ushmds, (2106, "HMDS is OK:ushmds")).codes)] == [2103]
    assert [said.code for said in find_broken(probe((2104, "is OK:usfarm"), usfarm, 2157).codes)] == [2103, 2157]
    assert probe(2104, 2107, 2108, 2158, 1100).broken_farms == ()


@pytest.mark.parametrize(
    ("server", "host", "skew"),
    [
        (100, 100.0, 0.0),
        (100, 100.9, 0.0),
        (100, 101.0, 0.0),
        (100, 101.25, -0.25),
        (100, 99.75, 0.25),
        (190, 100.5, 89.5),
        (10, 100.5, -89.5),
    ],
)
def test_the_skew_is_the_least_that_whole_seconds_allow(server: int, host: float, skew: float) -> None:
    assert compute_skew_s(server, host) == pytest.approx(skew)


@given(st.floats(-1e6, 1e6), st.floats(1e9, 2e9))
def test_the_skew_never_overstates_and_is_at_most_a_second_short(true_skew: float, host: float) -> None:
    found = compute_skew_s(int(host + true_skew), host)
    assert abs(found) <= abs(true_skew) + 1e-6
    assert abs(found - true_skew) <= 1 + 1e-6
