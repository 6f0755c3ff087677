"""A systemd behind a fake door: it keeps what it is told, and refuses what it does not know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.system.commands import CommandNotFoundError, CommandResult, OnLine
from tests.fakes.commands import FakeFollowing

_AS_USER = 'exec "$@"'


@dataclass
class FakeSystemd:
    """`Commands` for `systemctl`, `loginctl`, `systemd-analyze`, and for what is tried as another user.

    Attributes:
        folder: Where the units of the scope that is tested lie.
        linger: Where the files of lingering users lie.
        changes: Every command that changed something, in order.
        failing: Beginnings of commands that are refused, with what they say.
        missing: Programs that are not there.
        refused_to_user: Paths that `test` denies to the service's user.
        docker_says: What `docker version` complains about; empty if it answers.
    """

    folder: Path
    linger: Path
    active: bool = False
    enabled: bool = False
    loaded: str | None = None
    status_text: str = ""
    changes: list[tuple[str, ...]] = field(default_factory=list)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    environs: list[dict[str, str]] = field(default_factory=list)
    failing: dict[tuple[str, ...], str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    refused_to_user: set[tuple[str, str]] = field(default_factory=set)
    docker_says: str = ""
    program_says: str = ""
    verify_says: str = ""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        assert timeout_s > 0
        assert cwd is None or cwd.is_absolute()
        assert on_line is None
        words = tuple(argv)
        self.calls.append(words)
        self.environs.append(dict(environ or {}))
        if words[0] in self.missing:
            raise CommandNotFoundError(words)
        for beginning, said in self.failing.items():
            if words[: len(beginning)] == beginning:
                return CommandResult(argv=words, exit_code=1, stderr=said)
        return self._answer(words)

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> FakeFollowing:
        raise AssertionError(f"nothing is followed here: {argv}, {cwd}, {environ}, {on_line}")

    def _answer(self, words: tuple[str, ...]) -> CommandResult:
        if _AS_USER in words:
            return self._try_as_user(words)
        if words[0] == "systemctl":
            return self._systemctl(words, words[2:] if words[1] == "--user" else words[1:])
        if words[0] == "systemd-analyze":
            assert "--recursive-errors=one" in words
            assert Path(words[-1]).is_file()
            return CommandResult(argv=words, exit_code=1 if self.verify_says else 0, stderr=self.verify_says)
        if words[0] == "loginctl":
            file = self.linger / words[2]
            self.changes.append(words)
            if words[1] == "enable-linger":
                file.touch()
            else:
                assert words[1] == "disable-linger"
                file.unlink()
            return CommandResult(argv=words, exit_code=0)
        raise AssertionError(f"unexpected command: {words}")

    def _try_as_user(self, words: tuple[str, ...]) -> CommandResult:
        tried = words[words.index(_AS_USER) + 2 :]
        if tried[0] == "test":
            return CommandResult(argv=words, exit_code=1 if tried[1:] in self.refused_to_user else 0)
        if tried[:2] == ("docker", "version"):
            code = 1 if self.docker_says else 0
            return CommandResult(argv=words, exit_code=code, stdout="" if code else "26.1.5\n", stderr=self.docker_says)
        if tried[:2] == ("docker", "compose"):
            return CommandResult(argv=words, exit_code=0, stdout="2.26.1\n")
        assert (tried[0], *tried[2:]) == ("/bin/bash", "--help"), f"unexpected command: {words}"
        return CommandResult(argv=words, exit_code=1 if self.program_says else 0, stderr=self.program_says)

    def _systemctl(self, words: tuple[str, ...], rest: tuple[str, ...]) -> CommandResult:
        verb, unit = rest[0], self.folder / rest[-1]
        done = CommandResult(argv=words, exit_code=0)
        if verb == "show":
            return CommandResult(argv=words, exit_code=0, stdout=self._show(self.folder / rest[1]))
        if verb in {"show-environment", "reset-failed"}:
            return done
        self.changes.append(words)
        if verb == "daemon-reload":
            units = list(self.folder.glob("*.service"))
            self.loaded = units[0].read_text(encoding="utf-8") if units else None
        elif verb == "enable":
            assert unit.is_file(), "there is nothing to enable"
            assert self.loaded is not None, "systemd has not read it yet"
            self.enabled = True
        elif verb == "disable":
            self.enabled = False
        elif verb == "start":
            assert "--no-block" in rest, "a start may take minutes"
            self.active = True
        elif verb == "stop":
            self.active = False
        else:
            raise AssertionError(f"unexpected command: {words}")
        return done

    def _show(self, unit: Path) -> str:
        text = unit.read_text(encoding="utf-8") if unit.is_file() else None
        states = {
            "LoadState": "loaded" if self.loaded is not None or text is not None else "not-found",
            "UnitFileState": ("enabled" if self.enabled else "disabled") if text is not None else "",
            "ActiveState": "active" if self.active else "inactive",
            "SubState": "running" if self.active else "dead",
            "Result": "success",
            "StatusText": self.status_text,
            "NeedDaemonReload": "yes" if self.loaded is not None and self.loaded != text else "no",
            "DropInPaths": "",
        }
        return "".join(f"{name}={value}\n" for name, value in states.items())
