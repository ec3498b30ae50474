"""Topics of a test on librdkafka's mock cluster, what is written to them and how they are read."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from auditwire.events import TurnStartEvent
from auditwire.reading import Reader, Record
from auditwire.wire import frame_confluent, frame_single_object
from support.stream_builder import record_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from faulty_cluster import FaultyCluster

    from auditwire.testing import EmbeddedBroker

SOON = 10.0  # seconds that a condition is waited for
QUICK = {"fetch.wait.max.ms": 20}  # how long the broker holds back the news that there is nothing more

QUIET = logging.getLogger("quiet")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class Topics:
    """A prefix of its own on the shared broker."""

    def __init__(self, server: EmbeddedBroker | FaultyCluster, prefix: str) -> None:
        self.bootstrap = server.bootstrap_servers
        self.prefix = prefix
        self.server = server
        self._producer = Producer({"bootstrap.servers": self.bootstrap}, logger=QUIET)

    def make(self, *event_types: str, partitions: int = 2) -> Topics:
        self.server.create_topics([self.name(t) for t in event_types], partitions=partitions)
        return self

    def name(self, event_type: str) -> str:
        return f"{self.prefix}.{event_type.replace('_', '-')}"

    def produce(self, event_type: str, *values: bytes | None) -> None:
        for value in values:
            self._producer.produce(self.name(event_type), value, partition=0)
        assert self._producer.flush(SOON) == 0

    def write(self, *records: Record) -> None:
        for record in records:
            value = (
                frame_single_object(record.fingerprint, record.body)
                if record.framing == "single-object"
                else frame_confluent(7, record.body)
            )
            topic = self.name(record.event.event_type)
            headers: list[Any] = list(record.headers)
            self._producer.produce(topic, value, record.key, timestamp=record.timestamp_ms, headers=headers)
        assert self._producer.flush(SOON) == 0

    def reader(self, **options: Any) -> Reader:
        options = {"prefix": self.prefix, "timeout": SOON, **options}
        options["config"] = {**QUICK, **options.get("config", {})}
        return Reader(self.bootstrap, **options)

    def read(self, **options: Any) -> list[Record]:
        with self.reader(**options) as reader:
            return sorted(reader, key=lambda record: record.sequence)


def value_of(sequence: int, session_id: str | None = None, preview: str = "") -> bytes:
    record = record_of(TurnStartEvent(session_id=session_id, prompt_preview=preview), sequence)
    return frame_single_object(record.fingerprint, record.body)


def sequences(records: list[Record]) -> list[int]:
    return [record.sequence for record in records]


def eventually(reader: Reader, wanted: Callable[[list[Record]], bool]) -> list[Record]:
    """Poll until what came satisfies the condition."""
    got: list[Record] = []
    deadline = time.monotonic() + SOON
    while not wanted(got):
        assert time.monotonic() < deadline, sequences(got)
        record = reader.poll(0.05)
        if record is not None:
            got.append(record)
    return got
