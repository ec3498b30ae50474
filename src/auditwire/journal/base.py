"""What all journals have in common: what goes in, what comes out, and the promises in between."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["OVERHEAD", "Barrier", "Draft", "Journal", "Record", "Waiters", "Wakeup"]

OVERHEAD = 400
"""Bytes that a waiting record is counted for beside its own: the Python objects around it."""


class Draft(NamedTuple):
    """An encoded event, complete but for its number: body = ``head`` + sequence + ``tail``."""

    event_type: str
    topic: str
    key: bytes
    timestamp_us: int
    event_id: str
    trace: bytes | None
    head: bytes
    tail: bytes

    @property
    def size(self) -> int:
        """The bytes that this draft is counted for in the journal's bound."""
        return len(self.head) + len(self.tail) + len(self.key) + OVERHEAD


class Record(NamedTuple):
    """A numbered record, ready to be framed and produced.

    Attributes:
        sequence: Its number in its stream.
        event_type: Such as ``turn_start``.
        topic: Where it goes.
        key: The Kafka key.
        timestamp_us: Of the event, microseconds since the epoch.
        event_id: For the ``ce_id`` header.
        trace: The ``traceparent`` header, or None.
        body: The whole Avro body, without framing.
        size: The bytes that it is counted for in the journal's bound.
        fingerprint: CRC-64-AVRO of the schema that it was written with, 8 bytes, little-endian.
        position: Where it can be read again, for the journal that gave it; -1 for a record in memory only.
        origin: Whose it is: what the journal was told when it was made.
    """

    sequence: int
    event_type: str
    topic: str
    key: bytes
    timestamp_us: int
    event_id: str
    trace: bytes | None
    body: bytes
    size: int
    fingerprint: bytes
    position: int = -1
    origin: Any = None


class Barrier:
    """A mark among the drafts: every event accepted before it has a lower number than ``sequence``.

    The sender sets ``sequence`` when it reaches the mark, and releases the mark when everything below is
    done.
    """

    __slots__ = ("_lock", "sequence", "withdrawn")

    def __init__(self) -> None:
        self.sequence: int | None = None
        self.withdrawn = False
        self._lock = Lock()
        self._lock.acquire()

    def wait(self, timeout: float) -> bool:
        """True when released within ``timeout`` seconds."""
        if self._lock.acquire(timeout=max(0.0, timeout)):
            self._lock.release()
            return True
        return False

    def release(self) -> None:
        """By the sender, once: everything before the mark is done."""
        self._lock.release()


class Waiters:
    """Threads that wait for something another thread does, without a lock that both take.

    ``threading.Condition`` would deadlock where a signal handler emits inside an emit: its lock is held by
    the frame below. Here each waiter has a lock of its own, and the queue of them is changed by single C
    calls.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Lock] = deque()

    def wait(self, predicate: Callable[[], bool], deadline: float) -> bool:
        """Wait until the predicate holds; False when it does not at ``deadline`` (monotonic seconds)."""
        if predicate():
            return True
        while True:
            lock = Lock()
            lock.acquire()
            self._waiting.append(lock)
            try:
                # looked at again after queueing: what happened in between would wake nobody
                if predicate():
                    return True
                if not lock.acquire(timeout=max(0.0, deadline - monotonic())):
                    return predicate()
            finally:
                self._forget(lock)

    def _forget(self, lock: Lock) -> None:
        try:
            self._waiting.remove(lock)
        except ValueError:  # woken in this instant
            return

    def wake(self) -> None:
        """Let everyone that waits now look again."""
        for _ in range(len(self._waiting)):  # not "while": who looks in vain queues again, behind
            try:
                self._waiting.popleft().release()
            except IndexError:  # noqa: PERF203 - another thread, or the waiter itself, was quicker
                return


class Wakeup:
    """Ends the sleep of one thread, from any other, and from signal handlers and finalisers.

    Given while nobody sleeps, it ends the next sleep at once.
    """

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: SimpleQueue[None] = SimpleQueue()  # its put may interrupt its own get
        self.clear()

    def give(self) -> None:
        """End the sleep."""
        self._given.put(None)

    def sleep(self, timeout: float) -> None:
        """Sleep for so many seconds, or until it is given."""
        with suppress(Empty):
            self._given.get(timeout=max(0.0, timeout))

    def clear(self) -> None:
        """Forget what was given; to be called between two sleeps.

        Until it is empty, not while it is not: on Python 3.10 a ``get`` with a timeout never ends when the
        queue is empty, the ``get`` before it did not see that, and the clock goes on by a microsecond between
        two looks at it.
        """
        with suppress(Empty):
            while True:
                self._given.get_nowait()


class Journal(Protocol):
    """The contract between those who emit and the one sender.

    ``append``, ``barrier`` and the properties are for any thread, signal handlers and finalisers included;
    all other methods are for the sender's thread.

    Attributes:
        durable: What is accepted outlives the process; its records have positions.
        origin: What the records' ``origin`` is.
        previous: ``stream:sequence:digest`` of ended streams, for the opening checkpoint to name.
    """

    durable: bool
    origin: Any
    previous: Sequence[str]

    def start(self) -> None:
        """Begin what the journal does in the background."""

    def close(self, *, ended: str | None) -> None:
        """Let go of the stream; by its last user.

        Args:
            ended: ``stream:sequence:digest`` of the last record when everything is delivered: nothing of the
                stream is needed any more. None leaves it, if it outlives the process, to whoever comes next.
        """

    def after_fork(self) -> None:
        """In a forked child: all of this is the parent's; close what was inherited, touch nothing else."""

    def append(self, draft: Draft) -> None:
        """Accept a draft, whole or not at all, whatever interrupts the call.

        Raises:
            JournalFull: There is no room, and none came in the time that the caller allows.
            CollectorClosed: The journal was sealed before.
        """

    def withdraw(self, mark: Barrier) -> None:
        """Nobody waits for this mark any more."""

    def append_control(self, draft: Draft) -> int | None:
        """Accept a control record from a reserve of its own; its sequence, or None when that is full too."""

    def barrier(self) -> Barrier:
        """Put a mark behind everything accepted so far."""

    def take(self, limit: int) -> list[Record]:
        """The next records in order, numbered, at most ``limit``; none when there are none."""

    def release(self, size: int) -> None:
        """Records of this size are done with."""

    def advance(self, low: int, listed: int) -> None:
        """What the journal keeps for records that are done with may go; nothing for one in memory.

        Args:
            low: Every record below this sequence is acknowledged, or what is withheld of them is stood for.
            listed: Every record below this sequence is listed by an acknowledged checkpoint.
        """

    def read(self, position: int) -> Record:
        """A record that was taken before, again, by its ``position``. For a durable journal.

        Raises:
            OSError: It could not be read now.
            SegmentDamaged: It is not there any more as it was written.
        """

    def seal(self) -> None:
        """Accept nothing from now on but control records."""

    def wait(self, timeout: float) -> None:
        """Sleep until something is to be taken, or ``timeout`` seconds."""

    def wake(self) -> None:
        """End a ``wait``, from any thread."""

    def barriers(self) -> list[Barrier]:
        """Marks that ``take`` has reached since the last call."""

    @property
    def next_sequence(self) -> int:
        """The number that the next record will have."""

    @property
    def backlog(self) -> int:
        """Records that were accepted and not taken yet, control records included."""

    @property
    def backlog_drafts(self) -> int:
        """Those of them that have no number yet."""

    @property
    def oldest_us(self) -> int | None:
        """Microseconds since the epoch, the event time of the first of those; None when there is none."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that are accepted and not released, as the bound counts them."""
