"""A disk that is full, or may not be written to: a known end, no bot, and the alert still leaves."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.alerts_scene import run_channel
from tests.integration.simulated_gateway import simulated_gateway
from tests.system import System

needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a file system needs root")


@contextlib.contextmanager
def small_disk(folder: Path, *, free_bytes: int) -> Iterator[Path]:
    """A file system of 256 KiB with only this much free."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(folder)], check=True)
    try:
        filler = folder / "filler"
        filler.write_bytes(b"\0" * (256 * 1024 - free_bytes))
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@needs_root
def test_a_full_state_disk_ends_in_strategy_c_failed_without_a_bot_and_is_alerted(system: System) -> None:
    system.use_small_bot("--ready")
    with small_disk(system.state, free_bytes=0), run_channel() as channel:
        system.environ["DISCORD_WEBHOOK_URL"] = channel.address
        started = system.startup()
        assert started.code == 1, started.err
        assert started.document["failure"] == "STRATEGY_C_FAILED"
        assert system.bots() == []
        assert [title for title in channel.titles if "STRATEGY_C_FAILED" in title]


@needs_root
def test_a_full_state_disk_does_not_let_an_unchecked_plan_through(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    with small_disk(system.state, free_bytes=0):
        started = system.startup()
        assert started.code == 1, started.err
        assert system.bots() == []


@needs_root
def test_a_full_log_disk_stops_no_start(system: System) -> None:
    system.use_small_bot(code="import time; time.sleep(600)")
    system.use_plan()
    with simulated_gateway() as gateway, small_disk(system.logs, free_bytes=0):
        system.environ |= {"GATEWAY_RUNTIME": "external", "GATEWAY_PORT": str(gateway.port)}
        started = system.startup()
        assert started.code == 0, started.err  # what the bot writes is lost, and so are our own lines
        assert len(system.bots()) == 1
        assert system.inv("shutdown").code == 0


@needs_root
@pytest.mark.parametrize(("flags", "code"), [((), 1), (("--foreground",), 1), (("--service",), 78)])
def test_a_state_folder_that_may_not_be_written_is_said_at_once_and_alerted(
    system: System, flags: tuple[str, ...], code: int
) -> None:
    system.use_small_bot("--ready")
    system.state.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(system.state)], check=True)
    try:
        with run_channel() as channel:
            system.environ["DISCORD_WEBHOOK_URL"] = channel.address
            started = system.startup(*flags)
        assert started.code == code, started.err
        assert started.document["failure"] == "CONFIG_INVALID"
        assert "STATE_DIR" in started.document["message"]
        assert [title for title in channel.titles if "CONFIG_INVALID" in title]
    finally:
        subprocess.run(["umount", "-l", str(system.state)], check=True)


@pytest.mark.parametrize(("flag", "code"), [("--foreground", 1), ("--service", 78)])
def test_a_supervisor_whose_own_lock_cannot_be_opened_starts_no_bot(system: System, flag: str, code: int) -> None:
    system.use_small_bot("--ready")
    (system.state / "supervisor.lock").mkdir(parents=True)
    with run_channel() as channel:
        system.environ["DISCORD_WEBHOOK_URL"] = channel.address
        started = system.startup(flag)
    assert started.code == code, started.err
    assert started.document["failure"] == "CONFIG_INVALID"
    assert "supervisor.lock" in started.document["message"]
    assert system.bots() == []
    assert [title for title in channel.titles if "CONFIG_INVALID" in title]


def test_a_log_folder_that_cannot_be_is_found_before_the_login(system: System) -> None:
    file = system.root / "a-file"
    file.touch()
    system.environ["LOG_DIR"] = str(file)
    looked = system.inv("preflight", "--json")
    assert looked.code == 1
    assert [one["name"] for one in looked.document["checks"] if one["status"] == "fail"] == ["log folder"]
    started = system.startup()
    assert started.document["failure"] == "CONFIG_INVALID"
    assert "LOG_DIR" in started.document["message"]
    assert system.processes() == []
