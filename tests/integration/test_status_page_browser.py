"""The live page in a real browser: it asks for nothing, fits a phone, and can be read in both colour schemes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.commands.status_page import serving_status
from orchestration.hold import write_hold
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from tests.browser import Browser, need_browser, run_browser
from tests.integration.simulated_gateway import simulated_gateway
from tests.integration.test_report_page import CONTRASTS, READABLE
from tests.integration.test_status_page import get
from tests.system import SIGTERM, System, end_and_read, find_free_port, wait_until

pytestmark = pytest.mark.browser
_WIDTHS = (320, 390, 1280)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with run_browser(need_browser()) as running:
        yield running


def look_at(browser: Browser, name: str, text: str, folder: Path) -> None:
    """Look at a page in every width and scheme. `LIVE_PAGE_SHOTS` names a folder for pictures of it."""
    path = folder / f"{name}.html"
    path.write_text(text, encoding="utf-8")
    for scheme in ("light", "dark"):
        for width in _WIDTHS:
            browser.requests.clear()
            browser.complaints.clear()
            browser.open(path, width=width, scheme=scheme)
            assert browser.ask("document.documentElement.scrollWidth") <= width, (name, width)
            assert browser.requests == [path.absolute().as_uri()]
            assert browser.complaints == []
            if pictures := os.environ.get("LIVE_PAGE_SHOTS"):
                browser.shoot(Path(pictures) / f"{name}-{width}-{scheme}.png")
        contrasts: list[tuple[float, str]] = browser.ask(CONTRASTS)
        assert len(contrasts) > 20
        assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < READABLE] == [], name


def read_page(environ: dict[str, str], **changes: str) -> str:
    """The page of a system in which nothing is supervised, from this process."""
    settings = Settings.from_environ(environ | changes)
    assert settings.status_listen is not None
    with serving_status(settings, SystemClock(), lambda _: None):
        return get(settings.status_listen.port).text


def test_a_system_that_is_down_held_or_holds_positions_without_a_bot(browser: Browser, tmp_path: Path) -> None:
    environ = {
        "STATE_DIR": str(tmp_path / "state"),
        "LOG_DIR": str(tmp_path / "a-folder-with-a-name-that-has-no-place-to-break-it" / "logs"),
        "GATEWAY_SHARED_DIR": str(tmp_path / "shared"),
        "GATEWAY_RUNTIME": "external",
        "GATEWAY_PORT": str(find_free_port()),
        "STATUS_LISTEN": f"127.0.0.1:{find_free_port()}",
        "ALERT_URLS": "htps://a-mistake, ntfys://topic",
    }
    down = read_page(environ)
    assert "not running" in down
    look_at(browser, "down", down, tmp_path)
    held = ("--position", "SPY=100", "--order", "7:1012:SELL:100:SPY:STP")
    with simulated_gateway(*held) as gateway:
        money = read_page(environ, GATEWAY_PORT=str(gateway.port), SHOW_AMOUNTS="yes")
    assert "SPY" in money
    assert "open at the broker while no bot runs: 1 position and 1 order" in money
    look_at(browser, "positions", money, tmp_path)
    (tmp_path / "state").mkdir(exist_ok=True)
    write_hold(tmp_path / "state", reason="a word-of-" + "sixty-letters-" * 5 + " <b>&", now=SystemClock().now())
    held_down = read_page(environ)
    assert "Held down" in held_down
    look_at(browser, "held", held_down, tmp_path)


def test_a_system_that_is_well_or_needs_attention(browser: Browser, system: System, tmp_path: Path) -> None:
    system.use_plan()
    system.use_small_bot("--ready")
    port = find_free_port()
    system.environ |= {"STATUS_LISTEN": f"127.0.0.1:{port}", "MONITOR_INTERVAL": "1"}
    supervisor = system.begin("--foreground")
    system.wait_for_log("result success")
    wait_until(lambda: get(port, "/healthz").status == 200, "a page that is well")
    look_at(browser, "well", get(port).text, tmp_path)
    bot = system.bots()[0]
    bot.suspend()
    wait_until(lambda: get(port, "/healthz").status == 503, "a page that is not well")
    text = get(port).text
    look_at(browser, "attention", text, tmp_path)
    (row,) = (line for line in text.splitlines() if f"process {bot.pid}, up" in line)
    assert "stopped by a signal (SIGSTOP)" in row
    assert row.count(str(bot.pid)) == 1  # it is named once
    bot.resume()
    assert end_and_read(supervisor, SIGTERM).code == 0
