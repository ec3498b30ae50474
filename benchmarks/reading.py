"""Reading a trail back beside other ways, in one run: replay to records and columns, verify, one session.

::

    python -m benchmarks.reading [--records 1000000] [--rounds 5] [--bootstrap host:9092] [--json]
                                [--markdown FILE]

Without ``--bootstrap`` the broker is the one that the tests would use (``tests/rig``): a container, or else a
local process. A trail of about that many records is written first, by four collectors, in turns of eight
events, twenty turns a session. The writer's clock runs so fast that the trail is that of a whole day. Then
each round runs every variant once, in an order that changes, each in a process of its own:

================= ===========================================================================================
peer              confluent-kafka's consumer, 500 messages at a time, all topics of the trail, and
                  ``fastavro.schemaless_reader`` into dictionaries: what one would write by hand
AvroDeserializer  the same consumer, and confluent-kafka's own deserializer, with a registry in memory. Each
                  value gets the header of the Confluent wire format instead of its own first
pyruhvro          the same consumer, and the decoder in Rust: Arrow record batches of up to 10,000 rows of one
                  schema, and no object for a record
replay            ``Reader``, to the end: records in order, without duplicates, with gaps told
replay to dicts   the same, and ``to_dict()`` of each record
replay to Arrow   the same, and pyarrow's record batches of 10,000 rows of one schema, made of the records'
                  fields: what one would write by hand, because auditwire has no export to columns
replay to Parquet these batches in a file for each schema, zstd, in a temporary directory
verify            ``verify_trail``
verify, 2 jobs    the same in two processes
show              ``auditwire show SESSION --json`` with its range of time, and the verdict on its streams; no
                  rate, but seconds
================= ===========================================================================================

Rates are records/s of wall-clock time from the client's making to its end, without imports; CPU is of the
whole process with its children, in microseconds a record; memory is the largest process's peak. The ratio to
the peer is that of the same round; medians and quartiles of the rounds are shown. All have to read the same
number of records, or there are no figures. A variant whose package is not installed is said to be missing:
``pip install -e '.[bench]'`` has all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from auditwire import AuditEmitter, KafkaCollector
from benchmarks.million import rig_broker
from benchmarks.pages import write as write_page
from benchmarks.readers import PEER, SHOW, VARIANTS, load

if TYPE_CHECKING:
    from collections.abc import Sequence

WRITE = "write"
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


# -- one variant, in a process of its own -------------------------------------------------------------------


def work(name: str, bootstrap: str, prefix: str, rest: Sequence[str]) -> None:
    """Run one variant here, and print as JSON what it cost, or which package it lacks."""
    if name == WRITE:
        print(write(bootstrap, prefix, rest))  # noqa: T201 - for the parent process
        return
    try:
        read = load(name)
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name or str(error)}))  # noqa: T201 - as above
        return
    begun = time.perf_counter()
    count = read(bootstrap, prefix, rest)
    seconds = time.perf_counter() - begun
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(  # noqa: T201 - as above
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
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Every variant once a round, in an order that changes; and name -> package of those that lack one."""
    out: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        order = list(out)
        random.shuffle(order)
        for name in order:
            rest = session if name == SHOW else VARIANTS[name].arguments
            run = json.loads(in_process(name, bootstrap, prefix, *rest))
            if "missing" in run:
                missing[name] = run["missing"]
                del out[name]
            else:
                out[name].append(run)
    return out, missing


def in_process(name: str, *arguments: str) -> str:
    """What one variant prints in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.reading", "--work", name, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - this very module


def report(found: dict[str, list[dict[str, Any]]], missing: dict[str, str], records: int) -> str:
    """The table, as Markdown, and what is not in it."""
    lines = [
        "| | records/s | to the peer | quartiles | CPU us | peak MiB |",
        "|-|-|-|-|-|-|",
    ]
    for name, runs in found.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        cpu = statistics.median(run["cpu"] for run in runs) / records * 1e6
        peak = max(run["peak_mib"] for run in runs)
        if name == SHOW:
            lines.append(f"| show, {seconds:.1f} s | | | | | {peak:.0f} |")
            continue
        ratios = sorted(peer["seconds"] / run["seconds"] for peer, run in zip(found[PEER], runs, strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        cells = name, f"{records / seconds:,.0f}", f"{middle:.2f}", f"{low:.2f}-{high:.2f}", f"{cpu:.1f}"
        lines.append(f"| {' | '.join(cells)} | {peak:.0f} |")
    lines += [""] * bool(missing)
    lines += [f"{name}: not measured, {package} is not installed" for name, package in missing.items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000, help="about so many are written first")
    parser.add_argument("--rounds", type=int, default=5, help="each variant runs so often")
    parser.add_argument("--bootstrap", help="a broker; by default one is started")
    parser.add_argument("--json", action="store_true", help="all runs as one JSON object")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="put what is printed into that page too"
    )
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
        found, missing = measure(bootstrap, prefix, options.rounds, session)
    records = found[PEER][0]["count"]
    if any(run["count"] != records for name in found if name != SHOW for run in found[name]):
        print("the variants did not read the same number of records", file=sys.stderr)  # noqa: T201
        return 1
    if options.json:
        text = json.dumps({"records": records, "broker": broker, "runs": found, "missing": missing})
    else:
        busy = os.getloadavg()[0]
        text = f"{records:,} records; broker: {broker}; load average {busy:.1f}\n\n"
        text += report(found, missing, records)
        if options.markdown is not None:
            write_page(options.markdown, {"reading": text})
    print(text)  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
