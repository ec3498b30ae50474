"""A process that is there and does nothing, for ``benchmarks.idle``.

::

    python -m benchmarks.standing producer|collector BOOTSTRAP PREFIX SECONDS

It makes a confluent-kafka Producer or a KafkaCollector, has a few hundred records acknowledged, is still for
so many seconds, and prints one JSON object: ``threads``, ``resident_mib``, and ``idle_percent`` of a core.
Nothing is imported that such a process would not import for itself.
"""

from __future__ import annotations

import json
import os
import sys
import time

RECORDS = 400
SETTLE_SECONDS = 1.0
FLUSH_SECONDS = 60.0


def producer(bootstrap: str, prefix: str) -> object:
    """A bare Producer, with the settings that a KafkaCollector gives its own."""
    from confluent_kafka import Producer  # noqa: PLC0415 - the other way loads it when it needs it

    from benchmarks.variants.base import PRODUCER  # noqa: PLC0415 - as above

    made = Producer({"bootstrap.servers": bootstrap, **PRODUCER})
    for _ in range(RECORDS):
        made.produce(f"{prefix}.turn-start", b"v" * 400, b"k", on_delivery=lambda *_: None)
        made.poll(0)
    made.flush(FLUSH_SECONDS)
    return made


def collector(bootstrap: str, prefix: str) -> object:
    """A KafkaCollector as its users make it."""
    from auditwire import AuditEmitter, KafkaCollector  # noqa: PLC0415 - the other way does without

    made = KafkaCollector(bootstrap, prefix=prefix, create_topics=False)
    audit = AuditEmitter(made, session_id="s-1", agent_id="planner", on_error="raise")
    for _ in range(RECORDS):
        audit.emit_turn_start(prompt="v" * 200)
    made.flush(FLUSH_SECONDS)
    return made


def main(what: str, bootstrap: str, prefix: str, seconds: float) -> dict[str, float]:
    """Make it, wait, and tell."""
    kept = {"producer": producer, "collector": collector}[what](bootstrap, prefix)
    time.sleep(SETTLE_SECONDS)
    cpu, start = time.process_time(), time.perf_counter()
    time.sleep(seconds)
    cpu, taken = time.process_time() - cpu, time.perf_counter() - start
    with open("/proc/self/status", encoding="ascii") as lines:  # noqa: PTH123 - a line of the kernel's
        resident = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))
    told = {
        "threads": len(os.listdir("/proc/self/task")),  # noqa: PTH208 - pathlib is not loaded for it
        "resident_mib": resident,
        "idle_percent": cpu / taken * 100,
    }
    del kept
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))) + "\n")
