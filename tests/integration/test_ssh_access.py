"""Reaching hosts: SSH configurations as people have them, proxies, silent ports, and links that fall silent."""

import base64
import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import paramiko
import pytest

from orchestration.deploy.cli import read_env
from orchestration.deploy.connection import SshAccess, SshRemote
from orchestration.deploy.errors import DeployError
from orchestration.deploy.link import Secrets
from orchestration.deploy.ssh_config import ConfigFiles
from orchestration.redaction import own_redactor
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from tests.integration.ssh_server import RELAY, SshServer, make_key, serving
from tests.system import wait_until

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> paramiko.PKey:
    path = tmp_path_factory.mktemp("keys") / "host"
    make_key(path)
    return paramiko.Ed25519Key(filename=str(path))


@pytest.fixture(scope="module")
def server(key: paramiko.PKey) -> Iterator[SshServer]:
    with serving([key]) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, key: paramiko.PKey) -> Path:
    """A home folder with a key and known hosts: everything on this machine has the one host key."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    make_key(folder / ".ssh/id_ed25519")
    (folder / ".ssh/known_hosts").write_text(f"[127.0.0.1]:*,[::1]:*,rack {key.get_name()} {key.get_base64()}\n")
    return folder


def open_remote(home: Path, name: str, *, config: str = "", silence_s: float = 60.0) -> SshRemote:
    (home / ".ssh/config").write_text(config)
    access = SshAccess(
        files=ConfigFiles(named=None, home=home, account_home=Path(pwd.getpwuid(os.getuid()).pw_dir)),
        secrets=Secrets(),
        connect_timeout_s=2.0,
        commands=SystemCommands(),
        clock=SystemClock(),
        on_warn=lambda _: None,
        silence_s=silence_s,
    )
    remote = SshRemote(name, access)
    remote.open()
    return remote


def say_hello(remote: SshRemote) -> list[str]:
    said: list[str] = []
    remote.run(["echo", "hello"], stdin=None, on_line=said.append, timeout_s=30)
    remote.close()
    return said


def refusal(home: Path, name: str, *, config: str = "") -> str:
    with pytest.raises(DeployError) as caught:
        open_remote(home, name, config=config)
    return caught.value.message


_HERE = " HostName 127.0.0.1\n Port {port}\n"
_CONFIGS = [
    "Host rack\n" + _HERE,
    "host rack\n\thostname=127.0.0.1\n\tPORT = {port}",
    'Host "rack"\n HostName "127.0.0.1"\n Port "{port}"',
    "# as on the wiki\r\nHost rack\r\n  HostName 127.0.0.1\r\n  Port {port}\r\n",
    "Host rack\n ProxyJump none\n" + _HERE,
    "Host rack\n ProxyJump=None\n" + _HERE,
    "Host rack\n ProxyCommand none\n" + _HERE,
    "Host rack\n" + _HERE + "Host *\n ProxyJump rack",
    "Host r?ck !rock\n" + _HERE,
    "Match host rack\n" + _HERE,
    'Match originalhost rack exec "true"\n' + _HERE,
    "Match host nothing exec false\n HostName 192.0.2.1\nMatch all\n" + _HERE,
    "Match final host 127.0.0.1\n Port {port}\nHost rack\n HostName 127.0.0.1",
    "Include more.d/*.conf\nHost rack\n HostName 127.0.0.1",
    "Host rack\n Include ~/.ssh/more.d/*.conf\n HostName 127.0.0.1",
    'Include "{home}/.ssh/more.d/a.conf" not-there\nHost rack\n HostName 127.0.0.1',
    "IgnoreUnknown UseKeychain\nHost rack\n UseKeychain yes\n" + _HERE,
    "Host rack\n CanonicalizeHostname yes\n CanonicalDomains example.invalid\n" + _HERE,
    "Host rack\n ForwardAgent $SSH_AUTH_SOCK\n ForwardX11 yes\n" + _HERE,
    "Host rack\n ConnectTimeout none\n ServerAliveInterval 1m\n StrictHostKeyChecking accept-new\n" + _HERE,
    "Host rack\n StrictHostKeyChecking off\n CheckHostIP yes\n VerifyHostKeyDNS ask\n" + _HERE,
    "Host rack\n IdentityFile ~/.ssh/not_there\n IdentityFile %d/.ssh/id_ed25519\n" + _HERE,
    "Host rack\n IdentityFile ~/.ssh/text\n IdentityFile ~/.ssh/id_ed25519.pub\n IdentityFile ~/.ssh/id_ed25519\n"
    + _HERE,
    "Host rack\n AddressFamily inet\n BindAddress 127.0.0.1\n" + _HERE,
    "Host rack\n IdentityAgent ~/.ssh/no-agent\n SetEnv A=b\n" + _HERE,
    "Host rack\n IdentityAgent none\n LocalForward 1 a:2\n LocalForward [::1]:3 b:4\n EscapeChar none\n" + _HERE,
    "Host rack\n HostKeyAlias rack\n Port {port}\n ProxyCommand {relay} 127.0.0.1 %p 2>/dev/null",
    'Host rack\n ProxyCommand {relay} "%h" %p | cat\n' + _HERE,
    "Host rack\n ProxyCommand env NAME=%n%%%r {relay} %h %p\n User ann\n" + _HERE,
    "Host rack\n ProxyJump ann@127.0.0.1:{port}\n" + _HERE,
    "Host rack\n ProxyJump near,ssh://far\n" + _HERE + "Host near far\n HostKeyAlias rack\n" + _HERE,
    "Host rack\n ProxyJump near\n" + _HERE + "Host near\n ProxyCommand {relay} %h %p\n" + _HERE,
]


@pytest.mark.parametrize("config", _CONFIGS)
def test_a_configuration_that_openssh_accepts_reaches_the_host(home: Path, server: SshServer, config: str) -> None:
    (home / ".ssh/more.d").mkdir()
    (home / ".ssh/more.d/a.conf").write_text(f"Host rack\n Port {server.port}\n")
    (home / ".ssh/text").write_text("no key\n")
    (home / "relay.py").write_text(RELAY)
    relay = f"{sys.executable} {home}/relay.py"
    text = config.format(port=server.port, relay=relay, home=home)
    (home / "as_openssh").write_text(text)
    subprocess.run(["ssh", "-F", home / "as_openssh", "-G", "rack"], check=True, capture_output=True)
    assert say_hello(open_remote(home, "rack", config=text)) == ["hello"]


@pytest.mark.parametrize(
    "identities",
    [
        "IdentityFile ~/.ssh/right.pub\n IdentitiesOnly yes",
        "IdentityFile ~/.ssh/right\n IdentitiesOnly yes",
        "IdentityFile ~/.ssh/right",
        "IdentityFile ${{KEYS}}/right.pub",
    ],
)
def test_of_an_agents_many_keys_the_named_one_is_offered_in_time(
    home: Path, key: paramiko.PKey, monkeypatch: pytest.MonkeyPatch, identities: str
) -> None:
    """Only its public half is in a file. A server hears a few keys, and then ends the connection."""
    folder = home / ".ssh"
    (folder / "id_ed25519").unlink()
    names = ["a", "b", "c", "d", "right"]
    right = [make_key(folder / name) for name in names][-1]
    socket_path = home / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
    monkeypatch.setenv("KEYS", str(folder))
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket_path], stdout=subprocess.DEVNULL)
    try:
        wait_until(socket_path.exists, "agent")
        subprocess.run(["ssh-add", "-q", *(folder / name for name in names)], check=True)
        for name in names:
            (folder / name).unlink()
        with serving([key]) as server:
            server.accepts = base64.b64decode(right.split()[1])
            config = f"Host rack\n HostName 127.0.0.1\n Port {server.port}\n {identities.format()}\n"
            assert say_hello(open_remote(home, "rack", config=config)) == ["hello"]
    finally:
        agent.terminate()
        agent.wait()


def test_a_configuration_that_openssh_refuses_is_refused_with_its_line(home: Path) -> None:
    assert "line 2: Bad configuration option: usekeychain" in refusal(
        home, "rack", config="Host rack\n UseKeychain yes"
    )
    assert "cannot be reached" in refusal(home, "other", config="Host other\n HostName 127.0.0.1\n Port 1")


@pytest.mark.parametrize(
    "text", ["127.0.0.1:{port}", "ann@127.0.0.1:{port}", "ssh://ann@127.0.0.1:{port}", "[127.0.0.1]:{port}"]
)
def test_a_host_is_named_with_user_and_port(home: Path, server: SshServer, text: str) -> None:
    name = text.format(port=server.port)
    remote = open_remote(home, name)
    assert remote.name == name
    assert remote.user == ("ann" if "ann" in name else pwd.getpwuid(os.getuid()).pw_name)
    assert say_hello(remote) == ["hello"]


@pytest.mark.parametrize("text", ["[::1]:{port}", "ann@[::1]:{port}", "::1"])
def test_an_address_of_ipv6_is_a_host(home: Path, key: paramiko.PKey, text: str) -> None:
    with serving([key], host="::1") as server:
        config = f"Host ::1\n Port {server.port}\n"
        assert say_hello(open_remote(home, text.format(port=server.port), config=config)) == ["hello"]


def test_a_port_that_accepts_and_says_nothing_is_told_so(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = refusal(home, f"127.0.0.1:{silent.getsockname()[1]}")
    assert "accepts the connection and says nothing for 2 s" in said


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-1.5-old\r\n", b"SSH-2.0-x\r\n" + bytes(64)]
)
def test_a_port_that_is_no_ssh_server_is_told_so(home: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        said = refusal(home, f"127.0.0.1:{listening.getsockname()[1]}")
    assert "cannot be reached: " in said
    assert "Traceback" not in said


def test_a_jump_host_must_be_known_too(home: Path, server: SshServer) -> None:
    (home / ".ssh/known_hosts").write_text((home / ".ssh/known_hosts").read_text().replace("[127.0.0.1]:*,", ""))
    config = f"Host rack\n HostKeyAlias rack\n ProxyJump near\nHost near rack\n HostName 127.0.0.1\n Port {server.port}"
    assert f"the host key of [127.0.0.1]:{server.port} is not known" in refusal(home, "rack", config=config)


def test_jump_hosts_in_a_circle_are_told(home: Path) -> None:
    assert "in circles" in refusal(home, "a", config="Host a\n ProxyJump b\nHost b\n ProxyJump c\nHost c\n ProxyJump b")


def test_a_proxy_command_that_fails_is_named(home: Path) -> None:
    said = refusal(home, "rack", config="Host rack\n ProxyCommand sh -c 'exit 3'")
    assert said == "rack cannot be reached: its proxy command ended with 3 (`sh -c 'exit 3'`)"


class Relay:
    """A proxy between client and server that can fall silent: it goes on taking what is sent, and drops it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._is_silent = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def fall_silent(self) -> None:
        self._is_silent.set()

    def wait(self) -> None:
        """Wait until the client has gone."""
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with (
            self._listening,
            self._listening.accept()[0] as client,
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump(client, server)
            server.shutdown(socket.SHUT_RDWR)
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                if not self._is_silent.is_set():
                    target.sendall(piece)


@pytest.mark.parametrize(
    ("config", "stdin"),
    [
        ("Host rack\n" + _HERE, None),
        ("Host rack\n ProxyCommand {relay} %h %p\n" + _HERE, bytes(64 * 1024 * 1024)),
    ],
    ids=["waiting", "uploading"],
)
def test_a_link_that_falls_silent_behind_a_proxy_is_noticed(
    home: Path, server: SshServer, config: str, stdin: bytes | None
) -> None:
    (home / "relay.py").write_text(RELAY)
    proxy = Relay(server.port)
    text = config.format(port=proxy.port, relay=f"{sys.executable} {home}/relay.py")
    remote = open_remote(home, "rack", config=text, silence_s=3.0)

    def listen(line: str) -> None:
        assert line == "started"
        proxy.fall_silent()

    with pytest.raises(DeployError, match="nothing was heard from there for 3 s"):
        remote.run(["sh", "-c", "echo started; sleep 600"], stdin=stdin, on_line=listen, timeout_s=90)
    remote.close()
    proxy.wait()


def test_a_link_on_which_nothing_is_said_for_long_stays_open(home: Path, server: SshServer) -> None:
    config = f"Host rack\n HostName 127.0.0.1\n Port {server.port}"
    remote = open_remote(home, "rack", config=config, silence_s=0.6)
    said: list[str] = []
    ended = remote.run(["sh", "-c", "sleep 2; echo still here"], stdin=None, on_line=said.append, timeout_s=60)
    remote.close()
    assert (ended.code, said) == (0, ["still here"])


def fab(home: Path, *words: str, environ: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fabric", *words],
        cwd=PROJECT,
        env={**os.environ, **(environ or {}), "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_a_host_that_is_connected_to_again_is_not_reached_through_itself(home: Path, key: paramiko.PKey) -> None:
    with serving([key]) as server:
        remote = open_remote(home, "rack", config=f"Host rack\n HostName 127.0.0.1\n Port {server.port}\n")
        server.drop()
        remote.open()

        assert say_hello(remote) == ["hello"]


def test_no_host_stops_the_next_and_nothing_is_a_traceback(home: Path, server: SshServer) -> None:
    (home / ".ssh/known_hosts").write_text("@cert-authority * x\nbroken\n" + (home / ".ssh/known_hosts").read_text())
    (home / ".ssh/config").write_text(
        f"Host bad\n Port 1\n ProxyJump gone\nHost gone\n HostName 127.0.0.1\n Port 1\n"
        f"Host rack\n HostName 127.0.0.1\n Port {server.port}\n ProxyJump none\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = ["a:port", f"127.0.0.1:{silent.getsockname()[1]}", "bad", "gone", "-x", "a b", "@", "[::1", "rack"]
        ended = fab(home, "-t", "2", "-H", ",".join([*hosts, "", "rack"]), "status", "--base=/nonexistent")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr + ended.stdout
    assert ended.stderr.count("known_hosts, line 2, is skipped") == 1
    shown = [line.split()[0] for line in ended.stdout.splitlines() if "FAILED" in line]
    assert shown == [host.split()[0] for host in hosts]
    assert "rack: nothing is deployed" in ended.stderr


def test_what_runs_here_for_a_command_inherits_no_secret(home: Path) -> None:
    (home / ".ssh/config").write_text("Host rack\n ProxyCommand env >~/inherited\n")
    secrets = dict.fromkeys(("TWS_PASSWORD", "TWS_PASSWORD_PAPER", "DISCORD_WEBHOOK_URL"), "correct-horse-7!")
    ended = fab(home, "-H", "rack", "status", environ={**secrets, "DEPLOY_CHAT": "desk"})
    inherited = (home / "inherited").read_text()
    assert ended.returncode == 1
    assert "DEPLOY_CHAT=desk" in inherited
    assert "correct-horse-7!" not in inherited


def test_a_secret_of_this_computers_settings_is_not_shown(home: Path) -> None:
    (home / ".env").write_text("TWS_PASSWORD=correct-horse-7!\n")
    (home / ".ssh/config").write_text("Host rack\n ProxyCommand sh -c 'exit 3' login=correct-horse-7!\n")
    ended = fab(home, "-H", "rack", "status", environ={"ENV_FILE": str(home / ".env")})
    assert ended.returncode == 1
    assert "its proxy command ended with 3 (`sh -c 'exit 3' login=********`)" in ended.stderr
    assert "correct-horse" not in ended.stdout + ended.stderr


def test_the_secrets_for_a_host_are_not_shown_once_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "rack.env").write_text("TRADING_MODE=paper\nTWS_PASSWORD='staple-battery 9'\n")
    read_env(str(tmp_path / "rack.env"))
    assert "battery" not in own_redactor().text("+ login --password='staple-battery 9'")


@pytest.mark.parametrize("hosts", ["", " , "])
def test_no_host_at_all_is_told_so(home: Path, hosts: str) -> None:
    ended = fab(home, "-H", hosts, "status")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("name the host")


def test_an_unreadable_configuration_is_the_hosts_failure(home: Path) -> None:
    (home / ".ssh/config").write_text("Host rack\n HostName\n")
    for words in (("-H", "rack,rack2"), ("-S", str(home / "not-there"), "-H", "rack,rack2")):
        ended = fab(home, *words, "status")
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        assert ended.stdout.count("FAILED") == 2


def test_hosts_are_looked_at_side_by_side(home: Path) -> None:
    """Each host answers only once both have been asked: one after the other, the first would never be done."""
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    clients: list[socket.socket] = []

    def refuse_both() -> None:
        clients.extend(server.accept()[0] for server in listening)
        for client in clients:
            client.sendall(b"not ssh\r\n")
            client.close()

    thread = threading.Thread(target=refuse_both, daemon=True)
    thread.start()
    with listening[0], listening[1]:
        hosts = [f"127.0.0.1:{server.getsockname()[1]}" for server in listening]
        ended = fab(home, "-t", "60", "-H", ",".join(hosts), "status", "--json")
    assert [one["host"] for one in json.loads(ended.stdout)["hosts"]] == hosts
    assert len(clients) == 2
    assert ended.returncode == 1
