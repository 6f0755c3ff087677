"""`docs/how-to/first-day.md` followed to the letter, with ntfy's own server as the phone's."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.test_init import init
from tests.system import PATIENCE_S, PROJECT, System, end_and_read, find_free_port, wait_until

# Others that use the project folder may be waited for.
pytestmark = [pytest.mark.ntfy, pytest.mark.timeout(300)]

_PAGE = (PROJECT / "docs/how-to/first-day.md").read_text(encoding="utf-8")
_BOT = re.search(r"^```python\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)
_COMMANDS = [
    line.partition("#")[0].split()
    for block in re.findall(r"^```sh\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
_ANSWER = re.search(r"^\| Command that starts your bot \| `(.+)` \|$", _PAGE, re.MULTILINE)
_INV = ".venv/bin/inv"


@dataclass(frozen=True)
class Phone:
    """A topic at ntfy's own server, as a phone that has subscribed to it reads it.

    Attributes:
        address: What stands in `ALERT_URLS`.
        poll: Where what was received is read.
    """

    address: str
    poll: str

    def titles(self) -> list[str]:
        """What rang, oldest first."""
        with urllib.request.urlopen(self.poll, timeout=PATIENCE_S) as answer:  # noqa: S310 - loopback
            return [json.loads(line)["title"] for line in answer]

    def wait_for(self, title: str, count: int = 1) -> None:
        """Wait until it has rung with this title so many times."""
        wait_until(lambda: sum(one.endswith(f": {title}") for one in self.titles()) >= count, f"{title!r} on the phone")


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Phone]:
    """Skips where ntfy is not installed, but never in CI."""
    if shutil.which("ntfy") is None:
        reason = "there is no ntfy (Debian: apt install ntfy)"
        if os.environ.get("CI"):
            pytest.fail(f"CI must have it: {reason}", pytrace=False)
        pytest.skip(reason)
    port = find_free_port()
    server = f"http://127.0.0.1:{port}"
    configuration = tmp_path / "ntfy.yml"
    configuration.write_text(
        f"listen-http: 127.0.0.1:{port}\nbase-url: {server}\ncache-file: {tmp_path / 'ntfy.db'}\n"
        'visitor-request-limit-exempt-hosts: "127.0.0.1"\n',  # the test reads the topic more often than a phone does
        encoding="utf-8",
    )
    with (tmp_path / "ntfy.log").open("wb") as log:
        process = subprocess.Popen(["ntfy", "serve", "--config", str(configuration)], stdout=log, stderr=log)
    found = Phone(f"ntfy://127.0.0.1:{port}/TOPIC", f"{server}/TOPIC/json?poll=1")

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return found.titles() == []
        return False

    try:
        wait_until(answers, "ntfy's server")
        yield found
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_from_nothing_to_a_supervised_bot_and_a_phone_that_rings(system: System, phone: Phone) -> None:
    assert _BOT is not None
    assert _ANSWER is not None
    assert [words[:2] for words in _COMMANDS[1:]] == [
        [_INV, "init"],
        [_INV, "startup"],
        [_INV, "status"],
        ["pkill", "-9"],
        [_INV, "shutdown"],
    ]
    home = system.root / "home"
    bot = home / "bots" / "first" / "trader.py"
    bot.parent.mkdir(parents=True)
    bot.write_text(_BOT[1], encoding="utf-8")
    system.environ["HOME"] = str(home)
    (system.root / "settings.env").unlink()
    system.reserve_project_folder()

    ended = init(system, *_COMMANDS[1][2:], lines=("", _ANSWER[1], "", phone.address))
    assert ended.code == 0, ended.out + ended.err
    phone.wait_for("Test alert")

    supervisor = system.begin(*_COMMANDS[2][2:])
    phone.wait_for("Operational")
    wait_until(lambda: system.inv(*_COMMANDS[3][1:]).code == 0, "a status that is well")
    status = system.inv(*_COMMANDS[3][1:]).out
    assert "connected to the gateway" in status
    assert "unsupervised" not in status
    # Not `pkill`: other tests' bots have the same name.
    assert _COMMANDS[4][-1] in " ".join(system.bots()[0].cmdline())
    system.bots()[0].kill()
    phone.wait_for("Bot ended")
    supervisor.communicate(timeout=PATIENCE_S)

    supervisor = system.begin(*_COMMANDS[2][2:])
    phone.wait_for("Operational", count=2)
    ended = end_and_read(supervisor, signal.SIGINT)
    assert "stopped gracefully" in ended.err
    phone.wait_for("Bot stopped")
    assert system.inv(*_COMMANDS[5][1:]).code == 0
    assert system.processes() == []
