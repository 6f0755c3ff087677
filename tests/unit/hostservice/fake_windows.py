r"""A Windows with Task Scheduler, behind the command door: strict in what it takes, and as untidy as the real one.

It refuses a file that is not UTF-16 with a mark or has another namespace, with exit code 1 and in German. It stores
the definition in its own order, completes it, drops what equals a default, and prints it in code page 850 under a
declaration that says UTF-16.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from orchestration.hostservice.task_xml import NAMESPACE
from orchestration.system.commands import CommandNotFoundError, CommandResult, OnLine

SID = "S-1-5-21-1004336348-1177238915-682003330-1001"
SYSTEM32 = "/mnt/c/Windows/System32"
_TAG = f"{{{NAMESPACE}}}"
_NOT_FOUND = "FEHLER: Das System kann die angegebene Datei nicht finden.\r\n"
_MALFORMED = "FEHLER: Der Aufgaben-XML-Code ist fehlerhaft.\r\n(1,40)::FEHLER: falscher Namespace\r\n"
_DENIED = "FEHLER: Zugriff verweigert\r\n"
# Dropped by Windows when they say what is so anyway.
_SILENT = {("Hidden", "false"), ("WakeToRun", "false"), ("RunOnlyIfIdle", "false"), ("RunLevel", "LeastPrivilege")}


@dataclass
class FakeWindows:
    r"""`Commands`, with Windows' programs and `wslpath` behind it.

    Attributes:
        user: The Windows user, as `whoami` prints it.
        elevated: Whether the terminal is an administrator's.
        distributions: What `wsl.exe -l -q` lists.
        system32: Where Windows' programs are, as they are called.
        files: What exists inside the distribution.
        printed: How what `schtasks.exe` prints arrives at the door, which reads UTF-8.
        reachable: Whether Windows has a path to what lies inside the distribution.
        stops: Whether `inv shutdown` succeeds.
        refuses: Whether it takes no definition at all.
        change: What a person or a policy does to each definition as it is stored.
        tasks: The registered definitions by their full names.
        running: The tasks that run.
        calls: What was asked.
    """

    user: str = "DESKTOP\\ann o'neil"
    elevated: bool = False
    distributions: tuple[str, ...] = ("Ubuntu", "docker-desktop")
    system32: str = SYSTEM32
    files: set[str] = field(default_factory=set)
    printed: Callable[[str], str] = lambda text: text.encode("cp850", "replace").decode("utf-8", "replace")
    reachable: bool = True
    stops: bool = True
    refuses: bool = False
    change: Callable[[str], str] = lambda text: text
    tasks: dict[str, str] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    environs: list[Mapping[str, str]] = field(default_factory=list)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        assert timeout_s > 0
        assert cwd is None or cwd.is_absolute()
        assert on_line is None
        self.calls.append(tuple(argv))
        self.environs.append(dict(environ or {}))
        program, *arguments = argv
        folder, _, name = program.replace("\\", "/").rpartition("/")
        if name == "wslpath":
            return self._wslpath(argv, arguments)
        if "invoke" in arguments:
            assert arguments == ["-m", "invoke", "shutdown", "--keep-gateway"]
            if not self.stops:
                return self._answer(argv, stderr="FAILURE\n", exit_code=1)
            self.running.clear()
            return self._answer(argv, "stopped\n")
        assert folder == self.system32.replace("\\", "/"), f"unexpected program {program}"
        programs = {"schtasks.exe": self._schtasks, "whoami.exe": self._whoami, "wsl.exe": self._wsl}
        assert name in programs, f"unexpected program {program}"
        return programs[name](argv, arguments)

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> "EndedFollowing":
        raise AssertionError(f"nothing here is followed: {argv} {on_line} {cwd} {environ}")

    @property
    def changes(self) -> list[str]:
        """What was asked of Task Scheduler that changes something, in order."""
        asked = [call[1] for call in self.calls if call[0].endswith("schtasks.exe")]
        return [verb for verb in asked if verb != "/Query"]

    def _answer(self, argv: Sequence[str], stdout: str = "", *, stderr: str = "", exit_code: int = 0) -> CommandResult:
        return CommandResult(argv=tuple(argv), exit_code=exit_code, stdout=stdout, stderr=self.printed(stderr))

    def _wslpath(self, argv: Sequence[str], arguments: list[str]) -> CommandResult:
        way, path = arguments
        if way == "-u":
            assert path == "C:\\Windows\\System32", path
            return self._answer(argv, f"{self.system32}\n")
        assert way == "-w", way
        if not self.reachable:
            return self._answer(argv, stderr=f"wslpath: {path}\n", exit_code=1)
        return self._answer(argv, "\\\\wsl.localhost\\Ubuntu" + path.replace("/", "\\") + "\n")

    def _whoami(self, argv: Sequence[str], arguments: list[str]) -> CommandResult:
        assert arguments[1:] == ["/fo", "csv", "/nh"], arguments
        if arguments[0] == "/user":
            return self._answer(argv, self.printed(f'"{self.user}","{SID}"\r\n'))
        assert arguments[0] == "/groups", arguments
        level = "S-1-16-12288" if self.elevated else "S-1-16-8192"
        text = (
            '"Jeder","Bekannte Gruppe","S-1-1-0","Verbindliche Gruppe, Aktivierte Gruppe"\r\n'
            f'"Verbindliche Beschriftung","Bezeichnung","{level}",""\r\n'
        )
        return self._answer(argv, self.printed(text))

    def _wsl(self, argv: Sequence[str], arguments: list[str]) -> CommandResult:
        if arguments == ["-l", "-q"]:
            text = "".join(f"{name}\r\n" for name in self.distributions)
            return self._answer(argv, text.encode("utf-16-le").decode("utf-8", "replace"))
        distribution, tail = arguments[1], arguments[2:]
        assert arguments[0] == "-d"
        assert tail[:5] == ["--cd", "/", "-e", "test", "-f"], tail
        is_there = distribution in self.distributions and tail[5] in self.files
        return self._answer(argv, exit_code=0 if is_there else 1)

    def _schtasks(self, argv: Sequence[str], arguments: list[str]) -> CommandResult:
        verb, option, name, *rest = arguments
        assert option == "/TN", arguments
        assert name.startswith("\\ZeroTouch\\"), name
        if verb == "/Create":
            return self._create(argv, name, rest)
        if name not in self.tasks:
            return self._answer(argv, stderr=_NOT_FOUND, exit_code=1)
        if verb == "/Query" and rest == ["/XML"]:
            text = '<?xml version="1.0" encoding="UTF-16"?>\r\n' + self.tasks[name] + "\r\n"
            return self._answer(argv, self.printed(text))
        if verb == "/Query":
            assert rest == ["/V", "/FO", "CSV", "/NH"], rest
            result = "267009" if name in self.running else "267011"
            row = (
                f'"DESKTOP","{name}","N/V","Bereit","Interaktiv","30.11.1999 00:00:00","{result}","zero","wsl.exe"\r\n'
            )
            return self._answer(argv, self.printed(row * 2))
        if verb == "/Run":
            assert rest == [], rest
            self.running.add(name)
            return self._answer(argv, self.printed("ERFOLGREICH: Es wurde versucht.\r\n"))
        assert (verb, rest) == ("/Delete", ["/F"]), arguments
        del self.tasks[name]
        return self._answer(argv, self.printed("ERFOLGREICH: gelöscht.\r\n"))

    def _create(self, argv: Sequence[str], name: str, rest: list[str]) -> CommandResult:
        assert rest[0] == "/XML", rest
        assert rest[2:] == ["/F"], rest
        file = Path(rest[1].removeprefix("\\\\wsl.localhost\\Ubuntu").replace("\\", "/"))
        try:
            stored = complete_as_windows(file.read_bytes())
        except (ValueError, ET.ParseError):
            return self._answer(argv, stderr=_MALFORMED, exit_code=1)
        if self.refuses:
            return self._answer(argv, stderr=_DENIED, exit_code=1)
        if "<BootTrigger" in stored and not self.elevated:
            return self._answer(argv, stderr=_DENIED, exit_code=1)
        self.tasks[name] = self.change(stored)
        return self._answer(argv, self.printed("ERFOLGREICH: erstellt.\r\n"))


class EndedFollowing:
    is_running = False

    def close(self) -> None:
        return


def complete_as_windows(content: bytes) -> str:
    """The stored form of a definition: sorted otherwise, with a date, a name for the user, defaults left out.

    Raises:
        ValueError: Task Scheduler would not take the file.
    """
    if not content.startswith(b"\xff\xfe"):
        raise ValueError("not UTF-16 with a mark")
    root = ET.fromstring(content)  # noqa: S314 - written by the test
    if root.tag != f"{_TAG}Task":
        raise ValueError("another namespace")
    ET.register_namespace("", NAMESPACE)
    ET.SubElement(_child(root, "RegistrationInfo"), f"{_TAG}Date").text = "2026-11-21T10:00:00.123"
    for element in list(root.iter()):
        for child in list(element):
            if (child.tag.removeprefix(_TAG), child.text or "") in _SILENT:
                element.remove(child)
        if element.tag in {f"{_TAG}Settings", f"{_TAG}TimeTrigger", f"{_TAG}LogonTrigger"}:
            element[:] = sorted(element, key=lambda child: child.tag, reverse=True)
        if element.tag == f"{_TAG}Interval" and element.text == "PT1M":
            element.text = "PT60S"
    idle = _child(_child(root, "Settings"), "IdleSettings")
    ET.SubElement(idle, f"{_TAG}Duration").text = "PT10M"
    ET.SubElement(idle, f"{_TAG}WaitTimeout").text = "PT1H"
    ET.SubElement(_child(root, "Settings"), f"{_TAG}UseUnifiedSchedulingEngine").text = "true"
    _child(_child(root, "Principals"), "Principal").set("id", "Author")
    _child(root, "Actions").set("Context", "Author")
    return ET.tostring(root, encoding="unicode")


def _child(element: ET.Element, name: str) -> ET.Element:
    found = element.find(f"{_TAG}{name}")
    if found is None:
        raise ValueError(f"no {name}")
    return found


@dataclass
class NoWindows:
    """A door behind which nothing of Windows is found."""

    calls: list[tuple[str, ...]] = field(default_factory=list)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        del timeout_s, cwd, environ, on_line
        self.calls.append(tuple(argv))
        raise CommandNotFoundError(argv)

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> EndedFollowing:
        raise AssertionError(f"nothing here is followed: {argv} {on_line} {cwd} {environ}")
