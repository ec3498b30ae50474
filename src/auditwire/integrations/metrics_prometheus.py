"""A collector's numbers for Prometheus: in comes a scrape, out go metric families.

Needs ``pip install 'auditwire[prometheus]'``. Nothing is counted a second time and nothing runs in the
background: a scrape reads ``health()``.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from auditwire.delivery.exposition import prometheus_name
from auditwire.delivery.latency import BOUNDS
from auditwire.delivery.metrics import LATENCY_HELP, LATENCY_NAME, METRICS, Metric, sources
from auditwire.errors import MissingExtraError

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtraError("auditwire.integrations.metrics_prometheus", "prometheus") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric as Family

    from auditwire.delivery.health import Health

__all__ = ["AuditMetrics", "prometheus_name"]

_BUCKETS = (*map(str, BOUNDS), "+Inf")
"""The ``le`` labels."""


class AuditMetrics(Collector):
    """A ``prometheus_client`` collector over an auditwire collector.

    ::

        from prometheus_client import REGISTRY
        from auditwire.integrations.metrics_prometheus import AuditMetrics

        REGISTRY.register(AuditMetrics(audit.collector))

    Args:
        collector: A KafkaCollector; a composite, for those in it; or a dictionary of several with names,
            which are then in the label ``collector`` of each sample. A collector without ``health()`` has no
            samples, so that the program also runs with the audit trail switched off.

    Raises:
        ConfigurationError: It is no collector.
    """

    def __init__(self, collector: object) -> None:
        self._sources = sources(collector)
        # without names there is no label: one collector is the usual case
        self._label = () if set(self._sources) <= {""} else ("collector",)

    def collect(self) -> Iterator[Family]:
        """The families as they are now. For ``prometheus_client``, from any thread."""
        told = [(self._names(name), *source.read()) for name, source in self._sources.items()]
        for metric in METRICS:
            family = _family(metric, self._label)
            for names, _, values in told:
                for label, value in values[metric.name].items():
                    family.add_metric([*names, label] if metric.label else names, value)
            yield family
        yield self._latency([(names, health) for names, health, _ in told])
        info = InfoMetricFamily("auditwire_stream", "The stream that is written.", labels=self._label)
        for names, health, _ in told:
            info.add_metric(names, {"stream_id": health.stream_id})
        yield info

    def describe(self) -> Iterator[Family]:
        """The families without samples: registering reads no health."""
        return type(self)({}).collect()

    def _names(self, name: str) -> list[str]:
        return [name] if self._label else []

    def _latency(self, told: list[tuple[list[str], Health]]) -> HistogramMetricFamily:
        name = prometheus_name(LATENCY_NAME, "s")
        family = HistogramMetricFamily(name, LATENCY_HELP, labels=self._label)
        for names, health in told:
            latency = health.latency
            up_to = accumulate(count for count, _ in latency.buckets)
            buckets = [(le, float(count)) for le, count in zip(_BUCKETS, up_to, strict=True)]
            family.add_metric(names, buckets=buckets, sum_value=latency.sum)
        return family


def _family(metric: Metric, labels: tuple[str, ...]) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    names = (*labels, metric.label) if metric.label else labels
    return kind(prometheus_name(metric.name, metric.unit), metric.help, labels=names)
