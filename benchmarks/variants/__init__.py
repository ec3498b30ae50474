"""The ways of getting events to Kafka that ``benchmarks.emit`` compares; each is a class in a module here.

In comes a :class:`~benchmarks.variants.base.Job`, out go records on the topics of the broker. A module is
imported by the process that measures it, and by no other: a peer that is not installed is found missing
there, and is said to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.variants.base import Variant

__all__ = ["FLOOR", "NAMES", "VARIANTS", "Entry", "load"]

FLOOR = "floor"


@dataclass(frozen=True)
class Entry:
    """A variant.

    Attributes:
        title: For people.
        where: ``module:class`` in this package.
        ours: Whether it is auditwire.
        share: Of the events of a round, how many this one gets: slow ones fewer.
    """

    title: str
    where: str
    ours: bool = False
    share: float = 1.0


VARIANTS = {
    FLOOR: Entry("floor: produce() of ready records, and callback", "floor:Floor"),
    "producer": Entry("Producer: ready values, headers made for each", "floor:Plain"),
    "memory": Entry("auditwire, journal in memory", "ours:Memory", ours=True),
    "disk": Entry("auditwire, journal on disk", "ours:Disk", ours=True),
    "headerless": Entry("auditwire, journal in memory, no headers", "ours:Headerless", ours=True),
    "blocks": Entry("auditwire, with turn() and tool_call()", "ours:Blocks", ours=True),
    "forwarder": Entry("auditwire, JournalCollector and forwarder", "ours:Forwarded", ours=True),
    "handwritten": Entry("Producer + uuid4 + dict + fastavro, by hand", "handwritten:Handwritten"),
    "serializer": Entry("confluent-kafka's AvroSerializer", "serializer:Serializer"),
    "logging": Entry("logging with a JSON formatter", "jsonlog:JsonLogging", share=0.5),
    "otel": Entry("OpenTelemetry logs SDK, OTLP to Kafka", "otel:OpenTelemetry", share=0.5),
    "aiokafka": Entry("aiokafka + fastavro", "aio:AioKafka", share=0.25),
    "faststream": Entry("FastStream (confluent) + fastavro", "stream:FastStreamed", share=0.25),
}
NAMES = tuple(VARIANTS)


def load(name: str) -> type[Variant]:
    """The class of a variant.

    Raises:
        ModuleNotFoundError: It needs what is not installed; ``name`` says what.
    """
    module, _, cls = VARIANTS[name].where.partition(":")
    found: type[Variant] = getattr(import_module(f"{__name__}.{module}"), cls)
    return found
