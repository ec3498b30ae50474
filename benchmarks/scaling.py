"""How an event's cost grows with threads, processes, sizes, sessions: ``python -m benchmarks.scaling``.

::

    python -m benchmarks.scaling [--rounds 15] [--events 20000] [--what threads,processes,sizes,sessions]
                                 [--broker mock|rig | --bootstrap HOST:PORT] [--json] [--markdown FILE]

A KafkaCollector with its journal in memory, and the floor, write the same: 1, 2, 4 and 8 threads with one
collector; 1 and 2 processes with one each; bodies of 200 B to 100 KB; 1, 100 and 10,000 sessions. Each run is
in processes of its own, each round runs all of them and begins with another one. Printed are medians of the
rounds: throughput, also as a multiple of the first line's of the same round; CPU, and its ratio to the
floor's.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.pages import add_options, publish
from benchmarks.process import run_jobs
from benchmarks.rounds import broker, machine, progress, ratios, rounds, spread
from benchmarks.tables import aligned
from benchmarks.variants.base import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.process import Run
    from benchmarks.rounds import Place

__all__ = ["CELLS", "Cell", "Point", "Scaling", "cells", "measure", "report"]

OURS, FLOOR = "memory", "floor"
MOST_BYTES = 40 << 20
"""Of a run's bodies, so that large ones do not take minutes."""

LEAST_EVENTS = 200


@dataclass(frozen=True)
class Cell:
    """One line of the table."""

    what: str
    title: str
    threads: int = 1
    processes: int = 1
    size: int | None = None
    sessions: int = 1

    def jobs(self, variant: str, place: Place, events: int) -> list[Job]:
        """One for each process; all of them together write about so many events."""
        if self.size is not None:
            events = max(min(events, MOST_BYTES // self.size), LEAST_EVENTS)
        each = max(events, self.sessions * 4) // (self.threads * self.processes)
        job = Job(
            variant,
            place.bootstrap,
            place.prefix,
            "",
            events=max(each // 4 * 4, 4),
            threads=self.threads,
            sessions=max(self.sessions // self.threads, 1),
            size=self.size,
        )
        return [job] * self.processes


CELLS = (
    *(Cell("threads", f"{n} thread{'s' * (n > 1)}", threads=n) for n in (1, 2, 4, 8)),
    *(Cell("processes", f"{n} process{'es' * (n > 1)}", processes=n) for n in (1, 2)),
    *(Cell("sizes", f"{size:,} B", size=size) for size in (200, 1_000, 10_000, 100_000)),
    *(Cell("sessions", f"{n:,} session{'s' * (n > 1)}", sessions=n) for n in (1, 100, 10_000)),
)
WHAT = ("threads", "processes", "sizes", "sessions")


def cells(what: Sequence[str]) -> list[Cell]:
    """Those of some dimensions."""
    return [cell for cell in CELLS if cell.what in what]


@dataclass(frozen=True)
class Point:
    """One cell of one round: events/s of all processes together, and microseconds of CPU for an event."""

    per_s: float
    cpu_us: float
    caller_us: float

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Point:
        """Processes that began together: each has its own end, so their rates add up."""
        total = sum(run.events for run in runs)
        return cls(
            per_s=sum(run.per_s for run in runs),
            cpu_us=sum(run.total_us * run.events for run in runs) / total,
            caller_us=sum(run.caller_us * run.events for run in runs) / total,
        )


@dataclass(frozen=True)
class Scaling:
    """What was measured: for each round ``variant title`` -> point."""

    rounds: list[dict[str, Point]]
    what: list[str]
    broker: str
    machine: dict[str, str | float]


def measure(where: str, count: int, events: int, what: Sequence[str]) -> Scaling:
    """Run the rounds."""
    chosen = {f"{variant} {cell.title}": (variant, cell) for cell in cells(what) for variant in (OURS, FLOOR)}
    before = machine()
    with broker(where) as place:

        def one(name: str) -> Point:
            variant, cell = chosen[name]
            return Point.of(run_jobs(cell.jobs(variant, place, events)))

        done, _ = rounds(count, list(chosen), one, progress)
        return Scaling(done, list(what), place.title, before)


def report(found: Scaling) -> str:
    """The tables, Markdown."""
    m = found.machine
    parts = [
        (
            f"{len(found.rounds)} interleaved rounds, journal in memory, to {found.broker}; "
            f"Python {m.get('python')}, librdkafka {m.get('librdkafka')}, {m.get('cores')} cores, "
            f"load average before {m.get('load_average', 0.0):.1f}."
        )
    ]
    for what in found.what:
        lines = cells([what])
        rows = [_row(found, cell, lines[0]) for cell in lines]
        head = [what, "events/s", "x first line", "CPU µs", "x floor", "caller's µs"]
        parts.append(aligned(head, rows))
    return "\n\n".join(parts)


def _row(found: Scaling, cell: Cell, first: Cell) -> list[str]:
    ours, floor, base = f"{OURS} {cell.title}", f"{FLOOR} {cell.title}", f"{OURS} {first.title}"
    faster = ratios(found.rounds, ours, base, lambda one: one.per_s, lambda one: one.per_s)
    dearer = ratios(found.rounds, ours, floor, lambda one: one.cpu_us, lambda one: one.cpu_us)
    assert faster is not None  # noqa: S101 - all cells are measured
    assert dearer is not None  # noqa: S101 - as above
    return [
        cell.title,
        f"{spread([one[ours].per_s for one in found.rounds]).median:,.0f}",
        f"{faster.median:.2f} ({faster.lower:.2f} to {faster.upper:.2f})",
        f"{spread([one[ours].cpu_us for one in found.rounds]).median:.1f}",
        f"{dearer.median:.2f} ({dearer.lower:.2f} to {dearer.upper:.2f})",
        f"{spread([one[ours].caller_us for one in found.rounds]).median:.1f}",
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=15, help="how many (default: 15)")
    parser.add_argument("--events", type=int, default=20_000, help="of a run (default: 20000)")
    parser.add_argument("--what", default=",".join(WHAT), help=f"which tables (default: {','.join(WHAT)})")
    add_options(parser)
    options = parser.parse_args(arguments)
    what = options.what.split(",")
    if unknown := [one for one in what if one not in WHAT]:
        parser.error(f"no table {', '.join(unknown)}; there are {', '.join(WHAT)}")
    if options.rounds < 1 or options.events < LEAST_EVENTS:
        parser.error(f"--rounds is 1 or more, --events {LEAST_EVENTS} or more")
    found = measure(options.bootstrap or options.broker, options.rounds, options.events, what)
    publish(options, "scaling", report(found), found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
