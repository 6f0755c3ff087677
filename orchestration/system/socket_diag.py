"""The TCP connections of this network, asked of the kernel itself (sock_diag(7)).

`/proc/net/tcp` tells the same, but walks every slot of a table that grows with the host's memory: 5 to 10 ms for each
look, however few connections there are. This takes a fraction of a millisecond.
"""

import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from orchestration.system.platform import platform

ESTABLISHED, SYN_SENT = 1, 2  # numbered as in proc(5), and in the kernel's <net/tcp_states.h>

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port id
_REQUEST = struct.Struct("=BBBBI48x")  # inet_diag_req_v2: family, protocol, extensions, padding, states, any address
_ANSWER = struct.Struct("=BBBB2s2s56xII")  # inet_diag_msg: family, state, …, ports, addresses and queues, user, inode
_ERROR_NUMBER = struct.Struct("=i")  # after NLMSG_DONE: negative where the list is not whole
_TIMEOUT_S = 2.0
_RECEIVE_BYTES = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One end of a connection, or of one that is about to be made.

    Attributes:
        remote_port: The port that it leads to.
        state: One of the states that were asked for.
        user_id: Whose socket it is.
        inode: The socket, as the links in `/proc/PID/fd` name it.
    """

    remote_port: int
    state: int
    user_id: int
    inode: int


def read_connections(*states: int) -> tuple[Connection, ...] | None:
    """The connections of this process's network in these states, of IPv4 and IPv6.

    Returns:
        None where the kernel does not answer: another system, a sandbox, a kernel without this interface.
    """
    if sys.platform != "linux" or platform().is_simulated:
        return None
    mask = sum(1 << state for state in states)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
            kernel.settimeout(_TIMEOUT_S)
            return tuple(one for family in (socket.AF_INET, socket.AF_INET6) for one in _ask(kernel, int(family), mask))
    except (OSError, struct.error):
        return None


def _ask(kernel: socket.socket, family: int, mask: int) -> Iterator[Connection]:
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, mask)
    kernel.send(_HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _REQUEST_DUMP, family, 0) + request)
    while True:
        answer = kernel.recv(_RECEIVE_BYTES)
        at = 0
        while at < len(answer):
            length, kind, _, sequence, _ = _HEADER.unpack_from(answer, at)
            if kind == _ERROR or sequence != family or length < _HEADER.size:
                raise OSError("the kernel does not list connections")
            if kind == _DONE:
                if _ERROR_NUMBER.unpack_from(answer, at + _HEADER.size)[0] < 0:
                    raise OSError("the kernel cannot list connections of this kind")
                return
            _, state, _, _, _, remote, user_id, inode = _ANSWER.unpack_from(answer, at + _HEADER.size)
            yield Connection(remote_port=int.from_bytes(remote, "big"), state=state, user_id=user_id, inode=inode)
            at += (length + 3) & ~3
