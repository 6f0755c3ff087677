"""What a supervisor does when its host has lost the lease (LEASE_ETCD) while it watched a bot."""

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.bot.find import find_bot
from orchestration.bot.order_guard import end_guard
from orchestration.bot.record import BotRecord
from orchestration.bot.stop import end_members, stop_bot
from orchestration.errors import FailureWord, StartupFailure
from orchestration.lease.held import HeldLease
from orchestration.supervision.context import SupervisorContext


def end_without_lease(context: SupervisorContext, lease: HeldLease, record: BotRecord | None) -> None:
    """The fence has killed the bot, or does so now: see to it, and say it. The gateway is logged out afterwards.

    Args:
        context: What it works with.
        lease: The lease that is lost.
        record: The bot that was watched; None where there was none.
    """
    message = (
        f"This host has lost the lease of instance {context.settings.instance} (revision {lease.revision}): "
        f"{lease.loss}. The bot was killed; the gateway is logged out."
    )
    context.log.error("%s", message)
    presence = find_bot(context.settings)
    if presence.is_found:
        try:
            stop_bot(context.settings, presence, timeout_s=0.0)
        except StartupFailure as failure:
            context.log.error("the bot could not be stopped: %s", failure)  # noqa: TRY400 - no mistake of ours
    end_members(context.settings, record)
    end_guard(context.settings)
    context.journal.add_event(context.run_id, "lease_lost", {"revision": lease.revision, "message": message})
    context.send_alert(
        AlertContent(
            severity=Severity.CRITICAL,
            title="Lease lost: bot killed",
            message=message,
            cause=FailureWord.LEASE_UNAVAILABLE,
            next_action="The host that acquires the lease starts by itself. Look at the etcd cluster and at open "
            "positions; `inv status` on each host says who leads.",
        )
    )
