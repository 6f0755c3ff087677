"""Whether a host is ready to be deployed to. Pure: facts in, one refusal with all that is missing out."""

import shlex

from orchestration.deploy.errors import DeployError
from orchestration.deploy.host import Facts, Host
from orchestration.deploy.on_host.room import is_memory_short

_OLDEST_PYTHON = (3, 11)
_LEAST_FREE_BYTES = 1024**3  # an environment is some 150 MB, and a log must still be written afterwards
LEAST_FREE_BYTES_START = 64 * 1024**2  # everything is made; a start writes logs, journal and records
LEAST_FREE_BYTES_BACK = 16 * 1024**2  # going back makes nothing new: a unit, a link, and then the system's own logs


def refuse_if_locked(facts: Facts, host: Host) -> Facts:
    """Whether the operator keeps deploys away.

    Raises:
        DeployError: They do.
    """
    if facts.locked:
        raise DeployError(
            f"deploys to this host are {facts.describe_lock()}",
            next_action=f"Ask them; fab -H {host.name} unlock ends it.",
        )
    return facts


def refuse_unless_watched(facts: Facts) -> None:
    """Whether there is a supervised bot to restart. One that is down is not started without its boot service.

    Raises:
        DeployError: There is none.
    """
    document = (facts.status or {}).get("document") or {}
    if not facts.current or facts.activation:
        raise DeployError(facts.describe_system() or "nothing is deployed", next_action="Wait for its end, or deploy.")
    if (document.get("bot") or {}).get("supervised") is True:
        return
    unit = (document.get("service") or {}).get("name")
    raise DeployError(
        f"no supervised bot runs there, so nothing was restarted. {facts.describe_system()}",
        next_action=f"There: sudo systemctl restart {shlex.quote(unit)}" if unit else "Look at `inv status` there.",
    )


def check_host(facts: Facts, host: Host, *, brings_env: bool, least_free: int = _LEAST_FREE_BYTES) -> Facts:
    """Is the host ready? All that is not, in one message.

    Args:
        facts: What a look at it found.
        host: The host.
        brings_env: Whether settings come along, so that none need be there.
        least_free: Bytes that must be free on the disk.

    Raises:
        DeployError: It is not.
    """
    provisioned = [*_check_programs(facts), *_check_user(facts, host)]
    lacks = list(provisioned)
    if facts.free_bytes < least_free:
        lacks.append(f"only {facts.free_bytes // 1024**2} MiB of disk are free: make room (`df -h`, `du -xh`) there")
    if facts.available_memory_bytes is not None and is_memory_short(facts.available_memory_bytes):
        available = facts.available_memory_bytes // 1024**2
        lacks.append(f"only {available} MiB of memory are available: end something there (`free -m`, `top`)")
    if facts.env_mode is None and not brings_env:
        lacks.append("there are no settings yet: give --env-file (a .env for that host)")
    if facts.env_mode is not None and facts.env_mode & 0o077:
        lacks.append(
            f"{host.base}/shared/.env can be read by others (mode {facts.env_mode:o}): "
            f"`sudo chmod 600 {shlex.quote(f'{host.base}/shared/.env')}` there"
        )
    if facts.hold:
        lacks.append(
            f"the system is held by {facts.hold.get('by')} since {facts.hold.get('since')}: `inv resume` there"
        )
    if lacks:
        raise DeployError(
            f"{host.name} is not ready: {lacks[0]}" if len(lacks) == 1 else f"{host.name} is not ready",
            next_action=(
                f"fab -H {host.name} provision makes packages, Docker, the user and the folders ready."
                if provisioned
                else "Fix that, then try again."
            ),
            evidence=tuple(lacks),
        )
    return facts


def _check_programs(facts: Facts) -> list[str]:
    lacks = []
    if tuple(int(part) for part in facts.python.split(".")[:2]) < _OLDEST_PYTHON:
        lacks.append(f"its python3 is {facts.python}; 3.11 or newer is needed")
    if not facts.has_venv:
        lacks.append("its python3 cannot make environments (package python3-venv)")
    if not facts.has_systemd:
        lacks.append("systemd is not its pid 1")
    return lacks


def _check_user(facts: Facts, host: Host) -> list[str]:
    if not facts.user:
        return [f"there is no user {host.user}"]
    lacks = []
    if facts.user["uid"] == 0:
        lacks.append("the service must not be root's")
    if not facts.docker:
        lacks.append(f"{host.user} cannot use Docker: {facts.docker_problem or 'it does not answer'}")
    if facts.base_owner != host.user:
        owner = f"belongs to {facts.base_owner}" if facts.base_owner else "is missing, or has no known owner"
        lacks.append(f"{host.base} {owner}; it must belong to {host.user}")
    return lacks
