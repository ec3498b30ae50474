from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import ConfigurationError
from auditwire.reading.position import Position
from auditwire.reading.sequencing import StreamState

POSITION = Position(
    whole=True,
    forgotten="a",
    offsets={("t", 0): 9, ("t", 10): 3, ("u", 0): 0},
    pending={("t", 0): frozenset({1, 2, 3, 7}), ("t", 10): frozenset()},
    streams={"b": StreamState(5, [(0, 1)], [(7, 9), (11, 11)], 12), "c": StreamState(0, [], [], -1)},
)
RAW = POSITION.to_dict()


def test_a_position_reads_as_its_table_says() -> None:
    assert RAW == {
        "version": 1,
        "whole": True,
        "forgotten": "a",
        "offsets": {"t": {"0": 9, "10": 3}, "u": {"0": 0}},
        "pending": {"t": {"0": [[1, 3], [7, 7]]}},
        "streams": {"b": [5, [[0, 1]], [[7, 9], [11, 11]], 12], "c": [0, [], [], -1]},
    }


def test_a_reader_begins_with_what_was_pending_and_passes_over_the_rest() -> None:
    assert POSITION.starts == {("t", 0): 1, ("t", 10): 3, ("u", 0): 0}
    assert POSITION.left() == {("t", 0): (9, frozenset({1, 2, 3, 7}))}


ranges = st.lists(st.integers(0, 50), unique=True).map(
    lambda n: [(a, b) for a, b in zip(sorted(n)[::2], sorted(n)[1::2], strict=False)]
)
places = st.tuples(st.sampled_from("tuv"), st.integers(0, 20))


@given(
    offsets=st.dictionaries(places, st.integers(0, 1 << 62)),
    pending=st.dictionaries(places, st.frozensets(st.integers(0, 99), min_size=1)),
    streams=st.dictionaries(
        st.text(), st.builds(StreamState, st.integers(0, 1 << 62), ranges, ranges, st.integers(-1, 99))
    ),
    whole=st.booleans(),
    forgotten=st.text(),
)
def test_a_position_comes_back_from_json_as_it_was(**parts: Any) -> None:
    position = Position(**parts)
    assert Position.parse("start", json.loads(json.dumps(position.to_dict()))) == position


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "is of version 2, and this auditwire reads version 1"),
        ({"version": None}, "is of version None"),
        ({"offsets": None}, "is no position of a reader"),
        ({"offsets": {"t": {"x": 1}}}, "is no position of a reader"),
        ({"offsets": {"t": {"0": "x"}}}, "is no position of a reader"),
        ({"pending": {"t": {"0": [[2, 1]]}}}, "do not rise"),
        ({"pending": {"t": {"0": [[-1, 1]]}}}, "do not rise"),
        ({"streams": {"s": [1, []]}}, "is no position of a reader"),
        ({"streams": {"s": [1, [[3]], [], -1]}}, "is no position of a reader"),
        ({"streams": []}, "is no position of a reader"),
    ],
)
def test_what_is_no_position_is_refused_and_says_why(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Position.parse("start", {**RAW, **change})
    assert caught.value.key == "start"


def test_a_position_without_a_part_is_refused() -> None:
    for name in RAW:
        with pytest.raises(ConfigurationError, match="is no position"):
            Position.parse("start", {key: value for key, value in RAW.items() if key != name})
