"""The controller of the vendor-like image. Runs in its container, on the standard library alone.

`VENDOR_COMMANDS` says what its command port does: `answer`, `ignore` (says yes and does nothing) or `off`. In the
settings folder it keeps `pushes` (one line for each second factor that was asked for), `logouts` (one line for each
session that was ended cleanly) and the gateway's `launcher.log`.

The second factor is confirmed at once, unless `VENDOR_PHONE` names a file: then only while that holds `confirm`. While
it holds `ignore` the push runs out after some seconds; the broker then allows no other attempt for a while, after which
the controller tries again. `VENDOR_TEXTS` names the controller whose texts are printed: `none` (`launcher.log` alone
tells of the login) or `ibcontroller` (there is no `launcher.log`).
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
TEXTS = os.environ.get("VENDOR_TEXTS", "none")
PHONE = Path(os.environ["VENDOR_PHONE"]) if "VENDOR_PHONE" in os.environ else None
# Compressed: a real push runs out after three minutes, and the gateway writes a heartbeat each 20 s.
PUSH_S, PAUSE_S, HEARTBEAT_S, LOOK_S = 4, 3, 1, 0.1
API_PORT, FORWARDER_PORT, COMMAND_PORT = 4002, 4004, 7462


def append(name: str, line: str) -> None:
    with (SETTINGS / name).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def launcher(message: str) -> None:
    if TEXTS != "none":
        return
    now = datetime.now(UTC)
    append("launcher.log", f"{now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03d} INFO  [main] - {message}")


def say(text: str) -> None:
    if TEXTS == "ibcontroller":
        now = datetime.now(UTC)
        stamp = f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d}"
        sys.stdout.write(f"{stamp} INFO ibcontroller.login: IBController > {text}\n")


def read_phone() -> str:
    return PHONE.read_text(encoding="utf-8").strip() if PHONE is not None else "confirm"


def is_confirmed_after_push() -> bool:
    """Send one push, and wait until it is confirmed or runs out."""
    append("pushes", "push")
    launcher("Received CHALLENGE")
    say("second factor authentication in progress")
    sent_s = beat_s = time.monotonic()
    while (phone := read_phone()) != "confirm":
        now_s = time.monotonic()
        if phone == "ignore" and now_s - sent_s > PUSH_S:
            return False
        if now_s - beat_s > HEARTBEAT_S:
            beat_s = now_s
            append("heartbeats", "beat")
            launcher(f"Sent NS_HEART_BEAT:#%#%0000MISC51;531;{datetime.now(UTC):%Y%m%d-%H:%M:%S};")
        time.sleep(LOOK_S)
    return True


def log_in() -> None:
    """The full login, with as many attempts as it needs."""
    while True:
        launcher("LauncherLoginThread.runLoginWithUI()[hotBackupStrategy=ON,loginAttempt=1, socketDelay=20000].")
        launcher(
            " NS_AUTH_START version=52 pwd=1 soft=0 token(s)=[token=5, tokenSubtype=2, suffix=a[IB Key]] "
            "initialTokenType=PWD authenticationType=MARKET_DATA_CONNECTION identityHashcode=1"
        )
        say("credentials submitted, awaiting outcome")
        if is_confirmed_after_push():
            break
        launcher("Authorization failed: SUPPRESS_MESSAGE_BOX. MessageType: null. FailReason: 2147483647")
        say(f"re-login after second factor authentication timeout in {PAUSE_S}s")
        launcher(f"Too many failed login attempts. Please wait {PAUSE_S} seconds before attempting to re-login.")
        append("pauses", "pause")
        time.sleep(PAUSE_S)
    launcher("### onAuthenticationCompleted tokenProtocol=5; authenticated=true")
    say("login completed")


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
            log_in()
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
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # no session to end yet
controller = Controller()
signal.signal(signal.SIGTERM, end)
if COMMANDS != "off":
    server = socketserver.ThreadingTCPServer(("127.0.0.1", COMMAND_PORT), Commands)
    threading.Thread(target=server.serve_forever, daemon=True).start()
while True:
    signal.pause()
