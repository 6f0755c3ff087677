"""Three hosts with one login: five runs of the campaign (`python -m tests.hosts` conducts a hundred)."""

import os
import shutil
from pathlib import Path

import pytest

from tests.hosts.__main__ import TTL_S
from tests.hosts.conduct import conduct
from tests.hosts.draw import draw_case
from tests.hosts.hosts import scene

_SEED = 1
_NUMBERS = (11, 27, 30, 32, 55)
_PROGRAMS = ("etcd", "ip", "iptables", "nsenter", "cc")


def _what_is_missing() -> str:
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if os.geteuid() != 0:
        return "network namespaces need root"
    return f"there is no {' and no '.join(missing)}" if missing else ""


@pytest.mark.hosts
@pytest.mark.timeout(400)
def test_a_bot_never_runs_on_two_hosts_and_always_runs_again(tmp_path: Path) -> None:
    missing = _what_is_missing()
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must have what it needs: {missing}", pytrace=False)
    if missing:
        pytest.skip(missing)
    with scene(99, tmp_path, ttl_s=TTL_S) as hosts:
        results = [conduct(hosts, draw_case(_SEED, number, ttl_s=TTL_S)) for number in _NUMBERS]

    assert [(one.told, one.broken) for one in results if one.broken] == []
