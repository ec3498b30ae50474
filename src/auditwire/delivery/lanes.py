"""One lane for each partition: what waits for it, what is on its way, and how much may be.

A partition that does not answer gets no more records, and the others go on; for that the sender keeps a
window for each partition, which opens as acknowledgements come (as TCP's slow start does) and closes when
they do not. Otherwise one dead partition would fill the producer's queue, which all partitions share.

**The first record of a producer goes to a partition alone.** Up to Kafka 4.4 a broker that knows nothing of
a producer on a partition takes a batch with any sequence. When the first batch reaches it before it has heard
of a partition that was just made, that one is refused for the moment, and a second one on its way behind it
is taken; the first one does not follow any more, and was seen to be reported as delivered all the same
(KAFKA-15591, https://github.com/apache/kafka/pull/23234). One record alone has no second one behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.delivery.backlog import Backlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.delivery.backlog import Hold, Place
    from auditwire.delivery.feed import Feed
    from auditwire.journal import Record

__all__ = ["Chunk", "Lane"]

MAX_RECORDS = 2_000
"""Unacknowledged records of one partition at most."""

MAX_BYTES = 4 << 20
"""Unacknowledged bytes of one partition at most; one record is always allowed."""

FIRST_RECORDS = 128
"""Where the window begins, and what it falls back to after silence; 126 silent partitions fit the queue."""

FORGOTTEN_SECONDS = 3_600.0
"""After so long without a record a broker may have forgotten the producer; its own default is a day."""

SILENCE_SECONDS = 10.0
"""A partition that acknowledged nothing for so long gets no more until it does."""

NARROW_SECONDS = 60.0
"""How long a lane keeps to small batches after a batch was too large, before it tries full ones again."""


class Chunk:
    """Records of one lane that were produced in one go, and what has been reported of them."""

    __slots__ = ("alone", "failures", "generation", "lane", "number", "records", "reported", "size")

    def __init__(self, lane: Lane, generation: int, *, alone: bool) -> None:
        self.lane = lane
        self.generation = generation
        self.alone = alone
        """Nothing else of the lane was on its way: what fails now is to blame itself."""
        self.records: list[Record] = []
        self.size = 0
        self.reported = 0
        self.number = lane.produced
        """The place in the order in which the lane's chunks were produced."""
        self.failures: dict[bytes, int] = {}
        """Framed value -> error code. Values differ: each holds its stream and sequence."""


class Lane:
    """One partition of one topic. For the sender's thread; times are monotonic seconds."""

    __slots__ = (
        "again",
        "backlog",
        "chunks",
        "known",
        "narrow",
        "narrow_until",
        "not_before",
        "partition",
        "produced",
        "progress_at",
        "topic",
        "unacked",
        "unacked_bytes",
        "window",
    )

    def __init__(self, topic: str, partition: int, hold: Hold) -> None:
        self.topic = topic
        self.partition = partition
        self.backlog = Backlog(hold)
        self.again: list[tuple[int, list[Record]]] = []
        """Number of a chunk -> what of it has to be produced again, before the backlog."""
        self.chunks: set[Chunk] = set()
        self.produced = 0
        self.unacked = 0
        self.unacked_bytes = 0
        self.known = False
        """The broker has a record of this producer on this partition."""
        self.window = FIRST_RECORDS
        self.progress_at = 0.0
        self.narrow: int | None = None
        """When set: one chunk at a time, of at most so many bytes and at least one record."""
        self.narrow_until = 0.0
        self.not_before = 0.0
        """Nothing is produced before this time."""

    def room(self, now: float) -> tuple[int, int]:
        """How many records and bytes may be produced now; (0, 0) when none."""
        # what was produced behind records that go again may fail too: their order stays
        if now < self.not_before or (self.again and self.chunks):
            return 0, 0
        self._restore()
        if not self.unacked:
            self.known = self.known and now - self.progress_at <= FORGOTTEN_SECONDS
        elif self.narrow is not None or not self.known:
            return 0, 0
        elif now - self.progress_at > SILENCE_SECONDS:
            self.window = FIRST_RECORDS
            return 0, 0
        if not self.known:
            return 1, MAX_BYTES
        if self.narrow is not None:
            return MAX_RECORDS, self.narrow
        free = MAX_BYTES - self.unacked_bytes
        return (self.window - self.unacked, free) if free > 0 else (0, 0)

    def sent(self, chunk: Chunk, now: float) -> None:
        """A chunk is on its way."""
        if not self.unacked:
            self.progress_at = now
        self.chunks.add(chunk)
        self.produced += 1
        self.unacked += len(chunk.records)
        self.unacked_bytes += chunk.size

    def settled(self, chunk: Chunk, now: float) -> None:
        """All of a chunk's records were reported, as delivered or not."""
        self.chunks.discard(chunk)
        self.unacked -= len(chunk.records)
        self.unacked_bytes -= chunk.size
        self.progress_at = now
        if chunk.failures:
            return
        if not self.known:
            self.known = True
            return
        self.window = min(MAX_RECORDS, self.window * 2)
        if self.narrow is not None and now > self.narrow_until:
            self.narrow = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits here to be produced."""
        return not self.backlog and not self.again

    def put_back(self, chunk: Chunk, records: list[Record]) -> None:
        """These of a settled chunk have to be produced again, before everything that came later."""
        self.again.append((chunk.number, records))

    def settle_order(self) -> None:
        """Put what goes again before the backlog, unless something produced behind it is under way."""
        if not self.chunks:
            self._restore()

    def _restore(self) -> None:
        if not self.again:
            return
        for _, records in sorted(self.again, key=lambda item: item[0], reverse=True):
            self.backlog.put_back(records)
        self.again.clear()

    def drain(self) -> dict[Feed, Iterator[Record | Place]]:
        """Take everything out that waits: of each feed its own, in order."""
        self._restore()
        return self.backlog.drain()

    def narrow_to(self, size: int, now: float) -> None:
        """Produce one chunk at a time, of at most this many bytes; 0 for one record."""
        self.narrow = size
        self.narrow_until = now + NARROW_SECONDS

    def widen(self) -> None:
        """Full batches again."""
        self.narrow = None

    def forget_sent(self) -> tuple[list[Record], int]:
        """A new producer begins: what of the records on their way arrived, and how many go again, in order.

        Reports of one partition come in order, so that in a chunk without failures the first ones arrived.
        """
        arrived: list[Record] = []
        again = 0
        for chunk in self.chunks:
            done = 0 if chunk.failures else chunk.reported
            arrived.extend(chunk.records[:done])
            again += len(chunk.records) - done
            self.put_back(chunk, chunk.records[done:])
        self.chunks.clear()
        self.unacked = self.unacked_bytes = 0
        self.known = False
        return arrived, again
