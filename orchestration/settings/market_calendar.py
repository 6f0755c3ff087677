"""`MARKET_CALENDAR`: an exchange or a rule, and the operator's own closed dates."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from orchestration.system.files import read_regular

_NEW_YORK = frozenset({"NYSE", "XNYS", "XNAS"})  # known without importing the package: each command reads the settings
_MAX_FILE_BYTES = 1 << 20


class CalendarRule(StrEnum):
    """Calendars beside those of the exchanges."""

    WEEKDAYS = "none"
    DAILY = "daily"


@dataclass(frozen=True, kw_only=True)
class MarketCalendarSetting:
    """What `MARKET_CALENDAR` names.

    Attributes:
        market: An exchange of the `holidays` package, or a `CalendarRule`.
        closed: Further days on which the market is closed.
    """

    market: str
    closed: frozenset[date] = frozenset()


class CalendarError(ValueError):
    """What is wrong with the value, in words that read on after the variable's name."""


def is_new_york(market: str) -> bool:
    """Whether a market is one of the New York exchanges, whose closing times this program knows."""
    return market in _NEW_YORK


def parse_market_calendar(text: str) -> MarketCalendarSetting:
    """The calendar of `NAME`, `NAME,/path/to/closed/dates` or `/path/to/closed/dates` (then: of the weekdays).

    Raises:
        CalendarError: There is no such exchange, or the file cannot be used.
    """
    name, comma, file = (part.strip() for part in text.partition(","))
    if name.startswith(("/", "~")):
        name, comma, file = CalendarRule.WEEKDAYS, ",", text.strip()
    if name.lower() in set(CalendarRule):
        market = name.lower()
    else:
        market = name.upper()
        if not is_new_york(market) and market not in _list_exchanges():
            raise CalendarError(
                "does not name an exchange of the `holidays` package (`NYSE`, `XNAS`, `XCME`, `XLON`, …), "
                "nor `none` (every weekday) or `daily` (every day)"
            )
    if not comma:
        return MarketCalendarSetting(market=market)
    path = Path(file).expanduser()
    if not path.is_absolute():
        raise CalendarError("what follows the comma must be the absolute path of a file of closed dates")
    return MarketCalendarSetting(market=market, closed=read_closed_dates(path))


def _list_exchanges() -> frozenset[str]:
    from holidays import list_supported_financial

    return frozenset(list_supported_financial())


def read_closed_dates(path: Path) -> frozenset[date]:
    """The dates of a file: one ISO date a line; blank lines, and what follows a `#`, do not count.

    Raises:
        CalendarError: The file cannot be read, or a line of it holds no date.
    """
    try:
        content = read_regular(path, max_bytes=_MAX_FILE_BYTES)
        lines = content.decode("utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise CalendarError(f"{path} does not exist") from error
    except OSError as error:
        raise CalendarError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CalendarError(f"{path} is not UTF-8 text") from error
    found = set()
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            found.add(date.fromisoformat(text))
        except ValueError as error:
            raise CalendarError(f"{path}, line {number}: {text[:40]!r} is not a date like 2026-12-24") from error
    return frozenset(found)
