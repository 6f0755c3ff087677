"""The scheduled task's definition, field by field, against what Task Scheduler's schema says."""

from dataclasses import replace
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as ET

import pytest

from orchestration.hostservice.task_xml import (
    MAX_COMMAND,
    NAMESPACE,
    ScheduledTask,
    TaskTrigger,
    encode_task_xml,
    find_task_problems,
    find_xml_problems,
    read_duration_s,
    render_task_xml,
)
from tests.unit.hostservice.windows_rules import run_as_windows

_PROJECT = Path(__file__).resolve().parents[3]
_GOLDEN = _PROJECT / "tests" / "golden" / "windows"
_TEMPLATES = _PROJECT / "templates"
_NS = {"t": NAMESPACE}

LOGON = ScheduledTask(
    name="zero-touch-startup",
    trigger=TaskTrigger.LOGON,
    user_id="S-1-5-21-1004336348-1177238915-682003330-1001",
    distribution="Ubuntu",
    wrapper=PurePosixPath("/home/ann/my bot/docker/gateway/scripts/production-startup.sh"),
)
BOOT = replace(LOGON, name="zero-touch-startup-second", trigger=TaskTrigger.BOOT, environment=(("INSTANCE", "second"),))


def _render(task: ScheduledTask) -> ET.Element:
    return ET.fromstring(encode_task_xml(render_task_xml(task, templates=_TEMPLATES)))  # noqa: S314 - our own rendering


def _text(root: ET.Element, path: str) -> str | None:
    return root.findtext("/".join(f"t:{step}" for step in path.split("/")), namespaces=_NS)


@pytest.mark.parametrize(("task", "name"), [(LOGON, "logon.xml"), (BOOT, "boot.xml")])
def test_the_definition_is_the_golden_one(task: ScheduledTask, name: str) -> None:
    assert encode_task_xml(render_task_xml(task, templates=_TEMPLATES)) == (_GOLDEN / name).read_bytes()


@pytest.mark.parametrize("task", [LOGON, BOOT])
def test_the_definition_is_what_the_schema_asks_for(task: ScheduledTask) -> None:
    assert find_task_problems(task) == ()
    assert find_xml_problems(encode_task_xml(render_task_xml(task, templates=_TEMPLATES))) == ()


def test_the_file_is_utf16_with_a_mark_and_says_so_and_has_the_line_ends_of_windows() -> None:
    content = encode_task_xml(render_task_xml(LOGON, templates=_TEMPLATES))
    assert content.startswith(b"\xff\xfe<\0")
    text = content.decode("utf-16")
    assert text.startswith('<?xml version="1.0" encoding="UTF-16"?>\r\n<Task version="1.3"')
    assert text.count("\n") == text.count("\r\n")


_SETTINGS = {
    "MultipleInstancesPolicy": "IgnoreNew",
    "ExecutionTimeLimit": "PT0S",
    "DisallowStartIfOnBatteries": "false",
    "StopIfGoingOnBatteries": "false",
    "StartWhenAvailable": "true",
    "RunOnlyIfIdle": "false",
    "RunOnlyIfNetworkAvailable": "false",
    "IdleSettings/StopOnIdleEnd": "false",
    "Priority": "5",
    "Enabled": "true",
    "AllowStartOnDemand": "true",
    "RestartOnFailure/Interval": "PT1M",
    "RestartOnFailure/Count": "3",
}


@pytest.mark.parametrize("task", [LOGON, BOOT])
@pytest.mark.parametrize(("field", "value"), _SETTINGS.items())
def test_no_default_of_windows_ends_the_bot(task: ScheduledTask, field: str, value: str) -> None:
    assert _text(_render(task), f"Settings/{field}") == value


def test_at_logon_it_is_this_users_logon_and_this_users_session() -> None:
    root = _render(LOGON)
    assert _text(root, "Triggers/LogonTrigger/UserId") == LOGON.user_id
    assert _text(root, "Principals/Principal/UserId") == LOGON.user_id
    assert _text(root, "Principals/Principal/LogonType") == "InteractiveToken"
    assert root.find("t:Triggers/t:BootTrigger", _NS) is None


def test_at_boot_no_user_needs_to_be_logged_on_and_no_password_is_stored() -> None:
    root = _render(BOOT)
    assert root.find("t:Triggers/t:BootTrigger", _NS) is not None
    assert root.find("t:Triggers/t:LogonTrigger", _NS) is None
    assert _text(root, "Principals/Principal/UserId") == BOOT.user_id
    assert _text(root, "Principals/Principal/LogonType") == "S4U"


@pytest.mark.parametrize("task", [LOGON, BOOT])
def test_a_system_that_died_is_started_again_within_minutes_without_an_end(task: ScheduledTask) -> None:
    root = _render(task)
    interval = _text(root, "Triggers/TimeTrigger/Repetition/Interval")
    assert interval is not None
    assert 60 <= (read_duration_s(interval) or 0) <= 600
    assert _text(root, "Triggers/TimeTrigger/Repetition/Duration") is None
    assert _text(root, "Triggers/TimeTrigger/EndBoundary") is None
    assert _text(root, "Triggers/TimeTrigger/StartBoundary") is not None


def test_it_runs_wsl_in_the_foreground_with_program_and_arguments_apart() -> None:
    root = _render(BOOT)
    command, arguments = _text(root, "Actions/Exec/Command"), _text(root, "Actions/Exec/Arguments")
    assert command == r"%SystemRoot%\System32\wsl.exe"
    assert len(command) <= MAX_COMMAND
    assert arguments is not None
    options, program = run_as_windows(arguments, {})
    assert options["-d"] == "Ubuntu"
    assert program == ["/usr/bin/env", "INSTANCE=second", "bash", str(BOOT.wrapper), "--service"]


_USERS = [r"DOMAIN\ann o'neil", r"PC\Jürgen Müßig", r"PC\<a> & 'b' \"c\"", r"DOMÄNE\交易", "ann@example.com"]
_PATHS = [
    "/opt/my bot",
    "/opt/a & b <c> ]]> --",
    '/opt/say "hi" o\'neil',
    "/opt/backslash\\",
    "/opt/100%PATH%",
    "/opt/$(Arg0)",
    "/opt/Müller/交易/🤖",
    "/opt/{{ x }}{% y %}",
    "/opt/&amp;&#x41;",
]


@pytest.mark.parametrize("user", _USERS)
@pytest.mark.parametrize("trigger", list(TaskTrigger))
def test_a_hostile_user_name_arrives_as_it_is(user: str, trigger: TaskTrigger) -> None:
    task = replace(LOGON, user_id=user, trigger=trigger)
    assert find_task_problems(task) == ()
    assert find_xml_problems(encode_task_xml(render_task_xml(task, templates=_TEMPLATES))) == ()
    assert {element.text for element in _render(task).iter(f"{{{NAMESPACE}}}UserId")} == {user}


@pytest.mark.parametrize("path", _PATHS)
def test_a_hostile_project_folder_arrives_as_it_is(path: str) -> None:
    task = replace(LOGON, wrapper=PurePosixPath(path) / "start.sh", environment=(("ENV_FILE", path),))
    assert find_xml_problems(encode_task_xml(render_task_xml(task, templates=_TEMPLATES))) == ()
    arguments = _text(_render(task), "Actions/Exec/Arguments")
    assert arguments is not None
    assert run_as_windows(arguments, {"PATH": "C:\\"})[1][1:4] == [f"ENV_FILE={path}", "bash", f"{path}/start.sh"]


_IMPOSSIBLE = [
    (replace(LOGON, distribution="My Linux"), "wsl.exe"),
    (replace(LOGON, user_id=" "), "no Windows user"),
    (replace(LOGON, wrapper=PurePosixPath("start.sh")), "absolute"),
    (replace(LOGON, wrapper=PurePosixPath("/opt/a\nb")), "line break"),
    (replace(LOGON, user_id="PC\\a\x07"), "XML"),
    (replace(LOGON, environment=(("ENV_FILE", "/a\x00b"),)), "XML"),
]


@pytest.mark.parametrize(("task", "word"), _IMPOSSIBLE)
def test_what_cannot_be_written_down_is_said_before_anything_is_written(task: ScheduledTask, word: str) -> None:
    problems = find_task_problems(task)
    assert any(word in problem for problem, _ in problems)
    assert all(fix for _, fix in problems)


_SPOILED = [
    ('encoding="UTF-16"', 'encoding="utf-8"', "XML"),
    ("windows/2004/02", "windows/2005/02", "root"),
    ("<Count>3<", "<Count>256<", "restart count"),
    ("<Count>3<", "<Count>0<", "restart count"),
    ("<Interval>PT1M<", "<Interval>PT30S<", "shorter than a minute"),
    ("<Interval>PT5M<", "<Interval>5 minutes<", "no duration"),
    ("<ExecutionTimeLimit>PT0S<", "<ExecutionTimeLimit><", "no duration"),
    ("<StartWhenAvailable>true<", "<StartWhenAvailable>True<", "StartWhenAvailable"),
    ('Context="Operator"', 'Context="Author"', "principals"),
    (r"<Command>%SystemRoot%", "<Command>" + "x" * 260, "characters"),
    ("<StartBoundary>2026-01-01T00:00:00</StartBoundary>", "", "lacks StartBoundary"),
    ("<Count>3</Count>", "", "lacks Count"),
    ("<Delay>PT30S</Delay>", "<UserId>x</UserId>", "cannot hold UserId"),
    ("<Actions ", "<Other>", "XML"),
]


@pytest.mark.parametrize(("right", "wrong", "word"), _SPOILED)
def test_a_definition_that_windows_would_refuse_is_seen(right: str, wrong: str, word: str) -> None:
    text = render_task_xml(BOOT, templates=_TEMPLATES)
    assert right in text
    problems = find_xml_problems(encode_task_xml(text.replace(right, wrong)))
    assert any(word in problem for problem in problems), problems


def test_children_of_a_trigger_in_another_order_are_seen() -> None:
    text = render_task_xml(LOGON, templates=_TEMPLATES)
    user = f"      <UserId>{LOGON.user_id}</UserId>\n"
    swapped = text.replace(f"      <Enabled>true</Enabled>\n{user}", f"{user}      <Enabled>true</Enabled>\n")
    assert swapped != text
    problems = find_xml_problems(encode_task_xml(swapped))
    assert any("the order is" in problem for problem in problems), problems


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-be", "utf-16-le"])
def test_a_file_in_another_encoding_is_seen(encoding: str) -> None:
    content = render_task_xml(LOGON, templates=_TEMPLATES).encode(encoding)
    assert find_xml_problems(content) == ("the file is not UTF-16, little endian, with a byte order mark",)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0S", 0),
        ("PT1M", 60),
        ("PT60S", 60),
        ("P3D", 259200),
        ("PT1H30M5S", 5405),
        ("P", None),
        ("PT", 0),
        ("", None),
    ],
)
def test_durations_are_read(text: str, seconds: int | None) -> None:
    assert read_duration_s(text) == (None if text == "PT" else seconds)
