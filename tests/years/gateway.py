"""The simulated gateway in its container: Docker's side of it, the login, the nightly restart, Sunday, and the API."""

import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestration.gateway.login_patterns import LAUNCHER_LOG, Event
from orchestration.tws import messages
from orchestration.tws.frames import FrameReader, build_frame, parse_fields
from tests.years.clockwork import MARKET, Clockwork

ACCOUNT = "DU1234567"
PORT = 4002
NAME = "ibkr-gateway"
IMAGE = "ghcr.io/gnzsnz/ib-gateway:stable"
_CHALLENGE_LASTS_S = 180.0
_EXAMPLES = {pattern.event: pattern.example for pattern in reversed(LAUNCHER_LOG)}
# What the shipped file gives the container: its own `NAME: ${VARIABLE:-default}`.
_COMPOSE_FILE = Path(__file__).resolve().parents[2] / "docker/gateway/docker-compose.yml"
_VARIABLES = re.findall(r"^      (\w+): \$\{(\w+):-([^}]*)\}$", _COMPOSE_FILE.read_text(encoding="utf-8"), re.MULTILINE)
_NEVER = "0001-01-01T00:00:00Z"
_NO_ENGINE = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n"


@dataclass
class ApiClient:
    """A program's connection to the API."""

    send: Callable[[bytes], None]
    lose: Callable[[], None]
    who: str
    frames: FrameReader = field(default_factory=FrameReader)
    has_prefix: bool = False
    client_id: int | None = None


Answered = tuple[int | None, str, str, float]


class Gateway:
    """See the module.

    Attributes:
        state: The container's, in Docker's words; empty where there is none.
        is_ready: Whether the API answers.
        phone_s: Draws after how many seconds the operator confirms a second factor; None for never.
        on_change: Called when the API has opened or closed, or the container has started or ended.
    """

    def __init__(self, clockwork: Clockwork) -> None:
        self._clockwork = clockwork
        self.is_engine_up = True
        self.state = ""
        self.id = ""
        self.is_ready = False
        self.is_silent = False
        self.accounts = ACCOUNT
        self.health = "starting"
        self.restarts_by_command = 0
        self.phone_s: Callable[[], float | None] = lambda: 10.0
        self.awaits_phone = False
        self.had_challenge_s = self.was_wrong_s = float("-inf")
        self.on_change: list[Callable[[], None]] = []
        self.clients: dict[int, ApiClient] = {}
        self._followers: dict[int, tuple[str, Callable[[str], None], Callable[[], None]]] = {}
        self._life = 0
        self._container = 0
        self._environ: dict[str, str] = {}
        self._started_at = self._finished_at = _NEVER
        self._exit_code = 0
        self._restart_count = 0
        self._password = ""
        self._launcher: list[str] = []
        self._log: list[str] = []
        self._needs_full_login = True
        self._is_stopped = False
        self._commands: dict[str, Callable[[tuple[str, ...]], Answered]] = {
            "inspect": self._show,
            "restart": self._restart,
            "stop": self._stop,
            "start": self._start,
            "logs": self._show_log,
            "exec": self._execute,
            "cp": self._copy,
        }

    # What happens to it.

    def start(self, *, by_policy: bool = False) -> None:
        """Start the container; how often its restart policy has done so is counted from its last start by command."""
        self._life += 1
        self._is_stopped = False
        self._restart_count = self._restart_count + 1 if by_policy else 0
        self.state, self.health = "running", "starting"
        self._started_at = self._show_now()
        self._say("container started")
        self._tell_events("start")
        self._launcher.clear()
        self._later(4.0, self._log_in_fully)
        self._look_healthy()

    def end(self, exit_code: int, *, by_engine: bool = False) -> None:
        """The container has ended; the engine starts it again by its policy, unless it was stopped by command."""
        if self.state not in {"running", "paused"}:
            return
        self._life += 1
        self._close_api()
        self.awaits_phone = False
        self.state, self._exit_code = "exited", exit_code
        self._finished_at = self._show_now()
        self._say(f"container ended with {exit_code}")
        self._tell_events("die")
        self._end_followers("logs")
        if not by_engine:
            self._later(1.0, lambda: self.start(by_policy=True))
        self._tell_change()

    def hang(self) -> None:
        """From now on the API says nothing more; the port stays open."""
        self.is_silent = True
        self._say("API silent")
        self._tell_change()

    def restart_itself(self) -> None:
        """The nightly restart, within the container, with the saved session."""
        if self.state != "running" or self.awaits_phone:
            return
        self._say("restarts itself")
        self._life += 1
        self._close_api()
        self._tell_change()
        self._look_healthy()
        self._later(20.0, lambda: self._write(Event.RESTART))
        if self._needs_full_login:
            self._later(24.0, self._log_in_fully)
            return
        self._later(21.0, lambda: self._write(Event.AUTO_RESTART))
        self._later(40.0, self._complete)

    def invalidate(self) -> None:
        """Sunday, 01:00: the broker ends the session, and the next login is a full one."""
        self._needs_full_login = True
        if self.state == "running" and self.is_ready:
            self._say("session invalidated")
            self.restart_itself()

    def tell_all(self, code: int, text: str) -> None:
        """Say something to every client."""
        self._say(f"says {code}")
        for client in list(self.clients.values()):
            if client.client_id is not None and not self.is_silent:
                client.send(messages.build_error(-1, code, text, version=178))

    def _log_in_fully(self) -> None:
        self._write(Event.RESTART)
        self._later(2.0, self._attempt)

    def _attempt(self) -> None:
        self._write(Event.ATTEMPT)
        self._write(Event.ROUND)
        self._later(3.0, self._challenge)

    def _challenge(self) -> None:
        self._write(Event.CHALLENGE)
        self.awaits_phone = True
        self.had_challenge_s = self._clockwork.now_s
        self._say("asks for the second factor")
        answer_s = self.phone_s()
        if answer_s is not None and answer_s < _CHALLENGE_LASTS_S:
            self._later(answer_s, self._complete)
        else:
            self._later(_CHALLENGE_LASTS_S, self._give_up_challenge)

    def _give_up_challenge(self) -> None:
        self.awaits_phone = False
        self._write(Event.CHALLENGE_ENDED)
        self._later(10.0, self._attempt)

    def _complete(self) -> None:
        if self.awaits_phone:
            self._say("second factor confirmed")
        self.awaits_phone = False
        self._needs_full_login = False
        self._write(Event.COMPLETED)
        self._write(Event.LOGGED_IN)
        self._later(8.0, self._open_api)

    def _open_api(self) -> None:
        self.is_ready, self.is_silent = True, False
        self._say("API open")
        self._later(1.0, self._look_healthy)
        self._tell_change()

    def _close_api(self) -> None:
        if self.is_silent:
            self.was_wrong_s = self._clockwork.now_s
        self.is_ready = self.is_silent = False
        for number in list(self.clients):
            self.clients.pop(number).lose()

    def _look_healthy(self) -> None:
        if self.is_ready:
            self._set_health("healthy")
        elif self.health == "healthy":
            self._later(60.0, lambda: self._set_health("unhealthy"))

    def _set_health(self, health: str) -> None:
        if self.state == "running" and self.health != health and (health != "unhealthy" or not self.is_ready):
            self.health = health
            self._tell_events(f"health_status: {health}")

    def _later(self, delay_s: float, happening: Callable[[], None]) -> None:
        life = self._life
        self._clockwork.after(delay_s, lambda: happening() if self._life == life else None)

    def _write(self, event: Event) -> None:
        stamp = self._clockwork.host_now.astimezone(MARKET)
        self._launcher.append(
            f"{stamp:%Y-%m-%d %H:%M:%S}.{stamp.microsecond // 1000:03d} INFO  [main] - {_EXAMPLES[event]}"
        )

    def _say(self, what: str) -> None:
        self._clockwork.say("gateway", what)

    def _show_now(self) -> str:
        return self._clockwork.host_now.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"

    def _tell_change(self) -> None:
        for told in self.on_change:
            told()

    # Docker's command line.

    def follow(self, number: int, argv: tuple[str, ...], say: Callable[[str], None], end: Callable[[], None]) -> None:
        """A program follows events, or the log."""
        self._followers[number] = (argv[1], say, end)

    def unfollow(self, number: int) -> None:
        """It has stopped following."""
        self._followers.pop(number, None)

    def _tell_events(self, event: str) -> None:
        for kind, say, _ in list(self._followers.values()):
            if kind == "events":
                say(event)

    def _end_followers(self, kind: str) -> None:
        for number, (one, _, end) in list(self._followers.items()):
            if one == kind:
                del self._followers[number]
                end()

    def stop_engine(self) -> None:
        """The engine stops, and the container with it."""
        self.end(143, by_engine=True)
        self.is_engine_up = False
        self._say("engine stopped")
        for kind in ("events", "logs"):
            self._end_followers(kind)

    def start_engine(self) -> None:
        """The engine starts, and the container with it."""
        self.is_engine_up = True
        self._say("engine started")
        if self.state == "exited" and not self._is_stopped:
            self.start()

    def run(self, argv: tuple[str, ...], environ: Mapping[str, str], who: str) -> Answered:
        """A docker command: exit code, output, errors, and how many seconds it takes."""
        if argv[0] != "docker":
            return None, "", "", 0.0
        if argv[1] == "version" and self.is_engine_up:
            return 0, "26.1.5\n", "", 0.02
        if argv[1:3] == ("compose", "version"):
            return 0, "2.26.1\n", "", 0.02
        if not self.is_engine_up:
            return 1, "", _NO_ENGINE, 0.02
        if argv[1] in {"restart", "stop", "start"} or "up" in argv:
            self._clockwork.say(who, f"docker {argv[1] if argv[1] != 'compose' else 'compose up'}")
        words = argv[2:] if argv[1] in {"container", "image"} else argv[1:]
        return self._answer(words, argv, environ)

    def _answer(self, words: tuple[str, ...], argv: tuple[str, ...], environ: Mapping[str, str]) -> Answered:
        if words[0] == "compose":
            return self._answer_compose(words, environ)
        if words[:2] == ("ps", "--all"):
            return 0, f"{self.id}\n" if self.state else "", "", 0.02
        plain: dict[str, Answered] = {"ps": (0, "", "", 0.02), "rm": (0, "", "", 0.1)}
        if words[0] in plain:
            return plain[words[0]]
        answer = self._commands.get(words[0])
        assert answer is not None, f"a command that is not simulated: {argv}"
        return answer(argv)

    def _answer_compose(self, words: tuple[str, ...], environ: Mapping[str, str]) -> Answered:
        if "config" in words:
            return 0, json.dumps(self._config(environ)), "", 0.1
        assert "up" in words, f"a command that is not simulated: {words}"
        return self._up(environ)

    def _show(self, argv: tuple[str, ...]) -> Answered:
        if argv[1] == "image":
            return 0, "sha256:1\n", "", 0.02
        reference = argv[-1]
        if not self.state or reference not in {self.id, NAME}:
            return 1, "[]\n", f"Error response from daemon: No such container: {reference}\n", 0.02
        return 0, json.dumps([self._inspect()]), "", 0.02

    def _stop(self, _argv: tuple[str, ...]) -> Answered:
        takes_s = 5.0 if self.state == "running" else 0.1
        self.end(143, by_engine=True)
        self._life += 1  # its policy starts it no more
        self._is_stopped = True
        return 0, "", "", takes_s

    def _start(self, _argv: tuple[str, ...]) -> Answered:
        if self.state != "running":
            self.start()
        return 0, "", "", 0.5

    def _show_log(self, argv: tuple[str, ...]) -> Answered:
        if not self.state:
            return 1, "", f"Error response from daemon: No such container: {argv[-1]}\n", 0.02
        return 0, "".join(f"{line}\n" for line in self._log[-200:]), "", 0.03

    def _execute(self, argv: tuple[str, ...]) -> Answered:
        if self.state != "running":
            return 1, "", "the container is not running\n", 0.02
        return (0, self._read_launcher(), "", 0.05) if argv[3] == "sh" else (3, "", "", 0.05)

    def _copy(self, _argv: tuple[str, ...]) -> Answered:
        return 0, self._copy_password(), "", 0.03

    def _up(self, environ: Mapping[str, str]) -> Answered:
        if self.state != "running":
            self._container += 1
            self.id = f"{self._container:064x}"
            self._password = environ.get("TWS_PASSWORD", "")
            self._environ = dict(self._config(environ)["services"]["gateway"]["environment"])
            self._finished_at = _NEVER
            self.start()
        return 0, "", "Container started\n", 0.8

    def _restart(self, _argv: tuple[str, ...]) -> Answered:
        self.restarts_by_command += 1
        self.end(143, by_engine=True)
        self._later(6.0, self.start)
        return 0, "", "", 6.5

    def _config(self, environ: Mapping[str, str]) -> dict[str, Any]:
        variables = {name: environ.get(variable, default) for name, variable, default in _VARIABLES}
        variables["TWS_PASSWORD_FILE"] = "/run/secrets/tws_password"  # noqa: S105 - where it is, not what it is
        service = {
            "image": IMAGE,
            "container_name": NAME,
            "environment": variables,
            "ports": [{"host_ip": "127.0.0.1", "published": str(PORT), "target": 4004}],
            "mem_limit": "2147483648",
            "secrets": [{"source": "tws_password"}],
        }
        secrets = {"tws_password": {"environment": "TWS_PASSWORD"}}
        return {"name": NAME, "services": {"gateway": service}, "secrets": secrets}

    def _inspect(self) -> dict[str, Any]:
        return {
            "Id": self.id,
            "Name": f"/{NAME}",
            "RestartCount": self._restart_count,
            "State": {
                "Status": self.state,
                "StartedAt": self._started_at,
                "FinishedAt": self._finished_at,
                "ExitCode": self._exit_code,
                "Error": "",
                "OOMKilled": False,
                "Health": {"Status": self.health, "FailingStreak": 4 if self.health == "unhealthy" else 0, "Log": []},
            },
            "Config": {
                "Image": IMAGE,
                "Env": [f"{name}={value}" for name, value in self._environ.items()],
                "Labels": {
                    "com.docker.compose.project": NAME,
                    "com.docker.compose.service": "gateway",
                    "com.docker.compose.oneoff": "False",
                },
            },
            "HostConfig": {
                "Memory": 2147483648,
                "PortBindings": {"4004/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(PORT)}]},
            },
            "NetworkSettings": {"Networks": {f"{NAME}_default": {}}},
        }

    def _read_launcher(self) -> str:
        now = self._clockwork.host_now
        zone = now.astimezone(MARKET).strftime("%z")
        lines = "\n".join(self._launcher[-400:])
        last = self._launcher[-1] if self._launcher else ""
        if self.awaits_phone:  # a heartbeat each 20 s while a challenge is pending (FIELD-NOTES)
            beat = (now - timedelta(seconds=self._clockwork.now_s % 20)).astimezone(MARKET)
            last = f"{beat:%Y-%m-%d %H:%M:%S}.000 INFO  [main] - Sent NS_HEART_BEAT"
        return f"now {now.timestamp():.0f} {zone}\n{lines}\n\nlast {last}\n"

    def _copy_password(self) -> str:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            entry = tarfile.TarInfo("tws_password")
            entry.size = len(self._password)
            archive.addfile(entry, io.BytesIO(self._password.encode()))
        return content.getvalue().decode()

    # The API.

    @property
    def answers_port(self) -> bool:
        """Whether the forwarder in the container accepts."""
        return self.state == "running"

    def accept(self, number: int, client: ApiClient) -> None:
        """A program has connected."""
        if not self.is_ready:
            self._clockwork.after(0.02, client.lose)  # once it has seen that it is connected
            return
        self.clients[number] = client

    def leave(self, number: int) -> None:
        """A program has disconnected."""
        self.clients.pop(number, None)

    def hear(self, number: int, data: bytes) -> None:
        """A program has sent something."""
        client = self.clients.get(number)
        if client is None or self.is_silent:
            return
        if not client.has_prefix:
            client.has_prefix = True
            data = data.removeprefix(messages.API_PREFIX)
        for body in client.frames.feed(data):
            answer = self._reply(client, body)
            if answer:
                client.send(answer)

    def _reply(self, client: ApiClient, body: bytes) -> bytes:
        fields = parse_fields(body)
        if fields[0].startswith("v"):
            return messages.build_greeting(178, "20261118 09:00:00 EST")
        request, answer = int(fields[0]), messages.Response
        if request == messages.Request.START_API:
            client.client_id = int(fields[2])
            return messages.build_handshake_end(self.accounts, 1)
        answers: dict[int, tuple[object, ...]] = {
            messages.Request.CURRENT_TIME: (int(answer.CURRENT_TIME), 1, int(self._clockwork.now.timestamp())),
            messages.Request.ALL_OPEN_ORDERS: (int(answer.OPEN_ORDERS_END), 1),
            messages.Request.POSITIONS: (int(answer.POSITIONS_END), 1),
            messages.Request.ACCOUNT_SUMMARY: (int(answer.ACCOUNT_SUMMARY_END), 1, *fields[2:3]),
        }
        return build_frame(*answers[request]) if request in answers else b""


def next_market_night(clockwork: Clockwork) -> datetime:
    """The next 23:45 of the exchange's time zone."""
    local = clockwork.market_now
    at = local.replace(hour=23, minute=45, second=0, microsecond=0)
    return (at if at > local else at + timedelta(days=1)).astimezone(UTC)
