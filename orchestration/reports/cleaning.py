"""Masks what must not stand in a report that is sent around: secrets and account ids in texts for people. Pure."""

from collections.abc import Callable
from dataclasses import replace

from orchestration.journal import RunRecord
from orchestration.reports.account import Account
from orchestration.reports.incidents import Incident


def clean_account(account: Account, clean: Callable[[str], str]) -> Account:
    """The same with `clean` applied to every text that is not a stable word."""
    return replace(
        account,
        starts=tuple(_clean_run(run, clean) for run in account.starts),
        incidents=tuple(_clean_incident(one, clean) for one in account.incidents),
        happenings=tuple(
            replace(one, title=clean(one.title), message=clean(one.message)) for one in account.happenings
        ),
    )


def _clean_run(run: RunRecord, clean: Callable[[str], str]) -> RunRecord:
    steps = tuple(replace(step, detail=clean(step.detail)) for step in run.steps)
    return replace(run, message=clean(run.message), steps=steps)


def _clean_incident(incident: Incident, clean: Callable[[str], str]) -> Incident:
    return replace(
        incident,
        title=clean(incident.title),
        message=clean(incident.message),
        actions=tuple(clean(one) for one in incident.actions),
        alert=None if incident.alert is None else replace(incident.alert, note=clean(incident.alert.note)),
    )
