"""Keeps secrets out of whatever leaves the program: logs, alerts, the journal, JSON.

Two nets. The first knows the secrets of this run and finds them in every form in which they are likely to travel:
plain, URL-quoted, escaped for JSON, HTML, Python or a shell, in Base64, line by line, and, for an address, the parts
of it that are the secret themselves (a webhook's token is enough to write to the channel). The second knows shapes: an
address of a Discord webhook, or a password inside an address, is masked even if nobody ever told us about it.

A secret of three characters or fewer would be found in every second word. It is masked only where it stands alone.
"""

import base64
import html
import json
import logging
import re
import shlex
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any

MASK = "********"

_SHORT = 4  # below this many characters a secret is masked only as a whole word
_BASE64_LEAST_BYTES = 6  # a shorter one leaves fewer than five telling characters at some alignments

# Parts of webhook and heartbeat addresses that are public words, not secrets.
_PUBLIC_SEGMENTS = frozenset(
    {"api", "webhook", "webhooks", "hook", "hooks", "ping", "push", "start", "fail", "slack", "github", "services"}
)
_LONG_SEGMENT = 16

_SLASH = r"(?:/|%2[Ff]|\\/)"
_WEBHOOK = re.compile(
    rf"(?:https?:{_SLASH}{{2}}[\w.-]*(?::\d+)?{_SLASH})?api{_SLASH}(?:v\d+{_SLASH})?webhooks{_SLASH}\d+{_SLASH}[\w-]{{6,}}",
    re.IGNORECASE,
)
_PASSWORD_IN_ADDRESS = re.compile(r"(?<=://)[^\s/@:\"']*:[^\s/@\"']+(?=@)")


class Redactor:
    """Replaces every secret in a text by `MASK`.

    Args:
        secrets: The secrets' texts (`Settings.secrets`). Empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        alone: set[str] = set()
        for secret in secrets:
            if not secret.strip():
                continue
            (alone if len(secret) < _SHORT else forms).add(secret)
            if len(secret) >= _SHORT:
                forms.update(form for form in _forms(secret) if len(form) >= _SHORT)
        # The longest first: a part of an address must not hide that the whole address stood there.
        patterns = [_pattern(form) for form in sorted(forms, key=lambda form: (-len(form), form))]
        patterns += [rf"(?<!\w){re.escape(short)}(?!\w)" for short in sorted(alone)]
        self._known = re.compile("|".join(patterns)) if patterns else None

    def text(self, text: str) -> str:
        """The text without its secrets. Redact before cutting: half a secret is not recognised."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        text = _WEBHOOK.sub(MASK, text)
        return _PASSWORD_IN_ADDRESS.sub(MASK, text)

    def value(self, value: Any) -> Any:  # noqa: ANN401 - a JSON document has no narrower type
        """A JSON-like value (dicts, lists, tuples, texts) with every text in it redacted, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key) if isinstance(key, str) else key: self.value(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value


class RedactingFormatter(logging.Formatter):
    """A formatter that redacts the finished line: message, arguments, traceback and all."""

    def __init__(self, redactor: Redactor, fmt: str, *, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return self._redactor.text(super().format(record))


def _pattern(form: str) -> str:
    """The form literally, but for URL-quoted characters, whose digits may be written either way."""
    return re.sub(r"%([0-9A-Fa-f]{2})", r"%(?i:\1)", re.escape(form))


def _forms(secret: str) -> Iterator[str]:
    for plain in {secret, secret.strip(), *secret.splitlines(), *_telling_parts(secret)}:
        if len(plain) < _SHORT:
            continue
        yield plain
        yield urllib.parse.quote(plain, safe="")
        yield urllib.parse.quote(plain)
        yield urllib.parse.quote_plus(plain)
        yield json.dumps(plain)[1:-1]
        yield json.dumps(plain, ensure_ascii=False)[1:-1]
        yield json.dumps(plain).replace("/", "\\/")[1:-1]
        yield repr(plain)[1:-1]
        yield repr(plain.encode("utf-8", "replace"))[2:-1]
        yield html.escape(plain)
        yield shlex.quote(plain)[1:-1] if shlex.quote(plain) != plain else plain
        yield from _base64_forms(plain)


def mask_account(account: str) -> str:
    """An account id that its owner recognises and nobody else can use: `DU1234567` becomes `DU****567`."""
    shown_start, shown_end = 2, 3
    if len(account) <= shown_start + shown_end:
        return account[:1] + "****"
    return f"{account[:shown_start]}****{account[-shown_end:]}"


def _base64_forms(plain: str) -> Iterator[str]:
    """What every text that holds `plain` has in common once it is Base64, at each of the three alignments."""
    content = plain.encode("utf-8", "replace")
    if len(content) < _BASE64_LEAST_BYTES:
        return
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + content).decode()
        # Characters at either end also hold bits of what stands beside it, so they differ from text to text.
        first = (0, 2, 3)[shift]
        last = (shift + len(content)) * 8 // 6
        yield encoded[first:last]
        yield encoded[first:last].replace("+", "-").replace("/", "_")


def _telling_parts(secret: str) -> Iterator[str]:
    """The parts of an address that are secret on their own: token, key, password, the path as a whole."""
    if "://" not in secret:
        return
    try:
        parts = urllib.parse.urlsplit(secret.strip())
    except ValueError:
        return
    if parts.password:
        yield parts.password
    if len(parts.path) >= _LONG_SEGMENT:
        yield parts.path
    segments = [segment for segment in parts.path.split("/") if segment]
    for place, segment in enumerate(segments, start=1):
        public = segment.lower() in _PUBLIC_SEGMENTS
        if not public and (place == len(segments) or len(segment) >= _LONG_SEGMENT or _looks_random(segment)):
            yield segment
    for _, value in urllib.parse.parse_qsl(parts.query):
        if len(value) >= _LONG_SEGMENT or _looks_random(value):
            yield value


def _looks_random(segment: str) -> bool:
    return len(segment) >= 6 and any(one.isdigit() for one in segment) and any(one.isalpha() for one in segment)  # noqa: PLR2004 - a word with digits in it
