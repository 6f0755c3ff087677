"""The gateway's own restart, asked for at its controller's command port: it keeps the session, so no phone is needed.

A container that is stopped logs in with user, password and second factor when it starts again. A gateway that restarts
itself does not. Its controller offers that at a port inside the container (IBC: 7462; ibg-controller:
`CONTROLLER_COMMAND_SERVER_PORT`), which is off in many images: then there is nothing to ask. The port is reached with
`docker exec`, because controllers take commands from their own loopback only.

Here are the programs that run in the container, what they print, and when a restart has begun. Pure.
"""

from dataclasses import dataclass
from enum import StrEnum

from orchestration.docker.cli import CHANGE_TIMEOUT_S
from orchestration.docker.container import ContainerState
from orchestration.gateway.container import GatewayStatus
from orchestration.system.commands import CommandResult

BEGINS_WITHIN_S = 60.0  # SPEC G5
# IBC restarts a gateway by moving its auto-restart time to the next minute, and says when that is.
_NEXT_MINUTE_S = 60.0
LOOK_INTERVAL_S = 1.0
LOOKS_A_REPORT = 10  # so often the waiting caller hears of it, and may leave
MOST_S = BEGINS_WITHIN_S + _NEXT_MINUTE_S
COMMAND_TIMEOUT_S = 20.0  # the program in the container waits 10 s for the answer

_DEFAULT_PORT = 7462
_PORT_VARIABLE = "CONTROLLER_COMMAND_SERVER_PORT"
_LARGEST_PORT = 65535
_LIVE_API_PORT, _PAPER_API_PORT = 4001, 4002
_NO_COMMAND_PORT = 3
# In these networks the container's loopback is not its own: another gateway may listen there.
_FOREIGN_LOOPBACK = frozenset({"host"})

_LOOK = """
if (exec 4<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then echo "api open"; else echo "api closed"; fi
log=${TWS_SETTINGS_PATH:-$HOME/Jts}/launcher.log
count=0
if [ -f "$log" ]; then count=$(tail -c 4194304 "$log" 2>/dev/null | grep -ac 'IB GATEWAY RESTART'); fi
echo "restarts ${count:-0}"
"""
# The answer may come in pieces, without an end, or not at all: all of it is awaited for so many seconds, and no more
# than so many lines of it.
_ANSWER_S = 10
_ASK = f"""
{{ exec 3<>"/dev/tcp/127.0.0.1/$1"; }} 2>/dev/null || exit {_NO_COMMAND_PORT}
{_LOOK.strip()}
printf 'RESTART\\n' >&3
end=$((SECONDS + $3)) lines=0 line=
while left=$((end - SECONDS)); [ "$left" -gt 0 ] && [ "$lines" -lt 50 ] &&
  {{ IFS= read -r -n 1000 -t "$left" -u 3 line || [ -n "$line" ]; }}; do
  printf 'said %s\\n' "$line"
  lines=$((lines + 1))
  case "$line" in *OK*|*ERROR*) break ;; esac
done
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where a gateway is reached inside its container: the controller's command port and the API's own port."""

    command: int
    api: int


@dataclass(frozen=True, kw_only=True)
class InnerLook:
    """What one look inside the container saw.

    Attributes:
        is_api_open: Whether the gateway's own API port accepts, past any forwarder.
        restarts: How many starts of the gateway's process `launcher.log` tells of; 0 where it cannot be read.
    """

    is_api_open: bool
    restarts: int


class CommandReply(StrEnum):
    """How the controller took the command."""

    NOT_ASKED = "not_asked"
    """There is no command port, or no program in the container to reach it with."""
    REFUSED = "refused"
    TAKEN = "taken"
    """It said yes, or nothing: whether the restart comes about is seen."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The answer to one command.

    Attributes:
        reply: How the controller took it.
        before: What was seen right before; None where nothing was asked.
        patience_s: For how long the restart may take to begin.
    """

    reply: CommandReply
    before: InnerLook | None = None
    patience_s: float = BEGINS_WITHIN_S


def measure_longest_restart_s(stop_grace_s: float) -> float:
    """Seconds that one restart may take from the command to the container's new start, both rungs."""
    return COMMAND_TIMEOUT_S + MOST_S + stop_grace_s + CHANGE_TIMEOUT_S


def find_ports(status: GatewayStatus) -> Ports | None:
    """Where to ask this gateway; None where it has no container of its own to ask in, or its port is switched off."""
    if status.state is not ContainerState.RUNNING:
        return None
    if not status.networks or _FOREIGN_LOOPBACK & frozenset(status.networks):
        return None
    environ = dict(status.environ)
    text = environ.get(_PORT_VARIABLE, "").strip()
    command = int(text) if text.isascii() and text.isdigit() else _DEFAULT_PORT
    if not 0 < command <= _LARGEST_PORT:
        return None
    mode = environ.get("TRADING_MODE", "").strip().lower()
    if mode == "both":  # two gateways, and no telling which one would be restarted
        return None
    is_live = mode == "live"
    return Ports(command=command, api=_LIVE_API_PORT if is_live else _PAPER_API_PORT)


def ask_argv(container_id: str, ports: Ports) -> tuple[str, ...]:
    """Ask the controller for a restart."""
    words = (str(ports.command), str(ports.api), str(_ANSWER_S))
    return ("docker", "exec", container_id, "bash", "-c", _ASK, "bash", *words)


def look_argv(container_id: str, ports: Ports) -> tuple[str, ...]:
    """Look whether the restart has begun."""
    return ("docker", "exec", container_id, "bash", "-c", _LOOK, "bash", str(ports.command), str(ports.api))


def parse_asked(result: CommandResult) -> Asked:
    """What came of the command. What cannot be understood counts as not asked."""
    before = parse_look(result)
    if before is None:
        return Asked(reply=CommandReply.NOT_ASKED)
    said = [line.removeprefix("said ") for line in result.stdout.splitlines() if line.startswith("said ")]
    answer = said[-1] if said else ""
    if "ERROR" in answer:
        return Asked(reply=CommandReply.REFUSED, before=before)
    names_a_time = " at " in answer
    return Asked(reply=CommandReply.TAKEN, before=before, patience_s=MOST_S if names_a_time else BEGINS_WITHIN_S)


def parse_look(result: CommandResult) -> InnerLook | None:
    """What a look saw; None where it failed."""
    if not result.ok:
        return None
    words = dict(line.split(" ", 1) for line in result.stdout.splitlines() if line.startswith(("api ", "restarts ")))
    try:
        return InnerLook(is_api_open=words["api"].strip() == "open", restarts=int(words["restarts"]))
    except (KeyError, ValueError):
        return None


def has_begun(before: InnerLook, now: InnerLook) -> bool:
    """Whether the gateway's process has been replaced, or is being replaced, since the command.

    Its API must go down first: what accepts all the while is the gateway that was there before. One whose API was down
    already must write down its new start, or open its API.
    """
    return now.restarts > before.restarts or now.is_api_open is not before.is_api_open
