"""A supervised system: begun, and what it told."""

from typing import TYPE_CHECKING

from tests.integration.alerts_scene import LoopbackChannel
from tests.system import System, wait_until

if TYPE_CHECKING:
    import subprocess


def begin(system: System, *arguments: str) -> "subprocess.Popen[str]":
    """Begin a supervised start, and wait until it watches."""
    seen = len(list(system.logs.glob("supervisor_*.log"))) if system.logs.exists() else 0
    process = system.begin(*(arguments or ("--foreground",)))
    wait_until(
        lambda: len(list(system.logs.glob("supervisor_*.log"))) > seen or process.poll() is not None, "supervisor"
    )
    return process


def told(channel: LoopbackChannel) -> list[str]:
    return [title.removeprefix("[SIMULATED] ") for title in channel.titles]


def wait_for(channel: LoopbackChannel, title: str) -> None:
    wait_until(lambda: title in told(channel), f"alert {title!r} among {told(channel)}")
