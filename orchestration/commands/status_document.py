"""The JSON document of `inv status`; what does not apply is null."""

import dataclasses
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestration.bot.find import BotPresence
from orchestration.bot.order_guard import GuardRecord, is_suspended
from orchestration.bot.state import BotState
from orchestration.commands.status import Status, describe
from orchestration.gateway.holdings import Holdings
from orchestration.hostservice.service import build_status_json
from orchestration.journal import RunRecord
from orchestration.lease.held import Standing
from orchestration.redaction import mask_account

if TYPE_CHECKING:
    from orchestration.preflight.leader_plan import LeaderPlan


def build_json(status: Status) -> dict[str, Any]:
    """The status as one JSON document; what does not apply is null."""
    gateway, bot = status.gateway, status.bot
    container = gateway.status
    return {
        "instance": status.instance,
        "exit_code": int(status.code),
        "message": describe(status),
        "problems": list(status.problems),
        "notes": list(status.notes),
        "gateway": {
            "runtime": gateway.kind,
            "container": gateway.container,
            "host": gateway.host,
            "port": gateway.port,
            "state": container.state if container else None,
            "health": container.health if container else None,
            "ready": gateway.is_ready,
            "api": gateway.api.state if gateway.api else None,
            "server_version": gateway.api.server_version if gateway.api else None,
            "accounts": [mask_account(account) for account in gateway.api.accounts] if gateway.api else [],
            "latency_ms": _rounded(gateway.api.latency_ms if gateway.api else None),
            "simulated": gateway.simulated,
            "problem": gateway.problem,
            "login": gateway.login,
            "last_full_login_at": _iso(gateway.full_login_at),
            "sessions_ended_at": _iso(gateway.sessions_ended_at),
            "full_login_is_newer": None
            if gateway.full_login_at is None
            else gateway.full_login_at >= gateway.sessions_ended_at,
        },
        "money": _build_money_json(status.holdings, with_amounts=status.shows_amounts),
        "gameplan": None
        if status.plan is None
        else {
            "path": str(status.plan.path),
            "strategy": status.plan.strategy,
            "date": status.plan.date or None,
            "sha256": status.plan.sha256,
            "fallback": status.plan.emergency_reason,
            "problem": status.plan.problem,
        },
        "bot": _build_bot_json(bot, status.bot_state, is_watched=status.is_bot_watched),
        "order_guard": _build_guard_json(status.guard),
        "bot_withheld": status.is_bot_withheld,
        "service": build_status_json(status.service),
        "given_up": {"since": status.attempts.given_up_at, "reason": status.attempts.given_up}
        if status.attempts.has_given_up
        else None,
        "hold": None if status.hold is None else dataclasses.asdict(status.hold),
        "lease": _build_lease_json(status.lease, status.leader_plan),
        "under_way": None if status.under_way is None else dataclasses.asdict(status.under_way),
        "alerts": {
            "problem": status.alert_problem,
            "channels": [
                {"name": one.name, "problem": one.problem, "waiting": one.waiting} for one in status.alert_channels
            ],
        },
        "last_run": _build_run_json(status.last_run),
        "journal": {"problem": status.journal_problem},
    }


def _build_lease_json(lease: Standing | None, plan: "LeaderPlan | None") -> dict[str, Any] | None:
    """Where this host stands among those that carry the instance; null without LEASE_ETCD."""
    if lease is None:
        return None
    return {
        "role": lease.role,
        "host": lease.host,
        "holder": lease.holder or None,
        "since": lease.since or None,
        "revision": lease.revision or None,
        "reason": lease.reason or None,
        "standby_gateway": lease.gateway or None,
        "problem": lease.problem or None,
        "plan": _build_leader_plan_json(plan),
    }


def _build_leader_plan_json(plan: "LeaderPlan | None") -> dict[str, Any] | None:
    """The gameplan in force, and whether this host has it; null where no leader has published one."""
    published = None if plan is None else plan.published
    if plan is None or published is None:
        return None
    return {
        "state": published.state,
        "here": plan.comparison,
        "host": published.host,
        "name": published.name or None,
        "date": published.date or None,
        "strategy": published.strategy or None,
        "sha256": published.sha256 or None,
        "size": published.size if published.sha256 else None,
        "in_store": published.has_content,
        "reason": published.reason or None,
        "at": published.at,
    }


def _build_money_json(holdings: Holdings, *, with_amounts: bool) -> dict[str, Any]:
    """What the broker holds; null is unknown, and so is every amount that SHOW_AMOUNTS hides."""
    orders, positions, accounts = holdings.orders, holdings.positions, holdings.accounts

    def amount(number: Decimal | None) -> float | None:
        return float(number) if with_amounts and number is not None else None

    return {
        "amounts_shown": with_amounts,
        "position_count": None if positions is None else len(positions),
        "positions": None
        if positions is None
        else [
            {
                "account": mask_account(one.account),
                "symbol": one.symbol,
                "type": one.kind,
                "quantity": amount(one.quantity),
                "average_cost": amount(one.average_cost),
            }
            for one in positions
        ],
        "open_order_count": None if orders is None else len(orders),
        "open_orders": None
        if orders is None
        else [
            {
                "account": mask_account(one.account),
                "symbol": one.symbol,
                "action": one.action,
                "order_type": one.order_type,
                "quantity": amount(one.quantity),
            }
            for one in orders
        ],
        "accounts": None
        if accounts is None
        else [
            {
                "account": mask_account(one.account),
                "net_liquidation": amount(one.net_liquidation),
                "currency": one.currency or None,
                "margin_cushion": None if one.cushion is None else float(one.cushion),
            }
            for one in accounts
        ],
        "problems": {
            "positions": holdings.positions_problem or None,
            "open_orders": holdings.orders_problem or None,
            "accounts": holdings.accounts_problem or None,
        },
    }


def _build_guard_json(guard: GuardRecord | None) -> dict[str, Any] | None:
    """The order guard of a bot on Strategy C that runs now."""
    if guard is None:
        return None
    return {
        "pid": guard.pid,
        "host": guard.host,
        "port": guard.port,
        "working": not is_suspended(guard),
        "since": guard.started_at or None,
        "refused": dict(guard.refused),
        "refusals": guard.refusals,
        "last_refused_at": guard.last_refused_at or None,
        "open_orders": None if guard.open_orders is None else list(guard.open_orders),
        "open_positions": None if guard.open_positions is None else list(guard.open_positions),
    }


def _build_bot_json(bot: BotPresence, state: BotState, *, is_watched: bool) -> dict[str, Any]:
    record = bot.record
    return {
        "running": None if bot.is_unknown else bot.is_found,
        "pid": bot.pid if bot.is_found else None,
        "uptime_s": _rounded(bot.uptime_s if bot.is_found else None),
        # It lives: that alone does not say that it can trade.
        "ready": None if record is None else record.ready_by is not None and state.is_connected is not False,
        "ready_by": record.ready_by if record else None,
        "program": state.program or None,
        "gateway_connection": state.is_connected,
        "suspended": state.suspended or None,
        "finished": state.is_finished,
        "ended": None
        if state.ended_at is None
        else {"exit_code": state.exit_code, "at": state.ended_at.isoformat(), "finished": state.is_finished},
        "supervised": is_watched if bot.is_found else None,
        "log": str(record.log) if record and record.log else None,
        "container": bot.container or None,
        "found_by": bot.how,
        "left_of_pid": bot.left_of_pid,
        "detail": bot.detail,
    }


def _build_run_json(run: RunRecord | None) -> dict[str, Any] | None:
    if run is None:
        return None
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "result": run.result,
        "exit_code": run.exit_code,
        "failure": run.failure,
        "fallback": run.fallback,
        "message": run.message,
        "started_at": _iso(run.started_at),
        "duration_s": _rounded(run.duration_s),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
