"""The shell program that reads `launcher.log` inside a container, run here on real files."""

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.gateway.launcher_file import parse_launcher_log, read_argv
from orchestration.gateway.launcher_log import LauncherPhase, LauncherReading
from orchestration.settings import TradingMode

RESTART = "------------------------------- IB GATEWAY RESTART --------------------------------"
ROUND = " NS_AUTH_START version=52 pwd=1 soft=0 token(s)=[suffix=a[IB Key]] initialTokenType=PWD authenticationType=X"
CHALLENGE = "Received CHALLENGE"
DONE = "### onAuthenticationCompleted tokenProtocol=5; authenticated=true"
HEARTBEAT = "Sent NS_HEART_BEAT:#%#%0000MISC51;531;{utc:%Y%m%d-%H:%M:%S};"
SECRET = "session-id-0123456789"  # noqa: S105 - planted, looked for in what is printed


def now() -> datetime:
    """The time, which the program prints too: a log that was written when the tests began is an old one."""
    return datetime.now(UTC)


def line(seconds_ago: float, message: str) -> str:
    at = now() - timedelta(seconds=seconds_ago)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} INFO  [JTS-Main] - {message}\n"


def write_pending() -> str:
    """A log in which a second factor is waited for."""
    return "".join(
        line(seconds_ago, message)
        for seconds_ago, message in (
            (60, RESTART),
            (58, f"Started on {now() - timedelta(seconds=58):%Y%m%d-%H:%M:%S}"),
            (50, ROUND),
            (49, f"some address 10.0.0.1 and {SECRET}"),
            (48, CHALLENGE),
            (3, HEARTBEAT.format(utc=now() - timedelta(seconds=3))),
        )
    )


def print_log(environ: Mapping[str, str], mode: TradingMode = TradingMode.PAPER) -> str:
    """What the program prints; without the `docker exec` that carries it into a container."""
    argv = read_argv("c0ffee", mode)
    assert argv[:3] == ("docker", "exec", "c0ffee")
    path = {"PATH": os.environ["PATH"], "TZ": "UTC"}
    done = subprocess.run(argv[3:], env={**path, **environ}, capture_output=True, text=True, timeout=60, check=True)
    assert not done.stderr
    return done.stdout


def read(folder: Path, *, started_s_ago: float = 100, **environ: str) -> LauncherReading:
    text = print_log({"TWS_SETTINGS_PATH": str(folder), **environ})
    return parse_launcher_log(text, since=now() - timedelta(seconds=started_s_ago), now=now())


def test_a_pending_challenge_is_read_and_no_other_line_leaves_the_container(tmp_path: Path) -> None:
    (tmp_path / "launcher.log").write_text(write_pending(), encoding="utf-8")
    assert read(tmp_path).phase is LauncherPhase.SECOND_FACTOR
    assert SECRET not in print_log({"TWS_SETTINGS_PATH": str(tmp_path)})


def test_without_a_setting_the_home_of_the_user_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "Jts").mkdir()
    (tmp_path / "Jts" / "launcher.log").write_text(write_pending(), encoding="utf-8")
    reading = parse_launcher_log(print_log({"HOME": str(tmp_path)}), since=None, now=now())
    assert reading.phase is LauncherPhase.SECOND_FACTOR


def test_of_two_gateways_the_one_of_this_instance_is_read(tmp_path: Path) -> None:
    for mode, text in (("live", write_pending()), ("paper", line(40, DONE))):
        folder = tmp_path / f"Jts of two_{mode}"
        folder.mkdir()
        (folder / "launcher.log").write_text(text, encoding="utf-8")
    environ = {"TWS_SETTINGS_PATH": str(tmp_path / "Jts of two"), "TRADING_MODE": "both"}
    phases = {mode: parse_launcher_log(print_log(environ, mode), since=None, now=now()).phase for mode in TradingMode}
    assert phases == {TradingMode.LIVE: LauncherPhase.SECOND_FACTOR, TradingMode.PAPER: LauncherPhase.LOGGED_IN}


def test_what_was_written_before_the_latest_start_only_dates_the_last_login(tmp_path: Path) -> None:
    full_at = now() - timedelta(days=3)
    (tmp_path / f"launcher.{full_at:%Y%m%d}.log").write_text(line(3 * 86400, DONE), encoding="utf-8")
    (tmp_path / "launcher.log").write_text(write_pending(), encoding="utf-8")
    reading = read(tmp_path, started_s_ago=30)
    assert reading.phase is LauncherPhase.UNKNOWN
    assert reading.challenges == 0
    assert reading.last_full_login_at == full_at.replace(microsecond=full_at.microsecond // 1000 * 1000)
    assert reading.last_restart_at is not None


def test_a_file_that_is_rotated_in_the_middle_of_a_login_is_read_on(tmp_path: Path) -> None:
    before, after = write_pending().splitlines(keepends=True)[:-1], write_pending().splitlines(keepends=True)[-1:]
    (tmp_path / f"launcher.{now():%Y%m%d}.log").write_text("".join(before), encoding="utf-8")
    assert read(tmp_path).phase is LauncherPhase.SECOND_FACTOR, "the new file is not there yet"
    (tmp_path / "launcher.log").write_text("".join(after), encoding="utf-8")
    assert read(tmp_path).phase is LauncherPhase.SECOND_FACTOR


def test_a_file_of_100_megabytes_costs_no_more_than_its_end(tmp_path: Path) -> None:
    with (tmp_path / "launcher.log").open("w", encoding="utf-8") as file:
        noise = line(5000, "instance of control is not created yet " + "x" * 900)
        for _ in range(100_000):
            file.write(noise)
        file.write(write_pending())
    assert (tmp_path / "launcher.log").stat().st_size > 95_000_000
    text = print_log({"TWS_SETTINGS_PATH": str(tmp_path)})
    assert len(text) < 10_000
    assert parse_launcher_log(text, since=None, now=now()).phase is LauncherPhase.SECOND_FACTOR


def test_a_challenge_of_two_days_is_still_seen_under_its_heartbeats(tmp_path: Path) -> None:
    beats = "".join(line(at, HEARTBEAT.format(utc=now() - timedelta(seconds=at))) for at in range(172_800, 0, -20))
    begun = line(172_900, RESTART) + line(172_850, ROUND) + line(172_810, CHALLENGE)
    (tmp_path / "launcher.log").write_text(begun + beats, encoding="utf-8")
    assert read(tmp_path, started_s_ago=173_000).phase is LauncherPhase.SECOND_FACTOR


@pytest.mark.parametrize("kind", ["absent", "empty", "folder", "pipe", "garbage", "half a line"])
def test_what_cannot_be_read_says_nothing_and_blocks_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "launcher.log"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "absent":
        content = {"empty": b"", "garbage": bytes(range(256)) * 40, "half a line": write_pending().encode()[:40]}
        path.write_bytes(content[kind])
    assert read(tmp_path).phase is LauncherPhase.UNKNOWN


def test_a_line_that_is_being_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "launcher.log").write_text(write_pending() + line(2, DONE)[:70], encoding="utf-8")
    assert read(tmp_path).phase is LauncherPhase.SECOND_FACTOR
    (tmp_path / "launcher.log").write_text(write_pending() + line(2, DONE), encoding="utf-8")
    assert read(tmp_path).phase is LauncherPhase.LOGGED_IN


@pytest.mark.parametrize(("zone", "offset"), [("EST5", timedelta(hours=-5)), ("IST-5:30", timedelta(hours=5.5))])
def test_the_containers_clock_may_be_in_any_zone(tmp_path: Path, zone: str, offset: timedelta) -> None:
    shifted = "".join(
        f"{now() - timedelta(seconds=at) + offset:%Y-%m-%d %H:%M:%S}.000 INFO  [X] - {message}\n"
        for at, message in ((60, RESTART), (50, ROUND), (48, CHALLENGE))
    )
    (tmp_path / "launcher.log").write_text(shifted, encoding="utf-8")
    assert read(tmp_path, TZ=zone).phase is LauncherPhase.SECOND_FACTOR
