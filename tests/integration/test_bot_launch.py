"""Launching the bot: real processes, real sockets, real signals."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestration.bot.find import FoundBy, find_bot
from orchestration.bot.launch import launch_bot
from orchestration.bot.record import BotRecord, ReadyBy, build_record_path, read_record
from orchestration.bot.stop import stop_bot
from orchestration.errors import FailureWord, InterruptedBySignal, StartupFailure
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.processes import is_running, read_identity
from tests.integration.bot_scene import PROJECT, build_scene, launch, read_children, read_log, wait_until


def _stop(settings: Settings) -> None:
    outcome = stop_bot(settings, find_bot(settings).found, timeout_s=30.0)
    assert outcome.is_gone


def test_a_bot_that_says_ready_is_handed_over_at_once(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--notify", "READY=1\\nSTATUS=all set", BOT_START_GRACE="3600")
    said: list[str] = []
    bot = launch(settings, said.append)
    try:
        assert bot.ready_by is ReadyBy.NOTIFY
        assert bot.status_text == "all set"
        assert "the bot says: all set" in said
        found = find_bot(settings).found
        assert found is not None
        assert (found.pid, found.how) == (bot.pid, FoundBy.RECORDED)
        assert found.record == bot.record == read_record(build_record_path(settings))
        assert bot.record.notify_socket is not None
        assert not bot.record.notify_socket.exists(), "nobody listens any more"
    finally:
        _stop(settings)
    assert find_bot(settings).found is None
    assert read_record(build_record_path(settings)) is None
    assert "leaving in order" in read_log(settings)
