"""A deploy to a whole host that is cut off, wherever it is: the system runs, and the next deploy works."""

import os
import signal
import time

import pytest

from tests.rackmount.site import Site, read_until

pytestmark = pytest.mark.rackmount


@pytest.mark.parametrize("after", ["lock", "upload", "environment", "seal", "trial", "switch", "start", "hold"])
def test_a_deploy_that_is_killed_leaves_a_system_that_runs(deployed: Site, after: str) -> None:
    before = deployed.current()
    deployed.commit(f"cut after {after}", **{"README.md": f"\nCut after {after}.\n"})
    with deployed.deploying() as process:
        read_until(process, lambda line: f"] {after}" in line)
        process.kill()
    if after in {"lock", "upload", "environment", "seal"}:
        assert deployed.current() == before
        assert deployed.is_well()
    ended = deployed.deploy()
    assert ended.code == 0, str(ended)
    assert deployed.is_well()
    assert deployed.current() != before


def test_a_connection_that_is_cut_leaves_a_system_that_runs(deployed: Site) -> None:
    before = len(deployed.audit())
    deployed.commit("cut the cable", **{"README.md": "\nThe cable.\n"})
    with deployed.deploying() as process:
        read_until(process, lambda line: "] switch" in line)
        deployed.host.run("pkill -KILL -u trader sshd-session || pkill -KILL -u trader sshd")
        assert process.wait(60) == 1
        assert "broke" in process.stderr.read() if process.stderr else ""
    deployed.wait_for_audit("good", before=before)
    deployed.wait_until_well()
    assert deployed.deploy().only["result"] == "nothing_new"


def test_the_lock_names_its_holder_and_is_free_when_the_holder_is_gone(deployed: Site) -> None:
    deployed.commit("locked", **{"README.md": "\nLocked.\n"})
    with deployed.deploying() as process:
        read_until(process, lambda line: "] lock" in line)
        os.kill(process.pid, signal.SIGSTOP)
        refused = deployed.deploy()
        assert refused.code == 1
        assert f"(process {process.pid}) since 20" in refused.only["message"]
        process.kill()
    deadline_s = time.monotonic() + 60
    while (ended := deployed.deploy()).code and time.monotonic() < deadline_s:
        pass
    assert ended.code == 0, str(ended)
