"""The test host itself is what it says: a whole Linux host."""

import subprocess
from pathlib import Path

import pytest

from tests.rackmount.host import USER, RackHost

pytestmark = pytest.mark.rackmount


def test_every_unit_of_the_host_is_well(host: RackHost) -> None:
    assert host.run("systemctl is-system-running", check=False).out.strip() == "running", host.run(
        "systemctl --failed --no-legend"
    ).out


def test_its_own_docker_engine_answers_the_user(host: RackHost) -> None:
    assert host.run(["docker", "info", "--format", "{{.ServerVersion}}"], user=USER).out.strip()


def test_one_logs_in_over_ssh_to_a_known_host_key(host: RackHost, tmp_path: Path) -> None:
    key, known = tmp_path / "key", tmp_path / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    host.authorize(key.with_suffix(".pub").read_text(encoding="utf-8"))
    names = f"[127.0.0.1]:{host.ssh_port}"
    known.write_text("".join(f"{names} {line}\n" for line in host.read_host_keys()), encoding="utf-8")
    done = subprocess.run(
        [
            *("ssh", "-F", "none", "-i", key, "-p", str(host.ssh_port), "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes", f"{USER}@127.0.0.1", "id", "-un"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.strip() == USER, done.stderr


def test_a_reboot_starts_everything_anew_and_keeps_the_disk(host: RackHost) -> None:
    host.run("touch /srv/kept /run/gone")
    host.reboot()
    assert host.exists("/srv/kept")
    assert not host.exists("/run/gone")
    host.cut_power()
    host.switch_on()
    assert host.exists("/srv/kept")
