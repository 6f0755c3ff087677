"""The operator's own Compose folder: the result is that of `docker compose up -d` there by hand.

So Compose is called in the folder as an operator calls it, and finds files, project name and `.env` itself. It is given
only the variables that are set for this program, which then go before the folder's `.env`. What would be made is
read with `docker compose config` before anything is started, and refused where it would be dangerous or could not work.
"""

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.docker.cli import DockerCli
from orchestration.docker.compose import (
    ComposeService,
    ComposeTarget,
    ServiceConfig,
    ServiceNames,
    build_project_name,
    find_compose_files,
    parse_service_config,
    parse_service_names,
)
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.compose import build_compose_environ
from orchestration.settings import Settings, TradingMode
from orchestration.settings.child_environ import select_secrets
from orchestration.settings.image_variables import EXCLUSIVE, is_vendors_image
from orchestration.settings.sources import read_env_file, read_secret_texts
from orchestration.system.files import is_file_there, open_regular

PASSWORD, PASSWORD_FILE = "TWS_PASSWORD", "TWS_PASSWORD_FILE"
_COMPOSE_FILE, _PROJECT_NAME = "COMPOSE_FILE", "COMPOSE_PROJECT_NAME"
_NAMES_PROJECT = re.compile(r"^[\"']?name[\"']?\s*:", re.MULTILINE)
# Where the image, or a newer one with another controller, reads the mode from.
_MODES = ("TRADING_MODE", "IBC_TRADING_MODE")
_BOTH_AT_ONCE = "DUAL_MODE"
_USERS = ("TWS_USERID", "IBC_USERID")
_PASSWORDS = (PASSWORD, PASSWORD_FILE, "IBC_PASSWORD", "IBC_PASSWORD_FILE")
# Computed from TRADING_MODE where they are not set.
_BY_MODE = ("GATEWAY_PORT", "GATEWAY_FORWARDER_PORT")
# Of the service or its container, and no variable of the image. This program stops with GATEWAY_STOP_GRACE by itself.
_NOT_FOR_THE_CONTAINER = frozenset(
    {
        "GATEWAY_CONTAINER_NAME",
        "GATEWAY_IMAGE",
        "GATEWAY_MEMORY_LIMIT",
        "GATEWAY_RESTART_POLICY",
        "GATEWAY_STOP_GRACE",
        _PROJECT_NAME,
        *_BY_MODE,
    }
)
_YES = frozenset({"yes", "true", "1", "on"})


@dataclass(frozen=True, kw_only=True)
class FolderReading:
    """What the folder makes of the service now, with what this program hands over.

    Attributes:
        service: The service; None if the file has none of this name.
        names: Of all its services.
        project: The project's name; empty where it is unknown.
        handed: The variables that Compose is given beside this process's environment.
        folder_environ: What the folder's `.env` says. It may hold secrets: never shown.
    """

    service: ServiceConfig | None
    names: tuple[str, ...] = ()
    project: str = ""
    handed: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder_environ: Mapping[str, str] = field(default_factory=dict, repr=False)


class ComposeFolder:
    """The folder that `DOCKER_COMPOSE_DIR` names, where it is the operator's own.

    Args:
        settings: The configuration.
        docker: The door to Docker.
        directory: The folder.
        service: The gateway's service there.
    """

    def __init__(self, settings: Settings, docker: DockerCli, *, directory: Path, service: str) -> None:
        self._settings = settings
        self._docker = docker
        self._directory = directory
        self._service = service

    def has_file(self) -> bool:
        """Whether there is something for Compose to read: a file in the folder, or those that COMPOSE_FILE names."""
        environ = {**self._settings.environ, **self._read_env_file()}
        return bool(find_compose_files(self._directory) or environ.get(_COMPOSE_FILE, "").strip())

    def read(self) -> FolderReading:
        """What would be made. Changes nothing.

        Raises:
            StartupFailure: The files are not there or not valid, with Compose's own last lines; `DOCKER_UNAVAILABLE`.
        """
        if not self.has_file():
            raise self._docker.build_start_failure(
                f"there is no Compose file in {self._directory}",
                next_action="Set DOCKER_COMPOSE_DIR to the folder that holds it.",
            )
        folder_environ = self._read_env_file()
        reading = self._read(build_handed_over(self._settings, folder_environ), folder_environ)
        if self._is_named_here(reading):
            project = build_project_name(self._settings.gateway_container_name)
            reading = self._read({**reading.handed, _PROJECT_NAME: project}, folder_environ)
        for name in EXCLUSIVE:
            handed = reading.handed
            for emptied in _choose_emptied(reading, name):
                with contextlib.suppress(StartupFailure):  # a file that needs what was emptied: the next one, then
                    reading = self._read({**handed, **emptied}, folder_environ)
                if not _has_both(reading, name):
                    break
        return reading

    def _is_named_here(self, reading: FolderReading) -> bool:
        """Whether GATEWAY_CONTAINER_NAME names the project: it is set, and the folder names neither of the two."""
        if not self._settings.is_set("GATEWAY_CONTAINER_NAME") or reading.service is None:
            return False
        if reading.service.container_name or {**self._settings.environ, **reading.folder_environ}.get(_PROJECT_NAME):
            return False
        return not any(_names_project(file) for file in self._find_files(reading))

    def _find_files(self, reading: FolderReading) -> list[Path]:
        """The files that Compose reads: those of the folder, and those that COMPOSE_FILE names."""
        files = list(find_compose_files(self._directory))
        for environ in (self._settings.environ, reading.folder_environ):
            separator = environ.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
            named = environ.get(_COMPOSE_FILE, "").split(separator)
            files += [self._directory / name.strip() for name in named if name.strip()]
        return files

    def read_password(self) -> str:
        """The broker's password that Compose would copy into a container, out of this program or the folder's `.env`.

        Raises:
            StartupFailure: As for `read`.
        """
        reading = self.read()
        return reading.handed.get(PASSWORD, "") or reading.folder_environ.get(PASSWORD, "")

    def build_service(self, handed: Mapping[str, str], *, project: str, known: ServiceNames) -> ComposeService:
        """Compose on the service in this folder."""
        target = ComposeTarget(
            files=find_compose_files(self._directory),
            project=project,
            service=self._service,
            is_as_by_hand=self.has_file(),
        )
        # `${PWD}` in the files is this folder, as it is to an operator who calls Compose in it.
        environ = {**select_secrets(self._settings.environ), **handed, "PWD": str(self._directory)}
        return ComposeService(self._docker, target, environ=environ, known=known)

    def build_service_names(self) -> ServiceNames:
        """What operators know the service by."""
        files = find_compose_files(self._directory)
        return ServiceNames(
            prefix="GATEWAY",
            container=self._settings.gateway_container_name,
            image=self._settings.gateway_image,
            port=self._settings.gateway_port,
            directory_variable="DOCKER_COMPOSE_DIR",
            directory=self._directory,
            file=files[0] if files else None,
        )

    def _read(self, handed: Mapping[str, str], folder_environ: Mapping[str, str]) -> FolderReading:
        compose = self.build_service(handed, project="", known=self.build_service_names())
        text = compose.read_config()
        try:
            service = parse_service_config(text, self._service)
        except ValueError as error:
            raise self._docker.build_start_failure(str(error)) from error
        if service is not None:
            self._docker.protect(read_secret_texts((service.environ,)))
        if service is not None and PASSWORD in service.secret_variables and not self._is_known(handed, folder_environ):
            # Compose refuses a secret whose variable is unset; an empty one is for an image that needs no login.
            handed = {**handed, PASSWORD: ""}
        return FolderReading(
            service=service,
            names=parse_service_names(text),
            project=service.project if service else "",
            handed=handed,
            folder_environ=folder_environ,
        )

    def _is_known(self, handed: Mapping[str, str], folder_environ: Mapping[str, str]) -> bool:
        return any(PASSWORD in layer for layer in (handed, folder_environ, self._settings.environ))

    def _read_env_file(self) -> dict[str, str]:
        path = self._directory / ".env"
        found = read_env_file(path, []) if is_file_there(path) else {}
        self._docker.protect(read_secret_texts((found,)))
        return found


def _names_project(file: Path) -> bool:
    try:
        with open_regular(file) as content:
            return _NAMES_PROJECT.search(content.read().decode("utf-8", "replace")) is not None
    except OSError:  # Compose says so itself
        return False


def _has_both(reading: FolderReading, name: str) -> bool:
    service = reading.service
    return service is not None and bool(service.environ.get(name) and service.environ.get(f"{name}_FILE"))


def _choose_emptied(reading: FolderReading, name: str) -> Sequence[Mapping[str, str]]:
    """What to hand over as empty, in this order, where a secret would arrive in both forms and one was set here.

    What is set here goes before the folder's `.env`. But a service that reads a file of its own, by a name written into
    the Compose file, is given no password beside that, as it is given none by hand.
    """
    file = f"{name}_FILE"
    if not _has_both(reading, name) or reading.service is None:
        return ()
    if not reading.handed.get(name):
        return ({name: ""},) if reading.handed.get(file) else ()
    if name in reading.service.secret_variables:
        return ({file: ""},)
    return ({file: ""}, {name: ""})


def build_handed_over(settings: Settings, folder_environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are set for this program and that a Compose file may refer to. Pure.

    What is not set is not handed over: a default of ours would go before the folder's own `.env`. The password goes
    this way, and never into an argument list.

    Args:
        settings: The configuration.
        folder_environ: What the folder's `.env` says.
    """
    values = build_compose_environ(settings)
    handed = {name: value for name, value in values.items() if settings.is_set(name)}
    if settings.is_set("TRADING_MODE") and settings.trading_mode is TradingMode.LIVE:
        known = {**folder_environ, **settings.environ}
        handed |= {name: values[name] for name in _BY_MODE if name not in handed and name not in known}
    return handed | {one.name: one.value for one in settings.image_variables}


def find_overrides(reading: FolderReading, settings: Settings) -> tuple[str, ...]:
    """The names that go before the folder's own `.env` with another value than stands there, sorted. Pure."""
    given = {**settings.environ, **reading.handed}
    return tuple(sorted(name for name, value in reading.folder_environ.items() if given.get(name, value) != value))


def find_dropped(reading: FolderReading, settings: Settings) -> tuple[str, ...]:
    """The names that are set here and do not arrive in the container, in the order of the reference. Pure."""
    service = reading.service
    if service is None:
        return ()
    given = {name: value for name, value in reading.handed.items() if value and name not in _NOT_FOR_THE_CONTAINER}
    dropped = [name for name, value in given.items() if not _arrives(name, value, service)]
    if settings.is_set("GATEWAY_IMAGE") and service.image != settings.gateway_image:
        dropped.append("GATEWAY_IMAGE")
    if settings.tws_password is not None and not reading.handed.get(PASSWORD) and PASSWORD not in dropped:
        dropped.append(PASSWORD)
    return tuple(dropped)


def _arrives(name: str, value: str, service: ServiceConfig) -> bool:
    if name in service.secret_variables:
        return True
    names = (name, f"IBC_{name.removeprefix('TWS_')}") if name in {*_USERS, PASSWORD} else (name,)
    return any(service.environ.get(one) == value for one in names)


def find_expanded(reading: FolderReading) -> tuple[str, ...]:
    """Names of the folder's `.env` of whose value Compose makes another, since it expands `$`. Pure.

    The names only: the values may be secrets.
    """
    service = reading.service
    if service is None:
        return ()
    return tuple(
        sorted(
            name
            for name, value in reading.folder_environ.items()
            if "$" in value and not reading.handed.get(name) and service.environ.get(name, value) != value
        )
    )


def find_open_ports(service: ServiceConfig) -> tuple[str, ...]:
    """What this service publishes to every network of the host, as `published:target`. Pure.

    Where Docker chooses the port, it is the target alone.
    """
    return tuple(
        f"{port.published}:{port.target}".removeprefix(":")
        for port in service.ports
        if port.host_ip in {"", "0.0.0.0", "::", "[::]"}  # noqa: S104 - looked for
    )


def refuse_unsafe(service: ServiceConfig, settings: Settings, *, directory: Path, service_name: str) -> None:
    """Refuse what must not be made, or could never log in. Pure.

    Raises:
        StartupFailure: `CONFIG_INVALID`.
    """
    fix = build_mode_fix(directory)
    refuse_live(service.environ, settings, where=f"service {service_name} in {directory}", fix=fix)
    refuse_contradictions(service, directory=directory)
    refuse_without_login(service, directory=directory, service_name=service_name)


def build_mode_fix(directory: Path) -> str:
    """What to do about a live mode in a folder."""
    return f"Set TRADING_MODE=paper in {directory / '.env'} or in the Compose file there."


def refuse_live(environ: Mapping[str, str], settings: Settings, *, where: str, fix: str) -> None:
    """Rule 5: live trading needs both switches of this program, whatever a file or a container says. Pure.

    Args:
        environ: What the container has, or would get.
        settings: The configuration.
        where: What says so, for the message.
        fix: How to correct it beside setting the switches.

    Raises:
        StartupFailure: `CONFIG_INVALID`: the mode is live, or both, and the switches are not set.
    """
    if settings.trading_mode is TradingMode.LIVE and settings.allow_live_trading:
        return
    named = {name: environ.get(name, "").strip().lower() for name in _MODES}
    found = next((f"{name}={word}" for name, word in named.items() if word in {"live", "both"}), None)
    if found is None and environ.get(_BOTH_AT_ONCE, "").strip().lower() in _YES:
        found = f"{_BOTH_AT_ONCE}={environ[_BOTH_AT_ONCE].strip()}"
    if found is not None:
        raise StartupFailure(
            FailureWord.CONFIG_INVALID,
            f"TRADING_MODE: {where} says {found}, and live trading is not allowed here; nothing was started.",
            next_action=f"{fix} For live trading set TRADING_MODE=live, ALLOW_LIVE_TRADING=yes and GATEWAY_ACCOUNT "
            "for this program.",
        )


def refuse_contradictions(service: ServiceConfig, *, directory: Path) -> None:
    """The image ends at once where a secret is given in both forms; Docker would start it again without end. Pure.

    Raises:
        StartupFailure: `CONFIG_INVALID`.
    """
    both = [name for name in EXCLUSIVE if service.environ.get(name) and service.environ.get(f"{name}_FILE")]
    if both:
        pairs = "; ".join(f"{name} and {name}_FILE" for name in both)
        raise StartupFailure(
            FailureWord.CONFIG_INVALID,
            f"DOCKER_COMPOSE_DIR: the service in {directory} gets {pairs}, and the image refuses both; nothing was "
            "started.",
            next_action=f"Leave one of the two out of the Compose file or its .env in {directory}.",
        )


def find_missing_login(service: ServiceConfig) -> tuple[str, ...]:
    """Which of user and password a container made now would lack; the vendor's image cannot log in without. Pure."""
    environ = service.environ
    if not is_vendors_image(service.image) or environ.get("CUSTOM_CONFIG", "").strip().lower() == "yes":
        return ()
    user = () if any(environ.get(name) for name in _USERS) else _USERS[:1]
    return (*user, *(() if any(environ.get(name) for name in _PASSWORDS) else (PASSWORD,)))


def refuse_without_login(service: ServiceConfig, *, directory: Path, service_name: str) -> None:
    """A container of the vendor's image must not be made without user and password. Pure.

    Raises:
        StartupFailure: `CONFIG_INVALID`.
    """
    missing = find_missing_login(service)
    if missing:
        raise StartupFailure(
            FailureWord.CONFIG_INVALID,
            f"{' and '.join(missing)}: empty for service {service_name} in {directory}, and the gateway's container "
            "must be created with the broker's login.",
            next_action=f"Set them in {directory / '.env'}, or here in .env (TWS_PASSWORD_FILE may name a file).",
        )
