"""What other streams say of a stream: recovery records, the ``previous`` of opening checkpoints, quarantine.

In come the records that name another stream, out comes what they say together, and where they contradict each
other. ``auditwire.stream`` and ``auditwire.events`` have the fields.

**Recovery.** A process that is killed leaves a stream without a closing checkpoint. Whoever adopts its
journal writes into the adopter's own stream what was found: the last readable record, and the digest of each
record since the orphan's last checkpoint. A statement that is too long for one record is split; the parts
follow each other in the adopter's stream, in the order of the orphan's sequences, and each begins where the
one before it ended. A part that begins further on says that the journal has nothing between: bytes that could
not be read stood there. Several adopters may make statements about the same orphan; equal ones are fine.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

from auditwire.events import CheckpointEvent, QuarantineEvent, RecoveryEvent
from auditwire.stream import entries_of
from auditwire.verification.ranges import Range, joined
from auditwire.verification.report import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.reading.record import Record

__all__ = ["Naming", "Place", "Recovery", "Stated", "Statements", "collect", "named", "naming_of"]

_NAMING = re.compile(r"([^:]+):([0-9]{1,19}):([0-9a-f]{64})")


class Place(NamedTuple):
    """What is kept of a record: what it is, and where."""

    digest: bytes
    type_key: str
    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, record: Record) -> Place:
        type_key = sys.intern(record.type_key)  # a few dozen for millions of records
        return cls(record.digest, type_key, record.topic, record.partition, record.offset)

    def __str__(self) -> str:
        return f"{self.topic} [{self.partition}] offset {self.offset}"


class Stated(NamedTuple):
    """What a recovery record lists of one record, and that recovery record."""

    digest: bytes
    type_key: str
    by: Record


class Naming(NamedTuple):
    """One line of ``previous``: the last readable record of an earlier stream, and who names it."""

    stream_id: str
    sequence: int
    digest: bytes
    by: str


def naming_of(text: str, by: str = "") -> Naming | None:
    """``stream:sequence:digest`` taken apart; None when it is not that.

    Args:
        text: A line of ``previous``.
        by: The checkpoint that it stands in, in words.
    """
    match = _NAMING.fullmatch(text)
    return match and Naming(match[1], int(match[2]), bytes.fromhex(match[3]), by)


@dataclass(slots=True)
class Recovery:
    """The recovery records about one stream, put together.

    Attributes:
        count: How many recovery records there are; 0: the stream was not recovered.
        last_sequence: The last readable record of the journal; -1: none.
        stated: Sequence -> what is listed of the record.
        runs: The ranges that are listed, joined.
        holes: Ranges that the journal had not: an adopter's statement goes on behind them, and no part of it
            can be on its way.
        unreadable: Ranges of bytes that could not be read, ``segment:from-to``, each once, in order.
        machine_restarted: True when the machine was restarted since the stream was last written.
        disputed: Sequences of which two recovery records list different digests or types.
        faults: Recovery records that are malformed or contradict each other.
    """

    count: int = 0
    last_sequence: int = -1
    stated: dict[int, Stated] = field(default_factory=dict)
    runs: list[Range] = field(default_factory=list)
    holes: list[Range] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    machine_restarted: bool = False
    disputed: set[int] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)

    @property
    def says_something(self) -> bool:
        """True when the stream had a record, or may have had one; a journal can be left empty."""
        return self.last_sequence >= 0 or bool(self.unreadable or self.faults)

    def is_damaged_at(self, sequence: int) -> bool:
        """True when nothing else of these statements can come, and damage explains that the record is gone.

        That is: the journal goes on behind it, but does not list it, or had bytes that could not be read.
        """
        if sequence in self.stated or sequence > self.last_sequence:
            return False
        between = bool(self.runs) and self.runs[0][0] < sequence < self.runs[-1][1]
        return between or bool(self.unreadable)

    def add(self, record: Record) -> Range | None:
        """Take one recovery record; the range that it lists is returned, None when it lists nothing."""
        event = cast("RecoveryEvent", record.event)
        first, last = event.first_sequence, event.first_sequence + len(event.entries) - 1
        try:
            if event.entries and not 0 <= first <= last <= event.last_sequence:
                raise ValueError(  # noqa: TRY301 - entries_of raises it for what is wrong with one entry
                    f"it lists records {first} to {last}, and the last readable one is {event.last_sequence}"
                )
            listed = list(entries_of(event))
        except ValueError as error:
            self._fault(record, max(0, first), f"recovery record {named(record)} is malformed: {error}")
            return None
        self.count += 1
        self.last_sequence = max(self.last_sequence, event.last_sequence)
        self.machine_restarted |= event.machine_restarted
        self.unreadable = sorted({*self.unreadable, *event.unreadable})
        self._compare(record, listed)
        return (first, last) if listed else None

    def _compare(self, record: Record, listed: list[tuple[int, str, bytes]]) -> None:
        """One fault for all that two recovery records say differently: there may be thousands."""
        differing: list[tuple[int, Stated, Stated]] = []
        for number, type_key, digest in listed:
            stated = Stated(digest, type_key, record)
            other = self.stated.setdefault(number, stated)
            if other[:2] != stated[:2]:
                differing.append((number, other, stated))
        if differing:
            number, other, stated = differing[0]
            self.disputed.update(number for number, _, _ in differing)
            message = (
                f"recovery records {named(other.by)} and {named(record)} list different digests or types for "
                f"{len(differing)} records, from {number} on"
            )
            self._fault(record, number, message, other.digest.hex(), stated.digest.hex())

    def _fault(
        self,
        record: Record,
        sequence: int,
        message: str,
        expected: str | None = None,
        found: str | None = None,
    ) -> None:
        self.faults.append(
            Fault(
                kind="recovery",
                sequence=sequence,
                message=message,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                expected=expected,
                found=found,
            )
        )


class Statements:
    """What is said of one stream by records that name it; most of them stand in other streams."""

    __slots__ = ("_recoveries", "namings", "quarantined")

    def __init__(self) -> None:
        self.quarantined: list[tuple[QuarantineEvent, Place]] = []
        self.namings: list[Naming] = []
        self._recoveries: dict[tuple[str, int, bytes], Record] = {}

    def add_recovery(self, record: Record) -> None:
        """Take a recovery record; the same one may come several times."""
        self._recoveries[record.stream_id, record.sequence, record.digest] = record

    @property
    def named_to(self) -> int:
        """The highest sequence that an opening checkpoint names; -1 when none names this stream."""
        return max((naming.sequence for naming in self.namings), default=-1)

    def recovery(self, has_all: Callable[[str, int, int], bool]) -> Recovery:
        """All recovery records together.

        Args:
            has_all: Whether every record of a stream between two sequences is there: only then is it certain
                that no part of a statement is on its way.
        """
        out = Recovery()
        runs: list[Range] = []
        holes: list[Range] = []
        before: tuple[Record, int] | None = None  # the adopter's last part, and the sequence it ended with
        for _, record in sorted(self._recoveries.items()):
            listed = out.add(record)
            if before is not None and before[0].stream_id != record.stream_id:
                before = None
            if listed is None:
                continue
            if before is not None and listed[0] > before[1] + 1:
                part, end = before
                if has_all(record.stream_id, part.sequence, record.sequence):
                    holes.append((end + 1, listed[0] - 1))
            runs.append(listed)
            before = record, listed[1]
        out.runs = joined(runs)
        out.holes = joined(holes)
        return out


def collect(record: Record, statements: dict[str, Statements]) -> None:
    """Sort what a record says of other streams to those streams."""
    event = record.event
    if isinstance(event, RecoveryEvent):
        statements.setdefault(event.orphan_stream, Statements()).add_recovery(record)
    elif isinstance(event, QuarantineEvent):
        # it may stand in another stream: that of whoever adopted an ended process's journal
        about = statements.setdefault(event.quarantined_stream, Statements())
        about.quarantined.append((event, Place.of(record)))
    elif isinstance(event, CheckpointEvent):
        for text in event.previous:
            naming = naming_of(text, named(record))
            if naming is not None:
                statements.setdefault(naming.stream_id, Statements()).namings.append(naming)


def named(record: Record) -> str:
    return f"{record.sequence} of stream {record.stream_id}"
