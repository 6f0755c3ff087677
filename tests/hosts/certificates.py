"""An authority and certificates for the store's members and its clients, made as docs/how-to/two-hosts.md says."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_DAYS = ("-days", "30")


@dataclass(frozen=True)
class Files:
    """What one host has.

    Attributes:
        ca: The authority's certificate.
        cert: Its own.
        key: Its key.
    """

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """Who signs."""

    cert: Path
    key: Path


def make_authority(folder: Path) -> Authority:
    """Make it."""
    made = Authority(folder / "ca.crt", folder / "ca.key")
    subject = ("-subj", "/CN=trading-ca")
    _openssl("req", "-x509", *_KEY, *_DAYS, *subject, "-keyout", str(made.key), "-out", str(made.cert))
    return made


def make_certificate(authority: Authority, folder: Path, *, name: str, address: str) -> Files:
    """A certificate for a server and a client at this address."""
    made = Files(authority.cert, folder / f"{name}.crt", folder / f"{name}.key")
    request, extra = folder / f"{name}.csr", folder / f"{name}.ext"
    extra.write_text(
        f"subjectAltName=IP:{address},IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n", encoding="ascii"
    )
    _openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", str(made.key), "-out", str(request))
    signed = ("-CA", str(authority.cert), "-CAkey", str(authority.key), "-CAcreateserial", *_DAYS)
    _openssl("x509", "-req", "-in", str(request), *signed, "-extfile", str(extra), "-out", str(made.cert))
    return made


def _openssl(*words: str) -> None:
    subprocess.run(("openssl", *words), check=True, capture_output=True, timeout=60)
