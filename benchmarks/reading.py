"""Reading a trail back beside a plain consumer, in one run: replay to records, verify, and one session.

::

    python -m benchmarks.reading [--records 1000000] [--rounds 5] [--bootstrap host:9092] [--json]

Without ``--bootstrap`` the broker is the one that the tests would use (``tests/rig``): a container, or else a
local process. A trail of about that many records is written first, by four collectors, in turns of eight
events, twenty turns a session. The writer's clock runs so fast that the trail is that of a whole day. Then
each round runs every variant once, in an order that changes, each in a process of its own:

============== ==============================================================================================
peer           confluent-kafka's consumer, 500 messages at a time, all topics of the trail, and
               ``fastavro.schemaless_reader`` into dictionaries: what one would write by hand
replay         ``Reader``, to the end: records in order, without duplicates, with gaps told
verify         ``verify_trail``
verify, 2 jobs the same in two processes
show           ``auditwire show SESSION --json`` with its range of time, and the verdict on its streams; no
               rate, but seconds
============== ==============================================================================================

Rates are records/s of wall-clock time from the client's making to its end, without the interpreter's start;
CPU is of the whole process with its children, in microseconds a record; memory is the largest process's peak.
The ratio to the peer is that of the same round; medians and quartiles of the rounds are shown.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from auditwire import AuditEmitter, KafkaCollector, Reader
from auditwire.cli.app import run
from auditwire.verification.trail import verify_trail
from auditwire.wire import all_schemas
from benchmarks.million import rig_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PEER = "peer"
TURNS = 20
"""Turns of one session."""

EVENTS = 8
"""Events of one turn: its start and end, and three calls of two events each."""

STREAMS = 4
"""Collectors, which take the sessions in turn."""

HOURS = 24
"""What the trail covers, by the writer's clock."""

FLUSH_SECONDS = 600.0


class Day:
    """A clock that gains a day while the trail is written, and ends about now."""

    def __init__(self, sessions: int) -> None:
        self._span = HOURS * 3_600 * 1_000_000_000
        self._start = time.time_ns() - self._span
        self._step = self._span // (sessions * TURNS * EVENTS)
        self._moments = 0

    def __call__(self) -> int:
        """Nanoseconds since the epoch."""
        return self._start + self._moments * self._step

    def move(self) -> None:
        """By what an event takes."""
        self._moments += 1


def write(bootstrap: str, prefix: str, rest: Sequence[str]) -> str:
    """Write the trail; a session in its middle, and that session's first and last moment in milliseconds."""
    sessions = max(int(rest[0]) // (TURNS * EVENTS), 3)
    clock = time.time_ns = Day(sessions)  # for events, ids and what the sender takes for now
    two_minutes = max(sessions // (HOURS * 30), 1)
    chosen, first, last = "", 0, 0
    with contextlib.ExitStack() as opened:
        collectors = [
            opened.enter_context(KafkaCollector(bootstrap, prefix=prefix, service=f"benchmark-{number}"))
            for number in range(STREAMS)
        ]
        for number in range(sessions):
            session = f"session-{number:06d}"
            begun = clock() // 1_000_000
            write_session(
                AuditEmitter(collectors[number % STREAMS], session_id=session, agent_id="planner"), clock
            )
            if number == sessions // 2:
                chosen, first, last = session, begun, clock() // 1_000_000 + 1
            if number % two_minutes == 0:  # by this clock no sender falls further behind the others
                for collector in collectors:
                    collector.flush(FLUSH_SECONDS)
    return f"{chosen} {first} {last}"


def write_session(audit: AuditEmitter, clock: Day) -> None:
    """Its turns, each of a start and an end, and calls of two events each."""
    for turn in range(TURNS):
        with audit.turn(prompt=f"what is in file {turn} of {audit.session_id}, and who changed it last?"):
            clock.move()
            for call in range((EVENTS - 2) // 2):
                with audit.tool_call(
                    "read_file", args={"path": f"/data/{audit.session_id}/{call}.txt"}
                ) as made:
                    clock.move()
                    made.result = "the first of two hundred characters of a file's text " * 4
                clock.move()
        clock.move()


# -- the variants, each in a process of its own -------------------------------------------------------------


def read_as_peer(bootstrap: str, prefix: str, _: Sequence[str]) -> int:
    """What one writes by hand: dictionaries, in no order, nothing checked."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "benchmark",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    schemas = {schema.fingerprint: schema.parsed for schema in all_schemas()}
    topics = consumer.list_topics(timeout=30).topics
    places = [
        TopicPartition(name, partition, OFFSET_BEGINNING)
        for name, topic in topics.items()
        if name.startswith(f"{prefix}.")
        for partition in topic.partitions
    ]
    consumer.assign(places)
    count, left = 0, len(places)
    while left:
        for message in consumer.consume(500, 1.0):
            error = message.error()
            if error is not None:
                left -= error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - public all the same
                continue
            value = message.value() or b""
            fastavro.schemaless_reader(io.BytesIO(value[10:]), schemas[value[2:10]], None)
            count += 1
    consumer.close()
    return count


def replay(bootstrap: str, prefix: str, _: Sequence[str]) -> int:
    with Reader(bootstrap, prefix=prefix) as reader:
        count = sum(1 for _ in reader)
        if reader.gaps or reader.late or reader.undecodable:
            raise SystemExit(f"gaps {reader.gaps}, late {reader.late}, undecodable {reader.undecodable}")
    return count


def verify(bootstrap: str, prefix: str, rest: Sequence[str]) -> int:
    outcome = verify_trail(bootstrap, prefix=prefix, jobs=int(rest[0]))
    if outcome.exit_status:
        raise SystemExit(f"the trail does not verify: {outcome.to_dict()}")
    return outcome.records


def show(bootstrap: str, prefix: str, rest: Sequence[str]) -> int:
    session, first, last = rest
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())) as told:
        status = run(
            [
                "show",
                session,
                "-b",
                bootstrap,
                "--prefix",
                prefix,
                "--since",
                first,
                "--until",
                last,
                "--json",
            ]
        )
        told.seek(0)
        text = told.read()
    if status:
        raise SystemExit(f"show ended with status {status}")
    return len(text)


WRITE = "write"
VARIANTS: dict[str, tuple[Callable[[str, str, Sequence[str]], int], tuple[str, ...]]] = {
    PEER: (read_as_peer, ()),
    "replay": (replay, ()),
    "verify": (verify, ("1",)),
    "verify, 2 jobs": (verify, ("2",)),
    "show": (show, ()),
}


def work(name: str, bootstrap: str, prefix: str, rest: Sequence[str]) -> None:
    """Run one variant here, and print what it cost as JSON."""
    if name == WRITE:
        print(write(bootstrap, prefix, rest))  # noqa: T201 - for the parent process
        return
    begun = time.perf_counter()
    count = VARIANTS[name][0](bootstrap, prefix, rest)
    seconds = time.perf_counter() - begun
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(  # noqa: T201 - for the parent process
        json.dumps(
            {
                "count": count,
                "seconds": seconds,
                "cpu": sum(usage.ru_utime + usage.ru_stime for usage in used),
                "peak_mib": max(usage.ru_maxrss for usage in used) / 1024,
            }
        )
    )


# -- rounds ------------------------------------------------------------------------------------------------


def measure(
    bootstrap: str, prefix: str, rounds: int, session: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Every variant once a round, in an order that changes."""
    out: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    order = list(VARIANTS)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            rest = session if name == "show" else VARIANTS[name][1]
            out[name].append(json.loads(in_process(name, bootstrap, prefix, *rest)))
    return out


def in_process(name: str, *arguments: str) -> str:
    """What one variant prints in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.reading", "--work", name, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - this very module


def report(found: dict[str, list[dict[str, Any]]], records: int) -> str:
    """The table, as Markdown."""
    lines = [
        "| | records/s | to the peer | quartiles | CPU us | peak MiB |",
        "|-|-|-|-|-|-|",
    ]
    for name, runs in found.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        cpu = statistics.median(run["cpu"] for run in runs) / records * 1e6
        peak = max(run["peak_mib"] for run in runs)
        if name == "show":
            lines.append(f"| show, {seconds:.1f} s | | | | | {peak:.0f} |")
            continue
        ratios = sorted(peer["seconds"] / run["seconds"] for peer, run in zip(found[PEER], runs, strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        cells = name, f"{records / seconds:,.0f}", f"{middle:.2f}", f"{low:.2f}-{high:.2f}", f"{cpu:.1f}"
        lines.append(f"| {' | '.join(cells)} | {peak:.0f} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000, help="about so many are written first")
    parser.add_argument("--rounds", type=int, default=5, help="each variant runs so often")
    parser.add_argument("--bootstrap", help="a broker; by default one is started")
    parser.add_argument("--json", action="store_true", help="all runs as one JSON object")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        name, bootstrap, prefix, *rest = options.work
        work(name, bootstrap, prefix, rest)
        return 0
    given = options.bootstrap, "given"
    with contextlib.nullcontext(given) if options.bootstrap else rig_broker() as (bootstrap, broker):
        prefix = f"reading-{uuid4().hex[:8]}"
        session = in_process(WRITE, bootstrap, prefix, str(options.records)).split()
        found = measure(bootstrap, prefix, options.rounds, session)
    records = found[PEER][0]["count"]
    if any(run["count"] != records for name in (PEER, "replay", "verify") for run in found[name]):
        print("the variants did not read the same number of records", file=sys.stderr)  # noqa: T201
        return 1
    if options.json:
        text = json.dumps({"records": records, "broker": broker, "runs": found})
    else:
        load = os.getloadavg()[0]
        text = f"{records:,} records; broker: {broker}; load average {load:.1f}\n\n{report(found, records)}"
    print(text)  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
