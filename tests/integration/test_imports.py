"""Loading the program: every module, on every system, at little cost."""

import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import orchestration
from tests.integration.watch_scene import begin
from tests.system import SIGTERM, System, end_and_read
from tests.thorough import choose_count

_PROJECT = Path(__file__).resolve().parents[2]
_HEAVY = {"ib_async", "requests", "jsonschema", "rich", "fabric", "invoke", "jinja2", "numpy"}

_LOAD = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def _modules() -> list[str]:
    found = [one.name for one in pkgutil.walk_packages(orchestration.__path__, "orchestration.")]
    return [name for name in found if not name.endswith(".__main__")]


def test_every_module_loads_quietly_and_brings_nothing_heavy_along() -> None:
    argv = [sys.executable, "-W", "error", "-c", _LOAD, *_modules()]
    done = subprocess.run(argv, cwd=_PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    loaded = set(json.loads(done.stdout))
    assert "orchestration" in loaded
    assert loaded & _HEAVY == set()


def test_each_module_loads_as_the_first_one() -> None:
    # A circle of imports works or breaks depending on where it is entered. CI enters at each module.
    load_each = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    for loaded in [one for one in sys.modules if one.partition('.')[0] == 'orchestration']:\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
    )
    argv = [sys.executable, "-c", load_each, *_modules()[:: choose_count(usual=16, thorough=1)]]
    done = subprocess.run(argv, cwd=_PROJECT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")


_COMMAND = """
import sys
from invoke.main import program
try:
    program.run(["inv", *sys.argv[1:]])
except SystemExit:
    pass
sys.stderr.write(f"LOADED {sum(one.partition('.')[0] == 'orchestration' for one in sys.modules)}")
"""


@pytest.mark.parametrize("command", ["config", "history"])
def test_a_command_that_only_reads_loads_less_than_a_third_of_the_package(command: str, tmp_path: Path) -> None:
    (tmp_path / "env").touch()
    environ = {"ENV_FILE": str(tmp_path / "env"), "STATE_DIR": str(tmp_path), "LOG_DIR": str(tmp_path)}
    argv = [sys.executable, "-c", _COMMAND, command]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environ}
    done = subprocess.run(argv, cwd=_PROJECT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert 0 < int(done.stderr.rpartition("LOADED ")[2]) < len(_modules()) / 3


# What native Windows lacks, taken away after the standard library has been loaded; `msvcrt` it has, here only in name.
_ON_WINDOWS = """
import asyncio, concurrent.futures, importlib, logging, os, psutil, signal, socket, sqlite3, subprocess, sys
import http.client, json, multiprocessing, tempfile, types, urllib.request, zoneinfo

for name in ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "posix", "syslog", "_posixsubprocess"):
    sys.modules[name] = None
sys.modules["msvcrt"] = types.ModuleType("msvcrt")
posix_only = {
    os: "fork forkpty getsid setsid getpgid killpg waitid geteuid getuid getgid chown fchmod fchown sysconf uname "
        "mkfifo pread pwrite WNOHANG WNOWAIT WEXITED P_PID O_NOFOLLOW O_NONBLOCK O_DIRECTORY O_CLOEXEC statvfs "
        "getloadavg",
    signal: "SIGKILL SIGHUP SIGUSR1 SIGUSR2 SIGCHLD SIGPIPE SIGQUIT pthread_sigmask sigwait set_wakeup_fd pause alarm",
    socket: "AF_UNIX SCM_CREDENTIALS SCM_RIGHTS SO_PASSCRED",
}
for module, names in posix_only.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
sys.platform = "win32"
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_every_module_loads_where_there_is_nothing_of_posix() -> None:
    argv = [sys.executable, "-c", _ON_WINDOWS, *_modules()]
    done = subprocess.run(argv, cwd=_PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


_FOR_ONE_HOST = {
    "orchestration.lease",
    "orchestration.lease.held",
    "orchestration.preflight.lease",
    "orchestration.supervision.lease_loss",
}
_FOR_SEVERAL = re.compile(r"orchestration\.(?:lease\b.*|.*(?:lease|fence|standby|failover).*)")
_WRITE_LOADED = """
import atexit, os, sys
def write():
    with open(f"{os.environ['LOADED']}/{os.getpid()}", "w") as file:
        file.write("\\n".join(sys.modules))
atexit.register(write)
"""


def test_one_host_without_a_lease_loads_and_writes_nothing_for_several(watched: System, tmp_path: Path) -> None:
    """Section 12, L1: a single host is as it was before."""
    folder = tmp_path / "loaded"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_WRITE_LOADED)
    watched.kind = subprocess.Popen
    watched.environ |= {"PYTHONPATH": str(folder), "LOADED": str(folder)}
    process = begin(watched)
    children = [" ".join(one.cmdline()) for one in psutil.Process(process.pid).children(recursive=True)]
    assert end_and_read(process, SIGTERM).code == 0
    loaded = set((folder / str(process.pid)).read_text().split())
    assert "orchestration.supervision.supervisor" in loaded
    assert {one for one in loaded if _FOR_SEVERAL.fullmatch(one)} <= _FOR_ONE_HOST
    assert [one for one in children if "fence" in one] == []
    assert [one.name for one in watched.state.rglob("*") if re.search("lease|fence|standby", one.name)] == []
