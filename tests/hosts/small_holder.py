"""A small holder of the lease, for the harness: SPEC L3 and L4 in one loop, with the real fence and gateway.

`python -m tests.hosts.small_holder`, from the environment: `LEASE_ETCD`, `LEASE_TTL`, `LEASE_HOST`, `BOT_RECORD_PATH`,
`GATEWAY_PORT`, `GATEWAY_FAULTS`, `BOT_PROGRAM`. It stands by, leads, and stands by again, until SIGTERM.
"""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import requests

from orchestration.supervision.fence import Fence, FenceError
from orchestration.system.clock import read_boottime_s
from orchestration.system.processes import read_identity

KEY = "/zero-touch/lease"
_HOLD = 0.6  # of the TTL: for so long after a renewal that counts, and no longer, the bot may run
_MARGIN_S = 2.0
_PAUSE_S = 0.25


class StoreUnknownError(Exception):
    """The store gave no answer that counts."""


@dataclass(frozen=True)
class Held:
    """What the store says of the key.

    Attributes:
        revision: The revision that made it; 0 if it is not there.
        value: What stands in it.
    """

    revision: int
    value: str


class Store:
    """etcd by its JSON gateway: each request at most a fifth of the TTL long, one endpoint after the other."""

    def __init__(self, endpoints: list[str], ttl_s: float) -> None:
        self._endpoints = endpoints
        self._timeout_s = ttl_s / 5
        self.ttl_s = ttl_s

    def ask(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """One request; the next one goes elsewhere if this one fails."""
        try:
            answer = requests.post(f"{self._endpoints[0]}/v3/{path}", json=body, timeout=self._timeout_s)
            answer.raise_for_status()
            return dict(answer.json())
        except (requests.RequestException, ValueError) as error:
            self._endpoints.append(self._endpoints.pop(0))
            raise StoreUnknownError(str(error)) from error

    def read(self) -> Held:
        """The key, by a linearizable read."""
        found = self.ask("kv/range", {"key": _encode(KEY)}).get("kvs")
        if not isinstance(found, list) or not found:
            return Held(0, "")
        return Held(int(found[0]["create_revision"]), base64.b64decode(found[0].get("value", "")).decode())

    def acquire(self, value: str) -> tuple[str, int] | None:
        """Take it if it is free. Returns the lease and the revision."""
        lease = str(self.ask("lease/grant", {"TTL": int(self.ttl_s), "ID": 0})["ID"])
        put = {"requestPut": {"key": _encode(KEY), "value": _encode(value), "lease": lease}}
        free = {"key": _encode(KEY), "target": "CREATE", "result": "EQUAL", "createRevision": "0"}
        done = self.ask("kv/txn", {"compare": [free], "success": [put], "failure": []})
        if not done.get("succeeded"):
            return None
        header = done["header"]
        assert isinstance(header, dict)
        return lease, int(header["revision"])

    def renew(self, lease: str, revision: int) -> bool:
        """Renew. Returns False if the key is not ours any more."""
        result = self.ask("lease/keepalive", {"ID": lease}).get("result")
        if not isinstance(result, dict) or int(result.get("TTL", 0)) <= 0:
            return False
        ours = {"key": _encode(KEY), "target": "CREATE", "result": "EQUAL", "createRevision": str(revision)}
        return bool(self.ask("kv/txn", {"compare": [ours], "success": [], "failure": []}).get("succeeded"))

    def release(self, lease: str) -> None:
        """Let the key go at once."""
        with contextlib.suppress(StoreUnknownError):
            self.ask("lease/revoke", {"ID": lease})


class Holder:
    """One host's holder."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ
        self._store = Store(environ["LEASE_ETCD"].split(","), float(environ["LEASE_TTL"]))
        self._marker = environ["BOT_RECORD_PATH"]
        self._is_ended = False
        self._gateway: subprocess.Popen[bytes] | None = None

    def end(self, *_: object) -> None:
        """End soon."""
        self._is_ended = True

    def run(self) -> None:
        """Stand by and lead in turn."""
        free_since_s: float | None = None
        hold_s = _HOLD * self._store.ttl_s
        while not self._is_ended:
            time.sleep(_PAUSE_S)
            try:
                if self._store.read().revision:
                    free_since_s = None
                    continue
                free_since_s = read_boottime_s() if free_since_s is None else free_since_s
                if read_boottime_s() - free_since_s < hold_s + _MARGIN_S:
                    continue
                asked_s = read_boottime_s()
                taken = self._store.acquire(self._environ["LEASE_HOST"])
            except StoreUnknownError as error:
                say(f"store: {error}"[:200])
                free_since_s = None
                continue
            free_since_s = None
            if taken is not None:
                say(f"leads, revision {taken[1]}")
                self._lead(*taken, asked_s + hold_s)
        say("ended")

    def _lead(self, lease: str, revision: int, deadline_s: float) -> None:
        environ = self._environ
        hold_s = _HOLD * self._store.ttl_s
        try:
            fence = Fence.start(deadline_s, marker=self._marker, environ=environ, on_change=lambda: None)
        except FenceError as error:
            say(str(error))
            self._store.release(lease)
            return
        bot: subprocess.Popen[bytes] | None = None
        is_released = False
        try:
            port = environ["GATEWAY_PORT"]
            faults = ("--faults", environ["GATEWAY_FAULTS"]) if environ["GATEWAY_FAULTS"] else ()
            self._gateway = subprocess.Popen(
                [sys.executable, "-m", "orchestration.simulator", "--port", port, *faults],
                env=environ,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            while not self._is_ended and not fence.has_fired and not fence.has_ended:
                asked_s = read_boottime_s()
                with contextlib.suppress(StoreUnknownError, FenceError):
                    if not self._store.renew(lease, revision):
                        say("the lease is lost")
                        fence.fire()
                        break
                    fence.renew(asked_s + hold_s)
                if bot is None and fence.is_alive() and self._is_gateway_open():
                    bot = subprocess.Popen(
                        [sys.executable, environ["BOT_PROGRAM"]],
                        env={**environ, "BOT_RECORD": self._marker, "LEASE_REVISION": str(revision)},
                        start_new_session=True,
                    )
                    identity = read_identity(bot.pid)
                    if identity is not None:
                        fence.watch([identity])
                if bot is not None and bot.poll() is not None and not fence.has_fired:
                    say("the bot has ended by itself")
                    break
                time.sleep(_PAUSE_S)
            is_released = not fence.has_fired
        finally:
            if bot is not None:
                bot.kill()
                bot.wait()
            self._stop_gateway()
            fence.release()
            say(f"leads no longer (fence fired: {fence.has_fired})")
            if is_released:
                self._store.release(lease)

    def _is_gateway_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self._environ["GATEWAY_PORT"]))) == 0

    def _stop_gateway(self) -> None:
        if self._gateway is not None:
            self._gateway.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._gateway.wait(5)
            self._gateway.kill()
            self._gateway.wait()
            self._gateway = None


def say(text: str) -> None:
    """A line of the log."""
    sys.stdout.write(f"{read_boottime_s():.3f} {text}\n")
    sys.stdout.flush()


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


if __name__ == "__main__":
    holder = Holder(dict(os.environ))
    signal.signal(signal.SIGTERM, holder.end)
    holder.run()
