"""What it means that records of a stream are not there."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Literal

from auditwire.verification.ranges import Range, cut, overlaps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from auditwire.verification.statements import Recovery

__all__ = ["Absence", "sort_absent"]

Absence = Literal["missing", "awaited", "unreadable", "unaccounted"]
"""As the fields of :class:`~auditwire.verification.StreamReport` of the same names."""


def sort_absent(
    absent: Iterable[Range], recovery: Recovery, *, acknowledged: int, known_to: int, settled: bool
) -> Iterator[tuple[Absence, Range]]:
    """Say of each range of absent sequences what its absence means, cut where the meaning changes.

    Args:
        absent: Ranges of sequences that have no record.
        recovery: What adopters say of the stream's journal.
        acknowledged: A checkpoint says that the broker had every record below this sequence.
        known_to: The last record that the stream is known to have left behind, by recovery records and by
            the streams after it.
        settled: True when nothing can be on its way any more.
    """

    def meaning(piece: Range) -> Absence:
        number = piece[0]
        if number < acknowledged:
            return "missing"
        if recovery.count and number > known_to:
            return "unaccounted" if settled else "awaited"
        if number not in recovery.stated and overlaps(recovery.holes, number, number):
            return "unreadable"
        if settled:
            return "unreadable" if recovery.is_damaged_at(number) else "missing"
        return "awaited"

    # between two of these, every sequence means the same
    edges = {acknowledged, known_to + 1}
    edges.update(edge for first, last in (*recovery.runs, *recovery.holes) for edge in (first, last + 1))
    cuts = sorted(edges)
    for whole in absent:
        for what, group in groupby(cut(whole, cuts), meaning):
            pieces = list(group)
            yield what, (pieces[0][0], pieces[-1][1])
