"""The files of the cluster's TLS, before anything is asked of the cluster."""

from pathlib import Path

import pytest

from orchestration.errors import FailureWord, StepStatus
from orchestration.preflight.lease import check_lease
from orchestration.settings import Settings
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands


@pytest.mark.parametrize("missing", ["LEASE_CA", "LEASE_CERT", "LEASE_KEY"])
def test_a_file_that_cannot_be_read_is_named_by_its_variable(tmp_path: Path, missing: str) -> None:
    environ = {"LEASE_ETCD": "https://127.0.0.1:1", "GATEWAY_RUNTIME": "simulator"}
    for name in ("LEASE_CA", "LEASE_CERT", "LEASE_KEY"):
        environ[name] = str(tmp_path / name)
        if name != missing:
            (tmp_path / name).write_text("PEM", encoding="utf-8")
    (check,) = check_lease(Settings.from_environ(environ), FakeCommands(), clock=FakeClock())
    assert (check.status, check.failure) == (StepStatus.FAIL, FailureWord.CONFIG_INVALID)
    assert check.detail.startswith(f"{missing}: {tmp_path / missing} ")
