"""Each fault of the built-in gateway through the whole sequence: the right word, the right code, the right end."""

import pytest

from tests.system import System

QUICK = {
    "GATEWAY_HEALTH_TIMEOUT": "2",
    "HEALTH_CHECK_TIMEOUT": "1",
    "GATEWAY_HEALTH_RETRY_INTERVAL": "0.1",
    "GATEWAY_TWOFA_TIMEOUT": "1",
}


@pytest.fixture
def quick(system: System) -> System:
    """A system that does not wait long."""
    system.use_small_bot("--ready")
    system.use_plan()
    system.environ |= QUICK
    return system


@pytest.mark.parametrize(
    ("faults", "word"),
    [
        ("wrong_password", "GATEWAY_LOGIN_FAILED"),
        ("second_factor=never", "GATEWAY_SECOND_FACTOR"),
        ("wrong_account", "GATEWAY_WRONG_ACCOUNT"),
        ("accepts_silent", "GATEWAY_TIMEOUT"),
        ("accepts_closes", "GATEWAY_TIMEOUT"),
        ("garbage", "GATEWAY_TIMEOUT"),
        ("half_frame", "GATEWAY_TIMEOUT"),
        ("error=502", "GATEWAY_TIMEOUT"),
        ("error=326", "GATEWAY_TIMEOUT"),
        ("error=1100", "GATEWAY_TIMEOUT"),
        ("slow_login=600", "GATEWAY_TIMEOUT"),
    ],
)
def test_a_gateway_that_is_not_ready_never_gets_a_bot(quick: System, faults: str, word: str) -> None:
    quick.environ["SIMULATOR_FAULTS"] = faults
    if word == "GATEWAY_LOGIN_FAILED":
        quick.environ["GATEWAY_HEALTH_TIMEOUT"] = "30"  # it takes a second failed login to be sure
    started = quick.startup()
    assert started.code == 1, started.err
    assert started.document["failure"] == word
    assert started.document["next_action"]
    assert started.document["bot"] is None
    gateway = started.document["gateway"]
    assert (gateway["validated"], gateway["runtime"]) == (False, "simulator")
    assert gateway["state"]
    assert all("*" in account for account in gateway["accounts"])
    assert quick.processes() == []


@pytest.mark.parametrize("faults", ["slow_login=1", "second_factor=1", "error=10141:1", "error=2103", "clock_skew=20"])
def test_what_passes_or_only_deserves_a_warning_does_not_stop_the_start(quick: System, faults: str) -> None:
    quick.environ |= {"SIMULATOR_FAULTS": faults, "GATEWAY_HEALTH_TIMEOUT": "20", "GATEWAY_TWOFA_TIMEOUT": "20"}
    started = quick.startup()
    assert started.code == 0, started.err
    warned = any(text.startswith("gateway:") for text in started.document["warnings"])
    assert warned is faults.startswith(("error=2103", "clock_skew"))


def test_a_clock_that_is_a_minute_off_leads_to_strategy_c(quick: System) -> None:
    quick.environ["SIMULATOR_FAULTS"] = "clock_skew=120"
    started = quick.startup()
    assert started.code == 2, started.err
    assert started.document["fallback"] == "CLOCK_SKEW"


def test_an_account_that_was_not_meant_is_refused(quick: System) -> None:
    quick.environ["GATEWAY_ACCOUNT"] = "DU7654321"
    started = quick.startup()
    assert started.document["failure"] == "GATEWAY_WRONG_ACCOUNT"
    quick.environ["GATEWAY_ACCOUNT"] = "DU7654321,DU1234567"
    assert quick.startup().code == 0


def test_a_gateway_that_never_becomes_ready_is_restarted_once_and_only_where_that_is_wanted(quick: System) -> None:
    quick.environ["SIMULATOR_FAULTS"] = "accepts_silent"
    started = quick.startup()
    assert started.document["gateway"]["restarted"] is True
    assert started.document["gateway"]["login"] == "logged_in"
    assert quick.startup_log().count("Gateway restart attempted") == 1
    quick.environ["GATEWAY_RECOVERY"] = "alert"
    quick.startup()
    assert quick.startup_log().count("Gateway restart attempted") == 1
