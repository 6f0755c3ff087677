"""Who is connected where, as far as this host can see."""

import contextlib
import errno
import ipaddress
import socket
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from orchestration.system import socket_diag
from orchestration.system.platform import platform

_TABLES = ("self/net/tcp", "self/net/tcp6")
_ESTABLISHED, _LISTENING = "01", "0A"
_CONNECTED = frozenset({_ESTABLISHED, "02"})  # and SYN_SENT
_LOCAL_FIELD, _REMOTE_FIELD, _STATE_FIELD, _USER_FIELD, _INODE_FIELD = 1, 2, 3, 7, 9


def count_connections(port: int) -> int | None:
    """How many connections lead from this host to a port, on whatever address; None where that cannot be seen.

    Connections from elsewhere to the same program are not among them.
    """
    if sys.platform != "linux":
        return _count_with_psutil(port)
    connections = socket_diag.read_connections(socket_diag.ESTABLISHED)
    if connections is not None:
        return sum(one.remote_port == port for one in connections)
    counted = None
    for table in _read_tables():
        counted = (counted or 0) + count_in_table(table, port)
    return counted


def count_in_table(lines: Iterable[str], port: int) -> int:
    """The established connections to a remote port in a table as proc(5) describes it. Pure."""
    shown = f":{port:04X}"
    rows = (line.split() for line in lines)
    return sum(
        len(row) > _STATE_FIELD and row[_STATE_FIELD] == _ESTABLISHED and row[_REMOTE_FIELD].endswith(shown)
        for row in rows
    )


def has_connection(pid: int, user_ids: frozenset[int], port: int) -> bool:
    """Whether a process holds an established connection to a remote port, on whatever address.

    Args:
        pid: The process.
        user_ids: The users it acts as. Where it may not be looked at, a connection of one of them counts as its own.
        port: The port.
    """
    import psutil

    try:
        found = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        return any(find_connected_users(table, port) & user_ids for table in _read_tables())
    return any(one.status == psutil.CONN_ESTABLISHED and tuple(one.raddr)[1:] == (port,) for one in found)


def find_listen_addresses(port: int) -> frozenset[str]:
    """The local addresses at which any program listens at a port. Empty, too, on other systems than Linux."""
    return frozenset(address for table in _read_tables() for address in find_listen_addresses_in(table, port))


def find_listen_addresses_in(lines: Iterable[str], port: int) -> frozenset[str]:
    """The same from a table as proc(5) describes it, which has addresses as hexadecimal words of 32 bits. Pure."""
    shown = f":{port:04X}"
    rows = (line.split() for line in lines)
    return frozenset(
        _parse_address(row[_LOCAL_FIELD].removesuffix(shown))
        for row in rows
        if len(row) > _STATE_FIELD and row[_STATE_FIELD] == _LISTENING and row[_LOCAL_FIELD].endswith(shown)
    )


def _parse_address(text: str) -> str:
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def is_accepting(host: str, port: int) -> bool:
    """Whether something accepts a connection there within a second. Sends nothing."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1.0):
        return True
    return False


def holds_connection(pids: Iterable[int], port: int) -> bool | None:
    """Whether one of these processes holds an established connection to a remote port; None where that is unknown.

    Each process is looked at in its own network, so one in a container too.
    """
    if sys.platform != "linux":
        return _holds_connection_elsewhere(pids, port)
    is_unknown = False
    # One answer for all processes that share our network.
    connections = socket_diag.read_connections(socket_diag.ESTABLISHED)
    ours = None if connections is None else frozenset(one.inode for one in connections if one.remote_port == port)
    for pid in pids:
        try:
            sockets = read_socket_inodes(pid)
            if ours is not None and _shares_our_network(pid):
                connected = ours
            else:
                tables = [
                    (Path(f"{platform().proc_root}/{pid}") / name).read_text(encoding="utf-8")
                    for name in ("net/tcp", "net/tcp6")
                ]
                connected = frozenset().union(*(find_connected_inodes(one.splitlines(), port) for one in tables))
        except PermissionError:
            is_unknown = True
            continue
        except OSError:
            continue  # it has ended meanwhile, or there is no IPv6
        if connected & sockets:
            return True
    return None if is_unknown else False


def _proc(pid: int | str) -> Path:
    return Path(platform().proc_root) / str(pid)


def _shares_our_network(pid: int) -> bool:
    return (
        Path(f"{platform().proc_root}/{pid}/ns/net").stat().st_ino
        == Path(f"{platform().proc_root}/self/ns/net").stat().st_ino
    )


def is_network_connected(pid: int, port: int) -> bool | None:
    """Whether anything in the network of a process is connected to a remote port; None where that is unknown.

    For a process that may not be looked at itself. Of one that shares this host's network it says nothing.
    """
    try:
        shares_ours = _shares_our_network(pid)
        tables = [
            (Path(f"{platform().proc_root}/{pid}") / name).read_text(encoding="utf-8")
            for name in ("net/tcp", "net/tcp6")
        ]
    except OSError:
        return None
    return None if shares_ours else any(count_in_table(table.splitlines(), port) for table in tables)


def find_connected_inodes(lines: Iterable[str], port: int) -> frozenset[int]:
    """The sockets, by inode, with an established connection to a remote port, from a table as above. Pure."""
    shown = f":{port:04X}"
    rows = [row for row in (line.split() for line in lines) if len(row) > _INODE_FIELD]
    return frozenset(
        int(row[_INODE_FIELD])
        for row in rows
        if row[_STATE_FIELD] == _ESTABLISHED and row[_REMOTE_FIELD].endswith(shown) and row[_INODE_FIELD].isdigit()
    )


def find_sockets_to(ports: Collection[int]) -> frozenset[int]:
    """The sockets of this network, by inode, that are connected to one of these remote ports, or about to be."""
    connections = socket_diag.read_connections(socket_diag.ESTABLISHED, socket_diag.SYN_SENT)
    if connections is not None:
        return frozenset(one.inode for one in connections if one.remote_port in ports)
    shown = tuple(f":{port:04X}" for port in ports)
    rows = (line.split() for table in _read_tables() for line in table)
    return frozenset(
        int(row[_INODE_FIELD])
        for row in rows
        if len(row) > _INODE_FIELD
        and row[_STATE_FIELD] in _CONNECTED
        and row[_REMOTE_FIELD].endswith(shown)
        and row[_INODE_FIELD].isdigit()
    )


def is_own_address(host: str) -> bool:
    """Whether this host, or this network namespace, has this numeric address, so that a server can listen at it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.bind((host, 0))
    except OSError as error:
        return error.errno in {errno.EADDRINUSE, errno.EACCES}
    return True


def read_socket_inodes(pid: int) -> frozenset[int]:
    """The sockets that a process holds, by inode.

    Raises:
        PermissionError: It may not be looked at.
        FileNotFoundError: It has ended.
    """
    found = set()
    for descriptor in (_proc(pid) / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            kind, _, inode = str(descriptor.readlink()).partition(":[")
            if kind == "socket":
                found.add(int(inode.removesuffix("]")))
    return frozenset(found)


def _holds_connection_elsewhere(pids: Iterable[int], port: int) -> bool | None:
    import psutil

    is_unknown = False
    for pid in pids:
        try:
            found = psutil.Process(pid).net_connections(kind="tcp")
        except psutil.NoSuchProcess:
            continue
        except (psutil.Error, OSError):
            is_unknown = True
            continue
        if any(one.status == psutil.CONN_ESTABLISHED and tuple(one.raddr)[1:] == (port,) for one in found):
            return True
    return None if is_unknown else False


def find_connected_users(lines: Iterable[str], port: int) -> frozenset[int]:
    """The users that hold an established connection to a remote port, from a table as proc(5) describes it. Pure."""
    shown = f":{port:04X}"
    rows = [row for row in (line.split() for line in lines) if len(row) > _USER_FIELD]
    return frozenset(
        int(row[_USER_FIELD])
        for row in rows
        if row[_STATE_FIELD] == _ESTABLISHED and row[_REMOTE_FIELD].endswith(shown) and row[_USER_FIELD].isdigit()
    )


def _read_tables() -> Iterator[list[str]]:
    for table in _TABLES:
        with contextlib.suppress(OSError):
            yield (Path(platform().proc_root) / table).read_text(encoding="utf-8").splitlines()


def _count_with_psutil(port: int) -> int | None:
    import psutil

    try:
        found = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    # The remote end is empty for a socket that only listens, and then has no second part.
    return sum(one.status == psutil.CONN_ESTABLISHED and tuple(one.raddr)[1:] == (port,) for one in found)
