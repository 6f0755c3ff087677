"""The simulated world: one host with its gateway, its bot, its plan and its operator, and the programs that run there.

The programs are the product's own, unchanged, each in a process of its own (`tests.years.program`). The world gives
exactly one of them its turn at a time and lets virtual time pass when all of them sleep.
"""

import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from orchestration.state_dir import journal_path
from tests.years.clockwork import Clockwork, Trace
from tests.years.disk import Disk
from tests.years.gateway import PORT, ApiClient, Gateway
from tests.years.processes import ProcessTable, SimProcess
from tests.years.program import run_program
from tests.years.wire import GoneError, SilentError, Wire, open_wire

UNIT_GROUP = "/system.slice/zero-touch-startup.service"
USER_GROUP = "/user.slice/session-1.scope"
RESTART_DELAY_S = 30.0
_PATIENCE_S = 30  # of real time, for a program to reach its next door
OPERATOR_COMES_S = 3600.0
_KILLED = -int(signal.SIGKILL)
_PLAN = json.loads((Path(__file__).parent.parent / "fixtures/gameplans/full.json").read_text(encoding="utf-8"))


@dataclass
class Program:
    """A program of the product that runs.

    Attributes:
        name: What the trace calls it.
        process: Its entry in the process table.
        wire: How the world speaks to it.
        child: The real process.
        on_end: Told its exit code.
        wake_s: Until when it sleeps.
        pending: What it is told when it wakes.
        connected_at_s: When it last completed a connection to the gateway's API.
        began_s: When it was started.
    """

    name: str
    process: SimProcess
    wire: Wire
    child: int
    on_end: Callable[[int], None]
    began_s: float
    wake_s: float = 0.0
    pending: list[tuple[Any, ...]] = field(default_factory=list)
    connected_at_s: float | None = None
    is_asleep: bool = True
    watched_ends: set[int] = field(default_factory=set)

    def tell(self, *delivery: object) -> None:
        """Tell it something when it wakes, which is at once."""
        self.pending.append(delivery)
        self.wake_s = 0.0


@dataclass(frozen=True, kw_only=True)
class SentAlert:
    """An alert that a channel took.

    Attributes:
        at_s: When.
        title: Its title.
        message: Its message.
        fields: Its fields by name.
        footer: What stands under it: the severity, and whether it may be a repeat.
        stamp: When it is said to have been so.
    """

    at_s: float
    title: str
    message: str
    fields: Mapping[str, str]
    footer: str = ""
    stamp: str = ""

    @property
    def severity(self) -> str:
        """Its severity."""
        return self.footer.partition(" ")[0]


@dataclass
class Bot:
    """The bot's process."""

    process: SimProcess
    plan_date: date | None
    strategy: str
    notify_path: str
    stops_after_s: float | None = 1.5
    is_connected: bool = False
    asked_at_s: float | None = None


class World:
    """See the module.

    Args:
        root: A folder for all files; it should be on a tmpfs.
        clockwork: Virtual time.
        settings: Variables on top of the usual ones.
    """

    def __init__(self, root: Path, clockwork: Clockwork, settings: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.clockwork = clockwork
        self.table = ProcessTable(root / "proc", clockwork)
        self.gateway = Gateway(clockwork)
        self.programs: list[Program] = []
        self.bots: list[Bot] = []
        self.alerts: list[SentAlert] = []
        self.posts: Callable[[], tuple[int | None, float | None, float]] = self.answer_post
        self.bot_behaviour: Callable[[Bot], None] = lambda _bot: None
        self.free_bytes = 50 * 10**9
        self.on_launch: list[Callable[[Bot, Program], None]] = []
        self.on_alert: list[Callable[[SentAlert], None]] = []
        self.on_command: list[Callable[[Program, str], None]] = []
        self.on_step: list[Callable[[], None]] = []
        self.dies_at: Callable[[str], int] = lambda _name: 0
        self.on_death_at_door: Callable[[], None] = lambda: None
        self.finished_on: set[date] = set()
        self.is_host_up = False
        self.is_service_wanted = True
        self._service: Program | None = None
        self._numbers = 0
        self._until_s = 0.0
        self.plan_path = root / "plan.json"
        self.state_dir = root / "state"
        self.disk = Disk(journal_path(self.state_dir))
        for folder in (root, root / "shared", root / "work"):
            folder.mkdir(parents=True, exist_ok=True)
        bot = root / "work/bot"
        bot.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
        bot.chmod(0o755)
        (root / "empty.env").touch(mode=0o600)
        self.environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(root),
            "TZ": "UTC",
            "LANG": "C.UTF-8",
            "STATE_DIR": str(self.state_dir),
            "LOG_DIR": str(root / "logs"),
            "GATEWAY_SHARED_DIR": str(root / "shared"),
            "ENV_FILE": str(root / "empty.env"),
            "GAMEPLAN_PATH": str(self.plan_path),
            "TWS_USERID": "somebody",
            "TWS_PASSWORD": "correct-horse",
            "BOT_COMMAND": str(bot),
            "BOT_WORKDIR": str(root / "work"),
            "STRATEGY_C_BOT": "none",
            "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/1/token",
            **(settings or {}),
        }
        self.gateway.on_change.append(self._follow_gateway)
        self.table.on_end.append(self._tell_end)

    def answer_post(self) -> tuple[int | None, float | None, float]:
        """What the alert channel answers while it works."""
        return 204, None, 0.3

    def is_held(self) -> bool:
        """Whether the operator holds the system down."""
        return (self.state_dir / "hold.json").exists()

    # The host.

    def boot(self) -> None:
        """Switch the host on: the engine starts the container, systemd the service."""
        self.clockwork.say("host", "boots")
        self.is_host_up = True
        self.is_service_wanted = True
        self.table.boot()
        self.clockwork.after(5.0, self.gateway.start_engine)
        self.clockwork.after(15.0, self.start_service)

    def cut_power(self) -> None:
        """Everything ends at once. What no program had synced may be lost."""
        self.clockwork.say("host", "loses power")
        self.is_host_up = False
        for program in list(self.programs):
            self._kill(program, is_told=False)
        for bot in list(self.bots):
            self.table.end(bot.process, _KILLED)
        self.gateway.end(137, by_engine=True)
        self.gateway.is_engine_up = False
        self.clockwork.say("disk", self.disk.lose(self.clockwork.random))

    def suspend(self, duration_s: float) -> None:
        """The host stands still for so long, container and connections too."""
        self.clockwork.suspend(duration_s)
        self.clockwork.say("host", f"was suspended for {duration_s:.0f} s")

    def start_service(self) -> None:
        """systemd starts the boot service, where it is wanted and does not run."""
        if not self.is_host_up or self._service is not None or not self.is_service_wanted:
            return
        self._service = self.spawn("service", _serve, group=UNIT_GROUP, on_end=self._note_service_end, is_unit=True)

    def want_service(self) -> None:
        """`systemctl start`."""
        self.is_service_wanted = True
        self.start_service()

    def signal_service(self, number: int) -> None:
        """Send the boot service's program a signal."""
        if self._service is not None:
            self.table.send(self._service.process.pid, number)

    def stop_service(self) -> None:
        """`systemctl stop`."""
        self.is_service_wanted = False
        self.signal_service(int(signal.SIGTERM))

    @property
    def service(self) -> Program | None:
        """The boot service's program, while it runs."""
        return self._service

    def _note_service_end(self, code: int) -> None:
        self._service = None
        for bot in list(self.bots):  # KillMode=mixed: what is left of the control group
            if bot.process.control_group == UNIT_GROUP:
                self.clockwork.say("systemd", "kills the bot")
                self.table.end(bot.process, _KILLED)
        ends = {
            "SERVICE_RESULT": "success" if code == 0 else "exit-code",
            "EXIT_CODE": "exited",
            "EXIT_STATUS": str(code),
        }
        if code < 0:
            ends |= {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": signal.Signals(-code).name[3:]}
        if self.is_host_up:
            self.spawn("stop-post", _end_what_is_left, group=UNIT_GROUP, environ=ends)
        if code in {0, 78}:
            self.is_service_wanted = False
            self.clockwork.say("systemd", f"does not restart the service ({code})")
            if code and self.is_host_up:
                # The operator reads the alert, and begins again.
                self.clockwork.after(OPERATOR_COMES_S, self.begin_again)
        else:
            self.clockwork.after(RESTART_DELAY_S, self.start_service)

    def begin_again(self) -> None:
        """The operator has fixed what was wrong: `inv resume`, `systemctl start`."""
        if self.is_host_up and self._service is None:
            self.spawn("resume", _resume, on_end=lambda _code: self.want_service())

    # Programs.

    def spawn(
        self,
        name: str,
        work: Callable[[], int],
        *,
        group: str = USER_GROUP,
        environ: Mapping[str, str] | None = None,
        on_end: Callable[[int], None] = lambda _code: None,
        is_unit: bool = False,
        output: str = "output.txt",
    ) -> Program:
        """Start one of the product's programs."""
        ours, theirs = open_wire()
        own: list[Program] = []
        process = self.table.start(
            ("python", "-m", name),
            {},
            parent_pid=1,
            on_signal=lambda number: self._signal(own[0], number),
            control_group=group,
            cwd=str(self.root),
        )
        variables = {**self.environ, **(environ or {})}
        if is_unit:
            variables["SYSTEMD_EXEC_PID"] = str(process.pid)
        dies_at = self.dies_at(name)
        child = os.fork()
        if child == 0:
            ours.close()
            for other in self.programs:
                other.wire.close()
            run_program(
                Wire(theirs),
                work,
                pid=process.pid,
                proc_root=str(self.table.root),
                environ=variables,
                cwd=str(self.root),
                output=str(self.root / output),
                watched_folder=str(self.state_dir),
                dies_at=dies_at,
            )
        theirs.close()
        program = Program(name, process, Wire(ours), child, on_end, self.clockwork.now_s)
        program.wire.limit_patience(_PATIENCE_S)
        own.append(program)
        self.programs.append(program)
        self.clockwork.say("host", f"starts {name}")
        return program

    def _signal(self, program: Program, number: int) -> None:
        if number == signal.SIGKILL:
            self._kill(program)
        elif number not in {0, int(signal.SIGCONT)}:
            program.tell("signal", number)

    def _kill(self, program: Program, *, is_told: bool = True) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(program.child, signal.SIGKILL)
        self._end_program(program, _KILLED, is_told=is_told)

    def _end_program(self, program: Program, code: int, *, is_told: bool = True) -> None:
        if program not in self.programs:
            return
        os.waitpid(program.child, 0)
        program.wire.close()
        self.programs.remove(program)
        self.clockwork.say("host", f"{program.name} ended with {code}")
        if program is self._service and not is_told:
            self._service = None
        self.table.end(program.process, code)
        for number, client in list(self.gateway.clients.items()):
            if client.who == program.name:
                self.gateway.leave(number)
        if is_told:
            program.on_end(code)

    def run(self, until_s: float) -> None:
        """Let time pass."""
        clockwork = self.clockwork
        self._until_s = until_s
        while True:
            next_s = min([clockwork.next_s, *(one.wake_s for one in self.programs)])
            if next_s > until_s:
                clockwork.now_s = until_s
                return
            clockwork.now_s = max(clockwork.now_s, next_s)
            clockwork.run_due()
            for program in list(self.programs):
                if program in self.programs and program.wake_s <= clockwork.now_s:
                    self._resume(program)
            self._take_step()

    def _take_step(self) -> None:
        for step in self.on_step:
            step()

    def _find_quiet_until_s(self, program: Program) -> float:
        """Before which instant nothing happens but what this program does."""
        found_s = min(self.clockwork.next_s, self._until_s)
        for other in self.programs:
            if other.wake_s < found_s and (other is not program or other.pending):
                found_s = other.wake_s
        return found_s

    def close(self) -> None:
        """End everything and remove the files."""
        self.is_host_up = False
        for program in list(self.programs):
            self._kill(program, is_told=False)
        shutil.rmtree(self.root, ignore_errors=True)

    def _resume(self, program: Program) -> None:
        clockwork = self.clockwork
        deliveries, program.pending = program.pending, []
        program.wake_s = float("inf")
        try:
            quiet_until_s = self._find_quiet_until_s(program)
            clocks = (clockwork.now_s, clockwork.wall_s, clockwork.suspended_s)
            program.wire.send((*clocks, quiet_until_s, deliveries))
            while True:
                now_s, operation, *arguments = self._receive(program)
                if now_s > clockwork.now_s:  # it has passed the time by itself
                    self._take_step()
                    clockwork.now_s = now_s
                if operation == "sleep":
                    program.wake_s = min(program.wake_s, arguments[0])
                    return
                if operation == "exit":
                    self._end_program(program, int(arguments[0]))
                    return
                answer = _ANSWERS[operation](self, program, *arguments)
                program.wire.send((answer, self._find_quiet_until_s(program)))
        except GoneError:  # killed at a door
            told, self.on_death_at_door = self.on_death_at_door, lambda: None
            told()
            self._end_program(program, _KILLED)

    def _receive(self, program: Program) -> Any:  # noqa: ANN401 - whatever it asks for
        try:
            return program.wire.receive()
        except SilentError:
            os.kill(program.child, signal.SIGUSR2)
            time.sleep(0.5)
            said = (self.root / "output.txt").read_text(encoding="utf-8", errors="replace")
            raise AssertionError(f"{program.name} neither sleeps nor asks for anything\n{said[-6000:]}") from None

    # What programs ask for.

    def _run(self, program: Program, argv: tuple[str, ...], environ: Mapping[str, str]) -> tuple[Any, ...]:
        for told in self.on_command if argv[0] == "docker" else ():
            told(program, argv[1])
        return self.gateway.run(argv, environ, program.name)

    def _follow(self, program: Program, argv: tuple[str, ...]) -> int:
        self._numbers += 1
        number = self._numbers
        if self.gateway.is_engine_up and argv[0] == "docker":
            self.gateway.follow(
                number,
                argv,
                lambda line: program.tell("line", number, line),
                lambda: program.tell("unfollowed", number),
            )
        else:
            program.tell("unfollowed", number)
        return number

    def _unfollow(self, _program: Program, number: int) -> None:
        self.gateway.unfollow(number)

    def _connect(self, program: Program, _host: str, port: int) -> tuple[int, float]:
        if port != PORT or not self.gateway.answers_port:
            return -1, 0.01
        self._numbers += 1
        number = self._numbers

        def send(data: bytes) -> None:
            program.connected_at_s = self.clockwork.now_s
            self.clockwork.after(0.01, lambda: program.tell("data", number, data))

        client = ApiClient(send=send, lose=lambda: program.tell("lost", number), who=program.name)
        self.gateway.accept(number, client)
        return number, 0.01

    def _send(self, _program: Program, number: int, data: bytes) -> None:
        self.gateway.hear(number, data)

    def _close(self, _program: Program, number: int) -> None:
        self.gateway.leave(number)

    def _post(self, program: Program, _address: str, document: Any, _timeout_s: float) -> tuple[Any, ...]:  # noqa: ANN401
        status, wait_s, takes_s = self.posts()
        embed = document["embeds"][0] if document else {}
        alert = SentAlert(
            at_s=self.clockwork.now_s,
            title=str(embed.get("title", "")),
            message=str(embed.get("description", "")),
            fields={one["name"]: one["value"] for one in embed.get("fields", ())},
            footer=str(embed.get("footer", {}).get("text", "")),
            stamp=str(embed.get("timestamp", "")),
        )
        shown = "no answer" if status is None else status
        self.clockwork.say(program.name, f"alert ({shown}): {alert.title}")
        if status is not None and status < 300:
            self.alerts.append(alert)
            for told in self.on_alert:
                told(alert)
        return status, wait_s, takes_s

    def _launch(
        self, program: Program, argv: tuple[str, ...], cwd: str, environ: Mapping[str, str], output: str
    ) -> int:
        own: list[Bot] = []
        process = self.table.start(
            argv,
            environ,
            parent_pid=program.process.pid,
            on_signal=lambda number: self._signal_bot(own[0], number),
            control_group=program.process.control_group,
            cwd=cwd,
            output=output,
        )
        try:
            plan = json.loads(Path(environ["GAMEPLAN_PATH"]).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            plan = {}
        plan_date = date.fromisoformat(plan["date"]) if "date" in plan else None
        bot = Bot(process, plan_date, str(plan.get("strategy", "?")), environ.get("NOTIFY_SOCKET", ""))
        own.append(bot)
        self.bots.append(bot)
        self.clockwork.say("bot", f"launched by {program.name} on {bot.strategy} of {bot.plan_date}")
        for told in self.on_launch:
            told(bot, program)
        self.clockwork.after(1.0, lambda: self._say_ready(bot))
        self.clockwork.after(2.0, lambda: self._connect_bot(bot))
        self.bot_behaviour(bot)
        return process.pid

    def _say_ready(self, bot: Bot) -> None:
        if bot.process.exit_code is None and bot.notify_path:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
                talk.sendto(b"READY=1", bot.notify_path)
            for program in self.programs:
                program.tell("poke")

    def _connect_bot(self, bot: Bot) -> None:
        if bot.process.exit_code is None and self.gateway.is_ready and not bot.is_connected:
            bot.is_connected = True
            self.table.connect(bot.process, PORT)

    def _follow_gateway(self) -> None:
        for bot in self.bots:
            if self.gateway.is_ready:
                self.clockwork.after(5.0, lambda bot=bot: self._connect_bot(bot))  # type: ignore[misc]
            elif bot.is_connected:
                bot.is_connected = False
                self.table.disconnect(bot.process)

    def _signal_bot(self, bot: Bot, number: int) -> None:
        if number in {signal.SIGKILL, signal.SIGTERM}:
            bot.asked_at_s = self.clockwork.now_s
        if number == signal.SIGKILL:
            self.clockwork.after(0.01, lambda: self.table.end(bot.process, _KILLED))
        elif number == signal.SIGTERM and bot.stops_after_s is not None:
            self.clockwork.after(bot.stops_after_s, lambda: self.table.end(bot.process, 0))

    def _tell_end(self, process: SimProcess) -> None:
        for bot in [one for one in self.bots if one.process is process]:
            self.bots.remove(bot)
            if process.exit_code == 0 and bot.asked_at_s is None and bot.plan_date is not None:
                self.finished_on.add(bot.plan_date)
            self.clockwork.say("bot", f"ended with {process.exit_code}")
        for program in self.programs:
            if process.pid in program.watched_ends:
                program.watched_ends.discard(process.pid)
                program.tell("ended", process.pid)

    def _send_signal(self, program: Program, pid: int, number: int) -> bool:
        target = self.table.living.get(pid)
        if target is None:
            return False
        if number:
            self.clockwork.say(
                program.name, f"sends {signal.Signals(number).name} to {target.argv[-1].rpartition('/')[2]}"
            )
        return self.table.send(pid, number)

    def _collect(self, program: Program, pid: int) -> tuple[bool, int | None]:
        process = self.table.living.get(pid) or self.table.ended.get(pid)
        if process is None or process.parent_pid != program.process.pid or process.is_collected:
            return False, None
        process.is_collected = process.exit_code is not None
        return True, process.exit_code

    def _watch_end(self, program: Program, pid: int) -> bool:
        if pid not in self.table.living:
            return False
        program.watched_ends.add(pid)
        return True

    def _read_free_bytes(self, _program: Program) -> int:
        return self.free_bytes

    def _sync(self, _program: Program, path: str) -> None:
        self.disk.note_sync(Path(path))

    # The plan's author.

    def write_plan(self, day: date, **changes: object) -> None:
        """Put a plan in place, whole."""
        plan = {**_PLAN, "date": day.isoformat(), "data_quality": {**_PLAN["data_quality"]}, **changes}
        self.clockwork.say("author", f"writes the plan of {day}" + (f" with {changes}" if changes else ""))
        self.put_file(self.plan_path, json.dumps(plan))

    def put_file(self, path: Path, text: str) -> None:
        """Replace a file as a person does, its time of change being the world's."""
        temporary = path.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        at_s = self.clockwork.wall_s + self.clockwork.now_s
        os.utime(temporary, (at_s, at_s))
        temporary.replace(path)


_ANSWERS: dict[str, Callable[..., Any]] = {
    "run": World._run,  # noqa: SLF001 - the table of this module
    "follow": World._follow,  # noqa: SLF001
    "unfollow": World._unfollow,  # noqa: SLF001
    "connect": World._connect,  # noqa: SLF001
    "send": World._send,  # noqa: SLF001
    "close": World._close,  # noqa: SLF001
    "post": World._post,  # noqa: SLF001
    "launch": World._launch,  # noqa: SLF001
    "kill": World._send_signal,  # noqa: SLF001
    "collect": World._collect,  # noqa: SLF001
    "watch_end": World._watch_end,  # noqa: SLF001
    "free_bytes": World._read_free_bytes,  # noqa: SLF001
    "sync": World._sync,  # noqa: SLF001
}


def _serve() -> int:
    from orchestration.commands.supervise import serve
    from orchestration.startup.sequence import StartupOptions

    return serve(StartupOptions(service=True))


def _resume() -> int:
    from orchestration.commands import control

    return control.resume(as_json=False)


def _end_what_is_left() -> int:
    from orchestration.commands.supervise import end_what_is_left

    return end_what_is_left()


def build_world(
    root: Path, *, seed: int, begin: datetime, trace: Trace, settings: Mapping[str, str] | None = None
) -> World:
    """A world of its own, in an empty folder."""
    shutil.rmtree(root, ignore_errors=True)
    return World(root, Clockwork(begin, seed=seed, trace=trace), settings)


def warm_up() -> None:
    """Load what the programs need, so that each fork has it, and make the local time zone UTC."""
    import holidays

    import orchestration.alerts.delivery
    import orchestration.commands.control
    import orchestration.commands.status
    import orchestration.commands.status_document
    import orchestration.commands.supervise
    import orchestration.commands.views
    import orchestration.gameplan
    import orchestration.shutdown

    orchestration.gameplan.preload()
    holidays.financial_holidays("NYSE", years=2026)
    os.environ["TZ"] = "UTC"
    time.tzset()
    gc.collect()
    gc.freeze()  # a fork that collects garbage would write to, and so copy, every page of what is loaded
