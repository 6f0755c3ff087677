"""Which host a name or an address means."""

import pytest

from orchestration.errors import StartupFailure
from orchestration.settings import Settings
from orchestration.settings.hosts import is_loopback, is_this_host, normalize_host, reaches_itself

OWN = ("192.0.2.7", "2001:db8::7", "fe80::1", "Rackmount")

# The text; whether it is loopback; whether it is this host, which has the names and addresses above.
_CASES = [
    ("127.0.0.1", True, True),
    ("127.255.255.254", True, True),
    ("127.1", True, True),
    ("2130706433", True, True),
    ("0x7f.1", True, True),
    ("0177.0.0.1", True, True),
    ("localhost", True, True),
    ("LOCALHOST", True, True),
    ("localhost.", True, True),
    ("::1", True, True),
    ("[::1]", True, True),
    ("0:0:0:0:0:0:0:1", True, True),
    ("::ffff:127.0.0.1", True, True),
    ("::FFFF:7F00:1", True, True),
    ("0.0.0.0", False, True),  # noqa: S104 - nothing is bound
    ("0", False, True),
    ("::", False, True),
    ("::1%lo", True, True),
    ("127.example.org", False, False),
    ("127.0.0.1.example.org", False, False),
    ("localhost.example.org", False, False),
    ("mylocalhost", False, False),
    ("127.0.0.1 example.org", False, False),
    ("", False, False),
    ("128.0.0.1", False, False),
    ("::2", False, False),
    ("::ffff:128.0.0.1", False, False),
    ("192.0.2.7", False, True),
    ("::ffff:192.0.2.7", False, True),
    ("2001:DB8:0::7", False, True),
    ("rackmount", False, True),
    ("RACKMOUNT.", False, True),
    ("192.0.2.8", False, False),
    ("rackmount2", False, False),
    ("gateway.internal", False, False),
]


@pytest.mark.parametrize(("host", "loopback", "this_host"), _CASES)
def test_what_a_name_or_an_address_means(host: str, *, loopback: bool, this_host: bool) -> None:
    assert is_loopback(host) is loopback
    assert is_this_host(host, read_own=lambda: OWN) is this_host


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("127.0.0.1", "rackmount"),
        ("localhost", "2001:db8:0:0::7"),
        ("Gateway.Internal", "gateway.internal."),
        ("10.1.2.3", "::ffff:10.1.2.3"),
        ("2001:DB8::8", "2001:db8:0::8"),
    ],
)
def test_one_host_has_one_spelling(one: str, other: str) -> None:
    assert normalize_host(one, read_own=lambda: OWN) == normalize_host(other, read_own=lambda: OWN)


def test_two_hosts_have_two() -> None:
    hosts = ("127.0.0.1", "127.example.org", "gateway.internal", "10.1.2.3", "2001:db8::8")
    assert len({normalize_host(host, read_own=lambda: OWN) for host in hosts}) == len(hosts)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.1", "localhost.", "[::1]"])  # noqa: S104 - nothing is bound
def test_some_addresses_lead_to_the_host_that_uses_them(host: str) -> None:
    assert reaches_itself(host)
    assert not reaches_itself("rackmount")
    assert not reaches_itself("127.example.org")


@pytest.mark.parametrize(
    ("host", "is_refused"),
    [("127.0.0.1", True), ("LocalHost", True), ("0.0.0.0", True), ("127.example.org", False), ("10.0.0.9", False)],  # noqa: S104 - nothing is bound
)
def test_a_bot_in_a_container_is_refused_a_gateway_that_no_container_reaches(host: str, *, is_refused: bool) -> None:
    environ = {"BOT_RUNTIME": "docker", "GATEWAY_RUNTIME": "external", "GATEWAY_HOST": host}
    problems: tuple[str, ...] = ()
    try:
        Settings.from_environ(environ)
    except StartupFailure as failure:
        problems = failure.evidence
    assert any("no container reaches" in problem for problem in problems) is is_refused


def test_a_shorthand_decides_nothing_where_not_every_program_takes_it() -> None:
    assert not is_loopback("127.1", takes_shorthand=False)
    assert is_loopback("127.0.0.1", takes_shorthand=False)
