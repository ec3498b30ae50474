"""A stream that another process writes, or wrote, on its way to the broker: read from its files.

Its records go out as they are. What has to be said of them, that one is withheld or how far they could be
read, is said in the sender's own stream: nobody writes into another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditwire.delivery.backlog import Place
from auditwire.delivery.feed import Feed
from auditwire.delivery.window import AckWindow
from auditwire.errors import DecodingError
from auditwire.events import CheckpointEvent
from auditwire.journal.parked import ParkedLog
from auditwire.journal.reader import StreamReader
from auditwire.journal.recovery import keep_unreadable
from auditwire.journal.target import same_boot
from auditwire.jsonable import whole
from auditwire.wire import decode, frame_single_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditwire.delivery.backlog import Hold
    from auditwire.journal import Record
    from auditwire.journal.budget import Budget
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.layout import JournalPath
    from auditwire.journal.locks import Lock

__all__ = ["ForeignFeed"]

LOADED = 2_000
"""Parked copies that are looked at in one round."""

_CHECKPOINT = CheckpointEvent.event_type
_LOOKS = 4  # batches that one take goes through in search of a record that is not done
_GAP = 1 << 22  # a longer gap waits for everything before it, so that it takes no memory
_RANGES = 2_000  # 60 KB of a recovery record
_KEPT_AT_ONCE = 16  # unreadable ranges, each of which takes some synchronisations of the disk


class _Files:
    """A stream's files as the source of a feed."""

    durable = True
    backlog = 0
    """Not known: the files tell when they are read."""

    def __init__(self, reader: StreamReader, budget: Budget | None) -> None:
        self.origin: Any = None
        self._budget = budget
        self.take = reader.take
        self.read = reader.read
        self._reader = reader

    def release(self, size: int) -> None:
        """The bound is the path's, and counts files."""

    def advance(self, low: int, listed: int) -> None:
        freed = self._reader.advance(low, listed)
        if self._budget is not None:
            self._budget.freed(freed)


class ForeignFeed(Feed):
    """See the module.

    Args:
        path: The journal path.
        directory: The stream.
        info: The stream's description.
        sender: The stream's sender lock, held; the feed releases it.
        owner: The owner's lock, held, for a stream without an owner; the feed releases it.
        live: Whether the owner may still write; not asked where ``owner`` is given.
        put: Hands a parked copy over, which goes to this topic.
        now: Monotonic seconds.
        hold: Counts what is in memory.
        budget: Of the journal path, None for no bound.

    Raises:
        OSError: The directory cannot be read. The locks are not released.
    """

    def __init__(
        self,
        path: JournalPath,
        directory: StreamDirectory,
        info: dict[str, Any],
        *,
        sender: Lock,
        owner: Lock | None,
        live: Callable[[], bool],
        put: Callable[[str, Place], None],
        now: float,
        hold: Hold,
        budget: Budget | None,
    ) -> None:
        self.path = path
        self.directory = directory
        self.info = info
        self.owner = owner
        self._sender = sender
        self._put = put
        self._budget = budget
        is_live = live if owner is None else _never
        self.reader = StreamReader(
            path.fs, directory, live=is_live, restarted=not same_boot(info), origin=self
        )
        source = info.get("source")
        super().__init__(
            _Files(self.reader, budget),
            directory.stream_id,
            whole(source) if isinstance(source, str) else None,
            now,
            hold,
            self.reader.low,
        )
        self.last: Record | None = None
        """The last readable record so far."""
        self.closed = False
        """Whether that is a closing checkpoint."""
        self.listed = self.reader.listed
        """The stream's checkpoints list every record below this sequence, whether they are done or not."""
        self._listed = self.reader.listed
        self._low = self.reader.low
        self._copies: dict[str, dict[int, int]] = {}  # topic -> sequence -> position
        self._ahead: dict[
            int, tuple[str, int]
        ] = {}  # copies of what the segments have too, for when it comes
        self._later: list[Record] = []  # what comes behind a gap of such a length
        self._loading: Iterator[Record] | None = None
        self._kept = 0
        self._kept_parked = 0
        self._begin()

    def _begin(self) -> None:
        self.parked = self.copies = ParkedLog(
            self.path, self.directory, self.info, budget=self._budget, origin=self
        )
        self._copies.clear()
        self._loading = self.copies.load(restarted=not same_boot(self.info))

    @property
    def reader_lives(self) -> bool:
        """Whether the stream has an owner who may still write, as far as that is known."""
        return self.owner is None and not self.reader.at_end

    @property
    def at_end(self) -> bool:
        """Whether the writer is gone, and everything that can be read was taken."""
        return self._loading is None and self.reader.at_end and not self._later and not self._ahead

    # -- reading ----------------------------------------------------------------------------------------

    def _next(self, limit: int) -> list[Record]:
        self.busy = True
        if self._loading is not None:
            self._load()
            return []
        for _ in range(_LOOKS):
            records = self._later or self.reader.take(limit)
            if not records or (self._later and self.waits):
                self.busy = False
                if not records and self.reader.at_end and self._ahead:
                    self._skip_to(max(self._ahead) + 1)  # copies of what the segments have not got any more
                return []
            records = self._sift(self._before_gap(records))
            if records:
                return records
        return []

    def _before_gap(self, records: list[Record]) -> list[Record]:
        """Those in front of the first gap that is so long that what comes behind has to wait."""
        self._later = []
        if records[-1].sequence - self.window.end < _GAP:
            return records
        before = self.window.end
        for index, record in enumerate(records):
            if record.sequence - before > _GAP and (index or self.waits):
                self._later = records[index:]
                return records[:index]
            before = max(before, record.sequence + 1)
        return records

    def _load(self) -> None:
        """Look at the parked copies that an earlier sender left: they are all still to be sent."""
        assert self._loading is not None  # noqa: S101 - for the type checker; the caller looked
        try:
            for count, record in enumerate(self._loading, 1):
                self._copies.setdefault(record.topic, {})[record.sequence] = record.position
                if count == LOADED:
                    return
        except OSError:
            self.copies.close()
            self._begin()  # from the beginning: half a file counts as known
            raise
        self._loading = None
        copies, self._copies = self._copies, {}
        sequences = sorted({sequence for places in copies.values() for sequence in places})
        if not sequences:
            return
        start = min(sequences[0], self._low)
        self.window, self._removal = AckWindow(start), AckWindow(self._low)
        self._skipped = start
        for sequence in sequences:
            if sequence < self._low:
                self._skip_to(sequence)
                self.window.extend(1)
        self._skip_to(self._low)
        for topic, places in copies.items():
            for sequence, position in sorted(places.items()):
                if sequence < self._low:
                    self._put(topic, Place(self, sequence, position))
                else:
                    self._ahead[sequence] = topic, position

    def _sift(self, records: list[Record]) -> list[Record]:
        """Of records as they were read, those that are still to be sent."""
        if not records:
            return records
        for record in records:
            if record.event_type == _CHECKPOINT:
                self._look_at(record)
        self.last = records[-1]
        if self.last.event_type != _CHECKPOINT:
            self.closed = False
        first, last = records[0].sequence, records[-1].sequence
        if first == self.window.end and last - first == len(records) - 1 and not self._ahead:
            self._extend(len(records))
            return records
        wanted = []
        for record in records:
            if record.sequence >= self._low:
                self._skip_to(record.sequence)
                self._extend(1)
                if record.sequence in self._ahead:
                    self._put_copy(record.sequence)
                else:
                    wanted.append(record)
        return wanted

    def _look_at(self, record: Record) -> None:
        """Of a checkpoint: how far it lists, and whether it closes the stream."""
        try:
            event = decode(frame_single_object(record.fingerprint, record.body)).event
        except DecodingError:
            return  # of a version that this library does not know: what it lists counts as unlisted
        if isinstance(event, CheckpointEvent):
            below = event.first_sequence + len(event.entries)
            self.closed = event.reason == "close"
            self.listed = max(self.listed, below)
            self.checkpoint(record.sequence, self.listed)

    def _skip_to(self, sequence: int) -> None:
        """What lies between is not there."""
        for copied in sorted(s for s in self._ahead if s < sequence):
            self._skip_to(copied)
            self._extend(1)
            self._put_copy(copied)
        self._skipped += max(0, sequence - self.window.end)
        self.window.skip_to(sequence)
        if self._removal is not None:
            self._removal.skip_to(sequence)

    def _put_copy(self, sequence: int) -> None:
        topic, position = self._ahead.pop(sequence)
        if self._removal is not None:
            self._removal.mark(sequence)
        self._put(topic, Place(self, sequence, position))

    # -- the end ----------------------------------------------------------------------------------------

    @property
    def unlisted_from(self) -> int:
        """The first sequence that neither a checkpoint of the stream lists nor `stated` was told of."""
        return max(self.listed, self._listed)

    def stated(self, below: int) -> None:
        """Acknowledged recovery records and checkpoints list every record below this sequence."""
        self._listed = max(self._listed, below)

    @property
    def damaged(self) -> bool:
        """Whether something could not be read."""
        return self.reader.damaged or bool(self.copies.unreadable)

    @property
    def unreadable(self) -> list[str]:
        """``segment:from-to`` of what could not be read; copies of parked records are not counted here.

        Of very many, one for each segment, from its first to its last: they have to fit into a record.
        """
        found = [damage[:3] for damage in self.reader.unreadable]
        if len(found) > _RANGES:
            joined: dict[int, tuple[int, int]] = {}
            for segment, start, end in found:
                first, last = joined.get(segment, (start, end))
                joined[segment] = min(first, start), max(last, end)
            found = [(segment, *both) for segment, both in sorted(joined.items())]
        return [f"{segment}:{start}-{end}" for segment, start, end in found]

    def keep_unreadable(self, at_us: int) -> bool:
        """Keep some of the bytes that could not be read, before anything is removed; whether all are kept.

        Raises:
            OSError: They cannot be kept now. Nothing is removed until they are.
        """
        for damage in self.reader.unreadable[self._kept : self._kept + _KEPT_AT_ONCE]:
            self._keep(damage, at_us, parked=False)
            self._kept += 1
        for damage in self.copies.unreadable[self._kept_parked : self._kept_parked + _KEPT_AT_ONCE]:
            self._keep(damage, at_us, parked=True)
            self._kept_parked += 1
        return self._all_kept

    @property
    def _all_kept(self) -> bool:
        return self._kept >= len(self.reader.unreadable) and self._kept_parked >= len(self.copies.unreadable)

    def _keep(self, damage: Any, at_us: int, *, parked: bool) -> None:
        try:
            keep_unreadable(self.path, self.directory, damage, at_us=at_us, parked=parked)
        except FileNotFoundError:
            return  # the file is gone, and with it what could have been kept

    def move(self, now: float, *, last: bool = False) -> int:
        if not self._all_kept:
            return self.low  # nothing is removed whose bytes are not kept yet
        return super().move(now, last=last)

    def close(self) -> None:
        """Let go of files and locks; the stream stays for whoever comes next."""
        self.reader.close()
        self.copies.close()
        for lock in (self._sender, self.owner):
            if lock is not None:
                lock.release()

    def abandon(self) -> None:
        """In a forked child: close the descriptors, which are the parent's too; unlock nothing."""
        self.reader.abandon()
        self.copies.abandon()
        for lock in (self._sender, self.owner):
            if lock is not None:
                lock.abandon()


def _never() -> bool:
    return False
