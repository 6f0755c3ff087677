"""Prints the sessions of an exchange, and when they close, as `exchange_calendars` knows them, as JSON.

Runs in a virtual environment that has `exchange_calendars` and nothing of this project.
"""

import json
import sys

import exchange_calendars


def main(exchange: str, first: str, last: str) -> None:
    # Without an end of its own the package stops a year from now.
    calendar = exchange_calendars.get_calendar(exchange, start=first, end=last)
    sessions = calendar.sessions
    closes = {
        str(day.date()): calendar.session_close(day).tz_convert(calendar.tz).strftime("%H:%M") for day in sessions
    }
    print(json.dumps({"exchange": exchange, "first": first, "last": last, "closes": closes}, indent=0))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
