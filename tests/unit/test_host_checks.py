"""What preflight says of the host's own clock."""

import pytest

from orchestration.errors import StepStatus
from orchestration.preflight.host import check_clock
from orchestration.system.commands import CommandNotFoundError, CommandTimedOutError
from tests.fakes.commands import Answer, FakeCommands

_ASKED = ("timedatectl", "show", "--property=NTPSynchronized", "--value")


@pytest.mark.parametrize(
    ("said", "exit_code", "status", "detail", "fix"),
    [
        ("yes\n", 0, StepStatus.OK, "synchronised", ""),
        ("no\n", 0, StepStatus.WARN, "over 60 s of skew lead to Strategy C", "sudo timedatectl set-ntp true"),
        ("no\n", 1, StepStatus.SKIP, "cannot say", ""),
        ("\n", 0, StepStatus.SKIP, "cannot say", ""),
        ("maybe\n", 0, StepStatus.SKIP, "cannot say", ""),
    ],
)
def test_a_clock_that_is_not_synchronised_is_a_warning(
    said: str, exit_code: int, status: StepStatus, detail: str, fix: str
) -> None:
    commands = FakeCommands()
    commands.expect(_ASKED, stdout=said, exit_code=exit_code)
    check = check_clock(commands)
    assert (check.name, check.status, check.fix or "") == ("clock", status, fix)
    assert detail in check.detail


@pytest.mark.parametrize("error", [CommandNotFoundError("no timedatectl"), CommandTimedOutError(_ASKED, 5.0)])
def test_a_host_that_cannot_be_asked_is_left_out(error: Answer) -> None:
    commands = FakeCommands()
    commands.expect(_ASKED, error)
    assert check_clock(commands).status is StepStatus.SKIP
