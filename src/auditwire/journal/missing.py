"""Where else a record may be that is not where it ought to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.journal.format import LENGTH
from auditwire.journal.recovery import Unreadable, recover
from auditwire.journal.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from auditwire.journal.base import Record

__all__ = ["Missing"]


class Missing:
    """Searches segments for sequences, in whatever order they stand there.

    What a segment holds is remembered when nobody writes it any more: damage seldom comes alone.

    Args:
        open_segment: Opens the segment with a number; anything but a `Segment` where it cannot.
    """

    def __init__(self, open_segment: Callable[[int], object]) -> None:
        self._open = open_segment
        self._indexes: dict[int, dict[int, int]] = {}

    def find(
        self, first: int, last: int, numbers: Iterable[int], *, remember: bool, origin: object
    ) -> list[Record]:
        """The records with these sequences that are in one of the segments, sequences rising.

        Args:
            first: The least sequence.
            last: The highest sequence.
            numbers: Of the segments; of several copies of a record the first one counts.
            remember: Whether nobody writes these segments any more.
            origin: What the records shall say of themselves.

        Raises:
            OSError: A segment cannot be read.
        """
        found: dict[int, Record] = {}
        for number in numbers:
            segment = self._open(number)
            if not isinstance(segment, Segment):
                continue
            try:
                if segment.first_sequence <= last:
                    index = self._index(segment, remember=remember)
                    # not by the range, which is as long as a header says
                    for sequence in [n for n in index if first <= n <= last and n not in found]:
                        found[sequence], _ = segment.load(index[sequence], verify=True, origin=origin)
            finally:
                segment.close()
        return [found[sequence] for sequence in sorted(found)]

    def _index(self, segment: Segment, *, remember: bool) -> dict[int, int]:
        """Sequence -> offset, of all that can be read of a segment."""
        index = self._indexes.get(segment.number)
        if index is None:
            index = {
                item.sequence: item.position & LENGTH
                for item in recover(segment, segment.start, None)
                if not isinstance(item, Unreadable)
            }
            if remember:
                self._indexes[segment.number] = index
        return index

    def forget(self, number: int) -> None:
        """A segment is gone."""
        self._indexes.pop(number, None)
