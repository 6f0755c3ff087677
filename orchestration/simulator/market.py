"""The few contracts that the built-in gateway knows, with their details, delayed prices and bars. Pure.

Nothing here is a market: prices follow from the contract and the time alone, so the same question gets the same answer.
The layouts of the messages are those that the official client reads at each version (`ibapi.decoder`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from orchestration.tws.frames import build_frame
from orchestration.tws.messages import build_error

# From this version on, contract details have no version field, no obsolete size multiplier, and sizes at their end
# (`ibapi`: MIN_SERVER_VER_SIZE_RULES); version 163 alone has one size.
_VERSION_WITH_SIZES = 164
_VERSION_WITH_ONE_SIZE = 163
_VERSION_WITH_DESCRIPTIONS = 176  # MIN_SERVER_VER_BOND_ISSUERID

_NOT_SUBSCRIBED = (
    "Requested market data requires additional subscription for API. See link in 'Market Data Connections' dialog for "
    "more details.Delayed market data is available.{} (SIMULATED)"
)
_DELAYED = "Requested market data is not subscribed. Displaying delayed market data.{} (SIMULATED)"
_NO_CONTRACT = "No security definition has been found for the request"
_MOST_BARS = 2000
# Where a stock of the United States trades, `ISLAND` being Nasdaq's old name, which clients still send.
_STOCK_EXCHANGES = (
    *("AMEX", "NYSE", "CBOE", "PHLX", "ISE", "CHX", "ARCA", "NASDAQ", "DRCTEDGE", "BEX", "BATS", "EDGEA", "BYX"),
    *("IEX", "EDGX", "ISLAND", "PEARL", "MEMX", "PSX"),
)
_DELAYED_TYPES = frozenset({3, 4})  # of `MARKET_DATA_TYPE`: delayed, delayed and frozen


@dataclass(frozen=True, kw_only=True)
class Contract:
    """A contract that the gateway knows.

    Attributes:
        con_id: The broker's number of it.
        symbol: Its symbol.
        kind: `STK`, `FUT` or `CASH`.
        exchange: Its primary exchange.
        currency: What it is quoted in.
        name: Its long name.
        price: Around which its prices move.
        tick: The smallest step of its price.
        multiplier: Of a future; empty otherwise.
        expiry: Last trading day of a future, `YYYYMMDD`; empty otherwise.
        local_symbol: As the exchange calls it.
        trading_class: As the exchange groups it.
        rule: The number of its market rule.
        isin: Of a stock; empty otherwise.
        is_free: Whether prices are not delayed: currencies need no subscription.
    """

    con_id: int
    symbol: str
    kind: str
    exchange: str
    currency: str
    name: str
    price: float
    tick: float
    multiplier: str = ""
    expiry: str = ""
    local_symbol: str = ""
    trading_class: str = ""
    rule: int = 26
    isin: str = ""
    is_free: bool = False

    @property
    def asked_as(self) -> str:
        """The exchange that a request for the best price names."""
        return "SMART" if self.kind == "STK" else self.exchange

    @property
    def exchanges(self) -> tuple[str, ...]:
        """The exchanges that a request may name beside `SMART`."""
        return _STOCK_EXCHANGES if self.kind == "STK" else (self.exchange,)

    @property
    def valid_exchanges(self) -> tuple[str, ...]:
        """What its details name: one market rule belongs to each."""
        return ("SMART", *self.exchanges) if self.kind == "STK" else self.exchanges

    def build_fields(self) -> tuple[object, ...]:
        """Number to trading class, as orders and positions have them."""
        return (
            *(self.con_id, self.symbol, self.kind, self.expiry, 0.0, "", self.multiplier, self.exchange),
            *(self.currency, self.local_symbol or self.symbol, self.trading_class or self.symbol),
        )


SYMBOLS = ("SPY", "AAPL", "ES", "EUR")


def find_third_friday(year: int, month: int) -> date:
    """The day on which an index future of that month expires."""
    first = date(year, month, 1)
    return first + timedelta(days=(4 - first.weekday()) % 7 + 14)


def build_contracts(today: date) -> tuple[Contract, ...]:
    """The contracts; the future is the front quarter's as of `today`."""
    quarters = ((today.year + (month - 1) // 12, (month - 1) % 12 + 1) for month in (3, 6, 9, 12, 15))
    front = next(day for day in (find_third_friday(*quarter) for quarter in quarters) if day >= today)
    code = "FGHJKMNQUVXZ"[front.month - 1] + str(front.year % 10)
    return (
        Contract(
            con_id=756733, symbol="SPY", kind="STK", exchange="ARCA", currency="USD", price=600.0, tick=0.01,
            name="SS SPDR S&P 500 ETF TRUST-US", isin="US78462F1039",
        ),
        Contract(
            con_id=265598, symbol="AAPL", kind="STK", exchange="NASDAQ", currency="USD", price=250.0, tick=0.01,
            name="APPLE INC", trading_class="NMS", isin="US0378331005",
        ),
        Contract(
            con_id=495512563, symbol="ES", kind="FUT", exchange="CME", currency="USD", price=6000.0, tick=0.25,
            name="E-mini S&P 500", multiplier="50", expiry=f"{front:%Y%m%d}", local_symbol=f"ES{code}", rule=67,
        ),
        Contract(
            con_id=12087792, symbol="EUR", kind="CASH", exchange="IDEALPRO", currency="USD", price=1.1, tick=0.00005,
            name="European Monetary Union Euro", local_symbol="EUR.USD", trading_class="EUR.USD", rule=239,
            is_free=True,
        ),
    )  # fmt: skip


def find_contracts(contracts: Sequence[Contract], fields: Sequence[str]) -> list[Contract]:
    """The contracts that a request's contract fields mean; fields that are empty leave it open.

    Args:
        contracts: Those that there are.
        fields: `conId`, symbol, kind, expiry, strike, right, multiplier, exchange, primary exchange, currency, local
            symbol, trading class, as requests for data have them.
    """
    con_id, symbol, kind, expiry, _, _, _, exchange, primary, currency, local_symbol, _ = fields
    if con_id not in {"", "0"}:
        return [one for one in contracts if str(one.con_id) == con_id]
    if not symbol and not local_symbol:
        return []
    return [
        one
        for one in contracts
        if (not symbol or symbol.upper() == one.symbol)
        and (not local_symbol or local_symbol.upper() == (one.local_symbol or one.symbol))
        and (not kind or kind == one.kind or (kind == "CONTFUT" and one.kind == "FUT"))
        and (not expiry or one.expiry.startswith(expiry))
        and (not currency or currency == one.currency)
        and exchange in {"", "SMART", *one.exchanges}
        and primary in {"", "SMART", *one.exchanges}
    ]


def build_details(request_id: int, contract: Contract, version: int, today: date) -> bytes:
    """The details of one contract, with the fields that the version has."""
    hours = ";".join(f"{day:%Y%m%d}:0930-{day:%Y%m%d}:1600" for day in (today + timedelta(days=n) for n in range(5)))
    name = contract.local_symbol or contract.symbol
    head = (10,) if version >= _VERSION_WITH_SIZES else (10, 8)
    old_multiplier = () if version >= _VERSION_WITH_SIZES else (1,)
    sizes: tuple[object, ...] = ()
    if version >= _VERSION_WITH_SIZES:
        sizes = (1, 1, 100)
    elif version == _VERSION_WITH_ONE_SIZE:
        sizes = (100,)
    return build_frame(
        *head,
        request_id,
        *(contract.symbol, contract.kind, contract.expiry, 0.0, "", contract.asked_as, contract.currency, name),
        *(contract.trading_class or contract.symbol, contract.trading_class or contract.symbol, contract.con_id),
        contract.tick,
        *old_multiplier,
        *(contract.multiplier, "LMT,MKT,STP,TRAIL", ",".join(contract.valid_exchanges), 1, 0, contract.name),
        *(contract.exchange if contract.kind == "STK" else "", contract.expiry[:6], "", "", "", "US/Eastern"),
        *(hours, hours, "", 0, *_build_security_ids(contract), 1, "", ""),
        *(",".join(str(contract.rule) for _ in contract.valid_exchanges), contract.expiry),
        "ETF" if contract.symbol == "SPY" else "COMMON" if contract.kind == "STK" else "",
        *sizes,
    )


def _build_security_ids(contract: Contract) -> tuple[object, ...]:
    return (1, "ISIN", contract.isin) if contract.isin else (0,)


def build_samples(request_id: int, pattern: str, contracts: Sequence[Contract], version: int) -> bytes:
    """The contracts whose symbol or name begins with a pattern."""
    wanted = pattern.upper()
    found = [
        one for one in contracts if wanted and (one.symbol.startswith(wanted) or one.name.upper().startswith(wanted))
    ]
    fields: list[object] = []
    for one in found:
        kinds = ("OPT", "WAR") if one.kind == "STK" else ()
        fields += [one.con_id, one.symbol, one.kind, one.exchange, one.currency, len(kinds), *kinds]
        if version >= _VERSION_WITH_DESCRIPTIONS:
            fields += [one.name, ""]
    return build_frame(79, request_id, len(found), *fields)


def build_rule(rule: int) -> bytes:
    """A market rule: the price steps of its contracts."""
    steps = {26: 0.01, 67: 0.25, 239: 0.00005}
    return build_frame(93, rule, 1, 0, steps.get(rule, 0.01))


def compute_price(contract: Contract, time_s: float) -> float:
    """A price of that second: a slow wave of one per cent around the contract's own."""
    moved = contract.price * (1 + 0.01 * math.sin(time_s / 3600))
    return round(round(moved / contract.tick) * contract.tick, 6)


def build_ticks(request_id: int, contract: Contract, *, data_type: int, time_s: float, is_snapshot: bool) -> bytes:
    """Prices and sizes, after the marker of their kind; real ones of a currency, delayed ones of the rest."""
    price = compute_price(contract, time_s)
    low, high, last = round(price - contract.tick, 6), round(price + contract.tick, 6), price
    # Kinds of ticks: bid, ask, last, close, and the sizes; delayed ones have numbers of their own.
    kinds = (1, 2, 4, 9, 0, 3, 5, 8) if contract.is_free else (66, 67, 68, 75, 69, 70, 71, 74)
    bid, ask, traded, close, *sizes = kinds
    ticks = [
        build_frame(58, 1, request_id, 1 if contract.is_free else data_type),
        build_frame(1, 6, request_id, bid, low, 300, 0),
        build_frame(1, 6, request_id, ask, high, 400, 0),
        build_frame(1, 6, request_id, traded, last, 100, 0),
        build_frame(1, 6, request_id, close, contract.price, 0, 0),
        *(
            build_frame(2, 6, request_id, kind, size)
            for kind, size in zip(sizes, (300, 400, 100, 1_000_000), strict=True)
        ),
    ]
    if is_snapshot:
        ticks.append(build_frame(57, 1, request_id))
    return b"".join(ticks)


def answer_market_data(fields: Sequence[str], view: "MarketView") -> bytes:
    """A request for market data (message 1)."""
    request_id = int(fields[2])
    found = find_contracts(view.contracts, fields[3:15])
    if not found:
        return build_error(request_id, 200, _NO_CONTRACT, version=view.version)
    contract = found[0]
    # Between the contract and the ticks' names stand the legs of a combination, which this gateway does not know.
    is_snapshot = fields[17] == "1" if len(fields) > 17 else False  # noqa: PLR2004
    subject = f"{contract.symbol} {contract.exchange}/TOP/ALL"
    if not contract.is_free and view.data_type not in _DELAYED_TYPES:
        return build_error(request_id, 10089, _NOT_SUBSCRIBED.format(subject), version=view.version)
    notice = b""
    if not contract.is_free:
        notice = build_error(request_id, 10167, _DELAYED.format(subject), version=view.version)
    return notice + build_ticks(
        request_id, contract, data_type=view.data_type, time_s=view.time_s, is_snapshot=is_snapshot
    )


@dataclass(frozen=True, kw_only=True)
class MarketView:
    """What an answer about the market depends on.

    Attributes:
        contracts: Those that there are.
        version: The version of the protocol that was agreed on.
        time_s: The gateway's clock, in seconds since 1970 (UTC).
        data_type: What the client asked for with `MARKET_DATA_TYPE`: 1 live, 2 frozen, 3 delayed, 4 delayed and frozen.
    """

    contracts: tuple[Contract, ...]
    version: int
    time_s: float
    data_type: int

    @property
    def today(self) -> date:
        """The day of the gateway's clock."""
        return datetime.fromtimestamp(self.time_s, UTC).date()


_BAR_SECONDS = {"sec": 1, "secs": 1, "min": 60, "mins": 60, "hour": 3600, "hours": 3600}
_BAR_DAYS = {"day": 1, "days": 1, "week": 7, "weeks": 7, "month": 30, "months": 30}
_DURATIONS = {"S": 1, "D": 86400, "W": 7 * 86400, "M": 30 * 86400, "Y": 365 * 86400}


def answer_history(fields: Sequence[str], view: MarketView) -> bytes:
    """A request for bars (message 20)."""
    request_id = int(fields[1])
    found = find_contracts(view.contracts, fields[2:14])
    if not found:
        return build_error(request_id, 200, _NO_CONTRACT, version=view.version)
    end_text, bar_size, duration = fields[15:18]
    format_date = fields[20]
    count, _, unit = bar_size.partition(" ")
    step_s = int(count) * (_BAR_SECONDS.get(unit) or 86400 * _BAR_DAYS[unit])
    length, _, letter = duration.partition(" ")
    span_s = int(length) * _DURATIONS[letter]
    end_s = _parse_end(end_text, view.time_s)
    bars = list(_build_bars(found[0], end_s=end_s, span_s=span_s, step_s=step_s))[-_MOST_BARS:]
    body: list[object] = []
    for start_s, values in bars:
        moment = datetime.fromtimestamp(start_s, UTC)
        if step_s >= 86400:  # noqa: PLR2004 - a day
            text = f"{moment:%Y%m%d}"
        else:
            text = str(int(start_s)) if format_date == "2" else f"{moment:%Y%m%d %H:%M:%S} UTC"
        body += [text, *values]
    first, last = (datetime.fromtimestamp(at_s, UTC) for at_s in (end_s - span_s, end_s))
    span = (f"{first:%Y%m%d %H:%M:%S} UTC", f"{last:%Y%m%d %H:%M:%S} UTC")
    return build_frame(17, request_id, *span, len(bars), *body)


def _parse_end(text: str, now_s: float) -> float:
    """The end that was asked for; what stands after the time is a zone, which bars of no market do not need."""
    digits = "".join(sign for sign in text if sign.isdigit())[:14]
    if len(digits) < 14:  # noqa: PLR2004 - YYYYMMDDhhmmss
        return now_s
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()


def _build_bars(
    contract: Contract, *, end_s: float, span_s: float, step_s: int
) -> Iterator[tuple[float, tuple[object, ...]]]:
    """Weekdays only: start, and open, high, low, close, volume, average, trades."""
    at_s = math.floor(end_s / step_s) * step_s
    wanted = min(_MOST_BARS, max(1, int(span_s / step_s)))
    starts: list[float] = []
    while len(starts) < wanted and at_s > 0:
        at_s -= step_s
        if datetime.fromtimestamp(at_s, UTC).weekday() < 5 or step_s > 86400:  # noqa: PLR2004 - Saturday; a day
            starts.append(at_s)
    for start_s in reversed(starts):
        opened, closed = compute_price(contract, start_s), compute_price(contract, start_s + step_s)
        high, low = max(opened, closed) + contract.tick, min(opened, closed) - contract.tick
        average = round((opened + closed) / 2, 6)
        yield start_s, (opened, round(high, 6), round(low, 6), closed, 1000, average, 100)
