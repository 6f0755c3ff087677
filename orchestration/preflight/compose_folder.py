"""The checks of the gateway's Compose file: what a container would be made of, and what would not arrive in it.

An operator's own folder is asked of Compose; of the shipped file it is known. Read-only.
"""

from collections.abc import Iterator

from orchestration.docker.cli import DockerCli
from orchestration.docker.compose import find_compose_files
from orchestration.errors import Check, FailureWord, StartupFailure, StepStatus, build_failed_check
from orchestration.gateway import compose_folder
from orchestration.gateway.compose_folder import ComposeFolder, FolderReading
from orchestration.gateway.container import GatewayStatus
from orchestration.settings import GatewayRuntime, Settings
from orchestration.settings.child_environ import list_secret_names
from orchestration.system.commands import Commands

COMPOSE_CHECK = "Compose file"
_FOLDER_CHECK = "Compose folder"


def read_own_folder(settings: Settings, *, commands: Commands) -> FolderReading | StartupFailure | None:
    """What the operator's own folder makes of the gateway's service, or why Compose cannot tell.

    None where there is no such folder, or no Compose file in it.
    """
    if settings.gateway_runtime is not GatewayRuntime.DOCKER or not settings.has_own_compose_folder:
        return None
    docker = DockerCli(
        commands,
        read_timeout_s=max(settings.health_check_timeout_s, 1.0),
        secrets=settings.secrets,
        start_failure=FailureWord.GATEWAY_START_FAILED,
    )
    own = ComposeFolder(settings, docker, directory=settings.docker_compose_dir, service=settings.gateway_service)
    if not own.has_file():
        return None
    try:
        return own.read()
    except StartupFailure as failure:
        return failure


def check_compose(
    settings: Settings,
    reading: FolderReading | StartupFailure | None,
    *,
    is_made_now: bool,
    status: GatewayStatus,
) -> Iterator[Check]:
    """G2: can the gateway's container be made, and does it get what was set for it?

    Args:
        settings: The configuration.
        reading: What `read_own_folder` returned.
        is_made_now: Whether this start makes the container: then what makes that impossible is a failure.
        status: The container.
    """
    if settings.gateway_runtime is not GatewayRuntime.DOCKER:
        return
    if isinstance(reading, FolderReading):
        yield from _check_reading(settings, reading, is_made_now=is_made_now, status=status)
        return
    if is_made_now and reading is not None:
        yield build_failed_check(COMPOSE_CHECK, reading)
    elif is_made_now and not find_compose_files(settings.docker_compose_dir):
        yield _build_no_file(settings)
    if not settings.has_own_compose_folder:
        yield from _check_shipped(settings)


def _build_no_file(settings: Settings) -> Check:
    folder = settings.docker_compose_dir
    return Check(
        name=COMPOSE_CHECK,
        status=StepStatus.FAIL,
        detail=f"DOCKER_COMPOSE_DIR: no Compose file in {folder}, and the gateway's container has to be made",
        fix="Set DOCKER_COMPOSE_DIR to the folder that holds it.",
        failure=FailureWord.CONFIG_INVALID,
    )


def _check_shipped(settings: Settings) -> Iterator[Check]:
    names = [one.name for one in settings.image_variables if not one.is_in_shipped_file]
    if names:
        yield Check(
            name=_FOLDER_CHECK,
            status=StepStatus.WARN,
            detail=f"{', '.join(names)}: set, but not passed on by the shipped Compose file, so it does not "
            "arrive in the gateway's container",
            fix="Unset it, or use a Compose folder of your own (DOCKER_COMPOSE_DIR, GATEWAY_SERVICE).",
        )


def _check_reading(
    settings: Settings, reading: FolderReading, *, is_made_now: bool, status: GatewayStatus
) -> Iterator[Check]:
    service, folder, name = reading.service, settings.docker_compose_dir, settings.gateway_service
    if service is None:
        if is_made_now:
            yield Check(
                name=COMPOSE_CHECK,
                status=StepStatus.FAIL,
                detail=f"GATEWAY_SERVICE: the Compose file in {folder} has no service {name}; it has "
                f"{', '.join(reading.names) or 'none'}",
                fix="Set GATEWAY_SERVICE to the gateway's service there.",
                failure=FailureWord.CONFIG_INVALID,
            )
        return
    if is_made_now:
        try:
            compose_folder.refuse_unsafe(service, settings, directory=folder, service_name=name)
        except StartupFailure as failure:
            yield build_failed_check(COMPOSE_CHECK, failure)
        else:
            yield Check(
                name=COMPOSE_CHECK,
                status=StepStatus.OK,
                detail=f"service {name} of project {service.project} in {folder}, as `docker compose up -d` there",
            )
    yield from _check_values(settings, reading)
    yield from _check_ports(settings, reading, status=status, is_made_now=is_made_now)


def _check_values(settings: Settings, reading: FolderReading) -> Iterator[Check]:
    folder, name = settings.docker_compose_dir, settings.gateway_service
    overrides = compose_folder.find_overrides(reading, settings)
    if overrides:
        shown = "; ".join(_describe_override(one, settings, reading) for one in overrides)
        yield Check(
            name=_FOLDER_CHECK,
            status=StepStatus.WARN,
            detail=f"set for this program, these go before {folder / '.env'}: {shown}",
            fix="Set each of them in one of the two places only.",
        )
    dropped = compose_folder.find_dropped(reading, settings)
    if dropped:
        yield Check(
            name=_FOLDER_CHECK,
            status=StepStatus.WARN,
            detail=f"{', '.join(dropped)}: set for this program, but not taken by service {name} in {folder}, so "
            "it does not arrive in the gateway's container",
            fix=f"Add it to `environment:` of the service, as {dropped[0]}: ${{{dropped[0]}:-}}, or unset it here.",
        )
    expanded = compose_folder.find_expanded(reading)
    if expanded:
        yield Check(
            name=_FOLDER_CHECK,
            status=StepStatus.WARN,
            detail=f"{', '.join(expanded)}: holds a `$` in {folder / '.env'}, which Compose expands, so another value "
            "arrives in the gateway's container",
            fix="Put the value in single quotes there.",
        )


def _describe_override(name: str, settings: Settings, reading: FolderReading) -> str:
    if name in list_secret_names():
        return name
    value = reading.handed.get(name, settings.environ.get(name, ""))
    return f"{name} ({value or 'empty'} instead of {reading.folder_environ[name] or 'empty'})"


def _check_ports(
    settings: Settings, reading: FolderReading, *, status: GatewayStatus, is_made_now: bool
) -> Iterator[Check]:
    service, folder = reading.service, settings.docker_compose_dir
    if service is None:
        return
    exposed = compose_folder.find_open_ports(service)
    if exposed:
        fixed = " and ".join(f'"127.0.0.1:{one}"' for one in exposed)
        yield Check(
            name="published ports",
            status=StepStatus.WARN,
            detail=f"service {settings.gateway_service} in {folder} publishes {', '.join(exposed)} on every address of "
            "this host: anyone who reaches it can trade, for the gateway's API asks for no password",
            fix=f"Write {fixed} under `ports:` there.",
        )
    published = [port.published or "a port of Docker's choice" for port in service.ports]
    if is_made_now and not status.is_up and published and str(settings.gateway_port) not in published:
        yield Check(
            name="published ports",
            status=StepStatus.WARN,
            detail=f"GATEWAY_PORT is {settings.gateway_port}, and service {settings.gateway_service} in {folder} "
            f"publishes {', '.join(published)}: the gateway would not be reached",
            fix="Set GATEWAY_PORT to the port that leads to the gateway's API.",
        )
