"""Every request of the bare client of `ib_async`, or of `ib_insync` before it: prints what came of each as JSON.

Runs in a virtual environment that has the library and nothing of this project.
"""

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from asked import list_requests

_PATIENCE_S = 20
# What the connection itself reports, beside the gateway's messages.
_NOT_MESSAGES = frozenset({"tcpDataArrived", "tcpDataProcessed", "connectAck", "connectionClosed", "setTimeout"})


class App:
    """What the library's client reports to, by the names that it calls."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.times = asyncio.Semaphore(0)

    def __getattr__(self, name: str) -> Callable[..., None]:
        def note(*_arguments: object, **_named: object) -> None:
            if name not in _NOT_MESSAGES:
                self.heard.append(name)
            if name == "currentTime":
                self.times.release()

        return note

    def error(self, _request_id: int, code: int, *_rest: object) -> None:
        self.heard.append(f"error {code}")


async def main(library: Any, port: int, client_id: int) -> None:  # noqa: ANN401
    app = App()
    client = library.Client(app)
    await client.connectAsync("127.0.0.1", port, client_id, _PATIENCE_S)

    async def wait_until_answered(times: int = 1) -> None:
        client.reqCurrentTime()
        for _ in range(times):
            await asyncio.wait_for(app.times.acquire(), _PATIENCE_S)

    await wait_until_answered()
    values = {
        "contract": library.Stock("SPY", "SMART", "USD"),
        "order": library.LimitOrder("BUY", 1, 1.0),
        "execFilter": library.ExecutionFilter(),
        "subscription": library.ScannerSubscription(),
        "data": library.WshEventData(),
    }
    found = {}
    for name, send in list_requests(client, values):
        app.heard.clear()
        began_s = time.monotonic()
        raised = ""
        try:
            send()
        except Exception as error:  # noqa: BLE001 - whatever a client thinks of its own request
            raised = type(error).__name__
        await wait_until_answered(2 if name == "reqCurrentTime" else 1)
        heard = list(app.heard[:-1])
        found[name] = {"raised": raised, "heard": heard, "took_s": round(time.monotonic() - began_s, 3)}
    version = client.serverVersion()
    client.disconnect()
    print(json.dumps({"version": version, "requests": found}))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(importlib.import_module(sys.argv[3]), int(sys.argv[1]), int(sys.argv[2])))
