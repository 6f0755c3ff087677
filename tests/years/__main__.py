"""`python -m tests.years --years N --seed S`: simulate, print what must not be, end with 1 if there is any.

The same seed gives the same trace. `--shrink` reduces a failing scenario to the faults that matter and writes it down.
"""

import argparse
import os
import secrets
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tests.years.scenario import Happening, read_faults, write_faults
from tests.years.simulate import BEGIN, Outcome, shrink, simulate
from tests.years.world import warm_up

_YEAR_DAYS = 365.25
_PATIENCE_S = 600.0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.years", description=__doc__)
    parser.add_argument("--years", type=float, default=0.1, help="how much time passes (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="where all chance comes from (default: a new one, which is printed)")
    parser.add_argument(
        "--interval", type=float, default=60.0, help="MONITOR_INTERVAL in seconds (default: %(default)s)"
    )
    parser.add_argument("--every-days", type=float, default=1.5, help="how often something goes wrong, on average")
    parser.add_argument("--trace", type=Path, help="write the trace to this file")
    parser.add_argument("--begin", type=datetime.fromisoformat, default=BEGIN, help="the first instant")
    parser.add_argument("--faults", type=Path, help="play the faults of this file instead of drawn ones")
    parser.add_argument("--shrink", type=Path, help="reduce what fails to what matters, and write it to this file")
    return parser.parse_args()


def _show(seed: int, outcome: Outcome) -> None:
    days_s = outcome.day_cpu_s or (0.0,)
    worst_s = max(days_s)
    speed = outcome.days / _YEAR_DAYS / max(outcome.cpu_s / 60, 1e-9)
    print(
        f"seed {seed}: {outcome.days:.1f} days, {len(outcome.faults)} faults, {sum(outcome.titles.values())} alerts, "
        f"{outcome.cpu_s:.1f} s of processor time ({speed:.2f} years a minute; median day "
        f"{statistics.median(days_s):.2f} s, worst {worst_s:.2f} s, day {days_s.index(worst_s)}), "
        f"{len(outcome.breaches)} breaches"
    )
    for breach in outcome.breaches:
        print(f"  {breach}")


def main() -> int:
    """Run it."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of what happens
        os.execve(  # noqa: S606 - this very program
            sys.executable, [sys.executable, "-m", "tests.years", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    arguments = _parse()
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    days = arguments.years * _YEAR_DAYS
    warm_up()
    faults = None if arguments.faults is None else read_faults(arguments.faults)
    outcome = simulate(
        seed,
        days=days,
        faults=faults,
        every_days=arguments.every_days,
        interval_s=arguments.interval,
        trace_path=arguments.trace,
        begin=arguments.begin,
    )
    _show(seed, outcome)
    if outcome.breaches and arguments.shrink is not None:
        first = outcome.breaches[0]
        days = min(days, first.at_s / 86400 + 0.1)

        kind = (first.rule, first.what.partition("(")[0])

        def fails(tried: Sequence[Happening]) -> bool:
            again = simulate(seed, days=days, faults=tried, interval_s=arguments.interval, begin=arguments.begin)
            return any((one.rule, one.what.partition("(")[0]) == kind for one in again.breaches)

        left = shrink(
            [one for one in outcome.faults if one.at_s <= first.at_s], fails, until_s=time.monotonic() + _PATIENCE_S
        )
        write_faults(arguments.shrink, left)
        print(f"  reduced to {len(left)}: {'; '.join(str(one) for one in left)}")
    return 1 if outcome.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
