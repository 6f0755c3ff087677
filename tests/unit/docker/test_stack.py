"""`docker/stack`: what is handed to Compose, and how."""

import os
from pathlib import Path

import pytest

from orchestration.commands.stack import STACK_FILE, StackError, build_argv, build_environ, take_env_file


@pytest.mark.parametrize(
    ("given", "run"),
    [
        ("up -d", f"--file {STACK_FILE} up -d"),
        ("logs -f bot", f"--file {STACK_FILE} logs -f bot"),  # its own -f is not Compose's
        ("-f docker/gateway/docker-compose.yml up -d", "-f docker/gateway/docker-compose.yml up -d"),
        ("--file=x.yml --profile -f ps", "--file=x.yml --profile -f ps"),
        ("--profile -f ps", f"--file {STACK_FILE} --profile -f ps"),
        ("", f"--file {STACK_FILE}"),
    ],
)
def test_compose_gets_the_arguments_the_stacks_file_and_never_a_file_of_settings(given: str, run: str) -> None:
    assert " ".join(build_argv(given.split())) == f"docker compose --env-file {os.devnull} {run}".rstrip()


@pytest.mark.parametrize(
    ("given", "left", "file"),
    [
        ("up -d", "up -d", None),
        ("--env-file /x/.env up -d", "up -d", "/x/.env"),
        ("--env-file=/x/.env -f y.yml up", "-f y.yml up", "/x/.env"),
        ("run --env-file /x/.env bot", "run --env-file /x/.env bot", None),  # an option of `run`
    ],
)
def test_the_file_of_settings_is_read_by_this_program(given: str, left: str, file: str | None) -> None:
    environ: dict[str, str] = {}
    assert " ".join(take_env_file(given.split(), environ)) == left
    assert environ.get("ENV_FILE") == file


@pytest.mark.parametrize("given", ["--env-file a --env-file b up", "--env-file"])
def test_a_file_that_is_missing_or_one_too_many_is_refused(given: str) -> None:
    with pytest.raises(StackError, match="--env-file"):
        take_env_file(given.split(), {})


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("TWS_PASSWORD=pa$w0rd#1", "pa$w0rd#1"),
        ("TWS_PASSWORD='pa$w0rd #1'", "pa$w0rd #1"),
        ('TWS_PASSWORD="a\\"b"', 'a"b'),
        ("TWS_PASSWORD=' a '", " a "),
        ("TWS_PASSWORD=${HOME}%{x}", "${HOME}%{x}"),
        ("TWS_PASSWORD_FILE=secret", "from a $file"),
    ],
)
def test_every_setting_is_handed_on_as_it_stands_in_the_file(tmp_path: Path, line: str, password: str) -> None:
    (tmp_path / ".env").write_text(f"{line}\nSTACK_GAMEPLAN_DIR=/plans\nGATEWAY_PORT=4711\n", encoding="utf-8")
    (tmp_path / "secret").write_text("from a $file\n", encoding="utf-8")
    found = build_environ({"GATEWAY_PORT": "4712", "DOCKER_SOCKET": "/none"}, tmp_path)

    assert found["TWS_PASSWORD"] == password
    assert found["STACK_GAMEPLAN_DIR"] == "/plans"
    assert "GATEWAY_PORT" not in found, "the environment goes before the file"
    assert "DOCKER_GID" not in found


@pytest.mark.parametrize(
    ("environ", "socket"),
    [
        ({}, "/run/user/1000/docker.sock"),
        ({"DOCKER_HOST": "unix:///elsewhere"}, "/elsewhere"),
        ({"DOCKER_SOCKET": "/none"}, "/none"),
        ({"DOCKER_HOST": "tcp://rack:2376"}, "/var/run/docker.sock"),
    ],
)
def test_the_monitor_gets_the_socket_of_the_engine_that_is_meant(
    tmp_path: Path, environ: dict[str, str], socket: str
) -> None:
    rootless = "unix:///run/user/1000/docker.sock"
    assert build_environ(environ, tmp_path, find_context_host=lambda: rootless)["DOCKER_SOCKET"] == socket


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("TWS_PASSWORD='half\n", "line 1"),
        ('DISCORD_WEBHOOK_URL="https://x/it\'s"\n', "DISCORD_WEBHOOK_URL: a quote"),
        ("TWS_PASSWORD=a\nTWS_PASSWORD_FILE=b\n", "both set"),
    ],
)
def test_what_cannot_be_handed_on_is_refused_without_a_piece_of_it(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / ".env").write_text(content, encoding="utf-8")
    with pytest.raises(StackError, match=problem) as refusal:
        build_environ({}, tmp_path)
    assert "half" not in str(refusal.value)
    assert "https" not in str(refusal.value)
