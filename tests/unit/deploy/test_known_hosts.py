"""Files of known hosts and names of hosts, as far as text alone tells; `tests/integration` asks OpenSSH itself."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.deploy.errors import DeployError
from orchestration.deploy.host_certificate import parse_certificate
from orchestration.deploy.known_hosts import HostKeyStatus, find_host_keys, matches, parse_known_hosts
from orchestration.deploy.ssh_config import parse_destination


def build_key(kind: str, number: int) -> tuple[str, bytes]:
    fields = (kind.encode(), bytes([number] * 32))
    blob = b"".join(len(field).to_bytes(4) + field for field in fields)
    return f"{kind} {base64.b64encode(blob).decode()}", blob


LINE, BLOB = build_key("ssh-ed25519", 1)
OTHER_LINE, OTHER_BLOB = build_key("ssh-ed25519", 2)
_, OTHER_TYPE = build_key("ecdsa-sha2-nistp256", 3)


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        ("rack", "rack", True),
        ("RACK", "rack", True),
        ("rack", "RACK", True),
        ("rack1,rack2", "rack2", True),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org,!bad.example.org", "bad.example.org", False),
        ("!bad.example.org,*.example.org", "good.example.org", True),
        ("!bad.example.org", "good.example.org", False),
        ("rack?", "rack", False),
        ("[rack]:2222", "[rack]:2222", True),
        ("[rack]:2222", "r", False),
        ("rack", "[rack]:2222", False),
        ("10.0.0.*", "10.0.0.7", True),
        ("10.0.0.7", "10x0.0.7", False),
        ("|1|not base64|at all", "rack", False),
        ("|1|", "rack", False),
        ("", "rack", False),
    ],
)
def test_names_mean_a_host_or_do_not(names: str, host: str, *, expected: bool) -> None:
    assert matches(names, host) is expected


def test_one_right_key_among_several_is_enough_and_a_revocation_outweighs_it() -> None:
    text = f"rack {OTHER_LINE}\nrack {LINE}\n"
    keys, _ = parse_known_hosts(text, where="f")
    assert find_host_keys(keys, "rack").judge(BLOB) is HostKeyStatus.KNOWN
    assert find_host_keys(keys, "rack").judge(OTHER_TYPE) is HostKeyStatus.UNKNOWN
    assert find_host_keys(keys[:1], "rack").judge(BLOB) is HostKeyStatus.CHANGED
    assert find_host_keys(keys, "shelf").judge(BLOB) is HostKeyStatus.UNKNOWN
    keys, _ = parse_known_hosts(f"{text}@revoked * {LINE}\n", where="f")
    assert find_host_keys(keys, "rack").judge(BLOB) is HostKeyStatus.REVOKED
    assert find_host_keys(keys, "rack").judge(OTHER_BLOB) is HostKeyStatus.KNOWN


@given(
    st.lists(st.text(alphabet="a@|#*!,.:[]=\\ \t\r\n1é\0", max_size=40) | st.sampled_from([f"rack {LINE}", "@revoked"]))
)
def test_no_line_is_an_obstacle_for_the_others(lines: list[str]) -> None:
    keys, _ = parse_known_hosts("\n".join([*lines, f"rack {LINE}"]), where="f")
    assert find_host_keys(keys, "rack").judge(BLOB) is HostKeyStatus.KNOWN


@given(st.binary(max_size=80))
def test_bytes_that_are_no_certificate_are_refused_with_a_value_error(blob: bytes) -> None:
    kind = b"ssh-ed25519-cert-v01@openssh.com"
    with pytest.raises(ValueError, match=r"cut off|no certificate"):
        parse_certificate(len(kind).to_bytes(4) + kind + blob[:60])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rack", ("", "rack", None)),
        ("ann@rack", ("ann", "rack", None)),
        ("ann@rack:2222", ("ann", "rack", 2222)),
        ("ann@example.org@rack", ("ann@example.org", "rack", None)),
        ("ssh://ann@rack:2222/", ("ann", "rack", 2222)),
        ("[2001:db8::1]:2222", ("", "2001:db8::1", 2222)),
        ("ann@2001:db8::1", ("ann", "2001:db8::1", None)),
        ("fe80::1%eth0", ("", "fe80::1%eth0", None)),
    ],
)
def test_a_host_is_typed_as_for_ssh(text: str, expected: tuple[str, str, int | None]) -> None:
    found = parse_destination(text)
    assert (found.user, found.host, found.port) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann@",
        "rack:",
        "rack:ssh",
        "rack:0",
        "rack:65536",
        "rack:-1",
        "rack:\uff12\uff12",
        "[::1",
        "[::1]22",
        "[]:1",
    ],
)
def test_what_is_no_host_is_refused_by_name(text: str) -> None:
    with pytest.raises(DeployError, match="is not a host") as caught:
        parse_destination(text)
    assert repr(text) in caught.value.message
