"""Files of known hosts as people have them: what OpenSSH's own client accepts or refuses, we do."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from orchestration.deploy.connection import SshAccess, SshRemote
from orchestration.deploy.errors import DeployError
from orchestration.deploy.link import Secrets
from orchestration.deploy.ssh_config import ConfigFiles
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from tests.integration.ssh_server import CertifiedKey, SshServer, make_key, serving


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Public keys of this test run, and the folder with the private ones."""

    folder: Path
    host: str
    host_rsa: str
    host_ecdsa: str
    other: str
    other_rsa: str
    authority: str


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    make_key(folder / "user")
    return Keys(
        folder=folder,
        host=make_key(folder / "host"),
        host_rsa=make_key(folder / "host_rsa", "rsa"),
        host_ecdsa=make_key(folder / "host_ecdsa", "ecdsa"),
        other=make_key(folder / "other"),
        other_rsa=make_key(folder / "other_rsa", "rsa"),
        authority=make_key(folder / "authority"),
    )


@pytest.fixture(scope="module")
def server(keys: Keys) -> Iterator[SshServer]:
    """A host with three keys of its own."""
    found = [
        paramiko.Ed25519Key(filename=str(keys.folder / "host")),
        paramiko.ECDSAKey(filename=str(keys.folder / "host_ecdsa")),
        paramiko.RSAKey(filename=str(keys.folder / "host_rsa")),
    ]
    with serving(found) as server:
        yield server


def certify(keys: Keys, name: str, *switches: str) -> CertifiedKey:
    """A host key with a certificate of the authority."""
    path = keys.folder / name
    make_key(path)
    signing = ("ssh-keygen", "-q", "-s", str(keys.folder / "authority"), "-I", "rack")
    subprocess.run([*signing, *switches, str(path.with_suffix(".pub"))], check=True)
    return CertifiedKey(path)


@dataclass(frozen=True, kw_only=True)
class Client:
    """OpenSSH's client and ours, with the same configuration."""

    folder: Path
    keys: Keys
    port: int

    def write(self, known_hosts: bytes, options: str = "") -> Path:
        (self.folder / "known_hosts").write_bytes(known_hosts)
        config = self.folder / "config"
        config.write_text(
            f"{options}\nHost rack\n HostName 127.0.0.1\n Port {self.port}\n User ann\n"
            f"Host *\n IdentityFile {self.keys.folder}/user\n IdentitiesOnly yes\n IdentityAgent none\n"
            f" UserKnownHostsFile {self.folder}/known_hosts\n GlobalKnownHostsFile none\n"
        )
        return config

    def is_accepted_by_openssh(self, config: Path) -> bool:
        done = subprocess.run(
            ["ssh", "-F", config, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "rack", "echo in"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in {0, 255}, done.stderr
        return done.returncode == 0

    def open(self, config: Path) -> tuple[str, list[str]]:
        """Why we refuse, empty for an open connection that runs programs; and what is warned of."""
        warnings: list[str] = []
        access = SshAccess(
            files=ConfigFiles(named=config, home=self.folder, account_home=None),
            secrets=Secrets(),
            connect_timeout_s=None,
            commands=SystemCommands(),
            clock=SystemClock(),
            on_warn=warnings.append,
        )
        remote = SshRemote("rack", access)
        try:
            remote.open()
            said: list[str] = []
            remote.run(["echo", "in"], stdin=None, on_line=said.append, timeout_s=60)
            assert said == ["in"]
        except DeployError as error:
            return "\n".join((error.message, *error.evidence)), warnings
        finally:
            remote.close()
        return "", warnings


@pytest.fixture
def client(tmp_path: Path, keys: Keys, server: SshServer) -> Client:
    return Client(folder=tmp_path, keys=keys, port=server.port)


_RACK = "[127.0.0.1]:{port}"
_BROKEN = "broken.example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA=="
_UNKNOWN_TYPE = (
    "fido.example.org sk-ssh-ed25519@openssh.com "
    "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAABHNzaDo="
)
_FILES = {
    "one key": _RACK + " {host}",
    "nothing": "",
    "comments and empty lines": "# rack\n\n   \t\n  # more\n  " + _RACK + " {host} a comment # more\n",
    "tabs and blanks": "\t" + _RACK + "\t \t{host}  \t comment\n",
    "carriage returns": _RACK + " {host}\r\nother {other}\r\n",
    "carriage return behind a comment": _RACK + " {host} comment\r\n",
    "no newline at the end": "other {other}\n" + _RACK + " {host}",
    "another name": "other.example.org {host}",
    "another port": "[127.0.0.1]:1 {host}",
    "the name without its port": "127.0.0.1 {host}",
    "the name without its port, another key": "127.0.0.1 {other}",
    "another key": _RACK + " {other}",
    "another key by port, the right one without": _RACK + " {other}\n127.0.0.1 {host}",
    "several keys of one type, the right one last": _RACK + " {other}\n" + _RACK + " {host}",
    "several types": _RACK + " {host_rsa}\n" + _RACK + " {host_ecdsa}\n" + _RACK + " {host}",
    "rsa only": _RACK + " {host_rsa}",
    "ecdsa only": _RACK + " {host_ecdsa}",
    "a changed key of one type, the right one of another": _RACK + " {other_rsa}\n" + _RACK + " {host}",
    "a broken line of another host": _BROKEN + "\n" + _RACK + " {host}",
    "a broken line of this host": _RACK + " ssh-ed25519 AAAA====\n" + _RACK + " {host}",
    "only a broken line of this host": _RACK + " ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA==",
    "a line cut off": "half.example.org\n" + _RACK + "\n" + _RACK + " {host}",
    "a type that says another thing than its key": "x ssh-rsa {host_blob}\n" + _RACK + " {host}",
    "unknown types": "x ssh-future AAAACnNzaC1mdXR1cmU=\n" + _UNKNOWN_TYPE + "\n" + _RACK + " {host}",
    "an unknown type of this host": _RACK + " ssh-future AAAACnNzaC1mdXR1cmU=\n" + _RACK + " {host}",
    "protocol 1": "old 1024 35 1234567890123456789\n" + _RACK + " {host}",
    "binary rubbish": "\x00\x01\x7f\n" + _RACK + " {host}",
    "latin 1": "b\xfcro {other} b\xfcro\n" + _RACK + " {host}",
    "several names": "a,b.example.org," + _RACK + " {host}",
    "a pattern": "[127.0.0.*]:* {host}",
    "a question mark": "[127.0.0.?]:{port} {host}",
    "everything": "* {host}",
    "everything but this": "*,!" + _RACK + " {host}",
    "everything but others": "*,!bad.example.org {host}",
    "a bracket is no pattern": "[127.0.0.[0-9]]:{port} {host}",
    "hashed": "{hashed} {host}",
    "hashed, another key": "{hashed} {other}",
    "a broken hash": "|1|AAAA|BBBB {host}\n|1|x\n" + _RACK + " {host}",
    "another hash": "|2|AAAA|BBBB {host}",
    "revoked": "@revoked " + _RACK + " {host}\n" + _RACK + " {host}",
    "revoked below": _RACK + " {host}\n@revoked * {host}",
    "revoked, another key": "@revoked * {other}\n" + _RACK + " {host}",
    "revoked for another host": "@revoked bad.example.org {host}\n" + _RACK + " {host}",
    "revoked for the name without its port": "@revoked 127.0.0.1 {host}\n" + _RACK + " {host}",
    "an authority of others": "@cert-authority *.example.org {authority}\n" + _RACK + " {host}",
    "an authority of this host that signed nothing": "@cert-authority * {authority}\n" + _RACK + " {host}",
    "the key as an authority alone": "@cert-authority " + _RACK + " {host}",
    "an unknown marker": "@trusted * {other}\n" + _RACK + " {host}",
    "two markers": "@revoked @cert-authority * {host}\n" + _RACK + " {host}",
    "a marker and nothing": "@revoked\n" + _RACK + " {host}",
}


def hash_name(folder: Path, name: str, key: str) -> str:
    """A name as OpenSSH hashes it."""
    path = folder / "to_hash"
    path.write_text(f"{name} {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    return path.read_text().split()[0]


@pytest.mark.parametrize("what", _FILES)
def test_a_file_of_known_hosts_is_read_as_openssh_reads_it(client: Client, what: str) -> None:
    keys = client.keys
    known = _FILES[what].format(
        port=client.port,
        hashed=hash_name(client.folder, f"[127.0.0.1]:{client.port}", keys.host) if "{hashed}" in _FILES[what] else "",
        host_blob=keys.host.split()[1],
        **{name: getattr(keys, name) for name in ("host", "host_rsa", "host_ecdsa", "other", "other_rsa", "authority")},
    )
    config = client.write(known.encode("latin-1"))
    refusal, _ = client.open(config)
    assert (refusal == "") is client.is_accepted_by_openssh(config), refusal


def test_a_line_that_cannot_be_read_is_skipped_with_a_warning(client: Client) -> None:
    config = client.write(f"half\n{_BROKEN}\n{_UNKNOWN_TYPE}\n[127.0.0.1]:{client.port} {client.keys.host}\n".encode())
    refusal, warnings = client.open(config)
    assert refusal == ""
    assert [warning.rpartition("known_hosts, ")[2] for warning in warnings] == [
        "line 1, is skipped: it is not `names type key`",
        "line 2, is skipped: its key is cut off, or of another type than it says",
    ]


def test_each_refusal_says_what_is_wrong(client: Client) -> None:
    keys, rack = client.keys, f"[127.0.0.1]:{client.port}"
    said = [
        client.open(client.write(text.encode()))[0]
        for text in ("", f"{rack} {keys.other}", f"{rack} {keys.host}\n@revoked * {keys.host}")
    ]
    assert "is not known: it offers ssh-ed25519 SHA256:" in said[0]
    assert f"THE HOST KEY OF {rack} HAS CHANGED" in said[1]
    assert f"THE HOST KEY OF {rack} IS REVOKED" in said[2]


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ("Host rack\n HostKeyAlias the-rack", "the-rack {host}"),
        ("Host rack\n HostKeyAlias the-rack", "[127.0.0.1]:{port} {host}"),
        ('Host rack\n UserKnownHostsFile "{folder}/with blank" {folder}/none', ""),
        ("Host rack\n UserKnownHostsFile {folder}/%n.%p.known", ""),
        ("Host rack\n UserKnownHostsFile none", "[127.0.0.1]:{port} {host}"),
        ("Host rack\n UserKnownHostsFile /dev/null\n GlobalKnownHostsFile={folder}/other_one", ""),
        ("Host rack\n UserKnownHostsFile {folder}", "[127.0.0.1]:{port} {host}"),
        ("Host rack\n RevokedHostKeys {folder}/revoked", "[127.0.0.1]:{port} {host}"),
        ("Host rack\n RevokedHostKeys {folder}/revoked_list", "[127.0.0.1]:{port} {host}"),
        ("Host rack\n RevokedHostKeys {folder}/revoked_others", "[127.0.0.1]:{port} {host}"),
        ("Host rack\n RevokedHostKeys {folder}/not_there", "[127.0.0.1]:{port} {host}"),
        ("Host rack\n CheckHostIP yes", "[127.0.0.1]:{port} {host}"),
        ("Host rack\n HashKnownHosts yes\n UpdateHostKeys no", "[127.0.0.1]:{port} {host}"),
    ],
)
def test_options_about_host_keys_count_as_for_openssh(client: Client, options: str, known: str) -> None:
    words = {"port": client.port, "host": client.keys.host, "folder": client.folder}
    line = f"[127.0.0.1]:{client.port} {client.keys.host}\n"
    for name in ("with blank", f"rack.{client.port}.known", "other_one"):
        (client.folder / name).write_text(line)
    (client.folder / "revoked").write_text(f"{client.keys.host} of the host\n")
    (client.folder / "revoked_others").write_text(f"{client.keys.other}\n")
    argv = ["ssh-keygen", "-q", "-k", "-f", str(client.folder / "revoked_list"), str(client.keys.folder / "host.pub")]
    subprocess.run(argv, check=True)
    config = client.write(known.format(**words).encode(), options.format(**words))
    refusal, _ = client.open(config)
    assert (refusal == "") is client.is_accepted_by_openssh(config), refusal


_CERTIFICATES: dict[str, tuple[tuple[str, ...], str]] = {
    "for this host": (("-h", "-n", "rack,127.0.0.1"), "@cert-authority * {authority}"),
    "for all hosts": (("-h",), "@cert-authority * {authority}"),
    "for another host": (("-h", "-n", "other"), "@cert-authority * {authority}"),
    "of an authority for others": (("-h", "-n", "127.0.0.1"), "@cert-authority *.example.org {authority}"),
    "of an unknown authority": (("-h", "-n", "127.0.0.1"), "@cert-authority * {other}"),
    "expired": (("-h", "-n", "127.0.0.1", "-V", "20200101:20210101"), "@cert-authority * {authority}"),
    "not valid yet": (("-h", "-n", "127.0.0.1", "-V", "+10d:+20d"), "@cert-authority * {authority}"),
    "of a user": (("-n", "127.0.0.1"), "@cert-authority * {authority}"),
    "of a revoked authority": (
        ("-h", "-n", "127.0.0.1"),
        "@cert-authority * {authority}\n@revoked * {authority}",
    ),
    "of a revoked key": (("-h", "-n", "127.0.0.1"), "@cert-authority * {authority}\n@revoked * {plain}"),
    "and the key itself is known": (("-h", "-n", "127.0.0.1"), "[127.0.0.1]:{port} {plain}"),
    "and nothing is known": (("-h", "-n", "127.0.0.1"), ""),
}


@pytest.mark.parametrize("what", _CERTIFICATES)
def test_a_host_certificate_is_checked_as_openssh_checks_it(
    keys: Keys, tmp_path: Path, what: str, request: pytest.FixtureRequest
) -> None:
    switches, known = _CERTIFICATES[what]
    name = f"certified{list(_CERTIFICATES).index(what)}-{request.node.callspec.id.replace(' ', '')}"
    certified = certify(keys, name, *switches)
    plain = paramiko.Ed25519Key(filename=str(keys.folder / name))
    with serving([certified, plain]) as server:
        client = Client(folder=tmp_path, keys=keys, port=server.port)
        words = {"authority": keys.authority, "other": keys.other, "port": server.port}
        blob = (keys.folder / f"{name}.pub").read_text().split()
        config = client.write(known.format(plain=" ".join(blob[:2]), **words).encode())
        refusal, _ = client.open(config)
        assert (refusal == "") is client.is_accepted_by_openssh(config), refusal


def test_a_forged_certificate_is_refused(keys: Keys, tmp_path: Path) -> None:
    certified = certify(keys, "forged", "-h", "-n", "127.0.0.1")
    blob = bytearray(certified.public_blob.key_blob)
    blob[-1] ^= 1
    certified.public_blob.key_blob = bytes(blob)
    with serving([certified]) as server:
        client = Client(folder=tmp_path, keys=keys, port=server.port)
        config = client.write(f"@cert-authority * {keys.authority}\n".encode())
        refusal, _ = client.open(config)
    assert "its signature is wrong" in refusal
