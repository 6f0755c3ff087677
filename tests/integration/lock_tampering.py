"""What people and programs do to lock files, and a bot that knows whether it is alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.integration.simulated_gateway import SimulatedGateway
from tests.system import System

# Holds a file of its own for as long as it lives. A second bot finds it held, and leaves its pid in another file.
LONELY_BOT = """
import fcntl, os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
alone = open("alone", "a")
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    with open("second", "a") as second:
        second.write(f"{os.getpid()}\\n")
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
    talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    time.sleep(0.05)
"""


def delete(path: Path) -> None:
    path.unlink(missing_ok=True)


def replace(path: Path) -> None:
    other = path.with_name("another file")
    other.touch()
    other.replace(path)


def rename(path: Path) -> None:
    if path.exists():
        path.rename(path.with_name("renamed"))


def link(path: Path) -> None:
    """The very same file, behind a symbolic link."""
    if path.exists():
        path.rename(path.with_name("renamed"))
        path.symlink_to(path.with_name("renamed"))


def replace_folder(path: Path) -> None:
    before = path.parent.with_name("state before")
    shutil.rmtree(before, ignore_errors=True)
    path.parent.rename(before)
    path.parent.mkdir()


TAMPERINGS: dict[str, Callable[[Path], None]] = {
    "deleted": delete,
    "replaced": replace,
    "renamed": rename,
    "linked": link,
    "folder replaced": replace_folder,
}


def use_lonely_bot(system: System) -> None:
    system.use_small_bot(code=LONELY_BOT)
    system.use_plan()
    system.environ |= {"GATEWAY_RUNTIME": "external", "GATEWAY_HEALTH_TIMEOUT": "30", "BOT_START_GRACE": "30"}
    system.environ["GATEWAY_HEALTH_RETRY_INTERVAL"] = "0.05"


def open_gateway(system: System) -> SimulatedGateway:
    """An external gateway that is late."""
    gateway = SimulatedGateway("--port", str(system.port))
    gateway.wait_for_line("API port ")
    return gateway


def read_second_bots(system: System) -> str:
    """The bots that found another one running."""
    path = system.root / "second"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def is_alone_held(system: System) -> bool:
    """Whether a bot runs now, by what it holds itself."""
    import fcntl

    with (system.root / "alone").open("a") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def put_back(system: System) -> None:
    """Take away what a start would refuse to follow."""
    for path in system.state.glob("*.lock"):
        if path.is_symlink():
            path.unlink(missing_ok=True)
