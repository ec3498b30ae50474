"""One stream on its way to the broker: where its records come from, and how far they have come.

A sender has a feed of its own, the stream that its process writes, and may have others: streams whose
process has ended, or leaves delivery to this one. All share the producer, the topics and their lanes; a
record says by its ``origin`` whose it is.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from auditwire.delivery.window import AckWindow
from auditwire.errors import AuditwireError
from auditwire.events import CONTROL_TYPES
from auditwire.journal.format import PARKED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditwire.delivery.backlog import Hold, Place
    from auditwire.journal import Record
    from auditwire.journal.parked import ParkedLog

__all__ = ["ADVANCE_SECONDS", "Feed", "Source"]

PARK_BYTES = 8 << 20
"""Bytes of records that are copied in one go."""

ADVANCE_SECONDS = 0.05
"""The journal hears how far its records have come at most once in so many seconds."""

_orders = count()


class Source(Protocol):
    """Where a feed's records come from: this process's journal, or another one's files.

    As :class:`auditwire.journal.base.Journal` has it.
    """

    durable: bool
    origin: Any

    def take(self, limit: int) -> list[Record]:
        """The next records in order."""

    def read(self, position: int) -> Record:
        """A record again."""

    def release(self, size: int) -> None:
        """Records of this size are done with."""

    def advance(self, low: int, listed: int) -> None:
        """How far the records have come."""

    @property
    def backlog(self) -> int:
        """Records that were not taken yet, as far as that is known."""


class Feed:
    """See the module. For the sender's thread; ``pending`` and the counters are for any. Times are monotonic.

    Args:
        journal: Where the records come from; it is told that they are this feed's.
        stream_id: The stream.
        source: The ``ce_source`` header; None for records without headers.
        now: The time.
        hold: Counts what is held in memory of a durable journal's records.
        start: The first sequence that is not done.
    """

    def __init__(
        self, journal: Source, stream_id: str, source: str | None, now: float, hold: Hold, start: int = 0
    ) -> None:
        self.journal = journal
        journal.origin = self
        self.order = next(_orders)
        """Feeds are told apart, and put in an order, by this."""
        self.stream_id = stream_id
        self.source = source
        self.window = AckWindow(start)
        self.stands_for: dict[int, Record] = {}
        """Sequence of a quarantine record of this stream -> what it stands for, which may be another's."""
        self.done = 0
        """Records acknowledged, by the broker or in the stead of withheld ones."""
        self.control_done = 0
        """The control records among them."""
        self.progress_at = now
        """When a record was last acknowledged, or when the first came to wait."""
        self.parked: ParkedLog | None = None
        """Copies of records of parked topics, once there are any."""
        self.busy = False
        """Whether the last ``take`` found something, be it nothing to send."""
        self._skipped = start  # sequences that no record waits for
        self._hold = hold if journal.durable else None
        self._removal: AckWindow | None = None  # as ``window``, with what has a parked copy done
        self._copied: list[int] = []  # done, and their copies not yet told
        self._taken_at: deque[tuple[int, float]] = deque()  # (end of a batch, when it was taken)
        self._listings: deque[tuple[int, int]] = deque()  # (sequence of a checkpoint, it lists all below)
        self._listed = 0
        self._advanced = (0, 0)
        self._advance_at = 0.0

    @property
    def durable(self) -> bool:
        """Whether the records can be read again where they are."""
        return self.journal.durable

    @property
    def low(self) -> int:
        """Every record below this sequence is acknowledged."""
        return self.window.low

    @property
    def needed(self) -> int:
        """Every record below this sequence is acknowledged, or has a parked copy."""
        return self.window.low if self._removal is None else self._removal.low

    @property
    def waits(self) -> bool:
        """True while a record that was taken is not acknowledged."""
        return self.window.low < self.window.end

    @property
    def pending(self) -> int:
        """Records that are accepted and not acknowledged."""
        return max(0, self.window.end - self._skipped - self.done) + self.journal.backlog

    def oldest_seconds(self, now: float) -> float:
        """How long the oldest record that is not acknowledged has waited since it was taken."""
        try:
            return max(0.0, now - self._taken_at[0][1])
        except IndexError:  # none waits, or the sender's thread was quicker
            return 0.0

    # -- records ----------------------------------------------------------------------------------------

    def take(self, limit: int, now: float) -> list[Record]:
        """The next records in order, at most ``limit``; each is answered for by ``acked`` or ``lost``, once.

        Raises:
            OSError: They cannot be read now.
        """
        records = self._next(limit)
        if records:
            if self._hold is not None:
                self._hold.add(len(records), sum(record.size for record in records))
            if not self._taken_at:
                self.progress_at = now
            self._taken_at.append((records[-1].sequence + 1, now))
        return records

    def _next(self, limit: int) -> list[Record]:
        records = self.journal.take(limit)
        self._extend(len(records))
        self.busy = bool(records)
        return records

    def _extend(self, count: int) -> None:
        self.window.extend(count)
        if self._removal is not None:
            self._removal.extend(count)

    def read(self, position: int) -> Record:
        """A record that was taken before, again."""
        return self.journal.read(position)

    def acked(self, records: list[Record], now: float) -> int:
        """The broker has these; how many of them were not known to be."""
        size = done = control = 0
        mark, stands_for = self.window.mark, self.stands_for
        for record in records:
            if not mark(record.sequence):
                continue  # an answer from before a new producer
            done += 1
            size += record.size
            if record.event_type in CONTROL_TYPES:
                control += 1
                withheld = stands_for.pop(record.sequence, None) if stands_for else None
                if withheld is not None:
                    withheld.origin.acked([withheld], now)
        if self._removal is not None:
            self._mark_removable(records)
        if self._hold is not None:
            self._hold.add(-done, -size)
        self.control_done += control  # first: who reads in between sees too few delivered, never too many
        self.done += done
        self.progress_at = now
        self.journal.release(size)
        return done

    def _mark_removable(self, records: Iterable[Record]) -> None:
        assert self._removal is not None  # noqa: S101 - for the type checker; the callers looked
        for record in records:
            self._removal.mark(record.sequence)
            if record.position >= PARKED:
                self._copied.append(record.sequence)

    def lost(self, sequence: int) -> None:
        """This record cannot be read any more, and never reaches the broker: it holds nothing back."""
        self._skipped += self.window.mark(sequence)
        if self._removal is not None:
            self._removal.mark(sequence)

    # -- how far they have come -------------------------------------------------------------------------

    def checkpoint(self, sequence: int, below: int) -> None:
        """The checkpoint with this sequence and those before it list every record below ``below``."""
        self._listings.append((sequence, below))

    def move(self, now: float, *, last: bool = False) -> int:
        """Tell the journal how far its records have come; the low-water mark.

        Args:
            now: The time.
            last: The last call of all, or the caller needs the journal to know now.

        Raises:
            OSError: The journal could not do what follows from it; it is told again later.
        """
        low = self.window.low
        taken_at, listings = self._taken_at, self._listings
        while taken_at and taken_at[0][0] <= low:
            taken_at.popleft()
        # by the checkpoint alone: records below it may wait for long, parked
        while listings and self.window.is_done(listings[0][0]):
            self._listed = max(self._listed, listings.popleft()[1])
        if self.journal.durable and (last or now >= self._advance_at):
            self._advance(now)
        return low

    def _advance(self, now: float) -> None:
        marks = self.needed, self._listed
        if marks != self._advanced or self._copied:
            self._advance_at = now + ADVANCE_SECONDS
            self.journal.advance(*marks)
            self._advanced = marks
            while self._copied and self.parked is not None:
                self.parked.done(self._copied[-1])
                self._copied.pop()

    # -- parked copies ----------------------------------------------------------------------------------

    def park(self, places: Iterable[Place]) -> dict[int, int]:
        """Copy these records, so that the segments which hold them can go.

        Returns:
            Sequence -> the copy's position, of what is copied and safe.

        Raises:
            OSError: The copies may not survive a power loss: nothing was moved.
            SegmentDamaged: The first one is not there any more as it was written.
        """
        parked = self.parked
        assert parked is not None  # noqa: S101 - for the type checker; the caller opened it
        moved: dict[int, int] = {}
        size = 0
        try:
            for place in places:
                record = self.read(place.position)
                moved[place.sequence] = parked.append(record)
                size += record.size
                if size >= PARK_BYTES:
                    break
        except (OSError, AuditwireError):  # no room for more copies, or this one cannot be read
            if not moved:
                raise
        parked.sync()
        if self._removal is None:
            self._removal = self.window.copy()
        for sequence in moved:
            self._removal.mark(sequence)
        return moved

    def first_needed(self, sequence: int) -> int:
        """The first sequence from this one on that is neither acknowledged nor has a parked copy."""
        return (self._removal or self.window).first_open(sequence)
