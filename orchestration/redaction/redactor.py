"""Finds secrets in a text, in whatever notation, and masks them.

Two nets. The first knows the secrets of this run and finds them in every notation in which they are likely to travel
(`orchestration.redaction.notations`), and, for an address, the parts of it that are the secret themselves (a webhook's
token is enough to write to the channel). The second knows shapes: an address of a Discord webhook, or a password inside
an address, is masked even if it was never registered.

A secret of three characters or fewer would be found in every second word. It is masked only where it stands alone.
"""

import base64
import functools
import html
import json
import re
import shlex
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.redaction import notations
from orchestration.redaction.dumps import decode_dumps
from orchestration.redaction.notations import MAX_LAYERS, Layer, decode_once, unquote

MASK = "********"

_LEAST_MARGIN = 1024
_MOST_MARGIN = 1024 * 1024
_LEAST_PART = 4096

_SLASH = r"(?:\\*+/|%2[Ff])"
_WEBHOOK = re.compile(
    rf"(?:https?:{_SLASH}{{2}}[\w.-]*(?::\d+)?{_SLASH})?api{_SLASH}(?:v\d+{_SLASH})?webhooks{_SLASH}\d+{_SLASH}[\w-]{{6,}}",
    re.IGNORECASE,
)
_PASSWORD_IN_ADDRESS = re.compile(r"(?<=://)[^\s/@:\"']*:[^\s/@\"']+(?=@)")
_BASE64_CHARACTER = re.compile(r"[A-Za-z0-9+/_-]")

Span = tuple[int, int]

# What is looked for: the forms of a secret that no decoding of the text leads back to the secret itself.
_SHORT = 4  # below this many characters a secret is masked only as a whole word
_LEAST_LETTERS = 6  # fewer letters in a row stand in many texts, with whatever between them
_LEAST_UNQUOTED = 3  # where fewer characters of a secret are left, its quotes have to be there as well
_MOST_ENCODED = 3  # Base64 in hexadecimal in Base64
_BASE64_LEAST_BYTES = 6  # a shorter one leaves fewer than five telling characters at some alignments
_LARGEST_WRITTEN = 40  # bytes in which one character of a secret is written at most, well beyond `&#x1F600;` twice

# Parts of webhook and heartbeat addresses that are public words, not secrets.
_PUBLIC_SEGMENTS = frozenset(
    {"api", "webhook", "webhooks", "hook", "hooks", "ping", "push", "start", "fail", "slack", "github", "services"}
)
_LONG_SEGMENT = 16

# Every secret that this process has ever loaded, so that nothing it writes shows one.
_known: set[str] = set()
_redactor: list["Redactor"] = []


class Redactor:
    """Replaces every secret in a text by `MASK`.

    Args:
        secrets: The secrets' texts (`Settings.secrets`). Empty ones are ignored.

    Attributes:
        margin: How many characters (or bytes) of a longer text must be read beyond a window of it, so that no secret
            that begins before the window is shown in part (`text_from`).
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = frozenset(secrets)
        forms = build_forms(self._secrets)
        self.margin = min(max(_LEAST_MARGIN, forms.longest), _MOST_MARGIN)
        self._plain = forms.plain
        self._unquoted = forms.unquoted
        self._quoting = forms.quoting
        self._unquoted_bytes = [view.encode("utf-8", "surrogatepass") for view, _ in forms.unquoted]
        self._letters = forms.letters
        self._letters_bytes = [view.encode("utf-8", "surrogatepass") for view, _ in forms.letters]
        self._hexadecimal = forms.hexadecimal
        self._hexadecimal_bytes = [one.encode() for one in forms.hexadecimal]
        self._base64 = forms.base64
        self._base64_bytes = [one.encode() for one in forms.base64]
        alone = "|".join(rf"(?<!\w){re.escape(short)}(?!\w)" for short in forms.words)
        self._words = re.compile(alone) if alone else None

    def including(self, secrets: Iterable[str]) -> "Redactor":
        """One that knows these secrets too."""
        more = self._secrets.union(secrets)
        return self if more == self._secrets else Redactor(more)

    def text(self, text: str) -> str:
        """The text without its secrets. Redact before cutting: half a secret is not recognised."""
        return self.text_from(text, 0)

    def text_from(self, text: str, start: int) -> str:
        """What `text` holds from `start` on, without secrets, and without the rest of one that begins before it.

        Where a text is the end of a longer one, `start` must be at least `margin`: then no half of a secret is shown
        that begins before the text does.
        """
        return self.text_between(text, start, len(text))

    def text_between(self, text: str, start: int, end: int) -> str:
        """What `text` holds from `start` to `end`, without secrets; one that crosses either bound is masked there."""
        pieces: list[str] = []
        done = start
        for first, last in self._find(text):
            if last <= done or first >= end:
                continue
            pieces += (text[done : max(done, first)], MASK)
            done = last
        return "".join((*pieces, text[done:end]))

    def value(self, value: Any) -> Any:  # noqa: ANN401 - a JSON document has no narrower type
        """A JSON-like value (dicts, lists, tuples, texts) with every text in it redacted, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key) if isinstance(key, str) else key: self.value(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value

    def _find(self, text: str) -> list[Span]:
        """Where secrets stand, in order; none of the spans overlap."""
        if not self._may_hold_any(text):
            return []
        # To keep the places takes ten times as long as to look: of a long text that is done for the suspicious parts.
        step = max(_LEAST_PART, 2 * self.margin)
        if len(text) <= 2 * step:
            return list(_merge(sorted(self._find_with_places(text))))
        spans = []
        for begin in range(0, len(text), step):
            part = text[begin : begin + step + self.margin]
            if self._may_hold_any(part):
                spans += [(begin + first, begin + last) for first, last in self._find_with_places(part)]
        return list(_merge(sorted(spans)))

    def _find_with_places(self, text: str) -> Iterator[Span]:
        for layer in notations.build_layers(text):
            found = [*self._find_in_layer(layer), *self._find_dumps(layer.text)]
            for first, last in self._find_encoded(layer.text):
                # Where the secret itself was found in it, there is no need to mask the rest.
                if not any(start < last and first < end for start, end in found):
                    found.append((first, last))
            for first, last in found:
                yield layer.starts[first], layer.ends[last - 1]

    def _may_hold_any(self, text: str, *, depth: int = 0) -> bool:
        """The quick look without places: most texts hold no secret."""
        for _ in range(notations.MAX_LAYERS + 1):
            if self._is_suspicious(text, is_decoded=depth > 0):
                return True
            if any(self._find_dumps(text, depth=depth)) or any(self._find_encoded(text, depth=depth)):
                return True
            decoded = notations.decode_once(text)
            if decoded == text:
                return False
            text = decoded
        return False

    def _find_encoded(self, text: str, *, depth: int = 0) -> Iterator[Span]:
        """What is Base64 or hexadecimal as a whole, and holds a secret in whatever notation."""
        if depth < _MOST_ENCODED and self._secrets:
            for first, last, decoded in notations.decode_runs(text):
                if self._may_hold_any(decoded, depth=depth + 1):
                    yield first, last

    def _find_dumps(self, text: str, *, depth: int = 0) -> Iterator[Span]:
        """Printed bytes that hold a secret, as a whole: beside the numbers a dump shows the characters, in pieces."""
        dumps = tuple(decode_dumps(text)) if depth < _MOST_ENCODED and self._secrets else ()
        # A text may hold thousands of lists of numbers: one look at all of them first.
        if dumps and self._may_hold_any("\n".join(decoded for _, _, decoded in dumps), depth=depth + 1):
            for first, last, decoded in dumps:
                if self._may_hold_any(decoded, depth=depth + 1):
                    yield first, last

    def _is_suspicious(self, text: str, *, is_decoded: bool = False) -> bool:
        if "://" in text and "@" in text and _PASSWORD_IN_ADDRESS.search(text):
            return True
        if "WEBHOOK" in text.upper():
            return True
        # A path may be read as Base64, too: what comes of it holds any short word sooner or later.
        if self._words is not None and not is_decoded and self._words.search(text):
            return True
        views = notations.build_views(text)
        return (
            any(form in views.unquoted for form in self._unquoted_bytes)
            or any(form in text for form in self._plain)
            or any(notations.has_quoting_of(text, secret) for _, secret in self._quoting)
            or any(form in views.letters for form in self._letters_bytes)
            or any(form in views.hexadecimal for form in self._hexadecimal_bytes)
            or any(form in views.base64 for form in self._base64_bytes)
        )

    def _find_in_layer(self, layer: Layer) -> Iterator[Span]:
        text = layer.text
        for shape in (_WEBHOOK, _PASSWORD_IN_ADDRESS, self._words):
            if shape is not None:
                yield from (match.span() for match in shape.finditer(text))
        for form in self._plain:
            yield from _find_all(text, form)
        yield from self._find_unquoted(text)
        yield from self._find_letters(text)
        yield from self._find_hexadecimal(text)
        yield from self._find_base64(text)

    def _find_unquoted(self, text: str) -> Iterator[Span]:
        view, kept = notations.build_unquoted(text)
        for form, secret in self._unquoted:
            begins, ends = notations.has_quoting_at(secret)
            for first, last in _find_all(view, form):
                inner = kept[first], kept[last - 1] + 1
                outer = notations.extend_over_quoting(text, *inner)
                if notations.stands_for(text[slice(*outer)], secret):
                    yield outer[0] if begins else inner[0], outer[1] if ends else inner[1]
        for form, secret in self._quoting:
            if notations.has_quoting_of(text, secret):
                yield from _find_quoting(text, view, kept, form, secret)

    def _find_letters(self, text: str) -> Iterator[Span]:
        for view, kept in filter(None, (notations.build_letters(text), notations.build_unbroken_letters(text))):
            for form, secret in self._letters:
                signs = "".join(secret.split())  # a line may have been broken at a blank
                for first, last in _find_all(view, form):
                    outer = notations.extend_over_signs(text, kept[first], kept[last - 1] + 1)
                    if written := notations.find_written(text[slice(*outer)], signs):
                        yield outer[0] + written[0], outer[0] + written[1]

    def _find_hexadecimal(self, text: str) -> Iterator[Span]:
        view, kept = notations.build_hexadecimal(text)
        for form in self._hexadecimal:
            yield from ((kept[first], kept[last - 1] + 1) for first, last in _find_all(view, form))

    def _find_base64(self, text: str) -> Iterator[Span]:
        view, kept = notations.build_base64(text)
        for form in self._base64:
            for found_first, found_last in _find_all(view, form):
                # The characters on both sides hold some bits of the secret, too.
                first, last = found_first, found_last
                if first > 0 and kept[first - 1] == kept[first] - 1 and _BASE64_CHARACTER.match(view, first - 1):
                    first -= 1
                if _BASE64_CHARACTER.match(view, last) and kept[last] == kept[last - 1] + 1:
                    last += 1
                yield kept[first], kept[last - 1] + 1


def _find_quoting(text: str, view: str, kept: Sequence[int], form: str, secret: str) -> Iterator[Span]:
    """A secret that is almost nothing but quotes, with all quotes around it. As it stands, it is found without them."""
    stretches = notations.find_quoting(text)
    if form:
        inner = ((kept[first], kept[last - 1] + 1) for first, last in _find_all(view, form))
        stretches = (notations.extend_over_quoting(text, first, last) for first, last in inner)
    for first, last in stretches:
        written = text[first:last]
        if secret not in written and notations.stands_for(written, secret):
            yield first, last


def _find_all(text: str, form: str) -> Iterator[Span]:
    """Every occurrence, overlapping ones too."""
    first = text.find(form)
    while first >= 0:
        yield first, first + len(form)
        first = text.find(form, first + 1)


def _merge(spans: Iterable[Span]) -> Iterator[Span]:
    """Spans in order of their start, those that overlap as one."""
    current: Span | None = None
    for first, last in spans:
        if current is None or first >= current[1]:
            if current is not None:
                yield current
            current = first, last
        else:
            current = current[0], max(current[1], last)
    if current is not None:
        yield current


def mask_account(account: str) -> str:
    """An account id that its owner recognises and others cannot use: `DU1234567` becomes `DU****567`."""
    shown_start, shown_end = 2, 3
    if len(account) <= shown_start + shown_end:
        return account[:1] + "****"
    return f"{account[:shown_start]}****{account[-shown_end:]}"


def protect(secrets: Iterable[str]) -> None:
    """From now on nothing that this process writes shows these secrets."""
    new = {secret for secret in secrets if secret.strip()} - _known
    if new:
        _known.update(new)
        _redactor.clear()


def own_redactor() -> Redactor:
    """The redactor for what this process writes to a terminal."""
    if not _redactor:
        _redactor.append(Redactor(_known))
    return _redactor[0]


@functools.lru_cache(maxsize=16)
def redactor_for(secrets: tuple[str, ...]) -> Redactor:
    """A redactor for these secrets; the same one for the same secrets, as to make one costs as much as to use it."""
    return Redactor(secrets)


@dataclass(frozen=True, kw_only=True)
class Forms:
    """What is looked for in each view of a layer.

    Attributes:
        words: Secrets that are too short to be masked anywhere but where they stand alone.
        plain: In the layer itself.
        unquoted: In the unquoted view; each with what has to be there, quotes included.
        quoting: Likewise, of secrets that are almost nothing but quotes: what is left of one, perhaps nothing, is in
            every text, so the quotes are looked for first.
        letters: In the view of letters and digits; each with the secret itself.
        hexadecimal: In the view for hexadecimal bytes, in small letters.
        base64: In the view for Base64.
        longest: How many bytes a secret takes up at most, in whatever notation.
    """

    words: tuple[str, ...]
    plain: tuple[str, ...]
    unquoted: tuple[tuple[str, str], ...]
    quoting: tuple[tuple[str, str], ...]
    letters: tuple[tuple[str, str], ...]
    hexadecimal: tuple[str, ...]
    base64: tuple[str, ...]
    longest: int


def build_forms(secrets: Iterable[str]) -> Forms:
    """All forms of these secrets. Blank ones are left out."""
    known = [secret for secret in secrets if secret.strip()]
    words = {secret for secret in known if len(secret) < _SHORT}
    bases = {plain for secret in known for plain in _build_bases(secret) if len(plain) >= _SHORT}
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
                if len(written) >= _SHORT:
                    quoting.add((view, written))
                plain.update(form for form in _list_notations(written) if len(form) >= _SHORT)
    contents = {one.encode("utf-8", "surrogatepass") for base in bases for one in _build_wrapped(base)}
    contents |= {base.encode(name, "surrogatepass") for base in bases for name in ("utf-16-le", "utf-16-be")}
    return Forms(
        words=tuple(sorted(words)),
        plain=tuple(sorted(plain)),
        unquoted=tuple(sorted(unquoted)),
        quoting=tuple(sorted(quoting)),
        letters=tuple(sorted({pair for base in bases for pair in _build_letters(base)})),
        hexadecimal=tuple(sorted(content.hex() for content in contents)),
        base64=tuple(sorted({form for content in contents for form in _build_base64_forms(content)})),
        longest=_LARGEST_WRITTEN * max((len(base.encode("utf-8", "surrogatepass")) for base in bases), default=0),
    )


def _build_bases(secret: str) -> set[str]:
    whole = {secret, secret.strip(), *(line.strip() for line in secret.splitlines()), *_find_identifying_parts(secret)}
    accented = [one for one in whole if not one.isascii()]
    # As another program composes its accents, and as one shows it that takes UTF-8 for Windows' own code page.
    whole.update(unicodedata.normalize(form, one) for one in accented for form in ("NFC", "NFD"))
    whole.update(one.encode("utf-8", "surrogatepass").decode("cp1252", "replace") for one in accented)
    return whole


def _build_spellings(base: str) -> Iterator[str]:
    """The secret as it stands in a layer: as it is, or decoded along with the text, where it looks like escapes."""
    written = base
    for _ in range(MAX_LAYERS):
        yield written
        decoded = decode_once(written)
        if decoded == written:
            return
        written = decoded


def _build_letters(base: str) -> Iterator[tuple[str, str]]:
    letters, _ = notations.build_letters(base)
    if len(letters) >= _LEAST_LETTERS:
        yield letters, base


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
