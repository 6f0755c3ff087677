"""What the broker holds for this login: positions, open orders, net liquidation and margin cushion.

Read with requests that bind no order. A part that could not be read is unknown (None), which never means none.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from orchestration.gateway.order_guard import Book, describe_order
from orchestration.redaction import mask_account
from orchestration.tws import messages

_READ_ONLY = 321
_SUMMARY_ID = 1
_NET_LIQUIDATION, _CUSHION = "NetLiquidation", "Cushion"
_MOST_SHOWN = 20
MOST_ANSWERS = 50_000  # each order comes with its status; far more than any account has, and still bounded
_NOT_ANSWERED = "the gateway did not report it in time"
_UNREADABLE = "part of the gateway's answer could not be read"


@dataclass(frozen=True, kw_only=True)
class AccountValues:
    """The values of one account.

    Attributes:
        account: Its id.
        net_liquidation: What it is worth, in `currency`; None if unknown.
        currency: The account's base currency; empty if unknown.
        cushion: Excess liquidity as a fraction of the net liquidation; None if unknown.
    """

    account: str
    net_liquidation: Decimal | None = None
    currency: str = ""
    cushion: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What the broker holds for this login.

    Attributes:
        orders: The orders of all clients that can still fill; None if unknown.
        positions: The open positions of all accounts; None if unknown.
        accounts: The values of each account; None if unknown.
        orders_problem: Why the orders are unknown; empty where they are known.
        positions_problem: Why the positions are unknown.
        accounts_problem: Why the values are unknown.
    """

    orders: tuple[messages.OpenOrder, ...] | None = None
    positions: tuple[messages.Position, ...] | None = None
    accounts: tuple[AccountValues, ...] | None = None
    orders_problem: str = ""
    positions_problem: str = ""
    accounts_problem: str = ""

    @property
    def is_several_accounts(self) -> bool:
        """Whether more than one account is named in it."""
        found = {one.account for one in self.orders or ()}
        found |= {one.account for one in self.positions or ()}
        found |= {one.account for one in self.accounts or ()}
        return len(found - {""}) > 1

    @property
    def problems(self) -> tuple[str, ...]:
        """Why parts are unknown, each reason once."""
        found = (self.orders_problem, self.positions_problem, self.accounts_problem)
        return tuple(dict.fromkeys(one for one in found if one))


def build_unknown(problem: str) -> Holdings:
    """Nothing is known, and why."""
    return Holdings(orders_problem=problem, positions_problem=problem, accounts_problem=problem)


def summarize_book(book: Book) -> Holdings:
    """What of a book is open. Pure."""
    return Holdings(
        orders=book.open_orders,
        positions=tuple(one for one in book.positions if one.quantity != 0),
        accounts_problem="it was not asked for",
    )


def name_orders(holdings: Holdings, *, with_amounts: bool = False) -> tuple[str, ...]:
    """The open orders, a phrase each."""
    return tuple(
        " ".join((describe_order(one, with_amounts=with_amounts), *_name_account(one.account, holdings)))
        for one in holdings.orders or ()
    )


def name_positions(holdings: Holdings, *, with_amounts: bool = False) -> tuple[str, ...]:
    """The open positions, a phrase each."""
    return tuple(
        " ".join(
            (
                one.symbol,
                *((f"{one.quantity:+f}",) if with_amounts else ()),
                *_name_account(one.account, holdings),
            )
        )
        for one in holdings.positions or ()
    )


def describe_orders(holdings: Holdings, *, with_amounts: bool = False) -> str:
    """The open orders in one line."""
    if holdings.orders is None:
        return f"unknown: {holdings.orders_problem}"
    return _count(name_orders(holdings, with_amounts=with_amounts))


def describe_positions(holdings: Holdings, *, with_amounts: bool = False) -> str:
    """The open positions in one line."""
    if holdings.positions is None:
        return f"unknown: {holdings.positions_problem}"
    return _count(name_positions(holdings, with_amounts=with_amounts))


def describe_margin(holdings: Holdings, *, with_amounts: bool = False) -> str:
    """The margin cushion of each account in one line, and what it is worth where amounts are shown."""
    if holdings.accounts is None:
        return f"unknown: {holdings.accounts_problem}"
    said = []
    for one in holdings.accounts:
        cushion = "cushion unknown" if one.cushion is None else f"cushion {one.cushion * 100:.0f} %"
        worth = "net liquidation unknown"
        if one.net_liquidation is not None:
            worth = f"net liquidation {one.net_liquidation:,.2f} {one.currency}".rstrip()
        named = _name_account(one.account, holdings)
        said.append(" ".join((*named, cushion)) + (f", {worth}" if with_amounts else ""))
    return "; ".join(said)


def describe_open(holdings: Holdings, *, with_amounts: bool = False) -> str:
    """What is open at the broker, as a sentence of an alert."""
    if holdings.orders is None and holdings.positions is None:
        return f"What is open at the broker is unknown: {'; '.join(holdings.problems)}."
    orders = describe_orders(holdings, with_amounts=with_amounts)
    positions = describe_positions(holdings, with_amounts=with_amounts)
    return f"Open at the broker: orders that can still fill: {orders}; positions: {positions}."


def _name_account(account: str, holdings: Holdings) -> tuple[str, ...]:
    return (f"({mask_account(account)})",) if account and holdings.is_several_accounts else ()


def _count(names: tuple[str, ...]) -> str:
    if not names:
        return "0"
    # The same contract and kind of order more than once is one phrase, so that a ladder of orders stays readable.
    each = [name if times == 1 else f"{times} times {name}" for name, times in Counter(names).items()]
    rest = f", and {len(each) - _MOST_SHOWN} more" if len(each) > _MOST_SHOWN else ""
    return f"{len(names)} ({', '.join(each[:_MOST_SHOWN])}{rest})"


def build_requests() -> tuple[bytes, ...]:
    """What asks for all of it. None of them binds an order, whatever the client id."""
    return (
        messages.build_all_open_orders_request(),
        messages.build_positions_request(),
        messages.build_account_summary_request(_SUMMARY_ID, (_NET_LIQUIDATION, _CUSHION)),
    )


def build_end_requests() -> tuple[bytes, ...]:
    """What ends the subscriptions that `build_requests` began."""
    return (messages.build_positions_end_request(), messages.build_account_summary_end_request(_SUMMARY_ID))


class BookParts:
    """The orders, their statuses and the positions of one reading, as their messages come in."""

    def __init__(self) -> None:
        self._orders: list[messages.OpenOrder] = []
        self._statuses: list[messages.OrderStatus] = []
        self._positions: list[messages.Position] = []

    def take(self, message: messages.OpenOrder | messages.OrderStatus | messages.Position) -> None:
        """Add one of them."""
        match message:
            case messages.OpenOrder():
                self._orders.append(message)
            case messages.OrderStatus():
                self._statuses.append(message)
            case messages.Position():
                self._positions.append(message)

    @property
    def book(self) -> Book:
        """What has come in so far."""
        return Book(orders=tuple(self._orders), statuses=tuple(self._statuses), positions=tuple(self._positions))


class HoldingsReading:
    """The answers to `build_requests` as they come in, on the event loop that runs where it is made."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._parts = BookParts()
        self._values: dict[str, AccountValues] = {}
        self._ended: dict[str, str] = {}  # each part that is complete, with why it is unknown or nothing

    @property
    def found(self) -> Holdings:
        """What is known so far; a part whose end has not come is unknown."""
        problems = {part: self._ended.get(part, _NOT_ANSWERED) for part in ("orders", "positions", "accounts")}
        known = replace(summarize_book(self._parts.book), accounts=tuple(self._values.values()))
        return Holdings(
            orders=None if problems["orders"] else known.orders,
            positions=None if problems["positions"] else known.positions,
            accounts=None if problems["accounts"] else known.accounts,
            orders_problem=problems["orders"],
            positions_problem=problems["positions"],
            accounts_problem=problems["accounts"],
        )

    def take(self, message: messages.Message) -> None:
        """Take one message of the gateway."""
        match message:
            case messages.OpenOrder() | messages.OrderStatus() | messages.Position():
                self._parts.take(message)
            case messages.AccountValue():
                self._take_value(message)
            case messages.OpenOrdersEnd():
                self._end("orders")
            case messages.PositionsEnd():
                self._end("positions")
            case messages.AccountSummaryEnd():
                self._end("accounts", "" if self._values else "the gateway named no account")
            case messages.UnreadableMessage(number=number):
                self._take_unreadable(number)
            case messages.ErrorMessage():
                self._take_error(message)
            case _:
                pass

    def _take_value(self, said: messages.AccountValue) -> None:
        values = self._values.get(said.account, AccountValues(account=said.account))
        try:
            number = Decimal(said.value)
        except InvalidOperation:
            number = Decimal("nan")
        if number.is_finite() and said.tag == _NET_LIQUIDATION:
            values = replace(values, net_liquidation=number, currency=said.currency)
        elif number.is_finite() and said.tag == _CUSHION:
            values = replace(values, cushion=number)
        self._values[said.account] = values

    def _take_unreadable(self, number: int) -> None:
        """A count without this one would be wrong."""
        if number in {messages.Response.OPEN_ORDER, messages.Response.ORDER_STATUS}:
            self._end("orders", _UNREADABLE)
        elif number == messages.Response.POSITION:
            self._end("positions", _UNREADABLE)
        elif number == messages.Response.ACCOUNT_SUMMARY:
            self._end("accounts", _UNREADABLE)

    def _take_error(self, said: messages.ErrorMessage) -> None:
        if said.request_id == _SUMMARY_ID:
            self._end("accounts", f"the gateway says {said.code}: {said.text}")
        elif said.code == _READ_ONLY:
            self._end("orders", f"the gateway is read-only and does not report orders ({said.code}: {said.text})")

    def _end(self, part: str, problem: str = "") -> None:
        self._ended[part] = self._ended.get(part, "") or problem
        if len(self._ended) == 3 and not self.done.done():  # noqa: PLR2004 - orders, positions, accounts
            self.done.set_result(None)
