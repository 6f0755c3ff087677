"""Every channel that Apprise knows: Telegram, ntfy, e-mail, Slack, Pushover, a plain JSON webhook and many more.

Apprise takes 0.6 s and 44 MB to import, so it is imported in the sending thread, when an alert is sent, and nowhere
else. It says only whether a message was sent. So this module looks at the requests that it makes (`posting`) and, for
services that do not speak HTTP, at what it logs: a channel that is dead, asks for quiet or did not answer is to be told
from one that refused the message.
"""

import contextlib
import dataclasses
import difflib
import errno
import logging
import re
import threading
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestration.alerts.alert import OUTCOME_LEVEL, Alert, Severity, parse_level
from orchestration.alerts.channel import AnswerKind, SendResult, channel_key, read_answer
from orchestration.alerts.discord import clean
from orchestration.alerts.posting import Recorded, Try, record_requests
from orchestration.settings import Secret, split_addresses
from orchestration.settings.hosts import is_loopback
from orchestration.system.clock import describe_instant

# The kinds of addresses that Apprise knows, so that a mistyped one is found without importing it. A test compares them
# with the installed Apprise: `sorted(NotificationManager().schemas())`.
# fmt: off
KINDS = frozenset((
    "46elks", "acs", "amqp", "amqps", "apprise", "apprises", "aprs", "atalk", "awswhatsapp", "azure", "bale",
    "bark", "barks", "betterstack", "blink1", "bluesky", "brevo", "bsky", "bulksms", "bulkvs", "burstsms",
    "chanify", "clickatell", "clicksend", "cliq", "cm", "d7sms", "dapnet", "dbus", "deltachat", "deltachats",
    "dingtalk", "discord", "dot", "eight00com", "elks", "emby", "embys", "enigma2", "enigma2s", "evolution",
    "evolutions", "exotel", "fcm", "feishu", "firehydrant", "flock", "flowtriq", "flowtriqs", "fluxer", "fluxers",
    "form", "forms", "freemobile", "gchat", "gio", "github", "glib", "gnome", "goalert", "goalerts", "gorush",
    "gorushs", "gotify", "gotifys", "groundmail", "groupme", "growl", "guilded", "gupshup", "hassio", "hassios",
    "httpsms", "humhub", "humhubs", "ifttt", "ilert", "incidentio", "infobip", "instagram", "irc", "ircs",
    "jellyfin", "jellyfins", "jira", "join", "json", "jsons", "kakao", "kakaotalk", "kaleyra", "kavenegar", "kde",
    "klr", "kodi", "kodis", "kook", "kudosity", "kumulos", "lametric", "lametrics", "lark", "lauther", "lfg",
    "line", "macosx", "mailersend", "mailgun", "mailto", "mailtos", "mastodon", "mastodons", "matrix", "matrixs",
    "misskey", "misskeys", "mmost", "mmosts", "mobilemessage", "mobilemsg", "mqtt", "mqtts", "msg91", "msgbird",
    "ncloud", "nclouds", "nctalk", "nctalks", "nexmo", "nostr", "notica", "noticas", "notifiarr", "notifico",
    "notificos", "notifyapp", "notifyre", "ntfy", "ntfys", "o365", "octopush", "onebot", "onebots", "onesignal",
    "opsgenie", "opsimate", "opsimates", "pagerduty", "pagertree", "parsep", "parseps", "pbul", "pinglet",
    "pinglets", "pingram", "pjet", "pjets", "plivo", "postmark", "pover", "prowl", "psafer", "psafers", "push",
    "pushdeer", "pushdeers", "pushed", "pushme", "pushplus", "pushward", "pushy", "qq", "qt", "reddit", "resend",
    "revolt", "ringc", "rocket", "rockets", "rsyslog", "ryver", "schan", "sendgrid", "sendpulse", "serwersms",
    "ses", "session", "sessions", "seven", "sfr", "signal", "signalgrid", "signals", "signl4", "simplepush",
    "sinch", "slack", "smpp", "smpps", "smsc", "smseagle", "smseagles", "smsmanager", "smsmgr", "smstunnel",
    "smtp2go", "sns", "sogs", "sparkpost", "spike", "splunk", "spugpush", "spush", "squadcast", "stackfield",
    "strmlabs", "synology", "synologys", "syslog", "telesign", "telnyx", "tgram", "threema", "toot", "toots",
    "trigv", "trigvs", "tweet", "twilio", "twist", "twitter", "vapid", "viber", "victorops", "voipms", "vonage",
    "webex", "wechat", "wecom", "wecombot", "whapi", "whatsapp", "windows", "workflow", "workflows", "wpush",
    "wxpusher", "wxteams", "x", "xbmc", "xbmcs", "xmatters", "xml", "xmls", "xmpp", "xmpps", "youlmk", "zalo",
    "zcliq", "zohocliq", "zoom", "zulip",
))
# fmt: on

_SETTING = "ALERT_URLS"
_SHOWN_KEY = 12  # characters of the address's hash in the channel's id
_LEVELS = (*Severity, OUTCOME_LEVEL)
_BODY_LENGTH = 3500  # Apprise cuts it further to what the service takes
_PLAIN = {"json": "jsons", "xml": "xmls", "form": "forms"}
_LEVEL_IS_THEIRS = frozenset(
    {
        "bark",
        "barks",
        "betterstack",
        "firehydrant",
        "pinglet",
        "pinglets",
        "pjet",
        "pjets",
        "pushward",
        "trigv",
        "trigvs",
    }
)
_PINGS = re.compile(r"@(?=everyone\b|here\b|channel\b|all\b)|<(?=[@!#])", re.IGNORECASE)
_SMTP_CODE = re.compile(r"\(([245]\d\d), ")
# A connection that was refused, or a name that no address was found for (gaierror has negative numbers): of a service
# that does not speak HTTP, this is all that says that certainly nothing arrived.
_NO_CONNECTION = re.compile(rf"\[Errno (?:{errno.ECONNREFUSED}|-\d+)\]")
_SMTP_DENIED = frozenset({530, 534, 535})  # it wants other credentials
_OK = 2


@dataclass(frozen=True, kw_only=True)
class AppriseChannel:
    """One address of `ALERT_URLS`.

    Attributes:
        address: The address, a `level` of ours taken out.
        written: The address as it is written.
        number: Its place in the list, from 1.
        least: The mildest alerts that it is sent.
        skips_progress: Whether it is not sent what only says that a start is on its way.
        level_problem: What is wrong with its `level`, or None.
    """

    address: Secret
    written: Secret
    number: int
    least: Severity
    skips_progress: bool = False
    level_problem: str | None = None
    setting: str = _SETTING
    hint: str = ""

    @property
    def kind(self) -> str:
        """Its scheme, or an empty text."""
        return _read_scheme(self.address.reveal())

    @property
    def id(self) -> str:
        """What its delivery records are kept under."""
        return f"apprise-{self.key[:_SHOWN_KEY]}"

    @property
    def name(self) -> str:
        """What it is called in front of people."""
        kind = self.kind if self.kind in KINDS else "unknown kind"
        return f"{kind} ({_SETTING} no. {self.number})"

    @property
    def key(self) -> str:
        """A hash of the address."""
        return channel_key(self.address)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The address."""
        return (self.written.reveal(), self.address.reveal())

    @property
    def likely_fault(self) -> str:
        """What is most likely wrong where nothing will ever be taken."""
        return "its address is wrong or no longer valid"

    @property
    def advice(self) -> str:
        """What to do where it is dead."""
        return f"correct address no. {self.number} of {_SETTING}, then run `inv alert.test`"

    @property
    def problem(self) -> str | None:
        """What is wrong with the address, as far as it can be seen without Apprise."""
        found = self.level_problem or _address_problem(self.address.reveal())
        return None if found is None else f"address no. {self.number} of {_SETTING} {found}"

    def prepare(self) -> None:
        """Import Apprise and its services: seconds on a busy machine. Where that fails, `post` says so."""
        with _record_log(), contextlib.suppress(Exception):  # other people's code, as in `post`
            import apprise

            apprise.Apprise.instantiate("json://localhost")  # the first address loads all services

    def post(self, alert: Alert, one_try: Try, *, may_be_repeat: bool) -> SendResult:
        """Send one alert.

        Raises:
            NotSentError: There was no answer.
        """
        title, body = build_message(alert, may_be_repeat=may_be_repeat)
        with _record_log() as said, record_requests(one_try) as recorded:
            try:
                plugin = _load_plugin(self.address.reveal(), one_try)
                if plugin is None:
                    return SendResult(verdict=AnswerKind.DEAD, said="is no address that Apprise accepts")
                if _sends_plain_mail(plugin):
                    return SendResult(verdict=AnswerKind.DEAD, said="would send e-mail without TLS (use mailtos://)")
                problem = None if _notify(plugin, title, body, alert.severity) else "did not take it"
            except ImportError:
                return SendResult(verdict=AnswerKind.DEAD, said="needs the package `apprise`, which is not installed")
            # The code of some 150 services by other people: whatever it raises must not end the sending of alerts, and
            # its text may hold the address.
            except Exception as error:  # noqa: BLE001 - see above
                problem = f"made Apprise fail ({type(error).__name__})"
        return _judge(recorded, said, problem)


def build_apprise_channels(addresses: Secret | None, level: str) -> Iterable[AppriseChannel]:
    """The channels of `ALERT_URLS`, each address once.

    Args:
        addresses: The variable's value.
        level: Of those without a `level=` of their own: a severity, or `outcome`.
    """
    seen: set[str] = set()
    for number, written in enumerate(split_addresses(addresses.reveal() if addresses is not None else ""), start=1):
        address, word, problem = _take_level(written, level)
        least, skips_progress = parse_level(word)
        if address not in seen:
            seen.add(address)
            yield AppriseChannel(
                address=Secret(address),
                written=Secret(written),
                number=number,
                least=least,
                skips_progress=skips_progress,
                level_problem=problem,
            )


def build_message(alert: Alert, *, may_be_repeat: bool) -> tuple[str, str]:
    """An alert as title and plain text. Nothing that is quoted in it pings a user.

    Args:
        alert: What to say. Redacted already.
        may_be_repeat: Whether an earlier try may have arrived after all; the message then says so.
    """
    marks = "[SIMULATED] " if alert.simulated else ""
    title = f"{marks}{alert.severity.upper()}: {clean(alert.title) or 'alert'}"
    facts = {
        "Host": alert.host,
        "Instance": alert.instance,
        "Run": alert.run_id,
        "Step": alert.step,
        "Cause": alert.cause,
        "At": describe_instant(alert.at),
    }
    parts = [clean(alert.message) or "(no details)"]
    parts += [f"What to do next: {action}" for action in (clean(alert.next_action),) if action]
    parts.append("\n".join(f"{name}: {clean(value)}" for name, value in facts.items() if clean(value)))
    if may_be_repeat:
        parts.append("May be a repeat: the answer to an earlier try was lost.")
    room = _BODY_LENGTH - sum(len(part) + 2 for part in parts)
    evidence = "\n".join(clean(line) for line in alert.evidence)
    if evidence and room > len("Evidence:\n…"):
        parts.append("Evidence:\n" + (evidence if len(evidence) <= room - 10 else "…" + evidence[11 - room :]))
    return _defuse(title), _defuse("\n\n".join(parts))[:_BODY_LENGTH]


def _defuse(text: str) -> str:
    """The text with what several services take for a mention or a command broken by a character of no width."""
    return _PINGS.sub(lambda match: match.group() + "\u200b", text)


def _take_level(written: str, default: str) -> tuple[str, str, str | None]:
    """The address without our `level`, the level, and what is wrong with it."""
    beginning, mark, query = written.partition("?")
    level, problem, kept = default, None, []
    for pair in query.split("&") if mark else ():
        name, _, value = pair.partition("=")
        word = urllib.parse.unquote_plus(value).lower()
        if name.lower() == "level" and word in _LEVELS:
            level = word
        else:
            kept.append(pair)
            if name.lower() == "level" and _read_scheme(written) not in _LEVEL_IS_THEIRS:
                problem = f"has a level that is none: it must be {', '.join(_LEVELS)}"
    return beginning + ("?" + "&".join(kept) if kept else ""), level, problem


def _read_scheme(address: str) -> str:
    scheme, mark, _ = address.partition("://")
    return scheme.lower() if mark else ""


def _address_problem(address: str) -> str | None:
    if not address.isprintable():
        return "is malformed: it holds a control character"
    scheme = _read_scheme(address)
    if not scheme:
        return "is malformed: it must begin with a kind and ://, for example json://"
    if scheme not in KINDS:
        near = difflib.get_close_matches(scheme, KINDS, n=1)
        hint = f"; did you mean {near[0]}://?" if near else ""
        wanted = " (a plain webhook is json:// or jsons://)" if scheme in {"http", "https"} else ""
        return f"is of a kind that Apprise does not know{wanted}{hint}"
    try:
        parts = urllib.parse.urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return None  # the place of a host may hold a token: Apprise has its own rules for each kind
    if scheme in _PLAIN and not is_loopback(host, takes_shorthand=False):
        return f"must be {_PLAIN[scheme]}:// ({scheme}:// is for loopback only: everybody on the way could read it)"
    return None


def _load_plugin(address: str, one_try: Try) -> Any:  # noqa: ANN401 - Apprise's own classes; it has no common type for them
    import apprise
    from apprise.common import OverflowMode, PersistentStoreMode

    asset = apprise.AppriseAsset(
        app_id="zero-touch-startup",
        app_desc="Zero-touch start-up",
        storage_mode=PersistentStoreMode.MEMORY,
        http_redirects=False,
        async_mode=False,
    )
    plugin = apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
    if plugin is not None:
        plugin.socket_connect_timeout = one_try.connect_timeout_s
        plugin.socket_read_timeout = one_try.read_timeout_s
        plugin.redirects = False
        plugin.retry = 0
        # By default it sleeps 5.5 s before each further receiver, past our deadline. A 429 is honoured in any case.
        plugin.request_rate_per_sec = 0
        if "overflow=" not in address:
            plugin.overflow_mode = OverflowMode.TRUNCATE
    return plugin


def _sends_plain_mail(plugin: Any) -> bool:  # noqa: ANN401 - see `_load_plugin`
    """Whether it is an e-mail account that would be written to without TLS, beyond this machine (A3)."""
    mode = getattr(plugin, "secure_mode", None)
    return mode is not None and str(mode) == "insecure" and not is_loopback(str(plugin.smtp_host or ""))


def _notify(plugin: Any, title: str, body: str, severity: Severity) -> bool:  # noqa: ANN401 - see `_load_plugin`
    """Have it sent. Whether Apprise says that it was."""
    from apprise import NotifyFormat, NotifyType

    kinds = {Severity.INFO: NotifyType.INFO, Severity.WARNING: NotifyType.WARNING}
    kind = kinds.get(severity, NotifyType.FAILURE)
    return bool(plugin.notify(title=title, body=body, notify_type=kind, body_format=NotifyFormat.TEXT))


def _judge(recorded: Recorded, said: list[str], problem: str | None) -> SendResult:
    """What Apprise's answer means, from what was seen on the way.

    Raises:
        NotSentError: There was no answer.
    """
    if problem is None:
        return SendResult(verdict=AnswerKind.DELIVERED)
    if recorded.forbidden is not None:
        return SendResult(verdict=AnswerKind.DEAD, said=recorded.forbidden)
    was_taken_in_part = any(reply.status // 100 == _OK for reply in recorded.replies)
    if recorded.error is not None:
        recorded.error.is_unsure |= was_taken_in_part
        raise recorded.error
    refusals = [reply for reply in recorded.replies if reply.status // 100 != _OK]
    if refusals:
        return dataclasses.replace(read_answer(refusals[-1]), is_unsure=was_taken_in_part)
    reason = said[-1] if said else ""
    if was_taken_in_part:  # Slack and others say `200` to what they refuse, and why in the body
        return SendResult(verdict=AnswerKind.POISON, said=f"{problem}: {reason}")
    code = next((int(match.group(1)) for line in reversed(said) if (match := _SMTP_CODE.search(line))), None)
    verdict = AnswerKind.RETRY
    if code is not None and code // 100 == 5:  # noqa: PLR2004 - the class of what a mail server refuses for good
        verdict = AnswerKind.DEAD if code in _SMTP_DENIED else AnswerKind.POISON
    answered = f"answered {code}" if code is not None else problem
    was_connected = not any(_NO_CONNECTION.search(line) for line in said)
    return SendResult(
        verdict=verdict, said=f"{answered}: {reason}" if reason else answered, is_unsure=code is None and was_connected
    )


class _Heard(threading.local):
    """What Apprise logs in this thread, while it is recorded."""

    lines: list[str] | None = None


_heard = _Heard()


class _Listener(logging.Handler):
    """Takes what Apprise logs: some lines hold the message, the address or both."""

    def emit(self, record: logging.LogRecord) -> None:
        lines = _heard.lines
        if lines is not None and (record.levelno >= logging.WARNING or "Socket Exception" in str(record.msg)):
            lines.append(record.getMessage())


_listener = _Listener()


@contextlib.contextmanager
def _record_log() -> Iterator[list[str]]:
    """Listen to Apprise in this thread. Nothing that it logs goes anywhere else, now or later."""
    log = logging.getLogger("apprise")
    if _listener not in log.handlers:
        log.addHandler(_listener)
        log.propagate = False
        log.setLevel(logging.DEBUG)  # why a connection broke is a line of this level
    _heard.lines = []
    try:
        yield _heard.lines
    finally:
        _heard.lines = None
