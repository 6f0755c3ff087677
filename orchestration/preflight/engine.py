"""The checks of Docker and of what the gateway's container was made with. Read-only."""

from collections.abc import Callable, Iterator

from orchestration.bot.container import BotDocker
from orchestration.errors import Check, FailureWord, StartupFailure, StepStatus, build_failed_check
from orchestration.gateway.compose_folder import FolderReading
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.docker_runtime import needs_compose, needs_credentials
from orchestration.gateway.drift import parse_read_only, read_read_only
from orchestration.gateway.runtime import Runtime
from orchestration.preflight.compose_folder import check_compose, read_own_folder
from orchestration.settings import BotRuntime, GatewayRuntime, Settings
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands


def check_engine(
    settings: Settings, runtime: Runtime, *, commands: Commands, clock: Clock, on_progress: Callable[[str], None]
) -> Iterator[Check]:
    """S4: does Docker answer, where something is to run in it? Waits as long as the operator said."""
    runs_gateway = settings.gateway_runtime is GatewayRuntime.DOCKER
    if not runs_gateway and settings.bot_runtime is not BotRuntime.DOCKER:
        yield Check(name="Docker engine", status=StepStatus.SKIP, detail=f"not used ({settings.gateway_runtime})")
        yield from check_read_only(settings, None, clock=clock)
        return
    try:
        if runs_gateway:
            engine = runtime.wait_for_engine(settings.docker_start_timeout_s, on_progress)
        else:
            engine = BotDocker(settings, commands=commands).docker.wait_for_engine(
                settings.docker_start_timeout_s, clock=clock, on_progress=on_progress
            )
    except StartupFailure as failure:
        yield build_failed_check("Docker engine", failure)
        return
    versions = f"engine {engine.engine_version}, Compose {engine.compose_version}"
    if engine.supports_fast_health_checks:
        yield Check(name="Docker engine", status=StepStatus.OK, detail=versions)
    else:
        yield Check(
            name="Docker engine",
            status=StepStatus.WARN,
            detail=f"{versions}: too old for fast health checks; ready is seen up to 30 s late",
            fix="Upgrade Docker to 25 or newer.",
        )
    try:
        status = runtime.probe()
    except StartupFailure as failure:
        yield build_failed_check("container", failure)
        return
    is_made_now = runs_gateway and needs_compose(settings, status, project=_find_project(settings, runtime))
    reading = read_own_folder(settings, commands=commands)
    yield from check_compose(settings, reading, is_made_now=is_made_now, status=status)
    try:
        refuse_without_credentials(settings, status)
    except StartupFailure as failure:
        yield build_failed_check("credentials", failure)
    if runs_gateway:
        if not is_made_now:
            yield from _check_drift(runtime, status)
        is_made_read_only = _is_made_read_only(settings, reading) if is_made_now else None
        yield from check_read_only(settings, status, clock=clock, is_made_read_only=is_made_read_only)


def _find_project(settings: Settings, runtime: Runtime) -> str:
    """The Compose project, where the files of an operator's folder say what it is called."""
    return runtime.build_record().project if settings.has_own_compose_folder else ""


def _is_made_read_only(settings: Settings, reading: FolderReading | StartupFailure | None) -> bool:
    """Whether a container made now would refuse orders; of an operator's folder that is for Compose to say."""
    if isinstance(reading, FolderReading) and reading.service is not None:
        return bool(parse_read_only(reading.service.environ))
    return settings.read_only_api


def _check_drift(runtime: Runtime, status: GatewayStatus) -> Iterator[Check]:
    """S5: settings that differ from what a container was made with that will not be recreated by this start."""
    found = runtime.find_drift(status)
    if not found:
        return
    is_ours = status.compose_project == runtime.build_record().project
    make = "`inv shutdown`" if is_ours else f"`inv shutdown` and `docker rm {status.name}`"
    yield Check(
        name="drift",
        status=StepStatus.WARN,
        detail=f"the gateway's container was made with other settings: {'; '.join(map(str, found))}; these are not in "
        "effect",
        fix=f"{make}, then `inv startup`, apply them: a new login, which may need the phone. Or set them back.",
    )


def check_read_only(
    settings: Settings, status: GatewayStatus | None, *, clock: Clock, is_made_read_only: bool | None = None
) -> Iterator[Check]:
    """S5: a gateway that refuses every order, and a plan that trades.

    Args:
        settings: The configuration.
        status: The gateway's container; None where the gateway runs in none of ours.
        clock: Tells the time.
        is_made_read_only: Where this start makes the container: whether it will refuse orders. None where it does not.
    """
    is_made_now = is_made_read_only is not None
    is_read_only = is_made_read_only if is_made_now else read_read_only(status)
    is_unknown = status is None and settings.read_only_api and settings.gateway_runtime is GatewayRuntime.EXTERNAL
    if settings.gameplan_path is None or not (is_read_only or is_unknown):
        return
    from orchestration.gameplan import check_from_settings

    verdict = check_from_settings(settings, clock=clock)
    if not verdict.is_valid or verdict.strategy == "C":
        return
    trades = f"the plan trades (strategy {verdict.strategy})"
    if is_unknown:
        yield Check(
            name="read-only gateway",
            status=StepStatus.WARN,
            detail=f"READ_ONLY_API is on, and {trades}; the gateway is managed externally, so whether it takes orders "
            "is unknown here",
            fix="Set it where the gateway runs.",
        )
        return
    where = "READ_ONLY_API is on" if is_made_now else "the gateway's container was made with READ_ONLY_API=yes"
    yield Check(
        name="read-only gateway",
        status=StepStatus.WARN,
        detail=f"{where}, and {trades}: no order will pass",
        fix="Set READ_ONLY_API=no, or use a plan with strategy C."
        if is_made_now
        else "Set READ_ONLY_API=no; `inv shutdown`, then `inv startup`, apply it: a new login. Or use a plan with "
        "strategy C.",
    )


def refuse_without_credentials(settings: Settings, status: GatewayStatus) -> None:
    """S1: user and password matter only if a container of the vendor's image must be made now.

    Raises:
        StartupFailure: `CONFIG_INVALID`: one must be made, and they are not set.
    """
    unset = [
        name
        for name, value in (("TWS_USERID", settings.tws_userid), ("TWS_PASSWORD", settings.tws_password))
        if value is None
    ]
    if unset and needs_credentials(settings, status):
        raise StartupFailure(
            FailureWord.CONFIG_INVALID,
            f"{' and '.join(unset)}: unset, and the gateway's container must be created with the broker's login.",
            next_action="Set TWS_USERID and TWS_PASSWORD (or TWS_PASSWORD_FILE) in .env; "
            "`inv startup --simulate` needs none.",
        )
