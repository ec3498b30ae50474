"""Checks streams of records for completeness: whether anything is missing, changed, added or out of place.

In come records in any order, out comes one :class:`StreamReport` for each stream. ``auditwire.stream``
specifies what is compared.

This is the first check. It keeps about half a kilobyte for each record until it is done. It does not look at
signatures, nor at what an earlier check saw: whoever rewrites records *and* checkpoints, cuts off the end of
a stream, or deletes a whole stream, is found out only where another stream names what is gone.

**Not yet.** A stream's records travel on many partitions. In an honest stream that is being written, a record
may arrive later than records with higher sequences, and later than the checkpoint that lists it. Only a
checkpoint's ``acknowledged`` says what had arrived: an absent record below the highest one is missing, an
absent record above it is awaited.

**A process that was killed, a machine that lost power.** Such a stream has no closing checkpoint. The
recovery record of whoever adopted its journal says how far the journal goes, and lists what no checkpoint
lists. A kill takes nothing from the journal. A loss of power may take what was not synced yet, and the broker
may have got some of that before: records behind the journal's end are unproven, not wrong, and a number that
is absent there is unaccounted for, not missing. A number that is absent *before* the journal's end was
accepted and is gone: where the journal could not be read it is unreadable, else it is missing once nothing
can be on its way.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from auditwire.events import CheckpointEvent, LossEvent
from auditwire.stream import entries_of
from auditwire.verification.absence import sort_absent
from auditwire.verification.notes import bytes_in_words, clock_notes, notes_on
from auditwire.verification.placement import disagreements, is_antedated
from auditwire.verification.ranges import gaps_between, in_words, joined, outside, overlaps
from auditwire.verification.report import Fault, FaultKind, StreamReport
from auditwire.verification.statements import Place, Recovery, Statements, collect, named, naming_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from auditwire.reading.record import Record

__all__ = ["check_streams"]


def check_streams(
    records: Iterable[Record], *, topics: Mapping[str, str] | None = None, settled: bool = False
) -> list[StreamReport]:
    """Check every stream that the records belong to.

    All records of a stream are needed, the control records included: what a filter took out is missing here.
    What a recovery or quarantine record says of another stream is found only if both are given.

    Args:
        records: Records in any order; the same one may come several times.
        topics: Event type -> topic, as given to the collector, for types that are not on ``<prefix>.<type>``.
        settled: True when nothing can be on its way any more: the processes have ended, their journals are
            drained, and the topics were read to their ends after that. What would be awaited is then missing.

    Returns:
        One report for each stream that has a record, or of which a recovery record says that it had; in the
        order of the ids, which is the order in which they were opened. No records give no reports, and that
        proves nothing.
    """
    streams: dict[str, _Stream] = {}
    statements: dict[str, Statements] = {}
    for record in records:
        stream = streams.get(record.stream_id)
        if stream is None:
            stream = streams[record.stream_id] = _Stream(record.stream_id)
        stream.add(record, topics or {})
        collect(record, statements)

    def has_all(stream_id: str, first: int, last: int) -> bool:
        return streams[stream_id].has_all(first, last)

    reports = []
    for name in sorted(streams.keys() | statements.keys()):
        about = statements.get(name) or Statements()
        recovery = about.recovery(has_all)
        if name in streams or recovery.says_something:
            stream = streams.get(name) or _Stream(name)
            reports.append(stream.judge(about, recovery, streams.keys(), settled=settled))
    return reports


class _Stream:
    """The records of one stream, and what they say of each other."""

    __slots__ = ("_antedated", "_checkpoints", "_conflicts", "_held", "_listed_absent", "_report")

    def __init__(self, stream_id: str) -> None:
        self._report = StreamReport(stream_id=stream_id)
        self._held: dict[int, Place] = {}
        self._conflicts: dict[int, list[Place]] = {}
        self._checkpoints: dict[int, CheckpointEvent] = {}
        self._antedated: list[Record] = []
        self._listed_absent: dict[int, bytes] = {}

    # -- one record after the other -------------------------------------------------------------------------

    def add(self, record: Record, topics: Mapping[str, str]) -> None:
        place = Place.of(record)
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

    def _repeated(self, sequence: int, place: Place) -> None:
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
        place: Place | None = None,
        expected: str | None = None,
        found: str | None = None,
    ) -> None:
        fault = Fault(kind=kind, sequence=sequence, message=message, expected=expected, found=found)
        if place is not None:
            fault.topic, fault.partition, fault.offset = place[2:]
        self._report.faults.append(fault)

    def has_all(self, first: int, last: int) -> bool:
        """True when every record from first to before last is there."""
        return all(number in self._held for number in range(first, last))

    # -- all of them together -------------------------------------------------------------------------------

    def judge(
        self, about: Statements, recovery: Recovery, present: Collection[str], *, settled: bool
    ) -> StreamReport:
        report, held = self._report, self._held
        report.records = len(held)
        if held:
            report.first_sequence, report.last_sequence = min(held), max(held)
        report.checkpoints = len(self._checkpoints)
        report.recoveries, report.recovered_to = recovery.count, recovery.last_sequence
        report.machine_restarted = recovery.machine_restarted
        report.faults += recovery.faults
        ordered = sorted(self._checkpoints.items())
        # what a checkpoint says of records after itself cannot be true
        report.acknowledged = max((min(c.acknowledged, n) for n, c in ordered), default=0)
        self._judge_identity(ordered)
        self._judge_previous(ordered, present)
        self._judge_conflicts()
        for sequence, checkpoint in ordered:
            self._compare(sequence, checkpoint)
        self._compare_statements(about, recovery)
        end = self._judge_end(ordered, max(recovery.last_sequence, about.named_to))
        self._judge_quarantined(about)
        self._judge_absent(about, recovery, end, settled=settled)
        self._judge_chain(ordered)
        self._judge_proof(ordered, about, recovery)
        report.faults.sort(key=lambda fault: (fault.sequence, fault.kind))
        if report.faults:
            report.verdict = "fault"
        elif self._is_whole():
            if report.closed and report.sealed_to == report.last_sequence - 1:
                report.verdict = "complete"
            elif recovery.count and not (report.closed or report.unproven or recovery.unreadable):
                report.verdict = "recovered"
        report.notes = [*clock_notes(report), *notes_on(report, recovery.unreadable)]
        return report

    def _is_whole(self) -> bool:
        report = self._report
        return report.first_sequence == 0 and not (
            report.missing
            or report.awaited
            or report.unreadable
            or report.unaccounted
            or report.withheld
            or report.absent_streams
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
            late = sorted(r.sequence for r in self._antedated if is_antedated(r, opened_ms))
            self._report.antedated = joined((number, number) for number in late)

    def _judge_previous(self, ordered: list[tuple[int, CheckpointEvent]], present: Collection[str]) -> None:
        """Whether the earlier streams that this one names are there at all."""
        absent = set()
        for sequence, checkpoint in ordered:
            for text in checkpoint.previous:
                naming = naming_of(text)
                if naming is None:
                    message = f"checkpoint {sequence} is malformed: previous {text[:200]!r} names no record"
                    self._fault("chain", sequence, message, self._held[sequence])
                elif naming.stream_id not in present:
                    absent.add(naming.stream_id)
        self._report.absent_streams = sorted(absent)

    def _judge_conflicts(self) -> None:
        for sequence, others in self._conflicts.items():
            first = self._held[sequence]
            for other in others:
                message = f"record {sequence} is there twice, and not the same: {first} and {other}"
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
                    self._changed(number, held, f"checkpoint {sequence}", digest, type_key)
        except ValueError as error:
            message = f"checkpoint {sequence} is malformed: {error}"
            self._fault("chain", sequence, message, self._held[sequence])

    def _is_variant(self, number: int, digest: bytes, type_key: str) -> bool:
        return any((digest, type_key) == other[:2] for other in self._conflicts.get(number, []))

    def _changed(self, number: int, held: Place, lister: str, digest: bytes, type_key: str) -> None:
        if digest == held.digest:
            message = f"record {number} is of type {held.type_key}, {lister} lists {type_key}"
            self._fault("changed", number, message, held, type_key, held.type_key)
        else:
            message = (
                f"record {number} was changed: {lister} lists digest {digest.hex()[:16]}..., "
                f"{held} has {held.digest.hex()[:16]}..."
            )
            self._fault("changed", number, message, held, digest.hex(), held.digest.hex())

    def _compare_statements(self, about: Statements, recovery: Recovery) -> None:
        """Every record that recovery records list, or that a later stream names, with what is there."""
        for number, (digest, type_key, by) in recovery.stated.items():
            held = self._held.get(number)
            if number in recovery.disputed:
                continue  # that is a fault already
            if held is None:
                if self._listed_absent.setdefault(number, digest) != digest:
                    message = f"recovery record {named(by)} and a checkpoint list record {number} differently"
                    expected = self._listed_absent[number].hex()
                    self._fault("recovery", number, message, Place.of(by), expected, digest.hex())
            elif (digest, type_key) != held[:2] and not self._is_variant(number, digest, type_key):
                self._changed(number, held, f"recovery record {named(by)}", digest, type_key)
        for naming in about.namings:
            number, digest = naming.sequence, naming.digest
            held = self._held.get(number)
            if held is not None and all(
                digest != other.digest for other in (held, *self._conflicts.get(number, []))
            ):
                self._changed(number, held, f"checkpoint {naming.by}", digest, held.type_key)

    def _judge_quarantined(self, about: Statements) -> None:
        numbers = set()
        for event, place in about.quarantined:
            number = event.quarantined_sequence
            listed = self._listed_absent.get(number)
            if listed is not None and event.quarantined_digest != listed.hex():
                message = f"record {number} is quarantined with another digest than a checkpoint lists"
                self._fault("quarantine", number, message, place, listed.hex(), event.quarantined_digest)
            if number >= 0 and number not in self._held:
                numbers.add(number)
        self._report.withheld = sorted(numbers)

    def _judge_absent(self, about: Statements, recovery: Recovery, end: int, *, settled: bool) -> None:
        report = self._report
        taken = sorted({*self._held, *(n for n in report.withheld if n <= end)})
        for what, (first, last) in sort_absent(
            gaps_between(taken, end),
            recovery,
            acknowledged=report.acknowledged,
            known_to=max(recovery.last_sequence, about.named_to),
            settled=settled,
        ):
            getattr(report, what).append((first, last))
            if what == "missing":
                self._missing(first, last, settled=settled)
            elif what == "unreadable":
                self._unreadable(first, last, recovery.unreadable)

    def _missing(self, first: int, last: int, *, settled: bool) -> None:
        verb = "is" if first == last else "are"
        why = "nothing is on its way any more" if settled else "a checkpoint says that the broker had them"
        listed = self._listed_absent.get(first)
        expected = listed.hex() if listed is not None and first == last else None
        self._fault("missing", first, f"{in_words(first, last)} {verb} missing: {why}", expected=expected)

    def _unreadable(self, first: int, last: int, ranges: list[str]) -> None:
        where = f" (segment:from-to {bytes_in_words(ranges)})" if ranges else ""
        message = (
            f"the broker does not have {in_words(first, last)}, which had been accepted: that part of the "
            f"journal cannot be read any more{where}"
        )
        self._fault("unreadable", first, message)

    def _judge_chain(self, ordered: list[tuple[int, CheckpointEvent]]) -> None:
        """Each checkpoint continues where the one before it ended; one between them may not have come yet."""
        report = self._report
        next_listed, unbroken, previous = 0, True, -1
        for sequence, checkpoint in ordered:
            first = checkpoint.first_sequence
            if first != next_listed:
                unbroken = False
                if first < next_listed or not self._is_explained(previous + 1, sequence - 1):
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

    def _is_explained(self, first: int, last: int) -> bool:
        """True when the absence of a checkpoint from first to last is known for what it is."""
        report = self._report
        absent = (*report.awaited, *report.unaccounted, *report.unreadable)
        return overlaps(absent, first, last) or any(first <= number <= last for number in report.withheld)

    def _judge_end(self, ordered: list[tuple[int, CheckpointEvent]], known_to: int) -> int:
        """Whether anything comes after the closing checkpoint; the last sequence that there should be."""
        report = self._report
        closing = [sequence for sequence, checkpoint in ordered if checkpoint.reason == "close"]
        report.closed = bool(closing)
        if not closing:
            return max(report.last_sequence, known_to)
        after = sorted(n for n in self._held if n > closing[0])
        if after:
            message = (
                f"{len(after)} records, from {after[0]} on, come after the closing checkpoint {closing[0]}"
            )
            self._fault("after_close", after[0], message, self._held[after[0]])
        if known_to > report.last_sequence:
            message = (
                f"another stream says that this one goes on to record {known_to}, behind its closing "
                f"checkpoint {closing[0]}"
            )
            self._fault("recovery", known_to, message)
        return report.last_sequence

    def _judge_proof(
        self, ordered: list[tuple[int, CheckpointEvent]], about: Statements, recovery: Recovery
    ) -> None:
        """Which records nothing lists."""
        listed = [(c.first_sequence, min(c.first_sequence + len(c.entries), n) - 1) for n, c in ordered]
        listed += recovery.runs
        listed += [(naming.sequence, naming.sequence) for naming in about.namings]
        listed += [(n, n) for n, c in ordered if c.reason == "close"]
        self._report.unproven = outside(sorted(self._held), joined(listed))


def _service(resource: str) -> str | None:
    """``service.name`` of a resource's JSON text."""
    try:
        name = json.loads(resource)["service.name"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None
