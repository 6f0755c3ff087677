"""`python -m tests.hosts`: conduct the campaign over three hosts. Needs root, etcd-server, iproute2 and iptables.

Exit code 1 if a rule was broken.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.hosts.conduct import Result, conduct
from tests.hosts.draw import Case, Fault, State, draw_case
from tests.hosts.hosts import scene

TTL_S = 5.0


def main() -> int:
    """Conduct what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="decides every run (default: 1)")
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="these runs alone")
    parser.add_argument("--jobs", type=int, default=2, help="how many at the same time (default: 2)")
    parser.add_argument("--ttl", type=float, default=TTL_S, help="the lease's, in seconds (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="write each run there as it ends; go on from there")
    parser.add_argument("--logs", type=Path, help="where the hosts' folders are made, and left")
    given = parser.parse_args()
    kept = read_kept(given.keep)
    numbers = range(given.runs) if given.only is None else given.only
    cases = [draw_case(given.seed, number, ttl_s=given.ttl) for number in numbers if number not in kept]
    pieces = [cases[index :: given.jobs] for index in range(given.jobs)]
    queue: multiprocessing.Queue[Result | None] = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=work, args=(index + 1, piece, given.ttl, given.logs, queue))
        for index, piece in enumerate(pieces)
        if piece
    ]
    for worker in workers:
        worker.start()
    results = list(kept.values())
    left = len(workers)
    while left:
        result = queue.get()
        if result is None:
            left -= 1
            continue
        results.append(result)
        say(result.to_json())
        if given.keep is not None:
            with given.keep.open("a", encoding="utf-8") as file:
                file.write(result.to_json() + "\n")
    say(summarize(results))
    return 1 if any(one.broken for one in results if not one.is_apart) or len(results) < len(numbers) else 0


def work(
    number: int, cases: list[Case], ttl_s: float, logs: Path | None, queue: "multiprocessing.Queue[Result | None]"
) -> None:
    """Conduct these one after the other, on the same hosts as long as they work."""
    cases = sorted(cases, key=lambda case: case.kind)
    try:
        while cases:
            folder = Path(tempfile.mkdtemp(prefix=f"hosts{number}_", dir=logs))
            kind = cases[0].kind
            with scene(number, folder, ttl_s=ttl_s, kind=kind) as hosts:
                while cases and cases[0].kind is kind:
                    result = conduct(hosts, cases.pop(0))
                    queue.put(result)
                    if result.broken:
                        say(f"run {result.number}: {folder}")
                        break
    finally:
        queue.put(None)


def read_kept(path: Path | None) -> dict[int, Result]:
    """The results of an earlier, interrupted campaign."""
    if path is None or not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {one.number: one for one in (Result(**json.loads(line)) for line in lines)}


def summarize(results: list[Result]) -> str:
    """What all of them have shown."""
    judged = [one for one in results if not one.is_apart]
    figures = {
        "from the loss of the holder to the begin of the next sequence": [one.begun_s for one in judged],
        "from the end of the last fault to the begin of a sequence, where none was under way": [
            one.recovered_s or None for one in judged
        ],
        "from the first fault to another host's bot, whatever went wrong": [one.away_s for one in judged],
    }
    kinds = Counter(one.kind for one in results)
    lines = [
        f"{len(judged)} runs, {sum(bool(one.broken) for one in judged)} broke a rule",
        f"overlap: {sum(one.overlap_s for one in judged):.2f} s in all; {sum(one.logins for one in judged)} logins",
        *(f"{name}: {describe(values)}" for name, values in figures.items()),
        f"the plan had reached one host only: {sum(bool(one.plan) for one in judged)} runs",
        f"apart, with a frozen fence: {len(results) - len(judged)} runs",
        f"overlap there: {sum(one.overlap_s for one in results if one.is_apart):.2f} s",
        *(f"{kind}: {count} runs" for kind, count in sorted(kinds.items())),
        *tabulate(results),
    ]
    return "\n".join(lines)


def tabulate(results: list[Result]) -> list[str]:
    """Which fault met which state how often, and how often its effect was looked at."""
    met = Counter((fault, state) for one in results for fault, state in one.met)
    verified = Counter(fault for one in results for fault in one.verified)
    width = max(len(fault) for fault in Fault)
    lines = ["  ".join([" " * width, *State, "all", "effect seen"])]
    for fault in Fault:
        cells = [f"{met[fault, state]:>{len(state)}}" for state in State]
        total = sum(met[fault, state] for state in State)
        lines.append("  ".join([f"{fault:{width}}", *cells, f"{total:>3}", f"{verified[fault]:>11}"]))
    return lines


def describe(found: Sequence[float | None]) -> str:
    """Median and worst."""
    values = sorted(one for one in found if one is not None)
    if not values:
        return "none"
    return f"median {statistics.median(values):.1f} s, worst {values[-1]:.1f} s of {len(values)}"


def say(text: str) -> None:
    """A line of output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
