"""Host keys must be known.

Fabric would accept any host key in silence. Here the user's `known_hosts` are loaded first and an unknown key is
refused, on jump hosts too.
"""

import base64
import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.deploy.errors import DeployError

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko import PKey, SSHClient

CONNECT_TIMEOUT_S = 20
_DEFAULT_PORT = 22


def make_strict(connection: "Connection") -> None:
    """Load the user's known hosts and refuse what is not among them, on each hop."""
    import fabric
    import paramiko

    class RefuseUnknown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # paramiko has no types
        def missing_host_key(self, client: "SSHClient", hostname: str, key: "PKey") -> None:
            del client
            raise _unknown_key(hostname, key)

    named = connection.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
    machine = connection.ssh_config.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
    for name in (*named, *machine):
        path = Path(name).expanduser()
        if path.is_file():
            connection.client.load_system_host_keys(str(path))
    connection.client.set_missing_host_key_policy(RefuseUnknown())
    if connection.ssh_config.get("identitiesonly", "no").lower() == "yes":
        # The agent stays: it may hold the named key opened, and named files are tried before it.
        connection.connect_kwargs.setdefault("look_for_keys", False)
    if connection.connect_timeout is None:
        connection.connect_timeout = CONNECT_TIMEOUT_S
    if isinstance(connection.gateway, fabric.Connection):
        make_strict(connection.gateway)


def build_fingerprint(key: "PKey") -> str:
    """A key's fingerprint as OpenSSH writes it."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def build_keyscan(hostname: str) -> str:
    """The command that makes a host known; `hostname` as `known_hosts` has it, `[name]:port` off port 22."""
    name, port = hostname, str(_DEFAULT_PORT)
    if hostname.startswith("["):
        name, _, port = hostname[1:].partition("]:")
    switch = "" if port == str(_DEFAULT_PORT) else f"-p {port} "
    return f"ssh-keyscan {switch}{shlex.quote(name)} >> ~/.ssh/known_hosts"


def _unknown_key(hostname: str, key: "PKey") -> DeployError:
    return DeployError(
        f"the host key of {hostname} is not known: it offers {key.get_name()} {build_fingerprint(key)}",
        next_action=(
            "Compare this fingerprint with the host's own (there: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`); "
            f"only if they are the same: {build_keyscan(hostname)}"
        ),
    )


def explain_changed_key(connection: "Connection", error: Any) -> DeployError:  # noqa: ANN401 - paramiko has no types
    """The refusal of a host whose key is another one than before."""
    name = connection.host if connection.port == _DEFAULT_PORT else f"[{connection.host}]:{connection.port}"
    return DeployError(
        f"THE HOST KEY OF {name} HAS CHANGED: somebody may be between you and the host. Nothing was sent",
        next_action=(
            "Find out why, on the host's own console. Only if it was set up anew: "
            f"ssh-keygen -R {shlex.quote(name)}, then {build_keyscan(name)}"
        ),
        evidence=(
            f"known:   {error.expected_key.get_name()} {build_fingerprint(error.expected_key)}",
            f"offered: {error.key.get_name()} {build_fingerprint(error.key)}",
        ),
    )
