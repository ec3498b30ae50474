"""What a reader hands out: a decoded record, the message that could not be decoded, and what was missing."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from hashlib import sha256
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Literal, Protocol

from auditwire.stream import type_key
from auditwire.wire.framing import HEADER_BYTES

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from auditwire.events import AuditEvent
    from auditwire.wire import Decoded

__all__ = ["ClientMessage", "Gap", "Message", "Place", "Progress", "Record", "headers_of", "record_from"]

Place = tuple[str, int]
"""A topic's name and the number of a partition."""

NO_TIMESTAMP = -1
_NOT_AVAILABLE = 0  # confluent_kafka.TIMESTAMP_NOT_AVAILABLE, which is not imported for its price


class ClientMessage(Protocol):
    """A message as the Kafka client gives it: ``confluent_kafka.Message``, as far as it is used here."""

    def __len__(self) -> int:
        """Bytes of the value; 0 for a tombstone."""

    def value(self) -> bytes | None:
        """The value; None is a tombstone."""

    def key(self) -> bytes | None:
        """The key."""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """The headers, None when there are none; raises when a header's name is not UTF-8."""

    def topic(self) -> str:
        """The topic."""

    def partition(self) -> int:
        """The partition."""

    def offset(self) -> int:
        """The offset."""

    def timestamp(self) -> tuple[int, int]:
        """Kind of the timestamp, and milliseconds since the Unix epoch."""


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

    @classmethod
    def of(cls, message: ClientMessage, undecodable: Counter[str]) -> Message:
        """The client's message as plain values; unreadable headers are counted and left out."""
        return cls(
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            timestamp_ms=timestamp_of(message),
            key=message.key(),
            headers=headers_of(message, undecodable),
            value=message.value(),
        )


# The client may return and leave an error behind. Python's specialised instructions do not look for that, and
# the error would come out of whatever is called next; a call from C does look.
_ask_headers: Callable[[ClientMessage], list[tuple[str, bytes | None]] | None] = methodcaller("headers")


def timestamp_of(message: ClientMessage) -> int:
    """Kafka's timestamp of a message, milliseconds since the Unix epoch; -1 when it has none."""
    kind, timestamp = message.timestamp()
    return NO_TIMESTAMP if kind == _NOT_AVAILABLE else timestamp


def headers_of(message: ClientMessage, undecodable: Counter[str]) -> list[tuple[str, bytes | None]]:
    """A message's headers; none, and ``headers`` counted, when the client cannot read them."""
    try:
        return _ask_headers(message) or []
    except (SystemError, UnicodeDecodeError):  # a header's name that is not UTF-8; which one, depends on
        undecodable["headers"] += 1  # the client's version
        return []


@dataclass(slots=True, kw_only=True)
class Record:
    """An event as it was read from Kafka, with its place in its stream and on the broker.

    A reader takes what few callers look at (place, timestamp, key, headers, digest) from the client's message
    when it is first asked for.

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
        headers: The message's headers in their order; a value may be null. Empty when the client cannot read
            them.
        digest: SHA-256 of ``body``, 32 bytes: what checkpoints list.
        fingerprint: CRC-64-AVRO of the schema it was written with, 8 bytes, little-endian.
        framing: ``single-object`` or ``confluent``.
        body: The Avro body without framing.
        value: The message's value, framing included; empty in a record that no reader made.
        late: True when a reader that keeps the order had given it up, or begun behind it, before it came.
        misplaced: True when it lies on the topic of another event type than its own. No sender of ours puts
            it there.
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
    value: bytes = b""
    late: bool = False
    misplaced: bool = False
    _message: ClientMessage = field(init=False, repr=False, compare=False)
    _undecodable: Counter[str] = field(init=False, repr=False, compare=False)

    if not TYPE_CHECKING:  # or every misspelt name would be an attribute of any type

        def __getattr__(self, name: str) -> Any:
            """What ``record_from`` left out; called for a slot that holds nothing, and not again for it."""
            read = _LAZY.get(name)
            if read is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = read(self)
            setattr(self, name, value)
            return value

    def __getstate__(self) -> tuple[Any, ...]:
        """For pickle and copy: the client's message can be neither."""
        return tuple(getattr(self, name) for name in _NAMES)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(_NAMES, state, strict=True):
            setattr(self, name, value)

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
            "late": self.late,
            "misplaced": self.misplaced,
        }


_NAMES = tuple(f.name for f in fields(Record) if f.init)

_LAZY = {
    "topic": lambda record: record._message.topic(),  # noqa: SLF001 - its own class
    "partition": lambda record: record._message.partition(),  # noqa: SLF001
    "offset": lambda record: record._message.offset(),  # noqa: SLF001
    "timestamp_ms": lambda record: timestamp_of(record._message),  # noqa: SLF001
    "key": lambda record: record._message.key(),  # noqa: SLF001
    "headers": lambda record: headers_of(record._message, record._undecodable),  # noqa: SLF001
    "value": lambda record: record._message.value(),  # noqa: SLF001
    "body": lambda record: record.value[HEADER_BYTES[record.framing] :],
    "digest": lambda record: sha256(record.body).digest(),
}

_blank = Record.__new__


def record_from(message: ClientMessage, found: Decoded | Record, undecodable: Counter[str]) -> Record:
    """The record in a client's message.

    Args:
        message: The message.
        found: What its value holds; a record that ``decode`` has made of it is completed.
        undecodable: Gets ``headers`` counted when the record's headers are asked for and cannot be read.
    """
    if isinstance(found, Record):
        record = found
        record.misplaced = False
    else:
        record = _blank(Record)
        record.event = found.event
        record.stream_id = found.stream_id
        record.sequence = found.sequence
        record.framing = found.framing
        record.fingerprint = found.fingerprint
        record.misplaced = found.misplaced
    record.late = False
    record._message = message  # noqa: SLF001 - its constructor, without 13 keywords for each record
    record._undecodable = undecodable  # noqa: SLF001
    return record


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers of a stream that a reader waited for and gave up.

    No verdict: what is missing may still come (as records with ``late``), or may have been removed by
    retention. The verdict is the verification's.

    Attributes:
        stream_id: The stream.
        first: The first sequence that did not come.
        last: The last one.
        waited_s: Seconds that a following reader waited; 0.0 for one that reads to an end.
        reason: ``time``: it did not come within ``gap_seconds``; ``memory``: no more could be held back for
            it; ``end``: everything was read and it was not there.
    """

    stream_id: str
    first: int
    last: int
    waited_s: float
    reason: Literal["time", "memory", "end"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a reader has come.

    Attributes:
        done: Offsets that were read and whose records were handed out or passed over.
        total: Offsets there are to read; None while the reader follows.
        timestamp_ms: Kafka's timestamp that was reached, milliseconds since the Unix epoch; -1 before the
            first record.
    """

    done: int
    total: int | None
    timestamp_ms: int
