"""The door for commands, with real programs."""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestration.settings import Settings
from orchestration.system.commands import CommandNotFoundError, CommandTimedOutError, SystemCommands

_DEADLINE_S = 30.0


def _python(source: str) -> list[str]:
    return [sys.executable, "-u", "-c", source]


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.01)


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_both_streams_and_the_exit_code_come_back() -> None:
    source = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    result = SystemCommands().run(_python(source), timeout_s=_DEADLINE_S)
    assert (result.exit_code, result.stdout, result.stderr, result.ok) == (3, "out\n", "err\n", False)
    assert result.argv[0] == sys.executable
    assert result.last_lines() == ("out", "err")


def test_a_huge_output_on_both_streams_neither_hangs_nor_loses_anything() -> None:
    source = (
        "import sys\n"
        "for _ in range(2000):\n"
        "    sys.stdout.write('o' * 1023 + '\\n')\n"
        "    sys.stderr.write('e' * 1023 + '\\n')"
    )
    result = SystemCommands().run([sys.executable, "-c", source], timeout_s=_DEADLINE_S)
    assert (len(result.stdout), len(result.stderr)) == (2000 * 1024, 2000 * 1024)


def test_output_that_is_not_utf8_is_replaced_and_an_unfinished_line_is_kept() -> None:
    source = "import sys; sys.stdout.buffer.write(b'a\\xffb\\nlast')"
    assert SystemCommands().run(_python(source), timeout_s=_DEADLINE_S).stdout == "a\ufffdb\nlast"


def test_lines_are_handed_on_while_the_program_still_runs(tmp_path: Path) -> None:
    # The program ends only after its first line has been seen: a line kept back would be a time-out.
    seen = tmp_path / "seen"
    source = f"import os, time\nprint('one')\nwhile not os.path.exists({str(seen)!r}): time.sleep(0.01)\nprint('two')"
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        seen.touch()

    SystemCommands().run(_python(source), timeout_s=_DEADLINE_S, on_line=on_line)
    assert lines == ["one", "two"]


def test_the_program_reads_an_end_of_file_and_sees_the_variables_on_top_of_ours(tmp_path: Path) -> None:
    source = "import os, sys; print(repr(sys.stdin.read()), os.environ['X'], 'PATH' in os.environ, os.getcwd())"
    result = SystemCommands().run(_python(source), timeout_s=_DEADLINE_S, cwd=tmp_path, environ={"X": "given"})
    assert result.stdout == f"'' given True {tmp_path}\n"


@pytest.mark.parametrize("environ", [None, {"X": "given"}])
def test_what_the_service_manager_tells_us_is_not_handed_on(
    environ: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "1")
    source = "import os; print([n for n in os.environ if n.startswith(('NOTIFY', 'WATCHDOG'))], 'PATH' in os.environ)"
    assert SystemCommands().run(_python(source), timeout_s=_DEADLINE_S, environ=environ).stdout == "[] True\n"


def test_secrets_are_inherited_by_no_program_unless_it_is_handed_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWS_PASSWORD", "from-the-environment")
    monkeypatch.setenv("VNC_SERVER_PASSWORD", "from-the-environment")
    Settings.load(lenient=True)
    source = "import os; print(os.environ.get('TWS_PASSWORD'), os.environ.get('VNC_SERVER_PASSWORD'))"
    handed = {"TWS_PASSWORD": "handed"}
    assert SystemCommands().run(_python(source), timeout_s=_DEADLINE_S).stdout == "None None\n"
    assert SystemCommands().run(_python(source), timeout_s=_DEADLINE_S, environ=handed).stdout == "handed None\n"


def test_a_missing_program_says_so() -> None:
    with pytest.raises(CommandNotFoundError, match="no-such-program: program not found"):
        SystemCommands().run(["no-such-program", "--x"], timeout_s=1)
    with pytest.raises(CommandNotFoundError):
        SystemCommands().follow(["no-such-program"], on_line=print)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_a_file_that_is_no_program_says_so(tmp_path: Path) -> None:
    plain, broken = tmp_path / "plain", tmp_path / "broken"
    plain.write_text("just text")
    broken.write_bytes(b"\0\1\2")
    broken.chmod(0o700)
    for path in (plain, broken, tmp_path, plain / "below"):
        with pytest.raises(CommandNotFoundError):
            SystemCommands().run([str(path)], timeout_s=1)


def test_a_missing_working_folder_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="working folder"):
        SystemCommands().run(_python("pass"), timeout_s=1, cwd=tmp_path / "nowhere")


_FAMILY = """
import os, subprocess, sys, time
own_group = len(sys.argv) > 1
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0 if own_group else None)
print("child", child.pid, flush=True)
print("me", os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX")
@pytest.mark.parametrize("arguments", [[], ["own-group"]], ids=["one group", "a group of its own"])
def test_a_time_out_ends_the_program_and_its_whole_session_and_keeps_the_last_lines(arguments: list[str]) -> None:
    with pytest.raises(CommandTimedOutError) as caught:
        SystemCommands().run([*_python(_FAMILY), *arguments], timeout_s=3)
    assert [line.split()[0] for line in caught.value.last_lines] == ["child", "me"]
    assert "no end after 3 s" in str(caught.value)
    pids = [int(line.split()[1]) for line in caught.value.last_lines]
    _wait_until(lambda: all(_is_gone(pid) for pid in pids))


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX")
def test_a_time_out_reaches_children_whose_parent_closed_its_output_and_ignores_signals() -> None:
    source = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), flush=True)\n"
        "os.close(1); os.close(2)\n"
        "time.sleep(600)"
    )
    with pytest.raises(CommandTimedOutError) as caught:
        SystemCommands().run(_python(source), timeout_s=1)
    assert _is_gone(int(caught.value.last_lines[0]))


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX")
def test_a_program_that_has_ended_is_not_waited_for_because_of_a_child_it_left_behind() -> None:
    source = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(child.pid)"
    )
    result = SystemCommands().run(_python(source), timeout_s=600)
    left_behind = int(result.stdout)
    assert result.ok
    assert not _is_gone(left_behind)
    os.kill(left_behind, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX")
def test_an_interruption_ends_the_program_and_its_session() -> None:
    class StoppedError(BaseException):
        pass

    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line.split()[1]))
        if len(pids) == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        SystemCommands().run(_python(_FAMILY), timeout_s=_DEADLINE_S, on_line=on_line)
    _wait_until(lambda: all(_is_gone(pid) for pid in pids))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_signal_interrupts_the_wait_for_a_silent_program() -> None:
    class SignalArrived(BaseException):
        pass

    def arrive(_number: int, _frame: object) -> None:
        raise SignalArrived

    before = signal.signal(signal.SIGUSR1, arrive)
    children = set(psutil.Process().children())
    try:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(SignalArrived):
            SystemCommands().run(_python("import time; time.sleep(600)"), timeout_s=_DEADLINE_S)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert set(psutil.Process().children()) <= children


def test_a_followed_program_hands_on_both_streams_until_it_is_closed() -> None:
    lines: list[str] = []
    source = "import sys, time; print('out'); print('err', file=sys.stderr); time.sleep(600)"
    following = SystemCommands().follow(_python(source), on_line=lines.append)
    _wait_until(lambda: len(lines) == 2)
    assert sorted(lines) == ["err", "out"]
    before = following.is_running
    following.close()
    assert (before, following.is_running) == (True, False)
    following.close()


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX keeps a program that has ended to be looked at")
def test_a_followed_program_runs_until_its_last_line_has_been_taken() -> None:
    taken: queue.Queue[str] = queue.Queue()
    may_go_on = threading.Event()

    def take(line: str) -> None:
        taken.put(line)
        may_go_on.wait(_DEADLINE_S)

    following = SystemCommands().follow(_python("import os; print(os.getpid())"), on_line=take)
    process = psutil.Process(int(taken.get(timeout=_DEADLINE_S)))
    _wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert following.is_running
    may_go_on.set()
    _wait_until(lambda: not following.is_running)
    following.close()


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX")
def test_closing_a_followed_program_that_has_ended_ends_what_it_left_in_its_session() -> None:
    lines: list[str] = []
    source = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)"
    )
    following = SystemCommands().follow(_python(source), on_line=lines.append)
    _wait_until(lambda: not following.is_running and bool(lines))
    following.close()
    _wait_until(lambda: _is_gone(int(lines[0])))
