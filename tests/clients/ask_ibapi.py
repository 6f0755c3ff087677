"""Every request of the official Python client, `ibapi`, of any version: prints what came of each as JSON.

Runs in a virtual environment that has `ibapi` and nothing of this project.
"""

import contextlib
import importlib
import json
import sys
import threading
import time
from typing import Any

from asked import list_requests
from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.scanner import ScannerSubscription
from ibapi.wrapper import EWrapper

_PATIENCE_S = 20


class App(EWrapper, EClient):  # type: ignore[misc]  # the library has no types
    """Notes which of its callbacks are called, in order."""

    def __init__(self) -> None:
        EWrapper.__init__(self)
        EClient.__init__(self, self)
        self.heard: list[str] = []
        self.times = threading.Semaphore(0)
        for name in dir(EWrapper):
            if not name.startswith("_") and not name.endswith("ProtoBuf") and name not in {"error", "logAnswer"}:
                setattr(self, name, self._note(name))

    def _note(self, name: str) -> Any:  # noqa: ANN401
        def note(*_arguments: object, **_named: object) -> None:
            self.heard.append(name)
            if name == "currentTime":
                self.times.release()

        return note

    def error(self, *arguments: object) -> None:
        # (id, code, text[, json]) up to 10.2x; (id, time, code, text, json) later.
        text = next(at for at, one in enumerate(arguments) if isinstance(one, str))
        self.heard.append(f"error {arguments[text - 1]}")

    def wait_until_answered(self, times: int = 1) -> None:
        """Until all that was sent before has been answered: the gateway answers in order."""
        self.reqCurrentTime()
        for _ in range(times):
            if not self.times.acquire(timeout=_PATIENCE_S):
                raise SystemExit(f"no answer; heard so far: {self.heard}")


def build_values() -> dict[str, Any]:
    contract, order = Contract(), Order()
    contract.symbol, contract.secType, contract.exchange, contract.currency = "SPY", "STK", "SMART", "USD"
    order.action, order.totalQuantity, order.orderType, order.lmtPrice = "BUY", 1, "LMT", 1.0
    if hasattr(order, "eTradeOnly"):  # 9.81 sends them, and a real gateway refuses them
        order.eTradeOnly = order.firmQuoteOnly = False
    values = {
        "contract": contract,
        "order": order,
        "execFilter": ExecutionFilter(),
        "subscription": ScannerSubscription(),
    }
    for name, module, kind in (
        ("orderCancel", "ibapi.order_cancel", "OrderCancel"),
        ("wshEventData", "ibapi.common", "WshEventData"),
    ):
        with contextlib.suppress(ImportError, AttributeError):
            values[name] = getattr(importlib.import_module(module), kind)()
    return values


def main(port: int, client_id: int) -> None:
    app = App()
    app.connect("127.0.0.1", port, client_id)
    threading.Thread(target=app.run, daemon=True).start()
    while not {"nextValidId", "managedAccounts"} <= set(app.heard):
        time.sleep(0.01)
    app.wait_until_answered()
    found = {}
    for name, send in list_requests(app, build_values(), callbacks=dir(EWrapper)):
        app.heard.clear()
        began_s = time.monotonic()
        raised = ""
        try:
            send()
        except Exception as error:  # noqa: BLE001 - whatever a client thinks of its own request
            raised = type(error).__name__
        is_time = name == "reqCurrentTime"
        app.wait_until_answered(2 if is_time else 1)
        heard = list(app.heard[:-1])
        found[name] = {"raised": raised, "heard": heard, "took_s": round(time.monotonic() - began_s, 3)}
    version = app.serverVersion()
    app.disconnect()
    print(json.dumps({"version": version, "requests": found}))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
