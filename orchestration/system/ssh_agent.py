"""The door to an SSH agent of the user's choice: paramiko looks for the agent's socket in the environment alone."""

import contextlib
import os
import threading
from collections.abc import Iterator

_SOCKET = "SSH_AUTH_SOCK"
_lock = threading.Lock()


@contextlib.contextmanager
def agent_named(agent: str) -> Iterator[None]:
    """Name the agent's socket while paramiko looks for it. Hosts are reached in threads, each with its own agent.

    Args:
        agent: As `IdentityAgent` has it: a socket, or `$NAME` for a variable that names one; empty for the usual one.
    """
    with _lock:
        before = os.environ.get(_SOCKET)
        if agent:
            named = agent.removeprefix("$")
            os.environ[_SOCKET] = os.environ.get(named, "") if named != agent else agent
        try:
            yield
        finally:
            if before is not None:
                os.environ[_SOCKET] = before
            else:
                os.environ.pop(_SOCKET, None)
