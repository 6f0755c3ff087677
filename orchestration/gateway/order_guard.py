"""What the order guard lets pass, and what it refuses. Pure: no socket, no clock.

On Strategy C the bot is not given the gateway's address but the guard's (`order_guard_proxy`). A bot reads everything
through it and orders nothing. The rules, in order:

* Only what stands in `PASSED` reaches the gateway: reads, subscriptions and their cancellations. Every other number is
  refused, and one that this version of the protocol does not have ends the connection.
* A new order is refused with 201. A change of an order that is live, or may be, is refused with 321: clients take 201
  on it for the end of the live order.
* A cancellation passes only for an order that does not reduce an open position, judged by the guard's own view of
  orders and positions (`Book`): a bot that cancels its stop to replace it would be left without one. Without a view,
  or where the order is not in it, the cancellation is refused.
* What cannot be read ends the connection. The versions that a client offers are cut to those that were tested, so a
  protobuf message (from server version 201) never comes to be spoken; one that is sent all the same cannot be read.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestration.tws.frames import WireError, build_frame, parse_fields, wrap
from orchestration.tws.messages import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    ErrorMessage,
    OpenOrder,
    OrderStatus,
    Position,
    Request,
    VersionRange,
    build_error,
)

# Reads and subscriptions, with what ends them. `SET_SERVER_LOG_LEVEL`, `UPDATE_DISPLAY_GROUP` and the verification
# messages are not among them: they change the gateway, or are not for a bot.
PASSED = frozenset(
    {
        Request.MARKET_DATA,
        Request.CANCEL_MARKET_DATA,
        Request.OPEN_ORDERS,
        Request.ACCOUNT_UPDATES,
        Request.EXECUTIONS,
        Request.IDS,
        Request.CONTRACT_DETAILS,
        Request.MARKET_DEPTH,
        Request.CANCEL_MARKET_DEPTH,
        Request.NEWS_BULLETINS,
        Request.CANCEL_NEWS_BULLETINS,
        Request.ALL_OPEN_ORDERS,
        Request.MANAGED_ACCOUNTS,
        Request.FA,
        Request.HISTORICAL_DATA,
        Request.SCANNER,
        Request.CANCEL_SCANNER,
        Request.SCANNER_PARAMETERS,
        Request.CANCEL_HISTORICAL_DATA,
        Request.CURRENT_TIME,
        Request.REALTIME_BARS,
        Request.CANCEL_REALTIME_BARS,
        Request.FUNDAMENTAL_DATA,
        Request.CANCEL_FUNDAMENTAL_DATA,
        Request.IMPLIED_VOLATILITY,
        Request.OPTION_PRICE,
        Request.CANCEL_IMPLIED_VOLATILITY,
        Request.CANCEL_OPTION_PRICE,
        Request.MARKET_DATA_TYPE,
        Request.POSITIONS,
        Request.ACCOUNT_SUMMARY,
        Request.CANCEL_ACCOUNT_SUMMARY,
        Request.CANCEL_POSITIONS,
        Request.QUERY_DISPLAY_GROUPS,
        Request.SUBSCRIBE_TO_GROUP_EVENTS,
        Request.UNSUBSCRIBE_FROM_GROUP_EVENTS,
        Request.POSITIONS_MULTI,
        Request.CANCEL_POSITIONS_MULTI,
        Request.ACCOUNT_UPDATES_MULTI,
        Request.CANCEL_ACCOUNT_UPDATES_MULTI,
        Request.OPTION_PARAMETERS,
        Request.SOFT_DOLLAR_TIERS,
        Request.FAMILY_CODES,
        Request.MATCHING_SYMBOLS,
        Request.DEPTH_EXCHANGES,
        Request.SMART_COMPONENTS,
        Request.NEWS_ARTICLE,
        Request.NEWS_PROVIDERS,
        Request.HISTORICAL_NEWS,
        Request.HEAD_TIMESTAMP,
        Request.HISTOGRAM,
        Request.CANCEL_HISTOGRAM,
        Request.CANCEL_HEAD_TIMESTAMP,
        Request.MARKET_RULE,
        Request.PNL,
        Request.CANCEL_PNL,
        Request.PNL_SINGLE,
        Request.CANCEL_PNL_SINGLE,
        Request.HISTORICAL_TICKS,
        Request.TICK_BY_TICK,
        Request.CANCEL_TICK_BY_TICK,
        Request.COMPLETED_ORDERS,
        Request.CALENDAR_META,
        Request.CANCEL_CALENDAR_META,
        Request.CALENDAR_EVENTS,
        Request.CANCEL_CALENDAR_EVENTS,
        Request.USER_INFO,
    }
)

_ORDER_REJECTED = 201
_READ_ONLY = 321  # what a gateway that is set to be read-only answers

_WHY = "the system runs on Strategy C, which authorises no trading"
_REJECTED = f"Order rejected - reason: {_WHY}."
_REFUSED = f"Error validating request: {_WHY}."
_CANCEL_REFUSED = f"{_REFUSED[:-1]}. The order stays live: it may protect an open position."

# A number as every client writes it. `+3` and `03` may be numbers to the gateway, so they must not pass as texts here.
_NUMBER = re.compile(rb"[1-9][0-9]{0,2}")
_ID = re.compile(r"-?[0-9]{1,10}")
_ORDER_ID_FIELD = {Request.PLACE_ORDER: 1, Request.CANCEL_ORDER: 2}  # where the order id stands
_ENDED = frozenset({"Filled", "Cancelled", "ApiCancelled", "Inactive"})


class Refused(StrEnum):
    """What was refused; a stable word of the guard's record."""

    NEW_ORDER = "new_order"
    ORDER_CHANGE = "order_change"
    CANCEL = "cancel"
    GLOBAL_CANCEL = "global_cancel"
    EXERCISE = "exercise"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Hand this frame on to the gateway."""

    frame: bytes


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """Answer the client with this frame in the gateway's place.

    Attributes:
        frame: The answer.
        what: What was refused.
        detail: One phrase for people: which order, for example.
    """

    frame: bytes
    what: Refused
    detail: str


@dataclass(frozen=True, kw_only=True)
class NeedsBook:
    """The answer depends on what the broker holds now: read it, then ask `judge_with_book`.

    Attributes:
        request: `PLACE_ORDER` or `CANCEL_ORDER`.
        order_id: The order that it is about.
        frame: The client's frame.
    """

    request: Request
    order_id: int
    frame: bytes


Verdict = Pass | Refuse | NeedsBook


@dataclass(frozen=True, kw_only=True)
class Book:
    """What the broker holds now: the open orders of all clients, and all positions."""

    orders: tuple[OpenOrder, ...] = ()
    statuses: tuple[OrderStatus, ...] = ()
    positions: tuple[Position, ...] = ()

    @property
    def open_orders(self) -> tuple[OpenOrder, ...]:
        """The orders that can still fill."""
        return tuple(order for order in self.orders if not self._has_ended(order))

    def find_order(self, client_id: int, order_id: int) -> OpenOrder | None:
        """The open order that a client knows by this id, or None."""
        for order in self.open_orders:
            if (order.client_id, order.order_id) == (client_id, order_id):
                return order
        return None

    def protects(self, order: OpenOrder) -> bool:
        """Whether an order, or one attached to it, may reduce an open position.

        The broker cancels attached orders with their parent. A combination has no contract number of its own, so any
        open position may be its leg.
        """
        attached = {
            status.perm_id
            for status in self.statuses
            if status.parent_id == order.order_id and status.client_id == order.client_id and order.order_id != 0
        }
        return any(self._reduces(one) for one in self.orders if one is order or one.perm_id in attached)

    def _reduces(self, order: OpenOrder) -> bool:
        if order.con_id == 0 or order.kind == "BAG":
            return any(position.quantity != 0 for position in self.positions)
        # An advisor's order may name a group, or no account: then a position of any account counts.
        is_account_known = any(one.account == order.account for one in self.positions)
        held = [
            one.quantity
            for one in self.positions
            if one.con_id == order.con_id and (one.account == order.account or not is_account_known)
        ]
        return any(quantity < 0 if order.action == "BUY" else quantity > 0 for quantity in held)

    def _has_ended(self, order: OpenOrder) -> bool:
        last = [status.status for status in self.statuses if status.perm_id == order.perm_id]
        return bool(last) and last[-1] in _ENDED


def describe_order(order: OpenOrder, *, with_amounts: bool) -> str:
    """One order as a phrase: what it does, of what, and of which kind it is."""
    quantity = (f"{order.quantity:f}",) if with_amounts else ()
    return " ".join((order.action, *quantity, order.symbol, order.order_type))


def cut_versions(offered: VersionRange) -> VersionRange:
    """The part of the offered versions that was tested.

    Raises:
        WireError: There is none.
    """
    oldest, newest = max(offered.oldest, OLDEST_VERSION), min(offered.newest, NEWEST_VERSION)
    if oldest > newest:
        raise WireError(
            f"the client speaks versions {offered.oldest} to {offered.newest}, "
            f"the order guard {OLDEST_VERSION} to {NEWEST_VERSION}"
        )
    return VersionRange(oldest=oldest, newest=newest)


def judge(body: bytes, *, client_id: int, version: int) -> Verdict:
    """What to do with one frame of a client whose handshake is complete.

    Args:
        body: The frame without its length.
        client_id: The client's id.
        version: The version of the protocol that was agreed on.

    Raises:
        WireError: It cannot be read, or has a number that this version does not know: the connection must end.
    """
    request = _read_number(body)
    if request in PASSED:
        if request is Request.OPEN_ORDERS and client_id == 0:
            # From client 0 this binds the orders that were placed by hand; asking for all of them binds nothing.
            return Pass(frame=build_frame(int(Request.ALL_OPEN_ORDERS), 1))
        return Pass(frame=wrap(body))
    if request is Request.START_API:
        raise WireError("the client starts the API a second time")
    fields = parse_fields(body)
    if request in _ORDER_ID_FIELD:
        return NeedsBook(request=request, order_id=_read_id(fields, _ORDER_ID_FIELD[request]), frame=wrap(body))
    answer, what = ErrorMessage(request_id=-1, code=_READ_ONLY, text=_REFUSED), Refused.OTHER
    if request is Request.EXERCISE_OPTIONS:
        answer, what = replace(answer, request_id=_read_id(fields, 2)), Refused.EXERCISE
    elif request is Request.GLOBAL_CANCEL:
        answer, what = replace(answer, text=_CANCEL_REFUSED), Refused.GLOBAL_CANCEL
    return _refuse(answer, what, f"message {int(request)} ({request.name.lower()})", version)


def judge_with_book(
    asked: NeedsBook, book: Book | None, *, client_id: int, version: int, with_amounts: bool = False
) -> Pass | Refuse:
    """What to do with an order or a cancellation, knowing what the broker holds.

    Args:
        asked: What `judge` returned.
        book: What the broker holds, read after the client's frame came; None where it could not be read.
        client_id: The client's id.
        version: The version of the protocol that was agreed on.
        with_amounts: Whether the refusal's detail, which alerts and logs quote, may name the order's quantity.
    """
    order = None if book is None else book.find_order(client_id, asked.order_id)
    named = f"order {asked.order_id} of client {client_id}"
    if order is not None:
        named += f" ({describe_order(order, with_amounts=with_amounts)})"
    if asked.request is Request.PLACE_ORDER:
        if book is not None and order is None:
            answer = ErrorMessage(request_id=asked.order_id, code=_ORDER_REJECTED, text=_REJECTED)
            return _refuse(answer, Refused.NEW_ORDER, named, version)
        answer = ErrorMessage(request_id=asked.order_id, code=_READ_ONLY, text=_REFUSED)
        return _refuse(answer, Refused.ORDER_CHANGE, named, version)
    if book is not None and order is not None and not book.protects(order):
        return Pass(frame=asked.frame)
    answer = ErrorMessage(request_id=asked.order_id, code=_READ_ONLY, text=_CANCEL_REFUSED)
    return _refuse(answer, Refused.CANCEL, named, version)


def _refuse(answer: ErrorMessage, what: Refused, detail: str, version: int) -> Refuse:
    frame = build_error(answer.request_id, answer.code, answer.text, version=version)
    return Refuse(frame=frame, what=what, detail=detail)


def _read_number(body: bytes) -> Request:
    text = body.partition(b"\0")[0]
    if not _NUMBER.fullmatch(text):
        raise WireError(f"a message begins with {text[:20]!r} and not with its number")
    try:
        return Request(int(text))
    except ValueError as error:
        raise WireError(f"message {int(text)} is unknown") from error


def _read_id(fields: list[str], index: int) -> int:
    if len(fields) <= index or not _ID.fullmatch(fields[index]):
        raise WireError(f"message {fields[0]} has no id where one belongs")
    return int(fields[index])
