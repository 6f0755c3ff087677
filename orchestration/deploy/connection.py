"""The door to a host: Fabric's connection, with the user's own SSH configuration.

A program runs without a terminal; its words are quoted here and nowhere else.
"""

import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orchestration.deploy.errors import DeployError
from orchestration.deploy.host_keys import CONNECT_TIMEOUT_S, explain_changed_key, make_strict

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko import Channel

_KEEPALIVE_S = 10
_SILENCE_S = 60  # something was sent, and for so long nothing came of it: the connection is gone
_PIECE = 65536


@dataclass(frozen=True, kw_only=True)
class RemoteResult:
    """A program that has ended on the host.

    Attributes:
        code: Its exit code.
        out: Its standard output, but for the lines that `on_line` took.
        err: Its standard error.
    """

    code: int
    out: str
    err: str


class Held(Protocol):
    """A program on the host that lives as long as it is held."""

    @property
    def is_held(self) -> bool:
        """Whether it lives."""
        ...

    def release(self) -> None:
        """Let it end."""
        ...


class Remote(Protocol):
    """Runs programs on one host."""

    @property
    def name(self) -> str:
        """What the operator calls the host."""
        ...

    @property
    def user(self) -> str:
        """Who logs in."""
        ...

    @property
    def round_trips(self) -> int:
        """How many programs were run so far."""
        ...

    def open(self) -> None:
        """Connect.

        Raises:
            DeployError: The host cannot be reached, its key is not known, or it lets nobody in.
        """
        ...

    def run(
        self, argv: Sequence[str], *, stdin: bytes | None, on_line: Callable[[str], None], timeout_s: float
    ) -> RemoteResult:
        """Run a program to its end, with `stdin` as its whole input; each line of its output goes to `on_line`.

        With None its input is empty and stays open: that it ends tells the program that nobody is here any more.

        Raises:
            DeployError: The connection broke, or it took too long.
        """
        ...

    def hold(self, argv: Sequence[str], *, until: str) -> tuple[str, Held | None]:
        """Start a program that stays, given a line now and then. Returns its first line, and None if it is not `until`.

        Raises:
            DeployError: The connection broke.
        """
        ...


class FabricRemote:
    """The real thing."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self.round_trips = 0

    @property
    def name(self) -> str:
        """See `Remote.name`."""
        return str(self._connection.original_host)

    @property
    def user(self) -> str:
        """See `Remote.user`."""
        return str(self._connection.user)

    def open(self) -> None:
        """See `Remote.open`."""
        import paramiko

        make_strict(self._connection)
        try:
            self._connection.open()
        except paramiko.BadHostKeyException as error:
            raise explain_changed_key(self._connection, error) from error
        except paramiko.AuthenticationException as error:
            raise DeployError(
                f"{self.name} does not let {self.user} in: {error}",
                next_action=f"Try `ssh {self.name} true`; it must work without a question.",
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise DeployError(
                f"{self.name} cannot be reached: {_describe(error)}",
                next_action=(
                    f"Try `ssh {self.name} true`; address, port and user come from your SSH configuration "
                    "(`Include` in it is not followed)."
                ),
            ) from error
        _notice_silence(self._connection)

    def run(
        self, argv: Sequence[str], *, stdin: bytes | None, on_line: Callable[[str], None], timeout_s: float
    ) -> RemoteResult:
        """See `Remote.run`."""
        import paramiko

        self.round_trips += 1
        try:
            channel = self._start(argv)
            with channel:
                return _converse(channel, stdin, on_line, deadline_s=time.monotonic() + timeout_s)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._broken(error) from error

    def hold(self, argv: Sequence[str], *, until: str) -> tuple[str, Held | None]:
        """See `Remote.hold`."""
        import paramiko

        self.round_trips += 1
        try:
            channel = self._start(argv)
            channel.settimeout(_SILENCE_S)
            heard = b""
            # A log-in shell may say something of its own first.
            while until not in _split(heard) and (piece := channel.recv(_PIECE)):
                heard += piece
            if not heard:
                heard = channel.recv_stderr(_PIECE)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._broken(error) from error
        if until not in _split(heard):
            channel.close()
            return next((line for line in reversed(_split(heard)) if line), ""), None
        return until, _HeldChannel(channel)

    @property
    def _transport(self) -> Any:  # noqa: ANN401 - paramiko's, which has no types
        return self._connection.client.get_transport()

    def _start(self, argv: Sequence[str]) -> "Channel":
        channel = self._transport.open_session(timeout=CONNECT_TIMEOUT_S)
        channel.exec_command(shlex.join(argv))
        return channel

    def _broken(self, error: Exception) -> DeployError:
        return DeployError(
            f"the connection to {self.name} broke: {_describe(error)}",
            next_action="Deploy again. What was being put in force goes on there by itself, or goes back.",
        )


def _notice_silence(connection: "Connection") -> None:
    """A line that is cut says nothing. So something is sent now and then; unanswered, it ends the connection."""
    import fabric

    transport = connection.client.get_transport()
    transport.set_keepalive(_KEEPALIVE_S)
    if isinstance(transport.sock, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_S * 1000)
    if isinstance(connection.gateway, fabric.Connection):
        _notice_silence(connection.gateway)


def _describe(error: Exception) -> str:
    # paramiko's own for "nobody listens there" has no number.
    return str(error).removeprefix("[Errno None] ") or type(error).__name__


class _HeldChannel:
    """Says a word now and then, so that the host notices when nobody is here any more."""

    _WORD_S = 10

    def __init__(self, channel: "Channel") -> None:
        self._channel = channel
        self._over = threading.Event()
        threading.Thread(target=self._talk, name="deploy-lock", daemon=True).start()

    @property
    def is_held(self) -> bool:
        """See `Held.is_held`."""
        return not (self._channel.closed or self._channel.exit_status_ready())

    def release(self) -> None:
        """See `Held.release`."""
        self._over.set()
        self._channel.close()

    def _talk(self) -> None:
        while not self._over.wait(self._WORD_S):
            try:
                self._channel.sendall(b"\n")
            except OSError:
                return


def _split(heard: bytes) -> list[str]:
    return heard.decode(errors="replace").split("\n")


def _converse(
    channel: "Channel", stdin: bytes | None, on_line: Callable[[str], None], *, deadline_s: float
) -> RemoteResult:
    """Send all of the input while listening, so that neither side waits for the other for ever."""
    if stdin is not None:
        threading.Thread(target=_send, args=(channel, stdin), name="deploy-upload", daemon=True).start()
    errors: list[bytes] = []
    rest = b""
    channel.settimeout(1.0)
    while True:
        _drain_errors(channel, errors)
        try:
            piece = channel.recv(_PIECE)
        except TimeoutError:
            _check_goes_on(channel, deadline_s)
            continue
        if not piece:
            break
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            on_line(line.decode(errors="replace"))
    if not channel.status_event.wait(_SILENCE_S) or channel.exit_status < 0:
        raise EOFError("it was cut")
    _drain_errors(channel, errors)
    return RemoteResult(
        code=int(channel.exit_status),
        out=rest.decode(errors="replace"),
        err=b"".join(errors).decode(errors="replace"),
    )


def _drain_errors(channel: "Channel", errors: list[bytes]) -> None:
    while channel.recv_stderr_ready():
        errors.append(channel.recv_stderr(_PIECE))


def _check_goes_on(channel: "Channel", deadline_s: float) -> None:
    transport = channel.get_transport()
    if transport is None or not transport.is_active():
        raise EOFError("it was cut")
    if time.monotonic() >= deadline_s:
        raise TimeoutError("no end in time")


def _send(channel: "Channel", stdin: bytes) -> None:
    try:
        channel.sendall(stdin)
        channel.shutdown_write()
    except OSError:
        return  # it ended before it had read all; its exit code says why


def describe_caller() -> str:
    """Who deploys: user, machine and process."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()} (process {os.getpid()})"
