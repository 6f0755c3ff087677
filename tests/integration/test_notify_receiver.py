"""The sd_notify receiver against clients that are not ours, and against what a socket may bring."""

import array
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.bot.find import find_bot
from orchestration.bot.notifier import Notifier
from orchestration.bot.notify import NotifyReceiver, PeerCredentials, open_notify_receiver
from orchestration.bot.record import BotRecord, ReadyBy
from orchestration.bot.stop import stop_bot
from orchestration.bot.up import wait_until_up
from orchestration.bot.watch import BotWatch
from orchestration.errors import StartupFailure
from orchestration.system.clock import SystemClock
from orchestration.system.processes import ProcessIdentity
from tests.integration.bot_scene import build_scene, launch, read_log, wait_until
from tests.system import PATIENCE_S

needs_systemd_notify = pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="systemd-notify is not here")


@contextlib.contextmanager
def _open(folder: Path) -> Iterator[NotifyReceiver]:
    receiver = open_notify_receiver(folder)
    assert receiver is not None
    try:
        yield receiver
    finally:
        receiver.close()


def _send(path: Path, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(str(path))
        for datagram in datagrams:
            client.send(datagram)


def _receive(receiver: NotifyReceiver, *, now_s: float = 0.0) -> None:
    receiver.receive(is_from_bot=lambda _: True, now_s=now_s)


def _is_ready(receiver: NotifyReceiver) -> bool:
    return receiver.is_ready


def test_the_python_client_sdnotify_is_heard_from_a_real_bot(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--sdnotify", BOT_START_GRACE="3600")
    bot = launch(settings)
    assert bot.ready_by is ReadyBy.NOTIFY
    assert bot.status_text == "warming up"
    assert bot.watchdog_at_s is not None
    assert stop_bot(settings, find_bot(settings), timeout_s=30).is_gone


@needs_systemd_notify
@pytest.mark.parametrize("words", ["--ready --status=by_systemd", "--no-block --ready --status=by_systemd"])
def test_systemd_notify_is_heard_from_a_real_bot_and_does_not_hang(tmp_path: Path, words: str) -> None:
    settings = build_scene(tmp_path, "--systemd-notify", words, BOT_START_GRACE="3600")
    bot = launch(settings)
    assert bot.ready_by is ReadyBy.NOTIFY
    assert bot.status_text == "by_systemd"
    wait_until(lambda: "systemd-notify returned" in read_log(settings), "systemd-notify is through")
    assert stop_bot(settings, find_bot(settings), timeout_s=30).is_gone


@needs_systemd_notify
def test_the_barrier_of_systemd_notify_ends_while_the_bot_is_not_ready_yet(tmp_path: Path) -> None:
    # By default it waits until its descriptor is closed: a receiver that keeps it would hang the bot's own start.
    settings = build_scene(tmp_path, "--systemd-notify=--status=one", "--systemd-notify=--ready")
    bot = launch(settings)
    assert bot.ready_by is ReadyBy.NOTIFY
    assert bot.status_text == "one"
    assert stop_bot(settings, find_bot(settings), timeout_s=30).is_gone


def test_a_shell_bots_systemd_notify_is_heard_although_its_sender_is_a_child(tmp_path: Path) -> None:
    if shutil.which("systemd-notify") is None:
        pytest.skip("systemd-notify is not here")
    settings = build_scene(tmp_path, command="sh -c 'systemd-notify --ready; exec sleep 300'", BOT_ARGUMENTS="none")
    bot = launch(settings)
    assert bot.ready_by is ReadyBy.NOTIFY
    assert stop_bot(settings, find_bot(settings), timeout_s=30).is_gone


_STRANGER = """
import socket, sys, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
    client.sendto(b"READY=1", sys.argv[1])
print("said", flush=True)
time.sleep(300)
"""


def test_a_stranger_cannot_speak_for_the_bot(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--notify", "STATUS=starting", BOT_START_GRACE="1.5")

    def interfere(said: str) -> None:
        if "starting" in said and not strangers:
            argv = [sys.executable, "-c", _STRANGER, str(settings.state_dir / "notify.sock")]
            stranger = subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE)
            strangers.append(stranger)
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == b"said\n"

    strangers: list[subprocess.Popen[bytes]] = []
    try:
        bot = launch(settings, interfere)
        assert strangers
        assert bot.ready_by is ReadyBy.GRACE
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.communicate()
        assert stop_bot(settings, find_bot(settings), timeout_s=30).is_gone


def test_garbage_is_ignored_and_what_follows_it_is_heard(tmp_path: Path) -> None:
    with _open(tmp_path) as receiver:
        _send(
            receiver.path,
            b"",
            b"\xff\xfeREADY=1",
            b"READY",
            b"READY=0\nREADY=yes",
            b"\0" * 4096,
            b"=1\n==\nX=" + b"y" * 99,
        )
        _receive(receiver)
        assert not _is_ready(receiver)
        _send(receiver.path, b"X=" + b"y" * 5000 + b"\nREADY=1")
        _receive(receiver)
        assert not _is_ready(receiver), "longer than the protocol allows"
        _send(receiver.path, b"STATUS=a\nWATCHDOG=1\nREADY=1\nEXTEND_TIMEOUT_USEC=1", b"STATUS=b\x1b[2J\tc")
        _receive(receiver, now_s=7.0)
        assert receiver.is_ready
        assert receiver.status == "b    c"
        assert receiver.watchdog_at_s == 7.0


def test_descriptors_that_are_passed_along_are_closed(tmp_path: Path) -> None:
    with _open(tmp_path) as receiver, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        before = len(list(Path("/proc/self/fd").iterdir()))
        theirs, ours = os.pipe()
        client.connect(str(receiver.path))
        client.sendmsg([b"FDSTORE=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [ours] * 40))])
        os.close(ours)
        _receive(receiver)
        assert os.read(theirs, 1) == b"", "the last copy of the writing end is closed"
        os.close(theirs)
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_socket_that_was_left_behind_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
        stale.bind(str(tmp_path / "notify.sock"))
    with _open(tmp_path) as receiver:
        assert receiver.path == tmp_path / "notify.sock"
        Notifier({"NOTIFY_SOCKET": str(receiver.path)}).say(READY="1", STATUS="two\nlines")
        _receive(receiver)
        assert receiver.is_ready
        assert receiver.status == "two lines"
    assert not (tmp_path / "notify.sock").exists()
    (tmp_path / "notify.sock").write_text("precious")
    with _open(tmp_path) as receiver:
        assert receiver.path.parent != tmp_path
    assert (tmp_path / "notify.sock").read_text() == "precious"


def test_a_state_folder_that_is_too_long_for_a_socket_gets_a_short_private_one(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    with _open(deep) as receiver:
        assert len(os.fsencode(receiver.path)) <= 107
        assert receiver.path.parent.stat().st_mode & 0o077 == 0
        first = receiver.path
        _send(receiver.path, b"READY=1")
        _receive(receiver)
        assert receiver.is_ready
    assert not first.parent.exists()
    with _open(deep) as receiver:
        assert receiver.path == first, "a later receiver takes the same place"


def test_a_bot_in_a_long_state_folder_is_heard(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--sdnotify", BOT_START_GRACE="3600", STATE_DIR=str(tmp_path / ("s" * 120)))
    assert launch(settings).ready_by is ReadyBy.NOTIFY
    assert stop_bot(settings, find_bot(settings), timeout_s=30).is_gone


def test_no_client_minds_that_nothing_listens(tmp_path: Path) -> None:
    with _open(tmp_path) as receiver:
        notifier = Notifier({"NOTIFY_SOCKET": str(receiver.path)})
        for _ in range(2000):  # far more than a socket's queue holds: a full one is not waited for
            notifier.say(WATCHDOG="1")
    notifier.say(READY="1")
    Notifier({}).say(READY="1")


class _EndsWhileItIsLookedAt:
    """A `Started` whose bot says its last words after it was listened to, and then has ended."""

    log_hint = "its log"

    def __init__(self, path: Path, record: BotRecord) -> None:
        self._path = path
        self.record = record

    def poll_exit_code(self) -> int | None:
        _send(self._path, b"STATUS=no such account\nERRNO=2")
        return 3

    def wait(self, *, timeout_s: float, or_readable: int | None = None) -> None:
        raise AssertionError((timeout_s, or_readable))

    def is_heard(self, sender: PeerCredentials) -> bool:
        return sender.pid == os.getpid()

    def read_last_lines(self, count: int) -> tuple[str, ...]:
        return ("",) * count

    def read_connection(self) -> bool | None:
        return None

    def describe_leftover(self) -> str:
        return ""


def _build_record(folder: Path) -> BotRecord:
    return BotRecord(
        instance="default",
        argv=("bot",),
        workdir=folder,
        log=folder / "bot.log",
        gameplan=folder / "plan.json",
        strategy="A",
        gameplan_sha256="0" * 64,
        started_at=datetime.now(UTC),
        run_id="run-1",
        process=ProcessIdentity(pid=os.getpid(), birth="of no matter"),  # this process speaks for it
    )


def test_what_a_bot_says_right_before_it_ends_is_told(tmp_path: Path) -> None:
    with _open(tmp_path) as receiver, pytest.raises(StartupFailure) as caught:
        wait_until_up(
            build_scene(tmp_path),
            _EndsWhileItIsLookedAt(receiver.path, _build_record(tmp_path)),
            receiver=receiver,
            clock=SystemClock(),
            on_progress=lambda _: None,
        )
    assert "Its last status: no such account." in caught.value.message
    assert "No such file" in caught.value.message


class _ComesWhileItIsLookedAt:
    """An `Ending` of a bot that says its last words after it was listened to, and then has ended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> contextlib.AbstractContextManager[int | None]:
        return contextlib.nullcontext()

    def has_come(self) -> bool:
        _send(self._path, b"STATUS=no such account\nSTOPPING=1")
        return True

    def read_exit_code(self) -> int | None:
        return 3

    def describe_outside_stop(self) -> str:
        return ""


def test_what_a_watched_bot_says_right_before_it_ends_is_known_with_its_end(tmp_path: Path) -> None:
    record = _build_record(tmp_path)
    has_ended = threading.Event()
    with _open(tmp_path) as receiver:
        watch = BotWatch(
            build_scene(tmp_path),
            record,
            clock=SystemClock(),
            on_change=has_ended.set,
            receiver=receiver,
            ending=_ComesWhileItIsLookedAt(receiver.path),
        )
        with contextlib.closing(watch):
            assert has_ended.wait(PATIENCE_S)
            seen = watch.look()
    assert (seen.is_running, seen.exit_code) == (False, 3)
    assert seen.status == "no such account"
    assert seen.says_stopping
