"""The journal in memory: a bounded queue, lost with the process.

**Why there is no lock.** ``append`` puts a draft at the end of a ``deque``: one C call, which happens whole
or not at all, whatever signal arrives. A draft's number is its place in the queue, given by the sender when
it takes the draft out, so that there is no counter that could disagree with the queue. A signal handler, a
finaliser or a logging handler that emits inside an emit just appends too. Nothing can deadlock, for nothing
is locked.

**How bytes are bounded.** ``_in`` grows by each draft's size behind its append, ``_out`` by what the sender
releases. An exception that a signal handler raises between append and addition leaves them apart by one
draft; the sender knows the exact size of what it holds and puts the difference right whenever it finds the
queue empty (``_reconcile``).

**How a late append is told from a lost one.** ``seal`` is a flag; a thread that looked at it before it was
set may append after the sender's last take. It therefore looks again behind its append, and takes its draft
back. When the draft is no longer there, the sender has it, and it was accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from operator import attrgetter
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

from auditwire.errors import CollectorClosed, JournalFull
from auditwire.journal.base import OVERHEAD, Barrier, Draft, Record, Waiters, Wakeup
from auditwire.wire import schema_for, sequence_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

__all__ = ["MemoryJournal"]

RESERVE = 8
"""Control records may use one part in this many beyond the capacity, and at least 1 MiB."""

_MIN_RESERVE = 1 << 20

_size_of = attrgetter("size")
_new = tuple.__new__  # a Record in a third of the time that its own constructor takes


class MemoryJournal:
    """See the module and :class:`auditwire.journal.base.Journal`.

    Args:
        capacity: Bytes that may wait, 64 MiB by default; each record counts its bytes and 400 more.
        on_full: ``"block"`` waits for room, ``"drop_newest"`` refuses at once.
        full_timeout: Seconds that ``"block"`` waits, once per full period: the first append to wait in vain
            ends the patience, until room comes back. An append on a thread with a running event loop, or by
            the sender itself, never waits.
    """

    durable = False
    previous: Sequence[str] = ()

    def __init__(
        self,
        capacity: int = 64 << 20,
        *,
        on_full: Literal["block", "drop_newest"] = "block",
        full_timeout: float = 5.0,
    ) -> None:
        self._capacity = capacity
        self._reserve = max(_MIN_RESERVE, capacity // RESERVE)
        self._patience = full_timeout if on_full == "block" else 0.0
        self._gave_up = False
        self._room = Waiters()
        self._inbox: deque[Draft | Barrier] = deque()
        self._control: deque[Record] = deque()
        self._marks: deque[Barrier] = deque()  # those in the inbox, which are no records
        self._reached: list[Barrier] = []
        self._next = 0
        self._fingerprints: dict[str, bytes] = {}
        self._in = 0
        self._out = 0
        self._held = 0
        self._drift = 0
        self._sealed = False
        self._idle = False
        self._signal = Wakeup()
        self._reader: int | None = None
        self.origin: Any = None

    # -- any thread -------------------------------------------------------------------------------------

    def append(self, draft: Draft) -> None:
        size = draft.size
        if self._in - self._out + size > self._capacity:
            self._await_room(size)
        if self._sealed:
            raise CollectorClosed("the collector is closed: the event was not accepted")
        self._inbox.append(draft)
        self._in += size
        if self._sealed:
            self._take_back(draft, size)  # type: ignore[unreachable] # another thread set it
        if self._idle:
            self.wake()

    def _take_back(self, draft: Draft, size: int) -> None:
        try:
            self._inbox.remove(draft)
        except ValueError:
            return  # the sender has it: accepted
        self._in -= size
        raise CollectorClosed("the collector was closed meanwhile: the event was not accepted")

    def _await_room(self, size: int) -> None:
        if size > self._capacity:
            raise JournalFull(f"an event of {size} bytes can never fit: journal_bytes is {self._capacity}")
        patience = self._patience
        if patience and not self._gave_up and not self._must_not_wait():
            deadline = monotonic() + patience
            if self._room.wait(lambda: self._sealed or self._fits(size) or self._gave_up, deadline):
                if self._sealed or self._fits(size):
                    return
            else:
                self._gave_up = True
                self._room.wake()  # the others have waited as long as anyone is asked to in this period
        raise JournalFull(
            f"the journal is full ({self.pending_bytes} of {self._capacity} bytes wait for the broker): "
            "the event was refused"
        )

    def _fits(self, size: int) -> bool:
        return self._in - self._out + size <= self._capacity

    def _must_not_wait(self) -> bool:
        return get_ident() == self._reader or asyncio._get_running_loop() is not None  # noqa: SLF001 - no public twin that does not raise

    def barrier(self) -> Barrier:
        mark = Barrier()
        self._marks.append(mark)
        self._inbox.append(mark)
        self.wake()
        return mark

    def withdraw(self, mark: Barrier) -> None:
        mark.withdrawn = True  # for the sender, if it has the mark already
        for queue in (self._inbox, self._marks):
            with contextlib.suppress(ValueError):
                queue.remove(mark)

    def wake(self) -> None:
        self._signal.give()

    @property
    def next_sequence(self) -> int:
        return self._next

    @property
    def backlog(self) -> int:
        return self.backlog_drafts + len(self._control)

    @property
    def backlog_drafts(self) -> int:
        return max(0, len(self._inbox) - len(self._marks))

    @property
    def oldest_us(self) -> int | None:
        inbox = self._inbox
        for place in range(len(inbox)):  # by index: an iterator fails when another thread appends
            try:
                item = inbox[place]
            except IndexError:  # a late append took its draft back
                return None
            if isinstance(item, Draft):
                return item.timestamp_us
        return None

    @property
    def pending_bytes(self) -> int:
        return max(0, self._in - self._out)

    # -- the sender's thread ----------------------------------------------------------------------------

    def append_control(self, draft: Draft) -> int | None:
        size = draft.size
        if self._in - self._out + size > self._capacity + self._reserve:
            return None
        record = self._number(draft)
        self._control.append(record)
        self._in += size
        return record.sequence

    def take(self, limit: int) -> list[Record]:
        self._reader = get_ident()
        out: list[Record] = []
        while self._control and len(out) < limit:
            out.append(self._control.popleft())
        inbox, number = self._inbox, self._number
        while len(out) < limit:
            try:
                item = inbox.popleft()
            except IndexError:  # nothing more
                break
            if item.__class__ is Barrier:
                item.sequence = self._next
                self._reached.append(item)
                with contextlib.suppress(ValueError):  # withdrawn meanwhile
                    self._marks.remove(item)
            else:
                out.append(number(item))  # type: ignore[arg-type] # the other of two
        self._held += sum(map(_size_of, out))
        return out

    def _number(self, draft: Draft) -> Record:
        event_type, topic, key, timestamp_us, event_id, trace, head, tail = draft
        sequence = self._next
        body = b"".join((head, sequence_bytes(sequence), tail))
        try:
            fingerprint = self._fingerprints[event_type]
        except KeyError:
            fingerprint = self._fingerprints[event_type] = schema_for(event_type).fingerprint
        self._next = sequence + 1
        return _new(
            Record,
            (
                sequence,
                event_type,
                topic,
                key,
                timestamp_us,
                event_id,
                trace,
                body,
                len(head) + len(tail) + len(key) + OVERHEAD,  # as Draft.size
                fingerprint,
                -1,
                self.origin,
            ),
        )

    def barriers(self) -> list[Barrier]:
        reached, self._reached = self._reached, []
        return reached

    def release(self, size: int) -> None:
        self._held -= size
        self._out += size
        self._gave_up = False
        self._room.wake()

    def advance(self, low: int, listed: int) -> None:
        """Nothing is kept."""

    def read(self, position: int) -> Record:
        """Never asked: no record has a position."""
        raise LookupError(f"a journal in memory has no position {position}")

    def seal(self) -> None:
        self._sealed = True
        self._room.wake()

    def wait(self, timeout: float) -> None:
        self._idle = True
        try:
            if not self._inbox and not self._control:
                self._reconcile()
                self._signal.sleep(timeout)
        finally:
            self._idle = False
            self._signal.clear()

    def start(self) -> None:
        """Nothing happens in the background."""

    def close(self, *, ended: str | None) -> None:
        """Nothing outlives the process."""

    def after_fork(self) -> None:
        """Memory is copied by a fork, and nobody uses the copy."""

    def _reconcile(self) -> None:
        """Put right what interrupted appends left; twice the same difference, so that none is under way."""
        drift = self._in - self._out - self._held
        if drift and drift == self._drift and not self._inbox:
            self._out += drift
            drift = 0
        self._drift = drift
