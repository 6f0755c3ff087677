"""The live page: what it says is what `inv status` says, and no client disturbs it."""

import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestration.commands.status_page import serving_status
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from tests.crowd import crowded
from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.simulated_gateway import simulated_gateway
from tests.integration.watch_scene import begin, wait_for
from tests.system import PATIENCE_S, SIGTERM, System, end_and_read, find_free_port, wait_until
from tests.thorough import choose_count

TOKEN = "a token of the operator's"  # noqa: S105 - planted
LIVE_PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "live-page.md"
PASSWORD = "s3cret-of-ann"  # noqa: S105 - planted


@dataclass(frozen=True, kw_only=True)
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    text: str


def get(port: int, path: str = "/", *, method: str = "GET", **headers: str) -> Got:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Got(status=answer.status, headers=dict(answer.headers), text=answer.read().decode())
    finally:
        connection.close()


def read_metrics(text: str) -> dict[str, float]:
    """The samples without labels of a text that Prometheus' own parser takes."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "STATE_DIR": str(tmp_path / "state"),
        "LOG_DIR": str(tmp_path / "logs"),
        "GATEWAY_SHARED_DIR": str(tmp_path / "shared"),
        "GATEWAY_RUNTIME": "external",
        "GATEWAY_PORT": str(find_free_port()),
        "BOT_WORKDIR": str(tmp_path),
        "TWS_PASSWORD": PASSWORD,
        "STATUS_LISTEN": f"127.0.0.1:{find_free_port()}",
    }


@pytest.fixture
def served(environ: dict[str, str], request: pytest.FixtureRequest) -> Iterator[int]:
    """The page of a system in which nothing runs, in this process. Gives the port."""
    settings = Settings.from_environ(environ | getattr(request, "param", {}))
    assert settings.status_listen is not None
    warnings: list[str] = []
    with serving_status(settings, SystemClock(), warnings.append):
        assert warnings == []
        yield settings.status_listen.port


def test_a_supervisor_serves_what_inv_status_says(system: System) -> None:
    system.use_plan()
    system.use_small_bot("--ready")
    port = find_free_port()
    system.environ |= {"STATUS_LISTEN": f"127.0.0.1:{port}", "MONITOR_INTERVAL": "1", "TWS_PASSWORD": PASSWORD}
    supervisor = system.begin("--foreground")
    system.wait_for_log("result success")
    wait_until(lambda: get(port, "/healthz").status == 200, "a page that is well")
    wait_until(lambda: system.inv("status").code == 0, "a status that is well")
    page, metrics = get(port), get(port, "/metrics")
    assert "Running on strategy A" in page.text
    assert "<strong>Supervision began</strong> process" in page.text
    assert str(system.bots()[0].pid) in page.text
    samples = read_metrics(metrics.text)
    assert (samples["zero_touch_status_code"], samples["zero_touch_gateway_ready"]) == (0, 1)
    assert (samples["zero_touch_bot_running"], samples["zero_touch_bot_supervised"]) == (1, 1)
    everything = page.text + metrics.text
    assert PASSWORD not in everything
    assert not re.search(r"\bDU\d{5,}", everything), "an account's number is shown"
    system.bots()[0].suspend()
    wait_until(lambda: get(port, "/healthz").status == 503, "a page that is not well")
    assert "needs attention" in get(port).text
    assert system.inv("status").code == 1
    system.bots()[0].resume()
    assert end_and_read(supervisor, SIGTERM).code == 0
    with pytest.raises(ConnectionRefusedError):
        get(port)


def test_money_and_what_comes_next_are_on_the_page_and_every_metric_is_documented(environ: dict[str, str]) -> None:
    named = set(re.findall(r"\bzero_touch_\w+", LIVE_PAGE.read_text(encoding="utf-8")))
    held = ("--position", "SPY=100", "--order", "7:1012:SELL:100:SPY:STP")
    with simulated_gateway(*held) as gateway:
        settings = Settings.from_environ(environ | {"GATEWAY_PORT": str(gateway.port)})
        assert settings.status_listen is not None
        with serving_status(settings, SystemClock(), lambda _: None):
            page, metrics = get(settings.status_listen.port), get(settings.status_listen.port, "/metrics")
    assert "1 (SELL SPY STP)" in page.text
    assert "1,000,000" not in page.text
    assert "IBKR ends every session" in page.text
    assert "only observed (WEEKLY_LOGIN is not set)" in page.text
    samples = read_metrics(metrics.text)
    assert (samples["zero_touch_positions"], samples["zero_touch_open_orders"]) == (1, 1)
    assert samples["zero_touch_margin_cushion_ratio"] == 1
    families = {family.name for family in text_string_to_metric_families(metrics.text)}
    assert families - {name.removesuffix("_total") for name in named} == set()
    assert "1000000" not in metrics.text


def test_a_port_that_is_taken_is_a_warning_and_the_watch_goes_on(system: System) -> None:
    system.use_plan()
    system.use_small_bot("--ready")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        system.environ["STATUS_LISTEN"] = f"127.0.0.1:{taken.getsockname()[1]}"
        supervisor = system.begin("--foreground")
        system.wait_for_log("result success")
        ended = end_and_read(supervisor, SIGTERM)
    assert ended.code == 0
    assert "there is no live page" in ended.err


def test_where_nothing_runs_the_page_says_so(served: int) -> None:
    health = get(served, "/healthz")
    assert (health.status, "Bot not running" in health.text) == (503, True)
    assert read_metrics(get(served, "/metrics").text)["zero_touch_status_code"] == 3
    page = get(served)
    assert page.status == 200
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert get(served, "/x").status == 404
    assert get(served, "/", method="POST").status == 501
    assert get(served, "/", method="HEAD").text == ""


@pytest.mark.parametrize("name", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_name_that_is_not_this_servers_is_refused(served: int, name: str) -> None:
    assert get(served, "/healthz", Host=name).status == 403


@pytest.mark.parametrize("served", [{"STATUS_TOKEN": TOKEN}], indirect=True)
def test_a_token_opens_the_page_and_leaves_the_address(served: int) -> None:
    for path in ("/", "/healthz", "/metrics"):
        assert get(served, path).status == 401
        assert get(served, path, Authorization="Bearer something else").status == 401
    assert get(served, "/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    quoted = TOKEN.replace(" ", "%20").replace("'", "%27")
    assert get(served, "/?token=wrong").status == 401
    entered = get(served, f"/?token={quoted}")
    assert (entered.status, entered.headers["Location"]) == (303, "/")
    cookie = entered.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert get(served, "/", Cookie=cookie.partition(";")[0]).status == 200


def test_hostile_clients_are_turned_away_and_others_are_answered(served: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", served), timeout=PATIENCE_S) for _ in range(60)]
    for client in idle[:20]:
        client.sendall(b"GET / HT")
    for client in idle[40:]:
        client.settimeout(PATIENCE_S)
        client.recv(1)  # turned away: the connection is closed
    for client in idle:
        client.close()
    for garbage in (b"\x00\xff\n\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n"):
        with socket.create_connection(("127.0.0.1", served), timeout=PATIENCE_S) as client:
            client.sendall(garbage)
            while client.recv(4096):
                pass

    def is_answered() -> bool:
        try:
            return get(served, "/healthz").status == 503
        except OSError:
            return False  # the places of those that left are free in a moment

    wait_until(is_answered, "an answer")


_CROWD = choose_count(usual=150, thorough=1000)


def test_a_crowd_of_clients_keeps_neither_the_watch_nor_its_alerts_nor_its_end_from_their_work(
    watched: System, channel: LoopbackChannel
) -> None:
    port = find_free_port()
    watched.environ["STATUS_LISTEN"] = f"127.0.0.1:{port}"
    supervisor = begin(watched)
    with crowded(port, _CROWD) as crowd:
        wait_until(lambda: crowd.turned_away >= _CROWD, "as many clients that were turned away")
        watched.bots()[0].suspend()
        wait_for(channel, "Bot is suspended")
        watched.bots()[0].resume()
        wait_for(channel, "Bot resumed")
        told_by, turned_away = crowd.opened, crowd.turned_away
        wait_until(lambda: crowd.turned_away > turned_away, "a crowd that still comes")
        assert told_by > 2 * _CROWD
        ended = end_and_read(supervisor, SIGTERM)
    assert ended.code == 0
    assert "Traceback" not in ended.err + watched.startup_log()


@pytest.fixture
def knocks(environ: dict[str, str]) -> Iterator[list[int]]:
    """A gateway's port that never answers; how often a client connected, by the client's port."""
    found: list[int] = []
    with socket.create_server(("127.0.0.1", int(environ["GATEWAY_PORT"]))) as listening:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, address = listening.accept()
                    found.append(address[1])
                    client.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield found
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_S)


def test_many_readers_cost_the_gateway_one_look(knocks: list[int], served: int) -> None:
    answers = [get(served, path).status for path in ("/", "/healthz", "/metrics") * 10]
    assert answers == [200, 503, 200] * 10
    assert 0 < len(knocks) < 10
