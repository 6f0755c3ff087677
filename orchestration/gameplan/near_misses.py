"""Field names that look like a slip of a known one.

Unknown fields are allowed, so a mistyped name would pass, and what it says would not count: `"data_quarantin": true`
would be traded on. A name that is at most two edits from a known name of the same object, or that differs from one in
case and separators only, is therefore a problem. Inside the objects that hold anything (`key_levels`, `scorecard`,
`strategy_parameters`) every name is free, and names that the operator's own schema declares are the operator's.

The right name in the wrong object has no effect either: `"quarantine_active": true` beside `data_quality` would be
traded on. A name that restricts trading is therefore a problem in another object of the plan, and so is whatever else
says that the plan is quarantined (`"quarantined": true`).
"""

import difflib
import functools
import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from orchestration.gameplan.reader import show_place

# A place is the path of an object in the plan: () is the plan itself.
Place = tuple[str, ...]
Declared = Mapping[Place, Collection[str]]

_SCHEMA = Path(__file__).with_name("schema.json")
_LIMITS: Place = ("hard_limits",)
_MAX_FOUND = 1000  # fifty are shown
_MAX_LIMITS = 200  # more are a violation of the schema, and comparing by likeness takes time
_MOST_EDITS = 2
_MOST_LEVELS = 20  # of the operator's own objects; the reader refuses far deeper plans

_QUARANTINE_FLAGS = frozenset({"dataquarantine", "quarantineactive"})  # as `_bare` writes them
_QUARANTINE_WORDS = ("quarantine", "quarantined")
_TRUE_TEXTS = frozenset({"true", "yes", "on", "active", "1"})

# A limit's name is also a near miss from this likeness on, and only if each of its words has a counterpart:
# `max_daily_loss` has, `max_weekly_loss_pct` (0.81) and `max_single_position_pct` (0.91) are an operator's own names.
_NEAR_NAME = 0.83
_NEAR_WORD = 0.6  # `percent` for `pct`, `dialy` for `daily`; `weekly` for `daily` is 0.36, `time` for `dte` 0.57
_SHORTEST_ABBREVIATION = 3


def find_near_misses(plan: object, declared: Declared | None = None) -> tuple[str, ...]:
    """Every field whose name looks like a slip of a known one, with its place and the name that was meant.

    Args:
        plan: A parsed plan, valid or not.
        declared: The names that the operator's own schema declares, by the place of their object.
    """
    if not isinstance(plan, dict):
        return ()
    return tuple(islice(_find(plan, declared or {}), _MAX_FOUND))


def near_miss(name: str, place: Place = _LIMITS) -> str | None:
    """The known name of the object at `place` that `name` is taken for a slip of; None if it is none."""
    known = known_names()[place]
    if name in known or len(name) > 2 * max(map(len, known)):
        return None
    bare = _bare(name)
    bare_names = _bare_names()[place]
    for one, bare_one in zip(known, bare_names, strict=True):
        if bare == bare_one:
            return one
    for one, bare_one in zip(known, bare_names, strict=True):
        if is_within(name, one, _MOST_EDITS) or is_within(bare, bare_one, _MOST_EDITS):
            return one
    return _likely_limit(name, known) if place == _LIMITS else None


@functools.cache
def known_names() -> Mapping[Place, tuple[str, ...]]:
    """The names that the schema knows, by the place of their object; free objects are not in it."""
    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    return dict(_walk((), schema))


@functools.cache
def _bare_names() -> Mapping[Place, tuple[str, ...]]:
    return {place: tuple(map(_bare, names)) for place, names in known_names().items()}


def is_within(one: str, other: str, most: int) -> bool:
    """Whether at most so many insertions, deletions and replacements of a character turn one text into the other."""
    if abs(len(one) - len(other)) > most or not _shares_piece(one, other, most + 1):
        return False
    # Only the cells that can still lead to a small distance are computed: those near the diagonal.
    beyond = most + 1
    row = [min(column, beyond) for column in range(len(other) + 1)]
    for line, character in enumerate(one, start=1):
        first, last = max(1, line - most), min(len(other), line + most)
        new = [beyond] * (len(other) + 1)
        new[0] = min(line, beyond)
        for column in range(first, last + 1):
            new[column] = min(
                row[column] + 1, new[column - 1] + 1, row[column - 1] + (character != other[column - 1]), beyond
            )
        if min(new) == beyond:
            return False
        row = new
    return row[-1] <= most


def _shares_piece(one: str, other: str, pieces: int) -> bool:
    """Whether one of so many pieces of `other` stands in `one`: fewer edits than pieces leave one of them whole.

    It costs far less than the comparison, which it spares nearly every pair of names.
    """
    size = len(other)
    cuts = [size * number // pieces for number in range(pieces + 1)]
    return any(other[start:end] in one for start, end in pairwise(cuts))


def _walk(place: Place, schema: Mapping[str, Any]) -> Iterator[tuple[Place, tuple[str, ...]]]:
    properties = schema.get("properties", {})
    if properties:
        yield place, tuple(properties)
    for name, part in properties.items():
        yield from _walk((*place, name), part)


def _find(plan: Mapping[str, Any], declared: Declared) -> Iterator[str]:
    for place in known_names():
        target: Any = plan
        for part in place:
            target = target.get(part) if isinstance(target, dict) else None
        if not isinstance(target, dict) or (place == _LIMITS and len(target) > _MAX_LIMITS):
            continue
        kind = "limit" if place == _LIMITS else "field"
        exempt = declared.get(place, ())
        for name, value in target.items():
            if name in exempt or name in known_names()[place]:
                continue
            shown = show_place((*place, name))
            if (meant := near_miss(name, place)) is not None:
                yield f"{shown}: is not a known {kind}; did you mean {meant}?"
            elif (right := find_right_place(name, place)) is not None:
                yield f"{shown}: has no effect here; did you mean {show_place(right)}?"
            elif _says_quarantined(name, value):
                yield (
                    f"{shown}: is not a known {kind}, so it does not quarantine the plan; "
                    "data_quality.quarantine_active does"
                )
            elif isinstance(value, dict):
                yield from _find_misplaced_flags(value, (*place, name), declared, depth=0)


def find_right_place(name: str, place: Place) -> Place | None:
    """Where a field that restricts trading has its effect, if `name` is one (or a slip of one) in the wrong object."""
    if len(name) > _LONGEST_RESTRICTING:
        return None
    bare = _bare(name)
    for right, names in _RESTRICTING.items():
        if right == place:
            continue
        for one, bare_one in names.items():
            if bare == bare_one or is_within(name, one, _MOST_EDITS) or is_within(bare, bare_one, _MOST_EDITS):
                return (*right, one)
    return None


def _find_misplaced_flags(own: Mapping[str, Any], place: Place, declared: Declared, *, depth: int) -> Iterator[str]:
    """The set quarantine flags in an object of the operator's own: the names mean nothing else."""
    exempt = declared.get(place, ())
    for name, value in own.items():
        if name in exempt:
            continue
        if _bare(name) in _QUARANTINE_FLAGS and _is_true(value):
            right = find_right_place(name, place) or ("data_quality", "quarantine_active")
            yield f"{show_place((*place, name))}: has no effect here; did you mean {show_place(right)}?"
        elif isinstance(value, dict) and depth < _MOST_LEVELS:
            yield from _find_misplaced_flags(value, (*place, name), declared, depth=depth + 1)


def _says_quarantined(name: str, value: object) -> bool:
    """Whether a field that no reader uses says that the plan is quarantined."""
    if not _is_true(value):
        return False
    return any(is_within(word, one, _MOST_EDITS) for word in _words(name) for one in _QUARANTINE_WORDS)


def _is_true(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _TRUE_TEXTS
    return value is True or (isinstance(value, int | float) and value == 1)


def _likely_limit(name: str, known: tuple[str, ...]) -> str | None:
    """The hard limit whose words these are, in another order, abbreviated or with one left out; or None."""
    words = _words(name)
    for one in known:
        if sorted(words) == sorted(_words(one)):
            return one
    written = "_".join(words)
    likely = max(known, key=lambda one: _likeness(written, one))
    if _likeness(written, likely) < _NEAR_NAME:
        return None
    own = [word for word in words if word not in _words(likely)]
    missing = [word for word in _words(likely) if word not in words]
    is_slip = all(any(_is_near_word(word, other) for other in missing) for word in own)
    return likely if is_slip else None


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]


def _bare(name: str) -> str:
    """The name without what people vary in spelling one: case, separators, invisible characters, wide letters."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))


# Names that restrict trading, by the place where they have an effect, each with its bare form. The other names are
# common words (`date`, `threshold`) or restrict nothing, and may well be an operator's own in another object.
_RESTRICTING: Mapping[Place, Mapping[str, str]] = {
    place: {name: _bare(name) for name in names}
    for place, names in (
        (
            (),
            (
                "data_quarantine",
                "position_size_multiplier",
                "entry_window_start",
                "entry_window_end",
                "earnings_blackout",
                "vix_gate",
            ),
        ),
        (
            _LIMITS,
            (
                "max_daily_loss_pct",
                "pdt_trades_remaining",
                "weekly_drawdown_governor_active",
                "max_intraday_pivots",
                "max_single_position",
                "force_close_at_dte",
                "max_weekly_drawdown_pct",
            ),
        ),
        (("data_quality",), ("quarantine_active",)),
    )
}
_LONGEST_RESTRICTING = 2 * max(len(name) for names in _RESTRICTING.values() for name in names)


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def _is_near_word(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    is_abbreviation = len(shorter) >= _SHORTEST_ABBREVIATION and longer.startswith(shorter)
    return is_abbreviation or _likeness(one, other) >= _NEAR_WORD
