"""Drift: settings that differ from what the gateway's container was made with. Pure.

A container keeps the environment, the image and the ports that it was made with. So what is said about the gateway is
read from its container, and a setting that was changed since is named, with what applies it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestration.docker.compose import ServiceConfig
from orchestration.docker.container import ContainerState
from orchestration.gateway.compose import build_compose_environ
from orchestration.gateway.container import GatewayStatus
from orchestration.settings import Settings

# What a container of the vendor's image, or of the simulator's, takes from its environment.
IN_ENVIRONMENT = (
    "TRADING_MODE",
    "TWS_USERID",
    "READ_ONLY_API",
    "TIME_ZONE",
    "TWOFA_TIMEOUT_ACTION",
    "AUTO_RESTART_TIME",
    "SIMULATOR_FAULTS",
)
PASSWORD, PASSWORD_FILE = "TWS_PASSWORD", "TWS_PASSWORD_FILE"
_IS_SECRET = re.compile(r"PASSW|PASSPHRASE|USERID|USER_?NAME|SECRET|TOKEN|KEY", re.IGNORECASE)
_YES, _NO = frozenset({"yes", "true", "1", "on"}), frozenset({"no", "false", "0", "off"})
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One setting that differs.

    Attributes:
        name: The variable.
        actual: What the container was made with; None where it must not be shown, or the container has no such value.
        wanted: What the settings say now; None where it must not be shown, or there is no such value.
    """

    name: str
    actual: str | None = None
    wanted: str | None = None

    def __str__(self) -> str:
        if self.wanted is None:
            return f"{self.name} differs"
        actual = "has none" if self.actual is None else f"has {self.actual or 'an empty one'}"
        return f"{self.name} is {self.wanted or 'empty'}, and the container {actual}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a container would be made with now.

    Attributes:
        environ: Its environment; only what it must have.
        image: Its image; empty where any will do.
        port: The host's port that must lead into it; None where none is asked for.
        memory: Its memory limit, as Compose writes it; empty where any will do.
        password: The broker's password; None where it is not known.
    """

    environ: Mapping[str, str] = field(repr=False)
    image: str = ""
    port: int | None = None
    memory: str = ""
    password: str | None = field(default=None, repr=False)


def build_wanted(settings: Settings, *, names: frozenset[str] | None = None) -> Wanted:
    """What the shipped Compose file would make of these settings.

    Args:
        settings: The configuration.
        names: Of the variables that count; None for all. A container that another program made is only measured by what
            was set, not by defaults.
    """

    def counts(name: str) -> bool:
        return names is None or name in names

    environ = build_compose_environ(settings)
    further = {one.name: one.value for one in settings.image_variables if one.is_in_shipped_file}
    return Wanted(
        environ={name: environ[name] for name in IN_ENVIRONMENT if counts(name) and (environ[name] or names is None)}
        | further,
        image=settings.gateway_image if counts("GATEWAY_IMAGE") else "",
        port=settings.gateway_port if counts("GATEWAY_PORT") else None,
        memory=settings.gateway_memory_limit if counts("GATEWAY_MEMORY_LIMIT") else "",
        password=settings.tws_password.reveal() if settings.tws_password else None,
    )


def build_wanted_by_service(service: ServiceConfig, settings: Settings) -> Wanted:
    """What an operator's own Compose file would make of these settings."""
    published = [port.published for port in service.ports]
    if service.environ.get(PASSWORD):
        password: str | None = service.environ[PASSWORD]
    elif PASSWORD in service.secret_variables and settings.tws_password:
        password = settings.tws_password.reveal()
    else:
        password = None
    return Wanted(
        environ={name: value for name, value in service.environ.items() if name != PASSWORD},
        image=service.image,
        port=settings.gateway_port if str(settings.gateway_port) in published else None,
        memory=service.memory,
        password=password,
    )


def find_drift(status: GatewayStatus, wanted: Wanted, *, password: str | None) -> tuple[Drift, ...]:
    """What differs, secrets by name only.

    Args:
        status: The container.
        wanted: What it would be made with now.
        password: The one that it has; None where it cannot be read.
    """
    actual = dict(status.environ)
    found = [
        build_drift(name, actual.get(name), value)
        for name, value in wanted.environ.items()
        if name != "TWS_USERID" or value
        if (actual.get(name) is not None or value) and not is_same(actual.get(name), value)
    ]
    if wanted.password is not None and password is not None and password != wanted.password:
        found.append(Drift(name=PASSWORD))
    if wanted.image and status.image and status.image != wanted.image:
        found.append(Drift(name="GATEWAY_IMAGE", actual=status.image, wanted=wanted.image))
    if wanted.port is not None and status.published_ports and wanted.port not in status.published_ports:
        published = ", ".join(str(port) for port in status.published_ports)
        found.append(Drift(name="GATEWAY_PORT", actual=published, wanted=str(wanted.port)))
    limit_bytes = parse_memory(wanted.memory)
    if limit_bytes is not None and status.memory_limit_bytes != limit_bytes:
        has = f"{status.memory_limit_bytes / 1024**3:.2g}g" if status.memory_limit_bytes else "no limit"
        found.append(Drift(name="GATEWAY_MEMORY_LIMIT", actual=has, wanted=wanted.memory))
    return tuple(found)


def build_drift(name: str, actual: str | None, wanted: str) -> Drift:
    """One that differs; the values of a secret are not in it."""
    return Drift(name=name) if _IS_SECRET.search(name) else Drift(name=name, actual=actual, wanted=wanted)


def is_same(one: str | None, other: str | None) -> bool:
    """Whether two values mean the same: `yes` and `true` do, in any case."""
    if one is None or other is None:
        return one is other
    first, second = one.strip().lower(), other.strip().lower()
    return first == second or any({first, second} <= words for words in (_YES, _NO))


def parse_memory(text: str) -> int | None:
    """A size as Compose writes it, in bytes; None for an empty text, and for one that is none."""
    match = re.fullmatch(r"(\d+)(b|[kmg]b?)?", text.strip().lower())
    return None if match is None else int(match[1]) * _UNITS[(match[2] or "").removesuffix("b") or ""]


def read_read_only(status: GatewayStatus | None) -> bool | None:
    """Whether the container refuses orders, as it was made; None where it does not say so."""
    if status is None or status.state in {ContainerState.MISSING, ContainerState.UNKNOWN}:
        return None
    return parse_read_only(dict(status.environ))


def parse_read_only(environ: Mapping[str, str]) -> bool | None:
    """Whether a container with this environment refuses orders; None where it does not say so."""
    word = environ.get("READ_ONLY_API", "").strip().lower()
    return True if word in _YES else False if word in _NO else None
