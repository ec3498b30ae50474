"""Checks streams of records for completeness: whether anything is missing, changed, added or out of place.

In come records in any order, out comes one :class:`StreamReport` for each stream. ``auditwire.stream``
specifies what is compared.

This is the first check. It keeps about half a kilobyte for each record until it is done. It does not look at
signatures, at ``previous`` and ``recovery`` statements, nor at what an earlier check saw: whoever rewrites
records *and* checkpoints, cuts off the end of a stream, or deletes a whole stream, is not found out by it.

**Not yet.** A stream's records travel on many partitions. In an honest stream that is being written, a record
may arrive later than records with higher sequences, and later than the checkpoint that lists it. Only a
checkpoint's ``acknowledged`` says what had arrived: an absent record below the highest one is missing, an
absent record above it is awaited.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NamedTuple

from auditwire.events import CheckpointEvent, LossEvent, QuarantineEvent
from auditwire.reading.placement import disagreements, is_antedated
from auditwire.reading.report import Fault, FaultKind, StreamReport
from auditwire.stream import entries_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditwire.reading.record import Record

__all__ = ["check_streams"]


def check_streams(
    records: Iterable[Record], *, topics: Mapping[str, str] | None = None, settled: bool = False
) -> list[StreamReport]:
    """Check every stream that the records belong to.

    All records of a stream are needed, the control records included: what a filter took out is missing here.

    Args:
        records: Records in any order; the same one may come several times.
        topics: Event type -> topic, as given to the collector, for types that are not on ``<prefix>.<type>``.
        settled: True when nothing can be on its way any more: the processes have ended, their journals are
            drained, and the topics were read to their ends after that. What would be awaited is then missing.

    Returns:
        One report for each stream, in the order of the ids, which is the order in which they were opened. No
        records give no reports, and that proves nothing.
    """
    streams: dict[str, _Stream] = {}
    quarantined: dict[str, list[Record]] = {}
    for record in records:
        stream = streams.get(record.stream_id)
        if stream is None:
            stream = streams[record.stream_id] = _Stream(record.stream_id)
        stream.add(record, topics or {})
        if isinstance(record.event, QuarantineEvent):
            # it may stand in another stream: that of whoever adopted an ended process's journal
            quarantined.setdefault(record.event.quarantined_stream, []).append(record)
    return [streams[name].judge(quarantined.get(name, []), settled=settled) for name in sorted(streams)]


class _Place(NamedTuple):
    """What is kept of a record: what it is, and where."""

    digest: bytes
    type_key: str
    topic: str
    partition: int
    offset: int


class _Stream:
    """The records of one stream, and what they say of each other."""

    __slots__ = ("_absent", "_antedated", "_checkpoints", "_conflicts", "_held", "_listed_absent", "_report")

    def __init__(self, stream_id: str) -> None:
        self._report = StreamReport(stream_id=stream_id)
        self._held: dict[int, _Place] = {}
        self._conflicts: dict[int, list[_Place]] = {}
        self._checkpoints: dict[int, CheckpointEvent] = {}
        self._antedated: list[Record] = []
        self._listed_absent: dict[int, bytes] = {}
        self._absent: list[tuple[int, int]] = []

    # -- one record after the other -------------------------------------------------------------------------

    def add(self, record: Record, topics: Mapping[str, str]) -> None:
        place = _Place(
            record.digest, sys.intern(record.type_key), record.topic, record.partition, record.offset
        )
        sequence, event = record.sequence, record.event
        for what, expected, found in disagreements(record, topics):
            message = f"record {sequence}: its {what} is {found}, and should be {expected}"
            self._fault("placement", sequence, message, place, expected, found)
        if 0 <= record.timestamp_ms < event.timestamp_us // 1_000:
            self._antedated.append(record)
        held = self._held.setdefault(sequence, place)
        if held is not place:
            self._repeated(sequence, place)
        elif isinstance(event, CheckpointEvent):
            self._checkpoints[sequence] = event
        elif isinstance(event, LossEvent):
            self._report.declared_lost += event.count
            message = f"record {sequence}: the producer had to refuse {event.count} events: {event.reason}"
            self._fault("declared_loss", sequence, message, place)

    def _repeated(self, sequence: int, place: _Place) -> None:
        variants = [self._held[sequence], *self._conflicts.get(sequence, [])]
        if any(place[:2] == variant[:2] for variant in variants):
            self._report.duplicates += 1
        else:
            self._conflicts.setdefault(sequence, []).append(place)

    def _fault(
        self,
        kind: FaultKind,
        sequence: int,
        message: str,
        place: _Place | None = None,
        expected: str | None = None,
        found: str | None = None,
    ) -> None:
        fault = Fault(kind=kind, sequence=sequence, message=message, expected=expected, found=found)
        if place is not None:
            fault.topic, fault.partition, fault.offset = place[2:]
        self._report.faults.append(fault)

    # -- all of them together -------------------------------------------------------------------------------

    def judge(self, quarantined: list[Record], *, settled: bool) -> StreamReport:
        report, held = self._report, self._held
        report.records = len(held)
        report.first_sequence, report.last_sequence = min(held), max(held)
        report.checkpoints = len(self._checkpoints)
        ordered = sorted(self._checkpoints.items())
        # what a checkpoint says of records after itself cannot be true
        report.acknowledged = max((min(c.acknowledged, n) for n, c in ordered), default=0)
        self._judge_identity(ordered)
        self._judge_conflicts()
        for sequence, checkpoint in ordered:
            self._compare(sequence, checkpoint)
        self._judge_quarantined(quarantined)
        self._judge_absent(settled=settled)
        self._judge_chain(ordered)
        self._judge_end(ordered)
        report.faults.sort(key=lambda fault: (fault.sequence, fault.kind))
        if report.faults:
            report.verdict = "fault"
        elif self._is_complete():
            report.verdict = "complete"
        return report

    def _is_complete(self) -> bool:
        report = self._report
        return (
            report.closed
            and report.first_sequence == 0
            and not (report.missing or report.awaited or report.withheld)
            and report.sealed_to == report.last_sequence - 1
        )

    def _judge_identity(self, ordered: list[tuple[int, CheckpointEvent]]) -> None:
        """The beginning, and whose stream it is."""
        if 0 in self._held and not (self._checkpoints.get(0) and self._checkpoints[0].reason == "open"):
            message = "record 0 is not an opening checkpoint"
            self._fault("opening", 0, message, self._held[0], "checkpoint", self._held[0].type_key)
        for sequence, checkpoint in ordered:
            if checkpoint.reason == "open" and sequence > 0:
                message = f"record {sequence} is an opening checkpoint; only record 0 can be one"
                self._fault("opening", sequence, message, self._held[sequence])
        if ordered:
            first = ordered[0][1]
            self._report.trail = first.trail
            self._report.service = _service(first.resource)
        if 0 in self._checkpoints:
            opened_ms = self._checkpoints[0].timestamp_us // 1_000
            for record in self._antedated:
                if is_antedated(record, opened_ms):
                    self._fault_timestamp(record)

    def _fault_timestamp(self, record: Record) -> None:
        message = (
            f"record {record.sequence}: its Kafka timestamp, {record.timestamp_ms} ms, is earlier than "
            "the event and than the stream"
        )
        expected, found = str(record.event.timestamp_us // 1_000), str(record.timestamp_ms)
        place = _Place(b"", "", record.topic, record.partition, record.offset)
        self._fault("placement", record.sequence, message, place, expected, found)

    def _judge_conflicts(self) -> None:
        for sequence, others in self._conflicts.items():
            first = self._held[sequence]
            for other in others:
                message = (
                    f"record {sequence} is there twice, and not the same: {_where(first)} and {_where(other)}"
                )
                self._fault("conflict", sequence, message, other, first.digest.hex(), other.digest.hex())

    def _compare(self, sequence: int, checkpoint: CheckpointEvent) -> None:
        """Every record that a checkpoint lists with its entry."""
        try:
            for number, type_key, digest in entries_of(checkpoint):
                if number >= sequence:
                    message = f"checkpoint {sequence} lists record {number}, which cannot be before it"
                    self._fault("chain", sequence, message, self._held[sequence])
                    return
                held = self._held.get(number)
                if held is None:
                    self._listed_absent[number] = digest
                elif (digest, type_key) != held[:2] and not self._is_variant(number, digest, type_key):
                    self._changed(number, held, sequence, digest, type_key)
        except ValueError as error:
            message = f"checkpoint {sequence} is malformed: {error}"
            self._fault("chain", sequence, message, self._held[sequence])

    def _is_variant(self, number: int, digest: bytes, type_key: str) -> bool:
        return any((digest, type_key) == other[:2] for other in self._conflicts.get(number, []))

    def _changed(self, number: int, held: _Place, checkpoint: int, digest: bytes, type_key: str) -> None:
        if digest == held.digest:
            message = f"record {number} is of type {held.type_key}, checkpoint {checkpoint} lists {type_key}"
            self._fault("changed", number, message, held, type_key, held.type_key)
        else:
            message = (
                f"record {number} was changed: checkpoint {checkpoint} lists digest {digest.hex()[:16]}..., "
                f"{_where(held)} has {held.digest.hex()[:16]}..."
            )
            self._fault("changed", number, message, held, digest.hex(), held.digest.hex())

    def _judge_quarantined(self, quarantined: list[Record]) -> None:
        numbers = set()
        for record in quarantined:
            event = record.event
            assert isinstance(event, QuarantineEvent)  # noqa: S101 - sorted out by check_streams
            number = event.quarantined_sequence
            listed = self._listed_absent.get(number)
            if listed is not None and event.quarantined_digest != listed.hex():
                message = f"record {number} is quarantined with another digest than a checkpoint lists"
                place = _Place(b"", "", record.topic, record.partition, record.offset)
                self._fault("quarantine", number, message, place, listed.hex(), event.quarantined_digest)
            if number >= 0 and number not in self._held:
                numbers.add(number)
        self._report.withheld = sorted(numbers)

    def _judge_absent(self, *, settled: bool) -> None:
        report = self._report
        before = -1
        taken = sorted({*self._held, *(n for n in report.withheld if n < report.last_sequence)})
        for number in taken:
            if number > before + 1:
                self._absent.append((before + 1, number - 1))
            before = number
        arrived = report.last_sequence if settled else report.acknowledged
        for first, last in self._absent:
            if first < arrived:
                self._missing(first, min(last, arrived - 1), settled=settled)
            if last >= arrived:
                report.awaited.append((max(first, arrived), last))

    def _missing(self, first: int, last: int, *, settled: bool) -> None:
        self._report.missing.append((first, last))
        what = f"record {first} is" if first == last else f"records {first} to {last} are"
        why = "nothing is on its way any more" if settled else "a checkpoint says that the broker had them"
        listed = self._listed_absent.get(first)
        expected = listed.hex() if listed is not None and first == last else None
        self._fault("missing", first, f"{what} missing: {why}", expected=expected)

    def _judge_chain(self, ordered: list[tuple[int, CheckpointEvent]]) -> None:
        """Each checkpoint continues where the one before it ended; one between them may not have come yet."""
        report = self._report
        next_listed, unbroken, previous = 0, True, -1
        for sequence, checkpoint in ordered:
            first = checkpoint.first_sequence
            if first != next_listed:
                unbroken = False
                if first < next_listed or not self._may_come(previous + 1, sequence - 1):
                    message = (
                        f"checkpoint {sequence} lists records from {first} on, but after the one before it "
                        f"{next_listed} is next"
                    )
                    place = self._held[sequence]
                    self._fault("chain", sequence, message, place, str(next_listed), str(first))
            next_listed = first + len(checkpoint.entries)
            previous = sequence
            if unbroken:
                report.sealed_to = next_listed - 1

    def _may_come(self, first: int, last: int) -> bool:
        """True when a record from first to last is awaited or withheld."""
        report = self._report
        return any(a <= last and b >= first for a, b in report.awaited) or any(
            first <= number <= last for number in report.withheld
        )

    def _judge_end(self, ordered: list[tuple[int, CheckpointEvent]]) -> None:
        report = self._report
        closing = [sequence for sequence, checkpoint in ordered if checkpoint.reason == "close"]
        report.closed = bool(closing)
        after = sorted(n for n in self._held if closing and n > closing[0])
        if after:
            message = (
                f"{len(after)} records, from {after[0]} on, come after the closing checkpoint {closing[0]}"
            )
            self._fault("after_close", after[0], message, self._held[after[0]])


def _service(resource: str) -> str | None:
    """``service.name`` of a resource's JSON text."""
    try:
        name = json.loads(resource)["service.name"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _where(place: _Place) -> str:
    return f"{place.topic} [{place.partition}] offset {place.offset}"
