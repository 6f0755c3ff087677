"""Compiles the test modules once, before the processes of a parallel run load them.

On a fresh clone each of those processes would find nothing compiled, and rewrite the assertions of every test module
for itself: some seven seconds of processor, several times over.
"""

import contextlib
import importlib
import os
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
_PARTS = ("unit", "integration")


def find_uncompiled(folder: Path) -> list[Path]:
    """The test modules below this folder that pytest has not compiled since they were written."""
    # pytest's own name for what it has rewritten: `test_x.cpython-311-pytest-9.0.0.pyc`.
    tag = f"{sys.implementation.cache_tag}-pytest-{pytest.__version__}"
    found = []
    for path in sorted(folder.rglob("test_*.py")):
        compiled = path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc"
        if not compiled.is_file() or compiled.stat().st_mtime_ns < path.stat().st_mtime_ns:
            found.append(path)
    return found


def compile_test_modules(processes: int) -> None:
    """Compile what is not compiled, by loading it in children of this process, which has pytest's import hook.

    A module that cannot be loaded is left to the run itself, which says why.

    Args:
        processes: How many children share the work.
    """
    paths = [path for part in _PARTS for path in find_uncompiled(_HERE / part)]
    # In turns of size, so that each child gets as much as the others.
    paths.sort(key=lambda path: path.stat().st_size, reverse=True)
    children = []
    for number in range(min(processes, len(paths))):
        pid = os.fork()
        if pid == 0:
            _load(paths[number::processes])
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)


def _load(paths: list[Path]) -> None:
    """Load these modules, and end this process."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        for path in paths:
            name = ".".join(path.relative_to(_HERE.parent).with_suffix("").parts)
            with contextlib.suppress(BaseException):  # whatever it is, also a skip of the whole module
                importlib.import_module(name)
    finally:
        os._exit(0)
