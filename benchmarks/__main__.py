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

_HERE = Path(__file__).resolve().parent
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"


def main() -> int:
    """Measure the scenes asked for."""
    names = [scene.name for scene in SCENES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--runs", type=int, default=10, help="how often each thing is measured (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there, each sample included")
    parser.add_argument("--publish", action="store_true", help="put figures and picture into benchmarks/")
    given = parser.parse_args()
    if given.runs < 1:
        parser.error("--runs must be at least 1")
    if given.publish and given.only:
        parser.error("--publish takes the figures of a whole run: leave --only out")

    machine = describe_machine()
    print(machine, flush=True)
    results: list[SceneResult] = []
    has_failed = False
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for scene in SCENES:
            if given.only and scene.name not in given.only:
                continue
            try:
                results.append(scene.run(Path(folder), given.runs))
            except SceneFailedError as error:
                has_failed = True
                print(f"\n{scene.name}: FAILED: {error}", file=sys.stderr, flush=True)
                continue
            print(f"\n{render_text(results[-1])}", flush=True)
    if given.json:
        document = {"machine": machine, "runs": given.runs, "scenes": [result.to_json() for result in results]}
        given.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if given.publish:
        _publish(machine, tuple(results))
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


def _publish(machine: str, results: tuple[SceneResult, ...]) -> None:
    readme = _HERE / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    figures = f"{_BEGIN}\n\n{machine}.\n\n{render_markdown(results)}\n\n{_END}"
    readme.write_text(before + figures + after, encoding="utf-8")
    (_HERE / "startup.svg").write_text(render_chart(results, machine), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
