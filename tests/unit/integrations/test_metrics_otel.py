from __future__ import annotations

import importlib
import random
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from auditwire._version import __version__
from auditwire.collectors import NullCollector
from auditwire.collectors.kafka import KafkaCollector
from auditwire.delivery.latency import BOUNDS, Latency
from auditwire.delivery.metrics import METRICS
from auditwire.emitter import AuditEmitter
from auditwire.errors import ConfigurationError, MissingExtraError
from support.health_source import HEALTH, Source, latency_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.testing import EmbeddedBroker

pytest.importorskip("opentelemetry.sdk.metrics")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from auditwire.integrations.metrics_otel import AuditMetrics


class Meters:
    """A provider with a reader or two."""

    def __init__(self, readers: int = 1) -> None:
        self.readers = [InMemoryMetricReader() for _ in range(readers)]
        self.provider = MeterProvider(self.readers)

    def collected(self, reader: int = 0) -> dict[str, Any]:
        data = self.readers[reader].get_metrics_data()
        if data is None:
            return {}
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        assert (scope.scope.name, scope.scope.version) == ("auditwire", __version__)
        return {metric.name: metric for metric in scope.metrics}


@pytest.fixture
def meters() -> Iterator[Meters]:
    made = Meters()
    yield made
    made.provider.shutdown()


def values(metric: Any) -> dict[tuple[tuple[str, str], ...], float]:
    return {tuple(sorted(point.attributes.items())): point.value for point in metric.data.data_points}


def test_every_number_of_a_health_is_observed(meters: Meters) -> None:
    AuditMetrics(Source(), meters.provider)
    collected = meters.collected()
    assert set(collected) == {f"auditwire.{m.name}" for m in METRICS} | {"auditwire.delivery.latency"}
    for metric in METRICS:
        found = collected[f"auditwire.{metric.name}"]
        assert (found.unit, found.description) == (metric.unit, metric.help)
        told = metric.read(HEALTH)
        assert values(found) == {
            ((metric.label, label),) if metric.label else (): value for label, value in told.items()
        }


def test_counters_rise_amounts_add_up_and_gauges_do_neither(meters: Meters) -> None:
    AuditMetrics(Source(), meters.provider)
    collected = meters.collected()
    for metric in METRICS:
        data = collected[f"auditwire.{metric.name}"].data
        assert (
            getattr(data, "is_monotonic", None)
            == {"counter": True, "amount": False, "gauge": None}[metric.kind]
        )


def points(metric: Any) -> tuple[tuple[int, ...], float]:
    (point,) = metric.data.data_points
    assert tuple(point.explicit_bounds) == BOUNDS
    return tuple(point.bucket_counts), point.sum


def test_the_histogram_has_the_buckets_and_the_sum_of_the_collectors(meters: Meters) -> None:
    source = Source()
    AuditMetrics(source, meters.provider)
    chance = random.Random(7)
    observed = [4, 5, 20, 4_000, 10_000_000]
    for _ in range(5):
        source.now = replace(HEALTH, latency=latency_of(*observed))
        buckets, total = points(meters.collected()["auditwire.delivery.latency"])
        assert buckets == tuple(count for count, _ in source.now.latency.buckets)
        assert total == pytest.approx(source.now.latency.sum)
        observed += [int(10 ** chance.uniform(0, 8)) for _ in range(100)]


@pytest.mark.parametrize("bound", [int(bound * 1_000) for bound in BOUNDS])
def test_rounding_pushes_nothing_out_of_its_bucket(meters: Meters, bound: int) -> None:
    source = Source(replace(HEALTH, latency=latency_of(*[bound] * 7)))
    AuditMetrics(source, meters.provider)
    meters.collected()
    source.now = replace(HEALTH, latency=latency_of(*[bound] * 17, *[bound + 1] * 3))
    buckets, _ = points(meters.collected()["auditwire.delivery.latency"])
    assert buckets == tuple(count for count, _ in source.now.latency.buckets)


def test_two_readers_see_each_observation_once() -> None:
    meters = Meters(readers=2)
    AuditMetrics(Source(), meters.provider)
    for reader in (0, 1, 0, 1):
        assert points(meters.collected(reader)["auditwire.delivery.latency"])[0] == tuple(
            count for count, _ in HEALTH.latency.buckets
        )
    meters.provider.shutdown()


def test_a_forked_childs_histogram_adds_to_what_was_recorded(meters: Meters) -> None:
    source = Source()
    AuditMetrics(source, meters.provider)
    meters.collected()
    source.now = replace(HEALTH, stream_id="child", latency=latency_of(1))
    buckets, _ = points(meters.collected()["auditwire.delivery.latency"])
    assert sum(buckets) == 6


def test_nothing_is_recorded_where_nothing_was_observed(meters: Meters) -> None:
    AuditMetrics(Source(replace(HEALTH, latency=Latency())), meters.provider)
    assert "auditwire.delivery.latency" not in meters.collected()


def test_several_collectors_are_told_apart_by_an_attribute(meters: Meters) -> None:
    AuditMetrics({"orders": Source(), "billing": Source()}, meters.provider)
    collected = meters.collected()
    assert values(collected["auditwire.events.accepted"]) == {
        (("collector", "orders"),): 100,
        (("collector", "billing"),): 100,
    }
    lost = values(collected["auditwire.events.lost"])
    assert lost[("collector", "orders"), ("reason", "journal_full")] == 2
    assert len(collected["auditwire.delivery.latency"].data.data_points) == 2


def test_a_collector_without_a_health_has_no_observations(meters: Meters) -> None:
    AuditMetrics(NullCollector(), meters.provider)
    assert meters.collected() == {}


def test_what_is_no_collector_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no collector"):
        AuditMetrics("localhost:9092")


def test_the_numbers_of_a_collector_at_work_are_observed(
    audit_broker: EmbeddedBroker, meters: Meters
) -> None:
    with KafkaCollector(audit_broker.bootstrap_servers, create_topics=False) as collector:
        AuditMetrics(collector, meters.provider)
        audit = AuditEmitter(collector, session_id="s")
        for number in range(100):
            audit.emit_error("kind", str(number))
        collector.flush(30)
        collected = meters.collected()
        assert values(collected["auditwire.events.delivered"]) == {(): 100}
        assert sum(points(collected["auditwire.delivery.latency"])[0]) >= 1


def test_without_the_extra_the_import_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("opentelemetry", "opentelemetry.metrics"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "auditwire.integrations.metrics_otel")
    with pytest.raises(MissingExtraError, match=r"pip install 'auditwire\[otel\]'"):
        importlib.import_module("auditwire.integrations.metrics_otel")
