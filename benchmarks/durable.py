"""What the journal on disk costs beside the one in memory, and what a large backlog costs a start.

::

    python -m benchmarks.durable cpu     [--rounds 15] [--events 20000] [--path DIR]
    python -m benchmarks.durable latency [--rounds 9] [--seconds 2] [--hog] [--path DIR]
    python -m benchmarks.durable backlog [--mib 1024] [--path DIR]

Each takes ``--json``. The broker is the embedded one, in a process of its own. The variants of a command take
turns in every round, each round beginning with another one; a ratio is taken within a round, and the median
of the rounds is printed with its quartiles.

=========== =================================================================================================
``cpu``     microseconds of CPU for an event from emit to acknowledgement, all threads together, and the ratio
            to the journal in memory
``latency`` microseconds that ``emit`` takes at 2,000 events/s: median, p99, p99.9 and maximum, and the ratio
            of the p99 to a control's, which encodes and queues the same events with no sender at work;
            ``--hog`` has another process write and synchronise on the same disk meanwhile
``backlog`` a journal of so many MiB is left by an ended process: seconds from the start of a collector until
            the broker has the first of its records, the rate of delivery, and the anonymous memory that was
            added meanwhile
=========== =================================================================================================
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, TopicPartition

from auditwire import AuditEmitter, JournalCollector, KafkaCollector
from auditwire.testing import EmbeddedBroker
from auditwire.wire import topic_name
from benchmarks.control import QueueOnly
from benchmarks.million import emit_events
from benchmarks.pairing import Spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


RATE = 2_000
"""Events/s of the latency's measurement."""

MEMORY = "journal in memory"
CONTROL = "control"
HOG_BYTES = 4 << 20


def collectors(bootstrap: str, path: Path) -> dict[str, Callable[[], Any]]:
    """Name -> makes the collector."""
    return {
        MEMORY: lambda: KafkaCollector(bootstrap, full_timeout=60),
        "on disk, sync=interval": lambda: KafkaCollector(bootstrap, journal=path, full_timeout=60),
        "on disk, sync=never": lambda: KafkaCollector(bootstrap, journal=path, sync="never"),
        "JournalCollector": lambda: JournalCollector(path / "apart"),
    }


def _turned(names: list[str], number: int) -> list[str]:
    turn = number % len(names)
    return names[turn:] + names[:turn]


# -- cpu --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cpu:
    """Microseconds of CPU for an event, and ratios to the journal in memory of the same round."""

    rounds: int
    events: int
    us_per_event: dict[str, Spread]
    ratios: dict[str, Spread]
    load_average: float
    python: str


def measure_cpu(path: Path, rounds: int, events: int) -> Cpu:
    """Emit, flush, and take the process's CPU time."""
    with EmbeddedBroker() as broker:
        made = collectors(broker.bootstrap_servers, path)
        taken: dict[str, list[float]] = {name: [] for name in made}
        for number in range(rounds + 1):  # one to warm up
            for name in _turned(list(made), number):
                seconds = _cpu_of(made[name], events)
                if number:
                    taken[name].append(seconds / events * 1e6)
    return Cpu(
        rounds=rounds,
        events=events,
        us_per_event={name: Spread.of(values) for name, values in taken.items()},
        ratios={
            name: Spread.of([own / base for own, base in zip(values, taken[MEMORY], strict=True)])
            for name, values in taken.items()
        },
        load_average=os.getloadavg()[0],
        python=platform.python_version(),
    )


def _cpu_of(make: Callable[[], Any], events: int) -> float:
    with make() as collector:
        audit = AuditEmitter(collector, session_id="s-1", agent_id="planner", on_error="raise")
        emit_events(audit, 40)
        collector.flush()
        gc.collect()
        start = time.process_time()
        emit_events(audit, events)
        collector.flush()
        return time.process_time() - start


# -- latency ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Latencies:
    """Microseconds of one emit; ratios of the p99 to the control's of the same round."""

    rounds: int
    hog: bool
    median_us: dict[str, Spread]
    p99_us: dict[str, Spread]
    p999_us: dict[str, Spread]
    max_us: dict[str, float]
    p99_ratios: dict[str, Spread]
    load_average: float
    python: str


def measure_latency(path: Path, rounds: int, seconds: float, *, hog: bool) -> Latencies:
    """Emit at a steady rate, and time each emit."""
    samples: dict[str, list[list[float]]] = {}
    with EmbeddedBroker() as broker, _hog(path) if hog else contextlib.nullcontext():
        made = {CONTROL: QueueOnly, **collectors(broker.bootstrap_servers, path)}
        for number in range(rounds + 1):
            for name in _turned(list(made), number):
                times = _paced(made[name], int(RATE * seconds))
                if number:
                    samples.setdefault(name, []).append(times)
    names = list(samples)
    p99 = {name: [_quantile(times, 0.99) for times in samples[name]] for name in names}
    return Latencies(
        rounds=rounds,
        hog=hog,
        median_us={name: Spread.of([_quantile(t, 0.5) for t in samples[name]]) for name in names},
        p99_us={name: Spread.of(p99[name]) for name in names},
        p999_us={name: Spread.of([_quantile(t, 0.999) for t in samples[name]]) for name in names},
        max_us={name: max(max(t) for t in samples[name]) for name in names},
        p99_ratios={
            name: Spread.of([own / base for own, base in zip(p99[name], p99[CONTROL], strict=True)])
            for name in names
        },
        load_average=os.getloadavg()[0],
        python=platform.python_version(),
    )


def _paced(make: Callable[[], Any], events: int) -> list[float]:
    times: list[float] = []
    with make() as collector:
        audit = AuditEmitter(collector, session_id="s-1", agent_id="planner", on_error="raise")
        emit_events(audit, 400)
        collector.flush()
        gc.collect()
        begin = time.perf_counter()
        for number in range(events):
            due = begin + number / RATE
            while (left := due - time.perf_counter()) > 0:
                time.sleep(left)
            start = time.perf_counter_ns()
            audit.emit_tool_call_complete("weather.search", "success", 12.5, "Cloudy with some rain. " * 8)
            times.append((time.perf_counter_ns() - start) / 1_000)
    return times


def _quantile(times: list[float], part: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


@contextlib.contextmanager
def _hog(path: Path) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=_write_for_ever, args=(path,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _write_for_ever(path: Path) -> None:
    block = os.urandom(HOG_BYTES)
    with (path / "hog").open("wb", buffering=0) as file:
        while True:
            file.seek(0)
            for _ in range(16):
                file.write(block)
            os.fsync(file.fileno())


# -- backlog ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backlog:
    """Seconds, records/s and MiB."""

    mib: int
    records: int
    first_seconds: float
    watched_seconds: float
    delivered: int
    per_second: float
    anonymous_before_mib: float
    anonymous_peak_mib: float
    load_average: float
    python: str


def measure_backlog(path: Path, mib: int) -> Backlog:
    """Leave a journal behind, start a collector on it, and watch."""
    child = multiprocessing.get_context("spawn").Process(target=_leave_behind, args=(path, mib))
    child.start()
    child.join()
    records = int((path / "records").read_text(encoding="ascii"))
    with EmbeddedBroker() as broker:
        consumer = _at_end(broker.bootstrap_servers)
        with KafkaCollector(broker.bootstrap_servers):
            pass  # what is loaded on first use is no part of what a backlog costs
        before = _anonymous_mib()
        start = time.perf_counter()
        collector = KafkaCollector(broker.bootstrap_servers, journal=path / "journal", journal_bytes=4 << 30)
        while consumer.poll(0.01) is None:
            if time.perf_counter() - start > 60:  # noqa: PLR2004 - seconds
                raise SystemExit("nothing of the backlog arrived within a minute")
        first = time.perf_counter() - start
        consumer.close()
        peak, delivered = _watch(collector, start)
        watched = time.perf_counter() - start
        with contextlib.suppress(Exception):  # what is left is not needed any more
            collector.close(0)
    return Backlog(
        mib=mib,
        records=records,
        first_seconds=first,
        watched_seconds=watched,
        delivered=delivered,
        per_second=delivered / watched,
        anonymous_before_mib=before,
        anonymous_peak_mib=peak,
        load_average=os.getloadavg()[0],
        python=platform.python_version(),
    )


def _leave_behind(path: Path, mib: int) -> None:
    """A process that writes a journal of so many MiB and is gone without closing it."""
    collector = JournalCollector(path / "journal", journal_bytes=4 << 30, sync="never")
    audit = AuditEmitter(collector, session_id="s-1", agent_id="planner", on_error="raise")
    directory = path / "journal" / collector.stream_id
    count = 0
    while sum(file.stat().st_size for file in directory.glob("*.seg")) < mib << 20:
        emit_events(audit, 2_000)
        count += 2_000
    (path / "records").write_text(str(count), encoding="ascii")
    os._exit(0)


def _at_end(bootstrap: str) -> Consumer:
    topic = topic_name("audit", "turn_start")
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "benchmark", "log_level": 0})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(6)])
    return consumer


def _watch(collector: KafkaCollector, start: float) -> tuple[float, int]:
    """The highest anonymous memory, and how many of the backlog's records were delivered, in 30 s at most."""
    peak, delivered = 0.0, 0
    while time.perf_counter() - start < 30:  # noqa: PLR2004 - seconds
        peak = max(peak, _anonymous_mib())
        delivered = collector.health().adopted_delivered
        if not collector.health().orphans and delivered:
            break
        time.sleep(0.1)
    return peak, delivered


def _anonymous_mib() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


# -- the command ------------------------------------------------------------------------------------------


def report(figures: Cpu | Latencies | Backlog) -> str:
    """The figures for people."""
    end = f"Python {figures.python}, load average {figures.load_average:.1f}"
    if isinstance(figures, Cpu):
        rows = [
            f"{name:<24} {spread!s:<26} us/event  {figures.ratios[name]} times {MEMORY}"
            for name, spread in figures.us_per_event.items()
        ]
        return "\n".join([f"{figures.rounds} rounds of {figures.events:,} events, {end}", *rows])
    if isinstance(figures, Latencies):
        head = (
            f"{figures.rounds} rounds at {RATE:,} events/s{', with a disk hog' if figures.hog else ''}, {end}"
        )
        rows = [
            f"{name:<24} median {figures.median_us[name].median:6.1f}  p99 {figures.p99_us[name]!s:<28} "
            f"p99.9 {figures.p999_us[name].median:8.1f}  max {figures.max_us[name]:9.1f} us  "
            f"p99 {figures.p99_ratios[name]} times the control's"
            for name in figures.p99_us
        ]
        return "\n".join([head, *rows])
    f = figures
    peak = f"{f.anonymous_before_mib:.1f} MiB before, at most {f.anonymous_peak_mib:.1f} MiB meanwhile"
    return "\n".join(
        [
            f"a backlog of {f.mib:,} MiB, {f.records:,} records, {end}",
            f"first record at the broker   {f.first_seconds:.2f} s after the start",
            f"delivered                    {f.delivered:,} at {f.per_second:,.0f}/s",
            f"anonymous memory             {peak}",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.durable", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("what", choices=("cpu", "latency", "backlog"))
    parser.add_argument("--rounds", type=int, default=0, help="how many (default: 15, or 9 of latency)")
    parser.add_argument("--events", type=int, default=20_000, help="in a round, of each variant")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each variant in a round of latency")
    parser.add_argument("--hog", action="store_true", help="keep the disk busy meanwhile")
    parser.add_argument("--mib", type=int, default=1024, help="the backlog's size")
    parser.add_argument("--path", type=Path, help="a directory on the disk to be measured")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args(arguments)
    path = Path(tempfile.mkdtemp(prefix="auditwire-", dir=options.path))
    try:
        figures: Cpu | Latencies | Backlog
        if options.what == "cpu":
            figures = measure_cpu(path, options.rounds or 15, options.events)
        elif options.what == "latency":
            figures = measure_latency(path, options.rounds or 9, options.seconds, hog=options.hog)
        else:
            figures = measure_backlog(path, options.mib)
    finally:
        shutil.rmtree(path, ignore_errors=True)
    print(json.dumps(asdict(figures)) if options.json else report(figures))  # noqa: T201 - a command's output
    return 0


if __name__ == "__main__":
    sys.exit(main())
