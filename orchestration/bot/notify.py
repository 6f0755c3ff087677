"""The other end of the bot's `NOTIFY_SOCKET`: systemd's sd_notify protocol, as its receiver.

The protocol: datagrams on a unix socket, each with one `NAME=value` a line. The names that mean something here are
`READY=1`, `STATUS=` (a line for people), `WATCHDOG=1` (still alive), `WATCHDOG=trigger` (hung), `WATCHDOG_USEC=` (the
silence after which it is hung), `STOPPING=1` and `ERRNO=`; all others are allowed and ignored (`EXTEND_TIMEOUT_USEC`
too: a bot that is alive needs no extension). A client may pass descriptors along
(`systemd-notify` does, with `BARRIER=1`, and waits until the receiver has closed them): they are closed at once.

The socket is a path in the state folder, so that a later receiver can take its place. A unix socket's path holds 107
bytes at most, and some file systems have no sockets: then it is in a short folder of the user's own. Once no process
listens the path is gone, and every client takes that for "no service manager here".

Some clients connect once and keep that connection (PyPI `sdnotify`). They are connected to the socket, not to its path:
a new socket at the same path would never hear them. So a socket under which a bot runs is never replaced while a
process listens on it. It is handed over, as a descriptor: the next listener asks the present one for it
(`ask_to_listen`), and gets it when that one stops listening, or at once from one that only listens while no process
with a better claim does (`inv monitor`). Only where no process listens any more is a new socket made.
"""

import array
import contextlib
import errno
import hashlib
import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestration.redaction import clean_line
from orchestration.system.lock import LockHeldError, hold_folder

SOCKET_NAME = "notify.sock"
_CONTAINER_FOLDER = "notify"
_MAX_PATH_BYTES = 107  # sockaddr_un.sun_path holds 108 bytes on Linux, the last one a NUL
_MAX_DATAGRAM_BYTES = 4096  # what systemd itself takes (NOTIFY_BUFFER_MAX is PIPE_BUF)
_MAX_DESCRIPTORS = 253  # the kernel passes no more in one message (SCM_MAX_FD)
_MAX_STATUS_CHARACTERS = 500  # one line of a table, an alert's field; a bot may send what it likes
# A bot that pings at all pings at least twice a minute (systemd's advice is half of what is allowed); four missed.
WATCHDOG_LIMIT_S = 120.0
_MOST_WATCHDOG_DIGITS = 20  # systemd takes 64 bits
_MOST_IN_A_ROW = 1000  # a bot that floods the socket must not keep its starter from ever looking up
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_ON_LINUX: bool = sys.platform == "linux"
_PRIVATE_NAME = re.compile(r"bot-\d+-[0-9a-f]{16}")
_REMOVAL_TIMEOUT_S = 1.0
_HANDOVER = b"ZERO_TOUCH_HANDOVER=1"  # a datagram of the next listener, with its end of a socket pair


@dataclass(frozen=True, kw_only=True)
class PeerCredentials:
    """Who sent a datagram, as the kernel says.

    Attributes:
        pid: Its process id; 0 for a process that has no number here (in another process namespace).
        uid: Its user.
    """

    pid: int
    uid: int


@dataclass(frozen=True, kw_only=True)
class Notification:
    """What one datagram says.

    Attributes:
        is_ready: It is up.
        is_stopping: It is on its way out.
        is_watchdog: It is alive.
        is_hung: It is to be restarted, as if its watchdog had expired.
        watchdog_limit_s: The silence after which it is hung from now on; 0 for never, None if it does not say.
        status: Its line for people as it sent it, or None if it sent none. May be empty: no status any more.
        error_number: Why it fails, as an errno, or None.
    """

    is_ready: bool = False
    is_stopping: bool = False
    is_watchdog: bool = False
    is_hung: bool = False
    watchdog_limit_s: float | None = None
    status: str | None = None
    error_number: int | None = None


def parse_notification(datagram: bytes) -> Notification:
    """Read one datagram. What is no UTF-8, or no `NAME=value`, says nothing; the last value of a name counts."""
    try:
        text = datagram.decode("utf-8")
    except UnicodeDecodeError:
        return Notification()
    values = {}
    for line in text.split("\n"):
        name, sign, value = line.partition("=")
        if sign:
            values[name] = value
    number, limit_us = values.get("ERRNO", ""), values.get("WATCHDOG_USEC", "")
    is_limit = limit_us.isascii() and limit_us.isdigit() and len(limit_us) <= _MOST_WATCHDOG_DIGITS
    return Notification(
        is_ready=values.get("READY") == "1",
        is_stopping=values.get("STOPPING") == "1",
        is_watchdog=values.get("WATCHDOG") == "1",
        is_hung=values.get("WATCHDOG") == "trigger",
        watchdog_limit_s=int(limit_us) / 1e6 if is_limit else None,
        status=values.get("STATUS"),
        error_number=int(number) if number.isascii() and number.isdigit() and len(number) < 6 else None,  # noqa: PLR2004
    )


class NotifyReceiver:
    """Listens to one bot.

    Attributes:
        path: The socket, as the bot is to be told of it.
        is_ready: Whether `READY=1` came.
        is_stopping: Whether `STOPPING=1` came.
        status: The last `STATUS=`, fit to be shown; empty if none came.
        error_number: The last `ERRNO=`, or None.
        watchdog_at_s: When the last `WATCHDOG=1` or `WATCHDOG_USEC=` came, in seconds of the monotonic clock, or None.
        watchdog_limit_s: The silence after which it counts as hung; None for never.
        says_hung: Whether `WATCHDOG=trigger` came, and no `WATCHDOG=1` after it.
        yields: Whether the socket is given to the next listener as soon as it asks, and not only at the end.
    """

    def __init__(
        self,
        listening: socket.socket,
        path: Path,
        *,
        state_dir: Path,
        folder_to_remove: Path | None = None,
        yields: bool = False,
    ) -> None:
        self._socket = listening
        self._state_dir = state_dir
        self._folder_to_remove = folder_to_remove
        self._inode = _read_inode(path)
        self._next_listener: socket.socket | None = None
        self.path = path
        self.yields = yields
        self.is_ready = False
        self.is_stopping = False
        self.status = ""
        self.error_number: int | None = None
        self.watchdog_at_s: float | None = None
        self.watchdog_limit_s: float | None = WATCHDOG_LIMIT_S
        self.says_hung = False

    @property
    def is_listening(self) -> bool:
        """Whether it still listens: it was neither closed nor handed over."""
        return self._socket.fileno() >= 0

    def fileno(self) -> int:
        """The descriptor that becomes readable when the bot says something; -1 once this is closed."""
        return self._socket.fileno()

    def receive(
        self, *, is_from_bot: Callable[[PeerCredentials], bool], now_s: float, may_hand_over: bool = True
    ) -> None:
        """Take in everything that has been said until now. Does not wait.

        Args:
            is_from_bot: Whether this sender speaks for the bot; others are not listened to.
            now_s: The monotonic clock's seconds.
            may_hand_over: Whether the socket may be given away: not while another thread waits at it.
        """
        for _ in range(_MOST_IN_A_ROW):
            datagram = self._receive_one(is_from_bot)
            if datagram is None:
                return
            said = parse_notification(datagram)
            self.is_ready |= said.is_ready
            self.is_stopping |= said.is_stopping
            if said.status is not None:
                self.status = clean_line(said.status.strip(), limit=_MAX_STATUS_CHARACTERS)
            self.error_number = self.error_number if said.error_number is None else said.error_number
            self._note_watchdog(said, now_s)
            if may_hand_over and self.yields and self._hand_over():
                return

    def _note_watchdog(self, said: Notification, now_s: float) -> None:
        if said.watchdog_limit_s is not None:
            self.watchdog_limit_s = said.watchdog_limit_s or None
        if said.is_watchdog or said.watchdog_limit_s:
            self.watchdog_at_s = now_s
        self.says_hung = said.is_hung or (self.says_hung and not said.is_watchdog)

    def _receive_one(self, is_from_bot: Callable[[PeerCredentials], bool]) -> bytes | None:
        """One datagram; empty if it is not to be listened to; None if there is none."""
        room = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(4 * _MAX_DESCRIPTORS)
        try:
            datagram, ancillary, flags, _ = self._socket.recvmsg(
                _MAX_DATAGRAM_BYTES, room, getattr(socket, "MSG_CMSG_CLOEXEC", 0)
            )
        except (BlockingIOError, InterruptedError):
            return None
        sender = None
        descriptors: list[int] = []
        for level, kind, data in ancillary:
            if level != socket.SOL_SOCKET:
                continue
            if kind == socket.SCM_RIGHTS:
                descriptors += struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4])
            elif _ON_LINUX and kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
                pid, uid, _gid = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
                sender = PeerCredentials(pid=pid, uid=uid)
        try:
            if datagram == _HANDOVER and len(descriptors) == 1 and sender is not None and _may_listen(sender.uid):
                self._note_next_listener(descriptors.pop())
                return b""
            # Looked at before the descriptors are closed: a client that waits for that is still there to be looked at.
            is_heard = sender is None or is_from_bot(sender)
        finally:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        return datagram if is_heard and not flags & socket.MSG_TRUNC else b""

    def _note_next_listener(self, descriptor: int) -> None:
        if self._next_listener is not None:
            self._next_listener.close()
        with contextlib.suppress(OSError):  # no socket: its sender does not speak this protocol
            self._next_listener = socket.socket(fileno=descriptor)
            return
        os.close(descriptor)

    def _hand_over(self) -> bool:
        """Give the socket to the process that has asked for it; whether it was taken."""
        if self._next_listener is None:
            return False
        with contextlib.suppress(OSError), self._next_listener:
            self._next_listener.settimeout(0)
            told = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [self._socket.fileno()]))]
            self._next_listener.sendmsg([self._build_summary()], told)
            self._socket.close()
            return True
        self._next_listener = None
        return False

    def _build_summary(self) -> bytes:
        """What the bot has said so far, in its own protocol."""
        words = [f"STATUS={self.status}"]
        words += ["READY=1"] * self.is_ready + ["STOPPING=1"] * self.is_stopping
        return "\n".join(words).encode()

    def _adopt_summary(self, summary: bytes) -> None:
        said = parse_notification(summary)
        self.is_ready, self.is_stopping, self.status = said.is_ready, said.is_stopping, said.status or ""

    def close(self) -> None:
        """Stop listening: hand the socket over to the process that has asked for it, else take its path away.

        A socket that another process has made at this path meanwhile is left alone. Safe to call twice.
        """
        if not self.is_listening:
            return
        # What asks to listen next may still be in the queue; the rest is for the next listener, if there is one.
        with contextlib.suppress(OSError):
            self.receive(is_from_bot=lambda _sender: False, now_s=0.0)
        if self.fileno() < 0 or self._hand_over():
            return
        try:
            self._remove_path()
        finally:
            self._socket.close()

    def _remove_path(self) -> None:
        """Take the path away, as one step or not at all: the next launch of a bot replaces what is left here.

        While our socket is open, no other one can have its inode's number.
        """
        with contextlib.suppress(OSError, LockHeldError), hold_folder(self._state_dir, timeout_s=_REMOVAL_TIMEOUT_S):
            if _read_inode(self.path) != self._inode:
                return
            self.path.unlink()
            if self._folder_to_remove is not None:
                self._folder_to_remove.rmdir()


class ListenRequest:
    """A request to the present listener of a socket, to become the next one. Close it once it is not needed."""

    def __init__(self, answer: socket.socket, path: Path, *, state_dir: Path) -> None:
        self._answer = answer
        self._path = path
        self._state_dir = state_dir

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is an answer: the socket, or the end of the listener."""
        return self._answer.fileno()

    def take(self, *, yields: bool) -> NotifyReceiver | None:
        """The receiver, if the socket was handed over; None if no process listens any more: then a new one may be made.

        Raises:
            BlockingIOError: There is no answer yet.
        """
        descriptor = array.array("i", [-1])
        try:
            summary, ancillary, _, _ = self._answer.recvmsg(
                _MAX_DATAGRAM_BYTES, socket.CMSG_SPACE(descriptor.itemsize), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
            )
        except ConnectionError:
            return None
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptor = array.array("i", data)
        if descriptor[0] < 0:
            return None
        listening = socket.socket(fileno=descriptor[0])
        listening.settimeout(0)
        receiver = NotifyReceiver(
            listening,
            self._path,
            state_dir=self._state_dir,
            folder_to_remove=_find_private_folder(self._path),
            yields=yields,
        )
        receiver._adopt_summary(summary)  # noqa: SLF001 - the other half of the same hand-over
        return receiver

    def close(self) -> None:
        """Withdraw it. Safe to call twice."""
        self._answer.close()


def ask_to_listen(path: Path, *, state_dir: Path) -> ListenRequest | None:
    """Ask the listener at this path to hand the socket over; None if there is none.

    Raises:
        OSError: Unknown whether a process listens: this user may not ask, or the listener is too busy.
    """
    if sys.platform == "win32":
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(ours.close)
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(0)
            told = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
            try:
                client.connect(str(path))
                client.sendmsg([_HANDOVER], told)
            except (FileNotFoundError, ConnectionError):
                return None
        on_failure.pop_all()
    ours.settimeout(0)
    return ListenRequest(ours, path, state_dir=state_dir)


def bind_again(
    path: Path, *, state_dir: Path, user: int | None, for_container: bool, yields: bool
) -> NotifyReceiver | None:
    """Listen at the path that a running bot was told of; None if it cannot be done now.

    That is so where another process listens, and while a bot is being launched: its socket must not be replaced.

    Args:
        path: The path, as it was recorded.
        state_dir: The bot's state folder.
        user: The bot's user: where we are root and the bot is not, it could not send to a socket of ours.
        for_container: Whether it is a container that sends.
        yields: See `NotifyReceiver`.
    """
    if sys.platform == "win32":
        return None
    with contextlib.suppress(OSError, LockHeldError):
        private = _find_private_folder(path)
        if private is not None:
            _check_private_folder(private, {os.geteuid(), user})
        # As one step: a launch of a bot, which makes its socket, holds the folder too.
        with hold_folder(state_dir, timeout_s=0.0):
            if _is_listened_to(path):
                return None
            listening = _open_to_container(_bind(path), path, is_needed=for_container)
        if os.geteuid() == 0 and user is not None and not for_container:
            os.chown(path, user, -1)
        return NotifyReceiver(listening, path, state_dir=state_dir, folder_to_remove=private, yields=yields)
    return None


def _find_private_folder(path: Path) -> Path | None:
    """The short folder that was made for this socket alone; None for one in the state folder."""
    return path.parent if _PRIVATE_NAME.fullmatch(path.parent.name) else None


def _may_listen(user: int) -> bool:
    """Whether a process of this user may take a socket of ours over."""
    return sys.platform != "win32" and user in {0, os.geteuid()}


def _is_listened_to(path: Path) -> bool:
    """Whether anything listens at this path. True also if that is unknown: then it is left alone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        try:
            client.connect(str(path))
        except OSError as error:
            return error.errno not in {errno.ENOENT, errno.ECONNREFUSED}
    return True


def _read_inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_notify_receiver(state_dir: Path, *, for_container: bool = False) -> NotifyReceiver | None:
    """Listen on a socket in `state_dir`, or in a short private folder where that cannot hold one. For a new bot.

    The caller holds the state folder (`lock.hold_folder`), as a launch of a bot does. A socket that is there
    already is replaced, for no bot runs that could be connected to it. For a container the socket lies in a folder of
    its own, which is all of the state that the container gets to see.

    Returns:
        The receiver, or None where there are no such sockets at all: then only staying alive tells that a bot is up.
    """
    if sys.platform == "win32":
        return None
    with contextlib.suppress(OSError):
        folder = state_dir / _CONTAINER_FOLDER if for_container else state_dir
        folder.mkdir(parents=True, exist_ok=True)
        path = Path(os.path.realpath(folder)) / SOCKET_NAME
        if len(os.fsencode(path)) <= _MAX_PATH_BYTES:
            listening = _open_to_container(_bind(path), path, is_needed=for_container)
            return NotifyReceiver(listening, path, state_dir=state_dir)
    with contextlib.suppress(OSError):
        folder = _make_private_folder(state_dir)
        path = folder / SOCKET_NAME
        listening = _open_to_container(_bind(path), path, is_needed=for_container)
        return NotifyReceiver(listening, path, state_dir=state_dir, folder_to_remove=folder)
    return None


def _open_to_container(listening: socket.socket, path: Path, *, is_needed: bool) -> socket.socket:
    """Let the container's user in. It is our own, except where we are root: a bot never runs as root."""
    if is_needed and sys.platform != "win32" and os.geteuid() == 0:
        path.parent.chmod(0o711)
        path.chmod(0o666)
    return listening


def _bind(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        listening.settimeout(0)
        if _ON_LINUX:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listening.bind(str(path))
        path.chmod(0o600)
    except BaseException:
        listening.close()
        raise
    return listening


def _make_private_folder(state_dir: Path) -> Path:
    """A short folder that is always the same one for this state folder, and that only this user may enter.

    Raises:
        PermissionError: Another user made it.
    """
    user = os.getuid()
    folder = _name_private_folder(state_dir, user)
    _check_private_folder(folder, {user})
    return folder


def _name_private_folder(state_dir: Path, user: int) -> Path:
    of_the_session = Path(f"/run/user/{user}")
    base = of_the_session if of_the_session.is_dir() else Path("/tmp")  # noqa: S108 - its owner and mode are checked
    name = hashlib.sha256(os.fsencode(os.path.realpath(state_dir))).hexdigest()[:16]
    return base / f"bot-{user}-{name}"


def remove_private_folder(state_dir: Path) -> bool:
    """Remove the short folder that was made for the socket, once no bot runs; not where a process still listens in it.

    A listener removes it at its end, but not one that was killed. It lies outside of the state folder, so nothing that
    an operator deletes would take it away.

    Returns:
        Whether there is none now.
    """
    if sys.platform == "win32":
        return True
    users = {os.getuid()}
    with contextlib.suppress(OSError):
        users.add(state_dir.stat().st_uid)  # root may stop another user's bot
    for user in users:
        folder = _name_private_folder(state_dir, user)
        with contextlib.suppress(OSError, LockHeldError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != user:
                continue
            with hold_folder(state_dir, timeout_s=_REMOVAL_TIMEOUT_S):
                if not _is_listened_to(folder / SOCKET_NAME):
                    (folder / SOCKET_NAME).unlink(missing_ok=True)
                    folder.rmdir()
    return not any(os.path.lexists(_name_private_folder(state_dir, user)) for user in users)


def _check_private_folder(folder: Path, users: set[int | None]) -> None:
    """Make it, if it is missing; only its owner may list it or write to it.

    Raises:
        PermissionError: Another user made it.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in users or found.st_mode & 0o066:
        raise PermissionError(f"{folder} is not this user's own")
