"""`inv init`: a person at a terminal, a pipe, a file of answers; what is written, and what never is."""

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestration.commands.init import QUESTIONS
from orchestration.settings.env_file import ChangedMeanwhileError, EnvFile, open_env_file, read_values
from tests import programs
from tests.integration.alerts_scene import LoopbackChannel
from tests.system import PATIENCE_S, PROJECT, Ended, System, wait_until
from tests.thorough import choose_count

PASSWORD = "s3cret p$ss#\\'word"  # noqa: S105 - planted
ANSWERS = ("ann", "", PASSWORD, "", "plan.json", "")
# A session of its own, whose terminal is the one named: Ctrl-C and the password's prompt need it.
_IN_TERMINAL = """
import os, sys
os.setsid()
os.dup2(os.open(sys.argv[1], os.O_RDWR), 0)
os.execv(sys.executable, [sys.executable, "-m", "invoke", "init"])
"""
WRITTEN = {"TWS_USERID": "ann", "TWS_PASSWORD": PASSWORD, "GAMEPLAN_PATH": "plan.json"}


@pytest.fixture
def file(system: System) -> Path:
    """Where the settings go; not there yet."""
    path = system.root / "settings.env"
    path.unlink()
    return path


def init(system: System, *arguments: str, lines: tuple[str, ...] = ()) -> Ended:
    """Run it with these lines on standard input, then the input's end."""
    with programs.Popen(
        [sys.executable, "-m", "invoke", "init", *arguments],
        cwd=PROJECT,
        env=system.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        system.started.append(process)
        out, err = process.communicate("".join(f"{line}\n" for line in lines), timeout=PATIENCE_S)
    return Ended(process.returncode, out, err)


class Terminal:
    """A person's terminal in which `inv init` runs."""

    def __init__(self, system: System) -> None:
        self.shown = ""
        self._leader, follower = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, os.ttyname(follower)],
            cwd=PROJECT,
            env=system.environ | {"TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)

    def read_until(self, text: str) -> None:
        """Read until this is shown."""
        begun = len(self.shown)
        deadline_s = time.monotonic() + PATIENCE_S
        while text not in self.shown[begun:] and time.monotonic() < deadline_s and self._read():
            pass
        assert text in self.shown[begun:], self.shown

    def _read(self) -> bool:
        if not select.select([self._leader], [], [], 0.2)[0]:
            return self.process.poll() is None
        with contextlib.suppress(OSError):
            chunk = os.read(self._leader, 65536)
            self.shown += chunk.decode()
            return bool(chunk)
        return False

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def end(self) -> int:
        """Read to the end. Returns the exit code."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self._read() and time.monotonic() < deadline_s:
            pass
        code = self.process.wait(timeout=PATIENCE_S)
        os.close(self._leader)
        return code


def test_a_pipe_of_answers_makes_a_file_that_only_its_owner_can_read(system: System, file: Path) -> None:
    ended = init(system, lines=ANSWERS)
    assert ended.code == 0, ended.out + ended.err
    assert read_values(file.read_text()) == WRITTEN
    assert file.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in ended.out + ended.err
    assert "inv startup" in ended.out


def test_a_password_that_is_an_ordinary_word_is_not_given_away_by_a_question_that_is_masked(
    system: System, file: Path
) -> None:
    password = "secret"  # noqa: S105 - planted; a word of the last question
    ended = init(system, lines=("ann", "", password, "", "", ""))
    assert read_values(file.read_text())["TWS_PASSWORD"] == password
    assert all(question.title in ended.out and question.why in ended.out for question in QUESTIONS), ended.out


def test_a_person_answers_and_the_password_is_never_shown(system: System, file: Path) -> None:
    terminal = Terminal(system)
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
        terminal.read_until(f"[{question.if_unset}] ")
        terminal.type(f"{answer}\n")
    assert terminal.end() == 0, terminal.shown
    assert read_values(file.read_text()) == WRITTEN
    assert PASSWORD not in terminal.shown
    assert "(received, not shown)" in terminal.shown


def test_a_wrong_answer_of_a_person_is_asked_for_again(system: System, file: Path) -> None:
    terminal = Terminal(system)
    terminal.read_until(f"[{QUESTIONS[0].if_unset}] ")
    terminal.type("ann\n")
    terminal.read_until(f"[{QUESTIONS[1].if_unset}] ")
    terminal.type("/no/such/file\n")
    terminal.read_until(f"[{QUESTIONS[1].if_unset}] ")
    assert "TWS_PASSWORD_FILE: names no file that can be read" in terminal.shown
    terminal.type("\x03")
    assert terminal.end() == 1
    assert not file.exists()


@pytest.mark.parametrize("at", range(0, len(QUESTIONS), choose_count(usual=2, thorough=1)))
def test_ctrl_c_at_any_question_writes_nothing_and_gives_the_terminal_back(system: System, file: Path, at: int) -> None:
    terminal = Terminal(system)
    for question, answer in zip(QUESTIONS[: at + 1], (*ANSWERS[:at], "\x03"), strict=True):
        terminal.read_until(f"[{question.if_unset}] ")
        terminal.type(answer if answer == "\x03" else f"{answer}\n")
    terminal.read_until("interrupted")
    assert terminal.end() == 1
    assert not file.exists()
    assert "Traceback" not in terminal.shown


@pytest.mark.parametrize("count", [0, 2, 5])
def test_answers_that_end_early_write_nothing(system: System, file: Path, count: int) -> None:
    ended = init(system, lines=ANSWERS[:count])
    assert ended.code == 1
    assert "the answers ended at" in ended.err
    assert not file.exists()


def test_a_file_of_answers_changes_only_what_it_answers(system: System, file: Path, tmp_path: Path) -> None:
    file.write_text("# mine\nexport TWS_USERID=old # a note\nLOG_KEEP=7\n")
    file.chmod(0o644)
    answers = tmp_path / "answers"
    answers.write_text(f"TWS_USERID=ann\nTWS_PASSWORD_FILE={tmp_path / 'password'}\nGAMEPLAN_PATH=\n")
    (tmp_path / "password").write_text("s3cret\n")
    ended = init(system, "--json", f"--answers={answers}")
    assert ended.code == 0, ended.err
    assert file.read_text() == f"# mine\nTWS_USERID=ann\nLOG_KEEP=7\nTWS_PASSWORD_FILE={tmp_path / 'password'}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    document = ended.document
    assert (document["created"], document["changed"]) == (False, ["TWS_USERID", "TWS_PASSWORD_FILE"])
    again = init(system, "--json", f"--answers={answers}")
    assert (again.code, again.document["changed"]) == (0, [])


def test_a_password_that_is_typed_takes_the_place_of_its_file(system: System, file: Path, tmp_path: Path) -> None:
    file.write_text("TWS_USERID=ann\nTWS_PASSWORD_FILE=/etc/hostname\n")
    answers = tmp_path / "answers"
    answers.write_text("TWS_PASSWORD=new\n")
    assert init(system, f"--answers={answers}").code == 0
    assert read_values(file.read_text()) == {"TWS_USERID": "ann", "TWS_PASSWORD": "new"}


def test_what_is_set_is_kept_by_enter_and_replaced_only_when_that_is_confirmed(system: System, file: Path) -> None:
    before = "TWS_USERID=ann\nTWS_PASSWORD=old\nGAMEPLAN_PATH=plan.json\n"
    file.write_text(before)
    assert init(system, lines=("", "", "", "", "", "")).code == 0
    assert file.read_text() == before
    changed = ("", "", "", "", "other.json", "")
    assert init(system, lines=(*changed, "n")).code == 1
    assert init(system, lines=changed).code == 1, "it was not confirmed"
    assert file.read_text() == before
    assert init(system, lines=(*changed, "y")).code == 0
    assert file.read_text() == before.replace("plan.json", "other.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("GATEWAY_PROT=4002\n", "did you mean GATEWAY_PORT?"),
        ("GATEWAY_PORT=often\nLOG_KEEP=x\n", "LOG_KEEP: 'x' must be a whole number"),
        ("TWS_USERID ann\n", "line 1"),
        (None, "does not exist"),
    ],
)
def test_wrong_answers_are_all_named_and_nothing_is_written(
    system: System, file: Path, tmp_path: Path, text: str | None, said: str
) -> None:
    answers = tmp_path / "answers"
    if text is not None:
        answers.write_text(text)
    ended = init(system, f"--answers={answers}")
    assert ended.code == 1
    assert said in ended.err
    assert not file.exists()


def test_a_channel_is_tried_at_once_and_its_address_is_never_shown(
    system: System, file: Path, tmp_path: Path, channel: LoopbackChannel
) -> None:
    answers = tmp_path / "answers"
    answers.write_text(f"DISCORD_WEBHOOK_URL={channel.address}\n")
    ended = init(system, f"--answers={answers}")
    assert ended.code == 0, ended.err
    assert channel.titles == ["Test alert"]
    assert channel.address not in ended.out + ended.err
    assert read_values(file.read_text()) == {"DISCORD_WEBHOOK_URL": channel.address}
    wait_until(lambda: not list(file.parent.glob(".settings*.tmp")), "no temporary file is left")


def test_an_address_of_another_service_is_one_of_apprises(system: System, file: Path, channel: LoopbackChannel) -> None:
    address = f"json://127.0.0.1:{channel.port}/hook"
    ended = init(system, lines=(*ANSWERS[:-1], address))
    assert ended.code == 0, ended.out + ended.err
    assert read_values(file.read_text()) == {**WRITTEN, "ALERT_URLS": address}
    assert len(channel.received) == 1
    assert init(system, lines=("", "", "", "", "", "-", "y")).code == 0
    assert read_values(file.read_text()) == WRITTEN


def test_an_address_that_no_service_has_is_refused_and_not_shown(system: System, file: Path) -> None:
    ended = init(system, lines=(*ANSWERS[:-1], "ntfyy://token-of-mine/topic"))
    assert ended.code == 1
    assert "did you mean ntfy" in ended.err
    assert "token-of-mine" not in ended.out + ended.err
    assert not file.exists()


def _open(path: Path, monkeypatch: pytest.MonkeyPatch) -> EnvFile:
    monkeypatch.setenv("ENV_FILE", str(path))
    problems: list[str] = []
    file = open_env_file(path.parent, problems)
    assert problems == []
    return file


def test_what_others_changed_while_the_questions_were_answered_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".env"
    for before in (None, "LOG_KEEP=3\n"):
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_text(before)
        first, second = _open(path, monkeypatch), _open(path, monkeypatch)
        second.write({"BOT_COMMAND": "python bot.py"})
        first.write({"TWS_USERID": "ann"})
        assert read_values(path.read_text()) == {
            **read_values(before or ""),
            "BOT_COMMAND": "python bot.py",
            "TWS_USERID": "ann",
        }


def test_a_value_that_was_changed_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    path.write_text("TWS_USERID=ann\n")
    first, second, third = (_open(path, monkeypatch) for _ in range(3))
    second.write({"TWS_USERID": "bob"})
    with pytest.raises(ChangedMeanwhileError, match="TWS_USERID was changed in it meanwhile"):
        first.write({"TWS_USERID": "eve", "LOG_KEEP": "3"})
    assert read_values(path.read_text()) == {"TWS_USERID": "bob"}
    third.write({"TWS_USERID": "bob", "LOG_KEEP": "3"})  # of one mind
    assert read_values(path.read_text()) == {"TWS_USERID": "bob", "LOG_KEEP": "3"}
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ChangedMeanwhileError, match="not UTF-8"):
        third.write({"LOG_KEEP": "4"})
    assert path.read_bytes() == b"\xff\xfe"


def test_the_lines_keep_their_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"# mine\r\nLOG_KEEP=3\r\n")
    _open(path, monkeypatch).write({"LOG_KEEP": "4", "TWS_USERID": "ann"})
    assert path.read_bytes() == b"# mine\r\nLOG_KEEP=4\r\nTWS_USERID=ann\r\n"
