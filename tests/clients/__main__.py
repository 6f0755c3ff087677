"""`python -m tests.clients`: record what other people's clients send and hear."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.simulated_gateway import simulated_gateway

_HERE = Path(__file__).parent
_RECORDINGS = _HERE.parent / "fixtures" / "tws"
_PATIENCE_S = 300
_CLIENT_ID = 7


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client as its registry has it.

    Attributes:
        name: The recording's file name.
        package: What to install, with its version.
        script: What connects with it.
    """

    name: str
    package: str
    script: str

    @property
    def is_javascript(self) -> bool:
        return self.script.endswith(".js")


CLIENTS = (
    Client(name="ib_async-2.1.0", package="ib_async==2.1.0", script="ib_async_client.py"),
    Client(name="ibapi-9.81.1", package="ibapi==9.81.1.post1", script="ibapi_client.py"),
    Client(name="ibapi-10.50.2", package="ibapi-stable==10.50.2", script="ibapi_client.py"),
    Client(name="ibapi-10.51.1", package="ibapi-latest==10.51.1", script="ibapi_client.py"),
    Client(name="stoqey-ib-1.6.10", package="@stoqey/ib@1.6.10", script="stoqey_client.js"),
)


def install(client: Client, folder: Path) -> list[str]:
    """Install a client in a folder; returns the command that connects with it, but for port and client id."""
    script = str(_HERE / client.script)
    if client.is_javascript:
        folder.mkdir(parents=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", folder, client.package], check=True)
        return ["node", script]
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", client.package], check=True)
    return [python, script]


@contextmanager
def recording_relay(port: int, sent: bytearray, received: bytearray) -> Iterator[int]:
    """Relay one connection to `port`, and note what the client sends and receives."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def relay() -> None:
            client, _ = server.accept()
            with client, socket.create_connection(("127.0.0.1", port)) as gateway:
                back = threading.Thread(target=_copy, args=(gateway, client, received))
                back.start()
                _copy(client, gateway, sent)
                back.join()

        thread = threading.Thread(target=relay)
        thread.start()
        yield server.getsockname()[1]
        thread.join(_PATIENCE_S)


def _copy(source: socket.socket, target: socket.socket, noted: bytearray) -> None:
    try:
        while data := source.recv(65536):
            noted += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side has left; what passed is noted


def record(client: Client, folder: Path) -> None:
    """Let a client connect once, and write down what passed."""
    command = install(client, folder)
    sent, received = bytearray(), bytearray()
    with simulated_gateway() as gateway, recording_relay(gateway.port, sent, received) as port:
        environment = dict(os.environ, NODE_PATH=str(folder / "node_modules"))
        done = subprocess.run(
            [*command, str(port), str(_CLIENT_ID)],
            env=environment, capture_output=True, text=True, timeout=_PATIENCE_S, check=True,
        )  # fmt: skip
    recording = {
        "client": client.package,
        "client_id": _CLIENT_ID,
        "sent": sent.decode("latin-1"),
        "received": received.decode("latin-1"),
        "reported": json.loads(done.stdout.splitlines()[-1]),
    }
    path = _RECORDINGS / f"{client.name}.json"
    path.write_text(json.dumps(recording, indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
    print(f"{client.name}: {len(sent)} bytes sent, {len(received)} received")  # noqa: T201


def main() -> None:
    _RECORDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        for client in CLIENTS:
            record(client, Path(work) / client.name)


if __name__ == "__main__":
    main()
