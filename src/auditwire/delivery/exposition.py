"""The numbers as Prometheus reads them, without a library: for a process that only forwards.

The text format 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/. Names, labels and help
are those of :mod:`auditwire.integrations.metrics_prometheus`: rules and dashboards know no difference.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Literal, NamedTuple

from auditwire.delivery.latency import BOUNDS
from auditwire.delivery.metrics import LATENCY_HELP, LATENCY_NAME, METRICS, Observed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditwire.delivery.health import Health

__all__ = ["CONTENT_TYPE", "Family", "Sample", "exposition", "families", "prometheus_name"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SUFFIXES = {"By": "_bytes", "s": "_seconds"}


class Sample(NamedTuple):
    """One line: what stands behind the family's name, labels, value."""

    suffix: str
    labels: Mapping[str, str]
    value: float


class Family(NamedTuple):
    """One metric with its samples.

    Attributes:
        name: Without ``_total``.
        kind: Prometheus' type.
        help: What it says.
        samples: Its lines.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[Sample]


def prometheus_name(name: str, unit: str) -> str:
    """``pending.size``, ``By`` -> ``auditwire_pending_size_bytes``; a counter gets its ``_total`` later."""
    return f"auditwire_{name.replace('.', '_')}{_SUFFIXES.get(unit, '')}"


def families(source: Observed) -> list[Family]:
    """A source's metrics as they are now."""
    health, told = source.read()
    found = []
    for metric in METRICS:
        suffix = "_total" if metric.kind == "counter" else ""
        samples = [
            Sample(suffix, {metric.label: label} if metric.label else {}, value)
            for label, value in told[metric.name].items()
        ]
        kind: Literal["counter", "gauge"] = "counter" if metric.kind == "counter" else "gauge"
        found.append(Family(prometheus_name(metric.name, metric.unit), kind, metric.help, samples))
    return [*found, _latency(health), _stream(health)]


def _latency(health: Health) -> Family:
    latency = health.latency
    up_to = accumulate(count for count, _ in latency.buckets)
    samples = [
        Sample("_bucket", {"le": bound}, count)
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), up_to, strict=True)
    ]
    samples += [Sample("_sum", {}, latency.sum), Sample("_count", {}, latency.count)]
    return Family(prometheus_name(LATENCY_NAME, "s"), "histogram", LATENCY_HELP, samples)


def _stream(health: Health) -> Family:
    labels = {"stream_id": health.stream_id}
    return Family("auditwire_stream_info", "gauge", "The stream that is written.", [Sample("", labels, 1)])


def exposition(found: Iterable[Family]) -> str:
    """The whole page."""
    lines = []
    for family in found:
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        lines.append(f"# HELP {name} {_escaped(family.help)}")
        lines.append(f"# TYPE {name} {family.kind}")
        for suffix, labels, value in family.samples:
            pairs = ",".join(f'{label}="{_quoted(text)}"' for label, text in labels.items())
            lines.append(f"{family.name}{suffix}{'{' + pairs + '}' if pairs else ''} {float(value)!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
