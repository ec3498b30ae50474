"""What a watch tells Prometheus: over HTTP, and in a file for node_exporter's textfile collector.

Name, type and meaning of each metric stand in :func:`watch_families`. The file is replaced in one step, so
that nobody reads half of it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, get_args

from auditwire.cli.output import remark
from auditwire.delivery.exposition import Family, Sample, exposition
from auditwire.verification.report import Verdict
from auditwire.verification.watch import RESULTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from auditwire.verification.watch import Numbers

__all__ = ["page", "watch_families", "write_page"]

_MODE = 0o644  # node_exporter runs as another user


def watch_families(numbers: Numbers, *, prefix: str, now: float) -> list[Family]:
    """The metrics.

    Args:
        numbers: Those of the watch.
        prefix: The trail's prefix: the label ``prefix`` of each.
        now: Seconds since the Unix epoch.
    """

    def family(
        name: str,
        kind: Literal["counter", "gauge"],
        text: str,
        values: float | Mapping[str, float],
        label: str = "",
    ) -> Family:
        suffix = "_total" if kind == "counter" else ""
        told = values.items() if not isinstance(values, (int, float)) else [("", values)]
        samples = [
            Sample(suffix, {"prefix": prefix, **({label: key} if label else {})}, value)
            for key, value in told
        ]
        return Family(f"auditwire_verify_{name}", kind, text, samples)

    def age(then_ms: int | None) -> float:
        return 0.0 if then_ms is None else max(0.0, now - then_ms / 1_000)

    streams = {verdict: numbers.streams[verdict] for verdict in get_args(Verdict)}
    return [
        family("up", "gauge", "1 when the last round could be made, 0 when it failed.", numbers.broker_up),
        family(
            "last_success_timestamp_seconds",
            "gauge",
            "When the last round ended that found no fault, and something to check; 0 before.",
            numbers.last_success,
        ),
        family(
            "last_completed_timestamp_seconds",
            "gauge",
            "When the last round ended that did not fail, whatever it found; 0 before.",
            numbers.last_completed,
        ),
        family(
            "rounds",
            "counter",
            "Rounds, by what they came to.",
            {result: numbers.rounds[result] for result in RESULTS},
            "result",
        ),
        family("round_duration_seconds", "gauge", "How long the last round took.", numbers.seconds),
        family("streams", "gauge", "Streams of the trail, by verdict.", streams, "verdict"),
        family(
            "faults",
            "counter",
            "Faults that came up, by kind; one that stays is counted once.",
            dict(sorted(numbers.faults.items())),
            "kind",
        ),
        family(
            "missing_records", "gauge", "Records that reached the broker and are not there.", numbers.missing
        ),
        family(
            "oldest_open_stream_age_seconds",
            "gauge",
            "Time since the first record of the open stream that began first; 0 when none is open.",
            age(numbers.oldest_open_ms),
        ),
        family(
            "open_stream_silence_seconds",
            "gauge",
            "Time since the last record of the open stream that is silent longest; 0 when none is open.",
            age(numbers.silent_open_ms),
        ),
        family("messages", "counter", "Messages read.", numbers.records),
        family(
            "lag_messages", "gauge", "Messages that the last round had to read to be at the end.", numbers.lag
        ),
    ]


def page(numbers: Numbers, *, prefix: str, now: float) -> str:
    """The metrics in Prometheus' text format."""
    return exposition(watch_families(numbers, prefix=prefix, now=now))


def write_page(path: Path, text: str) -> None:
    """Replace a file in one step. What goes wrong is said, and the next round tries again."""
    # node_exporter reads what ends in .prom
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.chmod(_MODE)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        remark(f"the metrics could not be written to {path}: {error.strerror or error}", style="yellow")
