"""One connection of the official Python client, `ibapi`, of any version: prints what it heard as JSON.

Runs in a virtual environment that has `ibapi` and nothing of this project.
"""

import json
import sys
import threading
from typing import Any

from ibapi.client import EClient
from ibapi.wrapper import EWrapper

_PATIENCE_S = 20


class App(EWrapper, EClient):  # type: ignore[misc]  # the library has no types
    """Notes what the gateway says."""

    def __init__(self) -> None:
        EWrapper.__init__(self)
        EClient.__init__(self, self)
        self.heard: dict[str, Any] = {"errors": []}
        self.timed = threading.Event()

    def managedAccounts(self, accountsList: str) -> None:  # noqa: N802, N803 - the library's names
        self.heard["accounts"] = accountsList

    def nextValidId(self, orderId: int) -> None:  # noqa: N802, N803
        self.heard["next_valid_id"] = orderId
        self.reqCurrentTime()

    def currentTime(self, time: int) -> None:  # noqa: N802
        self.heard["time"] = time
        self.timed.set()

    def error(self, *arguments: object) -> None:
        # (id, code, text[, json]) up to 10.2x; (id, time, code, text, json) later.
        self.heard["errors"].append([one for one in arguments if isinstance(one, int | str)])


def main(port: int, client_id: int) -> None:
    app = App()
    app.connect("127.0.0.1", port, client_id)
    threading.Thread(target=app.run, daemon=True).start()
    app.timed.wait(_PATIENCE_S)
    app.heard["server_version"] = app.serverVersion()
    app.disconnect()
    print(json.dumps(app.heard))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
