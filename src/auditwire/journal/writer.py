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

**The tail is a hint.** ``_tail`` may lag behind what is published, even by segments; ``_end`` walks over the
published words of the newest segment to the true end, and the next sequence is that of the last published
record plus one. No other variable counts.

**Where segments are not mapped**, a store is a write that may fail. Its entry is refused then, unless the
record can be seen in the file all the same, and no other record gets its place: the next one begins a new
segment. One thing is not promised there: that of two threads that store the same record on a failing disk,
one in vain and the other late but with success, both tell the same.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

from auditwire.errors import AuditwireError, EncodingError
from auditwire.journal.making import (
    FIRST_SEGMENT,
    RESERVE,
    SEGMENT,
    Copies,
    Refusal,
    SegmentMaker,
    is_of,
    measure,
    published,
)
from auditwire.journal.segment import SEALED, Segment, SegmentDamaged, pack
from auditwire.journal.turns import Turns
from auditwire.wire import schema_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auditwire.journal.base import Draft
    from auditwire.journal.budget import Budget
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.filesystem import FileSystem

__all__ = ["Refusal", "StreamWriter"]

_ROTATE_SECONDS = 1.0
"""How long one thread waits for another that makes the next segment, before it makes one itself."""

_ATTEMPTS = 3
"""An entry that raises so many times when it is decided is refused."""

_LENGTH = 0xFFFF_FFFF


_Tail: TypeAlias = "tuple[Segment, int, int, int]"
"""Where the next record goes, as far as is known: segment, offset, sequence, base. ``base`` + offset counts
the stream's bytes. A plain tuple, which is made in a tenth of the time of a named one."""

_Place: TypeAlias = "tuple[Segment, int, int, int, bytes | None, _Tail | None, Copies | None]"
"""Where an entry's record is: a tail, and the record's payload, or None for no record of its own. For the
first in its segment also the end of the segment before, and what is to be written anew in front of it."""


class _Entry:
    """A draft on its way; ``places`` holds the decisions, of which the first one counts."""

    __slots__ = ("control", "draft", "failures", "fingerprint", "open", "places", "refused", "replace_from")

    def __init__(
        self, draft: Draft | None, control: bool, fingerprint: bytes = b"", replace_from: int = -1
    ) -> None:
        self.draft = draft
        self.control = control
        self.fingerprint = fingerprint
        self.replace_from = replace_from
        self.places: list[_Place | Refusal] = []
        self.refused: Refusal | None = None  # after the decision: only where a store can fail
        self.failures = 0
        self.open = True


class StreamWriter:
    """See the module. All methods are for any thread, signal handlers and finalisers included.

    Args:
        fs: The file system.
        make_directory: Makes the stream's directory, its ``owner.lock`` held; OSError when it cannot be made
            now. By one thread at a time, until it succeeds; once more when a signal handler raises in the
            instant of its success, and then it must give the same directory.
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
        self._make_directory = make_directory
        self._segment_bytes = segment_bytes
        self._maker = SegmentMaker(fs, info, stream_id, budget, mode, monotonic)
        self.directory: StreamDirectory | None = None
        self._inbox: deque[_Entry] = deque()
        self._fingerprints: dict[str, bytes] = {}
        self._tail: _Tail | None = None
        self._starts: dict[int, _Tail] = {}  # the newest segment's first free place, by its number
        self.segments: dict[int, Segment] = {}
        """Segments that may hold what is not synced, by number; the syncing thread takes them out."""
        self._opening = Turns()
        self._making = Turns()
        self._spoiled: set[int] = set()  # segments in which a store failed half-way
        self._sealed = False
        self._dead = False

    # -- appending --------------------------------------------------------------------------------------

    def append(self, draft: Draft, *, control: bool = False) -> int | Refusal:  # noqa: C901 - see below
        """The record's sequence, published when this returns; or why there is none.

        Raises:
            SchemaError: There is no such event type.
        """
        event_type = draft[0]
        try:
            fingerprint = self._fingerprints[event_type]
        except KeyError:
            fingerprint = self._fingerprints[event_type] = schema_for(event_type).fingerprint
        entry = _Entry(draft, control, fingerprint)
        inbox = self._inbox
        inbox.append(entry)
        # Nearly always nobody is before it, and the mapped segment has room: then this does what `_settle`
        # does, in one piece, which costs a sixth less. Whatever strikes in here leaves what `_settle` goes on
        # from. The order counts: while it is the first, all before it are published.
        try:
            first = inbox[0]
        except IndexError:  # settled by another in this instant
            first = None
        tail = self._tail
        if first is entry and tail is not None and not self._sealed:
            segment, offset, sequence, base = tail
            try:
                payload = pack(draft, sequence, fingerprint)
            except EncodingError:
                if _why_not(draft, fingerprint) is None:
                    raise  # a signal handler's
                return self._await(entry)
            except Exception:
                entry.failures += 1  # as in `_settle`
                raise
            if segment.takes(offset, len(payload), 0 if control else RESERVE):
                places = entry.places
                place: _Place = (segment, offset, sequence, base, payload, None, None)
                places.append(place)
                if places[0] is place:
                    offset = segment.store(offset, payload)
                    if self._tail is tail:
                        self._tail = (segment, offset, sequence + 1, base)
                    entry.open = False
                    try:  # noqa: SIM105 - as in `_await`
                        inbox.remove(entry)
                    except ValueError:
                        pass
                    return sequence
        return self._await(entry)

    def replace(self, sequence: int) -> int | Refusal:
        """Write everything from ``sequence`` on into a new segment: the medium lost what it was given before.

        Returns:
            The sequence that the next record will have, or why that could not be done.
        """
        entry = _Entry(None, control=True, replace_from=sequence)
        self._inbox.append(entry)
        return self._await(entry)

    def _await(self, entry: _Entry) -> int | Refusal:
        """Settle what is queued until this one is."""
        inbox = self._inbox
        while entry.open:
            try:
                first = inbox[0]
            except IndexError:  # settled by another in this instant
                break
            self._settle(first)
            try:  # noqa: SIM105 - a suppress costs a tenth of an append
                # by identity, and in one call: popleft could take out another one, if somebody was quicker
                inbox.remove(first)
            except ValueError:
                pass
        place = entry.places[0]
        if isinstance(place, Refusal):
            return place
        return place[2] if entry.refused is None else entry.refused

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
        if not entry.open:
            return
        places = entry.places
        try:
            if not places:
                places.append(self._decide(entry))
            place = places[0]
            if not isinstance(place, Refusal) and entry.refused is None:
                self._carry_out(place)
        except OSError as error:
            if not self._could_not_store(entry, error):
                raise
        except Exception as error:
            # What a signal handler raises goes on to whoever is interrupted, and the entry is settled by the
            # next append. An entry that cannot be decided must not stop all that come after it.
            entry.failures += 1
            if entry.failures >= _ATTEMPTS:
                places.append(Refusal(f"{type(error).__name__}: {error}", room=False))
            raise
        entry.open = False

    def _carry_out(self, place: _Place) -> None:
        segment, offset, sequence, base, payload, sealed, copies = place
        if sealed is not None:
            self._turn_over((segment, offset, sequence, base), sealed, copies)
        if payload is not None:
            offset = segment.store(offset, payload)
            sequence += 1
        known = self._tail
        if known is None or sequence >= known[2]:
            self._tail = (segment, offset, sequence, base)

    def _could_not_store(self, entry: _Entry, error: OSError) -> bool:
        """Refuse an entry that the file does not take; False when the error is not the file's."""
        place = entry.places[0] if entry.places else None
        if self.directory is None or not is_of(error, self.directory.path):
            return False  # a signal handler's: where all is mapped, nothing is called that could fail
        self._maker.problem = problem = f"{type(error).__name__}: {error}"
        if place is None:
            entry.places.append(Refusal(problem))
        elif not isinstance(place, Refusal) and not self._is_stored(place):
            self._spoiled.add(place[0].number)
            entry.refused = Refusal(problem)
        return True

    def _is_stored(self, place: _Place) -> bool:
        """Whether another thread has stored the record, for all that can be read."""
        segment, offset, _, _, payload, _, _ = place
        newest = max(self._starts)
        if segment.number != newest or payload is None:
            return (
                segment.number <= newest
            )  # one that was left, and perhaps closed, had all its records before
        try:
            return segment.word(offset) == crc32(payload, segment.salt) << 32 | len(payload)
        except OSError:
            return False

    def _turn_over(self, tail: _Tail, sealed: _Tail, copies: Copies | None) -> None:
        """Go on in the next segment, which is there already."""
        segment = tail[0]
        number = segment.number
        starts = self._starts
        if starts and number <= max(starts):
            return  # another thread has done all this
        self.segments.setdefault(number, segment)
        if copies is not None:
            offset = segment.start
            for payload in published(*copies, verify=False):
                offset = segment.store(offset, payload)
        sealed[0].seal(sealed[1])
        starts.setdefault(number, tail)  # last: this is the new end
        for old in list(starts):
            if (
                old < number
            ):  # what nothing refers to any more is unmapped, so that its disk can be used again
                starts.pop(old, None)

    def _decide(self, entry: _Entry) -> _Place | Refusal:
        if self._sealed and (self._dead or not entry.control):
            return self._closed()
        tail = self._tail
        if tail is None:
            refusal = self._begin_quietly()
            tail = self._tail
            if tail is None:
                return refusal or Refusal("the journal is being opened")
        try:
            if tail[0].word(tail[1]):
                tail = self._end(tail)
        except OSError:  # the hint is of a segment that was left and closed since
            tail = self._end(tail)
        draft = entry.draft
        if draft is None:
            return self._go_on(entry, tail, None)
        segment, offset, sequence, base = tail
        try:
            payload = pack(draft, sequence, entry.fingerprint)
        except EncodingError:
            # a refusal, so that nobody else's append raises it; but what a signal handler raises goes on
            refusal = _why_not(draft, entry.fingerprint)
            if refusal is None:
                raise
            return refusal
        reserve = 0 if entry.control else RESERVE
        if segment.fits(offset, len(payload), reserve) and segment.number not in self._spoiled:
            return (segment, offset, sequence, base, payload, None, None)
        return self._go_on(entry, tail, payload)

    def _closed(self) -> Refusal:
        if self._dead:
            return Refusal("the journal belongs to the parent process", room=False)
        return Refusal("the collector is closed", room=False)

    def _end(self, tail: _Tail) -> _Tail:
        """The true end: behind everything that is published."""
        newest = max(self._starts)
        if newest > tail[0].number:
            tail = self._starts.get(newest, tail)  # if it is gone, then whatever is asked for is decided
        segment, offset, sequence, base = tail
        # sealed, and no other segment yet: another thread goes on right now
        while (word := segment.word(offset)) and word != SEALED:
            offset += 8 + (word & _LENGTH) + 7 & ~7
            sequence += 1
        return (segment, offset, sequence, base)

    # -- the next segment -------------------------------------------------------------------------------

    def _go_on(self, entry: _Entry, tail: _Tail, payload: bytes | None) -> _Place | Refusal:
        """A place in a new segment. One thread makes it; the others wait a moment, never for ever."""
        claim = self._making.claim()
        try:
            self._making.wait(claim, _ROTATE_SECONDS)
            if not entry.places:
                return self._new_place(entry, tail, payload)
        finally:
            claim.finish()
        return entry.places[0]

    def _new_place(self, entry: _Entry, tail: _Tail, payload: bytes | None) -> _Place | Refusal:
        _, offset, sequence, base = tail
        copies: Copies | None = None
        first, size, preferred = sequence, 0, self._segment_bytes
        if payload is None:
            segments = [segment for number in sorted(self.segments) if (segment := self.segments.get(number))]
            copies = segments, entry.replace_from
            try:
                first, size = measure(copies, sequence)
            except SegmentDamaged as error:
                # memory under a map was changed by somebody else; a hole in the numbers would be worse
                return Refusal(f"what is not on the disk cannot be written anew: {error}", room=False)
            preferred = 0
        made = self._make(first, size + len(payload or b"") + 16, preferred)
        if isinstance(made, Refusal):
            return made
        start = made.start + size
        place = (made, start, sequence, base + offset - start, payload, tail, copies)
        entry.places.append(place)
        if entry.places[0] is not place and not self._dead:  # another one was quicker
            self._maker.discard(made)
        return entry.places[0]

    def _make(self, first_sequence: int, needed: int, preferred: int) -> Segment | Refusal:
        directory = self.directory
        if directory is None or self._dead:
            return self._closed()
        return self._maker.make(directory, first_sequence, needed, preferred)

    # -- the beginning ----------------------------------------------------------------------------------

    def begin(self) -> bool:
        """Open the stream if it is not open yet; whether it is.

        Raises:
            AuditwireError: As ``make_directory``, for what no waiting mends.
        """
        if self._tail is None:
            self._begin()
        return self._tail is not None

    def _begin_quietly(self) -> Refusal | None:
        try:
            return self._begin()
        except AuditwireError as error:  # the path was changed since: an emit is told as of any other fault
            return self._maker.failed(str(error))

    def _begin(self) -> Refusal | None:
        """The stream's directory and first segment, once; by one thread, and nobody waits for it."""
        claim = self._opening.claim()
        try:
            if self._opening.has(claim) and self._tail is None:
                return self._closed() if self._dead else self._open()
        finally:
            claim.finish()
        return None

    def _open(self) -> Refusal | None:
        if self.directory is None:
            resting = self._maker.resting
            if resting is not None:
                return resting
            try:
                self.directory = self._make_directory()
            except OSError as error:
                if error.errno is None:
                    raise  # a signal handler's
                return self._maker.failed(f"{type(error).__name__}: {error}")
        made = self._make(0, 0, FIRST_SEGMENT)
        if isinstance(made, Refusal):
            return made
        tail = (made, made.start, 0, -made.start)
        self.segments[made.number] = made
        self._starts[made.number] = tail
        self._tail = tail
        return None

    # -- what there is ----------------------------------------------------------------------------------

    def _here(self) -> _Tail | None:
        """The true end, for who only looks."""
        tail = self._tail
        if tail is None:
            return None
        try:
            return self._end(tail)
        except OSError:  # not mapped, and cannot be read now: what is known
            return tail

    @property
    def next_sequence(self) -> int:
        """The number that the next record will have."""
        tail = self._here()
        return 0 if tail is None else tail[2]

    @property
    def written(self) -> int:
        """Bytes of all records published so far."""
        tail = self._here()
        return 0 if tail is None else tail[3] + tail[1]

    @property
    def tail_number(self) -> int:
        """A segment, by number, such that into those before it nothing is written any more; -1 at first."""
        tail = self._tail
        return -1 if tail is None else tail[0].number

    @property
    def room(self) -> bool:
        """Whether another segment may be made now, for all that is known."""
        return self._maker.room

    @property
    def problem(self) -> str | None:
        """What the file system said the last time that it refused; None once it takes records again."""
        return self._maker.problem

    @problem.setter
    def problem(self, problem: str | None) -> None:
        self._maker.problem = problem

    def after_fork(self) -> None:
        """In a forked child: never touch the parent's files again, and let go of them."""
        self._dead = self._sealed = True
        segments, self.segments = list(self.segments.values()), {}
        self._tail = None
        self._starts = {}  # an append that was under way when the process forked has its own references
        for segment in segments:
            segment.abandon()


def _why_not(draft: Draft, fingerprint: bytes) -> Refusal | None:
    """What is wrong with a draft that could not be packed; None when nothing is."""
    try:
        pack(draft, 0, fingerprint)
    except EncodingError as error:
        return Refusal(str(error), room=False)
    return None
