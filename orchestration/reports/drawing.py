"""Where things stand on the page: shares of the width, shapes, ticks. Pure; the page's template only puts them in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from orchestration.journal import LatencyRecord, RunRecord
from orchestration.reports.incidents import ReportedIncident
from orchestration.reports.timeline import Availability, Segment, Timeline

_MOST_PIECES = 600  # more would be thinner than a pixel of a desktop screen
_CELLS = 1200
_LEAST_WIDTH = 0.12  # percent: one pixel of a desktop screen, so that a death of a second is seen in two days
_MARKS_A_PERCENT = 5  # a mark is some pixels wide
_STEPS_S = (60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000)
_MOST_TICKS = 8
_LATENCY_POINTS = 400
LATENCY_WIDTH, LATENCY_HEIGHT = 1000, 100  # the latency picture's own units
_MOST_STARTS = 30


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A segment on the page: `x` and `width` are percent of the picture."""

    x: float
    width: float
    segment: Segment


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark of the time axis: `x` is percent of the picture, `anchor` says where its text goes."""

    x: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An incident on the time axis."""

    x: float
    incident: ReportedIncident


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A step of a start: `x` and `width` are percent of the longest start."""

    x: float
    width: float
    name: str
    duration_s: float
    status: str
    number: int


@dataclass(frozen=True, kw_only=True)
class StartBar:
    """A start as a bar."""

    run: RunRecord
    phases: tuple[Phase, ...]


@dataclass(frozen=True, kw_only=True)
class LatencyPicture:
    """Latency over time, in units of `LATENCY_WIDTH` and `LATENCY_HEIGHT`, the highest at the top.

    Attributes:
        top_ms: What the picture's upper edge stands for.
        means: One polyline for each stretch of time without a gap.
        bands: One polygon for each, from the quickest to the slowest.
    """

    top_ms: float
    means: tuple[str, ...]
    bands: tuple[str, ...]


def place(at: datetime, since: datetime, until: datetime) -> float:
    """Where an instant stands, in percent of the width."""
    return 100.0 * (at - since) / (until - since)


def draw_timeline(timeline: Timeline, since: datetime, until: datetime) -> tuple[Piece, ...]:
    """The segments at their places. A short one that is not up is made wide enough to be seen, and lies above."""
    segments = timeline.segments if len(timeline.segments) <= _MOST_PIECES else _coarsen(timeline, since, until)
    pieces = []
    for one in segments:
        x = place(one.begin, since, until)
        width = place(one.end, since, until) - x
        if one.known in {Availability.DOWN, Availability.UNKNOWN} and width < _LEAST_WIDTH:
            x, width = min(x, 100.0 - _LEAST_WIDTH), _LEAST_WIDTH
        pieces.append(Piece(x=round(x, 4), width=round(width, 4), segment=one))
    # What is drawn later lies above; SVG knows no other order.
    return tuple(sorted(pieces, key=lambda piece: (piece.segment.known is Availability.DOWN, piece.x)))


def _coarsen(timeline: Timeline, since: datetime, until: datetime) -> tuple[Segment, ...]:
    """Cells of equal width, each with the worst that is in it: nothing bad vanishes."""
    cell = (until - since) / _CELLS
    worst: list[Segment | None] = [None] * _CELLS
    for one in timeline.segments:
        first = min(_CELLS - 1, int((one.begin - since) / cell))
        last = min(_CELLS - 1, math.ceil((one.end - since) / cell) - 1)
        for number in range(first, max(first, last) + 1):
            there = worst[number]
            if there is None or _badness(one.known) > _badness(there.known):
                worst[number] = one
    found: list[Segment] = []
    for number, picked in enumerate(worst):
        if picked is None:
            continue
        begin, end = since + number * cell, since + (number + 1) * cell
        if found and (found[-1].known, found[-1].word) == (picked.known, picked.word):
            begin = found.pop().begin
        found.append(Segment(begin=begin, end=end, known=picked.known, word=picked.word))
    return tuple(found)


def _badness(known: Availability) -> int:
    """Down is worst to overlook, then unobserved time."""
    return (Availability.UP, Availability.ABSENT, Availability.EXCUSED, Availability.UNKNOWN, Availability.DOWN).index(
        known
    )


def draw_ticks(since: datetime, until: datetime, zone: tzinfo | None) -> tuple[Tick, ...]:
    """Round times, at most eight."""
    length_s = (until - since).total_seconds()
    step_s = next((step for step in _STEPS_S if length_s / step <= _MOST_TICKS), _STEPS_S[-1] * 2)
    local = since.astimezone(zone)
    at = local.replace(hour=0, minute=0, second=0, microsecond=0)
    ticks = []
    while at <= until:
        if at >= since:
            x = place(at, since, until)
            is_day = (at.hour, at.minute) == (0, 0)
            label = f"{at:%d %b}" if is_day else f"{at:%H:%M}"
            anchor = "start" if x < 4 else "end" if x > 96 else "middle"  # noqa: PLR2004 - half a label's width
            ticks.append(Tick(x=round(x, 4), label=label, anchor=anchor))
        at += timedelta(seconds=step_s)
    return tuple(ticks)


def draw_marks(incidents: Sequence[ReportedIncident], since: datetime, until: datetime) -> tuple[Mark, ...]:
    """Where incidents began. Of those that would lie on each other the gravest is drawn."""
    marks: dict[int, Mark] = {}
    for one in incidents:
        x = place(max(one.opened_at or since, since), since, until)
        cell = int(x * _MARKS_A_PERCENT)
        if cell not in marks or one.is_grave > marks[cell].incident.is_grave:
            marks[cell] = Mark(x=round(x, 4), incident=one)
    return tuple(marks.values())


def draw_starts(starts: Sequence[RunRecord], names: Sequence[str]) -> tuple[StartBar, ...]:
    """The newest starts as bars, the newest first; each phase has the number of its name."""
    newest = list(reversed(starts))[:_MOST_STARTS]
    longest_s = max((_sum_steps_s(run) for run in newest), default=0.0) or 1.0
    bars = []
    for run in newest:
        phases, x = [], 0.0
        for step in run.steps:
            width = 100.0 * (step.duration_s or 0.0) / longest_s
            phases.append(
                Phase(
                    x=round(x, 3),
                    width=round(width, 3),
                    name=step.name,
                    duration_s=step.duration_s or 0.0,
                    status=step.status or "under way",
                    number=names.index(step.name) if step.name in names else len(names),
                )
            )
            x += width
        bars.append(StartBar(run=run, phases=tuple(phases)))
    return tuple(bars)


def _sum_steps_s(run: RunRecord) -> float:
    return sum(step.duration_s or 0.0 for step in run.steps)


def draw_latency(latencies: Sequence[LatencyRecord], since: datetime, until: datetime) -> LatencyPicture | None:
    """Mean as a line, least to most as a band. Time without a sample is a gap, never a line across it."""
    if not latencies:
        return None
    cell_s = max(latencies[0].length_s, latencies[-1].length_s, (until - since).total_seconds() / _LATENCY_POINTS)
    cells: dict[int, list[LatencyRecord]] = {}
    for one in latencies:
        cells.setdefault(int((one.at - since).total_seconds() // cell_s), []).append(one)
    # A single stall of seconds must not flatten all the rest: the picture's top is what 98 of 100 cells stay below.
    mosts = sorted(max(one.most_ms for one in group) for group in cells.values())
    top_ms = _round_up(mosts[min(len(mosts) - 1, int(0.98 * len(mosts)))])
    means, bands = [], []
    for stretch in _split(sorted(cells)):
        points = []
        for number in stretch:
            group = cells[number]
            count = sum(one.count for one in group)
            x = LATENCY_WIDTH * (number + 0.5) * cell_s / (until - since).total_seconds()
            mean_ms = sum(one.mean_ms * one.count for one in group) / count
            least_ms, most_ms = min(one.least_ms for one in group), max(one.most_ms for one in group)
            points.append((min(max(x, 0.0), LATENCY_WIDTH), mean_ms, least_ms, most_ms))
        if len(points) == 1:  # a line needs a length
            points = [points[0], (points[0][0] + 2, *points[0][1:])]
        means.append(" ".join(_point(x, mean_ms, top_ms) for x, mean_ms, _, _ in points))
        upper = [_point(x, most_ms, top_ms) for x, _, _, most_ms in points]
        lower = [_point(x, least_ms, top_ms) for x, _, least_ms, _ in reversed(points)]
        bands.append(" ".join([*upper, *lower]))
    return LatencyPicture(top_ms=top_ms, means=tuple(means), bands=tuple(bands))


def _point(x: float, value_ms: float, top_ms: float) -> str:
    return f"{x:.1f},{LATENCY_HEIGHT * (1 - min(value_ms / top_ms, 1.0)):.1f}"


def _split(numbers: Sequence[int]) -> list[list[int]]:
    """Stretches of cells that follow each other; one empty cell is no gap, for samples and cells need not line up."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number - found[-1][-1] <= 2:  # noqa: PLR2004 - see above
            found[-1].append(number)
        else:
            found.append([number])
    return found


def _round_up(value: float) -> float:
    """1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(value, 0.1)))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if value <= step * power)
