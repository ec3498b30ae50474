"""Makes the segments of a stream, within the bound of the journal path, and tells why it cannot.

In come the size of what has to fit; out comes a segment with a number of its own, or a refusal. Several
threads may make one at once: each gets its own, and gives back what turns out not to be used.
"""

from __future__ import annotations

import contextlib
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from zlib import crc32

from auditwire.journal.format import aligned
from auditwire.journal.segment import SEALED, Segment, SegmentDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from auditwire.journal.budget import Budget
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.filesystem import FileSystem

__all__ = [
    "FIRST_SEGMENT",
    "RESERVE",
    "SEGMENT",
    "Copies",
    "Refusal",
    "SegmentMaker",
    "is_of",
    "measure",
    "published",
]

FIRST_SEGMENT = 1 << 20
"""Bytes of a stream's first segment, and of any for which there is no more room."""

SEGMENT = 16 << 20
"""Bytes of every other segment at most."""

RESERVE = 128 << 10
"""Bytes at the end of each segment that only control records may use, so that a full journal can say so."""

_RETRY_SECONDS = 0.25
"""A file that could not be made is not tried again for so long."""

_PAGE = 4096
_LENGTH = 0xFFFF_FFFF


class Refusal(NamedTuple):
    """Why an entry has no place. ``room`` is true when it is only for want of room."""

    reason: str
    room: bool = True


Copies: TypeAlias = "tuple[Sequence[Segment], int]"
"""All published records of these segments from this sequence on, each once."""


class SegmentMaker:
    """See the module. For any thread.

    Args:
        fs: The file system.
        info: What each segment's header says of the stream.
        stream_id: The stream.
        budget: The bytes of the whole journal path.
        mode: The segment files' mode.
        monotonic: Clock, seconds.
    """

    def __init__(
        self,
        fs: FileSystem,
        info: Mapping[str, Any],
        stream_id: str,
        budget: Budget,
        mode: int,
        monotonic: Callable[[], float],
    ) -> None:
        self._fs = fs
        self._info = dict(info)
        self._stream_id = stream_id
        self._budget = budget
        self._mode = mode
        self._monotonic = monotonic
        self._numbers = count()
        self._retry_at = float("-inf")
        self._lacked = 0  # bytes of the segment that found no room the last time
        self.problem: str | None = None
        """What the file system said when it refused the last time; None once it takes files again."""

    @property
    def resting(self) -> Refusal | None:
        """A refusal while nothing is tried, because the last time was just now."""
        if self._monotonic() < self._retry_at:
            return Refusal(self.problem or "the journal is full")
        return None

    @property
    def room(self) -> bool:
        """Whether another segment may be made now, for all that is known."""
        return self._monotonic() >= self._retry_at and self._budget.room_for(max(FIRST_SEGMENT, self._lacked))

    def failed(self, problem: str) -> Refusal:
        """The file system refused; it is not asked again for a moment."""
        self.problem = problem
        self._retry_at = self._monotonic() + _RETRY_SECONDS
        return Refusal(problem)

    def make(
        self, directory: StreamDirectory, first_sequence: int, needed: int, preferred: int
    ) -> Segment | Refusal:
        """A new segment with room for ``needed`` bytes of records beside the reserve.

        Args:
            directory: The stream's.
            first_sequence: Of the record that will be the first.
            needed: Bytes of records.
            preferred: The size of the file, if there is room for that.
        """
        resting = self.resting
        if resting is not None:
            return resting
        least = max(FIRST_SEGMENT, needed + RESERVE + FIRST_SEGMENT // 8)
        failed: OSError | None = None
        for wanted in dict.fromkeys((max(preferred, least), least)):
            size = -(-wanted // _PAGE) * _PAGE
            if not self._budget.room_for(size):
                self._lacked = size
                continue
            path = directory.segment_path(number := next(self._numbers))
            try:
                segment = self._create(path, number, first_sequence, size)
            except OSError as error:
                if not is_of(error, path):
                    raise
                failed = error
                continue
            self._budget.allocated(size)
            if not segment.fits(segment.start, needed):  # its description is that long
                self.discard(segment)
                return Refusal("the stream's description leaves no room for the event", room=False)
            self.problem, self._lacked = None, 0
            return segment
        if failed is None:
            return Refusal("the journal is full")
        return self.failed(f"{type(failed).__name__}: {failed}")

    def _create(self, path: str, number: int, first_sequence: int, size: int) -> Segment:
        return Segment.create(
            self._fs,
            path,
            stream_id=self._stream_id,
            number=number,
            first_sequence=first_sequence,
            info=self._info,
            size=size,
            mode=self._mode,
        )

    def discard(self, segment: Segment) -> None:
        """Remove a segment that nobody uses. What an exception leaves of it, the reader passes over."""
        segment.close()
        with contextlib.suppress(OSError):
            self._fs.unlink(segment.path)
        self._budget.freed(segment.size)


def is_of(error: OSError, path: str) -> bool:
    """Whether the file system says this of a path or what lies below; a signal handler may raise too."""
    return error.errno is not None and str(error.filename).startswith(path)


def _sequence_of(payload: bytes) -> int:
    return int.from_bytes(payload[:8], "little")


def measure(copies: Copies, sequence: int) -> tuple[int, int]:
    """The first sequence of these records, ``sequence`` when there are none, and their bytes in a segment.

    Raises:
        SegmentDamaged: One does not agree with its checksum.
    """
    first, size = sequence, 0
    for payload in published(*copies, verify=True):
        first = min(first, _sequence_of(payload))
        size += aligned(8 + len(payload))
    return first, size


def published(segments: Sequence[Segment], sequence: int, *, verify: bool) -> Iterator[bytes]:
    """The payloads of all records from ``sequence`` on, each once, as the file system holds them now."""
    for segment in segments:
        offset = segment.start
        while (word := segment.word(offset)) not in {0, SEALED}:
            length = word & _LENGTH
            payload = segment.read(offset + 8, length)
            if verify and crc32(payload, segment.salt) != word >> 32:
                raise SegmentDamaged("checksum", f"{segment.path} at {offset} is damaged in memory")
            number = _sequence_of(payload)
            if number >= sequence:  # what was written anew before stands in two segments
                yield payload
                sequence = number + 1
            offset += aligned(8 + length)
