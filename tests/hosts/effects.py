"""Whether a fault does what it says: looked at while it lasts, so that a run that shows nothing proves nothing."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

from tests.hosts.hosts import BROKER_PORT, CLOCK_VARIABLE, FIRST_PROXY_PORT, Host, Scene
from tests.hosts.network import Cut
from tests.hosts.observer import now_s

_PROBE = Path(__file__).with_name("probe.py")
_PEER_PORT = 2380
_SOON_S = 0.5
_TOLERANCE_S = 30


class NoEffectError(Exception):
    """A fault did not do what it says."""


def ask_store(host: Host, port: int, path: str) -> float | None:
    """How long a member took to answer this host, by the way that its supervisor takes; None for no answer."""
    scheme, files = ("http", ()) if host.files is None else ("https", (host.files.ca, host.files.cert, host.files.key))
    argv = [*host.space.inside, sys.executable, "-I", "-S", _PROBE, f"{scheme}://127.0.0.1:{port}", path, *files]
    asked = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return float(asked.stdout) if asked.returncode == 0 else None


def require(is_so: object, what: str) -> None:
    """Refuse a fault without effect."""
    if not is_so:
        raise NoEffectError(what)


def require_cut(scene: Scene, host: Host, cut: Cut) -> None:
    """The other hosts' stores cannot be reached; the broker can where only the store is cut off."""
    other = next(one for one in scene.stores if one is not host)
    with contextlib.suppress(NoEffectError):
        # Another fault may have ended that member: then the connection is refused, and nothing is proved either way.
        require(other.store is not None and other.store.poll() is None, "")
        require(not host.space.can_connect(other.space.address, _PEER_PORT), f"{cut} cut: the store is in reach")
    has_broker = host.space.can_connect(scene.bridge.address, BROKER_PORT)
    require(has_broker == (cut is Cut.STORE), f"{cut} cut: the broker is {'' if has_broker else 'not '}in reach")


def require_dropped(dropped: dict[str, int], cut: Cut) -> None:
    """Packets were dropped, in the direction that was meant and in no other one."""
    meant = {Cut.IN: {"INPUT"}, Cut.OUT: {"OUTPUT"}}.get(cut, {"INPUT", "OUTPUT"})
    require(dropped.keys() == meant, f"{cut} cut: rules in {sorted(dropped)}")
    require(any(dropped.values()), f"{cut} cut: nothing was dropped")


def require_stopped(pids: list[int]) -> None:
    """All of these that still exist stand still."""
    deadline_s = now_s() + _SOON_S
    while now_s() < deadline_s and any(_read_letter(pid) not in "TtZX-" for pid in pids):
        time.sleep(0.01)
    letters = {pid: _read_letter(pid) for pid in pids}
    require(all(one in "TtZX-" for one in letters.values()), f"not stopped: {letters}")


def require_gone(pids: list[int]) -> None:
    """None of these exists any more."""
    deadline_s = now_s() + _SOON_S
    while now_s() < deadline_s and any(_read_letter(pid) not in "ZX-" for pid in pids):
        time.sleep(0.01)
    require(all(_read_letter(pid) in "ZX-" for pid in pids), f"still there: {pids}")


def require_clock(host: Host, by_s: int) -> None:
    """What is started with the host's clock reads the other time."""
    read = subprocess.run(["date", "+%s"], env=host.environ, capture_output=True, text=True, timeout=60, check=True)
    ahead_s = int(read.stdout) - time.time()
    require(abs(ahead_s - by_s) < _TOLERANCE_S, f"the clock is {ahead_s:.0f} s ahead, not {by_s}")
    require(host.environ[CLOCK_VARIABLE] == str(host.root / "clock"), "another clock file")


def require_delay(host: Host, delay_s: float) -> None:
    """An answer of the store takes at least twice as long: the way there and the way back."""
    took_s = ask_store(host, FIRST_PROXY_PORT, "/v3/maintenance/status")
    require(took_s is None or took_s >= 2 * delay_s, f"an answer took {took_s} s with a delay of {delay_s:.1f} s")


def require_no_quorum(host: Host) -> None:
    """The member that is left answers no linearizable read."""
    require(ask_store(host, FIRST_PROXY_PORT, "/v3/kv/range") is None, "the member that is left still answers")


def _read_letter(pid: int) -> str:
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "-"
    return chr(content[content.rindex(b")") + 2])
