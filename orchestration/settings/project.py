"""Which folder is the project's: the one whose `.env`, state and tasks count.

That is where this package lies, in a checkout. A bot that calls `orchestration.prerequisites` has a copy of the package
in an environment of its own (`pip install .`): it must judge by the settings of the checkout from which it was
installed, and name commands that work there. pip records where that is (PEP 610, `direct_url.json`).
"""

import importlib.metadata
import json
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

_DISTRIBUTION = "zero-touch-startup"
_TASKS = "tasks.py"
_RELEASES, _CURRENT = "releases", "current"


def find_project_dir(package_dir: Path) -> Path:
    """The checkout that the package belongs to; the folder that holds the package where none is known.

    Args:
        package_dir: The package's own folder.
    """
    holding = package_dir.parent
    if is_checkout(holding):
        return holding
    return _find_installed_from(holding) or holding


def is_checkout(folder: Path) -> bool:
    """Whether the commands of this project work in this folder."""
    return (folder / _TASKS).is_file() and (folder / "orchestration" / "__init__.py").is_file()


def _find_installed_from(site_packages: Path) -> Path | None:
    """The folder from which pip installed the copy in `site_packages`, if it is still there."""
    for distribution in importlib.metadata.distributions(name=_DISTRIBUTION, path=[str(site_packages)]):
        folder = _parse_direct_url(distribution.read_text("direct_url.json"))
        if folder is None:
            continue
        candidates = [folder]
        if folder.parent.name == _RELEASES:
            candidates.append(folder.parent.parent / _CURRENT)  # that release was removed by a later deploy
        for candidate in candidates:
            if is_checkout(candidate):
                return candidate.resolve()
    return None


def _parse_direct_url(text: str | None) -> Path | None:
    try:
        url = urlsplit(json.loads(text or "{}")["url"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Path(url2pathname(url.path)) if url.scheme == "file" else None
