"""`inv soak`: plan, run, report; the verdict is the exit code."""

import contextlib
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from orchestration import presenter as console
from orchestration.commands.report import read_period_report, show, write_page
from orchestration.errors import ExitCode
from orchestration.reports import PeriodReport
from orchestration.reports.document import build_document
from orchestration.settings import Settings, expand_home
from orchestration.soak.channel import open_channel
from orchestration.soak.instance import SupervisedInstance
from orchestration.soak.judging import build_limits, judge_trial
from orchestration.soak.schedule import Schedule, plan_faults
from orchestration.soak.trial import Trial
from orchestration.system.clock import SystemClock
from orchestration.system.signals import Requests

_LARGEST_SCALE = 10_000.0
_LONGEST_HOURS = 24.0 * 365


def soak(*, hours: float, time_scale: float, seed: int, output: str, as_json: bool) -> int:
    """Run the system with faults. 0: the verdict is "passed"; 1: it is not, or there was no run."""
    if sys.platform == "win32":
        return _refuse("it stops and kills processes as only POSIX can: run it inside WSL", as_json=as_json)
    if not (0 < hours <= _LONGEST_HOURS and 1 <= time_scale <= _LARGEST_SCALE):
        return _refuse(f"--hours must be above 0, --time-scale from 1 to {_LARGEST_SCALE:g}", as_json=as_json)
    try:
        schedule = plan_faults(hours=hours, time_scale=time_scale, seed=seed)
    except ValueError as error:
        return _refuse(str(error), as_json=as_json)
    settings = Settings.load(lenient=True)
    now = SystemClock().now().astimezone()
    path = Path(expand_home(output)).absolute() if output else settings.log_dir / f"soak_{now:%Y%m%d_%H%M%S}.html"
    root = Path(tempfile.mkdtemp(prefix="zero-touch-soak-"))
    is_passed = False
    try:
        report = _run(schedule, settings, root)
        is_passed = report.verdict is not None and report.verdict.is_passed
        write_page(report, path)
    except OSError as error:
        return _refuse(f"the run could not be made, or its page not written: {error}", as_json=as_json)
    finally:
        if is_passed:
            shutil.rmtree(root, ignore_errors=True)
        else:
            console.warn(f"kept for a closer look: {root}")
    console.warn(f"page: {path}")
    if as_json:
        console.print_json(build_document(report))
    else:
        show(report)
    return int(ExitCode.SUCCESS if is_passed else ExitCode.FAILURE)


def _run(schedule: Schedule, settings: Settings, root: Path) -> PeriodReport:
    clock = SystemClock()
    faults = ", ".join(one.fault.value for one in schedule.faults)
    console.warn(f"{schedule.real_s:.0f} s, seed {schedule.seed}, {len(schedule.faults)} faults: {faults}")
    with contextlib.ExitStack() as held:
        requests = held.enter_context(Requests())
        channel = held.enter_context(open_channel())
        instance = SupervisedInstance(
            root,
            settings.environ,
            patience_scale=schedule.patience_scale,
            webhook=channel.address,
            clock=clock,
        )
        trial = Trial(instance, channel, schedule, clock=clock, requests=requests, say=console.warn)
        result = trial.run()
        report = read_period_report(
            instance.journal,
            replace(settings, instance=instance.name),
            since=result.began_at.astimezone(),
            until=result.ended_at.astimezone(),
            limits=build_limits(schedule),
        )
        return judge_trial(report, result, schedule, channel.received)


def _refuse(problem: str, *, as_json: bool) -> int:
    console.warn(problem)
    if as_json:
        console.print_json({"exit_code": int(ExitCode.FAILURE), "message": problem})
    return int(ExitCode.FAILURE)
