"""The commands of the zero-touch start-up: `inv --list` shows them, `inv --help TASK` explains one.

Signature, help, one call each. What is behind them is imported only when it is called, so that listing and
completion stay as quick as Invoke itself.
"""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

if TYPE_CHECKING:
    from orchestration.commands.control import StepLine

# Invoke keeps Python from writing byte code; ours is worth keeping, unless the user said otherwise. `sudo inv install`
# leaves nothing behind in a folder that is not root's.
_IS_OWN = not hasattr(os, "geteuid") or os.geteuid() == Path(__file__).stat().st_uid
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode) or not _IS_OWN

_STEPS = ("preflight", "gateway.up", "gateway.wait", "gameplan.check", "bot.start")
_FORCE = "Also while other instances use it, and under their bots"
_JSON = "One JSON document on standard output, everything else on standard error"
_lines: list["StepLine"] = []


def _end(code: int) -> None:
    """End the program with this code, unless it is 0: then further tasks may follow."""
    if code:
        raise Exit(code=code)


def _read_steps() -> tuple[str, ...]:
    """The steps that this command line performs: each one once, as Invoke does; `gameplan.check --path` is none."""
    only_judges = any(word in {"--path", "-p"} or word.startswith("--path=") for word in sys.argv[1:])
    named = dict.fromkeys(word for word in sys.argv[1:] if word in _STEPS)
    return tuple(name for name in named if not (only_judges and name == "gameplan.check"))


def _perform(name: str, *, as_json: bool) -> None:
    """Perform one step. The steps of one command line are one run."""
    from orchestration.commands.control import StepLine

    if not _lines:
        # The whole line is one run with one document, whichever of its tasks was given the flag.
        as_json = as_json or not {"--json", "-j"}.isdisjoint(sys.argv)
        _lines.append(StepLine(_read_steps() or (name,), as_json=as_json))
    _end(_lines[0].perform(name))


def _refuse_to_act(context: Context) -> None:
    """Invoke's own --dry would keep none of this from happening: nothing here goes through Invoke's commands."""
    from orchestration.commands import flags

    flags.refuse_to_act("inv startup --dry-run", namespace, is_dry=context.config.run.dry)


@task
def _refuse_dry(context: Context) -> None:
    """Before every task that acts."""
    _refuse_to_act(context)


@task(name="help")
def list_commands(_: Context) -> None:
    """List the commands; `inv --help NAME` explains one."""
    from invoke.program import Program

    from orchestration.commands import flags

    # `inv help startup` must explain the start-up, not begin it.
    named = [name for name in flags.find_tasks(sys.argv, namespace) if name != "help"]
    for name in named:
        Program(name="inv", binary="inv").run(["inv", "--help", name], exit=False)
    if named:
        raise Exit(code=0)
    Program(name="inv", binary="inv").run(["inv", "--list"], exit=False)


@task(help={"json": _JSON})
def version(_: Context, json: bool = False) -> None:
    """Show the version of this program."""
    from orchestration.commands import views

    _end(views.version(as_json=json))


@task(
    pre=[_refuse_dry],
    help={"answers": "A file of NAME=value lines in place of the questions, for scripts", "json": _JSON},
)
def init(_: Context, answers: str | None = None, json: bool = False) -> None:
    """Set up .env: at most six questions, then all checks.

    Asks for the broker's user and password, the bot, the gameplan and the alert
    channel, writes the answers into .env (only its owner can read it), runs
    preflight and sends a test alert. Run again, it changes only what is
    answered. Exit code 0: written, and every check passed; 1: not.
    """
    from orchestration.commands import init as set_up

    _end(set_up.init(answers=answers, as_json=json))


@task(help={"json": _JSON})
def preflight(context: Context, json: bool = False) -> None:
    """Check everything before anything is touched."""
    if len(_read_steps()) > 1:
        _refuse_to_act(context)
        _perform("preflight", as_json=json)
        return
    from orchestration.commands import control as cli

    _end(cli.preflight(as_json=json))


@task(pre=[_refuse_dry], name="up", help={"json": _JSON})
def gateway_up(_: Context, json: bool = False) -> None:
    """Make the gateway run; a healthy one is left alone."""
    _perform("gateway.up", as_json=json)


@task(pre=[_refuse_dry], name="wait", help={"json": _JSON})
def gateway_wait(_: Context, json: bool = False) -> None:
    """Wait until the gateway is truly logged in."""
    _perform("gateway.wait", as_json=json)


@task(pre=[_refuse_dry], name="restart", help={"force": _FORCE, "json": _JSON})
def gateway_restart(_: Context, force: bool = False, json: bool = False) -> None:
    """Restart the gateway and wait for its login.

    Refuses while other instances use it; their bots would lose it.
    """
    from orchestration.commands import control as cli
    from orchestration.shutdown import GATEWAY_RESTART, GATEWAY_RESTART_BY_FORCE
    from orchestration.startup.sequence import STEPS

    restart = GATEWAY_RESTART_BY_FORCE if force else GATEWAY_RESTART
    wait = next(step for step in STEPS if step.name == "gateway.wait")
    _end(cli.run_steps("gateway.restart", (restart, wait), as_json=json, starts=True))


@task(pre=[_refuse_dry], name="down", help={"force": _FORCE, "json": _JSON})
def gateway_down(_: Context, force: bool = False, json: bool = False) -> None:
    """Stop this instance's gateway, not the bot.

    Refuses while other instances use it, and while a supervisor watches, who
    would bring it back. After --force no supervisor brings it back:
    `inv gateway.up` does.
    """
    from orchestration.commands import control as cli
    from orchestration.shutdown import GATEWAY_DOWN, GATEWAY_DOWN_BY_FORCE

    down = GATEWAY_DOWN_BY_FORCE if force else GATEWAY_DOWN
    _end(cli.run_steps("gateway.down", (down,), as_json=json, starts=True, respects_hold=False))


@task(
    pre=[_refuse_dry],
    name="check",
    help={
        "path": "Only judge this file: exit code 0 valid, 1 not; nothing is activated",
        "at": "With --path: as of this instant, for example 2026-11-27T09:15:00-05:00",
        "json": _JSON,
    },
)
def gameplan_check(_: Context, path: str | None = None, at: str | None = None, json: bool = False) -> None:
    """Activate the plan, or Strategy C; --path only judges.

    Without --path the exit code is 0 either way, and the output says which plan
    is active.
    """
    if path is None and at is not None:
        from orchestration.commands import flags

        flags.refuse("--at: goes with --path: only a file is judged as of another time")
    if path is None:  # an empty one is a script's unset variable: it must not activate a plan
        _perform("gameplan.check", as_json=json)
        return
    from orchestration.commands import control as cli

    _end(cli.check_gameplan_file(path, at=at, as_json=json))


@task(
    pre=[_refuse_dry],
    name="new",
    help={
        "strategy": "A (momentum), B (mean reversion) or C (no trading)",
        "date": "Its date; by default the session that is next to trade",
        "path": "Where to write it; by default gameplan_DATE.json in this folder",
        "json": _JSON,
    },
)
def gameplan_new(
    _: Context, strategy: str = "A", date: str | None = None, path: str | None = None, json: bool = False
) -> None:
    """Write a valid plan to start from; never overwrites a file."""
    from orchestration.commands import control as cli

    _end(cli.write_new_gameplan(strategy=strategy, plan_date=date, path=path, as_json=json))


@task(pre=[_refuse_dry], name="start", help={"json": _JSON})
def bot_start(_: Context, json: bool = False) -> None:
    """Validate gateway and plan, then start the bot."""
    _perform("bot.start", as_json=json)


@task(pre=[_refuse_dry], name="stop", help={"json": _JSON})
def bot_stop(_: Context, json: bool = False) -> None:
    """Stop the bot gracefully, and by force after a while.

    It gets SIGTERM first; after BOT_STOP_TIMEOUT it and all it started are
    killed.
    """
    from orchestration.commands import control as cli
    from orchestration.shutdown import BOT_STOP

    _end(cli.run_steps("bot.stop", (BOT_STOP,), as_json=json))


@task(pre=[_refuse_dry], name="restart", help={"json": _JSON})
def bot_restart(_: Context, json: bool = False) -> None:
    """Restart the bot gracefully on the day's plan.

    Gateway and plan are validated again first. Under a supervisor it is the
    supervisor that does it.
    """
    from orchestration.commands import control as cli

    _end(cli.restart_bot(as_json=json))


@task(
    help={
        "simulate": "On the built-in gateway with a sample plan; runs BOT_COMMAND, else the reference bot; no account",
        "dry_run": "Say what would be done, from what is there now; change nothing",
        "replace": "Stop a running bot gracefully first",
        "foreground": "Stay with the bot, watch the system, alert and recover; Ctrl-C stops the bot gracefully",
        "service": "The same for a boot service: failures are counted",
        "json": _JSON,
    }
)
def startup(
    context: Context,
    simulate: bool = False,
    dry_run: bool = False,
    replace: bool = False,
    foreground: bool = False,
    service: bool = False,
    json: bool = False,
) -> None:
    """Run the whole sequence: from nothing to a running bot.

    Exit code 0: up; 1: manual action required; 2: up, on the emergency plan,
    which trades nothing. With --service also 78: manual action required, and
    trying again is of no use.
    """
    from orchestration.commands import flags
    from orchestration.commands.startup import start
    from orchestration.startup.sequence import StartupOptions

    flags.refuse_to_act("inv startup --dry-run", namespace, is_dry=False)
    options = StartupOptions(
        simulate=simulate,
        dry_run=dry_run or context.config.run.dry,
        replace=replace,
        as_json=json,
        foreground=foreground,
        service=service,
    )
    _end(start(options))


@task(pre=[_refuse_dry])
def monitor(_: Context) -> None:
    """Watch a system that was started without --foreground; alert.

    It never touches the bot; it restarts a lost gateway once, unless
    GATEWAY_RECOVERY=alert.
    """
    from orchestration.commands.supervise import monitor as watch

    _end(watch())


@task(pre=[_refuse_dry], help={"keep_gateway": "Leave the gateway running", "json": _JSON})
def shutdown(_: Context, keep_gateway: bool = False, json: bool = False) -> None:
    """Stop the bot, then this instance's gateway."""
    from orchestration.commands import control as cli
    from orchestration.shutdown import BOT_STOP, BOT_STOP_FIRST, GATEWAY_STOP

    steps = (BOT_STOP,) if keep_gateway else (BOT_STOP_FIRST, GATEWAY_STOP)
    _end(cli.run_steps("shutdown", steps, as_json=json))


@task(pre=[_refuse_dry], help={"reason": "Why; shown to anyone who tries to start it", "json": _JSON})
def hold(_: Context, reason: str = "", json: bool = False) -> None:
    """Stop everything and keep it down until `inv resume`.

    It outlives reboots; anyone who tries to start the system sees who holds it,
    since when and why.
    """
    from orchestration.commands import control as cli

    _end(cli.hold(reason, as_json=json))


@task(
    pre=[_refuse_dry], help={"to": "The host that is to lead (its LEASE_HOST); any other one by default", "json": _JSON}
)
def failover(_: Context, to: str = "", json: bool = False) -> None:
    """Have another host take over (LEASE_ETCD).

    The bot is stopped gracefully, the gateway logged out, and the whole sequence
    validated there; if no host takes over, this host comes back.
    """
    from orchestration.commands.failover import fail_over

    _end(fail_over(to, as_json=json))


@task(pre=[_refuse_dry], help={"json": _JSON})
def resume(_: Context, json: bool = False) -> None:
    """End a hold; starts nothing."""
    from orchestration.commands import control as cli

    _end(cli.resume(as_json=json))


@task(
    help={
        "target": "linux (systemd), windows (Task Scheduler), or auto",
        "user": "A service of your own, not of the machine (Linux; needs no root)",
        "dry_run": "Check, show what differs, change nothing",
        "output": "Write the file to this folder, register nothing; on any operating system",
        "start": "Start it now, too; else it starts at the next boot",
        "trigger": "Windows: logon (Docker Desktop) or boot (Docker Engine in WSL; needs an administrator)",
        "distribution": "Windows: the WSL distribution; else this one, or the only one",
        "windows_user": "Windows: whom the task runs as, DOMAIN\\name; else the present user",
        "json": _JSON,
    }
)
def install(
    context: Context,
    target: str = "auto",
    user: bool = False,
    dry_run: bool = False,
    output: str | None = None,
    start: bool = False,
    trigger: str = "",
    distribution: str = "",
    windows_user: str = "",
    json: bool = False,
) -> None:
    """Register the start-up with the host's boot.

    Shows what differs from what is installed; running it again changes nothing.
    For the machine's own service on Linux: sudo .venv/bin/inv install. Exit
    code 0: it is registered as it should be; 1: it is not.
    """
    from orchestration.commands import flags
    from orchestration.commands.host_service import InstallOptions, run_install

    flags.refuse_to_act("inv install --dry-run", namespace, is_dry=False)
    options = InstallOptions(
        target=target,
        user=user,
        dry_run=dry_run or context.config.run.dry,
        output=output,
        starts=start,
        as_json=json,
        trigger=trigger,
        distribution=distribution,
        windows_user=windows_user,
    )
    _end(run_install(options))


@task(pre=[_refuse_dry], help={"target": "linux (systemd), windows (Task Scheduler), or auto", "json": _JSON})
def uninstall(_: Context, target: str = "auto", json: bool = False) -> None:
    """Stop the boot service and remove it; keep state and logs."""
    from orchestration.commands.host_service import run_uninstall

    _end(run_uninstall(target=target, as_json=json))


@task(help={"all": "Every instance of this checkout, a line each; the exit code is the worst of theirs", "json": _JSON})
def status(_: Context, all_: bool = False, json: bool = False) -> None:
    """Show gateway, plan, bot and the last run.

    Exit code 0: the bot runs and the gateway is ready, whichever plan; 1: the
    bot runs, something it needs is not as it should be; 3: the bot does not
    run; 4: unknown whether it runs; 5: this host stands by (LEASE_ETCD).
    """
    from orchestration.commands import views

    _end(views.status_of_all(as_json=json) if all_ else views.status(as_json=json))


@task(
    help={
        "limit": "How many runs (20; with --since all of them)",
        "since": "Only those since: 48h, 7d, 90m, or 2026-11-20 or 2026-11-20T09:00",
        "json": _JSON,
    }
)
def history(_: Context, limit: str = "", since: str | None = None, json: bool = False) -> None:
    """Show past runs and their outcomes, the newest first."""
    from orchestration.commands import flags, views

    most = flags.read_count("--limit", limit) if limit else None
    _end(views.history(limit=most, since=since, as_json=json))


@task(
    help={
        "since": "The period: 48h, 7d, 90m, or its beginning as 2026-11-20 or 2026-11-20T09:00; asks for a verdict",
        "output": "Where the page goes; else report.html in the state folder (with --json: nowhere)",
        "json": _JSON,
    }
)
def report(_: Context, since: str | None = None, output: str = "", json: bool = False) -> None:
    """Say how well it ran, as a page: uptime, incidents, verdict.

    Without --since: the last seven days, and no verdict. Exit code 0: the
    report was made, and where a verdict was asked for it is "passed"; 1: the
    verdict is "failed", or the report could not be made.
    """
    from orchestration.commands import report as reporting

    _end(reporting.report(since=since, output=output, as_json=json))


@task(
    help={
        "hours": "How long, before the time scale (48)",
        "time_scale": "How many times faster the faults follow each other (1); 480 makes six minutes of 48 hours",
        "seed": "Which faults, in which order: the same seed, the same run (1)",
        "output": "Where the page goes; else soak_DATE.html in the log folder",
        "json": _JSON,
    }
)
def soak(
    _: Context,
    hours: str = "48",
    time_scale: str = "1",
    seed: str = "1",
    output: str = "",
    json: bool = False,
) -> None:
    """Run the real system with faults, then report on it.

    On the built-in gateway, in a temporary instance of its own: yours is not
    touched. Exit code 0: the verdict is "passed"; 1: it is not, or there was no
    run.
    """
    from orchestration.commands import flags
    from orchestration.commands.soak import soak as run

    code = run(
        hours=flags.read_number("--hours", hours),
        time_scale=flags.read_number("--time-scale", time_scale),
        seed=flags.read_count("--seed", seed, least=0),
        output=output,
        as_json=json,
    )
    _end(code)


@task(
    help={
        "of": "Whose log: startup, bot, gateway, supervisor, or shutdown (stops and restarts)",
        "follow": "Go on with new lines as they come, until Ctrl-C",
        "lines": "How many lines of the end (50)",
    }
)
def logs(_: Context, of: str = "startup", follow: bool = False, lines: str = "50") -> None:
    """Show the newest log: of start-ups, bot, gateway, supervisor."""
    from orchestration.commands import flags
    from orchestration.commands import logs as log_view

    _end(log_view.logs(of, follow=follow, lines=flags.read_count("--lines", lines)))


@task(help={"json": _JSON})
def config(_: Context, json: bool = False) -> None:
    """Show the settings in effect and where each came from."""
    from orchestration.commands import views

    _end(views.config(as_json=json))


@task(pre=[_refuse_dry], name="test", help={"json": _JSON})
def alert_test(_: Context, json: bool = False) -> None:
    """Send one test alert and say whether it arrived."""
    from orchestration.commands import control as cli

    _end(cli.test_alert(as_json=json))


namespace = Collection(
    init,
    version,
    preflight,
    startup,
    monitor,
    shutdown,
    failover,
    hold,
    resume,
    install,
    uninstall,
    status,
    history,
    report,
    soak,
    logs,
    config,
)
namespace.add_task(list_commands, default=True)
namespace.add_collection(Collection("gateway", gateway_up, gateway_wait, gateway_restart, gateway_down))
namespace.add_collection(Collection("gameplan", gameplan_check, gameplan_new))
namespace.add_collection(Collection("bot", bot_start, bot_stop, bot_restart))
namespace.add_collection(Collection("alert", alert_test))


def _check_command_line() -> None:
    """Refuse a word that Invoke would only say it has no idea of, and say what was probably meant."""
    program, words = Path(sys.argv[0]), sys.argv[1:]
    is_ours = program.stem in {"inv", "invoke"} or program.parts[-2:] == ("invoke", "__main__.py")
    if is_ours:
        from orchestration.system.streams import steady_prints

        steady_prints()
    if not is_ours or words[:1] == [] or words[0].startswith("-"):
        return  # flags of Invoke's own may name another file of tasks
    if all(word in namespace.task_names for word in words):
        return
    from invoke.exceptions import ParseError
    from invoke.parser import Parser
    from invoke.parser.context import ParserContext
    from invoke.program import Program

    from orchestration.commands import flags

    contexts = namespace.to_contexts()
    try:
        Parser(initial=ParserContext(args=Program().core_args()), contexts=contexts).parse_argv(words)
    except ParseError as error:
        found = re.fullmatch(r"No idea what '(.+)' is!", str(error))
        if found is not None:
            command = error.context.name if error.context is not None else None
            own = {one.name: tuple(one.flags) for one in contexts if one.name}
            flags.refuse(flags.explain_word(found[1], command, own))


_check_command_line()
