"""The environment that the bot is given; its arguments are built in `bot.argv`."""

import os
from pathlib import Path

from orchestration.bot.command_line import is_reference_bot
from orchestration.bot.record import RECORD_MARKER, build_record_path
from orchestration.lease.held import REVISION_VARIABLE, kept_lease
from orchestration.settings import PROJECT_DIR, CalendarRule, Secret, Settings, variables_by_field
from orchestration.settings.child_environ import list_secret_names
from orchestration.system.endpoint import Endpoint

_CLIENT_ID = "BOT_CLIENT_ID"
# What a service manager tells its service, and only that. Handed down, the bot would answer in our name.
_SERVICE_VARIABLES = frozenset(
    {
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "FDSTORE",
        "MAINPID",
        "MANAGERPID",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "SYSTEMD_EXEC_PID",
    }
)


def build_bot_environ(
    settings: Settings, gateway: Endpoint, *, gameplan: Path, notify_socket: Path | None
) -> dict[str, str]:
    """The bot's whole environment.

    It inherits this program's own environment (what stands in `.env` only is not in it), without this program's secrets
    and without what a service manager said to this program alone.
    """
    withheld = _build_withheld_names() - set(settings.bot_pass_env)
    environ = {name: value for name, value in settings.environ.items() if name not in withheld | _SERVICE_VARIABLES}
    # Both forms of one secret would be a contradiction: the file, where it is passed too, is enough.
    environ |= {name: value for name, value in build_passed_secrets(settings).items() if f"{name}_FILE" not in environ}
    # Without it Python keeps what a bot prints in a buffer, since its output is no terminal: the log of a bot that
    # crashes hard would end before what matters.
    environ.setdefault("PYTHONUNBUFFERED", "1")
    if is_reference_bot(settings.bot_command):
        # It is part of this program, whatever folder it is started in and whether or not that is installed.
        inherited = environ.get("PYTHONPATH")
        environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT_DIR), *([inherited] if inherited else [])])
    environ |= {
        "GATEWAY_HOST": gateway.host,
        "GATEWAY_PORT": str(gateway.port),
        "GAMEPLAN_PATH": str(gameplan),
        "LOG_LEVEL": settings.bot_log_level,
        "INSTANCE": settings.instance,
        "PWD": str(settings.bot_workdir),
        RECORD_MARKER: str(build_record_path(settings)),
    }
    if any(row.name == _CLIENT_ID and row.source != "default" for row in settings.sources):
        # Only what the operator chose: a bot that has chosen its own keeps it, for its orders belong to that id.
        environ[_CLIENT_ID] = str(settings.bot_client_id)
    if settings.simulated:
        environ["MARKET_CALENDAR"] = CalendarRule.DAILY  # by which its plan was judged
    lease = kept_lease()
    if lease is not None:
        environ[REVISION_VARIABLE] = str(lease.revision)
    if notify_socket is not None:
        environ["NOTIFY_SOCKET"] = str(notify_socket)
    return environ


def _build_withheld_names() -> frozenset[str]:
    secrets = list_secret_names()
    return secrets | {f"{name}_FILE" for name in secrets} | {"CREDENTIALS_DIRECTORY"}


def build_passed_secrets(settings: Settings) -> dict[str, str]:
    """The secrets that `BOT_PASS_ENV` names, wherever they came from: the environment, `.env` or a file."""
    passed = {}
    for field, variable in variables_by_field().items():
        value = getattr(settings, field)
        if variable.name in settings.bot_pass_env and isinstance(value, Secret):
            passed[variable.name] = value.reveal()
    return passed
