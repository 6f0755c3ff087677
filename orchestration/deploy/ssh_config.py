"""What OpenSSH's configuration says about a host, as `ssh -G` reads it: whatever works with `ssh` works here.

OpenSSH alone knows its own language (`Match`, `Include`, tokens, canonical names, quotes), so it is asked. Fabric's own
reader knows half of it and fails on the rest with a traceback.
"""

import getpass
import os
import re
import shlex
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.deploy.errors import DeployError
from orchestration.system.commands import CommandNotFoundError, CommandResult, Commands, CommandTimedOutError

DEFAULT_PORT = 22
CONNECT_TIMEOUT_S = 20.0
_MAX_PORT = 65535
MAX_JUMPS = 8
_READ_TIMEOUT_S = 30.0  # `Match exec` and `CanonicalizeHostname` may ask others
_MAX_CONFIG_BYTES = 1024 * 1024
_MAX_INCLUDES = 16  # as deep as OpenSSH follows them
_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_INCLUDE = re.compile(r"^(\s*include)(?:\s*=\s*|\s+)(.+)$", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_TILDE = re.compile(r"""(?<=[\s="'])~/""")


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A host as it was typed: `host`, `user@host`, `host:port`, `[address]:port`, `ssh://…`.

    Attributes:
        text: As typed.
        host: The name or address, without brackets.
        user: Empty if none was typed.
        port: None if none was typed.
    """

    text: str
    host: str
    user: str = ""
    port: int | None = None


@dataclass(frozen=True, kw_only=True)
class SshOptions:
    """How one host is reached.

    Attributes:
        host: The address that is connected to (`HostName`).
        port: Its port.
        user: Who logs in.
        host_key_alias: Under which name its key is known; empty for its own.
        known_hosts: Files of known host keys, in order.
        revoked_host_keys: A file of revoked keys (`RevokedHostKeys`); empty for none.
        identities: Private keys to try, in order; only those that exist, or whose public half does: then the agent has
            the key.
        identities_only: Whether the agent's other keys are not to be tried (`IdentitiesOnly`).
        agent: The agent's socket; empty for the environment's own; `none` for no agent.
        proxy_command: A shell command whose input and output lead to the host; empty for none.
        jumps: Hosts on the way (`ProxyJump`), the nearest first.
        connect_timeout_s: Seconds for connecting.
        family: Which addresses may be used.
        bind_address: From which address; empty for any.
    """

    host: str
    port: int = DEFAULT_PORT
    user: str
    host_key_alias: str = ""
    known_hosts: tuple[Path, ...] = ()
    revoked_host_keys: str = ""
    identities: tuple[Path, ...] = ()
    identities_only: bool = False
    agent: str = ""
    proxy_command: str = ""
    jumps: tuple[str, ...] = ()
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    family: socket.AddressFamily = socket.AF_UNSPEC
    bind_address: str = ""

    @property
    def known_name(self) -> str:
        """The name that `known_hosts` has for the host: `[name]:port` off port 22."""
        if self.host_key_alias:
            return self.host_key_alias
        name = self.host.lower()
        return name if self.port == DEFAULT_PORT else f"[{name}]:{self.port}"


@dataclass(frozen=True, kw_only=True)
class ConfigFiles:
    """Where the configuration stands.

    Attributes:
        named: The one file that the command line names (`-S`); None for the user's and the system's.
        home: The user's home folder.
        account_home: The home folder that the account has, where OpenSSH looks whatever `HOME` says; None if unknown.
    """

    named: Path | None
    home: Path
    account_home: Path | None


def parse_destination(text: str) -> Destination:
    """Read a host as it was typed.

    Raises:
        DeployError: It is none; the message says why.
    """
    is_uri = text.startswith("ssh://")
    user, _, rest = text.removeprefix("ssh://").rstrip("/" if is_uri else "").rpartition("@")
    host, port = rest, ""
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _no_destination(text, "a bracket is missing")
        port = port[1:]
    elif rest.count(":") == 1:  # more of them are an IPv6 address without a port
        host, _, port = rest.partition(":")
        if not port:
            raise _no_destination(text, "there is no port behind the colon")
    if not host:
        raise _no_destination(text, "there is no host in it")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        raise _no_destination(text, f"the port must be a number from 1 to {_MAX_PORT}, not {port!r}")
    return Destination(text=text, host=host, user=user, port=int(port) if port else None)


def _no_destination(text: str, why: str) -> DeployError:
    return DeployError(
        f"{text!r} is not a host: {why}",
        next_action="Name hosts as for ssh: host, user@host, user@host:2222, [2001:db8::1]:2222.",
    )


def read_options(destination: Destination, files: ConfigFiles, commands: Commands) -> SshOptions:
    """Ask OpenSSH how a host is reached.

    Raises:
        DeployError: OpenSSH does not accept its configuration, or is not there to read it.
    """
    switches: list[str] = []
    if destination.user:
        switches += ["-l", destination.user]
    if destination.port is not None:
        switches += ["-p", str(destination.port)]
    if files.named is not None and str(files.named) != "none" and not files.named.is_file():
        raise DeployError(f"there is no SSH configuration {files.named}", next_action="-S names a file.")
    with tempfile.TemporaryDirectory(prefix="fab-ssh-") as folder:
        chosen = _choose_config(files, Path(folder))
        argv = ("ssh", *(("-F", str(chosen)) if chosen is not None else ()), *switches, "-G", "--", destination.host)
        ended = _ask(argv, files, commands, destination)
        if ended is None:
            return _default_options(destination, files)
        if not ended.ok:
            said = [line.replace(f"{folder}/", "") for line in ended.stderr.splitlines() if line.strip()]
            raise DeployError(
                f"ssh does not accept {destination.text!r} or its configuration: "
                f"{said[0] if said else 'no reason given'}",
                next_action=f"`ssh -G {shlex.quote(destination.host)}` must work first.",
                evidence=tuple(said[1:6]),
            )
    return parse_options(ended.stdout, destination, files)


def _ask(argv: Sequence[str], files: ConfigFiles, commands: Commands, destination: Destination) -> CommandResult | None:
    """OpenSSH's answer; None where there is neither OpenSSH nor a configuration to be read."""
    try:
        return commands.run(argv, timeout_s=_READ_TIMEOUT_S)
    except CommandNotFoundError as error:
        found = [files.named, files.home / ".ssh/config", _SYSTEM_CONFIG]
        written = next((path for path in found if path is not None and path.is_file()), None)
        if written is None:
            return None
        raise DeployError(
            f"the program ssh, which reads {written}, is not installed here",
            next_action="Install OpenSSH's client (Debian and Ubuntu: apt-get install openssh-client).",
        ) from error
    except CommandTimedOutError as error:
        raise DeployError(
            str(error), next_action=f"`ssh -G {shlex.quote(destination.host)}` must end: look at `Match exec`."
        ) from error


def parse_options(text: str, destination: Destination, files: ConfigFiles) -> SshOptions:
    """Read what `ssh -G` printed.

    Args:
        text: Its output.
        destination: The host that was asked for.
        files: Where the configuration stands; paths may begin with the home folder.
    """
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        values.setdefault(name, []).append(value)

    def first(name: str, default: str = "") -> str:
        value = values.get(name, [default])[0]
        return default if value.lower() == "none" else value

    host, port = first("hostname", destination.host), int(first("port", str(DEFAULT_PORT)))
    user = first("user")
    tokens = {
        "%": "%",
        "d": str(files.home),
        "h": host,
        "i": "",
        "k": first("hostkeyalias") or host,
        "L": socket.gethostname().partition(".")[0],
        "l": socket.gethostname(),
        "n": destination.host,
        "p": str(port),
        "r": user,
        "u": getpass.getuser(),
    }
    named = [*values.get("userknownhostsfile", ()), *values.get("globalknownhostsfile", ())]
    keys = [*values.get("certificatefile", ()), *values.get("identityfile", ())]
    timeout = first("connecttimeout")
    agent = values.get("identityagent", [""])[0]
    return SshOptions(
        host=host.removeprefix("[").removesuffix("]"),
        port=port,
        user=user,
        host_key_alias=first("hostkeyalias"),
        known_hosts=tuple(path for line in named for path in split_paths(line, files)),
        revoked_host_keys=_expand(first("revokedhostkeys"), tokens, files),
        identities=tuple(path for key in keys if _is_identity(path := Path(_expand(key, tokens, files)))),
        identities_only=first("identitiesonly") in {"yes", "true"},
        agent="" if agent == "SSH_AUTH_SOCK" else _expand(agent, tokens, files),
        proxy_command=_expand_tokens(first("proxycommand"), tokens),
        jumps=tuple(hop.strip() for hop in first("proxyjump").split(",") if hop.strip()),
        connect_timeout_s=float(timeout) if timeout.isdigit() and int(timeout) else CONNECT_TIMEOUT_S,
        family={"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(first("addressfamily"), socket.AF_UNSPEC),
        bind_address=first("bindaddress"),
    )


def split_paths(line: str, files: ConfigFiles) -> list[Path]:
    """The files of one line, which `ssh -G` prints without the quotes that blanks in them need."""
    words = [word for word in line.split(" ") if word]
    found: list[Path] = []
    while words:
        count = next(
            (count for count in range(len(words), 1, -1) if _locate(" ".join(words[:count]), files).is_file()), 1
        )
        name = " ".join(words[:count])
        words = words[count:]
        if name.lower() != "none":
            found.append(_locate(name, files))
    return found


def _locate(name: str, files: ConfigFiles) -> Path:
    """A path of the configuration; what OpenSSH took from the account's home folder is looked for in the user's."""
    if files.account_home is not None and files.account_home != files.home:
        own = f"{files.account_home}/.ssh/"
        if name.startswith(own):
            return files.home / ".ssh" / name.removeprefix(own)
    return Path(_expand_home(name, files))


def _expand(value: str, tokens: dict[str, str], files: ConfigFiles) -> str:
    return _expand_variables(_expand_tokens(_expand_home(value, files), tokens))


def _expand_home(value: str, files: ConfigFiles) -> str:
    if value == "~" or value.startswith("~/"):
        return f"{files.home}{value[1:]}"
    return os.path.expanduser(value) if value.startswith("~") else value  # noqa: PTH111 - Path's raises for no such user


def _expand_variables(value: str) -> str:
    """`${NAME}` as OpenSSH reads it; one that is not set stays, and is no file then."""
    return _VARIABLE.sub(lambda found: os.path.expandvars(found[0]), value)


def _is_identity(path: Path) -> bool:
    return path.is_file() or Path(f"{path}.pub").is_file()


def _expand_tokens(value: str, tokens: dict[str, str]) -> str:
    return re.sub(r"%(.)", lambda found: tokens.get(found.group(1), found.group(0)), value)


def _default_options(destination: Destination, files: ConfigFiles) -> SshOptions:
    folder = files.home / ".ssh"
    names = ("id_rsa", "id_ecdsa", "id_ed25519")
    return SshOptions(
        host=destination.host,
        port=destination.port or DEFAULT_PORT,
        user=destination.user or getpass.getuser(),
        known_hosts=(folder / "known_hosts", folder / "known_hosts2", Path("/etc/ssh/ssh_known_hosts")),
        identities=tuple(folder / name for name in names if (folder / name).is_file()),
    )


def _choose_config(files: ConfigFiles, folder: Path) -> Path | None:
    """The file that OpenSSH is to read; None for its own choice.

    OpenSSH takes the home folder from the account, everything else from `HOME`. Where these differ, it is given a copy
    of the user's own configuration with the paths written out.
    """
    if files.named is not None:
        return files.named
    if files.account_home is None or files.account_home == files.home:
        return None
    config = folder / "config"
    copied = _copy_config(files.home / ".ssh/config", folder, files.home, depth=0)
    lines = [*([f'Include "{copied}"'] if copied is not None else []), "Match all", f"Include {_SYSTEM_CONFIG}"]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return config


def _copy_config(path: Path, folder: Path, home: Path, *, depth: int) -> Path | None:
    if depth > _MAX_INCLUDES or not path.is_file():
        return None
    lines = []
    with path.open("rb") as file:
        text = file.read(_MAX_CONFIG_BYTES).decode(errors="surrogateescape")
    for line in text.splitlines():
        found = _INCLUDE.match(line)
        if found is None:
            lines.append(_TILDE.sub(f"{home}/", line))
            continue
        for name in shlex.split(found.group(2)):
            pattern = home / ".ssh" / (f"{home}{name[1:]}" if name.startswith("~/") else name)
            for one in sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))):
                copied = _copy_config(one, folder, home, depth=depth + 1)
                lines += [f'{found.group(1)} "{copied}"'] if copied is not None else []
    copy = folder / f"{len(list(folder.iterdir()))}-{path.name}"
    copy.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    return copy


def find_config_files(named: str) -> ConfigFiles:
    """Where the configuration of the user who runs this stands.

    Args:
        named: The file that the command line names; empty for none.
    """
    home = Path.home()
    account_home = None
    if sys.platform != "win32":
        import pwd

        try:
            account_home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        except KeyError:
            account_home = None
    return ConfigFiles(named=Path(named).expanduser() if named else None, home=home, account_home=account_home)
