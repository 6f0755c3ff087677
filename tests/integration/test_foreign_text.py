"""Text that is not ours, cut and split anywhere, shows no part of a secret, in whatever notation it is written.

The full count of examples runs with `--hypothesis-profile=thorough`.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import unicodedata
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from orchestration.redaction import MASK, LineReader, Redactor, clean_line, clean_lines, clean_text, read_last_lines
from tests.integration.alerts_scene import LoopbackChannel
from tests.notations import CHARACTERS, NESTABLE, OPAQUE, Notation, longest_common, write
from tests.system import System
from tests.thorough import choose_count

_BATCHES = 4  # which run in parallel
_EXAMPLES = choose_count(usual=32, thorough=5000)
_CUT_STEP = choose_count(usual=8, thorough=1)
_WINDOW = 64 * 1024
_LEAK = 5  # of four characters of a notation in a row it cannot be told whether they are of a secret

_SECRETS = (
    "hunter2-and-more",
    "p@ss \"w<o>rd\"/\\ü&'1'",
    "Zürich 100% 😀+key",
    "a$b`c\\nd!e#f;g",
    "%41%42&amp;\\u0041Q7",
)
_ALPHABET = "abcdefXYZ0189 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~üé€😀ntrux"

_secrets = st.text(alphabet=_ALPHABET, min_size=7, max_size=24).filter(
    lambda text: text == text.strip() and len(set(text)) > 4 and sum(one.isalnum() for one in text) >= 3
)


def _written(secret: str) -> "st.SearchStrategy[str]":
    """The secret in one notation, in two, in a nestable one around an opaque one, or each character in another one."""
    nestable, opaque = st.sampled_from(list(NESTABLE.values())), st.sampled_from(list(OPAQUE.values()))
    chains: st.SearchStrategy[tuple[Notation, ...]] = st.one_of(
        st.tuples(nestable), st.tuples(nestable, nestable), st.tuples(opaque), st.tuples(opaque, nestable)
    )
    mixed = st.tuples(*(st.sampled_from(CHARACTERS) for _ in secret)).map(
        lambda notations: "".join(notation(one) for notation, one in zip(notations, secret, strict=True))
    )
    return st.one_of(chains.map(lambda chain: write(secret, chain)), mixed)


def _assert_no_leak(shown: str, written: str, secret: str) -> None:
    leaked = longest_common(shown.replace(MASK, "\n"), written, at_least=_LEAK)
    # What stands around a secret in a notation (quotes, padding, the filler of the wrapped Base64) is not of it.
    is_of_secret = leaked and leaked.strip("\\'\"$ &;%") and leaked not in _around(secret, written)
    assert not is_of_secret, f"{leaked!r} of {written!r} is shown: {shown[-300:]!r}"


def _around(secret: str, written: str) -> str:
    """What the redaction leaves of the whole text: that much is none of the secret."""
    return Redactor([secret]).text(written)


@pytest.mark.parametrize("batch", range(_BATCHES))
def test_no_cut_shows_a_part_of_a_secret(tmp_path: Path, batch: int) -> None:
    # A seed of its own: with the function's, every batch would draw the same texts.
    @hypothesis.seed(batch)
    @hypothesis.settings(max_examples=_EXAMPLES // _BATCHES, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def look(data: st.DataObject) -> None:
        _assert_no_cut_leaks(tmp_path, data)

    look()


def _assert_no_cut_leaks(tmp_path: Path, data: st.DataObject) -> None:
    secret = data.draw(_secrets)
    written = data.draw(_written(secret))
    cut = data.draw(st.integers(0, len(written)))
    redactor = Redactor([secret])
    masked = redactor.text(f"[{written}]")
    assert MASK in masked
    _assert_masked(secret, written, masked)

    # A limit on characters, behind, and in front of, some text.
    for shown in (
        clean_line(f"say {written} so", redactor, limit=4 + cut),
        clean_text("z" * 40_000 + written, redactor, limit=40_000 + cut),
    ):
        _assert_no_leak(shown, written, secret)
    # The last lines of something longer.
    before = "z" * 30 + "\n"
    for count in (1, 2, 3):
        shown = "\n".join(clean_lines(before + written + "\nend", redactor, last=count))
        _assert_no_leak(shown, written, secret)
    # The window at the end of a file begins inside of it.
    log = tmp_path / "window.log"
    content = written.encode("utf-8", "surrogatepass")
    place = min(cut, len(content))
    window = data.draw(st.sampled_from((_WINDOW, _WINDOW + redactor.margin)))
    log.write_bytes(content + b"\n" + b"z" * (window - len(content) + place - 1))
    _assert_no_leak("\n".join(read_last_lines(log, 20, redactor)), written, secret)
    # Chunks of a log that grows end inside of it.
    reader = LineReader(redactor)
    whole = b"before " + content + b" after\n"
    lines = [line for chunk in (whole[: 7 + place], whole[7 + place :]) for line in reader.feed(chunk)]
    _assert_no_leak("\n".join([*lines, *reader.end()]), written, secret)


def _assert_masked(secret: str, written: str, masked: str) -> None:
    """Nothing of the secret's own characters is left in a row, as far as the notation leaves them as they are."""
    plain = [stretch for stretch in secret.split(" ") if len(stretch) >= _LEAK and stretch in written]
    assert not [stretch for stretch in plain if stretch in masked]


@pytest.mark.parametrize("secret", _SECRETS[1:3])
def test_every_notation_is_cut_at_every_place(tmp_path: Path, secret: str) -> None:
    redactor = Redactor([secret])
    for number, notation in enumerate((*NESTABLE.values(), *OPAQUE.values())):
        written = notation(secret)
        assert MASK in redactor.text(f"say {written} so")
        content = written.encode()
        for cut in range(number % _CUT_STEP, len(content) + 1, _CUT_STEP):
            _assert_no_leak(clean_line(f"say {written} so", redactor, limit=4 + cut), written, secret)
            reader = LineReader(redactor)
            chunks = (content[:cut], content[cut:])
            shown = [line for chunk in chunks for line in reader.feed(chunk)]
            _assert_no_leak("\n".join((*shown, *reader.end())), written, secret)
    log = tmp_path / "window.log"
    for written in (NESTABLE["JSON in JSON"](secret), OPAQUE["Base64, two in"](secret)):
        content = written.encode()
        for cut in range(0, len(content) + 1, _CUT_STEP):
            log.write_bytes(b"x" * 9000 + content + b"z" * (_WINDOW - len(content) + cut))
            _assert_no_leak("\n".join(read_last_lines(log, 20, redactor)), written, secret)


def test_an_endless_line_is_shown_in_pieces_without_the_secrets_on_their_borders() -> None:
    secret = "hunter2-and-more"  # noqa: S105 - planted
    for shift in range(0, 40, 9):
        reader = LineReader(Redactor([secret]), limit=1_000_000)
        text = ("z" * 997 + secret) * 150
        shown = []
        for place in range(shift, len(text), 8191):
            shown += list(reader.feed(text[place : place + 8191].encode()))
        shown += list(reader.end())
        assert len(shown) > 2
        joined = "\n".join(shown)
        assert not longest_common(joined, secret[1:-1], at_least=_LEAK)
        assert joined.count("z") >= len(text.replace(secret, "")) - 2000


@pytest.mark.parametrize("secret", [*_SECRETS, "two words", "it's", "tab\there", "line\nbreak-of-it"])
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_what_a_real_shell_traces_and_quotes_is_masked(shell: str, secret: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    script = 'set -x; : "$SECRET" "a$SECRET"; curl_is_not_run() { :; }; curl_is_not_run -u "me:$SECRET"'
    script += '; set +x; printf "%q\\n" "$SECRET"' if shell == "bash" else ""
    for locale in ("C.UTF-8", "C"):
        environ = {"SECRET": secret, "PATH": os.environ["PATH"], "LC_ALL": locale}
        done = subprocess.run([shell, "-c", script], env=environ, capture_output=True, check=True)
        told = done.stderr.decode("utf-8", "replace") + done.stdout.decode("utf-8", "replace")
        shown = Redactor([secret]).text(told)
        assert shown.count(MASK) >= (4 if shell == "bash" else 3), told
        words = [word for word in secret.split() if len(word) >= _LEAK]
        assert not [word for word in words if word in shown]


@pytest.mark.parametrize("secret", _SECRETS)
@pytest.mark.parametrize(
    "argv",
    [
        ("jq", "-n", "--arg", "s", "{SECRET}", "{a: ({b: $s} | tojson | tojson)}"),
        ("jq", "-n", "-r", "--arg", "s", "{SECRET}", "$s | @html, @uri, @sh, @base64, @json"),
        (
            "node",
            "-e",
            "const s = process.argv[1]; console.log(JSON.stringify([s]), encodeURIComponent(s), [s])",
            "{SECRET}",
        ),
        (
            "perl",
            "-e",
            "print join(' ', map { sprintf '%02x', ord } split //, $ARGV[0]), qq( ), unpack('H*', $ARGV[0])",
            "{SECRET}",
        ),
    ],
    ids=["jq nested", "jq formats", "node", "perl hex"],
)
def test_what_other_programs_make_of_a_secret_is_masked(argv: tuple[str, ...], secret: str) -> None:
    if shutil.which(argv[0]) is None:
        pytest.skip(f"needs {argv[0]}")
    done = subprocess.run([one.replace("{SECRET}", secret) for one in argv], capture_output=True, check=True)
    for line in done.stdout.decode().splitlines():
        if len(line) > len(secret):
            assert MASK in Redactor([secret]).text(line), line


_HOSTILE_BOT = r"""
import json, os, socket, sys, time
secret = open(os.environ["PLANTED"]).read()
out = sys.stdout
out.write("x" * 3000 + secret + "\n")
out.write("a" * (64 * 1024 - 600) + "\n" if "window" in sys.argv else "")
out.write("\x1b]52;c;aGFja2Vk\x07\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m \u202egnp.exe\u2028 forged\n")
out.write("y" * 1990 + secret + "\n")
out.write("+ curl -u me:'" + secret.replace("'", "'\\''") + "'\n")
out.write(json.dumps({"a": json.dumps({"password": secret})}) + "\n")
out.write("the end\n")
out.flush()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
    told = "STATUS=" + "s" * 490 + secret + " \x1b]52;c;aGFja2Vk\x07"
    talk.sendto(told.encode(), os.environ["NOTIFY_SOCKET"])
    time.sleep(0.5)
sys.exit(3)
"""


_HOSTILE_CASES = (
    ("hunter2-and-more", "window"),
    ('it\'s "Zürich" 100%', ""),
    ("hunter2-and-more", ""),
    ('it\'s "Zürich" 100%', "window"),
)


@pytest.mark.parametrize(("secret", "words"), _HOSTILE_CASES[: choose_count(usual=1, thorough=4)])
def test_what_a_bot_says_is_shown_nowhere_with_a_secret_or_a_control_sequence(
    system: System, channel: LoopbackChannel, secret: str, words: str
) -> None:
    """Screen, JSON, log, journal and alert of a real start, and `inv logs`, `inv history` and `inv report` after it."""
    planted = system.root / "planted"
    planted.write_text(secret, encoding="utf-8")
    system.environ |= {
        "TWS_PASSWORD": secret,
        "DISCORD_WEBHOOK_URL": channel.address,
        "PLANTED": str(planted),
        "BOT_START_GRACE": "30",
    }
    system.use_small_bot(*words.split(), code=_HOSTILE_BOT)
    system.use_plan()
    ended = system.startup()
    assert (ended.code, ended.document["failure"]) == (1, "BOT_START_FAILED")
    assert "the end" in "\n".join(ended.document["evidence"])
    shown = [ended.out, ended.err, system.startup_log(), repr([one.document for one in channel.received])]
    plain = system.run([sys.executable, "-m", "orchestration.startup"])
    shown += [plain.out, plain.err]
    for command in (("logs", "--of=bot"), ("logs",), ("history",), ("history", "--json"), ("report", "--since=1h")):
        looked = system.inv(*command)
        shown += [looked.out, looked.err]
    with contextlib.closing(sqlite3.connect(system.state / "journal.sqlite3")) as journal:
        shown.append("\n".join(journal.iterdump()))
    for text in shown:
        pieces = ("hunter", "and-more", "Zürich", "rich\\", '100%"', "it's")
        assert [one for one in pieces if one in secret and one in text] == [], text
        assert "aGFja2Vk" not in text
        assert not [one for one in text if unicodedata.category(one) in {"Cc", "Cs", "Zl"} and one not in "\n\r"]
        assert "\u202e" not in text
    assert any(MASK in text for text in shown)
