"""The writing end of a journal on disk: from a draft to a published record, from any thread.

**Why there is no lock.** A lock that an emit holds while a signal handler interrupts it is a deadlock as soon
as the handler waits for another thread that emits too (``close``, ``executor.shutdown``). So whoever appends
*helps* instead of waiting. A draft is queued; then the first in the queue is settled, again and again, until
one's own is. Settling is the same for all who do it at the same time:

1. *decide* a place, segment and offset, or a refusal; of several decisions the first one counts
   (``list.append``, then element 0);
2. *store* the record there and publish its word; done twice, the same bytes are written twice;
3. move the tail, and take the entry out of the queue.

An exception of a signal handler between any two of these steps leaves an entry that the next append settles:
each record is whole or absent. A handler that emits settles the interrupted entry first and then its own. Two
entries can never be given one place, because an entry is decided only when the one before it is published.
(This needs each single call into C to be atomic, as the interpreter's lock makes them.)

**The tail is a hint.** ``_tail`` may lag behind what is published; ``_catch_up`` walks over the published
words to the true end, and the next sequence is that of the last published record plus one. No other variable
counts.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from itertools import count
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.errors import ConfigurationError
from auditwire.journal.segment import SEALED, Segment, SegmentDamaged, pack, pack_record
from auditwire.wire import schema_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auditwire.journal.base import Draft
    from auditwire.journal.budget import Budget
    from auditwire.journal.filesystem import FileSystem
    from auditwire.journal.layout import StreamDirectory

__all__ = ["FIRST_SEGMENT", "RESERVE", "SEGMENT", "Refusal", "StreamWriter"]

log = logging.getLogger("auditwire")

FIRST_SEGMENT = 1 << 20
"""Bytes of a stream's first segment, and of any for which there is no more room."""

SEGMENT = 16 << 20
"""Bytes of every other segment at most."""

RESERVE = 128 << 10
"""Bytes at the end of each segment that only control records may use, so that a full journal can say so."""

_RETRY_SECONDS = 0.25
"""A file that could not be made is not tried again for so long."""

_ROTATE_SECONDS = 1.0
"""How long one thread waits for another that makes the next segment, before it makes one itself."""

_ATTEMPTS = 3
"""An entry that raises so many times when it is settled is refused."""

_PAGE = 4096


class Refusal(NamedTuple):
    """Why an entry has no place. ``room`` is true when it is only for want of room."""

    reason: str
    room: bool = True


class _Tail(NamedTuple):
    """Where the next record goes, as far as is known; ``base`` + ``offset`` counts the stream's bytes."""

    segment: Segment
    offset: int
    sequence: int
    base: int


class _Place(NamedTuple):
    """Where an entry's record is: at ``tail``, behind the end of ``sealed`` if that is a segment's end."""

    tail: _Tail
    payload: bytes | None
    sealed: _Tail | None = None


class _Entry:
    """A draft on its way; ``places`` holds the decisions, of which the first one counts."""

    __slots__ = ("control", "draft", "failures", "open", "places", "refused", "replace_from")

    def __init__(self, draft: Draft | None, *, control: bool, replace_from: int = -1) -> None:
        self.draft = draft
        self.control = control
        self.replace_from = replace_from
        self.places: list[_Place | Refusal] = []
        self.refused: Refusal | None = None
        self.failures = 0
        self.open = True


class StreamWriter:
    """See the module. All methods are for any thread, signal handlers and finalisers included.

    Args:
        fs: The file system.
        make_directory: Makes the stream's directory, its ``owner.lock`` held; OSError when it cannot be made
            now. Called until it succeeds once.
        info: What ``stream.json`` and each segment's header say of the stream.
        stream_id: The stream.
        budget: The bytes of the whole journal path.
        segment_bytes: Size of all segments but the first.
        mode: The segment files' mode.
        monotonic: Clock, seconds.
    """

    def __init__(
        self,
        fs: FileSystem,
        make_directory: Callable[[], StreamDirectory],
        info: Mapping[str, Any],
        stream_id: str,
        budget: Budget,
        *,
        segment_bytes: int = SEGMENT,
        mode: int = 0o600,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fs = fs
        self._make_directory = make_directory
        self._info = dict(info)
        self._stream_id = stream_id
        self._budget = budget
        self._segment_bytes = segment_bytes
        self._mode = mode
        self._monotonic = monotonic
        self.directory: StreamDirectory | None = None
        self._inbox: deque[_Entry] = deque()
        self._tail: _Tail | None = None
        self._numbers = count()
        self._links: dict[int, _Tail] = {}  # number of a sealed segment -> where it goes on
        self.segments: dict[int, Segment] = {}
        """Segments that may hold what is not synced, by number; the syncing thread takes them out."""
        self._making = Lock()
        self._maker = 0
        self._retry_at = 0.0
        self._spoiled = -1
        self._sealed = False
        self._dead = False
        self.problem: str | None = None
        """What the file system said the last time that it refused; None once it takes records again."""

    # -- appending --------------------------------------------------------------------------------------

    def append(self, draft: Draft, *, control: bool = False) -> int | Refusal:
        """The record's sequence, published when this returns; or why there is none."""
        return self._submit(_Entry(draft, control=control))

    def replace(self, sequence: int) -> int | Refusal:
        """Write everything from ``sequence`` on into a new segment: the medium lost what it was given before.

        Returns:
            The sequence that the next record will have, or why that could not be done.
        """
        return self._submit(_Entry(None, control=True, replace_from=sequence))

    def _submit(self, entry: _Entry) -> int | Refusal:
        inbox = self._inbox
        inbox.append(entry)
        while entry.open:
            try:
                first = inbox[0]
            except IndexError:  # settled by another in this instant
                break
            self._settle(first)
            # by identity, and in one call: popleft could take out another one, if somebody was quicker
            with contextlib.suppress(ValueError):
                inbox.remove(first)
        if entry.refused is not None:
            return entry.refused
        place = entry.places[0]
        return place if place.__class__ is Refusal else place.tail.sequence  # type: ignore[union-attr,return-value]

    def settle(self) -> None:
        """Settle everything that is queued now."""
        inbox = self._inbox
        for _ in range(len(inbox)):
            try:
                first = inbox[0]
            except IndexError:
                return
            self._settle(first)
            with contextlib.suppress(ValueError):
                inbox.remove(first)

    def seal(self) -> None:
        """Refuse everything but control records from now on; what is accepted is published on return."""
        self._sealed = True
        self.settle()

    def _settle(self, entry: _Entry) -> None:
        places = entry.places
        try:
            if not places:
                places.append(self._decide(entry))
            place = places[0]
            if place.__class__ is not Refusal:
                self._carry_out(place)  # type: ignore[arg-type]
        except OSError as error:  # where the file is not mapped, a write can fail; nothing is published then
            self.problem = f"{type(error).__name__}: {error}"
            entry.refused = Refusal(self.problem)
            self._spoil(places)
        except Exception as error:
            # what a signal handler raises goes on to whoever is interrupted, and the entry is settled by the
            # next append; an entry that fails by itself must not stop all that come after it
            entry.failures += 1
            if entry.failures >= _ATTEMPTS:
                entry.refused = Refusal(f"{type(error).__name__}: {error}", room=False)
                entry.open = False
                self._spoil(places)
            raise
        entry.open = False

    def _spoil(self, places: list[_Place | Refusal]) -> None:
        """A store was begun at a place and not finished: no other record may come there."""
        if places and isinstance(places[0], _Place):
            self._spoiled = places[0].tail.segment.number

    def _carry_out(self, place: _Place) -> None:
        tail, payload, sealed = place
        segment, offset, sequence, base = tail
        if sealed is not None:
            self.segments.setdefault(segment.number, segment)
            self._links.setdefault(sealed.segment.number, tail)
            sealed.segment.seal(sealed.offset)
            self._links.pop(sealed.segment.number - 64, None)
        if payload is not None:
            offset = segment.store(offset, payload)
            sequence += 1
        known = self._tail
        if known is None or sequence >= known.sequence:
            self._tail = _Tail(segment, offset, sequence, base)

    def _decide(self, entry: _Entry) -> _Place | Refusal:
        if self._sealed and not entry.control:
            return Refusal("the collector is closed", room=False)
        tail = self._tail
        if tail is None:
            refusal = self._begin()
            tail = self._tail
            if tail is None:
                return refusal or Refusal("the journal is being opened")
        if tail.segment.word(tail.offset):
            tail = self._catch_up(tail)
        draft = entry.draft
        if draft is None:
            return self._go_on(entry, tail, b"")
        payload = pack(draft, tail.sequence, schema_for(draft.event_type).fingerprint)
        reserve = 0 if entry.control else RESERVE
        if tail.segment.fits(tail.offset, len(payload), reserve) and tail.segment.number != self._spoiled:
            return _Place(tail, payload)
        return self._go_on(entry, tail, payload)

    def _catch_up(self, tail: _Tail) -> _Tail:
        """The true end: behind everything that is published."""
        segment, offset, sequence, base = tail
        while word := segment.word(offset):
            if word == SEALED:
                following = self._links.get(segment.number)
                if following is None:  # a tail that lags by so much was put back by a thread that slept long
                    following = self._links[max(self._links)]
                segment, offset, sequence, base = following
            else:
                offset += (8 + (word & 0xFFFF_FFFF) + 7) & ~7
                sequence += 1
        return _Tail(segment, offset, sequence, base)

    # -- the next segment -------------------------------------------------------------------------------

    def _go_on(self, entry: _Entry, tail: _Tail, payload: bytes) -> _Place | Refusal:
        """A place in a new segment. One thread makes it; the others wait a moment, never for ever."""
        own = self._maker == get_ident()  # a signal handler emits while this very thread makes one
        locked = not own and self._making.acquire(timeout=_ROTATE_SECONDS)
        try:
            if entry.places:
                return entry.places[0]
            self._maker = get_ident()
            return self._new_place(entry, tail, payload)
        finally:
            if locked:
                self._maker = 0
                self._making.release()

    def _new_place(self, entry: _Entry, tail: _Tail, payload: bytes) -> _Place | Refusal:
        copies: list[bytes] = []
        first = tail.sequence
        if entry.draft is None:
            first, copies = self._copies(tail, entry.replace_from)
        made = self._make(first, sum(len(p) + 16 for p in copies) + len(payload))
        if isinstance(made, Refusal):
            return made
        offset = made.start
        for copied in copies:
            offset = made.store(offset, copied)
        place = _Place(
            _Tail(made, offset, tail.sequence, tail.base + tail.offset - offset),
            payload if entry.draft is not None else None,
            tail,
        )
        entry.places.append(place)
        if entry.places[0] is not place:  # another one was quicker
            self._discard(made)
        return entry.places[0]

    def _copies(self, tail: _Tail, sequence: int) -> tuple[int, list[bytes]]:
        """The payloads of all published records from ``sequence`` on, and the first one's sequence."""
        copies: list[bytes] = []
        first = tail.sequence
        for number in sorted(self.segments):
            segment = self.segments[number]
            offset = segment.start
            while (word := segment.word(offset)) not in (0, SEALED):
                try:
                    record, offset = segment.load(offset, verify=True)
                except SegmentDamaged as error:  # memory under the map was changed by somebody else
                    log.error("segment %d at %d is damaged in memory: %s", number, offset, error)  # noqa: TRY400 - the journal goes on
                    offset += (8 + (word & 0xFFFF_FFFF) + 7) & ~7
                    continue
                if record.sequence >= sequence + len(copies):
                    first = min(first, record.sequence)
                    copies.append(pack_record(record))
        return first, copies

    def _make(self, first_sequence: int, needed: int) -> Segment | Refusal:
        """A new segment with room for ``needed`` bytes of records beside the reserve."""
        now = self._monotonic()
        if now < self._retry_at:
            return Refusal(self.problem or "the journal is full")
        directory = self.directory
        if directory is None or self._dead:
            return Refusal("the journal belongs to another process", room=False)
        least = max(FIRST_SEGMENT, needed + RESERVE + FIRST_SEGMENT // 8)
        error: OSError | None = None
        for wanted in dict.fromkeys((max(self._segment_bytes, least), least)):
            size = -(-wanted // _PAGE) * _PAGE
            if not self._budget.room_for(size):
                continue
            number = next(self._numbers)
            try:
                segment = self._create(directory, number, first_sequence, size)
            except OSError as failed:
                error = failed
                self._forget_file(directory.segment_path(number))
                continue
            self._budget.allocated(size)
            self.problem = None
            return segment
        if error is not None:
            self.problem = f"{type(error).__name__}: {error}"
            self._retry_at = now + _RETRY_SECONDS
            return Refusal(self.problem)
        return Refusal("the journal is full")

    def _create(self, directory: StreamDirectory, number: int, first_sequence: int, size: int) -> Segment:
        return Segment.create(
            self._fs,
            directory.segment_path(number),
            stream_id=self._stream_id,
            number=number,
            first_sequence=first_sequence,
            info=self._info,
            size=size,
            mode=self._mode,
        )

    def _discard(self, segment: Segment) -> None:
        segment.close()
        self._forget_file(segment.path)
        self._budget.freed(segment.size)

    def _forget_file(self, path: str) -> None:
        with contextlib.suppress(OSError):
            self._fs.unlink(path)

    def _begin(self) -> Refusal | None:
        """The stream's directory and first segment, once; by one thread, and nobody waits for it."""
        if self._dead or not self._making.acquire(blocking=False):
            return None
        try:
            self._maker = get_ident()
            if self._tail is not None:
                return None
            if self.directory is None:
                if self._monotonic() < self._retry_at:
                    return Refusal(self.problem or "the journal is full")
                try:
                    self.directory = self._make_directory()
                except (OSError, ConfigurationError) as error:  # the latter: what no waiting mends
                    self.problem = f"{type(error).__name__}: {error}"
                    self._retry_at = self._monotonic() + _RETRY_SECONDS
                    return Refusal(self.problem)
            size, self._segment_bytes = self._segment_bytes, FIRST_SEGMENT
            try:
                made = self._make(0, 0)
            finally:
                self._segment_bytes = size
            if isinstance(made, Refusal):
                return made
            self.segments[made.number] = made
            self._tail = _Tail(made, made.start, 0, -made.start)
            return None
        finally:
            self._maker = 0
            self._making.release()

    def begin(self) -> bool:
        """Open the stream if it is not open yet; whether it is."""
        if self._tail is None:
            self._begin()
        return self._tail is not None

    # -- what there is ----------------------------------------------------------------------------------

    @property
    def next_sequence(self) -> int:
        """The number that the next record will have."""
        tail = self._tail
        return 0 if tail is None else self._catch_up(tail).sequence

    @property
    def written(self) -> int:
        """Bytes of all records published so far."""
        tail = self._tail
        return 0 if tail is None else tail.base + tail.offset

    @property
    def tail_number(self) -> int:
        """The number of the segment that is written to; -1 before there is one."""
        tail = self._tail
        return -1 if tail is None else tail.segment.number

    @property
    def room(self) -> bool:
        """Whether another segment may be made now, for all that is known."""
        return self._monotonic() >= self._retry_at and self._budget.room_for(FIRST_SEGMENT)

    def after_fork(self) -> None:
        """In a forked child: never touch the parent's files again, and let go of their descriptors."""
        self._dead = True
        segments, self.segments = list(self.segments.values()), {}
        for segment in segments:
            segment.abandon()
