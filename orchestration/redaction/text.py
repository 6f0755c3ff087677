"""Text that is not ours, made fit to be shown: redacted whole, then cut, then cleaned. Nowhere else is that done.

What a bot, a container, the gateway, a plan or a person says may hold a secret, may be endless, and may hold characters
that a terminal acts on, that forge a second line of a log, or that SQLite refuses. The order matters: half a secret is
not recognised any more, and what a cut leaves of a control sequence has to be cleaned, too.
"""

import logging
import re
from collections.abc import Iterable, Sequence

from orchestration.redaction.notations import remove_terminal_sequences
from orchestration.redaction.redactor import Redactor, own_redactor

LINE_LIMIT = 2000  # characters of a line of evidence; more of it is not read
TEXT_LIMIT = 32_000
CUT_MARK = " …"

_TAB = "    "
_UNSAFE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1, but for tabs and line ends
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional overrides: what is shown is not what is there
    r"\u2028\u2029"  # line separators
    r"\u200b-\u200d\u2060\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible
    r"\ud800-\udfff"  # halves of surrogate pairs, which no encoding takes
)
_UNSAFE_IN_TEXT = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_LINE = re.compile(f"[{_UNSAFE}\n]")


def clean_text(text: str, redactor: Redactor | None = None, *, limit: int = TEXT_LIMIT) -> str:
    """A text of any number of lines, fit to be shown: no secret, at most about `limit` characters, no controls.

    Args:
        text: Whatever was said.
        redactor: Knows the secrets; by default all that this process has loaded.
        limit: Where it is cut, in characters.
    """
    return _clean(_cut(redact_start(text, redactor, limit=limit), limit), _UNSAFE_IN_TEXT)


def clean_line(text: str, redactor: Redactor | None = None, *, limit: int = TEXT_LIMIT) -> str:
    r"""Like `clean_text`, on one line: a line break is shown as `\n`."""
    return finish_line(redact_start(text, redactor, limit=limit), limit=limit)


def clean_lines(
    text: str | Iterable[str], redactor: Redactor | None = None, *, last: int | None = None, limit: int = LINE_LIMIT
) -> tuple[str, ...]:
    """The lines of a text, each fit to be shown.

    Args:
        text: The text as a whole, or its lines. They are redacted together: a secret may span several.
        redactor: Knows the secrets; by default all that this process has loaded.
        last: Only so many, the last ones that are not blank; None keeps all.
        limit: Characters of a line.
    """
    given = [text] if isinstance(text, str) else list(text)
    if not given:
        return ()
    whole = "\n".join(given)
    lines: Sequence[str] = [line.rstrip() for line in (redactor or own_redactor()).text(whole).split("\n")]
    if last is not None:
        lines = [line for line in lines if line][-last:] if last > 0 else []
    return tuple(finish_line(line, limit=limit) for line in lines)


def finish_line(redacted: str, *, limit: int) -> str:
    """The two later steps, for a text that was redacted as a part of a longer one: cut, then cleaned."""
    return _clean(_cut(redacted.strip("\r\n"), limit), _UNSAFE_IN_LINE)


def clean_document(value: object, redactor: Redactor | None = None) -> object:
    """A JSON-like value with every text in it made fit to be shown, keys too."""
    if isinstance(value, str):
        return clean_text(value, redactor)
    if isinstance(value, dict):
        return {
            clean_line(key, redactor) if isinstance(key, str) else key: clean_document(one, redactor)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [clean_document(one, redactor) for one in value]
    return value


class CleaningFormatter(logging.Formatter):
    """A log's formatter: every record becomes one line, fit to be shown; a traceback's lines follow, each indented.

    So no message can pass for a second record.
    """

    def __init__(self, redactor: Redactor, fmt: str, *, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)
        self._redactor = redactor

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in the base class
        """See `logging.Formatter.formatMessage`."""
        return clean_line(super().formatMessage(record), self._redactor)

    def formatException(self, ei: object) -> str:  # noqa: N802 - the name in the base class
        """See `logging.Formatter.formatException`."""
        told = super().formatException(ei)  # type: ignore[arg-type]  # a tuple, as the base class says
        return "\n".join(f"  | {line}" for line in clean_lines(told, self._redactor))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - the name in the base class
        """See `logging.Formatter.formatStack`."""
        return "\n".join(f"  | {line}" for line in clean_lines(stack_info, self._redactor))


def escape_unsafe(text: str) -> str:
    r"""A JSON text with what a terminal might act on written as `\u202e`: the same document, for every reader."""
    return _UNSAFE_IN_TEXT.sub(lambda match: _escape_for_json(match[0]), text)


def redact_start(text: str, redactor: Redactor | None = None, *, limit: int) -> str:
    """The first of the three steps: the text, redacted; of one much longer than `limit`, a little more than that."""
    redactor = redactor or own_redactor()
    enough = limit + redactor.margin
    return redactor.text(text) if len(text) <= 2 * enough else redactor.text_between(text[:enough], 0, limit + 1)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + CUT_MARK


def _clean(text: str, unsafe: re.Pattern[str]) -> str:
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
    if "\t" in text:
        text = text.replace("\t", _TAB)
    if unsafe.search(text) is None:
        return text
    return unsafe.sub(_show, remove_terminal_sequences(text))


def _show(match: re.Match[str]) -> str:
    # As Python writes it: `\x1b`, `\u202e`, `\n`.
    return match[0].encode("unicode_escape").decode("ascii")


def _escape_for_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[place : place + 2]):04x}" for place in range(0, len(units), 2))
