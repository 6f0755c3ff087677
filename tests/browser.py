"""A real browser without a screen, spoken to over its own debugging protocol: what it renders and asks for.

Chromium reads commands from descriptor 3 and writes answers and events to descriptor 4, each a JSON text that ends in a
NUL byte. So no library and no port is needed.
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE_S = 60.0


def find_browser() -> str | None:
    """The browser's program, or None."""
    return next((found for name in _PROGRAMS if (found := shutil.which(name))), None)


def need_browser() -> str:
    """The browser's program; skips the test where there is none, but never in CI."""
    found = find_browser()
    if found is not None:
        return found
    reason = "there is no Chromium (Debian: apt install chromium)"
    if os.environ.get("CI"):
        pytest.fail(f"CI must have a browser: {reason}", pytrace=False)
    pytest.skip(reason)


class Browser:
    """One browser with one page.

    Attributes:
        requests: The address of everything that was asked for.
        complaints: What stood in its console, and what it would not load.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", commands: int, answers: int) -> None:
        self._process = process
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._loaded = 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = str(self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - the protocol's JSON
        """Send one command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            answer = self._read(deadline_s)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def open(self, path: Path, *, width: int, height: int = 900, scheme: str = "light", media: str = "screen") -> None:
        """Load a file in a window of this width, and wait until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", media=media, features=[feature])
        before = self._loaded
        self.call("Page.navigate", url=path.absolute().as_uri())
        deadline_s = time.monotonic() + _PATIENCE_S
        while self._loaded == before:
            self._note(self._read(deadline_s))

    def ask(self, expression: str) -> Any:  # noqa: ANN401 - a JSON value
        """What a JavaScript expression is on the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def shoot(self, path: Path, *, until: str = "") -> None:
        """A picture of the page, down to the element that a selector names, or of all of it."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        height = self.ask(f"document.querySelector({until!r}).getBoundingClientRect().bottom + 8") if until else None
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded += 1
        elif method == "Network.requestWillBeSent":
            self.requests.append(str(parameters["request"]["url"]))
        elif method == "Log.entryAdded":
            self.complaints.append(str(parameters["entry"]["text"]))
        elif method in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown"}:
            self.complaints.append(json.dumps(parameters)[:500])

    def _read(self, deadline_s: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert time.monotonic() < deadline_s, "the browser does not answer"
            content = os.read(self._answers, 1 << 20)
            assert content, f"the browser has ended with {self._process.poll()}"
            self._buffer += content
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that is gone afterwards, whatever the processes of a killed browser still write before they end."""
    folder = Path(tempfile.mkdtemp(prefix="browser-"))
    try:
        yield folder
    finally:
        deadline_s = time.monotonic() + _PATIENCE_S
        while folder.exists():
            shutil.rmtree(folder, ignore_errors=time.monotonic() < deadline_s)


@contextlib.contextmanager
def run_browser(program: str) -> Iterator[Browser]:
    """A browser of its own, with a profile of its own, that may not reach any network and leaves nothing behind."""
    with open_folder() as folder, contextlib.ExitStack() as descriptors:
        theirs, commands = os.pipe()
        answers, theirs_too = os.pipe()
        for one in (commands, answers):
            descriptors.callback(os.close, one)
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        options += ["--no-first-run", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
        argv = [program, *options, f"--user-data-dir={folder}/profile", "--remote-debugging-pipe"]
        process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{theirs_too}', "bash", *argv],
            pass_fds=(theirs, theirs_too),
            env={**os.environ, "TMPDIR": str(folder)},  # where it makes a folder that it never removes
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(theirs_too)
        try:
            yield Browser(process, commands, answers)
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, 9)
            process.wait()
