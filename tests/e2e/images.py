"""The simulator's image, built from the project's own files on whatever base image can be had."""

import os
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LOCAL_BASE = os.environ.get("TEST_BASE_IMAGE", "zero-touch/base:bookworm")
_BUILD_TIMEOUT_S = 300


class NoImageError(Exception):
    """The image cannot be built here: neither `.ci/engine`'s base image nor the public one can be had."""


def choose_base() -> tuple[str, ...]:
    """The build's argument for the base: the one that `.ci/engine` made, if it is there; else the public default."""
    found = subprocess.run(["docker", "image", "inspect", LOCAL_BASE], capture_output=True, timeout=60, check=False)
    return ("--build-arg", f"BASE_IMAGE={LOCAL_BASE}") if found.returncode == 0 else ()


def build_simulator_image(tag: str, *, dockerfile: str = "docker/simulator/Dockerfile") -> str:
    """Build it under this tag, which is returned.

    Raises:
        NoImageError: It cannot be built.
    """
    argv = ["docker", "build", "--quiet", "--file", dockerfile, "--tag", tag, *choose_base(), "."]
    built = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False)
    if built.returncode != 0:
        raise NoImageError(f"{' '.join(argv)}: {built.stderr.strip()[-400:]}; .ci/engine makes a base image")
    return tag
