"""Who is connected where, on real sockets: the kernel's answer, and what stands in /proc, are the same."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.system import socket_diag
from orchestration.system.sockets import (
    count_connections,
    find_connected_inodes,
    find_sockets_to,
    holds_connection,
    is_own_address,
    read_socket_inodes,
)
from tests.system import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tables of connections are Linux's")


@contextlib.contextmanager
def _connect(host: str) -> Iterator[tuple[socket.socket, int]]:
    """A connection to a listener of our own, and the listener's port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection((host, port)) as client:
            accepted, _ = listener.accept()
            with accepted:
                yield client, port


def _inode(of: socket.socket) -> int:
    return os.fstat(of.fileno()).st_ino


def _in_proc(port: int) -> frozenset[int]:
    tables = [Path(f"/proc/self/net/{name}") for name in ("tcp", "tcp6")]
    return frozenset().union(*(find_connected_inodes(one.read_text().splitlines(), port) for one in tables))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_is_seen_as_it_stands_in_proc(host: str) -> None:
    if ":" in host and not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    with _connect(host) as (client, port):
        found = socket_diag.read_connections(socket_diag.ESTABLISHED)
        assert found is not None, "a kernel that runs the tests answers"
        (one,) = [one for one in found if one.remote_port == port]
        assert (one.inode, one.user_id, one.state) == (_inode(client), os.geteuid(), socket_diag.ESTABLISHED)
        assert find_sockets_to([port, 1]) == _in_proc(port) == {_inode(client)}
        assert count_connections(port) == 1
        assert holds_connection([os.getpid()], port) is True
        assert _inode(client) in read_socket_inodes(os.getpid())
        assert holds_connection([os.getppid()], port) is False
        assert find_sockets_to([client.getsockname()[1]]) == _in_proc(client.getsockname()[1]), "the other end"
    assert find_sockets_to([port]) == frozenset()
    assert count_connections(port) == 0


def test_more_connections_than_fit_into_one_answer_are_all_seen() -> None:
    with socket.socket() as listener, contextlib.ExitStack() as held:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        clients = []
        for _ in range(250):
            clients.append(held.enter_context(socket.create_connection(address)))
            held.enter_context(listener.accept()[0])
        assert find_sockets_to([address[1]]) == {_inode(one) for one in clients}
        assert count_connections(address[1]) == 250


def test_a_connection_that_is_about_to_be_made_counts_for_those_who_must_not_make_it() -> None:
    # A full queue: the next one's first packet is not answered.
    with socket.socket() as listener, contextlib.ExitStack() as held:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        clients = [held.enter_context(socket.socket()) for _ in range(3)]
        for client in clients:
            client.settimeout(0)
            client.connect_ex(address)
        assert find_sockets_to([address[1]]) == {_inode(one) for one in clients}


def test_the_connection_of_another_process_is_its_own() -> None:
    program = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        argv = [sys.executable, "-c", program, str(port)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE) as other:
            accepted, _ = listener.accept()
            with accepted:
                wait_until(lambda: holds_connection([os.getpid(), other.pid], port), "a connection")
                assert holds_connection([os.getpid()], port) is False
                assert holds_connection([2**22 + 1, other.pid], port) is True
            other.communicate()


@pytest.mark.parametrize(("host", "is_own"), [("127.0.0.1", True), ("192.0.2.7", False), ("2001:db8::7", False)])
def test_an_address_of_this_host_is_told_from_anothers(host: str, *, is_own: bool) -> None:
    assert is_own_address(host) is is_own
