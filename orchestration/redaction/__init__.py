"""Keeps secrets, and what a terminal acts on, out of whatever leaves the program.

* `Redactor` finds secrets in every notation;
* `clean_text`, `clean_line` and `clean_lines` make text that is not ours fit to be shown: redact whole, cut, clean;
* `FileTail`, `LineReader` and `read_last_lines` do that for logs that grow, or are too long to be read whole;
* `protect` tells this process's own redactor (`own_redactor`) what must not be shown by anything that it writes.
"""

from orchestration.redaction.redactor import MASK, Redactor, mask_account, own_redactor, protect, redactor_for
from orchestration.redaction.tail import FileTail, LineReader, read_last_lines
from orchestration.redaction.text import (
    CUT_MARK,
    LINE_LIMIT,
    CleaningFormatter,
    clean_document,
    clean_line,
    clean_lines,
    clean_text,
    escape_unsafe,
    redact_start,
)

__all__ = [
    "CUT_MARK",
    "LINE_LIMIT",
    "MASK",
    "CleaningFormatter",
    "FileTail",
    "LineReader",
    "Redactor",
    "clean_document",
    "clean_line",
    "clean_lines",
    "clean_text",
    "escape_unsafe",
    "mask_account",
    "own_redactor",
    "protect",
    "read_last_lines",
    "redact_start",
    "redactor_for",
]
