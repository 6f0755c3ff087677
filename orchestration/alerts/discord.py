"""Discord's side of an alert: what is posted, and whether an address can be a webhook at all. Pure but for `post`.

The limits are those of Discord's "Embed Limits" and "Execute Webhook" pages. Discord counts code points (its API is
written in Python, says its staff); UTF-16 units, as its desktop client counts, are never fewer. This module counts
UTF-16 units, so that a text fits either way.
"""

import re
import unicodedata
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestration.alerts.alert import Alert, Severity
from orchestration.alerts.channel import SendResult, channel_key, read_answer
from orchestration.alerts.posting import Try
from orchestration.settings import Secret
from orchestration.settings.hosts import is_loopback

TITLE_LIMIT = 256
DESCRIPTION_LIMIT = 4096
FIELD_NAME_LIMIT = 256
FIELD_VALUE_LIMIT = 1024
FIELDS_LIMIT = 25
EMBED_LIMIT = 6000
CONTENT_LIMIT = 2000

# Room for each text, so that an embed with everything at its longest stays under 6000 in all.
_DESCRIPTION_ROOM = 2600
_SHORT_ROOM = 100
_TITLE_ROOM = 240
_ELLIPSIS = "…"

COLOURS = {
    Severity.INFO: 0x3498DB,  # blue
    Severity.WARNING: 0xF1C40F,  # yellow
    Severity.ERROR: 0xE74C3C,  # red
    Severity.CRITICAL: 0x992D22,  # dark red
}

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_DISCORD_HOST = re.compile(r"(?:[a-z0-9-]+\.)?discord(?:app)?\.com")
_SLACK_HOST = re.compile(r"hooks\.slack(?:-gov)?\.com")
_DISCORD_PATH = re.compile(r"/api/(?:v\d+/)?webhooks/\d+/[\w-]+(?:/(?:slack|github))?/?")


@dataclass(frozen=True, kw_only=True)
class DiscordChannel:
    """A Discord webhook (`DISCORD_WEBHOOK_URL`), or a service that takes the same messages.

    Attributes:
        webhook: Its address.
        mention: Whom critical alerts ping (`DISCORD_MENTION`).
        least: The mildest alerts that it is sent.
        skips_progress: Whether it is not sent what only says that a start is on its way.
    """

    webhook: Secret
    mention: Secret | None = None
    least: Severity = Severity.INFO
    skips_progress: bool = False
    id: str = "discord"
    name: str = "Discord"
    setting: str = "DISCORD_WEBHOOK_URL"
    likely_fault: str = "the webhook was deleted or its address is wrong"
    advice: str = "set DISCORD_WEBHOOK_URL to a new one, then run `inv alert.test`"
    hint: str = "one of a text channel: a forum's takes no plain message"

    @property
    def key(self) -> str:
        """A hash of the address."""
        return channel_key(self.webhook)

    @property
    def problem(self) -> str | None:
        """What is wrong with the address."""
        return webhook_problem(self.webhook)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The address."""
        return (self.webhook.reveal(),)

    def prepare(self) -> None:
        """See `Channel.prepare`: there is nothing to load."""

    def post(self, alert: Alert, one_try: Try, *, may_be_repeat: bool) -> SendResult:
        """Send one alert.

        Raises:
            NotSentError: There was no answer.
        """
        mention = self.mention.reveal() if self.mention is not None else None
        payload = build_payload(alert, mention=mention, may_be_repeat=may_be_repeat)
        return read_answer(one_try.send(build_post_address(self.webhook.reveal()), payload))


def build_payload(alert: Alert, *, mention: str | None = None, may_be_repeat: bool = False) -> dict[str, Any]:
    """The JSON body for `POST` to the webhook.

    Args:
        alert: What to say. Redacted already.
        mention: Whom a critical alert pings: `<@id>`, `<@&id>`, a bare user id, `@here` or `@everyone`.
        may_be_repeat: Whether an earlier try may have arrived after all; the message then says so.
    """
    marks = "[SIMULATED] " if alert.simulated else ""
    title = cut(marks + (clean(alert.title) or alert.severity.value), _TITLE_ROOM)
    fields = list(_fields(alert))
    embed: dict[str, Any] = {
        "title": title,
        "description": cut(_unfenced(clean(alert.message)) or "(no details)", _DESCRIPTION_ROOM),
        "color": COLOURS[alert.severity],
        "timestamp": alert.at.isoformat(),
        "fields": fields,
    }
    footer = [alert.severity.value]
    if alert.simulated:
        footer.append("the built-in gateway, no real account")
    if may_be_repeat:
        footer.append("may be a repeat: the answer to an earlier try was lost")
    embed["footer"] = {"text": " · ".join(footer)}
    payload: dict[str, Any] = {"embeds": [embed], "allowed_mentions": {"parse": []}}
    if alert.severity is Severity.CRITICAL and mention is not None and (found := _parse_mention(mention)) is not None:
        payload["content"], payload["allowed_mentions"] = found
    return payload


def build_post_address(url: str) -> str:
    """The address that is posted to. Discord answers only once the message is stored if it is asked to (`wait=true`).

    Its variants for messages in Slack's or GitHub's format refuse those in its own, so their ending is left out. Other
    services get the address as it was configured.
    """
    parts = urllib.parse.urlsplit(url.strip())
    if not _DISCORD_HOST.fullmatch(parts.hostname or ""):
        return url.strip()
    parts = parts._replace(path=re.sub(r"(/webhooks/\d+/[\w-]+)/(?:slack|github)/?$", r"\1", parts.path))
    query = [pair for pair in urllib.parse.parse_qsl(parts.query) if pair[0] != "wait"]
    return urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode([*query, ("wait", "true")])))


def mention_problem(mention: Secret | None) -> str | None:
    """What is wrong with `DISCORD_MENTION`, or None. Never contains its value."""
    if mention is None or _parse_mention(mention.reveal()) is not None:
        return None
    return "DISCORD_MENTION must be `<@user id>`, `<@&role id>`, a user id, `@here` or `@everyone`; no one is mentioned"


def webhook_problem(url: Secret | None) -> str | None:
    """Why no alert can be sent to this address, or None if it may work. Never contains the address."""
    if url is None or not url.reveal().strip():
        return "no alert channel: DISCORD_WEBHOOK_URL is not set, alerts are only logged"
    problem = address_problem(url.reveal())
    if problem is not None:
        return f"DISCORD_WEBHOOK_URL {problem}"
    parts = urllib.parse.urlsplit(url.reveal())
    if _DISCORD_HOST.fullmatch(parts.hostname or "") and not _DISCORD_PATH.fullmatch(parts.path):
        return "DISCORD_WEBHOOK_URL is not a webhook's address: Discord's end in /api/webhooks/ID/TOKEN"
    if _SLACK_HOST.fullmatch(parts.hostname or ""):
        return "DISCORD_WEBHOOK_URL is Slack's: Slack refuses every message in Discord's format"
    if parts.path in {"", "/"}:
        return "DISCORD_WEBHOOK_URL is not a webhook's address: nothing follows the host's name"
    return None


def address_problem(url: str) -> str | None:
    """What forbids an address (A3): malformed, or neither `https` nor `http` to loopback. Never contains it."""
    if not url.isascii() or not url.isprintable() or any(one in url for one in ' \\"<>^`{|}'):
        return "is malformed: it holds a blank, a quote or another character that no address has"
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port  # `port` is parsed only when it is asked for
    except ValueError:
        return "is malformed"
    if not host or parts.scheme not in {"http", "https"}:
        return "is malformed: it must begin with https://HOST/"
    if parts.username is not None or parts.password is not None:
        return "is malformed: a user or password before the host's name is not supported"
    if parts.scheme == "http" and not is_loopback(host, takes_shorthand=False):
        return "must begin with https:// (http is for loopback only: everybody on the way could read it)"
    return None


def clean(text: str) -> str:
    """The text without what Discord refuses or hides: terminal colours, control and format characters, lone surrogates.

    Zero-width characters go as well: between backticks they would disguise the end of a code block, and a text of
    nothing else is empty to Discord.
    """
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    kept = (one for one in text if one in "\n\t" or unicodedata.category(one) not in {"Cc", "Cf", "Co", "Cn"})
    return "".join(kept).strip()


def cut(text: str, limit: int) -> str:
    """The text in at most `limit` UTF-16 units, with `…` where something is missing."""
    if length(text) <= limit:
        return text
    room = limit - 1
    kept: list[str] = []
    for one in text:
        room -= length(one)
        if room < 0:
            break
        kept.append(one)
    return "".join(kept).rstrip() + _ELLIPSIS


def length(text: str) -> int:
    """The length in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _fields(alert: Alert) -> Iterator[dict[str, Any]]:
    short = {
        "Host": alert.host,
        "Instance": alert.instance,
        "Run": alert.run_id,
        "Step": alert.step,
        "Cause": alert.cause,
    }
    for name, value in short.items():
        # In a code span the underscores of a word stay what they are.
        if shown := clean(value).replace("`", "'").replace("\n", " "):
            yield {"name": name, "value": f"`{cut(shown, _SHORT_ROOM)}`", "inline": True}
    if action := _unfenced(clean(alert.next_action)):
        yield {"name": "What to do next", "value": cut(action, FIELD_VALUE_LIMIT), "inline": False}
    if block := _code_block(alert.evidence):
        yield {"name": "Evidence", "value": block, "inline": False}


def _code_block(lines: tuple[str, ...]) -> str:
    """The last lines that fit into one field. Backticks become quotes: no text can end the block early."""
    room = FIELD_VALUE_LIMIT - length("```\n\n```")
    kept: list[str] = []
    for line in reversed([one for text in lines for one in clean(text).split("\n")]):
        shown = line.replace("`", "'").rstrip()
        if not shown:
            continue
        if length(shown) + 1 > room:
            if not kept:
                kept.append(cut(shown, room))
            break
        kept.append(shown)
        room -= length(shown) + 1
    return "```\n" + "\n".join(reversed(kept)) + "\n```" if kept else ""


def _unfenced(text: str) -> str:
    """Text in which nothing opens a code block or hides an address behind other words."""
    return re.sub(r"`{3,}", lambda match: "'" * len(match.group()), text).replace("](", "] (")


def _parse_mention(mention: str) -> tuple[str, dict[str, Any]] | None:
    mention = mention.strip()
    if mention in {"@here", "@everyone"}:
        return mention, {"parse": ["everyone"]}
    if match := re.fullmatch(r"<@&(\d{1,20})>", mention):
        return mention, {"parse": [], "roles": [match.group(1)]}
    if match := re.fullmatch(r"<@!?(\d{1,20})>|(\d{15,20})", mention):
        user = match.group(1) or match.group(2)
        return f"<@{user}>", {"parse": [], "users": [user]}
    return None
