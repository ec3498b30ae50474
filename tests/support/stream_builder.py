"""Honest streams of records for tests, encoded, numbered, hashed and listed by the code the sender uses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from auditwire.events import AuditEvent, CheckpointEvent, RecoveryEvent, TurnStartEvent
from auditwire.reading import Record
from auditwire.stream import Ledger, pack_entry, type_key
from auditwire.wire import (
    FastavroEncoder,
    decode,
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
    from collections.abc import Iterable, Sequence

    from auditwire.stream import Reason

STREAM = "01920000-0000-7000-8000-000000000001"
OPENED_US = 1_700_000_000_000_000

_encoder = FastavroEncoder()


def record_of(
    event: AuditEvent, sequence: int, stream_id: str = STREAM, *, framing: str = "single-object"
) -> Record:
    """The event as it comes back from the broker, with this number, on a partition of its own topic."""
    head, tail, event = _encoder.encode_fitted(event, stream_id)
    body = join_body(head, sequence, tail)
    fingerprint = schema_for(event.event_type).fingerprint
    value = frame_single_object(fingerprint, body) if framing == "single-object" else frame_confluent(7, body)
    found = decode(value)
    trace = traceparent(event.trace_id, event.span_id)
    return Record(
        event=found.event,
        stream_id=found.stream_id,
        sequence=found.sequence,
        topic=topic_name("audit", event.event_type),
        partition=sequence % 6,
        offset=100 + sequence,
        timestamp_ms=event.timestamp_us // 1_000,
        key=(event.session_id or stream_id).encode(),
        headers=[*headers(event.event_id, event.event_type, source("svc", stream_id), trace)],
        digest=found.digest,
        fingerprint=found.fingerprint,
        framing=found.framing,
        body=found.body,
    )


def rewritten(record: Record, **changes: object) -> Record:
    """The same record with fields of its event changed, at the same place; it hashes to something else."""
    event = decode(frame_single_object(record.fingerprint, record.body)).event
    for name, value in changes.items():
        setattr(event, name, value)
    other = record_of(event, record.sequence, record.stream_id)
    return replace(record, event=other.event, body=other.body, digest=other.digest)


class StreamBuilder:
    """A stream under construction; ``records`` is what the broker would have of it.

    Args:
        stream_id: Its id.
        framing: Of every record.
        opened: False leaves out the opening checkpoint.
        previous: What the opening checkpoint names.
    """

    def __init__(
        self,
        stream_id: str = STREAM,
        *,
        framing: str = "single-object",
        opened: bool = True,
        previous: Sequence[str] = (),
    ) -> None:
        self.stream_id = stream_id
        self.framing = framing
        self.ledger = Ledger(trail="audit", resource='{"service.name":"svc"}', previous=previous)
        self.records: list[Record] = []
        self.now_us = OPENED_US
        if opened:
            self.checkpoint("open", acknowledged=0)

    @property
    def next(self) -> int:
        return len(self.records)

    def add(self, event: AuditEvent) -> Record:
        event.timestamp_us = self.now_us
        self.now_us += 1_000
        record = record_of(event, self.next, self.stream_id, framing=self.framing)
        key = type_key(event.event_type, schema_for(event.event_type).fingerprint)
        self.ledger.add(record.sequence, key, record.digest, 0.0)
        self.records.append(record)
        return record

    def turns(self, count: int) -> StreamBuilder:
        for _ in range(count):
            self.add(TurnStartEvent(session_id=f"s{self.next % 3}", prompt_preview=f"prompt {self.next}"))
        return self

    def checkpoint(self, reason: Reason = "interval", *, acknowledged: int | None = None) -> StreamBuilder:
        """A checkpoint of all so far; by default the broker has everything before it."""
        event = self.ledger.checkpoint(
            reason, acknowledged=self.next if acknowledged is None else acknowledged
        )
        self.ledger.listed(event, 0.0)
        self.add(event)
        return self

    def adopt(
        self,
        orphan: StreamBuilder,
        *,
        first: int,
        last: int,
        without: Iterable[int] = (),
        part: int = 4_000,
        unreadable: Sequence[str] = (),
        machine_restarted: bool = False,
    ) -> StreamBuilder:
        """Recovery records about an orphan of whose journal the records from first to last can be read.

        Args:
            orphan: The stream, as it was written.
            first: The first record that the orphan's checkpoints do not list.
            last: The last one that can be read.
            without: Those between that cannot be read.
            part: So many entries are in one recovery record at most.
            unreadable: The ranges of bytes.
            machine_restarted: As in the record.
        """
        readable = [n for n in range(first, last + 1) if n not in {*without}]
        parts: list[list[int]] = []
        for number in readable:
            if parts and parts[-1][-1] == number - 1 and len(parts[-1]) < part:
                parts[-1].append(number)
            else:
                parts.append([number])
        for numbers in parts or [[]]:
            types = sorted({orphan.records[n].type_key for n in numbers})
            self.add(
                RecoveryEvent(
                    orphan_stream=orphan.stream_id,
                    last_sequence=last,
                    first_sequence=numbers[0] if numbers else 0,
                    entries=[
                        pack_entry(types.index(record.type_key), record.digest)
                        for record in (orphan.records[n] for n in numbers)
                    ],
                    types=types,
                    unreadable=list(unreadable),
                    machine_restarted=machine_restarted,
                )
            )
        return self

    def close(self) -> StreamBuilder:
        return self.checkpoint("close")

    def without(self, *sequences: int) -> list[Record]:
        return [record for record in self.records if record.sequence not in sequences]

    def swapped(self, record: Record) -> list[Record]:
        """The records with this one in the place of that of the same number."""
        return [record if record.sequence == r.sequence else r for r in self.records]


def checkpoints(records: Iterable[Record]) -> list[int]:
    return [record.sequence for record in records if isinstance(record.event, CheckpointEvent)]
