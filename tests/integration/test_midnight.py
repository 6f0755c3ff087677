"""P8: a plan's day may end between its check and the launch. A real clock, and a market whose midnight is near."""

import json
import os
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.watch_scene import begin, told
from tests.system import PATIENCE_S, SIGKILL, SIGTERM, System, end_and_read

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"), pytest.mark.timeout(180)]

_UNTIL_MIDNIGHT_S = 12
_ZONE = "Test/Midnight"

# Works until SIGTERM, and then until the instant that stands in a file beside it.
_SLOW_TO_LEAVE = """
import os, pathlib, signal, socket, sys, time
def leave(*_):
    while time.time() < float(pathlib.Path(sys.argv[0]).with_name("leaves_at").read_text()):
        time.sleep(0.05)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
    talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    time.sleep(0.05)
"""


@dataclass(frozen=True)
class Market:
    """A market whose day ends soon.

    Attributes:
        ends_at: When, in seconds since the epoch.
        today: Its date until then.
        environ: What makes a program know its time zone.
    """

    ends_at: float
    today: str
    environ: dict[str, str]


def _make_market(folder: Path) -> Market:
    ends_at = int(time.time()) + _UNTIL_MIDNIGHT_S
    offset_s = -ends_at % 86_400
    offset_s -= 86_400 if offset_s > 43_200 else 0
    # TZif, version 1 (RFC 8536): no transitions, one local time type with this offset, named TST.
    content = (
        b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", offset_s, 0, 0) + b"TST\0"
    )
    path = folder / "zones" / _ZONE
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    local = datetime.fromtimestamp(ends_at - 1, UTC) + timedelta(seconds=offset_s)
    where = f"{folder / 'zones'}{os.pathsep}/usr/share/zoneinfo"
    return Market(
        ends_at=ends_at,
        today=local.date().isoformat(),
        environ={"MARKET_TIMEZONE": _ZONE, "PYTHONTZPATH": where, "BOT_STOP_TIMEOUT": "60"},
    )


def test_a_bot_that_takes_the_place_of_one_slow_to_leave_never_gets_yesterdays_plan(
    watched: System, channel: LoopbackChannel
) -> None:
    watched.use_small_bot(code=_SLOW_TO_LEAVE)
    first = begin(watched)
    first.send_signal(SIGKILL)
    first.communicate(timeout=PATIENCE_S)
    market = _make_market(watched.root)
    watched.environ |= market.environ
    (watched.root / "leaves_at").write_text(str(market.ends_at + 0.5), encoding="utf-8")
    watched.use_plan(date=market.today, symbols=["IWM"])

    second = begin(watched)
    record = json.loads((watched.state / "bot.json").read_text(encoding="utf-8"))
    ended = end_and_read(second, SIGTERM)

    launched_at = datetime.fromisoformat(record["started_at"]).timestamp()
    assert launched_at >= market.ends_at, "the old bot left before midnight: nothing was tested"
    assert ended.document["fallback"] == "GAMEPLAN_STALE", ended.err
    assert (ended.document["exit_code"], ended.document["gameplan"]["strategy"]) == (2, "C")
    assert record["gameplan"] == str(watched.state / "emergency_gameplan.json")
    assert "Strategy C: no trading" in told(channel)
