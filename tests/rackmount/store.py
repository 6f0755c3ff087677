"""An etcd member in a container of its own, which the test hosts reach: the store of their lease."""

import base64
import contextlib
import json
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from tests.system import wait_until

_PORT = 2379


@dataclass(frozen=True)
class Store:
    """The member.

    Attributes:
        name: The container's name.
        address: Its address for the hosts.
    """

    name: str
    address: str

    @property
    def endpoint(self) -> str:
        """What LEASE_ETCD is."""
        return f"http://{self.address}:{_PORT}"

    def read_keys(self) -> set[str]:
        """The last words of all keys that there are."""
        body = json.dumps({"key": "AA==", "range_end": "AA==", "keys_only": True}).encode()
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self.endpoint}/v3/kv/range", body, timeout=10) as answer:
            rows = json.load(answer).get("kvs", [])
        return {base64.b64decode(row["key"]).decode().rpartition("/")[2] for row in rows}


@contextlib.contextmanager
def running_store(image: str) -> Iterator[Store]:
    """Start it; gone afterwards."""
    program = shutil.which("etcd")
    assert program is not None, "there is no etcd: apt install etcd-server"
    name = f"zero-touch-etcd-{uuid.uuid4().hex[:8]}"
    listen = ["--listen-client-urls", f"http://0.0.0.0:{_PORT}", "--data-dir", "/var/lib/etcd"]
    try:
        _docker(
            "create",
            "--name",
            name,
            image,
            "/usr/local/bin/etcd",
            *listen,
            "--advertise-client-urls",
            f"http://127.0.0.1:{_PORT}",
        )
        _docker("cp", program, f"{name}:/usr/local/bin/etcd")
        _docker("start", name)
        address = _docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).strip()
        store = Store(name, address)
        wait_until(lambda: _answers(store), "etcd")
        yield store
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, timeout=60, check=False)


def _answers(store: Store) -> bool:
    with contextlib.suppress(OSError):
        store.read_keys()
        return True
    return False


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=True).stdout
