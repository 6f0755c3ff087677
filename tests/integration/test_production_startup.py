"""The wrapper that services call: the real script, in a stand-in project and in this one."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

_PROJECT = Path(__file__).resolve().parents[2]
_SCRIPT = Path("docker/gateway/scripts/production-startup.sh")
_DEADLINE_S = 60.0
_SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the wrapper runs inside WSL or Linux")

# Says what it was given, then does what it was told: end with a code, or wait for a signal.
_STAND_IN = """
import json, os, signal, sys

def leave(number, frame):
    print(signal.Signals(number).name, flush=True)
    sys.exit(1)

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, leave)
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "pid": os.getpid(), "env": dict(os.environ)}), flush=True)
if sys.argv[1:2] == ["--wait"]:
    while True:
        signal.pause()
sys.exit(int(os.environ.get("EXIT", "0")))
"""


def _write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _python_with(options: str = "") -> str:
    return f'#!/bin/bash\nexec {shlex.quote(sys.executable)} {options} "$@"\n'


@pytest.fixture(params=["plain", 'my $bot\'s 100% "dir" \\ & `x`'])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project folder with the real wrapper and a stand-in for the program."""
    folder = tmp_path / str(request.param)
    (folder / _SCRIPT).parent.mkdir(parents=True)
    shutil.copy(_PROJECT / _SCRIPT, folder / _SCRIPT)
    (folder / "orchestration").mkdir()
    (folder / "orchestration" / "startup").mkdir()
    (folder / "orchestration" / "startup" / "__main__.py").write_text(_STAND_IN)
    _write_program(folder / ".venv" / "bin" / "python", _python_with())
    return folder


def _run(
    argv: Sequence[str | Path], *, cwd: Path = Path("/"), environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(one) for one in argv],
        cwd=cwd,
        env={"PATH": os.environ["PATH"]} if environ is None else environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )


@pytest.mark.parametrize("code", [0, 1, 2, 78])
def test_the_exit_code_of_the_program_leaves_unchanged(project: Path, code: int) -> None:
    done = _run([project / _SCRIPT], environ={"EXIT": str(code)})
    assert (done.returncode, done.stderr) == (code, "")


def test_arguments_arrive_as_they_were_and_the_program_runs_in_its_project(project: Path) -> None:
    arguments = ["--json", "two words", "", "$HOME", "it's", '"', "*", "-x=\n"]
    said = json.loads(_run([project / _SCRIPT, *arguments]).stdout)
    assert said["argv"] == arguments
    assert said["cwd"] == str(project)


def test_it_finds_its_project_through_links_from_any_folder(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "direct").symlink_to(project / _SCRIPT)
    (elsewhere / "again").symlink_to("direct")
    (tmp_path / "current").symlink_to(project)
    for argv, cwd in (
        ([elsewhere / "direct"], Path("/")),
        (["./again"], elsewhere),
        (["bash", "again"], elsewhere),
        (["sh", "again"], elsewhere),
        ([tmp_path / "current" / _SCRIPT], elsewhere),
        ([f"../{project.name}/{_SCRIPT}"], elsewhere),
        ([f"./{_SCRIPT.name}"], (project / _SCRIPT).parent),
    ):
        done = _run(argv, cwd=cwd)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["cwd"] == str(project)
    found_on_path = _run(["direct"], environ={"PATH": f"{elsewhere}:/usr/bin:/bin", "CDPATH": "/usr"})
    assert json.loads(found_on_path.stdout)["cwd"] == str(project)


def test_a_bare_environment_is_completed(project: Path) -> None:
    said = json.loads(_run([project / _SCRIPT], environ={}).stdout)["env"]
    assert {"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"} <= set(said["PATH"].split(":"))
    assert (said["LANG"], said["PYTHONUTF8"], said["PYTHONUNBUFFERED"]) == ("C.UTF-8", "1", "1")
    assert Path(said["HOME"]).is_absolute()


def test_what_is_set_stays_as_it_is(project: Path) -> None:
    given = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONUNBUFFERED": "x", "HOME": "/somewhere", "PATH": "/opt/a b:/bin"}
    said = json.loads(_run([project / _SCRIPT], environ=given).stdout)["env"]
    assert {name: said[name] for name in given if name != "PATH"} == {n: v for n, v in given.items() if n != "PATH"}
    assert said["PATH"].startswith("/opt/a b:/bin:")
    assert said["PATH"].split(":").count("/bin") == 1
    assert "LANG" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda one: one.name)
def test_a_signal_reaches_the_program_which_has_taken_the_wrappers_place(project: Path, number: signal.Signals) -> None:
    argv = [str(project / _SCRIPT), "--wait"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["pid"] == process.pid
        process.send_signal(number)
        assert process.stdout.readline() == f"{number.name}\n"
        assert process.wait(timeout=_DEADLINE_S) == 1


def _logged(project: Path) -> str:
    (log,) = (project / "logs").glob("startup_*.log")
    assert log.stat().st_mode & 0o777 == 0o600
    return log.read_text()


_BROKEN = [
    ("#!/no/such/interpreter\n", "does not work"),
    ("#!/bin/bash\nexit 2\n", "does not work"),
    ("#!/bin/bash\nkill -9 $$\n", "does not work"),
    ("#!/bin/bash\necho 3.9.2; exit 10\n", "is Python 3.9.2; 3.11 or newer is needed"),
    (_python_with("-I -S"), "lacks packages: dotenv, ib_async, jsonschema, psutil, requests, rich"),
]


@pytest.mark.parametrize(("python", "said"), _BROKEN)
def test_what_is_wrong_before_the_program_runs_ends_in_1_with_a_message_and_a_log(
    project: Path, python: str, said: str
) -> None:
    _write_program(project / ".venv" / "bin" / "python", python)
    done = _run([project / _SCRIPT])
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert said in _logged(project)


def test_a_program_that_cannot_be_run_after_all_ends_in_1(project: Path) -> None:
    python = project / ".venv" / "bin" / "python"
    _write_program(python, f"#!/bin/bash\ncat >/dev/null\nchmod -x {shlex.quote(str(python))}\nexit 0\n")
    done = _run([project / _SCRIPT])
    assert done.returncode == 1
    assert "could not be run" in done.stderr


def test_without_an_environment_of_its_own_it_takes_python3_from_the_path(project: Path, tmp_path: Path) -> None:
    shutil.rmtree(project / ".venv")
    _write_program(tmp_path / "bin" / "python3", _python_with())
    done = _run([project / _SCRIPT], environ={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr


def test_an_environment_that_points_nowhere_counts_as_none(project: Path, tmp_path: Path) -> None:
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/no/such/python")
    _write_program(tmp_path / "bin" / "python3", _python_with("-I -S"))
    done = _run([project / _SCRIPT], environ={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})
    assert done.returncode == 1
    assert "python3 -m venv .venv" in done.stderr


def test_a_copy_outside_of_a_project_says_where_it_belongs(tmp_path: Path) -> None:
    shutil.copy(_PROJECT / _SCRIPT, tmp_path / "copy.sh")
    done = _run([tmp_path / "copy.sh"], environ={"TMPDIR": str(tmp_path)})
    assert done.returncode == 1
    assert "must stay in docker/gateway/scripts" in done.stderr


def test_a_log_that_cannot_be_written_changes_nothing_about_the_end(project: Path) -> None:
    (project / "logs").touch()
    shutil.rmtree(project / ".venv")
    _write_program(project / ".venv" / "bin" / "python", "#!/bin/bash\nexit 2\n")
    done = _run([project / _SCRIPT])
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2


# --- with the program itself -----------------------------------------------------------------------------------------


def test_a_usage_error_of_the_real_program_is_1_and_never_2() -> None:
    done = _run([_PROJECT / _SCRIPT, "--no-such-option"])
    assert (done.returncode, done.stdout) == (1, "")
    assert "--no-such-option" in done.stderr


def test_the_real_program_writes_one_log_when_the_wrapper_runs_it(tmp_path: Path) -> None:
    (tmp_path / "empty.env").touch()
    environ = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": str(tmp_path / "empty.env"),
        "STATE_DIR": str(tmp_path / "state"),
        "LOG_DIR": str(tmp_path / "logs"),
        "GATEWAY_RUNTIME": "external",
        "GATEWAY_PORT": "1",  # nothing listens there
        "GATEWAY_HEALTH_TIMEOUT": "0.2",
        "HEALTH_CHECK_TIMEOUT": "0.2",
    }
    done = _run([_PROJECT / _SCRIPT], cwd=tmp_path, environ=environ)
    assert done.returncode == 1, done.stderr
    (log,) = (tmp_path / "logs").glob("startup_*.log")
    assert "GATEWAY_TIMEOUT" in log.read_text()


@pytest.mark.skipif(_SHELLCHECK is None, reason="shellcheck is not installed")
def test_the_shell_scripts_have_nothing_that_shellcheck_minds() -> None:
    scripts = [
        _SCRIPT,
        *(Path(".ci") / one.name for one in (_PROJECT / ".ci").iterdir() if one.is_file() and not one.suffix),
    ]
    done = _run([str(_SHELLCHECK), *scripts], cwd=_PROJECT)
    assert done.returncode == 0, done.stdout
