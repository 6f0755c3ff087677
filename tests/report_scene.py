"""Forty-eight hours of a journal, as a supervisor would have written it: starts, incidents, gaps, latencies.

`python -m tests.report_scene PAGE [PICTURE]` writes the page that is made of it, and a picture of its upper part: the
one in the README.
"""

import contextlib
import logging
import os
import random
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestration.alerts.alert import Alert, Severity
from orchestration.journal import Journal, JournalReader, Sighting
from orchestration.reports import Limits, PeriodReport, build_period_report
from orchestration.reports.page import render_page
from tests.browser import need_browser, run_browser
from tests.fakes.clock import FakeClock

BEGIN = datetime(2026, 11, 18, 8, 0, tzinfo=UTC)
END = BEGIN + timedelta(hours=48)
MINUTE_S = 60.0
HOSTILE = "<script>alert('x')</script> & <b>bold</b>"
_PHASES = {"preflight": 0.3, "gateway.up": 0.4, "gateway.wait": 0.9, "gameplan.check": 0.1, "bot.start": 0.7}
_GAP_S = 185.0


@dataclass
class Story:
    """A journal that is being written, in simulated time."""

    journal: Journal
    clock: FakeClock
    run_id: str = ""
    rng: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - a seeded story, no secret
    numbers: int = 0
    aside: str = ""

    def start(self, run_id: str, *, slow_s: float = 0.0, kind: str = "service", failure: str | None = None) -> None:
        """A start, and the watch after it unless it failed."""
        self.run_id = run_id
        self.journal.start_run(run_id, instance="default", kind=kind, simulated=False, pid=os.getpid())
        for name, took_s in _PHASES.items():
            step = self.journal.start_step(run_id, name, "initializing")
            is_cause = failure is not None and name == "gateway.wait"
            self.clock.sleep(took_s * self.rng.uniform(0.8, 1.3) + (slow_s if name == "gateway.wait" else 0.0))
            self.journal.end_step(step, "fail" if is_cause else "ok", "")
            if is_cause:
                break
        if failure is not None:
            self.tell("Start-up failed: " + failure, failure, "", Severity.CRITICAL)
            self.journal.end_run(run_id, "failure", 1, failure, None, "The gateway was not ready within 120 s.")
            return
        self.journal.end_run(run_id, "success", 0, None, None, "The bot runs on strategy A.")
        self.journal.add_event(run_id, "watch_began", {"watcher": "supervisor", "pid": 1})

    def end_watch(self, code: int) -> None:
        self.journal.add_event(self.run_id, "watch_ended", {"watcher": "supervisor", "exit_code": code, "ended_by": ""})

    def watch(self, for_s: float, *, gateway: str = "ready", bot: str = "running", excuse: str = "") -> None:
        """Look every minute; the state lasts until the next call."""
        end_s = self.clock.monotonic_s() + for_s
        while True:
            latency_ms = self.rng.lognormvariate(1.6, 0.35) if gateway == "ready" else None
            sighting = Sighting(
                run_id=self.run_id,
                watcher="supervisor",
                gateway=gateway,
                bot=bot,
                bot_key=self.run_id if bot == "running" else "",
                excuse=excuse,
                latency_ms=latency_ms,
            )
            self.journal.note_sighting(sighting, most_gap_s=_GAP_S)
            left_s = end_s - self.clock.monotonic_s()
            if left_s <= 0:
                return
            self.clock.sleep(min(MINUTE_S, left_s))

    def notice(self, kind: str, stage: str, title: str, message: str = "", severity: str = "error") -> None:
        """Something is said about the present incident; a new one begins with `opened`."""
        self.numbers += stage in {"opened", "event"}
        incident = f"{kind}-{self.numbers}"
        detail = {"stage": stage, "incident": incident, "severity": severity, "title": title, "message": message}
        self.journal.add_event(self.run_id, kind, detail)
        self.tell(title, kind, incident, Severity(severity))

    def tell(self, title: str, cause: str, incident: str, severity: Severity) -> None:
        """An alert that arrives."""
        alert = Alert(
            severity=severity,
            title=title,
            message="",
            host="desk",
            instance="default",
            run_id=self.run_id,
            cause=cause,
            incident=incident,
            at=self.clock.now(),
        )
        number = self.journal.add_alert(
            run_id=self.run_id,
            severity=severity.value,
            title=title,
            body=alert.to_json(),
            at=alert.at,
            channels=["discord"],
        )
        self.clock.sleep(0.2)
        self.journal.mark_delivered(number or 0, "discord")

    def lose_gateway(self, for_s: float) -> None:
        """It is lost, restarted, and back."""
        self.watch(12, gateway="gone")
        self.notice("gateway_lost", "opened", "Gateway lost", f"The gateway's container is gone. {self.aside}".strip())
        self.notice("gateway_lost", "acted", "Gateway restart attempted", severity="warning")
        self.watch(for_s, gateway="starting")
        self.watch(0)
        self.notice("gateway_lost", "over", "Gateway is back", severity="info")


def tell_story(folder: Path, *, aside: str = HOSTILE) -> Path:
    """Write the journal; returns its path. `aside` stands in what is said about the gateway."""
    clock = FakeClock(BEGIN)
    path = folder / "journal.sqlite3"
    with Journal.open(path, clock=clock, log=logging.getLogger("tests.report")) as journal:
        story = Story(journal, clock, aside=aside)
        story.start("20261118_080000_aa01", slow_s=22.0)
        story.watch(5.2 * 3600)
        story.lose_gateway(48)
        story.watch(7 * 3600)
        story.watch(40 * 60, gateway="api_not_ready", excuse="broker_reset")
        story.watch(6 * 3600)
        story.watch(0, bot="ended")
        story.notice("bot_ended", "opened", "Bot ended", "The bot was ended by SIGKILL.")
        story.end_watch(1)
        clock.sleep(5)
        story.start("20261119_030000_aa02")
        story.watch(4.5 * 3600)
        story.notice("disk_low", "opened", "Little disk space", "420 MB are free.", "warning")
        story.watch(1.6 * 3600)
        story.notice("disk_low", "over", "Disk space is fine again", severity="info")
        story.watch(5 * 3600)
        story.watch(3 * 3600, bot="finished")
        story.notice("bot_finished", "event", "Bot has finished", "It is done with the plan of 2026-11-19.", "info")
        story.watch(4 * 3600, bot="finished")
        clock.sleep(25 * 60)  # without a look
        story.watch(3.4 * 3600)
        story.lose_gateway(95)
        story.watch((END - clock.now()).total_seconds())
    return path


def read_story(path: Path, *, limits: Limits | None = None) -> PeriodReport:
    """The report of these two days."""
    return build_period_report(
        JournalReader(path).read_evidence(BEGIN),
        instance="default",
        since=BEGIN,
        until=END,
        made_at=END,
        limits=limits,
    )


def main() -> int:
    """Write the page, and the picture, to the files that are named."""
    with tempfile.TemporaryDirectory() as folder:
        page = render_page(read_story(tell_story(Path(folder), aside=""), limits=Limits()), zone=UTC)
    path, *pictures = (Path(name) for name in sys.argv[1:])
    path.write_text(page, encoding="utf-8")
    with contextlib.ExitStack() as stack:
        for picture in pictures:
            browser = stack.enter_context(run_browser(need_browser()))
            browser.open(path, width=1000)
            browser.shoot(picture, until=".legend + p")
    return 0


if __name__ == "__main__":
    sys.exit(main())
