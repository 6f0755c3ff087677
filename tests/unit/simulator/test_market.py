"""The contracts of the built-in gateway, as other people's bots ask for them."""

from datetime import date

import pytest

from orchestration.simulator.market import build_contracts, build_details, find_contracts
from orchestration.tws.frames import parse_fields

_CONTRACTS = build_contracts(date(2026, 11, 27))


def ask(symbol: str, kind: str = "STK", exchange: str = "SMART", primary: str = "", currency: str = "USD") -> list[str]:
    """What a request with these contract fields finds."""
    fields = ["0", symbol, kind, "", "0.0", "", "", exchange, primary, currency, "", ""]
    return [one.symbol for one in find_contracts(_CONTRACTS, fields)]


@pytest.mark.parametrize("symbol", ["SPY", "AAPL"])
@pytest.mark.parametrize("place", ["SMART", "ISLAND", "NASDAQ", "ARCA", "NYSE", "BATS", "IEX"])
def test_a_stock_is_found_at_every_exchange_that_trades_it(symbol: str, place: str) -> None:
    assert ask(symbol, primary=place) == [symbol], "lumibot asks for every stock with ISLAND as its primary exchange"
    assert ask(symbol, exchange=place) == [symbol]


@pytest.mark.parametrize(
    ("symbol", "kind", "exchange"), [("SPY", "STK", "LSE"), ("ES", "FUT", "NYMEX"), ("EUR", "CASH", "ARCA")]
)
def test_a_contract_is_not_found_where_it_does_not_trade(symbol: str, kind: str, exchange: str) -> None:
    assert ask(symbol, kind, exchange=exchange) == []
    assert ask(symbol, kind, exchange="SMART", primary=exchange) == []


@pytest.mark.parametrize("version", [157, 163, 164, 176, 178])
@pytest.mark.parametrize("symbol", ["SPY", "AAPL", "ES", "EUR"])
def test_details_name_a_market_rule_for_each_exchange_and_a_stocks_isin(symbol: str, version: int) -> None:
    contract = next(one for one in _CONTRACTS if one.symbol == symbol)
    frame = build_details(9, contract, version, date(2026, 11, 27))
    fields = parse_fields(frame[4:])
    places = next(one for one in fields if one.startswith("SMART,") or one == contract.exchange).split(",")
    rules = next(one for one in fields if one.startswith(f"{contract.rule},") or one == str(contract.rule)).split(",")
    assert len(places) == len(rules), "one for each exchange"
    assert set(rules) == {str(contract.rule)}
    assert contract.exchange in places
    if contract.kind == "STK":  # nautilus_trader takes no stock without it
        at = fields.index("ISIN")
        assert fields[at - 1] == "1"
        assert fields[at + 1] == contract.isin
        assert len(contract.isin) == 12
