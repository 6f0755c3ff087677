"""What is made of the codes that a kept connection hears, and how long it waits before it tries again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.gateway.api_status import ApiCode, parse_farm
from orchestration.gateway.kept_api import FIRST_WAIT_S, LONGEST_WAIT_S, compute_next_wait_s
from orchestration.gateway.link_state import CODES_KEPT, LinkState, parse_farms_connected

BROKEN = "Market data farm connection is broken:"
FINE = "Market data farm connection is OK:"
NOTHING = LinkState()
PARTLY = "restored. The following farms are connected: usfarm; x. The following farms are not connected: ushmds."


def hear(*codes: int | tuple[int, str], heard: LinkState = NOTHING, first_s: float = 100.0) -> LinkState:
    """One code each second."""
    for at_s, said in enumerate(codes, int(first_s)):
        number, text = said if isinstance(said, tuple) else (said, "")
        heard = heard.hear(ApiCode(code=number, text=text), float(at_s))
    return heard


@pytest.mark.parametrize(
    ("codes", "since_s"),
    [
        ((), None),
        ((1100,), 100.0),
        ((2110,), 100.0),
        ((1100, 1100, 2110), 100.0),
        ((1100, 1101), None),
        ((1100, 1102), None),
        ((2110, 1102), None),
        ((1102, 1100), 101.0),
        ((1100, 1102, 1100), 102.0),
        ((1100, 2104, 2106, 2158, 2107, 321), 100.0),
        ((2103, 2105, 2157), None),
    ],
)
def test_the_link_is_down_from_the_first_word_on_it_until_it_is_restored(
    codes: tuple[int, ...], since_s: float | None
) -> None:
    assert hear(*codes).link_down_since_s == since_s


@pytest.mark.parametrize(
    ("codes", "farms"),
    [
        ([(2103, BROKEN + "usfarm")], ("usfarm",)),
        ([(2103, BROKEN + "usfarm"), (2103, BROKEN + "usfarm")], ("usfarm",)),
        ([(2103, BROKEN + "usfarm.nj"), (2103, BROKEN + "cashfarm")], ("cashfarm", "usfarm.nj")),
        ([(2103, BROKEN + "usfarm"), (2104, FINE + "cashfarm")], ("usfarm",)),
        ([(2103, BROKEN + "usfarm"), (2104, FINE + "usfarm")], ()),
        ([(2104, FINE + "usfarm"), (2103, BROKEN + "usfarm")], ("usfarm",)),
        ([(2105, "HMDS data farm connection is broken:ushmds"), (2106, "… is OK:ushmds")], ()),
        ([(2157, "Sec-def data farm connection is broken:secdefil"), (2158, "… is OK:secdefil")], ()),
        ([(2105, "broken:ushmds"), (2107, "… is inactive but should be available upon demand.ushmds")], ()),
        ([(2103, "broken:us.nj"), (2108, "… is inactive but should be available upon demand.us.nj")], ()),
        ([(2157, "broken:secdefeu"), (2159, "… is inactive but should be available upon demand.secdefeu")], ()),
        ([2103, 2105, 2157], ("historical data", "market data", "security definitions")),
        ([2103, 2105, 2157, 2104, 2107, 2158], ()),
        ([1100, (2103, BROKEN + "usfarm"), (1102, "restored. All data farms are connected: usfarm; ushmds.")], ()),
        (
            [
                (2103, BROKEN + "usfarm"),
                (2105, "broken:ushmds"),
                (1102, PARTLY),
            ],
            ("ushmds",),
        ),
        ([(2103, BROKEN + "usfarm"), (1102, "Connectivity has been restored - data maintained.")], ("usfarm",)),
        ([(2103, BROKEN + "usfarm"), 1100], ("usfarm",)),
    ],
)  # fmt: skip
def test_a_farm_is_broken_until_it_is_said_to_be_fine_or_idle(
    codes: list[int | tuple[int, str]], farms: tuple[str, ...]
) -> None:
    assert hear(*codes).broken_farms == farms


@pytest.mark.parametrize(
    ("text", "farms"),
    [
        ("All data farms are connected: eufarmnj; usfarm; ushmds; secdefnj.", None),
        ("The following farms are connected: usfarm. The following farms are not connected: ushmds.", {"usfarm"}),
        ("The following farms are connected: usfarm.nj; hfarm.", {"usfarm.nj", "hfarm"}),
        ("The following farms are connected: . The following farms are not connected: usfarm.", set()),
        ("The following farms are not connected: usfarm.", set()),
        ("data maintained.", set()),
        ("", set()),
    ],
)
def test_the_text_of_a_restored_link_names_its_farms(text: str, farms: set[str] | None) -> None:
    assert parse_farms_connected(text) == farms


def test_a_new_connection_changes_nothing_until_it_has_told_all() -> None:
    lost = hear(1100, (2103, BROKEN + "usfarm"))
    begun = lost.begin()
    assert (begun.link_down_since_s, begun.broken_farms) == (100.0, ("usfarm",))
    settled = begun.settle()
    assert (settled.link_down_since_s, settled.broken_farms) == (None, ())


def test_what_the_new_connection_says_is_down_too_has_been_down_all_the_time() -> None:
    again = hear(1100, (2105, "broken:ushmds"), heard=hear(1100, (2103, BROKEN + "usfarm")).begin(), first_s=500)
    assert again.link_down_since_s == 100.0
    settled = again.settle()
    assert (settled.link_down_since_s, settled.broken_farms) == (100.0, ("ushmds",))
    assert settled.settle() == settled


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from([1100, 1101, 1102, 2103, 2104, 2105, 2110, 2157, 321]), st.text(max_size=40)),
            st.tuples(st.sampled_from([2103, 2104]), st.sampled_from(["a:x", "a:y", "demand.x", "a:x y", ":"])),
            st.none(),
        ),
        max_size=200,
    )
)
def test_whatever_is_heard_the_account_stays_small_and_whole(said: list[tuple[int, str] | None]) -> None:
    heard = LinkState()
    for at_s, one in enumerate(said):
        heard = hear(one, heard=heard, first_s=at_s) if one else heard.begin()
        assert len(heard.codes) <= CODES_KEPT
        assert heard.broken_farms_here <= set(heard.broken_farms)
        assert list(heard.broken_farms) == sorted(set(heard.broken_farms))
        assert heard.link_down_since_s is not None or not heard.is_link_down_here


def test_farms_without_end_are_not_all_kept() -> None:
    heard = hear(*((2103, f"{BROKEN}farm{number}") for number in range(500)))
    assert len(heard.broken_farms) == 100
    assert [said.at_s for said in heard.codes] == [float(at_s) for at_s in range(550, 600)]


@pytest.mark.parametrize(
    ("number", "text", "farm"),
    [
        (2103, BROKEN + "usfarm", "usfarm"),
        (2103, BROKEN + " usfarm.nj ", "usfarm.nj"),
        (2107, "HMDS data farm connection is inactive but should be available upon demand.ushmds", "ushmds"),
        (2157, "no farm named", "security definitions"),
        (2105, BROKEN, "historical data"),
    ],
)
def test_the_farm_is_read_from_the_text(number: int, text: str, farm: str) -> None:
    assert parse_farm(ApiCode(code=number, text=text)) == farm


def test_the_waits_grow_to_their_bound_and_begin_anew_after_a_connection_that_lasted() -> None:
    waits, wait_s = [], 0.0
    for _ in range(7):
        wait_s = compute_next_wait_s(wait_s, lasted_s=0.0)
        waits.append(wait_s)
    assert waits == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert compute_next_wait_s(wait_s, lasted_s=5.0) == LONGEST_WAIT_S
    assert compute_next_wait_s(wait_s, lasted_s=3600.0) == FIRST_WAIT_S
    assert compute_next_wait_s(0.0, lasted_s=5.0) == FIRST_WAIT_S
