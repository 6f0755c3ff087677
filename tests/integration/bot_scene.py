"""What the bot's integration tests share: settings for a scene of their own, and waiting for a condition."""

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from orchestration.bot.launch import BotRunning, LaunchRequest, launch_bot
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.endpoint import Endpoint

BOT = Path(__file__).parents[1] / "fixtures" / "bots" / "bot.py"
PROJECT = Path(__file__).parents[2]
_PATIENCE_S = 60.0


def build_scene(folder: Path, *arguments: str, command: str = "", **variables: str) -> Settings:
    """Settings with their own folders. The bot is the test bot with `arguments`, unless there is a `command`."""
    (folder / "work").mkdir(parents=True, exist_ok=True)
    named = {
        "BOT_COMMAND": command or " ".join([sys.executable, str(BOT), *(f"'{word}'" for word in arguments)]),
        "BOT_WORKDIR": str(folder / "work"),
        "STATE_DIR": str(folder / "state"),
        "LOG_DIR": str(folder / "logs"),
        "BOT_START_GRACE": "30",
        "STRATEGY_C_BOT": "trusted",  # there is no gateway in these scenes
        **variables,
    }
    inherited = {name: value for name, value in os.environ.items() if name not in {"INSTANCE", "BOT_RECORD"}}
    return Settings.from_environ({**inherited, **named}, project_dir=folder)


def launch(
    settings: Settings,
    progress: Callable[[str], None] = lambda _: None,
    before_start: Callable[[], None] = lambda: None,
    *,
    supervised: bool = False,
) -> BotRunning:
    return launch_bot(
        settings,
        LaunchRequest(
            clock=SystemClock(),
            run_id="run-1",
            gateway=Endpoint(host="127.0.0.1", port=4002),
            gameplan=settings.state_dir / "plan.json",
            strategy="C",
            sha256="0" * 64,
            supervised=supervised,
            on_progress=progress,
            before_start=before_start,
        ),
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(0.02)


def read_log(settings: Settings) -> str:
    return "".join(log.read_text(encoding="utf-8") for log in sorted(settings.log_dir.glob("bot_*.log")))


def read_children(settings: Settings) -> list[int]:
    """The pids of the children that the test bot said it had started."""
    return [int(line.split()[1]) for line in read_log(settings).splitlines() if line.startswith("CHILD ")]


NOW = datetime(2026, 11, 18, 14, 0, tzinfo=UTC)
