"""What the built-in gateway answers to each request of one client. No socket and no clock of its own."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from orchestration.simulator.account import SimulatedAccount, build_summary, build_values
from orchestration.simulator.market import (
    MarketView,
    answer_history,
    answer_market_data,
    build_contracts,
    build_details,
    build_rule,
    build_samples,
    find_contracts,
)
from orchestration.tws.frames import WireError, build_frame
from orchestration.tws.messages import NEWEST_VERSION, OLDEST_VERSION, Request, Response, VersionRange, build_error

# Cancellations and settings: the gateway obeys without a word.
_SILENT = frozenset(
    {
        Request.CANCEL_MARKET_DATA,
        Request.CANCEL_MARKET_DEPTH,
        Request.NEWS_BULLETINS,
        Request.CANCEL_NEWS_BULLETINS,
        Request.SET_SERVER_LOG_LEVEL,
        Request.AUTO_OPEN_ORDERS,
        Request.CANCEL_SCANNER,
        Request.CANCEL_HISTORICAL_DATA,
        Request.CANCEL_REALTIME_BARS,
        Request.CANCEL_FUNDAMENTAL_DATA,
        Request.CANCEL_IMPLIED_VOLATILITY,
        Request.CANCEL_OPTION_PRICE,
        Request.CANCEL_ACCOUNT_SUMMARY,
        Request.CANCEL_POSITIONS,
        Request.UPDATE_DISPLAY_GROUP,
        Request.UNSUBSCRIBE_FROM_GROUP_EVENTS,
        Request.CANCEL_POSITIONS_MULTI,
        Request.CANCEL_ACCOUNT_UPDATES_MULTI,
        Request.CANCEL_HISTOGRAM,
        Request.CANCEL_HEAD_TIMESTAMP,
        Request.CANCEL_PNL,
        Request.CANCEL_PNL_SINGLE,
        Request.CANCEL_TICK_BY_TICK,
        Request.CANCEL_CALENDAR_META,
        Request.CANCEL_CALENDAR_EVENTS,
    }
)

READ_ONLY = "Error validating request.-'bW' : cause - The API interface is currently in Read-Only mode. (SIMULATED)"
_NO_MARKET = "Requested market data is not subscribed. This gateway is SIMULATED and has no market."
_NO_HISTORY = "Historical Market Data Service error message:No market data permissions. (SIMULATED)"
_NO_CONTRACT = "No security definition has been found for the request"
_UNREADABLE = "Server error when reading an API client request. (SIMULATED)"
_NO_NEWS = "News is not available: this gateway is SIMULATED."
_NO_ADVISOR = "Error validating request.-'bH' : cause - FA data operations ignored for non FA customers. (SIMULATED)"
_NO_VERIFICATION = "Verification is not available: this gateway is SIMULATED."

# Request: (index of its id among the fields, error code, text). -1: the request has no id.
_REFUSED: dict[int, tuple[int, int, str]] = {
    Request.PLACE_ORDER: (1, 321, READ_ONLY),
    Request.MARKET_DEPTH: (2, 354, _NO_MARKET),
    Request.FA: (-1, 321, _NO_ADVISOR),
    Request.REPLACE_FA: (4, 321, _NO_ADVISOR),
    Request.EXERCISE_OPTIONS: (2, 321, READ_ONLY),
    Request.SCANNER: (1, 162, _NO_HISTORY),
    Request.REALTIME_BARS: (2, 420, _NO_MARKET),
    Request.FUNDAMENTAL_DATA: (2, 430, "The fundamentals data is not available: this gateway is SIMULATED."),
    Request.IMPLIED_VOLATILITY: (2, 354, _NO_MARKET),
    Request.OPTION_PRICE: (2, 354, _NO_MARKET),
    Request.GLOBAL_CANCEL: (-1, 321, READ_ONLY),
    Request.VERIFY_REQUEST: (-1, 10015, _NO_VERIFICATION),
    Request.VERIFY_MESSAGE: (-1, 10015, _NO_VERIFICATION),
    Request.VERIFY_AND_AUTH_REQUEST: (-1, 10015, _NO_VERIFICATION),
    Request.VERIFY_AND_AUTH_MESSAGE: (-1, 10015, _NO_VERIFICATION),
    Request.NEWS_ARTICLE: (1, 10172, _NO_NEWS),
    Request.HISTORICAL_TICKS: (1, 162, _NO_HISTORY),
    Request.TICK_BY_TICK: (1, 10189, "Failed to request tick-by-tick data: this gateway is SIMULATED."),
    Request.CALENDAR_META: (1, 10276, _NO_NEWS),
    Request.CALENDAR_EVENTS: (1, 10276, _NO_NEWS),
}
# What a gateway that is set to be read-only refuses beside orders (measured on real ones).
_LISTS = frozenset({Request.OPEN_ORDERS, Request.ALL_OPEN_ORDERS, Request.POSITIONS, Request.ACCOUNT_SUMMARY})
_REFUSED_WHERE_READ_ONLY = frozenset({Request.OPEN_ORDERS, Request.ALL_OPEN_ORDERS, Request.COMPLETED_ORDERS})


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


@dataclass(frozen=True, kw_only=True)
class View:
    """What the gateway knows when a request arrives.

    Attributes:
        accounts: The managed accounts as they stand on the wire (commas between them, perhaps one at the end).
        next_order_id: The next valid order id.
        time_s: The gateway's clock, in seconds since 1970 (UTC).
        version: The version of the protocol that was agreed on.
        client_id: Who asks.
        held: What the first account holds.
        is_read_only: Whether the API is set to be read-only.
        data_type: Which market data the client asked for: see `MarketView`.
        gives_half_answers: Whether lists of orders, positions and values come without the message that ends them.
    """

    accounts: str
    next_order_id: int
    time_s: float
    version: int = NEWEST_VERSION
    client_id: int = 0
    held: SimulatedAccount = SimulatedAccount(account="")  # noqa: RUF009 - a frozen value
    is_read_only: bool = False
    data_type: int = 1
    gives_half_answers: bool = False

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The account ids without the empty ones."""
        return tuple(account for account in self.accounts.split(",") if account)

    @property
    def first_account(self) -> str:
        """The account that is meant where a request names none."""
        return (self.account_ids or ("",))[0]

    @property
    def market(self) -> MarketView:
        """What answers about the market depend on."""
        view = MarketView(contracts=(), version=self.version, time_s=self.time_s, data_type=self.data_type)
        return replace(view, contracts=build_contracts(view.today))


def read_data_type(fields: Sequence[str]) -> int | None:
    """The kind of market data that a request asks for from now on; None if it is another request."""
    match fields:
        case ["59", _, "1" | "2" | "3" | "4" as kind, *_]:
            return int(kind)
    return None


def build_answer(fields: Sequence[str], view: View) -> bytes:
    """All that the gateway sends in answer to one request; empty where it says nothing."""
    try:
        number = int(fields[0])
        if number in _SILENT or read_data_type(fields) is not None:
            return b""
        if view.is_read_only and number in _REFUSED_WHERE_READ_ONLY:
            return build_error(-1, 321, READ_ONLY, version=view.version)
        if number in _REFUSED:
            index, code, text = _REFUSED[number]
            return build_error(int(fields[index]) if index > 0 else -1, code, text, version=view.version)
        answer = _ANSWERS.get(number)
        if answer is None:
            text = f"Fatal Error: Unknown message id {number}. (SIMULATED)"
            return build_error(-1, 505, text, version=view.version)
        said = answer(fields, view)
        return cut_end(said) if view.gives_half_answers and number in _LISTS else said
    except (ValueError, IndexError, KeyError, OverflowError):
        return build_error(-1, 320, _UNREADABLE, version=view.version)


def cut_end(answer: bytes) -> bytes:
    """An answer without its last message."""
    start = end = 0
    while end < len(answer):
        start, end = end, end + 4 + int.from_bytes(answer[end : end + 4], "big")
    return answer[:start]


def _cancel_order(fields: Sequence[str], view: View) -> bytes:
    order_id = int(fields[2])
    if any((one.client_id, one.order_id) == (view.client_id, order_id) for _, one in view.held.orders):
        return build_error(order_id, 321, READ_ONLY, version=view.version)
    text = f"OrderId {order_id} that needs to be cancelled is not found. (SIMULATED)"
    return build_error(order_id, 10147, text, version=view.version)


def _open_orders(_fields: Sequence[str], view: View) -> bytes:
    # Client 0 is also told the orders that were placed by hand, which have the same client id here.
    return _join(view.held.build_orders(view.version, client_id=view.client_id), build_frame(53, 1))


def _all_open_orders(_fields: Sequence[str], view: View) -> bytes:
    return _join(view.held.build_orders(view.version), build_frame(53, 1))


def _positions(_fields: Sequence[str], view: View) -> bytes:
    return _join(view.held.build_positions(), build_frame(62, 1))


def _account_updates(fields: Sequence[str], view: View) -> bytes:
    if fields[2] in {"0", ""}:
        return b""
    account = fields[3] or view.first_account
    values = (build_frame(6, 2, key, value, currency, account) for key, value, currency in build_values())
    portfolio = view.held.build_portfolio(view.time_s) if account == view.held.account else ()
    return _join(values, *portfolio, build_frame(8, 1, "00:00"), build_frame(54, 1, account))


def _account_updates_multi(fields: Sequence[str], view: View) -> bytes:
    request_id, account, model = int(fields[2]), fields[3] or view.first_account, fields[4]
    values = (
        build_frame(73, 1, request_id, account, model, key, value, currency) for key, value, currency in build_values()
    )
    return _join(values, build_frame(74, 1, request_id))


def _positions_multi(fields: Sequence[str], view: View) -> bytes:
    request_id, account, model = int(fields[2]), fields[3] or view.first_account, fields[4]
    rows = (
        build_frame(71, 1, request_id, account, *contract.build_fields(), quantity, contract.price, model)
        for contract, quantity in view.held.positions
    )
    # A model's positions are told without the model's name where the account as a whole is asked for.
    return _join(() if model else rows, build_frame(72, 1, request_id))


def _contract_details(fields: Sequence[str], view: View) -> bytes:
    request_id, market = int(fields[2]), view.market
    found = find_contracts(market.contracts, fields[3:15])
    if not found:
        return build_error(request_id, 200, _NO_CONTRACT, version=view.version)
    details = (build_details(request_id, one, view.version, market.today) for one in found)
    return _join(details, build_frame(52, 1, request_id))


def _option_parameters(fields: Sequence[str], view: View) -> bytes:
    """Two expiries and a few strikes of a stock; a future's options are not known here."""
    request_id, symbol = int(fields[1]), fields[2].upper()
    market = view.market
    found = [one for one in market.contracts if one.symbol == symbol and one.kind == "STK"]
    rows = []
    for one in found:
        expiries = [one_future.expiry for one_future in market.contracts if one_future.expiry]
        strikes = [round(one.price * (90 + 5 * step) / 100) for step in range(5)]
        rows.append(
            build_frame(
                *(75, request_id, "SMART", one.con_id, one.symbol, "100", len(expiries), *expiries),
                *(len(strikes), *strikes),
            )
        )
    return _join(rows, build_frame(76, request_id))


def _head_timestamp(fields: Sequence[str], view: View) -> bytes:
    request_id = int(fields[1])
    if not find_contracts(view.market.contracts, fields[2:14]):
        return build_error(request_id, 200, _NO_CONTRACT, version=view.version)
    return build_frame(88, request_id, "20050103-14:30:00")


def _pnl_single(fields: Sequence[str], view: View) -> bytes:
    request_id, con_id = int(fields[1]), int(fields[4])
    for contract, quantity in view.held.positions:
        if contract.con_id == con_id:
            return build_frame(95, request_id, quantity, 0.0, 0.0, 0.0, contract.price * quantity)
    return build_frame(95, request_id, 0, 0.0, 0.0, 0.0, 0.0)


def _echo(*before: object, at: int, after: Sequence[object] = ()) -> Callable[[Sequence[str], View], bytes]:
    """An answer of fixed fields around the number that the request carries at one place."""
    return lambda fields, _view: build_frame(*before, int(fields[at]), *after)


def _fixed(*fields: object) -> Callable[[Sequence[str], View], bytes]:
    return lambda _fields, _view: build_frame(*fields)


def _join(frames: Iterable[bytes], *more: bytes) -> bytes:
    return b"".join((*frames, *more))


_ANSWERS: dict[int, Callable[[Sequence[str], View], bytes]] = {
    Request.MARKET_DATA: lambda fields, view: answer_market_data(fields, view.market),
    Request.CANCEL_ORDER: _cancel_order,
    Request.OPEN_ORDERS: _open_orders,
    Request.ACCOUNT_UPDATES: _account_updates,
    Request.EXECUTIONS: _echo(55, 1, at=2),
    Request.IDS: lambda _fields, view: build_frame(int(Response.NEXT_VALID_ID), 1, view.next_order_id),
    Request.CONTRACT_DETAILS: _contract_details,
    Request.ALL_OPEN_ORDERS: _all_open_orders,
    Request.MANAGED_ACCOUNTS: lambda _fields, view: build_frame(int(Response.MANAGED_ACCOUNTS), 1, view.accounts),
    Request.HISTORICAL_DATA: lambda fields, view: answer_history(fields, view.market),
    Request.SCANNER_PARAMETERS: _fixed(19, 1, "<ScanParameterResponse/>"),
    Request.CURRENT_TIME: lambda _fields, view: build_frame(int(Response.CURRENT_TIME), 1, int(view.time_s)),
    Request.POSITIONS: _positions,
    Request.ACCOUNT_SUMMARY: lambda fields, view: _join(
        build_summary(int(fields[2]), view.account_ids, fields[4].split(","))
    ),
    Request.QUERY_DISPLAY_GROUPS: _echo(67, 1, at=2, after=("1|2|3",)),
    Request.SUBSCRIBE_TO_GROUP_EVENTS: _echo(68, 1, at=2, after=("none",)),
    Request.POSITIONS_MULTI: _positions_multi,
    Request.ACCOUNT_UPDATES_MULTI: _account_updates_multi,
    Request.OPTION_PARAMETERS: _option_parameters,
    Request.SOFT_DOLLAR_TIERS: _echo(77, at=1, after=(0,)),
    Request.FAMILY_CODES: _fixed(78, 0),
    Request.MATCHING_SYMBOLS: lambda fields, view: build_samples(
        int(fields[1]), fields[2], view.market.contracts, view.version
    ),
    Request.DEPTH_EXCHANGES: _fixed(80, 0),
    Request.SMART_COMPONENTS: _echo(82, at=1, after=(0,)),
    Request.NEWS_PROVIDERS: _fixed(85, 0),
    Request.HISTORICAL_NEWS: _echo(87, at=1, after=(0,)),
    Request.HEAD_TIMESTAMP: _head_timestamp,
    Request.HISTOGRAM: _echo(89, at=1, after=(0,)),
    Request.MARKET_RULE: lambda fields, _view: build_rule(int(fields[1])),
    Request.PNL: _echo(94, at=1, after=("0.0", "0.0", "0.0")),
    Request.PNL_SINGLE: _pnl_single,
    Request.COMPLETED_ORDERS: _fixed(102),
    Request.USER_INFO: _echo(107, at=1, after=("",)),
}
