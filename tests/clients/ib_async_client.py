"""One connection of `ib_async`'s bare client: prints what it heard as JSON."""

import asyncio
import json
import sys
from typing import Any

import ib_async

_PATIENCE_S = 20


class App:
    """What the library's client reports to, by the names that it calls."""

    def __init__(self) -> None:
        self.heard: dict[str, Any] = {"errors": []}
        self.timed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the rest of the wrapper
        return lambda *_arguments: None

    def managedAccounts(self, accounts: str) -> None:  # noqa: N802
        self.heard["accounts"] = accounts

    def nextValidId(self, order_id: int) -> None:  # noqa: N802
        self.heard["next_valid_id"] = order_id

    def currentTime(self, time: int) -> None:  # noqa: N802
        self.heard["time"] = time
        self.timed.set()

    def error(self, *arguments: object) -> None:
        self.heard["errors"].append(list(arguments))


async def main(port: int, client_id: int) -> None:
    app = App()
    make_client: Any = ib_async.Client
    client = make_client(app)
    await client.connectAsync("127.0.0.1", port, client_id, _PATIENCE_S)
    client.reqCurrentTime()
    await asyncio.wait_for(app.timed.wait(), _PATIENCE_S)
    app.heard["server_version"] = client.serverVersion()
    client.disconnect()
    print(json.dumps(app.heard))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
