"""Bytes from disk, and strict JSON from bytes, whatever is there.

A path may name a pipe, a device, a folder, something huge, or a file that is being written at this moment. None of
them may hang or break a start-up, and none may give a plan that differs from what its author meant: so what Python's
JSON reader lets pass (NaN, duplicate keys, numbers that overflow, half surrogate pairs) is refused here.
"""

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.errors import FallbackWord
from orchestration.gameplan.verdict import GameplanError
from orchestration.redaction import redact_start
from orchestration.state_dir import is_nested_deeper

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64  # a plan needs four; Python's own limit differs between versions and is met as RecursionError
_MAX_DIGITS = 309  # the largest double, which is what most JSON readers make of any number, has as many
_SHOWN_CHARACTERS = 60
_LONGEST_PLAIN_NAME = 50

_BOM_UTF8 = b"\xef\xbb\xbf"
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_HALF_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, kw_only=True)
class FileContent:
    """A file as it was at one moment.

    Attributes:
        content: All of its bytes.
        modified_s: When it was last written, in seconds since the epoch.
    """

    content: bytes
    modified_s: float


class _NotJsonError(ValueError):
    """Why a text is not JSON as it is understood here."""


def read_content(path: Path) -> FileContent:
    """Read a regular file of at most 1 MiB. Links are followed.

    Raises:
        GameplanError: `GAMEPLAN_MISSING` or `GAMEPLAN_UNREADABLE`.
    """
    try:
        # Opening alone can act: a pipe blocks, a watchdog device starts to count. So look before opening, and look
        # again at what was really opened.
        _refuse_special(path, path.stat())
        flags = os.O_RDONLY
        for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
            flags |= getattr(os, name, 0)
        handle = os.open(path, flags)
        try:
            return _read_handle(path, handle)
        finally:
            os.close(handle)
    except (FileNotFoundError, NotADirectoryError):
        raise GameplanError(FallbackWord.GAMEPLAN_MISSING, f"{path} does not exist") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise GameplanError(FallbackWord.GAMEPLAN_UNREADABLE, f"{path} cannot be read: {reason}") from error
    except ValueError as error:  # a null byte in the path
        raise GameplanError(FallbackWord.GAMEPLAN_UNREADABLE, f"{str(path)!r} cannot be read: {error}") from error


def _refuse_special(path: Path, status: os.stat_result) -> None:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in kinds if test(status.st_mode)), "something else")
        raise GameplanError(FallbackWord.GAMEPLAN_UNREADABLE, f"{path} is {kind}, not a regular file")
    if status.st_size > MAX_BYTES:
        raise GameplanError(
            FallbackWord.GAMEPLAN_UNREADABLE,
            f"{path} is {status.st_size} bytes long, more than the {MAX_BYTES} that are read",
        )


def _read_handle(path: Path, handle: int) -> FileContent:
    before = os.fstat(handle)
    _refuse_special(path, before)
    content = b""
    while len(content) <= MAX_BYTES:
        piece = os.read(handle, MAX_BYTES + 1 - len(content))
        if not piece:
            break
        content += piece
    after = os.fstat(handle)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(content) != after.st_size:
        raise GameplanError(
            FallbackWord.GAMEPLAN_UNREADABLE, f"{path} changed while it was being read", is_unsettled=True
        )
    return FileContent(content=content, modified_s=after.st_mtime)


def parse_plan(content: bytes) -> dict[str, Any]:
    """Strict JSON: UTF-8 with or without a byte order mark, one object, nothing that readers understand differently.

    Raises:
        ValueError: One clause that says why it is not.
    """
    text = _decode(content)
    _check_depth(text)
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
            parse_int=_parse_int,
            object_pairs_hook=_unique_pairs,
        )
    except json.JSONDecodeError as error:
        raise _NotJsonError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _NotJsonError("not JSON here: nested too deep") from None
    if _HALF_SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise _NotJsonError("not JSON here: a text holds half of a surrogate pair, which is no character") from None
    if not isinstance(value, dict):
        raise _NotJsonError(f"the plan must be a JSON object, not {kind_of(value)}")
    return value


def _decode(content: bytes) -> str:
    unmarked = content.removeprefix(_BOM_UTF8)
    if not unmarked.strip():
        raise _NotJsonError("not JSON: the file is empty")
    # JSON begins with an ASCII character, so a zero among the first two bytes is UTF-16 (or UTF-32) without a mark.
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:2]:
        raise _NotJsonError("not UTF-8 text but UTF-16 or UTF-32; save it as UTF-8")
    try:
        return unmarked.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = len(content) - len(unmarked) + error.start + 1
        raise _NotJsonError(f"not UTF-8 text: byte {byte} cannot be decoded") from None


def _check_depth(text: str) -> None:
    if is_nested_deeper(text, MAX_DEPTH):
        raise _NotJsonError(f"not JSON here: nested deeper than {MAX_DEPTH} levels")


def _refuse_constant(name: str) -> float:
    raise _NotJsonError(f"not JSON: {name} is not a number in JSON")


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _NotJsonError(f"not JSON here: the number {_cut(text)} is too large")
    return value


def _parse_int(text: str) -> int:
    if len(text.lstrip("-")) > _MAX_DIGITS or math.isinf(float(text)):
        raise _NotJsonError(f"not JSON here: the number {_cut(text)} is too large")
    return int(text)


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for name, value in pairs:
        if name in unique:
            raise _NotJsonError(f"not JSON here: {show(name)} stands twice in one object")
        unique[name] = value
    return unique


def kind_of(value: object) -> str:
    """What a JSON value is, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    kinds = ((dict, "an object"), (list, "a list"), (str, "a text"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")


def show(value: object) -> str:
    """A JSON value for people: short, on one line, nothing in it that a terminal would act on."""
    if isinstance(value, dict | list):
        return kind_of(value) if value else json.dumps(value)
    if isinstance(value, str):
        return f'"{_cut("".join(_printable(redact_start(value, limit=_SHOWN_CHARACTERS))))}"'
    return _cut(json.dumps(value))


def show_place(parts: tuple[str | int, ...]) -> str:
    """Where a value stands in a plan: `hard_limits.max_daily_loss_pct`, `symbols[3]`, `vix_gate["an odd name"]`."""
    place = ""
    for part in parts:
        if isinstance(part, int):
            place += f"[{part}]"
        elif _PLAIN_NAME.fullmatch(part) and len(part) <= _LONGEST_PLAIN_NAME:
            place += f".{part}" if place else part
        else:
            place += f"[{show(part)}]"
    return place or "the plan"


def _printable(text: str) -> Iterator[str]:
    for character in text:
        yield character if character.isprintable() else json.dumps(character)[1:-1]


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
