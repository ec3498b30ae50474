"""Messages for the test vectors: encoded, numbered and listed by the library, with fixed ids and times."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from auditwire.events import AuditEvent, CheckpointEvent, QuarantineEvent, RecoveryEvent, TurnStartEvent
from auditwire.stream import Ledger, pack_entry, type_key
from auditwire.wire import (
    FastavroEncoder,
    frame_confluent,
    frame_single_object,
    headers,
    join_body,
    schema_for,
    source,
    topic_name,
    traceparent,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditwire.stream import Reason

OPENED_US = 1_800_000_000_000_000
HOUR_MS = 3_600_000
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HUGE = 2**62
encoder = FastavroEncoder()


def uuid7(tail: int) -> str:
    """UUIDv7 text of the time at which everything begins here."""
    stamp = f"{OPENED_US // 1_000:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-7000-8000-{tail:012x}"


A, B, C = uuid7(0xA), uuid7(0xB), uuid7(0xC)


@dataclass(frozen=True)
class Message:
    """A Kafka message, and what it holds where that is a record."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None
    event: AuditEvent = field(default_factory=AuditEvent, compare=False)
    stream_id: str = ""
    sequence: int = -1
    type_key: str = ""
    digest: bytes = b""

    def to_json(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp_ms": self.timestamp_ms,
            "key": base64(self.key),
            "headers": [[name, base64(value)] for name, value in self.headers],
            "value": base64(self.value),
        }


def base64(raw: bytes | None) -> str | None:
    return None if raw is None else b64encode(raw).decode("ascii")


def encoded(event: AuditEvent, stream_id: str, sequence: int) -> bytes:
    head, tail = encoder.encode(event, stream_id)
    return join_body(head, sequence, tail)


class Messages:
    """All messages of the file by their names: trails share most of them."""

    def __init__(self) -> None:
        self.named: dict[str, Message] = {}
        self._events = 0
        self._offsets: dict[tuple[str, int], int] = {}

    def put(self, name: str, message: Message) -> str:
        assert name not in self.named, name
        self.named[name] = message
        return name

    def record(
        self, name: str, event: AuditEvent, stream_id: str, sequence: int, *, confluent: bool = False
    ) -> str:
        """A record as the sender places it."""
        self._events += 1
        event.event_id = uuid7(0x1_0000 + self._events)
        body = encoded(event, stream_id, sequence)
        fingerprint = schema_for(event.event_type).fingerprint
        topic, partition = topic_name("audit", event.event_type), sequence % 2 if sequence < HUGE else 0
        offset = self._offsets.get((topic, partition), 0)
        self._offsets[topic, partition] = offset + 1
        trace = traceparent(event.trace_id, event.span_id)
        around = headers(event.event_id, event.event_type, source("svc", stream_id), trace)
        value = frame_confluent(7, body) if confluent else frame_single_object(fingerprint, body)
        return self.put(
            name,
            Message(
                topic=topic,
                partition=partition,
                offset=offset,
                timestamp_ms=event.timestamp_us // 1_000,
                key=(event.session_id or stream_id).encode(),
                headers=tuple(around),
                value=value,
                event=event,
                stream_id=stream_id,
                sequence=sequence,
                type_key=type_key(event.event_type, fingerprint),
                digest=sha256(body).digest(),
            ),
        )

    def changed(self, name: str, of: str, **changes: Any) -> str:
        """The message ``of`` with other things around its value."""
        return self.put(name, replace(self.named[of], **changes))

    def edited(self, name: str, of: str, *, sequence: int | None = None, **fields: Any) -> str:
        """The message ``of`` with other fields in its body, at the same place."""
        old = self.named[of]
        event = replace(old.event, **fields)
        body = encoded(event, old.stream_id, old.sequence if sequence is None else sequence)
        value = frame_single_object(schema_for(event.event_type).fingerprint, body)
        return self.put(name, replace(old, value=value, event=event, digest=sha256(body).digest()))


class Stream:
    """A stream under construction.

    Args:
        messages: Where its records go.
        name: Their names begin with it, and end in the sequence.
        stream_id: Its id.
        opened: False leaves out the opening checkpoint.
        confluent: Whether the records have the Confluent framing.
        previous: What the opening checkpoint names.
    """

    def __init__(
        self,
        messages: Messages,
        name: str,
        stream_id: str = A,
        *,
        opened: bool = True,
        confluent: bool = False,
        previous: Sequence[str] = (),
    ) -> None:
        self.messages = messages
        self.name = name
        self.stream_id = stream_id
        self.confluent = confluent
        self.ledger = Ledger(trail="audit", resource='{"service.name":"svc"}', previous=previous)
        self.names: list[str] = []
        if opened:
            self.checkpoint("open", acknowledged=0)

    def __getitem__(self, sequence: int) -> Message:
        return self.messages.named[self.names[sequence]]

    @property
    def next(self) -> int:
        return len(self.names)

    def add(self, event: AuditEvent, *, at_us: int | None = None) -> Stream:
        event.timestamp_us = OPENED_US + 1_000 * self.next if at_us is None else at_us
        name = f"{self.name}{self.next}"
        self.messages.record(name, event, self.stream_id, self.next, confluent=self.confluent)
        record = self.messages.named[name]
        self.ledger.add(self.next, record.type_key, record.digest, 0.0)
        self.names.append(name)
        return self

    def turns(self, count: int) -> Stream:
        for _ in range(count):
            self.add(TurnStartEvent(session_id=f"s{self.next % 3}", prompt_preview=f"prompt {self.next}"))
        return self

    def draft(self, reason: Reason = "interval", *, acknowledged: int | None = None) -> CheckpointEvent:
        """What ``checkpoint`` would add."""
        return self.ledger.checkpoint(
            reason, acknowledged=self.next if acknowledged is None else acknowledged
        )

    def checkpoint(self, reason: Reason = "interval", *, acknowledged: int | None = None) -> Stream:
        event = self.draft(reason, acknowledged=acknowledged)
        self.ledger.listed(event, 0.0)
        return self.add(event)

    def close(self) -> Stream:
        return self.checkpoint("close")

    def adopt(
        self,
        orphan: Stream,
        *parts: tuple[int, int],
        last: int,
        unreadable: Sequence[str] = (),
        restarted: bool = False,
    ) -> Stream:
        """Recovery records about an orphan, each listing its records from first to last."""
        for first, end in parts or ((0, -1),):
            records = [orphan[n] for n in range(first, end + 1)]
            types = sorted({record.type_key for record in records})
            self.add(
                RecoveryEvent(
                    orphan_stream=orphan.stream_id,
                    last_sequence=last,
                    first_sequence=first,
                    entries=[pack_entry(types.index(r.type_key), r.digest) for r in records],
                    types=types,
                    unreadable=list(unreadable),
                    machine_restarted=restarted,
                )
            )
        return self

    def quarantine(self, of: Message, **changes: Any) -> Stream:
        event = QuarantineEvent(
            quarantined_stream=of.stream_id,
            quarantined_sequence=of.sequence,
            quarantined_digest=of.digest.hex(),
            quarantined_type=of.event.event_type,
            topic=of.topic,
            size=len(of.value or b"") - 10,
            reason="MSG_SIZE_TOO_LARGE",
        )
        return self.add(replace(event, **changes))

    def without(self, *sequences: int) -> list[str]:
        return [name for number, name in enumerate(self.names) if number not in sequences]

    def swapped(self, **names: str) -> list[str]:
        """The records, each of the named ones in the place of the one with that sequence (``_3="x"``)."""
        out = list(self.names)
        for number, name in names.items():
            out[int(number[1:])] = name
        return out
