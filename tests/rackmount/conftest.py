"""The test host. Where it cannot be built, its tests are skipped with the reason; in CI they fail."""

import os
from collections.abc import Iterator

import pytest

from tests.rackmount.host import NoHostError, RackHost, build_ready_image, running_host, why_no_host

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
