"""The count that says whether anything was lost is right itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.load import Counts
from rig.tally import Bits, Tally


def record(stream: str, sequence: int, identity: str, event_type: str = "turn_start") -> Any:
    return SimpleNamespace(
        stream_id=stream,
        sequence=sequence,
        event=SimpleNamespace(event_type=event_type, turn_id=identity),
    )


def load(*accepted: int) -> Any:
    """A process called a, and what its threads had accepted."""
    return SimpleNamespace(life="a", counts=Counts(accepted, 0, 0.0))


@given(st.lists(st.integers(0, 100_000)), st.integers(0, 100_100))
def test_bits_are_a_set(numbers: list[int], below: int) -> None:
    bits, model = Bits(), set[int]()
    for number in numbers:
        assert bits.add(number) == (number not in model)
        model.add(number)
    assert bits.count == len(model)
    assert bits.highest == max(model, default=-1)
    assert [*bits.absent(below)] == sorted(set(range(below)) - model)


def test_what_is_there_twice_is_counted_apart_from_what_was_emitted_twice() -> None:
    tally = Tally()
    tally.add(record("s", 0, "", "checkpoint"))
    for sequence, identity in ((1, "a:0:0"), (2, "a:1:0"), (2, "a:1:0"), (3, "a:0:0")):
        tally.add(record("s", sequence, identity))
    assert (tally.records, tally.delivered, tally.duplicates, tally.doubled) == (5, 3, 1, 1)


@pytest.mark.parametrize(
    ("accepted", "lost"), [((2, 1), []), ((3, 1), ["a:0:2"]), ((2, 3), ["a:1:1", "a:1:2"]), ((0, 0), [])]
)
def test_what_was_accepted_and_is_not_there_is_lost(accepted: tuple[int, ...], lost: list[str]) -> None:
    tally = Tally()
    for sequence, identity in ((1, "a:0:0"), (2, "a:1:0"), (3, "a:0:1"), (4, "b:0:7")):
        tally.add(record("s", sequence, identity))
    assert tally.lost([load(*accepted)]) == lost
    assert tally.gaps() == 1


def test_of_a_process_that_left_nothing_everything_is_lost() -> None:
    assert len(Tally().lost([load(5, 6)])) == 11
