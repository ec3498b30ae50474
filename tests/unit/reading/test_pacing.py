from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import ConfigurationError
from auditwire.events import ErrorEvent
from auditwire.reading.pacing import paced
from support.stream_builder import record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from auditwire.reading import Record

_EVENT = ErrorEvent()


class Time:
    """A clock that stands still but for sleep and what a test says; it notes when records come."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


def at(*milliseconds: int) -> list[Record]:
    records = []
    for sequence, timestamp in enumerate(milliseconds):
        record = record_of(_EVENT, sequence)
        record.timestamp_ms = timestamp
        records.append(record)
    return records


def played(
    records: Iterable[Record], speed: float = 1.0, *, max_pause: float | None = None, work: float = 0.0
) -> list[float]:
    """When each record came, in seconds after the first; the caller works so long on each."""
    time = Time()
    came = []
    for _ in paced(records, speed, max_pause=max_pause, clock=time.clock, sleep=time.sleep):
        came.append(time.now)
        time.now += work
    return [when - came[0] for when in came]


def test_records_come_with_the_pauses_that_were_between_them() -> None:
    assert played(at(5_000, 6_000, 6_500, 6_500)) == pytest.approx([0, 1, 1.5, 1.5])


def test_a_speed_of_ten_takes_a_tenth_and_one_of_a_half_twice_as_long() -> None:
    assert played(at(0, 10_000), 10) == pytest.approx([0, 1])
    assert played(at(0, 10_000), 0.5) == pytest.approx([0, 20])


def test_no_speed_limit_makes_no_pauses() -> None:
    assert played(at(0, 10_000, 10**12), math.inf) == [0, 0, 0]


def test_what_the_caller_takes_is_not_added_to_the_pauses() -> None:
    assert played(at(0, 1_000, 2_000), work=0.4) == pytest.approx([0, 1, 2])


def test_a_caller_who_is_late_gets_the_next_ones_at_once_until_it_is_back_on_the_timetable() -> None:
    assert played(at(0, 1_000, 2_000, 9_000), work=2.5) == pytest.approx([0, 2.5, 5, 9])


def test_a_record_older_than_one_before_it_comes_at_once() -> None:
    assert played(at(0, 5_000, 1_000, 4_999, 6_000)) == pytest.approx([0, 5, 5, 5, 6])


def test_a_record_without_a_timestamp_comes_at_once_and_changes_nothing() -> None:
    assert played(at(-1, 0, -1, 2_000)) == pytest.approx([0, 0, 0, 2])


def test_a_long_pause_is_cut_and_the_timetable_moves_with_it() -> None:
    assert played(at(0, 1_000, 3_601_000, 3_602_000), max_pause=5) == pytest.approx([0, 1, 6, 7])


def test_the_longest_pause_is_meant_as_it_is_waited() -> None:
    assert played(at(0, 100_000), 10, max_pause=5) == pytest.approx([0, 5])
    assert played(at(0, 40_000), 10, max_pause=5) == pytest.approx([0, 4])
    assert played(at(0, 40_000), max_pause=0) == [0, 0]


def test_nothing_is_read_ahead() -> None:
    taken = []

    def source() -> Iterator[Record]:
        for record in at(0, 0, 0):
            taken.append(record.sequence)
            yield record

    for record in paced(source(), clock=Time().clock, sleep=Time().sleep):
        assert taken[-1] == record.sequence
    assert taken == [0, 1, 2]


def test_a_sleep_that_returns_early_lets_the_record_come_early() -> None:
    time = Time()
    came = [time.now for _ in paced(at(0, 60_000, 61_000), clock=time.clock, sleep=lambda _: None)]
    assert came == [1_000.0] * 3


@pytest.mark.parametrize("speed", [0, -1.0, math.nan])
def test_a_speed_that_is_none_is_refused_before_the_first_record(speed: float) -> None:
    with pytest.raises(ConfigurationError, match=r"speed: .+ is not a number above 0"):
        paced([], speed)


@pytest.mark.parametrize("pause", [-0.1, math.nan])
def test_a_longest_pause_below_nothing_is_refused(pause: float) -> None:
    with pytest.raises(ConfigurationError, match="max_pause"):
        paced([], max_pause=pause)


@given(
    st.lists(st.integers(-1, 10**7), min_size=1, max_size=30),
    st.floats(0.01, 1_000),
    st.one_of(st.none(), st.floats(0, 100)),
)
def test_the_whole_takes_as_long_as_the_range_of_times_and_no_longer(
    times: list[int], speed: float, max_pause: float | None
) -> None:
    came = played(at(*times), speed, max_pause=max_pause)
    known = [time for time in times if time >= 0]
    first = known[0] if known else 0
    most = (max(known, default=0) - first) / 1_000 / speed
    assert came == sorted(came)
    assert came[-1] <= most + 1e-6
    if max_pause is None:
        assert came[-1] == pytest.approx(most)
