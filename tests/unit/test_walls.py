"""The walls between the rooms, read from the source: which may import which, and what none imports at module level.

Rooms stand on floors, and a room imports from lower floors only. A table says what each of the lower rooms may use. A
room that the table does not name (`startup`, `preflight`, …) is a place where rooms come together.
"""

import ast
import functools
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration.deploy.on_host import SOURCES

_PROJECT = Path(__file__).resolve().parents[2]
_PACKAGE = _PROJECT / "orchestration"

_FOUNDATIONS = frozenset({"errors", "settings", "system", "state_dir", "redaction", "logs", "docker", "tws"})
_DOMAIN = frozenset({"gateway", "gameplan", "bot", "alerts", "journal", "simulator"})
_MAY_USE: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "system": frozenset({"system"}),
    "tws": frozenset({"tws"}),
    "state_dir": frozenset({"state_dir", "system"}),
    "settings": frozenset({"settings", "errors", "redaction", "state_dir", "system"}),
    "redaction": frozenset({"redaction", "system"}),
    "docker": frozenset({"docker", "redaction", "errors", "system"}),
    "logs": frozenset({"logs", "redaction", "errors", "settings", "system"}),
    **{room: _FOUNDATIONS | {room} for room in (*_DOMAIN, "prerequisites")},
    # What it starts is the lease holder's: it names the lease's revision.
    "bot": _FOUNDATIONS | {"bot", "lease"},
    "lease": _FOUNDATIONS | {"lease"},
    # It judges what the journal holds.
    "reports": _FOUNDATIONS | {"reports", "journal"},
    # How long a stop may take depends on the gateway's restart.
    "hostservice": _FOUNDATIONS | {"hostservice", "gateway"},
}
# From the ground up. A room imports from lower floors only, so no two rooms import each other.
_FLOORS = (
    {"errors", "system", "tws"},
    {"state_dir", "redaction", "simulator"},
    {"settings", "logs", "journal", "docker", "hold"},
    {"alerts", "gameplan", "gateway", "lease", "reports"},
    {"bot", "hostservice", "soak"},
    {"preflight", "prerequisites"},
    {"startup"},
    {"shutdown", "supervision", "presenter"},
    {"commands", "deploy"},
    {"tasks", "fabfile"},
)
_FLOOR_OF = {room: floor for floor, rooms in enumerate(_FLOORS, 1) for room in rooms}
# Modules in the longest chain of imports, the faces of packages included; it had 30 when this was first measured.
_LONGEST_CHAIN = 24
_MOST_FLAT_MODULES, _MOST_FLOORS = 8, 10
# `python -m orchestration.startup` is a command.
_ENTRY_POINTS = frozenset({"orchestration.startup.__main__"})
# The pure part of the supervision: it judges what others have looked at, and says it with the alerts' own word for how
# bad it is.
_PURE_SUPERVISION = frozenset(
    f"orchestration.supervision.{name}"
    for name in (
        *("actions", "checks", "decision", "incident_check", "incidents", "machine"),
        *("observation", "plan_rollover", "rules", "weekly_login"),
    )
)
_PURE_SUPERVISION_MAY_USE = _FOUNDATIONS | {"gateway", "alerts"}
_PURE_BOT_STATE = "orchestration.bot.state"  # values without I/O
# The reference bot may use what bot authors may: the plan's reader, the gateway's API, and the call that uses both.
# That call names commands as they work on this host.
_ALSO_MAY_USE: dict[str, frozenset[str]] = {
    "orchestration.bot.reference": frozenset({"gameplan", "gateway", "prerequisites"}),
    "orchestration.prerequisites": frozenset({"gameplan", "gateway", "hostservice"}),
}
_ONLY_GATEWAY_MODULE = "orchestration.gateway.api"

_CONSOLE = "orchestration.presenter"
_MAY_SHOW = frozenset(
    {
        "tasks",
        "fabfile",
        *(
            f"orchestration.{name}"
            for name in (
                *("deploy.cli", "deploy.show"),
                *(f"commands.{path.stem}" for path in (_PACKAGE / "commands").glob("*.py")),
            )
        ),
    }
)
_TASK_RUNNERS = frozenset({"invoke", "fabric"})
_MAY_RUN_TASKS = frozenset({"tasks", "fabfile"})
_HEAVY = frozenset(
    {"apprise", "ib_async", "requests", "jsonschema", "rich", "fabric", "jinja2", "numpy", "dotenv", "eventkit"}
)
_POSIX_OR_WINDOWS_ONLY = frozenset({"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "msvcrt", "winreg"})


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported module, and where.

    Attributes:
        module: Its dotted name.
        name: What is taken from it, or an empty string.
        line: The line.
        at_module_level: Whether importing the file imports it too.
        guarded: Whether an `if` or `try` stands around it.
    """

    module: str
    name: str
    line: int
    at_module_level: bool
    guarded: bool

    @property
    def room(self) -> str:
        parts = self.whole.split(".")
        return parts[1] if parts[0] == "orchestration" else ""

    @property
    def whole(self) -> str:
        """Module and name with dots between and at the end."""
        return f"{self.module}.{self.name}.".replace("..", ".")

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def _read_imports(source: str, *, package: str = "") -> list[Import]:
    return list(_walk(ast.parse(source), package, at_module_level=True, guarded=False))


def _walk(node: ast.AST, package: str, *, at_module_level: bool, guarded: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(
                    module=alias.name, name="", line=child.lineno, at_module_level=at_module_level, guarded=guarded
                )
        elif isinstance(child, ast.ImportFrom):
            module = child.module or ""
            if child.level:
                above = package.split(".")[: len(package.split(".")) - child.level + 1]
                module = ".".join([*above, *([module] if module else [])])
            for alias in child.names:
                yield Import(
                    module=module,
                    name=alias.name,
                    line=child.lineno,
                    at_module_level=at_module_level,
                    guarded=guarded,
                )
        elif isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for branch in child.body:  # never executed: for the type checker only, but a wall is a wall
                yield from _walk(ast.Module([branch], []), package, at_module_level=False, guarded=True)
            yield from _walk(ast.Module(child.orelse, []), package, at_module_level=at_module_level, guarded=True)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(
                child,
                package,
                at_module_level=at_module_level and not inside,
                guarded=guarded or isinstance(child, ast.If | ast.Try | ast.ExceptHandler),
            )


def _module_of(path: Path) -> str:
    parts = path.relative_to(_PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _files() -> list[Path]:
    programs = [path for name in ("tasks.py", "fabfile.py") if (path := _PROJECT / name).is_file()]
    return [*sorted(_PACKAGE.rglob("*.py")), *programs]


@functools.cache
def _imports_of(path: Path) -> list[Import]:
    package = _module_of(path) if path.name == "__init__.py" else _module_of(path).rpartition(".")[0]
    return _read_imports(path.read_text(encoding="utf-8"), package=package)


def _breach(module: str, imported: Import) -> str:
    """Why `module` may not import that, or an empty string."""
    room = module.split(".")[1] if module.startswith("orchestration.") else ""
    if imported.top in _TASK_RUNNERS and module not in _MAY_RUN_TASKS and room != "deploy":
        return f"only tasks.py and fabfile.py know {imported.top}"
    if imported.top in {"tasks", "fabfile", "tests", "benchmarks"}:
        return f"nothing imports {imported.top}"
    if imported.name.startswith("_") and imported.top == "orchestration":
        return f"`{imported.name}` is private to {imported.module}"
    if imported.whole.startswith(f"{_CONSOLE}.") and module not in _MAY_SHOW:
        return "only the entry points show things to people"
    if module in _PURE_SUPERVISION:
        return _breach_of_purity(imported)
    return _breach_of_room(room, module, imported) if room in _MAY_USE else ""


def _breach_of_purity(imported: Import) -> str:
    is_pure = any(imported.whole.startswith(f"{one}.") for one in {*_PURE_SUPERVISION, _PURE_BOT_STATE})
    if not imported.room or is_pure or imported.room in _PURE_SUPERVISION_MAY_USE:
        return ""
    return "what a supervisor decides is pure: it may use its own kind, the state of a bot, gateway and alerts"


def _breach_of_room(room: str, module: str, imported: Import) -> str:
    if not imported.room or imported.room in _MAY_USE[room]:
        return ""
    if imported.room not in _ALSO_MAY_USE.get(module, frozenset()):
        return f"the room `{room}` may use {', '.join(sorted(_MAY_USE[room])) or 'nothing'}"
    if imported.room == "gateway" and not imported.whole.startswith(f"{_ONLY_GATEWAY_MODULE}."):
        return f"of the gateway's room only {_ONLY_GATEWAY_MODULE} is for bot authors"
    return ""


def _find(judge: Callable[[str, Import], str]) -> list[str]:
    """Every import that is judged a breach, by its place."""
    files = _files()
    assert len(files) > 100
    return [
        f"{path.relative_to(_PROJECT)}:{one.line}: {one.module} {one.name}".rstrip() + f": {why}"
        for path in files
        for one in _imports_of(path)
        if (why := judge(_module_of(path), one))
    ]


def _is_heavy(module: str, imported: Import) -> str:
    heavy = _HEAVY - (_TASK_RUNNERS if module in _MAY_RUN_TASKS else frozenset())
    return "import it inside the function that uses it" if imported.at_module_level and imported.top in heavy else ""


def _is_unguarded(_: str, imported: Import) -> str:
    if imported.at_module_level and not imported.guarded and imported.top in _POSIX_OR_WINDOWS_ONLY:
        return "guard it with `if sys.platform`, or import it where it is used"
    return ""


def _breach_of_floors(module: str, imported: Import) -> str:
    """Why a room may not import that one, or an empty string."""
    room = module.split(".")[1] if module.startswith("orchestration.") else module
    if not imported.room or room == imported.room or module in _ENTRY_POINTS or module == "orchestration":
        return ""
    if _FLOOR_OF[imported.room] < _FLOOR_OF[room]:
        return ""
    return f"`{imported.room}` is not below `{room}`"


def test_modules_keep_to_the_rooms_they_may_use() -> None:
    assert _find(_breach) == []


def test_a_room_imports_from_lower_floors_only() -> None:
    rooms = {path.stem for path in _PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert rooms - {"__init__", "__pycache__", "py"} | {"tasks", "fabfile"} == _FLOOR_OF.keys()
    assert _find(_breach_of_floors) == []
    assert _judge("orchestration.gateway.wait", "from orchestration.bot import stop", _breach_of_floors)
    assert _judge("orchestration.supervision.supervisor", "from orchestration import shutdown", _breach_of_floors)


def test_no_module_imports_something_heavy_while_it_is_loaded() -> None:
    assert _find(_is_heavy) == []


def test_every_module_loads_where_an_operating_system_lacks_a_module() -> None:
    assert _find(_is_unguarded) == []


_BREACHES = [
    ("orchestration.gateway.wait", "from orchestration.bot.process import launch"),
    ("orchestration.gateway.wait", "import orchestration.journal"),
    ("orchestration.gateway.wait", "from orchestration import journal"),
    ("orchestration.gateway.wait", "from .. import journal"),
    ("orchestration.gateway.wait", "from ..alerts import discord"),
    ("orchestration.gateway.wait", "def late():\n    from orchestration.bot import process"),
    ("orchestration.gateway.wait", "from orchestration import startup"),
    ("orchestration.system.files", "from orchestration.settings import Settings"),
    ("orchestration.errors", "from orchestration.system import clock"),
    ("orchestration.system.signals", "from orchestration.errors import StartupFailure"),
    ("orchestration.hostservice.install", "from orchestration.preflight.host import check_env_file"),
    ("orchestration.startup.sequence", "import invoke"),
    ("orchestration.startup.sequence", "from orchestration.gateway.wait import _loop"),
    ("orchestration.preflight.table", "from orchestration import presenter"),
    ("orchestration.preflight.table", "import orchestration.presenter"),
    ("orchestration.preflight.table", "from orchestration.presenter import show"),
    ("orchestration.prerequisites", "from orchestration.gateway import wait"),
    ("orchestration.startup.sequence", "import tasks"),
    ("orchestration.startup.sequence", "from tests.fakes import clock"),
    ("orchestration.bot.reference", "from orchestration.gateway.wait import wait"),
    ("orchestration.bot.reference", "from orchestration.gateway import container"),
    ("orchestration.bot.process", "from orchestration.gateway import api"),
    ("orchestration.supervision.machine", "from orchestration.bot import stop"),
    ("orchestration.supervision.machine", "from orchestration.supervision import supervisor"),
    ("orchestration.supervision.machine", "from orchestration.supervision.observe import Observer"),
    ("orchestration.reports.verdict", "from orchestration.supervision import Rules"),
]
_ALLOWED = [
    ("orchestration.gateway.wait", "from orchestration.gateway import readiness"),
    ("orchestration.gateway.wait", "from . import readiness"),
    ("orchestration.gateway.wait", "from orchestration.system.clock import Clock"),
    ("orchestration.startup.sequence", "from orchestration import bot, gateway, gameplan"),
    ("orchestration.commands.startup", "from orchestration import presenter"),
    ("orchestration.supervision.machine", "from orchestration.supervision.observation import Observation"),
    ("orchestration.supervision.supervisor", "from orchestration.bot import stop"),
    ("orchestration.bot.reference", "from orchestration.gateway import api"),
    ("orchestration.bot.reference", "from orchestration.gateway.api import probe"),
    ("orchestration.prerequisites", "from orchestration.gameplan import check"),
    ("orchestration.settings", "import os, re"),
    ("tasks", "from invoke import task"),
]


def _judge(module: str, source: str, judge: Callable[[str, Import], str] = _breach) -> list[str]:
    imports = _read_imports(source, package=module.rpartition(".")[0])
    return [why for one in imports if (why := judge(module, one))]


def test_what_runs_on_a_host_imports_only_what_is_sent_there_before_it() -> None:
    breaches = []
    for number, name in enumerate(SOURCES):
        path = _PROJECT / f"{name.replace('.', '/')}.py"
        for one in _read_imports(path.read_text(encoding="utf-8")):
            wanted = {one.module, f"{one.module}.{one.name}"}
            is_sent = not wanted.isdisjoint(SOURCES[:number])
            if not (is_sent or (one.top in sys.stdlib_module_names and one.top != "orchestration")):
                breaches.append(f"{name}:{one.line}: {one.module}")
    assert breaches == []
    on_host = {f"orchestration.deploy.on_host.{path.stem}" for path in (_PACKAGE / "deploy/on_host").glob("[!_]*.py")}
    assert on_host <= set(SOURCES)


def test_a_hole_in_a_wall_is_seen() -> None:
    assert [one for one in _BREACHES if not _judge(*one)] == []


def test_a_door_in_a_wall_is_open() -> None:
    assert [one for one in _ALLOWED if _judge(*one)] == []


def test_a_heavy_and_an_unguarded_import_are_seen() -> None:
    assert _judge("orchestration.startup.sequence", "import requests", _is_heavy)
    assert _judge("orchestration.startup.sequence", "from fabric import task", _is_heavy)
    assert not _judge("orchestration.startup.sequence", "def f():\n    import requests", _is_heavy)
    assert not _judge("fabfile", "from fabric import task", _is_heavy)
    assert _judge("orchestration.startup.sequence", "import fcntl", _is_unguarded)
    assert not _judge("orchestration.startup.sequence", "if sys.platform != 'win32':\n    import fcntl", _is_unguarded)


def test_where_an_import_stands_is_understood() -> None:
    source = (
        "import a\n"
        "if TYPE_CHECKING:\n    import b\n"
        "try:\n    import c\nexcept ImportError:\n    c = None\n"
        "class K:\n    import d\n"
        "def f():\n    import e\n"
        "if sys.platform == 'win32':\n    import g\nelse:\n    import h\n"
    )
    seen = {one.module: (one.at_module_level, one.guarded) for one in _read_imports(source)}
    assert seen == {
        "a": (True, False),
        "b": (False, True),
        "c": (True, True),
        "d": (True, False),
        "e": (False, False),
        "g": (True, True),
        "h": (True, True),
    }


def test_the_linter_bans_what_only_a_door_may_touch() -> None:
    lint = tomllib.loads((_PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    banned = set(lint["flake8-tidy-imports"]["banned-api"])
    needed = {"subprocess", "time.sleep", "time.monotonic", "os.environ", "os.getenv", "unittest.mock", *_TASK_RUNNERS}
    assert needed <= banned
    exempt = {
        place
        for place, codes in lint["per-file-ignores"].items()
        if "TID251" in codes and not place.startswith(("tests/", "benchmarks/"))
    }
    assert exempt <= {
        "docker/**",
        "orchestration/settings/sources.py",
        "orchestration/system/*",
        "orchestration/deploy/cli.py",
        "orchestration/deploy/connection.py",
        "orchestration/deploy/host_keys.py",
        "orchestration/deploy/on_host/*",
        "tasks.py",
        "fabfile.py",
    }


# Who writes to a terminal or a log without going through `console` or `logs`, and why that is right.
_MAY_WRITE = {
    "orchestration.presenter": "the writer: see `test_what_a_writer_writes_is_made_fit_to_be_shown`",
    "orchestration.commands.watch_display": "the writer of a supervisor's live view",
    "orchestration.logs": "makes the logs' handlers, with the formatter of `orchestration.redaction`",
    "orchestration.redaction.text": "that formatter",
    "orchestration.system.streams": "the door to standard output and error",
    "orchestration.commands.startup": "prints its own usage",
    "orchestration.commands.stack": "a program of its own, which says in one sentence why Compose is not called",
    "orchestration.gateway.launcher_log": "a program of its own: one cleaned line",
    "orchestration.gateway.order_guard_proxy": "a program of its own: cleaned lines",
    "orchestration.supervision.guard_process": "a program of its own: cleaned lines",
    "orchestration.supervision.fence_process": "a program of its own: its usage",
    "orchestration.system.landlock": "a program of its own, which says in one sentence why it did not become another",
    "orchestration.gameplan.extra_schema": "a pipe to the process that started it, which reads JSON",
    "orchestration.deploy.on_host.base": "a pipe to the deploy over SSH, which reads JSON",
    "orchestration.deploy.on_host.main": "a pipe to the deploy over SSH, which reads JSON",
    "orchestration.deploy.on_host.activation": "a pipe to the deploy over SSH, which reads JSON",
    "orchestration.bot.reference": "a bot, whose output goes to the bot's log",
    "orchestration.prerequisites": "speaks for a bot, whose output goes to the bot's log",
}
_WRITERS = frozenset(
    {
        *("print", "sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"),
        *("steady_stdout", "steady_stderr", "Console", "RichHandler"),
        *("logging.StreamHandler", "logging.FileHandler", "logging.Formatter", "logging.basicConfig"),
    }
)
_CLEANERS = frozenset({"clean_line", "clean_text", "clean_lines", "escape_unsafe"})


def _find_writers(source: str) -> list[str]:
    """Each use of something that writes past `console` and `logs`, with its line."""
    return [
        f"{node.lineno}: {name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name | ast.Attribute) and (name := ast.unparse(node)) in _WRITERS
    ]


def _find_raw_writes(source: str) -> list[str]:
    """Each call of a stream's `write`, and each text of a rich one, that does not go through a cleaner."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        f"{call.lineno}: {ast.unparse(call)}"
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in {"write", "writelines", "print", "log", "out"}
        for argument in call.args
        if not any(isinstance(one, ast.Name) and one.id in _CLEANERS for one in ast.walk(argument))
        and ast.unparse(argument) != "table"  # of cells that were cleaned one by one
    ]


def test_nothing_is_written_past_the_writers() -> None:
    found = {_module_of(path): _find_writers(path.read_text(encoding="utf-8")) for path in _files()}
    passing = {
        module: places
        for module, places in found.items()
        if places and module not in _MAY_WRITE and not module.startswith("orchestration.simulator")
    }
    assert passing == {}
    assert [module for module in _MAY_WRITE if not found[module]] == [], "needs no exemption any more"


def test_what_a_writer_writes_is_made_fit_to_be_shown() -> None:
    for module in ("presenter", "commands/watch_display"):
        assert _find_raw_writes((_PACKAGE / f"{module}.py").read_text(encoding="utf-8")) == []


def test_a_writer_that_passes_the_others_by_is_seen() -> None:
    for source in (
        "print('x')",
        "import sys\nsys.stdout.write(x)",
        "from orchestration.system.streams import steady_stdout\nsteady_stdout().write(x)",
        "logging.basicConfig()",
        "rich.console\nConsole().print(x)",
    ):
        assert _find_writers(source) != []
    assert _find_writers("console.print_line(x)\nlogging.getLogger('x').info('y')\npath.write_text('z')") == []
    assert _find_raw_writes("stream.write(text + '\\n')") != []
    assert _find_raw_writes("stream.write(clean_line(text) + '\\n')") == []


def _read_arrows() -> dict[str, set[str]]:
    """Which modules each module imports, also inside a function or for the type checker."""
    modules = {_module_of(path): _imports_of(path) for path in _files()}
    return {
        module: {name for one in imports for name in _targets(one, modules) if name != module}
        for module, imports in modules.items()
    }


def _take_floors(arrows: dict[str, set[str]]) -> int:
    """Take away, floor by floor, what imports nothing that is left; how many floors that were."""
    for floors in range(len(arrows) + 1):
        ends = {module for module, targets in arrows.items() if not targets & arrows.keys()}
        if not ends:
            return floors
        for module in ends:
            del arrows[module]
    return 0


def _find_circles() -> list[list[str]]:
    """Modules that import each other, also by an import inside a function."""
    arrows = _read_arrows()
    _take_floors(arrows)
    for _ in dict(arrows):  # and what nothing that is left imports
        imported = {name for targets in arrows.values() for name in targets}
        arrows = {module: targets for module, targets in arrows.items() if module in imported}
    return sorted([module, *sorted(targets & arrows.keys())] for module, targets in arrows.items())


def _targets(imported: Import, modules: Mapping[str, object]) -> list[str]:
    whole = imported.whole.rstrip(".")
    return [name for name in (whole, imported.module) if name in modules][:1]


def test_no_modules_import_each_other() -> None:
    assert _find_circles() == []


def test_no_chain_of_imports_grows_longer() -> None:
    # It may only become shorter: an import for a word or a type that stands in the wrong room makes it longer.
    assert _take_floors(_read_arrows()) <= _LONGEST_CHAIN
    assert _take_floors({"a": {"b"}, "b": {"c"}, "c": set()}) == 3


def _list_loaded(first: str, function: str) -> set[str]:
    """What a command loads: what its module and its own function import, and what that loads while it is loaded."""
    modules = {_module_of(path): _imports_of(path) for path in _files()}
    tree = ast.parse((_PROJECT / f"{first.replace('.', '/')}.py").read_text(encoding="utf-8"))
    (own,) = (one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == function)
    lines = range(own.lineno, (own.end_lineno or own.lineno) + 1)
    taken = [one for one in modules[first] if one.line in lines or (one.at_module_level and not one.guarded)]
    loaded, due = {first}, {name for one in taken for name in _targets(one, modules)}
    while due:
        loaded |= due
        seen = [one for name in due for one in modules[name] if one.at_module_level and not one.guarded]
        due = {name for one in seen for name in _targets(one, modules)} - loaded
    return loaded


def test_a_command_that_only_shows_something_loads_less_than_a_third() -> None:
    lines = {_module_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in _files()}
    for function in ("config", "history"):
        loaded = _list_loaded("orchestration.commands.views", function)
        assert "orchestration.presenter" in loaded
        assert "orchestration.supervision.supervisor" not in loaded
        assert sum(lines[name] for name in loaded) < sum(lines.values()) / 3, function


def test_there_are_few_modules_outside_of_a_room_and_few_floors() -> None:
    assert len(list(_PACKAGE.glob("*.py"))) <= _MOST_FLAT_MODULES
    assert len(_FLOORS) <= _MOST_FLOORS


# An import that takes only constants from a module is a wrong place for the constant, or a value that should have been
# handed on. These stay, each for its reason.
_ONLY_FOR_A_CONSTANT = {
    ("bot.dry_start", "bot.record"): "takes the variable's name out of an environment that `bot.environment` made",
    ("supervision.fence", "bot.record"): "the variable's name goes to another program, with its value",
    ("commands.control", "shutdown"): "steps, which are values: a run is a tuple of them",
    ("tasks", "shutdown"): "the same",
    ("commands.stack", "settings.variables"): "the variable that names the `.env` file is declared with the others",
    ("deploy.on_host.activate", "deploy.on_host.boot_guard"): "the folder whose absence the guard's unit is bound to",
    ("deploy.on_host.boot_guard", "deploy.on_host.release_settings"): "the name of the file that the guard puts back",
    ("gateway.order_guard_proxy", "gateway.api_status"): "the broker's limit of clients",
    ("gateway.soft_restart", "docker.cli"): "the sum of the time-outs that one restart may use up",
    ("preflight.other_instances", "gateway.api_status"): "the broker's limit of clients",
    ("preflight.other_instances", "gateway.drift"): "the settings that a container is made from: one table",
    ("settings.reference_page", "settings.image_variables"): "prints the table",
    ("settings.variables", "settings.image_variables"): "the names that are known: one table",
    ("soak.instance", "settings"): "the project's folder",
    ("soak.schedule", "gateway.history"): "the bounds of restarts, which a schedule has to keep to",
    ("supervision.weekly_login", "gateway.history"): "the same bounds",
}


def _find_constant_imports(modules: Mapping[str, list[Import]]) -> set[tuple[str, str]]:
    """Module and target of each import that takes nothing but names in capitals."""
    taken: dict[tuple[str, str], set[str]] = {}
    for module, imports in modules.items():
        for one in imports:
            if one.module in modules and f"{one.module}.{one.name}" not in modules:
                taken.setdefault((module, one.module), set()).add(one.name)
    return {edge for edge, names in taken.items() if all(name.isupper() for name in names)}


def test_no_module_is_imported_only_for_a_constant() -> None:
    modules = {_module_of(path): _imports_of(path) for path in _files()}
    found = {
        (module.removeprefix("orchestration."), target.removeprefix("orchestration."))
        for module, target in _find_constant_imports(modules)
    }
    assert found - _ONLY_FOR_A_CONSTANT.keys() == set()
    assert _ONLY_FOR_A_CONSTANT.keys() - found == set(), "these have gone: take them out of the table"


def test_an_import_of_constants_is_seen() -> None:
    modules = {"a": _read_imports("from b import X_S, Y\nfrom c import Z, f\nimport b\n"), "b": [], "c": []}
    assert _find_constant_imports({**modules, "a": modules["a"][:2]}) == {("a", "b")}
    assert _find_constant_imports(modules) == set(), "it is imported as a module, too"


def _find_classes_of_one_name(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """The names that more than one class has, with the modules that define them; private ones too."""
    found: dict[str, list[str]] = {}
    for module, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(module)
    return {name: modules for name, modules in found.items() if len(modules) > 1}


def test_no_class_name_stands_for_two_things() -> None:
    assert _find_classes_of_one_name({_module_of(path): path.read_text(encoding="utf-8") for path in _files()}) == {}


def test_a_class_name_that_stands_for_two_things_is_seen() -> None:
    sources = {"a": "class One: ...\nclass Two: ...\n", "b": "class One: ...\n", "c": "def f():\n    class Two: ...\n"}
    assert _find_classes_of_one_name(sources) == {"One": ["a", "b"], "Two": ["a", "c"]}
