"""What clients are let ask: a value for each parameter that any of their methods has, by the parameter's name.

Imports nothing but the standard library: it is used in the clients' own environments.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_STARTS = (
    *("req", "cancel", "calculate", "exercise", "placeOrder", "query", "subscribe", "unsubscribe", "updateDisplay"),
    *("verify", "replace", "setServerLogLevel"),
)
# What needs a protobuf message is not asked: the gateway agrees on no version that has them.
_NOT_ASKED = ("ProtoBuf",)

PLAIN_VALUES: dict[str, Any] = {
    "account": "DU1234567", "acctCode": "DU1234567", "allMsgs": True, "apiData": "x", "apiName": "x",
    "apiOnly": False, "apiVersion": "1", "articleId": "x", "barSize": 5, "barSizeSetting": "1 day",
    "bAutoBind": False, "bboExchange": "a60001", "chartOptions": [], "conId": 756733, "conid": 756733,
    "contractInfo": "none", "customerAccount": "", "cxml": "<x/>", "durationStr": "2 D", "endDateTime": "",
    "exerciseAction": 1, "exerciseQuantity": 1, "faData": 1, "faDataType": 1, "filter": {}, "formatDate": 1,
    "fundamentalDataOptions": [], "futFopExchange": "", "genericTickList": "", "group": "All", "groupId": 1,
    "groupName": "All", "historicalNewsOptions": [], "ignoreSize": False, "implVolOptions": [], "isSmartDepth": False,
    "keepUpToDate": False, "ledgerAndNLV": False, "logLevel": 2, "manualCancelOrderTime": "", "manualOrderTime": "",
    "marketDataType": 3, "marketRuleId": 26, "MIN_SERVER_VER_WSH_EVENT_DATA_FILTERS_DATE": 173, "miscOptions": [],
    "mktDataOptions": [], "mktDepthOptions": [], "modelCode": "", "newsArticleOptions": [], "numberOfTicks": 10,
    "numIds": 1, "numRows": 5, "opaqueIsvKey": "x", "optionPrice": 1.0, "optPrcOptions": [], "override": 0,
    "pattern": "SP", "period": 3, "periodUnit": "day", "professionalCustomer": False, "providerCode": "BRFG",
    "providerCodes": "BRFG", "realTimeBarsOptions": [], "regulatorySnapshot": False, "reportType": "ReportSnapshot",
    "scannerSubscriptionFilterOptions": [], "scannerSubscriptionOptions": [], "snapshot": False,
    "startDateTime": "20261102 09:30:00 US/Eastern", "subscribe": True, "tags": "NetLiquidation,BuyingPower,$LEDGER",
    "tickType": "Last", "timePeriod": "3 days", "totalResults": 5, "underlyingConId": 756733,
    "underlyingSecType": "STK", "underlyingSymbol": "SPY", "underPrice": 600.0, "useRTH": True, "useRth": True,
    "volatility": 0.2, "whatToShow": "TRADES", "xml": "<x/>", "xyzResponse": "x",
}  # fmt: skip
ID_PARAMETERS = frozenset({"reqId", "tickerId", "orderId", "id", "requestId"})


def list_requests(
    client: Any,  # noqa: ANN401
    values: dict[str, Any],
    *,
    callbacks: Iterable[str] = (),
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The client's requests by their methods' names, each with what sends it once.

    Args:
        client: Any client whose methods have the official client's names and parameters.
        values: The library's own objects (contract, order and the like), by the parameter's name.
        callbacks: Methods of the client that are none of its requests.

    Raises:
        KeyError: A parameter has no value here.
    """
    known = {**PLAIN_VALUES, **values}
    number = 100
    for name in sorted(set(dir(client)) - set(callbacks)):
        if not name.startswith(_STARTS) or name.endswith(_NOT_ASKED) or not callable(getattr(client, name)):
            continue
        number += 1
        method = getattr(client, name)
        arguments = [
            number if parameter in ID_PARAMETERS else known[parameter]
            for parameter, given in inspect.signature(method).parameters.items()
            if given.default is inspect.Parameter.empty or parameter in known
        ]
        yield name, functools.partial(method, *arguments)
