"""The journal on disk: what is accepted survives the process, and after a synchronisation the machine.

In come drafts from any thread (:mod:`auditwire.journal.writer`), out come records for the one sender, read
back from the files as any other process would read them (:mod:`auditwire.journal.reader`). The two share
nothing but the files. A thread of its own synchronises (:mod:`auditwire.journal.syncing`).

**Full** is the whole path: when the next segment would exceed the bound, or the disk has no room for it, or
refuses it. What is in a segment is safe; what finds no segment is refused, and written down as lost. Control
records have a reserve in each segment, and those that make room may exceed the bound by up to an eighth.
Room comes back by itself when segments are delivered and removed, or when somebody frees the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal

from auditwire.errors import AuditwireError, CollectorClosed, JournalFull
from auditwire.journal.base import Barrier, Waiters, Wakeup
from auditwire.journal.budget import Budget
from auditwire.journal.making import FIRST_SEGMENT, SEGMENT, Refusal
from auditwire.journal.reader import StreamReader
from auditwire.journal.standing import Standing
from auditwire.journal.syncing import SYNC_SECONDS, Syncer
from auditwire.journal.writer import StreamWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from auditwire.journal.base import Draft, Record
    from auditwire.journal.filesystem import FileSystem
    from auditwire.journal.layout import JournalPath, StreamDirectory
    from auditwire.journal.syncing import SyncMode

__all__ = ["DEFAULT_CAPACITY", "MIN_CAPACITY", "DiskJournal"]

log = logging.getLogger("auditwire")

DEFAULT_CAPACITY = 1 << 30
"""Bytes of a whole journal path."""

MIN_CAPACITY = 8 << 20
"""The least that a journal path can be bounded by: a few small segments."""

_SEGMENTS = 8
"""The bound holds at least so many segments; a smaller bound makes smaller segments."""

_LOOKS = 64
"""Batches that one look ahead passes over at most, on its way to what it has not seen."""

_PRESSURE = 0.5
"""The part of the bound above which room has to be made."""


class DiskJournal:
    """See the module and :class:`auditwire.journal.base.Journal`.

    Args:
        path: The journal path.
        stream_id: The stream that is written.
        info: What ``stream.json`` and each segment's header say of it.
        capacity: Bytes of the whole path.
        on_full: ``"block"`` waits for room, ``"drop_newest"`` refuses at once.
        full_timeout: Seconds that ``"block"`` waits, once per full period; never on a thread with a running
            event loop, and never by the sender itself.
        sync: See :mod:`auditwire.journal.syncing`.
        sync_seconds: Pause between two synchronisations.
        sends: Whether this process delivers the stream too, and so holds ``sender.lock``.
        monotonic: Clock, seconds.
    """

    durable = True

    def __init__(
        self,
        path: JournalPath,
        stream_id: str,
        info: Mapping[str, Any],
        *,
        capacity: int = DEFAULT_CAPACITY,
        on_full: Literal["block", "drop_newest"] = "block",
        full_timeout: float = 5.0,
        sync: SyncMode = "interval",
        sync_seconds: float = SYNC_SECONDS,
        sends: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.stream_id = stream_id
        self.origin: object = None
        """Put into every record that ``take`` gives."""
        self._fs: FileSystem = path.fs
        self._info = {**info, "delivers": sends}
        self._sends = sends
        self._capacity = capacity
        self._mode: SyncMode = sync
        self._patience = full_timeout if on_full == "block" else 0.0
        self._gave_up = False
        self._room = Waiters()
        self._reader: StreamReader | None = None
        self._ahead: StreamReader | None = None
        self._looked = 0
        self._marks: deque[Barrier] = deque()
        self._sealed = False
        self._closed = False
        self._opened = False
        self._accepts = False  # opened, and the directory is there
        self._taken = 0
        self._released = 0
        self._idle = False
        self._signal = Wakeup()
        self._reading_thread: int | None = None
        self.budget = Budget(path, capacity, monotonic)
        self._standing = standing = Standing(
            path, stream_id, self._info, self.budget, sends=sends, monotonic=monotonic
        )
        self._writer = StreamWriter(
            self._fs,
            standing.make,
            self._info,
            stream_id,
            self.budget,
            segment_bytes=max(FIRST_SEGMENT, min(SEGMENT, capacity // _SEGMENTS)),
            mode=path.file_mode,
            monotonic=monotonic,
        )
        self._syncer = Syncer(self._fs, self._writer, sync, interval=sync_seconds, monotonic=monotonic)
        self._thread: threading.Thread | None = None
        self.previous: Sequence[str] = ()
        with contextlib.suppress(OSError):  # no descriptors, say: a later stream names them
            self.previous = path.ended()
        self._named = False
        if not standing.lacks_room:
            with contextlib.suppress(AuditwireError):  # the path was changed since: the first append is told
                self._writer.begin()

    @property
    def directory(self) -> StreamDirectory | None:
        """The stream's directory; None while it could not be made yet."""
        return self._writer.directory

    # -- any thread -------------------------------------------------------------------------------------

    def append(self, draft: Draft) -> None:
        if self._sealed:
            raise CollectorClosed("the collector is closed: the event was not accepted")
        # record 0 is the opening checkpoint, which waits for the disk if that had no room at the beginning
        result = self._writer.append(draft) if self._accepts else self._not_opened()
        if result.__class__ is Refusal:
            result = self._append_later(draft, result)
        elif self._gave_up:
            self._look_for_room()
        if self._mode == "always":
            # a disk that does not confirm it is no reason to refuse what is accepted: `problem` says it
            self._syncer.through(result)  # type: ignore[arg-type]
        if self._idle:
            self.wake()
        if self._syncer.idle:
            self._syncer.wake()

    def _append_later(self, draft: Draft, refusal: Refusal) -> int:
        """There was no room: wait for it if the caller may wait, and try again."""
        patience = self._patience
        may_wait = patience and not self._gave_up and refusal.room and not self._must_not_wait()
        deadline = time.monotonic() + patience
        while may_wait and not self._sealed and not self._gave_up:
            left = deadline - time.monotonic()
            if left <= 0:
                self._gave_up = True
                self._room.wake()  # the others have waited as long as anyone is asked to in this period
                break
            # in slices: room on a disk comes back without anybody telling
            self._room.wait(self._may_retry, time.monotonic() + min(left, 0.25))
            if self._accepts:
                result = self._writer.append(draft)
                if not isinstance(result, Refusal):
                    return result
                refusal = result
        if self._sealed:
            raise CollectorClosed("the collector was closed meanwhile: the event was not accepted")
        raise JournalFull(
            f"{refusal.reason}: the event was refused ({self.budget.used} of {self._capacity} bytes of "
            f"{self.path.path} are in use)"
        )

    def _not_opened(self) -> Refusal:
        return Refusal(self._standing.problem(self._writer.problem) or "the journal is being opened")

    def _look_for_room(self) -> None:
        """End the full period when there is room again, and the last segment that was wanted was made."""
        if self._gave_up and self._standing.current(self._writer.problem) is None and self._writer.room:
            self._gave_up = False

    def _may_retry(self) -> bool:
        return self._sealed or self._gave_up or (self._accepts and self._writer.room)

    def _must_not_wait(self) -> bool:
        return get_ident() == self._reading_thread or asyncio._get_running_loop() is not None  # noqa: SLF001 - no public twin that does not raise

    def barrier(self) -> Barrier:
        self._writer.settle()
        mark = Barrier()
        mark.sequence = self._writer.next_sequence
        self._marks.append(mark)
        self.wake()
        return mark

    def withdraw(self, mark: Barrier) -> None:
        mark.withdrawn = True
        with contextlib.suppress(ValueError):
            self._marks.remove(mark)

    def wake(self) -> None:
        self._signal.give()

    def sync(self) -> bool:
        """Return when everything accepted before is on the disk: True; False when the disk refuses."""
        return self._syncer.sync()

    @property
    def next_sequence(self) -> int:
        return self._writer.next_sequence

    @property
    def backlog(self) -> int:
        return max(0, self._writer.next_sequence - self._taken)

    @property
    def backlog_drafts(self) -> int:
        return 0  # a record has its number as soon as it is accepted

    @property
    def oldest_us(self) -> int | None:
        return None

    @property
    def pending_bytes(self) -> int:
        return max(0, self._writer.written - self._released)

    @property
    def unsynced(self) -> int:
        """Records that a loss of power would cost at this moment."""
        return max(0, self._writer.next_sequence - self._syncer.synced)

    @property
    def problem(self) -> str | None:
        """What the file system refuses at the moment; None when all is well."""
        return self._standing.problem(self._writer.problem) or self._syncer.problem

    @property
    def pressure(self) -> bool:
        """Whether so much of the bound is used that room should be made."""
        refused = self._standing.current(self._writer.problem)
        return refused is not None or self.budget.used > self._capacity * _PRESSURE

    # -- the sender's thread ----------------------------------------------------------------------------

    def append_control(self, draft: Draft) -> int | None:
        if self._standing.lacks_room:
            return None
        result = self._writer.append(draft, control=True)
        if self._syncer.idle:
            self._syncer.wake()
        if isinstance(result, Refusal):
            return None
        if not self._opened:
            self._opened = True
            self._accepts = not self._standing.gone
            self._room.wake()
        return result

    def take(self, limit: int) -> list[Record]:
        self._reading_thread = get_ident()
        self._look()
        if self._reader is None:
            self._reader = self._open_reader(moves=self._sends)
        if self._reader is None:
            return []
        records = self._reader.take(limit)
        if records:
            self._taken = records[-1].sequence + 1
            if self._ahead is not None and self._taken > self._looked:
                self._ahead.close()  # it would keep the disk space of removed segments
                self._ahead = None
        if not self._named:
            self._forget_previous()
        return records

    def _look(self) -> None:
        if self._standing.look(self._writer.problem):
            # nothing goes into files that nobody could find any more; what is in them is still delivered
            self._accepts = self._opened and not self._standing.gone
            self._look_for_room()
            self._room.wake()

    def look_ahead(self, limit: int) -> list[Record]:
        """The next records that `take` has not given yet and this has not either, to be digested only."""
        self._look()  # while memory is full, nothing is taken
        if self._ahead is None:
            self._ahead, self._looked = self._open_reader(moves=False), self._taken
        if self._ahead is None:
            return []
        for _ in range(_LOOKS):
            records = [r for r in self._ahead.take(limit) if r.sequence >= self._looked]
            if records:
                self._looked = records[-1].sequence + 1
                return records
        return []

    def _open_reader(self, *, moves: bool) -> StreamReader | None:
        if self._writer.tail_number < 0:  # the opening checkpoint is tried again and again, and opens it
            return None
        directory = self._writer.directory
        assert directory is not None  # noqa: S101 - the writer has begun
        return StreamReader(
            self._fs,
            directory,
            verify=False,
            live=lambda: True,
            moves=moves,
            origin=self.origin,
        )

    def read(self, position: int) -> Record:
        """A record again that ``take`` gave, as long as nothing above it was advanced over."""
        assert self._reader is not None  # noqa: S101 - a position comes from take
        return self._reader.read(position)

    def advance(self, low: int, listed: int) -> None:
        """Everything below ``low`` is done, and everything below ``listed`` is in a done checkpoint."""
        if self._reader is not None:
            self.budget.freed(self._reader.advance(low, listed))
            self._look_for_room()
            self._room.wake()

    def release(self, size: int) -> None:
        self._released += size
        self._look_for_room()

    def barriers(self) -> list[Barrier]:
        reached: list[Barrier] = []
        with contextlib.suppress(IndexError):  # the last one was withdrawn in this instant
            while self._marks:
                reached.append(self._marks.popleft())
        return reached

    def wait(self, timeout: float) -> None:
        self._idle = True
        try:
            if not self.backlog and not self._marks:
                self._signal.sleep(timeout)
        finally:
            self._idle = False
            self._signal.clear()

    # -- the end ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to synchronise in the background."""
        if self._thread is None and self._mode != "never":
            thread = threading.Thread(target=self._syncer.run, name="auditwire-sync", daemon=True)
            with contextlib.suppress(RuntimeError):  # the interpreter is shutting down: close synchronises
                thread.start()
                self._thread = thread

    def seal(self) -> None:
        self._sealed = True
        self._writer.seal()
        self._room.wake()

    def _forget_previous(self) -> None:
        """The opening checkpoint that names them is on the disk: nobody else has to."""
        if not self._named and self._syncer.synced:
            self._named = True
            try:
                self.path.forget_ended(self.previous)
            except OSError as error:  # the next stream names them once more, which does no harm
                log.warning("%s: %s", self.path.path, error)

    def close(self, *, ended: str | None) -> None:
        if self._closed:
            return
        self._closed = True
        self._syncer.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)
        directory = self._writer.directory
        try:
            if directory is not None and (ended is None or not self._named):
                self._syncer.sync()
                self._forget_previous()
            if directory is not None and ended is not None:
                self.path.note_ended(ended)
                directory.remove()
            elif directory is not None and self._writer.tail_number < 0:
                directory.remove()  # there was never room for a record
        except OSError as error:
            log.warning("the journal's directory %s could not be put away: %s", self.path.path, error)
        for reader in (self._reader, self._ahead):
            if reader is not None:
                reader.close()
        for lock in self._standing.locks:
            lock.release()

    def after_fork(self) -> None:
        """In a forked child: all of this is the parent's; close what was inherited, unlock nothing."""
        self._sealed = self._closed = True
        self._writer.after_fork()
        for lock in self._standing.locks:
            lock.abandon()
        for reader in (self._reader, self._ahead):
            if reader is not None:
                reader.abandon()
