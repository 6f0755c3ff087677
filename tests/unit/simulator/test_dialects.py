"""Whatever controller the built-in gateway imitates, the reading of a login understands it."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestration.gateway.launcher_log import LauncherPhase, read_launcher_log
from orchestration.gateway.login import LoginPhase, combine_logins, read_exit_code, read_login
from orchestration.simulator.dialects import (
    HEARTBEAT,
    REFUSED_EXIT_CODE,
    SECOND_FACTOR_EXIT_CODES,
    Controller,
    Moment,
    render_controller,
    render_launcher,
    render_launcher_line,
)

NOW = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)
BEGUN = (Moment.STARTING, Moment.ATTEMPT)
ASKED = (*BEGUN, Moment.SECOND_FACTOR)
STORIES = {
    "asked": (ASKED, LoginPhase.SECOND_FACTOR),
    "timed out": ((*ASKED, Moment.DIALOG_CLOSED, Moment.TIMED_OUT, Moment.RELAUNCHES), LoginPhase.SECOND_FACTOR),
    "asked again": (
        (*ASKED, Moment.DIALOG_CLOSED, Moment.TRIES_AGAIN, Moment.ATTEMPT, Moment.SECOND_FACTOR),
        LoginPhase.SECOND_FACTOR,
    ),
    "too many": ((*ASKED, Moment.DIALOG_CLOSED, Moment.TRIES_AGAIN, Moment.TOO_MANY), LoginPhase.SECOND_FACTOR),
    "confirmed": (
        (*ASKED, Moment.DIALOG_CLOSED, Moment.CONFIRMED, Moment.COMPLETED),
        LoginPhase.LOGGED_IN,
    ),
    "without": ((*BEGUN, Moment.COMPLETED), LoginPhase.LOGGED_IN),
    "refused": ((*BEGUN, Moment.REFUSED), LoginPhase.FAILED),
    "taken": ((*BEGUN, Moment.SESSION_TAKEN), LoginPhase.SESSION_TAKEN),
}
# What a controller has no text for; the gateway's own log says it all the same, but for another session.
SILENT = {
    (Controller.IBG, "refused"): LoginPhase.LOGGING_IN,
    (Controller.IBG, "too many"): LoginPhase.LOGGING_IN,
    **{(Controller.NONE, story): LoginPhase.UNKNOWN for story in STORIES},
}


def tell(controller: Controller, moments: tuple[Moment, ...]) -> list[str]:
    return [line for moment in moments for line in render_controller(controller, moment, now=NOW, attempt=1)]


def write(moments: tuple[Moment, ...]) -> list[str]:
    times = [NOW + timedelta(seconds=number) for number in range(len(moments))]
    return [
        line
        for moment, at in zip(moments, times, strict=True)
        for line in render_launcher(moment, now=at, has_second_factor=True)
    ]


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("controller", Controller)
def test_a_controllers_texts_are_read(controller: Controller, story: str) -> None:
    moments, phase = STORIES[story]
    assert read_login(tell(controller, moments)).phase is SILENT.get((controller, story), phase)


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("controller", Controller)
def test_with_the_gateways_own_log_all_of_them_say_the_same(controller: Controller, story: str) -> None:
    moments, phase = STORIES[story]
    launcher = read_launcher_log(write(moments), now=NOW + timedelta(seconds=20))
    reading = combine_logins(launcher, read_login(tell(controller, moments)))
    is_unsaid = story == "taken" and controller is Controller.NONE
    assert reading.phase is (LoginPhase.LOGGING_IN if is_unsaid else phase)
    assert reading.is_rejected is (story == "refused")
    assert reading.awaits_second_factor is (phase is LoginPhase.SECOND_FACTOR)
    assert (reading.last_full_login_at is not None) is (phase is LoginPhase.LOGGED_IN)


def test_heartbeats_keep_a_challenge_alive() -> None:
    beat = render_launcher_line(HEARTBEAT, now=NOW + timedelta(seconds=600))
    reading = read_launcher_log([*write(ASKED), beat], now=NOW + timedelta(seconds=620))
    assert reading.phase is LauncherPhase.SECOND_FACTOR


def test_the_exit_codes_are_read() -> None:
    assert read_exit_code(REFUSED_EXIT_CODE).is_rejected
    for controller in (Controller.IBC, Controller.IBCONTROLLER):
        assert read_exit_code(SECOND_FACTOR_EXIT_CODES[controller]).awaits_second_factor
