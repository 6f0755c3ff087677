"""The preflight's row about secrets that a plain `docker compose --env-file` reads otherwise (K4)."""

import re
import shlex
from pathlib import Path

import pytest

from orchestration.errors import Check, StepStatus
from orchestration.preflight.host import check_env_file, check_env_notation
from orchestration.settings import Settings


def check(folder: Path, text: str) -> list[Check]:
    (folder / ".env").write_text(text, encoding="utf-8")
    return list(check_env_notation(Settings.from_environ({}, project_dir=folder)))


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("TWS_PASSWORD=pa$w0rd#1", "Write TWS_PASSWORD='…' in single quotes."),
        ('TWS_PASSWORD="pa$w0rd"', "Write TWS_PASSWORD='…' in single quotes."),
        ("TWS_PASSWORD=it's$w0rd", "Write TWS_PASSWORD='…' in single quotes, each ' in it as \\'."),
        ("TWS_PASSWORD='a\\\\'", 'Write TWS_PASSWORD="…", each \\ in it as \\\\ and each " as \\".'),
        (
            'TWS_PASSWORD="$w0rd\\\\"',
            "Use `docker/stack` only: no notation of TWS_PASSWORD's value is read alike by Compose.",
        ),
        ("TWS_PASSWORD= # to come", "Write TWS_PASSWORD= alone, without a comment behind it."),
        ("VNC_SERVER_PASSWORD=$w0rd", "Write VNC_SERVER_PASSWORD='…' in single quotes."),
        ("TWS_USERID=ann$w0rd", "Write TWS_USERID='…' in single quotes."),
    ],
)
def test_the_row_names_the_variable_its_line_and_what_to_write_and_no_piece_of_it(
    tmp_path: Path, line: str, fix: str
) -> None:
    (row,) = check(tmp_path, f"TRADING_MODE=paper\n{line}\n")
    assert row.status is StepStatus.WARN
    assert f"{line.partition('=')[0]} (line 2)" in row.detail
    assert row.fix == fix
    assert "w0rd" not in row.detail + row.fix


@pytest.mark.parametrize(
    "line",
    [
        "TWS_PASSWORD='pa$w0rd#1'",
        "TWS_PASSWORD=pass#1{%}",
        "TWS_PASSWORD=a$",
        "BOT_COMMAND=sh -c 'echo $HOME'",  # goes to no container
        "TWS_PASSWORD=$old\nTWS_PASSWORD='$new'",
        "",
    ],
)
def test_there_is_no_row_where_both_read_alike(tmp_path: Path, line: str) -> None:
    assert check(tmp_path, f"{line}\n") == []


def test_commands_in_rows_about_the_file_work_as_they_stand_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "it's a $folder"
    folder.mkdir()
    (row,) = check(folder, "TWS_PASSWORD=pa$w0rd#1\n")
    (folder / ".env").chmod(0o644)
    readable = check_env_file(Settings.from_environ({}, project_dir=folder))

    for text in (row.detail, readable.fix):
        (command,) = re.findall(r"`((?:docker compose|chmod) .*?\.env'?)`", text)
        assert shlex.split(command)[-1] == str(folder / ".env")
