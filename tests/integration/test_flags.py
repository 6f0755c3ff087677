"""A number on the command line that is none: a line that names it, no traceback."""

import json
import signal
import sys

import pytest

from orchestration.lease.held import Role, Standing, write_standing
from orchestration.settings import Settings
from orchestration.state_dir import supervisor_lock_path
from orchestration.system.lock import hold_lock
from tests.system import PROJECT, System


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("invoke", "logs --lines=many"),
        ("invoke", "history --limit=many"),
        ("invoke", "soak --hours=many"),
        ("invoke", "soak --time-scale=many"),
        ("invoke", "soak --seed=many"),
        ("fabric", "-H localhost deploy --timeout=many"),
        ("fabric", "-H localhost rollback --timeout=many"),
        ("fabric", "-H localhost logs --lines=many"),
    ],
)
def test_a_command_with_a_wrong_number_says_so_in_a_line(program: str, line: str, system: System) -> None:
    ended = system.run([sys.executable, "-m", program, *line.split()])
    assert ended.code == 1
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
    assert "'many' is not a" in ended.err


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("invoke history --limit=many --json", "--limit"),
        ("invoke soak -j --hours=many", "--hours"),
        ("invoke gameplan.check --at=2026-11-28T10:00:00Z --json", "--at"),
        ("invoke -d bot.start --json", "-d is"),
        ("orchestration.startup --json --bogus", "--bogus"),
    ],
)
def test_a_refused_command_line_that_asks_for_json_gives_one_document(line: str, flag: str, system: System) -> None:
    ended = system.run([sys.executable, "-m", *line.split()])
    assert ended.code == 1
    assert ended.document["exit_code"] == 1
    assert flag in ended.document["message"]
    assert flag in ended.err
    assert system.processes() == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("statu", "'statu' is no command; did you mean `inv status`? `inv` lists the commands."),
        ("bot stop", "'bot' is no command; did you mean `inv bot.start`, `inv bot.stop` or `inv bot.restart`?"),
        ("status --jsn", "`inv status` has no --jsn; did you mean --json? `inv --help status` explains it."),
        ("shutdown --now", "`inv shutdown` has no --now, only --"),
        ("startup simulate", "did you mean `inv startup --simulate`?"),
        ("hold because", "'because' is no command, and after `inv hold` come only its flags: --"),
        ("logs supervisor", "after `inv logs` come only its flags: --of, "),
        ("history --since nonsense", "--since nonsense: allowed are 48h, 7d, 2w, 90m, or a beginning such as"),
    ],
)
def test_a_line_that_is_not_understood_says_what_was_probably_meant(line: str, said: str, system: System) -> None:
    ended = system.inv(*line.split(), "--json")
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert said in ended.err
    assert ended.document == {"exit_code": 1, "message": ended.err.rstrip("\n")}
    assert system.processes() == []


@pytest.mark.parametrize("line", ["history --limit 3", "logs --of bot -f --help", "--list", "status history"])
def test_a_line_that_is_understood_is_left_to_invoke(line: str, system: System) -> None:
    assert "is no command" not in system.inv(*line.split()).err


def test_an_output_without_a_folder_registers_nothing(system: System) -> None:
    ended = system.inv("install", "--target=linux", "--output", "", "--json")
    assert ended.code == 1
    assert "--output" in ended.document["problem"]


def test_a_period_that_is_empty_is_no_period(system: System) -> None:
    ended = system.inv("report", "--since", "", "--json")
    assert ended.code == 1
    assert "--since" in ended.err + ended.out


def test_a_file_name_that_is_no_text_leaves_the_document_utf_8(system: System) -> None:
    ended = system.inv("gameplan.check", "--path", str(system.root / "a\udc80b.json"), "--json")
    assert ended.code == 1
    assert json.loads(ended.out.encode("utf-8"))


@pytest.mark.parametrize(
    "line",
    [
        "invoke -d startup",
        "invoke -d preflight gateway.up",
        "invoke bot.start -d",
        "invoke -d install --target=linux",
        "fabric -d -H localhost deploy",
        "fabric -d -H localhost rollback",
        "fabric --dry -H localhost rollback",
    ],
)
def test_a_short_d_before_a_task_lets_nothing_happen_and_says_why(line: str, system: System) -> None:
    ended = system.run([sys.executable, "-m", *line.split()])
    assert ended.code == 1
    assert "--dry-run" in ended.err or "--dry cannot" in ended.err
    assert not system.state.exists()
    assert system.processes() == []


def test_long_debugging_starts_and_the_tasks_own_short_flag_is_a_dry_run(system: System) -> None:
    system.use_small_bot("--ready")
    assert system.inv("startup", "-d").code == 2
    assert system.bots() == []
    assert system.inv("--debug", "startup").code == 2
    assert len(system.bots()) == 1


@pytest.mark.parametrize(("line", "code"), [("help startup", 0), ("startup --simulate help", 1)])
def test_whoever_asks_for_help_on_the_start_up_does_not_begin_it(line: str, code: int, system: System) -> None:
    ended = system.inv(*line.split())
    assert ended.code == code, ended.err
    assert ("--dry-run" in ended.out) is (code == 0)
    assert not list(system.logs.glob("startup_*"))
    assert system.processes() == []


@pytest.mark.parametrize("line", ["invoke bot.restart --json", "orchestration.startup --replace --json"])
def test_a_host_that_stands_by_is_not_asked_to_restart_a_bot(line: str, system: System) -> None:
    system.environ["LEASE_ETCD"] = "http://127.0.0.1:1"
    settings = Settings.from_environ(system.environ, project_dir=PROJECT)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    write_standing(settings, Standing(role=Role.STANDBY, host="b", holder="a"))
    asked: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: asked.append(number))
    try:
        with hold_lock(
            supervisor_lock_path(settings.state_dir), purpose="supervisor", since="2026-11-29T10:00:00+00:00"
        ):
            ended = system.run([sys.executable, "-m", *line.split()])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (ended.code, ended.document["failure"]) == (1, "CONFIG_INVALID"), ended.err
    assert asked == []
