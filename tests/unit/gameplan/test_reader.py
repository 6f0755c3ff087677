"""P3: what is on disk is read safely, and only strict JSON counts."""

import json
import os
import socket
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.errors import FallbackWord
from orchestration.gameplan.reader import MAX_BYTES, MAX_DEPTH, parse_plan, read_content
from orchestration.gameplan.verdict import GameplanError
from tests.fakes.clock import WEDNESDAY_MORNING, FakeClock
from tests.unit.gameplan.plans import changed, judge, load_plan, write_plan

_VALID = json.dumps(load_plan()).encode()
_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file")


@pytest.mark.parametrize(
    "content",
    [_VALID, b"\xef\xbb\xbf" + _VALID, b"\n\t " + _VALID + b"\r\n", json.dumps(load_plan(), indent=8).encode()],
    ids=["plain", "bom", "space around", "indented"],
)
def test_utf8_json_is_read_with_and_without_a_byte_order_mark(tmp_path: Path, content: bytes) -> None:
    verdict = judge(write_plan(tmp_path, content))

    assert verdict.is_valid
    assert verdict.content == content
    assert (verdict.strategy, verdict.date) == ("A", "2026-11-18")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"\0" * 100, "UTF-16 or UTF-32"),
        (_VALID[:-1], "not JSON: "),
        (_VALID[: len(_VALID) // 2], "not JSON: "),
        (_VALID + b"x", "Extra data"),
        (_VALID + b"\0", "Extra data"),
        (b"strategy: A\n", "not JSON: "),
        (_VALID.replace(b'"A"', b"'A'"), "not JSON: "),
        (_VALID.decode().encode("utf-16"), "UTF-16 or UTF-32; save it as UTF-8"),
        (_VALID.decode().encode("utf-16-le"), "UTF-16 or UTF-32; save it as UTF-8"),
        (_VALID.decode().encode("utf-16-be"), "UTF-16 or UTF-32; save it as UTF-8"),
        (_VALID.decode().encode("utf-32"), "UTF-16 or UTF-32; save it as UTF-8"),
        (_VALID.replace(b'"A"', b'"\xe4"'), "cannot be decoded"),
        (_VALID.replace(b"0.02", b"NaN"), "NaN is not a number in JSON"),
        (_VALID.replace(b"0.02", b"Infinity"), "Infinity is not a number in JSON"),
        (_VALID.replace(b"0.02", b"-Infinity"), "-Infinity is not a number in JSON"),
        (_VALID.replace(b"0.02", b"1e999"), "the number 1e999 is too large"),
        (_VALID.replace(b"0.02", b"-1e999"), "the number -1e999 is too large"),
        (_VALID.replace(b"0.02", b"9" * 400), "is too large"),
        (_VALID.replace(b"0.02", b"9" * 900_000), "is too large"),
        (_VALID.replace(b"0.02", b"0." + b"9" * 900_000 + b"e999"), "is too large"),
        (_VALID[:-1] + b', "date": "2026-11-18"}', '"date" stands twice'),
        (_VALID.replace(b'"wins": 3', b'"wins": 3, "wins": 3'), '"wins" stands twice'),
        (_VALID.replace(b'"wins": 3', b'"wins": [{"a": 1, "\\u0061": 2}]'), '"a" stands twice'),
        (_VALID.replace(b'"desk-1"', b'"\\ud83d"'), "half of a surrogate pair"),
        (_VALID.replace(b'"desk_note"', b'"\\udc00"'), "half of a surrogate pair"),
        (b"[" * 10_000 + b"]" * 10_000, "nested deeper than 64"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested deeper than 64"),
        (b"[" * 1_000_000, "nested deeper than 64"),
        (b'{"scorecard": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "nested deeper than 64"),
        (b'"' + b'\\"' * 500_000, "not JSON: "),
        (b"[]", "must be a JSON object, not a list"),
        (b"null", "must be a JSON object, not null"),
        (b'"A"', "must be a JSON object, not a text"),
        (b"true", "must be a JSON object, not a boolean"),
        (b"3", "must be a JSON object, not a number"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else value,
)
def test_what_is_not_strict_json_is_invalid_and_says_why(tmp_path: Path, content: bytes, cause: str) -> None:
    verdict = judge(write_plan(tmp_path, content))

    assert verdict.word is FallbackWord.GAMEPLAN_INVALID
    assert cause in verdict.message
    assert cause in verdict.problems[0]
    assert len(verdict.message) < 400 + len(str(tmp_path))
    assert not verdict.is_valid


def test_brackets_inside_texts_are_no_nesting_and_a_whole_surrogate_pair_is_a_character() -> None:
    plan = parse_plan(b'{"a": "' + b"[{" * 1000 + b'\\"[", "b": "\\ud83d\\ude00", "c": "[\\\\"}')

    assert plan["b"] == "\U0001f600"


def test_the_deepest_allowed_nesting_is_read() -> None:
    content = b'{"a": ' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"

    assert "a" in parse_plan(content)


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")

    for path in (tmp_path / "plan.json", tmp_path / "no" / "plan.json", tmp_path / "file" / "x", tmp_path / "dangling"):
        verdict = judge(path)
        assert verdict.word is FallbackWord.GAMEPLAN_MISSING, path
        assert verdict.message == f"{path} does not exist"


def test_no_configured_plan_is_its_own_word() -> None:
    verdict = judge(None)

    assert (verdict.word, verdict.path) == (FallbackWord.GAMEPLAN_NOT_CONFIGURED, None)
    assert "GAMEPLAN_PATH" in verdict.message


@_posix
def test_what_is_not_a_regular_file_is_unreadable_and_is_not_waited_for(tmp_path: Path) -> None:
    folder, pipe, name, loop = tmp_path / "folder", tmp_path / "pipe", tmp_path / "socket", tmp_path / "loop"
    folder.mkdir()
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    link = tmp_path / "link"
    link.symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        os.mknod(name, 0o140600) if os.geteuid() == 0 else server.close()
        cases = {folder: "a folder", pipe: "a pipe", link: "a pipe", Path("/dev/zero"): "a device", loop: ""}
        if os.geteuid() == 0:
            cases[name] = "a socket"
        for path, kind in cases.items():
            verdict = judge(path)
            assert verdict.word is FallbackWord.GAMEPLAN_UNREADABLE, path
            assert str(path) in verdict.message
            assert kind in verdict.message


@pytest.mark.parametrize("path", [Path("a\0b"), Path("x" * 5000), Path("\udcff.json"), Path("/proc/self/mem")])
def test_a_path_that_no_file_system_takes_is_a_verdict_too(path: Path) -> None:
    assert judge(path).word in {FallbackWord.GAMEPLAN_UNREADABLE, FallbackWord.GAMEPLAN_MISSING}


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)  # sparse: it takes no space

    verdict = judge(path)

    assert verdict.word is FallbackWord.GAMEPLAN_UNREADABLE
    assert "104857600 bytes long" in verdict.message
    assert verdict.content is None


def test_one_mebibyte_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    whole = _VALID + b" " * (MAX_BYTES - len(_VALID))

    assert judge(write_plan(tmp_path, whole)).is_valid
    assert judge(write_plan(tmp_path, whole + b" ")).word is FallbackWord.GAMEPLAN_UNREADABLE


def test_a_link_to_a_plan_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "today.json"
    link.symlink_to(write_plan(tmp_path, _VALID))

    assert judge(link).is_valid
    assert judge(link).path == link


def test_a_file_that_says_another_size_than_it_holds_is_not_trusted() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")

    with pytest.raises(GameplanError, match="changed while it was being read") as caught:
        read_content(Path("/proc/self/status"))

    assert caught.value.is_unsettled


def test_a_half_written_file_is_read_again_until_it_is_whole(tmp_path: Path) -> None:
    clock = FakeClock()
    path = write_plan(tmp_path, _VALID[:40], written=WEDNESDAY_MORNING)

    def finish_writing() -> None:
        write_plan(tmp_path, _VALID, written=WEDNESDAY_MORNING)

    clock.plan(0.7, finish_writing)

    assert judge(path, clock=clock).is_valid
    assert clock.waits_s == [0.5, 1.0]


def test_a_fresh_invalid_file_is_read_again_three_times_and_no_more(tmp_path: Path) -> None:
    clock = FakeClock()
    path = write_plan(tmp_path, changed({"bias": "up"}), written=WEDNESDAY_MORNING + timedelta(seconds=3))

    assert judge(path, clock=clock).word is FallbackWord.GAMEPLAN_INVALID
    assert clock.waits_s == [0.5, 1.0, 1.5]


@pytest.mark.parametrize("age_s", [5, 6, 86400, -5, -86400 * 3650])
def test_an_invalid_file_that_was_not_just_written_is_judged_at_once(tmp_path: Path, age_s: float) -> None:
    clock = FakeClock()
    path = write_plan(tmp_path, b"{", written=WEDNESDAY_MORNING - timedelta(seconds=age_s))

    assert judge(path, clock=clock).word is FallbackWord.GAMEPLAN_INVALID
    assert clock.waits_s == []


def test_a_fresh_file_that_is_only_out_of_date_is_not_waited_for(tmp_path: Path) -> None:
    clock = FakeClock()
    path = write_plan(tmp_path, changed({"date": "2026-11-17"}), written=WEDNESDAY_MORNING)

    assert judge(path, clock=clock).word is FallbackWord.GAMEPLAN_STALE
    assert clock.waits_s == []


def test_a_half_written_file_that_disappears_is_missing_in_the_end(tmp_path: Path) -> None:
    clock = FakeClock()
    path = write_plan(tmp_path, b"{", written=WEDNESDAY_MORNING)
    clock.plan(0.2, path.unlink)

    assert judge(path, clock=clock).word is FallbackWord.GAMEPLAN_MISSING
