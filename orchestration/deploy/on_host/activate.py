"""An activation as a unit of systemd's own, beside the connection that asked for it.

Once begun it ends in one of two ways, whatever becomes of the cable. The new release was found good, or the previous
one is active again.
"""

import json
import signal
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

from orchestration.deploy.on_host.activation import Activation
from orchestration.deploy.on_host.base import SENT, Layout, print_line, read_json, refuse, run
from orchestration.deploy.on_host.boot_guard import RUN_FOLDER
from orchestration.deploy.on_host.service import ACTIVATION_UNIT, is_activation_under_way

_PROGRAM = RUN_FOLDER / "program.json"
_PROGRESS = RUN_FOLDER / "progress.jsonl"
_FOLLOW_S = 0.2
_DESCRIPTION = "--description=Activation of a release of the trading system"  # else it is the whole program's line
_SELDOM = 10  # looks
_AUDITED = ("action", "by", "address", "target", "commit", "previous")


def begin(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Start an activation as a unit of its own. As root; `activate` gets the same arguments there."""
    if is_activation_under_way():
        refuse("another activation is under way", "Wait until it has ended: it ends by itself.")
    check_lock(Layout(Path(arguments["base"])), str(arguments.get("deploy_id", "")))
    RUN_FOLDER.mkdir(mode=0o700, exist_ok=True)
    _PROGRESS.unlink(missing_ok=True)
    bundle = {**SENT, "arguments": {**arguments, "command": "activate"}}
    _PROGRAM.write_text(json.dumps(bundle), encoding="utf-8")
    argv = ("systemd-run", f"--unit={ACTIVATION_UNIT}", "--collect", "--quiet", _DESCRIPTION)
    log = f"--property=StandardOutput=append:{_PROGRESS}"
    started = run((*argv, log, sys.executable, "-I", "-c", SENT["loader"], _PROGRAM))
    if not started.ok:
        refuse("the activation could not be started", "systemctl status on the host", started.last_lines())
    return {}


def check_lock(layout: Layout, deploy_id: str) -> None:
    """Look once more, right before anything is touched, whether the deploy that asks for it still holds the lock.

    Raises:
        RefusedError: Its file was removed or replaced, or another deploy has it.
    """
    if deploy_id and read_json(layout.lock).get("deploy_id") != deploy_id:
        refuse(
            "the host's lock was lost: its file was removed or replaced", "Deploy again. Nothing that runs was touched."
        )


def follow(_: Mapping[str, Any]) -> dict[str, Any]:
    """Hand on what an activation says, until it has ended; its last line is the result."""
    offset, ended, looks = 0, False, 0
    while True:
        text = _PROGRESS.read_text(encoding="utf-8", errors="replace") if _PROGRESS.exists() else ""
        whole = text[offset : text.rfind("\n") + 1]
        offset += len(whole)
        for line in whole.splitlines():
            document = json.loads(line)
            if "activated" in document:
                return dict(document["activated"])
            print_line(document)
        if ended:
            refuse("the activation ended without a word", f"journalctl -u {ACTIVATION_UNIT} on the host")
        looks += 1
        if looks % _SELDOM == 0:  # a start is under way, and the processor is its own
            ended = not is_activation_under_way()
            print_line({})  # the caller may be gone: then this ends here
        time.sleep(_FOLLOW_S)


def activate(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The unit's own work; see `Activation`. Writes the audit line and the result."""
    # A host that shuts down has systemd end this; the next deploy sees a release that was not found good.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    layout = Layout(Path(arguments["base"]))
    activation = Activation(
        layout=layout,
        user=arguments["user"],
        target=arguments["target"],
        previous=arguments["previous"],
        gateway_changed=bool(arguments["gateway_changed"]),
        brings_env=bool(arguments["brings_env"]),
        restores_env=bool(arguments.get("restores_env")),
        hold_timeout_s=float(arguments["hold_timeout_s"]),
        keep=int(arguments["keep"]),
        least_free_bytes=int(arguments["least_free_bytes"]),
        discredited=str(arguments.get("discredited", "")),
        audit_line={name: str(arguments.get(name, "")) for name in _AUDITED},
    )
    outcome = activation.perform()
    cause = activation.cause
    write_audit({**arguments, "outcome": outcome, "cause": cause.message if cause else ""})
    return {
        "outcome": outcome,
        "current": layout.read_current(),
        "gap_s": activation.gap_s,
        "settings": activation.settings,
        "stands_by": activation.stands_by,
        "message": cause.message if cause else "",
        "next_action": cause.next_action if cause else "",
        "evidence": list(cause.evidence) if cause else [],
    }


def write_audit(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Add a line to the audit trail: who, from where, when, what, and what came of it. As the service's user."""
    layout = Layout(Path(arguments["base"]))
    line = {"at": datetime.now(tz=timezone.utc).isoformat(timespec="seconds")}  # noqa: UP017 - also on Python 3.10
    for name in (*_AUDITED, "outcome", "cause"):
        line[name] = str(arguments.get(name, ""))
    text = json.dumps(line) + "\n"
    argv = ("sh", "-c", 'umask 027; printf %s "$1" >>"$2"', "sh", text, layout.audit)
    run(argv, user=str(arguments["user"]))
    return {}


def read_audit(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The last lines of the audit trail, the oldest first; one that is no JSON object is left out."""
    found: list[dict[str, Any]] = []
    try:
        text = Layout(Path(arguments["base"])).audit.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    for line in text.splitlines()[-int(arguments["lines"]) :]:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            found.append(document)
    return {"lines": found}


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
