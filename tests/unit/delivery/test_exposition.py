from __future__ import annotations

from dataclasses import replace

import pytest

from auditwire.delivery.exposition import Family, Sample, exposition, families
from auditwire.delivery.metrics import Observed
from support.health_source import HEALTH as PLAIN
from support.health_source import Source

prometheus = pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest  # noqa: E402 - behind the skip
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from auditwire.integrations import metrics_prometheus  # noqa: E402

# names as hostile as those of callers may be
HEALTH = replace(PLAIN, stream_id='a "stream"', coerced={"tool\\name\n": 4})


def samples(page: str) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_the_page_says_the_same_as_the_one_of_prometheus_own_library() -> None:
    registry = CollectorRegistry()
    registry.register(metrics_prometheus.AuditMetrics(Source(HEALTH)))
    ours = exposition(families(Observed(Source(HEALTH))))
    assert samples(ours) == samples(generate_latest(registry).decode())
    theirs = {
        line
        for line in generate_latest(registry).decode().splitlines()
        if line.startswith(("# HELP", "# TYPE"))
    }
    assert {line for line in ours.splitlines() if line.startswith("#")} == theirs


def test_a_counter_does_not_fall() -> None:
    source = Source(HEALTH)
    observed = Observed(source)
    families(observed)
    source.now = replace(HEALTH, delivered=80)
    told = {family.name: family.samples for family in families(observed)}
    assert told["auditwire_events_delivered"][0].value == 90


def test_labels_and_help_are_escaped() -> None:
    page = exposition([Family("x", "gauge", "a\\b\nc", [Sample("", {"l": 'q"\\\n', "m": "2"}, 1.5)])])
    assert page == '# HELP x a\\\\b\\nc\n# TYPE x gauge\nx{l="q\\"\\\\\\n",m="2"} 1.5\n'
