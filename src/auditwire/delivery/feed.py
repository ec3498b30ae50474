"""One stream on its way to the broker: where its records come from, and how far they have come.

A sender has a feed of its own, the stream that its process writes, and may have others: streams whose
process has ended, or leaves delivery to this one. All share the producer, the topics and their lanes; a
record says by its ``origin`` whose it is.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from auditwire.delivery.window import AckWindow
from auditwire.events import CONTROL_TYPES

if TYPE_CHECKING:
    from auditwire.delivery.backlog import Hold
    from auditwire.journal import Journal, Record

__all__ = ["ADVANCE_SECONDS", "Feed"]

ADVANCE_SECONDS = 0.05
"""The journal hears how far its records have come at most once in so many seconds."""


_orders = count()


class Feed:
    """See the module. For the sender's thread; ``pending`` and the counters are for any. Times are monotonic.

    Args:
        journal: Where the records come from; it is told that they are this feed's.
        stream_id: The stream.
        source: The ``ce_source`` header; None for records without headers.
        now: The time.
        hold: Counts what is held in memory of a durable journal's records.
    """

    def __init__(self, journal: Journal, stream_id: str, source: str | None, now: float, hold: Hold) -> None:
        self.journal = journal
        journal.origin = self
        self.order = next(_orders)
        """Feeds are told apart, and put in an order, by this."""
        self.stream_id = stream_id
        self.source = source
        self.window = AckWindow()
        self.stands_for: dict[int, Record] = {}
        """Sequence of a quarantine record of this stream -> what it stands for, which may be another's."""
        self.done = 0
        """Records acknowledged, by the broker or in the stead of withheld ones."""
        self.control_done = 0
        """The control records among them."""
        self._skipped = 0  # sequences that no record waits for
        self.progress_at = now
        """When a record was last acknowledged, or when the first came to wait."""
        self._hold = hold if journal.durable else None
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

    def take(self, limit: int, now: float) -> list[Record]:
        """The next records in order, at most ``limit``; each is answered for by ``acked``, once."""
        records = self.journal.take(limit)
        if records:
            self.window.extend(len(records))
            if self._hold is not None:
                self._hold.add(len(records), sum(record.size for record in records))
            if not self._taken_at:
                self.progress_at = now
            self._taken_at.append((records[-1].sequence + 1, now))
        return records

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
        if self._hold is not None:
            self._hold.add(-done, -size)
        self.control_done += control  # first: who reads in between sees too few delivered, never too many
        self.done += done
        self.progress_at = now
        self.journal.release(size)
        return done

    def read(self, position: int) -> Record:
        """A record that was taken before, again."""
        return self.journal.read(position)

    def lost(self, sequence: int) -> None:
        """This record cannot be read any more, and never reaches the broker: it holds nothing back."""
        self._skipped += self.window.mark(sequence)

    def checkpoint(self, sequence: int, below: int) -> None:
        """The checkpoint with this sequence and those before it list every record below ``below``."""
        self._listings.append((sequence, below))

    def move(self, now: float, *, last: bool = False) -> int:
        """Tell the journal how far its records have come; the low-water mark.

        Args:
            now: The time.
            last: The last call of all, or the caller needs the journal to know now.
        """
        low = self.window.low
        taken_at, listings = self._taken_at, self._listings
        while taken_at and taken_at[0][0] <= low:
            taken_at.popleft()
        while listings and listings[0][0] < low:
            self._listed = listings.popleft()[1]
        if self.journal.durable and (last or now >= self._advance_at):
            marks = low, self._listed
            if marks != self._advanced:
                self.journal.advance(*marks)
                self._advanced = marks
                self._advance_at = now + ADVANCE_SECONDS
        return low
