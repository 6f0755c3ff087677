"""`inv startup` and `python -m orchestration.startup`: one flag for each way to start."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from orchestration import presenter as console
from orchestration.commands import flags
from orchestration.errors import ExitCode, StartupFailure
from orchestration.settings import Settings
from orchestration.startup.configuration import load_settings
from orchestration.startup.report import build_json
from orchestration.startup.sequence import Options, run_startup
from orchestration.state_dir import ATTEMPTS
from orchestration.system.signals import let_outcome_stand


def _clear_attempts() -> None:
    """A start by hand clears what a boot service has counted."""
    state_dir = Settings.load(lenient=True).state_dir
    if os.path.lexists(state_dir / ATTEMPTS):
        from orchestration.hostservice import attempts

        attempts.clear(state_dir)


def start(options: Options) -> int:
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


def _show_dry_run(options: Options) -> int:
    from orchestration.startup.dry_run import plan_startup

    try:
        settings: Settings | StartupFailure = load_settings(simulate=options.simulate)
    except StartupFailure as failure:
        settings = failure
    planned = plan_startup(settings, replaces_bot=options.replace, supervises=options.foreground or options.service)
    if options.as_json:
        console.print_json(dataclasses.asdict(planned))
    else:
        console.print_table(("step", "would"), [(step.name, step.would) for step in planned.steps])
        for problem in planned.problems:
            console.print_line(problem)
        console.print_line(f"expected exit code: {int(planned.expected_exit_code)}; nothing was changed")
    return int(planned.expected_exit_code)


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
        Options(
            simulate=given.simulate,
            dry_run=given.dry_run,
            replace=given.replace,
            as_json=given.json,
            foreground=given.foreground,
            service=given.service,
        )
    )
