"""Sending over a link that ends meanwhile."""

from typing import TYPE_CHECKING, cast

import paramiko
import pytest

from orchestration.deploy.connection import send_all

if TYPE_CHECKING:
    from paramiko import Channel


class _Cut:
    """A channel whose link ends while it sends, with what paramiko raises then."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def sendall(self, data: bytes) -> None:
        assert data == b"a release"
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        OSError("Socket is closed"),
        EOFError(),  # Packetizer.write_all, where the link is closed during a write
        paramiko.SSHException("Key-exchange timed out waiting for key negotiation"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_link_that_ends_during_an_upload_ends_no_thread_with_a_traceback(error: Exception) -> None:
    assert not send_all(cast("Channel", _Cut(error)), b"a release", is_last=True)
