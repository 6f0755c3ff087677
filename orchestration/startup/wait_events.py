"""What a wait for the gateway finds on its way: which of it is an alert, and how bad it is."""

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.gateway.wait import WaitEvent, WaitEventKind
from orchestration.startup.context import StepContext

_EVENT_SEVERITY = {
    WaitEventKind.SECOND_FACTOR_NEEDED: Severity.CRITICAL,  # an operator must use a phone now
    WaitEventKind.SESSION_TAKEN: Severity.ERROR,
    WaitEventKind.LOGIN_IDLE: Severity.WARNING,
    WaitEventKind.RESTARTING: Severity.WARNING,
    WaitEventKind.LINK_DOWN: Severity.WARNING,
    WaitEventKind.FARMS_BROKEN: Severity.WARNING,
}

_EVENT_TITLE = {
    WaitEventKind.SECOND_FACTOR_NEEDED: "Second factor needed",
    WaitEventKind.SESSION_TAKEN: "Session taken over elsewhere",
    WaitEventKind.LOGIN_IDLE: "No login is under way",
    WaitEventKind.RESTARTING: "Gateway restart attempted",
    WaitEventKind.LINK_DOWN: "Gateway has no link to the broker",
    WaitEventKind.FARMS_BROKEN: "Data farms broken",
}


def classify_event(kind: WaitEventKind) -> tuple[Severity, str] | None:
    """How bad something is that a wait for the gateway found, and its alert's title; None for what is no alert."""
    severity = _EVENT_SEVERITY.get(kind)
    return None if severity is None else (severity, _EVENT_TITLE[kind])


def tell_event(context: StepContext, event: WaitEvent) -> None:
    """Show and log what a wait for the gateway has found, and alert it where it is an alert."""
    context.log.info("%s: %s", event.kind, event.message)
    found = classify_event(event.kind)
    if found is None:
        context.show(event.message)
        return
    severity, title = found
    for line in event.evidence:
        context.show(f"| {line}")
    context.show(f"{title}: {event.message}")
    if context.settings.gateway_watched_by is not None:
        return  # who watches the gateway alerts about it
    context.tell(
        AlertContent(
            severity=severity,
            title=title,
            message=event.message,
            cause=event.kind,
            next_action=event.next_action
            or "Nothing to do yet: the start keeps waiting, and another alert says how it ended.",
            evidence=event.evidence,
        )
    )
