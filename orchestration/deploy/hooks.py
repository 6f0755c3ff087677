"""The operator's own programs around a deploy: `.deploy/hooks/pre-deploy` and `post-deploy`, run on this computer.

They run once for each host, in the project's folder, with the facts in `DEPLOY_*` variables.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from orchestration.deploy.errors import DeployError
from orchestration.deploy.workflow import Outcome
from orchestration.system.commands import CommandNotFoundError, Commands, CommandTimedOutError, OnLine

FOLDER = Path(".deploy", "hooks")
_TIMEOUT_S = 600.0


def run_pre_deploy(
    project: Path, commands: Commands, facts: Mapping[str, str], *, host: str, on_line: OnLine | None = None
) -> None:
    """Run `pre-deploy`, if there is one. Nothing has been done on the host yet.

    Raises:
        DeployError: It ended with another code than 0, took too long, or cannot be run: there is no deploy then.
    """
    problem, lines = _run(project, commands, "pre-deploy", {"DEPLOY_HOST": host, **facts}, on_line)
    if problem:
        raise DeployError(
            f"{problem}; nothing was touched",
            next_action="Fix what the hook reports, or remove it, and deploy again.",
            evidence=lines,
        )


def run_post_deploy(
    project: Path, commands: Commands, facts: Mapping[str, str], outcome: Outcome, *, on_line: OnLine | None = None
) -> None:
    """Run `post-deploy`, if there is one, with what came of the deploy. That it fails changes only what is said."""
    told = {
        "DEPLOY_HOST": outcome.host,
        **facts,
        "DEPLOY_OK": "yes" if outcome.ok else "no",
        "DEPLOY_RESULT": outcome.result,
        "DEPLOY_RELEASE": outcome.release,
        "DEPLOY_REPLACES": outcome.replaces,
        "DEPLOY_MESSAGE": outcome.message,
    }
    problem, lines = _run(project, commands, "post-deploy", told, on_line)
    if problem:
        outcome.message = f"{outcome.message}; {problem}"
        outcome.evidence = (*outcome.evidence, *lines)


def _run(
    project: Path, commands: Commands, name: str, facts: Mapping[str, str], on_line: OnLine | None
) -> tuple[str, tuple[str, ...]]:
    """The problem, empty for none, and the hook's last lines."""
    path = project / FOLDER / name
    if not path.exists():
        return "", ()
    shown = FOLDER / name
    if not os.access(path, os.X_OK) or not path.is_file():
        return f"the hook {shown} is no program that may be run (`chmod +x {shown}`)", ()
    try:
        ended = commands.run((str(path),), timeout_s=_TIMEOUT_S, cwd=project, environ=facts, on_line=on_line)
    except CommandTimedOutError:
        return f"the hook {shown} had not ended after {_TIMEOUT_S:.0f} s and was killed", ()
    except (CommandNotFoundError, OSError) as error:
        return f"the hook {shown} cannot be run ({error})", ()
    return ("", ()) if ended.ok else (f"the hook {shown} ended with {ended.exit_code}", ended.last_lines())
