"""What is looked for: the forms of a secret that no decoding of the text leads back to the secret itself. Pure."""

import base64
import html
import json
import shlex
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestration.redaction.notations import MAX_LAYERS, decode_once, unquote

SHORT = 4  # below this many characters a secret is masked only as a whole word
_LEAST_UNQUOTED = 3  # where fewer characters of a secret are left, its quotes have to be there as well
_BASE64_LEAST_BYTES = 6  # a shorter one leaves fewer than five telling characters at some alignments
_LARGEST_WRITTEN = 40  # bytes in which one character of a secret is written at most, well beyond `&#x1F600;` twice

# Parts of webhook and heartbeat addresses that are public words, not secrets.
_PUBLIC_SEGMENTS = frozenset(
    {"api", "webhook", "webhooks", "hook", "hooks", "ping", "push", "start", "fail", "slack", "github", "services"}
)
_LONG_SEGMENT = 16


@dataclass(frozen=True, kw_only=True)
class Forms:
    """What is looked for in each view of a layer.

    Attributes:
        words: Secrets that are too short to be masked anywhere but where they stand alone.
        plain: In the layer itself.
        unquoted: In the unquoted view; each with what has to be there, quotes included.
        quoting: Likewise, of secrets that are almost nothing but quotes: what is left of one, perhaps nothing, is in
            every text, so the quotes are looked for first.
        hexadecimal: In the view for hexadecimal bytes, in small letters.
        base64: In the view for Base64.
        longest: How many bytes a secret takes up at most, in whatever notation.
    """

    words: tuple[str, ...]
    plain: tuple[str, ...]
    unquoted: tuple[tuple[str, str], ...]
    quoting: tuple[tuple[str, str], ...]
    hexadecimal: tuple[str, ...]
    base64: tuple[str, ...]
    longest: int


def build_forms(secrets: Iterable[str]) -> Forms:
    """All forms of these secrets. Blank ones are left out."""
    known = [secret for secret in secrets if secret.strip()]
    words = {secret for secret in known if len(secret) < SHORT}
    bases = {plain for secret in known for plain in _build_bases(secret) if len(plain) >= SHORT}
    plain: set[str] = set()
    unquoted: set[tuple[str, str]] = set()
    quoting: set[tuple[str, str]] = set()
    for base in bases:
        plain.add(base)
        for written in _build_spellings(base):
            view = unquote(written)
            if len(view) >= _LEAST_UNQUOTED:
                unquoted.add((view, written))
            else:
                if len(written) >= SHORT:
                    quoting.add((view, written))
                plain.update(form for form in _list_notations(written) if len(form) >= SHORT)
    contents = {one.encode("utf-8", "surrogatepass") for base in bases for one in _build_wrapped(base)}
    return Forms(
        words=tuple(sorted(words)),
        plain=tuple(sorted(plain)),
        unquoted=tuple(sorted(unquoted)),
        quoting=tuple(sorted(quoting)),
        hexadecimal=tuple(sorted(content.hex() for content in contents)),
        base64=tuple(sorted({form for content in contents for form in _build_base64_forms(content)})),
        longest=_LARGEST_WRITTEN * max((len(base.encode("utf-8", "surrogatepass")) for base in bases), default=0),
    )


def _build_bases(secret: str) -> set[str]:
    return {secret, secret.strip(), *(line.strip() for line in secret.splitlines()), *_find_identifying_parts(secret)}


def _build_spellings(base: str) -> Iterator[str]:
    """The secret as it stands in a layer: as it is, or decoded along with the text, where it looks like escapes."""
    written = base
    for _ in range(MAX_LAYERS):
        yield written
        decoded = decode_once(written)
        if decoded == written:
            return
        written = decoded


def _build_wrapped(base: str) -> set[str]:
    """What is likely to be turned into Base64 or hexadecimal: the secret, or a document that holds it."""
    escaped = json.dumps(base)
    return {
        base,
        escaped[1:-1],
        json.dumps(base, ensure_ascii=False)[1:-1],
        urllib.parse.quote(base, safe="", errors="replace"),
    }


def _list_notations(written: str) -> Iterator[str]:
    """The usual notations of a secret that consists of almost nothing but quotes."""
    yield written
    for one in (json.dumps(written), json.dumps(json.dumps(written)[1:-1]), repr(written)):
        yield one[1:-1]
    yield html.escape(written)
    quoted = shlex.quote(written)
    yield quoted[1:-1] if quoted != written else quoted
    yield "".join(f"\\{one}" for one in written)


def _build_base64_forms(content: bytes) -> Iterator[str]:
    """What every text that holds `content` has in common once it is Base64, at each of the three alignments."""
    if len(content) < _BASE64_LEAST_BYTES:
        return
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + content).decode()
        # Characters at either end also hold bits of what stands beside it, so they differ from text to text.
        yield encoded[(0, 2, 3)[shift] : (shift + len(content)) * 8 // 6]


def _find_identifying_parts(secret: str) -> Iterator[str]:
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
    if parts.scheme.lower() not in {"http", "https"}:
        yield from _find_telling_ends(parts)
        return
    segments = [segment for segment in parts.path.split("/") if segment]
    for place, segment in enumerate(segments, start=1):
        public = segment.lower() in _PUBLIC_SEGMENTS
        if not public and (place == len(segments) or len(segment) >= _LONG_SEGMENT or _looks_random(segment)):
            yield segment
    for _, value in urllib.parse.parse_qsl(parts.query):
        if len(value) >= _LONG_SEGMENT or _looks_random(value):
            yield value


def _find_telling_ends(parts: urllib.parse.SplitResult) -> Iterator[str]:
    """Of an address that another program takes apart (`tgram://TOKEN/CHAT`): a secret may stand anywhere in it."""
    user, _, host = parts.netloc.rpartition("@")
    pieces = [*user.split(":"), *host.split(":"), *parts.path.split("/")]
    pieces += [value for _, value in urllib.parse.parse_qsl(parts.query)]
    for piece in pieces:
        is_host = "." in piece and piece in host
        if not is_host and (len(piece) >= _LONG_SEGMENT or _looks_random(piece)):
            yield piece


def _looks_random(segment: str) -> bool:
    return len(segment) >= 6 and any(one.isdigit() for one in segment) and any(one.isalpha() for one in segment)  # noqa: PLR2004 - a word with digits in it
