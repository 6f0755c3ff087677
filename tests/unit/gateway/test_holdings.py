"""What is said of positions, orders and margin: counts and symbols, amounts where asked for, never a false 0."""

from decimal import Decimal

from orchestration.gateway.holdings import (
    AccountValues,
    Holdings,
    build_unknown,
    describe_margin,
    describe_open,
    describe_orders,
    describe_positions,
)
from orchestration.tws.messages import OpenOrder, Position

ACCOUNT, OTHER = "DU1234567", "DU7654321"


def position(symbol: str, quantity: str, account: str = ACCOUNT) -> Position:
    return Position(
        account=account,
        con_id=1,
        symbol=symbol,
        kind="STK",
        quantity=Decimal(quantity),
        average_cost=Decimal("412.25"),
    )


def order(symbol: str, account: str = ACCOUNT) -> OpenOrder:
    return OpenOrder(
        order_id=1,
        client_id=7,
        perm_id=9,
        account=account,
        con_id=1,
        symbol=symbol,
        kind="STK",
        action="SELL",
        quantity=Decimal(100),
        order_type="STP",
    )


HELD = Holdings(
    orders=(order("SPY"),),
    positions=(position("SPY", "100"), position("ES", "-2")),
    accounts=(
        AccountValues(
            account=ACCOUNT, net_liquidation=Decimal("1234567.89"), currency="USD", cushion=Decimal("0.8123")
        ),
    ),
)


def test_without_amounts_there_are_counts_symbols_and_the_cushion() -> None:
    assert describe_positions(HELD) == "2 (SPY, ES)"
    assert describe_orders(HELD) == "1 (SELL SPY STP)"
    assert describe_margin(HELD) == "cushion 81 %"
    said = describe_open(HELD)
    assert said == "Open at the broker: orders that can still fill: 1 (SELL SPY STP); positions: 2 (SPY, ES)."


def test_with_amounts_there_are_quantities_and_values() -> None:
    assert describe_positions(HELD, with_amounts=True) == "2 (SPY +100, ES -2)"
    assert describe_orders(HELD, with_amounts=True) == "1 (SELL 100 SPY STP)"
    assert describe_margin(HELD, with_amounts=True) == "cushion 81 %, net liquidation 1,234,567.89 USD"


def test_nothing_open_is_zero_and_unknown_is_not() -> None:
    nothing = Holdings(orders=(), positions=(), accounts=())
    assert describe_open(nothing) == "Open at the broker: orders that can still fill: 0; positions: 0."
    unknown = build_unknown("nothing listens on 127.0.0.1:4002")
    assert describe_open(unknown) == "What is open at the broker is unknown: nothing listens on 127.0.0.1:4002."
    assert describe_margin(unknown).startswith("unknown: ")


def test_one_part_may_be_unknown_and_the_other_known() -> None:
    no_orders = describe_open(Holdings(orders_problem="read-only", positions=()))
    assert no_orders == "Open at the broker: orders that can still fill: unknown: read-only; positions: 0."
    no_positions = describe_open(Holdings(orders=(), positions_problem="no answer"))
    assert no_positions == "Open at the broker: orders that can still fill: 0; positions: unknown: no answer."


def test_several_accounts_are_told_apart_and_masked() -> None:
    holdings = Holdings(
        orders=(order("SPY", OTHER),),
        positions=(position("SPY", "1"), position("SPY", "2", OTHER)),
        accounts=(AccountValues(account=ACCOUNT, cushion=Decimal(1)), AccountValues(account=OTHER)),
    )
    assert describe_positions(holdings) == "2 (SPY (DU****567), SPY (DU****321))"
    assert describe_orders(holdings) == "1 (SELL SPY STP (DU****321))"
    assert describe_margin(holdings) == "(DU****567) cushion 100 %; (DU****321) cushion unknown"


def test_two_hundred_positions_are_counted_and_cut() -> None:
    holdings = Holdings(orders=(), positions=tuple(position(f"S{number}", "1") for number in range(200)))
    said = describe_positions(holdings)
    assert said.startswith("200 (S0, S1, ")
    assert said.endswith("S19, and 180 more)")


def test_equal_orders_are_one_phrase() -> None:
    assert describe_orders(Holdings(orders=(order("SPY"),) * 40)) == "40 (40 times SELL SPY STP)"
