"""The floor: what librdkafka's Python client takes for such records when all of them lie ready.

Values, keys and headers are there before; what is left is a produce() and a delivery callback: no id, no
time, no encoding, no numbering. The records differ as real ones do, so that they compress no better.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from auditwire.ids import uuid7
from benchmarks.variants.base import POLL_EVERY, ProducerVariant, headers_of
from benchmarks.variants.handwritten import record_of, value_of
from benchmarks.workload import emit_fields

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.variants.base import Job

    Headers = list[tuple[str, str | bytes | None]]
    Ready = tuple[str, bytes, bytes, Headers]

__all__ = ["Floor", "Plain"]

_RECORDS, _BYTES = 8_192, 64 << 20
"""How many are made ready at most, unless there are more sessions; a batch of the client holds fewer. They
are sent in turn."""


class Floor(ProducerVariant):
    """See the module."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._stream = uuid7()
        self._source = f"/auditwire/benchmark/{self._stream}".encode()
        self._numbers = itertools.count()
        self._made: list[Ready] = []
        many = min(max(_RECORDS, job.sessions * 4), _BYTES // (job.size or 400), job.events)
        self._ready = [self._make(sessions, many) for sessions in self.sessions]

    def _make(self, sessions: list[str], many: int) -> list[Ready]:
        self._made = []
        emit_fields(self.send, sessions, many, self.job.size)
        return self._made

    def send(self, session: str, event_type: str, fields: dict[str, Any]) -> None:
        """Lay it ready."""
        record = record_of(session, event_type, fields, self._stream, next(self._numbers))
        headers = headers_of(record["event_id"], event_type, self._source)
        value = value_of(event_type, record)
        self._made.append((self.topics[event_type], value, session.encode(), headers))

    def emit(self, count: int, thread: int = 0) -> None:
        """See the base class."""
        produce, poll, done = self.producer.produce, self.producer.poll, self.on_delivery
        for number, (topic, value, key, headers) in enumerate(
            itertools.islice(itertools.cycle(self._ready[thread]), count)
        ):
            while True:
                try:
                    produce(topic, value, key, -1, done, None, 0, headers)
                    break
                except BufferError:
                    poll(0.01)
            if not number % POLL_EVERY:
                poll(0)


class Plain(Floor):
    """Values and keys lie ready; headers are made for each record, and a poll() follows each produce()."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        # the id and type of each, of which its headers are made again
        self._bare = [
            [
                (topic, value, key, _text(headers, "ce_id"), _type_of(headers))
                for topic, value, key, headers in made
            ]
            for made in self._ready
        ]

    def emit(self, count: int, thread: int = 0) -> None:
        """See the base class."""
        produce, source = self.produce, self._source
        for topic, value, key, event_id, event_type in itertools.islice(
            itertools.cycle(self._bare[thread]), count
        ):
            produce(topic, value, key, headers_of(event_id, event_type, source))


def _text(headers: Headers, name: str) -> str:
    value = dict(headers)[name]
    assert isinstance(value, bytes)  # noqa: S101 - as headers_of made it
    return value.decode()


def _type_of(headers: Headers) -> str:
    return _text(headers, "ce_type").partition(".")[2]
