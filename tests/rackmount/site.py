"""An operator's side of a deploy: a checkout with commits of its own, an SSH configuration, and `fab`."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.rackmount.host import PROJECT, USER, RackHost
from tests.system import build_plan

BASE = "/opt/zero-touch"
SERVICE_USER = "zero-touch"
UNIT = "zero-touch-startup.service"
IMAGE = "zero-touch-test/simulator:rackmount"
PLAN = "/srv/plan.json"
SECRET = f"s3cret-{uuid.uuid4().hex}"  # planted, to be looked for; in no file of the checkout
_FAB_TIMEOUT_S = 400
GIT = ("git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")


@dataclass(frozen=True, kw_only=True)
class Fabbed:
    """A `fab` that has ended."""

    code: int
    out: str
    err: str

    @property
    def only(self) -> dict[str, Any]:
        """Its JSON document's only host."""
        (one,) = json.loads(self.out)["hosts"]
        return dict(one)

    def __str__(self) -> str:
        return f"{self.out}{self.err}(exit code {self.code})"


@dataclass(kw_only=True)
class Site:
    """The operator's machine.

    Attributes:
        host: The host that is deployed to.
        folder: Where its files lie.
        wheels: The requirements as wheels: the host reaches no index.
    """

    host: RackHost
    folder: Path
    wheels: Path
    _plan_date: str = ""

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    @property
    def env_file(self) -> Path:
        return self.folder / "env.rackmount"

    def set_up(self) -> None:
        """A key, known hosts, a checkout with one commit, settings, a plan of today."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=PROJECT,
            capture_output=True,
            check=True,
        ).stdout
        for name in [os.fsdecode(one) for one in listed.split(b"\0") if one]:
            if (PROJECT / name).is_file():
                target = self.checkout / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((PROJECT / name).read_bytes())
                target.chmod((PROJECT / name).stat().st_mode)
        self.git("init", "--quiet")
        self.commit("the first one")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "key"], check=True)
        self.host.authorize((self.folder / "key.pub").read_text())
        self.use_ssh()
        self.write_env()
        self.ensure_plan_of_today()

    def ensure_plan_of_today(self) -> None:
        """Write today's plan, unless it is there: the tests of a module may run over midnight in New York."""
        today = datetime.now(ZoneInfo("America/New_York")).date().isoformat()
        if today != self._plan_date:
            self.host.write(PLAN, json.dumps(build_plan(date=today)))
            self._plan_date = today

    def use_ssh(self, *, known: str | None = None, jumps: bool = False, port: int | None = None) -> None:
        """Write the SSH configuration; its port is another one after each boot."""
        port = port or self.host.ssh_port
        keys = [" ".join(key.split()[:2]) for key in self.host.read_host_keys()]
        lines = "".join(f"[127.0.0.1]:{port} {key}\n" for key in keys)
        (self.folder / "known_hosts").write_text(lines if known is None else known)
        jump = f"Host jump\n  HostName 127.0.0.1\n  Port {port}\n  User {USER}\n"
        behind = f"Host behind\n  HostName localhost\n  User {USER}\n  ProxyJump jump\n"
        (self.folder / "config").write_text(
            f"{jump + behind if jumps else ''}"
            f"Host rackmount\n  HostName 127.0.0.1\n  Port {port}\n  User {USER}\n  IdentityFile {self.folder}/key\n"
            "  IdentitiesOnly yes\n"
            f"Host nowhere\n  HostName 127.0.0.1\n  Port 1\n"
            f"Host *\n  UserKnownHostsFile {self.folder}/known_hosts\n"
        )

    def write_env(self, **changes: object) -> None:
        """Write the settings for the host."""
        values: dict[str, object] = {
            "GATEWAY_IMAGE": IMAGE,
            "TWS_USERID": "ann",
            "TWS_PASSWORD": SECRET,
            "GAMEPLAN_PATH": PLAN,
            "MARKET_CALENDAR": "daily",
            "MONITOR_INTERVAL": 5,
            "GATEWAY_HEALTH_TIMEOUT": 60,
        }
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in (values | changes).items()))

    def git(self, *words: str) -> str:
        """Run git in the checkout."""
        return subprocess.run([*GIT, *words], cwd=self.checkout, capture_output=True, text=True, check=True).stdout

    def commit(self, what: str, **files: str) -> str:
        """Commit; `files` are texts put at the end of them. Returns the commit id."""
        for name, text in files.items():
            with (self.checkout / name).open("a") as file:
                file.write(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", what)
        return self.git("rev-parse", "HEAD").strip()

    def fab_argv(self, *words: str, hosts: str = "rackmount") -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "fabric", "-S", str(self.folder / "config"), "-H", hosts, *words]

    def fab(self, *words: str, hosts: str = "rackmount", environ: dict[str, str] | None = None) -> Fabbed:
        """Run `fab` in the checkout."""
        done = subprocess.run(
            self.fab_argv(*words, hosts=hosts),
            cwd=self.checkout,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FAB_TIMEOUT_S,
            check=False,
        )
        return Fabbed(code=done.returncode, out=done.stdout, err=done.stderr)

    def deploy(self, *words: str) -> Fabbed:
        """Deploy with the wheels."""
        return self.fab("deploy", "--json", "--timeout=90", f"--wheels={self.wheels}", *words)

    @contextlib.contextmanager
    def deploying(self, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """A deploy that is under way; killed at the end, if it still is."""
        argv = self.fab_argv("deploy", "--timeout=90", f"--wheels={self.wheels}", *words)
        process = subprocess.Popen(
            argv,
            cwd=self.checkout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def current(self) -> str:
        """The current release."""
        return self.host.run(f"readlink {BASE}/current", check=False).out.strip().rpartition("/")[2]

    def releases(self) -> list[str]:
        """The folders of the releases."""
        return self.host.run(["ls", f"{BASE}/releases"]).out.split()

    def bots(self) -> list[int]:
        """The bots' process ids."""
        found = self.host.run(["pgrep", "-f", "orchestration.bot.reference"], check=False).out.split()
        return [int(pid) for pid in found]

    def release_of(self, pid: int) -> str:
        """The release whose folder a process works in."""
        return self.host.run(f"readlink /proc/{pid}/cwd", check=False).out.strip().rpartition("/")[2]

    def is_well(self) -> bool:
        """Whether the system is up, by its own word, with one bot, which is of the current release."""
        argv = f"cd {BASE}/current && runuser -u {SERVICE_USER} -- .venv/bin/python -m invoke status"
        bots = self.bots()
        return self.host.run(argv, check=False).ok and len(bots) == 1 and self.release_of(bots[0]) == self.current()

    def wait_until_well(self) -> None:
        """Wait for that."""
        self.host.wait_until(self.is_well, "the system is well", timeout_s=180)

    def audit(self) -> list[dict[str, str]]:
        """The audit trail."""
        return [json.loads(line) for line in self.host.read(f"{BASE}/shared/deploys.log").splitlines()]

    def wait_for_audit(self, outcome: str, *, before: int) -> None:
        """Wait until the host has written one more line, with this outcome."""
        self.host.wait_until(
            lambda: [line["outcome"] for line in self.audit()[before:]] == [outcome], f"{outcome} by itself"
        )


def read_until(process: "subprocess.Popen[str]", is_it: Callable[[str], bool]) -> list[str]:
    """The lines that it writes, until the one that is meant."""
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if is_it(line):
            return lines
    raise AssertionError(f"it ended without that line: {''.join(lines)}")


@contextlib.contextmanager
def watching_processes(host: RackHost, text: str) -> Iterator[list[str]]:
    """Look at the host's whole process list again and again; yields what held the text."""
    # The text itself comes by the input, so that the watcher's own line does not hold it.
    program = """
import os, sys, time
text = sys.stdin.readline().strip().encode()
seen, looks = set(), 0
while not os.path.exists("/run/watch-no-more"):
    looks += 1
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{pid}/cmdline", "rb").read()
        except OSError:
            continue
        if text in line:
            seen.add(line.replace(b"\\0", b" ").decode(errors="replace"))
print(looks)
print("\\n".join(seen))
"""
    host.run("rm -f /run/watch-no-more")
    found: list[str] = []

    def watch() -> None:
        command = f"python3 -c {shlex.quote(program)}"
        found.extend(host.run(command, stdin=f"{text}\n".encode(), timeout_s=_FAB_TIMEOUT_S).out.splitlines())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        host.run("touch /run/watch-no-more")
        thread.join()
