"""Every text by which a login is recognised: one table, first what the gateway itself writes, then its controllers.

A controller is the program that fills in the gateway's login dialog. Its texts reach the container's log; the gateway's
own stand in `launcher.log` of its settings folder. Exit codes are the last resort, where no text could be read. A text
that is in no row says nothing.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Who writes a text."""

    LAUNCHER_LOG = "launcher.log"
    IBC = "IBC"
    IBCONTROLLER = "ibcontroller"
    IBG_CONTROLLER = "ibg-controller"


class Event(StrEnum):
    """What a text says."""

    RESTART = "restart"
    """The gateway's process has started."""
    AUTO_RESTART = "auto_restart"
    """It has started with the saved session: no password is sent."""
    COLD_START = "cold_start"
    """It has started without a saved session."""
    ATTEMPT = "attempt"
    ROUND = "round"
    CHALLENGE = "challenge"
    """The second factor is asked for."""
    DEVICE_NEEDED = "device_needed"
    """The second factor cannot be asked for: there are several devices, and none of them was chosen."""
    CHALLENGE_ENDED = "challenge_ended"
    """The second factor was not confirmed in time, or a login ended before it."""
    NO_ANSWER = "no_answer"
    """The broker does not answer; the gateway tries again by itself."""
    COMPLETED = "completed"
    LOGGED_IN = "logged_in"
    FAILED = "failed"
    """An attempt failed, which may mean that the server hung up."""
    REFUSED_DIALOG = "refused_dialog"
    """The dialog for a wrong user or password is up; the controller does not know it, and it may be spurious."""
    REFUSED_CREDENTIALS = "refused_credentials"
    """The controller says that user or password are wrong."""
    REJECTED = "rejected"
    """The broker says that user or password are wrong, or locked."""
    REJECTED_OTHERWISE = "rejected_otherwise"
    """The broker refuses the login for another reason."""
    OUTDATED = "outdated"
    """The broker no longer accepts this version of the gateway."""
    PAUSE = "pause"
    """The broker has counted too many attempts; no other one before some time has passed."""
    BACKOFF = "backoff"
    """The controller pauses: the broker does not take the login, most often for a session that it still holds."""
    SESSION_TAKEN = "session_taken"
    """Another session of the same user holds the login, and was left in charge."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A text.

    Attributes:
        source: Who writes it.
        event: What it says.
        text: Matches a message from its beginning, without the time and the names that stand before it.
        example: A message as it was seen; the tests match it.
    """

    source: Source
    event: Event
    text: re.Pattern[str]
    example: str


_WAIT = r"(?:(?P<hours>\d{1,6}) hours? & )?(?:(?P<minutes>\d{1,6}) minutes? & )?(?P<seconds>\d{1,6}) seconds?"
_NO_DIALOG = r"(?!detected (?:dialog|frame) entitled:)"


def _launcher(event: Event, text: str, example: str) -> Pattern:
    return Pattern(source=Source.LAUNCHER_LOG, event=event, text=re.compile(text, re.IGNORECASE), example=example)


def _rows(source: Source, rows: Iterable[tuple[Event, str, str]]) -> tuple[Pattern, ...]:
    return tuple(
        Pattern(source=source, event=event, text=re.compile(text, re.IGNORECASE), example=example)
        for event, text, example in rows
    )


# Gathered from gateways of build 10.45 and 10.50; the tests compare them with those that PyPI's `ib-gateway-mcp` (MIT),
# whose maker tried them on the same builds, publishes.
LAUNCHER_LOG: tuple[Pattern, ...] = (
    _launcher(
        Event.RESTART,
        r"-{5,} IB GATEWAY RESTART -{5,}$",
        "------------------------------- IB GATEWAY RESTART --------------------------------",
    ),
    _launcher(
        Event.AUTO_RESTART,
        r"Running in auto-restart mode\b",
        "Running in auto-restart mode: restoring session token and session ID [userDirname=abc]",
    ),
    _launcher(
        Event.ATTEMPT,
        r"LauncherLoginThread\.runLoginWithUI\(\)\[.*\bloginAttempt=\d+",
        "LauncherLoginThread.runLoginWithUI()[hotBackupStrategy=ON,loginAttempt=1, socketDelay=20000].",
    ),
    _launcher(
        Event.ROUND,
        r"NS_AUTH_START version=\d+ pwd=(?P<full>\d) .*\binitialTokenType=(?P<token>\w+)",
        " NS_AUTH_START version=52 pwd=1 soft=0 token(s)=[token=5, tokenSubtype=2, suffix=a[IB Key]] "
        "initialTokenType=PWD authenticationType=MARKET_DATA_CONNECTION identityHashcode=1",
    ),
    _launcher(Event.CHALLENGE, r"Received CHALLENGE$", "Received CHALLENGE"),
    _launcher(Event.NO_ANSWER, r"Authentication timeout$", "Authentication timeout"),
    _launcher(
        Event.NO_ANSWER,
        r"SPLASH Attempt \d+: (?:network|server) error, will retry",
        "SPLASH Attempt 13: network error, will retry in seconds",
    ),
    _launcher(
        Event.COMPLETED,
        r"### onAuthenticationCompleted tokenProtocol=(?P<protocol>\d+); authenticated=(?P<is_in>true|false)$",
        "### onAuthenticationCompleted tokenProtocol=5; authenticated=true",
    ),
    _launcher(Event.REJECTED, r"AUTH_RESULT indicates wrong password$", "AUTH_RESULT indicates wrong password"),
    _launcher(
        Event.REJECTED,
        r"Authorization failed: Invalid username or password\b",
        "Authorization failed: Invalid username or password. ",
    ),
    _launcher(
        Event.CHALLENGE_ENDED,
        r"Authorization failed: SUPPRESS_MESSAGE_BOX\.",
        "Authorization failed: SUPPRESS_MESSAGE_BOX. MessageType: null. FailReason: 2147483647",
    ),
    _launcher(
        Event.OUTDATED,
        r"Authorization failed: .*must be upgraded",
        "Authorization failed: This version is no longer supported and must be upgraded. MessageType: null.",
    ),
    _launcher(
        Event.REJECTED_OTHERWISE,
        r"Authorization failed: ",
        "Authorization failed: Your account is closed. MessageType: null. FailReason: 99",
    ),
    _launcher(
        Event.PAUSE,
        rf"Too many failed login attempts\. Please wait {_WAIT} before",
        "Too many failed login attempts. Please wait 4 minutes & 55 seconds before attempting to re-login.",
    ),
    _launcher(Event.LOGGED_IN, r"Switching to a new encrypted log", "Switching to a new encrypted log..."),
)

# IBC's lines are `2026-11-18 09:00:01:123 IBC: text`; its starting script's have no time. What it calls a dialog's
# title stands in a line of its own, each time that the dialog opens or gets the focus, and counts only where IBC has no
# text for it.
_IBC = _rows(
    Source.IBC,
    (
        (
            Event.REFUSED_DIALOG,
            r"(?:detected (?:dialog|frame) entitled: )?unrecognized username or password",
            "detected dialog entitled: Unrecognized Username or Password; event=Activated",
        ),
        (Event.ATTEMPT, r"login attempt:", "Login attempt: 1"),
        (
            Event.DEVICE_NEEDED,
            r"you should specify the required second factor device",
            "You should specify the required second factor device using the SecondFactorDevice setting in config.ini",
        ),
        (
            Event.DEVICE_NEEDED,
            r"could not find second factor device '",
            "Could not find second factor device 'IB Key' in the list",
        ),
        (Event.CHALLENGE, r"second factor authentication initiated", "Second Factor Authentication initiated"),
        # All that IBC says where a code is to be entered: the dialog opens. Its other events mean nothing.
        (
            Event.CHALLENGE,
            (
                r"detected (?:dialog|frame) entitled: "
                r"(?:second factor authentication|security code card authentication)\b.*; event=opened"
            ),
            "detected dialog entitled: Second Factor Authentication; event=Opened",
        ),
        (
            Event.CHALLENGE,
            r"login frame has now become secondfactorauthenticationdialog",
            "Login frame has now become SecondFactorAuthenticationDialog",
        ),
        (
            Event.CHALLENGE,
            r"second factor authentication dialog opened",
            "Second Factor Authentication dialog opened",
        ),
        (
            Event.CHALLENGE_ENDED,
            r"re-login after second factor authentication timeout (?:in (?P<seconds>\d{1,6})|not required)",
            "Re-login after second factor authentication timeout in 5 seconds",
        ),
        (Event.CHALLENGE_ENDED, r"\w+ returned exit status (?:87|75)\b", "IBC returned exit status 87"),
        (Event.REFUSED_CREDENTIALS, r"\w+ returned exit status 77\b", "IBC returned exit status 77"),
        (Event.OUTDATED, r"\w+ returned exit status 76\b", "IBC returned exit status 76"),
        (Event.COMPLETED, r"login has completed", "Login has completed"),
        (Event.COMPLETED, r"configuration tasks completed", "Configuration tasks completed"),
        (
            Event.PAUSE,
            rf"{_NO_DIALOG}.*too many failed login attempts(?:.*?please wait {_WAIT})?",
            "Too many failed login attempts. Please wait 53 seconds before attempting to re-login again.",
        ),
        (Event.FAILED, r"login failed", "Login failed"),
        (Event.OUTDATED, r"login error message: .*must be upgraded", "Login error message: TWS must be upgraded"),
        (Event.FAILED, r"login error message:", "Login error message: Server disconnected, please try again"),
        (
            Event.SESSION_TAKEN,
            r"user must choose whether to continue with this session",
            "User must choose whether to continue with this session",
        ),
        (
            Event.SESSION_TAKEN,
            r".*let the other session proceed",
            "End this session and let the other session proceed",
        ),
        (
            Event.AUTO_RESTART,
            r"autorestart file found\b",
            "autorestart file found at /home/ibgateway/Jts/abc/autorestart: authentication will not be required",
        ),
        (Event.AUTO_RESTART, r"re-starting session", "Re-starting session"),
        (
            Event.COLD_START,
            r"autorestart file (?:not found|contains invalid credentials)\b",
            "autorestart file not found: full authentication will be required",
        ),
        (Event.COLD_START, r"ibc will cold-restart\b", "IBC will cold-restart shortly"),
    ),
)

# ibcontroller's lines are `2026-11-28 10:00:00,123 INFO ibcontroller.login: IBController > text`; some lack its name.
_IBCONTROLLER = _rows(
    Source.IBCONTROLLER,
    (
        (Event.ATTEMPT, r"credentials submitted", "credentials submitted, awaiting outcome"),
        (
            Event.AUTO_RESTART,
            r"(?:restart_expected flag|autorestart marker file) -- skipping credential fill",
            "restart_expected flag -- skipping credential fill",
        ),
        (
            Event.AUTO_RESTART,
            r"gateway restarted on its own schedule",
            "Gateway restarted on its own schedule (autorestart marker present at /Jts, hash=abc) -- relaunching",
        ),
        (
            Event.COLD_START,
            r"cold_restart_time reached",
            "cold_restart_time reached -- relaunching with a full fresh login (no restart hash)",
        ),
        (
            Event.CHALLENGE,
            r"second factor authentication in progress",
            "second factor authentication in progress",
        ),
        (
            Event.CHALLENGE_ENDED,
            r"re-login after second factor authentication timeout (?:in (?P<seconds>\d{1,6})|not required)",
            "re-login after second factor authentication timeout not required",
        ),
        (
            Event.CHALLENGE_ENDED,
            r"mfa_timeout_action=restart -- relaunching",
            "mfa_timeout_action=restart -- relaunching with a full fresh login: login did not complete in time",
        ),
        (
            Event.REFUSED_CREDENTIALS,
            r"unrecognized username or password -- login rejected",
            "unrecognized username or password -- login rejected",
        ),
        (
            Event.PAUSE,
            r"too many failed login attempts -- (?:retrying in (?P<seconds>\d{1,6})s|relogin disabled, stopping)",
            "too many failed login attempts -- retrying in 53s",
        ),
        (Event.FAILED, r"login failed -- transient", "login failed -- transient, relaunching"),
        (Event.OUTDATED, r"login error: .*must be upgraded", "login error: This version must be upgraded"),
        (Event.FAILED, r"login error:", "login error: Login failed - Server disconnected, please try again"),
        (Event.COMPLETED, r"login completed\b", "login completed"),
        (
            Event.SESSION_TAKEN,
            r"existing session detected -- (?:manual|secondary|second attempt|primaryoverride)\b",
            "existing session detected -- manual, leaving for the user",
        ),
    ),
)

# ibg-controller's lines carry a time and a level in a form that its operator chooses: its texts are told by themselves.
_IBG_CONTROLLER = _rows(
    Source.IBG_CONTROLLER,
    (
        (Event.ATTEMPT, r".*\blogin dialog detected", "Login dialog detected"),
        (Event.ATTEMPT, r".*\bin-jvm relogin attempt", "In-JVM relogin attempt 1/8"),
        (Event.CHALLENGE, r".*\b2fa dialog detected", "IB Key 2FA dialog detected: ('JDialog', 'Second Factor', True)"),
        (
            Event.CHALLENGE,
            r".*\bwaiting for ib key mobile approval",
            "Waiting for IB Key mobile approval — approve on your phone via the IB Key app",
        ),
        (
            Event.CHALLENGE,
            r".*\bib key wait t\+\d+s: still waiting",
            "  IB Key wait t+12s: still waiting for approval...",
        ),
        (Event.CHALLENGE_ENDED, r".*\bib key approval wait timed out", "IB Key approval wait timed out"),
        # What only the operator can go on with: by VNC, or by another setting. No attempt follows by itself.
        (
            Event.CHALLENGE,
            r".*\balert_(?:2fa_manual_window|halted)\b",
            'ALERT_HALTED mode=live state=HALTED reason="2FA needs a change only an operator can make"',
        ),
        (
            Event.CHALLENGE_ENDED,
            r".*\balert_2fa_failed\b",
            'ALERT_2FA_FAILED mode=live reason="2FA dialog timeout; TWOFA_TIMEOUT_ACTION=exit"',
        ),
        (Event.COMPLETED, r".*\b2fa handled successfully", "2FA handled successfully"),
        (Event.COMPLETED, r".*\bib key approval succeeded", "API port opened — IB Key approval succeeded"),
        (Event.COMPLETED, r".*\bccp backoff reset\b", "CCP backoff reset — auth succeeded"),
        (Event.COMPLETED, r".*\blogin complete\. ", "Login complete. Entering monitor loop."),
        (
            Event.COMPLETED,
            r".*\balert_auto_restart .*\bstatus=adopted\b",
            'ALERT_AUTO_RESTART mode=live status=adopted reason="API port 4001 open — session preserved"',
        ),
        (
            Event.SESSION_TAKEN,
            r".*\bexisting-session dialog: action=(?:manual|secondary)\b",
            "existing-session dialog: action=secondary",
        ),
        (
            Event.SESSION_TAKEN,
            r".*\balert_(?:ccp_persistent(?:_halt)?|jvm_restart_exhausted)\b",
            "ALERT_CCP_PERSISTENT consecutive_lockouts=3 mode=live",
        ),
        (
            Event.BACKOFF,
            r".*\bccp lockout detected\b",
            "CCP LOCKOUT DETECTED — IBKR's auth server silently dropped the auth request",
        ),
        (
            Event.BACKOFF,
            r".*\bccp backoff: waiting (?P<seconds>\d{1,6})s",
            "CCP backoff: waiting 60s before next auth attempt",
        ),
        (
            Event.BACKOFF,
            r".*\bccp long cool-down .*: sleeping (?P<seconds>\d{1,6})s",
            "CCP long cool-down (JVM restart): sleeping 1200s (attempt=1, base=1200, mult=1.5, cap=3600).",
        ),
        (
            Event.BACKOFF,
            r".*\balert_ibkr_maintenance_recovery delay_seconds=(?P<seconds>\d{1,6})\b",
            'ALERT_IBKR_MAINTENANCE_RECOVERY delay_seconds=480 mode=live reason="JVM exited with code 0"',
        ),
        (
            Event.BACKOFF,
            r".*\bexisting-session: .*\bbacking off for (?P<seconds>\d{1,6})s",
            (
                "existing-session: handled this dialog 3 times in 300s — another container or app is probably "
                "reconnecting as the same account. Backing off for 60s."
            ),
        ),
        (
            Event.REFUSED_CREDENTIALS,
            r".*\balert_login_failed .*\breason=\"?bad-credentials\b",
            'ALERT_LOGIN_FAILED mode=live reason="bad-credentials" suggested_action="verify TWS_USERID"',
        ),
        (
            Event.FAILED,
            r".*\balert_login_failed\b",
            'ALERT_LOGIN_FAILED mode=live reason="post-auth-no-progress" suggested_action="scan logs"',
        ),
        (
            Event.REJECTED,
            r".*\balert_password_expired status=expired\b",
            "ALERT_PASSWORD_EXPIRED status=expired mode=live",
        ),
    ),
)

# What the broker says in whatever text, the gateway's own output included.
_ANY_CONTROLLER = _rows(
    Source.IBC,
    (
        (
            Event.REJECTED,
            rf"{_NO_DIALOG}.*(?:invalid username or password|(?:account|user name) (?:has been|is) locked)",
            "Your account has been locked",
        ),
        (
            Event.REJECTED_OTHERWISE,
            rf"{_NO_DIALOG}.*has multiple paper trading users associated with it",
            "Connection to server failed: this user has multiple Paper Trading users associated with it",
        ),
        (
            Event.OUTDATED,
            rf"{_NO_DIALOG}.*\b(?:tws|gateway|version|application)\b.*must be upgraded",
            "The TWS is out of date and must be upgraded.",
        ),
    ),
)

# A rejection by the broker is plainer than any text of a controller in the same line.
CONTROLLERS: tuple[Pattern, ...] = (*_IBCONTROLLER, *_IBC, *_ANY_CONTROLLER, *_IBG_CONTROLLER)
PATTERNS: tuple[Pattern, ...] = (*LAUNCHER_LOG, *CONTROLLERS)

# What a container's own end says, where its log said nothing: ibcontroller's codes, and those of IBC's script.
EXIT_CODES: dict[int, Event] = {
    75: Event.CHALLENGE_ENDED,
    77: Event.REFUSED_CREDENTIALS,
    76: Event.OUTDATED,
    87: Event.CHALLENGE_ENDED,
}
# These end without saying anything about the login itself; a restart may help the first two.
EXIT_CODE_TEXTS: dict[int, str] = {
    69: "its login controller ended for a passing trouble",
    88: "its login controller saw no login dialog",
    78: "its login controller cannot work with its configuration",
}


def explain_exit_code(exit_code: int) -> str:
    """Why a login controller ended with this code, as a clause; empty for a code that says nothing of itself."""
    return EXIT_CODE_TEXTS.get(exit_code, "")


def read_wait_s(found: re.Match[str]) -> float | None:
    """The length of a pause that a text names, in seconds; None where it names none."""
    parts = found.groupdict()
    if parts.get("seconds") is None:
        return None
    weights = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
    return sum(weight * int(parts.get(name) or 0) for name, weight in weights.items())
