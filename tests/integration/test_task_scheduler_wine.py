"""A second Task Scheduler reads the definitions: Wine's, a smoke test of encoding, namespace and settings.

Wine's `schtasks.exe` registers and removes; it does not answer `/Query`. What it stores is what it understood, written
anew: of Wine 8 the registration's texts and the settings, not the triggers, the principal or the action. What the
strict fake says about a file is held against what Wine says.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NoReturn

import pytest

from orchestration.errors import HostServiceError
from orchestration.hostservice.schtasks import Schtasks
from orchestration.hostservice.task_fields import read_fields
from orchestration.hostservice.task_xml import ScheduledTask, TaskTrigger, encode_task_xml, render_task_xml
from orchestration.hostservice.windows_host import WindowsHost, WindowsSide
from orchestration.system.commands import CommandResult, Commands, Following, OnLine, SystemCommands
from tests.system import wait_until
from tests.unit.hostservice.fake_windows import FakeWindows

_TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
_SYSTEM32 = "C:/windows/system32"
_WINE = shutil.which("wine")
_HOST = WindowsHost(side=WindowsSide.WSL, system32=_SYSTEM32, project_dir=PurePosixPath("/opt/bot"))
_LOGON = ScheduledTask(
    name="wine",
    trigger=TaskTrigger.LOGON,
    user_id=r"PC\ann o'neil & <sons>",
    distribution="Ubuntu",
    wrapper=PurePosixPath('/home/Müller/交易 "bot"/100%PATH%/start.sh'),
    environment=(("INSTANCE", "second"),),
)
_NOT_KEPT_BY_WINE = ("Settings/IdleSettings/", "Settings/RestartOnFailure/")
_BOOT = replace(_LOGON, trigger=TaskTrigger.BOOT)


@dataclass(frozen=True)
class _Wine:
    """`Commands`, with Windows programs run by Wine in a prefix of its own.

    Attributes:
        prefix: Its Windows, and its settings.
        temporary: For the folder that its server makes, once for each prefix, and never removes.
    """

    prefix: Path
    temporary: Path

    @property
    def environ(self) -> dict[str, str]:
        return {
            "WINEPREFIX": str(self.prefix),
            "WINEDEBUG": "-all",
            "DISPLAY": "",
            "TMPDIR": str(self.temporary),
        }

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        del timeout_s
        if argv[0] == "wslpath":  # Wine has the whole file system as drive Z:
            path = "Z:" + argv[2].replace("/", "\\")
            return CommandResult(argv=tuple(argv), exit_code=0, stdout=f"{path}\n")
        both = {**self.environ, **(environ or {})}
        return SystemCommands().run([_WINE or "wine", *argv], timeout_s=120, cwd=cwd, environ=both, on_line=on_line)

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Following:
        raise AssertionError(f"nothing here is followed: {argv} {on_line} {cwd} {environ}")

    def end(self) -> None:
        """End every process of this prefix, and of no other."""
        server = shutil.which("wineserver") or str(next(iter(Path("/usr/lib/wine").glob("wineserver*")), "wineserver"))
        subprocess.run([server, "-k"], env=os.environ | self.environ, check=False, timeout=60)

    def stored(self, task: str) -> str:
        """The definition as this Windows keeps it."""
        file = self.prefix / "drive_c/windows/system32/tasks" / task.strip("\\").replace("\\", "/")
        return file.read_text(encoding="utf-8-sig")


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Wine]:
    if _WINE is None:
        _give_up("Wine is not installed (Debian package wine64)")
    with tempfile.TemporaryDirectory(prefix="tests-") as temporary:  # short: sockets are made in it
        made = _Wine(tmp_path_factory.mktemp("wine") / "prefix", Path(temporary))
        boot = made.run(["wineboot.exe", "--init"], timeout_s=120)
        if not boot.ok or not (made.prefix / "drive_c/windows/system32/schtasks.exe").exists():
            _give_up(f"this Wine cannot start, or has no schtasks.exe: {boot.last_lines()}")
        made.end()  # the first start keeps the services locked for half a minute; the next one does not
        try:
            wait_until(lambda: made.run(["net.exe", "start"], timeout_s=120).ok, "service manager in Wine")
            assert [path.name[:5] for path in made.temporary.iterdir()] == ["wine-"], "it is made elsewhere, and stays"
            yield made
        finally:
            made.end()


def _give_up(reason: str) -> NoReturn:
    """Skip, but never in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have Wine: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(params=[pytest.param("wine", marks=pytest.mark.wine), "fake"])
def windows(request: pytest.FixtureRequest) -> Commands:
    if request.param == "fake":
        return FakeWindows(system32=_SYSTEM32, elevated=True)
    made = request.getfixturevalue("wine")
    assert isinstance(made, _Wine)
    return made


def _write(folder: Path, content: bytes) -> Path:
    file = folder / "my task.xml"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("task", [_LOGON, _BOOT], ids=["logon", "boot"])
def test_a_definition_is_taken_and_removed_once(windows: Commands, task: ScheduledTask, tmp_path: Path) -> None:
    schtasks = Schtasks(commands=windows, host=_HOST)
    content = encode_task_xml(render_task_xml(task, templates=_TEMPLATES))
    schtasks.create(task.path, _write(tmp_path, content), refused="")
    schtasks.create(task.path, _write(tmp_path, content), refused="")
    schtasks.delete(task.path)
    with pytest.raises(HostServiceError, match="exit code 1"):
        schtasks.delete(task.path)


_REFUSED = {
    "namespace": ("windows/2004/02/mit/task", "windows/1999/02/mit/task"),
    "no root": ("<Task ", "<Tusk "),
    "cut off": ("</Actions>", ""),
}


@pytest.mark.parametrize("what", _REFUSED)
def test_a_wrong_definition_is_refused(windows: Commands, what: str, tmp_path: Path) -> None:
    right, wrong = _REFUSED[what]
    text = render_task_xml(_LOGON, templates=_TEMPLATES)
    assert right in text
    content = encode_task_xml(
        text.replace(right, wrong).replace("</Task>", "</Tusk>" if "Tusk" in wrong else "</Task>")
    )
    with pytest.raises(HostServiceError, match="exit code 1"):
        Schtasks(commands=windows, host=_HOST).create(_LOGON.path, _write(tmp_path, content), refused="")


@pytest.mark.wine
@pytest.mark.parametrize("task", [_LOGON, _BOOT], ids=["logon", "boot"])
def test_another_task_scheduler_reads_the_settings_as_they_are_meant(
    wine: _Wine, task: ScheduledTask, tmp_path: Path
) -> None:
    text = render_task_xml(task, templates=_TEMPLATES)
    Schtasks(commands=wine, host=_HOST).create(task.path, _write(tmp_path, encode_task_xml(text)), refused="")
    understood = read_fields(wine.stored(task.path))
    assert understood["RegistrationInfo/URI"] == task.path
    meant = {field: value for field, value in read_fields(text).items() if field.startswith("Settings/")}
    kept = {field: value for field, value in meant.items() if not field.startswith(_NOT_KEPT_BY_WINE)}
    assert len(kept) > 10
    assert {field: understood.get(field) for field in kept} == kept
