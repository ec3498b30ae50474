"""What it costs to read the value of a Kafka record: ``python -m benchmarks.decode``.

::

    python -m benchmarks.decode [--values 3000] [--rounds 15] [--json]

Values of ``tool_call_complete`` of 40 streams and 100 sessions, first without, then with principal, trace and
metadata, are read by each variant in turn, in every round; each round begins with another variant. A figure
is the median of the rounds with its quartiles, in microseconds of this process's CPU time for one value. A
ratio is that of two variants of the same round.

================ =============================================================================================
fastavro         ``fastavro.schemaless_reader`` to a dictionary: what reads these topics without auditwire. It
                 leaves the metadata as text, and neither checks the bytes nor makes an event
decode           ``auditwire.wire.decode``: an event, checked to the last byte, with its metadata as objects
envelope         ``auditwire.wire.envelope``: the fields up to the sequence
interpreter      what ``decode`` did before its code was made from the schema, and does for unusual bytes
AvroDeserializer confluent-kafka's, to a dictionary, with a registry in memory; the value gets the header of
                 the Confluent wire format first (``benchmarks/readers/deserializer.py``)
pyruhvro         in Rust, all values of a round in one call, to the columns of an Arrow record batch: no
                 object for a value
pyruhvro, dicts  the same, and the batch's ``to_pylist``: a dictionary for each value
================ =============================================================================================

What ``decode`` has to reach is fastavro's time divided by its own: 1.8 at least, and 2.5 is aimed at. A
variant whose package is not installed is said to be missing: ``pip install -e '.[bench]'`` has all of them.
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
from benchmarks.readers.consumer import HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SCHEMA = schema_for("tool_call_complete")
PEER = "fastavro"
OURS = "decode"

GATE = 1.8
AIM = 2.5
"""Of fastavro's time to that of ``decode``."""


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
    return fastavro.schemaless_reader(io.BytesIO(value[HEADER:]), SCHEMA.parsed, None)


def interpreter(value: bytes) -> object:
    return interpreting.read(SCHEMA, value, HEADER, "single-object")


def each(read: Callable[[bytes], object]) -> Callable[[Sequence[bytes]], object]:
    """What reads one value, as what reads all of them one by one and keeps none."""

    def read_all(values: Sequence[bytes]) -> None:
        for value in values:
            read(value)

    return read_all


def avro_deserializer() -> Callable[[Sequence[bytes]], object]:
    from benchmarks.readers.deserializer import reader  # noqa: PLC0415 - its package may be missing

    return each(reader())


def pyruhvro() -> Callable[[Sequence[bytes]], object]:
    from benchmarks.readers.ruhvro import batch  # noqa: PLC0415 - as above

    return lambda values: batch([value[HEADER:] for value in values], SCHEMA.text)


def pyruhvro_dicts() -> Callable[[Sequence[bytes]], object]:
    from benchmarks.readers.ruhvro import batch  # noqa: PLC0415 - as above

    return lambda values: batch([value[HEADER:] for value in values], SCHEMA.text).to_pylist()


VARIANTS: dict[str, Callable[[], Callable[[Sequence[bytes]], object]]] = {
    PEER: lambda: each(fastavro_to_dict),
    OURS: lambda: each(decode),
    "envelope": lambda: each(envelope),
    "interpreter": lambda: each(interpreter),
    "AvroDeserializer": avro_deserializer,
    "pyruhvro": pyruhvro,
    "pyruhvro, dicts": pyruhvro_dicts,
}
"""Each makes what reads a round's values."""


def load() -> tuple[dict[str, Callable[[Sequence[bytes]], object]], dict[str, str]]:
    """The variants that can run here; and name -> package of those that lack one."""
    found, missing = {}, {}
    for name, make in VARIANTS.items():
        try:
            found[name] = make()
        except ModuleNotFoundError as error:  # noqa: PERF203 - seven times
            missing[name] = error.name or str(error)
    return found, missing


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


def measure(
    variants: dict[str, Callable[[Sequence[bytes]], object]], values: list[bytes], rounds: int
) -> dict[str, list[float]]:
    """Microseconds for one value, round by round."""
    spent: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants.items())
    for _, read in order:
        read(values[:1])  # the first time is another: schemas are found, code is made
    gc.collect()
    gc.freeze()  # or each collection would walk through what the peers' packages hold, on our time too
    try:
        for turn in range(rounds):
            for name, read in order[turn % len(order) :] + order[: turn % len(order)]:
                gc.collect()
                start = time.process_time()
                read(values)
                spent[name].append((time.process_time() - start) / len(values) * 1e6)
    finally:
        gc.unfreeze()
    return spent


def ratio(spent: dict[str, list[float]], of: str, to: str) -> Cost:
    """One variant's time to another's in the same round."""
    return Cost.of([above / below for above, below in zip(spent[of], spent[to], strict=True)])


def report(size: int, spent: dict[str, list[float]]) -> str:
    """The figures for people."""
    lines = [f"{size} bytes on average, Python {platform.python_version()}, us for one value"]
    for name, costs in spent.items():
        cost = Cost.of(costs)
        spread = f"{cost.median:6.2f} ({cost.lower:.2f} to {cost.upper:.2f})"
        lines.append(f"  {name:17}{spread:26}{ratio(spent, PEER, name).median:6.2f} times fastavro's rate")
    reached = ratio(spent, PEER, OURS)
    lines.append(
        f"  {PEER} / {OURS}: {reached.median:.2f} ({reached.lower:.2f} to {reached.upper:.2f}); "
        f"gate {GATE}: {_met(reached, GATE)}, aim {AIM}: {_met(reached, AIM)}"
    )
    return "\n".join(lines) + "\n"


def _met(reached: Cost, bound: float) -> str:
    return "met" if reached.median >= bound else "not met"


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decode", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--values", type=int, default=3_000, help="values in a round (default 3000)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds (default 15)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.values < 1:
        parser.error("--rounds and --values are 1 or more")
    variants, missing = load()
    figures: dict[str, Any] = {"python": platform.python_version(), "missing": missing}
    for kind in ("plain", "rich"):
        values = values_of(given.values, rich=kind == "rich")
        size = round(statistics.mean(map(len, values)))
        spent = measure(variants, values, given.rounds)
        figures[kind] = {
            "bytes": size,
            "microseconds": {name: asdict(Cost.of(costs)) for name, costs in spent.items()},
            "fastavro_to_decode": asdict(ratio(spent, PEER, OURS)),
        }
        if not given.json:
            sys.stdout.write(report(size, spent))
    if given.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        for name, package in missing.items():
            sys.stdout.write(f"{name}: not measured, {package} is not installed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
