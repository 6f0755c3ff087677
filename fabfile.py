"""The commands that act on a host over SSH: `fab --list` shows them, `fab --help TASK` explains one.

Signature, help, one call each. Hosts are named as your SSH configuration knows them: `fab -H rackmount deploy`,
`fab -H rack1,rack2 status`. One host's failure does not stop the next.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric import Config, Executor, task
from fabric.main import program
from invoke.collection import Collection
from invoke.config import Config as InvokeConfig
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Call

from orchestration.system.streams import steady_prints

if TYPE_CHECKING:
    from orchestration.deploy.cli import HostTarget, Session

_JSON = "One JSON document on standard output, everything else on standard error"
_BASE = "The folder on the host that holds the releases (/opt/zero-touch)"
_USER = "The host's user whom the service runs as (zero-touch)"
_TIMEOUT = "Seconds until the system must be found good (600)"
_BASE_DEFAULT, _USER_DEFAULT = "/opt/zero-touch", "zero-touch"
_sessions: list["Session"] = []


def _session() -> "Session":
    """The command line's one session."""
    if not _sessions:
        from orchestration.deploy.cli import Session

        _sessions.append(Session())
    return _sessions[0]


class _UnreadSshConfig(Config):  # type: ignore[misc]  # Fabric has no types
    """Leaves the SSH configuration to OpenSSH: Fabric's own reader ends everything at a line it cannot read."""

    def load_ssh_config(self) -> None:
        """Nothing: each host's options are asked for when it is its turn."""


class _HostContext(Context):
    """What a task is given: the host as it was typed. That it is none, or cannot be reached, is that host's outcome."""

    def __init__(self, config: InvokeConfig, host: str) -> None:
        super().__init__(config=config)
        object.__setattr__(self, "host", host)  # Invoke takes attributes for settings


class _HostCall(Call):
    """A task for one host."""

    def __init__(self, *args: Any, host: str, **kwargs: Any) -> None:  # noqa: ANN401 - Invoke's
        super().__init__(*args, **kwargs)
        self.host = host

    def clone_data(self) -> dict[str, Any]:
        """Invoke's, and the host."""
        return {**super().clone_data(), "host": self.host}

    def make_context(self, config: InvokeConfig) -> Context:
        """For Invoke."""
        return _HostContext(config, self.host)


class _HostsExecutor(Executor):  # type: ignore[misc]  # Fabric has no types
    """Performs a task for each host of the command line, without Fabric's own connections."""

    def execute(self, *tasks: Any) -> dict[Any, Any]:  # noqa: ANN401 - Fabric's
        """The command line. After Ctrl-C what came of every host is shown all the same."""
        try:
            return dict(super().execute(*tasks))
        except KeyboardInterrupt:
            if _sessions:
                _session().end_interrupted(tuple(_split_hosts(str(program.args.hosts.value or ""))))
            raise

    def normalize_hosts(self, hosts: Iterable[str] | None) -> list[dict[str, str]]:
        """The hosts, each one once."""
        return [{"host": host} for host in _split_hosts(",".join(hosts or ()))]

    def parameterize(self, call: Call, connection_init_kwargs: dict[str, str]) -> Call:
        """The task for one of them."""
        return call.clone(into=_HostCall, with_=connection_init_kwargs)


if Path(sys.argv[0]).stem == "fab" or Path(sys.argv[0]).parts[-2:] == ("fabric", "__main__.py"):
    steady_prints()
program.config_class, program.executor_class = _UnreadSshConfig, _HostsExecutor
program.create_config()


def _split_hosts(text: str) -> list[str]:
    return list(dict.fromkeys(host.strip() for host in text.split(",") if host.strip()))


def _target(context: Context, base: str, user: str) -> "HostTarget":
    from orchestration.deploy.cli import HostTarget
    from orchestration.deploy.link import Secrets

    if not isinstance(context, _HostContext):
        raise Exit("name the host: fab -H rackmount TASK (hosts as for ssh, with commas between them)", code=1)
    given = context.config.connect_kwargs
    is_read = context.config.get("load_ssh_configs", True)
    named = program.args["ssh-config"].value or context.config.get("ssh_config_path")
    return HostTarget(
        host=str(object.__getattribute__(context, "host")),
        base=base,
        user=user,
        hosts=tuple(_split_hosts(str(program.args.hosts.value or ""))),
        ssh_config=str(named or ("" if is_read else "none")),
        connect_timeout_s=given.get("timeout") or context.config.timeouts.get("connect"),
        secrets=Secrets(
            identities=tuple(Path(name).expanduser() for name in given.get("key_filename", ())),
            passphrase=given.get("passphrase"),
            password=given.get("password"),
        ),
    )


def _count(flag: str, text: str) -> int:
    from orchestration.commands.flags import read_count

    return read_count(flag, text)


@task
def _finish(_: Context) -> None:
    """Show what came of every host."""
    code = _session().finish()
    if code:
        raise Exit(code=code)


@task(
    post=[_finish],
    help={
        "dry_run": "Say what would be done, and which files change; change nothing",
        "revision": "Deploy this commit, tag or branch; without it the last commit, and the tree must be committed",
        "env_file": "Bring these settings along (a .env for that host); without it the host keeps its own",
        "wheels": "Install the requirements from this folder of wheels; the host then needs no package index",
        "timeout": _TIMEOUT,
        "base": _BASE,
        "user": _USER,
        "json": _JSON,
    },
)
def deploy(
    context: Context,
    dry_run: bool = False,
    revision: str = "",
    env_file: str = "",
    wheels: str = "",
    timeout: str = "600",
    base: str = _BASE_DEFAULT,
    user: str = _USER_DEFAULT,
    json: bool = False,
) -> None:
    """Bring the last commit into force; go back if it is not good.

    Programs in .deploy/hooks (pre-deploy, post-deploy) run here around it.
    Exit code 0: it runs on every host, or ran already; 1: it does not on one of
    them.
    """
    from orchestration.commands import flags

    flags.refuse_to_act("fab -H HOST deploy --dry-run", namespace, is_dry=False)
    _session().deploy(
        _target(context, base, user),
        dry_run=dry_run or context.config.run.dry,
        revision=revision,
        env_file=env_file,
        wheels=wheels,
        timeout_s=_count("--timeout", timeout),
        as_json=json,
    )


@task(
    post=[_finish],
    help={
        "release": "Its name, or the beginning of its commit; else the newest good one before the present one",
        "keep_settings": "Leave the settings (.env) as they are now",
        "timeout": _TIMEOUT,
        "base": _BASE,
        "user": _USER,
        "json": _JSON,
    },
)
def rollback(
    context: Context,
    release: str = "",
    keep_settings: bool = False,
    timeout: str = "600",
    base: str = _BASE_DEFAULT,
    user: str = _USER_DEFAULT,
    json: bool = False,
) -> None:
    """Activate an earlier release again.

    The settings (.env) that it last ran with come back with it.
    """
    from orchestration.commands import flags

    flags.refuse_to_act("fab -H HOST status", namespace, is_dry=context.config.run.dry)
    _session().rollback(
        _target(context, base, user),
        release=release,
        keeps_settings=keep_settings,
        timeout_s=_count("--timeout", timeout),
        as_json=json,
    )


@task(
    post=[_finish],
    help={"dry_run": "Say what would be changed; change nothing", "base": _BASE, "user": _USER, "json": _JSON},
)
def provision(
    context: Context,
    dry_run: bool = False,
    base: str = _BASE_DEFAULT,
    user: str = _USER_DEFAULT,
    json: bool = False,
) -> None:
    """Make a bare Debian or Ubuntu server ready for a deploy.

    Packages, Docker Engine and Compose where missing, the service's user,
    folders. Running it again changes nothing.
    """
    from orchestration.commands import flags

    flags.refuse_to_act("fab -H HOST provision --dry-run", namespace, is_dry=False)
    dry_run = dry_run or context.config.run.dry
    _session().provision(_target(context, base, user), dry_run=dry_run, as_json=json)


@task(post=[_finish], help={"base": _BASE, "user": _USER, "json": _JSON})
def status(context: Context, base: str = _BASE_DEFAULT, user: str = _USER_DEFAULT, json: bool = False) -> None:
    """Show each host's releases and how its system is.

    Exit code 0: all is well on every host; 1: it is not on one of them.
    """
    _session().status(_target(context, base, user), as_json=json)


def _refuse_dry(context: Context) -> None:
    from orchestration.commands import flags

    flags.refuse_to_act("fab -H HOST status", namespace, is_dry=context.config.run.dry)


@task(
    post=[_finish],
    help={"reason": "Why; shown to anyone who tries to start it", "base": _BASE, "user": _USER, "json": _JSON},
)
def hold(
    context: Context, reason: str = "", base: str = _BASE_DEFAULT, user: str = _USER_DEFAULT, json: bool = False
) -> None:
    """Stop bot and gateway there and keep them down until `resume`.

    It outlives reboots. Exit code 0: done on every host; 1: not on one of them.
    """
    _refuse_dry(context)
    _session().hold(_target(context, base, user), reason=reason, as_json=json)


@task(post=[_finish], help={"base": _BASE, "user": _USER, "json": _JSON})
def resume(context: Context, base: str = _BASE_DEFAULT, user: str = _USER_DEFAULT, json: bool = False) -> None:
    """End a hold there; starts nothing.

    Exit code 0: done on every host; 1: not on one of them.
    """
    _refuse_dry(context)
    _session().resume(_target(context, base, user), as_json=json)


@task(post=[_finish], help={"base": _BASE, "user": _USER, "json": _JSON})
def restart(context: Context, base: str = _BASE_DEFAULT, user: str = _USER_DEFAULT, json: bool = False) -> None:
    """Have the supervisor there validate everything again and restart the bot.

    Exit code 0: it was asked to, on every host; 1: not on one of them.
    """
    _refuse_dry(context)
    _session().restart(_target(context, base, user), as_json=json)


@task(
    post=[_finish],
    help={"lines": "How many lines of the end (20)", "base": _BASE, "user": _USER, "json": _JSON},
)
def audit(
    context: Context, lines: str = "20", base: str = _BASE_DEFAULT, user: str = _USER_DEFAULT, json: bool = False
) -> None:
    """Show who deployed, held, restarted or locked what there, and when.

    Exit code 0: shown, for every host; 1: not for one of them.
    """
    _session().audit(_target(context, base, user), lines=_count("--lines", lines), as_json=json)


@task(
    post=[_finish],
    help={"message": "Why; shown to anyone who tries to deploy", "base": _BASE, "user": _USER, "json": _JSON},
)
def lock(
    context: Context, message: str = "", base: str = _BASE_DEFAULT, user: str = _USER_DEFAULT, json: bool = False
) -> None:
    """Keep deploys and rollbacks away from a host until `unlock`.

    Exit code 0: locked, every host; 1: not one of them.
    """
    _refuse_dry(context)
    _session().lock(_target(context, base, user), message=message, as_json=json)


@task(post=[_finish], help={"base": _BASE, "user": _USER, "json": _JSON})
def unlock(context: Context, base: str = _BASE_DEFAULT, user: str = _USER_DEFAULT, json: bool = False) -> None:
    """Let deploys and rollbacks begin again.

    Exit code 0: not locked any more, every host; 1: not one of them.
    """
    _refuse_dry(context)
    _session().unlock(_target(context, base, user), as_json=json)


@task
def _finish_logs(_: Context) -> None:
    """The exit code for all hosts."""
    if code := _session().finish_logs():
        raise Exit(code=code)


@task(
    post=[_finish_logs],
    help={
        "of": "Whose log: startup (the default), bot, gateway, supervisor or shutdown",
        "follow": "Go on with new lines as they come, until Ctrl-C; of the first host, if there are several",
        "lines": "How many lines of the end (50)",
        "base": _BASE,
        "user": _USER,
    },
)
def logs(
    context: Context,
    of: str = "startup",
    follow: bool = False,
    lines: str = "50",
    base: str = _BASE_DEFAULT,
    user: str = _USER_DEFAULT,
) -> None:
    """Show the log of a host's last start-up, bot or gateway.

    Exit code 0: it was shown, for every host; 1: not for one of them.
    """
    _session().logs(_target(context, base, user), of=of, follow=follow, lines=_count("--lines", lines))


namespace = Collection(deploy, rollback, provision, status, logs, hold, resume, restart, audit, lock, unlock)
