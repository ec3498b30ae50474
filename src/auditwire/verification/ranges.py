"""Ranges of sequences, first and last included: found, and joined."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Range", "cut", "gaps_between", "in_words", "joined", "outside", "overlaps"]

Range = tuple[int, int]
"""First and last sequence."""


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


def gaps_between(taken: Iterable[int], end: int) -> Iterator[Range]:
    """What is between 0 and ``end``, both included, and not taken.

    Args:
        taken: Sequences in rising order, none above ``end``.
        end: The last sequence that there should be; -1: none.
    """
    following = 0
    for number in taken:
        if number > following:
            yield following, number - 1
        following = max(following, number + 1)  # a forged one may be negative
    if following <= end:
        yield following, end


def outside(numbers: Iterable[int], ranges: list[Range]) -> list[Range]:
    """The numbers that lie in none of the ranges, as ranges.

    Args:
        numbers: In rising order.
        ranges: As ``joined`` returns them.
    """
    out: list[Range] = []
    at = 0
    for number in numbers:
        while at < len(ranges) and ranges[at][1] < number:
            at += 1
        if at < len(ranges) and ranges[at][0] <= number:
            continue
        if out and out[-1][1] == number - 1:
            out[-1] = (out[-1][0], number)
        else:
            out.append((number, number))
    return out


def overlaps(ranges: Iterable[Range], first: int, last: int) -> bool:
    """True when one of the ranges has a sequence from first to last."""
    return any(a <= last and b >= first for a, b in ranges)


def in_words(first: int, last: int) -> str:
    """``record 3`` or ``records 3 to 5``."""
    return f"record {first}" if first == last else f"records {first} to {last}"
