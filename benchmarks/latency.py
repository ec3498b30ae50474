"""How long an emit takes, and how long until its record is acknowledged: ``python -m benchmarks.latency``.

::

    python -m benchmarks.latency [--rounds 15] [--seconds 2] [--rates 2000,20000,0]
                                 [--broker mock|rig | --bootstrap HOST:PORT] [--json] [--markdown FILE]

Every variant runs once in each round at each rate (events/s; 0: as fast as it goes), in a process of its own:

=========== =================================================================================================
control     the same emit at a collector where no sender works: what the machine itself does to a caller
memory      a KafkaCollector with its journal in memory
disk        the same with its journal on disk
floor       a Producer's produce() and poll() of ready records
=========== =================================================================================================

Emit: microseconds of wall-clock time of one call, p50, p99, p99.9 of a round, and p99 as a multiple of the
control's in the same round. Acknowledgement: milliseconds from the event's making (the floor's: from its
produce) to its delivery report, in runs of their own, for hearing of each report costs something too. Printed
are the medians of the rounds, of ratios the quartiles too.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditwire.wire import decode
from benchmarks.control import QueueOnly
from benchmarks.pages import add_options, publish
from benchmarks.rounds import broker, machine, progress, ratios, rounds, spread
from benchmarks.tables import aligned
from benchmarks.variants import load
from benchmarks.variants.base import Job, Variant
from benchmarks.variants.floor import Floor
from benchmarks.variants.ours import Memory, emitters
from benchmarks.workload import emit_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import KafkaError, Message

__all__ = ["CONTROL", "Latencies", "Times", "measure", "paced", "quantile", "report"]

CONTROL = "control"
EMITTING = (CONTROL, "memory", "disk", "floor")
ACKNOWLEDGED = ("memory", "disk", "floor")
SATURATED = 20_000
"""Events of a run without a rate."""


@dataclass(frozen=True)
class Times:
    """Of one run: microseconds."""

    p50: float
    p99: float
    p999: float
    most: float

    @classmethod
    def of(cls, times: list[float]) -> Times:
        """Of single events."""
        ordered = sorted(times)
        return cls(quantile(ordered, 0.5), quantile(ordered, 0.99), quantile(ordered, 0.999), ordered[-1])


def quantile(ordered: list[float], part: float) -> float:
    """Of times in rising order: the least that so large a part of them does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


@dataclass(frozen=True)
class Latencies:
    """What was measured: for each round, ``kind variant rate`` -> times."""

    rounds: list[dict[str, Times]]
    rates: list[int]
    broker: str
    machine: dict[str, str | float]


# -- the process that is measured -------------------------------------------------------------------------


class _Control(Variant):
    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._collector = QueueOnly()
        self._audits = emitters(self._collector, job)

    def emit(self, count: int, thread: int = 0) -> None:
        emit_events(self._audits[thread], count)

    def finish(self) -> None:
        pass

    def acknowledged(self) -> int:
        return self._collector.accepted

    def close(self) -> None:
        self._collector.close()


class _HeardFloor(Floor):
    """The floor with a time for each record."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.times: list[float] = []
        self._turn = itertools.cycle(self._ready[0])

    def emit(self, count: int, thread: int = 0) -> None:  # noqa: ARG002 - one thread
        for topic, value, key, headers in itertools.islice(self._turn, count):
            self.producer.produce(topic, value, key, -1, self._heard(time.time_ns()), None, 0, headers)
        self.producer.poll(0)

    def _heard(self, made: int) -> Callable[[KafkaError | None, Message], None]:
        def done(error: KafkaError | None, message: Message) -> None:
            self.times.append((time.time_ns() - made) / 1_000)
            self.on_delivery(error, message)

        return done


def paced(emit: Callable[[int], None], rate: int, events: int) -> list[float]:
    """Emit one by one at a rate, or without a pause when it is 0; microseconds of each."""
    times: list[float] = []
    gc.collect()
    begin = time.perf_counter()
    for number in range(events):
        if rate:
            due = begin + number / rate
            while (left := due - time.perf_counter()) > 0:
                time.sleep(left)
        start = time.perf_counter_ns()
        emit(1)
        times.append((time.perf_counter_ns() - start) / 1_000)
    return times


def emitting(job: Job, rate: int) -> Times:
    """How long the emits take."""
    variant = _Control(job) if job.variant == CONTROL else load(job.variant)(job)
    try:
        variant.emit(job.warm_up)
        variant.finish()
        return Times.of(paced(variant.emit, rate, job.events))
    finally:
        variant.finish()
        variant.close()


def acknowledging(job: Job, rate: int) -> Times:
    """How long it takes until a record is acknowledged."""
    if job.variant == "floor":
        floor = _HeardFloor(job)
        floor.emit(job.warm_up)
        floor.finish()
        floor.times.clear()
        paced(floor.emit, rate, job.events)
        floor.finish()
        return Times.of(floor.times)
    heard: list[tuple[int, bytes]] = []

    def on_delivery(_error: KafkaError | None, message: Message) -> None:
        heard.append((time.time_ns(), message.value() or b""))

    settings: dict[str, Any] = {"config": {"on_delivery": on_delivery}}
    if job.variant == "disk":
        settings["journal"] = Path(job.path) / "journal"
    ours = Memory(job, **settings)
    try:
        ours.emit(job.warm_up)
        ours.finish()
        heard.clear()
        paced(ours.emit, rate, job.events)
        ours.finish()
        events = [(at, decode(value).event) for at, value in heard]
    finally:
        ours.close()
    return Times.of([at / 1_000 - one.timestamp_us for at, one in events if one.event_type != "checkpoint"])


# -- the rounds -------------------------------------------------------------------------------------------


def measure(where: str, count: int, seconds: float, rates: list[int]) -> Latencies:
    """Run the rounds."""
    names = [f"emit {name} {rate}" for rate in rates for name in EMITTING]
    names += [f"ack {name} {rate}" for rate in rates if rate for name in ACKNOWLEDGED]
    before = machine()
    with broker(where) as place:

        def one(name: str) -> Times:
            kind, variant, rate = name.split()
            events = int(int(rate) * seconds) or SATURATED
            with tempfile.TemporaryDirectory(prefix="auditwire-") as path:
                job = Job(variant, place.bootstrap, place.prefix, path, events)
                command = ["--child", kind, rate, json.dumps(asdict(job))]
                done = subprocess.run(  # noqa: S603 - this interpreter, this package
                    [sys.executable, "-m", "benchmarks.latency", *command],
                    stdout=subprocess.PIPE,
                    check=True,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                )
            return Times(**json.loads(done.stdout))

        done, _ = rounds(count, names, one, progress)
        return Latencies(done, rates, place.title, before)


def report(found: Latencies) -> str:
    """The tables, Markdown."""
    emits, acks = [], []
    for rate in found.rates:
        speed = f"{rate:,}/s" if rate else "saturated"
        for name in EMITTING:
            key, base = f"emit {name} {rate}", f"emit {CONTROL} {rate}"
            ratio = ratios(found.rounds, key, base, lambda one: one.p99, lambda one: one.p99)
            assert ratio is not None  # noqa: S101 - all of them are measured
            shown = f"{ratio.median:.2f} ({ratio.lower:.2f} to {ratio.upper:.2f})"
            emits.append([f"{speed}, {name}", *_columns(found, key, 1, 1), shown])
        if rate:
            acks += [[f"{speed}, {n}", *_columns(found, f"ack {n} {rate}", 1_000, 2)] for n in ACKNOWLEDGED]
    m = found.machine
    head = (
        f"{len(found.rounds)} interleaved rounds to {found.broker}; Python {m.get('python')}, "
        f"librdkafka {m.get('librdkafka')}, {m.get('cores')} cores, "
        f"load average before {m.get('load_average', 0.0):.1f}."
    )
    parts = [head, aligned(["emit, µs", "p50", "p99", "p99.9", "p99 / control's"], emits)]
    if acks:
        parts.append(aligned(["emit to acknowledgement, ms", "p50", "p99", "p99.9"], acks))
    return "\n\n".join(parts)


def _columns(found: Latencies, key: str, unit: float, digits: int) -> list[str]:
    runs = [one[key] for one in found.rounds]
    values = ([run.p50 for run in runs], [run.p99 for run in runs], [run.p999 for run in runs])
    return [f"{spread(times).median / unit:.{digits}f}" for times in values]


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=15, help="how many (default: 15)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run that has a rate (default: 2)")
    parser.add_argument("--rates", default="2000,20000,0", help="events/s (default: 2000,20000,0)")
    add_options(parser)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        kind, rate, job = options.child
        run = {"emit": emitting, "ack": acknowledging}[kind]
        sys.stdout.write(json.dumps(asdict(run(Job(**json.loads(job)), int(rate)))) + "\n")
        return 0
    try:
        rates = [int(rate) for rate in options.rates.split(",")]
    except ValueError:
        parser.error(f"--rates {options.rates}: whole numbers with commas between")
    if options.rounds < 1 or options.seconds <= 0 or min(rates) < 0:
        parser.error("--rounds is 1 or more, --seconds above 0, no rate below 0")
    found = measure(options.bootstrap or options.broker, options.rounds, options.seconds, rates)
    publish(options, "latency", report(found), found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
