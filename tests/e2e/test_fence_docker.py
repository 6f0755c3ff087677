"""The fence and a bot in a container: killed at the deadline by its name alone, while the supervisor does nothing."""

import os
import subprocess
import uuid

import pytest

from orchestration.supervision.fence import Fence
from orchestration.system.clock import read_boottime_s
from tests.campaign.world import docker

pytestmark = pytest.mark.docker
_KILLED = "137"


def test_a_bots_container_is_killed_at_the_deadline(simulator_image: str) -> None:
    name = f"zt-fence-{uuid.uuid4().hex[:8]}"
    docker("run", "-d", "--name", name, "--entrypoint", "sleep", simulator_image, "600")
    try:
        fence = Fence.start(
            read_boottime_s() + 1.0, marker="none", environ=os.environ, container=name, on_change=lambda: None
        )
        ended = subprocess.run(["docker", "wait", name], capture_output=True, text=True, timeout=60, check=True)

        assert ended.stdout.strip() == _KILLED
        assert fence.has_fired
        assert fence.release()
    finally:
        docker("rm", "-f", name)
