"""What a start says of a program: its name, and whether it ended for not knowing our arguments."""

import pytest

from orchestration.bot.command_line import name_program
from orchestration.bot.up import rejects_arguments


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (
            ("/venv/bin/python", "-m", "orchestration.bot.reference", "--gateway-port", "4002"),
            "the built-in reference bot",
        ),
        (("/venv/bin/python3.11", "-u", "-m", "my_bot.main"), "my_bot.main"),
        (("python3", "/home/ann/bot.py", "--key", "s3cret"), "bot.py"),
        (("env", "A=1", "/home/ann/.local/bin/thetagang", "--config", "x"), "thetagang"),
        (("sh", "-c", "exec my-bot"), "sh"),
        (("zero-touch/bot:latest", "--gateway-port"), "bot:latest"),
        ((), ""),
    ],
)
def test_a_program_is_named_without_its_folder_and_its_arguments(argv: tuple[str, ...], name: str) -> None:
    assert name_program(argv) == name


@pytest.mark.parametrize(
    ("exit_code", "line", "rejects"),
    [
        (2, "bot.py: error: unrecognized arguments: --gateway-host 127.0.0.1", True),
        (2, "Error: No such option: --gateway-host Did you mean --gateway?", True),
        (1, "unknown flag: --gameplan", True),
        (2, "flag provided but not defined: -gateway-host", True),
        (64, "unknown option", True),
        (2, "Got unexpected extra argument (127.0.0.1)", True),
        (1, "no licence for the gameplan", False),
        (2, "cannot read --gameplan /x: No such file", False),
        (0, "unknown option --gameplan", False),
        (1, "unknown option of the market", False),
    ],
)
def test_who_does_not_know_our_arguments_is_told_by_exit_code_and_words(
    exit_code: int, line: str, *, rejects: bool
) -> None:
    assert rejects_arguments(exit_code, ("Usage: bot [OPTIONS]", line)) is rejects
