"""The other end of the bot's `NOTIFY_SOCKET`: systemd's sd_notify protocol, as its receiver.

The protocol: datagrams on a unix socket, each with one `NAME=value` a line. The names that mean something here are
`READY=1`, `STATUS=` (a line for people), `WATCHDOG=1` (still alive), `STOPPING=1` and `ERRNO=`; all others are allowed
and ignored (`EXTEND_TIMEOUT_USEC` too: a bot that is alive needs no extension). A client may pass descriptors along
(`systemd-notify` does, with `BARRIER=1`, and waits until the receiver has closed them): they are closed at once.

The socket is a path in the state folder, so that a later receiver can take its place. A unix socket's path holds 107
bytes at most, and some file systems have no sockets: then it is in a short folder of the user's own. Once nobody
listens the path is gone, and every client takes that for "no service manager here".
"""

import contextlib
import hashlib
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOCKET_NAME = "notify.sock"
_CONTAINER_FOLDER = "notify"
_MAX_PATH_BYTES = 107  # sockaddr_un.sun_path holds 108 bytes on Linux, the last one a NUL
_MAX_DATAGRAM_BYTES = 4096  # what systemd itself takes (NOTIFY_BUFFER_MAX is PIPE_BUF)
_MAX_DESCRIPTORS = 253  # the kernel passes no more in one message (SCM_MAX_FD)
_MAX_STATUS_CHARACTERS = 500  # one line of a table, an alert's field; a bot may send what it likes
_MOST_IN_A_ROW = 1000  # a bot that floods the socket must not keep its starter from ever looking up
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_ON_LINUX: bool = sys.platform == "linux"


@dataclass(frozen=True, kw_only=True)
class Notification:
    """What one datagram says.

    Attributes:
        is_ready: It is up.
        is_stopping: It is on its way out.
        is_watchdog: It is alive.
        status: Its line for people, or None if it sent none. May be empty: no status any more.
        error_number: Why it fails, as an errno, or None.
    """

    is_ready: bool = False
    is_stopping: bool = False
    is_watchdog: bool = False
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
    number = values.get("ERRNO", "")
    return Notification(
        is_ready=values.get("READY") == "1",
        is_stopping=values.get("STOPPING") == "1",
        is_watchdog=values.get("WATCHDOG") == "1",
        status=_clean(values["STATUS"]) if "STATUS" in values else None,
        error_number=int(number) if number.isascii() and number.isdigit() and len(number) < 6 else None,  # noqa: PLR2004
    )


def _clean(status: str) -> str:
    """One printable line: a status is shown in terminals, where control characters would do things."""
    return "".join(sign if sign.isprintable() else " " for sign in status).strip()[:_MAX_STATUS_CHARACTERS]


class NotifyReceiver:
    """Listens to one bot.

    Attributes:
        path: The socket, as the bot is to be told of it.
        is_ready: Whether `READY=1` came.
        is_stopping: Whether `STOPPING=1` came.
        status: The last `STATUS=`; empty if none came.
        error_number: The last `ERRNO=`, or None.
        watchdog_at_s: When the last `WATCHDOG=1` came, in seconds of the monotonic clock, or None.
    """

    def __init__(self, listening: socket.socket, path: Path, *, folder_to_remove: Path | None = None) -> None:
        self._socket = listening
        self._folder_to_remove = folder_to_remove
        self.path = path
        self.is_ready = False
        self.is_stopping = False
        self.status = ""
        self.error_number: int | None = None
        self.watchdog_at_s: float | None = None

    def fileno(self) -> int:
        """The descriptor that becomes readable when the bot says something."""
        return self._socket.fileno()

    def receive(self, *, is_from_bot: Callable[[int], bool], now_s: float) -> None:
        """Take in everything that has been said until now. Does not wait.

        Args:
            is_from_bot: Whether the process with this pid speaks for the bot; others are not listened to. A sender that
                has ended already is believed: a shell's `systemd-notify --no-block` is gone before anybody can look.
            now_s: The monotonic clock's seconds.
        """
        for _ in range(_MOST_IN_A_ROW):
            datagram = self._receive_one(is_from_bot)
            if datagram is None:
                return
            said = parse_notification(datagram)
            self.is_ready |= said.is_ready
            self.is_stopping |= said.is_stopping
            self.status = self.status if said.status is None else said.status
            self.error_number = self.error_number if said.error_number is None else said.error_number
            self.watchdog_at_s = now_s if said.is_watchdog else self.watchdog_at_s

    def _receive_one(self, is_from_bot: Callable[[int], bool]) -> bytes | None:
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
                sender = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
        try:
            # Looked at before the descriptors are closed: a client that waits for that is still there to be looked at.
            is_heard = sender is None or is_from_bot(sender)
        finally:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        return datagram if is_heard and not flags & socket.MSG_TRUNC else b""

    def close(self) -> None:
        """Stop listening and take the socket's path away. Safe to call twice."""
        self._socket.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
            if self._folder_to_remove is not None:
                self._folder_to_remove.rmdir()


def open_notify_receiver(state_dir: Path, *, for_container: bool = False) -> NotifyReceiver | None:
    """Listen on a socket in `state_dir`, or in a short private folder where that cannot hold one.

    A socket that an earlier receiver left behind is replaced. For a container the socket lies in a folder of its own,
    which is all of the state that the container gets to see.

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
            return NotifyReceiver(_open_to_container(_bind(path), path, is_needed=for_container), path)
    with contextlib.suppress(OSError):
        folder = _make_private_folder(state_dir)
        path = folder / SOCKET_NAME
        listening = _open_to_container(_bind(path), path, is_needed=for_container)
        return NotifyReceiver(listening, path, folder_to_remove=folder)
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
        PermissionError: Somebody else made it.
    """
    user = os.getuid()
    of_the_session = Path(f"/run/user/{user}")
    base = of_the_session if of_the_session.is_dir() else Path("/tmp")  # noqa: S108 - its owner and mode are checked
    name = hashlib.sha256(os.fsencode(os.path.realpath(state_dir))).hexdigest()[:16]
    folder = base / f"bot-{user}-{name}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not this user's own")
    return folder
