"""Making a release: its files, its environment, its shared files. All of it as the service's user.

Nothing here touches what runs. What is cut off half-way lacks its record, is no release, and is cleared away by the
next deploy.
"""

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestration.deploy.on_host.base import RELEASE_FILE, Layout, read_json, refuse, run, say
from orchestration.deploy.on_host.look import read_releases
from orchestration.system.files import write_atomic

_UNPACK_TIMEOUT_S = 600
_BUILD_TIMEOUT_S = 1800
_COMPILE_TIMEOUT_S = 300
_ENVIRONMENT_FILE = ".environment.json"
_LINKS = {".env": "../../shared/.env", "state": "../../shared/state", "logs": "../../shared/logs"}


def ensure_folders(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Make the folders under the base, and clear away what earlier deploys left half-made."""
    layout = Layout(Path(arguments["base"]))
    for folder in (layout.releases, layout.environments, layout.shared):
        folder.mkdir(exist_ok=True)
    for folder in (layout.shared / "state", layout.shared / "logs"):
        folder.mkdir(mode=0o700, exist_ok=True)
    layout.env_new.unlink(missing_ok=True)
    cleared = [one["name"] for one in read_releases(layout) if not one["complete"]]
    for name in cleared:
        shutil.rmtree(layout.release(name), ignore_errors=True)  # the interrupted build may still write there
    for folder in list(layout.environments.iterdir()):
        if not (folder / _ENVIRONMENT_FILE).is_file():
            _clear_environment(folder)
    return {"cleared": cleared}


def _clear_environment(folder: Path) -> None:
    """Remove an environment that was never finished; the interrupted build may still write there.

    It loses its name first: who is still at it can no longer declare it whole (see `build`).
    """
    doomed = folder.with_name(f".gone-{os.getpid()}-{folder.name}"[:200])
    with contextlib.suppress(OSError):
        folder.rename(doomed)
        folder = doomed
    shutil.rmtree(folder, ignore_errors=True)


def unpack(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Unpack the archive on standard input into a new release's folder, and link the shared files into it.

    Args:
        arguments: `base`, `name`, and `folder`: where in the release; empty for the release itself.
    """
    layout = Layout(Path(arguments["base"]))
    folder = layout.release(arguments["name"]) / arguments.get("folder", "")
    folder.mkdir(exist_ok=bool(arguments.get("folder")))
    if not arguments.get("folder"):
        for name, target in _LINKS.items():
            (folder / name).symlink_to(target)
    ended = run(("tar", "--extract", "--gzip", "--directory", folder), stdin=0, timeout_s=_UNPACK_TIMEOUT_S)
    if not ended.ok:
        refuse(
            "the upload could not be unpacked",
            "Is the disk full? `df -h` there; then deploy again.",
            (*ended.last_lines(), describe_room(folder)),
        )
    return {}


def compare_env(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the settings on standard input differ from the current ones."""
    layout = Layout(Path(arguments["base"]))
    return {"changed": _differs(layout, read_input(int(arguments["length"])))}


def put_env(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Put the settings on standard input beside the current ones. Never readable by others, not even for a moment."""
    layout = Layout(Path(arguments["base"]))
    content = read_input(int(arguments["length"]))
    changed = _differs(layout, content)
    layout.env_new.unlink(missing_ok=True)
    if changed:
        write_atomic(layout.env_new, content, mode=0o600)
    return {"changed": changed}


def _differs(layout: Layout, content: bytes) -> bool:
    try:
        return layout.env.read_bytes() != content
    except OSError:
        return True


def build(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give the release its Python environment: one that has these very requirements, or a new one.

    Args:
        arguments: `base`, `name`; `wheels` if the packages lie in the release's folder `.wheels`; `only_found` if no
            new one is to be made.

    Returns:
        `found`: whether there was one.
    """
    layout = Layout(Path(arguments["base"]))
    release = layout.release(arguments["name"])
    requirements = release / "requirements.txt"
    version = ".".join(str(part) for part in sys.version_info[:3])
    key = hashlib.sha256(requirements.read_bytes() + version.encode()).hexdigest()[:16]
    found = next((one for one in layout.environments.glob(f"{key}_*") if (one / _ENVIRONMENT_FILE).is_file()), None)
    if found is None and arguments.get("only_found"):
        return {"found": False}
    environment = found or layout.environments / f"{key}_{release.name}"
    if found is None:
        _install(environment, requirements, release / ".wheels" if arguments.get("wheels") else None)
        if not release.is_dir():  # the next deploy has cleared it away, and may have begun to clear this away
            refuse("another deploy has taken over", "Nothing: this one was cut off before.")
        write_atomic(environment / _ENVIRONMENT_FILE, b"{}\n", mode=0o644)
    (release / ".venv").symlink_to(os.path.relpath(environment, release))
    shutil.rmtree(release / ".wheels", ignore_errors=True)
    # All of it, the bot's too, wherever in the release it lies; links (`.venv`, `state`, `logs`) are not followed.
    compiled = run(
        (release / ".venv/bin/python", "-m", "compileall", "-q", "."), cwd=release, timeout_s=_COMPILE_TIMEOUT_S
    )
    if not compiled.ok:
        refuse(
            "the release has Python that cannot be compiled",
            "Correct it, commit, and deploy again.",
            compiled.last_lines(),
        )
    return {"found": found is not None}


def seal(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write the release's record: from here on it is one."""
    import json

    release = Layout(Path(arguments["base"])).release(arguments["name"])
    record = {name: arguments[name] for name in ("name", "commit", "gateway", "files")}
    write_atomic(release / RELEASE_FILE, json.dumps(record).encode(), mode=0o644)
    return {}


def discard(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a release that came to nothing, and settings that came with it; never one that is whole."""
    layout = Layout(Path(arguments["base"]))
    release = layout.release(arguments["name"])
    layout.env_new.unlink(missing_ok=True)
    if not read_json(release / RELEASE_FILE):
        shutil.rmtree(release, ignore_errors=True)
    return {}


def prune(layout: Layout, *, keep: int) -> list[str]:
    """Remove all but the newest releases, never the current one, and environments that no release uses.

    Those that were found good stay before those that were not: however many tries failed, there is a way back.
    """
    current = layout.read_current()
    releases = read_releases(layout)
    ranked = sorted(releases, key=lambda one: (one["name"] == current, one["verified"], one["name"]), reverse=True)
    kept = {one["name"] for one in ranked[:keep]}
    gone = [one["name"] for one in releases if one["name"] not in kept]
    for name in gone:
        shutil.rmtree(layout.release(name), ignore_errors=True)
    used = {(layout.release(name) / ".venv").resolve() for name in kept}
    for folder in list(layout.environments.iterdir()):
        if folder.resolve() not in used:
            shutil.rmtree(folder, ignore_errors=True)
    return gone


def read_input(length: int) -> bytes:
    """So many bytes of standard input.

    Raises:
        RefusedError: There were fewer: the connection was cut.
    """
    content = b""
    while len(content) < length:
        piece = os.read(0, length - len(content))
        if not piece:
            refuse("the upload was cut off", "Deploy again.")
        content += piece
    return content


def describe_room(path: Path) -> str:
    """What is left on a path's disk: not every program says that it is full."""
    found = os.statvfs(path)
    files = f", {found.f_favail} files" if found.f_files else ""
    return f"left on its disk: {found.f_bavail * found.f_frsize // 1024**2} MiB{files}"


def _install(environment: Path, requirements: Path, wheels: Path | None) -> None:
    say("a new environment: the requirements have changed, or this is the first release")
    made = run((sys.executable, "-m", "venv", environment), timeout_s=_BUILD_TIMEOUT_S)
    if not made.ok:
        refuse(
            "the release's environment cannot be made",
            "Is there room left? Else: fab -H HOST provision",
            (*made.last_lines(), describe_room(requirements)),
        )
    source = ("--no-index", "--find-links", wheels) if wheels is not None else ()
    argv = (environment / "bin/python", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet")
    installed = run((*argv, "--require-hashes", *source, "-r", requirements), timeout_s=_BUILD_TIMEOUT_S)
    if not installed.ok:
        refuse(
            "the requirements could not be installed",
            "Correct requirements.txt (or the folder of wheels), commit, and deploy again.",
            (*installed.last_lines(), describe_room(requirements)),
        )
