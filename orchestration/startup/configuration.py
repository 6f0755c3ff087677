"""The configuration that a command works with. Apart from the sequence: a command that only looks loads little."""

from orchestration.errors import StartupFailure
from orchestration.settings import Settings

_SAYS_WHICH_INSTANCE = ("INSTANCE", "STATE_DIR", "ENV_FILE")
_SERVICE_DOCKER_TIMEOUT_S = "180"  # Docker Desktop needs up to minutes after logon


def load_settings_of_what_runs() -> Settings:
    """The configuration for commands that look at, or stop, what runs already.

    A wrong setting must not make a system that runs impossible to stop: it is only a warning here, unless it leaves in
    doubt which instance is meant.

    Raises:
        StartupFailure: `CONFIG_INVALID`: it does.
    """
    try:
        return Settings.load()
    except StartupFailure as failure:
        if leaves_instance_unknown(failure):
            raise
        return Settings.load(lenient=True)


def leaves_instance_unknown(failure: StartupFailure) -> bool:
    """Whether what is wrong with the configuration leaves in doubt which instance is meant."""
    return any(problem.startswith(_SAYS_WHICH_INSTANCE) for problem in failure.evidence)


def load_settings(*, simulate: bool = False, service: bool = False) -> Settings:
    """The configuration; for `--simulate` with the built-in gateway and a sample plan of today.

    Args:
        simulate: Whether the built-in gateway, a sample plan and the reference bot are used.
        service: Whether a boot service starts it: Docker is then waited for, unless the operator said how long.

    Raises:
        StartupFailure: `CONFIG_INVALID`.
    """
    overrides: dict[str, str] = {}
    if simulate:
        from orchestration.startup.simulation import build_overrides

        overrides |= build_overrides(Settings.load(lenient=True))
    if service and any(
        row.name == "DOCKER_START_TIMEOUT" and row.source == "default" for row in Settings.load(lenient=True).sources
    ):
        overrides["DOCKER_START_TIMEOUT"] = _SERVICE_DOCKER_TIMEOUT_S
    return Settings.load(overrides=overrides, simulated=simulate)
