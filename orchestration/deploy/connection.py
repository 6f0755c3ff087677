"""The door to a host: Fabric's connection, with the user's own SSH configuration, and host keys that must be known.

Fabric would accept any host key in silence. Here the user's `known_hosts` are loaded first and an unknown key is
refused, on jump hosts too. A program runs without a terminal; its words are quoted here and nowhere else.
"""

import base64
import hashlib
import os
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestration.deploy.errors import DeployError

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko import Channel, PKey, SSHClient

_CONNECT_TIMEOUT_S = 20
_KEEPALIVE_S = 10
_SILENCE_S = 60  # without a byte from the host, keepalives included: the connection is gone
_PIECE = 65536
_DEFAULT_PORT = 22


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
        self, argv: Sequence[str], *, stdin: bytes, on_line: Callable[[str], None], timeout_s: float
    ) -> RemoteResult:
        """Run a program to its end, with `stdin` as its whole input; each line of its output goes to `on_line`.

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

        _make_strict(self._connection)
        try:
            self._connection.open()
        except paramiko.BadHostKeyException as error:
            raise _changed_key(self._connection, error) from error
        except paramiko.AuthenticationException as error:
            raise DeployError(
                f"{self.name} does not let {self.user} in: {error}",
                next_action=f"Try `ssh {self.name} true`; it must work without a question.",
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise DeployError(
                f"{self.name} cannot be reached: {str(error) or type(error).__name__}",
                next_action=f"Try `ssh {self.name} true`; address, port and user come from your SSH configuration.",
            ) from error
        self._transport.set_keepalive(_KEEPALIVE_S)

    def run(
        self, argv: Sequence[str], *, stdin: bytes, on_line: Callable[[str], None], timeout_s: float
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
            while b"\n" not in heard and (piece := channel.recv(_PIECE)):
                heard += piece
            if not heard:
                heard = channel.recv_stderr(_PIECE)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._broken(error) from error
        line = heard.decode(errors="replace").partition("\n")[0]
        if line != until:
            channel.close()
            return line, None
        return line, _HeldChannel(channel)

    @property
    def _transport(self) -> Any:  # noqa: ANN401 - paramiko's, which has no types
        return self._connection.client.get_transport()

    def _start(self, argv: Sequence[str]) -> "Channel":
        channel = self._transport.open_session(timeout=_CONNECT_TIMEOUT_S)
        channel.exec_command(shlex.join(argv))
        return channel

    def _broken(self, error: Exception) -> DeployError:
        return DeployError(
            f"the connection to {self.name} broke: {str(error) or type(error).__name__}",
            next_action="Deploy again. What was being put in force goes on there by itself, or goes back.",
        )


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


def _converse(channel: "Channel", stdin: bytes, on_line: Callable[[str], None], *, deadline_s: float) -> RemoteResult:
    """Send all of the input while listening, so that neither side waits for the other for ever."""
    sender = threading.Thread(target=_send, args=(channel, stdin), name="deploy-upload", daemon=True)
    sender.start()
    errors: list[bytes] = []
    heard, rest = b"", b""
    channel.settimeout(1.0)
    while True:
        while channel.recv_stderr_ready():
            errors.append(channel.recv_stderr(_PIECE))
        try:
            piece = channel.recv(_PIECE)
        except TimeoutError:
            transport = channel.get_transport()
            if transport is None or not transport.is_active():
                raise EOFError("it was cut") from None
            if time.monotonic() >= deadline_s:
                raise TimeoutError("no end in time") from None
            continue
        if not piece:
            break
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            on_line(line.decode(errors="replace"))
    heard = rest
    if not channel.status_event.wait(_SILENCE_S) or channel.exit_status < 0:
        raise EOFError("it was cut")
    while channel.recv_stderr_ready():
        errors.append(channel.recv_stderr(_PIECE))
    return RemoteResult(
        code=int(channel.exit_status),
        out=heard.decode(errors="replace"),
        err=b"".join(errors).decode(errors="replace"),
    )


def _send(channel: "Channel", stdin: bytes) -> None:
    try:
        channel.sendall(stdin)
        channel.shutdown_write()
    except OSError:
        return  # it ended before it had read all; its exit code says why


def _make_strict(connection: "Connection") -> None:
    """Load the user's known hosts and refuse what is not among them, on each hop."""
    import fabric
    import paramiko

    class RefuseUnknown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # paramiko has no types
        def missing_host_key(self, client: "SSHClient", hostname: str, key: "PKey") -> None:
            del client
            raise _unknown_key(hostname, key)

    named = connection.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
    machine = connection.ssh_config.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
    for name in (*named, *machine):
        path = Path(name).expanduser()
        if path.is_file():
            connection.client.load_system_host_keys(str(path))
    connection.client.set_missing_host_key_policy(RefuseUnknown())
    if connection.ssh_config.get("identitiesonly", "no").lower() == "yes":
        # The agent stays: it may hold the named key opened, and named files are tried before it.
        connection.connect_kwargs.setdefault("look_for_keys", False)
    if connection.connect_timeout is None:
        connection.connect_timeout = _CONNECT_TIMEOUT_S
    if isinstance(connection.gateway, fabric.Connection):
        _make_strict(connection.gateway)


def build_fingerprint(key: "PKey") -> str:
    """A key's fingerprint as OpenSSH writes it."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def build_keyscan(hostname: str) -> str:
    """The command that makes a host known; `hostname` as `known_hosts` has it, `[name]:port` off port 22."""
    name, port = hostname, str(_DEFAULT_PORT)
    if hostname.startswith("["):
        name, _, port = hostname[1:].partition("]:")
    switch = "" if port == str(_DEFAULT_PORT) else f"-p {port} "
    return f"ssh-keyscan {switch}{shlex.quote(name)} >> ~/.ssh/known_hosts"


def _unknown_key(hostname: str, key: "PKey") -> DeployError:
    return DeployError(
        f"the host key of {hostname} is not known: it offers {key.get_name()} {build_fingerprint(key)}",
        next_action=(
            "Compare this fingerprint with the host's own (there: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`); "
            f"only if they are the same: {build_keyscan(hostname)}"
        ),
    )


def _changed_key(connection: "Connection", error: Any) -> DeployError:  # noqa: ANN401 - paramiko has no types
    name = connection.host if connection.port == _DEFAULT_PORT else f"[{connection.host}]:{connection.port}"
    return DeployError(
        f"THE HOST KEY OF {name} HAS CHANGED: somebody may be between you and the host. Nothing was sent",
        next_action=(
            "Find out why, on the host's own console. Only if it was set up anew: "
            f"ssh-keygen -R {shlex.quote(name)}, then {build_keyscan(name)}"
        ),
        evidence=(
            f"known:   {error.expected_key.get_name()} {build_fingerprint(error.expected_key)}",
            f"offered: {error.key.get_name()} {build_fingerprint(error.key)}",
        ),
    )


def describe_caller() -> str:
    """Who deploys: user, machine and process."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()} (process {os.getpid()})"
