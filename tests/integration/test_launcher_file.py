"""The shell program that reads `launcher.log` inside a container, run here on real files."""

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.gateway.launcher_file import parse_launcher_log, read_argv, read_settings_folder
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
    done = subprocess.run(argv[3:], env={**path, **environ}, capture_output=True, timeout=60, check=True)
    assert not done.stderr
    return done.stdout.decode("utf-8", "replace")


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


def in_colour(text: bytes) -> bytes:
    return b"".join(b"\x1b[32m" + one + b"\x1b[0m\n" for one in text.splitlines())


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="line ends of Windows"),
        pytest.param(in_colour, id="lines in colour"),
        pytest.param(lambda text: text.replace(b"INFO", b"\x1b[1;32mINFO\x1b[0m"), id="levels in colour"),
        pytest.param(bytes.upper, id="capitals"),
        pytest.param(bytes.lower, id="small letters"),
        pytest.param(lambda text: re.sub(rb"(:\d\d)\.", rb"\1,", text), id="a comma before the milliseconds"),
        pytest.param(lambda text: b"\xef\xbb\xbf" + text, id="a byte order mark"),
        pytest.param(lambda text: text.replace(b"CHALLENGE", b"CHALLENGE  "), id="blanks at the end"),
        pytest.param(lambda text: b"\0" * 100_000 + text, id="truncated by a copy"),
        pytest.param(lambda text: text + b"\xff\xfe\x80" * 100 + b"\n", id="no text after it"),
        pytest.param(lambda text: text + b"x" * 1_000_000, id="a line without an end"),
        pytest.param(lambda text: b"y" * 3_000_000 + b"\n" + text, id="a very long line before it"),
    ],
)
def test_a_pending_challenge_is_read_in_whatever_form(tmp_path: Path, form: Callable[[bytes], bytes]) -> None:
    (tmp_path / "launcher.log").write_bytes(form(write_pending().encode()))
    assert read(tmp_path).phase is LauncherPhase.SECOND_FACTOR


def test_a_symbolic_link_to_the_log_is_read_and_one_to_something_else_blocks_nothing(tmp_path: Path) -> None:
    link, kept = tmp_path / "launcher.log", tmp_path / "kept"
    kept.write_text(write_pending(), encoding="utf-8")
    os.mkfifo(tmp_path / "pipe")
    for target, phase in {
        str(kept): LauncherPhase.SECOND_FACTOR,
        "/dev/zero": LauncherPhase.UNKNOWN,
        str(tmp_path / "pipe"): LauncherPhase.UNKNOWN,
        str(link): LauncherPhase.UNKNOWN,
        "/nowhere": LauncherPhase.UNKNOWN,
    }.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert read(tmp_path).phase is phase, target


def test_a_sparse_file_costs_no_more_than_its_end(tmp_path: Path) -> None:
    with (tmp_path / "launcher.log").open("wb") as file:
        file.seek(20 * 1024**3)
        file.write(b"\n" + write_pending().encode())
    text = print_log({"TWS_SETTINGS_PATH": str(tmp_path)})
    assert len(text) < 10_000
    assert parse_launcher_log(text, since=None, now=now()).phase is LauncherPhase.SECOND_FACTOR


def test_what_was_written_while_the_clock_was_wrong_says_nothing(tmp_path: Path) -> None:
    day = 86_400
    ahead = "".join(
        line(seconds_ago - 400 * day, message)
        for seconds_ago, message in (
            (60, RESTART),
            (59, f"Started on {now() + timedelta(days=400, seconds=-59):%Y%m%d-%H:%M:%S}"),
            (50, ROUND),
            (48, CHALLENGE),
        )
    )
    (tmp_path / "launcher.log").write_text(ahead, encoding="utf-8")
    assert read(tmp_path).phase is LauncherPhase.UNKNOWN
    (tmp_path / "launcher.log").write_text(ahead + write_pending(), encoding="utf-8")
    assert read(tmp_path).phase is LauncherPhase.SECOND_FACTOR
    (tmp_path / "launcher.log").write_text(write_pending() + line(-day, DONE), encoding="utf-8")
    assert read(tmp_path).phase is LauncherPhase.SECOND_FACTOR


def test_the_folder_of_the_built_in_gateway_is_read_as_a_container_is(tmp_path: Path) -> None:
    full_at = now() - timedelta(days=3)
    (tmp_path / f"launcher.{full_at:%Y%m%d}.log").write_text(line(3 * 86400, DONE), encoding="utf-8")
    (tmp_path / "launcher.log").write_text(write_pending(), encoding="utf-8")
    since = now() - timedelta(seconds=100)
    own, inside = read_settings_folder(tmp_path, since=since, now=now()), read(tmp_path)
    assert (own.phase, own.challenges, own.last_full_login_at) == (
        LauncherPhase.SECOND_FACTOR,
        inside.challenges,
        inside.last_full_login_at,
    )
    assert read_settings_folder(tmp_path / "none", since=since, now=now()).phase is LauncherPhase.UNKNOWN


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
