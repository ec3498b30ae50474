"""What a check of a stream finds: the report, and the faults in it."""

from __future__ import annotations

from bisect import insort
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["KEPT", "RANGES", "Fault", "FaultKind", "StreamReport", "Verdict"]

KEPT = 1_000
"""Elements of each list of a report at most; more are counted only."""

RANGES = ("missing", "awaited", "unreadable", "unaccounted", "unproven", "removed", "antedated")
"""Those fields of a report that are ranges of sequences."""

FaultKind = Literal[
    "missing",
    "changed",
    "conflict",
    "opening",
    "chain",
    "after_close",
    "declared_loss",
    "placement",
    "quarantine",
    "recovery",
    "unreadable",
    "vanished",
    "shrunk",
]
"""What can be wrong with a stream:

================= ========================================================================================
``missing``       records that had reached the broker are not there
``changed``       a record is not the one that a checkpoint, a recovery record, a later stream's opening
                  checkpoint or an earlier check names: another digest, type or schema
``conflict``      different records have the same sequence
``opening``       record 0 is not an opening checkpoint, or another record is one
``chain``         a checkpoint does not continue the one before it, lists itself, or is malformed
``after_close``   records come after the closing checkpoint
``declared_loss`` the producer itself says that events were refused before they were accepted
``placement``     topic, key or header are not those of the record
``quarantine``    a quarantine record and a checkpoint say different things about the same record
``recovery``      recovery records are malformed, or contradict each other, a checkpoint or the stream's end
``unreadable``    records that had been accepted are on no broker, and the bytes of the journal that held them
                  cannot be read: its disk or file is damaged, or an unsynced page was lost with the power
``vanished``      a stream that an earlier check has seen has no record any more
``shrunk``        the last record that an earlier check has seen of a stream is not there any more
================= ========================================================================================
"""

Verdict = Literal["complete", "recovered", "open", "fault"]
"""What is known of a stream as a whole:

============= ============================================================================================
``complete``  it begins with its opening checkpoint and ends with its closing one; every record is there, and
              is the one that a checkpoint lists
``recovered`` its process ended without closing it, and its journal was read afterwards: every record up to
              the last readable one is there, and is the one that a checkpoint or a recovery record lists.
              Nothing that the process had accepted is absent, unless the machine was restarted too: then what
              was accepted after the journal's last sync may be, and ``notes`` says so
``open``      nothing is wrong, but it is not closed, or records are awaited, withheld or listed by nothing,
              or an earlier stream that it names is absent
``fault``     something is wrong
============= ============================================================================================
"""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with a stream.

    Attributes:
        kind: What it is; see ``FaultKind``.
        sequence: The record's number; the first one's, where it is about several.
        message: The same as a sentence.
        topic: Where the record is, with ``partition`` and ``offset``; None when it is not there.
        partition: Its partition.
        offset: Its offset.
        expected: What should be there, where a word can tell: a digest, a key.
        found: What is there instead.
    """

    kind: FaultKind
    sequence: int
    message: str
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    expected: str | None = None
    found: str | None = None


@dataclass(slots=True, kw_only=True)
class StreamReport:
    """What is known of one stream.

    Attributes:
        stream_id: The stream.
        verdict: See ``Verdict``.
        service: ``service.name`` of the process; None when no checkpoint tells.
        trail: The trail's name; None when no checkpoint tells.
        records: How many sequences have a record.
        duplicates: How many times one of these records is there once more; harmless.
        first_sequence: The lowest sequence; -1 when there is no record.
        last_sequence: The highest sequence; -1 when there is no record.
        last_digest: SHA-256 of the body of the record with the highest sequence, in hex; of several different
            ones with that sequence, the lowest. None when there is no record.
        first_timestamp_ms: The time of the event with the lowest sequence, milliseconds since the Unix epoch,
            0 for one before; -1: there is no record.
        last_timestamp_ms: The latest time of an event of the stream.
        checkpoints: How many of the records are checkpoints.
        acknowledged: Every record below this sequence had reached the broker, says a checkpoint.
        sealed_to: Every record up to this sequence is listed by an unbroken chain of checkpoints; -1: none.
        listed_to: The last record that the last checkpoint lists, whether the chain up to it is unbroken or
            not; -1: none.
        closed: True when there is a closing checkpoint.
        recoveries: How many recovery records speak of the stream; they stand in other streams.
        recovered_to: The last record that was readable in the journal which the process left; -1: none.
        machine_restarted: True when a recovery record says that the machine was restarted before the journal
            was read, so that what had not been synced may be missing from it.
        missing: Ranges of sequences, first and last, that had reached the broker and are not there.
        awaited: Ranges of sequences, first and last, that are not there and may still come.
        unreadable: Ranges of sequences, first and last, that are neither there nor in the journal, though
            records behind them are: bytes of it could not be read.
        unaccounted: Ranges of sequences, first and last, that are not there, that no checkpoint says the
            broker had, and that lie behind the last readable record of the journal: whether they were lost
            with it or removed cannot be told. Awaited until nothing can be on its way any more.
        unproven: Ranges of sequences, first and last, whose records are there, and that no checkpoint and no
            recovery record lists: whether they were changed cannot be told. An open stream ends with some; a
            closing checkpoint is not counted.
        removed: Ranges of sequences, first and last, that are not there, and that retention may have removed,
            or that lie before the beginning of what was read; see
            :class:`~auditwire.verification.Horizon`. They would be missing or unreadable otherwise.
        withheld: Sequences of records that the broker refused; they are kept by the producer.
        declared_lost: How many events the producer says were refused before they were accepted.
        absent_streams: Earlier streams of the same journal path that this one names in its opening checkpoint
            and that have no record here: removed, or outside of what was read.
        antedated: Ranges of sequences, first and last, whose Kafka timestamp is more than an hour before the
            stream's opening: a clock was set meanwhile, or the records were written with another time. No
            digest covers it, and an honest clock that is set back looks the same: a note, and no fault.
        wanted: False when sessions were asked for and no record of the stream is of one of them.
        counts: How many sequences ``missing``, ``awaited``, ``unreadable``, ``unaccounted``, ``unproven``,
            ``removed``, ``withheld`` and ``antedated`` stand for; only those that are not 0. Each of those
            lists ends after 1,000 elements; what was left out is counted here.
        notes: What cannot be proven, and why; each a sentence.
        faults: What is wrong, in the order of the sequences; the first 1,000.
        faults_total: How many faults there are, those that were left out too.
    """

    stream_id: str
    verdict: Verdict = "open"
    service: str | None = None
    trail: str | None = None
    records: int = 0
    duplicates: int = 0
    first_sequence: int = -1
    last_sequence: int = -1
    last_digest: str | None = None
    first_timestamp_ms: int = -1
    last_timestamp_ms: int = -1
    checkpoints: int = 0
    acknowledged: int = 0
    sealed_to: int = -1
    listed_to: int = -1
    closed: bool = False
    recoveries: int = 0
    recovered_to: int = -1
    machine_restarted: bool = False
    missing: list[tuple[int, int]] = field(default_factory=list)
    awaited: list[tuple[int, int]] = field(default_factory=list)
    unreadable: list[tuple[int, int]] = field(default_factory=list)
    unaccounted: list[tuple[int, int]] = field(default_factory=list)
    unproven: list[tuple[int, int]] = field(default_factory=list)
    removed: list[tuple[int, int]] = field(default_factory=list)
    withheld: list[int] = field(default_factory=list)
    declared_lost: int = 0
    absent_streams: list[str] = field(default_factory=list)
    antedated: list[tuple[int, int]] = field(default_factory=list)
    wanted: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    faults_total: int = 0

    def add_fault(self, fault: Fault) -> None:
        """Take another fault, counted and put in its place; the verdict is ``fault`` then."""
        self.verdict = "fault"
        self.faults_total += 1
        insort(self.faults, fault, key=lambda other: (other.sequence, other.kind))
        del self.faults[KEPT:]

    def to_dict(self) -> dict[str, Any]:
        """The report in JSON's own types."""
        out = asdict(self)
        for name in RANGES:
            out[name] = [list(ends) for ends in out[name]]
        return out
