"""What it costs to turn an event into the bytes of its record: ``python -m benchmarks.encode``.

::

    python -m benchmarks.encode [--events 3000] [--rounds 25] [--json]

Events of ``tool_call_complete`` of 100 sessions, first without, then with principal, trace and metadata, are
encoded by each variant in turn, in every round; each round begins with another variant, so that a change of
the machine's speed meets all of them. A cost is the median of the rounds with its quartiles, in microseconds
of this process's CPU time for one event. A ratio is taken within a round, to ``generated``.

=============== =============================================================================================
generated       code made from the schema, as emits go through it: type checks, head and tail, and what the
                key and headers are made of
draft           ``generated``, and what stands around the body: topic, key, trace header
fastavro codec  as ``generated``, under ``AUDITWIRE_CODEC=fastavro``, which gives the same bytes
fastavro, dict  ``fastavro.schemaless_writer`` of the whole schema from a dictionary that is ready, its
                metadata as text: no checks, and nothing but the body
fastavro, event as ``fastavro, dict``, from the dataclass: ``dataclasses.asdict``, the metadata by
                ``json.dumps``
=============== =============================================================================================
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import fastavro

from auditwire.ids import uuid7
from auditwire.journal.drafter import Drafter
from auditwire.wire import FastavroEncoder, GeneratedEncoder, schema_for, sequence_bytes
from benchmarks.decode import Cost, events_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auditwire.events import AuditEvent

BASE = "generated"
SEQUENCE = 123_456
SCHEMA = schema_for("tool_call_complete")
# without the logical type, which would have the library look at each time what it is
FIELDS = [{**f, "type": "long"} if f["name"] == "timestamp" else f for f in SCHEMA.parsed["fields"]]
PLAIN: Any = fastavro.parse_schema({"type": "record", "name": SCHEMA.name, "fields": FIELDS}, {})


@dataclass(frozen=True)
class Figures:
    """What was measured of one kind of event.

    Attributes:
        body: Bytes of an Avro body, on average.
        microseconds: CPU time for one event, by variant.
        ratios: To the generated encoder's in the same round.
    """

    body: int
    microseconds: dict[str, Cost]
    ratios: dict[str, Cost]


def row_of(event: AuditEvent, stream: str) -> dict[str, Any]:
    """What a program without auditwire hands to an Avro library."""
    row = asdict(event)
    row["event_type"] = event.event_type
    row["timestamp"] = row.pop("timestamp_us")
    row["metadata"] = json.dumps(row["metadata"], separators=(",", ":"))
    row["stream_id"], row["sequence"] = stream, SEQUENCE
    return row


def written(row: dict[str, Any]) -> bytes:
    """The whole body, by the library."""
    out = BytesIO()
    fastavro.schemaless_writer(out, PLAIN, row)
    return out.getvalue()


def variants_of(
    events: Sequence[AuditEvent],
) -> dict[str, tuple[Callable[[Any], object], Sequence[object]]]:
    """What is called, and with which objects one after the other."""
    stream = uuid7()
    rows = [row_of(event, stream) for event in events]
    generated, reference = GeneratedEncoder(), FastavroEncoder()
    encode = generated.bound(stream)
    for event, row in zip(events, rows, strict=True):  # all do the same, or the figures mean nothing
        head, tail, *about = encode(event)
        if [head, tail, *about] != [*reference.bound(stream)(event)]:
            raise AssertionError(f"the codecs differ on {event}")
        if head + sequence_bytes(SEQUENCE) + tail != written(row):
            raise AssertionError(f"the library makes something else of {event}")
    return {
        BASE: (encode, events),
        "draft": (Drafter(stream, generated, "audit").draft, events),
        "fastavro codec": (reference.bound(stream), events),
        "fastavro, dict": (written, rows),
        "fastavro, event": (lambda event: written(row_of(event, stream)), events),
    }


def measure(count: int, rounds: int, *, rich: bool) -> Figures:
    """Each variant's cost, of one kind of event."""
    events = events_of(count, rich=rich)
    variants = variants_of(events)
    spent: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants.items())
    for turn in range(rounds):
        first = turn % len(order)
        for name, (encode, given) in order[first:] + order[:first]:
            gc.collect()
            start = time.process_time()
            for one in given:
                encode(one)
            spent[name].append((time.process_time() - start) / count * 1e6)
    return Figures(
        body=round(statistics.mean(len(written(row_of(event, uuid7()))) for event in events)),
        microseconds={name: Cost.of(costs) for name, costs in spent.items()},
        ratios={
            name: Cost.of([own / base for own, base in zip(costs, spent[BASE], strict=True)])
            for name, costs in spent.items()
        },
    )


def report(kind: str, figures: Figures) -> str:
    """The figures for people."""
    lines = [f"{kind}: bodies of {figures.body} bytes on average; us for one event, and times {BASE}"]
    for name, cost in figures.microseconds.items():
        ratio = figures.ratios[name]
        spread = f"{cost.median:6.2f} ({cost.lower:.2f} to {cost.upper:.2f})"
        lines.append(f"  {name:16}{spread:26}{ratio.median:5.2f} ({ratio.lower:.2f} to {ratio.upper:.2f})")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encode", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--events", type=int, default=3_000, help="in a round (default: 3000)")
    parser.add_argument("--rounds", type=int, default=25, help="how many (default: 25)")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    given = parser.parse_args(arguments)
    if given.rounds < 2 or given.events < 1:  # noqa: PLR2004 - quartiles need two
        parser.error("--rounds is 2 or more, --events 1 or more")
    about: dict[str, Any] = {
        "python": platform.python_version(),
        "rounds": given.rounds,
        "load_average": os.getloadavg()[0],
    }
    if not given.json:
        sys.stdout.write(
            f"{given.rounds} rounds, Python {about['python']}, load average {about['load_average']:.1f}\n"
        )
    for kind in ("typical", "rich"):
        figures = measure(given.events, given.rounds, rich=kind == "rich")
        about[kind] = asdict(figures)
        if not given.json:
            sys.stdout.write(report(kind, figures) + "\n")
    if given.json:
        sys.stdout.write(json.dumps(about) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
