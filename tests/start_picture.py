"""The README's picture of a start. `python -m tests.start_picture` makes it from a real run of today's program."""

import io
import re
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path

from rich.console import Console

from orchestration.errors import State, StepStatus
from orchestration.presenter import LiveDisplay
from orchestration.startup.context import Step, StepResult
from orchestration.startup.report import StepReport
from tests.system import PROJECT, System, system_in

PICTURE = PROJECT / "docs" / "images" / "startup.svg"
_WIDTH = 104
_TEXT = re.compile(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', re.DOTALL)
_FONTS = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"
_COLOURS = {"SUCCESS": "bold green"}


def read_picture() -> str:
    """What the picture shows, as one line."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in _TEXT.findall(PICTURE.read_text(encoding="utf-8")):
        rows.setdefault(float(y), []).append((float(x), unescape(text)))
    return flatten(" ".join("".join(text for _, text in sorted(rows[y])) for y in sorted(rows)))


def flatten(text: str, root: Path | None = None) -> str:
    """A text without what differs from run to run: numbers, the folder, and where lines are broken."""
    if root is not None:
        text = text.replace(f"{root}/", "")
    return " ".join(re.sub(r"\d+(?:\.\d+)?", "#", text).split())


def _draw(system: System) -> Console:
    """Run it, and draw the table and the last words as a terminal of today would show them."""
    system.environ["BOT_START_GRACE"] = "30"
    system.kind = subprocess.Popen
    started = system.inv("startup", "--simulate")
    assert started.code == 0, started.err
    (run, *_) = system.inv("history", "--json").document["runs"]
    display = LiveDisplay(io.StringIO())
    steps = tuple(
        Step(
            name=step["name"],
            state=State(step["state"]),
            act=lambda _, progress: StepResult(progress=progress, detail=""),
        )
        for step in run["steps"]
    )
    display.begin(run_id=run["run_id"], instance=run["instance"], simulated=True, steps=steps)
    for step in run["steps"]:
        display.end_step(
            StepReport(
                name=step["name"],
                state=State(step["state"]),
                status=StepStatus(step["status"]),
                duration_s=step["duration_s"],
                detail=step["detail"].replace(f"{system.root}/", ""),
            )
        )
    console = Console(record=True, file=io.StringIO(), width=_WIDTH, force_terminal=True)
    console.print("$ inv startup --simulate", highlight=False)
    console.print(display.render())
    summary = started.out[started.out.index("SUCCESS") :].replace(f"{system.root}/", "")
    for line in summary.splitlines():
        console.print(line, style=_COLOURS.get(line.partition(" ")[0]), highlight=False, markup=False)
    console.print("$")
    assert system.inv("shutdown").code == 0
    return console


def main() -> int:
    """Make the picture."""
    with tempfile.TemporaryDirectory() as folder, system_in(Path(folder) / "system") as system:
        svg = _draw(system).export_svg(title="inv startup --simulate")
    svg = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->", "", svg, flags=re.DOTALL)  # it loads nothing from elsewhere
    svg = svg.replace("font-family: Fira Code, monospace", f"font-family: {_FONTS}")
    PICTURE.write_text("".join(f"{line.rstrip()}\n" for line in svg.splitlines()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
