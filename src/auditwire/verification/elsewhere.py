"""Answers about streams other than the one that is judged."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING

from auditwire.verification.layout import key_of
from auditwire.verification.runs import merged_rows, sequences_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.verification.ranges import Range
    from auditwire.verification.runs import Runs

__all__ = ["Elsewhere"]

_MOST_RANGES = 100_000  # kept of one stream
_MOST_STREAMS = 8


class Elsewhere:
    """Looks into the facts of other streams, by the index of each run.

    Few streams are asked about: those that a new stream of the same journal path names, and adopters whose
    statements have holes. The answers of the latter are kept for a while, as ranges: a statement of many
    parts asks about the same adopter again and again.

    Args:
        runs: All facts.
        known: As for ``judge``.
    """

    def __init__(self, runs: Runs, known: Callable[[str], bool] | None) -> None:
        self._runs = runs
        self._known = known
        self._present: dict[str, list[Range]] = {}

    def exists(self, stream_id: str) -> bool:
        """Whether a stream has a record."""
        if any(group.rows for group in self._runs.groups_of(key_of(stream_id))):
            return True
        return self._known is not None and self._known(stream_id)

    def has_all(self, stream_id: str, first: int, end: int) -> bool:
        """Whether a stream has every record from the first to before the end."""
        ranges = self._present.get(stream_id)
        if ranges is None:
            while len(self._present) >= _MOST_STREAMS:
                del self._present[next(iter(self._present))]
            ranges = self._present[stream_id] = []
            for present in sequences_in(merged_rows(self._runs.groups_of(key_of(stream_id)))):
                ranges.append(present)
                if len(ranges) == _MOST_RANGES:
                    break
        at = bisect_right(ranges, first, key=itemgetter(0)) - 1
        return at >= 0 and ranges[at][1] >= end - 1
