"""For bot authors: refuse to run at the wrong moment.

One call at the top of `main` is all:

    from orchestration.prerequisites import check_or_exit

    def main() -> None:
        given = check_or_exit()
        trade(given.plan, given.gateway_host, given.gateway_port)

A bot that is started by hand without today's plan, or while the gateway does not answer, then stops with a message that
says what is wrong and what to do, and exit code 1. What the bot was given is read from its arguments (`--gateway-host`,
`--gateway-port`, `--gameplan`), then from its environment (`GATEWAY_HOST`, `GATEWAY_PORT`, `GAMEPLAN_PATH`), then from
`.env`. Strategy C passes: the bot's own rules then allow no entries.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from orchestration.errors import StartupFailure
from orchestration.gameplan import GameplanError, expected_dates, load_calendar, read_plan_for_bot
from orchestration.gateway.api import probe_api
from orchestration.redaction import clean_line
from orchestration.settings import GameplanFreshness, Settings
from orchestration.system.clock import Clock, SystemClock
from orchestration.system.endpoint import Endpoint

_HIGHEST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class Prerequisites:
    """What a bot may rely on, as it was found.

    Attributes:
        gateway_host: The host where the gateway's API answered.
        gateway_port: Its port.
        gameplan: The plan's file.
        plan: What is in it: valid, and of a date that counts as today's.
        accounts: The accounts that the gateway manages.
    """

    gateway_host: str
    gateway_port: int
    gameplan: Path
    plan: Mapping[str, Any]
    accounts: tuple[str, ...]


class PrerequisiteError(Exception):
    """The bot must not run now.

    Attributes:
        message: What was found.
        next_action: What the operator should do.
    """

    def __init__(self, message: str, *, next_action: str) -> None:
        super().__init__(message, next_action)
        self.message = message
        self.next_action = next_action

    def __str__(self) -> str:
        return f"{self.message} {self.next_action}"


def check_or_exit(argv: Sequence[str] | None = None) -> Prerequisites:
    """Return what the bot may rely on, or say on standard error why it must not run and exit with 1.

    Args:
        argv: The bot's arguments without the program's name; those of this process by default. Others than the three
            are left alone.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--gateway-host", "--gateway-port", "--gameplan"):
        parser.add_argument(name)
    try:
        options, _ = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
        return require(
            gateway_host=options.gateway_host,
            gateway_port=_parse_port(options.gateway_port),
            gameplan=Path(options.gameplan) if options.gameplan else None,
        )
    except (PrerequisiteError, argparse.ArgumentError) as error:
        print(clean_line(f"This bot must not run now. {error}"), file=sys.stderr)  # noqa: T201 - a bot's log is its own matter
        sys.exit(1)


def require(
    *,
    gateway_host: str | None = None,
    gateway_port: int | None = None,
    gameplan: Path | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
) -> Prerequisites:
    """Check the plan, then the gateway.

    Args:
        gateway_host: The host of the gateway's API; by default what the settings say.
        gateway_port: Its port.
        gameplan: The plan's file; by default what the settings say.
        settings: Read from the environment and `.env` by default.
        clock: The system's by default.

    Raises:
        PrerequisiteError: The configuration is wrong; the plan is missing, not valid or not of today; or the gateway's
            API does not answer.
    """
    clock = clock or SystemClock()
    try:
        settings = settings or Settings.load()
    except StartupFailure as error:
        lenient = Settings.load(lenient=True)  # enough to know this host and the project's folder
        raise _advise(PrerequisiteError(f"{error.message}.", next_action=error.next_action), lenient) from error
    try:
        return _require(settings, clock, gateway_host=gateway_host, gateway_port=gateway_port, gameplan=gameplan)
    except PrerequisiteError as error:
        raise _advise(error, settings) from error.__cause__


def _advise(error: PrerequisiteError, settings: Settings) -> PrerequisiteError:
    """The same error with its commands as they work on this host."""
    from orchestration.hostservice.advice import advise

    return PrerequisiteError(advise(error.message, settings), next_action=advise(error.next_action, settings))


def _require(
    settings: Settings, clock: Clock, *, gateway_host: str | None, gateway_port: int | None, gameplan: Path | None
) -> Prerequisites:
    path = gameplan or settings.gameplan_path
    if path is None:
        raise PrerequisiteError(
            "No gameplan was given.", next_action="Start the bot with `inv bot.start`, or pass --gameplan FILE."
        )
    plan = _read_todays_plan(path, settings, clock)
    gateway = Endpoint(host=gateway_host or settings.gateway_host, port=gateway_port or settings.gateway_port)
    seen = probe_api(
        gateway,
        client_id=settings.gateway_probe_client_id,
        timeout_s=settings.health_check_timeout_s,
        now=clock.now,
    )
    if not seen.is_ready:
        raise PrerequisiteError(
            f"The gateway's API at {gateway} is not ready: {seen.detail or seen.state}.",
            next_action="`inv status` shows what it is doing; `inv startup` starts everything in the right order.",
        )
    return Prerequisites(
        gateway_host=gateway.host, gateway_port=gateway.port, gameplan=path, plan=plan, accounts=seen.accounts
    )


def _read_todays_plan(path: Path, settings: Settings, clock: Clock) -> Mapping[str, Any]:
    try:
        plan = read_plan_for_bot(path, extra_schema=settings.gameplan_schema)
    except GameplanError as error:
        command = f"inv gameplan.check --path {shlex.quote(str(path.absolute()))}"
        raise PrerequisiteError(
            f"{error}.", next_action=f"`{command}` shows everything that is wrong with it."
        ) from error
    expected = expected_dates(clock.now(), load_calendar(settings), trades=plan["strategy"] != "C")
    if settings.gameplan_freshness is GameplanFreshness.TODAY and date.fromisoformat(plan["date"]) not in expected:
        dates = " or ".join(sorted(day.isoformat() for day in expected))
        raise PrerequisiteError(
            f"The gameplan {path} is for {plan['date']}, not for {dates}.",
            next_action="Put today's plan in place and start the bot with `inv startup`.",
        )
    return plan


def _parse_port(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _HIGHEST_PORT:
        raise PrerequisiteError(
            f"--gateway-port {text!r} is no port.", next_action="It must be a number from 1 to 65535."
        )
    return int(text)
