"""Collectors without threads and a broker without a network: emitting, listing, delivering and dying by hand.

What is written comes from the journal, the ledger and the drafter that real collectors use; when it arrives,
and whether, is the test's choice.
"""

from __future__ import annotations

import errno
from hashlib import sha256
from typing import TYPE_CHECKING
from zlib import crc32

from auditwire.delivery.recovered import statements
from auditwire.events import AuditEvent, CheckpointEvent, QuarantineEvent, TurnStartEvent
from auditwire.journal.control import Control
from auditwire.journal.disk import DiskJournal
from auditwire.journal.drafter import Drafter
from auditwire.journal.layout import JournalPath
from auditwire.journal.notes import Notes
from auditwire.journal.reader import StreamReader
from auditwire.stream import CHECKPOINT_SECONDS, Ledger
from auditwire.verification.placement import CLAMP_MS
from auditwire.wire import FastavroEncoder, decode, frame_single_object, headers, source
from support.stored import Stored, as_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditwire.journal.base import Draft, Journal
    from auditwire.journal.base import Record as Journaled
    from auditwire.reading import Record
    from support.simulated_fs import SimulatedFileSystem

__all__ = ["Broker", "Emitter", "adopted", "disk_journal"]

PATH = "/journal"
PARTITIONS = 3
CHECKPOINT = CheckpointEvent.event_type


class Broker:
    """What consumers read: messages in the order of their arrival, and their records by stream and number.

    Args:
        now_us: The time, microseconds since the epoch, for a test that moves it by hand: for the events, and
            for the senders. None: events have the time at which they are made, and Kafka's is the same.
    """

    def __init__(self, now_us: int | None = None) -> None:
        self.now_us = now_us
        self.log: list[Stored] = []
        self.records: dict[tuple[str, int], Record] = {}
        self.duplicates = 0
        self._ends: dict[tuple[str, int], int] = {}

    def take(self, stream_id: str, journaled: Iterable[Journaled]) -> None:
        """Append records to their topics, as one producer sends them."""
        for record in journaled:
            place = record.topic, crc32(record.key or b"") % PARTITIONS
            offset = self._ends.get(place, 0)
            self._ends[place] = offset + 1
            name = source("svc", stream_id)
            oldest = (self.now_us or 0) // 1_000 - CLAMP_MS
            message = Stored(
                topic=place[0],
                partition=place[1],
                offset=offset,
                timestamp_ms=max(record.timestamp_us // 1_000, oldest),
                key=record.key,
                headers=[*headers(record.event_id, record.event_type, name, record.trace)],
                value=frame_single_object(record.fingerprint, record.body),
            )
            self.log.append(message)
            self.duplicates += (stream_id, record.sequence) in self.records
            self.records.setdefault((stream_id, record.sequence), as_record(message))

    def sequences(self, stream_id: str) -> set[int]:
        return {sequence for stream, sequence in self.records if stream == stream_id}


class _Drafter(Drafter):
    """Stamps what is written, control records too, with the broker's time where that is moved by hand.

    Events that are older keep their own time.
    """

    broker: Broker

    def draft(self, event: AuditEvent) -> Draft:
        if self.broker.now_us is not None:
            event.timestamp_us = min(event.timestamp_us, self.broker.now_us)
        return super().draft(event)


class Emitter:
    """A collector without threads: it emits, digests, lists, and sends what the test lets arrive.

    Args:
        journal: Where it accepts.
        stream_id: Its stream.
        broker: Where it sends.
        previous: What its opening checkpoint names.
        parent: The stream of the process that it was forked from.
    """

    def __init__(
        self,
        journal: Journal,
        stream_id: str,
        broker: Broker,
        *,
        previous: Sequence[str] = (),
        parent: str | None = None,
    ) -> None:
        self.journal = journal
        self.stream_id = stream_id
        self.broker = broker
        self.taken: list[Journaled] = []
        self.listings: list[tuple[int, int]] = []
        self.now = 0.0
        self.drafter = _Drafter(stream_id, FastavroEncoder(), "audit")
        self.drafter.broker = broker
        self.control = Control(
            journal,
            self.drafter,
            Ledger(trail="audit", previous=previous, parent_stream=parent),
            Notes(),
            acknowledged=lambda: self.acknowledged,
            on_checkpoint=lambda sequence, below: self.listings.append((sequence, below)),
        )
        self.withheld: dict[int, int] = {}
        """Sequence of a quarantine record -> sequence of the record that it stands for."""
        self._acknowledged = 0
        self.step()

    @property
    def acknowledged(self) -> int:
        while self._is_done(self._acknowledged):
            self._acknowledged += 1
        return self._acknowledged

    def _is_done(self, sequence: int) -> bool:
        records = self.broker.records
        stands_for = {of: at for at, of in self.withheld.items()}
        return (self.stream_id, stands_for.get(sequence, sequence)) in records

    @property
    def on_the_way(self) -> list[int]:
        """The sequences that have not arrived."""
        records, withheld = self.broker.records, {*self.withheld.values()}
        return [
            record.sequence
            for record in self.taken
            if (self.stream_id, record.sequence) not in records and record.sequence not in withheld
        ]

    def emit(self, count: int) -> None:
        for number in range(count):
            self.accept(TurnStartEvent(session_id="s1", prompt_preview="x" * (number * 700 % 5_000)))
        self.step()

    def accept(self, event: AuditEvent) -> None:
        self.journal.append(self.drafter.draft(event))

    def append(self, statement: AuditEvent) -> None:
        """Write a control record."""
        assert self.control.append(statement) is not None
        self.step()

    def withhold(self, record: Journaled) -> None:
        """The broker refuses a record for good."""
        self.append(
            QuarantineEvent(
                quarantined_stream=self.stream_id,
                quarantined_sequence=record.sequence,
                quarantined_digest=sha256(record.body).hexdigest(),
                quarantined_type=record.event_type,
                topic=record.topic,
                size=len(record.body),
                reason="MSG_SIZE_TOO_LARGE",
            )
        )
        at = next(r.sequence for r in reversed(self.taken) if r.event_type == QuarantineEvent.event_type)
        self.withheld[at] = record.sequence

    def step(self) -> None:
        self.control.step(self.now)
        taken = self.journal.take(10_000)
        self.control.digest(taken, self.now)
        self.taken += taken

    def checkpoint(self) -> None:
        self.now += 10 * CHECKPOINT_SECONDS
        self.step()

    def arrive(self, sequences: Iterable[int]) -> None:
        """These are acknowledged; what is delivered and listed may go."""
        self.broker.take(self.stream_id, (self.taken[n] for n in sequences))
        records = self.broker.records
        listed = max((below for at, below in self.listings if (self.stream_id, at) in records), default=0)
        self.journal.advance(self.acknowledged, listed)

    def seal(self) -> None:
        """Accept nothing more, and write the closing checkpoint."""
        self.journal.seal()
        self.control.write_last(self.now)
        self.step()

    def close(self) -> None:
        """Seal, and let all arrive."""
        self.seal()
        self.arrive(self.on_the_way)


def disk_journal(fs: SimulatedFileSystem, stream_id: str, *, mapped: bool = True) -> DiskJournal:
    """A journal of 8 MiB on a simulated disk."""
    if not mapped:
        fs.fail("map", errno.ENODEV, "*", times=None)
    return DiskJournal(
        JournalPath(fs, PATH), stream_id, {"stream": stream_id}, capacity=8 << 20, on_full="drop_newest"
    )


def adopted(
    fs: SimulatedFileSystem, orphan: str, adopter: Emitter, *, machine_restarted: bool
) -> dict[int, Journaled]:
    """State in the adopter's stream what can be read of the orphan's journal; its records, to be delivered.

    Those that the broker had when their process ended are among them, as far as the journal still has them.
    """
    directory = JournalPath(fs, PATH).open_stream(orphan)
    reader = StreamReader(fs, directory, live=lambda: False, moves=False, restarted=machine_restarted)
    found: list[Journaled] = []
    while not reader.at_end:
        found += reader.take(100)
    listed = reader.listed
    for record in found:
        if record.event_type == CHECKPOINT:
            checkpoint = decode(frame_single_object(record.fingerprint, record.body)).event
            assert isinstance(checkpoint, CheckpointEvent)
            listed = max(listed, checkpoint.first_sequence + len(checkpoint.entries))
    for statement in statements(
        StreamReader(fs, directory, live=lambda: False, moves=False),
        orphan,
        first=listed,
        last=found[-1].sequence if found else -1,
        unreadable=[f"{damage.segment}:{damage.start}-{damage.end}" for damage in reader.unreadable],
        machine_restarted=machine_restarted,
    ):
        if statement is not None:
            adopter.append(statement)
    return {record.sequence: record for record in found}
