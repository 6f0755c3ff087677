"""Host keys must be known: each hop's is checked against the user's `known_hosts` before anything is sent."""

import shlex
import stat
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.deploy.errors import DeployError
from orchestration.deploy.host_certificate import HostCertificate, parse_certificate
from orchestration.deploy.known_hosts import (
    HostKeys,
    HostKeyStatus,
    KnownKey,
    build_fingerprint,
    find_host_keys,
    parse_known_hosts,
    read_key_type,
)
from orchestration.deploy.ssh_config import DEFAULT_PORT, SshOptions
from orchestration.system.commands import CommandNotFoundError, Commands, CommandTimedOutError

if TYPE_CHECKING:
    from paramiko import PKey

_MAX_BYTES = 16 * 1024 * 1024  # of one file of known hosts
_REVOCATION_LIST = b"SSHKRL\n\0"
_KEYGEN_TIMEOUT_S = 20.0
_CERTIFICATE = "-cert-v01@openssh.com"
_RSA = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True, kw_only=True)
class HostKeyCheck:
    """What is known of one host, and the judgement on the key that it offers.

    Attributes:
        options: How the host is reached.
        keys: What the files of known hosts hold, in order.
        commands: For OpenSSH's own program, which reads lists of revoked keys.
    """

    options: SshOptions
    keys: tuple[KnownKey, ...]
    commands: Commands

    @property
    def _looks(self) -> tuple[HostKeys, ...]:
        """What is known by the host's name, then by its name without the port, which OpenSSH takes second."""
        found = [find_host_keys(self.keys, self.options.known_name)]
        if not self.options.host_key_alias and self.options.port != DEFAULT_PORT:
            found.append(find_host_keys(self.keys, self.options.host.lower()))
        return tuple(found)

    def order_algorithms(self, supported: Sequence[str]) -> tuple[str, ...]:
        """The host key algorithms to ask for: those whose keys are known come first, as OpenSSH has it.

        Args:
            supported: What the library can do, plain keys alone.
        """
        types = {key.key_type for look in self._looks for key in look.plain}
        known = [name for name in supported if ("ssh-rsa" if name in _RSA else name) in types]
        if any(look.authorities for look in self._looks):
            known = [*(f"{name}{_CERTIFICATE}" for name in supported), *known]
        return tuple(dict.fromkeys([*known, *supported]))

    def verify(self, key: "PKey", *, now: datetime) -> None:
        """See that the key is this host's.

        Args:
            key: What the host has proved to own.
            now: The time, for a certificate's validity.

        Raises:
            DeployError: It is not known, another one than before, revoked, or its certificate is not valid.
        """
        plain = bytes(key.asbytes())
        certificate = self._read_certificate(key.public_blob.key_blob) if key.public_blob else None
        blobs = (plain,) if certificate is None else (plain, certificate.authority)
        name = self.options.revoked_host_keys
        if name and self._is_in_revoked_file(Path(name), blobs):
            raise _describe_revoked(self.options.known_name, plain, name)
        for look in self._looks:
            revocation = look.find_revocation(*blobs)
            if revocation is not None:
                raise _describe_revoked(self.options.known_name, plain, revocation.where)
            if certificate is not None and self._verify_certificate(certificate, look, now=now):
                return
            status = look.judge(plain)
            if status is HostKeyStatus.KNOWN:
                return
            if status is HostKeyStatus.CHANGED:
                raise self._describe_changed(look, plain)
        raise self._describe_unknown(plain, certificate)

    def _read_certificate(self, blob: bytes) -> HostCertificate:
        try:
            return parse_certificate(blob)
        except ValueError as error:
            raise DeployError(
                f"the host certificate of {self.options.known_name} cannot be read: {error}",
                next_action="Have the host's certificate issued again.",
            ) from error

    def _is_in_revoked_file(self, path: Path, blobs: tuple[bytes, ...]) -> bool:
        """Whether `RevokedHostKeys` names one of the keys: it is OpenSSH's own format, or public keys, a line each."""
        import base64

        try:
            content = path.read_bytes()
            if not content.startswith(_REVOCATION_LIST):
                words = [line.split() for line in content.decode(errors="replace").splitlines()]
                revoked = {word for line in words for word in line}
                return any(base64.b64encode(blob).decode() in revoked for blob in blobs)
            return any(self._is_in_revocation_list(path, blob) for blob in blobs)
        except (OSError, CommandNotFoundError, CommandTimedOutError) as error:
            raise DeployError(
                f"RevokedHostKeys cannot be read, so no host key can be trusted: {error}",
                next_action=f"Correct RevokedHostKeys for {self.options.host} in the SSH configuration.",
            ) from error

    def _is_in_revocation_list(self, path: Path, blob: bytes) -> bool:
        import base64

        with tempfile.NamedTemporaryFile("w", suffix=".pub") as file:
            file.write(f"{read_key_type(blob)} {base64.b64encode(blob).decode()}\n")
            file.flush()
            # It ends with another code than 0 for a revoked key, and where it cannot tell.
            return not self.commands.run(
                ("ssh-keygen", "-Q", "-f", str(path), file.name), timeout_s=_KEYGEN_TIMEOUT_S
            ).ok

    def _verify_certificate(self, certificate: HostCertificate, look: HostKeys, *, now: datetime) -> bool:
        """Whether an authority that is known for this host vouches for it; False if its authority is not known.

        Raises:
            DeployError: The authority is known, and the certificate is not valid.
        """
        if certificate.authority not in {key.blob for key in look.authorities}:
            return False
        name = self.options.host_key_alias or self.options.host.lower()
        problem = certificate.find_problem(name, now=now)
        if not problem and not _is_signed(certificate):
            problem = "its signature is wrong"
        if problem:
            raise DeployError(
                f"the host certificate of {self.options.known_name} is not valid: {problem}",
                next_action="Have the host's certificate issued again, and check the clocks here and there.",
                evidence=(f"certificate {certificate.key_id!r} of {build_fingerprint(certificate.authority)}",),
            )
        return True

    def _describe_unknown(self, plain: bytes, certificate: HostCertificate | None) -> DeployError:
        name = self.options.known_name
        evidence = [f"known, of another type: {key.description}" for look in self._looks for key in look.plain]
        if certificate is not None:
            evidence.append(f"its certificate is signed by {build_fingerprint(certificate.authority)}, not known here")
        return DeployError(
            f"the host key of {name} is not known: it offers {read_key_type(plain)} {build_fingerprint(plain)}",
            next_action=(
                "Compare this fingerprint with the host's own (there: `ssh-keygen -lf "
                "/etc/ssh/ssh_host_ed25519_key.pub`); "
                f"only if they are the same: {build_keyscan(self.options)}"
            ),
            evidence=tuple(evidence),
        )

    def _describe_changed(self, known: HostKeys, plain: bytes) -> DeployError:
        name = self.options.known_name
        same = [key for key in known.plain if key.key_type == read_key_type(plain)]
        return DeployError(
            f"THE HOST KEY OF {name} HAS CHANGED: another party may be between you and the host. Nothing was sent",
            next_action=(
                "Find out why, on the host's own console. Only if it was set up again: "
                f"ssh-keygen -R {shlex.quote(name)}, then {build_keyscan(self.options)}"
            ),
            evidence=(
                *(f"known:   {key.description}" for key in same),
                f"offered: {read_key_type(plain)} {build_fingerprint(plain)}",
            ),
        )


def _describe_revoked(name: str, plain: bytes, where: str) -> DeployError:
    return DeployError(
        f"THE HOST KEY OF {name} IS REVOKED ({where}): another party may be between you and the host. Nothing was sent",
        next_action="Have the host make new keys, and let the owner of the list of known hosts publish them.",
        evidence=(f"offered: {read_key_type(plain)} {build_fingerprint(plain)}",),
    )


def _is_signed(certificate: HostCertificate) -> bool:
    """Whether the authority's signature is right; False also for a type of key that the library cannot check."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from paramiko import Message, PKey, SSHException
    from paramiko.pkey import UnknownKeyType

    try:
        authority = PKey.from_type_string(read_key_type(certificate.authority), certificate.authority)
        return bool(authority.verify_ssh_sig(certificate.signed, Message(certificate.signature)))
    except (SSHException, UnknownKeyType, UnsupportedAlgorithm, ValueError):
        return False


def read_known_keys(paths: Sequence[Path], on_warn: Callable[[str], None]) -> tuple[KnownKey, ...]:
    """The keys of all files, in order. What cannot be read is said, and is no obstacle for the rest.

    Args:
        paths: The files; those that are not there are left out.
        on_warn: Told of each file and line that cannot be read.
    """
    found: list[KnownKey] = []
    for path in paths:
        try:
            content = _read(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            on_warn(f"{path} is skipped: {error.strerror or error}")
            continue
        if content is not None:
            keys, problems = parse_known_hosts(content.decode(errors="replace"), where=str(path))
            found += keys
            for problem in problems:
                on_warn(problem)
    return tuple(found)


def _read(path: Path) -> bytes | None:
    """A file's content; None for what is no file, `/dev/null` for example."""
    if not stat.S_ISREG(path.stat().st_mode):
        return None
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)


def build_keyscan(options: SshOptions) -> str:
    """The command that makes a host known, and where its line has to go if that is not the usual file."""
    usual = Path.home() / ".ssh/known_hosts"
    switch = "" if options.port == DEFAULT_PORT else f"-p {options.port} "
    command = f"ssh-keyscan {switch}{shlex.quote(options.host)} >> ~/.ssh/known_hosts"
    hints = []
    if not options.known_hosts:
        hints.append("your SSH configuration reads no file of known hosts: set UserKnownHostsFile")
    elif usual not in options.known_hosts:
        hints.append(f"your SSH configuration reads {options.known_hosts[0]}: put the lines there")
    if options.host_key_alias:
        hints.append(f"with {options.host_key_alias} as their first word (HostKeyAlias)")
    return f"{command} ({', '.join(hints)})" if hints else command
