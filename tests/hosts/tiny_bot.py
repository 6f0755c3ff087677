"""The bot of the hosts: a main process, and a worker in a session of its own. It only lives, and ends slowly."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

_END_S = 0.8  # so that faults meet a system that is being stopped


def main() -> None:
    """Live until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    if sys.argv[1:] == ["worker"]:
        ended.wait()
        return
    with subprocess.Popen([sys.executable, "-S", __file__, "worker"], start_new_session=True) as worker:
        if "NOTIFY_SOCKET" in os.environ:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
                talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
        ended.wait()
        time.sleep(_END_S)
        worker.terminate()


if __name__ == "__main__":
    main()
