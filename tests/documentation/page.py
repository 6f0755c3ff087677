"""`docs/reference/commands.md`, from the tasks themselves and what `documents` adds. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from tests.documentation.documents import EXIT_CODES, FAB_EXIT_CODES, FAB_JSON_KEYS, JSON_KEYS, RUN, VARIANTS, Keys
from tests.documentation.programs import Flag, Program, Task

_HEAD = """\
# Commands

Every task of `inv` and `fab`, with its flags, exit codes and JSON keys. `inv --list` and `inv --help TASK` say the same
in the terminal, in short. Run them in the project's folder, as `.venv/bin/inv`.

* Tasks may follow each other on one line: `inv gateway.up gateway.wait`. The first one that fails is the last.
* `--json` prints one document on standard output, all else on standard error. What does not apply is null, paths
  are absolute, times are ISO 8601 with an offset. Wrong settings make it `exit_code`, `failure` (`CONFIG_INVALID`),
  `message`, `problems`, `next_action`; what else keeps a command from what it was asked for: `exit_code`, `message`,
  and, where it can be fixed, `next_action`.
* `INSTANCE=NAME` in front chooses the [instance](../how-to/several-bots-on-one-gateway.md). [All words](words.md).
* A wrong flag ends `inv` and `fab` with 1. With `--json` a wrong value gives its document, too; a flag that a task
  does not have is refused by Invoke itself, on standard error only.

This page is made from the tasks by `python -m tests.documentation`.
"""

# The order in which an operator meets them.
_GROUPS: Sequence[tuple[str, Sequence[str]]] = (
    ("Set up", ("init", "help", "version")),
    (
        "The sequence",
        ("startup", "preflight", "gateway.up", "gateway.wait", "gameplan.check", "gameplan.new", "bot.start"),
    ),
    ("Look", ("status", "history", "report", "logs", "config", "monitor")),
    (
        "Stop and start again",
        ("shutdown", "hold", "failover", "resume", "bot.stop", "bot.restart", "gateway.restart", "gateway.down"),
    ),
    ("At boot, and trials", ("install", "uninstall", "alert.test", "soak")),
)

_RUN_DOCUMENT = "The document of a run"

_OTHERS = """\
## Other programs

| program | |
|---|---|
| `python -m orchestration.startup` | `inv startup` without Invoke: `--simulate`, `--dry-run`, `--replace`, `--foreground`, `--service`, `--json`; the same exit codes |
| `docker/gateway/scripts/production-startup.sh` | the same from any folder, with a log of its own for what fails before it; what [services](host-service.md) call |
| `python -m orchestration.simulator` | the [built-in gateway](simulator.md) |
| `python -m orchestration.bot.reference` | the [reference bot](bot.md#the-reference-bot) |
| `python -m benchmarks` | [all figures](../../benchmarks/README.md) |
| `python -m orchestration.settings.reference_page` | makes `.env.example` and [configuration](configuration.md) |
| `python -m tests.campaign` | the fault campaign, and `--scenarios`: every named scenario on a real engine |
| `python -m tests.documentation` | makes this page |
"""  # noqa: E501 - a table's row is one line


def render_page(inv: Program, fab: Program) -> str:
    """The page, in Markdown.

    Raises:
        KeyError: A task stands in no group, or has no exit codes.
    """
    parts = [_HEAD]
    for title, names in _groups(inv):
        parts += [f"## {title}\n", *(_render_task(inv.tasks[name], "inv", EXIT_CODES, JSON_KEYS) for name in names)]
    parts += [f"## {_RUN_DOCUMENT}\n", "What every command prints that performs steps.\n", _render_keys(RUN)]
    parts += [
        "## On hosts: fab\n",
        "Several hosts with commas, one after the other. [How to deploy](../how-to/deploy-to-the-rackmount.md).\n",
    ]
    parts += [_render_task(task, "fab -H HOST", FAB_EXIT_CODES, FAB_JSON_KEYS) for task in fab.tasks.values()]
    return "\n".join([*parts, _OTHERS])


def _groups(inv: Program) -> Iterator[tuple[str, Sequence[str]]]:
    named = {name for _, names in _GROUPS for name in names}
    if missing := inv.tasks.keys() - named:
        raise KeyError(f"in no group: {', '.join(sorted(missing))}")
    yield from _GROUPS


def _render_task(task: Task, program: str, codes: Mapping[str, str], documents: Mapping[str, Keys]) -> str:
    details = f" {task.details}".partition(" Exit code ")[0]  # they stand below
    lines = [f"### {program} {task.name}\n", f"{task.summary}{details}\n"]
    flags = [flag for flag in task.flags if "--json" not in flag.names]
    if flags:
        lines += ["| flag | default | |", "|---|---|---|", *(_render_flag(flag) for flag in flags), ""]
    lines.append(f"**Exit codes**: {codes[task.name]}.\n")
    if any("--json" in flag.names for flag in task.flags):
        lines.append(_render_document("--json", documents[task.name]))
        mine = {flag: keys for (name, flag), keys in VARIANTS.items() if name == task.name and program == "inv"}
        lines += [
            _render_document(f"{flag} --json" if flag.startswith("-") else flag, keys) for flag, keys in mine.items()
        ]
    return "\n".join(lines)


def _render_flag(flag: Flag) -> str:
    names = ", ".join(f"`{name}`" for name in flag.names)
    return f"| {names} | {f'`{flag.default}`' if flag.default else ''} | {flag.help} |"


def _render_document(typed: str, keys: Keys) -> str:
    head = f"**`{typed}`**:" if typed.startswith("-") else f"**{typed}**:"
    if keys is RUN:
        return f"{head} [the document of a run](#{_RUN_DOCUMENT.lower().replace(' ', '-')}).\n"
    return f"{head} {keys['']}.\n" if set(keys) == {""} else f"{head}\n\n{_render_keys(keys)}"


def _render_keys(keys: Keys) -> str:
    return "\n".join(["| key | |", "|---|---|", *_render_rows(keys, ""), ""])


def _render_rows(keys: Keys, before: str) -> Iterator[str]:
    for name, meaning in keys.items():
        if isinstance(meaning, str):
            if name:
                yield f"| `{before}{name}` | {meaning} |"
            continue
        if "" in meaning:
            yield f"| `{before}{name}` | {meaning['']} |"
        yield from _render_rows(meaning, f"{before}{name}.")
