"""The end-to-end tests' engine and images. Without an engine they are skipped, with the reason; in CI they fail."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.docker_system import docker_system_in
from tests.e2e.gateway_scene import GatewayScene
from tests.e2e.images import NoImageError, build_bot_image, build_simulator_image, build_vendor_image, share_image
from tests.system import System


def _why_no_engine() -> str | None:
    try:
        engine = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        compose = subprocess.run(
            ["docker", "compose", "version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no Docker: {error}"
    if engine.returncode or not engine.stdout.strip():
        return f"no Docker engine: {engine.stderr.strip()}"
    return f"no Compose: {compose.stderr.strip()}" if compose.returncode else None


@pytest.fixture(scope="session")
def engine() -> None:
    """A real engine with Compose."""
    reason = _why_no_engine()
    if reason is None:
        return
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason}; in CI the end-to-end tests must run (.ci/engine)")
    pytest.skip(f"{reason}; `.ci/engine` starts one")


@pytest.fixture(scope="session")
def simulator_image(engine: None, run_folder: Path) -> Iterator[str]:
    """The built-in gateway as an image of this run's own."""
    del engine
    with _image("simulator", build_simulator_image, run_folder) as tag:
        yield tag


@pytest.fixture(scope="session")
def vendor_image(simulator_image: str) -> Iterator[str]:
    """The vendor-like image of this run."""
    tag = build_vendor_image(f"{simulator_image}-vendor", base=simulator_image)
    yield tag
    _remove(tag)


@pytest.fixture(scope="session")
def bot_image(engine: None, run_folder: Path) -> Iterator[str]:
    """The bot's image, of this run's own."""
    del engine
    with _image("bot", build_bot_image, run_folder) as tag:
        yield tag


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@contextlib.contextmanager
def _image(name: str, build: Callable[[str], str], run_folder: Path) -> Iterator[str]:
    with contextlib.ExitStack() as shared:
        try:
            tag = shared.enter_context(share_image(run_folder / f"image-of-{name}", name, build, _remove))
        except NoImageError as error:
            if os.environ.get("CI", "").lower() == "true":
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))
        yield tag


def _remove(tag: str) -> None:
    subprocess.run(["docker", "image", "rm", "--force", tag], check=False, capture_output=True, timeout=60)


@pytest.fixture
def scene(simulator_image: str, tmp_path: Path) -> Iterator[GatewayScene]:
    """A gateway's container of this test's own, gone afterwards."""
    scene = GatewayScene.build(image=simulator_image, folder=tmp_path)
    yield scene
    scene.remove()


@pytest.fixture
def system(simulator_image: str, tmp_path: Path) -> Iterator[System]:
    """A system whose gateway is a container of its own, gone afterwards."""
    with docker_system_in(tmp_path / "a system", image=simulator_image) as made:
        yield made
