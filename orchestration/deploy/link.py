"""One SSH link to one host: connecting, the host's key, logging in, and noticing that the other side is silent."""

import base64
import contextlib
import socket
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.deploy.host_keys import HostKeyCheck
from orchestration.deploy.ssh_config import SshOptions
from orchestration.system.clock import Clock
from orchestration.system.files import read_regular
from orchestration.system.proxy_command import ProxyCommand, start_proxy_command
from orchestration.system.ssh_agent import agent_named

if TYPE_CHECKING:
    from paramiko import PKey, Transport

SILENCE_S = 60.0  # asked again and again, and for so long not a byte came back: the link is gone
_QUESTIONS = 6  # in that time
_AUTH_TIMEOUT_S = 30.0
_KEEPALIVE = "keepalive@openssh.com"  # what OpenSSH's own client asks; any answer will do, a refusal too


_MAX_KEY_BYTES = 64 * 1024


class LinkError(Exception):
    """The host cannot be reached, or speaks no SSH."""


class LogInError(Exception):
    """The host refuses the login."""


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """What the command line gave for logging in.

    Attributes:
        identities: Private keys to try first.
        passphrase: Opens private keys; None for none.
        password: For the log-in; None for none.
    """

    identities: tuple[Path, ...] = ()
    passphrase: str | None = None
    password: str | None = None


class _HeardSocket:
    """A socket that remembers when something was last received.

    Attributes:
        heard_s: When, by the monotonic clock.
        has_heard: Whether anything ever was.
        is_ended: Whether the other side has closed it.
    """

    def __init__(self, sock: Any, clock: Clock) -> None:  # noqa: ANN401 - a socket, or a channel of paramiko's
        self._sock, self._clock = sock, clock
        self.heard_s = clock.monotonic_s()
        self.has_heard = self.is_ended = False

    def recv(self, size: int) -> bytes:
        received = bytes(self._sock.recv(size))
        if received:
            self.heard_s, self.has_heard = self._clock.monotonic_s(), True
        else:
            self.is_ended = True
        return received

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a socket has
        return getattr(self._sock, name)


class Link:
    """A link that is open, and watched.

    Attributes:
        transport: paramiko's.
        options: How the host was reached.
        silence_s: Seconds for which nothing may be heard from the other side.
        is_silent: Whether it was closed because nothing was heard for so long.
    """

    def __init__(
        self,
        transport: "Transport",
        heard: _HeardSocket,
        options: SshOptions,
        proxy: ProxyCommand | None,
        *,
        clock: Clock,
        silence_s: float,
    ) -> None:
        self.transport = transport
        self.options = options
        self.is_silent = False
        self.silence_s = silence_s
        self._heard, self._proxy, self._clock = heard, proxy, clock
        self._closed = threading.Event()
        threading.Thread(target=self._ask, name="ssh-keepalive", daemon=True).start()
        threading.Thread(target=self._watch, name="ssh-silence", daemon=True).start()

    def close(self) -> None:
        """Close it. Safe to call twice."""
        self._closed.set()
        self.transport.close()
        if self._proxy is not None:
            self._proxy.close()

    def _ask(self) -> None:
        import paramiko

        # A proxy acknowledges what it has not passed on: only the host's own answer shows that it is there.
        while not self._closed.wait(self.silence_s / _QUESTIONS) and self.transport.is_active():
            try:
                self.transport.global_request(_KEEPALIVE, wait=True)
            except (OSError, EOFError, paramiko.SSHException):
                return

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self.silence_s / _QUESTIONS)) and self.transport.is_active():
            if self._clock.monotonic_s() - self._heard.heard_s >= self.silence_s:
                self.is_silent = True
                self.close()


def open_link(
    options: SshOptions,
    check: HostKeyCheck,
    secrets: Secrets,
    *,
    clock: Clock,
    silence_s: float = SILENCE_S,
    through: Link | None = None,
) -> Link:
    """Connect, check the host's key, log in.

    Args:
        options: How the host is reached.
        check: What is known of its key.
        secrets: What the command line gave.
        clock: The time.
        silence_s: Seconds for which nothing may be heard from the other side, once the link is open.
        through: The link to the host on the way; None to connect directly, or by the proxy command.

    Raises:
        LinkError: It cannot be reached.
        LogInError: It refuses the login.
        DeployError: Its key is refused.
    """
    proxy = None
    sock: Any
    if through is not None:
        sock = _open_channel(through, options)
    elif options.proxy_command:
        try:
            proxy = start_proxy_command(options.proxy_command)
        except OSError as error:
            raise LinkError(f"the proxy command cannot be started: {error}") from error
        sock = proxy.socket
    else:
        sock = _connect(options, silence_s)
    heard = _HeardSocket(sock, clock)
    try:
        with _cleared_up(sock, proxy):
            transport = _shake_hands(heard, options, check, proxy)
            with _cleared_up(transport, proxy):
                check.verify(transport.get_remote_server_key(), now=clock.now())
                _log_in(transport, options, secrets)
                return Link(transport, heard, options, proxy, clock=clock, silence_s=silence_s)
    except (OSError, EOFError) as error:
        raise LinkError(describe(error)) from error


@contextlib.contextmanager
def _cleared_up(what: Any, proxy: ProxyCommand | None) -> Iterator[None]:  # noqa: ANN401 - whatever can be closed
    """Close it if the link comes to nothing."""
    try:
        yield
    except BaseException:
        what.close()
        if proxy is not None:
            proxy.close()
        raise


def _connect(options: SshOptions, silence_s: float) -> socket.socket:
    """Try every address of the host, in turn."""
    problem: Exception = OSError("it has no address")
    try:
        found = socket.getaddrinfo(options.host, options.port, options.family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LinkError(describe(error)) from error
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(options.connect_timeout_s)
            if options.bind_address:
                sock.bind((options.bind_address, 0))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silence_s * 1000))
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise LinkError(describe(problem)) from problem


def _open_channel(through: Link, options: SshOptions) -> Any:  # noqa: ANN401 - paramiko's channel
    import paramiko

    try:
        return through.transport.open_channel(
            "direct-tcpip", (options.host, options.port), ("127.0.0.1", 0), timeout=options.connect_timeout_s
        )
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise LinkError(f"{through.options.host}, on the way, cannot connect to it: {describe(error)}") from error


def _shake_hands(
    heard: _HeardSocket, options: SshOptions, check: HostKeyCheck, proxy: ProxyCommand | None
) -> "Transport":
    import paramiko

    transport = paramiko.Transport(heard)
    transport.banner_timeout = transport.handshake_timeout = options.connect_timeout_s
    transport.auth_timeout = _AUTH_TIMEOUT_S
    security = transport.get_security_options()
    security.key_types = check.order_algorithms(security.key_types)
    try:
        transport.start_client(timeout=2 * options.connect_timeout_s)
        transport.get_remote_server_key()
    # paramiko hands on whatever its own thread met, and that is anything where the other side is no SSH server.
    except Exception as error:
        transport.close()
        raise LinkError(_explain(error, heard, options, proxy)) from error
    return transport


def _explain(error: Exception, heard: _HeardSocket, options: SshOptions, proxy: ProxyCommand | None) -> str:
    import paramiko

    code = proxy.wait_for_exit_code() if proxy is not None else None
    if code is not None:
        return f"its proxy command ended with {code} (`{options.proxy_command}`)"
    if not heard.has_heard and heard.is_ended:
        return "it accepts the connection and closes it at once"
    if not heard.has_heard:
        return f"it accepts the connection and says nothing for {options.connect_timeout_s:g} s: is that an SSH server?"
    if isinstance(error, paramiko.SSHException):
        return f"the SSH handshake failed: {describe(error)}"
    return describe(error)


def _log_in(transport: "Transport", options: SshOptions, secrets: Secrets) -> None:
    """Try the keys of the files, then those of the agent, then the password."""
    import paramiko

    tried: list[str] = []
    unusable: list[str] = []
    remaining: Sequence[str] = ()
    try:
        with contextlib.closing(_find_keys(options, secrets, unusable)) as keys:
            for key, where in keys:
                tried.append(where)
                with contextlib.suppress(paramiko.AuthenticationException):
                    remaining = transport.auth_publickey(options.user, key)
                    if not remaining:
                        return
                    break
        if secrets.password is not None and not transport.auth_password(options.user, secrets.password):
            return
    except (OSError, EOFError, paramiko.SSHException) as error:
        many = f" after {len(tried)} keys: IdentityFile and IdentitiesOnly name the right one" if len(tried) > 1 else ""
        raise LogInError(f"{describe(error)}{many}") from error
    if remaining:
        raise LogInError(f"it wants more than a key: {', '.join(remaining)}")
    said = f"it accepts none of {', '.join(tried)}" if tried else "there is no key to offer"
    raise LogInError("; ".join((said, *unusable)))


def _find_keys(options: SshOptions, secrets: Secrets, unusable: list[str]) -> Generator[tuple["PKey", str]]:
    """The keys and where they are from; files that hold none are added to `unusable`, with the reason."""
    import paramiko

    offered: set[bytes] = set()
    paths = tuple(dict.fromkeys((*secrets.identities, *options.identities)))
    for path in paths:
        if not path.exists() and path in options.identities:
            continue  # its public half is there: the agent has the key
        key, problem = _read_private_key(path, secrets.passphrase)
        if key is None:
            unusable.append(f"{path} {problem}")
        elif key.asbytes() not in offered:
            offered.add(key.asbytes())
            yield key, str(path)
    if options.agent == "none":
        return
    try:
        with agent_named(options.agent):
            agent = paramiko.Agent()
    except (OSError, paramiko.SSHException):
        return  # there is none, or it is not one
    named = {blob for path in paths for blob in _read_public_keys(path)}
    with contextlib.closing(agent):  # it signs until the login is over
        # Those that the configuration names first: a server ends the connection after a few keys.
        for key in sorted(agent.get_keys(), key=lambda one: one.asbytes() not in named):
            if key.asbytes() not in offered and (key.asbytes() in named or not options.identities_only):
                yield key, f"the agent's {key.comment or key.get_name()}"


def _read_public_keys(path: Path) -> Iterator[bytes]:
    """The public half of an identity: the file itself may be one, as agents that keep the private keys advise."""
    for one in (path, Path(f"{path}.pub")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            yield base64.b64decode(read_regular(one, max_bytes=_MAX_KEY_BYTES).split()[1], validate=True)


def _read_private_key(path: Path, passphrase: str | None) -> tuple["PKey | None", str]:
    """The private key of a file; or None, and why not."""
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm

    name = str(path).removesuffix("-cert.pub")
    problem = "holds no private key of a type that is known here"
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            key = kind.from_private_key_file(name, passphrase)
        except paramiko.PasswordRequiredException:
            problem = "needs its passphrase: add it to the agent (ssh-add), or use --prompt-for-passphrase"
            continue
        except OSError as error:
            return None, f"cannot be read: {describe(error)}"
        except (paramiko.SSHException, UnsupportedAlgorithm, ValueError, TypeError, IndexError):
            continue
        certificate = Path(f"{name}-cert.pub")
        if certificate.is_file():
            with contextlib.suppress(ValueError, paramiko.SSHException):
                key.load_certificate(str(certificate))
        return key, ""
    return None, problem


def describe(error: BaseException) -> str:
    """What went wrong, for display."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).removeprefix("[Errno None] ") or type(error).__name__
