"""The start-up: five steps in order, and how a run of them is opened and performed.

`STEPS` is the order; nothing else decides it. `tasks.py` exposes each step and the whole.
"""

import contextlib
import dataclasses
from dataclasses import dataclass

from orchestration import gameplan
from orchestration.errors import StartupFailure, State
from orchestration.preflight.table import name_missing_files
from orchestration.settings import Settings
from orchestration.startup import steps as act
from orchestration.startup.configuration import load_settings, load_settings_of_what_runs
from orchestration.startup.context import Display, RunSpec, Step
from orchestration.startup.report import Report
from orchestration.startup.run import Run
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from orchestration.system.platform import platform

STEPS = (
    Step(name="preflight", state=State.INITIALIZING, act=act.preflight),
    Step(name="gateway.up", state=State.GATEWAY_STARTING, act=act.gateway_up),
    Step(name="gateway.wait", state=State.GATEWAY_WAITING, ends_in=State.GATEWAY_VALIDATED, act=act.gateway_wait),
    Step(name="gameplan.check", state=State.GAMEPLAN_LOADING, act=act.gameplan_check),
    Step(name="bot.start", state=State.BOT_STARTING, ends_in=State.BOT_RUNNING, act=act.bot_start),
)

_CHECKS_PLAN = frozenset({"gameplan.check", "bot.start"})


@dataclass(frozen=True, kw_only=True)
class StartupOptions:
    """What `startup` was asked for.

    Attributes:
        simulate: The whole sequence on the built-in gateway and a sample plan, with BOT_COMMAND or the reference bot.
        dry_run: Only say what would be done.
        replace: Stop a running bot gracefully first.
        as_json: One JSON document on standard output, everything else on standard error.
        foreground: Stay with the bot and watch the system.
        service: The same for a boot service: failures are counted, and 78 says that manual action is required.
    """

    simulate: bool = False
    dry_run: bool = False
    replace: bool = False
    as_json: bool = False
    foreground: bool = False
    service: bool = False


def open_run(spec: RunSpec, display: Display) -> Run:
    """Open a run on the real world. A wrong configuration opens it too: as a failed one, recorded and alerted."""
    if any(step.name in _CHECKS_PLAN for step in spec.steps):
        platform().start_thread(_preload, name="preload")
    try:
        if spec.starts:
            settings = load_settings(simulate=spec.simulate, service=spec.service)
        else:
            settings = load_settings_of_what_runs()
    except StartupFailure as wrong:
        settings = load_settings(simulate=spec.simulate, service=spec.service, lenient=True)
        spec = dataclasses.replace(spec, refusal=name_missing_files(wrong, settings) if spec.starts else wrong)
    return Run(settings, spec, commands=SystemCommands(), clock=SystemClock(), display=display)


def run_startup(options: StartupOptions, display: Display) -> Report:
    """Run the whole sequence. Never raises for what it meets."""
    spec = RunSpec(kind="startup", steps=STEPS, replaces_bot=options.replace, simulate=options.simulate)
    return execute_run(spec, display)


def execute_run(spec: RunSpec, display: Display) -> Report:
    """Open a run (see `open_run`), perform its steps in order, close it. One that is refused performs none."""
    return perform_run(spec, display)[0]


def perform_run(spec: RunSpec, display: Display) -> tuple[Report, Settings]:
    """The same, for a caller that goes on with the configuration that the run had: the files may have changed since."""
    if spec.simulate and spec.refusal is None:
        from orchestration.startup.configuration import ensure_sample_plan

        # Where even this cannot be written, the run itself finds no plan and says so.
        with contextlib.suppress(OSError):
            ensure_sample_plan(Settings.load(lenient=True), clock=SystemClock())
    run = open_run(spec, display)
    for step in spec.steps:
        run.perform(step)
    return run.close(), run.settings


def _preload() -> None:
    """Import jsonschema (0.14 s) while Docker is being asked and the gateway waited for."""
    gameplan.preload()
