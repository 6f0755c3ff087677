"""Secrets are found in every form in which they travel, and other text stays as it is."""

import base64
import html
import io
import json
import logging
import shlex
import unicodedata
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.redaction import (
    MASK,
    CleaningFormatter,
    Redactor,
    clean_line,
    clean_lines,
    clean_text,
    escape_unsafe,
    mask_account,
)
from tests.notations import CHARACTERS, NESTABLE, OPAQUE

_SECRET = "p@ss \"w<o>rd\"/\\ü&'1'"  # noqa: S105 - planted
_WEBHOOK = "https://discord.com/api/webhooks/123456789012345678/AbC-dEf_ghIJKLmnopQRSTUV0123456789"
_TOKEN = "AbC-dEf_ghIJKLmnopQRSTUV0123456789"  # noqa: S105 - planted

_FORMS = {
    "plain": str,
    "URL-quoted": lambda secret: urllib.parse.quote(secret, safe=""),
    "URL-quoted path": urllib.parse.quote,
    "URL-quoted form": urllib.parse.quote_plus,
    "URL-quoted, partly in small letters": lambda secret: urllib.parse.quote(secret, safe="").replace("%2F", "%2f"),
    "JSON": json.dumps,
    "JSON with its letters": lambda secret: json.dumps(secret, ensure_ascii=False),
    "JSON with escaped slashes": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "Python": repr,
    "Python bytes": lambda secret: repr(secret.encode()),
    "HTML": html.escape,
    "shell": shlex.quote,
    "Base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "Base64 inside": lambda secret: base64.b64encode(f"user:{secret}\n".encode()).decode(),
    "Base64 at the third place": lambda secret: base64.b64encode(f"a:{secret} tail".encode()).decode(),
    "URL-safe Base64": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
}


@pytest.mark.parametrize("form", _FORMS.values(), ids=_FORMS)
@pytest.mark.parametrize("secret", [_SECRET, "hunter2-and-more", _TOKEN])
def test_a_secret_is_found_in_every_form(form: "type[str]", secret: str) -> None:
    shown = form(secret)
    redacted = Redactor([secret]).text(f"before {shown} after")
    assert MASK in redacted
    # What may be left of a Base64 text are its ends, which hold bits of the neighbours.
    assert len(redacted.replace(MASK, "")) <= len("before  after") + 24
    assert secret not in redacted
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")


@pytest.mark.parametrize(
    "shown", ["hunter&amp2&ltand&gtmore", "hunter&AMP2&LT;and&GTmore", "hunter&#38;2&lt;and&#x3e;more"]
)
def test_a_character_that_html_names_is_known_with_and_without_its_semicolon(shown: str) -> None:
    assert Redactor(["hunter&2<and>more"]).text(f"a {shown} b") == f"a {MASK} b"


@pytest.mark.parametrize(
    "text",
    [
        _WEBHOOK,
        f"/api/webhooks/123456789012345678/{_TOKEN}",
        _TOKEN,
        f'"POST /api/webhooks/123456789012345678/{_TOKEN}?wait=true HTTP/1.1" 204 0',
        f"HTTPSConnectionPool(host='discord.com', port=443): Max retries exceeded with url: /api/webhooks/1/{_TOKEN}",
        urllib.parse.quote(_WEBHOOK, safe=""),
        f"host=discord.com token={_TOKEN}",
    ],
)
def test_the_token_of_a_known_webhook_is_found_alone(text: str) -> None:
    assert _TOKEN not in Redactor([_WEBHOOK]).text(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://discord.com/api/webhooks/1/unknown-token",
        "https://ptb.discord.com/api/v10/webhooks/99/unknown-token",
        "https://discordapp.com/api/webhooks/1/unknown-token/slack",
        "HTTPS://DISCORD.COM/API/WEBHOOKS/1/unknown-token",
        "url: /api/webhooks/1/unknown-token (Caused by",
        "https%3A%2F%2Fdiscord.com%2Fapi%2Fwebhooks%2F1%2Funknown-token",
        "http://user:unknown-token@host/path",
    ],
)
def test_what_is_shaped_like_a_secret_address_is_masked_though_it_is_not_configured(text: str) -> None:
    assert "unknown-token" not in Redactor().text(text)


@pytest.mark.parametrize(
    ("base", "alone"),
    [
        ("https://hc-ping.com/0123abcd-4567-89ef-0123-456789abcdef", "0123abcd-4567-89ef-0123-456789abcdef"),
        ("https://kuma.example/api/push/x1Y2z3?status=up", "x1Y2z3"),
        ("https://hooks.example/services/T0000/B0000/XXXXyyyyZZZZ0000", "XXXXyyyyZZZZ0000"),
        ("https://h.example/notify?key=abcdef0123456789xyz", "abcdef0123456789xyz"),
    ],
)
def test_the_telling_part_of_an_address_is_found_alone(base: str, alone: str) -> None:
    assert Redactor([base]).text(f"GET …{alone}/start") == f"GET …{MASK}/start"


def test_public_words_of_an_address_stay() -> None:
    text = "the webhooks of the api at discord.com, slack and the ping"
    assert Redactor([_WEBHOOK, "https://kuma.example/api/push/x1Y2z3"]).text(text) == text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [("abc", MASK), ("key=abc.", f"key={MASK}."), ("abcdef fabc xabcx", "abcdef fabc xabcx"), ("ABC", "ABC")],
)
def test_a_very_short_secret_is_masked_only_where_it_stands_alone(text: str, redacted: str) -> None:
    assert Redactor(["abc"]).text(text) == redacted


@pytest.mark.parametrize("nothing", [[], [""], ["   "], ["\n"]])
def test_no_secret_changes_nothing(nothing: list[str]) -> None:
    assert Redactor(nothing).text("any text\n at all") == "any text\n at all"


@pytest.mark.parametrize(
    "secret", [_SECRET, "hunter2-and-more", "Zürich 100% 😀+key", "%41%42&amp;\\u0041Q7", "tab\tand\nline"]
)
def test_a_secret_is_found_in_every_notation_and_in_every_one_around_another(secret: str) -> None:
    redactor = Redactor([secret])
    notations = NESTABLE | OPAQUE
    missed = [
        (inner, outer)
        for inner in notations
        for outer in NESTABLE
        if MASK not in redactor.text(f"say {NESTABLE[outer](notations[inner](secret))} so")
    ]
    assert missed == []


@pytest.mark.parametrize("secret", [_SECRET, "hunter2-and-more", "Zürich 100% 😀+key", "pa$w0rd"])
def test_a_secret_that_was_encoded_as_a_whole_twice_is_found(secret: str) -> None:
    redactor = Redactor([secret])
    missed = [
        (inner, outer)
        for inner in OPAQUE
        for outer in ("hexadecimal", "hexadecimal, capitals", "Base64", "Base64, one in", "Base64, URL-safe")
        if MASK not in redactor.text(f"say {OPAQUE[outer](OPAQUE[inner](secret))} so")
    ]
    assert missed == []


def test_a_path_that_could_be_base64_holds_no_short_secret() -> None:
    text = " ".join(
        f"/srv/{first}/settings/{second}" for first in "abcdefgh" for second in ["instance_one", "two-three"]
    )
    redactor = Redactor([*"0123456789!?+", "x", "a1", "id"])

    assert redactor.text(text) == text


@given(st.data())
def test_each_character_of_a_secret_may_be_written_in_another_notation(data: st.DataObject) -> None:
    secret = data.draw(st.text(alphabet="abcXYZ019 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~üé€😀", min_size=6))
    if secret == secret.strip() and any(one.isalnum() for one in secret):
        # A plain backslash before an escape that begins with one is a text with two readings.
        escaped = [write for write in CHARACTERS if write("\\") != "\\"]
        written = "".join(data.draw(st.sampled_from(escaped if one == "\\" else CHARACTERS))(one) for one in secret)
        assert MASK in Redactor([secret]).text(f"say {written} so")


def test_what_is_left_of_several_backslashes_makes_no_new_escape_of_what_follows_them() -> None:
    assert Redactor(["0000000189:"]).text(r"[00000\\\u00300189%25%33%41]") == f"[{MASK}]"


def test_colours_and_other_controls_do_not_hide_a_secret() -> None:
    assert Redactor(["hunter2-and-more"]).text("x hunter2\x1b[1;31m-and-\x1b[0mmore y") == f"x {MASK} y"


@pytest.mark.parametrize(
    ("secret", "written"),
    [
        ("00$$$$", r"""00$'$'$$"""),  # one `$` in quotes behind a plain one, which looks like ANSI-C quoting
        ("00$$$$", r"""00'$'$\$"$" """.strip()),
        ("00$$$$", r"""'0'"0"$'$$$'"""),
        ("ab''''", r"""ab\''"'"''\'\'"""),
        ("$$$$", r"""$'$'$$"""),
        ("'\"\\$", r"""\'\"\\\$"""),
    ],
)
def test_a_secret_of_almost_nothing_but_quotes_is_found_however_a_shell_writes_it(secret: str, written: str) -> None:
    shown = Redactor([secret]).text(f"[{written}]")
    assert not set(shown) & set("0ab$")
    assert MASK in shown


@pytest.mark.parametrize(
    "text", ["x 00 costs 100$ and $$ 2000", "echo \"$$\" '$$' 00", 'json {"a": "b", "c": ""}', "0" * 9, "['00$$$$']"]
)
def test_what_only_looks_like_a_secret_of_quotes_is_left_alone(text: str) -> None:
    assert Redactor(["00$$$$", "$$$$$", "\"\"''"]).text(text) == text.replace("00$$$$", MASK)


@pytest.mark.parametrize(
    "text", ["password", "pass word", "pas$sword", "p a s s word", "nnnn", "a\n\n\n\nb", "the word passes", "100% sure"]
)
def test_what_only_resembles_a_secret_stays(text: str) -> None:
    assert Redactor(["pa$sword", "n\nn\nn", "pass'word"]).text(text) == text


# Of one secret, each as the named program prints it.
_DUMPS = {
    "xxd": """\
00000000: 5472 3075 6234 646f 7226 332d 686f 2472  Tr0ub4dor&3-ho$r
00000010: 7365                                     se
""",
    "xxd -e": """\
00000000: 75307254 6f643462 2d332672 72246f68  Tr0ub4dor&3-ho$r
00000010:     6573                             se
""",
    "hexdump -C": """\
00000000  54 72 30 75 62 34 64 6f  72 26 33 2d 68 6f 24 72  |Tr0ub4dor&3-ho$r|
00000010  73 65                                             |se|
00000012
""",
    "hexdump": """\
0000000 7254 7530 3462 6f64 2672 2d33 6f68 7224
0000010 6573
0000012
""",
    "od": """\
0000000 071124 072460 032142 067544 023162 026463 067550 071044
0000020 062563
0000022
""",
    "od -c": """\
0000000   T   r   0   u   b   4   d   o   r   &   3   -   h   o   $   r
0000020   s   e
0000022
""",
    "od -t x1z": """\
0000000 54 72 30 75 62 34 64 6f 72 26 33 2d 68 6f 24 72  >Tr0ub4dor&3-ho$r<
0000020 73 65                                            >se<
0000022
""",
    "od -b": """\
0000000 124 162 060 165 142 064 144 157 162 046 063 055 150 157 044 162
0000020 163 145
0000022
""",
    "od -t u1": """\
0000000  84 114  48 117  98  52 100 111 114  38  51  45 104 111  36 114
0000020 115 101
0000022
""",
    "curl --trace": """\
=> Send header, 18 bytes (0x12)
0000: 54 72 30 75 62 34 64 6f 72 26 33 2d 68 6f 24 72 Tr0ub4dor&3-ho$r
0010: 73 65                                           se
""",
    "a log of each line": """\
10:00:01 DEBUG tls: 0000 - 54 72 30 75 62 34 64 6f-72 26 33 2d 68 6f 24 72   Tr0ub4dor&3-ho$r
10:00:01 DEBUG tls: 00000000: 5472 3075 6234 646f 7226 332d 686f 2472  Tr0ub4dor&3-ho$r
10:00:01 DEBUG tls: 00000010: 7365                                     se
""",
    "Python's list of bytes": "[84, 114, 48, 117, 98, 52, 100, 111, 114, 38, 51, 45, 104, 111, 36, 114, 115, 101]",
    "JavaScript's Buffer": '{"type":"Buffer","data":[84,114,48,117,98,52,100,111,114,38,51,45,104,111,36,114,115,101]}',
    "numbers alone": "84 114 48 117 98 52 100 111 114 38 51 45 104 111 36 114 115 101",
    "quoted-printable": "=54=72=30ub4dor&3=\n-ho$rse",
    "quoted-printable, all of it": "=54=72=30=75=62=34=64=6F=72=26=33=2D=68=6F=24=72=73=65",
    "quoted-printable, a line that goes on": "Tr0ub4=\ndor&3-ho$rse",
    "broken by a frame": "│ password = 'Tr0ub4d  │\n│ or&3-ho$rse'          │",
    "broken by a terminal": "Tr0ub4dor\r\n&3-ho$rse",
    "broken, as JSON writes it": "Tr0ub4d\\nor&3-ho$rse",
    "broken, as JSON in JSON writes it": "Tr0ub4dor\\\\r\\\\n  &3-ho$rse",
    "broken, as JSON writes it in quoted-printable": "Tr0ub4dor=\\n&3-ho$rse",
    "broken, as rsyslog writes it": "Tr0ub4dor&3#012-ho$rse",
    "broken, as HTML writes it": "Tr0ub4dor&3-ho<br/>$rse",
    "continued by a shell": "Tr0ub4dor&\\\n    3-ho$rse",
    "spaced": "T r 0 u b 4 d o r & 3 - h o $ r s e",
    "PowerShell": '"Tr0ub4dor`&3-ho`$rse"',
    "cmd": "Tr0ub4dor^&3-ho$rse",
    "a sign doubled": "Tr0ub4dor&&3-ho$$rse",
    "overstruck": "T\x08Tr\x08r0\x080ub4dor&3-ho$rse",
    "joined unseen": "Tr0u\u200bb4dor\u00ad&3-ho$rse",
}


@pytest.mark.parametrize("shown", _DUMPS.values(), ids=_DUMPS)
@pytest.mark.parametrize("text", ["{}", "before\n{}\nafter", "before 12 {} 34 after"])
def test_a_secret_in_pieces_is_found(shown: str, text: str) -> None:
    redacted = Redactor(["Tr0ub4dor&3-ho$rse"]).text(text.format(shown))
    assert MASK in redacted
    for piece in ("Tr0ub4dor", "5472 3075", "54 72 30", "114", "162", "-ho$r"):
        assert piece not in redacted.replace("- 54 72 30", "").replace("   Tr0ub4dor&3-ho$r", "")


@pytest.mark.parametrize(
    "text",
    [
        "Tr0ub4dor 3 horse",
        "84 114 48 117 98 52",
        "00000000: 5472 3075 6234 646f 7226 332d  Tr0ub4dor&3-",
        "0000000 999999 888 -5 0000020 78901",
        "x=3D=4\n=\n==\n=ZZ",
        "prices 101 102 103 104 105 106 107 108 at +0000",
    ],
)
def test_other_dumps_lists_and_signs_stay(text: str) -> None:
    assert Redactor(["Tr0ub4dor&3-ho$rse"]).text(text) == text


@pytest.mark.parametrize("written", ["p=3Dss-w=C3=B6rd", "p=ss-w=C3=B6rd", "p=3Dss-w=F6rd"])
def test_quoted_printable_writes_only_what_it_must(written: str) -> None:
    redactor = Redactor(["p=ss-wörd"])
    assert MASK in redactor.text(f"Subject: {written} end")


@pytest.mark.parametrize("written", ["Zu\u0308rich-77", "ZÃ¼rich-77", "Zürich-77"])
def test_an_accent_may_be_composed_or_read_in_another_code_page(written: str) -> None:
    assert Redactor(["Zürich-77"]).text(f"<{written}>") == f"<{MASK}>"


def test_a_hostile_text_takes_no_longer_than_any_other() -> None:
    """Against blow-ups of the patterns: a quadratic one would take hours for these."""
    redactor = Redactor([_SECRET, "hunter2-and-more", _WEBHOOK])
    many = 30_000
    for hostile in (
        "\\" * many,
        "%25" * many,
        "%" + "25" * many,
        "&" * many,
        "\x1b]" * many,
        "\x1b[" * many,
        "'" * many,
        "00000000: 7061 " * (many // 10),
        "0000000 " + "1 " * (many // 10),
        "=AA" * many,
        "a=\n" * many,
        "1" + " " * many + "1",
        " " * many,
        "a\x08" * many,
    ):
        assert redactor.text(hostile).replace(MASK, "") == hostile


def test_each_line_of_a_secret_of_several_lines_is_masked() -> None:
    redactor = Redactor(["-----BEGIN-----\nabcdefgh\nijklmnop\n"])
    assert redactor.text("line: ijklmnop.") == f"line: {MASK}."


def test_a_secret_inside_another_one_leaves_no_rest() -> None:
    assert Redactor(["hunter", "hunter2secret"]).text("hunter2secret hunter") == f"{MASK} {MASK}"


def test_documents_are_redacted_in_depth() -> None:
    redactor = Redactor(["hunter2"])
    document = {"a": ["x hunter2", {"hunter2": 1}], "b": ("hunter2",), "n": None, "t": True, "f": 1.5}
    assert redactor.value(document) == {
        "a": [f"x {MASK}", {MASK: 1}],
        "b": [MASK],
        "n": None,
        "t": True,
        "f": 1.5,
    }


def _log_line(redactor: Redactor, message: str, *arguments: object, error: BaseException | None = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(CleaningFormatter(redactor, "%(levelname)s %(message)s"))
    record = logging.LogRecord(
        "x",
        logging.ERROR,
        __file__,
        1,
        message,
        arguments,
        (type(error), error, error.__traceback__) if error else None,
    )
    handler.handle(record)
    return stream.getvalue()


def test_a_log_line_is_redacted_with_arguments_and_traceback() -> None:
    redactor = Redactor(["hunter2"])
    try:
        try:
            raise ValueError("inner hunter2")  # noqa: TRY301 - a chain is what is tested
        except ValueError as inner:
            raise RuntimeError("outer hunter2") from inner
    except RuntimeError as error:
        line = _log_line(redactor, "password %s, %r", "hunter2", {"key": "hunter2"}, error=error)
    assert "hunter2" not in line
    assert line.count(MASK) >= 4
    assert "Traceback" in line


@given(st.text(min_size=4), st.text(), st.text())
def test_a_secret_never_survives_whatever_stands_around_it(secret: str, before: str, after: str) -> None:
    redacted = Redactor([secret]).text(before + secret + after)
    if secret.strip() and not set(secret) <= set(MASK):
        # It may come about again only from the neighbours and the mask, never from the secret itself.
        assert MASK in redacted
        assert redacted.count(secret) <= (before + MASK + after).count(secret)


@given(st.text(alphabet="abcdefgh \n"))
def test_text_without_secrets_stays(text: str) -> None:
    assert Redactor(["hunter2secret", _WEBHOOK]).text(text) == text


@pytest.mark.parametrize(
    ("account", "shown"), [("DU1234567", "DU****567"), ("U7654321", "U7****321"), ("DU12", "D****"), ("", "****")]
)
def test_an_account_is_shown_so_that_only_its_owner_knows_it(account: str, shown: str) -> None:
    assert mask_account(account) == shown


_UNSAFE = {
    "clipboard (OSC 52)": ("a\x1b]52;c;aGk=\x07b", "ab"),
    "title (OSC 0)": ("a\x1b]0;owned\x1b\\b", "ab"),
    "link (OSC 8)": ("\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\", "text"),
    "clear the screen": ("a\x1b[2J\x1b[Hb", "ab"),
    "colours": ("\x1b[31mred\x1b[0m", "red"),
    "a sequence of one byte (C1)": ("a\x9b31mb", "ab"),
    "device control": ("a\x1bP1$r0m\x1b\\b", "ab"),
    "reset": ("a\x1bcb", "ab"),
    "a sequence that is cut off": ("a\x1b]52;c;aGk=", r"a\x1b]52;c;aGk="),
    "a bare escape": ("a\x1b", r"a\x1b"),
    "bell, backspace, null": ("a\x07\x08\x00b", r"a\x07\x08\x00b"),
    "delete and C1": ("a\x7f\x85\x9cb", r"a\x7f\x85\x9cb"),
    "carriage return": ("all is well\rFAILED     ", r"all is well\rFAILED     "),
    "bidirectional override": ("a\u202egpj.exe\u2066b", r"a\u202egpj.exe\u2066b"),
    "line separators": ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
    "invisible characters": ("a\u200bb\ufeffc\U000e0041d", r"a\u200bb\ufeffc\U000e0041d"),
    "half a surrogate pair": ("a\ud83db\udcff", r"a\ud83db\udcff"),
    "tab": ("a\tb", "a    b"),
    "vertical tab, form feed": ("a\x0bb\x0cc", r"a\x0bb\x0cc"),
    "letters of every script, and emoji": ("Zürich 東京 мир 😀 é", "Zürich 東京 мир 😀 é"),
}


@pytest.mark.parametrize(("text", "shown"), _UNSAFE.values(), ids=_UNSAFE)
def test_what_a_terminal_would_act_on_does_not_reach_it(text: str, shown: str) -> None:
    assert clean_line(text, Redactor()) == shown
    assert clean_text(text, Redactor()) == shown
    assert clean_lines(text, Redactor()) == (shown.rstrip(),)


@given(st.text())
def test_nothing_unsafe_is_left_of_any_text(text: str) -> None:
    line = clean_line(text, Redactor())
    assert "\n" not in line
    for shown in (line, clean_text(text, Redactor())):
        shown.encode()
        assert not [one for one in shown if unicodedata.category(one) in {"Cc", "Cs", "Zl", "Zp"} and one != "\n"]


def test_a_line_break_is_shown_where_a_line_is_wanted_and_kept_where_a_text_is() -> None:
    said = "over\n2026-11-28T10:00:00+0000 CRITICAL forged\r\n"
    assert clean_line(said, Redactor()) == r"over\n2026-11-28T10:00:00+0000 CRITICAL forged"
    assert clean_text(said, Redactor()) == "over\n2026-11-28T10:00:00+0000 CRITICAL forged\n"


def test_a_text_is_redacted_before_it_is_cut_and_cut_before_it_is_cleaned() -> None:
    redactor = Redactor(["hunter2-and-more"])
    for limit in range(30):
        assert "hun" not in clean_line("say hunter2-and-more so", redactor, limit=limit)
    assert clean_line("abc\x1b[31mred", redactor, limit=6) == r"abc\x1b[3 …"
    # Cleaning puts nothing together that the redaction has not seen.
    assert "hunter2-and-more" not in clean_line("hunter2\x1b[0m-and-more", redactor)
    assert "hunter2-and-more" not in clean_line("hunter2\u200b-and-more", redactor)


def test_a_secret_that_spans_lines_is_masked_before_the_last_ones_are_taken() -> None:
    redactor = Redactor(["first half\nsecond half"])
    said = "begin\nfirst half\nsecond half\nend"
    assert clean_lines(said, redactor, last=2) == (MASK, "end")
    assert clean_lines(said.split("\n"), redactor, last=2) == (MASK, "end")


def test_a_record_of_a_log_stays_one_line_and_its_traceback_cannot_pass_for_one() -> None:
    forged = "2026-11-28T10:00:00+0000 CRITICAL all positions closed"
    line = _log_line(Redactor(), "the gateway said %s", f"no\n{forged}\x1b[2J")
    assert line == f"ERROR the gateway said no\\n{forged}\n"
    try:
        raise ValueError(f"no\n{forged}")  # noqa: TRY301 - its traceback is what is tested
    except ValueError as error:
        told = _log_line(Redactor(), "it failed", error=error)
    assert [one for one in told.splitlines() if one.startswith("2026")] == []


def test_json_keeps_its_values_though_a_terminal_gets_nothing_to_act_on() -> None:
    document = {"a": "x\x9b31m\u202e\u2028\ud800\U000e0041", "b": "two\nlines"}
    text = escape_unsafe(json.dumps(document, ensure_ascii=False))
    assert json.loads(text) == document
    assert text.isascii()


@pytest.mark.parametrize("secret", ["000189:", "hunter2-and-more"])
@pytest.mark.parametrize("filler", ["z", "A/9+"], ids=["z", "mixed"])
def test_an_encoded_secret_is_found_in_a_long_run_of_other_base64(secret: str, filler: str) -> None:
    encoded = base64.b64encode(secret.encode()).decode()
    for written in (
        *(base64.b64encode(secret.encode(name)).decode() for name in ("utf-16-le", "utf-16-be")),
        *(base64.b64encode(text.encode()).decode() for text in (encoded, secret.encode().hex())),
    ):
        for before in range(396, 400):  # every alignment
            shown = Redactor([secret]).text(f"{filler * before} {(filler * before)[:before]}{written}{filler * 100}")
            assert MASK in shown
            assert written[4:-8] not in shown
