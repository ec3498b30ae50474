"""A file of events to a broker, twice: ``python -m benchmarks.ship``.

Makes a file of JSON lines, every second one without ``event_id``, and runs ``auditwire ship`` on it in a
process of its own, then once more.

================== ==========================================================================================
figure             meaning
================== ==========================================================================================
rate               lines per second, from the process's start to its end: acknowledged and checkpointed
cpu                user and system time of the process, all its threads, for each line
peak memory        the process's largest resident set (``VmHWM``: Linux only)
records            on the event topics, by their end offsets
distinct ids       of all records on them, read from the header ``ce_id``
================== ==========================================================================================

The exit code is 1 unless the broker has every line once after the first run and twice after the second, with
the same ids.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition

from auditwire.events import EVENT_TYPES, ToolCallAttemptEvent, ToolCallCompleteEvent
from auditwire.wire import topic_name
from benchmarks.million import ANSWER_SECONDS, on_broker, rig_broker

# ru_maxrss would be this process's if that is larger: Linux hands it on through fork and exec
_CHILD = """
import json, re, sys, time
from auditwire.cli.app import run
status = run()
peak = re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]
print(json.dumps({"cpu": time.process_time(), "peak_kib": int(peak)}))
sys.exit(status)
"""

_START_US = 1_770_000_000_000_000
_RESULT = "Cloudy with some rain, 4 to 7 degrees, wind from the west. " * 3


@dataclass(frozen=True)
class Run:
    """One run of the command, and what the broker has after it."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    records: int
    distinct: int


def write_file(path: Path, lines: int) -> None:
    """Calls of a tool and their results, about as large as an agent's are."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            call = f"call-{number // 2}"
            at = _START_US + number * 1_000
            if number % 2 == 0:
                event = ToolCallAttemptEvent(
                    timestamp_us=at,
                    session_id=f"session-{number // 1_000}",
                    agent_id="planner",
                    tool_name="weather.search",
                    tool_call_id=call,
                    arguments_preview='{"query":"weather in Trondheim tomorrow","limit":10,"language":"en"}',
                )
                file.write(event.to_json() + "\n")
            else:
                fields = ToolCallCompleteEvent(
                    timestamp_us=at,
                    session_id=f"session-{number // 1_000}",
                    agent_id="planner",
                    tool_name="weather.search",
                    tool_call_id=call,
                    duration_ms=12.5,
                    result_preview=_RESULT,
                ).to_dict()
                del fields["event_id"]
                file.write(json.dumps(fields) + "\n")


def distinct_ids(bootstrap: str, prefix: str) -> int:
    """Different ids of the records on the event topics.

    Raises:
        TimeoutError: The broker did not give them in time.
    """
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": prefix, "enable.auto.commit": False})
    known = consumer.list_topics(timeout=ANSWER_SECONDS).topics
    places = [
        TopicPartition(name, number, 0)
        for name in (topic_name(prefix, event_type) for event_type in EVENT_TYPES)
        if name in known
        for number in known[name].partitions
    ]
    left = on_broker(bootstrap, prefix)
    consumer.assign(places)
    ids: set[bytes] = set()
    silent_since = time.monotonic()
    while left:
        messages = [m for m in consumer.consume(5_000, 1.0) if m.error() is None]
        for message in messages:
            headers = dict(message.headers() or [])
            ids.add(bytes(headers["ce_id"]))  # type: ignore[arg-type] # bytes, as auditwire writes them
        left -= len(messages)
        if messages:
            silent_since = time.monotonic()
        elif time.monotonic() - silent_since > ANSWER_SECONDS:
            raise TimeoutError(f"{left} records were not read within {ANSWER_SECONDS:g} s")
    consumer.close()
    return len(ids)


def ship(bootstrap: str, prefix: str, path: Path) -> Run:
    """Ship the file in a process of its own."""
    command = [sys.executable, "-c", _CHILD, "ship", str(path), "--json", "-b", bootstrap, "--prefix", prefix]
    start = time.perf_counter()
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own
    seconds = time.perf_counter() - start
    if ended.returncode:
        raise SystemExit(f"auditwire ship ended with status {ended.returncode}: {ended.stdout}")
    used = json.loads(ended.stdout.splitlines()[-1])
    return Run(
        seconds=seconds,
        cpu_seconds=used["cpu"],
        peak_mib=used["peak_kib"] / 1024,
        records=on_broker(bootstrap, prefix),
        distinct=distinct_ids(bootstrap, prefix),
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ship", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--lines", type=int, default=1_000_000, help="how many (default: 1000000)")
    parser.add_argument(
        "--bootstrap", help="host:port of a broker (default: the one that the tests would use)"
    )
    options = parser.parse_args(arguments)
    given = (options.bootstrap, options.bootstrap)
    with (
        contextlib.nullcontext(given) if options.bootstrap else rig_broker() as (bootstrap, broker),
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder) / "events.jsonl"
        write_file(path, options.lines)
        size = path.stat().st_size
        prefix = f"ship-{uuid4().hex[:8]}"
        load = os.getloadavg()[0]
        runs = [ship(bootstrap, prefix, path) for _ in range(2)]
    lines = options.lines
    say = sys.stdout.write
    say(f"{lines:,} lines, {size / 1e6:,.0f} MB, to {broker}; load average before {load:.1f}\n")
    for name, run in zip(("first run", "second run"), runs, strict=True):
        say(
            f"{name:<11} {lines / run.seconds:>8,.0f} lines/s, {run.seconds:.1f} s; "
            f"{run.cpu_seconds / lines * 1e6:.1f} us CPU/line; peak {run.peak_mib:.0f} MiB; "
            f"on the broker {run.records:,} records, {run.distinct:,} distinct ids\n"
        )
    complete = [(run.records, run.distinct) for run in runs] == [(lines, lines), (2 * lines, lines)]
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
