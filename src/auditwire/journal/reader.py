"""Reads the records of one stream from its files, while they are written or after their writer's end.

**While the writer lives**, a word that is 0, or bytes that do not agree with their checksum, may be a record
that is being written: the reader waits. It goes on to a later segment when this one says that it ends, or
when a later one has the record that is waited for; nothing is written into this one then.

**When the writer is gone** (``live`` says so), the files are read once more first, for what was written
meanwhile. Then whatever is no record is searched for the next one (:mod:`auditwire.journal.recovery`).

**Every sequence once, in order.** Two segments may hold the same sequences: after an input/output error the
writer writes again, into a new one, what may have been lost. Equal sequences are given once. Where one is
missing, all segments that may have it are searched before it counts as a gap.

**Nothing but the cursor's word is believed.** Without a cursor everything that lies there is read; a segment
of which another one tells that it is missing is a gap; a file that is no segment of this stream is named and
passed over.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

from auditwire.journal.cursor import Position
from auditwire.journal.missing import Missing
from auditwire.journal.opened import OpenSegments
from auditwire.journal.progress import Progress
from auditwire.journal.recovery import UNPUBLISHED, Search, Unreadable, is_blank
from auditwire.journal.segment import PARKED, SEALED, Segment, SegmentDamaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.journal.base import Record
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.filesystem import FileSystem

__all__ = ["StreamReader"]

_OPEN = 4
"""Segments that stay open for records that are read again, beside the one that is read."""

_OFFSET = 0xFFFF_FFFF
_NUMBER = 0x3FFF_FFFF

_Found: TypeAlias = "Segment | SegmentDamaged | None"


class StreamReader:
    """See the module. For one thread.

    Reading begins at the oldest segment that the cursor calls needed, so records below ``low`` come too.

    Args:
        fs: Where the stream is.
        directory: The stream.
        verify: Whether to compute checksums, for files that another process writes or wrote; they are not
            mapped then, so that nobody can kill this process by truncating them.
        live: Whether the stream's writer may still write. Once False it is not asked again.
        restarted: Whether the machine may have been restarted since the stream was written, so that pages may
            be lost: a zero word with something behind it is damage then, even where no later record is.
        origin: What the records shall say of themselves; may be set later.
        moves: Whether this reader moves the cursor and removes segments: the sender's lock is held.

    Attributes:
        low: Every record below this sequence is done, as the cursor says.
        listed: Every record below this sequence is listed by a checkpoint that is done.
        next_sequence: One above the last sequence that was given or counted as a gap.
        unreadable: Ranges of bytes that hold no readable record, in the order in which they were found.
        unpublished: Those that hold an append which was broken off before it was accepted: no damage, for
            nothing is lost. Told at the end.
        gaps: Sequences, first and last, that will never come: not in any segment that can be read.

    Raises:
        OSError: The directory cannot be listed.
    """

    def __init__(
        self,
        fs: FileSystem,
        directory: StreamDirectory,
        *,
        verify: bool = True,
        live: Callable[[], bool],
        restarted: bool = True,
        origin: object = None,
        moves: bool = True,
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._verify = verify
        self._live = live
        self._restarted = restarted
        self.origin = origin
        self.unreadable: list[Unreadable] = []
        self.unpublished: list[Unreadable] = []
        self.gaps: list[tuple[int, int]] = []
        self._alive = True
        self._ended = False
        self._ready: list[Record] = []
        self._segment: Segment | None = None
        self._offset = 0
        self._expected = 0
        self._search: Search | None = None  # of a segment that nobody writes any more
        self._doubted: list[tuple[int, Unreadable]] = []  # damage, if this sequence or a later one comes yet
        self._open = OpenSegments(fs, self._path, limit=_OPEN, mapped=not verify)
        self._ends: dict[int, int] = {}  # number of a segment that was left -> one above its last sequence
        self._missing = Missing(self._try_open)
        self._progress = Progress(fs, directory, moves=moves)
        there = directory.segments()
        if self._progress.position is not None:
            self.low, self.listed, self._oldest = self._progress.position
            self._trusted = self._progress.certain or self._oldest in there
        else:
            self._oldest = there[0] if there else 0
            self.low = self.listed = self._first_sequence(there)
            self._trusted = True
        self._number = self._oldest - 1
        self._started = False
        self._vanished = False
        self.next_sequence = min(self.low, self.listed)

    def _first_sequence(self, numbers: list[int]) -> int:
        """The least that a stream without a cursor may still have; not only the oldest segment has it."""
        firsts = []
        for number in numbers:
            if number == 0:
                return 0
            segment = self._try_open(number)
            if isinstance(segment, Segment):
                segment.close()
                firsts.append(segment.first_sequence)
        return min(firsts, default=0)

    # -- reading ----------------------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """What the file system said when the cursor could not be written the last time, or None."""
        return self._progress.problem

    @property
    def damaged(self) -> bool:
        """Whether anything was found that cannot be read."""
        return bool(self.unreadable or self.gaps)

    @property
    def at_end(self) -> bool:
        """Whether the writer is gone, and everything that can be read was given."""
        return self._ended and not self._ready

    def take(self, limit: int) -> list[Record]:
        """The next records, sequences rising; none when there are none yet, or `at_end`.

        Raises:
            OSError: A file or the directory cannot be read now. Nothing is lost by calling again. Blocks that
                the medium cannot give (EIO) are no error, but unreadable.
        """
        while len(self._ready) < limit and not self._ended:
            segment = self._segment
            if segment is None:
                if not self._next_segment():
                    break
                continue
            records: list[Record] = []
            offset = self._offset
            if segment.mapped or segment.word(offset) not in {0, SEALED}:
                records, offset = segment.take(
                    offset,
                    self._expected,
                    limit - len(self._ready),
                    verify=self._verify,
                    origin=self.origin,
                )
            if records:
                self._deliver(records)
                self._offset = offset  # behind what may raise: it is all done again then
                self._expected += len(records)
            elif self._alive and self._ready and segment.word(self._offset) == 0:
                break  # no look at the directory after each batch
            elif not self._pass(segment):
                break
        self._judge()
        taken, self._ready = self._ready, []
        if len(taken) > limit:
            taken, self._ready = taken[:limit], taken[limit:]
        return taken

    def _deliver(self, records: list[Record]) -> None:
        """Put these, whose sequences go up by one, behind what is ready."""
        first = records[0].sequence
        if first > self.next_sequence:
            self._fill(self.next_sequence, first - 1)
        elif first < self.next_sequence:
            records = records[self.next_sequence - first :]
        if records:
            self.next_sequence = records[-1].sequence + 1
            self._ready += records

    def _pass(self, segment: Segment) -> bool:
        """Get on where no whole record stands; False when that is not to be done now."""
        if segment.word(self._offset) == SEALED and self._is_live():
            self._leave(segment)
            return True
        if self._search is None:
            if self._is_live() and not self._superseded():
                return False
            # read once more before anything is decided: nobody writes here from now on
            self._search = Search(segment)
            return True
        damage, found = self._search.behind(self._offset, self._expected)
        if damage is not None and found is None and not self._restarted and self._search.is_end(damage):
            self._doubted.append((self._expected, damage))
        elif damage is not None:
            (self.unpublished if damage.reason == UNPUBLISHED else self.unreadable).append(damage)
        if found is None:
            self._leave(segment)
        else:
            self._offset, self._expected = found.position & _OFFSET, found.sequence
        return True

    def _judge(self) -> None:
        """Name what looked like the end and is not, for a later record was found; and at the end what is."""
        for doubted in self._doubted[:]:
            sequence, damage = doubted
            if self.next_sequence > sequence:
                self.unreadable.append(damage)
            elif self._ended:
                self.unpublished.append(damage._replace(reason=UNPUBLISHED))
            else:
                continue
            self._doubted.remove(doubted)

    def _is_live(self) -> bool:
        if self._alive and not self._live():
            self._alive = False
        return self._alive

    def _superseded(self) -> bool:
        """Whether a later segment has the record that is waited for here."""
        if not self._fs.exists(self._directory.segment_path(self._number + 1)):
            return False
        segment = self._try_open(self._number + 1)
        if not isinstance(segment, Segment):
            return False
        try:
            return self._reaches(segment, self._expected)
        finally:
            segment.close()

    @staticmethod
    def _reaches(segment: Segment, sequence: int) -> bool:
        """Whether a segment has this sequence or one above it."""
        offset, number = segment.start, segment.first_sequence
        while number < sequence:  # copies of what an older segment has too
            records, offset = segment.take(offset, number, sequence - number, verify=True)
            if not records:
                return False
            number += len(records)
        return segment.word(offset) not in {0, SEALED}

    def _leave(self, segment: Segment) -> None:
        self._ends[self._number] = self._expected
        self._segment = self._search = None
        self._open.keep(segment.number, segment)

    # -- from segment to segment ------------------------------------------------------------------------

    def _next_segment(self) -> bool:
        """Open the next one; False when there is none to be read now."""
        later = [n for n in self._directory.segments() if n > self._number]
        if self._alive:
            return self._next_live(later) or not self._is_live()
        if not later:
            self._ended = True
            return False
        found = self._try_open(later[0])
        if isinstance(found, Segment):
            self._enter(found)
        else:
            self._name(later[0], found)
            self._number = later[0]
        return True

    def _next_live(self, later: list[int]) -> bool:
        """Open the first one that has something to be read. Several may be being made, for one to be used."""
        passed: dict[int, SegmentDamaged | None] = {}
        for number in later:
            found = self._try_open(number)
            if isinstance(found, Segment):
                begun = found.word(found.start) != 0
                if begun and (not self._started or self._reaches(found, self.next_sequence)):
                    for other, damage in passed.items():
                        self._name(other, damage)
                    self._enter(found)
                    return True
                found.close()
            else:
                passed[number] = found
        return False

    def _enter(self, segment: Segment) -> None:
        first = segment.first_sequence
        if not self._started and (segment.number == self._oldest or not self._trusted):
            # without a cursor a later segment, written anew, may have what the oldest one does not
            self.next_sequence = (
                first if self._progress.position is not None else min(first, self.next_sequence)
            )
        elif not self._started:
            self.next_sequence = min(self.next_sequence, first)
        elif self._vanished:  # it was there: removed by the sender, to which everything in it was done
            self.next_sequence = max(self.next_sequence, first)
        try:
            if first > self.next_sequence:
                self._fill(self.next_sequence, first - 1)
            passed = [n for n in self._directory.segments() if self._oldest <= n < segment.number]
        except BaseException:
            segment.close()
            raise
        self._ends = {**dict.fromkeys(passed, first), **self._ends}
        self._started, self._vanished = True, False
        self._segment, self._number = segment, segment.number
        self._offset, self._expected = segment.start, first

    def _try_open(self, number: int) -> _Found:
        """The segment; what is wrong with it; or None when there is no such file any more."""
        path = self._directory.segment_path(number)
        try:
            segment = Segment.open(self._fs, path, mapped=not self._verify)
        except FileNotFoundError:
            return None
        except SegmentDamaged as damage:
            return damage
        if segment.number == number and segment.stream_id == self._directory.stream_id and not segment.parked:
            return segment
        segment.close()
        return SegmentDamaged(
            "number", f"{path} says that it is segment {segment.number} of stream {segment.stream_id}"
        )

    def _name(self, number: int, damage: SegmentDamaged | None) -> None:
        """Say that a whole file cannot be read, unless nothing was ever written into it."""
        path = self._directory.segment_path(number)
        if damage is None:
            self._vanished = True
            return
        with contextlib.suppress(FileNotFoundError):
            size = self._fs.size(path)
            if not is_blank(self._fs, path, size):
                self.unreadable.append(Unreadable(number, 0, size, damage.reason))

    # -- what is missing --------------------------------------------------------------------------------

    def _fill(self, first: int, last: int) -> None:
        """Deliver what any segment has of these sequences; the rest are gaps."""
        # the segment that is read is searched too: a block that the disk wrote in the wrong place may have
        # led past the right ones
        numbers = [n for n in self._directory.segments() if self._ends.get(n, first) >= first]
        found = self._missing.find(first, last, numbers, remember=not self._alive, origin=self.origin)
        for record in found:
            if record.sequence > first:
                self.gaps.append((first, record.sequence - 1))
            self._ready.append(record)
            first = record.sequence + 1
        if first <= last:
            self.gaps.append((first, last))
        self.next_sequence = last + 1

    # -- again, and no more -----------------------------------------------------------------------------

    def read(self, position: int) -> Record:
        """A record again, by the position that it had; parked copies too.

        Raises:
            SegmentDamaged: It is not whole any more.
            OSError: Its segment was removed, or cannot be read.
        """
        number = position >> 32
        segment = self._segment
        if segment is None or number != self._number:
            segment = self._open.get(number)
        return segment.load(position & _OFFSET, verify=self._verify, origin=self.origin)[0]

    def _path(self, number: int) -> str:
        """By the upper half of a position, which says whether it is one of a parked copy."""
        path = self._directory.segment_path(number & _NUMBER)
        if number & PARKED >> 32:
            return f"{self._directory.parked_path}/{path.rpartition('/')[2]}"
        return path

    def advance(self, low: int, listed: int) -> int:
        """Remember how far the stream has come, and remove the segments that nothing needs any more.

        A segment goes when all its sequences are below ``low`` and ``listed``; the newest one always stays.
        The cursor is on disk before one is removed.

        Args:
            low: Every record below this sequence is done.
            listed: Every record below this sequence is listed by a checkpoint that is done.

        Returns:
            The bytes of the removed segments.

        Raises:
            OSError: The directory cannot be listed, or a segment cannot be removed. A cursor that cannot be
                written is no error (``problem`` says it), but keeps the segments.
        """
        self.low = max(self.low, low)
        self.listed = max(self.listed, listed)
        numbers = self._directory.segments()
        done = min(self.low, self.listed)
        gone: list[int] = []
        first = min((damage.segment for _, damage in self._doubted), default=self._number)
        for number in numbers[:-1]:
            end = self._ends.get(number, 0 if number < self._oldest else None)
            if number >= min(first, self._number) or end is None or end > done:
                break
            gone.append(number)
        oldest = numbers[len(gone)] if numbers else max(self._number, 0)
        if not self._progress.move(Position(self.low, self.listed, oldest), sync=bool(gone)):
            return 0
        return sum(map(self._remove, gone))

    def _remove(self, number: int) -> int:
        path = self._directory.segment_path(number)
        self._open.drop(number)
        self._ends.pop(number, None)
        self._missing.forget(number)
        try:
            size = self._fs.size(path)
            self._fs.unlink(path)
        except FileNotFoundError:
            return 0
        return size

    def abandon(self) -> None:
        """In a forked child: close the descriptors, which are the parent's too."""
        for segment in (self._segment, *self._open):
            if segment is not None:
                segment.abandon()
        self._progress.close()

    def close(self) -> None:
        """Close all files. Closing again does nothing."""
        if self._segment is not None:
            self._segment.close()
        self._segment = None
        self._open.close()
        self._ended = True
        self._progress.close()
