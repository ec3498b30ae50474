from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditwire.delivery.window import AckWindow


def test_the_mark_is_the_end_of_the_finished_prefix() -> None:
    window = AckWindow()
    window.extend(4)
    window.mark(1)
    window.mark(2)
    assert window.low == 0
    window.mark(0)
    assert window.low == 3
    window.mark(3)
    assert window.low == window.end == 4


def test_a_record_is_done_once() -> None:
    window = AckWindow()
    window.extend(2)
    assert window.mark(1)
    assert not window.mark(1)
    window.mark(0)
    assert window.low == 2
    window.extend(1)
    assert not window.mark(0)


def test_what_is_below_the_mark_takes_no_memory_for_ever() -> None:
    window = AckWindow()
    for start in range(0, 300_000, 1_000):
        window.extend(1_000)
        for sequence in range(start, start + 1_000):
            window.mark(sequence)
        assert window.low == start + 1_000
    assert len(window._done) < 70_000
    assert window.end == 300_000


@given(st.lists(st.integers(0, 60), max_size=200), st.integers(1, 61))
def test_the_mark_agrees_with_a_set(marks: list[int], size: int) -> None:
    window = AckWindow()
    window.extend(size)
    done: set[int] = set()
    for sequence in marks:
        if sequence < size:
            assert window.mark(sequence) == (sequence not in done)
            done.add(sequence)
            assert window.low == next((i for i in range(size) if i not in done), size)


def test_a_window_may_begin_anywhere() -> None:
    window = AckWindow(1_000)
    assert window.low == window.end == 1_000
    window.extend(2)
    assert not window.mark(999)
    assert window.mark(1_000)
    assert (window.low, window.end) == (1_001, 1_002)


def test_numbers_that_will_never_come_hold_nothing_back() -> None:
    window = AckWindow(10)
    window.extend(1)
    window.skip_to(15)
    window.skip_to(12)
    window.extend(1)
    assert (window.low, window.end) == (10, 16)
    assert not window.mark(12)
    window.mark(10)
    assert window.low == 15
    window.mark(15)
    assert window.low == 16


def test_a_gap_of_any_length_takes_no_memory() -> None:
    window = AckWindow()
    window.extend(1)
    window.mark(0)
    window.skip_to(1 << 60)
    assert window.low == window.end == 1 << 60
    assert len(window._done) == 0
    window.extend(1)
    assert window.mark(1 << 60)


def test_a_copy_goes_its_own_way() -> None:
    window = AckWindow(5)
    window.extend(3)
    window.mark(5)
    twin = window.copy()
    twin.mark(6)
    window.mark(7)
    assert (window.low, twin.low) == (6, 7)
    assert (window.end, twin.end) == (8, 8)
