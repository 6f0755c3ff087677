"""When the gateway and the bot were up, from what watchers saw and from the starts. Pure.

Watchers come first. Where two of them saw different things at once, the worse one counts. Where no watcher looked, a
start says what it made sure of itself, and only for as long as it lasted. All other time is unknown.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestration.journal import ReportedRun, SpanRecord, StepRecord


class Availability(StrEnum):
    """What is known of a stretch of time. The order of the members is the order in which they outdo each other."""

    UNKNOWN = "unknown"
    UP = "up"
    ABSENT = "absent"
    """Not there on purpose: the bot was stopped gracefully, or is done for its plan's date."""
    EXCUSED = "excused"
    """Not usable in a window in which that is expected."""
    DOWN = "down"

    @property
    def rank(self) -> int:
        """The higher one counts where two were seen at once."""
        return list(Availability).index(self)


OFF = "shut_down"  # unknown, but shut down by hand: not meant to be watched

LEAST_EVIDENCE_S = 60.0  # the seconds of a first start and one look are neither uptime nor outage

_DONE = frozenset({"ok", "warn"})
_TAKES_DOWN = frozenset({"shutdown", "hold", "bot.stop"})


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of time of which one thing is known.

    Attributes:
        begin: Aware.
        end: Aware.
        known: What is known.
        word: The watcher's own word for it.
    """

    begin: datetime
    end: datetime
    known: Availability
    word: str

    @property
    def length_s(self) -> float:
        """Seconds."""
        return (self.end - self.begin).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Segments without gaps from the beginning of the period to its end."""

    segments: tuple[Segment, ...]

    def sum_s(self, *known: Availability) -> float:
        """For how many seconds that is known."""
        return sum(one.length_s for one in self.segments if one.known in known)

    @property
    def off_s(self) -> float:
        """For how many seconds it is unknown because it was shut down by hand."""
        return sum(one.length_s for one in self.segments if one.known is Availability.UNKNOWN and one.word == OFF)

    @property
    def up_ratio(self) -> float | None:
        """Up, of all the time that counts (up or down); None where too little of it was seen for a share."""
        return self.measure_up(LEAST_EVIDENCE_S)

    def measure_up(self, least_evidence_s: float) -> float | None:
        """The same, where another number of seconds is enough for a share."""
        up_s, down_s = self.sum_s(Availability.UP), self.sum_s(Availability.DOWN)
        return up_s / (up_s + down_s) if up_s + down_s >= least_evidence_s else None

    @property
    def watched_ratio(self) -> float | None:
        """Availability, of all the time in which it was not shut down on purpose; None where it was all the time."""
        known_s = sum(one.length_s for one in self.segments if one.known is not Availability.UNKNOWN)
        whole_s = sum(one.length_s for one in self.segments) - self.off_s
        return known_s / whole_s if whole_s > 0 else None


def build_gateway_timeline(
    spans: Sequence[SpanRecord], runs: Sequence[ReportedRun], since: datetime, until: datetime
) -> Timeline:
    """When the gateway could be used."""
    return _build(spans, runs, since, until, name=_name_gateway, step="gateway.wait")


def build_bot_timeline(
    spans: Sequence[SpanRecord], runs: Sequence[ReportedRun], since: datetime, until: datetime
) -> Timeline:
    """When the bot ran."""
    return _build(spans, runs, since, until, name=_name_bot, step="bot.start")


def _name_gateway(span: SpanRecord) -> tuple[Availability, str]:
    if span.gateway == "ready":
        return Availability.UP, "ready"
    return (
        (Availability.EXCUSED, f"{span.gateway}, {span.excuse}") if span.excuse else (Availability.DOWN, span.gateway)
    )


def _name_bot(span: SpanRecord) -> tuple[Availability, str]:
    if span.bot == "running":
        return Availability.UP, "running"
    return (Availability.DOWN if span.bot == "ended" else Availability.ABSENT), span.bot


def _build(
    spans: Sequence[SpanRecord],
    runs: Sequence[ReportedRun],
    since: datetime,
    until: datetime,
    *,
    name: Callable[[SpanRecord], tuple[Availability, str]],
    step: str,
) -> Timeline:
    seen = []
    for span in spans:
        known, word = name(span)
        seen.append(Segment(begin=span.began_at, end=span.seen_until, known=known, word=word))
    made = _fill(_sweep(seen, since, until), _sweep(list(_read_starts(runs, step)), since, until))
    return Timeline(segments=_fill(made, _sweep(list(_read_shutdowns(runs, until)), since, until)))


def _read_starts(runs: Iterable[ReportedRun], name: str) -> Iterable[Segment]:
    """What a start made sure of: not usable while the step took, usable from then to the start's own end."""
    for run in runs:
        step = next((one for one in run.record.steps if one.name == name), None)
        if step is None or step.ended_at is None:
            continue
        begin = _find_begin(run.record.steps, name, step)
        yield Segment(begin=begin, end=step.ended_at, known=Availability.DOWN, word="starting")
        end = run.record.ended_at
        if step.status in _DONE and end is not None and run.record.failure is None:
            word = "ready" if name == "gateway.wait" else "running"
            yield Segment(begin=step.ended_at, end=end, known=Availability.UP, word=word)


def _find_begin(steps: Sequence[StepRecord], name: str, step: StepRecord) -> datetime:
    up = next((one for one in steps if one.name == "gateway.up"), None)
    return up.started_at if name == "gateway.wait" and up is not None else step.started_at


def _read_shutdowns(runs: Sequence[ReportedRun], until: datetime) -> Iterable[Segment]:
    """From a shutdown by hand to the next start: the time that was not meant to be watched."""
    for number, run in enumerate(runs):
        record = run.record
        if record.kind not in _TAKES_DOWN or record.result != "success" or record.ended_at is None:
            continue
        later = [one.record.started_at for one in runs[number + 1 :] if one.record.kind not in _TAKES_DOWN]
        yield Segment(begin=record.ended_at, end=min(later, default=until), known=Availability.ABSENT, word=OFF)


def _sweep(pieces: Sequence[Segment], since: datetime, until: datetime) -> tuple[Segment, ...]:
    """The worst of the pieces at each instant; unknown where there is none."""
    edges: list[tuple[datetime, int, Availability, str]] = []
    for piece in pieces:
        begin, end = max(piece.begin, since), min(piece.end, until)
        if begin < end:
            edges += [(begin, 1, piece.known, piece.word), (end, -1, piece.known, piece.word)]
    edges.sort(key=lambda edge: edge[0])
    open_pieces: Counter[tuple[Availability, str]] = Counter()
    found: list[Segment] = []
    at = since
    for edge_at, change, known, word in edges:
        _append(found, at, edge_at, open_pieces)
        open_pieces[known, word] += change
        at = edge_at
    _append(found, at, until, open_pieces)
    return tuple(found)


def _append(
    found: list[Segment], begin: datetime, end: datetime, open_pieces: Counter[tuple[Availability, str]]
) -> None:
    if begin >= end:
        return
    there = [piece for piece, count in open_pieces.items() if count > 0]
    known, word = max(
        there, key=lambda piece: (piece[0].rank, piece[1]), default=(Availability.UNKNOWN, "nobody_watched")
    )
    _join(found, Segment(begin=begin, end=end, known=known, word=word))


def _join(found: list[Segment], segment: Segment) -> None:
    """Append it, or lengthen the last one where it says the same."""
    if found and (found[-1].known, found[-1].word, found[-1].end) == (segment.known, segment.word, segment.begin):
        segment = Segment(begin=found.pop().begin, end=segment.end, known=segment.known, word=segment.word)
    found.append(segment)


def _fill(above: Sequence[Segment], below: Sequence[Segment]) -> tuple[Segment, ...]:
    """The upper one, and where it is unknown the lower one. Both cover the same time."""
    found: list[Segment] = []
    place = 0
    for segment in above:
        if segment.known is not Availability.UNKNOWN:
            _join(found, segment)
            continue
        while place < len(below) and below[place].end <= segment.begin:
            place += 1
        number = place
        while number < len(below) and below[number].begin < segment.end:
            lower = below[number]
            # A shutdown only explains why it was not watched.
            known = Availability.UNKNOWN if lower.word == OFF else lower.known
            begin, end = max(lower.begin, segment.begin), min(lower.end, segment.end)
            word = segment.word if known is Availability.UNKNOWN and lower.word != OFF else lower.word
            _join(found, Segment(begin=begin, end=end, known=known, word=word))
            number += 1
    return tuple(found)
