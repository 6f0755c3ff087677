"""The kinds of values: how text becomes a value, and what is allowed, in words for people.

A parser raises `ValueError`, and the message is then "must be" and what its kind allows; or a text of its own where
that says more. No parser puts the value into its message: it may be a secret.
"""

import datetime as dt
import ipaddress
import os
import re
import shlex
import sys
import unicodedata
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestration.settings.market_calendar import CalendarError, MarketCalendarSetting, parse_market_calendar
from orchestration.settings.week_time import parse_week_time
from orchestration.state_dir import is_reserved_name
from orchestration.system.endpoint import Endpoint


class Secret:
    """A value that never shows itself by accident. `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('********')"

    def __str__(self) -> str:
        return "********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class WrongValueError(Exception):
    """What is wrong with a value. It holds neither the variable's name nor the value."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What values a variable takes.

    Attributes:
        convert: Text (never empty, without blanks around it) to value. Raises `ValueError`.
        allowed: What is allowed, for people; it reads on after "must be".
        lines: Whether the text may hold line breaks and tabs.
        exact: Whether blanks around the text, where they are quoted, belong to it.
    """

    convert: Callable[[str], Any]
    allowed: str
    lines: bool = False
    exact: bool = False

    def parse(self, text: str) -> Any:  # noqa: ANN401 - a table of kinds has no narrower type; `Settings` has
        """The value of a text.

        Raises:
            WrongValueError: It is not allowed.
        """
        # Undecodable bytes (surrogates) and control characters break terminals, unit files and JSON far from here.
        if any(unicodedata.category(one) in {"Cc", "Cs"} and not (self.lines and one in "\n\r\t") for one in text):
            raise WrongValueError("holds control characters, or bytes that are not UTF-8")
        try:
            return self.convert(text)
        except (ValueError, OSError, RuntimeError, zoneinfo.ZoneInfoNotFoundError) as error:
            own = str(error) if isinstance(error, _OwnWordsError) else ""
            raise WrongValueError(own or f"must be {self.allowed}") from None


class _OwnWordsError(ValueError):
    pass


_BETWEEN_ADDRESSES = re.compile(r"\s*,?\s+|\s*,\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")


def split_addresses(text: str) -> tuple[str, ...]:
    """The addresses in a list with blanks, line breaks or commas between them. A comma within an address is its own."""
    return tuple(one for one in (part.strip(", ") for part in _BETWEEN_ADDRESSES.split(text.strip())) if one)


def _matching(pattern: str, allowed: str, *, flags: re.RegexFlag = re.NOFLAG) -> Kind:
    compiled = re.compile(pattern, flags | re.ASCII)

    def convert(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError
        return text

    return Kind(convert=convert, allowed=allowed)


def whole_number(least: int, most: int) -> Kind:
    """Whole numbers of a range, both ends included."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return Kind(convert=convert, allowed=f"a whole number from {least} to {most}")


def seconds(least: float, most: float) -> Kind:
    """A duration in seconds, as a float; both ends included. No exponents, no infinity."""

    def convert(text: str) -> float:
        if not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", text) or not least <= float(text) <= most:
            raise ValueError
        return float(text)

    return Kind(convert=convert, allowed=f"a number of seconds from {least:g} to {most:g}")


def one_of(kind: type[StrEnum]) -> Kind:
    """The words of an enumeration, in any case."""
    words = [f"`{one}`" for one in kind]
    return Kind(convert=lambda text: kind(text.lower()), allowed=f"{', '.join(words[:-1])} or {words[-1]}")


def word_of(*words: str, fold: Callable[[str], str]) -> Kind:
    """Some words, brought to one case by `fold`, as plain text."""

    def convert(text: str) -> str:
        if fold(text) not in words:
            raise ValueError
        return fold(text)

    shown = [f"`{word}`" for word in words]
    return Kind(convert=convert, allowed=f"{', '.join(shown[:-1])} or {shown[-1]}")


_LONGEST_HOST = 253  # characters, RFC 1035's 255 octets less two for the lengths
_HOST_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"


def _switch(text: str) -> bool:
    lowered = text.lower()
    if lowered not in {"yes", "true", "1", "on", "no", "false", "0", "off"}:
        raise ValueError
    return lowered in {"yes", "true", "1", "on"}


def _host(text: str) -> str:
    if ":" in text:
        ipaddress.IPv6Address(text)
        return text
    labels = text.removesuffix(".").split(".")
    if len(text) > _LONGEST_HOST or not all(re.fullmatch(_HOST_LABEL, label, re.ASCII) for label in labels):
        raise ValueError
    if labels[-1].isdigit():  # no top-level domain is a number: a resolver would take `999.1.1.1` for an address, too
        ipaddress.IPv4Address(text)
    return text


def _etcd_endpoints(text: str) -> tuple[str, ...]:
    found = _listed(r"https?://[A-Za-z0-9._-]+:[0-9]{1,5}|https?://\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}")(text)
    for endpoint in found:
        _listen_address(endpoint.partition("://")[2])
    return found


def _listen_address(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    return Endpoint(host=_host(host.removeprefix("[").removesuffix("]")), port=whole_number(1, 65535).convert(port))


def _listed(pattern: str) -> Callable[[str], tuple[str, ...]]:
    def convert(text: str) -> tuple[str, ...]:
        words = tuple(word for word in re.split(r"[\s,]+", text) if word)
        if not words or not all(re.fullmatch(pattern, word) for word in words):
            raise ValueError
        return words

    return convert


_BLANKS = " \t\r\n"  # what `shlex` splits at
_HOME = re.compile(r"~[A-Za-z0-9._-]*(?=[/\s]|\Z)")


def split_command(text: str, *, backslash_escapes: bool) -> tuple[str, ...]:
    """A command line's words by the rules of a POSIX shell; of its expansions only `~` at the beginning of a word.

    Args:
        text: The command line.
        backslash_escapes: False where it stands between folders.

    Raises:
        ValueError: Quotes are open, or there is no program.
    """
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if not backslash_escapes:
        lexer.escape = ""
    homes = _find_homes(text, backslash_escapes=backslash_escapes)
    try:
        words = tuple(expand_home(word) if number in homes else word for number, word in enumerate(lexer))
    except ValueError as error:
        raise _OwnWordsError(f"cannot be split into words ({error}); quote it as for a shell") from None
    if not words or not words[0]:
        raise _OwnWordsError("must name a program")
    return words


def _find_homes(text: str, *, backslash_escapes: bool) -> frozenset[int]:
    """Which words begin with a `~` that stands for a user's home: neither it nor the name after it is quoted."""
    found: set[int] = set()
    number, quote, is_inside = -1, "", False
    skips = False
    for index, character in enumerate(text):
        if skips:
            skips = False
            continue
        if not quote and character in _BLANKS:
            is_inside = False
            continue
        if not is_inside:
            is_inside, number = True, number + 1
            if _HOME.match(text, index):
                found.add(number)
        if character == "\\" and backslash_escapes and quote != "'":
            skips = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in {"'", '"'}:
            quote = character
    return frozenset(found)


def expand_home(text: str) -> str:
    """The text with a leading `~` or `~user` replaced as a shell does; that of an unknown user stays."""
    return os.path.expanduser(text)  # noqa: PTH111 - pathlib's raises for an unknown user


def _command(text: str) -> tuple[str, ...]:
    return split_command(text, backslash_escapes=sys.platform != "win32")


def _clock_time(text: str) -> str:
    match = re.fullmatch(r"(0?[1-9]|1[0-2]):([0-5][0-9]) ?([AaPp][Mm])", text)
    if match is None:
        raise ValueError
    return f"{int(match[1]):02d}:{match[2]} {match[3].upper()}"


def _day_time(text: str) -> dt.time:
    if not re.fullmatch(r"([01]?[0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError
    hour, minute = text.split(":")
    return dt.time(int(hour), int(minute))


_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
_LONGEST_DURATION_S = 2 * 86400.0


def _duration(text: str) -> float:
    match = re.fullmatch(r"(?P<number>[0-9]{1,9}(\.[0-9]{1,9})?)\s?(?P<unit>[hms]?)", text, re.ASCII)
    if match is None:
        raise ValueError
    duration_s = float(match["number"]) * _UNITS_S[match["unit"]]
    if duration_s > _LONGEST_DURATION_S:
        raise ValueError
    return duration_s


_HOUR = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_DAY = r"(mon|tue|wed|thu|fri|sat|sun)"
_DAILY = re.compile(rf"(?P<from>{_HOUR})\s*-\s*(?P<to>{_HOUR})\s+(?P<zone>\S+)", re.ASCII)
_WEEKLY = re.compile(
    rf"(?P<from>{_DAY}\s+{_HOUR})\s*-\s*(?P<to>{_DAY}\s+{_HOUR})\s+(?P<zone>\S+)", re.ASCII | re.IGNORECASE
)


def _windows(*shapes: re.Pattern[str], several: bool) -> Callable[[str], str]:
    def convert(text: str) -> str:
        parts = [part.strip() for part in text.split(";")] if several else [text]
        for part in parts:
            match = next((match for shape in shapes if (match := shape.fullmatch(part))), None)
            # From an instant to the same one is nothing, or everything: neither is meant.
            if match is None or match["from"].lower().split() == match["to"].lower().split():
                raise ValueError
            zoneinfo.ZoneInfo(match["zone"])
        return text

    return convert


def _instance(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", text, re.ASCII):
        raise ValueError
    if is_reserved_name(text):
        raise _OwnWordsError(
            "is the name of a file in the folder of the state or the logs, where this instance's own folder would be; "
            "choose another name"
        )
    return text


def _bytes(text: str) -> str:
    match = re.fullmatch(r"([0-9]{1,15})(b|[kmg]b?)?", text.lower())
    if match is None or int(match[1]) == 0:
        raise ValueError
    return text


def _market_calendar(text: str) -> MarketCalendarSetting:
    try:
        return parse_market_calendar(text)
    except CalendarError as error:
        raise _OwnWordsError(str(error)) from error


TEXT = Kind(convert=str, allowed="text")
SECRET = Kind(convert=Secret, allowed="text")
PASSWORD = Kind(convert=Secret, allowed="text", exact=True)
# A malformed alert address is a warning (S5), never a reason not to start: it is judged where it is used.
WEB_ADDRESS = Kind(convert=Secret, allowed="an https address (http only to loopback)")
# As above: each address is judged where it is used.
ADDRESSES = Kind(convert=Secret, allowed="one or more Apprise addresses with blanks or commas between them", lines=True)
ALERT_LEVEL = word_of("info", "outcome", "warning", "error", "critical", fold=str.lower)
MENTION = Kind(convert=Secret, allowed="`<@USER>`, `<@&ROLE>`, `@here` or `@everyone`")
SWITCH = Kind(convert=_switch, allowed="`yes` or `no`")
# Forty leave room for a socket's path below the state folder: the kernel allows it 107 bytes in all.
INSTANCE = Kind(convert=_instance, allowed="up to 40 letters, digits, `_`, `.` and `-`, a letter or digit first")
NAME = _matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", "letters, digits, `_`, `.` and `-`, a letter or digit first")
HOST = Kind(convert=_host, allowed="a host name or an address, without port or scheme")
LISTEN = Kind(convert=_listen_address, allowed="an address and a port with a colon between them, as 127.0.0.1:9464")
PATH = Kind(convert=lambda text: Path(text).expanduser(), allowed="a path")
ACCOUNTS = Kind(convert=_listed(r"[A-Za-z0-9]+"), allowed="one account id or several with commas between them")
ETCD_ENDPOINTS = Kind(
    convert=_etcd_endpoints,
    allowed="one `http://host:port` or `https://host:port`, or several with commas between them",
)
VARIABLES = Kind(convert=_listed(r"[A-Za-z_][A-Za-z0-9_]*"), allowed="names of variables with commas between them")
COMMAND = Kind(convert=_command, allowed="a program and its arguments", lines=True)
TIME_ZONE = Kind(convert=zoneinfo.ZoneInfo, allowed="a time zone of the tz database, for example `America/New_York`")
LOG_LEVEL = word_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", fold=str.upper)
CLOCK_TIME = Kind(convert=_clock_time, allowed="`HH:MM AM` or `HH:MM PM`, for example `11:45 PM`")
MARKET_CALENDAR = Kind(
    convert=_market_calendar,
    allowed="an exchange of the `holidays` package (`NYSE`, `XNAS`, `XCME`, `XLON`, `XETR`, …), `none` for every "
    "weekday or `daily` for every day; a file of closed dates may follow a comma, or stand alone",
)
WEEK_TIME = Kind(convert=parse_week_time, allowed="a day and `HH:MM`, 24 hours, for example `Sun 18:00`")
DURATION = Kind(
    convert=_duration,
    allowed="a number of hours, minutes or seconds up to two days, for example `2h`, `90m` or `5400`",
)
DAY_TIME = Kind(convert=_day_time, allowed="`HH:MM`, 24 hours, for example `09:15`")
WINDOW = Kind(convert=_windows(_DAILY, several=False), allowed="`HH:MM-HH:MM ZONE`")
WINDOWS = Kind(
    convert=_windows(_DAILY, _WEEKLY, several=True),
    allowed="windows with `;` between them: `HH:MM-HH:MM ZONE` daily, or `Fri HH:MM-Sat HH:MM ZONE`",
)
MEMORY = Kind(convert=_bytes, allowed="a size as Compose writes it, for example `2g` or `512m`")
IMAGE = _matching(
    r"([a-z0-9.-]+(:[0-9]{1,5})?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?",
    "an image reference, for example `ghcr.io/gnzsnz/ib-gateway:stable`",
)
