"""How the end of a bot's container is known."""

from pathlib import Path

import pytest

from orchestration.bot.ending import ContainerEnding
from orchestration.docker import container
from orchestration.docker.container import parse_containers
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands
from tests.unit.bot.test_contained import INSPECT, launch_in, raw, settings_in


@pytest.mark.parametrize(("last_words", "outside_stop"), [(("0",), ""), ((), "ended while the Docker engine was away")])
def test_docker_wait_ends_with_the_exit_code_or_because_the_engine_went_away(
    tmp_path: Path, last_words: tuple[str, ...], outside_stop: str
) -> None:
    settings, clock, commands = settings_in(tmp_path), FakeClock(), FakeCommands()
    (seen,) = parse_containers(raw(settings))
    record = launch_in(settings, process=seen.identity)
    commands.expect_follow(container.wait_argv("c0ffee"))
    commands.expect(INSPECT, stdout=raw(settings, Status="exited", Pid=0, ExitCode=0))
    assert seen.started_at is not None
    commands.expect(container.signals_argv("c0ffee", since=seen.started_at, until=clock.now()))
    ending = ContainerEnding(settings, record, clock=clock, commands=commands)
    with ending.open():
        (waits,) = commands.followed
        if last_words:
            waits.last_words = last_words  # they come while it is being looked at
        else:
            waits.close()
        assert ending.has_come()
    assert (ending.read_exit_code(), ending.describe_outside_stop()) == (0, outside_stop)
