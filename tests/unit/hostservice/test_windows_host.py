"""What Windows and WSL are asked, and how what they print is read."""

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from orchestration.hostservice.windows_host import (
    WindowsHost,
    WindowsSide,
    distribution_of_share,
    find_side,
    find_windows_host,
    is_elevated,
    parse_distributions,
    parse_whoami,
    to_wsl_path,
)
from tests.unit.hostservice.fake_windows import SID, FakeWindows, NoWindows

_NATIVE = {"SystemRoot": "D:\\Windows"}
_SYSTEM32 = "D:\\Windows\\System32"


def _look_from_windows(windows: FakeWindows, project_dir: str = "C:\\my bot", distribution: str = "") -> WindowsHost:
    return find_windows_host(
        windows,
        environ=_NATIVE,
        project_dir=PureWindowsPath(project_dir),
        side=WindowsSide.WINDOWS,
        distribution=distribution,
    )


def test_on_windows_the_only_distribution_is_taken_and_dockers_own_are_not_counted() -> None:
    host = _look_from_windows(FakeWindows(system32=_SYSTEM32, distributions=("docker-desktop", "Ubuntu-24.04")))
    assert (host.distribution, host.user_sid, host.lacks) == ("Ubuntu-24.04", SID, ())
    assert host.project_dir == PurePosixPath("/mnt/c/my bot")
    assert host.program("wsl.exe") == "D:\\Windows\\System32\\wsl.exe"


def test_on_windows_several_distributions_are_listed_and_one_has_to_be_named() -> None:
    windows = FakeWindows(system32=_SYSTEM32, distributions=("Ubuntu", "Debian"))
    host = _look_from_windows(windows)
    assert host.distribution == ""
    assert "Ubuntu, Debian" in host.lacks[0].what
    assert "--distribution" in host.lacks[0].fix
    assert _look_from_windows(windows, distribution="Debian").lacks == ()


def test_on_windows_without_wsl_it_says_that_the_system_needs_it() -> None:
    host = _look_from_windows(FakeWindows(system32=_SYSTEM32, distributions=("docker-desktop",)))
    assert "wsl --install" in host.lacks[0].fix


def test_a_project_in_a_distributions_share_names_its_distribution() -> None:
    windows = FakeWindows(system32=_SYSTEM32, distributions=("Ubuntu", "Debian"))
    host = _look_from_windows(windows, "\\\\wsl.localhost\\Debian\\home\\ann\\bot")
    assert (host.distribution, host.project_dir, host.lacks) == ("Debian", PurePosixPath("/home/ann/bot"), ())


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("C:\\", "/mnt/c"),
        ("D:\\a b\\c", "/mnt/d/a b/c"),
        ("\\\\wsl$\\Ubuntu\\home\\ann", "/home/ann"),
        ("\\\\WSL.LOCALHOST\\Ubuntu\\", "/"),
    ],
)
def test_a_windows_path_is_found_inside_the_distribution(path: str, inside: str) -> None:
    assert to_wsl_path(PureWindowsPath(path)) == PurePosixPath(inside)


@pytest.mark.parametrize(
    ("path", "name"),
    [("\\\\wsl.localhost\\Ubuntu\\x", "Ubuntu"), ("\\\\wsl$\\My-1.0", "My-1.0"), ("C:\\wsl$\\x", ""), ("/home", "")],
)
def test_the_distribution_stands_in_the_name_of_its_share(path: str, name: str) -> None:
    assert distribution_of_share(path) == name


_LISTED = [
    ("Ubuntu\r\nDebian\r\n", ("Ubuntu", "Debian")),
    ("Ubuntu\r\n".encode("utf-16-le").decode("utf-8", "replace"), ("Ubuntu",)),
    (("\ufeff" + "Ubuntu\r\nB\r\n").encode("utf-16-le").decode("utf-8", "replace"), ("Ubuntu", "B")),
    ("docker-desktop\r\ndocker-desktop-data\r\n", ()),
    ("", ()),
]


@pytest.mark.parametrize(("printed", "names"), _LISTED)
def test_distributions_are_read_in_whatever_encoding_they_come(printed: str, names: tuple[str, ...]) -> None:
    assert parse_distributions(printed) == names


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ('"pc\\ann o\'neil","S-1-5-21-1"\r\n', ("pc\\ann o'neil", "S-1-5-21-1")),
        ('"pc\\a,b","S-1-5-21-1"\r\n', ("pc\\a,b", "S-1-5-21-1")),
        ("pc\\ann\r\n", ("", "")),
        ("", ("", "")),
    ],
)
def test_name_and_identifier_are_read(printed: str, found: tuple[str, str]) -> None:
    assert parse_whoami(printed) == found


@pytest.mark.parametrize("elevated", [True, False])
def test_an_administrators_terminal_is_known_by_a_number(elevated: bool) -> None:  # noqa: FBT001 - pytest's way
    windows = FakeWindows(system32=_SYSTEM32, elevated=elevated)
    assert is_elevated(windows, _look_from_windows(windows)) is elevated


def test_a_windows_that_does_not_answer_leaves_it_open() -> None:
    host = _look_from_windows(FakeWindows(system32=_SYSTEM32))
    assert is_elevated(NoWindows(), host) is None


def test_where_we_stand_is_told_by_platform_and_kernel(tmp_path: Path) -> None:
    release = tmp_path / "osrelease"
    assert find_side("win32", release) is WindowsSide.WINDOWS
    assert find_side("linux", release) is WindowsSide.ABSENT
    release.write_text("5.15.167.4-microsoft-standard-WSL2\n", encoding="ascii")
    assert find_side("linux", release) is WindowsSide.WSL
    release.write_text("6.8.0-45-generic\n", encoding="ascii")
    assert find_side("linux", release) is WindowsSide.ABSENT
