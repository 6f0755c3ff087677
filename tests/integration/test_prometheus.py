"""Prometheus itself, and its own program for checks: they take `/metrics`, the example rules and the dashboard."""

import contextlib
import json
import os
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # no stubs among the development dependencies

from tests.integration.test_status_page import get
from tests.system import PATIENCE_S, SIGTERM, System, end_and_read, find_free_port, wait_until

pytestmark = pytest.mark.prometheus

_EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
_RULES = _EXAMPLES / "prometheus-rules.yaml"
_ABSENT_HERE = {"zero_touch_alerts_waiting"}  # this host has no alert channel


@pytest.fixture(autouse=True)
def programs() -> None:
    """Skips where Prometheus is not installed, but never in CI."""
    if shutil.which("promtool") and shutil.which("prometheus"):
        return
    reason = "there is no Prometheus (Debian: apt install prometheus)"
    if os.environ.get("CI"):
        pytest.fail(f"CI must have it: {reason}", pytrace=False)
    pytest.skip(reason)


def promtool(*words: str | Path, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["promtool", *words], input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def read_dashboard() -> list[str]:
    """The expressions of all panels."""
    document = json.loads((_EXAMPLES / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in document["panels"] for target in panel["targets"]]


# What each rule is meant to notice: series, each with a value that stays, and for how many minutes.
_CASES: dict[str, tuple[dict[str, float], int]] = {
    "TradingSystemNotScraped": ({'up{job="zero-touch"}': 0}, 6),
    "TradingSystemNotWell": ({"zero_touch_status_code": 3}, 6),
    "BotDownWithPositions": ({"zero_touch_bot_running": 0, "zero_touch_positions": 2}, 3),
    "BotUnsupervised": ({"zero_touch_bot_running": 1, "zero_touch_bot_supervised": 0}, 11),
    "MarginCushionLow": ({"zero_touch_margin_cushion_ratio": 0.05}, 6),
    "HoldingsUnknown": ({"zero_touch_gateway_ready": 1}, 16),
    "GatewayNotReady": ({"zero_touch_gateway_ready": 0}, 11),
    "GatewayApiSlow": ({"zero_touch_gateway_api_latency_seconds": 2}, 11),
    "WeeklyLoginMissing": ({"zero_touch_full_login_is_current": 0}, 24 * 60 + 1),
    "AlertChannelBroken": ({'zero_touch_alert_channel_working{channel="Discord"}': 0}, 11),
    "BootServiceGaveUp": ({"zero_touch_given_up": 1}, 1),
}


def build_rule_test(alert: str, series: dict[str, float], minutes: int, *, fires: bool) -> dict[str, Any]:
    """A test for promtool: whether an alert fires after so many minutes of these values."""
    expression = f'count by (alertname) (ALERTS{{alertname="{alert}", alertstate="firing"}})'
    labels = f'{{alertname="{alert}"}}'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{value}+0x{minutes}"} for name, value in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": labels, "value": 1}] if fires else [],
            }
        ],
    }


def test_every_example_rule_fires_for_what_it_is_meant_for_and_not_for_a_host_that_stands_by(tmp_path: Path) -> None:
    checked = promtool("check", "rules", _RULES)
    assert checked.returncode == 0, checked.stderr
    groups = yaml.safe_load(_RULES.read_text(encoding="utf-8"))["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == set(_CASES)
    tests = [build_rule_test(alert, series, minutes, fires=True) for alert, (series, minutes) in _CASES.items()]
    well = {"zero_touch_status_code": 5.0, "zero_touch_gateway_ready": 1, "zero_touch_positions": 0}
    tests += [build_rule_test(alert, well, 60, fires=False) for alert in _CASES]
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(_RULES)], "tests": tests}), encoding="utf-8")
    tested = promtool("test", "rules", path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@contextlib.contextmanager
def prometheus(folder: Path, target: int) -> Iterator[int]:
    """A Prometheus that scrapes a port of this machine each second. Gives its own port."""
    port = find_free_port()
    scrape = {"job_name": "zero-touch", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = folder / "prometheus.yml"
    config.write_text(
        yaml.safe_dump({"global": every, "rule_files": [str(_RULES)], "scrape_configs": [scrape]}), encoding="utf-8"
    )
    checked = promtool("check", "config", config)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    argv = ("prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data")
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def ask(port: int, expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers; a refusal fails the test."""
    answer = get(port, f"/api/v1/query?query={urllib.parse.quote(expression)}")
    document = json.loads(answer.text)
    assert document["status"] == "success", (expression, document)
    return list(document["data"]["result"])


def is_scraped(port: int) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(ask(port, 'up{job="zero-touch"} == 1'))
    return False


def test_a_real_prometheus_scrapes_a_supervisor_and_answers_every_example(system: System, tmp_path: Path) -> None:
    system.use_plan()
    system.use_small_bot("--ready")
    port = find_free_port()
    system.environ |= {"STATUS_LISTEN": f"127.0.0.1:{port}", "MONITOR_INTERVAL": "1"}
    with prometheus(tmp_path, port) as server:
        supervisor = system.begin("--foreground")
        system.wait_for_log("result success")
        checked = promtool("check", "metrics", stdin=get(port, "/metrics").text)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
        wait_until(lambda: is_scraped(server), "a target that is up")
        wait_until(lambda: bool(ask(server, "zero_touch_bot_running == 1")), "a bot that runs")
        for expression in set(read_dashboard()) - _ABSENT_HERE:
            wait_until(lambda: bool(ask(server, expression)), f"samples for {expression}")  # noqa: B023 - used at once
        for rule in json.loads(get(server, "/api/v1/rules").text)["data"]["groups"][0]["rules"]:
            ask(server, rule["query"])
        firing = [one["metric"]["alertname"] for one in ask(server, 'ALERTS{alertstate="firing"}')]
        assert firing == []
        assert end_and_read(supervisor, SIGTERM).code == 0
        wait_until(lambda: bool(ask(server, 'up{job="zero-touch"} == 0')), "a target that is down")
