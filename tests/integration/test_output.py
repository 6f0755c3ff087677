"""What becomes of a command when its output cannot be read."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.system import PATIENCE_S, PROJECT, Ended, System
from tests.thorough import choose_count


def run_in_shell(system: System, line: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    """Run this line of Bash, in which `inv` and `startup` stand for the commands. The exit code is the command's."""
    script = (
        'set -o pipefail; inv() { "$PYTHON" -m invoke "$@"; }; fab() { "$PYTHON" -m fabric "$@"; }; '
        'startup() { "$PYTHON" -m orchestration.startup "$@"; }; ' + line
    )
    return subprocess.run(
        ["bash", "-c", script],
        cwd=PROJECT,
        env={**system.environ, "PYTHON": sys.executable, **changes},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@contextlib.contextmanager
def open_unread_pipe() -> Iterator[int]:
    """The end to write to of a pipe whose reader has left."""
    read, write = os.pipe()
    os.close(read)
    try:
        yield write
    finally:
        os.close(write)


@contextlib.contextmanager
def open_full_device() -> Iterator[int]:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        yield full.fileno()


def run_with(system: System, argv: Sequence[str], *, stdout: int, stderr: int = subprocess.PIPE) -> Ended:
    """Run a command of the project with these outputs."""
    process = system.kind(
        [sys.executable, "-m", *argv],
        cwd=PROJECT,
        env=system.environ,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )
    system.started.append(process)
    _, err = process.communicate(timeout=PATIENCE_S)
    return Ended(process.returncode, "", err or "")


def run_with_lost_output(system: System, where: str) -> Ended:
    """Start the system with its output lost in this way."""
    command = ["orchestration.startup", *(["--json"] if "--json" in where else [])]
    match where.removeprefix("--json "):
        case "| true":
            with open_unread_pipe() as pipe:
                return run_with(system, command, stdout=pipe)
        case "2>&1 >/dev/null | true":
            with open_unread_pipe() as pipe:
                return run_with(system, command, stdout=subprocess.DEVNULL, stderr=pipe)
        case ">/dev/full 2>&1":
            with open_full_device() as full:
                return run_with(system, command, stdout=full, stderr=full)
        case ">/dev/full":
            with open_full_device() as full:
                return run_with(system, command, stdout=full)
    done = run_in_shell(system, f"startup {where}")
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "where",
    [
        "| true",
        "| head -1",
        ">&-",
        ">&- 2>&- <&-",
        "--json >&-",
        ">/dev/full 2>&1",
        "--json >/dev/full",
        "--json 2>&1 >/dev/null | true",
    ],
)
def test_a_start_goes_on_when_its_output_is_lost_and_its_exit_code_stays(system: System, where: str) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    started = run_with_lost_output(system, where)
    assert started.code == 0, started.err
    assert "Traceback" not in started.err
    assert "Exception ignored" not in started.err
    assert len(system.bots()) == 1
    runs = json.loads(system.inv("history", "--json").out)["runs"]
    assert [run["result"] for run in runs] == ["success"]


def test_a_shutdown_whose_output_is_lost_stops_the_bot(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    assert system.startup().code == 0
    assert run_in_shell(system, "inv shutdown | true").returncode == 0
    assert system.bots() == []


_LOOKS = ("status", "status --json", "preflight", "config", "history", "logs", "startup --dry-run")


@pytest.mark.parametrize("command", _LOOKS)
def test_a_look_whose_reader_leaves_ends_without_a_traceback(system: System, command: str) -> None:
    with open_unread_pipe() as pipe:
        looked = run_with(system, ["invoke", *command.split()], stdout=pipe)
    assert "Traceback" not in looked.err
    assert "Exception ignored" not in looked.err
    assert looked.code == system.inv(*command.split()).code


@pytest.mark.parametrize("command", _LOOKS[:: choose_count(usual=3, thorough=1)])
def test_a_look_without_a_standard_output_has_its_exit_code(system: System, command: str) -> None:
    looked = run_in_shell(system, f"inv {command} >&-")
    assert "Traceback" not in looked.stderr
    assert looked.returncode == system.inv(*command.split()).code


def test_the_list_of_commands_may_lose_its_reader_too(system: System) -> None:
    for line in ("inv | true", "inv --list >/dev/full", "fab --list | true"):
        assert "Traceback" not in run_in_shell(system, line).stderr, line


def test_a_document_that_could_not_be_written_is_told(system: System) -> None:
    looked = run_in_shell(system, "inv config --json >/dev/full")
    assert "standard output cannot be written" in looked.stderr


def test_an_encoding_without_arrows_loses_the_arrows_only(system: System, tmp_path: Path) -> None:
    said = tmp_path / "said"
    system.reserve_project_folder()
    started = run_in_shell(system, f"startup --simulate >'{said}'", PYTHONIOENCODING="ascii")
    assert started.returncode == 0, started.stderr
    assert "preflight ? gateway.up" in said.read_text(encoding="ascii")


def test_following_a_log_ends_when_its_reader_leaves(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    assert system.startup().code == 0
    followed = run_in_shell(system, "inv logs --of bot -f | head -60")
    assert "Traceback" not in followed.stderr


def test_a_gateway_log_that_is_not_here_is_said(system: System) -> None:
    looked = system.inv("logs", "--of", "gateway", environ={"GATEWAY_RUNTIME": "external"})
    assert looked.code == 1
    assert "where it runs" in looked.err


def test_every_time_that_a_person_reads_is_the_hosts_own_and_names_its_zone(system: System) -> None:
    system.environ["TZ"] = "America/New_York"
    system.use_small_bot("--ready")
    system.use_plan()
    said = [
        system.inv(*words.split())
        for words in ("hold --reason test", "startup", "status", "resume", "startup", "status", "history", "shutdown")
    ]
    text = "".join(one.out + one.err for one in said)
    log = "".join(path.read_text(encoding="utf-8") for path in system.logs.glob("s*.log"))
    assert "+00:00" not in text + log
    assert " UTC" not in text + log
    zones = re.findall(r"\d\d:\d\d:\d\d(\S* ?\w*)", text)
    assert len(zones) > 8
    assert [zone for zone in zones if not re.match(r"( E[SD]T|-0[45]:?00)", zone)] == []


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({"BOT_COMMAND": "/bin/sh -c 'echo oh no; exit 3'"}, ["ended with exit code 3"]),
        ({"GATEWAY_PORT": "0", "LOG_KEEP": "x"}, ["'0' must be a whole", "'x' must be a whole"]),
        ({"GATEWAY_RUNTIME": "external", "GATEWAY_HEALTH_TIMEOUT": "0.1"}, ["is not ready after 0 s"]),
    ],
)
def test_a_failed_start_says_why_once(system: System, changes: dict[str, str], sentences: list[str]) -> None:
    ended = system.inv("startup", environ=changes)
    assert ended.code == 1
    for sentence in sentences:
        assert ended.out.count(sentence) == 1, ended.out
    assert "  | \n" not in ended.out, "evidence where there is none"


def test_a_start_on_the_emergency_plan_says_why_as_its_step_and_its_outcome_and_no_more(system: System) -> None:
    system.use_small_bot("--ready")
    ended = system.inv("startup")
    assert ended.code == 2
    assert ended.out.count("gameplan is configured") == 2, ended.out
    assert "no plan is configured" not in ended.out, "what preflight foresaw has come about"
    assert "no plan is configured" in str(system.inv("preflight", "--json").document)


def test_a_step_alone_says_once_what_it_did(system: System) -> None:
    ended = system.inv("gateway.up")
    assert ended.out.count("has been started") == 1, ended.out
