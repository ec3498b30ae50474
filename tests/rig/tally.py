"""Counts what stands on the topics, in memory that does not grow with the records: one bit for each.

In come records in any order, out comes what was delivered, what is there twice, and, held against what
`rig.load` counted, what was lost.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from auditwire.events import CONTROL_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from auditwire.reading import Record
    from rig.load import Load

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

    def __contains__(self, number: int) -> bool:
        at = number >> 3
        return at < len(self._bytes) and bool(self._bytes[at] & 1 << (number & 7))

    def absent(self, below: int) -> Iterator[int]:
        """The numbers from 0 to `below` - 1 that are not there."""
        return (number for number in range(below) if number not in self)


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

    def lost(self, loads: Iterable[Load]) -> list[str]:
        """The identities of the events that emit had accepted in these processes and that were not added."""
        return [
            f"{load.life}:{thread}:{number}"
            for load in loads
            for thread, accepted in enumerate(load.counts.accepted)
            for number in self._emitted[load.life, thread].absent(accepted)
        ]

    def gaps(self) -> int:
        """Sequences without a record below the highest one of their stream."""
        return sum(bits.highest + 1 - bits.count for bits in self.streams.values())
