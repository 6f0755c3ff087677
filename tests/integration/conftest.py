"""A whole system for each test that asks for one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.alerts_scene import LoopbackChannel, run_channel
from tests.system import System, system_in


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """An instance of its own, on the built-in gateway; whatever it started is ended after the test."""
    with system_in(tmp_path / "system") as made:
        yield made


@pytest.fixture
def channel() -> Iterator[LoopbackChannel]:
    with run_channel() as made:
        yield made


@pytest.fixture
def watched(system: System, channel: LoopbackChannel) -> System:
    """A system that looks often, whose alerts arrive at the channel."""
    system.use_small_bot("--ready")
    system.use_plan()
    system.environ |= {
        "DISCORD_WEBHOOK_URL": channel.address,
        "MONITOR_INTERVAL": "2",
        "GATEWAY_HEALTH_TIMEOUT": "15",
        "HEALTH_CHECK_TIMEOUT": "2",
    }
    return system


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop of this thread, which `ib_async` looks for."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()
