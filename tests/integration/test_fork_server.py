"""A program that was forked from the loaded one cannot be told from one that was started."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import programs
from tests.programs import PROJECT
from tests.system import PATIENCE_S, System

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.environ.get("TEST_FORK_SERVER") == "off", reason="only Linux can fork like this"
)

_PROBE = (sys.executable, "-m", "tests.start_probe")
_ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "STATE_DIR": "/a b/ü", "TZ": "Asia/Tokyo", "EMPTY": ""}
for _name in ("LANG", "LC_ALL", "LC_CTYPE"):
    if _name in os.environ:
        _ENVIRON[_name] = os.environ[_name]

Started = subprocess.Popen[str]
End = tuple[int, str, str]
KINDS: tuple[type[Started], type[Started]] = (programs.Popen, subprocess.Popen)


def _begin(kind: type[Started], words: Sequence[str], **given: Any) -> Started:  # noqa: ANN401 - what Popen takes
    return kind(
        [*_PROBE, *words],
        **{
            "cwd": PROJECT,
            "env": _ENVIRON,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "errors": "replace",
            **given,
        },
    )


def _end(process: Started, text: str | None = None) -> End:
    """Exit code, output, and the last line of what it complains of (a traceback begins with how it was started)."""
    with process:
        out, err = process.communicate(text, timeout=PATIENCE_S)
    return process.returncode, out, (err or "").strip().rpartition("\n")[2]


def _both(*words: str, text: str | None = None, **given: Any) -> tuple[End, End]:  # noqa: ANN401 - what Popen takes
    """What becomes of the probe when it is forked, and when it is started."""
    forked = _begin(programs.Popen, words, **given)
    assert isinstance(forked, programs.Popen)
    assert forked.is_forked
    return _end(forked, text), _end(_begin(subprocess.Popen, words, **given), text)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"start_new_session": True},
        {"process_group": 0},
        {"stdin": None, "stderr": None},
        {"stderr": subprocess.STDOUT},
        {"env": {**_ENVIRON, "PYTHONUNBUFFERED": "1"}},
        {"env": {**_ENVIRON, "MUCH": "x" * 90_000}},
    ],
    ids=str,
)
def test_it_finds_itself_in_the_same_world(given: Mapping[str, Any]) -> None:
    forked, started = (json.loads(out) for _, out, _ in _both("describe", "ä b", "--json", **given))
    differences = {name: (forked[name], started[name]) for name in started if forked[name] != started[name]}
    assert differences == {}
    assert forked["parent"] == os.getpid()
    assert forked["argv"][2].split("\0")[-3:] == ["ä b", "--json", ""]


def test_a_terminal_is_one() -> None:
    kinds = []
    for kind in KINDS:
        ours, its = os.openpty()
        with _begin(kind, ["describe"], stdout=its) as process:
            os.close(its)
            with open(ours, closefd=False, encoding="utf-8") as terminal:
                kinds.append(json.loads(terminal.readline())["streams"])
            process.communicate(timeout=PATIENCE_S)
        os.close(ours)
    assert kinds[0] == kinds[1]
    assert kinds[0][1]["is_a_terminal"]


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("code", 41),
        ("text", 1),
        ("nothing", 0),
        ("fail", 1),
        ("interrupt itself", -signal.SIGINT),
        ("abort", -signal.SIGABRT),
        ("leave at once", 3),
        ("kill itself", -signal.SIGKILL),
        ("raise a signal", -signal.SIGTERM),
        ("hit the main thread", -signal.SIGUSR1),
        ("thread", 0),
        ("children", 0),
        ("no such way", 1),
    ],
)
def test_it_ends_in_the_same_way(way: str, code: int) -> None:
    forked, started = _both(way)
    assert forked == started
    assert forked[0] == code


def test_it_writes_odd_text_as_the_locale_has_it() -> None:
    forked, started = _both("odd text")
    assert forked == started


def test_it_reads_what_it_is_given() -> None:
    for way in ("echo", "echo bytes"):
        forked, started = _both(way, text="one\ntwö\r\n\nthree", stdin=subprocess.PIPE)
        assert forked == started
        assert forked[0] == 0
        assert "twö" in forked[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL, signal.SIGUSR1])
def test_a_signal_has_the_same_effect(number: signal.Signals) -> None:
    ends = []
    for kind in KINDS:
        process = _begin(kind, ["wait"])
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        ends.append(_end(process))
    assert ends[0] == ends[1]
    assert ends[0][0] == -number


@pytest.mark.parametrize("way", ["much", "nothing"])
def test_where_its_output_goes_nowhere_it_fails_alike(way: str) -> None:
    for target in ("/dev/full", "a closed pipe"):
        ends = []
        for kind in KINDS:
            if target == "/dev/full":
                output = os.open(target, os.O_WRONLY)
            else:
                unread, output = os.pipe()
                os.close(unread)
            process = _begin(kind, [way], stdout=output)
            os.close(output)
            ends.append(_end(process))
        assert ends[0] == ends[1], target
        assert (ends[0][0] != 0) is (way == "much")


def test_two_of_them_share_no_chance() -> None:
    said = [_end(_begin(programs.Popen, ["chance"]))[1].split() for _ in range(2)]
    assert said[0][0] != said[1][0]
    assert said[0][1] != said[1][1]


def test_it_is_waited_for_and_found_as_any_child() -> None:
    process = _begin(programs.Popen, ["wait"])
    assert process.stdout is not None
    process.stdout.readline()
    seen = psutil.Process(process.pid)
    assert seen in psutil.Process().children()
    assert seen.cmdline() == [*_PROBE, "wait"]
    assert seen.environ() == _ENVIRON
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert not psutil.pid_exists(process.pid)
    process.communicate()


def test_what_is_special_about_a_start_is_really_started(tmp_path: Path) -> None:
    special: list[tuple[list[str], dict[str, Any]]] = [
        ([sys.executable, "-c", "print(1)"], {}),
        ([sys.executable, "-W", "error", "-m", "invoke", "--version"], {}),
        ([sys.executable, "-m", "json.tool", "--help"], {}),
        ([*_PROBE, "nothing"], {"env": {**_ENVIRON, "PYTHONWARNINGS": "error"}}),
        ([*_PROBE, "nothing"], {"env": {**_ENVIRON, "LC_ALL": "POSIX"}}),
        ([*_PROBE, "nothing"], {"env": {**_ENVIRON, "PYTHONPATH": str(PROJECT)}, "cwd": tmp_path}),
        ([*_PROBE, "nothing"], {"umask": 0o077}),
        ([*_PROBE, "nothing"], {"pass_fds": (0,)}),
        ([*_PROBE, "nothing"], {"preexec_fn": lambda: None}),
        (["env", *_PROBE, "nothing"], {}),
    ]
    for argv, given in special:
        with programs.Popen(
            argv, **{"cwd": PROJECT, "env": _ENVIRON, "stdout": subprocess.DEVNULL, "text": True, **given}
        ) as process:
            assert not process.is_forked, argv
            assert process.wait(PATIENCE_S) == 0, argv


def test_a_program_that_is_not_there_is_refused_by_the_interpreter() -> None:
    argv = [sys.executable, "-m", "orchestration.no_such_program"]
    forked, started = (
        programs.run(argv, timeout=PATIENCE_S),
        subprocess.run(argv, cwd=PROJECT, text=True, capture_output=True, check=False),
    )
    assert (forked.returncode, forked.stderr) == (started.returncode, started.stderr)
    assert "No module named" in forked.stderr


def test_the_commands_themselves_say_the_same(system: System) -> None:
    system.use_plan()
    for line in ("invoke --list", "invoke config", "invoke nonsense", "orchestration.startup --nonsense"):
        argv = [sys.executable, "-m", *line.split()]
        forked = programs.run(argv, env=system.environ, timeout=PATIENCE_S)
        started = subprocess.run(argv, cwd=PROJECT, env=system.environ, text=True, capture_output=True, check=False)
        assert (forked.returncode, forked.stdout, forked.stderr) == (
            started.returncode,
            started.stdout,
            started.stderr,
        ), line


def _is_fork_server(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # a child of an earlier test that has ended
        return process.cmdline()[1:3] == ["-m", "tests.fork_server"]
    return False


def test_a_server_that_has_died_fails_one_start_and_not_those_after_it() -> None:
    assert _end(_begin(programs.Popen, ["describe"]))[0] == 0
    (server,) = (child for child in psutil.Process().children() if _is_fork_server(child))
    server.kill()
    server.wait(PATIENCE_S)
    with pytest.raises(programs.ForkServerError):
        _begin(programs.Popen, ["describe"])
    after = _begin(programs.Popen, ["describe"])
    assert isinstance(after, programs.Popen)
    assert after.is_forked
    assert _end(after)[0] == 0
