"""What it costs to read the value of a Kafka record: ``python -m benchmarks.decode``.

::

    python -m benchmarks.decode [--values 3000] [--rounds 15] [--json]

Values of ``tool_call_complete`` of 40 streams and 100 sessions, first without, then with principal, trace and
metadata, are read by each variant in turn, in every round; each round begins with another variant. A figure
is the median of the rounds with its quartiles, in microseconds of this process's CPU time for one value.

=========== ==================================================================================================
fastavro    ``fastavro.schemaless_reader`` to a dictionary: what reads these topics without auditwire. It
            leaves the metadata as text, and neither checks the bytes nor makes an event
decode      ``auditwire.wire.decode``: an event, checked to the last byte, with its metadata as objects
envelope    ``auditwire.wire.envelope``: the fields up to the sequence
interpreter what ``decode`` did before its code was made from the schema, and does for unusual bytes
=========== ==================================================================================================
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import platform
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import fastavro

from auditwire.events import ToolCallCompleteEvent
from auditwire.ids import uuid7
from auditwire.wire import decode, envelope, frame_single_object, join_body, new_encoder, schema_for
from auditwire.wire import interpreter as interpreting

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = schema_for("tool_call_complete")


@dataclass(frozen=True)
class Cost:
    """Median and quartiles of the rounds, microseconds for one value."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: list[float]) -> Cost:
        lower, median, upper = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        return cls(median, lower, upper)


def fastavro_to_dict(value: bytes) -> object:
    return fastavro.schemaless_reader(io.BytesIO(value[10:]), SCHEMA.parsed, None)


def interpreter(value: bytes) -> object:
    return interpreting.read(SCHEMA, value, 10, "single-object")


VARIANTS: dict[str, Callable[[bytes], object]] = {
    "fastavro": fastavro_to_dict,
    "decode": decode,
    "envelope": envelope,
    "interpreter": interpreter,
}


def events_of(count: int, *, rich: bool) -> list[ToolCallCompleteEvent]:
    """Events as a fleet of agents makes them, the same each time but for their ids."""
    pick = random.Random(1)  # noqa: S311 - the same values each time
    sessions = [uuid7() for _ in range(100)]
    out = []
    for _ in range(count):
        more: dict[str, Any] = {}
        if rich:
            more = {
                "principal_id": f"user{pick.randrange(100)}@example.org",
                "principal_type": "user",
                "tenant_id": "acme",
                "trace_id": f"{pick.getrandbits(128):032x}",
                "span_id": f"{pick.getrandbits(64):016x}",
                "metadata": {"attempt": 1, "region": "eu-west-1"},
            }
        event = ToolCallCompleteEvent(
            session_id=pick.choice(sessions),
            turn_id=f"{pick.getrandbits(48):012x}",
            agent_id=pick.choice(["planner", "researcher", "writer"]),
            tool_name=pick.choice(["search_documents", "fetch_url", "run_sql"]),
            duration_ms=pick.random() * 100,
            result_preview="".join(pick.choices("abcdef ", k=pick.randrange(150, 201))),
            result_length=pick.randrange(5_000),
            tool_call_id=f"call_{pick.getrandbits(96):024x}",
            **more,
        )
        out.append(event)
    return out


def values_of(count: int, *, rich: bool) -> list[bytes]:
    """Values of Kafka records of 40 streams."""
    pick = random.Random(2)  # noqa: S311 - as above
    streams = [uuid7() for _ in range(40)]
    encoder = new_encoder()
    out = []
    for event in events_of(count, rich=rich):
        head, tail = encoder.encode(event, pick.choice(streams))
        out.append(frame_single_object(SCHEMA.fingerprint, join_body(head, pick.randrange(2_000_000), tail)))
    return out


def measure(values: list[bytes], rounds: int) -> dict[str, Cost]:
    """Each variant's cost."""
    spent: dict[str, list[float]] = {name: [] for name in VARIANTS}
    order = list(VARIANTS.items())
    for _, read in order:
        read(values[0])  # the first time is another: schemas are found, code is made
    for turn in range(rounds):
        for name, read in order[turn % len(order) :] + order[: turn % len(order)]:
            gc.collect()
            start = time.process_time()
            for value in values:
                read(value)
            spent[name].append((time.process_time() - start) / len(values) * 1e6)
    return {name: Cost.of(costs) for name, costs in spent.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__.split("\n")[0])
    parser.add_argument("--values", type=int, default=3_000, help="values in a round (default 3000)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds (default 15)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    figures: dict[str, dict[str, Any]] = {}
    for rich in (False, True):
        values = values_of(given.values, rich=rich)
        size = round(statistics.mean(map(len, values)))
        costs = measure(values, given.rounds)
        figures["rich" if rich else "plain"] = {
            "bytes": size,
            "microseconds": {name: asdict(cost) for name, cost in costs.items()},
        }
        if not given.json:
            sys.stdout.write(
                f"{size} bytes on average, Python {platform.python_version()}, us for one value\n"
            )
            for name, cost in costs.items():
                times = costs["fastavro"].median / cost.median
                spread = f"{cost.median:6.2f} ({cost.lower:.2f} to {cost.upper:.2f})"
                sys.stdout.write(f"  {name:12}{spread:26}{times:5.2f} times fastavro's rate\n")
    if given.json:
        sys.stdout.write(json.dumps({"python": platform.python_version(), **figures}) + "\n")


if __name__ == "__main__":
    main()
