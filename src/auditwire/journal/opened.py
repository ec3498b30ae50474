"""Segments that stay open for records that are read again, so that a run of them costs one opening."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.journal.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditwire.journal.filesystem import FileSystem

__all__ = ["OpenSegments"]


class OpenSegments:
    """A few open segments, of which the one that was used longest ago is closed first. For one thread.

    Args:
        fs: Where they are.
        path: The path of the segment with a number.
        limit: How many stay open.
        mapped: Whether to map what is opened.
    """

    def __init__(self, fs: FileSystem, path: Callable[[int], str], *, limit: int, mapped: bool) -> None:
        self._fs = fs
        self._path = path
        self._limit = limit
        self._mapped = mapped
        self._segments: dict[int, Segment] = {}

    def get(self, number: int) -> Segment:
        """The segment, open for reading.

        Raises:
            SegmentDamaged: It has no whole header.
            OSError: There is none, or it cannot be opened.
        """
        segment = self._segments.pop(number, None)
        if segment is None:
            segment = Segment.open(self._fs, self._path(number), mapped=self._mapped)
        self.keep(number, segment)
        return segment

    def keep(self, number: int, segment: Segment) -> None:
        """Take over an open segment."""
        if self._segments.get(number) is not segment:
            self.drop(number)
        self._segments[number] = segment
        while len(self._segments) > self._limit:
            self._segments.pop(next(iter(self._segments))).close()

    def drop(self, number: int) -> None:
        """Close a segment, if it is open."""
        segment = self._segments.pop(number, None)
        if segment is not None:
            segment.close()

    def __iter__(self) -> Iterator[Segment]:
        return iter(list(self._segments.values()))

    def __len__(self) -> int:
        return len(self._segments)

    def close(self) -> None:
        """Close all."""
        for number in list(self._segments):
            self.drop(number)
