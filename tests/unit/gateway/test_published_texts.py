"""What published programs know of a login stays recognised (`python -m tests.controllers` records it)."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestration.gateway.launcher_log import LauncherPhase, read_launcher_log
from orchestration.gateway.login import LoginPhase, LoginReading, read_exit_code, read_login
from orchestration.gateway.login_patterns import CONTROLLERS, EXIT_CODE_TEXTS, EXIT_CODES, LAUNCHER_LOG, Event
from tests.controllers.texts import IB_GATEWAY_MCP, IBCONTROLLER, RECORDINGS

# What ibcontroller logs with a word of a login in it, and what it means; the values of its fields are made up.
_MEANS: dict[str, LoginPhase] = {
    "IBController > credentials submitted, awaiting outcome": LoginPhase.LOGGING_IN,
    "IBController > second factor authentication in progress": LoginPhase.SECOND_FACTOR,
    "IBController > re-login after second factor authentication timeout in %ss": LoginPhase.SECOND_FACTOR,
    "IBController > re-login after second factor authentication timeout not required": LoginPhase.SECOND_FACTOR,
    "IBController > mfa_timeout_action=restart -- relaunching with a full fresh login: %s": LoginPhase.SECOND_FACTOR,
    "IBController > login completed": LoginPhase.LOGGED_IN,
    "IBController > login completed, state=%s": LoginPhase.LOGGED_IN,
    "IBController > unrecognized username or password -- login rejected": LoginPhase.FAILED,
    "IBController > login failed -- transient, relaunching": LoginPhase.FAILED,
    "IBController > login error: %s": LoginPhase.FAILED,
    "too many failed login attempts -- relogin disabled, stopping": LoginPhase.FAILED,
    "too many failed login attempts -- retrying in %.0fs": LoginPhase.FAILED,
    "IBController > existing session detected -- manual, leaving for the user": LoginPhase.SESSION_TAKEN,
    "IBController > existing session detected -- secondary, ending this session": LoginPhase.SESSION_TAKEN,
    "IBController > existing session detected -- second attempt, ending this session": LoginPhase.SESSION_TAKEN,
    "IBController > existing session detected -- primaryoverride, ending this session": LoginPhase.SESSION_TAKEN,
    "IBController > existing session detected -- first attempt, continuing this session": LoginPhase.UNKNOWN,
    "IBController > existing session detected -- primary, continuing this session": LoginPhase.UNKNOWN,
    "IBController > cold_restart_time reached -- relaunching with a full fresh login (no restart hash)": (
        LoginPhase.LOGGING_IN
    ),
    "Gateway restarted on its own schedule (autorestart marker present at %s, hash=%s) -- relaunching": (
        LoginPhase.LOGGING_IN
    ),
    "IBController > %s -- skipping credential fill": LoginPhase.LOGGING_IN,
    # It has said why in the line before.
    "IBController > transient login failure -- relaunching with a full fresh login: %s": LoginPhase.UNKNOWN,
    "IBController > login frame never appeared -- relaunching (restart hash=%s): %s": LoginPhase.UNKNOWN,
    "IBController > shutting down (never logged in) -- terminating directly": LoginPhase.UNKNOWN,
}
_FIELDS = {
    "IBController > %s -- skipping credential fill": "restart_expected flag",
    "IBController > login error: %s": "Login failed - Server disconnected, please try again",
    "IBController > re-login after second factor authentication timeout in %ss": "5.0",
    "too many failed login attempts -- retrying in %.0fs": "53",
}
_IS_ABOUT_LOGINS = re.compile(
    r"log(?:ged)?[ -]?in\b|relogin|credential|password|factor|mfa|existing session|cold_restart_time reached|"
    r"own schedule"
)
_EVENTS_OF: dict[str, frozenset[Event]] = {
    "restart": frozenset({Event.RESTART}),
    "warm": frozenset({Event.AUTO_RESTART}),
    "login_start": frozenset({Event.ATTEMPT}),
    "auth_start": frozenset({Event.ROUND}),
    "challenge": frozenset({Event.CHALLENGE}),
    "auth_timeout": frozenset({Event.NO_ANSWER}),
    "auto_retry": frozenset({Event.NO_ANSWER}),
    "completed": frozenset({Event.COMPLETED}),
    "rejected_credentials": frozenset({Event.REJECTED}),
    "twofa_ended": frozenset({Event.CHALLENGE_ENDED}),
    "rejected_other": frozenset({Event.REJECTED_OTHERWISE, Event.OUTDATED}),
    "throttle": frozenset({Event.PAUSE}),
    "logged_in": frozenset({Event.LOGGED_IN}),
}
_TELL_THE_ZONE = ("started_utc", "epoch_anchor", "heartbeat_utc")


def load(requirement: str) -> dict[str, Any]:
    path = RECORDINGS / f"{requirement.replace('==', '-')}.json"
    recording: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert recording["package"] == requirement
    return recording


def read_text(text: str) -> LoginReading:
    """What a text of ibcontroller's means, as its log has it."""
    filled = re.sub(r"%(?:\.0f|s|r)", _FIELDS.get(text, "x"), text)
    return read_login([f"2026-11-28 10:00:00,123 WARNING ibcontroller.login: {filled}"])


def test_every_text_of_ibcontroller_about_a_login_is_known_and_recognised() -> None:
    texts = [text for text in load(IBCONTROLLER)["texts"] if _IS_ABOUT_LOGINS.search(text)]
    assert set(_MEANS) == set(texts), "the package has other texts than this test knows"
    read = {text: read_text(text) for text in texts}
    assert {text: reading.phase for text, reading in read.items()} == _MEANS
    paused = read["too many failed login attempts -- retrying in %.0fs"]
    assert (paused.has_too_many_attempts, paused.attempt_due_s) == (True, 53.0)
    assert read["IBController > re-login after second factor authentication timeout in %ss"].attempt_due_s == 5.0
    assert read["IBController > unrecognized username or password -- login rejected"].is_rejected


def test_what_ibcontroller_logs_beside_says_nothing_about_a_login() -> None:
    others = [text for text in load(IBCONTROLLER)["texts"] if not _IS_ABOUT_LOGINS.search(text)]
    assert len(others) > 30
    assert [text for text in others if read_text(text).phase is not LoginPhase.UNKNOWN] == []


def test_every_exit_code_that_ibcontroller_names_is_known() -> None:
    codes = load(IBCONTROLLER)["exit_codes"]
    assert set(codes.values()) <= set(EXIT_CODES) | set(EXIT_CODE_TEXTS)
    assert read_exit_code(codes["_EX_TEMPFAIL"]).awaits_second_factor
    assert read_exit_code(codes["_EX_NOPERM"]).is_rejected


def test_every_text_of_the_gateway_that_its_other_reader_knows_is_recognised() -> None:
    table = load(IB_GATEWAY_MCP)["patterns"]
    assert set(table) == {*_EVENTS_OF, *_TELL_THE_ZONE, "idle_noise"}, "the package knows other texts"
    for kind, events in _EVENTS_OF.items():
        assert table[kind]["examples"], kind
        for example in table[kind]["examples"]:
            message = example.strip()
            event = next((one.event for one in LAUNCHER_LOG if one.text.match(message)), None)
            assert event in events, f"{kind}: {message}"


def test_every_text_of_ours_is_recognised_by_the_other_reader_of_the_gateways_log() -> None:
    table = load(IB_GATEWAY_MCP)["patterns"]
    for ours in LAUNCHER_LOG:
        kinds = {kind for kind, row in table.items() if re.match(row["pattern"], ours.example.strip())}
        assert any(ours.event in _EVENTS_OF.get(kind, ()) for kind in kinds), ours.example


@pytest.mark.parametrize("kind", _TELL_THE_ZONE)
def test_the_other_readers_examples_of_utc_tell_the_zone(kind: str) -> None:
    example = load(IB_GATEWAY_MCP)["patterns"][kind]["examples"][0]
    utc = {
        "started_utc": datetime(2026, 8, 29, 5, 30, 3, tzinfo=UTC),
        "epoch_anchor": datetime.fromtimestamp(1787981403, UTC),
        "heartbeat_utc": datetime(2026, 7, 19, 12, 10, 23, tzinfo=UTC),
    }[kind]
    local = utc.replace(hour=(utc.hour - 4) % 24) if utc.hour >= 4 else utc
    lines = [
        f"{local:%Y-%m-%d %H:%M:%S}.000 INFO  [JTS-Main] - {example}",
        f"{local:%Y-%m-%d %H:%M:%S}.000 INFO  [JTS-Main] - Received CHALLENGE",
    ]
    reading = read_launcher_log(lines, now=utc)
    assert (reading.phase, reading.since) == (LauncherPhase.SECOND_FACTOR, utc)


def test_every_example_of_the_table_is_matched_by_its_own_row_first() -> None:
    for pattern in CONTROLLERS:
        first = next(one for one in CONTROLLERS if one.text.match(pattern.example.strip()))
        assert first.event is pattern.event, pattern.example
