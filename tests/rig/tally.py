"""Counts what stands on the topics, in memory that does not grow with the records: one bit for each.

In come records in any order, out comes what was delivered, what is there twice, and, held against what
`rig.load` counted, what was lost.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from auditwire.events import CONTROL_TYPES

if TYPE_CHECKING:
    from auditwire.reading import Record
    from rig.load import Counts

GROWTH = 8192


class Bits:
    """A set of small numbers, one bit each.

    Attributes:
        count: How many are in it.
        highest: The highest of them; -1 when there is none.
    """

    __slots__ = ("_bytes", "count", "highest")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.count = 0
        self.highest = -1

    def add(self, number: int) -> bool:
        """True when it was not there yet."""
        at, bit = number >> 3, 1 << (number & 7)
        if at >= len(self._bytes):
            self._bytes.extend(bytes(at - len(self._bytes) + GROWTH))
        if self._bytes[at] & bit:
            return False
        self._bytes[at] |= bit
        self.count += 1
        self.highest = max(self.highest, number)
        return True

    def absent(self, below: int) -> int:
        """How many of the numbers 0 to `below` - 1 are not there."""
        whole, rest = divmod(below, 8)
        held = int.from_bytes(self._bytes[:whole], "little").bit_count()
        if rest and whole < len(self._bytes):
            held += (self._bytes[whole] & ((1 << rest) - 1)).bit_count()
        return below - held


class Tally:
    """What was read.

    Attributes:
        records: Records added, control records and duplicates included.
        delivered: Different events, by stream and sequence.
        duplicates: Records whose stream and sequence had been added before.
        doubled: Events that stand under two sequences: none may.
        streams: Stream -> the sequences that were added.
    """

    def __init__(self) -> None:
        self.records = self.delivered = self.duplicates = self.doubled = 0
        self.streams: defaultdict[str, Bits] = defaultdict(Bits)
        self._emitted: defaultdict[tuple[str, int], Bits] = defaultdict(Bits)

    def add(self, record: Record) -> None:
        self.records += 1
        if not self.streams[record.stream_id].add(record.sequence):
            self.duplicates += 1
        elif record.event.event_type not in CONTROL_TYPES:
            self.delivered += 1
            life, thread, number = str(record.event.turn_id).split(":")
            if not self._emitted[life, int(thread)].add(int(number)):
                self.doubled += 1

    def lost(self, life: str, counts: Counts) -> int:
        """How many events emit had accepted in that process that were not added."""
        return sum(
            self._emitted[life, thread].absent(accepted) for thread, accepted in enumerate(counts.accepted)
        )

    def gaps(self) -> int:
        """Sequences without a record below the highest one of their stream."""
        return sum(bits.absent(bits.highest + 1) for bits in self.streams.values())
