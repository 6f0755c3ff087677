"""The example rules and the dashboard can be read, and use only metrics and labels that `/metrics` has."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # no stubs among the development dependencies

from orchestration.commands import status_metrics

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_RULES = _DOCS / "examples" / "prometheus-rules.yaml"
_DASHBOARD = _DOCS / "examples" / "grafana-dashboard.json"
_PAGE = _DOCS / "reference" / "live-page.md"
_METRIC = re.compile(r"\bzero_touch_\w+")


def _read_rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(_RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def _read_panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(_DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return panels


def _expressions() -> Iterator[str]:
    for rule in _read_rules():
        yield str(rule["expr"])
    for panel in _read_panels():
        for target in panel["targets"]:
            yield str(target["expr"])


def test_the_rules_have_what_prometheus_requires_and_each_name_once() -> None:
    rules = _read_rules()
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s")), rule
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]


def test_the_dashboards_panels_have_their_own_ids_and_do_not_overlap() -> None:
    panels = _read_panels()
    assert len({panel["id"] for panel in panels}) == len(panels) > 5
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_metric_of_the_examples_and_of_the_page_is_one_that_is_served() -> None:
    source = inspect.getsource(status_metrics)
    gauges = {f"zero_touch_{name}" for name in re.findall(r'_gauge\(\s*"(\w+)"', source)}
    counters = {f"zero_touch_{name}_total" for name in re.findall(r'_PREFIX \+ "(\w+)"', source)}
    served = gauges | counters
    used = {name for expression in _expressions() for name in _METRIC.findall(expression)}
    assert len(used) > 10
    assert sorted(used - served) == []
    assert set(_METRIC.findall(_PAGE.read_text(encoding="utf-8"))) == served
