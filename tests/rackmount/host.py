"""A whole Linux host as a container: systemd is pid 1, sshd answers, and Docker runs inside it.

What a test needs of it: run something there, copy the project to it, reboot it, cut its power, wait until something is
so. Its kernel is this machine's, so the boot id stays the same over a reboot; everything else starts from scratch.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PYTHON = "3.13"  # the test host's: Debian 13
VENV = "/opt/zero-touch-venv"
USER = "trader"  # in the group docker, may use sudo
GUEST = "guest"  # may do nothing
HOME = f"/home/{USER}"
PATIENCE_S = 90.0
_LOOK_S = 0.2
_OF_PROGRAMS = ("_TRANSPORT=journal", "_TRANSPORT=stdout", "_TRANSPORT=syslog")


class NoHostError(Exception):
    """Why the host cannot be built on this machine."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that has ended on the host."""

    command: str
    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def document(self) -> Any:  # noqa: ANN401 - a JSON document
        """Its JSON document; fails unless standard output is exactly one."""
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.out}{self.err}(exit code {self.code})"


@dataclass(frozen=True, kw_only=True)
class Project:
    """A checkout on the host.

    Attributes:
        host: The host.
        folder: Where it lies.
        user: To whom it belongs.
    """

    host: "RackHost"
    folder: str
    user: str

    def inv(self, *arguments: str, sudo: bool = False, check: bool = True, timeout_s: float = 120) -> Ran:
        """Run `inv` as a person would who stands in the project's folder; `sudo` as that person with sudo."""
        argv = [*(("sudo",) if sudo else ()), f"{self.folder}/.venv/bin/python", "-m", "invoke", *arguments]
        return self.host.run(argv, user=self.user, cwd=self.folder, check=check, timeout_s=timeout_s)

    def write_env(self, **values: object) -> None:
        """Write `.env`, for its owner's eyes only."""
        text = "".join(f"{name}={value}\n" for name, value in values.items())
        self.host.write(f"{self.folder}/.env", text, user=self.user, mode="600")

    def use_stand_in(self, script: str) -> None:
        """Put another program in the start-up script's place, for tests of the service alone."""
        self.host.write(f"{self.folder}/{WRAPPER}", script, user=self.user, mode="755")


WRAPPER = "docker/gateway/scripts/production-startup.sh"


class RackHost:
    """One running host.

    Attributes:
        name: The container's name.
    """

    def __init__(self, name: str, image: str, hostname: str = "rackmount") -> None:
        self.name = name
        self._image = image
        self._hostname = hostname

    def start(self) -> None:
        """Switch it on and wait until it has booted."""
        _docker(
            *("run", "--detach", "--privileged", "--cgroupns=private", "--hostname", self._hostname),
            *("--tmpfs", "/run", "--tmpfs", "/tmp:exec", "--volume", f"{self.name}:/var/lib/docker"),  # noqa: S108 - its own
            *("--publish", "127.0.0.1::22", "--name", self.name, self._image),
        )
        self.wait_for_boot()

    def remove(self) -> None:
        """Throw it away, with its disk."""
        _docker("rm", "--force", "--volumes", self.name, check=False)
        _docker("volume", "rm", "--force", self.name, check=False)

    def run(
        self,
        command: str | Sequence[str],
        *,
        user: str = "root",
        cwd: str | None = None,
        environ: dict[str, str] | None = None,
        stdin: bytes | None = None,
        check: bool = True,
        timeout_s: float = 60,
    ) -> Ran:
        """Run a shell line or an argument list to its end; fails if it does not end with 0, unless `check` is off."""
        argv = ["bash", "-c", command] if isinstance(command, str) else list(command)
        home = "/root" if user == "root" else f"/home/{user}"
        switches = ["--user", user, "--workdir", cwd or home, "--env", f"HOME={home}", "--env", f"USER={user}"]
        for name, value in (environ or {}).items():
            switches += ["--env", f"{name}={value}"]
        if stdin is not None:
            switches.append("--interactive")
        done = subprocess.run(
            ["docker", "exec", *switches, self.name, *argv],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        ran = Ran(
            command=command if isinstance(command, str) else shlex.join(command),
            code=done.returncode,
            out=done.stdout.decode(errors="replace"),
            err=done.stderr.decode(errors="replace"),
        )
        assert ran.ok or not check, str(ran)
        return ran

    def read(self, path: str) -> str:
        """A file's text."""
        return self.run(["cat", path]).out

    def exists(self, path: str) -> bool:
        """Whether there is something at this path."""
        return self.run(["test", "-e", path], check=False).ok

    def write(self, path: str, text: str, *, user: str = "root", mode: str = "644") -> None:
        """Write a file."""
        quoted = shlex.quote(path)
        self.run(f"umask 077; cat >{quoted} && chmod {mode} {quoted}", user=user, stdin=text.encode())

    def show(self, unit: str, *properties: str, user: str = "root") -> dict[str, str]:
        """What systemd says of a unit; of a user's own unit, if a user is named."""
        argv = [
            "systemctl",
            *(() if user == "root" else ("--user",)),
            "show",
            unit,
            f"--property={','.join(properties)}",
        ]
        lines = self.run(argv, user=user, environ=self.user_environ(user)).out.splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def user_environ(self, user: str) -> dict[str, str]:
        """What a log-in of this user would set, so that its service manager is found."""
        return {} if user == "root" else {"XDG_RUNTIME_DIR": f"/run/user/{self.uid(user)}"}

    def uid(self, user: str) -> int:
        """A user's number."""
        return int(self.run(["id", "-u", user]).out)

    def wait_until(self, is_so: Callable[[], object], what: str, *, timeout_s: float = PATIENCE_S) -> None:
        """Look again and again until it is so; fails after a generous while, with the journal's last lines."""
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            if time.monotonic() >= deadline_s:
                raise AssertionError(f"not so after {timeout_s:g} s: {what}\n{self.journal()}")
            time.sleep(_LOOK_S)

    def journal(self, unit: str = "", *, lines: int = 40) -> str:
        """The journal's last lines; without a unit those of all programs, but not the kernel's many about networks."""
        argv = ["journalctl", "--no-pager", f"--lines={lines}", *(("--unit", unit) if unit else _OF_PROGRAMS)]
        return self.run(argv, check=False).out

    def wait_for_boot(self, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until systemd has done its work and Docker answers."""
        booted = "systemctl is-system-running | grep -qE '^(running|degraded)$' && docker info >/dev/null"
        self.wait_until(lambda: self._answers(booted), "the host has booted", timeout_s=timeout_s)

    def reboot(self) -> None:
        """Shut down in order, as `reboot` does, and boot again."""
        self.shut_down()
        self.switch_on()

    def shut_down(self, *, timeout_s: int = 180) -> None:
        """Shut down in order: systemd stops every unit first."""
        _docker("stop", "--time", str(timeout_s), self.name, timeout_s=timeout_s + 30)

    def cut_power(self) -> None:
        """The mains fail: nothing is stopped in order."""
        _docker("kill", "--signal", "KILL", self.name)

    def switch_on(self) -> None:
        """Boot again after `shut_down` or `cut_power`."""
        _docker("start", self.name)
        self.wait_for_boot()

    @property
    def ssh_port(self) -> int:
        """The loopback port of this machine that leads to its sshd; another one after each boot."""
        return int(_docker("port", self.name, "22/tcp").splitlines()[0].rpartition(":")[2])

    def authorize(self, public_key: str, *, user: str = USER) -> None:
        """Let the holder of a key in over SSH."""
        self.run(["install", "-d", "-m", "700", f"/home/{user}/.ssh"], user=user)
        self.write(f"/home/{user}/.ssh/authorized_keys", public_key, user=user, mode="600")

    def read_host_keys(self) -> tuple[str, ...]:
        """Its public host keys, for a `known_hosts` file."""
        return tuple(self.run("cat /etc/ssh/ssh_host_*_key.pub").out.splitlines())

    def load_image(self, image: str) -> None:
        """Carry an image of this machine's Docker into the host's own."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
            subprocess.run(
                ["docker", "exec", "--interactive", self.name, "docker", "load", "--quiet"],
                stdin=save.stdout,
                stdout=subprocess.DEVNULL,
                check=True,
                timeout=300,
            )
        assert save.returncode == 0

    def copy_project(self, folder: str = f"{HOME}/zero-touch", *, user: str = USER) -> Project:
        """Put this working tree there as a checkout of `user`'s, with its environment ready."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=PROJECT,
            capture_output=True,
            check=True,
        ).stdout
        names = b"\0".join(name for name in listed.split(b"\0") if name and (PROJECT / os.fsdecode(name)).is_file())
        packed = subprocess.run(
            ["tar", "--create", "--null", "--files-from=-"], cwd=PROJECT, input=names, capture_output=True, check=True
        ).stdout
        quoted = shlex.quote(folder)
        self.run(f"install -d -o {user} -g {user} {quoted}")
        self.run(f"cd {quoted} && tar --extract && ln -sfn {VENV} .venv", user=user, stdin=packed)
        return Project(host=self, folder=folder, user=user)

    def _answers(self, command: str) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.run(command, check=False, timeout_s=10).ok
        return False


@contextlib.contextmanager
def running_host(image: str, hostname: str = "rackmount") -> Iterator[RackHost]:
    """A host of one's own, switched on; gone afterwards."""
    host = RackHost(f"zero-touch-rackmount-{uuid.uuid4().hex[:8]}", image, hostname)
    try:
        host.start()
        yield host
    finally:
        host.remove()


def why_no_host() -> str:
    """Why such a host cannot be had here, or an empty string."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        return "there is no Docker Engine"
    if os.geteuid() != 0 and not _has_image(f"zero-touch/rackmount-ready:{_ready_tag()}"):
        return "its image must be built, and that needs root"
    return ""


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One worker at a time makes what all of them use; the others find it."""
    with (Path(tempfile.gettempdir()) / f"zero-touch-rackmount-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@functools.cache
def build_ready_image() -> str:
    """The host's image with the project's requirements installed; built when something in it has changed.

    Raises:
        NoHostError: This machine cannot build it.
    """
    ready = f"zero-touch/rackmount-ready:{_ready_tag()}"
    wheels = download_wheels()
    with _alone():
        return ready if _has_image(ready) else _build_ready_image(ready, wheels)


def _build_ready_image(ready: str, wheels: Path) -> str:
    built = subprocess.run([HERE / "build-image"], capture_output=True, text=True, check=False, timeout=900)
    if built.returncode:
        raise NoHostError(built.stderr.strip().rpartition("\n")[2])
    maker = f"zero-touch-rackmount-maker-{uuid.uuid4().hex[:8]}"
    install = f"python3 -m venv {VENV} && {VENV}/bin/pip install --quiet --no-index --find-links /tmp/wheels"
    try:
        _docker("run", "--detach", "--name", maker, built.stdout.strip(), "sleep", "infinity")
        _docker("cp", str(wheels), f"{maker}:/tmp/wheels")
        _docker("cp", str(PROJECT / "requirements.txt"), f"{maker}:/tmp/requirements.txt")
        script = f"{install} --require-hashes -r /tmp/requirements.txt && rm -rf /tmp/wheels /tmp/requirements.txt"
        _docker("exec", maker, "bash", "-c", script, timeout_s=300)
        _docker("commit", "--change", 'CMD ["/sbin/init"]', maker, ready, timeout_s=300)
    finally:
        _docker("rm", "--force", maker, check=False)
    return ready


def _ready_tag() -> str:
    parts = ((HERE / "build-image").read_bytes(), (PROJECT / "requirements.txt").read_bytes(), PYTHON.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def download_wheels() -> Path:
    """The requirements as wheels for the host's Python, kept between runs."""
    folder = Path.home() / ".cache/zero-touch" / f"wheels-{_ready_tag()}"
    with _alone():
        if not (folder / "complete").is_file():
            _download_wheels(folder)
    return folder


def _download_wheels(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "requirements.txt"
    wanted.write_text(_requirements_of_the_host((PROJECT / "requirements.txt").read_text()))
    subprocess.run(
        [
            *(PROJECT / ".venv/bin/python", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
            *("--python-version", PYTHON, "--require-hashes", "--dest", folder),
            *("--requirement", wanted),
        ],
        check=True,
        timeout=600,
    )
    (folder / "complete").touch()


def _requirements_of_the_host(text: str) -> str:
    """The requirements that hold for the host's Python: pip judges their markers by the Python it runs on."""
    from packaging.markers import Marker

    environment = {
        "python_version": PYTHON,
        "python_full_version": f"{PYTHON}.0",
        "platform_python_implementation": "CPython",
    }
    kept = []
    for block in text.replace("\\\n", "\0").splitlines():
        first = block.partition("\0")[0]
        marker = first.partition(" ; ")[2].strip()
        if not marker or Marker(marker).evaluate({**environment, "sys_platform": "linux", "os_name": "posix"}):
            kept.append(block.replace(f" ; {marker}", "").replace("\0", "\\\n"))
    return "\n".join(kept) + "\n"


def _has_image(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


def _docker(*arguments: str, check: bool = True, timeout_s: float = 120) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False)
    assert not check or done.returncode == 0, f"docker {shlex.join(arguments)}: {done.stderr}"
    return done.stdout
