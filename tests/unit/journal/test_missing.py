from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stream_files import Stream, is_written

from auditwire.journal.filesystem import REAL
from auditwire.journal.missing import Missing
from auditwire.journal.segment import Segment, SegmentDamaged

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    made = Stream(tmp_path)
    made.write(0, range(20), seal=False)
    made.write(1, range(10, 30))
    made.write(2, range(30, 40))
    return made


class Opening:
    """Opens segments, and counts."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.opened: list[int] = []

    def __call__(self, number: int) -> Segment | SegmentDamaged:
        self.opened.append(number)
        try:
            return Segment.open(REAL, self.stream.path(number), mapped=False)
        except SegmentDamaged as damage:
            return damage


def find(
    missing: Missing, first: int, last: int, *numbers: int, remember: bool = True
) -> list[tuple[int, int]]:
    """Sequence and segment of each record that is found."""
    owner = object()
    records = missing.find(first, last, numbers or (0, 1, 2), remember=remember, origin=owner)
    assert all(is_written(record) and record.origin is owner for record in records)
    return [(record.sequence, record.position >> 32) for record in records]


def test_records_come_from_the_first_segment_that_has_them(stream: Stream) -> None:
    offsets = stream.offsets[0]
    stream.flip(0, offsets[12] + 40)
    missing = Missing(Opening(stream))
    assert find(missing, 11, 13) == [(11, 0), (12, 1), (13, 0)]
    assert find(missing, 28, 31) == [(28, 1), (29, 1), (30, 2), (31, 2)]
    assert find(missing, 40, 50) == []


def test_a_search_takes_no_longer_for_a_gap_of_any_length(stream: Stream) -> None:
    found = find(Missing(Opening(stream)), 35, 1 << 61)
    assert found == [(sequence, 2) for sequence in range(35, 40)]


def test_segments_that_begin_behind_it_are_not_searched(stream: Stream) -> None:
    stream.overwrite(2, stream.offsets[2][0], b"\xff" * 200)
    assert find(Missing(Opening(stream)), 0, 1) == [(0, 0), (1, 0)]


def test_a_segment_that_cannot_be_opened_has_nothing(stream: Stream) -> None:
    stream.flip(1, 50)
    assert find(Missing(Opening(stream)), 19, 30) == [(19, 0), (30, 2)]


def test_what_a_segment_holds_is_remembered_once_nobody_writes_it(stream: Stream) -> None:
    missing = Missing(Opening(stream))
    assert find(missing, 5, 5, 0) == [(5, 0)]
    stream.overwrite(0, stream.offsets[0][0], bytes(500))
    assert find(missing, 15, 15, 0) == [(15, 0)]  # its place is known
    missing.forget(0)
    missing.forget(0)
    assert find(missing, 1, 1, 0) == []


def test_a_segment_that_grows_is_searched_again(stream: Stream) -> None:
    missing = Missing(Opening(stream))
    assert find(missing, 5, 5, 0, remember=False) == [(5, 0)]
    stream.overwrite(0, stream.offsets[0][5] + 20, b"\xff" * 40)
    assert find(missing, 5, 5, 0, remember=False) == []
