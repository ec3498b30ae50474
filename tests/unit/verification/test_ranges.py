from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from auditwire.verification.ranges import Range, contains, cut, in_words, joined, overlaps

ranges = st.lists(st.tuples(st.integers(-5, 40), st.integers(-5, 40)), max_size=8)
numbers = st.sets(st.integers(-5, 40)).map(sorted)


def members(some: list[Range]) -> set[int]:
    return {n for first, last in some for n in range(first, last + 1)}


def is_canonical(some: list[Range]) -> bool:
    """In order, none empty, none that touches the next."""
    return all(first <= last for first, last in some) and all(a[1] + 1 < b[0] for a, b in pairwise(some))


@given(ranges)
def test_joined_ranges_have_the_same_members_in_as_few_ranges_as_possible(some: list[Range]) -> None:
    out = joined(some)
    assert members(out) == members(some)
    assert is_canonical(out)


@given(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), numbers)
def test_a_cut_range_keeps_its_members_and_begins_anew_at_every_edge(
    ends: list[int], edges: list[int]
) -> None:
    first, last = ends
    pieces = list(cut((first, last), edges))
    assert sorted(members(pieces)) == list(range(first, last + 1))
    assert {a for a, _ in pieces} == {first} | {edge for edge in edges if first < edge <= last}


@given(ranges.map(joined), st.integers(-6, 41))
def test_a_number_is_contained_in_the_range_that_has_it(some: list[Range], number: int) -> None:
    assert contains(some, number) == (number in members(some))


@given(ranges.map(joined), st.integers(-5, 40), st.integers(0, 10))
def test_overlap_is_a_common_member(some: list[Range], first: int, length: int) -> None:
    last = first + length
    assert overlaps(some, first, last) == bool(members(some) & set(range(first, last + 1)))


def test_one_record_and_several_are_named_differently() -> None:
    assert (in_words(3, 3), in_words(3, 5)) == ("record 3", "records 3 to 5")
