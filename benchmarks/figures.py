"""What was measured, as values, and as text for people and for `README.md`."""

import dataclasses
import statistics
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Series:
    """One quantity, measured several times in one run.

    Attributes:
        label: What it is.
        unit: `s`, `ms`, `s/h` (seconds in an hour), `%`, `MB`, `MiB` or `` (a number).
        samples: The values, in the order in which they were measured. Never empty.
    """

    label: str
    unit: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.samples)

    @property
    def least(self) -> float:
        """The smallest value."""
        return min(self.samples)

    @property
    def most(self) -> float:
        """The largest value."""
        return max(self.samples)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the project says of itself, and whether this run agrees.

    Attributes:
        text: The claim.
        found: What this run found.
        held: Whether that keeps it.
    """

    text: str
    found: str
    held: bool


@dataclass(frozen=True, kw_only=True)
class SceneResult:
    """What one scene came to.

    Attributes:
        name: The scene's name, as `--only` takes it.
        title: One line for people.
        series: What was measured; ours first, the baseline's second where there is one.
        claims: What is claimed of it.
        notes: What else a reader should know of this run.
        skipped: Why it was not measured; empty if it was.
    """

    name: str
    title: str
    series: tuple[Series, ...] = ()
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: str = ""

    def to_json(self) -> dict[str, Any]:
        """Everything, with the medians."""
        fields = dataclasses.asdict(self)
        for series, raw in zip(self.series, fields["series"], strict=True):
            raw |= {"median": series.median, "least": series.least, "most": series.most}
        return fields


def claim_at_most(what: str, value: float, limit: float, unit: str) -> Claim:
    """A claim with an upper bound."""
    return Claim(text=f"{what} at most {limit:g} {unit}", found=render_value(value, unit), held=value <= limit)


def claim_ratio(what: str, slower: Series, faster: Series, least: float) -> Claim:
    """A claim that the median of one is so many times the median of another."""
    ratio = slower.median / faster.median
    return Claim(text=f"{what} at least {least:g} times faster", found=f"{ratio:.1f} times", held=ratio >= least)


def render_value(value: float, unit: str) -> str:
    """A value with its unit, with no more digits than mean something."""
    digits = {"s": 3, "ms": 2, "%": 2, "MiB": 1, "MB": 1, "s/h": 1}.get(unit, 0)
    return f"{value:.{digits}f} {unit}".rstrip()


def render_text(result: SceneResult) -> str:
    """A scene for a terminal."""
    lines = [f"{result.name}: {result.title}"]
    if result.skipped:
        return "\n".join([*lines, f"  skipped: {result.skipped}"])
    for series in result.series:
        spread = ""
        if len(series.samples) > 1:
            least, most = render_value(series.least, series.unit), render_value(series.most, series.unit)
            spread = f" (median of {len(series.samples)}; {least} to {most})"
        lines.append(f"  {series.label:<62} {render_value(series.median, series.unit):>9}{spread}")
    lines += [f"  {'holds' if claim.held else 'DOES NOT HOLD'}: {claim.text}: {claim.found}" for claim in result.claims]
    lines += [f"  note: {note}" for note in result.notes]
    return "\n".join(lines)


def render_markdown(results: tuple[SceneResult, ...]) -> str:
    """All scenes as two tables for `README.md`."""
    lines = ["| scene | measured | median | least | most | runs |", "|---|---|---:|---:|---:|---:|"]
    for result in results:
        if result.skipped:
            lines.append(f"| `{result.name}` | skipped: {result.skipped} | | | | |")
        for series in result.series:
            values = [render_value(value, series.unit) for value in (series.median, series.least, series.most)]
            spread = values[1:] if len(series.samples) > 1 else ["", ""]
            cells = (f"`{result.name}`", series.label, values[0], *spread, str(len(series.samples)))
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| claim | this run | |", "|---|---|---|"]
    lines += [
        f"| `{result.name}`: {claim.text} | {claim.found} | {'holds' if claim.held else '**does not hold**'} |"
        for result in results
        for claim in result.claims
    ]
    notes = [f"* `{result.name}`: {note}" for result in results for note in result.notes]
    return "\n".join([*lines, "", *notes] if notes else lines)
