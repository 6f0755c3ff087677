"""The test host. Where it cannot be built, its tests are skipped with the reason; in CI they fail."""

import os
from collections.abc import Iterator

import pytest

from tests.e2e.images import build_simulator_image
from tests.rackmount.host import (
    NoHostError,
    RackHost,
    build_ready_image,
    download_wheels,
    running_host,
    why_no_host,
)
from tests.rackmount.site import BASE, IMAGE, Site

_BUILD_TIMEOUT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("rackmount") is not None and item.get_closest_marker("timeout") is None:
            # The first test builds the host, and each one may reboot it.
            item.add_marker(pytest.mark.timeout(_BUILD_TIMEOUT_S))


@pytest.fixture(scope="session")
def rack_image() -> str:
    """The image of a whole Linux host with the project's requirements installed."""
    reason = why_no_host()
    if not reason:
        try:
            return build_ready_image()
        except NoHostError as error:
            reason = str(error)
    if os.environ.get("CI"):
        pytest.fail(f"CI must have a test host: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def host(rack_image: str) -> Iterator[RackHost]:
    """A host of this module's own, booted; gone afterwards."""
    with running_host(rack_image) as host:
        yield host


@pytest.fixture(scope="module")
def site(host: RackHost, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An operator's machine, and the host made ready by `fab provision`."""
    host.load_image(build_simulator_image(IMAGE))
    host.run("ls /etc/ssh/ssh_host_*_key || { ssh-keygen -A; systemctl reset-failed ssh; systemctl restart ssh; }")
    site = Site(host=host, folder=tmp_path_factory.mktemp("site"), wheels=download_wheels())
    site.set_up()
    return site


@pytest.fixture
def deployed(site: Site) -> Site:
    """A host on which the checkout's last commit runs, and all is well."""
    site.use_ssh()
    site.write_env()
    site.ensure_plan_of_today()
    if not site.host.exists(BASE):
        provisioned = site.fab("provision", "--json")
        assert provisioned.code == 0, str(provisioned)
    ended = site.deploy(f"--env-file={site.env_file}")
    assert ended.code == 0, str(ended)
    site.wait_until_well()
    return site
