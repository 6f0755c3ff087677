"""What a release is, in values: its name, what it holds, what differs between two, which one to go back to. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

KEEP = 5
_SHORT = 10  # digits of a commit in a name
_SHORTEST = 4  # digits of a commit that git takes for one
_GATEWAY_FOLDER = "docker/gateway/"
_NOT_THE_CONTAINERS = "docker/gateway/scripts/"  # what starts the system, not what the container is made from

Files = Mapping[str, str]
"""Paths, and for each one its mode and git's hash of its content."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release on a host.

    Attributes:
        name: `20260105T141500Z_1a2b3c4d5e`: when it was made, in UTC, and of which commit. Names sort by time.
        commit: The whole commit id; empty if the release is not whole.
        gateway: A digest of the files that the gateway's container is made from; empty if unknown.
        complete: Whether all of it is there.
        verified: Whether it ran and was found good.
        failed: Whether it was tried and was not.
    """

    name: str
    commit: str = ""
    gateway: str = ""
    complete: bool = True
    verified: bool = False
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs between two lists of files.

    Attributes:
        added: Paths of new files, sorted.
        changed: Paths of changed files, sorted.
        removed: Paths of removed files, sorted.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each path, as `git status --short` marks them."""
        marked = [
            *(("A", path) for path in self.added),
            *(("M", path) for path in self.changed),
            *(("D", path) for path in self.removed),
        ]
        return tuple(f"{mark} {path}" for mark, path in sorted(marked, key=lambda one: one[1]))

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.added, *self.changed, *self.removed)

    @property
    def touches_gateway(self) -> bool:
        """Whether the gateway's container has to be recreated."""
        return any(_is_gateways(path) for path in self.paths)


@dataclass(frozen=True, kw_only=True)
class ActivationRequest:
    """What the host is asked to do when it activates a release; it goes there as JSON.

    Attributes:
        target: The release to activate.
        previous: The release to go back to if it is not healthy; empty for none.
        gateway_changed: Whether the gateway's container has to be made again.
        hold_timeout_s: For how long the system may take until it is good.
        keep: How many releases are kept.
        least_free_bytes: The disk space that is needed right before something that runs is stopped.
        deploy_id: The lock's holder.
        action: `deploy` or `rollback`.
        by: Who asks.
        commit: The release's commit.
        brings_env: Whether new settings were brought along.
        restores_env: Whether the release's own last settings are brought back.
        discredited: A release that is marked as failed; empty for none.
    """

    target: str
    previous: str
    gateway_changed: bool
    hold_timeout_s: float
    keep: int
    least_free_bytes: int
    deploy_id: str
    action: str
    by: str
    commit: str
    brings_env: bool = False
    restores_env: bool = False
    discredited: str = ""


def build_name(commit: str, now: datetime) -> str:
    """The name of a release made now."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}_{commit[:_SHORT]}"


def parse_tree(text: str) -> dict[str, str]:
    """The files of a commit, from `git ls-tree -r -z`."""
    found = {}
    for entry in text.split("\0"):
        facts, separator, path = entry.partition("\t")
        if separator:
            mode, _, digest = facts.split(" ")
            found[path] = f"{mode} {digest}"
    return found


def find_changes(before: Files, after: Files) -> Changes:
    """What `after` has that `before` has not, and the reverse."""
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(sorted(path for path in after.keys() & before.keys() if after[path] != before[path])),
        removed=tuple(sorted(before.keys() - after.keys())),
    )


def build_gateway_digest(files: Files) -> str:
    """The same for two lists if the gateway's container can stay as it is between them."""
    lines = sorted(f"{facts} {path}" for path, facts in files.items() if _is_gateways(path))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _is_gateways(path: str) -> bool:
    return path.startswith(_GATEWAY_FOLDER) and not path.startswith(_NOT_THE_CONTAINERS)


def find_previous(releases: Iterable[Release], current: str) -> Release | None:
    """The release to go back to: the newest good one before the current one."""
    good = [one for one in releases if one.complete and one.verified and one.name < current]
    return max(good, key=lambda one: one.name, default=None)


def find_rollback_target(releases: Iterable[Release], current: str) -> str:
    """The name of the release to go back to if another one is not good; empty for none.

    It is the current one. But if that was never found good, because its own trial was cut off, it is the newest good
    one.
    """
    known = {one.name: one for one in releases if one.complete}
    if current in known and not known[current].verified:
        return max((name for name, one in known.items() if one.verified), default=current)
    return current if current in known else ""


def find_release(releases: Iterable[Release], words: str) -> Release | None:
    """The whole release that is meant by its name, or by the beginning of its commit; the newest of that commit.

    None, too, if the beginning is shorter than git's shortest, or more than one commit begins so.
    """
    known = [one for one in releases if one.complete]
    found = [one for one in known if one.name == words]
    if not found and len(words) >= _SHORTEST:
        found = [one for one in known if one.commit.startswith(words)]
    if len({one.commit for one in found}) > 1:
        return None
    return max(found, key=lambda one: one.name, default=None)
