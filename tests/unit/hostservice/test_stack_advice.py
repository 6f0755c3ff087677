"""Advice in a container of the stack names commands that work beside it, on the host."""

from pathlib import Path

import pytest

from orchestration.hostservice.advice import name_stack_commands
from orchestration.settings import Settings

_STACK = {"IN_STACK": "yes", "BOT_CONTAINER_NAME": "b1", "GATEWAY_CONTAINER_NAME": "g1"}

_EXPANDED = (
    "folder. (A plain `docker compose --env-file .env` changes a value that holds a `$`, unless it is in single "
    "quotes; `docker/stack` does not.)"
)


@pytest.mark.parametrize(
    ("advice", "in_stack"),
    [
        ("Fix it, then `inv startup`.", "Fix it, then `docker restart b1`."),
        ("`inv startup --replace`", "`docker restart b1`"),
        ("`sudo .venv/bin/inv shutdown`", "`docker stop b1`"),
        ("`inv bot.stop` or `inv bot.restart`", "`docker stop b1` or `docker exec b1 inv bot.restart`"),
        ("`inv gateway.restart` sends a new one", "`docker restart -t 120 g1` sends a new one"),
        ("`inv gateway.up`, `inv gateway.down`", "`docker start g1`, `docker stop -t 120 g1`"),
        ("`inv logs --of gateway`", "`docker logs g1`"),
        ("`inv logs --of bot -f`", "`docker logs -f b1`"),
        ("`inv logs --of startup`", "`docker logs b1`"),
        ("`inv gameplan.check --path FILE` judges it", "`docker exec b1 inv gameplan.check --path FILE` judges it"),
        (
            "Correct TWS_PASSWORD, then `inv startup`.",
            f"Correct TWS_PASSWORD, then `docker/stack up -d --force-recreate gateway` in the project {_EXPANDED}",
        ),
        ("`inv monitor` starts again.", "`docker/stack up -d monitor` starts again."),
        ("`docker unpause` or `kill -CONT` resumes it", "`docker unpause b1` or `kill -CONT` resumes it"),
        ("`inv shutdown` also stops what still runs.", "`docker/stack stop` also stops what still runs."),
        ("Nothing to do.", "Nothing to do."),
        ("invite `investors`", "invite `investors`"),
    ],
)
def test_an_inv_command_becomes_what_does_the_same_from_outside(tmp_path: Path, advice: str, in_stack: str) -> None:
    assert name_stack_commands(advice, Settings.from_environ(_STACK, project_dir=tmp_path)) == in_stack
    assert name_stack_commands(advice, Settings.from_environ({}, project_dir=tmp_path)) == advice
