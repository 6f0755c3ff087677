"""The report's page in a real browser: it asks for nothing, fits a phone, can be read in both colour schemes."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.reports import Limits
from orchestration.reports.page import render_page
from tests.browser import Browser, need_browser, run_browser
from tests.report_scene import BEGIN, END, HOSTILE, read_story, tell_story

pytestmark = pytest.mark.browser
_PHONE, _DESK = 390, 1280
READABLE = 4.5  # WCAG 2.2, 1.4.3: text of ordinary size against what is behind it

# The contrast of each piece of text with what is behind it, by the definition of WCAG 2.2.
CONTRASTS = """
(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; }
    return parse(getComputedStyle(document.body).backgroundColor); };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest('title') || e.closest('.bar') || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), inSvg = e.namespaceURI.endsWith('svg');
    const a = light(parse(inSvg ? style.fill : style.color)), b = light(behind(e));
    const text = e.tagName + ': ' + e.textContent.trim().slice(0, 40);
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text]);
  }
  return found;
})()
"""
_PIECES = """
[...document.querySelectorAll('#lane-NAME rect')].map(e => { const r = e.getBoundingClientRect();
  return [Number(e.dataset.begin), r.left, r.width, e.getAttribute('class')]; })
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    account = read_story(tell_story(folder), limits=Limits())
    path.write_text(render_page(account, zone=UTC), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with run_browser(need_browser()) as running:
        yield running


@pytest.mark.parametrize("width", [320, _PHONE, 768, _DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_asks_for_nothing_complains_of_nothing_and_fits(
    browser: Browser, page: Path, width: int, scheme: str
) -> None:
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(page, width=width, scheme=scheme)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.requests == [page.absolute().as_uri()]
    assert browser.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser: Browser, page: Path, scheme: str) -> None:
    browser.open(page, width=_DESK, scheme=scheme)
    contrasts: list[tuple[float, str]] = browser.ask(CONTRASTS)
    assert len(contrasts) > 50
    assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < READABLE] == []


def test_the_colour_schemes_differ(browser: Browser, page: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        browser.open(page, width=_DESK, scheme=scheme)
        grounds.append(browser.ask("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


@pytest.mark.parametrize("width", [_PHONE, _DESK])
@pytest.mark.parametrize("lane", ["gateway", "bot"])
def test_the_pieces_of_the_timeline_stand_where_their_time_is(
    browser: Browser, page: Path, lane: str, width: int
) -> None:
    browser.open(page, width=width)
    left: float = browser.ask(f"document.querySelector('#lane-{lane}').getBoundingClientRect().left")
    whole: float = browser.ask(f"document.querySelector('#lane-{lane}').getBoundingClientRect().width")
    pieces: list[tuple[float, float, float, str]] = browser.ask(_PIECES.replace("NAME", lane))
    assert len(pieces) >= 6
    for began_s, x, _, kind in pieces:
        share = (began_s - BEGIN.timestamp()) / (END - BEGIN).total_seconds()
        assert x == pytest.approx(left + share * whole, abs=1.5), kind
    covered = sum(one[2] for one in pieces)
    assert covered == pytest.approx(whole, abs=whole * 0.01 + len(pieces))


def test_unwatched_time_has_its_own_pattern(browser: Browser, page: Path) -> None:
    browser.open(page, width=_DESK)
    fills = {
        known: browser.ask(f"getComputedStyle(document.querySelector('.k-{known}')).fill")
        for known in ("up", "down", "excused", "absent", "unknown")
    }
    assert len(set(fills.values())) == 5
    unknown: list[Any] = browser.ask(_PIECES.replace("NAME", "gateway"))
    widths = [one[2] for one in unknown if one[3] == "k-unknown"]
    whole = browser.ask("document.querySelector('#lane-gateway').getBoundingClientRect().width")
    gap = timedelta(minutes=25) / (END - BEGIN)
    assert max(widths) == pytest.approx(whole * gap, abs=1.5)


def test_it_has_names_for_those_who_do_not_see_it(browser: Browser, page: Path) -> None:
    browser.open(page, width=_DESK)
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node.get("ignored") and "role" in node
    }
    pictures = [name for role, name in named if role in {"img", "image"}]
    assert any(name.startswith("Gateway: ") and "up" in name for name in pictures)
    assert any(name.startswith("Bot: ") for name in pictures)
    assert all(pictures)
    headings = [name for role, name in named if role == "heading"]
    assert {"Uptime", "Criteria", "Starts"} <= set(headings)


def test_text_from_outside_stays_text(browser: Browser, page: Path) -> None:
    browser.open(page, width=_DESK)
    assert HOSTILE in browser.ask("document.body.innerText")
    assert browser.ask("document.querySelectorAll('main script, main b').length") == 0


def test_it_can_be_printed(browser: Browser, page: Path) -> None:
    browser.open(page, width=_DESK, scheme="dark", media="print")
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = browser.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
    assert len(printed["data"]) > 10_000
