"""What the built-in gateway answers to each request of a client. Pure; no socket."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestration.tws.frames import WireError, build_frame
from orchestration.tws.messages import NEWEST_VERSION, OLDEST_VERSION, Answer, Request, VersionRange, build_error

# Cancellations and settings: the gateway obeys without a word.
_SILENT = frozenset(
    {2, 11, 12, 13, 14, 15, 19, 23, 25, 51, 53, 56, 57, 59, 63, 64, 75, 77, 89, 90, 93, 95, 98, 101, 103}
)

READ_ONLY = "Error validating request.-'bW' : cause - The API interface is currently in Read-Only mode. (SIMULATED)"
_NO_MARKET = "Requested market data is not subscribed. This gateway is SIMULATED and has no market."
_NO_HISTORY = "Historical Market Data Service error message:No market data permissions. (SIMULATED)"
_NO_CONTRACT = "No security definition has been found for the request. (SIMULATED)"
_UNREADABLE = "Server error when reading an API client request. (SIMULATED)"
_NO_NEWS = "News is not available: this gateway is SIMULATED."

# Request: (index of its id among the fields, error code, text). -1: the request has no id.
_REFUSED: dict[int, tuple[int, int, str]] = {
    Request.MARKET_DATA: (2, 354, _NO_MARKET),
    Request.PLACE_ORDER: (1, 321, READ_ONLY),
    Request.CONTRACT_DETAILS: (2, 200, _NO_CONTRACT),
    Request.MARKET_DEPTH: (2, 354, _NO_MARKET),
    Request.HISTORICAL_DATA: (1, 162, _NO_HISTORY),
    Request.EXERCISE_OPTIONS: (2, 321, READ_ONLY),
    Request.SCANNER: (1, 162, _NO_HISTORY),
    Request.REALTIME_BARS: (2, 420, _NO_MARKET),
    Request.FUNDAMENTAL_DATA: (2, 430, "The fundamentals data is not available: this gateway is SIMULATED."),
    Request.IMPLIED_VOLATILITY: (2, 354, _NO_MARKET),
    Request.OPTION_PRICE: (2, 354, _NO_MARKET),
    Request.GLOBAL_CANCEL: (-1, 321, READ_ONLY),
    Request.OPTION_PARAMETERS: (1, 200, _NO_CONTRACT),
    Request.NEWS_ARTICLE: (1, 10172, _NO_NEWS),
    Request.HEAD_TIMESTAMP: (1, 162, _NO_HISTORY),
    Request.HISTORICAL_TICKS: (1, 162, _NO_HISTORY),
    Request.TICK_BY_TICK: (1, 354, _NO_MARKET),
    Request.CALENDAR_META: (1, 10276, _NO_NEWS),
    Request.CALENDAR_EVENTS: (1, 10276, _NO_NEWS),
}

# What an account holds: nothing but simulated money.
_ACCOUNT_VALUES = (
    ("AccountType", "INDIVIDUAL", ""),
    ("AvailableFunds", "1000000.00", "USD"),
    ("BuyingPower", "4000000.00", "USD"),
    ("CashBalance", "1000000.00", "BASE"),
    ("ExcessLiquidity", "1000000.00", "USD"),
    ("GrossPositionValue", "0.00", "USD"),
    ("NetLiquidation", "1000000.00", "USD"),
    ("RealizedPnL", "0.00", "BASE"),
    ("TotalCashValue", "1000000.00", "USD"),
    ("UnrealizedPnL", "0.00", "BASE"),
)


@dataclass(frozen=True, kw_only=True)
class View:
    """What the gateway knows when a request arrives.

    Attributes:
        accounts: The managed accounts as they stand on the wire (commas between them, perhaps one at the end).
        next_order_id: The next valid order id.
        time_s: The gateway's clock, in seconds since 1970 (UTC).
        version: The version of the protocol that was agreed on.
    """

    accounts: str
    next_order_id: int
    time_s: float
    version: int = NEWEST_VERSION

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The account ids without the empty ones."""
        return tuple(account for account in self.accounts.split(",") if account)


def choose_version(offered: VersionRange) -> int:
    """The newest version that the client and this gateway both speak.

    Raises:
        WireError: There is none.
    """
    version = min(offered.newest, NEWEST_VERSION)
    if version < max(offered.oldest, OLDEST_VERSION):
        raise WireError(
            f"the client speaks versions {offered.oldest} to {offered.newest}, "
            f"this gateway {OLDEST_VERSION} to {NEWEST_VERSION}"
        )
    return version


def build_answer(fields: Sequence[str], view: View) -> bytes:
    """All that the gateway sends in answer to one request; empty where it says nothing."""
    try:
        number = int(fields[0])
        if number in _SILENT:
            return b""
        if number in _REFUSED:
            index, code, text = _REFUSED[number]
            return build_error(int(fields[index]) if index > 0 else -1, code, text, version=view.version)
        answer = _ANSWERS.get(number)
        if answer is None:
            return build_error(-1, 505, f"Fatal Error: Unknown message id {number}. (SIMULATED)", version=view.version)
        return answer(fields, view)
    except (ValueError, IndexError):
        return build_error(-1, 320, _UNREADABLE, version=view.version)


def _cancel_order(fields: Sequence[str], view: View) -> bytes:
    order_id = int(fields[2])
    text = f"OrderId {order_id} that needs to be cancelled is not found. (SIMULATED)"
    return build_error(order_id, 10147, text, version=view.version)


def _account_updates(fields: Sequence[str], view: View) -> bytes:
    if fields[2] in {"0", ""}:
        return b""
    account = fields[3] or (view.account_ids or ("",))[0]
    values = (build_frame(6, 2, key, value, currency, account) for key, value, currency in _ACCOUNT_VALUES)
    return b"".join(values) + build_frame(8, 1, "00:00") + build_frame(54, 1, account)


def _account_updates_multi(fields: Sequence[str], view: View) -> bytes:
    request_id, account, model = int(fields[2]), fields[3] or (view.account_ids or ("",))[0], fields[4]
    values = (
        build_frame(73, 1, request_id, account, model, key, value, currency) for key, value, currency in _ACCOUNT_VALUES
    )
    return b"".join(values) + build_frame(74, 1, request_id)


def _account_summary(fields: Sequence[str], view: View) -> bytes:
    request_id, tags = int(fields[2]), set(fields[4].split(","))
    rows = (
        build_frame(63, 1, request_id, account, key, value, currency)
        for account in view.account_ids
        for key, value, currency in _ACCOUNT_VALUES
        if key in tags
    )
    return b"".join(rows) + build_frame(64, 1, request_id)


def _echo(*before: object, at: int, after: Sequence[object] = ()) -> Callable[[Sequence[str], View], bytes]:
    """An answer of fixed fields around the number that the request carries at one place."""
    return lambda fields, _view: build_frame(*before, int(fields[at]), *after)


def _fixed(*fields: object) -> Callable[[Sequence[str], View], bytes]:
    return lambda _fields, _view: build_frame(*fields)


_ANSWERS: dict[int, Callable[[Sequence[str], View], bytes]] = {
    Request.CANCEL_ORDER: _cancel_order,
    Request.OPEN_ORDERS: _fixed(53, 1),
    Request.ACCOUNT_UPDATES: _account_updates,
    Request.EXECUTIONS: _echo(55, 1, at=2),
    Request.IDS: lambda _fields, view: build_frame(int(Answer.NEXT_VALID_ID), 1, view.next_order_id),
    Request.ALL_OPEN_ORDERS: _fixed(53, 1),
    Request.MANAGED_ACCOUNTS: lambda _fields, view: build_frame(int(Answer.MANAGED_ACCOUNTS), 1, view.accounts),
    Request.SCANNER_PARAMETERS: _fixed(19, 1, "<ScanParameterResponse/>"),
    Request.CURRENT_TIME: lambda _fields, view: build_frame(int(Answer.CURRENT_TIME), 1, int(view.time_s)),
    Request.POSITIONS: _fixed(62, 1),
    Request.ACCOUNT_SUMMARY: _account_summary,
    Request.POSITIONS_MULTI: _echo(72, 1, at=2),
    Request.ACCOUNT_UPDATES_MULTI: _account_updates_multi,
    Request.SOFT_DOLLAR_TIERS: _echo(77, at=1, after=(0,)),
    Request.FAMILY_CODES: _fixed(78, 0),
    Request.MATCHING_SYMBOLS: _echo(79, at=1, after=(0,)),
    Request.DEPTH_EXCHANGES: _fixed(80, 0),
    Request.SMART_COMPONENTS: _echo(82, at=1, after=(0,)),
    Request.NEWS_PROVIDERS: _fixed(85, 0),
    Request.HISTORICAL_NEWS: _echo(87, at=1, after=(0,)),
    Request.HISTOGRAM: _echo(89, at=1, after=(0,)),
    Request.MARKET_RULE: _echo(93, at=1, after=(0,)),
    Request.PNL: _echo(94, at=1, after=("0.0", "0.0", "0.0")),
    Request.PNL_SINGLE: _echo(95, at=1, after=(0, "0.0", "0.0", "0.0", "0.0")),
    Request.COMPLETED_ORDERS: _fixed(102),
    Request.USER_INFO: _echo(107, at=1, after=("",)),
}
