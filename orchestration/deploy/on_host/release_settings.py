"""The settings of releases that are not current: what `.env` held when each was last in use, for a rollback to it.

The current release's settings are `.env` itself. All of it is done as the service's user.
"""

import re
from contextlib import suppress

from orchestration.deploy.on_host.base import Layout
from orchestration.system.files import write_atomic

SETTINGS_FILE = ".env.release"  # in the release's folder, so that it goes when the release is pruned
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


def save_settings(layout: Layout, name: str) -> None:
    """Keep `.env` as the settings of a release that is about to be replaced."""
    with suppress(FileNotFoundError):
        write_atomic(layout.release(name) / SETTINGS_FILE, layout.env.read_bytes(), mode=0o600)


def adopt_interrupted(layout: Layout, name: str) -> bool:
    """Keep the settings that an interrupted trial replaced as those of the release before it.

    Returns:
        Whether there were any.
    """
    if not layout.env_previous.exists():
        return False
    if name and layout.release(name).is_dir():
        layout.env_previous.rename(layout.release(name) / SETTINGS_FILE)
        return True
    layout.env_previous.unlink()
    return False


def stage_settings(layout: Layout, name: str) -> None:
    """Put a release's own settings beside the current ones, if they differ: its trial and its switch take them."""
    layout.env_new.unlink(missing_ok=True)
    content = read_settings(layout, name)
    if content is not None and content != _read_env(layout):
        write_atomic(layout.env_new, content, mode=0o600)


def restore_settings(layout: Layout, name: str) -> None:
    """Make a release's own settings the current ones, where they are known."""
    content = read_settings(layout, name)
    if content is not None and content != _read_env(layout):
        write_atomic(layout.env, content, mode=0o600)


def read_settings(layout: Layout, name: str) -> bytes | None:
    """A release's own settings; None where they are not known, which is so for the current one."""
    try:
        return (layout.release(name) / SETTINGS_FILE).read_bytes()
    except OSError:
        return None


def _read_env(layout: Layout) -> bytes:
    try:
        return layout.env.read_bytes()
    except OSError:
        return b""


def describe_settings(layout: Layout, name: str) -> str:
    """What a rollback to a release does to the settings: names of variables only, never a value."""
    content = read_settings(layout, name)
    if name == layout.read_current():
        return ""
    if content is None:
        return "with the present settings: those it ran with are not known"
    names = find_changed_names(_read_env(layout).decode(errors="replace"), content.decode(errors="replace"))
    if content == _read_env(layout):
        return ""
    return f"with the settings it ran with before (changed: {', '.join(names)})" if names else "with its own settings"


def find_changed_names(before: str, after: str) -> list[str]:
    """The variables that two texts of settings give different values, sorted."""
    old, new = _parse(before), _parse(after)
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _parse(text: str) -> dict[str, str]:
    """Names and raw values. What stands in quotes over several lines is a value, whatever its lines look like."""
    found: dict[str, str] = {}
    name = quote = ""
    for line in text.splitlines():
        if quote:
            found[name] += f"\n{line}"
            quote = "" if quote in line else quote
        elif match := _ASSIGNMENT.match(line):
            name, value = match.groups()
            found[name] = value
            opened = value[:1] if value[:1] in {"'", '"'} else ""
            quote = opened if opened and opened not in value[1:] else ""
    return found
