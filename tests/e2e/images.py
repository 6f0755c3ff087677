"""The images, built from the project's own files on whatever base image can be had."""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LOCAL_BASE = os.environ.get("TEST_BASE_IMAGE", "zero-touch/base:bookworm-2")
_BUILD_TIMEOUT_S = 300
_WHEELS = Path.home() / ".cache/zero-touch"


class NoImageError(Exception):
    """The image cannot be built here: neither `.ci/engine`'s base image nor the public one can be had."""


@contextlib.contextmanager
def share_image(lease: Path, name: str, build: Callable[[str], str], remove: Callable[[str], None]) -> Iterator[str]:
    """An image that the first of several test processes builds, all of them use, and the last one removes.

    Two locks: one for the process that builds or removes it, which is held for as long as that takes, and a shared one
    for as long as the image is used. With a single lock the second user would wait until the first one no longer needs
    it.

    Args:
        lease: A file that those processes share. It holds the image's tag.
        name: The image's name, without a tag.
        build: Builds it under a tag; called again by each user, for which the build cache has everything.
        remove: Removes it.

    Raises:
        NoImageError: It cannot be built.
    """
    with lease.open("a+", encoding="utf-8") as used, lease.with_name(f"{lease.name}.build").open("w") as building:
        fcntl.flock(building, fcntl.LOCK_EX)
        used.seek(0)
        tag = used.read() or f"zero-touch-test/{name}:{uuid.uuid4().hex[:12]}"
        build(tag)
        used.truncate(0)
        used.write(tag)
        used.flush()
        fcntl.flock(used, fcntl.LOCK_SH)
        fcntl.flock(building, fcntl.LOCK_UN)
        try:
            yield tag
        finally:
            fcntl.flock(building, fcntl.LOCK_EX)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(tag)


def choose_base() -> tuple[str, ...]:
    """The build's argument for the base: the one that `.ci/engine` made, if it is there; else the public default."""
    found = subprocess.run(["docker", "image", "inspect", LOCAL_BASE], capture_output=True, timeout=60, check=False)
    return ("--build-arg", f"BASE_IMAGE={LOCAL_BASE}") if found.returncode == 0 else ()


def build_simulator_image(tag: str, *, dockerfile: str = "docker/simulator/Dockerfile") -> str:
    """Build it under this tag, which is returned.

    Raises:
        NoImageError: It cannot be built.
    """
    return _build(tag, "--file", dockerfile, ".")


def build_vendor_image(tag: str, *, base: str) -> str:
    """Build the vendor-like gateway on the simulator's image, which is `base`; returns the tag.

    Raises:
        NoImageError: It cannot be built.
    """
    return _build(tag, "--build-arg", f"BASE_IMAGE={base}", "tests/e2e/vendor", base=())


def build_bot_image(tag: str) -> str:
    """Build the bot's image under this tag, which is returned, from wheels that are kept between runs.

    Raises:
        NoImageError: It cannot be built.
    """
    looked = subprocess.run(
        ["docker", "run", "--rm", LOCAL_BASE, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # The public base, where there is no other, finds an index by itself or not.
    version = looked.stdout.strip() if looked.returncode == 0 else ""
    wheels = _fetch_wheels(version) if version else _WHEELS / "none"
    wheels.mkdir(parents=True, exist_ok=True)
    return _build(tag, "--file", "docker/bot/Dockerfile", "--build-context", f"wheels={wheels}", ".")


def build_from_recipe(tag: str, recipe: str, folder: Path) -> None:
    """Build an image from the text of a Dockerfile alone, in a new folder.

    Given the text on standard input, `docker build -` leaves two folders in the system's temporary folder each time.

    Raises:
        NoImageError: It cannot be built.
    """
    folder.mkdir()
    (folder / "Dockerfile").write_text(recipe, encoding="utf-8")
    _build(tag, str(folder), base=())


def _fetch_wheels(version: str) -> Path:
    """The bot's requirements as wheels for this Python, in a folder that appears as a whole."""
    wanted = PROJECT / "docker/bot/requirements.txt"
    folder = _WHEELS / f"bot-wheels-{hashlib.sha256(wanted.read_bytes() + version.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    _WHEELS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_WHEELS) as made:
        fetched = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:"),
                *("--python-version", version, "--dest", made, "-r", str(wanted)),
            ],
            capture_output=True,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
        if fetched.returncode != 0:
            raise NoImageError(f"the bot's wheels cannot be fetched: {fetched.stderr.strip()[-400:]}")
        with contextlib.suppress(OSError):  # another run was quicker
            Path(made).rename(folder)
    return folder


def _build(tag: str, *arguments: str, base: tuple[str, ...] | None = None) -> str:
    argv = ["docker", "build", "--quiet", "--tag", tag, *(choose_base() if base is None else base), *arguments]
    built = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False)
    if built.returncode != 0:
        raise NoImageError(f"{' '.join(argv)}: {built.stderr.strip()[-400:]}; .ci/engine makes a base image")
    return tag
