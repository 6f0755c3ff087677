"""What cannot be read from the tasks themselves: each one's exit codes, and the keys of its JSON document.

A test runs the commands and holds their documents against the keys; another one holds the names against the tasks.
"""

from collections.abc import Mapping

# A key whose value is an object, or a list of objects, has the keys of these. Under "", what the key itself is.
Keys = Mapping[str, "str | Keys"]

_STEP: Keys = {
    "": "a list, one for each step",
    "name": "the task's name",
    "state": "a [state](words.md#states)",
    "status": "`ok`, `warn`, `fail`, `skip`; null: not performed",
    "started_at": "when",
    "duration_s": "seconds",
    "detail": "what was found or done",
}
RUN: Keys = {
    "run_id": "the run's name in journal, log and alerts; null where a boot service started none",
    "instance": "whose it is",
    "result": "`success`, `partial`, `failure`",
    "exit_code": "what the command ends with",
    "state": "the last [state](words.md#states)",
    "failure": "a [failure word](words.md#failures-exit-code-1), or null",
    "fallback": "a [fallback word](words.md#fallbacks-exit-code-2), or null",
    "message": "one sentence",
    "next_action": "what a person should do, or null",
    "started_at": "when, with offset",
    "duration_s": "seconds",
    "simulated": "whether the gateway is the built-in one",
    "steps": _STEP,
    "gateway": {
        "": "the gateway as it was validated or, where that failed, as it was seen last; null: not looked at",
        "validated": "whether it was validated in this run; nothing may trade on one that was not",
        "runtime": "`docker`, `simulator`, `external`",
        "container": "its name, or null",
        "state": "whether and how the container or process runs; null where Docker did not answer",
        "health": "what the container's health check says: `none`, `starting`, `healthy`, `unhealthy`, or null",
        "login": "how far the login has come, by the gateway's log",
        "server_version": "of the API",
        "accounts": "masked",
        "latency_ms": "of one round trip",
        "restarted": "whether this run restarted it",
        "docker_restarts": "how often something else, usually Docker, restarted it meanwhile",
        "clock_skew_s": "its clock less this host's",
    },
    "gameplan": {
        "": "the active plan, or null",
        "path": "the copy that the bot gets",
        "source": "where it was read; null for the emergency plan",
        "strategy": "`A`, `B`, `C`",
        "date": "its day",
        "sha256": "of the copy",
        "fallback": "why it is the emergency plan, or null",
        "problems": "every error of the plan that was not used",
    },
    "bot": {
        "": "the bot that was handed over, or null",
        "pid": "its process",
        "log": "its log, or null for a container's",
        "ready_by": "`notify`, `grace`, or null: it has finished before",
        "program": "which program it is; of a container its image",
        "gateway_connection": "whether it held a connection to the gateway at the end of the start; null: unknown",
        "finished": "whether it ended by itself with 0 and left no process",
        "container": "its container, or null",
    },
    "stopped": {
        "": "a list: what this run stopped, as it was found before",
        "what": "`bot`, `gateway`, or a process of this program: `supervisor`, `monitor`, `startup`",
        "who": "what people call it",
        "pid": "its process, or null",
        "since": "when it was started, or null",
        "uptime_s": "how long it had run, or null",
        "in_time": "whether it stopped gracefully; false: it was killed; null: unknown",
        "by": "who stopped it, where that was not this command, or null",
    },
    "still_running": "a list: what goes on running after a run that stops something",
    "warnings": "a list of sentences",
    "evidence": "the last lines of whatever shows the failure",
    "log": "the run's log",
}
_CHECK: Keys = {
    "": "a list",
    "name": "what is checked",
    "status": "`ok`, `warn`, `fail`, `skip`",
    "detail": "what was found",
    "fix": "how to fix it, or null",
}
_SERVICE: Keys = {
    "": "the boot service, or null where none is installed",
    "name": "its name",
    "scope": "`system`, `user`",
    "installed": "whether it is",
    "enabled": "whether it starts at boot",
    "active": "whether it runs",
    "state": "the host's word for that",
    "status_text": "its own line",
    "differs": "whether it was edited",
    "detail": "what else is known",
    "lacks": "settings that it would not have",
}
_HOLD: Mapping[str, str] = {"by": "who, and on which host", "since": "when", "reason": "why"}
_PREFLIGHT: Keys = {
    "instance": "whose it is",
    "result": "`success`, `failure`",
    "exit_code": "what the command ends with",
    "failure": "the word of the first failed check, or null",
    "checks": {
        **_CHECK,
        "failure": "the word that a start would end with, or null",
        "found_by": "for a running bot: how it was found, or `unknown`; else null",
    },
}
_STATUS: Keys = {
    "instance": "whose it is",
    "exit_code": "what the command ends with",
    "message": "one sentence",
    "problems": "what is not as it should be",
    "notes": "what else to know: nothing watches the bot, a hold, a boot service that failed or gave up",
    "gateway": {
        "": "what one look saw",
        "runtime": "`docker`, `simulator`, `external`",
        "container": "its name, or null",
        "host": "where its API is",
        "port": "its port",
        "state": "of the container or process, or null",
        "health": "of the container, or null",
        "ready": "whether the handshake completed and the link is up",
        "api": "what the [handshake](../explanation/readiness.md) came to",
        "server_version": "of the API",
        "accounts": "masked",
        "latency_ms": "of one round trip",
        "simulated": "whether it is the built-in one",
        "problem": "what is wrong, or null",
    },
    "gameplan": {
        "": "the bot's plan, or null",
        "path": "the copy",
        "strategy": "`A`, `B`, `C`",
        "date": "its day",
        "sha256": "of the copy",
        "fallback": "why it is the emergency plan, or null",
        "problem": "what is wrong with it, or null",
    },
    "bot": {
        "": "the bot",
        "running": "null: unknown",
        "pid": "its process, or null",
        "uptime_s": "seconds",
        "ready": "whether it was found to be up and is not known to be without a connection to the gateway",
        "ready_by": "`notify`, `grace`, or null",
        "program": "which program it is, or null",
        "gateway_connection": "whether it holds a connection to the gateway now; null: unknown",
        "suspended": "why it runs and does nothing (stopped by a signal, paused), or null",
        "finished": "whether the last bot ended by itself with 0 and left no process",
        "ended": {
            "": "how the last bot ended, or null: one runs, or it was not seen",
            "exit_code": "its exit code, negative for a signal, or null",
            "at": "when",
            "finished": "whether it ended by itself with 0 and left no process",
        },
        "supervised": "whether it is supervised",
        "log": "its log, or null for a container's",
        "container": "its container, or null",
        "found_by": "how it was found",
        "left_of_pid": "its main process, where that has ended and only what it started still runs; else null",
        "detail": "how it was found, or why it is unknown",
    },
    "service": _SERVICE,
    "given_up": {"": "that the boot service has given up, or null", "since": "when", "reason": "why"},
    "hold": {"": "who holds it down, or null", **_HOLD},
    "under_way": {"": "a start that is under way, or null", "pid": "its process", "purpose": "what", "since": "when"},
    "alerts": {"": "the channel", "problem": "what is wrong with it, or null"},
    "last_run": {
        "": "the newest run, or null",
        "run_id": "its name",
        "kind": "which command",
        "result": "`success`, `partial`, `failure`, or null: not ended",
        "exit_code": "what it ended with",
        "failure": "its failure word",
        "fallback": "its fallback word",
        "message": "one sentence",
        "started_at": "when",
        "duration_s": "seconds",
    },
}
_INSTALL: Keys = {
    "command": "`install`, `uninstall`",
    "instance": "whose it is",
    "target": "`linux`, `windows`",
    "name": "the service's name",
    "scope": "`system`, `user`",
    "exit_code": "what the command ends with",
    "changed": "whether anything was, or with `--dry-run` would be; null: unknown",
    "dry_run": "whether it was one",
    "done": "what was done, a sentence each",
    "difference": "between what is installed and what should be, as lines",
    "checks": _CHECK,
    "files": "what was written, or would be",
    "service": _SERVICE,
    "problem": "what is wrong, or null",
    "next_action": "how to fix it, or null",
    "evidence": "the last lines of the programs that failed",
}
_HOSTS: Keys = {
    "hosts": {
        "": "a list, one for each host; each [key and result](../how-to/deploy-to-the-rackmount.md#4-afterwards)",
        "host": "as it was named",
        "action": "`deploy`, `rollback`, `provision`, `status`",
        "ok": "whether it was done",
        "result": "a word",
        "release": "the current release at the end",
        "message": "one sentence",
        "next_action": "what a person should do",
        "evidence": "the last lines that show it",
        "steps": {"": "a list", "name": "which", "ok": "whether", "duration_s": "seconds"},
        "changes": "what was or would be changed",
        "replaces": "the commit before",
        "difference": "of a dry run",
        "gap_s": "from the order to restart until all was good",
        "round_trips": "programs run there",
        "document": "of `status`: that of `inv status` there",
        "at": "when",
    }
}

# What each task prints with --json. Those without it are not here.
JSON_KEYS: Mapping[str, Keys] = {
    **dict.fromkeys(("startup", "gateway.up", "gateway.wait", "gameplan.check", "bot.start"), RUN),
    **dict.fromkeys(("bot.stop", "bot.restart", "gateway.restart", "gateway.down", "shutdown", "hold"), RUN),
    "preflight": _PREFLIGHT,
    "status": _STATUS,
    "install": _INSTALL,
    "uninstall": _INSTALL,
    "history": {
        "instance": "whose it is",
        "problem": "why the journal cannot be read, or null",
        "runs": "the newest first; [what a run has](journal.md#journal)",
        "supervision": {
            "": "a list, oldest first: incidents, actions and ends since the oldest run shown, at most 100",
            "at": "when",
            "run_id": "the run that it belongs to",
            "kind": "a stable word",
            "stage": "where in its incident, or null",
            "title": "what happened in a few words",
            "message": "one sentence",
        },
    },
    "report": {"": "[the report's keys](report.md#json)"},
    "soak": {"": "[the report's keys](report.md#json)"},
    "config": {
        "instance": "whose it is",
        "values": "an object: for each variable `value` (masked, or null) and `source`",
        "problems": "what is wrong",
        "warnings": "what looks wrong",
    },
    "gameplan.new": {"path": "the file that was written", "strategy": "`A`, `B`, `C`", "date": "its day"},
    "resume": {
        "instance": "whose it is",
        "was_held": {"": "who held it, or null", **_HOLD},
    },
    "alert.test": {"instance": "whose it is", "delivered": "whether", "problem": "why not, or null"},
}

# What a task prints with --json and this flag.
VARIANTS: Mapping[tuple[str, str], Keys] = {
    ("startup", "--dry-run"): {
        "instance": "whose it is",
        "steps": {"": "a list, one for each step", "name": "the task's name", "would": "what it would do"},
        "expected_exit_code": "as far as it can be told",
        "problems": "what would stop it",
    },
    ("gameplan.check", "--path FILE"): {
        "valid": "whether it is",
        "word": "a [fallback word](words.md#fallbacks-exit-code-2), or null",
        "message": "one sentence",
        "path": "the file",
        "strategy": "`A`, `B`, `C`",
        "date": "its day",
        "sha256": "of the file",
        "problems": "every error, with its place",
        "warnings": "what looks odd",
    },
    ("status", "--all"): {"": "a list of these documents"},
    ("bot.restart", "under a supervisor"): {
        "instance": "whose it is",
        "asked": "the supervisor's process",
        "message": "one sentence",
    },
}

FAB_JSON_KEYS: Mapping[str, Keys] = dict.fromkeys(("deploy", "rollback", "provision", "status"), _HOSTS)

# What each task ends with. Wrong settings end them with 1 too, `status` with 4.
_STEP_CODES = "0 done, and on to the next task; 1 failure, manual action required"
_DONE = "0 done; 1 not"
EXIT_CODES: Mapping[str, str] = {
    "preflight": "0 nothing failed; 1 a check failed",
    "gateway.up": _STEP_CODES,
    "gateway.wait": _STEP_CODES,
    "gameplan.new": "0 written · 1 not: the file is there, or the market is closed on that date",
    "gameplan.check": f"{_STEP_CODES}. With `--path`: 0 valid; 1 not",
    "bot.start": "0 up; 1 failure, manual action required; 2 up, on the emergency plan",
    "startup": "0 up; 1 failure, manual action required; 2 up, on the emergency plan; with `--service` also 78: manual "
    "action required, not tried again. `--dry-run`: the one that is expected",
    "bot.restart": "those of `bot.start`; 0 where a supervisor was asked to do it",
    "status": "0 all well; 1 the bot runs, something is not well; 3 no bot; 4 unknown",
    "report": "0 made, and the verdict, where one was asked for, is passed; 1 failed, or not made",
    "soak": "0 passed; 1 failed, interrupted, or not made",
    "config": "0; 1 where settings are wrong",
    "history": "0 shown; 1 the journal cannot be read",
    "logs": "0 shown; 1 there is none",
    "alert.test": "0 delivered; 1 not",
    "install": "0 registered as it should be; 1 not",
    "uninstall": "0 nothing is registered any more; 1 something is",
    "monitor": "0 told to end; 1 could not watch",
    **dict.fromkeys(("bot.stop", "gateway.restart", "gateway.down", "shutdown", "hold", "resume"), _DONE),
}
FAB_EXIT_CODES: Mapping[str, str] = {
    "deploy": "0 it runs on every host, or ran already; 1 not on one of them",
    "rollback": "0 it runs on every host; 1 not on one of them",
    "provision": "0 ready, on every host; 1 not",
    "status": "0 all is well on every host; 1 it is not on one of them",
    "logs": "0 shown, for every host; 1 not for one of them",
}
