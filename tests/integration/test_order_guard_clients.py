"""The started order guard with other people's clients: every request that each has, and what it makes of a refusal.

`ib_async` is installed with the tests. Others come from their registries, so they run in CI's thorough stage only.
`test_order_guard_process` sends what all seven clients of the reference were recorded to send.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

from tests.clients.__main__ import CLIENTS, HELD, Client, install
from tests.clients.asked import PLAIN_VALUES
from tests.clients.table import read_asked
from tests.integration.guard_scene import started_guard
from tests.integration.test_order_guard_process import assert_nothing_came_through
from tests.thorough import PROFILE

_HERE = Path(__file__).parents[1] / "clients"
_CLIENT_ID = 7
_PATIENCE_S = 120
_INSTALLED = "ib_async-2.1.0"
_FROM_REGISTRIES = frozenset({"ibapi-9.81.1", "ibapi-10.51.1", "stoqey-ib-1.6.10"})
_NEW_ORDER, _REFUSED = "error 201", "error 321"
# What is refused of everything that any of them can ask. A client that does not know one of them has no such method.
_ACTS = frozenset(
    {
        *("cancelOrder", "exerciseOptions", "replaceFA", "reqAutoOpenOrders", "reqGlobalCancel", "setServerLogLevel"),
        *("updateDisplayGroup", "verifyAndAuthMessage", "verifyAndAuthRequest", "verifyMessage", "verifyRequest"),
    }
)


def list_clients() -> list[Client]:
    """Those that this run can have: npm is not everywhere, and the README's command installs nothing more."""
    wanted = {_INSTALLED}
    if hypothesis.settings.get_current_profile_name() == PROFILE:
        wanted |= _FROM_REGISTRIES
    return [one for one in CLIENTS if one.name in wanted and (not one.is_javascript or shutil.which("npm"))]


@pytest.mark.parametrize("client", list_clients(), ids=lambda client: client.name)
def test_a_client_reads_everything_and_each_act_is_refused_in_a_form_that_it_understands(
    client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "client"
    program = sys.executable if client.name == _INSTALLED else install(client, folder)
    with started_guard(tmp_path / "scene", *HELD) as scene:
        done = subprocess.run(
            [program, str(_HERE / client.ask[0]), str(scene.port), str(_CLIENT_ID), *client.ask[1:]],
            env={
                **os.environ,
                "NODE_PATH": str(folder / "node_modules"),
                "REQUEST_VALUES": json.dumps(PLAIN_VALUES),
            },
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])["requests"]
        asked = [one for one in read_asked() if one.client == client.name]
        assert {one.method for one in asked} == set(found)
        heard = {name: list(dict.fromkeys(one["heard"])) for name, one in found.items()}
        assert heard == {
            one.method: [_NEW_ORDER]
            if one.method == "placeOrder"
            else [_REFUSED]
            if one.method in _ACTS and one.sent
            else list(one.heard)
            for one in asked
        }
        assert_nothing_came_through(scene)
