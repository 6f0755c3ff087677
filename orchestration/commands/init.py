"""`inv init`: asks for the few settings that matter, writes them into `.env`, and checks what came of it.

Answers come from a terminal, from a pipe (a line each, in the order of the questions), or from a file of
`NAME=value` lines. Nothing is written before the last question is answered; an answer that is not allowed in a pipe or
a file, the end of the input, and Ctrl-C leave the file as it was. What was not answered stays as it stands.
"""

import getpass
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration import presenter as console
from orchestration.alerts.alert import Severity
from orchestration.alerts.apprise import build_apprise_channels
from orchestration.alerts.channels import build_channels
from orchestration.alerts.discord import webhook_problem
from orchestration.commands.control import describe_test_alert, refuse, run_preflight, send_test_alert
from orchestration.errors import ExitCode
from orchestration.hostservice.advice import advise
from orchestration.redaction import Redactor, protect
from orchestration.settings import PROJECT_DIR, Secret, Settings, expand_home
from orchestration.settings.env_file import ChangedMeanwhileError, EnvFile, check_answers, open_env_file, read_answers
from orchestration.settings.sources import read_environment
from orchestration.system.files import read_regular

if TYPE_CHECKING:
    from orchestration.errors import Check

_REMOVE = "-"
_MAX_SECRET_BYTES = 64 * 1024
# A word of a question that is masked would tell that it is the password.
_FOR_OWN_WORDS = Redactor(())


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question.

    Attributes:
        name: The variable that the answer is for.
        title: What is asked for.
        why: What it is for, and what happens without it.
        if_unset: What Enter means where nothing is set yet.
        is_hidden: Whether a terminal shows nothing of what is typed.
        needs: A variable without which the question makes no sense.
        unless: A variable whose answer makes the question needless.
        for_other_schemes: The variable for an answer that is an address and none of the web's.
    """

    name: str
    title: str
    why: str
    if_unset: str
    is_hidden: bool = False
    needs: str = ""
    unless: str = ""
    for_other_schemes: str = ""

    def read_current(self, values: Mapping[str, str]) -> str:
        """What is set now, empty for nothing."""
        return values.get(self.name) or values.get(self.for_other_schemes, "")

    def assign(self, answer: str, values: Mapping[str, str]) -> dict[str, str | None]:
        """The variables that an answer sets, or, for None, removes; none where it keeps what is set."""
        if not answer:
            return {}
        names = [name for name in (self.name, self.for_other_schemes) if name]
        if answer == _REMOVE:
            return {name: None for name in names if name in values or name == self.name}
        scheme, separator, _ = answer.partition("://")
        is_other = separator and scheme.lower() not in {"http", "https"}
        return {names[-1] if is_other else self.name: answer}


QUESTIONS = (
    Question(
        name="TWS_USERID",
        title="IBKR user name",
        why="IB Gateway logs in with it. Begin with the user of a paper account.",
        if_unset="none: the gateway's container is not created",
    ),
    Question(
        name="TWS_PASSWORD_FILE",
        title="File that holds the password",
        why="The password may stay in a file of its own that only you can read. Press Enter to type it next instead.",
        if_unset="none: you are asked for the password",
        needs="TWS_USERID",
    ),
    Question(
        name="TWS_PASSWORD",
        title="Password",
        why="It is not shown while you type, and is kept in the settings file, which only you can read.",
        if_unset="none",
        is_hidden=True,
        needs="TWS_USERID",
        unless="TWS_PASSWORD_FILE",
    ),
    Question(
        name="BOT_COMMAND",
        title="Command that starts your bot",
        why="As in a terminal; gateway, plan and log level are appended. The reference bot only connects and watches.",
        if_unset="the built-in reference bot",
    ),
    Question(
        name="GAMEPLAN_PATH",
        title="File of the day's gameplan",
        why="Without a valid one, every start is on Strategy C, which trades nothing.",
        if_unset="none: Strategy C each day",
    ),
    Question(
        name="DISCORD_WEBHOOK_URL",
        title="Address for alerts",
        why="A Discord webhook, or an Apprise address (ntfys://…, tgram://…, mailtos://…). A secret: it is not shown.",
        if_unset="none: alerts are only logged",
        is_hidden=True,
        for_other_schemes="ALERT_URLS",
    ),
)


class NotWrittenError(Exception):
    """Nothing was written; the message says why."""


@dataclass(frozen=True, kw_only=True)
class _Done:
    """What was written, and what the checks found afterwards."""

    path: Path
    was_created: bool
    changed: Sequence[str]
    removed: Sequence[str]
    checks: "Sequence[Check]"
    alert_problem: str | None
    has_channel: bool

    @property
    def exit_code(self) -> ExitCode:
        is_well = not console.has_failed(self.checks) and self.alert_problem is None
        return ExitCode.SUCCESS if is_well else ExitCode.FAILURE

    @property
    def next_action(self) -> str:
        if console.has_failed(self.checks):
            return (
                "Fix what failed above; `inv preflight` checks again, `inv init` asks again. "
                "`inv startup --simulate` needs neither Docker nor an account."
            )
        if self.alert_problem is not None:
            return "Correct the alert channel with `inv init`; `inv alert.test` tries it again."
        return "Start the system: `inv startup`."


def init(*, answers: str | None, as_json: bool) -> int:
    """Ask, write, check. 0: written, every check passed and the test alert arrived; 1: not.

    Args:
        answers: A file of `NAME=value` lines in place of the questions; None to ask.
        as_json: Whether to end with one JSON document; the questions are on standard error then.
    """
    problems: list[str] = []
    file = open_env_file(PROJECT_DIR, problems)
    try:
        given = {} if problems else _ask(file, as_json=as_json) if answers is None else read_answers(answers, problems)
        _require_none(problems + _find_problems(given))
        changed, removed = file.plan(given)
        if answers is None:
            _confirm(file, changed, removed, as_json=as_json)
        file.write(given)
    except KeyboardInterrupt:
        console.write_prompt("\n", as_json=as_json)
        return _refuse("interrupted", file, as_json=as_json)
    except (NotWrittenError, ChangedMeanwhileError) as error:
        return _refuse(str(error), file, as_json=as_json)
    except OSError as error:
        return _refuse(error.strerror or str(error), file, as_json=as_json)
    return _check(file, changed, removed, as_json=as_json)


def _require_none(problems: Sequence[str]) -> None:
    if problems:
        raise NotWrittenError("; ".join(problems))


def _refuse(reason: str, file: EnvFile, *, as_json: bool) -> int:
    message = f"{file.path} was left as it was: {reason}."
    return refuse(message, "Run `inv init` again; `inv --help init` says how to answer.", as_json=as_json)


def _ask(file: EnvFile, *, as_json: bool) -> dict[str, str | None]:
    """Ask each question that makes sense. Returns what is to be set, and None for what is to be removed."""
    console.write_prompt(
        f"Settings for {file.path}. Enter keeps the value in brackets; `-` removes it; Ctrl-C ends.\n",
        as_json=as_json,
    )
    given: dict[str, str | None] = {}
    for number, question in enumerate(QUESTIONS, 1):
        known = {**file.values, **{name: value or "" for name, value in given.items()}}
        if question.needs and not known.get(question.needs):
            continue
        if question.unless and known.get(question.unless):
            continue
        console.write_prompt(
            f"\n{number}. {question.title}\n   {question.why}\n", as_json=as_json, redactor=_FOR_OWN_WORDS
        )
        while True:
            answer = _read_answer(question, question.read_current(file.values), as_json=as_json)
            asked = question.assign(answer, file.values)
            problems = _find_problems(asked)
            if not problems:
                break
            console.write_prompt("".join(f"   {problem}\n" for problem in problems), as_json=as_json)
            if not sys.stdin.isatty():
                raise NotWrittenError(f"question {number}: {'; '.join(problems)}")
        given |= asked
    return given


def _read_answer(question: Question, current: str, *, as_json: bool) -> str:
    """One line from the terminal or the pipe, without the blanks around it."""
    shown = ("set" if question.is_hidden or question.name.startswith("TWS_") else current) if current else ""
    prompt = f"   [{shown or question.if_unset}] "
    if question.is_hidden and sys.stdin.isatty():
        try:
            answer = getpass.getpass(prompt)
        except EOFError:
            raise NotWrittenError(f"the answers ended at {question.title!r}") from None
        console.write_prompt("   (received, not shown)\n" if answer else "", as_json=as_json)
    else:
        answer = _read_line(prompt, f"the answers ended at {question.title!r}", as_json=as_json)
    if question.is_hidden:
        protect((answer,))  # nothing below may show it, an error's text included
    return answer if question.name == "TWS_PASSWORD" and answer.strip() else answer.strip()


def _read_line(prompt: str, at_end: str, *, as_json: bool) -> str:
    """The next line of standard input, without its end.

    Raises:
        NotWrittenError: The input is at its end, or is not text.
    """
    console.write_prompt(prompt, as_json=as_json)
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        raise NotWrittenError("an answer is not UTF-8 text") from None
    if not line or not sys.stdin.isatty():
        console.write_prompt("\n", as_json=as_json)  # a terminal has shown the person's own line break
    if not line:
        raise NotWrittenError(at_end)
    return line.removesuffix("\n")


def _find_problems(given: Mapping[str, str | None]) -> list[str]:
    """What is wrong with these answers, a sentence each. No secret is shown."""
    problems = check_answers(given)
    named, webhook, addresses = (given.get(name) for name in ("TWS_PASSWORD_FILE", "DISCORD_WEBHOOK_URL", "ALERT_URLS"))
    if named:
        try:
            content = read_regular(PROJECT_DIR / Path(expand_home(named)), max_bytes=_MAX_SECRET_BYTES)
        except (OSError, ValueError, RuntimeError) as error:
            # The answer is not shown: it may be the password itself.
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            problems.append(f"TWS_PASSWORD_FILE: names no file that can be read ({reason})")
        else:
            problems += [] if content.strip() else ["TWS_PASSWORD_FILE: the file is empty"]
    if webhook and not problems:
        problem = webhook_problem(Secret(webhook))
        problems += [problem] if problem else []
    if addresses and not problems:
        channels = build_apprise_channels(Secret(addresses), Severity.INFO)
        problems += [channel.problem for channel in channels if channel.problem]
    return problems


def _confirm(file: EnvFile, changed: Sequence[str], removed: Sequence[str], *, as_json: bool) -> None:
    """Ask before anything that was set is replaced."""
    replaced = [name for name in (*changed, *removed) if name in file.values]
    if not replaced:
        return
    question = f"\nReplace {', '.join(replaced)} in {file.path}? [y/N] "
    answer = _read_line(question, "the answers ended before the change was confirmed", as_json=as_json)
    if answer.strip().lower() not in {"y", "yes"}:
        raise NotWrittenError("the change was not confirmed")


def _check(file: EnvFile, changed: Sequence[str], removed: Sequence[str], *, as_json: bool) -> int:
    """Say what was written, run the checks, and try the alert channel."""
    if not as_json:
        what = [*changed, *(f"{name} (removed)" for name in removed)]
        console.print_line(f"{file.path}: {', '.join(what) if what else 'nothing to change'}")
    environ = read_environment()
    overridden = sorted(name for name in changed if environ.get(name, "").strip())
    if overridden:
        console.warn(f"warning: the environment sets {', '.join(overridden)}, too, and has precedence over the file")
    _, checks = run_preflight()
    settings = Settings.load(lenient=True)
    has_channel = bool(build_channels(settings))
    problem = describe_test_alert(send_test_alert(settings)) if has_channel else None
    done = _Done(
        path=file.path,
        was_created=not file.existed,
        changed=changed,
        removed=removed,
        checks=checks,
        alert_problem=problem,
        has_channel=has_channel,
    )
    if as_json:
        console.print_json(_build_json(done))
        return int(done.exit_code)
    console.print_check_table(checks)
    if has_channel:
        console.print_line("The test alert was delivered." if problem is None else f"The test alert failed: {problem}")
    console.print_line(f"Next: {advise(done.next_action, settings)}")
    return int(done.exit_code)


def _build_json(done: _Done) -> dict[str, object]:
    return {
        "exit_code": int(done.exit_code),
        "path": str(done.path),
        "created": done.was_created,
        "changed": list(done.changed),
        "removed": list(done.removed),
        "checks": console.build_checks_json(done.checks),
        "alert": {"delivered": done.alert_problem is None, "problem": done.alert_problem} if done.has_channel else None,
        "next_action": done.next_action,
    }
