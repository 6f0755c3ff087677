"""A trial of the operator's own bot: `inv startup --simulate` with BOT_COMMAND set.

A port or an address that is written into the bot must not lead to a real gateway. The kernel therefore denies it every
port at which one may be (Landlock, Linux 6.7). Where the kernel cannot, the trial is refused while something listens at
one of them on this host. Landlock knows ports, not addresses, and the simulator's own port has to stay open: a trial is
also refused where another gateway is known to be reached at that same port.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestration.bot.command_line import is_reference_bot
from orchestration.errors import Check, FailureWord, StepStatus
from orchestration.preflight.instances import read_other_signs, read_own_sign
from orchestration.settings import BotRuntime, GatewayRuntime, Settings, find_env_file
from orchestration.settings.hosts import is_loopback
from orchestration.settings.sources import read_env_file
from orchestration.system.landlock import can_deny_ports
from orchestration.system.sockets import find_listen_addresses, is_accepting

TRIAL_CHECK = "trial of your bot"
# IB Gateway live and paper, the two at which the vendor's image forwards to it, TWS live and paper.
GATEWAY_PORTS = frozenset({4001, 4002, 4003, 4004, 7496, 7497})
_FREE_PORT_EXAMPLE = 4102
_UNCONFINED = "this kernel cannot deny your bot a port (Landlock's network rules, Linux 6.7)"


@dataclass(frozen=True, kw_only=True)
class KnownGateway:
    """Where a gateway is that is not the simulator, as far as the configuration says.

    Attributes:
        host: Its host; empty where only a port is configured.
        port: Its port.
    """

    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class TrialScene:
    """What the safety of a trial depends on.

    Attributes:
        host: The simulator's host.
        port: Its port.
        known: The gateways that are configured or signed up for.
        listening_at_own_port: The local addresses at which anything listens at the simulator's port.
        denied_ports: The ports that the bot must not connect to.
        listening_ports: Those of them at which something listens on this host; only looked at where it matters.
        can_confine: Whether the kernel can deny them.
    """

    host: str
    port: int
    known: frozenset[KnownGateway]
    listening_at_own_port: frozenset[str]
    denied_ports: frozenset[int]
    listening_ports: frozenset[int]
    can_confine: bool


def is_trial(settings: Settings) -> bool:
    """Whether the operator's own bot is tried on the built-in gateway."""
    return settings.simulated and not is_reference_bot(settings.bot_command)


def find_denied_ports(settings: Settings) -> frozenset[int]:
    """The ports that a bot on trial must not connect to; empty if it is no trial, or if the kernel denies none."""
    if not is_trial(settings) or not can_deny_ports():
        return frozenset()
    return _choose_ports(settings, _read_known_gateways(settings))


def check_trial(settings: Settings) -> Iterator[Check]:
    """Whether the operator's own bot can be tried without reaching a real gateway. Nothing where it is no trial."""
    runtimes = {text.lower() for text in _read_configured("BOT_RUNTIME", settings)}
    if settings.simulated and BotRuntime.DOCKER in runtimes:
        tried = "BOT_COMMAND" if is_trial(settings) else "the reference bot"
        yield Check(
            name=TRIAL_CHECK,
            status=StepStatus.WARN,
            detail=f"BOT_RUNTIME=docker does not count here: the trial runs {tried} as a process of this host",
            fix="Set BOT_COMMAND to your bot's program to try it.",
        )
    if not is_trial(settings):
        return
    known, can_confine = _read_known_gateways(settings), can_deny_ports()
    ports = _choose_ports(settings, known)
    yield judge_trial(
        TrialScene(
            host=settings.gateway_host,
            port=settings.gateway_port,
            known=known,
            listening_at_own_port=find_listen_addresses(settings.gateway_port),
            denied_ports=ports,
            listening_ports=frozenset() if can_confine else frozenset(filter(_is_listening, ports)),
            can_confine=can_confine,
        )
    )


def judge_trial(scene: TrialScene) -> Check:
    """Whether a trial is safe. Pure."""
    move = f"Give the simulator a port of its own: `GATEWAY_PORT={_FREE_PORT_EXAMPLE} inv startup --simulate`."
    remote = sorted(
        one.host for one in scene.known if one.port == scene.port and one.host and not is_loopback(one.host)
    )
    if remote:
        return _refuse(f"A gateway is configured at {remote[0]}:{scene.port}, which is the simulator's port too", move)
    beside = sorted(scene.listening_at_own_port - {scene.host})
    if beside:
        return _refuse(f"Another program listens at {beside[0]}, port {scene.port}, the simulator's port", move)
    named = ", ".join(str(port) for port in sorted(scene.denied_ports))
    if scene.can_confine:
        return Check(
            name=TRIAL_CHECK,
            status=StepStatus.OK,
            detail=f"it runs on the built-in gateway and cannot connect to ports {named}",
        )
    if scene.listening_ports:
        return _refuse(
            f"A gateway may listen at port {min(scene.listening_ports)} of this host, and {_UNCONFINED}",
            "Stop that gateway for the trial, or try the bot on a host with Linux 6.7 or newer.",
        )
    return Check(
        name=TRIAL_CHECK,
        status=StepStatus.WARN,
        detail=f"it runs on the built-in gateway, but {_UNCONFINED}; nothing listens at {named} of this host now",
        fix="Make sure that no address of a real gateway is written into the bot.",
    )


def _is_listening(port: int) -> bool:
    return bool(find_listen_addresses(port)) or is_accepting("127.0.0.1", port)


def _refuse(reason: str, fix: str) -> Check:
    return Check(
        name=TRIAL_CHECK,
        status=StepStatus.FAIL,
        detail=f"{reason}: an address that is written into your bot could reach it and trade for real.",
        fix=fix,
        failure=FailureWord.CONFIG_INVALID,
    )


def _choose_ports(settings: Settings, known: frozenset[KnownGateway]) -> frozenset[int]:
    return GATEWAY_PORTS.union(one.port for one in known) - {settings.gateway_port}


def _read_known_gateways(settings: Settings) -> frozenset[KnownGateway]:
    """What environment and `.env` configure for real runs, and what this host's instances signed up for."""
    hosts = _read_configured("GATEWAY_HOST", settings) or ("",)
    ports = [int(text) for text in _read_configured("GATEWAY_PORT", settings) if text.isdecimal()]
    signs = [read_own_sign(settings), *read_other_signs(settings)]
    return frozenset(
        [
            *(KnownGateway(host=host, port=port) for host in hosts for port in (*ports, settings.gateway_port)),
            *(
                KnownGateway(host=sign.host, port=sign.port)
                for sign in signs
                if sign is not None and sign.runtime != GatewayRuntime.SIMULATOR
            ),
        ]
    )


def _read_configured(name: str, settings: Settings) -> tuple[str, ...]:
    """A variable's values in the environment and in `.env`, whatever the trial itself puts in their place."""
    path = find_env_file(settings.environ, settings.project_dir)
    layers = (settings.environ, read_env_file(path, []) if path is not None else {})
    return tuple(text for layer in layers if (text := layer.get(name, "").strip()))
