"""The order guard as the process that a start makes, in front of a built-in gateway, for tests that talk to it."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestration.bot.order_guard import GuardRecord, end_guard, ensure_guard, read_guard
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.endpoint import Endpoint
from tests.integration.bot_scene import build_scene
from tests.integration.simulated_gateway import PATIENCE_S, SimulatedGateway, simulated_gateway

_HANDSHAKE = b"API\0"
_LENGTH_BYTES = 4


class Tap:
    """Relays every connection to a port, and keeps what was sent: so a test can judge what reached the gateway."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = int(self._server.getsockname()[1])
        self._sent: list[bytearray] = []
        self._relays: list[threading.Thread] = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def read_messages(self) -> list[bytes]:
        """Every frame's body that was sent behind a handshake, whole or not, over all connections."""
        found = []
        for sent in tuple(self._sent):
            rest = bytes(sent).removeprefix(_HANDSHAKE)
            is_version = True
            while rest:
                length = int.from_bytes(rest[:_LENGTH_BYTES], "big")
                body, rest = rest[_LENGTH_BYTES : _LENGTH_BYTES + length], rest[_LENGTH_BYTES + length :]
                if not is_version:
                    found.append(body)
                is_version = False
        return found

    def close(self) -> None:
        """End it; what runs through it ends with the guard."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._listener.join(PATIENCE_S)
        for relay in self._relays:
            relay.join(PATIENCE_S)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._server.accept()
                sent = bytearray()
                self._sent.append(sent)
                self._relays.append(threading.Thread(target=self._relay, args=(client, sent)))
                self._relays[-1].start()

    def _relay(self, client: socket.socket, sent: bytearray) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._target_port)) as gateway,
        ):
            for one in (client, gateway):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_copy, args=(gateway, client, bytearray()))
            back.start()
            _copy(client, gateway, sent)
            back.join()


def _copy(source: socket.socket, target: socket.socket, noted: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            noted += data
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, kw_only=True)
class GuardScene:
    """A gateway, and the started guard in front of it.

    Attributes:
        gateway: The gateway's process.
        tap: Between guard and gateway.
        guard: The guard, as it wrote itself down when it began.
        settings: Whose it is.
    """

    gateway: SimulatedGateway
    tap: Tap
    guard: GuardRecord
    settings: Settings

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self.guard.port

    @property
    def process(self) -> psutil.Process:
        """The guard's process."""
        return psutil.Process(self.guard.pid)

    @property
    def acts(self) -> list[str]:
        """What reached the gateway that could change anything, in the gateway's own words."""
        return [line for line in self.gateway.lines if " sends " in line]

    def end(self) -> GuardRecord | None:
        """End the guard as a stop does; its record as it wrote it last."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        return read_guard(self.settings)


@contextlib.contextmanager
def started_guard(folder: Path, *held: str) -> Iterator[GuardScene]:
    """A guard started as a start does it, in front of a gateway that holds these positions and orders."""
    settings = build_scene(folder, STRATEGY_C_BOT="guarded")
    with simulated_gateway(*held) as gateway, contextlib.closing(Tap(gateway.port)) as tap:
        address = Endpoint(host="127.0.0.1", port=tap.port)
        guard = ensure_guard(settings, address, run_id="run-1", clock=SystemClock())
        try:
            yield GuardScene(gateway=gateway, tap=tap, guard=guard, settings=settings)
        finally:
            end_guard(settings)
