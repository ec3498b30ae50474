"""Where the microseconds of an event go: ``python -m benchmarks.parts``.

::

    python -m benchmarks.parts [--rounds 15] [--events 10000] [--broker mock|rig | --bootstrap HOST:PORT]
                               [--json] [--markdown FILE]

=============== =============================================================================================
construction    an emit at a NullCollector: context, ids, time, previews, the event
encode          ``Drafter.draft`` of a ready event: head and tail of the body, key, topic
append          ``MemoryJournal.append`` of a ready draft
caller, other   what an emit at a collector without a sender takes beyond the three: checks, calls
digest          SHA-256 of a ready value, as the background thread makes it
produce, ack    the whole of the floor, librdkafka's threads too
sender, other   what is left of the whole: numbering, lanes, headers, marks, checkpoints, rests
whole           all threads of a process with a KafkaCollector, journal in memory, until all is acknowledged
=============== =============================================================================================

Microseconds of CPU an event; each round takes all of them, and its remainders are of its own figures. What
runs alone runs in warmer caches than in the whole: the remainders hold that too.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditwire import AuditEmitter, InMemoryCollector, NullCollector
from auditwire.journal import MemoryJournal
from auditwire.wire import frame_single_object, join_body, schema_for
from benchmarks.control import QueueOnly
from benchmarks.pages import add_options, publish
from benchmarks.process import run_jobs
from benchmarks.rounds import broker, machine, progress, rounds, spread
from benchmarks.tables import aligned
from benchmarks.variants.base import Job
from benchmarks.workload import AGENT, emit_events, session_ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["PARTS", "Parts", "alone", "measure", "report", "split"]

ALONE = ("construction", "encode", "append", "caller", "digest")
WHOLE = ("floor", "memory")
PARTS = (
    "construction",
    "encode",
    "append",
    "caller, other",
    "digest",
    "produce, ack",
    "sender, other",
    "whole",
)


@dataclass(frozen=True)
class Parts:
    """What was measured: for each round, part -> microseconds of CPU an event."""

    rounds: list[dict[str, float]]
    broker: str
    machine: dict[str, str | float]


def _timed(work: Callable[[], object], events: int) -> float:
    gc.collect()
    start = time.thread_time()
    work()
    return (time.thread_time() - start) / events * 1e6


def _emitter(collector: Any) -> list[AuditEmitter]:
    return [AuditEmitter(collector, session_id=session_ids(1)[0], agent_id=AGENT, on_error="raise")]


def alone(part: str, events: int) -> float:
    """A part that needs no broker, microseconds an event."""
    if part == "construction":
        audits = _emitter(NullCollector())
        return _timed(lambda: emit_events(audits, events), events)
    with QueueOnly() as control:
        if part == "caller":
            audits = _emitter(control)
            emit_events(audits, 400)
            return _timed(lambda: emit_events(audits, events), events)
        memory = InMemoryCollector()
        emit_events(_emitter(memory), events)
        ready, draft = memory.get_events(), control.drafter.draft
        drafts = [draft(event) for event in ready]  # knows every type from here on
        if part == "encode":
            return _timed(lambda: [draft(event) for event in ready], events)
    if part == "append":
        append = MemoryJournal(1 << 30).append
        return _timed(lambda: [append(one) for one in drafts], events)
    values = [
        frame_single_object(schema_for(one.event_type).fingerprint, join_body(one.head, number, one.tail))
        for number, one in enumerate(drafts)
    ]
    return _timed(lambda: [hashlib.sha256(value).digest() for value in values], events)


def split(taken: dict[str, float]) -> dict[str, float]:
    """One round's figures as parts that add up to the whole."""
    other = taken["caller"] - taken["construction"] - taken["encode"] - taken["append"]
    return {
        "construction": taken["construction"],
        "encode": taken["encode"],
        "append": taken["append"],
        "caller, other": other,
        "digest": taken["digest"],
        "produce, ack": taken["floor"],
        "sender, other": taken["memory"] - taken["caller"] - taken["digest"] - taken["floor"],
        "whole": taken["memory"],
    }


def measure(where: str, count: int, events: int) -> Parts:
    """Run the rounds."""
    before = machine()
    with broker(where) as place:

        def one(name: str) -> float:
            if name in ALONE:
                return alone(name, events)
            return run_jobs([Job(name, place.bootstrap, place.prefix, "", events)])[0].total_us

        done, _ = rounds(count + 1, [*ALONE, *WHOLE], one, progress)  # one to warm up
        return Parts([split(taken) for taken in done[1:]], place.title, before)


def report(found: Parts) -> str:
    """The table, Markdown."""
    m = found.machine
    head = (
        f"{len(found.rounds)} rounds, journal in memory, to {found.broker}; Python {m.get('python')}, "
        f"librdkafka {m.get('librdkafka')}, load average before {m.get('load_average', 0.0):.1f}."
    )
    rows = []
    for part in PARTS:
        taken = spread([one[part] for one in found.rounds])
        share = spread([one[part] / one["whole"] for one in found.rounds]).median
        shown = f"{taken.median:.2f} ({taken.lower:.2f} to {taken.upper:.2f})"
        rows.append([part, shown, f"{share:.0%}"])
    return "\n\n".join([head, aligned(["part", "CPU µs/event", "of the whole"], rows)])


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parts", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=15, help="how many (default: 15)")
    parser.add_argument("--events", type=int, default=10_000, help="of a part in a round (default: 10000)")
    add_options(parser)
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.events < 4:  # noqa: PLR2004 - one turn
        parser.error("--rounds is 1 or more, --events 4 or more")
    found = measure(options.bootstrap or options.broker, options.rounds, options.events)
    publish(options, "parts", report(found), found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
