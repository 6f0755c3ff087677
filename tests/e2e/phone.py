"""The operator's phone, for the vendor-like image: what becomes of the pushes that its logins send."""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.docker_system import name_of
from tests.e2e.gateway_scene import docker
from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.watch_scene import told
from tests.system import System, wait_until

PATIENCE_S = 120.0
_SHIPPED = Path(__file__).resolve().parents[2] / "docker" / "gateway" / "docker-compose.yml"


class Phone:
    """The operator's phone, and what the container knows of it."""

    def __init__(
        self,
        system: System,
        *,
        texts: str = "none",
        environ: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
    ) -> None:
        self._system = system
        folder = system.root / "compose"
        folder.mkdir()
        (folder / "docker-compose.yml").write_bytes(_SHIPPED.read_bytes())
        # Unhealthy within seconds: what a gateway that waits for no process would be restarted for.
        check = {
            "start_interval": "0.5s",
            "start_period": "1s",
            "interval": "1s",
            "timeout": "20s",
            "retries": 2,
        }
        self._inside = folder / "phone"
        self._inside.mkdir()
        self._inside.chmod(0o755)
        mounts = {self._inside: "/phone", **(mounts or {})}
        service = {
            "environment": {"VENDOR_TEXTS": texts, "VENDOR_PHONE": "/phone/answer", **(environ or {})},
            "volumes": [
                {"type": "bind", "source": str(source), "target": target, "read_only": True}
                for source, target in mounts.items()
            ],
            "healthcheck": check,
        }
        override = {"services": {"gateway": service}}
        (folder / "docker-compose.override.yml").write_text(json.dumps(override), encoding="utf-8")  # JSON is YAML
        system.environ["DOCKER_COMPOSE_DIR"] = str(folder)

    def answer(self, word: str) -> None:
        """What becomes of the pushes from now on: `confirm`, `wait` or `ignore`."""
        new = self._inside / "new"
        new.write_text(word, encoding="utf-8")
        new.chmod(0o644)
        new.replace(self._inside / "answer")

    def count(self, name: str) -> int:
        """How many lines a file of the gateway's settings has."""
        command = f"cat $TWS_SETTINGS_PATH/{name} 2>/dev/null || true"
        return docker("exec", name_of(self._system), "sh", "-c", command).count("\n")

    def wait_for(self, name: str, more: int) -> None:
        wanted = self.count(name) + more
        wait_until(lambda: self.count(name) >= wanted, f"{more} more {name}", PATIENCE_S)


def wait_for(channel: LoopbackChannel, title: str) -> None:
    """Wait for an alert, however slow the engine is."""
    try:
        wait_until(lambda: title in told(channel), f"alert {title!r}", PATIENCE_S)
    except AssertionError as error:
        raise AssertionError(f"{error}; told: {told(channel)}") from None
