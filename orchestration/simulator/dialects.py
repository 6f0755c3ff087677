"""What each controller says of a login, and what the gateway itself writes to `launcher.log`. Pure.

The texts are those of the real programs (IBC 3.x, ibcontroller 0.1.4, ibg-controller 0.6; gateways of build 10.45 on),
so that whatever reads a gateway's log reads this one in the same way.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

REFUSED_EXIT_CODE = 77  # ibcontroller's: user or password are refused


class Controller(StrEnum):
    """Whose texts are printed."""

    IBC = "ibc"
    IBCONTROLLER = "ibcontroller"
    IBG = "ibg"
    NONE = "none"


class Moment(StrEnum):
    """What happens in a login."""

    STARTING = "starting"
    ATTEMPT = "attempt"
    SECOND_FACTOR = "second_factor"
    CONFIRMED = "confirmed"
    DIALOG_CLOSED = "dialog_closed"
    TIMED_OUT = "timed_out"
    TRIES_AGAIN = "tries_again"
    RELAUNCHES = "relaunches"
    ROUND = "round"
    """The server asks who it is."""
    HUNG_UP = "hung_up"
    """The server is gone before it has asked: a login failed, and nothing says why."""
    REFUSED = "refused"
    TOO_MANY = "too_many"
    COMPLETED = "completed"
    SESSION_TAKEN = "session_taken"


SECOND_FACTOR_EXIT_CODES = {
    Controller.IBC: 87,  # its own 1111, modulo 256
    Controller.IBCONTROLLER: 75,
    Controller.IBG: 3,
    Controller.NONE: 87,
}
_LOGIN_FAILED = ("detected dialog entitled: Login failed; event=Opened", "Login failed")
_TOO_MANY = "Too many failed login attempts. Please wait 53 seconds before attempting to re-login again."

# `{attempt}` is the number of the attempt.
_TEXTS: Mapping[Controller, Mapping[Moment, tuple[str, ...]]] = {
    Controller.IBC: {
        Moment.STARTING: ("Starting session: will exit if login dialog is not displayed within 60 seconds",),
        Moment.ATTEMPT: ("Login attempt: {attempt}",),
        Moment.SECOND_FACTOR: (
            "detected dialog entitled: Second Factor Authentication; event=Opened",
            "Second Factor Authentication initiated",
        ),
        Moment.DIALOG_CLOSED: ("detected dialog entitled: Second Factor Authentication; event=Closed",),
        Moment.TIMED_OUT: ("Exiting with exit code=1111",),
        Moment.HUNG_UP: _LOGIN_FAILED,
        Moment.REFUSED: _LOGIN_FAILED,
        Moment.TOO_MANY: (_TOO_MANY,),
        Moment.COMPLETED: ("Login has completed", "Configuration tasks completed"),
        Moment.SESSION_TAKEN: (
            "detected dialog entitled: Existing session detected; event=Opened",
            "User must choose whether to continue with this session",
        ),
    },
    Controller.IBCONTROLLER: {
        Moment.STARTING: ("startup state: LAUNCHING -> READY",),
        Moment.ATTEMPT: ("credentials submitted, awaiting outcome",),
        Moment.SECOND_FACTOR: ("second factor authentication in progress",),
        Moment.TRIES_AGAIN: ("re-login after second factor authentication timeout in 5.0s",),
        Moment.RELAUNCHES: (
            "mfa_timeout_action=restart -- relaunching with a full fresh login: login did not complete in time",
        ),
        Moment.REFUSED: ("unrecognized username or password -- login rejected",),
        Moment.TOO_MANY: ("too many failed login attempts -- retrying in 53s",),
        Moment.COMPLETED: ("login completed", "login completed, state=LoginState.LOGGED_IN"),
        Moment.SESSION_TAKEN: ("existing session detected -- manual, leaving for the user",),
    },
    Controller.IBG: {
        Moment.ATTEMPT: ("Login dialog detected",),
        Moment.SECOND_FACTOR: (
            "IB Key 2FA dialog detected: ('JDialog', 'Second Factor Authentication', True)",
            "Waiting for IB Key mobile approval — approve on your phone via the IB Key app",
        ),
        Moment.CONFIRMED: ("2FA dialog dismissed — IB Key approval detected, proceeding",),
        Moment.TIMED_OUT: ('ALERT_2FA_FAILED mode=paper reason="2FA dialog timeout; TWOFA_TIMEOUT_ACTION=exit"',),
        Moment.TRIES_AGAIN: ("IB Key approval wait timed out", "In-JVM relogin attempt 1/8"),
        Moment.COMPLETED: ("CCP backoff reset — auth succeeded",),
        Moment.SESSION_TAKEN: ("existing-session dialog: action=manual",),
    },
    Controller.NONE: {},
}
# What ibcontroller's loggers are called where a text lacks its name.
_WITHOUT_NAME = ("too many failed login attempts",)

_ROUND = (
    " NS_AUTH_START version=52 pwd=1 soft=0 token(s)=[token=5, tokenSubtype=2, suffix=a[IB Key]] initialTokenType=PWD "
    "authenticationType=MARKET_DATA_CONNECTION identityHashcode=1"
)
_ENDED = "Authorization failed: SUPPRESS_MESSAGE_BOX. MessageType: null. FailReason: 2147483647"
# `{epoch_ms}` is the time in milliseconds, `{utc}` the gateway's own form of it.
_LAUNCHER: Mapping[Moment, tuple[str, ...]] = {
    Moment.STARTING: (
        "------------------------------- IB GATEWAY RESTART --------------------------------",
        "Started on {utc}",
    ),
    Moment.ATTEMPT: (
        "LauncherLoginThread.runLoginWithUI()[hotBackupStrategy=ON,loginAttempt=1, socketDelay=20000].",
        "### startLogin startTime={epoch_ms}",
    ),
    Moment.ROUND: (_ROUND,),
    Moment.SECOND_FACTOR: ("Received CHALLENGE",),
    Moment.TIMED_OUT: (_ENDED,),
    Moment.TRIES_AGAIN: (_ENDED,),
    Moment.HUNG_UP: ("Authentication timeout",),
    Moment.REFUSED: (
        "AUTH_RESULT indicates wrong password",
        "Authorization failed: Invalid username or password. ",
    ),
    Moment.TOO_MANY: (_TOO_MANY,),
    Moment.COMPLETED: (
        "### onAuthenticationCompleted tokenProtocol={protocol}; authenticated=true",
        "Switching to a new encrypted log...",
    ),
}
HEARTBEAT = "Sent NS_HEART_BEAT:#%#%0000MISC51;531;{utc};"


def render_controller(controller: Controller, moment: Moment, *, now: datetime, attempt: int) -> tuple[str, ...]:
    """A controller's lines about a moment."""
    texts = _TEXTS[controller].get(moment, ())
    return tuple(_render_line(controller, text.format(attempt=attempt), now) for text in texts)


def _render_line(controller: Controller, text: str, now: datetime) -> str:
    milliseconds = now.microsecond // 1000
    if controller is Controller.IBCONTROLLER:
        name = "" if text.startswith(_WITHOUT_NAME) else "IBController > "
        return f"{now:%Y-%m-%d %H:%M:%S},{milliseconds:03d} INFO ibcontroller.login: {name}{text}"
    if controller is Controller.IBG:
        return f"{now:%Y-%m-%d %H:%M:%S} [INFO] {text}"
    return f"{now:%Y-%m-%d %H:%M:%S}:{milliseconds:03d} IBC: {text}"


def render_launcher(moment: Moment, *, now: datetime, has_second_factor: bool) -> tuple[str, ...]:
    """What the gateway itself writes about a moment."""
    return tuple(render_launcher_line(text, now=now, has_second_factor=has_second_factor)
                 for text in _LAUNCHER.get(moment, ()))  # fmt: skip


def render_launcher_line(text: str, *, now: datetime, has_second_factor: bool = False) -> str:
    """One line of `launcher.log`, at the container's own clock."""
    message = text.format(
        utc=f"{now:%Y%m%d-%H:%M:%S}",
        epoch_ms=int(now.timestamp() * 1000),
        protocol=5 if has_second_factor else 3,
    )
    local = now.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d} INFO  [JTS-Main] - {message}"
