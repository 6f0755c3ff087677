"""What programs print of bytes: dumps, lists of numbers, quoted-printable. Pure.

A dump shows the bytes once as numbers and, often, once more as characters, 16 to a line, so a secret in it is cut into
pieces that no search of the text finds. The bytes are put together again here, over all lines of a dump; where a secret
is found in them, the dump is masked as a whole.

The formats are those of `xxd`, `hexdump` (plain and `-C`), `od` (`-c`, `-b`, `-t x1`, `-t u1` and its octal words),
`curl --trace`, a list of bytes as Python, Java and JavaScript print it, and RFC 2045's quoted-printable.
"""

import binascii
import re
from collections.abc import Callable, Iterator

_BYTES_A_LINE = 16
_CELL = 4  # characters in which `od -c` prints one byte
_LEAST_NUMBERS = 6

_OFFSET = r"(?<![0-9a-zA-Z])[0-9a-fA-F]{4,16}:?"
_HEX_LINE = re.compile(rf"{_OFFSET}(?P<bytes>(?:[ \t]{{1,5}}-?(?:[0-9a-fA-F]{{2}}){{1,4}}(?![0-9a-zA-Z]))+)")
_NUMBER_LINE = re.compile(r"(?<![0-9a-zA-Z])[0-7]{7}(?P<bytes>(?:[ \t]+-?[0-9]{1,6}(?![0-9a-zA-Z]))+)")
_CHARACTER_LINE = re.compile(
    r"(?<![0-9a-zA-Z])[0-7]{7}(?P<bytes>(?:   [!-~ ]|  \\[0abfnrtv]| [0-7]{3}){1,16})(?=$|  >)", re.MULTILINE
)
_NUMBERS = re.compile(
    rf"(?<![\w.-])-?\d{{1,3}}(?:(?:[ \t]{{0,4}}[,;]\s{{0,8}}|\s{{1,8}})-?\d{{1,3}}(?![\w.])){{{_LEAST_NUMBERS - 1},}}"
)
# Most texts hold none of these. To look for what each must hold takes a tenth of the time.
_START_OF_OFFSETS = "0000"  # of a dump's first line, and of each of the first 64 KiB
_FEW_NUMBERS = re.compile(
    r",\s?-?\d{1,3},\s?-?\d{1,3},\s?-?\d{1,3},|[ \n]-?\d{1,3}[ \n]+-?\d{1,3}[ \n]+-?\d{1,3}[ \n]+-?\d"
)
# An equals sign, a byte that is not ASCII, two bytes in a row, a line that goes on; `limit=42` is none of these.
_QUOTED_BYTE = re.compile(r"=(?:3D|[A-F][0-9A-F]|[0-9A-F]{2}=[0-9A-F]{2}|\r?\n)")
_QUOTED_PRINTABLE = re.compile(r"^.*=(?:[0-9A-F]{2}|$).*$(?:\n.*=(?:[0-9A-F]{2}|$).*$)*+(?:(?<==)\n.*$)?", re.MULTILINE)
_ESCAPED = {"0": 0, "a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}

Decode = Callable[[str], bytes]


def decode_dumps(text: str) -> Iterator[tuple[int, int, str]]:
    """Each stretch that may be printed bytes, and what they are as a text."""
    if _START_OF_OFFSETS in text:
        for pattern, decodings in _LINE_FORMATS:
            for span, lines in _find_blocks(text, pattern):
                for decode in decodings:
                    yield *span, b"".join(map(decode, lines)).decode("utf-8", "replace")
    if _FEW_NUMBERS.search(text):
        for match in _NUMBERS.finditer(text):
            yield *match.span(), _read_numbers(match[0], base=10).decode("utf-8", "replace")
    if _QUOTED_BYTE.search(text):
        for match in _QUOTED_PRINTABLE.finditer(text):
            content = binascii.a2b_qp(match[0].encode("utf-8", "replace"))
            for encoding in ("utf-8", "latin-1"):
                yield *match.span(), content.decode(encoding, "replace")


def _find_blocks(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[tuple[int, int], list[str]]]:
    """The dumps: lines that follow each other and hold bytes, whatever a log put before them."""
    lines: list[str] = []
    first = last = 0
    for match in pattern.finditer(text):
        if lines and text.count("\n", last, match.start()) != 1:
            yield (first, last), lines
            lines = []
        if not lines:
            first = match.start()
        lines.append(match["bytes"])
        end = text.find("\n", match.end())
        last = len(text) if end < 0 else end
    if lines:
        yield (first, last), lines


def _read_hex(line: str) -> bytes:
    return bytes.fromhex("".join(line.replace("-", " ").split()))[:_BYTES_A_LINE]


def _read_little_endian(line: str) -> bytes:
    return b"".join(bytes.fromhex(group)[::-1] for group in line.replace("-", " ").split())[:_BYTES_A_LINE]


def _read_octal_words(line: str) -> bytes:
    words = (int(word, 8) for word in line.split() if word.isdigit() and not set(word) & set("89"))
    return b"".join((word & 0xFFFF).to_bytes(2, "little") for word in words)


def _read_octal(line: str) -> bytes:
    return _read_numbers(line, base=8)


def _read_decimal(line: str) -> bytes:
    return _read_numbers(line, base=10)


def _read_numbers(listed: str, *, base: int) -> bytes:
    """The bytes of a list; a negative one is a signed byte. What is no byte ends a text, so it becomes a NUL."""
    numbers = re.findall(r"-?\d+", listed)
    if base < 10 and any(set(number) & set("89") for number in numbers):  # noqa: PLR2004 - octal has no 8 and 9
        return b""
    return bytes(value & 0xFF if -0x80 <= (value := int(number, base)) <= 0xFF else 0 for number in numbers)  # noqa: PLR2004


def _read_characters(line: str) -> bytes:
    cells = (line[place : place + _CELL] for place in range(0, len(line), _CELL))
    return bytes(_read_cell(cell) for cell in cells)


def _read_cell(cell: str) -> int:
    if "\\" in cell[:-1]:
        return _ESCAPED[cell[-1]]
    number = cell.strip()
    return int(number, 8) & 0xFF if len(number) == _CELL - 1 else ord(cell[-1])


_LINE_FORMATS: tuple[tuple[re.Pattern[str], tuple[Decode, ...]], ...] = (
    (_HEX_LINE, (_read_hex, _read_little_endian)),
    (_NUMBER_LINE, (_read_octal_words, _read_octal, _read_decimal)),
    (_CHARACTER_LINE, (_read_characters,)),
)
