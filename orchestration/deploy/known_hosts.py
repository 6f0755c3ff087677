"""`known_hosts` as OpenSSH reads it: markers, hashed names, patterns, ports, every type of key. Pure.

A line that OpenSSH cannot read is skipped here too. Keys are compared as bytes, so a type of key that this program
cannot use is no obstacle for the others.
"""

import base64
import binascii
import enum
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

_BLANKS = " \t\r\n"
_HASHED = "|1|"
_KEY_TYPE = re.compile(r"[a-z][a-z0-9@.+-]*")
_LENGTH_BYTES = 4


class Marker(enum.StrEnum):
    """What a line says of its key."""

    NONE = ""
    CERTIFICATE_AUTHORITY = "@cert-authority"
    REVOKED = "@revoked"


class HostKeyStatus(enum.StrEnum):
    """What the files say of a key that a host offers."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True, kw_only=True)
class KnownKey:
    """One line.

    Attributes:
        names: The names and patterns as written.
        marker: What the line says of the key.
        key_type: `ssh-ed25519`, `ssh-rsa`, …
        blob: The public key as it is sent over the wire.
        where: File and line.
    """

    names: str
    marker: Marker = Marker.NONE
    key_type: str
    blob: bytes
    where: str = ""

    @property
    def description(self) -> str:
        """Type, fingerprint and place, for display."""
        return f"{self.key_type} {build_fingerprint(self.blob)} ({self.where})"


def parse_known_hosts(text: str, *, where: str) -> tuple[tuple[KnownKey, ...], tuple[str, ...]]:
    """Read a file's text.

    Args:
        text: The whole text.
        where: The file's name, for messages.

    Returns:
        The keys in order, and a sentence for each line that cannot be read.
    """
    keys: list[KnownKey] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(_BLANKS)
        if not stripped or stripped.startswith("#"):
            continue
        try:
            keys.append(_parse_line(stripped, f"{where}:{number}"))
        except ValueError as error:
            problems.append(f"{where}, line {number}, is skipped: {error}")
    return tuple(keys), tuple(problems)


def _parse_line(line: str, where: str) -> KnownKey:
    """Read one line.

    Raises:
        ValueError: OpenSSH could not read it either; the text says what is wrong.
    """
    marker = Marker.NONE
    if line.startswith("@"):
        word, line = _take_word(line)
        marker = Marker(word) if word in {Marker.CERTIFICATE_AUTHORITY, Marker.REVOKED} else _fail("unknown marker")
    names, rest = _take_word(line)
    key_type, rest = _take_word(rest)
    encoded, _ = _take_word(rest)
    if not encoded or not _KEY_TYPE.fullmatch(key_type):
        raise ValueError("it is not `names type key`")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("its key is not base64") from None
    if read_key_type(blob) != key_type or not _is_whole(blob):
        raise ValueError("its key is cut off, or of another type than it says")
    return KnownKey(names=names, marker=marker, key_type=key_type, blob=blob, where=where)


def _fail(message: str) -> Marker:
    raise ValueError(message)


def _take_word(text: str) -> tuple[str, str]:
    word, _, rest = text.replace("\t", " ").partition(" ")
    return word, rest.strip(_BLANKS)


def read_key_type(blob: bytes) -> str:
    """The type that a key's bytes begin with; empty if they are no key's."""
    length = int.from_bytes(blob[:_LENGTH_BYTES])
    name = blob[_LENGTH_BYTES : _LENGTH_BYTES + length]
    return name.decode("ascii", errors="replace") if len(name) == length else ""


def _is_whole(blob: bytes) -> bool:
    """Whether a key's bytes are fields with their lengths, to the last byte: so every type of key is."""
    offset = 0
    while offset < len(blob):
        offset += _LENGTH_BYTES + int.from_bytes(blob[offset : offset + _LENGTH_BYTES])
    return offset == len(blob)


def build_fingerprint(blob: bytes) -> str:
    """A key's fingerprint as OpenSSH writes it."""
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def matches(names: str, host: str) -> bool:
    """Whether a line's names mean this host.

    Args:
        names: As written: `a,b`, `*.example.org,!bad.example.org`, `[a]:2222`, or one hashed name.
        host: The name in lower case; `[name]:port` off port 22.
    """
    if names.startswith("|"):
        return _matches_hash(names, host)
    found = False
    for pattern in names.lower().split(","):
        negated = pattern.startswith("!")
        if _compile(pattern.removeprefix("!")).fullmatch(host.lower()):
            if negated:
                return False
            found = True
    return found


def _matches_hash(names: str, host: str) -> bool:
    if not names.startswith(_HASHED):
        return False
    salt, _, digest = names.removeprefix(_HASHED).partition("|")
    try:
        expected = base64.b64decode(digest, validate=True)
        found = hmac.new(base64.b64decode(salt, validate=True), host.encode(), hashlib.sha1).digest()
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(expected, found)


def _compile(pattern: str) -> re.Pattern[str]:
    """A pattern of OpenSSH: `*` and `?`, nothing else; brackets mean themselves."""
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(sign) or re.escape(sign) for sign in pattern), re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class HostKeys:
    """What is known of one host.

    Attributes:
        host: Its name in the files.
        keys: The lines that mean it.
    """

    host: str
    keys: tuple[KnownKey, ...]

    @property
    def plain(self) -> tuple[KnownKey, ...]:
        """Keys of the host itself."""
        return tuple(key for key in self.keys if key.marker is Marker.NONE)

    @property
    def authorities(self) -> tuple[KnownKey, ...]:
        """Keys that may sign the host's certificate."""
        return tuple(key for key in self.keys if key.marker is Marker.CERTIFICATE_AUTHORITY)

    def find_revocation(self, *blobs: bytes) -> KnownKey | None:
        """The line that revokes one of these keys."""
        return next((key for key in self.keys if key.marker is Marker.REVOKED and key.blob in blobs), None)

    def judge(self, blob: bytes) -> HostKeyStatus:
        """What the files say of a plain key that the host offers."""
        if self.find_revocation(blob) is not None:
            return HostKeyStatus.REVOKED
        if any(key.blob == blob for key in self.plain):
            return HostKeyStatus.KNOWN
        same = any(key.key_type == read_key_type(blob) for key in self.plain)
        return HostKeyStatus.CHANGED if same else HostKeyStatus.UNKNOWN


def find_host_keys(keys: Iterable[KnownKey], host: str) -> HostKeys:
    """The lines that mean a host.

    Args:
        keys: Of all files, in order.
        host: Its name in the files.
    """
    return HostKeys(host=host, keys=tuple(key for key in keys if matches(key.names, host)))
