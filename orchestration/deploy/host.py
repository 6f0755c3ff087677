"""The remote host: one method for each thing that is done there.

Each method sends a command and its arguments as JSON to the programs of `on_host`, over the input of
`sudo -n python3 -I`. Argument lists hold nothing but that program: they stand in the host's process list.
"""

import dataclasses
import importlib.resources
import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestration.deploy import on_host
from orchestration.deploy.connection import HeldProgram, Remote
from orchestration.deploy.errors import DeployError
from orchestration.deploy.on_host.service import describe_activation, is_good_status
from orchestration.deploy.release import ActivationRequest, Release

# Reads one JSON document, from the file that is named or, so many bytes of it, from the input; what follows in the
# input is the command's own. Loads the modules it brings and calls the last one.
LOADER = """
import json, os, sys, types
def take(length):
    taken = b""
    while len(taken) < length:
        piece = os.read(0, length - len(taken))
        if not piece:
            sys.exit("cut off")
        taken += piece
    return taken
where = sys.argv[1]
sent = json.loads(take(int(where)) if where.isdigit() else open(where, encoding="utf-8").read())
for name, text in sent["sources"].items():
    package, _, last = name.rpartition(".")
    module = sys.modules[name] = types.ModuleType(name)
    setattr(sys.modules.setdefault(package, types.ModuleType(package)), last, module)
    exec(compile(text, name, "exec"), module.__dict__)
sys.exit(module.main(sent))
"""
# Holds a lock for as long as a word comes each minute, and as the path still names the file that is held: one that was
# deleted, renamed or replaced locks no process out. The kernel frees it with the process. No symlink is followed.
LOCK = """
import fcntl, json, os, select, stat, sys
path, holder = sys.argv[1:3]
def say(text):
    print(text, flush=True)
def is_named():
    try:
        now = os.lstat(path)
    except OSError:
        return False
    return (now.st_dev, now.st_ino) == (held.st_dev, held.st_ino)
while True:
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        say(json.dumps({"problem": f"{path} cannot be opened: {error.strerror}"}))
        sys.exit(1)
    held = os.fstat(number)
    if not stat.S_ISREG(held.st_mode):
        say(json.dumps({"problem": f"{path} is not a file"}))
        sys.exit(1)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(os.pread(number, 2000, 0).decode(errors="replace").strip())
        sys.exit(75)
    if is_named():
        break
    os.close(number)
os.ftruncate(number, 0)
os.pwrite(number, holder.encode() + b"\\n", 0)
say("locked")
silent_s = 0
while is_named() and silent_s < 60:
    silent_s += 1
    if select.select([0], [], [], 1)[0]:
        silent_s = 0
        if not os.read(0, 4096):
            break
if is_named():
    os.ftruncate(number, 0)
"""
# Runs a release's `inv` for as long as the caller is there: its input ends with the connection.
FOLLOW = """
cd "$1" 2>/dev/null && test -x .venv/bin/python || { echo "nothing is deployed in $1" >&2; exit 126; }
shift
exec 3<&0
.venv/bin/python -m invoke "$@" </dev/null 3<&- &
inv=$!
{ cat <&3 >/dev/null; kill "$inv"; } 2>/dev/null &
watch=$!
exec 3<&-
wait "$inv"
code=$?
pkill -P "$watch" 2>/dev/null
kill "$watch" 2>/dev/null
exit "$code"
"""
_NOT_RUN = {126, 127}
_INV = re.compile(r"`inv ([^`]+)`")
_UNSUPERVISED = "unsupervised"  # what `inv status` calls it
_RESTARTING = "auto-restart"  # what systemd calls it
_LOCKED = "locked"
_SHORT_S = 120.0
_UPLOAD_S = 900.0
_BUILD_S = 2400.0
_MODE_PRIVATE = 0o600

OnStep = Callable[[str, bool, float], None]
OnSay = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one look at the host found.

    Attributes:
        python: The version of its `python3`.
        has_venv: Whether environments can be made.
        has_systemd: Whether systemd is pid 1.
        user: The service's user: `uid`, `home`, `groups`; empty if there is none.
        docker: The engine's version as that user sees it; empty if it does not.
        docker_problem: Why not.
        free_bytes: Free on the base folder's disk.
        base_owner: To whom the base folder belongs; empty if there is none.
        current: The current release; empty for none.
        files: Its files.
        releases: All of them, the oldest first.
        env_mode: The mode of the shared `.env`; None if there is none.
        activation: Whether a release is being activated right now.
        hold: Who holds the system down, or empty.
        status: What `inv status` says, where it was asked.
        available_memory_bytes: Memory that programs can still have; None if unknown.
        locked: Who has locked deploys (`fab lock`), since when and why; empty if they are not locked.
    """

    python: str
    has_venv: bool
    has_systemd: bool
    user: Mapping[str, Any]
    docker: str
    docker_problem: str
    free_bytes: int
    base_owner: str
    current: str
    files: Mapping[str, str]
    releases: tuple[Release, ...]
    env_mode: int | None
    activation: bool
    hold: Mapping[str, Any]
    status: Mapping[str, Any] | None
    available_memory_bytes: int | None = None
    locked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether the system runs, or stands by, and all it needs is well."""
        return self.status is not None and is_good_status(self.status)

    def describe_system(self) -> str:
        """What `inv status` says in its own words, and what must not be overlooked beside it; empty if unknown."""
        under_way = describe_activation() if self.activation else ""
        if self.status is None:
            return under_way
        document = self.status.get("document") or {}
        said = document.get("message") or "; ".join(self.status.get("lines") or ())
        notes = [said or f"`inv status` ended with {self.status.get('code')}."]
        bot, state = document.get("bot") or {}, str((document.get("service") or {}).get("state") or "")
        if bot.get("running") and bot.get("supervised") is False and _UNSUPERVISED not in said:
            notes.append(f"The bot is {_UNSUPERVISED}: nothing watches it.")
        if _RESTARTING in state and _RESTARTING not in said:
            notes.append(f"The boot service is {state}.")
        if self.locked:
            notes.append(f"Deploys are {self.describe_lock()}.")
        return " ".join([*notes, *([under_way] if under_way else [])])

    def describe_lock(self) -> str:
        """Who locked it, since when and why, as the end of a sentence."""
        message = f": {self.locked['message']}" if self.locked.get("message") else ""
        return f"locked by {self.locked.get('by')} since {self.locked.get('since')}{message}"

    @property
    def release(self) -> Release | None:
        """The current release."""
        return next((one for one in self.releases if one.name == self.current and one.complete), None)


@dataclass(frozen=True, kw_only=True)
class Activated:
    """What came of activating a release.

    Attributes:
        outcome: `good`; `kept` (nothing was touched); `went_back`; `went_back_not_good`; `stopped` (there was nothing
            to go back to).
        current: The current release now; empty for none.
        gap_s: Seconds from the start's command until all was good, for a release that came to it.
        message: Why it was not good.
        next_action: What the operator should do next.
        evidence: Lines that show it.
        settings: What became of the settings where a rollback restores them; empty for nothing.
        stands_by: Whether it is good because another host leads (LEASE_ETCD): the release has started nothing yet.
    """

    outcome: str
    current: str
    gap_s: float | None
    message: str
    next_action: str
    evidence: tuple[str, ...]
    settings: str = ""
    stands_by: bool = False


@dataclass(kw_only=True)
class Host:
    """One host.

    Attributes:
        remote: The door.
        base: The base folder there.
        user: The service's user there.
        on_say: Told what the host says meanwhile.
        on_step: Told each step of an activation as it ends: name, whether it was good, seconds.
    """

    remote: Remote
    base: str
    user: str
    on_say: OnSay = field(default=lambda _: None)
    on_step: OnStep = field(default=lambda _name, _ok, _duration_s: None)

    @property
    def name(self) -> str:
        """What the operator calls it."""
        return self.remote.name

    def connect(self) -> None:
        """Open the connection."""
        self.remote.open()

    def look(self, *, status: bool = False) -> Facts:
        """Look at everything a deploy must know; `status` also asks the system itself, which takes a second or two."""
        found = self._call("look", {"status": status})
        user = dict(found["user"])
        releases = tuple(Release(**one) for one in found["releases"])
        rest = {name: found[name] for name in found.keys() - {"releases", "user", "files"}}
        return Facts(**rest, user=user, releases=releases, files=found.get("files", {}))

    def lock(self, holder: Mapping[str, str]) -> HeldProgram:
        """Take the lock; it is free again when this process or the connection is gone.

        Raises:
            DeployError: It is held already.
        """
        argv = ("python3", "-I", "-c", LOCK, f"{self.base}/shared/.deploy.lock", json.dumps(dict(holder)))
        line, held = self.remote.hold(self._as_user(argv), until=_LOCKED)
        if held is not None:
            return held
        try:
            found = json.loads(line)
            if "problem" in found:
                raise DeployError(
                    f"the host's lock cannot be taken: {found['problem']}",
                    next_action=f"Look at it there, and remove it if no deploy is running: {self.base}/shared.",
                )
            who = f"{found['by']} since {found['since']} ({found['action']})"
        except (ValueError, KeyError, TypeError):
            who = line or "a deploy that has just begun"
        raise DeployError(
            f"the host is being deployed to by {who}",
            next_action="Wait until that has ended. It is free by itself a minute after its holder is gone.",
        )

    def advise(self, text: str) -> str:
        """The text with its commands as they work in a shell on that host, for the release that runs there."""
        as_user = "" if self.remote.user == self.user else f"sudo -u {shlex.quote(self.user)} "
        inv = f"cd {shlex.quote(f'{self.base}/current')} && {as_user}.venv/bin/inv"
        return _INV.sub(lambda found: f"`{inv} {found.group(1)}`", text)

    def ensure_folders(self) -> tuple[str, ...]:
        """Make the folders; returns what was left half-made by others, and is cleared away."""
        return tuple(self._call("ensure_folders")["cleared"])

    def upload_release(self, name: str, archive: bytes) -> None:
        """Unpack a commit's files into a new release."""
        self._call("unpack", {"name": name}, data=archive, timeout_s=_UPLOAD_S)

    def upload_wheels(self, name: str, archive: bytes) -> None:
        """Lay packages beside a release, for building its environment."""
        self._call("unpack", {"name": name, "folder": ".wheels"}, data=archive, timeout_s=_UPLOAD_S)

    def compare_env(self, content: bytes) -> bool:
        """Whether these settings differ from the current ones. Changes nothing."""
        return bool(self._call("compare_env", {"length": len(content)}, data=content)["changed"])

    def upload_env(self, content: bytes) -> bool:
        """Put new settings beside the current ones; returns whether they differ."""
        return bool(self._call("put_env", {"length": len(content)}, data=content)["changed"])

    def find_environment(self, name: str) -> bool:
        """Give the release the Python environment that is there for its requirements; returns whether one is."""
        return bool(self._call("build", {"name": name, "only_found": True}, timeout_s=_BUILD_S)["found"])

    def build_environment(self, name: str, *, wheels: bool) -> bool:
        """Make the release's Python environment; returns whether one was there for the same requirements."""
        return bool(self._call("build", {"name": name, "wheels": wheels}, timeout_s=_BUILD_S)["found"])

    def seal(self, release: Release, *, files: Mapping[str, str]) -> None:
        """Declare the release whole."""
        record = {"name": release.name, "commit": release.commit, "gateway": release.gateway, "files": dict(files)}
        self._call("seal", record)

    def discard(self, name: str) -> None:
        """Remove a release that came to nothing."""
        self._call("discard", {"name": name})

    def activate(self, request: ActivationRequest) -> Activated:
        """Activate a release, and wait for the outcome. Continues there if this process ends."""
        self._call("begin", dataclasses.asdict(request))
        return self.follow(timeout_s=4 * request.hold_timeout_s + _BUILD_S)

    def follow(self, *, timeout_s: float = _BUILD_S) -> Activated:
        """Wait for an activation that is under way."""
        found = self._call("follow", timeout_s=timeout_s)
        return Activated(**{**found, "evidence": tuple(found["evidence"])})

    def audit(self, **line: str) -> None:
        """Add a line to the audit trail."""
        self._call("audit", line)

    def read_audit(self, *, lines: int) -> tuple[dict[str, Any], ...]:
        """The last lines of the audit trail, the oldest first."""
        return tuple(self._call("read_audit", {"lines": lines})["lines"])

    def put_lock(self, *, by: str, message: str) -> dict[str, Any]:
        """Keep deploys and rollbacks away until `remove_lock`.

        Raises:
            DeployError: It is locked already.
        """
        return dict(self._call("put_lock", {"by": by, "message": message})["lock"])

    def remove_lock(self) -> dict[str, Any]:
        """Let deploys begin again; returns the lock that was there, empty for none."""
        return dict(self._call("remove_lock")["lock"])

    def provision(self, *, dry_run: bool) -> tuple[str, ...]:
        """Make the host ready; returns what was changed, or would be."""
        return tuple(self._call("provision", {"dry_run": dry_run}, timeout_s=_BUILD_S)["changes"])

    def run_inv(self, *words: str, on_line: OnSay, timeout_s: float) -> int:
        """Run `inv` of the current release as the service's user; returns its exit code.

        It ends with this process, too: a log that is followed is not followed for ever.

        Raises:
            DeployError: The connection broke, or nothing could be run there.
        """
        argv = ("bash", "-c", FOLLOW, "deploy-inv", f"{self.base}/current", *words)
        ended = self.remote.run(self._as_user(argv), stdin=None, on_line=on_line, timeout_s=timeout_s)
        if ended.code in _NOT_RUN or (ended.code and _asks_for_password(ended.err)):
            raise self._explain(f"inv {words[0]}", ended.code, f"{ended.out}\n{ended.err}")
        for line in (ended.out + "\n" + ended.err).splitlines():
            if line:
                on_line(line)
        return ended.code

    def _call(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        data: bytes = b"",
        timeout_s: float = _SHORT_S,
    ) -> dict[str, Any]:
        told: dict[str, Any] = {}

        def listen(line: str) -> None:
            try:
                document = json.loads(line)
            except ValueError:
                return
            if "say" in document:
                self.on_say(str(document["say"]))
            elif "step" in document:
                self.on_step(str(document["step"]), bool(document["ok"]), float(document["duration_s"]))
            else:
                told.update(document)

        sent = {"command": command, "base": self.base, "user": self.user, **(arguments or {})}
        document = json.dumps({"sources": read_sources(), "loader": LOADER, "arguments": sent}).encode()
        argv = (*self._sudo, "python3", "-I", "-c", LOADER, str(len(document)))
        ended = self.remote.run(argv, stdin=document + data, on_line=listen, timeout_s=timeout_s)
        if "refused" in told:
            refused = told["refused"]
            raise DeployError(
                refused["message"], next_action=refused["next_action"], evidence=tuple(refused["evidence"])
            )
        if "result" not in told:
            raise self._explain(command, ended.code, ended.err)
        return dict(told["result"])

    def _explain(self, command: str, code: int, errors: str) -> DeployError:
        lines = tuple(line for line in errors.splitlines() if line.strip())[-8:]
        if any("nothing is deployed" in line for line in lines):
            return DeployError(lines[-1], next_action=f"fab -H {self.name} deploy")
        if _asks_for_password(errors):
            message, action = (
                f"{self.remote.user} may not use sudo on {self.name} without a password",
                f"There: echo '{self.remote.user} ALL=(ALL) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/deploy",
            )
        elif any("sudo" in line and "not found" in line and "python3" not in line for line in lines):
            message, action = f"{self.name} has no sudo", "There, as root: apt-get install sudo; or log in as root"
        elif any("python3" in line and "not found" in line for line in lines):
            message, action = f"{self.name} has no python3", "There: sudo apt-get install python3 python3-venv"
        else:
            message, action = f"{command} ended on {self.name} with {code} and no result", "The lines say more."
        return DeployError(message, next_action=action, evidence=lines)

    @property
    def _sudo(self) -> tuple[str, ...]:
        return () if self.remote.user == "root" else ("sudo", "-n")

    def _as_user(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        if self.remote.user == self.user:
            return argv
        return (*self._sudo, "runuser", "-u", self.user, "--", *argv)


def read_sources() -> dict[str, str]:
    """The programs that run on the host by their modules' names, in the order in which they load."""
    found = {}
    for name in on_host.SOURCES:
        package, _, module = name.rpartition(".")
        found[name] = (importlib.resources.files(package) / f"{module}.py").read_text(encoding="utf-8")
    return found


def _asks_for_password(errors: str) -> bool:
    return "password is required" in errors or "a terminal is required" in errors
