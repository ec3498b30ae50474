"""Interleaved rounds: every variant once in each, in an order that changes; ratios within a round."""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import sys
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from auditwire import AuditEmitter, KafkaCollector
from auditwire.testing import EmbeddedBroker
from benchmarks.million import rig_broker
from benchmarks.pairing import Spread
from benchmarks.workload import emit_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Place", "broker", "machine", "progress", "ratios", "rounds", "spread", "turned"]

T = TypeVar("T")
QUARTILES_NEED = 2


@dataclass(frozen=True)
class Place:
    """Where records go: ``host:port``, what that is for people, and the topics' prefix."""

    bootstrap: str
    title: str
    prefix: str


def turned(names: Sequence[str], number: int) -> list[str]:
    """The names, beginning with another one in each round."""
    turn = number % len(names)
    return [*names[turn:], *names[:turn]]


def rounds(
    count: int, names: Sequence[str], measure: Callable[[str], T], say: Callable[[str], None]
) -> tuple[list[dict[str, T]], dict[str, str]]:
    """So many rounds, each name -> what was measured; and name -> why it could not be.

    A name whose measurement raises LookupError in the first round is left out from then on.
    """
    left, missing = list(names), dict[str, str]()
    done: list[dict[str, T]] = []
    for number in range(count):
        figures: dict[str, T] = {}
        for name in turned(left, number):
            say(f"round {number + 1} of {count}: {name}")
            try:
                figures[name] = measure(name)
            except LookupError as error:
                missing[name] = str(error)
                left.remove(name)
        done.append({name: figures[name] for name in left})
    return done, missing


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; a single value is all three."""
    if len(values) < QUARTILES_NEED:
        return Spread(values[0], values[0], values[0])
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, lower, upper)


def ratios(
    done: Sequence[Mapping[str, T]], of: str, to: str, value: Callable[[T], float], base: Callable[[T], float]
) -> Spread | None:
    """Of one variant to another, round by round; None when one of them was not measured."""
    found = [value(one[of]) / base(one[to]) for one in done if of in one and to in one and base(one[to])]
    return spread(found) if found else None


@contextlib.contextmanager
def broker(choice: str) -> Iterator[Place]:
    """The broker that is written to.

    Args:
        choice: ``mock``, librdkafka's mock cluster in a process of its own; ``rig``, the broker that the
            tests would use; or ``host:port``. On the last two the topics are made, with a prefix of
            their own, and stay.
    """
    if choice == "mock":
        with warnings.catch_warnings():
            # it keeps 5 MB of a partition, which is what lets it run for so long
            warnings.simplefilter("ignore", RuntimeWarning)
            with EmbeddedBroker() as embedded:
                yield Place(embedded.bootstrap_servers, "librdkafka's mock broker", "audit")
    elif choice == "rig":
        with rig_broker() as (bootstrap, title):
            yield _with_topics(bootstrap, title)
    else:
        yield _with_topics(choice, choice)


def _with_topics(bootstrap: str, title: str) -> Place:
    prefix = f"bench-{uuid4().hex[:8]}"
    with KafkaCollector(bootstrap, prefix=prefix) as collector:
        emit_events([AuditEmitter(collector, on_error="raise")], 4)
        collector.flush()
    return Place(bootstrap, title, prefix)


def machine() -> dict[str, str | float]:
    """What the figures were made on."""
    import confluent_kafka  # noqa: PLC0415 - not loaded by who only reads figures

    return {
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "confluent_kafka": version("confluent-kafka"),
        "cores": os.cpu_count() or 1,
        "processor": _processor(),
        "load_average": os.getloadavg()[0],
    }


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def progress(text: str) -> None:
    """One line on stderr, which the next one replaces on a terminal."""
    end = "\r" if sys.stderr.isatty() else "\n"
    sys.stderr.write(f"\x1b[2K{text}{end}" if end == "\r" else text + end)
    sys.stderr.flush()
