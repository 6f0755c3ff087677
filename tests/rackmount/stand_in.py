"""A stand-in for the start-up program: it speaks to systemd as the program does, and does nothing else."""

# It writes down what it was given, says READY, keeps the watchdog, and ends with 0 on SIGTERM. Files in the project
# folder change what it does: `exit-code` makes it end at once, `silent` stops its pings.
STAND_IN = r"""#!/usr/bin/env bash
if [ "$1" = --help ] || [ "$1" = --stop-left-behind ]; then exit 0; fi
self="$(readlink -f -- "${BASH_SOURCE[0]}")"
export PROJECT="${self%/docker/gateway/scripts/*}"
exec python3 -c '
import json, os, pathlib, signal, socket, sys, time

project = pathlib.Path(os.environ["PROJECT"])

def say(text):
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
        talk.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)

def stop(*_):
    (project / "stopped").write_text("in order")
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
seen = {"arguments": sys.argv[1:], "folder": os.getcwd(), "environ": dict(os.environ), "uid": os.getuid()}
(project / "seen.json").write_text(json.dumps(seen))
if (project / "exit-code").exists():
    sys.exit(int((project / "exit-code").read_text()))
say("READY=1\nSTATUS=the stand-in runs")
while True:
    if not (project / "silent").exists():
        say("WATCHDOG=1")
    time.sleep(0.2)
' "$@"
"""
