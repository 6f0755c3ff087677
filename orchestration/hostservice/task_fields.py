"""A registered task read back and compared, field by field.

What comes back is never what was handed over: Windows writes the elements in another order, leaves out what equals a
default, adds a date and an owner, writes `PT60S` as `PT1M` if it pleases, and shows an account by its name or by its
security identifier. `schtasks.exe` prints it in the console's code page, whatever the declaration says; a letter that
this code page lacks, or that was read as UTF-8, is lost.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from orchestration.hostservice.task_xml import NAMESPACE, read_duration_s

_TAG = f"{{{NAMESPACE}}}"
# What Windows or people may write here without changing what the task does.
_FREE = frozenset({"RegistrationInfo"})
# The schema's defaults: an element that is absent says this. From [MS-TSCH] 2.5 and the settings' own pages.
_DEFAULTS = {
    "Settings/AllowHardTerminate": "true",
    "Settings/AllowStartOnDemand": "true",
    "Settings/DisallowStartIfOnBatteries": "true",
    "Settings/Enabled": "true",
    "Settings/ExecutionTimeLimit": "P3D",
    "Settings/Hidden": "false",
    "Settings/IdleSettings/RestartOnIdle": "false",
    "Settings/IdleSettings/StopOnIdleEnd": "true",
    "Settings/MultipleInstancesPolicy": "IgnoreNew",
    "Settings/Priority": "7",
    "Settings/RunOnlyIfIdle": "false",
    "Settings/RunOnlyIfNetworkAvailable": "false",
    "Settings/StartWhenAvailable": "false",
    "Settings/StopIfGoingOnBatteries": "true",
    "Settings/WakeToRun": "false",
    "Principals/Principal/RunLevel": "LeastPrivilege",
    "Triggers/BootTrigger/Enabled": "true",
    "Triggers/LogonTrigger/Enabled": "true",
    "Triggers/TimeTrigger/Enabled": "true",
    "Triggers/TimeTrigger/Repetition/StopAtDurationEnd": "false",
}
# Completed by Windows and without a meaning for this task.
_IGNORED = frozenset(
    {
        "Settings/IdleSettings/Duration",
        "Settings/IdleSettings/WaitTimeout",
        "Settings/DisallowStartOnRemoteAppSession",
        "Settings/UseUnifiedSchedulingEngine",
        "Principals/Principal/@id",
        "Actions/@Context",
    }
)
_LOST = re.compile("[\ufffd?]")
_OUTSIDE_ASCII = re.compile(r"[^\x00-\x7f]+")


class UnreadableTaskError(ValueError):
    """What was read back is not a task's definition."""


@dataclass(frozen=True, kw_only=True)
class FieldDifference:
    """One field that is not as it should be.

    Attributes:
        field: Its place, for example `Settings/Priority`.
        installed: What Windows has, or None for nothing.
        wanted: What it should be, or None for nothing.
    """

    field: str
    installed: str | None
    wanted: str | None

    def __str__(self) -> str:
        return f"{self.field}: {_show(self.installed)} is installed, {_show(self.wanted)} is wanted"


def _show(value: str | None) -> str:
    return "nothing" if value is None else repr(value)


def find_definition(printed: str) -> str:
    """The definition in what `schtasks.exe` printed, without its declaration, which is rarely true by then.

    UTF-16 that was read as UTF-8 has a NUL beside each letter.

    Raises:
        UnreadableTaskError: There is none in it.
    """
    text = printed.replace("\0", "")
    start, end = text.find("<Task"), text.rfind("</Task>")
    if not 0 <= start < end:
        raise UnreadableTaskError("schtasks.exe printed no task's definition")
    return text[start : end + len("</Task>")]


def read_fields(text: str) -> dict[str, str]:
    """Each field's place and text, with the schema's defaults for what is absent, durations in seconds.

    Several triggers of a kind, or several actions, get a number behind the second and later ones.

    Raises:
        UnreadableTaskError: It is not a task's definition.
    """
    try:
        root = ET.fromstring(find_definition(text))  # noqa: S314 - from this machine's own Task Scheduler
    except ET.ParseError as error:
        raise UnreadableTaskError(f"the task's definition cannot be read: {error}") from error
    if root.tag != f"{_TAG}Task":
        raise UnreadableTaskError(f"{root.tag} is not a task's definition")
    found = dict(_leaves(root, ""))
    parents = {field.rpartition("/")[0] for field in found}
    for field, default in _DEFAULTS.items():
        parent = field.rpartition("/")[0]
        if parent in parents or parent.startswith("Settings"):
            found.setdefault(field, default)
    return {field: _normalise(text) for field, text in found.items()}


def _leaves(element: ET.Element, place: str) -> Iterator[tuple[str, str]]:
    seen: dict[str, int] = {}
    for name, value in element.attrib.items():
        if place:  # the version of the whole document is Windows' business
            yield f"{place}@{name}", value
    for child in element:
        name = child.tag.removeprefix(_TAG)
        seen[name] = seen.get(name, 0) + 1
        here = f"{place}{name}" + (f"[{seen[name]}]" if seen[name] > 1 else "")
        if len(child):
            yield from _leaves(child, f"{here}/")
        else:
            yield here, (child.text or "").strip()


def _normalise(text: str) -> str:
    duration_s = read_duration_s(text)
    return text if duration_s is None else f"{duration_s} s"


def compare_fields(installed: str, wanted: str, *, accounts: Iterable[str] = ()) -> tuple[FieldDifference, ...]:
    """Where the task that Windows has differs from the one it should have; empty if nowhere.

    A letter outside ASCII that was lost on the way is taken for the one it should be; what surrounds it still tells.

    Args:
        installed: The registered definition, as text.
        wanted: The rendered one, as text.
        accounts: The names and security identifiers of the one user, all the same.

    Raises:
        UnreadableTaskError: One of them is not a task's definition.
    """
    have, want = read_fields(installed), read_fields(wanted)
    same_user = {account.casefold() for account in accounts}
    found = []
    for field in sorted({*have, *want}):
        if field in _IGNORED or field.partition("/")[0] in _FREE:
            continue
        mine, theirs = want.get(field), have.get(field)
        if mine == theirs or _is_same(field, theirs, mine, same_user):
            continue
        found.append(FieldDifference(field=field, installed=theirs, wanted=mine))
    return tuple(found)


def _is_same(field: str, installed: str | None, wanted: str | None, same_user: set[str]) -> bool:
    if installed is None or wanted is None:
        return False
    if field.endswith("/UserId"):
        names = {wanted.casefold(), *(same_user if wanted.casefold() in same_user else ())}
        return any(name == installed.casefold() or _is_alike(installed.casefold(), name) for name in names)
    if field.endswith(("/Command", "/StartBoundary")) and installed.casefold() == wanted.casefold():
        return True
    return _is_alike(installed, wanted)


def _is_alike(installed: str, wanted: str) -> bool:
    """Whether they are equal but for letters outside ASCII that were lost on the way.

    What stands between those letters must be there, in order and from end to end. In their place stands whatever the
    code page made of them: a mark, a letter without its accent, in East Asian ones also half a letter.
    """
    if wanted.isascii() or not (_LOST.search(installed) or _fold(installed) == _fold(wanted)):
        return False
    pieces = [re.escape(piece) for piece in _OUTSIDE_ASCII.split(wanted)]
    return re.fullmatch(".+?".join(pieces), installed) is not None


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
