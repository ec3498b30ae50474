"""What it means that records of a stream are not there."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Literal

from auditwire.verification.ranges import Range, contains, cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.verification.statements import Recovery

__all__ = ["Absence", "AbsenceRule"]

Absence = Literal["missing", "awaited", "unreadable", "unaccounted"]
"""As the fields of :class:`~auditwire.verification.StreamReport` of the same names."""


class AbsenceRule:
    """Says of ranges of absent sequences of one stream what their absence means.

    Args:
        recovery: What adopters say of the stream's journal.
        acknowledged: A checkpoint says that the broker had every record below this sequence.
        known_to: The last record that the stream is known to have left behind, by recovery records and by
            the streams after it.
        delivered_to: Up to there nothing can be on its way any more: a later stream names the record.
        settled: True when nothing can be anywhere.
    """

    __slots__ = ("_acknowledged", "_delivered_to", "_edges", "_known_to", "_recovery", "_settled")

    def __init__(
        self, recovery: Recovery, *, acknowledged: int, known_to: int, delivered_to: int, settled: bool
    ) -> None:
        self._recovery = recovery
        self._acknowledged = acknowledged
        self._known_to = known_to
        self._delivered_to = delivered_to
        self._settled = settled
        # between two of these, every sequence means the same
        edges = {acknowledged, known_to + 1, delivered_to + 1, recovery.last_sequence + 1}
        edges.update(edge for first, last in (*recovery.runs, *recovery.holes) for edge in (first, last + 1))
        self._edges = sorted(edges)

    def sort(self, absent: Range) -> Iterator[tuple[Absence, Range]]:
        """The parts of a range, cut where the meaning changes."""
        for what, group in groupby(cut(absent, self._edges), self._meaning):
            pieces = list(group)
            yield what, (pieces[0][0], pieces[-1][1])

    def _meaning(self, piece: Range) -> Absence:
        number, recovery = piece[0], self._recovery
        if number < self._acknowledged:
            return "missing"
        if recovery.count and number > self._known_to:
            return "unaccounted" if self._settled else "awaited"
        if contains(recovery.holes, number) and not contains(recovery.runs, number):
            return "unreadable"
        if self._settled or number <= self._delivered_to:
            return "unreadable" if recovery.is_damaged_at(number) else "missing"
        return "awaited"
