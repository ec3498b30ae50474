"""What a broker has stored, as messages that can be taken out, changed, put elsewhere and forged.

The seam of the tests of detection: below it lies Kafka, above it everything that reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from auditwire.reading import Record
from auditwire.wire import decode, frame_single_object

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ClientView", "Stored", "as_record", "laid_out", "stored"]


@dataclass(slots=True, kw_only=True)
class Stored:
    """A Kafka message in its partition; what the client would hand out of it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)
    value: bytes | None


class ClientView:
    """A message with the methods of the Kafka client's."""

    def __init__(self, message: Stored) -> None:
        self._message = message

    def __len__(self) -> int:
        return len(self._message.value or b"")

    def value(self) -> bytes | None:
        return self._message.value

    def key(self) -> bytes | None:
        return self._message.key

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._message.headers or None

    def topic(self) -> str:
        return self._message.topic

    def partition(self) -> int:
        return self._message.partition

    def offset(self) -> int:
        return self._message.offset

    def timestamp(self) -> tuple[int, int]:
        return 1, self._message.timestamp_ms


def stored(record: Record) -> Stored:
    """The message that a record came in."""
    return Stored(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        key=record.key,
        headers=list(record.headers),
        value=frame_single_object(record.fingerprint, record.body),
    )


def as_record(message: Stored) -> Record:
    """The record that a reader makes of a message."""
    found = decode(message.value)
    return Record(
        event=found.event,
        stream_id=found.stream_id,
        sequence=found.sequence,
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=message.timestamp_ms,
        key=message.key,
        headers=list(message.headers),
        digest=found.digest,
        fingerprint=found.fingerprint,
        framing=found.framing,
        body=found.body,
    )


def laid_out(messages: Iterable[Stored], prefix: str | None = None) -> list[Stored]:
    """The same messages with offsets as a broker gives them, 0, 1, 2 ... in each partition.

    Args:
        messages: In the order in which they were appended.
        prefix: Puts them on the topics of this prefix instead.
    """
    ends: dict[tuple[str, int], int] = {}
    out = []
    for message in messages:
        topic = message.topic if prefix is None else f"{prefix}.{message.topic.rpartition('.')[2]}"
        place = topic, message.partition
        offset = ends.get(place, 0)
        ends[place] = offset + 1
        out.append(replace(message, topic=topic, offset=offset))
    return out
