"""The recordings of published programs are what their packages hold."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.controllers.texts import (
    IB_GATEWAY_MCP,
    IBCONTROLLER,
    download,
    read_ib_gateway_mcp,
    read_ibcontroller,
)
from tests.unit.gateway.test_published_texts import load

pytestmark = pytest.mark.docker


@pytest.mark.parametrize(
    ("requirement", "read"), [(IBCONTROLLER, read_ibcontroller), (IB_GATEWAY_MCP, read_ib_gateway_mcp)]
)
def test_a_recording_is_what_the_published_package_holds(
    tmp_path: Path, requirement: str, read: Callable[[Path], dict[str, Any]]
) -> None:
    try:
        wheel = download(requirement, tmp_path)
    except subprocess.CalledProcessError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no package registry can be reached")
    assert read(wheel) == load(requirement), "record again: python -m tests.controllers"
