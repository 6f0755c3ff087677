"""The faults that are put into a running system: how each is injected, and what must follow.

One table for the two harnesses. `inv soak` draws the faults that a supervised system must report and recover from by
itself (those with a `recovery`); the fault campaign (`tests/campaign`) draws all of them, at any moment of a start.
They act on a `FaultTarget`: the system of a soak run, or a world of the campaign, which can do more.
"""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from orchestration.soak.channel import Behaviour, LoopbackChannel, answer, hang
from orchestration.soak.instance import Instance, cut_in_half

_GRANTED_S = 1.5
_DAY_S = 86_400


class Fault(StrEnum):
    """What is done to the system."""

    NONE = "none"
    GATEWAY_KILLED = "gateway_killed"
    GATEWAY_SILENT = "gateway_silent"
    SECOND_FACTOR = "second_factor"
    LINK_DOWN = "link_down"
    BOT_KILLED = "bot_killed"
    SUPERVISOR_KILLED = "supervisor_killed"
    PLAN_BROKEN = "plan_broken"
    WEBHOOK_DOWN = "webhook_down"
    RUN_TERMINATED = "run_terminated"
    RUN_INTERRUPTED = "run_interrupted"
    RUN_SUSPENDED = "run_suspended"
    BOT_SUSPENDED = "bot_suspended"
    BOT_DIES = "bot_dies"
    GATEWAY_STOPPED = "gateway_stopped"
    NETWORK_CUT = "network_cut"
    STATE_DISK_FULL = "state_disk_full"
    LOG_DISK_FULL = "log_disk_full"
    CLOCK_AHEAD = "clock_ahead"
    CLOCK_BEHIND = "clock_behind"
    GATEWAY_CLOCK_OFF = "gateway_clock_off"
    PLAN_GARBAGE = "plan_garbage"
    PLAN_DELETED = "plan_deleted"
    PLAN_REPLACED = "plan_replaced"
    PLAN_STALE = "plan_stale"
    PLAN_PIPE = "plan_pipe"
    JOURNAL_OVERWRITTEN = "journal_overwritten"
    JOURNAL_CUT = "journal_cut"
    BOT_RECORD_DAMAGED = "bot_record_damaged"
    LOCK_DAMAGED = "lock_damaged"
    GATEWAY_RECORD_DAMAGED = "gateway_record_damaged"
    ATTEMPTS_DAMAGED = "attempts_damaged"
    EMERGENCY_PLAN_DAMAGED = "emergency_plan_damaged"
    STATE_DELETED = "state_deleted"
    WEBHOOK_REFUSES = "webhook_refuses"
    WEBHOOK_HANGS = "webhook_hangs"
    WEBHOOK_500 = "webhook_500"
    WEBHOOK_429 = "webhook_429"
    WEBHOOK_404 = "webhook_404"
    WRONG_ACCOUNT = "wrong_account"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a fault's name
    SECOND_FACTOR_PENDING = "second_factor_pending"
    API_GARBAGE = "api_garbage"
    API_FALLS_SILENT = "api_falls_silent"
    LIVE_UNCONFIRMED = "live_unconfirmed"


class FaultTarget:
    """A system that faults are put into.

    Each method returns whether it could be done: False where what it acts on is not there, and here for what only a
    world of the campaign can do.

    Args:
        instance: The system's processes and files.
        channel: Its alert channel.
        link_down_s: For how long the gateway loses its link to the broker.
    """

    def __init__(self, instance: Instance, channel: LoopbackChannel, *, link_down_s: float) -> None:
        self.instance = instance
        self.channel = channel
        self.link_down_s = link_down_s

    def signal_gateway(self, number: int) -> bool:
        """Send the gateway's process a signal."""
        return self.instance.signal_gateway(number)

    def signal_bots(self, number: int) -> bool:
        """Send the bots a signal; one that is stopped is continued a second later."""
        return self.instance.signal_bots(number)

    def signal_program(self, _number: int, /) -> bool:
        """Send the start-up, or the supervisor, a signal; one that is stopped is continued a second later."""
        return False

    def set_gateway_faults(self, _text: str, /) -> bool:
        """What the simulator's next start, or the one that runs at SIGHUP, goes by (`SIMULATOR_FAULTS`)."""
        return False

    def change_plan(self, change: Callable[[Path], object]) -> bool:
        """Change the plan's file, if there is one."""
        if not self.instance.plan_path.exists():
            return False
        change(self.instance.plan_path)
        return True

    def answer_alerts(self, _behaviour: Behaviour, /) -> bool:
        """Let the channel answer every alert so."""
        return False

    def refuse_alerts(self) -> bool:
        """Let nothing listen at the channel's address."""
        return False

    def place_plan(self, _kind: str, /) -> bool:
        """Put another whole plan in place: `other`, or `stale`."""
        return False

    def damage_record(self, *_names: str) -> bool:
        """Damage one of these files of the state folder."""
        return False

    def overwrite_journal(self) -> bool:
        """Overwrite bytes of the journal."""
        return False

    def cut_journal(self) -> bool:
        """Cut the journal off."""
        return False

    def delete_state(self) -> bool:
        """Delete the state folder."""
        return False

    def fill_disk(self, _folder: Path, /) -> bool:
        """Fill the disk of a folder."""
        return False

    def shift_clock(self, _seconds: int, /) -> bool:
        """Set the system's wall clock ahead, or back."""
        return False

    def cut_network(self) -> bool:
        """Cut the network between the system and its gateway."""
        return False


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What a supervised system must do about a fault, and what that may cost.

    Attributes:
        causes: The incidents that must follow; none for a death of the one who would say so.
        restarts_gateway: Whether the supervisor restarts the gateway for it.
        gateway_down_s: How long the gateway may be down for it: what is waited for, which the patience scale shortens.
        process_s: The same, of what processes take, which nothing shortens.
        bot_down_s: How long the bot may be down or unwatched.
    """

    causes: tuple[str, ...]
    restarts_gateway: bool = False
    gateway_down_s: float = 0.0
    process_s: float = 5.0
    bot_down_s: float = 0.0


def _put_in_settings(_: FaultTarget) -> bool:
    return True  # it is there from the beginning


@dataclass(frozen=True, kw_only=True)
class FaultTraits:
    """One row of the table.

    Attributes:
        about: What is done, for people.
        inject: Does it; returns whether it could be done.
        settings: What is set from the beginning instead: in the environment of the program, its gateway and its bot.
        ends_bot: Whether the bot may be gone after a start that ended well.
        hits_journal: Whether the journal may be damaged, or lack what it should hold.
        needs_program: Whether it can only be injected while the program runs.
        needs_other_disk: Whether state and logs must be on small disks of their own.
        needs_other_clock: Whether the system must have a wall clock that can be set.
        recovery: What a supervised system must do about it; None for what a soak run does not do.
    """

    about: str
    inject: Callable[[FaultTarget], bool] = _put_in_settings
    settings: Mapping[str, str] = field(default_factory=dict)
    ends_bot: bool = False
    hits_journal: bool = False
    needs_program: bool = False
    needs_other_disk: bool = False
    needs_other_clock: bool = False
    recovery: Recovery | None = None

    @property
    def is_set_before(self) -> bool:
        """Whether it can only be there from the beginning."""
        return bool(self.settings)

    @property
    def is_of_gateway(self) -> bool:
        """Whether it is a fault of the simulator, from its start on."""
        return "SIMULATOR_FAULTS" in self.settings


def _lose_link(target: FaultTarget) -> bool:
    return target.set_gateway_faults(f"error=1100:{target.link_down_s:g}") and target.signal_gateway(signal.SIGHUP)


def _lose_link_without_channel(target: FaultTarget) -> bool:
    target.channel.is_down = True
    return _lose_link(target)


def _restart_with_second_factor(target: FaultTarget) -> bool:
    is_set = target.set_gateway_faults(f"second_factor={_GRANTED_S:g}")
    return is_set and target.signal_gateway(signal.SIGKILL)


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _of_gateway(about: str, fault: str) -> FaultTraits:
    return FaultTraits(about=about, settings={"SIMULATOR_FAULTS": fault})


CATALOGUE: Mapping[Fault, FaultTraits] = {
    Fault.NONE: FaultTraits(about="nothing", inject=lambda _: False),
    Fault.GATEWAY_KILLED: FaultTraits(
        about="the gateway's process is ended by SIGKILL",
        inject=lambda target: target.signal_gateway(signal.SIGKILL),
        recovery=Recovery(causes=("gateway_lost",), restarts_gateway=True, gateway_down_s=15.0, process_s=10.0),
    ),
    Fault.GATEWAY_SILENT: FaultTraits(
        about="the gateway's process is stopped: its port accepts, its API is silent",
        inject=lambda target: target.signal_gateway(signal.SIGSTOP),
        recovery=Recovery(causes=("gateway_lost",), restarts_gateway=True, gateway_down_s=220.0, process_s=25.0),
    ),
    Fault.SECOND_FACTOR: FaultTraits(
        about="the gateway is ended by SIGKILL, and its next login asks for a second factor, which is granted",
        inject=_restart_with_second_factor,
        recovery=Recovery(
            causes=("gateway_lost", "second_factor"), restarts_gateway=True, gateway_down_s=15.0, process_s=14.0
        ),
    ),
    Fault.LINK_DOWN: FaultTraits(
        about="the gateway loses its link to the broker (1100), and has it again (1102)",
        inject=_lose_link,
        recovery=Recovery(causes=("link_down",), gateway_down_s=60.0, process_s=6.0),
    ),
    Fault.BOT_KILLED: FaultTraits(
        about="the bot is ended by SIGKILL",
        inject=lambda target: target.signal_bots(signal.SIGKILL),
        ends_bot=True,
        recovery=Recovery(causes=("bot_ended",), process_s=8.0, bot_down_s=8.0),
    ),
    Fault.SUPERVISOR_KILLED: FaultTraits(
        about="the program, a start or the supervisor, is ended by SIGKILL; in a soak run, the run starts it again in "
        "the service manager's place",
        inject=lambda target: target.signal_program(signal.SIGKILL),
        needs_program=True,
        ends_bot=True,
        recovery=Recovery(causes=(), process_s=8.0, bot_down_s=8.0),
    ),
    Fault.PLAN_BROKEN: FaultTraits(
        about="the plan file is half overwritten, and is repaired later",
        inject=lambda target: target.change_plan(cut_in_half),
        recovery=Recovery(causes=("plan_unusable",), process_s=25.0),
    ),
    Fault.WEBHOOK_DOWN: FaultTraits(
        about="the alert channel answers 503 while the gateway's link to the broker is lost and found",
        inject=_lose_link_without_channel,
        recovery=Recovery(causes=("link_down",), gateway_down_s=60.0, process_s=25.0),
    ),
    Fault.RUN_TERMINATED: FaultTraits(
        about="SIGTERM for the program",
        inject=lambda target: target.signal_program(signal.SIGTERM),
        needs_program=True,
        ends_bot=True,
    ),
    Fault.RUN_INTERRUPTED: FaultTraits(
        about="SIGINT for the program",
        inject=lambda target: target.signal_program(signal.SIGINT),
        needs_program=True,
        ends_bot=True,
    ),
    Fault.RUN_SUSPENDED: FaultTraits(
        about="SIGSTOP for the program, for a second",
        inject=lambda target: target.signal_program(signal.SIGSTOP),
        needs_program=True,
    ),
    Fault.BOT_SUSPENDED: FaultTraits(
        about="SIGSTOP for the bot, for a second", inject=lambda target: target.signal_bots(signal.SIGSTOP)
    ),
    Fault.BOT_DIES: FaultTraits(about="the bot ends at once", settings={"CAMPAIGN_BOT": "dies"}, ends_bot=True),
    Fault.GATEWAY_STOPPED: FaultTraits(
        about="the gateway is stopped with SIGTERM", inject=lambda target: target.signal_gateway(signal.SIGTERM)
    ),
    Fault.NETWORK_CUT: FaultTraits(
        about="the network between the system and the gateway is cut", inject=lambda target: target.cut_network()
    ),
    Fault.STATE_DISK_FULL: FaultTraits(
        about="the state folder's disk is full",
        inject=lambda target: target.fill_disk(target.instance.state),
        hits_journal=True,
        needs_other_disk=True,
    ),
    Fault.LOG_DISK_FULL: FaultTraits(
        about="the log folder's disk is full",
        inject=lambda target: target.fill_disk(target.instance.logs),
        needs_other_disk=True,
    ),
    Fault.CLOCK_AHEAD: FaultTraits(
        about="the wall clock is a day ahead", inject=lambda target: target.shift_clock(_DAY_S), needs_other_clock=True
    ),
    Fault.CLOCK_BEHIND: FaultTraits(
        about="the wall clock is a day behind",
        inject=lambda target: target.shift_clock(-_DAY_S),
        needs_other_clock=True,
    ),
    Fault.GATEWAY_CLOCK_OFF: _of_gateway("the gateway's clock is 90 s off", "clock_skew=90"),
    Fault.PLAN_GARBAGE: FaultTraits(
        about="the plan file holds garbage",
        inject=lambda target: target.change_plan(lambda path: path.write_bytes(b"\x00{garbage")),
    ),
    Fault.PLAN_DELETED: FaultTraits(
        about="the plan file is deleted", inject=lambda target: target.change_plan(lambda path: path.unlink())
    ),
    Fault.PLAN_REPLACED: FaultTraits(
        about="the plan file is replaced by another valid one", inject=lambda target: target.place_plan("other")
    ),
    Fault.PLAN_STALE: FaultTraits(
        about="the plan file is replaced by yesterday's", inject=lambda target: target.place_plan("stale")
    ),
    Fault.PLAN_PIPE: FaultTraits(
        about="a pipe is in the plan file's place", inject=lambda target: target.change_plan(_replace_by_pipe)
    ),
    Fault.JOURNAL_OVERWRITTEN: FaultTraits(
        about="bytes of the journal are overwritten",
        inject=lambda target: target.overwrite_journal(),
        hits_journal=True,
    ),
    Fault.JOURNAL_CUT: FaultTraits(
        about="the journal is cut off", inject=lambda target: target.cut_journal(), hits_journal=True
    ),
    Fault.BOT_RECORD_DAMAGED: FaultTraits(
        about="the bot's record is damaged", inject=lambda target: target.damage_record("bot.json")
    ),
    Fault.LOCK_DAMAGED: FaultTraits(
        about="a lock file is damaged",
        inject=lambda target: target.damage_record("startup.lock", "supervisor.lock"),
    ),
    Fault.GATEWAY_RECORD_DAMAGED: FaultTraits(
        about="the gateway's record is damaged", inject=lambda target: target.damage_record("gateway.json")
    ),
    Fault.ATTEMPTS_DAMAGED: FaultTraits(
        about="the record of failed starts is damaged", inject=lambda target: target.damage_record("attempts.json")
    ),
    Fault.EMERGENCY_PLAN_DAMAGED: FaultTraits(
        about="the emergency plan is damaged", inject=lambda target: target.damage_record("emergency_gameplan.json")
    ),
    Fault.STATE_DELETED: FaultTraits(
        about="the state folder is deleted", inject=lambda target: target.delete_state(), hits_journal=True
    ),
    Fault.WEBHOOK_REFUSES: FaultTraits(
        about="nothing listens at the alert channel's address", inject=lambda target: target.refuse_alerts()
    ),
    Fault.WEBHOOK_HANGS: FaultTraits(
        about="the alert channel does not answer", inject=lambda target: target.answer_alerts(hang)
    ),
    Fault.WEBHOOK_500: FaultTraits(
        about="the alert channel answers 500", inject=lambda target: target.answer_alerts(answer(500))
    ),
    Fault.WEBHOOK_429: FaultTraits(
        about="the alert channel answers 429",
        inject=lambda target: target.answer_alerts(answer(429, {"Retry-After": "1000"})),
    ),
    Fault.WEBHOOK_404: FaultTraits(
        about="the alert channel answers 404", inject=lambda target: target.answer_alerts(answer(404))
    ),
    Fault.WRONG_ACCOUNT: _of_gateway("the gateway is logged in to a wrong account", "wrong_account"),
    Fault.WRONG_PASSWORD: _of_gateway("the broker rejects the password", "wrong_password=0.3"),
    Fault.SECOND_FACTOR_PENDING: _of_gateway("the second factor is never granted", "second_factor"),
    Fault.API_GARBAGE: _of_gateway("the gateway's API answers garbage", "garbage"),
    Fault.API_FALLS_SILENT: _of_gateway("the gateway's API falls silent", "silent_after=1.5"),
    Fault.LIVE_UNCONFIRMED: FaultTraits(
        about="live trading is asked for without the second switch", settings={"TRADING_MODE": "live"}
    ),
}
