"""Faults on demand: what they are called, what values they take, and what they mean. Pure.

Each name is documented in docs/reference/simulator.md with what an operator sees of it.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

_RELOGIN = "relogin"
LIVE_ACCOUNT = "U7654321"


class FaultError(ValueError):
    """A fault that does not exist, or a value that it does not take. Its text is shown to the user who typed it."""


class ConnectionFault(StrEnum):
    """What the API port does to a client instead of a handshake."""

    SILENT = "accepts_silent"
    CLOSES = "accepts_closes"
    GARBAGE = "garbage"
    HALF_FRAME = "half_frame"
    DIES = "dies_mid_handshake"


@dataclass(frozen=True, kw_only=True)
class ErrorFault:
    """An error code that a connecting client is given, instead of the handshake or right after it.

    Attributes:
        code: One of `ERROR_TEXTS`.
        for_s: It stops so many seconds after the API port opened; None: not by time.
        for_tries: It stops after so many clients were given it; None: not by tries.
    """

    code: int
    for_s: float | None = None
    for_tries: int | None = None

    @property
    def is_refusal(self) -> bool:
        """Whether it stands in place of the handshake (else it follows one)."""
        return self.code in _REFUSALS


@dataclass(frozen=True, kw_only=True)
class SecondFactorFault:
    """A second factor that is asked for.

    Attributes:
        granted_after_s: Seconds after the first request until it is granted; None: never.
        dialog_timeout_s: Seconds after which the controller gives up waiting for it.
        logs_in_again: Whether the controller then makes its next attempt in the same session, instead of ending it.
    """

    granted_after_s: float | None = None
    dialog_timeout_s: float = 180.0  # the real dialog's
    logs_in_again: bool = False


@dataclass(frozen=True, kw_only=True)
class BrokerLogin:
    """Where and how a gateway logs in.

    Attributes:
        host: The authority's address.
        port: Its port.
        user: The user name; one session each.
        is_primary: Whether this login takes an existing session away, or gives way to it; None where the fault does not
            say so: then as the gateway was started (`--existing-session`).
    """

    host: str
    port: int
    user: str
    is_primary: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Faults:
    """All faults of one run; every default means none. Seconds everywhere."""

    slow_login_s: float = 0.0
    second_factor: SecondFactorFault | None = None
    wrong_password_interval_s: float | None = None
    session_taken_after_s: float | None = None
    connection: ConnectionFault | None = None
    errors: tuple[ErrorFault, ...] = ()
    accounts: str | None = None
    unhealthy: bool = False
    silent_after_s: float | None = None
    dies_after_s: float | None = None
    clock_skew_s: float = 0.0
    first_start_only: bool = False
    half_answers: bool = False
    broker: BrokerLogin | None = None


ERROR_TEXTS: dict[int, str] = {
    326: "Unable to connect as the client id is already in use. Retry with a unique client id.",
    502: "Couldn't connect to TWS. Confirm that API is enabled and the port is the right one.",
    503: "The TWS is out of date and must be upgraded.",
    504: "Not connected",
    506: "Unsupported version",
    1100: "Connectivity between IBKR and Trader Workstation has been lost.",
    1102: "Connectivity between IBKR and Trader Workstation has been restored - data maintained.",
    2103: "Market data farm connection is broken:usfarm",
    2104: "Market data farm connection is OK:usfarm",
    2105: "HMDS data farm connection is broken:ushmds",
    2106: "HMDS data farm connection is OK:ushmds",
    2110: "Connectivity between TWS and server is broken. It will be restored automatically.",
    2157: "Sec-def data farm connection is broken:secdefil",
    2158: "Sec-def data farm connection is OK:secdefil",
    10141: "Paper trading disclaimer must first be accepted for API connection.",
}
RESTORED_BY: dict[int, int] = {1100: 1102, 2110: 1102, 2103: 2104, 2105: 2106, 2157: 2158}
_REFUSALS = frozenset({326, 502, 503, 504, 506, 10141})
_ERROR_CODES = sorted({*_REFUSALS, *RESTORED_BY})
_MAX_S = 1e7


def parse_faults(items: Iterable[str]) -> Faults:
    """The faults that a list of `name` or `name=value` asks for.

    Raises:
        FaultError: An unknown name, a wrong value, or two faults that exclude each other.
    """
    faults = Faults()
    seen: set[str] = set()
    for item in items:
        name, _, value = item.strip().partition("=")
        if name not in _PARSERS:
            raise FaultError(f"{name!r} is not a fault; there are {', '.join(sorted(_PARSERS))}")
        if name in seen and name != "error":
            raise FaultError(f"{name} is given twice")
        seen.add(name)
        changes = _PARSERS[name](name, value.strip())
        if "errors" in changes:
            changes["errors"] = faults.errors + changes["errors"]  # type: ignore[operator]  # of the same parser
        faults = dataclasses.replace(faults, **changes)  # type: ignore[arg-type]  # field names of the parsers below
    for group in ({fault.value for fault in ConnectionFault}, {"accounts", "wrong_account"}):
        both = sorted(group & seen)
        if len(both) > 1:
            raise FaultError(f"{' and '.join(both)} exclude each other")
    return faults


def split_faults(text: str) -> tuple[str, ...]:
    """The items of a text with commas or spaces between them, as a setting or a variable holds it."""
    return tuple(item for item in re.split(r"[,\s]+", text) if item)


def _seconds(name: str, value: str, *, default: float | None = None, negative: bool = False) -> float:
    if not value and default is not None:
        return default
    try:
        seconds = float(value)
    except ValueError:
        seconds = float("nan")
    if not abs(seconds) <= _MAX_S or (seconds < 0 and not negative):  # written so that NaN is refused too
        raise FaultError(f"{name}={value}: a number of seconds is wanted, for example {name}=20")
    return seconds


def _flag(name: str, value: str) -> None:
    if value:
        raise FaultError(f"{name} takes no value")


def _second_factor(name: str, value: str) -> dict[str, object]:
    granted, _, rest = value.partition(":")
    timeout, _, then = rest.partition(":")
    if then not in {"", _RELOGIN}:
        raise FaultError(f"{name}={value}: after the second colon only `{_RELOGIN}` may stand")
    return {
        "second_factor": SecondFactorFault(
            granted_after_s=None if granted in {"", "never"} else _seconds(name, granted),
            dialog_timeout_s=_seconds(name, timeout, default=SecondFactorFault.dialog_timeout_s),
            logs_in_again=then == _RELOGIN,
        )
    }


def _error(name: str, value: str) -> dict[str, object]:
    found = re.fullmatch(r"(\d{1,6})(?::(\d{1,7}(?:\.\d{1,6})?)(s|x)?)?", value)
    code = int(found[1]) if found else 0
    if not found or code not in _ERROR_CODES:
        codes = ", ".join(str(known) for known in _ERROR_CODES)
        raise FaultError(
            f"{name}={value}: CODE, CODE:SECONDS or CODE:TRIESx is wanted, with one of the codes {codes}; "
            f"for example {name}=10141:2 or {name}=326:3x"
        )
    if found[3] == "x":
        if not found[2].isdigit():
            raise FaultError(f"{name}={value}: tries are a whole number, for example {name}={code}:3x")
        return {"errors": (ErrorFault(code=code, for_tries=int(found[2])),)}
    return {"errors": (ErrorFault(code=code, for_s=float(found[2]) if found[2] else None),)}


def _connection(name: str, value: str) -> dict[str, object]:
    _flag(name, value)
    return {"connection": ConnectionFault(name)}


def _parse_broker_login(text: str) -> BrokerLogin:
    """`HOST:PORT/USER` or `HOST:PORT/USER/primary|secondary`.

    Raises:
        ValueError: It is none.
    """
    address, _, rest = text.partition("/")
    user, _, action = rest.partition("/")
    host, _, port = address.rpartition(":")
    if not host or not user or not port.isdecimal() or action not in {"", "primary", "secondary"}:
        raise ValueError("HOST:PORT/USER or HOST:PORT/USER/primary|secondary is wanted")
    return BrokerLogin(host=host, port=int(port), user=user, is_primary=action == "primary" if action else None)


def _broker(name: str, value: str) -> dict[str, object]:
    try:
        return {"broker": _parse_broker_login(value)}
    except ValueError as error:
        raise FaultError(f"{name}={value}: {error}") from None


def _wrong_account(name: str, value: str) -> dict[str, object]:
    _flag(name, value)
    return {"accounts": LIVE_ACCOUNT}


def _unhealthy(name: str, value: str) -> dict[str, object]:
    _flag(name, value)
    return {"unhealthy": True}


def _half_answers(name: str, value: str) -> dict[str, object]:
    _flag(name, value)
    return {"half_answers": True}


def _first_start_only(name: str, value: str) -> dict[str, object]:
    _flag(name, value)
    return {"first_start_only": True}


def _accounts(_name: str, value: str) -> dict[str, object]:
    # `+` stands for a comma where commas already stand between faults.
    return {"accounts": value.replace("+", ",")}


_PARSERS: dict[str, Callable[[str, str], dict[str, object]]] = {
    "slow_login": lambda name, value: {"slow_login_s": _seconds(name, value)},
    "second_factor": _second_factor,
    "wrong_password": lambda name, value: {"wrong_password_interval_s": _seconds(name, value, default=2.0)},
    "session_taken": lambda name, value: {"session_taken_after_s": _seconds(name, value, default=0.0)},
    "error": _error,
    "accounts": _accounts,
    "wrong_account": _wrong_account,
    "unhealthy": _unhealthy,
    "first_start_only": _first_start_only,
    "half_answers": _half_answers,
    "broker": _broker,
    "silent_after": lambda name, value: {"silent_after_s": _seconds(name, value)},
    "dies_after": lambda name, value: {"dies_after_s": _seconds(name, value)},
    "clock_skew": lambda name, value: {"clock_skew_s": _seconds(name, value, negative=True)},
    **{fault.value: _connection for fault in ConnectionFault},
}
FAULT_NAMES = tuple(sorted(_PARSERS))
