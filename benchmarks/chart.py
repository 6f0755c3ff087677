"""The picture for `README.md`: ours and the classic way side by side, as hand-written SVG."""

from html import escape

from benchmarks.figures import SceneResult, Series, render_value

_GROUPS = {
    "warm-docker": "Warm start, gateway in a container",
    "warm-external": "Warm start, gateway run elsewhere",
    "reaction-docker": "Container healthy → bot launched",
    "reaction-external": "API open → bot launched",
}
_WIDTH, _LEFT, _RIGHT = 760, 24, 110
_TOP, _GROUP_HEIGHT, _BAR_HEIGHT = 74, 78, 20

# Its own background, light or dark as the reader's system is: readable on any page.
_STYLE = """\
  .paper { fill: #ffffff; stroke: #d0d7de; } .ink { fill: #1f2328; } .faint { fill: #59636e; }
  .ours { fill: #1a7f37; } .classic { fill: #a3adb8; } .spread { stroke: #1f2328; stroke-width: 1.5; }
  text { font: 13px -apple-system, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; }
  .title { font-size: 16px; font-weight: 600; } .group { font-weight: 600; } .small { font-size: 11px; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; stroke: #3d444d; } .ink { fill: #f0f6fc; } .faint { fill: #9198a1; }
    .ours { fill: #3fb950; } .classic { fill: #656c76; } .spread { stroke: #f0f6fc; }
  }"""


def render_chart(results: tuple[SceneResult, ...], machine: str) -> str:
    """Bars of the medians, with a line from the least to the most, all on one scale of seconds."""
    shown = [(result, _GROUPS[result.name]) for result in results if result.name in _GROUPS and result.series]
    most_s = max((series.most for result, _ in shown for series in result.series[:2]), default=1.0)
    scale = (_WIDTH - _LEFT - _RIGHT) / most_s
    height = _TOP + _GROUP_HEIGHT * len(shown) + 22
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title">',
        f'<title id="title">{escape(_describe(shown))}</title>',
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="paper" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="ink title" x="{_LEFT}" y="30">Seconds until the bot runs</text>',
        f'<rect class="ours" x="{_LEFT}" y="44" width="12" height="12" rx="2"/>',
        f'<text class="ink" x="{_LEFT + 18}" y="55">inv startup</text>',
        f'<rect class="classic" x="{_LEFT + 116}" y="44" width="12" height="12" rx="2"/>',
        f'<text class="ink" x="{_LEFT + 134}" y="55">the classic way: poll every 5 s, launch, sleep 5 s</text>',
    ]
    for number, (result, title) in enumerate(shown):
        top = _TOP + number * _GROUP_HEIGHT
        parts.append(f'<text class="ink group" x="{_LEFT}" y="{top + 16}">{escape(title)}</text>')
        for row, (series, style) in enumerate(zip(result.series[:2], ("ours", "classic"), strict=True)):
            parts += _render_bar(series, style, y=top + 24 + row * (_BAR_HEIGHT + 4), scale=scale)
    foot = escape(f"bars: medians; lines: least to most. {machine}")
    parts += [f'<text class="faint small" x="{_LEFT}" y="{height - 10}">{foot}</text>', "</svg>"]
    return "\n".join(parts) + "\n"


def _render_bar(series: Series, style: str, *, y: int, scale: float) -> list[str]:
    middle = y + _BAR_HEIGHT / 2
    least, most = _LEFT + series.least * scale, _LEFT + series.most * scale
    end = max(most, _LEFT + series.median * scale)
    return [
        f'<rect class="{style}" x="{_LEFT}" y="{y}" width="{series.median * scale:.1f}" height="{_BAR_HEIGHT}"/>',
        f'<line class="spread" x1="{least:.1f}" y1="{middle}" x2="{most:.1f}" y2="{middle}"/>',
        f'<text class="ink" x="{end + 8:.1f}" y="{middle + 4.5}">{render_value(series.median, series.unit)}</text>',
    ]


def _describe(shown: list[tuple[SceneResult, str]]) -> str:
    told = [
        f"{title}: inv startup {render_value(result.series[0].median, 's')}, "
        f"the classic way {render_value(result.series[1].median, 's')}"
        for result, title in shown
    ]
    return "Seconds until the bot runs. " + "; ".join(told)
