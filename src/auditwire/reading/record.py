"""What a reader hands out: a decoded record, or the message that could not be decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditwire.stream import type_key

if TYPE_CHECKING:
    from auditwire.events import AuditEvent

__all__ = ["Message", "Record"]


@dataclass(slots=True, kw_only=True)
class Message:
    """A Kafka message as it was fetched.

    Attributes:
        topic: Its topic.
        partition: Its partition.
        offset: Its offset.
        timestamp_ms: Kafka's timestamp, milliseconds since the Unix epoch; -1 when the message has none.
        key: Its key, None when it has none.
        headers: Its headers in their order; a value may be null.
        value: Its value; None is a tombstone.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: list[tuple[str, bytes | None]]
    value: bytes | None


@dataclass(slots=True, kw_only=True)
class Record:
    """An event as it was read from Kafka, with its place in its stream and on the broker.

    Attributes:
        event: The event.
        stream_id: The stream it belongs to, UUIDv7 text.
        sequence: Its number in that stream.
        topic: Where it was read from.
        partition: Where it was read from.
        offset: Where it was read from.
        timestamp_ms: Kafka's timestamp, milliseconds since the Unix epoch; -1 when the message has none. The
            event's own time, which may be older, is ``event.timestamp``.
        key: The message's key, None when it has none.
        headers: The message's headers in their order; a value may be null.
        digest: SHA-256 of ``body``, 32 bytes: what checkpoints list.
        fingerprint: CRC-64-AVRO of the schema it was written with, 8 bytes, little-endian.
        framing: ``single-object`` or ``confluent``.
        body: The Avro body without framing.
    """

    event: AuditEvent
    stream_id: str
    sequence: int
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: list[tuple[str, bytes | None]]
    digest: bytes
    fingerprint: bytes
    framing: str
    body: bytes

    @property
    def type_key(self) -> str:
        """``event_type:fingerprint``, as it stands in a checkpoint's ``types``."""
        return type_key(self.event.event_type, self.fingerprint)

    def to_dict(self) -> dict[str, Any]:
        """The record in JSON's own types: the event under ``event``, bytes as text or hex, no body."""
        return {
            "event": self.event.to_dict(),
            "stream_id": self.stream_id,
            "sequence": self.sequence,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp_ms": self.timestamp_ms,
            "key": None if self.key is None else self.key.decode("utf-8", "backslashreplace"),
            "headers": [
                [name, None if value is None else value.decode("utf-8", "backslashreplace")]
                for name, value in self.headers
            ],
            "digest": self.digest.hex(),
            "fingerprint": self.fingerprint.hex(),
            "framing": self.framing,
        }
