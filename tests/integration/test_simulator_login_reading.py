"""The simulator's log, read by what reads the real controller's log: each fault of the login is told apart."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.gateway.launcher_log import LauncherPhase, LauncherReading, read_launcher_log
from orchestration.gateway.login import LoginPhase, LoginReading, read_login
from tests.integration.simulated_gateway import simulated_gateway
from tests.system import wait_until


def read_after(faults: str, line: str, *, times: int = 1) -> LoginReading:
    """What is read from the log of a gateway with these faults, once a line has come."""
    with simulated_gateway(faults=faults, is_open=False) as gateway:
        gateway.wait_for_line(line, times=times)
        return read_login(list(gateway.lines))


@pytest.mark.parametrize(
    ("faults", "line", "times", "phase"),
    [
        ("", "API listening", 1, LoginPhase.LOGGED_IN),
        ("slow_login=60", "Login attempt", 1, LoginPhase.LOGGING_IN),
        ("second_factor", "Second Factor Authentication initiated", 1, LoginPhase.SECOND_FACTOR),
        ("second_factor=never:0.05", "Second Factor Authentication initiated", 2, LoginPhase.SECOND_FACTOR),
        ("second_factor=0.05", "API listening", 1, LoginPhase.LOGGED_IN),
        ("wrong_password=60", "IBC: Login failed", 1, LoginPhase.FAILED),
        ("session_taken", "User must choose", 1, LoginPhase.SESSION_TAKEN),
        ("session_taken=0.05", "User must choose", 1, LoginPhase.SESSION_TAKEN),
        ("unhealthy", "stays closed", 1, LoginPhase.LOGGED_IN),
    ],
)
def test_how_far_the_login_has_come_is_read(faults: str, line: str, times: int, phase: LoginPhase) -> None:
    assert read_after(faults, line, times=times).phase is phase


def test_a_second_factor_that_timed_out_is_read() -> None:
    reading = read_after("second_factor=never:0.05", "Second Factor Authentication initiated", times=2)
    assert reading.second_factor_timed_out


def test_a_wrong_password_is_read_as_failures_in_a_row_and_then_as_too_many() -> None:
    assert read_after("wrong_password=60", "IBC: Login failed").failures_in_a_row == 1
    reading = read_after("wrong_password=0.05", "Too many failed login attempts")
    assert reading.failures_in_a_row >= 3
    assert reading.has_too_many_attempts
    assert not reading.awaits_second_factor
    assert reading.is_rejected


def test_too_many_attempts_while_second_factors_go_unanswered_are_no_wrong_password() -> None:
    reading = read_after("second_factor=never:0.05:relogin", "Too many failed login attempts")
    assert (reading.phase, reading.is_rejected) == (LoginPhase.SECOND_FACTOR, False)


def test_the_gateways_own_log_is_written_with_every_controller(tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    options = ("--controller", "none", "--settings-dir", str(settings))
    with simulated_gateway(*options, faults="second_factor", is_open=False) as gateway:
        gateway.wait_for_line("this login reaches no broker")
        wait_until(lambda: read_launcher(settings).phase is LauncherPhase.SECOND_FACTOR, "a challenge")
        assert read_login(list(gateway.lines)).phase is LoginPhase.UNKNOWN


def test_a_controller_that_gives_up_at_a_wrong_password_ends_with_its_own_code(tmp_path: Path) -> None:
    options = ("--controller", "ibcontroller", "--settings-dir", str(tmp_path))
    with simulated_gateway(*options, faults="wrong_password=0", is_open=False) as gateway:
        assert gateway.wait_for_end() == 77
        assert read_login(list(gateway.lines)).is_rejected
    assert read_launcher(tmp_path).rejections == 1


def read_launcher(folder: Path) -> LauncherReading:
    path = folder / "launcher.log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return read_launcher_log(lines, now=datetime.now(UTC))
