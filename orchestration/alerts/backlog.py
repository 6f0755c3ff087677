"""What to do with alerts that have waited for too long: one summary says more than thirty stale messages."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from orchestration.alerts.alert import Alert
from orchestration.alerts.channel import DeliveryLimits
from orchestration.alerts.outbox import Outbox, Waiting

_SPARED = 5  # of a backlog that is long but not old, the newest ones are still news
_TITLE = "{} could not be sent in time"
_UNSURE_TITLE = "{} may not have been sent in time"
_COUNTED = re.compile(r"(?P<number>\d+) earlier alerts? (?:could not be|(?P<unsure>may not have been)) sent in time")


_W = TypeVar("_W", bound=Waiting)


def fold_backlog(
    outbox: Outbox, waiting: Sequence[Waiting], *, channel: str, now: datetime, limits: DeliveryLimits
) -> bool:
    """Put a summary in the place of a channel's backlog, where there is one. Whether the outbox was changed."""
    backlog = choose_backlog(waiting, now=now, age_s=limits.backlog_age_s, count=limits.backlog_count)
    summary = build_summary(backlog, now=now) if backlog else None
    return summary is not None and outbox.replace_by_summary(
        [one.id for one in backlog],
        channel=channel,
        run_id=summary.run_id,
        severity=summary.severity.value,
        title=summary.title,
        body=summary.to_json(),
        at=summary.at,
    )


def choose_backlog(waiting: Sequence[_W], *, now: datetime, age_s: float, count: int) -> list[_W]:
    """Those of the waiting alerts (in order) that one summary shall replace: the old ones, or most of too many."""
    old = [one for one in waiting if (now - one.at).total_seconds() > age_s]
    if len(waiting) - len(old) > count:
        return list(waiting[:-_SPARED])
    return old


def build_summary(backlog: Sequence[Waiting], *, now: datetime) -> Alert | None:
    """One alert that summarises several: how many, from when to when, and their titles. As severe as the worst of them.

    Where one of them may have arrived all the same, the summary does not say that they could not be sent.

    None if not one of them can be read.
    """
    alerts: list[Alert] = []
    for one in backlog:
        try:
            alerts.append(Alert.from_json(one.body))
        except ValueError:
            continue
    if not alerts:
        return None
    newest = alerts[-1]
    number = sum(_count(alert) for alert in alerts) + len(backlog) - len(alerts)
    lines: list[str] = []
    for alert in alerts:
        if _COUNTED.fullmatch(alert.title):
            lines.extend(alert.evidence)
        else:
            cause = f" ({alert.cause})" if alert.cause else ""
            lines.append(f"{alert.at.astimezone():%Y-%m-%d %H:%M %Z} {alert.severity}: {alert.title}{cause}")
    is_unsure = any(one.is_unsure for one in backlog) or any(_is_unsure_summary(alert) for alert in alerts)
    reason = (
        "No answer of the channel is on record; some may have arrived all the same."
        if is_unsure
        else "The channel could not be reached."
    )
    return Alert(
        severity=max((alert.severity for alert in alerts), key=lambda severity: severity.rank),
        title=(_UNSURE_TITLE if is_unsure else _TITLE).format(f"{number} earlier alert{'s' if number != 1 else ''}"),
        message=f"{reason} The newest of them is from "
        f"{newest.at.astimezone():%Y-%m-%d %H:%M %Z}. Things may have changed since.",
        host=newest.host,
        instance=newest.instance,
        run_id=newest.run_id,
        cause="ALERTS_LATE",
        next_action="Look at `inv status` for how things are now, and at `inv history` for what happened.",
        evidence=tuple(lines[-40:]),
        simulated=all(alert.simulated for alert in alerts),
        at=now,
    )


def _is_unsure_summary(alert: Alert) -> bool:
    match = _COUNTED.fullmatch(alert.title)
    return match is not None and match["unsure"] is not None


def _count(alert: Alert) -> int:
    match = _COUNTED.fullmatch(alert.title)
    return int(match["number"]) if match else 1
