"""The systemd unit as text. Pure, but for reading the template.

systemd reads each directive by rules of its own, so each value is quoted for the directive it stands in. Words of Exec
lines, `Environment=` and path lists are quoted strings in which a backslash escapes; `WorkingDirectory=` takes the rest
of the line as it is; `%` is doubled everywhere, for it starts a specifier. `$` would start a variable in an Exec line:
the prefix `:` switches that off. The start-up script is bash's argument, because systemd refuses a program whose own
path holds a quote or a backslash.
"""

import functools
import unicodedata
from typing import TYPE_CHECKING

from orchestration.hostservice.service import TEMPLATES, HostService, Rendered, Scope

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = "zero-touch-startup.service.j2"
SHELL = "/bin/bash"  # what the script's first line asks for
STOP_LEFT_BEHIND = "--stop-left-behind"

RESTART_DELAY_S = 30  # the bot's connections are gone by then, and Docker has had its own restart
START_LIMIT_BURST = 10  # starts by hand count too: trying things out should not lock the operator out at once
START_TIMEOUT_S = 180  # until the first EXTEND_TIMEOUT_USEC: a cold disk loads Python and its libraries in less
WATCHDOG_S = 90  # longer than any one thing the supervisor waits for between two pings


@functools.cache
def _read_template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES / "systemd"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - a unit file is no markup; every value is quoted below
        keep_trailing_newline=True,
    )
    return environment.get_template(_TEMPLATE)


def render_unit(service: HostService) -> Rendered:
    """The unit file of a service.

    Raises:
        ValueError: A path cannot stand in a unit (`unit_problem` says so beforehand).
    """
    problem = unit_problem(service)
    if problem is not None:
        raise ValueError(problem)
    wrapper = quote_word(str(service.wrapper))
    text = _read_template().render(
        name=service.name,
        description=escape_rest(service.description),
        user_scope=service.scope is Scope.USER,
        needs_docker=service.needs_docker,
        user=escape_rest(service.user),
        working_directory=escape_rest(str(service.project_dir)),
        environ=[quote_word(f"{name}={value}") for name, value in sorted(service.environ.items())],
        exec_start=" ".join([f":{SHELL}", wrapper, *service.arguments]),
        exec_stop_post=f"-:{SHELL} {wrapper} {STOP_LEFT_BEHIND}",
        writable=" ".join(quote_word(f"-{path}") for path in service.writable),
        restart_delay_s=RESTART_DELAY_S,
        start_limit_burst=START_LIMIT_BURST,
        start_limit_interval_s=start_limit_interval_s(service),
        start_timeout_s=START_TIMEOUT_S,
        stop_timeout_s=service.stop_timeout_s,
        watchdog_s=WATCHDOG_S,
    )
    return Rendered(file_name=f"{service.name}.service", content=text.encode())


def start_limit_interval_s(service: HostService) -> int:
    """In how many seconds the burst is counted: more than all of its starts and the delays between them can take."""
    return START_LIMIT_BURST * (RESTART_DELAY_S + service.longest_start_s + service.stop_timeout_s)


def unit_problem(service: HostService) -> str | None:
    """Why this service's folders cannot stand in a unit, or None."""
    for path in (service.project_dir, service.wrapper, *service.writable, *service.environ.values()):
        text = str(path)
        if any(unicodedata.category(one) in {"Cc", "Cs"} for one in text):
            return f"{text!r} holds control characters, or bytes that are not UTF-8"
    folder = str(service.project_dir)
    if folder != folder.strip() or folder.endswith("\\"):
        return f"{folder!r} starts or ends with a blank, or ends with a backslash"
    return None


def quote_word(text: str) -> str:
    """A word of an Exec line, of `Environment=` or of a path list."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def escape_rest(text: str) -> str:
    """A value that systemd takes as the rest of the line."""
    return text.replace("%", "%%")
