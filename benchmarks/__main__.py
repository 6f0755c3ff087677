"""`python -m benchmarks`: measure, show, and say whether each claim held. Exit code 1 only if a scene itself fails."""

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.catalogue import SCENES
from benchmarks.chart import render_chart
from benchmarks.figures import SceneResult, render_markdown, render_text
from benchmarks.place import SceneFailedError
from benchmarks.scenes import Part

_HERE = Path(__file__).resolve().parent
_MARKS = {
    Part.START: ("<!-- figures: begin -->", "<!-- figures: end -->"),
    Part.WATCH: ("<!-- figures of the watch: begin -->", "<!-- figures of the watch: end -->"),
    Part.INSTANCES: ("<!-- figures of the instances: begin -->", "<!-- figures of the instances: end -->"),
    Part.JOURNAL: ("<!-- figures of the journal: begin -->", "<!-- figures of the journal: end -->"),
    Part.GUARD: ("<!-- figures of the guard: begin -->", "<!-- figures of the guard: end -->"),
    Part.VIEWS: ("<!-- figures of the views: begin -->", "<!-- figures of the views: end -->"),
    Part.DEPLOY: ("<!-- figures of the deploy: begin -->", "<!-- figures of the deploy: end -->"),
}
_QUICK_RUNS = 2


def main() -> int:
    """Measure the scenes asked for."""
    names = [scene.name for scene in SCENES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument(
        "--part",
        choices=list(Part),
        help="only the start-up, the watch and the boot, many instances, a large journal, the order guard, "
        "an operator's views, or deploys",
    )
    parser.add_argument("--runs", type=int, help="how often each thing is measured (default: 10)")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_RUNS} runs, and seconds instead of minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there, each sample included")
    parser.add_argument("--publish", action="store_true", help="put figures and picture into benchmarks/")
    given = parser.parse_args()
    runs = given.runs if given.runs is not None else _QUICK_RUNS if given.quick else 10
    if runs < 1:
        parser.error("--runs must be at least 1")
    if given.publish and (given.only or given.quick):
        parser.error("--publish takes the figures of a whole run, or of a whole --part: leave --only and --quick out")
    if given.only and given.part:
        parser.error("--only and --part exclude each other")
    parts = tuple(Part) if given.part is None else (Part(given.part),)

    machine = describe_machine()
    print(machine, flush=True)
    results: list[SceneResult] = []
    has_failed = False
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for scene in SCENES:
            if scene.part not in parts or (given.only and scene.name not in given.only):
                continue
            try:
                results.append(scene.run(Path(folder), runs, is_quick=given.quick))
            except SceneFailedError as error:
                has_failed = True
                print(f"\n{scene.name}: FAILED: {error}", file=sys.stderr, flush=True)
                continue
            print(f"\n{render_text(results[-1])}", flush=True)
    if given.json:
        document = {"machine": machine, "runs": runs, "scenes": [result.to_json() for result in results]}
        given.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if given.publish:
        for part in parts:
            _publish(machine, part, tuple(results))
    return 1 if has_failed else 0


def describe_machine() -> str:
    """The machine's size, its load, and the date, in one line."""
    import psutil

    memory_gib = psutil.virtual_memory().total / 2**30
    load = f", load {os.getloadavg()[0]:.1f} before the run" if hasattr(os, "getloadavg") else ""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} processors, {memory_gib:.0f} GiB, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}{load}"
    )


def _publish(machine: str, part: Part, results: tuple[SceneResult, ...]) -> None:
    """Put the figures of one part between its marks in `README.md`; the picture belongs to the start-up."""
    named = {scene.name for scene in SCENES if scene.part is part}
    mine = tuple(result for result in results if result.name in named)
    begin, end = _MARKS[part]
    readme = _HERE / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    figures = f"{begin}\n\n{machine}.\n\n{render_markdown(mine)}\n\n{end}"
    readme.write_text(before + figures + after, encoding="utf-8")
    if part is Part.START:
        (_HERE / "startup.svg").write_text(render_chart(mine, machine), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
