"""What the order guard lets pass: every number of the protocol, orders and cancellations against what is held."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.gateway.order_guard import (
    PASSED,
    Book,
    NeedsBook,
    Pass,
    Refuse,
    Refused,
    cut_versions,
    judge,
    judge_with_book,
)
from orchestration.tws.frames import FrameReader, WireError, build_frame, parse_fields
from orchestration.tws.messages import (
    ErrorMessage,
    OpenOrder,
    OrderStatus,
    Position,
    Request,
    VersionRange,
    parse_message,
)

CLIENT = 7
VERSION = 178

# The numbers that move money, risk or configuration, as the official client's `message.py` names them: 3 place, 4
# cancel, 14 log level, 15 auto-bind, 19 replace FA, 21 exercise, 58 global cancel, 69 display group, 65 to 73
# verification, and a second start.
NEVER_PASSED = {3, 4, 14, 15, 19, 21, 58, 65, 66, 69, 71, 72, 73}


def body_of(*fields: object) -> bytes:
    return build_frame(*fields)[4:]


def order(**changes: object) -> OpenOrder:
    values: dict[str, object] = {
        "order_id": 12, "client_id": CLIENT, "perm_id": 1012, "account": "DU1", "con_id": 756733, "symbol": "SPY",
        "kind": "STK", "action": "SELL", "quantity": Decimal(100), "order_type": "STP",
    }  # fmt: skip
    return OpenOrder(**(values | changes))  # type: ignore[arg-type]  # the fields above


def position(quantity: int, *, con_id: int = 756733, account: str = "DU1") -> Position:
    return Position(
        account=account, con_id=con_id, symbol="SPY", kind="STK", quantity=Decimal(quantity), average_cost=Decimal(600)
    )


def status(order_id: int, perm_id: int, *, parent_id: int = 0, said: str = "Submitted") -> OrderStatus:
    return OrderStatus(
        order_id=order_id, client_id=CLIENT, perm_id=perm_id, parent_id=parent_id, status=said, remaining=Decimal(1)
    )


def ask(request: Request, order_id: int = 12) -> NeedsBook:
    fields = (int(request), order_id, "") if request is Request.PLACE_ORDER else (int(request), 1, order_id, "")
    verdict = judge(body_of(*fields), client_id=CLIENT, version=VERSION)
    assert isinstance(verdict, NeedsBook)
    assert verdict.order_id == order_id
    return verdict


def answer_of(verdict: Pass | Refuse) -> ErrorMessage:
    assert isinstance(verdict, Refuse)
    (body,) = FrameReader().feed(verdict.frame)
    said = parse_message(parse_fields(body))
    assert isinstance(said, ErrorMessage)
    return said


def cancel(book: Book | None, order_id: int = 12) -> Pass | Refuse:
    return judge_with_book(ask(Request.CANCEL_ORDER, order_id), book, client_id=CLIENT, version=VERSION)


def test_every_number_is_either_passed_on_as_it_is_or_never() -> None:
    passed = set()
    for number in range(1, 300):
        body = body_of(number, 1, 5, "x")
        try:
            verdict = judge(body, client_id=CLIENT, version=VERSION)
        except WireError:
            continue
        if isinstance(verdict, Pass):
            assert verdict.frame == build_frame(number, 1, 5, "x")
            passed.add(number)
    assert passed == {int(one) for one in PASSED}
    assert passed & NEVER_PASSED == set()


@pytest.mark.parametrize(
    ("fields", "request_id", "what"),
    [
        ((21, 2, 33, "0"), 33, Refused.EXERCISE),
        ((58, 1), -1, Refused.GLOBAL_CANCEL),
        ((19, 1, 1, "<x/>", 34), -1, Refused.OTHER),
        ((15, 1, 1), -1, Refused.OTHER),
        ((14, 1, 5), -1, Refused.OTHER),
        ((69, 1, 35, "SPY"), -1, Refused.OTHER),
    ],
)
def test_what_moves_risk_or_configuration_is_refused_with_321(
    fields: tuple[object, ...], request_id: int, what: Refused
) -> None:
    verdict = judge(body_of(*fields), client_id=CLIENT, version=VERSION)
    assert isinstance(verdict, Refuse)
    said = answer_of(verdict)
    assert (verdict.what, said.request_id, said.code) == (what, request_id, 321)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"+3\x0012\0",
        b"03\x0012\0",
        b" 3\x0012\0",
        b"3 \x0012\0",
        "３\x0012\0".encode(),  # noqa: RUF001 - a digit that Python takes for one
        b"\0\0\0\xcb\x08\x0c\x12\x00",  # 203, an order in protobuf, as versions from 201 frame it
        b"203\x0012\0",
        b"105\x001\0",
        b"109\x001\0",
        b"999\x001\0",
        b"3\0",
        b"3\0x\0",
        b"4\x001\0",
        b"71\x002\x008\0\0",
    ],
)
def test_what_is_not_a_message_of_this_version_ends_the_connection(body: bytes) -> None:
    with pytest.raises(WireError):
        judge(body, client_id=CLIENT, version=VERSION)


def test_a_new_order_is_rejected_and_a_change_of_a_live_one_is_refused() -> None:
    empty, live = Book(), Book(orders=(order(),))
    place = ask(Request.PLACE_ORDER)
    new = judge_with_book(place, empty, client_id=CLIENT, version=VERSION)
    change = judge_with_book(place, live, client_id=CLIENT, version=VERSION)
    unknown = judge_with_book(place, None, client_id=CLIENT, version=VERSION)
    assert [answer_of(one).code for one in (new, change, unknown)] == [201, 321, 321]
    assert {answer_of(one).request_id for one in (new, change, unknown)} == {12}


@pytest.mark.parametrize(("with_amounts", "named"), [(False, "(SELL SPY STP)"), (True, "(SELL 100 SPY STP)")])
def test_a_refusal_names_a_quantity_only_where_amounts_are_shown(*, with_amounts: bool, named: str) -> None:
    book = Book(orders=(order(),), positions=(position(100),))
    for request in (Request.PLACE_ORDER, Request.CANCEL_ORDER):
        verdict = judge_with_book(ask(request), book, client_id=CLIENT, version=VERSION, with_amounts=with_amounts)
        assert isinstance(verdict, Refuse)
        assert verdict.detail == f"order 12 of client {CLIENT} {named}"


def test_the_order_of_another_client_with_the_same_id_is_not_this_ones() -> None:
    book = Book(orders=(order(client_id=CLIENT + 1),))
    place = judge_with_book(ask(Request.PLACE_ORDER), book, client_id=CLIENT, version=VERSION)
    assert answer_of(place).code == 201
    assert answer_of(cancel(book)).code == 321


def test_an_order_that_has_ended_is_not_live() -> None:
    book = Book(orders=(order(),), statuses=(status(12, 1012, said="Cancelled"),))
    assert answer_of(judge_with_book(ask(Request.PLACE_ORDER), book, client_id=CLIENT, version=VERSION)).code == 201


@pytest.mark.parametrize(
    ("placed", "held", "passes"),
    [
        (order(action="SELL"), (position(100),), False),
        (order(action="SSHORT"), (position(100),), False),
        (order(action="BUY"), (position(-100),), False),
        (order(action="BUY"), (position(100),), True),
        (order(action="SELL"), (position(-100),), True),
        (order(action="SELL"), (), True),
        (order(action="SELL"), (position(0),), True),
        (order(action="SELL"), (position(100, con_id=265598),), True),
        (order(action="SELL"), (position(100, account="DU2"), position(5, con_id=1)), True),
        (order(action="SELL", account=""), (position(100),), False),
        (order(action="SELL", account="Group1"), (position(100, account="DU2"),), False),
        (order(action="BUY", con_id=0, kind="BAG"), (position(1, con_id=99),), False),
        (order(action="BUY", con_id=0, kind="BAG"), (), True),
    ],
)
def test_a_cancellation_passes_only_where_no_open_position_is_reduced(
    placed: OpenOrder, held: tuple[Position, ...], *, passes: bool
) -> None:
    verdict = cancel(Book(orders=(placed,), positions=held))
    assert isinstance(verdict, Pass) is passes
    if passes:
        assert verdict.frame == build_frame(4, 1, 12, "")
    else:
        assert answer_of(verdict).code == 321


def test_a_cancellation_is_refused_where_nothing_is_known_of_its_order() -> None:
    assert answer_of(cancel(None)).code == 321
    assert answer_of(cancel(Book(positions=(position(100),)))).code == 321


def test_a_parent_is_kept_with_the_stop_that_is_attached_to_it() -> None:
    entry = order(order_id=12, perm_id=1012, action="BUY")
    stop = order(order_id=13, perm_id=1013, action="SELL")
    statuses = (status(12, 1012), status(13, 1013, parent_id=12))
    filled_in_part = Book(orders=(entry, stop), statuses=statuses, positions=(position(40),))
    not_filled = Book(orders=(entry, stop), statuses=statuses)
    assert isinstance(cancel(filled_in_part), Refuse)
    assert isinstance(cancel(not_filled), Pass)


def test_client_0_is_told_all_orders_instead_of_binding_those_placed_by_hand() -> None:
    asked = body_of(int(Request.OPEN_ORDERS), 1)
    assert judge(asked, client_id=0, version=VERSION) == Pass(frame=build_frame(16, 1))
    assert judge(asked, client_id=CLIENT, version=VERSION) == Pass(frame=build_frame(5, 1))


@pytest.mark.parametrize(
    ("offered", "cut"), [((100, 226), (157, 178)), ((157, 178), (157, 178)), ((100, 157), (157, 157))]
)
def test_a_client_is_held_to_the_versions_that_were_tested(offered: tuple[int, int], cut: tuple[int, int]) -> None:
    found = cut_versions(VersionRange(oldest=offered[0], newest=offered[1]))
    assert (found.oldest, found.newest) == cut


@pytest.mark.parametrize("offered", [(201, 226), (100, 156)])
def test_a_client_without_a_tested_version_is_refused(offered: tuple[int, int]) -> None:
    with pytest.raises(WireError, match="157 to 178"):
        cut_versions(VersionRange(oldest=offered[0], newest=offered[1]))


@given(
    body=st.one_of(
        st.binary(max_size=60),
        st.builds(lambda number, rest: f"{number}\0".encode() + rest, st.integers(-5, 300), st.binary(max_size=40)),
    ),
    client_id=st.integers(0, 40),
)
def test_nothing_but_a_frame_with_a_passed_number_comes_through(body: bytes, client_id: int) -> None:
    try:
        verdict = judge(body, client_id=client_id, version=VERSION)
    except WireError:
        return
    if isinstance(verdict, Pass):
        assert int(verdict.frame[4:].partition(b"\0")[0]) in PASSED
