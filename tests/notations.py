"""How other programs write a text: one function for each notation, none of them ours."""

import base64
import html
import json
import shlex
import urllib.parse
from collections.abc import Callable, Iterable

Notation = Callable[[str], str]


def _percent(text: str, *, small: bool = False) -> str:
    return "".join(f"%{byte:02x}" if small else f"%{byte:02X}" for byte in text.encode())


def _dash_trace(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _double_quoted(text: str) -> str:
    return '"' + "".join(f"\\{one}" if one in '$`"\\' else one for one in text) + '"'


def _printf_q(text: str) -> str:
    """As bash's `printf %q` and zsh's `${(q)}` do it: a backslash before whatever is special."""
    return "".join(one if one.isalnum() or one in "_./-" else "$'\\n'" if one == "\n" else f"\\{one}" for one in text)


def _dollar_quoted(text: str, *, octal: bool = False) -> str:
    names = {"\n": "\\n", "\t": "\\t", "'": "\\'", "\\": "\\\\"}

    def write(one: str) -> str:
        if octal and not one.isascii():
            return "".join(f"\\{byte:03o}" for byte in one.encode())
        return names.get(one, one)

    return "$'" + "".join(write(one) for one in text) + "'"


def _utf16_escapes(text: str) -> str:
    units = text.encode("utf-16-be")
    return "".join(f"\\u{units[place] << 8 | units[place + 1]:04x}" for place in range(0, len(units), 2))


# Notations that can be wrapped in each other in any order.
NESTABLE: dict[str, Notation] = {
    "plain": str,
    "bash trace": shlex.quote,
    "dash trace": _dash_trace,
    "double quotes": _double_quoted,
    "printf %q": _printf_q,
    "dollar quotes": _dollar_quoted,
    "dollar quotes, octal": lambda text: _dollar_quoted(text, octal=True),
    "repr": repr,
    "bytes repr": lambda text: repr(text.encode()),
    "ascii": ascii,
    "JSON": json.dumps,
    "JSON with its letters": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON with escaped slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON in JSON in JSON": lambda text: json.dumps(json.dumps(json.dumps(text))),
    "UTF-16 escapes": _utf16_escapes,
    "XML": html.escape,
    "XML, decimal": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "XML, hexadecimal": lambda text: "".join(f"&#x{ord(one):X};" for one in text),
    "XML, ASCII only": lambda text: html.escape(text).encode("ascii", "xmlcharrefreplace").decode(),
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "percent, every byte": _percent,
    "percent, small": lambda text: _percent(text, small=True),
    "form": urllib.parse.quote_plus,
    "percent twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "backslash x": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
}
# Notations that turn a text into something in which no character stands for a character any more.
OPAQUE: dict[str, Notation] = {
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal, capitals": lambda text: text.encode().hex().upper(),
    "hexadecimal, blanks": lambda text: text.encode().hex(" "),
    "hexadecimal, colons": lambda text: text.encode().hex(":").upper(),
    "hexadecimal, pairs": lambda text: text.encode().hex(" ", 2),
    "hexadecimal, list": lambda text: ", ".join(f"0x{byte:02x}" for byte in text.encode()),
    "Base64": lambda text: base64.b64encode(text.encode()).decode(),
    "Base64, one in": lambda text: base64.b64encode(b":" + text.encode() + b"\n").decode(),
    "Base64, two in": lambda text: base64.b64encode(b"u:" + text.encode() + b"\n\n").decode(),
    "Base64, URL-safe": lambda text: base64.urlsafe_b64encode(b"me:" + text.encode()).decode(),
    "Base64 of UTF-16": lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
    "hexadecimal of UTF-16": lambda text: text.encode("utf-16-be").hex(),
    "Base64, wrapped": lambda text: base64.encodebytes(b"\xff" * 50 + text.encode() + b"\xff" * 50).decode(),
}
# One character at a time, which may be mixed freely.
CHARACTERS: tuple[Notation, ...] = (
    str,
    _percent,
    lambda one: _percent(_percent(one)),
    _utf16_escapes,
    lambda one: "\\\\" + _utf16_escapes(one) if ord(one) < 0x10000 else _utf16_escapes(one),
    lambda one: f"&#{ord(one)};",
    lambda one: f"&#x{ord(one):x};",
    lambda one: f"&amp;#{ord(one)};",
    lambda one: f"\\x{ord(one):02x}" if one.isascii() else one,
    lambda one: f"\\{ord(one):03o}" if one.isascii() else one,
    lambda one: f"'{one}'" if one not in "'\\" else f"'\\{one}'",
    lambda one: f"\\{one}" if not one.isalnum() else one,
)


def longest_common(text: str, other: str, *, at_least: int) -> str:
    """A stretch of `other` of `at_least` characters that stands in `text` too; empty if there is none."""
    pieces = {text[place : place + at_least] for place in range(len(text) - at_least + 1)}
    places = range(len(other) - at_least + 1)
    return next((other[place : place + at_least] for place in places if other[place : place + at_least] in pieces), "")


def write(text: str, notations: Iterable[Notation]) -> str:
    """The text in each of these notations, one around the other."""
    for notation in notations:
        text = notation(text)
    return text
