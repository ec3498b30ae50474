"""What an adopter states of an orphaned stream: recovery records, from its files.

``avro/recovery.avsc`` and :mod:`auditwire.verification.statements` say what they mean. The files are read a
second time for this, so that no digest has to be kept in memory while the stream is delivered: between its
last checkpoint and its end there may be as many records as a journal holds.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from auditwire.events import RecoveryEvent
from auditwire.stream import MAX_ENTRIES, MAX_TYPES, pack_entry, type_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditwire.journal import Record
    from auditwire.journal.reader import StreamReader

__all__ = ["statements"]

_BATCH = 512


class _Part:
    """One recovery record being made."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.entries: list[str] = []
        self.types: dict[str, int] = {}

    def takes(self, sequence: int, key: str) -> bool:
        return (
            sequence == self.first + len(self.entries)
            and len(self.entries) < MAX_ENTRIES
            and (key in self.types or len(self.types) < MAX_TYPES)
        )

    def add(self, record: Record, key: str) -> None:
        index = self.types.setdefault(key, len(self.types))
        self.entries.append(pack_entry(index, sha256(record.body).digest()))


def statements(
    reader: StreamReader,
    orphan: str,
    *,
    first: int,
    last: int,
    unreadable: Sequence[str],
    machine_restarted: bool,
) -> Iterator[RecoveryEvent | None]:
    """The recovery records about a stream, in order; None after each stretch of reading in between.

    Args:
        reader: At the beginning of the stream, which nobody writes any more.
        orphan: The stream's id.
        first: The first sequence that no checkpoint of the stream lists.
        last: Its last readable sequence; -1 for none.
        unreadable: ``segment:from-to`` of what could not be read.
        machine_restarted: Whether the machine was restarted since it was written.

    Raises:
        OSError: A file cannot be read now. What follows is lost with it: begin again.
    """

    def event(part: _Part) -> RecoveryEvent:
        return RecoveryEvent(
            orphan_stream=orphan,
            last_sequence=last,
            first_sequence=part.first,
            entries=part.entries,
            types=list(part.types),
            unreadable=list(unreadable),
            machine_restarted=machine_restarted,
        )

    part = _Part(first)
    written = False
    while records := reader.take(_BATCH):
        for record in records:
            if not first <= record.sequence <= last:
                continue
            key = type_key(record.event_type, record.fingerprint)
            if not part.takes(record.sequence, key):
                if part.entries:
                    yield event(part)
                    written = True
                part = _Part(record.sequence)
            part.add(record, key)
        yield None
    if part.entries or not written:
        yield event(part)
