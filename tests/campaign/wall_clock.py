"""A wall clock that a test can set, for the processes of one system alone and while they run."""

import subprocess
import sys
import time
from pathlib import Path

from tests.system import System

_PROBE_S = 1_000_000


class NoSettableClockError(Exception):
    """The clock is not in effect: what would be tested with it would prove nothing."""


def use_settable_clock(system: System) -> None:
    """From the next command on the system's processes see a wall clock that `set_clock_ahead` sets.

    Raises:
        NoSettableClockError: They do not.
    """
    # The loader takes a space for the end of a name, and a system's own folder may have one.
    library = system.root.parent / f"wall_clock_{system.port}.so"
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True, timeout=60)
    system.environ |= {"LD_PRELOAD": str(library), "CAMPAIGN_CLOCK": str(_path(system))}
    set_clock_ahead(system, _PROBE_S)
    seen = system.run([sys.executable, "-c", "import time; print(time.time())"])
    if abs(float(seen.out) - time.time() - _PROBE_S) > _PROBE_S / 2:
        raise NoSettableClockError(f"{library} is not preloaded: {seen.err}")
    set_clock_ahead(system, 0)


def set_clock_ahead(system: System, by_s: int) -> None:
    """Set it, in seconds from the machine's; at once, and for all of them."""
    path = _path(system)
    path.with_suffix(".new").write_text(f"{by_s}\n", encoding="utf-8")
    path.with_suffix(".new").replace(path)


def _path(system: System) -> Path:
    return system.root / "clock"
