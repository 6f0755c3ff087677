"""The definition of the scheduled task: rendered, encoded, checked.

The elements and their limits are those of Microsoft's [MS-TSCH], section 2.5. Task Scheduler itself says of a wrong
file hardly more than a line and a column, and some mistakes (a namespace, an encoding) it reports as something else.
"""

import codecs
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from orchestration.hostservice.windows_arguments import WSL_EXE, build_wsl_arguments, is_wsl_argument

if TYPE_CHECKING:
    from jinja2 import Template

NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
FOLDER = "\\ZeroTouch"
MAX_COMMAND = 260  # characters, as Task Scheduler's own window and the schema's `pathType` have it

_PRINCIPAL = "Operator"
_PRIORITY = 5  # 7, the default, is below normal, with slow disk access; 4 to 6 are normal
_REPEAT_INTERVAL = "PT5M"
# Any moment in the past: from there the repetition counts. Without a zone it is local time.
_REPEAT_FROM = "2026-01-01T00:00:00"
_BOOT_DELAY = "PT30S"  # WSL's own service starts at boot too
_RESTART_INTERVAL, _RESTART_COUNT = "PT1M", 3
_SHORTEST_RESTART_S, _MOST_RESTARTS = 60, 255

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK = re.compile("[\t\n\r]")
_TAG = f"{{{NAMESPACE}}}"
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


class TaskTrigger(StrEnum):
    """What starts the task."""

    LOGON = "logon"
    """The user's logon: Docker Desktop needs a session."""
    BOOT = "boot"
    """The machine's start, without a logon: for Docker Engine inside WSL. An administrator must register it."""


@dataclass(frozen=True, kw_only=True)
class ScheduledTask:
    r"""What Task Scheduler is to know.

    Attributes:
        name: The task's name within `\\ZeroTouch`; one for each instance.
        trigger: What starts it.
        user_id: The Windows account it runs as, `DOMAIN\\name` or, better, its security identifier (`S-1-5-21-…`),
            which no code page can spoil.
        distribution: The WSL distribution that holds the project.
        wrapper: `production-startup.sh`, absolute, inside the distribution.
        environment: Variables for the wrapper. No secrets.
        arguments: The wrapper's own.
    """

    name: str
    trigger: TaskTrigger
    user_id: str
    distribution: str
    wrapper: PurePosixPath
    environment: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ("--service",)

    @property
    def path(self) -> str:
        """Its full name, as `schtasks.exe /TN` takes it."""
        return build_task_path(self.name)

    @property
    def argument_line(self) -> str:
        """What `wsl.exe` is started with."""
        return build_wsl_arguments(
            distribution=self.distribution,
            wrapper=self.wrapper,
            environment=self.environment,
            arguments=self.arguments,
        )


def build_task_path(name: str) -> str:
    """The full name of a task of this project."""
    return f"{FOLDER}\\{name}"


def find_task_problems(task: ScheduledTask) -> tuple[tuple[str, str], ...]:
    """What makes this task impossible to write down or to run: (problem, how to fix it); none if all is well."""
    return tuple(_task_problems(task))


def _task_problems(task: ScheduledTask) -> Iterator[tuple[str, str]]:
    if not task.distribution:
        yield "no WSL distribution is named", "Name it with --distribution (`wsl.exe -l -q` lists them)."
    elif not is_wsl_argument(task.distribution):
        yield (
            f"wsl.exe cannot take the name {task.distribution!r}: it reads up to the first blank, and knows no quotes",
            "Export the distribution and import it again under a plain name (`wsl --export`, `wsl --import`).",
        )
    if not task.user_id.strip():
        yield "no Windows user is named to run the task as", r"Name one with --windows-user, as DOMAIN\name."
    if not task.wrapper.is_absolute():
        yield f"{task.wrapper} is not an absolute path inside the distribution", "Run it in the project's folder."
    texts = (task.name, task.user_id, task.distribution, str(task.wrapper), *(value for _, value in task.environment))
    for text in texts:
        if _NOT_IN_XML.search(text) or _LINE_BREAK.search(text):
            yield f"{text!r} holds a line break or a character that XML has no way to write", "Rename it."


@functools.cache
def _read_template(templates: Path) -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(templates), undefined=StrictUndefined, autoescape=True, keep_trailing_newline=True
    )
    return environment.get_template("windows/task.xml.j2")


def render_task_xml(task: ScheduledTask, *, templates: Path) -> str:
    """The task's definition as text, with plain line ends.

    Args:
        task: What to write; without problems (`find_task_problems`).
        templates: The project's `templates` folder.
    """
    at_boot = task.trigger is TaskTrigger.BOOT
    return _read_template(templates).render(
        author="zero-touch-startup",
        description=f"Starts the trading system '{task.name}' in WSL and stays with it. Made by `inv install`.",
        path=task.path,
        at_boot=at_boot,
        boot_delay=_BOOT_DELAY,
        user_id=task.user_id,
        repeat_from=_REPEAT_FROM,
        repeat_interval=_REPEAT_INTERVAL,
        principal=_PRINCIPAL,
        # S4U logs the user on without a password that would have to be stored. It opens neither the network nor
        # encrypted files of Windows, and the task needs neither. The system's own account cannot run WSL at all.
        logon_type="S4U" if at_boot else "InteractiveToken",
        priority=_PRIORITY,
        restart_interval=_RESTART_INTERVAL,
        restart_count=_RESTART_COUNT,
        command=WSL_EXE,
        arguments=task.argument_line,
    )


def encode_task_xml(text: str) -> bytes:
    """As `schtasks.exe` reads it: UTF-16, little endian, with the mark that says so, and Windows' line ends."""
    return codecs.BOM_UTF16_LE + text.replace("\n", "\r\n").encode("utf-16-le")


def find_xml_problems(content: bytes) -> tuple[str, ...]:
    """What Task Scheduler would refuse, or would take in another sense than it is meant; none if all is well."""
    if not content.startswith(codecs.BOM_UTF16_LE):
        return ("the file is not UTF-16, little endian, with a byte order mark",)
    try:
        text = content.decode("utf-16")
        root = ET.fromstring(content)  # noqa: S314 - our own rendering
    except (UnicodeDecodeError, ET.ParseError) as error:
        return (f"the file is not XML: {error}",)
    if not re.match(r'<\?xml version="1\.0" encoding="UTF-16"\?>', text):
        return ("the declaration does not say UTF-16",)
    if root.tag != f"{_TAG}Task":
        return (f"the root is {root.tag}, not a Task of {NAMESPACE}",)
    return tuple(_structure_problems(root))


# The children of each element that this project writes, in the schema's order; a question mark for those that may be
# absent. `Settings`, `Principal` and `Exec` take theirs in any order.
_TRIGGER_BASE = ("Enabled?", "StartBoundary?", "EndBoundary?", "Repetition?", "ExecutionTimeLimit?")
_SEQUENCES: dict[str, tuple[str, ...]] = {
    "Task": ("RegistrationInfo?", "Triggers?", "Principals?", "Settings?", "Actions"),
    "LogonTrigger": (*_TRIGGER_BASE, "UserId?", "Delay?"),
    "BootTrigger": (*_TRIGGER_BASE, "Delay?"),
    "TimeTrigger": ("Enabled?", "StartBoundary", *_TRIGGER_BASE[2:], "RandomDelay?"),
    "RestartOnFailure": ("Interval", "Count"),
}
_BOOLEANS = frozenset(
    {
        "AllowHardTerminate",
        "AllowStartOnDemand",
        "DisallowStartIfOnBatteries",
        "Enabled",
        "Hidden",
        "RestartOnIdle",
        "RunOnlyIfIdle",
        "RunOnlyIfNetworkAvailable",
        "StartWhenAvailable",
        "StopAtDurationEnd",
        "StopIfGoingOnBatteries",
        "StopOnIdleEnd",
        "WakeToRun",
    }
)
_DURATIONS = frozenset({"Interval", "Duration", "ExecutionTimeLimit", "Delay"})


def _structure_problems(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        name = element.tag.removeprefix(_TAG)
        text = (element.text or "").strip()
        if name in _SEQUENCES:
            yield from _order_problems(name, [child.tag.removeprefix(_TAG) for child in element])
        if name in _BOOLEANS and text not in {"true", "false"}:
            yield f"{name} is {text!r}; Task Scheduler knows `true` and `false`"
        if name in _DURATIONS and read_duration_s(text) is None:
            yield f"{name} is {text!r}, which is no duration"
    yield from _limit_problems(root)


def _order_problems(name: str, children: list[str]) -> Iterator[str]:
    order = [child.removesuffix("?") for child in _SEQUENCES[name]]
    for child in _SEQUENCES[name]:
        if not child.endswith("?") and child not in children:
            yield f"{name} lacks {child}"
    unknown = [child for child in children if child not in order]
    if unknown:
        yield f"{name} cannot hold {', '.join(unknown)}"
    elif children != sorted(children, key=order.index) or len(set(children)) != len(children):
        yield f"{name} holds {', '.join(children)}; the order is {', '.join(order)}, each once"


def _limit_problems(root: ET.Element) -> Iterator[str]:
    def texts(path: str) -> list[str]:
        return [(one.text or "") for one in root.findall("/".join(f"{_TAG}{step}" for step in path.split("/")))]

    for command in texts("Actions/Exec/Command"):
        if not 0 < len(command) <= MAX_COMMAND:
            yield f"the command has {len(command)} characters; 1 to {MAX_COMMAND} are allowed"
    principals = {one.get("id") for one in root.iter(f"{_TAG}Principal")}
    for actions in root.iter(f"{_TAG}Actions"):
        if actions.get("Context") not in principals:
            yield f"the actions run as {actions.get('Context')!r}, which is none of the principals"
    for interval in texts("Settings/RestartOnFailure/Interval"):
        if (read_duration_s(interval) or 0) < _SHORTEST_RESTART_S:
            yield f"the restart interval {interval} is shorter than a minute"
    for count in texts("Settings/RestartOnFailure/Count"):
        if not (count.isdecimal() and 1 <= int(count) <= _MOST_RESTARTS):
            yield f"the restart count {count} is not between 1 and {_MOST_RESTARTS}"


def read_duration_s(text: str) -> int | None:
    """A duration of days, hours, minutes and seconds (`PT1H30M`) in seconds; None for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
