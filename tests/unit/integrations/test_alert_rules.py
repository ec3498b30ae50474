"""The alert rules of the documentation are YAML, name metrics that there are, and each is explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from auditwire.delivery.metrics import LATENCY_HELP, LATENCY_NAME, METRICS
from support.health_source import Source

yaml = pytest.importorskip("yaml")
pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry  # noqa: E402 - behind the skip

from auditwire.integrations.metrics_prometheus import AuditMetrics, prometheus_name  # noqa: E402

DOCS = Path(__file__).parents[3] / "docs"
GUIDE = DOCS / "guides" / "metrics.md"


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    assert group["name"] == "auditwire"
    found: list[dict[str, Any]] = group["rules"]
    return found


@pytest.fixture(scope="module")
def samples() -> dict[str, set[str]]:
    """Name of each sample -> its labels."""
    registry = CollectorRegistry()
    registry.register(AuditMetrics(Source()))
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_rule_has_what_prometheus_and_a_person_need(rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}, rule
        assert re.fullmatch(r"[0-9]+[smhd]", rule.get("for", "1m"))
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert rule["expr"].count("{") == rule["expr"].count("}")
    assert len({rule["alert"] for rule in rules}) == len(rules)


def test_every_rule_is_about_metrics_and_labels_that_there_are(
    rules: list[dict[str, Any]], samples: dict[str, set[str]]
) -> None:
    for rule in rules:
        names = set(re.findall(r"auditwire_\w+", rule["expr"]))
        assert names
        assert names <= set(samples), rule["alert"]
        labels = {"job", "instance"}.union(*(samples[name] for name in names))
        kept = {
            label.strip() for by in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in by.split(",")
        }
        assert kept <= labels, rule["alert"]
        told = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert told <= kept - {"le"}, rule["alert"]
        counters = {name for name in names if name.endswith(("_total", "_bucket"))}
        assert all(re.search(rf"(increase|rate)\({name}\[", rule["expr"]) for name in counters), rule["alert"]


def test_every_rule_is_explained_and_nothing_else_is(rules: list[dict[str, Any]]) -> None:
    headings = re.findall(r"^### (\w+)$", GUIDE.read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules]


def test_the_guide_lists_every_metric_as_it_is() -> None:
    rows = [
        f"| `auditwire.{m.name}` "
        f"| `{prometheus_name(m.name, m.unit)}{'_total' if m.kind == 'counter' else ''}` "
        f"| {m.kind} | {f'`{m.label}`' if m.label else ''} | {m.help} |"
        for m in METRICS
    ]
    latency = prometheus_name(LATENCY_NAME, "s")
    rows.append(f"| `auditwire.{LATENCY_NAME}` | `{latency}` | histogram |  | {LATENCY_HELP} |")
    listed = [line for line in GUIDE.read_text().splitlines() if line.startswith("| `auditwire.")]
    assert listed == rows
