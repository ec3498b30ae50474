from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from auditwire.collectors import NullCollector
from auditwire.collectors.kafka import KafkaCollector
from auditwire.delivery.metrics import METRICS
from auditwire.emitter import AuditEmitter
from auditwire.errors import ConfigurationError, MissingExtraError
from support.health_source import HEALTH, Source

if TYPE_CHECKING:
    from auditwire.testing import EmbeddedBroker

prometheus = pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest  # noqa: E402 - behind the skip
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics  # noqa: E402
from prometheus_client.openmetrics.parser import text_string_to_metric_families  # noqa: E402

from auditwire.integrations.metrics_prometheus import AuditMetrics, prometheus_name  # noqa: E402

SAMPLES = """\
auditwire_events_accepted_total 100.0
auditwire_events_delivered_total 90.0
auditwire_events_lost_total{reason="journal_full"} 2.0
auditwire_events_lost_total{reason="closed"} 0.0
auditwire_events_lost_total{reason="encoding"} 0.0
auditwire_events_lost_total{reason="refused"} 0.0
auditwire_events_lost_total{reason="unreadable"} 0.0
auditwire_values_coerced_total{field="tool_name"} 4.0
auditwire_values_truncated_total{field="prompt"} 5.0
auditwire_records_quarantined_total{reason="MSG_SIZE_TOO_LARGE"} 6.0
auditwire_records_quarantined_total{reason="RECORD_LIST_TOO_LARGE"} 0.0
auditwire_records_quarantined_total{reason="INVALID_RECORD"} 0.0
auditwire_records_quarantined_total{reason="internal"} 0.0
auditwire_records_control_total 3.0
auditwire_records_resent_total 7.0
auditwire_producers_made_total 1.0
auditwire_faults_total 8.0
auditwire_pending_records 11.0
auditwire_pending_size_bytes 5000.0
auditwire_pending_age_seconds 1.5
auditwire_journal_capacity_bytes 6.7108864e+07
auditwire_journal_used_bytes 7e+06
auditwire_records_unsynced 13.0
auditwire_topics_parked{topic="audit.error"} 1.0
auditwire_events_adopted_total 12.0
auditwire_streams_adopted_total 2.0
auditwire_streams_orphaned 1.0
auditwire_streams_left_alone 3.0
auditwire_state{state="ok"} 0.0
auditwire_state{state="degraded"} 1.0
auditwire_state{state="failing"} 0.0
auditwire_state{state="closed"} 0.0
auditwire_delivery_latency_seconds_bucket{le="0.005"} 2.0
auditwire_delivery_latency_seconds_bucket{le="0.01"} 2.0
auditwire_delivery_latency_seconds_bucket{le="0.025"} 3.0
auditwire_delivery_latency_seconds_bucket{le="0.05"} 3.0
auditwire_delivery_latency_seconds_bucket{le="0.1"} 3.0
auditwire_delivery_latency_seconds_bucket{le="0.25"} 3.0
auditwire_delivery_latency_seconds_bucket{le="0.5"} 3.0
auditwire_delivery_latency_seconds_bucket{le="1.0"} 3.0
auditwire_delivery_latency_seconds_bucket{le="2.5"} 3.0
auditwire_delivery_latency_seconds_bucket{le="5.0"} 4.0
auditwire_delivery_latency_seconds_bucket{le="10.0"} 4.0
auditwire_delivery_latency_seconds_bucket{le="30.0"} 4.0
auditwire_delivery_latency_seconds_bucket{le="60.0"} 4.0
auditwire_delivery_latency_seconds_bucket{le="300.0"} 4.0
auditwire_delivery_latency_seconds_bucket{le="900.0"} 4.0
auditwire_delivery_latency_seconds_bucket{le="3600.0"} 4.0
auditwire_delivery_latency_seconds_bucket{le="+Inf"} 5.0
auditwire_delivery_latency_seconds_count 5.0
auditwire_delivery_latency_seconds_sum 10004.029
auditwire_stream_info{stream_id="0199"} 1.0
"""


def scraped(*collectors: object) -> str:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(AuditMetrics(collector))
    return generate_latest(registry).decode()


def samples(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("#"))


def test_a_scrape_tells_every_number_of_a_health() -> None:
    assert samples(scraped(Source())) == SAMPLES


def test_every_metric_says_what_it_is() -> None:
    text = scraped(Source())
    for metric in METRICS:
        name = prometheus_name(metric.name, metric.unit) + ("_total" if metric.kind == "counter" else "")
        assert f"# HELP {name} {metric.help}" in text
        assert f"# TYPE {name} {'counter' if metric.kind == 'counter' else 'gauge'}" in text


def test_the_openmetrics_text_is_one_that_a_strict_parser_takes() -> None:
    registry = CollectorRegistry()
    registry.register(AuditMetrics({"orders": Source(), "billing": Source()}))
    text = openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    families = {f.name: f for f in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    assert len(families) == len(METRICS) + 2
    assert families["auditwire_delivery_latency_seconds"].type == "histogram"


def test_several_collectors_are_told_apart_by_a_label() -> None:
    text = scraped({"orders": Source(), "billing": Source()})
    assert 'auditwire_events_accepted_total{collector="orders"} 100.0' in text
    assert 'auditwire_events_lost_total{collector="billing",reason="journal_full"} 2.0' in text
    assert 'auditwire_delivery_latency_seconds_count{collector="billing"} 5.0' in text
    assert 'auditwire_stream_info{collector="orders",stream_id="0199"} 1.0' in text
    assert text.count("# TYPE auditwire_events_accepted_total") == 1


def test_registering_reads_no_health_and_the_same_names_twice_are_refused() -> None:
    source = Source()
    registry = CollectorRegistry()
    registry.register(AuditMetrics(source))
    assert source.reads == 0
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(AuditMetrics(source))


def test_a_collector_without_a_health_has_no_samples() -> None:
    assert samples(scraped(NullCollector())) == ""


def test_what_is_no_collector_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no collector"):
        AuditMetrics("localhost:9092")


def test_the_numbers_of_a_collector_at_work_are_scraped(audit_broker: EmbeddedBroker) -> None:
    registry = CollectorRegistry()
    with KafkaCollector(audit_broker.bootstrap_servers, create_topics=False) as collector:
        registry.register(AuditMetrics(collector))
        audit = AuditEmitter(collector, session_id="s")
        for number in range(100):
            audit.emit_error("kind", str(number))
        collector.flush(30)
        assert collector.metrics()["events.delivered"] == 100
        assert registry.get_sample_value("auditwire_events_accepted_total") == 100
        assert registry.get_sample_value("auditwire_events_delivered_total") == 100
        assert registry.get_sample_value("auditwire_pending_records") == 0
        count = registry.get_sample_value("auditwire_delivery_latency_seconds_count")
        total = registry.get_sample_value("auditwire_delivery_latency_seconds_sum")
        assert count is not None
        assert total is not None
        assert 1 <= count <= 101  # a chunk is one observation
        assert 0 < total < 30 * count
    closed = registry.get_sample_value("auditwire_state", {"state": "closed"})
    assert closed == 1


def test_without_the_extra_the_import_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("prometheus_client", "prometheus_client.core"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "auditwire.integrations.metrics_prometheus")
    with pytest.raises(MissingExtraError, match=r"pip install 'auditwire\[prometheus\]'"):
        importlib.import_module("auditwire.integrations.metrics_prometheus")


def test_the_test_health_has_something_of_everything() -> None:
    for metric in METRICS:
        assert any(metric.read(HEALTH).values()), metric.name
