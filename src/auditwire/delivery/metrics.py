"""The numbers that monitoring systems are told, by one list of names for all of them.

In comes a :class:`~auditwire.delivery.health.Health`, out come readings. A name is OpenTelemetry's; the name
in Prometheus follows from it by OpenTelemetry's own rule (dots to underscores, then the unit, then ``_total``
for counters), so that both ways lead to the same name there:
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from auditwire import forksafe
from auditwire.delivery.health import LOSS_REASONS, QUARANTINE_REASONS, Health, State
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "LATENCY_HELP",
    "LATENCY_NAME",
    "METRICS",
    "Metric",
    "Observed",
    "Source",
    "plain",
    "sources",
]

LATENCY_NAME = "delivery.latency"
LATENCY_HELP = (
    "Time from an event to its acknowledgement by the broker; one observation for each chunk of records, "
    "its oldest."
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: ``events.accepted``; monitoring systems put ``auditwire`` before it.
        kind: ``counter`` only rises; ``amount`` can be added up over processes; ``gauge`` cannot.
        unit: As UCUM and OpenTelemetry write it: ``By``, ``s``, or a noun in braces.
        help: What it says.
        read: Health -> value of the label (``""`` for a metric without) -> number.
        label: The label's name; None for a metric without.
    """

    name: str
    kind: Literal["counter", "amount", "gauge"]
    unit: str
    help: str
    read: Callable[[Health], Mapping[str, float]]
    label: str | None = None


def _one(attribute: str) -> Callable[[Health], Mapping[str, float]]:
    return lambda health: {"": getattr(health, attribute)}


def _many(attribute: str, known: tuple[str, ...] = ()) -> Callable[[Health], Mapping[str, float]]:
    # what is known beforehand begins at 0: a series whose first value is 1 has no increase
    return lambda health: {**dict.fromkeys(known, 0), **getattr(health, attribute)}


METRICS: tuple[Metric, ...] = (
    Metric("events.accepted", "counter", "{event}", "Events accepted into the journal.", _one("accepted")),
    Metric(
        "events.delivered", "counter", "{event}", "Events that the broker acknowledged.", _one("delivered")
    ),
    Metric(
        "events.lost",
        "counter",
        "{event}",
        "Events refused before they were accepted.",
        _many("lost", LOSS_REASONS),
        "reason",
    ),
    Metric(
        "values.coerced",
        "counter",
        "{value}",
        "Values that did not fit their field and were converted.",
        _many("coerced"),
        "field",
    ),
    Metric(
        "values.truncated",
        "counter",
        "{value}",
        "Values cut because their record was too large.",
        _many("truncated"),
        "field",
    ),
    Metric(
        "records.quarantined",
        "counter",
        "{record}",
        "Records withheld because the broker refuses them for good.",
        _many("quarantined", QUARANTINE_REASONS),
        "reason",
    ),
    Metric(
        "records.control",
        "counter",
        "{record}",
        "Control records written: checkpoints, losses, quarantines.",
        _one("control"),
    ),
    Metric(
        "records.resent", "counter", "{record}", "Records that were produced more than once.", _one("resent")
    ),
    Metric(
        "producers.made",
        "counter",
        "{producer}",
        "Producers made; more than one after fatal errors.",
        _one("producers"),
    ),
    Metric("faults", "counter", "{fault}", "Errors in callbacks and in the sender itself.", _one("faults")),
    Metric(
        "pending.records",
        "amount",
        "{record}",
        "Records that wait for an acknowledgement.",
        _one("pending_records"),
    ),
    Metric("pending.size", "amount", "By", "Their bytes, as the journal counts them.", _one("pending_bytes")),
    Metric(
        "pending.age",
        "gauge",
        "s",
        "Age of the oldest record that waits; 0 for none.",
        _one("oldest_seconds"),
    ),
    Metric("journal.capacity", "amount", "By", "Room for what waits.", _one("capacity_bytes")),
    Metric(
        "journal.used",
        "gauge",
        "By",
        "Bytes of all files on the journal's path, whoever wrote them; 0 in memory.",
        _one("journal_used_bytes"),
    ),
    Metric(
        "records.unsynced",
        "amount",
        "{record}",
        "Records that a loss of power would cost at this moment.",
        _one("unsynced_records"),
    ),
    Metric(
        "topics.parked",
        "amount",
        "{topic}",
        "1 for each topic that takes no records at the moment.",
        lambda health: dict.fromkeys(health.parked, 1),
        "topic",
    ),
    Metric(
        "events.adopted",
        "counter",
        "{event}",
        "Events of streams that other processes left, which the broker acknowledged.",
        _one("adopted_delivered"),
    ),
    Metric(
        "streams.adopted",
        "counter",
        "{stream}",
        "Streams of other processes that were delivered to their end.",
        _one("adopted"),
    ),
    Metric(
        "streams.orphaned",
        "amount",
        "{stream}",
        "Streams of other processes that are being delivered.",
        lambda health: {"": len(health.orphans)},
    ),
    Metric(
        "streams.left.alone",
        "gauge",
        "{stream}",
        "Streams on the journal's path that go to another cluster or prefix.",
        lambda health: {"": len(health.left_alone)},
    ),
    Metric(
        "state",
        "gauge",
        "",
        "1 for the state that the collector is in, 0 for the others.",
        lambda health: {state: int(state == health.state) for state in get_args(State)},
        "state",
    ),
)
"""All but the latency, which is a histogram."""


def plain(health: Health) -> dict[str, Any]:
    """Metric -> number, or label -> number where it has a label; for systems that no module here knows."""
    return {
        metric.name: dict(metric.read(health)) if metric.label else metric.read(health)[""]
        for metric in METRICS
    }


class Source(Protocol):
    """What has metrics: a KafkaCollector."""

    def health(self) -> Health:
        """What came in, what went out, what waits, and what went wrong."""


class Observed:
    """A source whose counters never fall.

    A health is read while the sender works, without a lock; a count may be behind by the records that are
    under way at that moment. A monitoring system takes a counter that falls for one that began again, and
    would count everything twice. Thread-safe.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._stream = ""
        self._highest: dict[tuple[str, str], float] = {}
        self._lock = threading.RLock()
        forksafe.register(self)

    def read(self) -> tuple[Health, dict[str, dict[str, float]]]:
        """The health, and metric -> label -> number as it may be told."""
        with self._lock:
            health = self._source.health()
            if health.stream_id != self._stream:  # a forked child's counters do begin again
                self._stream, self._highest = health.stream_id, {}
            return health, {metric.name: self._told(metric, health) for metric in METRICS}

    def _told(self, metric: Metric, health: Health) -> dict[str, float]:
        values = dict(metric.read(health))
        if metric.kind == "counter":
            for label, value in values.items():
                key = metric.name, label
                values[label] = self._highest[key] = max(value, self._highest.get(key, 0))
        return values

    def after_fork(self) -> None:
        """See :mod:`auditwire.forksafe`."""
        self._lock = forksafe.usable_lock(self._lock)


def sources(collector: object) -> dict[str, Observed]:
    """Name -> source, for a collector or a dictionary of named ones.

    A composite stands for those in it. A collector without ``health()`` (files, memory, null) has no metrics,
    and is no error: the same program runs with the audit trail switched off. The name is ``""`` where there
    is one source without a name; several without get their numbers.

    Raises:
        ConfigurationError: One of them is no collector.
    """
    named = collector.items() if isinstance(collector, Mapping) else [("", collector)]
    out: dict[str, Observed] = {}
    for name, one in named:
        found = _with_health(one)
        for number, source in enumerate(found):
            out[name if len(found) == 1 else f"{name}{number}"] = Observed(source)
    return out


def _with_health(collector: Any) -> list[Source]:
    if callable(getattr(collector, "health", None)):
        return [collector]
    if not callable(getattr(collector, "emit", None)):
        raise ConfigurationError("collector", f"{type(collector).__name__} is no collector")
    return [source for child in getattr(collector, "collectors", ()) for source in _with_health(child)]
