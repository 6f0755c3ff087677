"""An etcd member on its own, and the settings of a host that uses it."""

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestration.settings import Settings

TTL_S = 3.0
FENCE_S = 0.6 * TTL_S
PROGRAM = os.environ.get("ETCD_PROGRAM", "etcd")


def find_free_port() -> int:
    """A port that no program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def require_etcd() -> None:
    """Skip the test where there is no etcd, and fail it in CI."""
    if shutil.which(PROGRAM) is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have etcd", pytrace=False)
        pytest.skip("there is no etcd")


@dataclass
class Store:
    """An etcd member on its own."""

    folder: Path
    port: int = field(default_factory=find_free_port)
    peer_port: int = field(default_factory=find_free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, with the data that it has."""
        peer = f"http://127.0.0.1:{self.peer_port}"
        argv = [PROGRAM, "--data-dir", str(self.folder), "--listen-client-urls", self.address]
        argv += ["--advertise-client-urls", self.address, "--listen-peer-urls", peer]
        argv += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}", "--log-level", "error"]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def build_lease_environ(folder: Path, store: Store, name: str) -> dict[str, str]:
    """The variables of one host."""
    (folder / name).mkdir(exist_ok=True)
    return {
        "STATE_DIR": str(folder / name),
        "LOG_DIR": str(folder / name / "logs"),
        "GATEWAY_SHARED_DIR": str(folder / name / "shared"),
        "GATEWAY_RUNTIME": "simulator",
        "LEASE_ETCD": store.address,
        "LEASE_TTL": f"{TTL_S:g}",
        "LEASE_HOST": name,
        "DISCORD_WEBHOOK_URL": "http://127.0.0.1:9/api/webhooks/1/not-served",
    }


def read_settings(folder: Path, store: Store, name: str, **further: str) -> Settings:
    """The settings of one host."""
    return Settings.from_environ(build_lease_environ(folder, store, name) | further)
