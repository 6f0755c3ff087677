"""A whole system on a real engine, and what a test needs to know about its container."""

import contextlib
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.system import System, system_in


def docker(*arguments: str) -> str:
    ended = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout.strip()


def name_of(system: System) -> str:
    return system.environ["GATEWAY_CONTAINER_NAME"]


def start_of(system: System) -> str:
    return docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", name_of(system))


def state_of(system: System) -> str:
    return docker("inspect", "--format", "{{.State.Status}}", name_of(system))


@contextlib.contextmanager
def docker_system_in(root: Path, *, image: str) -> Iterator[System]:
    """A system whose gateway is a container of its own, gone afterwards."""
    with system_in(root) as made:
        made.environ |= {
            "GATEWAY_RUNTIME": "docker",
            "GATEWAY_CONTAINER_NAME": f"zt-{uuid.uuid4().hex[:10]}",
            "GATEWAY_IMAGE": image,
            "TWS_USERID": "ann",
            "TWS_PASSWORD": "s3cret-of-ann",
        }
        made.use_small_bot("--ready")
        made.use_plan()
        try:
            yield made
        finally:
            name = name_of(made)
            docker("rm", "--force", "--volumes", name)
            docker("volume", "rm", "--force", f"{name}_settings")
            docker("network", "rm", f"{name}_default")
