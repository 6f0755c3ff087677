"""An SSH server on this machine, with host keys of any kind; what is run there runs here."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import paramiko

# What `nc` does, which is not on every machine.
RELAY = """
import os, select, socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
ways = {0: sock.fileno(), sock.fileno(): 1}
while True:
    for number in select.select(list(ways), [], [])[0]:
        piece = os.read(number, 65536)
        if not piece:
            sys.exit()
        os.write(ways[number], piece)
"""
_MOST_REFUSED = 2  # sshd refuses six by default


class CertifiedKey(paramiko.Ed25519Key):  # type: ignore[misc]  # paramiko has no types
    """A host key that is offered with its certificate, as sshd does with `HostCertificate`."""

    def __init__(self, path: Path) -> None:
        super().__init__(filename=str(path))
        self.load_certificate(f"{path}-cert.pub")

    def asbytes(self) -> bytes:
        return bytes(self.public_blob.key_blob)

    def get_name(self) -> str:
        return "ssh-ed25519-cert-v01@openssh.com"


class _Session(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko has no types
    """Lets everybody in who has a key, and runs what they ask for; `accepts` names the only key that will do."""

    def __init__(self, accepts: bytes | None) -> None:
        self._accepts = accepts
        self._refused = 0

    def get_allowed_auths(self, username: str) -> str:
        del username
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        del username
        if self._accepts is None or key.asbytes() == self._accepts:
            return int(paramiko.AUTH_SUCCESSFUL)
        self._refused += 1
        if self._refused > _MOST_REFUSED:
            raise EOFError("too many keys")
        return int(paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del kind, chanid
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        del chanid, origin
        self.destination = destination
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        channel.command = command.decode()
        return True


def _answer_then_run(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """Answer a request, and only then begin what it asks for: a quick command would else end before it was allowed."""
    channel._handle_request(message)  # noqa: SLF001 - what the library does with it
    command = vars(channel).pop("command", None)
    if command is not None:
        environ = getattr(channel.get_transport(), "environ", None)
        threading.Thread(target=_run, args=(channel, command, environ), daemon=True).start()


class _Transport(paramiko.Transport):  # type: ignore[misc]  # paramiko has no types
    _channel_handler_table: ClassVar = {
        **paramiko.Transport._channel_handler_table,  # noqa: SLF001 - as above
        paramiko.common.MSG_CHANNEL_REQUEST: _answer_then_run,
    }


def _run(channel: paramiko.Channel, command: str, environ: Mapping[str, str] | None) -> None:
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr

    def feed() -> None:
        with contextlib.suppress(OSError), stdin:
            while piece := channel.recv(65536):
                stdin.write(piece)
                stdin.flush()

    threading.Thread(target=feed, daemon=True).start()
    # The client may leave at any moment. Its input is closed by who feeds it, and by no other user.
    with contextlib.suppress(OSError, EOFError), stdout, stderr:
        while piece := stdout.read1(65536):  # type: ignore[attr-defined]  # a buffered reader
            channel.sendall(piece)
        channel.sendall_stderr(stderr.read())
        channel.send_exit_status(process.wait() % 256)  # of one that was killed it is negative
    process.wait()
    channel.close()


@dataclass
class SshServer:
    """The server.

    Attributes:
        keys: Its host keys.
        host: The address it listens on.
        accepts: The public key that it lets in, after a few others at most; None for every one.
        environ: What is run there has this environment; None for that of the test.
    """

    keys: Sequence[paramiko.PKey]
    host: str = "127.0.0.1"
    accepts: bytes | None = None
    environ: Mapping[str, str] | None = None
    _transports: list[paramiko.Transport] = field(default_factory=list)

    def __post_init__(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listening = socket.create_server((self.host, 0), family=family)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def drop(self) -> None:
        """Break the connections that there are; new ones are taken."""
        for transport in self._transports:
            transport.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # ends the wait for the next client
        self._accepting.join()
        self._listening.close()
        for transport in self._transports:
            transport.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        transport = _Transport(client)
        transport.environ = self.environ
        self._transports.append(transport)
        for key in self.keys:
            transport.add_server_key(key)
        session = _Session(self.accepts)
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            transport.start_server(server=session)
            while transport.is_active():
                channel = transport.accept(1)
                if channel is not None and hasattr(session, "destination"):
                    _forward(channel, session.destination)
                    del session.destination


def _forward(channel: paramiko.Channel, destination: tuple[str, int]) -> None:
    sock = socket.create_connection(destination)

    def pump(source: socket.socket | paramiko.Channel, target: socket.socket | paramiko.Channel) -> None:
        with contextlib.suppress(OSError, EOFError):
            while piece := source.recv(65536):
                target.sendall(piece)
        with contextlib.suppress(OSError, EOFError):
            channel.close()
            sock.shutdown(socket.SHUT_RDWR)
        if source is sock:
            sock.close()

    for ends in ((channel, sock), (sock, channel)):
        threading.Thread(target=pump, args=ends, daemon=True).start()


@contextlib.contextmanager
def serving(
    keys: Sequence[paramiko.PKey], *, host: str = "127.0.0.1", environ: Mapping[str, str] | None = None
) -> Iterator[SshServer]:
    """A server that is gone afterwards."""
    server = SshServer(keys, host, environ=environ)
    try:
        yield server
    finally:
        server.close()


def make_key(path: Path, kind: str = "ed25519") -> str:
    """Make a key pair with OpenSSH's own program; returns the public key, type and base64."""
    size = ("-b", "2048") if kind == "rsa" else ()
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", "test", "-f", str(path)], check=True)
    return " ".join(path.with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
