"""A real etcd, and hosts that take part in its lease."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.supervision.lease_keeper import Keeper
from orchestration.system.clock import SystemClock
from tests.hosts.store import Store, read_settings, require_etcd


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    require_etcd()
    one = Store(tmp_path / "etcd")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def make(tmp_path: Path, store: Store) -> Iterator[Callable[..., Keeper]]:
    """Makes another host, without its supervisor."""
    made: list[Keeper] = []

    def make_one(name: str, **further: str) -> Keeper:
        settings = read_settings(tmp_path, store, name, **further)
        keeper = Keeper(settings, clock=SystemClock(), log=logging.getLogger(name), on_change=threading.Event().set)
        made.append(keeper)
        keeper.allow()
        return keeper

    yield make_one
    for keeper in made:
        keeper.release(is_clean=True)
        keeper.close()
