"""What the built-in account holds: values, and the positions and open orders that a test asked for. Pure.

The layouts of the messages are those that the official client reads at each version (`ibapi.decoder`, `orderdecoder`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestration.simulator.market import SYMBOLS, Contract, compute_price
from orchestration.tws.frames import build_frame

# Every tag of the official client's `AccountSummaryTags`, with a value as a real paper account shows it.
SUMMARY: dict[str, tuple[str, str]] = {
    "AccountType": ("INDIVIDUAL", ""),
    "NetLiquidation": ("1000000.00", "USD"),
    "TotalCashValue": ("1000000.00", "USD"),
    "SettledCash": ("1000000.00", "USD"),
    "AccruedCash": ("0.00", "USD"),
    "BuyingPower": ("4000000.00", "USD"),
    "EquityWithLoanValue": ("1000000.00", "USD"),
    "PreviousEquityWithLoanValue": ("1000000.00", "USD"),
    "PreviousDayEquityWithLoanValue": ("1000000.00", "USD"),
    "GrossPositionValue": ("0.00", "USD"),
    "RegTEquity": ("1000000.00", "USD"),
    "RegTMargin": ("0.00", "USD"),
    "ReqTEquity": ("1000000.00", "USD"),
    "ReqTMargin": ("0.00", "USD"),
    "SMA": ("1000000.00", "USD"),
    "InitMarginReq": ("0.00", "USD"),
    "MaintMarginReq": ("0.00", "USD"),
    "AvailableFunds": ("1000000.00", "USD"),
    "ExcessLiquidity": ("1000000.00", "USD"),
    "Cushion": ("1", ""),
    "FullInitMarginReq": ("0.00", "USD"),
    "FullMaintMarginReq": ("0.00", "USD"),
    "FullAvailableFunds": ("1000000.00", "USD"),
    "FullExcessLiquidity": ("1000000.00", "USD"),
    "LookAheadNextChange": ("0", ""),
    "LookAheadInitMarginReq": ("0.00", "USD"),
    "LookAheadMaintMarginReq": ("0.00", "USD"),
    "LookAheadAvailableFunds": ("1000000.00", "USD"),
    "LookAheadExcessLiquidity": ("1000000.00", "USD"),
    "HighestSeverity": ("0", ""),
    "DayTradesRemaining": ("-1", ""),
    "DayTradesRemainingT+1": ("-1", ""),
    "DayTradesRemainingT+2": ("-1", ""),
    "DayTradesRemainingT+3": ("-1", ""),
    "DayTradesRemainingT+4": ("-1", ""),
    "Leverage": ("0.00", ""),
}

# What a ledger holds for each currency (`$LEDGER`), and what account updates add to the summary's values.
LEDGER: dict[str, str] = {
    "CashBalance": "1000000.00",
    "TotalCashBalance": "1000000.00",
    "AccruedCash": "0.00",
    "StockMarketValue": "0.00",
    "OptionMarketValue": "0.00",
    "FutureOptionValue": "0.00",
    "FuturesPNL": "0.00",
    "NetLiquidationByCurrency": "1000000.00",
    "UnrealizedPnL": "0.00",
    "RealizedPnL": "0.00",
    "ExchangeRate": "1.00",
    "FundValue": "0.00",
    "NetDividend": "0.00",
    "MutualFundValue": "0.00",
    "MoneyMarketFundValue": "0.00",
    "CorporateBondValue": "0.00",
    "TBondValue": "0.00",
    "TBillValue": "0.00",
    "WarrantValue": "0.00",
    "FxCashBalance": "0.00",
    "IssuerOptionValue": "0.00",
}
_LEDGER_CURRENCIES = ("BASE", "USD")

# Open orders gained fields at these versions (`ibapi.server_versions`).
_VERSION_WITHOUT_FA_PROFILE = 177
_ADDED_FIELDS: tuple[tuple[int, tuple[object, ...]], ...] = (
    (158, ("",)),  # duration
    (160, ("",)),  # postToAts
    (162, (0,)),  # autoCancelParent
    (170, ("", "", "", "", "")),  # minTradeQty, minCompeteSize, competeAgainstBestOffset, midOffsetAtWhole, …AtHalf
)


class HoldingError(ValueError):
    """What should be held cannot be understood. Its text is shown to the user who typed it."""


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A position on demand: so many shares or contracts, below 0 for a short one."""

    symbol: str
    quantity: int


@dataclass(frozen=True, kw_only=True)
class PlacedOrder:
    """An open order on demand.

    Attributes:
        client_id: The client that placed it; 0 also for one placed by hand.
        order_id: Its id.
        action: `BUY` or `SELL`.
        quantity: Shares or contracts.
        symbol: Of its contract.
        order_type: `LMT`, `STP` or `MKT`.
        parent_id: The order that it is attached to; 0 for none.
    """

    client_id: int
    order_id: int
    action: str
    quantity: int
    symbol: str
    order_type: str
    parent_id: int = 0

    @property
    def perm_id(self) -> int:
        """The broker's number for it."""
        return 1_000_000 + 1000 * self.client_id + self.order_id


_HOLDING = re.compile(r"([A-Z]+)=(-?\d{1,9})")
_ORDER = re.compile(r"(\d{1,9}):(\d{1,9}):(BUY|SELL):(\d{1,9}):([A-Z]+):(LMT|STP|MKT)(?::(\d{1,9}))?")


def parse_holding(text: str) -> Holding:
    """A position from `SPY=100`.

    Raises:
        HoldingError: It is not of that form.
    """
    found = _HOLDING.fullmatch(text)
    if not found:
        raise HoldingError(f"{text!r} is not a position; write one like SPY=100 or ES=-2")
    return Holding(symbol=_check_symbol(found[1]), quantity=int(found[2]))


def parse_order(text: str) -> PlacedOrder:
    """An open order from `CLIENT:ID:ACTION:QUANTITY:SYMBOL:TYPE[:PARENT]`.

    Raises:
        HoldingError: It is not of that form.
    """
    found = _ORDER.fullmatch(text)
    if not found:
        raise HoldingError(
            f"{text!r} is not an order; write one like 7:12:SELL:100:SPY:STP (client, order id, BUY or SELL, quantity, "
            "symbol, LMT, STP or MKT, and the parent's order id where there is one)"
        )
    return PlacedOrder(
        client_id=int(found[1]),
        order_id=int(found[2]),
        action=found[3],
        quantity=int(found[4]),
        symbol=_check_symbol(found[5]),
        order_type=found[6],
        parent_id=int(found[7] or 0),
    )


def _check_symbol(symbol: str) -> str:
    if symbol not in SYMBOLS:
        raise HoldingError(f"{symbol!r} is not a contract of this gateway; there are {', '.join(SYMBOLS)}")
    return symbol


@dataclass(frozen=True, kw_only=True)
class SimulatedAccount:
    """All that the first account holds.

    Attributes:
        account: Its id.
        positions: Open positions, each with its contract.
        orders: Open orders, each with its contract.
    """

    account: str
    positions: tuple[tuple[Contract, int], ...] = ()
    orders: tuple[tuple[Contract, PlacedOrder], ...] = ()

    def build_positions(self) -> Iterator[bytes]:
        """Each position (message 61)."""
        for contract, quantity in self.positions:
            cost = contract.price * (float(contract.multiplier) if contract.multiplier else 1)
            yield build_frame(61, 3, self.account, *contract.build_fields(), quantity, cost)

    def build_portfolio(self, time_s: float) -> Iterator[bytes]:
        """Each position with its value (message 7)."""
        for contract, quantity in self.positions:
            price = compute_price(contract, time_s)
            factor = float(contract.multiplier) if contract.multiplier else 1.0
            value, cost = price * quantity * factor, contract.price * factor
            number, symbol, kind, expiry, strike, right, multiplier, *_ = contract.build_fields()
            yield build_frame(
                *(7, 8, number, symbol, kind, expiry, strike, right, multiplier, contract.exchange, contract.currency),
                *(contract.local_symbol or contract.symbol, contract.trading_class or contract.symbol, quantity, price),
                *(round(value, 2), cost, round(value - cost * quantity, 2), 0.0, self.account),
            )

    def build_orders(self, version: int, *, client_id: int | None = None) -> Iterator[bytes]:
        """Each open order and its status (messages 5 and 3); of one client, or of all."""
        for contract, order in self.orders:
            if client_id is None or order.client_id == client_id:
                yield build_open_order(self.account, contract, order, version)
                yield build_order_status(order)


def build_order_status(order: PlacedOrder, *, status: str = "Submitted") -> bytes:
    """What has become of an order."""
    remaining = order.quantity if status == "Submitted" else 0
    return build_frame(
        3, order.order_id, status, 0, remaining, 0.0, order.perm_id, order.parent_id, 0.0, order.client_id, "", 0.0
    )


def build_open_order(account: str, contract: Contract, order: PlacedOrder, version: int) -> bytes:
    """An open order, with the fields that the version has; what a plain order has none of is empty."""
    price = contract.price if order.order_type == "LMT" else ""
    stop = contract.price if order.order_type == "STP" else ""
    profile = () if version >= _VERSION_WITHOUT_FA_PROFILE else ("",)
    added = (field for since, fields in _ADDED_FIELDS if version >= since for field in fields)
    return build_frame(
        *(5, order.order_id, *contract.build_fields(), order.action, order.quantity, order.order_type, price, stop),
        *("GTC", "", account, "", 0, "", order.client_id, order.perm_id, 0, 0, 0.0, "", "", "", "", ""),
        *profile,
        *("", "", "", "", "", 0, "", -1, 0, "", "", "", "", ""),  # model code to stock range
        *(0, 0, 0, 0, "", 3, 0, 0, "", order.parent_id, 0),  # display size to trigger method
        *("", 0, "", "", 0, 0),  # volatility to reference price type
        *("", "", "", "", "", 0, 0, 0),  # trailing, basis points, legs, order legs, routing parameters
        *("", "", "", "", 0, "", "IB", 0, 0, ""),  # scale, hedge, opt out, clearing, not held, delta neutral, algorithm
        *(0, 0, "Submitted", *[""] * 9, "", "", "", "", ""),  # solicited, what-if, state and commission
        *(0, 0, 0, "None", "", "", "", "", "", "", 0),  # randomise, conditions, adjusted order
        *("", "", "", "", 0, 0, 0, 0),  # tier, cash quantity, hedge price, container, discretionary, price management
        *added,
    )


def build_summary(request_id: int, accounts: Sequence[str], asked: Sequence[str]) -> Iterator[bytes]:
    """The values that were asked for, of each account, and the end (messages 63 and 64)."""
    for account in accounts:
        for tag in asked:
            if tag in SUMMARY:
                value, currency = SUMMARY[tag]
                yield build_frame(63, 1, request_id, account, tag, value, currency)
            elif tag.startswith("$LEDGER"):
                wanted = tag.removeprefix("$LEDGER").removeprefix(":")
                for currency in _LEDGER_CURRENCIES if wanted in {"", "ALL"} else (wanted,):
                    rows = {"Currency": currency, "RealCurrency": currency, **LEDGER}
                    for name, value in rows.items():
                        yield build_frame(63, 1, request_id, account, name, value, currency)
    yield build_frame(64, 1, request_id)


def build_values() -> Iterator[tuple[str, str, str]]:
    """Name, value and currency of everything that account updates report."""
    for name, (value, currency) in SUMMARY.items():
        yield name, value, currency
    for currency in _LEDGER_CURRENCIES:
        yield "Currency", currency, currency
        for name, value in LEDGER.items():
            yield name, value, currency
