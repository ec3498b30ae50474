"""A collector's numbers for OpenTelemetry: in comes a meter's callback, out go observations.

Needs ``pip install 'auditwire[otel]'``; uses the API alone, so that without an SDK nothing happens and
nothing costs. Names, units and kinds are those of :data:`auditwire.delivery.metrics.METRICS`.

**The histogram.** The API has no observable histogram, and auditwire calls nobody else's code on the sender's
thread. So the latency's histogram is kept by the collector, and what was added to it since is recorded when
the meter next reads: as many values as there were observations in each bucket, each the mean of the new ones
there. Counts of the buckets and the sum are exact, minimum and maximum are as good as the buckets.
"""

from __future__ import annotations

from math import inf, nextafter
from typing import TYPE_CHECKING

from auditwire._version import __version__
from auditwire.delivery.latency import BOUNDS, Latency
from auditwire.delivery.metrics import LATENCY_HELP, LATENCY_NAME, METRICS, Metric, sources
from auditwire.errors import MissingExtraError

try:
    from opentelemetry.metrics import Observation, get_meter
except ImportError as error:
    raise MissingExtraError("auditwire.integrations.metrics_otel", "otel") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider

    from auditwire.delivery.health import Health

__all__ = ["AuditMetrics"]


class AuditMetrics:
    """Instruments of OpenTelemetry's metrics API over an auditwire collector.

    ::

        from auditwire.integrations.metrics_otel import AuditMetrics

        AuditMetrics(audit.collector)

    Making it is all there is to do: the meter keeps the instruments, and with them the collector, for good;
    the API has no way to take them back. Make one for a collector in a process.

    Args:
        collector: A KafkaCollector; a composite, for those in it; or a dictionary of several with names,
            which are then in the attribute ``collector`` of each observation. A collector without
            ``health()`` has no observations, so that the program also runs with the audit trail switched off.
        meter_provider: The global one when left out.

    Raises:
        ConfigurationError: It is no collector.
    """

    def __init__(self, collector: object, meter_provider: MeterProvider | None = None) -> None:
        self._sources = sources(collector)
        self._seen: dict[str, tuple[str, Latency]] = {}
        meter = get_meter("auditwire", __version__, meter_provider)
        self._latency: Histogram = meter.create_histogram(
            f"auditwire.{LATENCY_NAME}",
            "s",
            LATENCY_HELP,
            explicit_bucket_boundaries_advisory=BOUNDS,
        )
        for metric in METRICS:
            self._observe(meter, metric)

    def _observe(self, meter: Meter, metric: Metric) -> None:
        create = {
            "counter": meter.create_observable_counter,
            "amount": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }[metric.kind]
        create(f"auditwire.{metric.name}", [self._reader(metric)], metric.unit, metric.help)

    def _reader(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> list[Observation]:
            found: list[Observation] = []
            for name, source in self._sources.items():
                attributes = {"collector": name} if name else {}
                health, told = source.read()
                if metric is METRICS[0]:  # once in each collection
                    self._record(name, health, attributes)
                for label, value in told[metric.name].items():
                    more = {metric.label: label} if metric.label else {}
                    found.append(Observation(value, {**attributes, **more}))
            return found

        return read

    def _record(self, name: str, health: Health, attributes: dict[str, str]) -> None:
        """Record what the latency's histogram got since the last collection; see the module."""
        stream_id, before = self._seen.get(name, ("", Latency()))
        if stream_id != health.stream_id:  # a forked child's histogram begins again
            before = Latency()
        self._seen[name] = health.stream_id, health.latency
        for index, ((count, seconds), (old_count, old_seconds)) in enumerate(
            zip(health.latency.buckets, before.buckets, strict=True)
        ):
            new = count - old_count
            for _ in range(new):
                self._latency.record(_in_bucket((seconds - old_seconds) / new, index), attributes)


def _in_bucket(mean: float, index: int) -> float:
    """The mean, which rounding may have pushed over a bound of the bucket that it belongs to."""
    if index:
        mean = max(mean, nextafter(BOUNDS[index - 1], inf))
    return min(mean, BOUNDS[index]) if index < len(BOUNDS) else mean
