from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.reading.ordering import Merge

if TYPE_CHECKING:
    from collections.abc import Sequence

Item = tuple[str, int, int]  # source, number in it, timestamp


def merge_of(**sources: Sequence[int]) -> Merge[str, Item]:
    merge: Merge[str, Item] = Merge(size=lambda items: 10 * len(items))
    for name, stamps in sources.items():
        merge.open(name)
        if stamps:
            merge.add(name, [(name, n, stamp) for n, stamp in enumerate(stamps)], stamps)
    return merge


def taken(merge: Merge[str, Item], limit: int = 9) -> list[Item]:
    items, stamps = merge.take(limit)
    assert len(items) == len(stamps) <= limit
    assert stamps == sorted(stamps)
    return items


def stamps_of(items: Sequence[Item]) -> list[int]:
    return [stamp for _, _, stamp in items]


def test_items_come_by_their_timestamps_whichever_source_they_are_from() -> None:
    merge = merge_of(a=[1, 4, 5], b=[2, 3, 9])
    for name in "ab":
        merge.at_end(name)
    assert taken(merge, 4) == [("a", 0, 1), ("b", 0, 2), ("b", 1, 3), ("a", 1, 4)]
    assert merge.reached == 4
    assert (merge.count, merge.bytes) == (2, 20)
    assert stamps_of(taken(merge, 4)) == [5, 9]
    assert taken(merge, 4) == []
    assert (merge.count, merge.bytes, merge.reached) == (0, 0, 9)


def test_equal_timestamps_come_in_the_order_of_the_sources_and_of_each_source() -> None:
    merge = merge_of(a=[7, 7], b=[7])
    for name in "ab":
        merge.at_end(name)
    assert [item[:2] for item in taken(merge)] == [("a", 0), ("a", 1), ("b", 0)]


def test_a_source_that_gave_nothing_yet_holds_all_others_up() -> None:
    merge = merge_of(a=[1, 2], b=[])
    assert taken(merge) == []
    assert merge.blocking == ["b"]
    merge.add("b", [("b", 0, 1)], [1])
    assert stamps_of(taken(merge)) == [1, 1], "b may give another 1, and a's 2 has to wait for it"
    assert merge.blocking == ["b"]
    assert merge.ahead == {"a": 10}
    assert (merge.bytes_of("a"), merge.bytes_of("b")) == (10, 0)
    merge.at_end("b")
    assert stamps_of(taken(merge)) == [2]
    assert merge.unfinished == ["a"]


def test_an_old_item_behind_newer_ones_of_its_source_comes_by_its_own_timestamp() -> None:
    """A sender that was cut off sends old records among the new ones of others."""
    merge = merge_of(a=[10, 3, 12], b=[2, 4, 11])
    for name in "ab":
        merge.at_end(name)
    assert stamps_of(taken(merge)) == [2, 3, 4, 10, 11, 12]


def test_an_item_older_than_what_was_taken_comes_next_and_takes_nothing_back() -> None:
    merge = merge_of(a=[5])
    merge.at_end("a")
    assert stamps_of(taken(merge)) == [5]
    merge.add("a", [("a", 1, 2)], [2])
    assert stamps_of(taken(merge)) == [2]
    assert merge.reached == 5


def test_an_item_without_timestamp_has_that_of_the_newest_before_it() -> None:
    merge = merge_of(a=[5, -1, 6], b=[5, 6])
    for name in "ab":
        merge.at_end(name)
    assert [item[:2] for item in taken(merge)] == [("a", 0), ("a", 1), ("b", 0), ("a", 2), ("b", 1)]


def test_items_can_be_taken_out_of_turn_unless_they_are_due_already() -> None:
    merge = merge_of(a=[1, 8, 9, 9], b=[], c=[7])
    assert dict(merge.not_due())["a"] == [("a", 0, 1), ("a", 1, 8), ("a", 2, 9), ("a", 3, 9)]
    first, second, third, fourth = dict(merge.not_due())["a"]
    assert merge.remove("a", [second, fourth]) == [second, fourth]
    assert merge.remove("a", [second]) == []
    assert (merge.count, merge.ahead) == (3, {"a": 20, "c": 10})
    merge.at_end("b")
    merge.at_end("c")
    due_before = merge.due
    assert taken(merge, 1) == [first]
    assert (due_before, merge.due) == (False, True)
    assert merge.remove("c", dict(merge.not_due())["c"]) == []
    assert taken(merge, 9) == [("c", 0, 7), third]
    assert (merge.count, merge.bytes, merge.due) == (0, 0, False)


@pytest.mark.parametrize("limit", [1, 2, 100])
@given(data=st.data())
def test_everything_comes_once_and_rising_sources_give_a_rising_whole(
    limit: int, data: st.DataObject
) -> None:
    rising = data.draw(st.booleans(), "rising")
    stamps = {
        name: sorted(given) if rising else given
        for name, given in data.draw(
            st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 30), max_size=20), min_size=1)
        ).items()
    }
    merge = merge_of(**dict.fromkeys(stamps, ()))
    given_so_far = dict.fromkeys(stamps, 0)
    came: list[Item] = []
    while any(given_so_far[name] < len(stamps[name]) for name in stamps):
        name = data.draw(st.sampled_from([n for n in stamps if given_so_far[n] < len(stamps[n])]))
        first = given_so_far[name]
        count = data.draw(st.integers(1, len(stamps[name]) - first))
        part = stamps[name][first : first + count]
        merge.add(name, [(name, first + n, stamp) for n, stamp in enumerate(part)], part)
        given_so_far[name] += count
        came += taken(merge, limit)
        if rising:
            unread = [stamps[n][given_so_far[n]] for n in stamps if given_so_far[n] < len(stamps[n])]
            assert all(stamp <= least for stamp in stamps_of(came[-1:]) for least in unread)
    for name in stamps:
        merge.at_end(name)
    assert len([*merge.waiting()]) == merge.count
    while batch := taken(merge, limit):
        came += batch
    assert sorted(came) == sorted((n, i, stamp) for n in stamps for i, stamp in enumerate(stamps[n]))
    assert (merge.count, merge.bytes) == (0, 0)
    if rising:
        assert stamps_of(came) == sorted(stamps_of(came))
