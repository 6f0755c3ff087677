"""A server that speaks the gateway's API as a test has written it down."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from tests.system import PATIENCE_S


@contextlib.contextmanager
def scripted_gateway(*scripts: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that lets each script treat one connection, the last one all that follow, and then closes it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def accept() -> None:
            served = 0
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, contextlib.suppress(OSError):
                    client.settimeout(PATIENCE_S)
                    scripts[min(served, len(scripts) - 1)](client)
                served += 1

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join()


def wait_for_the_end(client: socket.socket) -> None:
    """Read until the other side closes the connection."""
    while client.recv(4096):
        pass
