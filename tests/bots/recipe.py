"""The recipes of a page: the commands, the files and the settings that it tells its reader to write."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.system import PROJECT

PAGE = PROJECT / "docs/how-to/run-a-bot-from-pypi.md"
_SECTION = re.compile(r"^## (\S+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^In `([^`]+)`:\n\n```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SETTINGS = ".env"
_HOW_TO = PROJECT / "docs/how-to/connect-your-bot.md"
_INSTALL = re.compile(r"`(\S+/pip install \.)` from this folder")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a page tells its reader to do for one bot.

    Attributes:
        name: The bot's.
        commands: The lines for a shell.
        files: The bot's own files, by the path that the page names.
        settings: The lines of `.env`.
    """

    name: str
    commands: tuple[str, ...]
    files: dict[str, str]
    settings: str

    @property
    def program(self) -> str:
        """What the bot is called in reports: the script, or the program."""
        words = next(line for line in self.settings.splitlines() if line.startswith("BOT_COMMAND=")).split()
        return next((word for word in words if word.endswith(".py")), Path(words[0].partition("=")[2]).name)

    def describe(self) -> str:
        """How much a reader writes, counted."""
        own = "".join(self.files.values()).splitlines()
        adapted = sum("GATEWAY_" in line for line in own)
        settings = len(self.settings.splitlines())
        return (
            f"{len(self.commands)} commands, {settings} lines of .env, {sum(bool(line) for line in own)} lines of the "
            f"bot's own files, {adapted} of them for the gateway's address"
        )


def read_recipes(page: Path = PAGE) -> dict[str, Recipe]:
    """Every recipe of the page, by the bot's name."""
    return {name: _read_recipe(name, text) for name, text in _SECTION.findall(page.read_text(encoding="utf-8"))}


def _read_recipe(name: str, text: str) -> Recipe:
    files = dict(_FILE.findall(text))
    commands = _COMMANDS.findall(_FILE.sub("", text))
    return Recipe(
        name=name,
        commands=tuple("".join(commands).splitlines()),
        settings=files.pop(_SETTINGS),
        files=files,
    )


@dataclass(frozen=True, kw_only=True)
class Connecting:
    """What the how-to "connect your bot" has its reader add to a script.

    Attributes:
        install: The command that puts this project into the bot's own environment.
        check: The lines that refuse the wrong moment.
        ready: The lines that say that the bot is ready.
    """

    install: str
    check: str
    ready: str


def read_connecting(page: Path = _HOW_TO) -> Connecting:
    """The lines of that page.

    Raises:
        ValueError: The page has others now.
    """
    text = page.read_text(encoding="utf-8")
    install = _INSTALL.search(text)
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    check = next((block for block in blocks if "check_or_exit()" in block), "")
    ready = next((block for block in blocks if "READY=1" in block), "")
    call = re.search(r"^ +(given = check_or_exit\(\)).*$", check, re.MULTILINE)
    imported = re.search(r"^from orchestration.*$", check, re.MULTILINE)
    if install is None or call is None or imported is None or not ready:
        raise ValueError(f"{page} no longer says how to install, check and be ready")
    return Connecting(install=install[1], check=f"{imported[0]}\n\n{call[1]}\n", ready=ready)
