"""What the names and values of faults mean."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.simulator.faults import (
    FAULT_NAMES,
    LIVE_ACCOUNT,
    BrokerLogin,
    ConnectionFault,
    ErrorFault,
    FaultError,
    Faults,
    SecondFactorFault,
    parse_faults,
    split_faults,
)

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "simulator.md"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", Faults()),
        ("slow_login=2.5", Faults(slow_login_s=2.5)),
        ("second_factor=30", Faults(second_factor=SecondFactorFault(granted_after_s=30))),
        ("second_factor", Faults(second_factor=SecondFactorFault())),
        ("second_factor=never:3", Faults(second_factor=SecondFactorFault(dialog_timeout_s=3))),
        ("second_factor=4:3", Faults(second_factor=SecondFactorFault(granted_after_s=4, dialog_timeout_s=3))),
        ("wrong_password", Faults(wrong_password_interval_s=2)),
        ("wrong_password=0.1", Faults(wrong_password_interval_s=0.1)),
        ("session_taken", Faults(session_taken_after_s=0)),
        ("session_taken=5", Faults(session_taken_after_s=5)),
        ("broker=10.0.0.9:4009/me", Faults(broker=BrokerLogin(host="10.0.0.9", port=4009, user="me"))),
        (
            "broker=b:9/me/secondary",
            Faults(broker=BrokerLogin(host="b", port=9, user="me", is_primary=False)),
        ),
        ("accepts_silent", Faults(connection=ConnectionFault.SILENT)),
        ("accepts_closes", Faults(connection=ConnectionFault.CLOSES)),
        ("garbage", Faults(connection=ConnectionFault.GARBAGE)),
        ("half_frame", Faults(connection=ConnectionFault.HALF_FRAME)),
        ("dies_mid_handshake", Faults(connection=ConnectionFault.DIES)),
        ("error=326", Faults(errors=(ErrorFault(code=326),))),
        ("error=10141:2", Faults(errors=(ErrorFault(code=10141, for_s=2),))),
        ("error=10141:2s", Faults(errors=(ErrorFault(code=10141, for_s=2),))),
        ("error=326:3x", Faults(errors=(ErrorFault(code=326, for_tries=3),))),
        ("error=1100 error=2103", Faults(errors=(ErrorFault(code=1100), ErrorFault(code=2103)))),
        ("wrong_account", Faults(accounts=LIVE_ACCOUNT)),
        ("accounts=DU1+DU2+", Faults(accounts="DU1,DU2,")),
        ("accounts=", Faults(accounts="")),
        ("unhealthy", Faults(unhealthy=True)),
        ("silent_after=1", Faults(silent_after_s=1)),
        ("unhealthy first_start_only", Faults(unhealthy=True, first_start_only=True)),
        ("dies_after=1", Faults(dies_after_s=1)),
        ("clock_skew=-90", Faults(clock_skew_s=-90)),
        (" slow_login=1,,clock_skew=2\n wrong_account ", Faults(slow_login_s=1, clock_skew_s=2, accounts=LIVE_ACCOUNT)),
    ],
)
def test_a_text_of_faults_means(text: str, faults: Faults) -> None:
    assert parse_faults(split_faults(text)) == faults


def test_a_single_fault_may_hold_commas() -> None:
    assert parse_faults(["accounts=DU1,DU2,"]) == Faults(accounts="DU1,DU2,")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slow_logn=3", "slow_login"),
        ("nonsense", "accepts_closes, accepts_silent"),
        ("slow_login", "a number of seconds"),
        ("slow_login=soon", "a number of seconds"),
        ("slow_login=nan", "a number of seconds"),
        ("slow_login=inf", "a number of seconds"),
        ("slow_login=-1", "a number of seconds"),
        ("slow_login=1 slow_login=2", "given twice"),
        ("error", "10141"),
        ("broker=somewhere", "HOST:PORT/USER"),
        ("broker=b:9/me/tertiary", "HOST:PORT/USER"),
        ("error=7", "10141"),
        ("error=326:x", "CODE:TRIESx"),
        ("error=326:1.5x", "whole number"),
        ("unhealthy=yes", "takes no value"),
        ("garbage=1", "takes no value"),
        ("garbage half_frame", "exclude each other"),
        ("wrong_account accounts=DU1", "exclude each other"),
    ],
)
def test_a_wrong_fault_is_refused_with_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(FaultError, match=says):
        parse_faults(split_faults(text))


@given(st.lists(st.text(max_size=12) | st.tuples(st.sampled_from(FAULT_NAMES), st.text(max_size=9)).map("=".join)))
def test_no_text_whatsoever_does_more_than_be_refused(items: list[str]) -> None:
    with contextlib.suppress(FaultError):
        assert isinstance(parse_faults(items), Faults)


def test_every_fault_is_documented() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert [name for name in FAULT_NAMES if f"`{name}" not in text] == []
