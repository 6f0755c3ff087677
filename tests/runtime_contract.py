"""What every runtime keeps, the fake included. Each function is given a runtime whose gateway does not run."""

import time
from collections.abc import Callable

from orchestration.docker.container import ContainerState
from orchestration.gateway.runtime import Runtime

_PATIENCE_S = 30.0


def check_starting(runtime: Runtime) -> None:
    """A start converges: it changes something once, and then nothing."""
    progress: list[str] = []
    assert not runtime.probe().is_up
    assert runtime.ensure_started(on_progress=progress.append)
    assert progress
    first = runtime.probe()
    assert first.is_up
    assert first.id
    assert not runtime.ensure_started(on_progress=progress.append)
    assert runtime.probe().start == first.start, "one start has one name, however often it is looked at"


def check_restarting(runtime: Runtime) -> None:
    """A restart is a new start."""
    runtime.ensure_started(on_progress=_ignore)
    first = runtime.probe()
    runtime.restart()
    again = runtime.probe()
    assert again.is_up
    assert again.start != first.start
    assert again.started_at is not None
    assert first.started_at is not None
    assert again.started_at > first.started_at


def check_stopping(runtime: Runtime) -> None:
    """A stop stops, twice is no error, and a start starts again."""
    runtime.ensure_started(on_progress=_ignore)
    runtime.stop(timeout_s=10.0)
    assert runtime.probe().state in {ContainerState.EXITED, ContainerState.MISSING}
    runtime.stop(timeout_s=10.0)
    assert runtime.ensure_started(on_progress=_ignore)
    assert runtime.probe().is_up


def check_following(runtime: Runtime, say: Callable[[], None]) -> None:
    """A log is handed on from its beginning, and a follower ends when it is closed, twice if need be."""
    runtime.ensure_started(on_progress=_ignore)
    say()
    heard: list[str] = []
    following = runtime.follow_log(heard.append, since=runtime.probe().log_since)
    deadline_s = time.monotonic() + _PATIENCE_S
    while not heard:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    following.close()
    following.close()
    assert not following.is_running
    assert runtime.read_log(lines=200)
    watching = runtime.watch(lambda: None)
    watching.close()


def _ignore(text: str) -> None:
    del text
