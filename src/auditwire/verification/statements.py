"""What recovery records say of a stream, put together.

**Recovery.** A process that is killed leaves a stream without a closing checkpoint. Whoever adopts its
journal writes into the adopter's own stream what was found: the last readable record, and the digest of each
record since the orphan's last checkpoint. A statement that is too long for one record is split; the parts
follow each other in the adopter's stream, in the order of the orphan's sequences, and each begins where the
one before it ended. A part that begins further on says that the journal has nothing between: bytes that could
not be read stood there. Several adopters may make statements about the same orphan; equal ones are fine.

That the journal has nothing between two parts is certain only when no other part can be on its way: when the
adopter's stream has every record from the one to the other. So this alone asks about another stream, and only
where a statement has such a hole. Nor may the absent records themselves be on their way: both parts have to
lie below the ends that the partitions had when reading began.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from auditwire.verification.layout import Place, unpacked
from auditwire.verification.ranges import Range, contains, joined
from auditwire.verification.report import Fault
from auditwire.verification.speech import RECOVERY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["MOST_STATEMENTS", "Recovery", "Statement", "put_together"]

MOST_STATEMENTS = 100_000
"""Recovery records about one stream that are looked at; a process that restarts every 5 seconds needs 6 days
for as many. More are a fault."""

_MOST_UNREADABLE = 10_000  # ranges of bytes that are kept; a report shows five
_SHOWN = 200  # characters of one: a range of bytes has 50


class Statement(NamedTuple):
    """One recovery record, or a part of one: what it says besides digests."""

    adopter_key: bytes
    sequence: int
    digest: bytes
    counted: bool
    adopter: str
    place: Place
    first: int
    entries: int
    last_sequence: int
    unreadable: list[str]
    machine_restarted: bool
    error: str | None

    @classmethod
    def of(cls, payload: bytes) -> Statement:
        """Of a claim's payload."""
        key, sequence, digest, uncounted = RECOVERY.unpack_from(payload)
        adopter, topic, partition, offset, *rest = unpacked(payload[RECOVERY.size :])
        first, entries, last_sequence, unreadable, machine_restarted, error = rest
        return cls(
            adopter_key=key,
            sequence=sequence,
            digest=digest,
            counted=not uncounted,
            adopter=adopter,
            place=Place(topic, partition, offset),
            first=first,
            entries=entries,
            last_sequence=last_sequence,
            unreadable=unreadable,
            machine_restarted=machine_restarted,
            error=error,
        )


@dataclass(slots=True)
class Recovery:
    """The recovery records about one stream, put together.

    Attributes:
        count: How many recovery records there are; 0: the stream was not recovered.
        last_sequence: The last readable record of the journal; -1: none.
        runs: The ranges that are listed, joined.
        holes: Ranges that the journal had not: an adopter's statement goes on behind them, no part of it
            can be on its way, and it counts.
        unreadable: Ranges of bytes that could not be read, ``segment:from-to``, each once, in order.
        machine_restarted: True when the machine was restarted since the stream was last written.
        faults: Recovery records that are malformed.
    """

    count: int = 0
    last_sequence: int = -1
    runs: list[Range] = field(default_factory=list)
    holes: list[Range] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    machine_restarted: bool = False
    faults: list[Fault] = field(default_factory=list)

    @property
    def says_something(self) -> bool:
        """True when the stream had a record, or may have had one; a journal can be left empty."""
        return self.last_sequence >= 0 or bool(self.unreadable or self.faults)

    def is_damaged_at(self, sequence: int) -> bool:
        """True when nothing else of these statements can come, and damage explains that the record is gone.

        That is: the journal goes on behind it, but does not list it, or had bytes that could not be read.
        """
        if sequence > self.last_sequence or contains(self.runs, sequence):
            return False
        between = bool(self.runs) and self.runs[0][0] < sequence < self.runs[-1][1]
        return between or bool(self.unreadable)

    def add(self, said: Statement) -> bool:
        """Take one recovery record; False when it is malformed."""
        if said.error is not None:
            message = f"recovery record {said.sequence} of stream {said.adopter} is malformed: {said.error}"
            self._fault(said, max(0, said.first), message)
            return False
        self.count += 1
        self.last_sequence = max(self.last_sequence, said.last_sequence)
        self.machine_restarted |= said.machine_restarted
        for text in said.unreadable:
            short = text[:_SHOWN]
            at = bisect_left(self.unreadable, short)
            if self.unreadable[at : at + 1] != [short]:
                self.unreadable.insert(at, short)
                del self.unreadable[_MOST_UNREADABLE:]
        return True

    def refuse(self, said: Statement) -> None:
        """Say that there are more recovery records than are looked at."""
        self._fault(
            said,
            0,
            f"more than {MOST_STATEMENTS} recovery records speak of the stream: the others were not read",
        )

    def _fault(self, said: Statement, sequence: int, message: str) -> None:
        self.faults.append(
            Fault(
                kind="recovery",
                sequence=sequence,
                message=message,
                topic=said.place.topic,
                partition=said.place.partition,
                offset=said.place.offset,
            )
        )


def put_together(statements: Iterable[Statement], has_all: Callable[[str, int, int], bool]) -> Recovery:
    """All recovery records about a stream together.

    Args:
        statements: In the order of the adopters and their sequences; the same one may come several times.
        has_all: Whether every record of a stream from a sequence to before another is there.
    """
    out = Recovery()
    runs: list[Range] = []
    holes: list[Range] = []
    before: Statement | None = None  # the adopter's last part that lists something
    last: Statement | None = None
    for number, said in enumerate(statements):
        if last is not None and last[:3] == said[:3]:
            continue
        last = said
        if number >= MOST_STATEMENTS:
            out.refuse(said)
            break
        if before is not None and before.adopter_key != said.adopter_key:
            before = None
        if not out.add(said) or not said.entries:
            continue
        if before is not None:
            end = before.first + before.entries
            counted = before.counted and said.counted
            if said.first > end and counted and has_all(said.adopter, before.sequence, said.sequence):
                holes.append((end, said.first - 1))
        runs.append((said.first, said.first + said.entries - 1))
        before = said
    out.runs = joined(runs)
    out.holes = joined(holes)
    return out
