"""What a variant is, and what the ones that use a Producer by themselves have in common."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from benchmarks.workload import emit_fields, session_ids

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

__all__ = [
    "FINISH_SECONDS",
    "PRODUCER",
    "Job",
    "NotDeliveredError",
    "ProducerVariant",
    "Variant",
    "headers_of",
]

FINISH_SECONDS = 300.0
POLL_EVERY = 256

PRODUCER: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "message.timeout.ms": 0,
    "linger.ms": 5,
    "compression.type": "zstd",
    "queue.buffering.max.messages": 20_000,
    "queue.buffering.max.kbytes": 32_768,
    "partitioner": "murmur2_random",
}
"""What every librdkafka producer is set to, ours too, so that all ask the same of the broker."""


class NotDeliveredError(RuntimeError):
    """A variant did not bring all of its events to the broker, so that its figures mean nothing."""


@dataclass(frozen=True)
class Job:
    """What one process measures.

    Attributes:
        variant: One of :data:`benchmarks.variants.VARIANTS`.
        bootstrap: ``host:port`` of the broker.
        prefix: Of the topics, which exist.
        path: A directory of this process's own.
        events: How many each thread writes.
        warm_up: How many are written before, by the first thread.
        threads: How many threads write.
        sessions: How many sessions each thread writes to.
        size: About how large each body is, bytes; None for the usual turns.
    """

    variant: str
    bootstrap: str
    prefix: str
    path: str
    events: int
    warm_up: int = 400
    threads: int = 1
    sessions: int = 1
    size: int | None = None

    def sessions_of(self, thread: int) -> list[str]:
        """The sessions of one thread."""
        return session_ids(self.sessions * self.threads)[thread :: self.threads]


class Variant(ABC):
    """One way of getting events to the broker. Made, warmed up, measured once and closed, in this order."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @abstractmethod
    def emit(self, count: int, thread: int = 0) -> None:
        """Write so many events; on the thread of this number."""

    @abstractmethod
    def finish(self) -> None:
        """Return when the broker has acknowledged all of them."""

    @abstractmethod
    def acknowledged(self) -> int:
        """How many the broker acknowledged, those of the warm-up too. Asked once, at the end."""

    def other_cpu(self) -> float:
        """Seconds of CPU that another process has spent on the job so far."""
        return 0.0

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of what was opened."""


def headers_of(event_id: str, event_type: str, source: bytes) -> list[tuple[str, str | bytes | None]]:
    """The headers of a record as auditwire writes them, written by hand."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source),
        ("ce_type", b"auditwire." + event_type.encode()),
        ("content-type", b"application/avro"),
    ]


class ProducerVariant(Variant):
    """Events by a confluent-kafka Producer, with a delivery callback that counts."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.producer = Producer({"bootstrap.servers": job.bootstrap, **PRODUCER})
        self.topics = {
            event_type: f"{job.prefix}.{event_type.replace('_', '-')}"
            for event_type in ("turn_start", "tool_call_attempt", "tool_call_complete", "turn_end")
        }
        self.sessions = [job.sessions_of(thread) for thread in range(job.threads)]
        self._acknowledged = itertools.count()
        self._failed: list[str] = []

    def on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        """Count it; counting is one step of the interpreter, whichever thread polls."""
        if error is not None:
            self._failed.append(str(error))
        else:
            next(self._acknowledged)

    def produce(
        self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, str | bytes | None]]
    ) -> None:
        """Hand it over; when the queue is full, wait until there is room."""
        while True:
            try:
                self.producer.produce(topic, value, key, on_delivery=self.on_delivery, headers=headers)
            except BufferError:  # noqa: PERF203 - as everybody writes it
                self.producer.poll(0.01)
            else:
                self.producer.poll(0)
                return

    def send(self, session: str, event_type: str, fields: dict[str, Any]) -> None:
        """Write one event."""
        raise NotImplementedError

    def emit(self, count: int, thread: int = 0) -> None:
        """See the base class."""
        emit_fields(self.send, self.sessions[thread], count, self.job.size)

    def finish(self) -> None:
        """See the base class."""
        if left := self.producer.flush(FINISH_SECONDS):
            raise NotDeliveredError(f"{left} records were not acknowledged within {FINISH_SECONDS:g} s")

    def acknowledged(self) -> int:
        """See the base class."""
        if self._failed:
            raise NotDeliveredError(f"{len(self._failed)} records failed, the first with: {self._failed[0]}")
        return next(self._acknowledged)
