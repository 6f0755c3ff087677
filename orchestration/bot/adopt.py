"""Take over a bot that an earlier supervisor left behind, if it is just the one that would be started now."""

import dataclasses
from pathlib import Path

from orchestration.bot.argv import build_bot_argv
from orchestration.bot.find import BotPresence, FoundBy
from orchestration.bot.launch import BotRunning
from orchestration.bot.members import read_connection
from orchestration.bot.order_guard import GuardRecord, find_guard, has_no_bot, is_guarded, is_suspended
from orchestration.bot.record import BotRecord, ReadyBy, build_record_path, write_record
from orchestration.settings import Settings
from orchestration.system.endpoint import Endpoint

_NO_TRADING = "C"


def why_not_adopted(  # noqa: PLR0911 - one return for each reason
    found: BotPresence,
    settings: Settings,
    *,
    gateway: Endpoint,
    gameplan: Path,
    strategy: str,
    sha256: str,
) -> str | None:
    """Why this bot is not just the one that would be started now, or None if it is.

    Two emergency plans differ only in the moment at which they were written, so a bot on Strategy C stays on it.
    """
    record = found.record
    if record is None or found.how is not FoundBy.RECORDED or found.pid != record.pid:
        return "it is not the process that was recorded"
    if record.ready_by is None:
        return "it was never seen to be up"
    if record.workdir != (settings.bot_compose_dir if record.container else settings.bot_workdir):
        return "its folder has changed"
    both_idle = record.strategy == strategy == _NO_TRADING
    if not both_idle and (record.gameplan_sha256 != sha256 or record.gameplan != gameplan):
        return "its plan is not the active one"
    if has_no_bot(settings, strategy):
        return "no bot is to run on Strategy C (STRATEGY_C_BOT=none)"
    if record.guarded != is_guarded(settings, strategy):
        return "it is behind an order guard" if record.guarded else "it is not behind an order guard"
    if record.guarded:
        guard = _find_guard_of(record, settings, settings.gateway if record.container else gateway)
        if guard is None:
            return "its order guard does not run any more"
        gateway = Endpoint(host=guard.host, port=guard.port)
    if record.argv != build_bot_argv(settings, gateway, gameplan=record.gameplan):
        return "its command has changed"
    return None


def _find_guard_of(record: BotRecord, settings: Settings, gateway: Endpoint) -> GuardRecord | None:
    """The guard that this bot was told of, if it works and is in front of this gateway."""
    guard = find_guard(settings)
    is_its_own = (
        guard is not None
        and guard.port == record.gateway_port
        and (guard.gateway_host, guard.gateway_port) == (gateway.host, gateway.port)
        and not is_suspended(guard)
    )
    return guard if is_its_own else None


def adopt_bot(record: BotRecord, settings: Settings) -> BotRunning:
    """Take it over: from now on it counts as supervised.

    Raises:
        OSError: Its record could not be written.
    """
    is_connected = read_connection(settings, record)
    adopted = dataclasses.replace(record, supervised=True)
    write_record(build_record_path(settings), adopted)
    return BotRunning(
        ready_by=record.ready_by or ReadyBy.GRACE,
        status_text="",
        watchdog_at_s=None,
        record=adopted,
        is_connected=is_connected,
        has_connected=is_connected,
    )
