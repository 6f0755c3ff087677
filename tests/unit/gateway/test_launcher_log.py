"""The login read from the gateway's own `launcher.log`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.gateway.launcher_log import (
    LauncherPhase,
    LauncherReading,
    main,
    read_launcher_log,
)
from orchestration.gateway.login_patterns import LAUNCHER_LOG

START = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)
NEW_YORK = timedelta(hours=-5)
RESTART = "------------------------------- IB GATEWAY RESTART --------------------------------"
ATTEMPT = "LauncherLoginThread.runLoginWithUI()[hotBackupStrategy=ON,loginAttempt=1, socketDelay=20000]."
ROUND = " NS_AUTH_START version=52 pwd=1 soft=0 token(s)=[suffix=a[IB Key]] initialTokenType=PWD authenticationType=X"
SAVED_ROUND = " NS_AUTH_START version=52 pwd=0 soft=1 token(s)=[] initialTokenType=SOFT authenticationType=X"
REFUSED_ROUND = " NS_AUTH_START version=52 pwd=1 soft=1 token(s)=[] initialTokenType=SOFT authenticationType=X"
CHALLENGE = "Received CHALLENGE"
DONE = "### onAuthenticationCompleted tokenProtocol=5; authenticated=true"
DONE_WITHOUT = "### onAuthenticationCompleted tokenProtocol=3; authenticated=true"
ENCRYPTED = "Switching to a new encrypted log..."
ENDED = "Authorization failed: SUPPRESS_MESSAGE_BOX. MessageType: null. FailReason: 2147483647"
WRONG = ("AUTH_RESULT indicates wrong password", "Authorization failed: Invalid username or password. ")
NOISE = "instance of control is not created yet"


def line(second: float, message: str, *, offset: timedelta = timedelta(), tag: str = "") -> str:
    local = (START + timedelta(seconds=second) + offset).replace(tzinfo=None)
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d} {tag}INFO  [JTS-Main] - {message}"


def read(*told: tuple[float, str], now_s: float, offset: timedelta = timedelta(), tag: str = "") -> LauncherReading:
    lines = [line(second, message, offset=offset, tag=tag) for second, message in told]
    return read_launcher_log(lines, now=START + timedelta(seconds=now_s))


@pytest.mark.parametrize(
    ("told", "now_s", "phase"),
    [
        ([(0, RESTART)], 5, LauncherPhase.STARTING),
        ([(0, RESTART)], 100, LauncherPhase.IDLE),
        ([(0, RESTART), (1, "Running in auto-restart mode: restoring")], 5, LauncherPhase.AUTO_RESTARTING),
        ([(0, RESTART), (3, ATTEMPT)], 5, LauncherPhase.LOGGING_IN),
        ([(0, RESTART), (3, ATTEMPT), (4, ROUND)], 5, LauncherPhase.LOGGING_IN),
        ([(3, ATTEMPT), (4, ROUND), (5, CHALLENGE)], 60, LauncherPhase.SECOND_FACTOR),
        ([(3, ATTEMPT), (4, ROUND), (5, CHALLENGE)], 200, LauncherPhase.UNKNOWN),
        ([(5, CHALLENGE), (300, "Sent NS_HEART_BEAT:#%#;531;20261128-10:05:00;")], 310, LauncherPhase.SECOND_FACTOR),
        ([(5, CHALLENGE), (185, ENDED)], 190, LauncherPhase.CHALLENGE_ENDED),
        ([(5, CHALLENGE), (185, ENDED)], 300, LauncherPhase.IDLE),
        ([(5, CHALLENGE), (185, ENDED), (190, ATTEMPT)], 300, LauncherPhase.LOGGING_IN),
        ([(185, ENDED), (190, ATTEMPT), (191, ROUND), (192, CHALLENGE)], 200, LauncherPhase.SECOND_FACTOR),
        ([(4, "Authentication timeout")], 10, LauncherPhase.LOGGING_IN),
        ([(4, "SPLASH Attempt 13: server error, will retry in seconds")], 10, LauncherPhase.LOGGING_IN),
        ([(4, WRONG[0]), (4, WRONG[1])], 10, LauncherPhase.REJECTED),
        ([(4, "Authorization failed: Account closed. MessageType: null.")], 10, LauncherPhase.REJECTED_OTHERWISE),
        ([(9, DONE)], 10, LauncherPhase.LOGGED_IN),
        ([(9, DONE), (10, ENCRYPTED)], 9_000_000, LauncherPhase.LOGGED_IN),
        ([(9, "### onAuthenticationCompleted tokenProtocol=5; authenticated=false")], 10, LauncherPhase.LOGGING_IN),
        ([(0, RESTART), (3, ATTEMPT), (4, ROUND)], 1000, LauncherPhase.UNKNOWN),
        ([(4, "something that is unknown")], 10, LauncherPhase.UNKNOWN),
        ([], 10, LauncherPhase.UNKNOWN),
    ],
)  # fmt: skip
def test_the_last_words_say_how_far_the_login_has_come(
    told: list[tuple[float, str]], now_s: float, phase: LauncherPhase
) -> None:
    assert read(*told, now_s=now_s).phase is phase


def test_a_pause_is_measured_and_ends_idle_where_no_attempt_follows() -> None:
    pause = "Too many failed login attempts. Please wait 1 hour & 4 minutes & 55 seconds before attempting to re-login."
    reading = read((10, pause), now_s=20)
    assert reading.phase is LauncherPhase.PAUSED
    assert reading.paused_until == START + timedelta(seconds=10, hours=1, minutes=4) + timedelta(seconds=55)
    noise = [(300.0 * n, NOISE) for n in range(1, 15)]
    assert read((10, pause), *noise, now_s=3_900).phase is LauncherPhase.PAUSED
    assert read((10, pause), *noise, now_s=4_200).phase is LauncherPhase.IDLE
    short = "Too many failed login attempts. Please wait 53 seconds before attempting to re-login again."
    assert read((10, short), now_s=20).paused_until == START + timedelta(seconds=63)


def test_attempts_challenges_and_rejections_are_counted_from_one_success_to_the_next() -> None:
    failed = [(4, ROUND), (5, CHALLENGE), (185, ENDED), (190, ROUND), (191, CHALLENGE)]
    reading = read(*failed, now_s=200)
    assert (reading.attempts, reading.challenges) == (2, 2)
    after = read(*failed, (200, DONE), (201, ENCRYPTED), now_s=210)
    assert (after.attempts, after.challenges) == (0, 0)
    twice = read((1, WRONG[0]), (1, WRONG[1]), (30, ROUND), (31, WRONG[0]), (31, WRONG[1]), now_s=40)
    assert twice.rejections == 2


def test_a_full_login_is_told_from_one_with_the_saved_session() -> None:
    reading = read((9, DONE), (10, ENCRYPTED), (5000, RESTART), (5001, "Running in auto-restart mode"),
                   (5002, SAVED_ROUND), (5003, DONE_WITHOUT), (5004, ENCRYPTED), now_s=5010)  # fmt: skip
    assert reading.last_full_login_at == START + timedelta(seconds=9)
    assert reading.logged_in_at == START + timedelta(seconds=5004)
    assert reading.is_auto_restart
    assert not reading.is_session_refused
    assert read((1, RESTART), (2, REFUSED_ROUND), now_s=3).is_session_refused


@pytest.mark.parametrize(
    "anchor",
    [
        f"Started on {START:%Y%m%d-%H:%M:%S}",
        f"Sent NS_HEART_BEAT:#%#%0000MISC51;531;{START:%Y%m%d-%H:%M:%S};",
        f"### startLogin startTime={int(START.timestamp() * 1000)}",
    ],
)
@pytest.mark.parametrize("offset", [NEW_YORK, timedelta(hours=5, minutes=30), timedelta()])
def test_the_zone_is_taken_from_the_lines_that_carry_utc(anchor: str, offset: timedelta) -> None:
    reading = read((0, RESTART), (0, anchor), (5, CHALLENGE), now_s=10, offset=offset)
    assert reading.last_restart_at == START
    assert (reading.phase, reading.since) == (LauncherPhase.SECOND_FACTOR, START + timedelta(seconds=5))


def test_a_change_of_the_clock_between_two_starts_is_followed() -> None:
    lines = [
        line(0, f"Started on {START:%Y%m%d-%H:%M:%S}", offset=timedelta(hours=-4)),
        line(9, DONE, offset=timedelta(hours=-4)),
        line(90_000, f"Started on {START + timedelta(seconds=90_000):%Y%m%d-%H:%M:%S}", offset=NEW_YORK),
        line(90_005, CHALLENGE, offset=NEW_YORK),
    ]
    reading = read_launcher_log(lines, now=START + timedelta(seconds=90_010))
    assert reading.last_full_login_at == START + timedelta(seconds=9)
    assert reading.since == START + timedelta(seconds=90_005)


def test_lines_of_older_builds_are_read_and_continuation_lines_are_not() -> None:
    assert read((5, CHALLENGE), now_s=6, tag="[AB] ").phase is LauncherPhase.SECOND_FACTOR
    lines = [line(1, ROUND), "Received CHALLENGE", "  Authorization failed: Invalid username or password"]
    assert read_launcher_log(lines, now=START + timedelta(seconds=2)).phase is LauncherPhase.LOGGING_IN


def test_every_pattern_matches_its_example_and_none_before_it_does() -> None:
    for pattern in LAUNCHER_LOG:
        first = next(one for one in LAUNCHER_LOG if one.text.match(pattern.example.strip()))
        assert first.event is pattern.event


@given(st.lists(st.text(max_size=80) | st.sampled_from([RESTART, ROUND, CHALLENGE, ENDED, DONE]), max_size=20))
def test_nothing_that_stands_in_the_file_raises(messages: list[str]) -> None:
    lines = [line(second, message) for second, message in enumerate(messages)]
    read_launcher_log([*lines, *messages], now=START)


def test_read_by_hand_it_says_the_phase_and_no_word_of_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "launcher.log"
    file.write_text("\n".join([line(0, ROUND), line(1, DONE), line(2, ENCRYPTED)]))
    assert main([str(file)]) == 0
    assert capsys.readouterr().out.startswith("logged_in since 2026-11-28 10:00:01 UTC")
    assert main([str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().out


def test_of_a_file_that_is_too_large_the_end_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "launcher.log"
    now = datetime.now(UTC)
    with file.open("wb") as large:
        large.truncate(100 * 1024 * 1024)
        large.seek(0, 2)
        large.write(f"\n{now:%Y-%m-%d %H:%M:%S}.000 INFO  [X] - {CHALLENGE}\n".encode())
    assert main([str(file)]) == 0
    assert capsys.readouterr().out.startswith("second_factor since")
