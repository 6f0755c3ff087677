r"""The handshake of the TWS API, and the messages that this program reads or writes itself.

A client opens with `API\0` and a frame that names the versions it speaks (`v157..178`). The gateway answers with the
version chosen and its time. The client says who it is (`START_API`), and the gateway sends the managed accounts and the
next valid order id, in either order; errors and notices may stand between. After that, every message starts with its
number.

The layouts are those that `ib_async` 2.1.0 and the official `ibapi` 9.81 to 10.51 read and write; the tests hold this
module to frames recorded from those clients.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
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
    """Numbers of a client's messages, by the names of the official client, up to server version 178."""

    MARKET_DATA = 1
    CANCEL_MARKET_DATA = 2
    PLACE_ORDER = 3
    CANCEL_ORDER = 4
    OPEN_ORDERS = 5
    ACCOUNT_UPDATES = 6
    EXECUTIONS = 7
    IDS = 8
    CONTRACT_DETAILS = 9
    MARKET_DEPTH = 10
    CANCEL_MARKET_DEPTH = 11
    NEWS_BULLETINS = 12
    CANCEL_NEWS_BULLETINS = 13
    SET_SERVER_LOG_LEVEL = 14
    AUTO_OPEN_ORDERS = 15
    ALL_OPEN_ORDERS = 16
    MANAGED_ACCOUNTS = 17
    FA = 18
    REPLACE_FA = 19
    HISTORICAL_DATA = 20
    EXERCISE_OPTIONS = 21
    SCANNER = 22
    CANCEL_SCANNER = 23
    SCANNER_PARAMETERS = 24
    CANCEL_HISTORICAL_DATA = 25
    CURRENT_TIME = 49
    REALTIME_BARS = 50
    CANCEL_REALTIME_BARS = 51
    FUNDAMENTAL_DATA = 52
    CANCEL_FUNDAMENTAL_DATA = 53
    IMPLIED_VOLATILITY = 54
    OPTION_PRICE = 55
    CANCEL_IMPLIED_VOLATILITY = 56
    CANCEL_OPTION_PRICE = 57
    GLOBAL_CANCEL = 58
    MARKET_DATA_TYPE = 59
    POSITIONS = 61
    ACCOUNT_SUMMARY = 62
    CANCEL_ACCOUNT_SUMMARY = 63
    CANCEL_POSITIONS = 64
    VERIFY_REQUEST = 65
    VERIFY_MESSAGE = 66
    QUERY_DISPLAY_GROUPS = 67
    SUBSCRIBE_TO_GROUP_EVENTS = 68
    UPDATE_DISPLAY_GROUP = 69
    UNSUBSCRIBE_FROM_GROUP_EVENTS = 70
    START_API = 71
    VERIFY_AND_AUTH_REQUEST = 72
    VERIFY_AND_AUTH_MESSAGE = 73
    POSITIONS_MULTI = 74
    CANCEL_POSITIONS_MULTI = 75
    ACCOUNT_UPDATES_MULTI = 76
    CANCEL_ACCOUNT_UPDATES_MULTI = 77
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
    CANCEL_HISTOGRAM = 89
    CANCEL_HEAD_TIMESTAMP = 90
    MARKET_RULE = 91
    PNL = 92
    CANCEL_PNL = 93
    PNL_SINGLE = 94
    CANCEL_PNL_SINGLE = 95
    HISTORICAL_TICKS = 96
    TICK_BY_TICK = 97
    CANCEL_TICK_BY_TICK = 98
    COMPLETED_ORDERS = 99
    CALENDAR_META = 100
    CANCEL_CALENDAR_META = 101
    CALENDAR_EVENTS = 102
    CANCEL_CALENDAR_EVENTS = 103
    USER_INFO = 104


class Response(IntEnum):
    """Numbers of the gateway's messages that this program reads."""

    ORDER_STATUS = 3
    ERROR = 4
    OPEN_ORDER = 5
    NEXT_VALID_ID = 9
    MANAGED_ACCOUNTS = 15
    CURRENT_TIME = 49
    OPEN_ORDERS_END = 53
    POSITION = 61
    POSITIONS_END = 62
    ACCOUNT_SUMMARY = 63
    ACCOUNT_SUMMARY_END = 64


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
class OpenOrder:
    """An order that the broker holds; the fields of it that are read here.

    Attributes:
        order_id: The id that its client gave it; 0 for one placed by hand that no client has bound.
        client_id: Which client placed it; 0 also for one placed by hand.
        perm_id: The broker's own number for it.
        account: The account that it is for.
        con_id: The broker's number of its contract; 0 for a combination.
        symbol: For people.
        kind: The contract's kind, for example `STK`, `OPT`, `BAG` (a combination).
        action: `BUY`, `SELL` or `SSHORT`.
        quantity: Shares or contracts, of the whole order.
        order_type: For example `LMT`, `STP`.
    """

    order_id: int
    client_id: int
    perm_id: int
    account: str
    con_id: int
    symbol: str
    kind: str
    action: str
    quantity: Decimal
    order_type: str


@dataclass(frozen=True, kw_only=True)
class OrderStatus:
    """What has become of an order; it follows each `OpenOrder`.

    Attributes:
        order_id: Its id.
        client_id: Which client placed it.
        perm_id: The broker's own number for it.
        parent_id: The order id of the order that it is attached to; 0 for none.
        status: For example `Submitted`, `PreSubmitted`, `Filled`, `Cancelled`.
        remaining: What can still fill.
    """

    order_id: int
    client_id: int
    perm_id: int
    parent_id: int
    status: str
    remaining: Decimal


@dataclass(frozen=True, kw_only=True)
class OpenOrdersEnd:
    """All open orders have been sent."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """What an account holds of one contract.

    Attributes:
        account: The account.
        con_id: The broker's number of the contract.
        symbol: For people.
        kind: The contract's kind, for example `STK`.
        quantity: Shares or contracts; below 0 where it is short, 0 where the position has just been closed.
        average_cost: In the contract's currency, for one share or contract.
    """

    account: str
    con_id: int
    symbol: str
    kind: str
    quantity: Decimal
    average_cost: Decimal


@dataclass(frozen=True, kw_only=True)
class PositionsEnd:
    """All positions have been sent."""


@dataclass(frozen=True, kw_only=True)
class AccountValue:
    """One value of an account's summary, as text: some are words."""

    account: str
    tag: str
    value: str
    currency: str


@dataclass(frozen=True, kw_only=True)
class AccountSummaryEnd:
    """All requested values have been sent."""


@dataclass(frozen=True, kw_only=True)
class UnreadableMessage:
    """A message that this program reads elsewhere, and that has fields missing or letters where a number should be."""

    number: int


@dataclass(frozen=True, kw_only=True)
class OtherMessage:
    """A message that this program does not read."""

    number: int


Message = (
    ErrorMessage
    | ManagedAccounts
    | NextValidId
    | CurrentTime
    | OpenOrder
    | OrderStatus
    | OpenOrdersEnd
    | Position
    | PositionsEnd
    | AccountValue
    | AccountSummaryEnd
    | UnreadableMessage
    | OtherMessage
)


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


def build_all_open_orders_request() -> bytes:
    """Asks for the open orders of all clients. Binds none of them, unlike `Request.OPEN_ORDERS` from client 0."""
    return build_frame(int(Request.ALL_OPEN_ORDERS), 1)


def build_positions_request() -> bytes:
    """Asks for all positions, and for each of their changes from then on."""
    return build_frame(int(Request.POSITIONS), 1)


def build_positions_end_request() -> bytes:
    """Ends the updates of positions."""
    return build_frame(int(Request.CANCEL_POSITIONS), 1)


def build_account_summary_request(request_id: int, tags: Sequence[str]) -> bytes:
    """Asks for values of all accounts, and for their changes (every three minutes) from then on."""
    return build_frame(int(Request.ACCOUNT_SUMMARY), 1, request_id, "All", ",".join(tags))


def build_account_summary_end_request(request_id: int) -> bytes:
    """Ends the updates of the values."""
    return build_frame(int(Request.CANCEL_ACCOUNT_SUMMARY), 1, request_id)


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
    parse = _PARSERS.get(number)
    if parse is None:
        return OtherMessage(number=number)
    try:
        return parse(fields)
    except IndexError as error:
        raise WireError(f"message {number} has only {len(fields)} fields") from error


def name_unreadable(fields: Sequence[str]) -> UnreadableMessage:
    """What stands for a message that `parse_message` refused; its number is -1 where that cannot be read either."""
    return UnreadableMessage(number=int(fields[0]) if _INTEGER.fullmatch(fields[0]) else -1)


def _parse_accounts(fields: Sequence[str]) -> ManagedAccounts:
    named = (account.strip() for account in fields[2].split(","))
    return ManagedAccounts(accounts=tuple(account for account in named if account))


def _parse_open_order(fields: Sequence[str]) -> OpenOrder:
    return OpenOrder(
        order_id=_parse_integer(fields[1]),
        con_id=_parse_integer(fields[2]),
        symbol=fields[3],
        kind=fields[4],
        action=fields[13],
        quantity=_parse_decimal(fields[14]),
        order_type=fields[15],
        account=fields[20],
        client_id=_parse_integer(fields[24]),
        perm_id=_parse_integer(fields[25]),
    )


def _parse_order_status(fields: Sequence[str]) -> OrderStatus:
    return OrderStatus(
        order_id=_parse_integer(fields[1]),
        status=fields[2],
        remaining=_parse_decimal(fields[4]),
        perm_id=_parse_integer(fields[6]),
        parent_id=_parse_integer(fields[7]),
        client_id=_parse_integer(fields[9]),
    )


def _parse_position(fields: Sequence[str]) -> Position:
    return Position(
        account=fields[2],
        con_id=_parse_integer(fields[3]),
        symbol=fields[4],
        kind=fields[5],
        quantity=_parse_decimal(fields[14]),
        average_cost=_parse_decimal(fields[15]),
    )


_PARSERS: dict[int, Callable[[Sequence[str]], Message]] = {
    Response.ERROR: lambda fields: ErrorMessage(
        request_id=_parse_integer(fields[2]), code=_parse_integer(fields[3]), text=fields[4]
    ),
    Response.MANAGED_ACCOUNTS: _parse_accounts,
    Response.NEXT_VALID_ID: lambda fields: NextValidId(order_id=_parse_integer(fields[2])),
    Response.CURRENT_TIME: lambda fields: CurrentTime(epoch_s=_parse_integer(fields[2])),
    Response.OPEN_ORDER: _parse_open_order,
    Response.ORDER_STATUS: _parse_order_status,
    Response.OPEN_ORDERS_END: lambda _fields: OpenOrdersEnd(),
    Response.POSITION: _parse_position,
    Response.POSITIONS_END: lambda _fields: PositionsEnd(),
    Response.ACCOUNT_SUMMARY: lambda fields: AccountValue(
        account=fields[3], tag=fields[4], value=fields[5], currency=fields[6]
    ),
    Response.ACCOUNT_SUMMARY_END: lambda _fields: AccountSummaryEnd(),
}


def _parse_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise WireError(f"unreadable message ({text!r} stands where a number should)")
    return int(text)


def _parse_decimal(text: str) -> Decimal:
    try:
        number = Decimal(text or "0")
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise WireError(f"unreadable message ({text[:40]!r} stands where a number should)")
    return number


# What a gateway sends.


def parse_hello(body: bytes) -> VersionRange:
    """The versions that a client speaks, from its first frame.

    Raises:
        WireError: The frame names no versions.
    """
    text = body.decode("ascii", errors="backslashreplace").rstrip("\0")
    found = _VERSIONS.fullmatch(text)
    if not found:
        raise WireError(f"{text!r} is not a range of versions")
    return VersionRange(oldest=int(found[1]), newest=int(found[2] or found[1]))


def parse_start_api(fields: Sequence[str]) -> int:
    """The client id of the message that starts the API.

    Raises:
        WireError: Another message, or no number.
    """
    match fields:
        case ["71", _, client_id, *_] if re.fullmatch(r"-?\d{1,10}", client_id):
            return int(client_id)
    raise WireError(f"the second message must be 71 with a client id, not {','.join(fields)!r}")


def build_greeting(version: int, time: str) -> bytes:
    """A gateway's first message."""
    return build_frame(version, time)


def build_error(request_id: int, code: int, text: str, *, version: int = NEWEST_VERSION) -> bytes:
    """An error or a notice, with the fields that the version has; `request_id` is -1 where it answers no request."""
    last = ("",) if version >= _VERSION_WITH_REJECTION_JSON else ()
    return build_frame(int(Response.ERROR), 2, request_id, code, text, *last)


def build_handshake_end(accounts: str, next_order_id: int) -> bytes:
    """What completes a handshake: the managed accounts (commas between them) and the next valid order id."""
    return build_frame(int(Response.MANAGED_ACCOUNTS), 1, accounts) + build_frame(
        int(Response.NEXT_VALID_ID), 1, next_order_id
    )
