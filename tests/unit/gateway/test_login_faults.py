"""Every trouble with a login, in every dialect, at a start and under supervision: the same word, alert and restarts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.api_status import ApiState, ApiStatus
from orchestration.gateway.history import StopReason
from orchestration.gateway.launcher_log import LauncherReading, read_launcher_log
from orchestration.gateway.login import NOTHING_READ, LoginPhase, combine_logins, read_login
from orchestration.gateway.login_patterns import PATTERNS, Event, Pattern, Source
from orchestration.gateway.wait import WaitEventKind, check_ready_now, wait_until_ready
from orchestration.settings import Settings
from orchestration.supervision import Action, IncidentKind
from orchestration.supervision.observation import NOT_TRIED
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import HEALTHY, RUNNING, STARTED, UNHEALTHY, FakeProbe, FakeRuntime, api
from tests.unit.supervision.scene import Watch

_ROUND = " NS_AUTH_START version=52 pwd=1 soft=0 token(s)=[suffix=a[IB Key]] initialTokenType=PWD authenticationType=X"
_SAVED = " NS_AUTH_START version=52 pwd=0 soft=1 token(s)=[] initialTokenType=SOFT authenticationType=X"
_BEGUN = (
    (1, "------------------------------- IB GATEWAY RESTART --------------------------------"),
    (3, "LauncherLoginThread.runLoginWithUI()[hotBackupStrategy=ON,loginAttempt=1, socketDelay=20000]."),
)
_AUTO = (_BEGUN[0], (2, "Running in auto-restart mode: restoring session token and session ID"), (3, _SAVED))
_CHALLENGED = (*_BEGUN, (4, _ROUND), (5, "Received CHALLENGE"))
_ENDED = (185, "Authorization failed: SUPPRESS_MESSAGE_BOX. MessageType: null. FailReason: 2147483647")
_PAUSE = "Too many failed login attempts. Please wait 53 seconds before attempting to re-login again."
_IBC_BEGUN = ("IBC: Login attempt: 1",)
_IBC_ASKED = (*_IBC_BEGUN, "IBC: Second Factor Authentication initiated")
_IBC_AGAIN = ("IBC: Login attempt: 2",)
_IB = "2026-11-18 13:59:10,123 WARNING ibcontroller.login: IBController >"
_IB_BARE = "2026-11-18 13:59:10,123 WARNING ibcontroller.recognisers:"
_IB_BEGUN = (f"{_IB} credentials submitted, awaiting outcome",)
_IB_ASKED = (*_IB_BEGUN, f"{_IB} second factor authentication in progress")
_IBG_BEGUN = ("2026-11-18 13:59:10 [INFO] Login dialog detected",)
_IBG_ASKED = (*_IBG_BEGUN, "2026-11-18 13:59:12 [INFO] IB Key 2FA dialog detected: ('JDialog', 'Second Factor', True)")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What can be read of one start.

    Attributes:
        lines: The container's log.
        launcher: `launcher.log`, by seconds since the start; None where it cannot be read.
        age_s: How old the start is.
        exit_code: Of a container that has ended.
    """

    lines: tuple[str, ...] = ()
    launcher: tuple[tuple[float, str], ...] | None = None
    age_s: float = 10.0
    exit_code: int | None = None

    def launcher_lines(self) -> list[str] | None:
        if self.launcher is None:
            return None
        return [f"{STARTED + timedelta(seconds=at):%Y-%m-%d %H:%M:%S}.000 INFO  [JTS-Main] - {text}"
                for at, text in self.launcher]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What must come of it, in every dialect.

    Attributes:
        word: Of the start that fails.
        told: What the start alerts about, beside its own end.
        restarts: How often a start restarts the gateway, and how often a supervisor does.
        is_stopped: Whether the start stops it.
        incident: What a supervisor alerts about.
    """

    word: FailureWord
    told: tuple[WaitEventKind, ...] = ()
    restarts: tuple[int, int] = (0, 0)
    is_stopped: bool = False
    incident: IncidentKind = IncidentKind.GATEWAY_LOST


_PHONE = Expected(
    word=FailureWord.GATEWAY_SECOND_FACTOR,
    told=(WaitEventKind.SECOND_FACTOR_NEEDED,),
    incident=IncidentKind.SECOND_FACTOR,
)
_REFUSED = Expected(word=FailureWord.GATEWAY_LOGIN_FAILED, is_stopped=True, incident=IncidentKind.LOGIN_REJECTED)
_TAKEN = Expected(
    word=FailureWord.GATEWAY_TIMEOUT, told=(WaitEventKind.SESSION_TAKEN,), incident=IncidentKind.SESSION_TAKEN
)

FAULTS: Mapping[str, tuple[Expected, Mapping[str, Said]]] = {
    "second factor pending": (
        _PHONE,
        {
            "launcher.log": Said(launcher=_CHALLENGED),
            "launcher.log beside an unknown controller": Said(launcher=_CHALLENGED, lines=("waiting", "…")),
            "launcher.log of the live gateway beside a paper login": Said(
                launcher=_CHALLENGED, lines=(*_IBC_BEGUN, "IBC: Login has completed")
            ),
            "IBC": Said(lines=_IBC_ASKED),
            "IBC, the dialog alone, as where a code is asked for": Said(
                lines=(
                    *_IBC_BEGUN,
                    "IBC: detected dialog entitled: Second Factor Authentication; event=Opened",
                    "IBC: detected frame entitled: Authenticating...; event=Lost focus",
                    "IBC: detected dialog entitled: Second Factor Authentication; event=Focused",
                )
            ),
            "IBC, in the login's own window": Said(
                lines=(*_IBC_BEGUN, "IBC: Login frame has now become SecondFactorAuthenticationDialog")
            ),
            "IBC 3.8": Said(lines=(*_IBC_BEGUN, "IBC: Second Factor Authentication dialog opened")),
            "IBC, a code card": Said(
                lines=(
                    *_IBC_BEGUN,
                    "IBC: detected dialog entitled: Security Code Card Authentication; event=Opened",
                )
            ),
            "ibcontroller": Said(lines=_IB_ASKED),
            "ibg-controller": Said(lines=_IBG_ASKED),
            "ibg-controller, only a person can go on": Said(
                lines=(
                    *_IBG_BEGUN,
                    'ALERT_2FA_FAILED mode=live reason="2FA method mismatch" expected=\'Mobile Authenticator app\'',
                    'ALERT_2FA_MANUAL_WINDOW mode=live timeout_seconds=300 remediation="finish the login over VNC"',
                )
            ),
            "ibg-controller, halted until a person has acted": Said(
                lines=(
                    *_IBG_BEGUN,
                    'ALERT_2FA_FAILED mode=live reason="JLIST_SELECT on 2FA device selector failed"',
                    'ALERT_HALTED mode=live state=HALTED reason="2FA needs a change only an operator can make"',
                ),
                age_s=900,
            ),
        },
    ),
    "second factor unanswered, the controller tries again": (
        _PHONE,
        {
            "launcher.log": Said(launcher=(*_CHALLENGED, _ENDED), age_s=200),
            "launcher.log, second attempt": Said(launcher=(*_CHALLENGED, _ENDED, (190, _ROUND)), age_s=300),
            "IBC": Said(lines=(*_IBC_ASKED, *_IBC_AGAIN)),
            "IBC, asked again": Said(
                lines=(*_IBC_ASKED, *_IBC_AGAIN, "IBC: Second Factor Authentication initiated"), age_s=400
            ),
            "ibcontroller": Said(
                lines=(*_IB_ASKED, f"{_IB} re-login after second factor authentication timeout in 20s", *_IB_BEGUN)
            ),
            "ibcontroller starts the gateway again": Said(
                lines=(*_IB_ASKED, f"{_IB} mfa_timeout_action=restart -- relaunching the gateway", *_IB_BEGUN)
            ),
            "ibg-controller": Said(lines=(*_IBG_ASKED, "2FA wait t+170s: still waiting", *_IBG_BEGUN)),
            "exit code 75": Said(exit_code=75),
            "exit code 87": Said(exit_code=87),
        },
    ),
    "too many attempts while second factors went unanswered": (
        _PHONE,
        {
            "launcher.log": Said(launcher=(*_CHALLENGED, _ENDED, (190, _ROUND), (195, _PAUSE)), age_s=200),
            "launcher.log tells what the controller does not": Said(
                launcher=(*_CHALLENGED, _ENDED, (190, _ROUND)), lines=(*_IBC_BEGUN, f"IBC: {_PAUSE}"), age_s=200
            ),
            "IBC": Said(lines=(*_IBC_ASKED, "IBC: Login attempt: 2", "IBC: Too many failed login attempts.")),
            "ibcontroller": Said(
                lines=(*_IB_ASKED, f"{_IB_BARE} too many failed login attempts -- retrying in 9999s")
            ),
            "ibg-controller": Said(lines=(*_IBG_ASKED, *_IBG_BEGUN, "CCP LOCKOUT DETECTED")),
        },
    ),
    "several devices, none chosen": (
        _PHONE,
        {
            "IBC": Said(lines=(*_IBC_BEGUN, "IBC: You should specify the required second factor device using the …")),
            "IBC, the chosen one is not there": Said(
                lines=(*_IBC_BEGUN, "IBC: Could not find second factor device 'IB Key' in the list")
            ),
            "launcher.log waits for it": Said(
                launcher=(*_BEGUN, (4, _ROUND)),
                lines=(*_IBC_BEGUN, "IBC: You should specify the required second factor device using the …"),
            ),
        },
    ),
    "wrong password": (
        _REFUSED,
        {
            "launcher.log": Said(launcher=(*_BEGUN, (4, _ROUND), (5, "AUTH_RESULT indicates wrong password"))),
            "launcher.log, its dialog": Said(
                launcher=(*_BEGUN, (4, _ROUND), (5, "Authorization failed: Invalid username or password. "))
            ),
            "launcher.log after an automatic restart": Said(
                launcher=(*_AUTO, (4, "AUTH_RESULT indicates wrong password"))
            ),
            "IBC": Said(lines=(*_IBC_BEGUN, "Authorization failed: Invalid username or password")),
            "IBC, two bare failures": Said(
                lines=(*_IBC_BEGUN, "IBC: Login failed", "IBC: Login attempt: 2", "IBC: Login failed")
            ),
            "IBC, an endless loop": Said(
                lines=(
                    *_IBC_BEGUN,
                    "IBC: Login error message: try again",
                    "IBC: Login attempt: 2",
                    "IBC: Login error message: try again",
                )
            ),
            "IBC, locked out": Said(lines=(*_IBC_BEGUN, f"IBC: {_PAUSE}")),
            "ibcontroller": Said(
                lines=(*_IB_BEGUN, f"{_IB} unrecognized username or password -- login rejected")
            ),
            "ibcontroller, two bare failures": Said(
                lines=(
                    *_IB_BEGUN,
                    f"{_IB} login failed -- transient, relaunching",
                    *_IB_BEGUN,
                    f"{_IB} login failed -- transient, relaunching",
                )
            ),
            "ibcontroller, locked out": Said(
                lines=(*_IB_BEGUN, f"{_IB_BARE} too many failed login attempts -- relogin disabled, stopping")
            ),
            "ibg-controller, expired": Said(lines=(*_IBG_BEGUN, "ALERT_PASSWORD_EXPIRED status=expired mode=live")),
            "ibg-controller, refused": Said(
                lines=(*_IBG_BEGUN, 'ALERT_LOGIN_FAILED mode=live reason="bad-credentials" suggested_action="verify"')
            ),
            "ibg-controller, two failures": Said(
                lines=(
                    *_IBG_BEGUN,
                    'ALERT_LOGIN_FAILED mode=live reason="post-auth-no-progress" suggested_action="…"',
                    *_IBG_BEGUN,
                    'ALERT_LOGIN_FAILED mode=live reason="post-auth-no-progress" suggested_action="…"',
                )
            ),
            "IBC, two cold restarts": Said(
                lines=(
                    *_IBC_BEGUN, "IBC: Login failed", "IBC: Cold restart in progress", "IBC will cold-restart shortly",
                    *_IBC_BEGUN, "IBC: Login failed", "IBC: Cold restart in progress",
                )
            ),
            "IBC, two texts after the saved session was refused": Said(
                lines=(
                    "autorestart file found at /Jts/a/autorestart: authentication will not be required",
                    "IBC: Autorestart file contains invalid credentials: performing full login",
                    *_IBC_BEGUN,
                    "IBC: Unrecognized Username or Password",
                    "IBC: Cold restart in progress",
                    *_IBC_BEGUN,
                    "IBC: Unrecognized Username or Password",
                )
            ),
            "exit code 77": Said(exit_code=77),
        },
    ),
    "two texts about the password after an automatic restart": (
        _REFUSED,
        {
            "IBC": Said(
                lines=(
                    "autorestart file found at /Jts/a/autorestart: authentication will not be required",
                    "IBC: Unrecognized Username or Password",
                    *_IBC_BEGUN,
                    "IBC: Unrecognized Username or Password",
                )
            ),
            "ibcontroller": Said(
                lines=(
                    f"{_IB} restart_expected flag -- skipping credential fill",
                    f"{_IB} unrecognized username or password -- login rejected",
                    *_IB_BEGUN,
                    f"{_IB} unrecognized username or password -- login rejected",
                )
            ),
        },
    ),
    "one text about the password after an automatic restart": (
        Expected(word=FailureWord.GATEWAY_TIMEOUT, restarts=(1, 1)),
        {
            "launcher.log": Said(
                launcher=_AUTO, lines=(f"{_IB} unrecognized username or password -- login rejected",)
            ),
            "IBC": Said(
                lines=(
                    "autorestart file found at /Jts/a/autorestart: authentication will not be required",
                    "IBC: detected dialog entitled: Unrecognized Username or Password; event=Opened",
                    "IBC: detected dialog entitled: Unrecognized Username or Password; event=Activated",
                )
            ),
            "IBC says itself that it restarts": Said(
                lines=(
                    "IBC: Re-starting session",
                    "IBC: detected dialog entitled: Unrecognized Username or Password; event=Opened",
                )
            ),
            "ibcontroller": Said(
                lines=(
                    f"{_IB} restart_expected flag -- skipping credential fill",
                    f"{_IB} unrecognized username or password -- login rejected",
                )
            ),
        },
    ),
    "a version that the broker no longer accepts": (
        _REFUSED,
        {
            "launcher.log": Said(launcher=(*_BEGUN, (4, "Authorization failed: This version must be upgraded."))),
            "IBC": Said(lines=(*_IBC_BEGUN, "IBC: Login error message: The TWS is out of date and must be upgraded")),
            "IBC's script": Said(lines=("IBC returned exit status 76",)),
            "ibcontroller": Said(lines=(*_IB_BEGUN, f"{_IB} login error: This version must be upgraded")),
            "exit code 76": Said(exit_code=76),
        },
    ),
    "refused for another reason": (
        _REFUSED,
        {
            "IBC": Said(
                lines=(
                    *_IBC_BEGUN,
                    "Connection to server failed: this user has multiple Paper Trading users associated with it",
                )
            ),
            "ibcontroller": Said(
                lines=(*_IB_BEGUN, f"{_IB} Connection failed: user has multiple Paper Trading users associated with it")
            ),
            "launcher.log": Said(
                launcher=(
                    *_BEGUN,
                    (4, "Authorization failed: Account closed. MessageType: null."),
                    (9, _ROUND),
                    (10, "Authorization failed: Account closed. MessageType: null."),
                )
            ),
        },
    ),
    "another session holds the login": (
        _TAKEN,
        {
            "IBC, the user must choose": Said(
                lines=(*_IBC_BEGUN, "IBC: User must choose whether to continue with this session")
            ),
            "IBC, the other one goes on": Said(
                lines=(*_IBC_BEGUN, "IBC: End this session and let the other session proceed")
            ),
            "ibcontroller": Said(
                lines=(*_IB_BEGUN, f"{_IB} existing session detected -- manual, leaving for the user")
            ),
            "ibcontroller ends itself": Said(
                lines=(*_IB_BEGUN, f"{_IB} existing session detected -- secondary, ending this session")
            ),
            "ibg-controller": Said(lines=(*_IBG_BEGUN, "existing-session dialog: action=manual")),
            "ibg-controller has given up": Said(
                lines=(*_IBG_BEGUN, 'ALERT_JVM_RESTART_EXHAUSTED mode=live attempts=5 reason="5 relogins exhausted"')
            ),
            "IBC, the other one is primary": Said(
                lines=(*_IBC_BEGUN, "IBC: Other session must be a primary: let the other session proceed")
            ),
            "ibg-controller, a stranded session": Said(
                lines=(*_IBG_BEGUN, 'ALERT_CCP_PERSISTENT_HALT mode=live suggested_action="…"')
            ),
            "launcher.log says nothing of it": Said(
                launcher=(*_BEGUN, (4, _ROUND)),
                lines=(*_IB_BEGUN, f"{_IB} existing session detected -- manual, leaving for the user"),
            ),
        },
    ),
    "the controller pauses": (
        Expected(word=FailureWord.GATEWAY_TIMEOUT, is_stopped=True),
        {
            "ibg-controller": Said(lines=(*_IBG_BEGUN, "CCP backoff: waiting 600s before next auth attempt")),
            "ibg-controller, the broker's maintenance": Said(
                lines=(*_IBG_BEGUN, 'ALERT_IBKR_MAINTENANCE_RECOVERY delay_seconds=600 mode=live reason="code 0"')
            ),
            "ibg-controller, another container fights for the session": Said(
                lines=(
                    *_IBG_BEGUN,
                    ("existing-session: handled this dialog 3 times in 300s — another container or app is probably "
                    "reconnecting as the same account. Backing off for 600s."),
                )
            ),
            "ibg-controller, though the gateway waits": Said(
                launcher=(*_CHALLENGED, _ENDED),
                age_s=400,
                lines=(*_IBG_BEGUN, "CCP backoff: waiting 600s before next auth attempt"),
            ),
        },
    ),
    "no attempt follows a challenge": (
        Expected(
            word=FailureWord.GATEWAY_TIMEOUT, told=(WaitEventKind.LOGIN_IDLE,), restarts=(1, 1)
        ),
        {
            "launcher.log": Said(launcher=(*_CHALLENGED, _ENDED), age_s=300),
            "launcher.log, a pause": Said(launcher=(*_CHALLENGED, _ENDED, (190, _PAUSE)), age_s=400),
        },
    ),
    "no attempt follows a challenge, as its controller tells": (
        Expected(
            word=FailureWord.GATEWAY_TIMEOUT,
            told=(WaitEventKind.SECOND_FACTOR_NEEDED, WaitEventKind.LOGIN_IDLE),
            restarts=(1, 1),
        ),
        {
            "IBC": Said(lines=(*_IBC_ASKED, "IBC: Login attempt: 2", f"IBC: {_PAUSE}")),
            "IBC's script": Said(lines=(*_IBC_ASKED, "IBC returned exit status 87")),
            "ibcontroller": Said(
                lines=(*_IB_ASKED, f"{_IB} re-login after second factor authentication timeout not required")
            ),
            "ibg-controller": Said(lines=(*_IBG_ASKED, "IB Key approval wait timed out")),
        },
    ),
    "nothing can be read": (
        Expected(word=FailureWord.GATEWAY_TIMEOUT, restarts=(1, 1)),
        {
            "no log at all": Said(),
            "an unknown controller": Said(lines=("hello", "world")),
            "an unknown gateway": Said(launcher=((3, "unseen words"),)),
            "yesterday's launcher.log": Said(launcher=((-9000, "Received CHALLENGE"),)),
        },
    ),
}  # fmt: skip
# What each text by itself comes to that tells of a trouble, whichever controller writes it. A pause is over after its
# own time, and what the broker says beside the password must be said twice, so both stand above only.
_BY_EVENT = {
    Event.CHALLENGE: _PHONE,
    Event.DEVICE_NEEDED: _PHONE,
    Event.REFUSED_CREDENTIALS: _REFUSED,
    Event.REJECTED: _REFUSED,
    Event.OUTDATED: _REFUSED,
    Event.SESSION_TAKEN: _TAKEN,
}
_BEGUN_BY = {Source.IBC: _IBC_BEGUN, Source.IBCONTROLLER: _IB_BEGUN, Source.IBG_CONTROLLER: _IBG_BEGUN}


def say(pattern: Pattern) -> Said:
    """A start on which an attempt has begun, and then this text."""
    if pattern.source is Source.LAUNCHER_LOG:
        return Said(launcher=(*_BEGUN, (4, _ROUND), (5, pattern.example)))
    return Said(lines=(*_BEGUN_BY[pattern.source], pattern.example))


# Which dialect has no text of its own for a trouble, and why.
_SAYS_NOTHING = "no text of its own is known"
_ONLY_REFUSAL = "the gateway itself says one thing only about a refused password, which is above"
UNSAID: Mapping[tuple[str, Source], str] = {
    ("several devices, none chosen", Source.IBCONTROLLER): _SAYS_NOTHING,
    (
        "several devices, none chosen",
        Source.IBG_CONTROLLER,
    ): "told as `second factor pending`",
    ("two texts about the password after an automatic restart", Source.LAUNCHER_LOG): _ONLY_REFUSAL,
    ("two texts about the password after an automatic restart", Source.IBG_CONTROLLER): _SAYS_NOTHING,
    ("one text about the password after an automatic restart", Source.IBG_CONTROLLER): _SAYS_NOTHING,
    ("a version that the broker no longer accepts", Source.IBG_CONTROLLER): _SAYS_NOTHING,
    ("refused for another reason", Source.IBG_CONTROLLER): _SAYS_NOTHING,
    ("the controller pauses", Source.LAUNCHER_LOG): "it is the controller that pauses",
    ("the controller pauses", Source.IBC): "it pauses only when the broker has counted too many attempts",
    ("the controller pauses", Source.IBCONTROLLER): "it pauses only when the broker has counted too many attempts",
    ("no attempt follows a challenge", Source.IBC): "as its controller tells, below",
    ("no attempt follows a challenge", Source.IBCONTROLLER): "as its controller tells, below",
    ("no attempt follows a challenge", Source.IBG_CONTROLLER): "as its controller tells, below",
    ("no attempt follows a challenge, as its controller tells", Source.LAUNCHER_LOG): "above",
}


def find_dialects(said: Mapping[str, Said]) -> set[Source]:
    """The dialects in which a trouble is told, by the names of its rows."""
    return {source for source in Source for name in said if name.startswith(source.value)}


CASES = [
    *(
        pytest.param(said, expected, id=f"{fault}: {dialect}")
        for fault, (expected, dialects) in FAULTS.items()
        for dialect, said in dialects.items()
    ),
    *(
        pytest.param(say(pattern), _BY_EVENT[pattern.event], id=f"{pattern.event}: {pattern.source}: {number}")
        for number, pattern in enumerate(PATTERNS)
        if pattern.event in _BY_EVENT
    ),
]
_TOLD = frozenset(
    {WaitEventKind.SECOND_FACTOR_NEEDED, WaitEventKind.SESSION_TAKEN, WaitEventKind.LOGIN_IDLE}
)  # what a start alerts about; the rest is shown only


@dataclass
class Start:
    """A start in simulated time, of a gateway of which this can be read."""

    said: Said
    told: list[WaitEventKind] = field(default_factory=list)

    def run(self) -> tuple[StartupFailure, FakeRuntime]:
        clock = FakeClock(STARTED + timedelta(seconds=self.said.age_s))
        runtime = FakeRuntime(log=list(self.said.lines), launcher_lines=self.said.launcher_lines())
        if self.said.exit_code is not None:
            runtime.status = replace(RUNNING, state=ContainerState.EXITED, exit_code=self.said.exit_code)
        # What was written stays as it is: so does the time at which it is read.
        runtime.launcher_clock = lambda: STARTED + timedelta(seconds=self.said.age_s)

        def forget() -> None:
            runtime.launcher_lines = None

        runtime.after_restart = forget
        with pytest.raises(StartupFailure) as failed:
            wait_until_ready(
                runtime,
                Settings.from_environ({}),
                clock=clock,
                probe=FakeProbe(answers=[api(ApiState.CLOSED)]),
                on_event=lambda event: self.told.append(event.kind),
                on_progress=lambda *_: None,
            )
        return failed.value, runtime


@pytest.mark.parametrize(("said", "expected"), CASES)
def test_a_start_says_and_does_the_same_with_every_controller(said: Said, expected: Expected) -> None:
    start = Start(said)
    failure, runtime = start.run()
    assert failure.word is expected.word
    assert failure.next_action
    assert tuple(kind for kind in start.told if kind in _TOLD) == expected.told
    assert runtime.restarts == expected.restarts[0]
    assert bool(runtime.stops) is expected.is_stopped
    is_refused = expected.word is FailureWord.GATEWAY_LOGIN_FAILED
    assert runtime.stop_reasons == ([StopReason.LOGIN_REJECTED if is_refused else StopReason.FAILING]
                                    if expected.is_stopped else [])  # fmt: skip


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "nothing can be read"])
def test_each_trouble_is_told_in_each_dialect_or_it_is_said_why_not(fault: str) -> None:
    said, unsaid = find_dialects(FAULTS[fault][1]), {source for one, source in UNSAID if one == fault}
    assert said | unsaid == set(Source)
    assert not said & unsaid


def test_a_look_without_a_wait_says_the_same() -> None:
    said = FAULTS["second factor pending"][1]["launcher.log"]
    runtime = FakeRuntime(launcher_lines=said.launcher_lines(), launcher_clock=lambda: STARTED + timedelta(seconds=10))
    with pytest.raises(StartupFailure) as failed:
        check_ready_now(
            runtime, Settings.from_environ({}), clock=FakeClock(), probe=FakeProbe(answers=[api(ApiState.CLOSED)])
        )
    assert failed.value.word is FailureWord.GATEWAY_SECOND_FACTOR


@pytest.mark.parametrize(("said", "expected"), CASES)
def test_a_supervisor_says_and_does_the_same_with_every_controller(said: Said, expected: Expected) -> None:
    launcher = read_launcher_log(
        said.launcher_lines() or (), now=STARTED + timedelta(seconds=said.age_s), since=STARTED
    )
    login = combine_logins(launcher, read_login(said.lines), exit_code=said.exit_code)
    status = RUNNING
    if said.exit_code is not None:
        status = replace(RUNNING, state=ContainerState.EXITED, exit_code=said.exit_code)
    watch = Watch()
    end_s = watch.at_s + (40 if said.exit_code is not None else 600)  # one that stays dead is not waited for
    while watch.at_s < end_s:
        decision = watch.look(gateway=status, api=ApiStatus(state=ApiState.CLOSED), login=login)
        watch.at_s += decision.next_look_s
        if Action.RESTART_GATEWAY in decision.actions:  # the next start has said nothing yet
            status = replace(RUNNING, started_at=STARTED + timedelta(minutes=9))
            login = NOTHING_READ
    assert expected.incident in watch.kinds()
    actions = watch.actions()
    assert actions.count(Action.RESTART_GATEWAY) == expected.restarts[1]
    is_refused = expected.word is FailureWord.GATEWAY_LOGIN_FAILED
    assert (Action.STOP_GATEWAY in actions) is is_refused


def test_a_second_factor_confirmed_under_a_stale_health_check_is_seen_in_time() -> None:
    clock = FakeClock(STARTED + timedelta(seconds=10))
    runtime = FakeRuntime(status=UNHEALTHY, launcher_lines=Said(launcher=_CHALLENGED).launcher_lines())
    runtime.launcher_clock = lambda: STARTED + timedelta(seconds=10)
    probe = FakeProbe(is_open=lambda: runtime.status == HEALTHY)
    lines = runtime.launcher_lines or []
    done = (100, "### onAuthenticationCompleted tokenProtocol=5; authenticated=true")
    clock.plan(200.5, lambda: lines.extend(Said(launcher=(done,)).launcher_lines() or ()))
    clock.plan(215, lambda: runtime.become(HEALTHY))
    told: list[WaitEventKind] = []
    ready = wait_until_ready(
        runtime,
        Settings.from_environ({}),
        clock=clock,
        probe=probe,
        on_event=lambda event: told.append(event.kind),
        on_progress=lambda *_: None,
    )
    assert (runtime.restarts, ready.restarted) == (0, False)
    assert told == [WaitEventKind.SECOND_FACTOR_NEEDED, WaitEventKind.SECOND_FACTOR_GRANTED, WaitEventKind.LOGIN_SEEN]


def test_the_exit_code_says_how_an_attempt_ended_that_was_under_way() -> None:
    begun = read_launcher_log(Said(launcher=(*_BEGUN, (4, _ROUND))).launcher_lines() or (), now=STARTED)
    assert combine_logins(begun, NOTHING_READ, exit_code=77).is_rejected
    assert combine_logins(begun, NOTHING_READ, exit_code=75).awaits_second_factor
    assert combine_logins(begun, NOTHING_READ, exit_code=69).phase is LoginPhase.LOGGING_IN
    # One word about the password right after an automatic restart is known to be spurious.
    auto = read_launcher_log(Said(launcher=_AUTO).launcher_lines() or (), now=STARTED)
    assert not combine_logins(auto, NOTHING_READ, exit_code=77).is_rejected
    challenged = read_launcher_log(Said(launcher=_CHALLENGED).launcher_lines() or (), now=STARTED)
    assert combine_logins(challenged, NOTHING_READ, exit_code=77).phase is LoginPhase.SECOND_FACTOR


def test_a_log_that_cannot_be_read_is_not_asked_for_again_and_again() -> None:
    runtime = FakeRuntime()
    with pytest.raises(StartupFailure):
        wait_until_ready(
            runtime,
            Settings.from_environ({}),
            clock=FakeClock(),
            probe=FakeProbe(answers=[api(ApiState.CLOSED)]),
            on_event=lambda _: None,
            on_progress=lambda *_: None,
        )
    assert runtime.launcher_reads <= 2 * (1 + 120 // 30)


@pytest.mark.parametrize("state", [ContainerState.EXITED, ContainerState.RESTARTING])
def test_a_session_that_was_left_to_another_one_is_not_taken_back_when_its_controller_ends(
    state: ContainerState,
) -> None:
    said = FAULTS["another session holds the login"][1]["ibcontroller ends itself"]
    status = replace(RUNNING, state=state, exit_code=0)
    watch = Watch().go_on(
        600, gateway=status, api=NOT_TRIED, login=combine_logins(LauncherReading(), read_login(said.lines))
    )
    assert watch.actions() == []
    assert IncidentKind.SESSION_TAKEN in watch.kinds()
