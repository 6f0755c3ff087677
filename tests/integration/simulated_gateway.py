"""The simulated gateway as a real process, for tests that look at it from outside."""

import contextlib
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator

from tests import programs

PROJECT = programs.PROJECT
PATIENCE_S = 30.0  # for a machine that is busy with something else; nothing waits that long on purpose


class SimulatedGateway:
    """One running `python -m orchestration.simulator`."""

    def __init__(self, *arguments: str) -> None:
        self.process = programs.Popen(
            [sys.executable, "-m", "orchestration.simulator", "--port", "0", *arguments],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for_line(self, text: str, *, times: int = 1) -> str:
        """The line that contains `text` for the given time."""
        with self._news:
            self._news.wait_for(lambda: self._find(text, times) or self._has_ended(), PATIENCE_S)
            found = self._find(text, times)
        assert found, f"{text!r} is not {times} times in the log:\n" + "\n".join(self.lines)
        return found

    def wait_for_end(self) -> int:
        """The exit code, after the last line was read."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    @property
    def port(self) -> int:
        """The API's port; it listens once the login is over."""
        return int(self.wait_for_line("API port ").partition("API port 127.0.0.1:")[2].partition(",")[0])

    @property
    def forwarder_port(self) -> int:
        """The forwarder's port."""
        return int(self.wait_for_line("forwarder listening on").rpartition(":")[2])

    def close(self) -> None:
        """End it, however it is."""
        self.process.kill()
        self.wait_for_end()
        if self.process.stdout:
            self.process.stdout.close()

    def _find(self, text: str, times: int) -> str:
        found = [line for line in self.lines if text in line]
        return found[times - 1] if len(found) >= times else ""

    def _has_ended(self) -> bool:
        return not self._reader.is_alive()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


def hand_shake(port: int, client_id: int) -> tuple[socket.socket, bytes]:
    """A client made by hand, and all it got of the handshake's end (nothing: it was closed)."""
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    start = f"71\0002\0{client_id}\0\0".encode()
    client.sendall(b"API\0" + struct.pack(">I", 9) + b"v157..178" + struct.pack(">I", len(start)) + start)
    received = b""
    while b"9\x001\x001\0" not in received:
        piece = client.recv(4096)
        if not piece:
            return client, b""
        received += piece
    return client, received


@contextlib.contextmanager
def simulated_gateway(*arguments: str, faults: str = "", is_open: bool = True) -> Iterator[SimulatedGateway]:
    """A simulated gateway that ends with the block; waited for until its API port is open, if `is_open`."""
    gateway = SimulatedGateway("--faults", faults, *arguments)
    try:
        gateway.wait_for_line("API listening on" if is_open else "API port ")
        yield gateway
    finally:
        gateway.close()
