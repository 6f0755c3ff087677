r"""The handshake of the TWS API, and the messages that this program reads or writes itself.

A client opens with `API\0` and a frame that names the versions it speaks (`v157..178`). The gateway answers with the
version chosen and its time. The client says who it is (`START_API`), and the gateway sends the managed accounts and the
next valid order id, in either order; errors and notices may stand between. After that, every message starts with its
number.

The layouts are those that `ib_async` 2.1.0 and the official `ibapi` 9.81 to 10.51 read and write; the tests hold this
module to frames recorded from those clients.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from orchestration.tws.frames import WireError, build_frame, wrap

API_PREFIX = b"API\0"

# The versions this program speaks: the oldest that sends every field read here (a gateway of 2018), and the last one
# before messages change to protobuf that has been tried against real clients.
OLDEST_VERSION = 157
NEWEST_VERSION = 178

# An error frame has its last field, the JSON of an order's rejection, from this version on (`ibapi`:
# MIN_SERVER_VER_ADVANCED_ORDER_REJECT).
_VERSION_WITH_REJECTION_JSON = 166

_VERSIONS = re.compile(r"v(\d{1,6})(?:\.\.(\d{1,6}))?(?: .*)?", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]{1,40}")  # more digits than any number of the protocol, few enough to convert at once


class Request(IntEnum):
    """Numbers of a client's messages."""

    MARKET_DATA = 1
    PLACE_ORDER = 3
    CANCEL_ORDER = 4
    OPEN_ORDERS = 5
    ACCOUNT_UPDATES = 6
    EXECUTIONS = 7
    IDS = 8
    CONTRACT_DETAILS = 9
    MARKET_DEPTH = 10
    ALL_OPEN_ORDERS = 16
    MANAGED_ACCOUNTS = 17
    HISTORICAL_DATA = 20
    EXERCISE_OPTIONS = 21
    SCANNER = 22
    SCANNER_PARAMETERS = 24
    CURRENT_TIME = 49
    REALTIME_BARS = 50
    FUNDAMENTAL_DATA = 52
    IMPLIED_VOLATILITY = 54
    OPTION_PRICE = 55
    GLOBAL_CANCEL = 58
    POSITIONS = 61
    ACCOUNT_SUMMARY = 62
    START_API = 71
    POSITIONS_MULTI = 74
    ACCOUNT_UPDATES_MULTI = 76
    OPTION_PARAMETERS = 78
    SOFT_DOLLAR_TIERS = 79
    FAMILY_CODES = 80
    MATCHING_SYMBOLS = 81
    DEPTH_EXCHANGES = 82
    SMART_COMPONENTS = 83
    NEWS_ARTICLE = 84
    NEWS_PROVIDERS = 85
    HISTORICAL_NEWS = 86
    HEAD_TIMESTAMP = 87
    HISTOGRAM = 88
    MARKET_RULE = 91
    PNL = 92
    PNL_SINGLE = 94
    HISTORICAL_TICKS = 96
    TICK_BY_TICK = 97
    COMPLETED_ORDERS = 99
    CALENDAR_META = 100
    CALENDAR_EVENTS = 102
    USER_INFO = 104


class Answer(IntEnum):
    """Numbers of the gateway's messages that this program reads."""

    ERROR = 4
    NEXT_VALID_ID = 9
    MANAGED_ACCOUNTS = 15
    CURRENT_TIME = 49


@dataclass(frozen=True, kw_only=True)
class VersionRange:
    """The versions of the protocol that a client speaks."""

    oldest: int
    newest: int


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """The gateway's first message.

    Attributes:
        version: The version of the protocol that it chose.
        time: Its clock as text, in a format that differs between gateways; nothing is read from it.
    """

    version: int
    time: str


@dataclass(frozen=True, kw_only=True)
class ErrorMessage:
    """An error, or a notice: the protocol makes no difference between them.

    Attributes:
        request_id: Which request it answers; -1 for none.
        code: For example 1100.
        text: The gateway's own words.
    """

    request_id: int
    code: int
    text: str


@dataclass(frozen=True, kw_only=True)
class ManagedAccounts:
    """The accounts of this login, without the empty ids that an advisor's list can end in."""

    accounts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NextValidId:
    """The lowest order id that a client may use."""

    order_id: int


@dataclass(frozen=True, kw_only=True)
class CurrentTime:
    """The gateway's clock, in whole seconds since 1970 (UTC)."""

    epoch_s: int


@dataclass(frozen=True, kw_only=True)
class OtherMessage:
    """A message that this program does not read."""

    number: int


Message = ErrorMessage | ManagedAccounts | NextValidId | CurrentTime | OtherMessage


# What a client sends.


def build_hello(oldest: int = OLDEST_VERSION, newest: int = NEWEST_VERSION) -> bytes:
    """A client's first bytes: the protocol's name and the versions it speaks."""
    return API_PREFIX + wrap(f"v{oldest}..{newest}".encode())


def build_start_api(client_id: int) -> bytes:
    """A client's second message: who it is. The last field, its optional capabilities, is empty."""
    return build_frame(int(Request.START_API), 2, client_id, "")


def build_time_request() -> bytes:
    """Asks for the gateway's clock."""
    return build_frame(int(Request.CURRENT_TIME), 1)


def parse_greeting(fields: Sequence[str]) -> Greeting:
    """The gateway's first message.

    Raises:
        WireError: It is another message.
    """
    match fields:
        case [version, time] if re.fullmatch(r"\d{1,6}", version):
            return Greeting(version=int(version), time=time)
    raise WireError("its first message is not a version and a time")


def parse_message(fields: Sequence[str]) -> Message:
    """A message of the gateway after its greeting.

    Raises:
        WireError: A message that is read here has fields missing, or letters where a number should be.
    """
    number = _parse_integer(fields[0])
    try:
        match number:
            case Answer.ERROR:
                return ErrorMessage(
                    request_id=_parse_integer(fields[2]), code=_parse_integer(fields[3]), text=fields[4]
                )
            case Answer.MANAGED_ACCOUNTS:
                named = (account.strip() for account in fields[2].split(","))
                return ManagedAccounts(accounts=tuple(account for account in named if account))
            case Answer.NEXT_VALID_ID:
                return NextValidId(order_id=_parse_integer(fields[2]))
            case Answer.CURRENT_TIME:
                return CurrentTime(epoch_s=_parse_integer(fields[2]))
            case _:
                return OtherMessage(number=number)
    except IndexError as error:
        raise WireError(f"message {number} has only {len(fields)} fields") from error


def _parse_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise WireError(f"unreadable message ({text[:40]!r} stands where a number should)")
    return int(text)


# What a gateway sends.


def parse_hello(body: bytes) -> VersionRange:
    """The versions that a client speaks, from its first frame.

    Raises:
        WireError: The frame names no versions.
    """
    text = body.decode("ascii", errors="backslashreplace").rstrip("\0")
    found = _VERSIONS.fullmatch(text)
    if not found:
        raise WireError(f"{text[:40]!r} is not a range of versions")
    return VersionRange(oldest=int(found[1]), newest=int(found[2] or found[1]))


def parse_start_api(fields: Sequence[str]) -> int:
    """The client id of the message that starts the API.

    Raises:
        WireError: Another message, or no number.
    """
    match fields:
        case ["71", _, client_id, *_] if re.fullmatch(r"-?\d{1,10}", client_id):
            return int(client_id)
    raise WireError(f"the second message must be 71 with a client id, not {','.join(fields)[:40]!r}")


def build_greeting(version: int, time: str) -> bytes:
    """A gateway's first message."""
    return build_frame(version, time)


def build_error(request_id: int, code: int, text: str, *, version: int = NEWEST_VERSION) -> bytes:
    """An error or a notice, with the fields that the version has; `request_id` is -1 where it answers no request."""
    last = ("",) if version >= _VERSION_WITH_REJECTION_JSON else ()
    return build_frame(int(Answer.ERROR), 2, request_id, code, text, *last)


def build_handshake_end(accounts: str, next_order_id: int) -> bytes:
    """What completes a handshake: the managed accounts (commas between them) and the next valid order id."""
    return build_frame(int(Answer.MANAGED_ACCOUNTS), 1, accounts) + build_frame(
        int(Answer.NEXT_VALID_ID), 1, next_order_id
    )
