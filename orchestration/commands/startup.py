"""`inv startup` and `python -m orchestration.startup`: one flag for each way to start."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from orchestration import presenter as console
from orchestration.commands import flags
from orchestration.errors import ExitCode, StartupFailure
from orchestration.settings import Settings
from orchestration.startup.configuration import load_settings
from orchestration.startup.report import build_json
from orchestration.startup.sequence import StartupOptions, run_startup
from orchestration.state_dir import attempts_path, supervisor_lock_path
from orchestration.system.signals import let_outcome_stand

if TYPE_CHECKING:
    from orchestration.startup.dry_run import DryRun


def _clear_attempts() -> None:
    """A start by hand clears what a boot service has counted."""
    state_dir = Settings.load(lenient=True).state_dir
    if os.path.lexists(attempts_path(state_dir)):
        from orchestration.hostservice import attempts

        attempts.clear(state_dir)


def start(options: StartupOptions) -> int:
    """`inv startup`: run, show, and return the exit code."""
    if options.dry_run:
        return _show_dry_run(options)
    if not options.service:
        _clear_attempts()
    if options.replace and not (options.service or options.foreground or options.simulate):
        from orchestration.commands.control import replace_through_supervisor

        code = replace_through_supervisor(as_json=options.as_json)
        if code is not None:
            return code
    if options.foreground or options.service:
        from orchestration.commands.supervise import serve

        return serve(options)
    display = console.build_display(as_json=options.as_json)
    report = run_startup(options, display)
    let_outcome_stand()
    if options.as_json:
        console.print_json(build_json(report))
    return int(report.exit_code)


def _show_dry_run(options: StartupOptions) -> int:
    from orchestration.preflight.table import name_missing_files
    from orchestration.startup.dry_run import plan_startup

    try:
        settings: Settings | StartupFailure = load_settings(simulate=options.simulate)
    except StartupFailure as failure:
        settings = name_missing_files(failure, load_settings(simulate=options.simulate, lenient=True))
    stopped = _find_first_refusal(options) if isinstance(settings, Settings) or options.service else None
    planned = stopped or plan_startup(
        settings,
        replaces_bot=options.replace,
        supervises=options.foreground or options.service,
        is_service=options.service,
    )
    if options.as_json:
        console.print_json(dataclasses.asdict(planned))
    else:
        console.print_table(("step", "would"), [(step.name, step.would) for step in planned.steps])
        for problem in planned.problems:
            console.print_line(problem)
        for warning in planned.warnings:
            console.print_line(f"warning: {warning}")
        console.print_line(f"expected exit code: {int(planned.expected_exit_code)}; nothing was changed")
    return int(planned.expected_exit_code)


def _find_first_refusal(options: StartupOptions) -> "DryRun | None":
    """What a start would end with before its first step, where another process or a hold keeps it from beginning."""
    from orchestration.startup.admission import build_second, find_refusal
    from orchestration.startup.dry_run import DryRun, PlannedStep, refuse
    from orchestration.system.lock import read_lock_holder

    settings = Settings.load(lenient=True)
    if options.service:
        refusal = find_refusal(settings, changes_nothing=True)
        if refusal is None:
            return None
        failure = StartupFailure(refusal.word, refusal.message, next_action=refusal.next_action)
        return refuse(settings, failure, exit_code=refusal.exit_code)
    holder = read_lock_holder(supervisor_lock_path(settings.state_dir))
    if holder is None or (options.foreground and options.replace):
        return None
    if options.foreground:
        second = build_second(settings)
        return refuse(settings, StartupFailure(second.word, second.message, next_action=second.next_action))
    if options.replace and not options.simulate:
        would = f"have the supervisor, {holder}, restart its bot, and wait for the outcome"
        return DryRun(
            instance=settings.instance,
            steps=(PlannedStep(name="bot.restart", would=would),),
            expected_exit_code=ExitCode.SUCCESS,
        )
    return None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse's own code, 2, would say "partial success" here.
        flags.print_refusal(message)
        self.print_usage(sys.stderr)
        self.exit(int(ExitCode.FAILURE), f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m orchestration.startup`: the same as `inv startup`, for hosts and scripts without Invoke."""
    parser = _Parser(
        prog="python -m orchestration.startup",
        description="Start the trading system: preflight, gateway, wait, gameplan, bot.",
        epilog="Exit codes: 0 success; 1 failure, manual action required; 2 the system runs, on the emergency plan.",
    )
    parser.add_argument("--simulate", action="store_true", help="built-in gateway, sample plan, your BOT_COMMAND")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; change nothing")
    parser.add_argument("--replace", action="store_true", help="stop a running bot gracefully first")
    parser.add_argument("--foreground", action="store_true", help="stay with the bot and watch the system")
    parser.add_argument("--service", action="store_true", help="the same for a boot service; adds exit code 78")
    parser.add_argument(
        "--stop-left-behind", action="store_true", help="start nothing: stop the bot of a dead supervisor"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    given = parser.parse_args(argv)
    if given.stop_left_behind:
        from orchestration.commands.supervise import end_what_is_left

        return end_what_is_left()
    return start(
        StartupOptions(
            simulate=given.simulate,
            dry_run=given.dry_run,
            replace=given.replace,
            as_json=given.json,
            foreground=given.foreground,
            service=given.service,
        )
    )
