"""This process's own redactor: every secret that it has ever loaded, so that nothing it writes shows one."""

import functools
from collections.abc import Iterable

from orchestration.redaction.redactor import Redactor

_known: set[str] = set()
_redactor: list[Redactor] = []


def protect(secrets: Iterable[str]) -> None:
    """From now on nothing that this process writes shows these secrets."""
    new = {secret for secret in secrets if secret.strip()} - _known
    if new:
        _known.update(new)
        _redactor.clear()


def own_redactor() -> Redactor:
    """The redactor for what this process writes to a terminal."""
    if not _redactor:
        _redactor.append(Redactor(_known))
    return _redactor[0]


@functools.lru_cache(maxsize=16)
def redactor_for(secrets: tuple[str, ...]) -> Redactor:
    """A redactor for these secrets; the same one for the same secrets, as to make one costs as much as to use it."""
    return Redactor(secrets)
