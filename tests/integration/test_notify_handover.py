"""The bot's NOTIFY_SOCKET passes from one listener to the next, and a client that connects once goes on being heard."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.bot.container_processes import speaks_for_container
from orchestration.bot.find import find_bot
from orchestration.bot.notify import NotifyReceiver, PeerCredentials, ask_to_listen, bind_again, open_notify_receiver
from orchestration.bot.record import BotRecord, ReadyBy, build_record_path, read_record
from orchestration.bot.stop import stop_bot
from orchestration.bot.watch import BotWatch
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.lock import hold_folder
from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.bot_scene import BOT, build_scene, launch, read_log, wait_until
from tests.integration.watch_scene import begin
from tests.system import PATIENCE_S, SIGKILL, SIGTERM, System, end_and_read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the credentials of a datagram's sender are Linux's")


NOBODY = 65534
as_root = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextlib.contextmanager
def _as_unprivileged(work: Callable[[], None]) -> Iterator[None]:
    """A process of another user that does this, until it has done it or the block ends."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            work()
        os._exit(0)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def _watch(
    settings: Settings, record: BotRecord, *, receiver: NotifyReceiver | None = None, yields: bool = False
) -> Iterator[BotWatch]:
    with contextlib.closing(
        BotWatch(settings, record, clock=SystemClock(), on_change=lambda: None, receiver=receiver, yields=yields)
    ) as watch:
        yield watch


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A scene whose bot beats on one connection for as long as it lives; nothing of it is left behind."""
    made = build_scene(tmp_path, "--sdnotify-beats", "--ready-when", str(tmp_path / "ready"), BOT_START_GRACE="3600")
    (tmp_path / "ready").touch()
    yield made
    stop_bot(made, find_bot(made), timeout_s=30)


def _beat_of(watch: BotWatch) -> int:
    """The beat that was heard last; -1 before the first."""
    return int(watch.look().status.removeprefix("beat ") or -1)


def _wait_for_next_beat(watch: BotWatch) -> None:
    before = _beat_of(watch)
    wait_until(lambda: _beat_of(watch) > before, "the bot is heard")


def _has_been_asked(watch: BotWatch) -> bool:
    """Whether another process waits for the socket that this one listens at: nothing tells it outside."""
    receiver = watch._listener.receiver  # noqa: SLF001 - see above
    return receiver is not None and receiver._next_listener is not None  # noqa: SLF001 - see above


def test_a_launcher_that_stays_hears_a_client_that_connects_once(settings: Settings) -> None:
    bot = launch(settings, supervised=True)
    assert bot.ready_by is ReadyBy.NOTIFY
    with _watch(settings, bot.record, receiver=bot.receiver) as watch:
        _wait_for_next_beat(watch)
        _wait_for_next_beat(watch)
        assert watch.look().watchdog_age_s is not None
        assert "BEAT FAILED" not in read_log(settings)


class _HungEnding:
    """An `Ending` that is asked of an engine which does not answer."""

    def __init__(self) -> None:
        self.is_asked = threading.Event()
        self.answers = threading.Event()

    def open(self) -> contextlib.AbstractContextManager[int | None]:
        return contextlib.nullcontext()

    def has_come(self) -> bool:
        self.is_asked.set()
        assert self.answers.wait(PATIENCE_S)
        return False

    def read_exit_code(self) -> int | None:
        return None

    def describe_outside_stop(self) -> str:
        return ""


def test_a_bot_that_waits_until_it_is_heard_is_not_held_up_by_a_look_that_hangs(settings: Settings) -> None:
    bot = launch(settings, supervised=True)
    ending = _HungEnding()
    queue = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text(encoding="ascii"))
    with contextlib.closing(
        BotWatch(
            settings,
            bot.record,
            clock=SystemClock(),
            on_change=lambda: None,
            receiver=bot.receiver,
            ending=ending,
        )
    ) as watch:
        try:
            assert ending.is_asked.wait(PATIENCE_S)
            _wait_for_next_beat(watch)
            asked_at = _beat_of(watch)
            wait_until(lambda: _beat_of(watch) > asked_at + min(queue, 20), "the bot is still heard")
        finally:
            ending.answers.set()


def test_after_a_hand_over_nothing_listens_and_the_client_lives_on(settings: Settings) -> None:
    bot = launch(settings)
    assert bot.receiver is None
    wait_until(lambda: "BEAT FAILED" in read_log(settings), "nothing listens any more")
    assert find_bot(settings).is_found


def test_a_monitor_does_not_take_the_socket_of_a_start_and_hears_the_bot_once_the_start_is_over(
    tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "ready").unlink()
    watches: list[BotWatch] = []
    held = contextlib.ExitStack()

    def look_on(said: str) -> None:
        record = read_record(build_record_path(settings))
        if "beat" in said and not watches and record is not None and record.is_launched:
            watches.append(held.enter_context(_watch(settings, record, yields=True)))
            (tmp_path / "ready").touch()

    with held:
        bot = launch(settings, look_on)
        assert bot.ready_by is ReadyBy.NOTIFY
        _wait_for_next_beat(watches[0])
        assert "BEAT FAILED" not in read_log(settings)


def test_a_supervisor_gets_the_socket_from_a_monitor_and_the_monitor_gets_it_back(settings: Settings) -> None:
    bot = launch(settings, supervised=True)
    record = bot.record
    with _watch(settings, record, receiver=bot.receiver, yields=True) as monitor:
        _wait_for_next_beat(monitor)
        with _watch(settings, record) as supervisor:
            _wait_for_next_beat(supervisor)
            # A listener that ends before its socket was asked for takes the socket along.
            wait_until(lambda: _has_been_asked(supervisor), "the monitor has asked to listen again")
        _wait_for_next_beat(monitor)
        assert "BEAT FAILED" not in read_log(settings)


def _is_listened_to(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        return client.connect_ex(str(path)) == 0


_LISTEN = """
import sys
from pathlib import Path
from orchestration.bot.notify import bind_again
path = Path(sys.argv[1])
receiver = bind_again(path, state_dir=path.parent, user=None, for_container=False, yields=False)
print("listens" if receiver else "is taken", flush=True)
sys.stdin.readline()
"""


def _bind_again(path: Path) -> NotifyReceiver | None:
    return bind_again(path, state_dir=path.parent, user=None, for_container=False, yields=False)


def _listen_elsewhere(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", _LISTEN, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "listens\n"
    return process


def test_where_the_listener_was_killed_the_one_that_waits_makes_a_new_socket(tmp_path: Path) -> None:
    path = tmp_path / "notify.sock"
    other = _listen_elsewhere(path)
    try:
        assert _bind_again(path) is None, "it is taken"
        request = ask_to_listen(path, state_dir=path.parent)
        assert request is not None
        with pytest.raises(BlockingIOError):
            request.take(yields=False)
    finally:
        other.kill()
        other.communicate()
    assert request.take(yields=False) is None
    request.close()
    assert ask_to_listen(path, state_dir=path.parent) is None
    made = _bind_again(path)
    assert made is not None
    made.close()
    assert not path.exists()


def test_a_listener_that_ends_leaves_anothers_socket_alone(tmp_path: Path) -> None:
    first = open_notify_receiver(tmp_path)
    second = open_notify_receiver(tmp_path)
    assert first is not None
    assert second is not None
    first.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"READY=1", str(second.path))
    second.receive(is_from_bot=lambda _: True, now_s=0.0)
    assert second.is_ready
    second.close()
    assert not second.path.exists()


def test_a_monitor_that_looks_at_the_very_moment_of_a_start_never_takes_its_socket(tmp_path: Path) -> None:
    """The launcher binds while others look whether anything listens: each time the path must be the launcher's."""
    is_over = threading.Event()

    def monitor() -> None:
        while not is_over.is_set():
            found = _bind_again(tmp_path / "notify.sock")
            if found is not None:
                found.close()

    threads = [threading.Thread(target=monitor) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            with hold_folder(tmp_path, timeout_s=PATIENCE_S):  # as `launch_bot` does
                launcher = open_notify_receiver(tmp_path)
            assert launcher is not None
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
                client.sendto(b"READY=1", str(launcher.path))
            launcher.receive(is_from_bot=lambda _: True, now_s=0.0)
            assert launcher.is_ready
            launcher.close()
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


@as_root
def test_another_user_cannot_have_the_socket_handed_over(open_folder: Path) -> None:
    receiver = open_notify_receiver(open_folder, for_container=True)
    assert receiver is not None
    receiver.yields = True

    told, tell = os.pipe()

    def ask() -> None:
        request = ask_to_listen(receiver.path, state_dir=open_folder)
        os.write(tell, b"asked" if request is not None else b"nothing listens")
        signal.pause()  # its end of the request stays open

    with contextlib.closing(receiver), _as_unprivileged(ask):
        assert os.read(told, 100) == b"asked"
        receiver.receive(is_from_bot=lambda _: False, now_s=0.0)
        assert receiver.is_listening
    os.close(told)
    os.close(tell)


@as_root
@pytest.mark.parametrize("stays", [True, False], ids=["a sender that lives", "a sender that has ended"])
def test_where_a_container_is_the_bot_another_users_word_is_not_heard(open_folder: Path, *, stays: bool) -> None:
    """We are root, so the socket is open to the container's user, an unknown one on this host: and so to all users."""
    receiver = open_notify_receiver(open_folder, for_container=True)
    assert receiver is not None
    senders: list[int] = []

    def say() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.sendto(b"READY=1", str(receiver.path))

    def is_from_bot(sender: PeerCredentials) -> bool:
        senders.append(sender.uid)
        return speaks_for_container(sender, "f" * 64)

    with contextlib.closing(receiver):
        if stays:
            say()  # root itself, which lives, is no process of the container
        else:
            with _as_unprivileged(say):
                wait_until(lambda: bool(select.select([receiver], [], [], 0)[0]), "it was said")
        receiver.receive(is_from_bot=is_from_bot, now_s=0.0)
        assert senders == [0 if stays else NOBODY]
        assert not receiver.is_ready


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("channel")
def test_a_supervised_bot_that_connects_once_is_heard_for_as_long_as_it_lives(watched: System, tmp_path: Path) -> None:
    (tmp_path / "ready").touch()
    watched.environ["BOT_COMMAND"] = f"'{sys.executable}' '{BOT}' --sdnotify-beats"
    watched.environ["BOT_START_GRACE"] = "30"  # it is up by its own word, so it has connected, however slow it starts
    process = begin(watched)
    log = next(watched.logs.glob("bot_*.log"))
    bot = watched.bots()[0].pid
    wait_until(lambda: watched.inv("status", "--json").document["bot"]["supervised"], "supervisor")
    record = read_record(build_record_path(Settings.from_environ(watched.environ)))
    assert record is not None
    assert record.is_launched
    assert record.pid == bot
    assert "BEAT FAILED" not in log.read_text(encoding="utf-8")
    assert end_and_read(process, SIGTERM).code == 0


@pytest.mark.timeout(180)
def test_the_next_supervisor_listens_where_the_killed_one_did(watched: System, channel: LoopbackChannel) -> None:
    del channel
    process = begin(watched)
    process.send_signal(SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    again = begin(watched)
    path = watched.state / "notify.sock"
    wait_until(lambda: _is_listened_to(path), "something listens")
    assert end_and_read(again, SIGTERM).code == 0
    assert not path.exists()
