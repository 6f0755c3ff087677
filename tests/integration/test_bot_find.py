"""Which process is this instance's bot, and which is not: real processes."""

import contextlib
import dataclasses
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orchestration.bot.find import FoundBy, find_bot
from orchestration.bot.members import note_workers
from orchestration.bot.record import BotRecord, ReadyBy, build_record_path, write_record
from orchestration.bot.stop import stop_bot
from orchestration.errors import FailureWord, StartupFailure
from orchestration.settings import Settings
from orchestration.system.process_table import read_argv, read_birth_of_child, read_environ, read_state
from orchestration.system.processes import ProcessIdentity, is_running, read_identity
from tests.integration.bot_scene import BOT, NOW, build_scene, launch, read_children, read_log, wait_until
from tests.system import System


def _wait_for_arguments(pid: int) -> None:
    """Popen returns while the program is being executed; its arguments are shown a moment later, or it has ended."""
    wait_until(lambda: bool(read_argv(pid)) or read_state(pid) == "Z", "its arguments are shown")


@contextlib.contextmanager
def _started(argv: Sequence[str], *, cwd: Path, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that another program started; it is known by its arguments from here on, and ended afterwards."""
    environ = {name: value for name, value in os.environ.items() if name not in {"INSTANCE", "BOT_RECORD"}}
    with subprocess.Popen(
        list(argv), cwd=cwd, env={**environ, **variables}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            _wait_for_arguments(process.pid)
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # with what it started


def _write_launch(settings: Settings, log: Path) -> BotRecord:
    launched = BotRecord(
        instance=settings.instance, argv=settings.bot_command, workdir=settings.bot_workdir,
        log=log, gameplan=settings.state_dir / "plan.json", strategy="A",
        gameplan_sha256="0" * 64, started_at=NOW, run_id="run-0",
    )  # fmt: skip
    write_record(build_record_path(settings), launched)
    return launched


def _forge_record(settings: Settings, identity: ProcessIdentity) -> None:
    launched = _write_launch(settings, settings.log_dir / "bot.log")
    record = dataclasses.replace(launched, process=identity, ready_by=ReadyBy.GRACE)
    write_record(build_record_path(settings), record)


def test_a_bot_started_by_hand_is_found_by_its_command_folder_and_instance(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--print", "hello")
    python = str(Path(sys.executable).with_name("python3"))
    argv = [python, "-u", os.path.relpath(BOT, settings.bot_workdir), "--print", "hello", "--more"]
    with _started(argv, cwd=settings.bot_workdir) as process:
        found = find_bot(settings)
        assert found.is_found
        assert (found.pid, found.how, found.record) == (process.pid, FoundBy.BY_COMMAND, None)
        assert 0 <= found.uptime_s < 60
        outcome = stop_bot(settings, found, timeout_s=30)
        assert outcome.was_running
        assert outcome.is_gone
    assert not find_bot(settings).is_found


def test_a_bot_of_another_instance_or_another_checkout_is_not_this_one(tmp_path: Path) -> None:
    settings = build_scene(tmp_path)
    elsewhere = tmp_path / "another checkout"
    elsewhere.mkdir()
    with (
        _started(settings.bot_command, cwd=settings.bot_workdir, INSTANCE="paper2"),
        _started(settings.bot_command, cwd=elsewhere),
    ):
        assert not find_bot(settings).is_found
        with _started(settings.bot_command, cwd=settings.bot_workdir, INSTANCE="default") as process:
            found = find_bot(settings)
            assert found.is_found
            assert found.pid == process.pid


def test_a_bot_by_hand_without_an_instance_belongs_to_the_default_instance_only(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, INSTANCE="paper2")
    with _started(settings.bot_command, cwd=settings.bot_workdir):
        assert not find_bot(settings).is_found
    with _started(settings.bot_command, cwd=settings.bot_workdir, INSTANCE="paper2") as process:
        found = find_bot(settings)
        assert found.is_found
        assert found.pid == process.pid


def test_what_merely_mentions_the_bot_is_not_the_bot(tmp_path: Path) -> None:
    settings = build_scene(tmp_path)
    script = settings.bot_workdir / "bot.py"
    script.write_text("import time; time.sleep(300)")
    log = settings.bot_workdir / "bot.log"
    log.touch()
    settings = dataclasses.replace(settings, bot_command=(sys.executable, "bot.py"))
    others = [
        ("tail", "-f", "bot.py"),
        ("grep", "-r", "bot.py", "-"),
        ("sh", "-c", f"sleep 300; {sys.executable} bot.py"),
        (sys.executable, "-c", "import time; time.sleep(300)", "bot.py"),
        (sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1", "bot.py"),
        ("sleep", "300", "bot.py"),
    ]
    if editor := shutil.which("vim.tiny") or shutil.which("vi"):
        others.append((editor, "bot.py"))
    with contextlib.ExitStack() as stack:
        for argv in others:
            stack.enter_context(_started(argv, cwd=settings.bot_workdir))
        assert not find_bot(settings).is_found
        process = stack.enter_context(_started(settings.bot_command, cwd=settings.bot_workdir))
        found = find_bot(settings)
        assert found.is_found
        assert found.pid == process.pid


def test_a_script_that_is_run_by_its_first_line_is_the_same_bot(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, command="./bot")
    script = settings.bot_workdir / "bot"
    script.write_text(f"#!{sys.executable} -u\nimport time; time.sleep(300)\n")
    script.chmod(0o755)
    with _started(["./bot"], cwd=settings.bot_workdir) as process:
        found = find_bot(settings)
        assert found.is_found
        assert found.pid == process.pid


def test_a_pid_that_another_process_has_now_is_not_the_bot(tmp_path: Path) -> None:
    settings = build_scene(tmp_path)
    with _started(["sleep", "300"], cwd=tmp_path) as stranger:
        identity = read_identity(stranger.pid)
        assert identity is not None
        boot, _, ticks = identity.birth.rpartition(":")
        for birth in (f"{boot}:{int(ticks) - 1}", f"another-boot:{ticks}"):
            _forge_record(settings, ProcessIdentity(pid=stranger.pid, birth=birth))
            assert not find_bot(settings).is_found
        _forge_record(settings, identity)
        found = find_bot(settings)
        assert found.is_found
        assert found.how is FoundBy.RECORDED


def test_a_bot_that_has_ended_but_was_not_collected_does_not_run(tmp_path: Path) -> None:
    settings = build_scene(tmp_path)
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        wait_until(lambda: " Z " in Path(f"/proc/{zombie.pid}/stat").read_text(), "it is a zombie")
        ticks = Path(f"/proc/{zombie.pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        _forge_record(settings, ProcessIdentity(pid=zombie.pid, birth=f"{boot}:{ticks}"))
        assert not find_bot(settings).is_found


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"pid": 0}', b"\xff\xfe", None])
def test_a_bot_whose_record_is_lost_or_damaged_is_found_by_its_marker(tmp_path: Path, damage: bytes | None) -> None:
    settings = build_scene(tmp_path, "--notify", "READY=1")
    bot = launch(settings)
    path = build_record_path(settings)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    found = find_bot(settings)
    assert found.is_found
    assert (found.pid, found.how) == (bot.pid, FoundBy.MARKED)
    assert stop_bot(settings, found, timeout_s=30).is_gone


def test_a_launch_that_was_cut_short_between_fork_and_exec_is_found_by_its_log(tmp_path: Path) -> None:
    # At that instant a process has neither the bot's arguments nor its environment, only its output.
    settings = build_scene(tmp_path)
    settings.log_dir.mkdir()
    log = settings.log_dir / "bot_20261118_090000.log"
    with log.open("wb") as output, subprocess.Popen(["sleep", "300"], stdout=output) as unfinished:
        try:
            assert not find_bot(settings).is_found
            _write_launch(settings, log)
            found = find_bot(settings)
            assert found.is_found
            assert (found.pid, found.how) == (unfinished.pid, FoundBy.RECORDED)
            assert found.record is not None
            assert (found.record.pid, found.record.ready_by) == (unfinished.pid, None)
            stop_bot(settings, found, timeout_s=30)
        finally:
            unfinished.kill()
    assert not find_bot(settings).is_found


def test_who_merely_reads_the_log_of_a_launch_that_was_cut_short_is_not_the_bot(tmp_path: Path) -> None:
    settings = build_scene(tmp_path)
    settings.log_dir.mkdir()
    log = settings.log_dir / "bot_20261118_090000.log"
    log.touch()
    _write_launch(settings, log)
    with _started(["tail", "-f", str(log)], cwd=tmp_path):
        assert not find_bot(settings).is_found


def test_what_a_dead_bot_left_behind_counts_as_running_and_is_ended_by_a_stop(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--spawn", "--spawn-daemon", "--notify", "READY=1")
    bot = launch(settings)
    os.kill(bot.pid, 9)
    wait_until(lambda: not is_running(bot.record.identity), "the bot is dead")
    presence = find_bot(settings)
    children = read_children(settings)
    assert presence.is_found
    assert presence.pid in children
    assert presence.how is FoundBy.MARKED
    assert presence.record == bot.record
    assert str(bot.pid) in presence.detail
    stop_bot(settings, presence, timeout_s=5)
    assert [pid for pid in children if read_identity(pid) is not None] == []
    assert not find_bot(settings).is_found


_WORKERS = ("bare", "session", "silent", "fork")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("flags", [(), ("--retitle",)])
@pytest.mark.parametrize("kind", _WORKERS)
def test_a_worker_that_has_cut_its_ties_is_what_is_left_of_the_bot(
    tmp_path: Path, kind: str, flags: tuple[str, ...]
) -> None:
    settings = build_scene(tmp_path, *flags, "--worker", kind, "--notify", "READY=1")
    bot = launch(settings)
    wait_until(lambda: len(read_children(settings)) == 1, "the worker has said its pid")
    note_workers(settings, bot.record)  # a supervisor does it with each look
    (worker,) = read_children(settings)
    assert "BOT_RECORD" not in read_environ(worker) or kind == "fork"
    os.kill(bot.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(bot.record.identity), "the bot is dead")
    presence = find_bot(settings)
    assert presence.is_found
    assert (presence.pid, presence.left_of_pid) == (worker, bot.pid)
    assert presence.record == bot.record
    assert f"what is left of process {bot.pid}: process {worker}" in presence.detail
    with pytest.raises(StartupFailure) as refused:
        launch(settings)
    assert refused.value.word is FailureWord.BOT_ALREADY_RUNNING
    assert f"what is left of process {bot.pid}" in refused.value.message
    outcome = stop_bot(settings, presence, timeout_s=30)
    assert (outcome.was_running, outcome.in_time, outcome.is_gone) == (True, True, True)
    assert read_identity(worker) is None
    assert not find_bot(settings).is_found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_stop_ends_every_worker_whatever_ties_it_has_cut(tmp_path: Path) -> None:
    workers = [word for kind in _WORKERS for word in ("--worker", kind)]
    settings = build_scene(tmp_path, "--retitle", *workers, "--notify", "READY=1")
    launch(settings)
    wait_until(lambda: len(read_children(settings)) == len(_WORKERS), "all workers have said their pids")
    assert stop_bot(settings, find_bot(settings), timeout_s=30).is_gone
    assert [pid for pid in read_children(settings) if read_identity(pid) is not None] == []
    assert not find_bot(settings).is_found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("workdir", ["work", "."])
def test_a_bot_without_record_and_marker_is_found_by_its_log_and_its_folder(tmp_path: Path, workdir: str) -> None:
    settings = build_scene(tmp_path, "--retitle", "--notify", "READY=1")
    bot = launch(settings)
    build_record_path(settings).unlink()
    asked = dataclasses.replace(settings, bot_workdir=tmp_path / workdir)
    found = find_bot(asked)
    assert (found.pid if found.is_found else None) == (bot.pid if workdir == "work" else None)
    assert stop_bot(settings, find_bot(settings), timeout_s=30).is_gone
    assert not is_running(bot.record.identity)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_who_looks_at_the_bots_log_or_writes_beside_it_is_not_what_is_left_of_it(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--notify", "READY=1")
    bot = launch(settings)
    assert bot.log is not None
    os.kill(bot.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(bot.record.identity), "the bot is dead")
    beside = bot.log.with_name("notes.log")
    with contextlib.ExitStack() as others:
        others.enter_context(_started(["tail", "-f", str(bot.log)], cwd=settings.bot_workdir))
        others.enter_context(_started(["sh", "-c", f"exec sleep 300 3>>'{bot.log}'"], cwd=settings.bot_workdir))
        others.enter_context(_started(["sh", "-c", f"exec sleep 300 >'{beside}'"], cwd=settings.bot_workdir))
        others.enter_context(_started(["sh", "-c", f"exec sleep 300 1<'{bot.log}'"], cwd=settings.bot_workdir))
        assert not find_bot(settings).is_found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_session_of_another_boot_or_of_another_leader_holds_nothing_of_the_bot(tmp_path: Path) -> None:
    settings = build_scene(tmp_path)
    # The leader of a session ends, and a member stays: what every daemon looks like.
    leader = subprocess.Popen(["sh", "-c", "sleep 300 & echo $!"], stdout=subprocess.PIPE, start_new_session=True)
    assert leader.stdout is not None
    member = int(leader.stdout.readline())
    boot, _, ticks = read_birth_of_child(leader.pid).rpartition(":")
    leader.wait()
    try:
        for birth in (f"another-boot:{ticks}", f"{boot}:{int(ticks) + 1000}"):
            _forge_record(settings, ProcessIdentity(pid=leader.pid, birth=birth))
            assert not find_bot(settings).is_found
        _forge_record(settings, ProcessIdentity(pid=leader.pid, birth=f"{boot}:{ticks}"))
        found = find_bot(settings)
        assert found.is_found
        assert found.pid == member
    finally:
        os.kill(member, signal.SIGKILL)
        leader.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("record", ["kept", "lost"])
def test_a_bot_whose_main_thread_has_ended_while_another_works_runs(tmp_path: Path, record: str) -> None:
    settings = build_scene(tmp_path, "--end-main-thread", "--notify", "READY=1")
    bot = launch(settings)
    wait_until(lambda: "State:\tZ" in Path(f"/proc/{bot.pid}/status").read_text(), "its main thread has ended")
    assert is_running(bot.record.identity)
    if record == "lost":
        build_record_path(settings).unlink()
    found = find_bot(settings)
    assert found.is_found
    assert (found.pid, found.left_of_pid) == (bot.pid, None)
    with pytest.raises(StartupFailure) as refused:
        launch(settings)
    assert refused.value.word is FailureWord.BOT_ALREADY_RUNNING
    assert stop_bot(settings, found, timeout_s=30).in_time
    assert read_identity(bot.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_bot_by_hand_whose_main_thread_has_ended_is_found_by_its_command(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--end-main-thread")
    with _started(settings.bot_command, cwd=settings.bot_workdir) as process:
        wait_until(lambda: "State:\tZ" in Path(f"/proc/{process.pid}/status").read_text(), "its main thread has ended")
        found = find_bot(settings)
        assert found.is_found
        assert (found.pid, found.how) == (process.pid, FoundBy.BY_COMMAND)


def test_the_state_folder_may_be_named_through_a_link(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--notify", "READY=1")
    bot = launch(settings)
    try:
        (tmp_path / "link").symlink_to(settings.state_dir)
        build_record_path(settings).unlink()
        found = find_bot(dataclasses.replace(settings, state_dir=tmp_path / "link"))
        assert found.is_found
        assert found.pid == bot.pid
    finally:
        assert stop_bot(settings, find_bot(settings), timeout_s=30).is_gone


_NOBODY, _SOMEBODY = 65534, 54321
_NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's process")


@contextlib.contextmanager
def _started_by(user_id: int, argv: Sequence[str], *, cwd: Path, **variables: str) -> Iterator[int]:
    with subprocess.Popen(
        list(argv), cwd=cwd, env={"PATH": os.environ["PATH"], **variables}, user=user_id, group=user_id,
        extra_groups=[], start_new_session=True,
    ) as process:  # fmt: skip
        try:
            _wait_for_arguments(process.pid)
            yield process.pid
        finally:
            process.kill()


def _ask_as(user_id: int, folder: Path, command: tuple[str, ...]) -> str:
    """What a user who may not look at other users' processes finds."""
    ask = (
        "import dataclasses, os, sys; from pathlib import Path\n"
        "from tests.integration.bot_scene import build_scene\n"
        "from orchestration.bot.find import find_bot\n"
        f"settings = dataclasses.replace(build_scene(Path({str(folder)!r})), bot_command={command!r})\n"
        f"os.setgroups([]); os.setgid({user_id}); os.setuid({user_id})\n"
        "presence = find_bot(settings)\n"
        "print(presence.is_found, presence.is_unknown, [one.pid for one in presence.look_alikes], presence.detail)\n"
    )
    project = Path(__file__).parents[2]
    asked = subprocess.run(
        [sys.executable, "-c", ask], cwd=project, capture_output=True, text=True, check=False, timeout=60
    )
    assert asked.returncode == 0, asked.stderr
    return asked.stdout


@_NEEDS_ROOT
def test_a_process_of_root_with_the_bots_command_that_may_not_be_looked_at_leaves_it_unknown(tmp_path: Path) -> None:
    settings = build_scene(tmp_path)
    command = ("sleep", "301")
    with _started(command, cwd=settings.bot_workdir) as process:
        said = _ask_as(_NOBODY, tmp_path, command)
        assert said.startswith("False True []"), said
        assert str(process.pid) in said


@_NEEDS_ROOT
def test_another_users_process_with_the_bots_command_is_a_look_alike_and_nothing_more(tmp_path: Path) -> None:
    settings = dataclasses.replace(build_scene(tmp_path), bot_command=("sleep", "302"))
    open_to_all(settings.bot_workdir)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    with (
        _started_by(_SOMEBODY, settings.bot_command, cwd=settings.bot_workdir) as pid,
        _started_by(_SOMEBODY, settings.bot_command, cwd=elsewhere) as other,
    ):
        presence = find_bot(settings)
        assert (presence.is_found, presence.is_unknown) == (False, False)
        assert [one.pid for one in presence.look_alikes] == [pid], "the folder of the other one is seen, and another"
        assert presence.look_alikes[0].user == str(_SOMEBODY)
        assert _ask_as(_NOBODY, tmp_path, settings.bot_command).startswith(f"False False {sorted([pid, other])}")


@_NEEDS_ROOT
def test_another_users_process_that_claims_to_be_the_bot_is_not_believed(tmp_path: Path) -> None:
    settings = build_scene(tmp_path)
    marker = str(build_record_path(settings))
    with _started_by(_SOMEBODY, ["sleep", "303"], cwd=Path("/"), BOT_RECORD=marker):
        assert not find_bot(settings).is_found
    with _started(["sleep", "303"], cwd=Path("/"), BOT_RECORD=marker) as process:
        found = find_bot(settings)
        assert found.is_found
        assert found.pid == process.pid


@_NEEDS_ROOT
@pytest.mark.parametrize("owner", ["state", "workdir", "sudo", "connection"])
def test_a_bot_by_hand_of_a_user_who_has_to_do_with_this_instance_is_the_bot(tmp_path: Path, owner: str) -> None:
    settings = dataclasses.replace(build_scene(tmp_path), bot_command=("sleep", "304"))
    open_to_all(settings.bot_workdir)
    settings.state_dir.mkdir()
    with contextlib.ExitStack() as stack:
        if owner == "connection":
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = server.getsockname()[1]
            settings = dataclasses.replace(settings, gateway_port=port)
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.set_inheritable(True)
            process = stack.enter_context(
                subprocess.Popen(
                    settings.bot_command, cwd=settings.bot_workdir, user=_SOMEBODY, group=_SOMEBODY, extra_groups=[],
                    pass_fds=[client.fileno()],
                )
            )  # fmt: skip
            stack.callback(process.kill)
            pid = process.pid
        else:
            pid = stack.enter_context(_started_by(_SOMEBODY, settings.bot_command, cwd=settings.bot_workdir))
            assert not find_bot(settings).is_found
        if owner == "state":
            os.chown(settings.state_dir, _SOMEBODY, -1)
        if owner == "workdir":
            os.chown(settings.bot_workdir, _SOMEBODY, -1)
        if owner == "sudo":
            settings = dataclasses.replace(settings, environ={**settings.environ, "SUDO_UID": str(_SOMEBODY)})
        found = find_bot(settings)
        assert found.is_found
        assert (found.pid, found.how) == (pid, FoundBy.BY_COMMAND)


@_NEEDS_ROOT
def test_a_start_beside_a_look_alike_warns_of_it_and_goes_on(system: System) -> None:
    script = system.root / "bot.sh"
    script.write_text("trap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n", encoding="utf-8")
    system.environ |= {"BOT_COMMAND": f"sh '{script}'", "BOT_WORKDIR": str(system.root), "BOT_START_GRACE": "0.5"}
    open_to_all(system.root)
    with _started_by(_SOMEBODY, ["sh", str(script)], cwd=system.root) as pid:
        checks = system.inv("preflight", "--json").document["checks"]
        (found,) = [one for one in checks if f"process {pid} of user {_SOMEBODY}" in one["detail"]]
        assert (found["status"], found["failure"]) == ("warn", None)
        assert [one["found_by"] for one in checks if one["name"] == "bot not running"] == [None]
        started = system.startup()
        assert started.document["failure"] is None, started.err
        assert str(pid) in started.err
        bot = started.document["bot"]["pid"]
        again = system.inv("preflight", "--json").document["checks"]
        assert [one["found_by"] for one in again if one["name"] == "bot not running"] == ["recorded"]
        assert system.inv("shutdown").code == 0
        assert read_identity(pid) is not None
        assert read_identity(bot) is None


def open_to_all(folder: Path) -> None:
    """Let every user enter this folder, and those above it that pytest made."""
    for one in (folder, *folder.parents):
        if one.name.startswith("pytest-of-") or one == Path(tempfile.gettempdir()):
            break
        one.chmod(0o755)
    Path(tempfile.gettempdir(), f"pytest-of-{getpass.getuser()}").chmod(0o755)


def test_a_bot_that_ignores_sigterm_is_killed_after_its_time_with_all_it_started(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--ignore-sigterm", "--spawn", "--spawn-daemon", "--notify", "READY=1")
    bot = launch(settings)
    started_s = time.monotonic()
    said: list[str] = []
    outcome = stop_bot(settings, find_bot(settings), timeout_s=0.5, on_progress=said.append)
    assert time.monotonic() - started_s >= 0.5
    assert (outcome.was_running, outcome.in_time, outcome.is_gone, outcome.pid) == (True, False, True, bot.pid)
    assert said
    assert not is_running(bot.record.identity)
    assert [pid for pid in read_children(settings) if read_identity(pid) is not None] == []
    assert "stopping gracefully" not in read_log(settings)


def test_stopping_what_does_not_run_forgets_a_dead_bots_record(tmp_path: Path) -> None:
    settings = build_scene(tmp_path)
    _forge_record(settings, ProcessIdentity(pid=99999999, birth="another-boot:1"))
    outcome = stop_bot(settings, find_bot(settings), timeout_s=5)
    assert (outcome.was_running, outcome.in_time, outcome.is_gone, outcome.pid) == (False, True, True, None)
    assert not build_record_path(settings).exists()


@pytest.mark.skipif(not Path("/proc/self/exe").exists(), reason="needs Linux's /proc")
def test_a_process_whose_program_is_a_link_that_has_ended_is_not_the_bot_and_stops_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        # Not waited for yet: the link is still listed, and can no longer be read.
        link = f"/proc/{ended.pid}/exe"
        wait_until(lambda: not _can_be_read(link), "the end of the process")
        settings = dataclasses.replace(build_scene(tmp_path), bot_command=("/opt/bot/bin/trader",))
        with _renamed_process(link, cwd=tmp_path):
            assert not find_bot(settings).is_found


def _can_be_read(link: str) -> bool:
    try:
        Path(link).readlink()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _renamed_process(name: str, *, cwd: Path) -> Iterator[None]:
    """A process that calls itself by this name."""
    with subprocess.Popen([name, "60"], executable="/bin/sleep", cwd=cwd) as process:
        try:
            yield
        finally:
            process.kill()
