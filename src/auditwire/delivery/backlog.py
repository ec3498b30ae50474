"""What waits for a partition or a topic, in order: a few records in memory, and of the rest where they are.

A record of a journal on disk need not wait in memory: of those behind the first ones only position and
sequence are kept, 16 bytes each, and they are read again when their turn comes. Records that are in memory
only stay as they are.
"""

from __future__ import annotations

from array import array
from collections import deque
from itertools import chain, repeat
from typing import TYPE_CHECKING, NamedTuple

from auditwire.errors import AuditwireError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from auditwire.delivery.feed import Feed
    from auditwire.journal import Record

__all__ = ["HOLD_BYTES", "HOLD_RECORDS", "Backlog", "Hold", "Lost", "Place"]

HOLD_BYTES = 16 << 20
"""Bytes of durable feeds' records that are held in memory, waiting and on their way, before room is made."""

HOLD_RECORDS = 20_000
"""How many of them; as many as the producer's queue holds."""

REFILL_RECORDS, REFILL_BYTES = 64, 256 << 10
"""How much is read again at once."""

_RUN = 4_096
"""Positions in one run, so that taking some from its beginning moves few bytes."""


class Hold:
    """How much of the durable feeds' records is in memory."""

    __slots__ = ("count", "size")

    def __init__(self) -> None:
        self.count = 0
        self.size = 0

    def add(self, count: int, size: int) -> None:
        """So many records came into memory; negative ones left it."""
        self.count += count
        self.size += size

    @property
    def full(self) -> bool:
        """Whether no more should come in before some have left."""
        return self.count >= HOLD_RECORDS or self.size >= HOLD_BYTES

    @property
    def half_full(self) -> bool:
        """Whether half of that is held."""
        return 2 * self.count >= HOLD_RECORDS or 2 * self.size >= HOLD_BYTES


class Place(NamedTuple):
    """A record that is not in memory."""

    origin: Feed
    sequence: int
    position: int


class Lost(Exception):  # noqa: N818 - what is known of a record, rather than an error of the program
    """A record cannot be read again: its place is taken out of the backlog."""

    def __init__(self, place: Place, cause: Exception) -> None:
        super().__init__(f"record {place.sequence} of stream {place.origin.stream_id}: {cause}")
        self.place = place


class _Run:
    """Places of one feed, in the order of their sequences; or records that are in memory only."""

    __slots__ = ("feed", "positions", "records", "sequences")

    def __init__(self, feed: Feed | None) -> None:
        self.feed = feed
        self.sequences = array("Q")
        self.positions = array("Q")
        self.records: deque[Record] = deque()

    def __len__(self) -> int:
        return len(self.records) or len(self.positions)


class Backlog:
    """See the module. For the sender's thread.

    Args:
        hold: Where it is counted what is in memory.
    """

    __slots__ = ("_behind", "_hold", "_runs", "failing_since", "front")

    def __init__(self, hold: Hold) -> None:
        self.front: deque[Record] = deque()
        """The first records. When it is empty, ``refill``; to be taken from, never added to."""
        self._hold = hold
        self._runs: deque[_Run] = deque()
        self._behind = 0
        self.failing_since: float | None = None
        """For its user: since when nothing could be read again."""

    def __len__(self) -> int:
        return len(self.front) + self._behind

    def append(self, record: Record) -> None:
        """Put a record, counted as held, behind everything else; behind what was spilled, only its place."""
        if self._behind:
            self._append_behind(record)
        else:
            self.front.append(record)

    def _append_behind(self, record: Record) -> None:
        if record.position >= 0:
            self._hold.add(-1, -record.size)
            self.append_place(Place(record.origin, record.sequence, record.position))
            return
        if not self._runs or self._runs[-1].feed is not None:
            self._runs.append(_Run(None))
        self._runs[-1].records.append(record)
        self._behind += 1

    def append_place(self, place: Place) -> None:
        """Put a record that is not in memory behind everything else."""
        run = self._runs[-1] if self._runs else None
        if run is None or run.feed is not place.origin or len(run.positions) >= _RUN:
            run = _Run(place.origin)
            self._runs.append(run)
        run.sequences.append(place.sequence)
        run.positions.append(place.position)
        self._behind += 1

    def put_back(self, records: list[Record]) -> None:
        """Put records, counted as held, before everything else."""
        self.front.extendleft(reversed(records))

    def refill(self, *, give_up: bool = False) -> bool:
        """Read the next records again if the front is empty; whether there is one now.

        Args:
            give_up: What cannot be read now is lost.

        Raises:
            Lost: One of them is not there any more as it was written; call again for the next.
            OSError: They cannot be read now.
        """
        front, size = self.front, 0
        while self._behind and len(front) < REFILL_RECORDS and size < REFILL_BYTES:
            run = self._runs[0]
            if run.feed is None:
                front.append(run.records.popleft())
                self._took(run)
                continue
            try:
                record = run.feed.read(run.positions[0])
            except (OSError, AuditwireError) as error:
                if front:
                    break  # what was read goes first; the next call begins with this one
                if isinstance(error, OSError) and not give_up:
                    raise
                raise Lost(self._pop_place(run), error) from error
            self._pop_place(run)
            self._hold.add(1, record.size)
            size += record.size
            front.append(record)
        return bool(front)

    def _pop_place(self, run: _Run) -> Place:
        assert run.feed is not None  # noqa: S101 - for the type checker; the caller looked
        place = Place(run.feed, run.sequences.pop(0), run.positions.pop(0))
        self._took(run)
        return place

    def _took(self, run: _Run) -> None:
        self._behind -= 1
        if not len(run):
            self._runs.popleft()

    def spill(self, keep: int, keep_bytes: int) -> None:
        """Keep only the first records in memory, and of the others where they are.

        Args:
            keep: How many records stay at most.
            keep_bytes: How many bytes stay at most.
        """
        front = self.front
        stay = size = 0
        for record in front:
            size += record.size
            if stay == keep or size > keep_bytes:
                break
            stay += 1
        moved = [front.pop() for _ in range(len(front) - stay)]
        if moved:
            behind, self._runs = self._runs, deque()
            for record in reversed(moved):
                self._append_behind(record)
            self._runs.extend(behind)

    def put(self, item: Record | Place) -> None:
        """Put what ``drain`` gave behind everything else."""
        if isinstance(item, Place):
            self.append_place(item)
        else:
            self.append(item)

    def drain(self) -> dict[Feed, Iterator[Record | Place]]:
        """Take everything out: of each feed its own, in order, one by one as it is asked for."""
        parts: dict[Feed, list[Iterable[Record | Place]]] = {}
        for records in (self.front, *(run.records for run in self._runs if run.feed is None)):
            for feed in dict.fromkeys(record.origin for record in records):
                parts.setdefault(feed, []).append([r for r in records if r.origin is feed])
        for run in self._runs:
            if run.feed is not None:
                places = map(Place, repeat(run.feed), run.sequences, run.positions)
                parts.setdefault(run.feed, []).append(places)
        self.front.clear()
        self._runs.clear()
        self._behind = 0
        return {feed: chain.from_iterable(items) for feed, items in parts.items()}

    def places(self, feed: Feed) -> Iterator[Place]:
        """What was spilled of a feed, in order."""
        for run in self._runs:
            if run.feed is feed:
                yield from map(Place, repeat(feed), run.sequences, run.positions)

    def relocate(self, feed: Feed, moved: Mapping[int, int]) -> None:
        """What was spilled of a feed lies elsewhere now: sequence -> new position."""
        last = max(moved, default=-1)
        for run in self._runs:
            if run.feed is not feed:
                continue
            for index, sequence in enumerate(run.sequences):
                if sequence > last:
                    return
                if sequence in moved:
                    run.positions[index] = moved[sequence]
