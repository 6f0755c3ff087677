"""The door to a host: programs run there over SSH, reached as the user's own SSH configuration says.

A program runs without a terminal; its words are quoted here and nowhere else.
"""

import contextlib
import functools
import logging
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from orchestration.deploy.errors import DeployError
from orchestration.deploy.host_keys import HostKeyCheck, read_known_keys
from orchestration.deploy.link import SILENCE_S, Link, LinkError, LogInError, Secrets, describe, open_link
from orchestration.deploy.ssh_config import (
    CONNECT_TIMEOUT_S,
    MAX_JUMPS,
    ConfigFiles,
    Destination,
    SshOptions,
    parse_destination,
    read_options,
)
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands

if TYPE_CHECKING:
    from paramiko import Channel

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


class HeldProgram(Protocol):
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
            DeployError: The host cannot be reached, its key is not known, or it refuses the login.
        """
        ...

    def run(
        self, argv: Sequence[str], *, stdin: bytes | None, on_line: Callable[[str], None], timeout_s: float
    ) -> RemoteResult:
        """Run a program to its end, with `stdin` as its whole input; each line of its output goes to `on_line`.

        With None its input is empty and stays open: its end tells the program that this end is gone.

        Raises:
            DeployError: The connection broke, or it took too long.
        """
        ...

    def interrupt(self) -> None:
        """End the input of what `run` was given without one, now and from now on. From another thread; never raises."""
        ...

    def hold(self, argv: Sequence[str], *, until: str) -> tuple[str, HeldProgram | None]:
        """Start a program that stays, given a line now and then. Returns its first line, and None if it is not `until`.

        Raises:
            DeployError: The connection broke.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class SshAccess:
    """What is needed to reach hosts.

    Attributes:
        files: Where the SSH configuration stands.
        secrets: What the command line gave for logging in.
        connect_timeout_s: Seconds for connecting, where the command line names them; else the configuration's.
        commands: For OpenSSH's own programs.
        clock: The time.
        on_warn: Told of what was skipped in files of known hosts.
        silence_s: Seconds for which nothing may be heard from a host before its connection counts as broken.
    """

    files: ConfigFiles
    secrets: Secrets
    connect_timeout_s: float | None
    commands: Commands
    clock: Clock
    on_warn: Callable[[str], None]
    silence_s: float = SILENCE_S


class SshRemote:
    """The real thing."""

    def __init__(self, name: str, access: SshAccess) -> None:
        self._name = name
        self._access = access
        self._links: list[Link] = []
        self._listening: Channel | None = None  # the channel of a program whose input stays open
        self._is_interrupted = False
        self.round_trips = 0

    @property
    def name(self) -> str:
        """See `Remote.name`."""
        return self._name

    @property
    def user(self) -> str:
        """See `Remote.user`."""
        return self._links[-1].options.user if self._links else ""

    def open(self) -> None:
        """See `Remote.open`. A connection that is open already is replaced."""
        self.close()
        self._links.clear()
        # paramiko's own log has a traceback for every host that does not answer as it should.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)
        destination = parse_destination(self.name)
        plan = self._plan(destination)
        for options in plan:
            hop = self.name if options is plan[-1] else f"{options.known_name}, on the way to {self.name},"
            check = HostKeyCheck(
                options=options,
                keys=read_known_keys(options.known_hosts, self._access.on_warn),
                commands=self._access.commands,
            )
            through = self._links[-1] if self._links else None
            try:
                link = open_link(
                    options,
                    check,
                    self._access.secrets,
                    clock=self._access.clock,
                    silence_s=self._access.silence_s,
                    through=through,
                )
            except LogInError as error:
                raise DeployError(
                    f"{hop} does not let {options.user} in: {error}",
                    next_action=f"Try `{_describe_ssh(destination)}`; it must work without a question.",
                ) from error
            except LinkError as error:
                raise DeployError(
                    f"{hop} cannot be reached: {error}",
                    next_action=(
                        f"Try `{_describe_ssh(destination)}`; address, port and user come from your SSH configuration."
                    ),
                ) from error
            self._links.append(link)

    def _plan(self, destination: Destination) -> list[SshOptions]:
        """How each host on the way and the host itself are reached, in order.

        Raises:
            DeployError: The configuration is not accepted, or leads round in circles.
        """
        plan: list[SshOptions] = []
        options = self._read_options(destination)
        while True:
            # A host that is its own jump host, by `Host *` for example, is reached directly.
            jumps = [
                hop
                for jump in options.jumps
                if (hop := parse_destination(jump)).host not in {destination.host, options.host}
            ]
            if not jumps:
                return [options, *plan]
            # Only the nearest one's own proxies count: the others are reached through the one before.
            between = [replace(self._read_options(hop), jumps=(), proxy_command="") for hop in jumps[1:]]
            plan = [*between, replace(options, jumps=(), proxy_command=""), *plan]
            if len(plan) > MAX_JUMPS:
                raise DeployError(
                    f"ProxyJump leads round in circles on the way to {self.name}",
                    next_action=f"Correct ProxyJump; `{_describe_ssh(destination)}` must work first.",
                )
            destination = jumps[0]
            options = self._read_options(destination)

    def _read_options(self, destination: Destination) -> SshOptions:
        access = self._access
        options = read_options(destination, access.files, access.commands)
        if access.connect_timeout_s is not None:
            options = replace(options, connect_timeout_s=access.connect_timeout_s)
        return options

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        for link in reversed(self._links):
            link.close()

    def run(
        self, argv: Sequence[str], *, stdin: bytes | None, on_line: Callable[[str], None], timeout_s: float
    ) -> RemoteResult:
        """See `Remote.run`."""
        import paramiko

        self.round_trips += 1
        try:
            channel = self._start(argv)
            with channel:
                if stdin is None:
                    self._listening = channel
                    if self._is_interrupted:  # between the start and the line above
                        self.interrupt()
                return _converse(channel, stdin, on_line, deadline_s=time.monotonic() + timeout_s)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._broken(error) from error
        finally:
            self._listening = None

    def interrupt(self) -> None:
        """See `Remote.interrupt`."""
        import paramiko

        self._is_interrupted = True
        channel = self._listening
        if channel is not None:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                channel.shutdown_write()

    def hold(self, argv: Sequence[str], *, until: str) -> tuple[str, HeldProgram | None]:
        """See `Remote.hold`."""
        import paramiko

        self.round_trips += 1
        try:
            channel = self._start(argv)
            channel.settimeout(SILENCE_S)
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

    def _start(self, argv: Sequence[str]) -> "Channel":
        channel = self._links[-1].transport.open_session(timeout=CONNECT_TIMEOUT_S)
        channel.exec_command(shlex.join(argv))
        return channel

    def _broken(self, error: Exception) -> DeployError:
        is_silent = any(link.is_silent for link in self._links)
        why = f"nothing was heard from there for {self._access.silence_s:g} s" if is_silent else describe(error)
        return DeployError(
            f"the connection to {self.name} broke: {why}",
            next_action="Deploy again. The activation under way there finishes by itself, or is rolled back.",
        )


def _describe_ssh(destination: Destination) -> str:
    """The command that must work as well."""
    port = f"-p {destination.port} " if destination.port is not None else ""
    user = f"{destination.user}@" if destination.user else ""
    return f"ssh {port}{shlex.quote(user + destination.host)} true"


class _HeldChannel:
    """Says a word now and then, so that the host notices when this end is gone."""

    _WORD_S = 10

    def __init__(self, channel: "Channel") -> None:
        self._channel = channel
        self._over = threading.Event()
        threading.Thread(target=self._talk, name="deploy-lock", daemon=True).start()

    @property
    def is_held(self) -> bool:
        """See `HeldProgram.is_held`."""
        return not (self._channel.closed or self._channel.exit_status_ready())

    def release(self) -> None:
        """See `HeldProgram.release`."""
        self._over.set()
        self._channel.close()

    def _talk(self) -> None:
        while not self._over.wait(self._WORD_S):
            if not send_all(self._channel, b"\n"):
                return


def _split(heard: bytes) -> list[str]:
    return heard.decode(errors="replace").split("\n")


def _converse(
    channel: "Channel", stdin: bytes | None, on_line: Callable[[str], None], *, deadline_s: float
) -> RemoteResult:
    """Send all of the input while listening, so that neither side waits for the other for ever."""
    if stdin is not None:
        upload = functools.partial(send_all, channel, stdin, is_last=True)
        threading.Thread(target=upload, name="deploy-upload", daemon=True).start()
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
    if not channel.status_event.wait(SILENCE_S) or channel.exit_status < 0:
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


def send_all(channel: "Channel", data: bytes, *, is_last: bool = False) -> bool:
    """Send from a thread of its own; the thread that listens to the channel finds out why it failed.

    Args:
        channel: An open channel.
        data: What to send.
        is_last: Whether the other side's input ends with it.

    Returns:
        Whether all was sent. False too where the program there ended before it had read all.
    """
    import paramiko

    try:
        channel.sendall(data)
        if is_last:
            channel.shutdown_write()
    except (OSError, EOFError, paramiko.SSHException):  # a link that ends while a packet is half sent is an EOFError
        return False
    return True


def describe_caller() -> str:
    """Who deploys: user, machine and process."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()} (process {os.getpid()})"
