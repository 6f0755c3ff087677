"""What Windows gives back is another text that says the same, and a changed task is seen."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from orchestration.hostservice.task_fields import (
    UnreadableTaskError,
    compare_fields,
    find_definition,
    read_fields,
)
from orchestration.hostservice.task_xml import ScheduledTask, encode_task_xml, render_task_xml
from tests.unit.hostservice.fake_windows import complete_as_windows
from tests.unit.hostservice.test_task_xml import BOOT, LOGON

_TEMPLATES = Path(__file__).resolve().parents[3] / "templates"
_FOREIGN = replace(LOGON, wrapper=PurePosixPath("/home/Müller/交易 bot/Łódź/start.sh"))


def _wanted(task: ScheduledTask) -> str:
    return render_task_xml(task, templates=_TEMPLATES)


def _stored(task: ScheduledTask) -> str:
    return complete_as_windows(encode_task_xml(_wanted(task)))


_WAYS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "code page 437": lambda text: text.encode("cp437", "replace").decode("utf-8", "replace"),
    "code page 850": lambda text: text.encode("cp850", "replace").decode("utf-8", "replace"),
    "code page 1252": lambda text: text.encode("cp1252", "replace").decode("utf-8", "replace"),
    "UTF-8": lambda text: text.encode().decode(),
    "Japanese": lambda text: text.encode("cp932", "replace").decode("utf-8", "replace"),
}


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("task", [LOGON, BOOT, _FOREIGN], ids=["logon", "boot", "foreign letters"])
def test_what_windows_made_of_it_is_the_same_task(task: ScheduledTask, way: str) -> None:
    printed = _WAYS[way]('<?xml version="1.0" encoding="UTF-16"?>\r\n' + _stored(task) + "\r\n\r\n")
    assert compare_fields(printed, _wanted(task)) == ()


@pytest.mark.parametrize("task", [LOGON, BOOT])
def test_utf16_that_was_read_as_utf8_is_the_same_task(task: ScheduledTask) -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?>\r\n' + _stored(task)
    printed = (b"\xff\xfe" + text.encode("utf-16-le")).decode("utf-8", "replace")
    assert compare_fields(printed, _wanted(task)) == ()


_CHANGES = [
    ("Settings/Enabled", "<Enabled>true</Enabled>\n    <Hidden>", "<Enabled>false</Enabled>\n    <Hidden>"),
    ("Settings/Priority", "<Priority>5<", "<Priority>7<"),
    ("Settings/Priority", "<Priority>5</Priority>", ""),
    ("Settings/ExecutionTimeLimit", "<ExecutionTimeLimit>PT0S<", "<ExecutionTimeLimit>PT72H<"),
    ("Settings/ExecutionTimeLimit", "<ExecutionTimeLimit>PT0S</ExecutionTimeLimit>", ""),
    ("Settings/StopIfGoingOnBatteries", "<StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>", ""),
    ("Settings/MultipleInstancesPolicy", "IgnoreNew", "Parallel"),
    ("Settings/RestartOnFailure/Count", "<Count>3<", "<Count>1<"),
    ("Triggers/LogonTrigger/Enabled", "<Enabled>true</Enabled>\n      <UserId>", "<Enabled>false</Enabled><UserId>"),
    ("Triggers/LogonTrigger/UserId", f"<UserId>{LOGON.user_id}</UserId>\n    </Logon", "</Logon"),
    ("Triggers/TimeTrigger/Repetition/Interval", "<Interval>PT5M<", "<Interval>PT1H<"),
    ("Principals/Principal/LogonType", "InteractiveToken", "Password"),
    ("Principals/Principal/RunLevel", "LeastPrivilege", "HighestAvailable"),
    ("Principals/Principal/UserId", f"{LOGON.user_id}</UserId>\n      <Logon", "S-1-5-18</UserId><Logon"),
    ("Actions/Exec/Arguments", "--service<", "<"),
    ("Actions/Exec/Arguments", "-d Ubuntu", "-d Debian"),
    ("Actions/Exec/Command", "wsl.exe", "cmd.exe"),
    ("Actions/Exec[2]/Command", "  </Actions>", "<Exec><Command>calc.exe</Command></Exec></Actions>"),
    ("Triggers/BootTrigger", "</Triggers>", "<BootTrigger/></Triggers>"),
    ("Triggers/TimeTrigger/EndBoundary", "<Repetition>", "<EndBoundary>2026-12-01T00:00:00</EndBoundary><Repetition>"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "right", "wrong"), _CHANGES)
def test_a_change_that_matters_is_named_by_its_field(field: str, right: str, wrong: str) -> None:
    wanted = _wanted(LOGON)
    assert right in wanted
    found = compare_fields(wanted.replace(right, wrong, 1), wanted)
    assert [one.field for one in found] == [field]
    assert field in str(found[0])


def test_a_description_and_a_date_do_not_matter() -> None:
    wanted = _wanted(LOGON)
    assert compare_fields(wanted.replace("Starts the trading", "My own words"), wanted) == ()
    assert compare_fields(wanted.replace("<RegistrationInfo>", "<RegistrationInfo><Date>2026</Date>"), wanted) == ()


_ACCOUNTS = (LOGON.user_id, "DESKTOP\\Jürgen")


@pytest.mark.parametrize("shown", ["DESKTOP\\Jürgen", "desktop\\jürgen", "DESKTOP\\J\ufffdrgen", "DESKTOP\\J?rgen"])
def test_the_same_user_under_another_name_is_the_same(shown: str) -> None:
    wanted = _wanted(LOGON)
    assert compare_fields(wanted.replace(LOGON.user_id, shown), wanted, accounts=_ACCOUNTS) == ()


@pytest.mark.parametrize("shown", ["DESKTOP\\Jochen", "DESKTOP\\J?rgens", "S-1-5-21-1-2-3-1002", "Jürgen"])
def test_another_user_is_another(shown: str) -> None:
    wanted = _wanted(LOGON)
    found = compare_fields(wanted.replace(LOGON.user_id, shown), wanted, accounts=_ACCOUNTS)
    assert {one.field for one in found} == {"Principals/Principal/UserId", "Triggers/LogonTrigger/UserId"}


def test_a_lost_letter_hides_no_other_change() -> None:
    wanted = _wanted(_FOREIGN)
    printed = _WAYS["code page 437"](_stored(_FOREIGN)).replace("start.sh", "other.sh")
    assert [one.field for one in compare_fields(printed, wanted)] == ["Actions/Exec/Arguments"]


def test_a_question_mark_is_no_wildcard_where_no_letter_can_be_lost() -> None:
    wanted = _wanted(LOGON)
    assert compare_fields(wanted.replace("-d Ubuntu", "-d ?"), wanted) != ()


@pytest.mark.parametrize("printed", ["", "FEHLER: nichts", "<Task>", "</Task>", "</Task><Task"])
def test_what_is_no_definition_is_said_to_be_none(printed: str) -> None:
    with pytest.raises(UnreadableTaskError):
        find_definition(printed)


@pytest.mark.parametrize("text", ["<Task></Task>", "<Task xmlns='urn:x'></Task>", "<Task><a></Task>"])
def test_a_definition_of_something_else_cannot_be_read(text: str) -> None:
    with pytest.raises(UnreadableTaskError):
        read_fields(text)
