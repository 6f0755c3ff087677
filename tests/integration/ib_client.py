"""A client of the gateway that this project did not write: `ib_async`, connected as a bot connects it."""

import contextlib
from collections.abc import Iterator

import ib_async

from tests.integration.simulated_gateway import PATIENCE_S


@contextlib.contextmanager
def connected(port: int, *, client_id: int = 1) -> Iterator[tuple[ib_async.IB, list[tuple[int, int]]]]:
    """A connected `IB` and the (request id, code) of every error event. The test needs the fixture `loop`."""
    ib = ib_async.IB()
    errors: list[tuple[int, int]] = []
    ib.errorEvent += lambda request_id, code, *_: errors.append((request_id, code))
    ib.connect("127.0.0.1", port, clientId=client_id, timeout=PATIENCE_S, raiseSyncErrors=True)
    try:
        yield ib, errors
    finally:
        ib.disconnect()
        ib.sleep(0.01)
