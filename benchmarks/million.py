"""A million events through one KafkaCollector to a broker: how fast, with how much memory, and are all there.

::

    python -m benchmarks.million [--events 1000000] [--threads 1] [--bootstrap host:9092] [--json]

Without ``--bootstrap`` the broker is the one that the tests would use (``tests/rig``): a container, or else a
local process. What is printed:

================== ==========================================================================================
burst              events/s of emit alone, for the first 40,000 events, which the empty journal takes in
emitted            events/s until the last emit returned; a full journal makes emit wait for the broker
acknowledged       events/s until the broker had acknowledged every one
cpu                microseconds of CPU per event, all threads of the process together
memory             peak resident memory, and how much of it the run added
on the broker      records on the event topics by their end offsets; duplicates are what is beyond the events
idle cpu           seconds of CPU in ten seconds without events afterwards
================== ==========================================================================================

The exit code is 1 when the broker's count is not that of the events.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from confluent_kafka import TopicPartition, libversion
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # not in its __all__

from auditwire import AuditEmitter, KafkaCollector
from auditwire.events import EVENT_TYPES
from auditwire.wire import topic_name

if TYPE_CHECKING:
    from collections.abc import Iterator

BURST = 40_000
"""Events of this benchmark that the journal's 64 MiB hold with room to spare."""

IDLE_SECONDS = 10.0
ANSWER_SECONDS = 30.0
FLUSH_SECONDS = 600.0


@dataclass(frozen=True)
class Figures:
    """What was measured; rates in events/s, memory in MiB, CPU in seconds unless the name says otherwise."""

    events: int
    threads: int
    burst_per_s: float
    emitted_per_s: float
    acknowledged_per_s: float
    seconds: float
    cpu_us_per_event: float
    peak_mib: float
    added_mib: float
    on_broker: int
    duplicates: int
    missing: int
    resent: int
    lost: int
    idle_cpu_s: float
    load_average: float
    python: str
    librdkafka: str
    broker: str

    @property
    def complete(self) -> bool:
        """True when the broker has each event exactly once."""
        return self.on_broker == self.events and not (self.duplicates or self.missing or self.lost)


def emit_events(audit: AuditEmitter, count: int) -> None:
    """Turns of four events, about as large as an agent's are."""
    arguments = json.dumps({"query": "weather in Trondheim tomorrow", "limit": 10, "language": "en"})
    result = "Cloudy with some rain, 4 to 7 degrees, wind from the west. " * 3
    turn = ""
    for number in range(count):
        step = number % 4
        if step == 0:
            turn = audit.emit_turn_start(prompt="What is the weather in Trondheim going to be tomorrow?")
        elif step == 1:
            audit.emit_tool_call_attempt("weather.search", arguments, turn_id=turn)
        elif step == 2:  # noqa: PLR2004 - the third of four
            audit.emit_tool_call_complete("weather.search", "success", 12.5, result, turn_id=turn)
        else:
            audit.emit_turn_end(turn_id=turn, content=result, fc_count=1)


def on_broker(bootstrap: str, prefix: str) -> int:
    """Records on the event topics, by their end offsets."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = admin.list_topics(timeout=ANSWER_SECONDS).topics
    names = [name for name in (topic_name(prefix, event_type) for event_type in EVENT_TYPES) if name in found]
    asked = {
        TopicPartition(name, number): OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for name in names
        for number in found[name].partitions
    }
    return sum(future.result(ANSWER_SECONDS).offset for future in admin.list_offsets(asked).values())


def measure(bootstrap: str, broker: str, events: int, threads: int) -> Figures:
    """Run it once, on topics of its own, which stay."""
    prefix = f"million-{uuid4().hex[:8]}"
    kafka = KafkaCollector(bootstrap, prefix=prefix, full_timeout=FLUSH_SECONDS)
    audit = AuditEmitter(kafka, agent_id="planner", on_error="raise")
    emit_events(audit.for_session("warm-up"), 400)
    kafka.flush()
    warm = kafka.health()
    before_mib, load = _resident_mib(), os.getloadavg()[0]

    burst = min(BURST, events)
    shares = [(events - burst) // threads + (n < (events - burst) % threads) for n in range(threads)]
    workers = [
        threading.Thread(target=emit_events, args=(audit.for_session(f"session-{n}"), share))
        for n, share in enumerate(shares)
    ]
    cpu, start = time.process_time(), time.perf_counter()
    emit_events(audit.for_session("session-0"), burst)
    after_burst = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    emitted = time.perf_counter()
    kafka.flush(FLUSH_SECONDS)
    acknowledged = time.perf_counter()
    cpu = time.process_time() - cpu

    health = kafka.health()
    counted = on_broker(bootstrap, prefix) - warm.delivered
    idle_cpu = time.process_time()
    time.sleep(IDLE_SECONDS)
    idle_cpu = time.process_time() - idle_cpu
    kafka.close()
    peak = _peak_mib()
    return Figures(
        events=events,
        threads=threads,
        burst_per_s=burst / (after_burst - start),
        emitted_per_s=events / (emitted - start),
        acknowledged_per_s=events / (acknowledged - start),
        seconds=acknowledged - start,
        cpu_us_per_event=cpu / events * 1e6,
        peak_mib=peak,
        added_mib=peak - before_mib,
        on_broker=counted,
        duplicates=max(0, counted - events),
        missing=max(0, events - counted),
        resent=health.resent,
        lost=sum(health.lost.values()),
        idle_cpu_s=idle_cpu,
        load_average=load,
        python=platform.python_version(),
        librdkafka=libversion()[0],
        broker=broker,
    )


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _resident_mib() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # not Linux
        return _peak_mib()
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@contextlib.contextmanager
def rig_broker() -> Iterator[tuple[str, str]]:
    """Address and description of the broker that the tests would use.

    Raises:
        SystemExit: There is none.
    """
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from rig import tiers  # type: ignore[import-not-found, attr-defined, unused-ignore]  # noqa: PLC0415 - needs the path above, and only without --bootstrap

    choice = tiers.choose(say=lambda text: print(text, file=sys.stderr))  # noqa: T201 - a command
    if choice.broker is None:
        raise SystemExit(f"no broker: {choice}; name one with --bootstrap")
    try:
        yield choice.broker.bootstrap, str(choice)
    finally:
        choice.broker.stop()


def report(figures: Figures) -> str:
    """The figures for people."""
    f = figures
    return "\n".join(
        (
            f"{f.events:,} events, {f.threads} thread{'s' * (f.threads > 1)}, to {f.broker}",
            f"Python {f.python}, librdkafka {f.librdkafka}, load average before {f.load_average:.1f}",
            f"burst          {f.burst_per_s:>12,.0f} events/s",
            f"emitted        {f.emitted_per_s:>12,.0f} events/s",
            f"acknowledged   {f.acknowledged_per_s:>12,.0f} events/s, all within {f.seconds:.1f} s",
            f"cpu            {f.cpu_us_per_event:>12.1f} us/event",
            f"memory         {f.peak_mib:>12.0f} MiB at its peak, {f.added_mib:.0f} MiB added by the run",
            f"on the broker  {f.on_broker:>12,} records: {f.duplicates} duplicates, {f.missing} missing",
            f"idle cpu       {f.idle_cpu_s:>12.3f} s in {IDLE_SECONDS:g} s",
        )
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.million", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--events", type=int, default=1_000_000, help="how many (default: 1000000)")
    parser.add_argument("--threads", type=int, default=1, help="how many threads emit (default: 1)")
    parser.add_argument(
        "--bootstrap", help="host:port of a broker (default: the one that the tests would use)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args(arguments)
    if options.events < 1 or options.threads < 1:
        parser.error("--events and --threads are 1 or more")
    given = (options.bootstrap, options.bootstrap)
    with contextlib.nullcontext(given) if options.bootstrap else rig_broker() as (bootstrap, broker):
        figures = measure(bootstrap, broker, options.events, options.threads)
    print(json.dumps(asdict(figures)) if options.json else report(figures))  # noqa: T201 - a command's output
    return 0 if figures.complete else 1


if __name__ == "__main__":
    sys.exit(main())
