"""A program whose input and output are one socket: what OpenSSH calls a `ProxyCommand`."""

import contextlib
import os
import socket
import subprocess
import sys

from orchestration.system.commands import build_inherited_environ

_END_TIMEOUT_S = 2.0
# Shells in which this has what they run ignore Ctrl-C: who uses the connection decides when it ends. OpenSSH's own
# client and `nc` stay that way.
_SHELLS_WITH_TRAP = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})
_IGNORES_INTERRUPTS = "trap '' INT; "


class ProxyCommand:
    """A running program, and this end of the socket that is its input and output.

    Attributes:
        command: The command as the user wrote it.
        socket: What is sent here is the program's input; what it prints is received.
    """

    def __init__(self, command: str, *, socket: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        self.command = command
        self.socket = socket
        self._process = process

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def wait_for_exit_code(self) -> int | None:
        """The same, for a program that has closed its output and ends any moment."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_END_TIMEOUT_S)
        return None

    def close(self) -> None:
        """Close the socket and end the program. Safe to call twice."""
        with contextlib.suppress(OSError):
            self.socket.close()
        if self._process.poll() is None:
            self._process.terminate()
            if self.wait_for_exit_code() is None:
                self._process.kill()
                self._process.wait()


def start_proxy_command(command: str) -> ProxyCommand:
    """Start it by the user's shell, as OpenSSH does; it may ask on the terminal.

    Raises:
        OSError: It cannot be started, or this is Windows, where a program cannot have a socket as its input.
    """
    if sys.platform == "win32":
        raise OSError("ProxyCommand works on Linux and macOS only; use ProxyJump")
    ours, its = socket.socketpair()
    shell = os.environ.get("SHELL") or "/bin/sh"
    before = _IGNORES_INTERRUPTS if os.path.basename(shell) in _SHELLS_WITH_TRAP else ""  # noqa: PTH119 - a text
    try:
        process = subprocess.Popen(
            [shell, "-c", f"{before}exec {command}"],
            stdin=its.fileno(),
            stdout=its.fileno(),
            env=build_inherited_environ(),
        )
    except OSError:
        ours.close()
        raise
    finally:
        its.close()
    return ProxyCommand(command, socket=ours, process=process)
