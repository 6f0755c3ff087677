"""Reads texts out of published packages, without installing or running them."""

import ast
import re
import subprocess
import sys
import tokenize
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

IBCONTROLLER = "py-ib-controller==0.1.4"
IB_GATEWAY_MCP = "ib-gateway-mcp==0.2.2"
RECORDINGS = Path(__file__).parents[1] / "fixtures" / "login"
_LOG_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_PATIENCE_S = 100


def download(requirement: str, folder: Path) -> Path:
    """The package's wheel, from the registry that pip is set up for. Both packages need a newer Python than ours."""
    options = ("--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--quiet", "--dest", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "download", *options, requirement], check=True, timeout=_PATIENCE_S)
    (wheel,) = folder.glob("*.whl")
    return wheel


def read_ibcontroller(wheel: Path) -> dict[str, Any]:
    """All that ibcontroller logs, and the exit codes that it gives names to."""
    texts: set[str] = set()
    codes: dict[str, int] = {}
    for name, source in _read_sources(wheel):
        for node in ast.walk(ast.parse(source)):
            if _is_log_call(node):
                texts.add(node.args[0].value)  # type: ignore[attr-defined]  # what `_is_log_call` has looked at
            elif name.endswith("/cli.py") and isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                target = node.targets[0]
                if isinstance(target, ast.Name) and target.id.startswith("_EX_"):
                    codes[target.id] = int(str(node.value.value))
    return {"package": IBCONTROLLER, "texts": sorted(texts), "exit_codes": codes}


def _is_log_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _LOG_LEVELS
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    )


def read_ib_gateway_mcp(wheel: Path) -> dict[str, Any]:
    """Its table of the texts in `launcher.log`: for each, the pattern and the examples in the comment above it."""
    source = next(text for name, text in _read_sources(wheel) if name.endswith("/_gateway_log.py"))
    # Type statements and type parameters, which Python 3.11 cannot parse, say nothing here.
    readable = re.sub(r"(?m)^type (\w+) = ", r"\1 = ", source)
    readable = re.sub(r"(?m)^((?:class|def) \w+)\[\w+\]", r"\1", readable)
    table = next(
        node
        for node in ast.walk(ast.parse(readable))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "PATTERNS"
    )
    entries = next(node for node in ast.walk(table) if isinstance(node, ast.Dict))
    comments = _read_comments(source)
    found: dict[str, Any] = {}
    for key, value in zip(entries.keys, entries.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(value, ast.Call):
            continue
        above: list[str] = []
        number = key.lineno - 1
        while number in comments:
            above.insert(0, comments[number])
            number -= 1
        examples = re.findall(r'"([^"]{8,})"', " ".join(above))
        found[str(key.value)] = {"pattern": ast.literal_eval(value.args[0]), "examples": examples}
    return {"package": IB_GATEWAY_MCP, "patterns": found}


def _read_comments(source: str) -> dict[int, str]:
    tokens = tokenize.tokenize(BytesIO(source.encode()).readline)
    return {one.start[0]: one.string.removeprefix("#").strip() for one in tokens if one.type == tokenize.COMMENT}


def _read_sources(wheel: Path) -> list[tuple[str, str]]:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
        return [(name, archive.read(name).decode()) for name in sorted(names)]
