r"""The notations in which a text can stand for another one, undone layer by layer. Pure.

A secret rarely leaves a program as it is. A shell quotes it, JSON and Python escape it, XML names its characters, an
address percent-encodes it, and each of these may be wrapped in another one. To list all forms of a secret is hopeless;
so the text is decoded instead, one layer at a time, and each layer is searched. A layer knows what in the original text
each of its characters comes from, which is what has to be masked.

What was turned into Base64 or hexadecimal as a whole (`decode_runs`) is searched like a text of its own, and so are
the bytes of dumps and lists (`orchestration.redaction.dumps`).

Four views of each layer are searched, because what they undo is no escape but noise between characters:

* quotes, backslashes and dollar signs, with which shells cut a word into pieces (`'pa'\''ss'`), and any number of
  which JSON in JSON puts before a character;
* separators between hexadecimal bytes;
* line breaks in Base64;
* all that is neither a letter nor a digit: a line break in the middle of a secret with the frame around the lines, the
  backtick of PowerShell, the caret of `cmd`, a sign that is doubled, characters that are not seen.
"""

import binascii
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

MAX_LAYERS = 8  # a text that is wrapped more often is an attack on our time, not a log

# The start of a sequence that a terminal acts on, up to its end.
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\x9d]*(?:\x07|\x1b\\|\x9c)"  # OSC: title, clipboard, links
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x90\x98\x9c\x9e\x9f]*(?:\x1b\\|\x9c)"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"  # the rest, without what begins one of the above
)

# Of several backslashes, as JSON in JSON has them, only the last one is used up: the others may stand for a real one.
# They must not make another escape of what follows them then, so each becomes this, which no secret holds.
_SPENT = "\x1c"
_ESCAPE = re.compile(
    # Taken possessively, and only from the first one on: a run of a million of them is passed over once.
    r"(?<!\\)(?P<run>\\++)(?:x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"
    r"|[xu]\{(?P<braced>[0-9a-fA-F]{1,6})\}|(?P<octal>[0-3][0-7]{2}))"
    r"|%(?P<percent>[0-9a-fA-F]{2})|%u(?P<percent_u>[0-9a-fA-F]{4})"
    # A shell may have put a backslash before `#` and `;`.
    r"|&(?:[\\\x1c]*+#(?:(?P<decimal>[0-9]{1,7})|[xX](?P<hex>[0-9a-fA-F]{1,6}))|(?P<name>[A-Za-z][A-Za-z0-9]{1,31}))(?:[\\\x1c]*+;)?"
    # What comes of escaped bytes, each taken for a character, and of escaped UTF-16 units.
    r"|(?P<utf8>[\xc2-\xdf][\\\x1c]*+[\x80-\xbf]|[\xe0-\xef](?:[\\\x1c]*+[\x80-\xbf]){2}"
    r"|[\xf0-\xf4](?:[\\\x1c]*+[\x80-\xbf]){3})"
    r"|(?P<utf16>[\ud800-\udbff][\\\x1c]*+[\udc00-\udfff])"
    rf"|(?P<ansi>{_ANSI.pattern}|[^\n\x08]\x08|\x00)"  # UTF-16 that is read as UTF-8 has a NUL at every second place
)
_IN_BASE_16 = frozenset({"x", "u", "U", "braced", "percent", "percent_u", "hex"})
_LAST_CHARACTER = 0x10FFFF
_PLACE = "L"  # places as machine words: a list of a million numbers would take ten times the memory


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A text after some decoding.

    Attributes:
        text: The decoded text.
        starts: For each of its characters, where in the original text that which stands for it begins.
        ends: For each of its characters, where in the original text that which stands for it ends.
    """

    text: str
    starts: "array[int]"
    ends: "array[int]"


def remove_terminal_sequences(text: str) -> str:
    """The text without what a terminal would act on: colours, cursor movements, titles, links."""
    return _ANSI.sub("", text)


def decode_once(text: str) -> str:
    """The text with one layer of escapes undone; the same text where there is none."""
    return _ESCAPE.sub(_decode_match, text)


def build_layers(text: str) -> Iterator[Layer]:
    """The text itself, and then each decoded layer of it until nothing is left to decode."""
    layer = Layer(text=text, starts=array(_PLACE, range(len(text))), ends=array(_PLACE, range(1, len(text) + 1)))
    for _ in range(MAX_LAYERS):
        yield layer
        decoded = _decode_layer(layer)
        if decoded.text == layer.text:
            return
        layer = decoded
    yield layer


def _decode_layer(layer: Layer) -> Layer:
    pieces: list[str] = []
    starts, ends = array(_PLACE), array(_PLACE)
    done = 0
    for match in _ESCAPE.finditer(layer.text):
        first, last = match.span()
        spent = _count_spent(match)
        decoded = _decode_match(match)[spent:]
        pieces += (layer.text[done:first], _SPENT * spent, decoded)
        first += spent
        starts += layer.starts[done:first]
        ends += layer.ends[done:first]
        starts += array(_PLACE, (layer.starts[first],)) * len(decoded)
        ends += array(_PLACE, (layer.ends[last - 1],)) * len(decoded)
        done = last
    pieces.append(layer.text[done:])
    starts += layer.starts[done:]
    ends += layer.ends[done:]
    return Layer(text="".join(pieces), starts=starts, ends=ends)


def _decode_match(match: re.Match[str]) -> str:
    return _SPENT * _count_spent(match) + _decode_escape(match)


def _count_spent(match: re.Match[str]) -> int:
    return 0 if match["run"] is None else len(match["run"]) - 1


def _decode_escape(match: re.Match[str]) -> str:
    kind = match.lastgroup or ""
    if kind == "ansi":
        return ""
    if kind == "name":
        import html

        return html.unescape(f"&{match['name']};") if match[0].endswith(";") else html.unescape(match[0])
    if kind == "utf8":
        return _without_quoting(match[0]).encode("latin-1").decode("utf-8", "ignore") or match[0]
    if kind == "utf16":
        return _without_quoting(match[0]).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    base = 16 if kind in _IN_BASE_16 else 8 if kind == "octal" else 10
    number = int(match[kind], base)
    return chr(number) if number <= _LAST_CHARACTER else match[0]


def _without_quoting(text: str) -> str:
    return text.replace("\\", "").replace(_SPENT, "")


# What a shell, Python or JSON puts between the characters of a word, and what stands for a blank in a form.
_QUOTING = f"'\"\\${_SPENT}"
_QUOTING_RUN = re.compile(f"[{re.escape(_QUOTING)}]++")
# A line break is written `\\n`: without its backslash it is the letter, so the real one becomes that letter, too.
_LETTERS = {"\n": "n", "\r": "r", "\t": "t", "+": " "}
_UNQUOTE_TABLE = bytes.maketrans(b"\n\r\t+", b"nrt ")
_UNQUOTE_DELETED = _QUOTING.encode()
_UNQUOTE_STR = {ord(one): None for one in _QUOTING} | {ord(one): letter for one, letter in _LETTERS.items()}
# Which characters of a text may stand for one of a secret, where it is not that character alone.
_STAND_INS = {"\\": f"\\{_SPENT}", "\n": "\nn", "\r": "\rr", "\t": "\tt", " ": " +"}

_HEX_SEPARATORS = b" \t\r\n:,;_+-'\"\\\x1c"
_LOWER_TABLE = bytes.maketrans(b"ABCDEF", b"abcdef")
_HEX_NOISE = re.compile(r"0[xX]|[ \t\r\n:,;_+'\"\\\x1c-]")
_BASE64_TABLE = bytes.maketrans(b"-_", b"+/")
_BASE64_NOISE = re.compile(r"(?<!\\)\\++[nrt]|[ \t\r\n'\"$\\\x1c]")
_BASE64_BREAK = re.compile(rb"(?<!\\)\\++[nrt]")


_NO_LETTERS = bytes(one for one in range(128) if not chr(one).isalnum())
# Blanks, box drawing, characters that join or divide words without being seen.
_UNSEEN = re.compile("[\x80-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u2064\u2500-\u257f\u3000\ufeff]")
_MOST_SIGNS = 16
_NOT_A_LETTER = re.compile(f"(?:[\\x00-\\x7f](?<![0-9A-Za-z])|{_UNSEEN.pattern})+")
# Breaks that are written with letters or digits: by JSON and C, by rsyslog, in HTML.
_WRITTEN_BREAK = re.compile(r"(?:(?<!\\)\\++[nrt]|#01[125]|<br ?/?>)+", re.IGNORECASE)
_WRITTEN_BREAK_BYTES = re.compile(_WRITTEN_BREAK.pattern.encode(), re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Views:
    """What is searched of one layer, as UTF-8: made in microseconds, and without places."""

    unquoted: bytes
    letters: bytes
    hexadecimal: bytes
    base64: bytes


def build_views(text: str) -> Views:
    """The four views of a layer's text."""
    content = text.encode("utf-8", "surrogatepass")
    seen = content if text.isascii() else _UNSEEN.sub("", text).encode("utf-8", "surrogatepass")
    letters = seen.translate(None, _NO_LETTERS)
    if b"\\" in seen or b"#" in seen or b"<" in seen:
        letters += b"\n" + _WRITTEN_BREAK_BYTES.sub(b"", seen).translate(None, _NO_LETTERS)
    unbroken = _BASE64_BREAK.sub(b"", content) if b"\\" in content else content
    return Views(
        unquoted=content.translate(_UNQUOTE_TABLE, _UNQUOTE_DELETED),
        letters=letters,
        hexadecimal=content.translate(_LOWER_TABLE, _HEX_SEPARATORS).replace(b"0x", b"").replace(b"0X", b""),
        base64=unbroken.translate(_BASE64_TABLE, b" \t\r\n'\"$\\\x1c"),
    )


def unquote(text: str) -> str:
    """A text as it stands in the unquoted view."""
    return text.translate(_UNQUOTE_STR)


def build_unquoted(text: str) -> tuple[str, "array[int]"]:
    """The unquoted view of a layer, and the place in the layer of each of its characters."""
    kept = array(_PLACE, (place for place, one in enumerate(text) if one not in _QUOTING))
    return unquote(text), kept


def build_hexadecimal(text: str) -> tuple[str, "array[int]"]:
    """The view of hexadecimal bytes."""
    view, kept = _without(text, _HEX_NOISE)
    return "".join(one.lower() if one in "ABCDEF" else one for one in view), kept


def build_base64(text: str) -> tuple[str, "array[int]"]:
    """The view of Base64; the URL-safe alphabet becomes the usual one."""
    view, kept = _without(text, _BASE64_NOISE)
    return view.replace("-", "+").replace("_", "/"), kept


def build_letters(text: str) -> tuple[str, "array[int]"]:
    """The view of letters and digits alone."""
    return _without(text, _NOT_A_LETTER)


def build_unbroken_letters(text: str) -> tuple[str, "array[int]"] | None:
    """The same without written line breaks such as JSON's; None where there are none."""
    if not _WRITTEN_BREAK.search(text):
        return None
    unbroken, places = _without(text, _WRITTEN_BREAK)
    view, kept = build_letters(unbroken)
    return view, array(_PLACE, (places[place] for place in kept))


def _without(text: str, noise: re.Pattern[str]) -> tuple[str, "array[int]"]:
    kept = array(_PLACE)
    pieces: list[str] = []
    done = 0
    for match in noise.finditer(text):
        pieces.append(text[done : match.start()])
        kept.extend(range(done, match.start()))
        done = match.end()
    pieces.append(text[done:])
    kept.extend(range(done, len(text)))
    return "".join(pieces), kept


# Long enough for a secret that is worth its name; what stands on one line may be continued on the next.
_RUN = re.compile(r"[A-Za-z0-9+/_-]{12,}(?:(?:\\[rn]|[\r\n])+[A-Za-z0-9+/_-]{2,})*")
_RUN_BREAK = re.compile(r"\\[rn]|[\r\n]")
_HEX_RUN = re.compile(r"[0-9a-fA-F]{12,}")
_UNLIKELY = bytes({*range(1, 9), *range(11, 13), *range(14, 27), *range(28, 32), *range(127, 256)})
_MOST_UNLIKELY = 0.45  # of random bytes 0.6 are
# Among other bytes: as long as a secret of nine characters is in Base64. One in 60,000 places of random bytes has it.
_LIKELY_STRETCH = re.compile(rb"[^\x01-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\xff]{12}")


def decode_runs(text: str) -> Iterator[tuple[int, int, str]]:
    """Each stretch that may be a text in Base64 or hexadecimal, and the text; a secret in it may be encoded once more.

    Where a stretch begins is not known for certain, so each of the possible alignments is tried. One that comes to
    bytes that are hardly a text is left out.
    """
    for match in _RUN.finditer(text):
        run = _RUN_BREAK.sub("", match[0])
        for digits in _HEX_RUN.findall(run):
            for start in range(2):
                piece = digits[start : start + (len(digits) - start) // 2 * 2]
                yield from _as_text(match.span(), bytes.fromhex(piece))
        usual = run.replace("-", "+").replace("_", "/")
        for start in range(4):
            piece = usual[start:]
            piece = piece[: len(piece) - 1] if len(piece) % 4 == 1 else piece
            yield from _as_text(match.span(), binascii.a2b_base64(piece + "=" * (-len(piece) % 4)))


def _as_text(span: tuple[int, int], content: bytes) -> Iterator[tuple[int, int, str]]:
    unlikely = len(content) - len(content.translate(None, _UNLIKELY))
    is_likely = unlikely <= _MOST_UNLIKELY * len(content) or _LIKELY_STRETCH.search(content)
    if is_likely and (text := content.replace(b"\0", b"")):
        yield *span, text.decode("utf-8", "replace")


def extend_over_quoting(text: str, first: int, last: int) -> tuple[int, int]:
    """The stretch `first` to `last`, and the quoting on both sides of it."""
    while first > 0 and text[first - 1] in _QUOTING:
        first -= 1
    while last < len(text) and text[last] in _QUOTING:
        last += 1
    return first, last


def extend_over_signs(text: str, first: int, last: int) -> tuple[int, int]:
    """The stretch `first` to `last`, and up to 16 characters on both sides that are neither letters nor digits."""
    bounds = max(0, first - _MOST_SIGNS), min(len(text), last + _MOST_SIGNS)
    while first > bounds[0] and _NOT_A_LETTER.match(text[first - 1]):
        first -= 1
    while last < bounds[1] and _NOT_A_LETTER.match(text[last]):
        last += 1
    return first, last


def has_quoting_of(text: str, secret: str) -> bool:
    """Whether a text holds each character of quoting as often as a secret does: a quick look, before any other."""
    return all(text.count(one) >= secret.count(one) for one in set(secret) if one in "'\"$") and (
        "\\" not in secret or "\\" in text or _SPENT in text
    )


def find_quoting(text: str) -> Iterator[tuple[int, int]]:
    """Each stretch of nothing but quoting."""
    for match in _QUOTING_RUN.finditer(text):
        yield match.span()


def has_quoting_at(secret: str) -> tuple[bool, bool]:
    """Whether a secret itself begins, and ends, with a character that the unquoted view leaves out."""
    return secret[:1] in _QUOTING, secret[-1:] in _QUOTING


def stands_for(written: str, secret: str) -> bool:
    """Whether every character of the secret is in what was written, in order: the unquoted view knows no quotes."""
    return _find_last(written, secret) is not None


def find_written(written: str, secret: str) -> tuple[int, int] | None:
    """The shortest stretch that ends where the secret is complete, or None: see `stands_for`."""
    last = _find_last(written, secret)
    if last is None:
        return None
    first = _find_last(written[:last][::-1], secret[::-1])
    return None if first is None else (last - first, last)


def _find_last(written: str, secret: str) -> int | None:
    """Where each character of the secret has been found, in order; None where one is missing."""
    place = 0
    for one in secret:
        stand_ins = _STAND_INS.get(one, one)
        while place < len(written) and written[place] not in stand_ins:
            place += 1
        if place == len(written):
            return None
        place += 1
    return place
