"""The page: what stands where, and that nothing in it is taken for markup."""

import re
from datetime import UTC, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from orchestration.journal import Evidence, LatencyRecord
from orchestration.reports import Limits, Segment, Timeline, build_period_report
from orchestration.reports.drawing import draw_latency, draw_ticks, draw_timeline
from orchestration.reports.page import describe_duration, render_page
from orchestration.reports.timeline import Availability
from tests.report_scene import BEGIN, END, HOSTILE, read_story


@pytest.fixture(scope="module")
def page(story: Path) -> str:
    report = read_story(story, limits=Limits())
    return render_page(report, zone=UTC)


class _Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_text_from_outside_is_shown_and_never_markup(page: str) -> None:
    seen = _Reader(page)
    assert HOSTILE in seen.text
    assert not {"script", "b", "img", "link", "iframe", "object"} & set(seen.tags)


def test_it_asks_for_nothing(page: str) -> None:
    assert _Reader(page).references == []
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_it_says_in_words_what_it_shows_in_colours(page: str) -> None:
    text = " ".join(_Reader(page).text.split())
    for said in ("✓ Passed", "Gateway: 1 d 22 h up, 3 min", "unknown", "absent on purpose", "✓ met"):
        assert said in text


def test_an_empty_journal_makes_a_page_too() -> None:
    report = build_period_report(Evidence(), instance="default", since=BEGIN, until=END, made_at=END, limits=Limits())
    text = " ".join(_Reader(render_page(report, zone=UTC)).text.split())
    assert "✗ Failed" in text
    assert "No sample in this period." in text


def _segment(begin_h: float, end_h: float, known: Availability) -> Segment:
    return Segment(
        begin=BEGIN + timedelta(hours=begin_h), end=BEGIN + timedelta(hours=end_h), known=known, word=known.value
    )


def test_segments_stand_at_their_share_of_the_width() -> None:
    timeline = Timeline(
        segments=(
            _segment(0, 12, Availability.UP),
            _segment(12, 24, Availability.UNKNOWN),
            _segment(24, 48, Availability.DOWN),
        )
    )
    drawn = draw_timeline(timeline, BEGIN, END)
    assert [(one.x, one.width) for one in drawn] == [(0, 25), (25, 25), (50, 50)]


def test_a_death_of_a_second_in_two_days_is_wide_enough_to_be_seen_and_lies_above() -> None:
    second = 1 / 3600
    timeline = Timeline(
        segments=(
            _segment(0, 12, Availability.UP),
            _segment(12, 12 + second, Availability.DOWN),
            _segment(12 + second, 48, Availability.UP),
        )
    )
    drawn = draw_timeline(timeline, BEGIN, END)
    assert drawn[-1].segment.known is Availability.DOWN
    assert drawn[-1].width >= 0.1


def test_thousands_of_segments_are_drawn_as_hundreds_and_nothing_bad_vanishes() -> None:
    step = 48 / 6000
    segments = [_segment(one * step, (one + 1) * step, Availability.UP) for one in range(6000)]
    segments[2345] = _segment(2345 * step, 2346 * step, Availability.DOWN)
    segments[4000] = _segment(4000 * step, 4001 * step, Availability.UNKNOWN)
    drawn = draw_timeline(Timeline(segments=tuple(segments)), BEGIN, END)
    assert len(drawn) < 1300
    assert {one.segment.known for one in drawn} == {Availability.UP, Availability.DOWN, Availability.UNKNOWN}


@pytest.mark.parametrize("hours", [0.05, 1, 6, 48, 168, 24 * 30, 24 * 400])
def test_there_are_a_few_ticks_at_round_times(hours: float) -> None:
    ticks = draw_ticks(BEGIN, BEGIN + timedelta(hours=hours), UTC)
    assert 1 <= len(ticks) <= 9
    assert [one.x for one in ticks] == sorted(one.x for one in ticks)


def test_a_line_of_latencies_has_a_gap_where_there_is_no_sample() -> None:
    def sample(minute: float, mean_ms: float = 5.0) -> LatencyRecord:
        return LatencyRecord(
            at=BEGIN + timedelta(minutes=minute), length_s=60, count=1, least_ms=4, mean_ms=mean_ms, most_ms=8
        )

    samples = [sample(one) for one in range(1000) if not 300 <= one < 500]
    picture = draw_latency(samples, BEGIN, BEGIN + timedelta(minutes=1000))
    assert picture is not None
    assert len(picture.means) == 2
    last_before = float(picture.means[0].split()[-1].split(",")[0])
    first_after = float(picture.means[1].split()[0].split(",")[0])
    assert last_before == pytest.approx(300, abs=5)
    assert first_after == pytest.approx(500, abs=5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "n/a"),
        (0, "0 s"),
        (0.34, "0.3 s"),
        (59, "59 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (97200, "1 d 3 h"),
    ],
)
def test_durations_are_for_people(seconds: float | None, text: str) -> None:
    assert describe_duration(seconds) == text


def test_the_templates_are_where_the_page_looks_for_them() -> None:
    assert (Path(__file__).resolve().parents[3] / "templates" / "report" / "report.html.j2").is_file()
