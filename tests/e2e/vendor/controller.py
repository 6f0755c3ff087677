"""The controller of the vendor-like image. Runs in its container, on the standard library alone.

`VENDOR_COMMANDS` says what its command port does: `answer`, `ignore` (says yes and does nothing) or `off`. In the
settings folder it keeps `pushes` (one line for each second factor that was asked for), `logouts` (one line for each
session that was ended cleanly) and the gateway's `launcher.log`.
"""

import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

SETTINGS = Path(os.environ["TWS_SETTINGS_PATH"])
SAVED_SESSION = SETTINGS / "autorestart"
COMMANDS = os.environ.get("VENDOR_COMMANDS", "off")
LOGOUT_S = float(os.environ.get("VENDOR_LOGOUT", "2"))
API_PORT, FORWARDER_PORT, COMMAND_PORT = 4002, 4004, 7462


def append(name: str, line: str) -> None:
    with (SETTINGS / name).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def launcher(message: str) -> None:
    now = datetime.now(UTC)
    append("launcher.log", f"{now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03d} INFO  [main] - {message}")


class Controller:
    """Logs the gateway in and restarts it."""

    def __init__(self) -> None:
        self.child = self.launch()

    def launch(self) -> "subprocess.Popen[bytes]":
        launcher("------------------------------- IB GATEWAY RESTART --------------------------------")
        if SAVED_SESSION.exists():
            SAVED_SESSION.unlink()
            launcher("Running in auto-restart mode: restoring session token and session ID [userDirname=abc]")
        else:
            append("pushes", "push")
            launcher("Received CHALLENGE")
            launcher("### onAuthenticationCompleted tokenProtocol=5; authenticated=true")
        launcher("Switching to a new encrypted log...")
        program = [sys.executable, "-m", "orchestration.simulator", "--mode", "paper", "--host", "127.0.0.1"]
        ports = ["--port", str(API_PORT), "--forwarder", f"0.0.0.0:{FORWARDER_PORT}"]
        faults = [
            "--start-marker",
            str(SETTINGS / "simulator.started"),
            "--faults",
            os.environ.get("SIMULATOR_FAULTS", ""),
        ]
        return subprocess.Popen([*program, *ports, *faults])

    def restart_gateway(self) -> None:
        """As the gateway itself does it: the session is saved, the process replaced."""
        SAVED_SESSION.touch()
        self.child.terminate()
        self.child.wait()
        self.child = self.launch()

    def log_out(self) -> None:
        time.sleep(LOGOUT_S)  # the broker takes its time
        append("logouts", "logout")
        self.child.terminate()
        self.child.wait()


class Commands(socketserver.StreamRequestHandler):
    """IBC's protocol: a line in, a line out."""

    def handle(self) -> None:
        command = self.rfile.readline().strip().decode()
        sys.stdout.write(f"CommandServer received command: {command}\n")
        if command != "RESTART":
            self.wfile.write(b"ERROR Command invalid\n")
            return
        self.wfile.write(b"OK RESTART in progress\n")
        if COMMANDS == "answer":
            threading.Thread(target=controller.restart_gateway).start()


def end(*_signal: object) -> None:
    controller.log_out()
    os._exit(0)


SETTINGS.mkdir(parents=True, exist_ok=True)
controller = Controller()
signal.signal(signal.SIGTERM, end)
if COMMANDS != "off":
    server = socketserver.ThreadingTCPServer(("127.0.0.1", COMMAND_PORT), Commands)
    threading.Thread(target=server.serve_forever, daemon=True).start()
while True:
    signal.pause()
