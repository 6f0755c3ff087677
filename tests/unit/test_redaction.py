"""Secrets are found in every form in which they travel, and other text stays as it is."""

import base64
import html
import io
import json
import logging
import shlex
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.redaction import MASK, RedactingFormatter, Redactor, mask_account

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
        "https://discord.com/api/webhooks/1/unknown-token-of-somebody",
        "https://ptb.discord.com/api/v10/webhooks/99/unknown-token-of-somebody",
        "https://discordapp.com/api/webhooks/1/unknown-token-of-somebody/slack",
        "HTTPS://DISCORD.COM/API/WEBHOOKS/1/unknown-token-of-somebody",
        "url: /api/webhooks/1/unknown-token-of-somebody (Caused by",
        "https%3A%2F%2Fdiscord.com%2Fapi%2Fwebhooks%2F1%2Funknown-token-of-somebody",
        "http://user:unknown-token-of-somebody@host/path",
    ],
)
def test_what_is_shaped_like_a_secret_address_is_masked_though_nobody_knew_it(text: str) -> None:
    assert "unknown-token-of-somebody" not in Redactor().text(text)


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
    handler.setFormatter(RedactingFormatter(redactor, "%(levelname)s %(message)s"))
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
        # It may come about anew only from the neighbours and the mask, never from the secret itself.
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
