"""The broker's side of a login, shared by several simulated gateways: one session for a user name.

`python -m orchestration.simulator.broker --listen HOST:PORT` is the authority; the fault `broker=HOST:PORT/USER/ACTION`
lets a simulated gateway log in there. A login while the user has a session does what the real login does with
`EXISTING_SESSION_DETECTED_ACTION`: `primary` takes the session away from its holder, `secondary` gives way. A
session ends with its connection; one that is cut off keeps it until another login takes it.

The authority writes each event as a JSON line with the boot clock's time, for tests that compare it with other events.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Sequence

from orchestration.simulator.faults import BrokerLogin

_RETRY_S = 1.0
_LIMIT_BYTES = 4096


class BrokerSession:
    """One gateway's session.

    Args:
        login: Where and how it logs in.
        gives_way: Whether it gives way to an existing session where the login does not say so.
    """

    def __init__(self, login: BrokerLogin, *, gives_way: bool = False) -> None:
        self._login = login
        self._is_primary = not gives_way if login.is_primary is None else login.is_primary
        self._token = ""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def begin(self) -> bool:
        """Log in, however long the authority cannot be reached. Returns False if another session keeps it."""
        while True:
            try:
                return await self._ask()
            except (OSError, ValueError):
                await asyncio.sleep(_RETRY_S)

    async def wait_until_taken(self) -> None:
        """Return once another login has taken the session; a connection that breaks is made again meanwhile."""
        while True:
            with contextlib.suppress(OSError, ValueError):
                if self._reader is not None and await self._reader.readline() == b"taken\n":
                    return
            await asyncio.sleep(_RETRY_S)
            with contextlib.suppress(OSError, ValueError):
                if not await self._ask():
                    return

    def close(self) -> None:
        """Log out."""
        if self._writer is not None:
            self._writer.close()

    async def _ask(self) -> bool:
        self.close()
        login = self._login
        self._reader, self._writer = await asyncio.open_connection(login.host, login.port, limit=_LIMIT_BYTES)
        asked = {"user": login.user, "is_primary": self._is_primary, "token": self._token}
        self._writer.write(json.dumps(asked).encode() + b"\n")
        verb, _, token = (await self._reader.readline()).decode("ascii").strip().partition(" ")
        if verb not in {"ok", "refused"}:
            raise ValueError("no answer")
        self._token = token or self._token
        return verb == "ok"


class Broker:
    """The authority."""

    def __init__(self) -> None:
        self._sessions: dict[str, tuple[str, asyncio.StreamWriter | None]] = {}
        self._count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One gateway's connection."""
        token = user = ""
        with contextlib.suppress(OSError, ValueError, KeyError):
            asked = json.loads(await reader.readline())
            user = str(asked["user"])
            token = self._admit(user, str(asked["token"]), writer, is_primary=bool(asked["is_primary"]))
            writer.write(f"ok {token}\n".encode() if token else b"refused\n")
            await writer.drain()
            while token and await reader.readline():
                pass
        if token and self._sessions.get(user) == (token, writer):
            del self._sessions[user]
            _say("logout", user=user, token=token, peer=_read_peer(writer))
        writer.close()

    def _admit(self, user: str, token: str, writer: asyncio.StreamWriter, *, is_primary: bool) -> str:
        """The token of the session that is given; empty if there is another one that stays."""
        held, holder = self._sessions.get(user, ("", None))
        if token and held != token:
            # It was cut off, and may only go on if no other login came since.
            if held:
                _say("taken_meanwhile", user=user, token=token)
                return ""
        elif not token and held:
            if not is_primary:
                _say("refused", user=user, token=held, peer=_read_peer(writer))
                return ""
            if holder is not None:
                holder.write(b"taken\n")
            _say("taken", user=user, token=held)
        if not token:
            self._count += 1
            token = str(self._count)
        self._sessions[user] = token, writer
        _say("login", user=user, token=token, peer=_read_peer(writer))
        return token


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the authority until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m orchestration.simulator.broker", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:4009", metavar="HOST:PORT", help="(default: %(default)s)")
    host, _, port = parser.parse_args(arguments).listen.rpartition(":")

    async def run() -> None:
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        broker = Broker()
        server = await asyncio.start_server(broker.serve, host, int(port), limit=_LIMIT_BYTES)
        _say("listening", port=server.sockets[0].getsockname()[1])
        await ended.wait()
        server.close()

    asyncio.run(run())
    return 0


def _read_peer(writer: asyncio.StreamWriter) -> str:
    """The address that the other side of a connection has; empty if it is unknown."""
    return str((writer.get_extra_info("peername") or ("",))[0])


def _say(event: str, **fields: object) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps({"at_s": time.clock_gettime(time.CLOCK_BOOTTIME), "event": event, **fields}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
