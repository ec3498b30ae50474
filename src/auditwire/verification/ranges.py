"""Ranges of sequences, first and last included: found, and joined."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Range", "contains", "cut", "in_words", "joined", "overlaps"]

Range = tuple[int, int]
"""First and last sequence."""

_first = itemgetter(0)


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The same sequences in rising order, with ranges that touch or overlap made one; empty ones vanish."""
    out: list[Range] = []
    for first, last in sorted(ranges):
        if last < first:
            continue
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return out


def cut(whole: Range, edges: Sequence[int]) -> Iterator[Range]:
    """A range in pieces, so that each of the edges that lie within begins one.

    Args:
        whole: The range.
        edges: In rising order.
    """
    first, last = whole
    for edge in edges[bisect_right(edges, first) : bisect_right(edges, last)]:
        yield first, edge - 1
        first = edge
    yield first, last


def contains(ranges: Sequence[Range], number: int) -> bool:
    """True when one of the ranges has the number.

    Args:
        ranges: As ``joined`` returns them.
        number: The number.
    """
    at = bisect_right(ranges, number, key=_first) - 1
    return at >= 0 and number <= ranges[at][1]


def overlaps(ranges: Iterable[Range], first: int, last: int) -> bool:
    """True when one of the ranges has a sequence from first to last."""
    return any(a <= last and b >= first for a, b in ranges)


def in_words(first: int, last: int) -> str:
    """``record 3`` or ``records 3 to 5``."""
    return f"record {first}" if first == last else f"records {first} to {last}"
