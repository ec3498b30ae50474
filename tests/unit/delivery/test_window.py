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
