from __future__ import annotations

from pathlib import Path

import pytest
from stream_files import Stream

from auditwire.journal.filesystem import REAL
from auditwire.journal.opened import OpenSegments
from auditwire.journal.segment import Segment


@pytest.fixture
def opened(tmp_path: Path) -> OpenSegments:
    stream = Stream(tmp_path)
    for number in range(4):
        stream.write(number, range(10 * number, 10 * number + 3))
    return OpenSegments(REAL, stream.path, limit=2, mapped=False)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_segment_that_was_used_lately_is_not_opened_again(opened: OpenSegments) -> None:
    first = opened.get(0)
    assert opened.get(1) is not first
    assert opened.get(0) is first
    opened.get(2)  # closes 1, which was used longest ago
    assert opened.get(0) is first
    assert [segment.number for segment in opened] == [2, 0]
    assert not first.mapped


def test_no_more_than_the_limit_are_open(opened: OpenSegments) -> None:
    before = descriptors()
    for number in (0, 1, 2, 3, 0, 1, 3):
        assert opened.get(number).number == number
        assert len(opened) <= 2
    assert descriptors() == before + 2
    opened.drop(3)
    opened.drop(3)
    assert descriptors() == before + 1
    opened.close()
    assert len(opened) == 0
    assert descriptors() == before


def test_a_segment_that_is_kept_takes_the_place_of_another_opening_of_it(opened: OpenSegments) -> None:
    before = descriptors()
    path = opened.get(1).path
    own = Segment.open(REAL, path)
    opened.keep(1, own)
    opened.keep(1, own)
    assert opened.get(1) is own
    assert len(opened) == 1
    opened.close()
    assert descriptors() == before


def test_a_segment_that_is_not_there_is_an_error(opened: OpenSegments) -> None:
    with pytest.raises(FileNotFoundError):
        opened.get(9)
    assert len(opened) == 0
