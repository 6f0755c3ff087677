"""Which of the neighbours does what was asked, and how its result or refusal is handed back."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestration.deploy.on_host import activate, look, operator_lock, prepare, provision
from orchestration.deploy.on_host.base import SENT, RefusedError, as_refusal, become, print_line

COMMANDS: dict[str, tuple[Callable[[Mapping[str, Any]], dict[str, Any]], bool]] = {
    # What is done, and whether the service's user does it: everything else is root's.
    "look": (look.look, False),
    "ensure_folders": (prepare.ensure_folders, True),
    "unpack": (prepare.unpack, True),
    "compare_env": (prepare.compare_env, True),
    "put_env": (prepare.put_env, True),
    "build": (prepare.build, True),
    "seal": (prepare.seal, True),
    "discard": (prepare.discard, True),
    "begin": (activate.begin, False),
    "follow": (activate.follow, False),
    "activate": (activate.activate, False),
    "audit": (activate.write_audit, True),
    "read_audit": (activate.read_audit, True),
    "put_lock": (operator_lock.put_lock, True),
    "remove_lock": (operator_lock.remove_lock, True),
    "provision": (provision.provision, False),
}
_RESULT = {"activate": "activated"}


def main(sent: Mapping[str, Any]) -> int:
    """Do one thing; the last line on standard output says what came of it.

    Args:
        sent: `sources`, `loader`, and `arguments` with the `command` and what it takes.
    """
    SENT.update(sent)
    arguments = {**sent["arguments"]}
    command = str(arguments["command"])
    perform, as_user = COMMANDS[command]
    try:
        arguments.setdefault("address", find_address())
        if as_user:
            become(str(arguments["user"]))
        result = perform(arguments)
    except RefusedError as error:
        return _hand_back_refusal(error)
    except OSError as error:
        return _hand_back_refusal(as_refusal(error))
    print_line({_RESULT.get(command, "result"): result})
    return 0


def find_address() -> str:
    """Whence the caller logged in: sshd told its first program, and sudo keeps it from all below."""
    pid = os.getpid()
    while pid > 1:
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""
        for entry in environ:
            if entry.startswith(b"SSH_CONNECTION="):
                return entry.partition(b"=")[2].split()[0].decode(errors="replace")
        pid = int(stat.rpartition(")")[2].split()[1])
    return ""


def _hand_back_refusal(error: RefusedError) -> int:
    document = {"message": error.message, "next_action": error.next_action, "evidence": list(error.evidence)}
    try:
        print_line({"refused": document})
    except OSError:  # its listener is gone
        sys.stderr.write(json.dumps(document) + "\n")
    return 1
