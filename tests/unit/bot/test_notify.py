import pytest

from orchestration.bot.notifier import read_watchdog_interval_s
from orchestration.bot.notify import Notification, parse_notification


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (b"READY=1", Notification(is_ready=True)),
        (b"READY=1\n", Notification(is_ready=True)),
        (b"READY=1\nSTATUS=Up & running\nMAINPID=4711", Notification(is_ready=True, status="Up & running")),
        (b"READY=0", Notification()),
        (b"READY=10", Notification()),
        (b" READY=1", Notification()),
        (b"XREADY=1", Notification()),
        (b"STATUS=READY=1", Notification(status="READY=1")),
        (b"STATUS=", Notification(status="")),
        (b"STATUS=a\nSTATUS=b", Notification(status="b")),
        (b"STATUS=\x1b[31mred\x07", Notification(status="\x1b[31mred\x07")),
        (b"STATUS=" + b"x" * 900, Notification(status="x" * 900)),
        (b"WATCHDOG=1", Notification(is_watchdog=True)),
        (b"WATCHDOG=trigger", Notification(is_hung=True)),
        (b"WATCHDOG=2", Notification()),
        (b"WATCHDOG_USEC=1500000\nWATCHDOG=1", Notification(is_watchdog=True, watchdog_limit_s=1.5)),
        (b"WATCHDOG_USEC=0", Notification(watchdog_limit_s=0.0)),
        (b"WATCHDOG_USEC=-5", Notification()),
        (b"WATCHDOG_USEC=soon", Notification()),
        (b"WATCHDOG_USEC=" + b"9" * 400, Notification()),
        (b"STOPPING=1\nERRNO=13", Notification(is_stopping=True, error_number=13)),
        (b"ERRNO=-1", Notification()),
        (b"ERRNO=\xc2\xb2", Notification()),
        (b"ERRNO=99999999999999999999", Notification()),
        (b"BARRIER=1", Notification()),
        (b"READY=1\n\xff", Notification()),
        (b"", Notification()),
        (b"\0\0\0", Notification()),
    ],
)
def test_a_datagram_is_read_as_the_protocol_says(datagram: bytes, expected: Notification) -> None:
    assert parse_notification(datagram) == expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "77"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_is_kept_at_half_of_what_it_allows(environ: dict[str, str], expected: float | None) -> None:
    assert read_watchdog_interval_s(environ, pid=77) == expected
