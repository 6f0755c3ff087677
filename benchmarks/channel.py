"""A real HTTP server on loopback in the alert channel's place: what arrived, and when."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.place import SceneFailedError

_PATIENCE_S = 60.0


class Channel(ThreadingHTTPServer):
    """Takes every alert, notes the instant at which all of it has arrived, and answers 204."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self._arrived: list[tuple[str, float]] = []
        self._news = threading.Condition()

    @property
    def address(self) -> str:
        """Its address in the form that the channel's have."""
        return f"http://127.0.0.1:{self.server_port}/api/webhooks/42/a-token-of-the-benchmark"

    def note(self, title: str) -> None:
        """An alert of this title has arrived."""
        with self._news:
            self._arrived.append((title.removeprefix("[SIMULATED] "), time.perf_counter()))
            self._news.notify_all()

    def forget(self) -> None:
        """Forget what has arrived so far."""
        with self._news:
            self._arrived.clear()

    def wait_for(self, title: str) -> float:
        """When the first alert of this title arrived, by `time.perf_counter`.

        Raises:
            SceneFailedError: None came.
        """
        with self._news:
            if not self._news.wait_for(lambda: any(title == one for one, _ in self._arrived), _PATIENCE_S):
                heard = ", ".join(one for one, _ in self._arrived) or "nothing"
                raise SceneFailedError(f"no alert {title!r} came within {_PATIENCE_S:g} s, but {heard}")
            return next(at_s for one, at_s in self._arrived if one == title)


class _Taker(BaseHTTPRequestHandler):
    server: Channel

    def do_POST(self) -> None:
        alert = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.note(alert["embeds"][0]["title"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The base class would print to standard error."""


@contextlib.contextmanager
def run_channel() -> Iterator[Channel]:
    """A channel that listens until the context is left."""
    with Channel() as channel:
        thread = threading.Thread(target=channel.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield channel
        finally:
            channel.shutdown()
            thread.join()
