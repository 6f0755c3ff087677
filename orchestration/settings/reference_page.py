"""The two files that are made from the declarations of the variables: `.env.example` and the reference page.

`python -m orchestration.settings.reference_page` writes them; a test compares them with what the declarations say.
"""

import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from orchestration.settings import PROJECT_DIR, Variable, variables_by_field
from orchestration.settings.image_variables import IMAGE_VARIABLES
from orchestration.system.files import write_atomic

_WIDTH = 100
_READABLE_BY_ALL = 0o644

_ENV_HEADER = """\
# Everything that can be set, with its default. `inv init` asks for what comes first and writes it
# into .env; or copy this file and uncomment what you change:
#
#   cp .env.example .env && chmod 600 .env
#
# The environment goes before this file; ENV_FILE in the environment names another file. `inv config`
# shows the settings in effect and where each came from. For a secret NAME, NAME_FILE may name a file that
# holds it. An empty value counts as unset.
#
# Made from orchestration/settings/variables.py by `python -m orchestration.settings.reference_page`.
"""

# What `inv init` asks for: most operators set nothing else.
_FIRST = ("TWS_USERID", "TWS_PASSWORD", "BOT_COMMAND", "BOT_WORKDIR", "GAMEPLAN_PATH", "DISCORD_WEBHOOK_URL")
_FIRST_GROUP = "What most operators set"

_PAGE_HEADER = """\
# Configuration

Every setting is an environment variable. A value is looked for in this order:

1. a switch of the command line (`inv startup --simulate` sets some);
2. the environment;
3. the `.env` file in the project folder, or the file that `ENV_FILE` names;
4. the default, which works for development with nothing set.

An empty value counts as unset, and blanks around a value are dropped. A wrong value stops a start
with `CONFIG_INVALID`: one message names every wrong variable, what is wrong with it, and what is
allowed. A name that looks mistyped (`GATEWAY_PROT`) is pointed out by `inv preflight` and
`inv config`.

The `.env` file holds `NAME=value` lines in UTF-8. Quotes, comments and `export` are understood, and
`$` stays as it is. For a variable marked *secret*, `NAME_FILE` may name a file that holds the value;
setting both in one place is an error. Secrets are masked wherever values are shown. Relative paths
start at the project folder, and `~` is the home folder.

What looks at or stops a running system (`status`, `shutdown`, `hold`, …) works with a wrong value or a
half-edited line, too, and warns: only where INSTANCE or STATE_DIR may be what is wrong does it refuse.
Both in front of the command (`INSTANCE=default STATE_DIR=state inv shutdown`) settle that, also where
the file cannot be read at all.

`inv config` prints the values in effect and where each one came from. This page and `.env.example`
are made from `orchestration/settings/variables.py` by `python -m orchestration.settings.reference_page`.
"""

_FURTHER = "Further variables of the gateway's image"
_ALWAYS = (
    "They are passed on to Compose as they are, and docs/reference/configuration.md says what each is for. These "
    "always arrive in the container"
)
_OWN_FOLDER = (
    "These need mounts or ports, and so a Compose folder of your own (DOCKER_COMPOSE_DIR); `inv preflight` says where "
    "one would not arrive"
)
_FURTHER_PAGE = f"""\
## {_FURTHER}

Every variable of the image `ghcr.io/gnzsnz/ib-gateway` that stands in its maker's Compose file or `.env-dist` can be
set where the others are set. They are passed on to Compose as they are. Those that arrive `always` are in the shipped
Compose file; the others need mounts or ports, and so a Compose folder of your own (`DOCKER_COMPOSE_DIR`,
`GATEWAY_SERVICE`, see [You already run gnzsnz's image](../how-to/use-your-own-compose-folder.md)). `inv preflight`
names each one that would not arrive in the container. Of `TZ`, `PASSWD`, `PASSWD_FILE`, `PUID` and `PGID` only the
`.env` file counts: in the environment they belong to other programs.
"""


def build_env_example() -> str:
    """The text of `.env.example`: every variable commented out, with its default as its value."""
    lines = [_ENV_HEADER]
    by_name = {variable.name: variable for variable in variables_by_field().values()}
    first = [by_name[name] for name in _FIRST]
    rest = [(group, [one for one in variables if one not in first]) for group, variables in _groups()]
    for group, variables in [(_FIRST_GROUP, first), *rest]:
        lines.append(f"\n# --- {group} {'-' * (_WIDTH - 7 - len(group))}\n")
        for variable in variables:
            shown = "" if variable.shown_default == variable.default else f" Default: {variable.shown_default}."
            text = f"{variable.help}. Allowed: {variable.allowed}.{shown}"
            lines += [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2, break_on_hyphens=False)]
            lines.append(f"#{variable.name}={variable.default}\n")
    lines.append(f"\n# --- {_FURTHER} {'-' * (_WIDTH - 7 - len(_FURTHER))}\n")
    for is_shipped, text in ((True, _ALWAYS), (False, _OWN_FOLDER)):
        names = ", ".join(one.name for one in IMAGE_VARIABLES.values() if one.is_in_shipped_file is is_shipped)
        wrapped = textwrap.wrap(f"{text}: {names}.", _WIDTH - 2, break_on_hyphens=False)
        lines += [*(f"# {line}" for line in wrapped), "#"]
    lines[-1] = ""
    return "\n".join(lines)


def build_configuration_page() -> str:
    """The text of `docs/reference/configuration.md`."""
    lines = [_PAGE_HEADER]
    for group, variables in _groups():
        lines += [f"## {group}\n", "| variable | default | allowed | what it is |", "|---|---|---|---|"]
        for variable in variables:
            plain = variable.shown_default == variable.default
            default = f"`{variable.default}`" if plain else variable.shown_default
            secret = " *Secret.*" if variable.secret else ""
            lines.append(f"| `{variable.name}` | {default} | {variable.allowed} | {variable.help}.{secret} |")
        lines.append("")
    lines += [_FURTHER_PAGE, "| variable | arrives | what it is |", "|---|---|---|"]
    for one in IMAGE_VARIABLES.values():
        secret = " *Secret.*" if one.is_secret else ""
        arrives = "always" if one.is_in_shipped_file else "own folder"
        lines.append(f"| `{one.name}` | {arrives} | {one.help}.{secret} |")
    lines.append("")
    return "\n".join(lines)


def build_files() -> dict[str, str]:
    """Every file that is made from the declarations: its path in the project, and its text."""
    return {".env.example": build_env_example(), "docs/reference/configuration.md": build_configuration_page()}


def write_files(project_dir: Path = PROJECT_DIR) -> None:
    """Write them all.

    Raises:
        OSError: One could not be written.
    """
    for name, text in build_files().items():
        write_atomic(project_dir / name, text.encode(), mode=_READABLE_BY_ALL)


def _groups() -> Iterator[tuple[str, list[Variable]]]:
    for group, variables in groupby(variables_by_field().values(), key=lambda variable: variable.group):
        yield group, list(variables)


if __name__ == "__main__":
    write_files()
