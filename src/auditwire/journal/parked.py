"""Copies of records whose topic takes none, so that the segments which hold them can go.

``<stream>/parked/`` holds segments of the same format (:mod:`auditwire.journal.format`), flagged as copies: a
record keeps its sequence, and sequences come in the order in which the records were parked. A file goes when
all records in it are done. What is done is not written down: after a restart everything that still lies there
is sent again, and readers drop the copies.
"""

from __future__ import annotations

import contextlib
import errno
import os
from array import array
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from auditwire.journal.format import (
    HEADER_SIZE,
    LENGTH,
    MAX_SEQUENCE,
    PARKED,
    WORD,
    aligned,
    pack_record,
)
from auditwire.journal.opened import OpenSegments
from auditwire.journal.recovery import UNPUBLISHED, Unreadable, is_blank, recover
from auditwire.journal.segment import Segment, SegmentDamaged
from auditwire.journal.trees import json_text, names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from auditwire.journal.base import Record
    from auditwire.journal.budget import Budget
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.filesystem import FileSystem
    from auditwire.journal.layout import JournalPath

__all__ = ["FIRST_FILE", "LARGER_FILE", "ParkedLog"]

FIRST_FILE = 1 << 20
"""Bytes of the first file."""

LARGER_FILE = 16 << 20
"""Bytes of a file that is made while others are not done, where there is room for so many."""

_OPEN = 2
"""Files that stay open for copies that are read again, beside the one that is appended to."""

_PAGE = 4096


class _File:
    """What is known of one file."""

    __slots__ = ("outstanding", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.outstanding = array("Q")  # sequences, sorted: 8 bytes for each copy


class ParkedLog:
    """See the module. For one thread, that of the holder of the stream's sender lock.

    Args:
        journal: The journal path.
        directory: The stream.
        info: The stream's description, for the headers.
        budget: Where the bytes are counted, and room is asked for; None for no bound.
        origin: What the records shall say of themselves; may be set later.

    Attributes:
        unreadable: What `load` found damaged, the segment numbers being those of the files here.
    """

    def __init__(
        self,
        journal: JournalPath,
        directory: StreamDirectory,
        info: Mapping[str, Any],
        *,
        budget: Budget | None = None,
        origin: object = None,
    ) -> None:
        self._journal = journal
        self._fs: FileSystem = journal.fs
        self._directory = directory
        self._info = dict(info)
        self._budget = budget
        self.origin = origin
        self.unreadable: list[Unreadable] = []
        self._files: dict[int, _File] = {}
        self._tail: Segment | None = None
        self._offset = 0
        self._unsynced: dict[int, Segment] = {}
        self._found: set[int] = set()  # whoever wrote these may have died before it synced them
        self._new_name = False
        self._open = OpenSegments(self._fs, self._path, limit=_OPEN, mapped=False)
        self._next = 1 + max(self._numbers(), default=-1)
        self._first: int | None = None
        self._first_known = True

    # -- copying ----------------------------------------------------------------------------------------

    def append(self, record: Record) -> int:
        """Copy a record; its position. It survives a power loss after `sync`.

        Raises:
            OSError: No room on the disk or in the bound (ENOSPC), or an input/output error: there is no copy.
        """
        payload = pack_record(record)
        tail = self._tail
        if tail is None or not tail.fits(self._offset, len(payload)):
            tail = self._grow(record.sequence, len(payload))
        after = tail.store(self._offset, payload)
        position = PARKED | tail.number << 32 | self._offset
        self._offset = after
        self._unsynced[tail.number] = tail
        self._remember(tail.number, tail.size, record.sequence)
        return position

    def _grow(self, sequence: int, needed: int) -> Segment:
        if self._tail is not None:
            self._end_tail(self._tail)
        header = aligned(HEADER_SIZE + len(json_text(self._info).encode("utf-8", "backslashreplace")) + _PAGE)
        least = max(FIRST_FILE, header + aligned(needed + WORD) + WORD)
        least = -(-least // _PAGE) * _PAGE
        self._journal.make_directory(self._directory.parked_path)
        try:
            tail = self._create(sequence, max(LARGER_FILE, least) if self._files else least)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT} or not self._files:
                raise
            tail = self._create(sequence, least)
        self._next += 1
        self._tail, self._offset, self._new_name = tail, tail.start, True
        return tail

    def _create(self, sequence: int, size: int) -> Segment:
        path = self._path(self._next)
        if self._budget is not None and not self._budget.room_for(size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        segment = Segment.create(
            self._fs,
            path,
            stream_id=self._directory.stream_id,
            number=self._next,
            first_sequence=sequence,
            info=self._info,
            size=size,
            parked=True,
            mode=self._directory.file_mode,
        )
        if self._budget is not None:
            self._budget.allocated(size)
        return segment

    def _end_tail(self, tail: Segment) -> None:
        tail.seal(self._offset)
        self._tail = None
        if tail.number not in self._unsynced:
            self._open.keep(tail.number, tail)

    def sync(self) -> None:
        """Return when all copies survive a power loss.

        Raises:
            OSError: They may not. The records are still where they were copied from: do not let them go.
        """
        for number, segment in list(self._unsynced.items()):
            segment.sync()
            del self._unsynced[number]
            if segment is not self._tail:
                self._open.keep(number, segment)
        for number in sorted(self._found):
            file = self._fs.open(self._path(number))
            try:
                file.sync()
            finally:
                file.close()
            self._found.remove(number)
        if self._new_name:
            self._fs.sync_directory(self._directory.parked_path)
            self._fs.sync_directory(self._directory.path)
            self._new_name = False

    # -- reading ----------------------------------------------------------------------------------------

    def read(self, position: int) -> Record:
        """A copy again, by its position.

        Raises:
            SegmentDamaged: It is not whole any more.
            OSError: Its file was removed, all of it being done, or cannot be read.
        """
        number = position >> 32 & (PARKED >> 32) - 1
        segment = self._tail if self._tail is not None and self._tail.number == number else None
        segment = segment or self._unsynced.get(number) or self._open.get(number)
        return segment.load(position & LENGTH, verify=True, origin=self.origin)[0]

    def load(self, *, restarted: bool = True) -> Iterator[Record]:
        """All copies that lie there, oldest file first: what a process before this one left.

        Args:
            restarted: Whether the machine may have been restarted since they were written.

        To be run to its end before the first `append`. What is damaged goes to `unreadable`; files in which
        nothing was ever written are removed.

        Raises:
            OSError: A file cannot be read, or the directory cannot be listed.
        """
        for number in self._numbers():
            if number not in self._files:
                yield from self._load(number, restarted=restarted)

    def _load(self, number: int, *, restarted: bool) -> Iterator[Record]:
        path = self._path(number)
        size = self._fs.size(path)
        try:
            segment = Segment.open(self._fs, path, mapped=False)
        except SegmentDamaged as damage:
            if is_blank(self._fs, path, size):
                self._remove(number, size)
            else:
                self.unreadable.append(Unreadable(number, 0, size, damage.reason))
            return
        damaged = False
        try:
            if (
                segment.number != number
                or segment.stream_id != self._directory.stream_id
                or not segment.parked
            ):
                self.unreadable.append(Unreadable(number, 0, size, "number"))
                return
            for found in recover(segment, segment.start, None, restarted=restarted, origin=self.origin):
                if isinstance(found, Unreadable):
                    if found.reason == UNPUBLISHED:
                        continue
                    damaged = True
                    self.unreadable.append(found)
                elif found.sequence > MAX_SEQUENCE:
                    damaged = True
                    begin = found.position & LENGTH
                    self.unreadable.append(Unreadable(number, begin, begin + found.size, "sequence"))
                else:
                    self._remember(number, size, found.sequence)
                    yield found
        finally:
            segment.close()
        if number in self._files:
            self._found.add(number)
            self._new_name = True
        elif not damaged:
            self._remove(number, size)

    # -- what is done -----------------------------------------------------------------------------------

    def done(self, sequence: int) -> None:
        """The record with this number needs no copy any more; a file goes when that is true of all in it.

        Raises:
            OSError: A file cannot be removed; it is tried again with the next one that is done.
        """
        if sequence == self._first:
            self._first_known = False
        for number in list(self._files):
            outstanding = self._files[number].outstanding
            if outstanding and not outstanding[0] <= sequence <= outstanding[-1]:
                continue
            index = bisect_left(outstanding, sequence)
            while index < len(outstanding) and outstanding[index] == sequence:
                del outstanding[index]
            if not outstanding:
                self._drop(number)

    def _drop(self, number: int) -> None:
        tail = self._tail
        if tail is not None and tail.number == number:
            self._tail = None
            self._unsynced[number] = tail  # to be closed below
        unsynced = self._unsynced.pop(number, None)
        if unsynced is not None:
            unsynced.close()
        self._open.drop(number)
        self._found.discard(number)
        self._remove(number, self._files[number].size)
        del self._files[number]

    def _remove(self, number: int, size: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.unlink(self._path(number))
            if self._budget is not None:
                self._budget.freed(size)

    def _remember(self, number: int, size: int, sequence: int) -> None:
        file = self._files.get(number)
        if file is None:
            file = self._files[number] = _File(size)
        insort(file.outstanding, sequence)
        if self._first is None or sequence < self._first:
            self._first = sequence

    @property
    def first_outstanding(self) -> int | None:
        """The least sequence of a copy that is not done; None when all are."""
        if not self._first_known:
            self._first = min(
                (file.outstanding[0] for file in self._files.values() if file.outstanding), default=None
            )
            self._first_known = True
        return self._first

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(file.size for file in self._files.values())

    def __len__(self) -> int:
        return sum(len(file.outstanding) for file in self._files.values())

    # -- files ------------------------------------------------------------------------------------------

    def _numbers(self) -> list[int]:
        found = (name for name in names(self._fs, self._directory.parked_path) if name.endswith(".seg"))
        # as the stream's own: nothing else bears the name that its number gives it
        numbers = {int(name[:-4]) for name in found if name[:-4].isascii() and name[:-4].isdecimal()}
        return sorted(n for n in numbers if self._fs.exists(self._path(n)))

    def _path(self, number: int) -> str:
        return f"{self._directory.parked_path}/{self._directory.segment_path(number).rpartition('/')[2]}"

    def _segments(self) -> list[Segment]:
        found = [*self._unsynced.values(), *self._open]
        return found if self._tail is None else [*found, self._tail]

    def abandon(self) -> None:
        """In a forked child: close the descriptors, which are the parent's too."""
        for segment in self._segments():
            segment.abandon()

    def close(self) -> None:
        """Close all files; the copies stay. Closing again does nothing."""
        for segment in self._segments():
            segment.close()
        self._unsynced.clear()
        self._open.close()
        self._tail = None
