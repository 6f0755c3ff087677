"""What a supervisor does when its host has lost the lease (LEASE_ETCD) while it watched a bot."""

import logging
from typing import Protocol

from orchestration.alerts.alert import Severity
from orchestration.alerts.delivery import Delivery
from orchestration.bot.find import find_bot
from orchestration.bot.order_guard import end_guard
from orchestration.bot.record import BotRecord
from orchestration.bot.stop import end_members, stop_bot
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.runtime import Runtime
from orchestration.journal import Journal
from orchestration.lease.held import HeldLease
from orchestration.settings import GatewayRuntime, Settings
from orchestration.startup.run_alerts import build_watch_alert
from orchestration.system.clock import Clock


class LeasedPost(Protocol):
    """What it works with: a part of `supervisor.Post`."""

    @property
    def settings(self) -> Settings:
        """The configuration."""
        ...

    @property
    def runtime(self) -> Runtime:
        """Who runs the gateway."""
        ...

    @property
    def clock(self) -> Clock:
        """Tells the time."""
        ...

    @property
    def journal(self) -> Journal:
        """Where events are written down."""
        ...

    @property
    def delivery(self) -> Delivery:
        """Sends alerts."""
        ...

    @property
    def run_id(self) -> str:
        """The run that started the bot."""
        ...

    @property
    def log(self) -> logging.Logger:
        """The log."""
        ...


def end_without_lease(post: LeasedPost, lease: HeldLease, record: BotRecord | None) -> None:
    """The fence has killed the bot, or does so now: see to it, and say it. The gateway is logged out afterwards.

    Args:
        post: What it works with.
        lease: The lease that is lost.
        record: The bot that was watched; None where there was none.
    """
    message = (
        f"This host has lost the lease of instance {post.settings.instance} (revision {lease.revision}): "
        f"{lease.loss}. The bot was killed; the gateway is logged out."
    )
    post.log.error("%s", message)
    presence = find_bot(post.settings)
    if presence.found is not None:
        try:
            stop_bot(post.settings, presence.found, timeout_s=0.0)
        except StartupFailure as failure:
            post.log.error("the bot could not be stopped: %s", failure)  # noqa: TRY400 - no mistake of ours
    end_members(post.settings, record)
    end_guard(post.settings)
    post.journal.add_event(post.run_id, "lease_lost", {"revision": lease.revision, "message": message})
    post.delivery.send(
        build_watch_alert(
            post.settings,
            post.run_id,
            post.clock.now(),
            Severity.CRITICAL,
            title="Lease lost: bot killed",
            message=message,
            cause=FailureWord.LEASE_UNAVAILABLE,
            next_action="The host that acquires the lease starts by itself. Look at the etcd cluster and at open "
            "positions; `inv status` on each host says who leads.",
            simulated=post.runtime.kind is GatewayRuntime.SIMULATOR,
        )
    )
