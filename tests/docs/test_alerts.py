"""deploy/prometheus and deploy/grafana ask for metrics that there are, and alerts lead to their page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]
from tests.docs.pages import ROOT, anchors

from triggers_api.telemetry.metrics import Metrics

DEPLOY: Final = ROOT / "deploy"
DASHBOARD: Final = DEPLOY / "grafana" / "triggers.json"
RULES: Final = DEPLOY / "prometheus" / "alerts.yml"
PAGE: Final = ROOT / "docs" / "operate" / "alerts.md"

_METRIC: Final = re.compile(r"\b(?:triggers|process)_[a-z_]+\b")
_MATCHER: Final = re.compile(r"\{([^{}]*)\}")
_LABEL: Final = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
SCRAPED: Final = {"job", "instance", "role", "le"}
"""Labels that Prometheus adds, and that of a bucket."""


def series() -> dict[str, set[str]]:
    """Every series there can be, with its labels."""
    found: dict[str, set[str]] = {}
    registry = Metrics().registry
    for family in registry.collect():
        collector: Any = registry._names_to_collectors.get(family.name)
        labels = set(getattr(collector, "_labelnames", ()))
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        for end in ends.get(family.type, ("",)):
            found[family.name + end] = labels
    return found


SERIES: Final = series()


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def faults(expression: str) -> Iterator[str]:
    """What an expression asks for that nobody has."""
    for name in _METRIC.findall(expression):
        if name not in SERIES:
            yield f"there is no {name}"
    for name, matchers in re.findall(r"\b((?:triggers|process)_[a-z_]+)\{([^{}]*)\}", expression):
        unknown = set(_LABEL.findall(matchers)) - SERIES.get(name, set()) - SCRAPED
        yield from (f"{name} has no label {label}" for label in sorted(unknown))


EXPRESSIONS: Final = {
    **{f"alert {rule['alert']}": rule["expr"] for rule in alerts()},
    **{
        f"panel {panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel.get("targets", ())
    },
}


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_what_is_asked_for_is_there(where: str) -> None:
    assert not list(faults(EXPRESSIONS[where]))


def test_what_is_not_there_is_found() -> None:
    assert list(faults('rate(triggers_gone_total{job="a"}[5m])')) == [
        "there is no triggers_gone_total"
    ]
    assert list(faults('triggers_check{job="a", name="b"} == 0')) == [
        "triggers_check has no label name"
    ]


def test_every_alert_has_a_severity_a_summary_and_a_place_on_the_page() -> None:
    headings = anchors(PAGE)
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert ROOT / page == PAGE
        assert anchor in headings, rule["alert"]


def test_the_page_has_no_alert_that_there_is_not() -> None:
    headed = set(re.findall(r"^## (Triggers\w+)$", PAGE.read_text(), re.MULTILINE))
    assert headed == {rule["alert"] for rule in alerts()}


def test_each_panel_reads_from_the_source_that_is_chosen_and_has_a_place_of_its_own() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert {each["name"] for each in board["templating"]["list"]} == {"datasource", "job"}
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert all("$job" in target["expr"] for target in panel["targets"])
    assert len({panel["id"] for panel in panels()}) == len(panels())


WAY: Final = (
    "triggers_ingest_seconds", "triggers_accepted_total", "triggers_commit_seconds",
    "triggers_queue_depth", "triggers_queue_oldest_age_seconds", "triggers_processed_total",
    "triggers_accepted_to_routed_seconds", "triggers_deliveries_total", "triggers_attempt_seconds",
    "triggers_deliveries_waiting", "triggers_store_seconds", "triggers_store_errors_total",
    "triggers_ready",
)  # fmt: skip


def test_the_dashboard_shows_the_way_of_an_event() -> None:
    shown = {
        re.sub("_(bucket|sum|count)$", "", name)
        for where, text in EXPRESSIONS.items()
        if where.startswith("panel")
        for name in _METRIC.findall(text)
    }
    assert set(WAY) - shown == set()
