"""A host's certificate: a host key that an authority has signed, for names and for a time.

The format is that of OpenSSH's PROTOCOL.certkeys.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

_SUFFIX = "-cert-v01@openssh.com"
_FIELDS = {  # of the key itself, after the nonce
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
}
_OF_A_HOST = 2
_LENGTH_BYTES = 4
_FOREVER = 2**64 - 1


@dataclass(frozen=True, kw_only=True)
class HostCertificate:
    """What a certificate says.

    Attributes:
        key: The host's own public key, as it is sent over the wire without a certificate.
        is_for_hosts: Whether it is a host's certificate; a user's is none.
        key_id: The authority's name for it.
        principals: Host names that it is for; none means all.
        valid_after_s: From when on, in seconds since 1970.
        valid_before_s: Until when.
        critical_options: What must be understood to accept it, as bytes; hosts have none.
        authority: The authority's public key.
        signed: The bytes that it signed.
        signature: Its signature.
    """

    key: bytes
    is_for_hosts: bool
    key_id: str
    principals: tuple[str, ...]
    valid_after_s: int
    valid_before_s: int
    critical_options: bytes
    authority: bytes
    signed: bytes
    signature: bytes

    def find_problem(self, host: str, *, now: datetime) -> str:
        """Why it is not valid for this host now, apart from its signature; empty if it is."""
        now_s = now.timestamp()
        if not self.is_for_hosts:
            return "it is a user's certificate, not a host's"
        if self.principals and host not in self.principals:
            return f"it is for {', '.join(self.principals)}, not for {host}"
        if now_s < self.valid_after_s:
            return f"it is not valid before {_describe(self.valid_after_s)}"
        if self.valid_before_s != _FOREVER and now_s >= self.valid_before_s:
            return f"it expired at {_describe(self.valid_before_s)}"
        if self.critical_options:
            return "it has critical options, which no host certificate may have"
        return ""


def _describe(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s after 1970"


def parse_certificate(blob: bytes) -> HostCertificate:
    """Read a certificate's bytes.

    Raises:
        ValueError: They are none.
    """
    reader = _BlobReader(blob)
    kind = reader.read_text()
    plain = kind.removesuffix(_SUFFIX)
    if plain == kind or plain not in _FIELDS:
        raise ValueError(f"{kind} is no certificate that is known here")
    reader.read_string()  # the nonce
    start = reader.offset
    for _ in range(_FIELDS[plain]):
        reader.read_string()
    key = _pack(plain.encode()) + blob[start : reader.offset]
    reader.read_number(8)  # the serial number
    kind_of_owner = reader.read_number(4)
    key_id = reader.read_text()
    names = _BlobReader(reader.read_string())
    principals = []
    while names.offset < len(names.content):
        principals.append(names.read_text())
    after, before = reader.read_number(8), reader.read_number(8)
    critical = reader.read_string()
    reader.read_string()  # extensions
    reader.read_string()  # reserved
    authority = reader.read_string()
    signed = blob[: reader.offset]
    return HostCertificate(
        key=key,
        is_for_hosts=kind_of_owner == _OF_A_HOST,
        key_id=key_id,
        principals=tuple(principals),
        valid_after_s=after,
        valid_before_s=before,
        critical_options=critical,
        authority=authority,
        signed=signed,
        signature=reader.read_string(),
    )


def _pack(content: bytes) -> bytes:
    return len(content).to_bytes(_LENGTH_BYTES) + content


@dataclass
class _BlobReader:
    content: bytes
    offset: int = 0

    def read_number(self, size: int) -> int:
        return int.from_bytes(self._take(size))

    def read_string(self) -> bytes:
        return self._take(self.read_number(_LENGTH_BYTES))

    def read_text(self) -> str:
        return self.read_string().decode(errors="replace")

    def _take(self, size: int) -> bytes:
        taken = self.content[self.offset : self.offset + size]
        if len(taken) < size:
            raise ValueError("it is cut off")
        self.offset += size
        return taken
