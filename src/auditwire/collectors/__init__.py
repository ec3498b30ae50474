"""Where events go: in comes one event at a time, out it goes to a list, a file, Kafka, or several of them.

Importing this package loads no Kafka client; ``KafkaCollector`` is loaded when it is first asked for, and so
is ``JournalCollector``, which needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditwire.collectors.base import AuditCollector
from auditwire.collectors.composite import CompositeCollector
from auditwire.collectors.jsonl import JSONLSinkCollector
from auditwire.collectors.memory import InMemoryCollector
from auditwire.collectors.null import NullCollector

if TYPE_CHECKING:
    from auditwire.collectors.journal import JournalCollector
    from auditwire.collectors.kafka import KafkaCollector

__all__ = [
    "AuditCollector",
    "CompositeCollector",
    "InMemoryCollector",
    "JSONLSinkCollector",
    "JournalCollector",
    "KafkaCollector",
    "NullCollector",
]


def __getattr__(name: str) -> Any:
    if name == "KafkaCollector":
        from auditwire.collectors.kafka import KafkaCollector  # noqa: PLC0415 - loads confluent_kafka

        return KafkaCollector
    if name == "JournalCollector":
        from auditwire.collectors.journal import JournalCollector  # noqa: PLC0415 - not needed elsewhere

        return JournalCollector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
