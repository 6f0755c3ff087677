"""`python -m tests.clients [NAME...]`: record what other people's clients send and hear; without a name, of all."""

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
from typing import Any

from orchestration.tws.frames import FrameReader, parse_fields
from orchestration.tws.messages import API_PREFIX
from tests.clients.asked import PLAIN_VALUES
from tests.clients.table import PAGE, REQUESTS, build_page, read_asked
from tests.integration.simulated_gateway import simulated_gateway

_HERE = Path(__file__).parent
_RECORDINGS = _HERE.parent / "fixtures" / "tws"
_PATIENCE_S = 300
_LONGEST_S = 1.0
_CLIENT_ID = 7
_TIME = "49"  # the message that asks for the time, and its answer
# What the account holds while the clients ask: of the asking client itself.
HELD = ("--position", "SPY=100", "--order", f"{_CLIENT_ID}:12:SELL:100:SPY:STP")


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client as its registry has it.

    Attributes:
        name: The recording's file name.
        package: What to install, with its version.
        ask: What makes every request with it, and its arguments beside the port and the client id.
        script: What connects with it once; empty where another version of it stands for it.
    """

    name: str
    package: str
    ask: tuple[str, ...]
    script: str = ""

    @property
    def is_javascript(self) -> bool:
        return self.ask[0].endswith(".js")


CLIENTS = (
    Client(
        name="ib_async-2.1.0",
        package="ib_async==2.1.0",
        script="ib_async_client.py",
        ask=("ask_ib_async.py", "ib_async"),
    ),
    Client(name="ib_insync-0.9.86", package="ib_insync==0.9.86", ask=("ask_ib_async.py", "ib_insync")),
    Client(name="ibapi-9.81.1", package="ibapi==9.81.1.post1", script="ibapi_client.py", ask=("ask_ibapi.py",)),
    Client(name="ibapi-10.50.2", package="ibapi-stable==10.50.2", script="ibapi_client.py", ask=("ask_ibapi.py",)),
    Client(name="ibapi-10.51.1", package="ibapi-latest==10.51.1", script="ibapi_client.py", ask=("ask_ibapi.py",)),
    # What nautilus_trader 1.221 talks to a gateway with.
    Client(name="nautilus-ibapi-10.30.1", package="nautilus-ibapi==10.30.1", ask=("ask_ibapi.py",)),
    Client(name="stoqey-ib-1.6.10", package="@stoqey/ib@1.6.10", script="stoqey_client.js", ask=("ask_stoqey.js",)),
)


def install(client: Client, folder: Path) -> str:
    """Install a client in a folder; returns the program that runs its scripts."""
    if client.is_javascript:
        folder.mkdir(parents=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", folder, client.package], check=True)
        return "node"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", client.package], check=True)
    return python


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


def run_script(
    client: Client, program: str, folder: Path, script: tuple[str, ...], *held: str
) -> tuple[bytes, bytes, dict[str, Any]]:
    """Let a script connect once: what it sent and received, and what it reported."""
    sent, received = bytearray(), bytearray()
    environment = {
        **os.environ,
        "NODE_PATH": str(folder / "node_modules"),
        "REQUEST_VALUES": json.dumps(PLAIN_VALUES),
    }
    with simulated_gateway(*held) as gateway, recording_relay(gateway.port, sent, received) as port:
        done = subprocess.run(
            [program, str(_HERE / script[0]), str(port), str(_CLIENT_ID), *script[1:]],
            env=environment, stdout=subprocess.PIPE, text=True, timeout=_PATIENCE_S, check=True,
        )  # fmt: skip
    reported: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{client.name}: {len(sent)} bytes sent, {len(received)} received")  # noqa: T201
    return bytes(sent), bytes(received), reported


def record_start(client: Client, program: str, folder: Path) -> None:
    """Let a client connect once, and write down what passed."""
    sent, received, reported = run_script(client, program, folder, (client.script,))
    recording = {
        "client": client.package,
        "client_id": _CLIENT_ID,
        "sent": sent.decode("latin-1"),
        "received": received.decode("latin-1"),
        "reported": reported,
    }
    write_json(_RECORDINGS / f"{client.name}.json", recording)


def record_requests(client: Client, program: str, folder: Path) -> None:
    """Let a client make every request it has, one after the other, and write down what it sent and heard of each."""
    sent, received, reported = run_script(client, program, folder, client.ask, *HELD)
    requests = {}
    asked = list(FrameReader().feed(sent.removeprefix(API_PREFIX)))[2:]  # behind the versions and the start
    told = [parse_fields(body)[0] for body in FrameReader().feed(received)]
    asked, told = asked[asked.index(_read_time(asked)) + 1 :], told[told.index(_TIME) + 1 :]
    for name, found in reported["requests"].items():
        if found["took_s"] >= _LONGEST_S:
            raise SystemExit(f"{client.name}: {name} took {found['took_s']} s")
        skipped = 1 if parse_fields(asked[0])[0] == _TIME and name == "reqCurrentTime" else 0
        end = next(at for at in range(skipped, len(asked)) if parse_fields(asked[at])[0] == _TIME)
        told_end = told.index(_TIME, skipped)
        requests[name] = {
            "raised": found["raised"],
            "heard": list(dict.fromkeys(found["heard"])),
            "sent": [body.decode("latin-1") for body in asked[:end]],
            "received": list(dict.fromkeys(told[:told_end])),
        }
        asked, told = asked[end + 1 :], told[told_end + 1 :]
    recording = {"client": client.package, "version": reported["version"], "requests": requests}
    write_json(REQUESTS / f"{client.name}.json", recording)


def _read_time(frames: list[bytes]) -> bytes:
    return next(body for body in frames if parse_fields(body)[0] == _TIME)


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=True) + "\n", encoding="utf-8")


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as work:
        for client in CLIENTS:
            if not names or client.name in names:
                folder = Path(work) / client.name
                program = install(client, folder)
                if client.script:
                    record_start(client, program, folder)
                record_requests(client, program, folder)
    PAGE.write_text(build_page(read_asked()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
