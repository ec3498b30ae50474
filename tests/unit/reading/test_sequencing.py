from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.reading import sequencing
from auditwire.reading.record import Gap
from auditwire.reading.sequencing import Aside, Duplicate, Passed, Sequencer, StreamState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(eq=False)
class Item:
    """A record, as far as the sequencer looks at it."""

    stream_id: str
    sequence: int
    late: bool = False

    def __repr__(self) -> str:
        return f"{self.stream_id}{self.sequence}{'!' if self.late else ''}"


def sequencer(**options: Any) -> Sequencer[Item]:
    options = {"whole": True, "patience": 30.0, "tell_duplicates": True, **options}
    return Sequencer(size=lambda _: 1_000, **options)


def feed(
    to: Sequencer[Item], *sequences: int, stream: str = "s", clock: float = 0.0, reached: int = 0
) -> None:
    give(to, [(stream, sequence, Item(stream, sequence)) for sequence in sequences], reached, clock)


def give(to: Sequencer[Item], entries: Iterable[Entry], stamp: int = 0, clock: float = 0.0) -> None:
    """Feed records of one timestamp, or numbers that are passed over."""
    batch = [Passed(stream, number) if item is None else item for stream, number, item in entries]
    to.feed(batch, [stamp] * len(batch), clock)


def ready(of: Sequencer[Item]) -> list[Any]:
    """What is ready, as text and gaps, taken."""
    out: list[Any] = []
    while of.ready:
        item = of.ready.popleft()
        if isinstance(item, Gap):
            out.append((item.first, item.last, item.reason))
        elif isinstance(item, Duplicate):
            out.append(f"{item.record}=")
        else:
            out.append(repr(item))
    return out


# -- order, duplicates, gaps --------------------------------------------------------------------------------


def test_what_comes_too_early_is_held_until_its_number_is_due() -> None:
    s = sequencer()
    feed(s, 2, 1)
    assert (ready(s), s.waiting, s.awaited()) == ([], 1, [("s", 0)])
    assert s.bytes == 2 * (1_000 + sequencing._HELD_BYTES)
    feed(s, 0, 3)
    assert ready(s) == ["s0", "s1", "s2", "s3"]
    assert (s.waiting, s.bytes, s.awaited()) == (0, 0, [])


def test_streams_do_not_wait_for_each_other() -> None:
    s = sequencer()
    give(s, [(name, n, Item(name, n)) for name, n in (("a", 1), ("b", 0), ("b", 1), ("a", 0))])
    assert ready(s) == ["b0", "b1", "a0", "a1"]


def test_a_number_without_a_record_is_passed_over() -> None:
    s = sequencer()
    give(s, [("s", n, None if n in (0, 2) else Item("s", n)) for n in (0, 2, 1, 3)])
    assert ready(s) == ["s1", "s3"]
    assert s.bytes == 0


def test_a_number_that_came_before_is_a_duplicate_whether_it_was_handed_out_held_or_passed_over() -> None:
    s = sequencer()
    feed(s, 0, 0, 3, 3)
    give(s, [("s", 0, None)])
    assert ready(s) == ["s0", "s0=", "s3="]
    assert s.duplicates == 3
    quiet = sequencer(tell_duplicates=False)
    feed(quiet, 0, 0)
    assert (ready(quiet), quiet.duplicates) == (["s0"], 1)


def test_a_missing_number_is_given_up_after_its_time_on_the_clock() -> None:
    s = sequencer()
    feed(s, 0, 3, clock=5.0)
    s.expire(34.9, 0)
    assert ready(s) == ["s0"]
    s.expire(35.0, 0)
    gap, third = s.ready
    assert (gap, repr(third)) == (Gap("s", 1, 2, 30.0, "time"), "s3")


def test_a_missing_number_is_given_up_when_the_timestamps_are_that_far_on() -> None:
    s = sequencer()
    feed(s, 0, 2, reached=1_000)
    s.expire(0.0, 30_999)
    assert ready(s) == ["s0"]
    s.expire(0.0, 31_000)
    assert ready(s) == [(1, 1, "time"), "s2"]


def test_each_gap_of_a_stream_has_its_own_time() -> None:
    s = sequencer()
    feed(s, 1, clock=0.0)
    feed(s, 3, clock=10.0)
    feed(s, 5, clock=11.0)
    s.expire(30.0, 0)
    assert ready(s) == [(0, 0, "time"), "s1"]
    s.expire(41.0, 0)
    assert ready(s) == [(2, 2, "time"), "s3", (4, 4, "time"), "s5"]


def test_a_reader_of_a_bounded_range_waits_to_the_end() -> None:
    s = sequencer(patience=None)
    feed(s, 1, 4)
    s.expire(1e9, 1 << 50)
    assert ready(s) == []
    s.end()
    assert ready(s) == [(0, 0, "end"), "s1", (2, 3, "end"), "s4"]
    s.end()
    assert ready(s) == []


def test_when_memory_is_full_the_stream_that_waited_longest_goes_on() -> None:
    s = sequencer(patience=None)
    feed(s, 1, 2, stream="old")
    feed(s, 1, 2, 3, stream="young")
    s.shrink(5 * 1_256)
    assert ready(s) == []
    s.shrink(4 * 1_256)
    assert ready(s) == [(0, 0, "memory"), "old1", "old2"]
    assert s.bytes == 3 * 1_256


def test_what_comes_behind_its_gap_is_late_and_comes_once() -> None:
    s = sequencer()
    feed(s, 0, 4)
    s.end()
    feed(s, 2, 2, 5, 1, 3, 3)
    assert ready(s) == ["s0", (1, 3, "end"), "s4", "s2!", "s2=", "s5", "s1!", "s3!", "s3="]


def test_an_invented_number_far_ahead_stops_nobody() -> None:
    s = sequencer()
    feed(s, 0, (1 << 63) - 1, 1, 2)
    assert ready(s) == ["s0", "s1", "s2"]
    s.expire(30.0, 0)
    feed(s, 3, 4)
    assert ready(s) == [(3, (1 << 63) - 2, "time"), f"s{(1 << 63) - 1}", "s3!", "s4!"]


# -- where a stream begins ----------------------------------------------------------------------------------


def test_a_stream_that_is_met_in_its_middle_begins_with_the_lowest_number_of_its_first_second() -> None:
    s = sequencer(whole=False)
    feed(s, 8, 7, clock=0.0)
    s.expire(0.9, 0)
    assert ready(s) == []
    s.expire(1.0, 0)
    feed(s, 9, 6)
    assert ready(s) == ["s7", "s8", "s9", "s6!"]


def test_a_stream_that_is_met_with_its_first_record_waits_for_nothing() -> None:
    s = sequencer(whole=False)
    feed(s, 2, 0, 1)
    assert ready(s) == ["s0", "s1", "s2"]


def test_what_is_missing_before_the_floor_is_no_gap_and_not_waited_for() -> None:
    s = sequencer(whole=False, patience=None)
    s.floor = 5_000
    feed(s, 3, 5, reached=3_000)
    s.expire(0.0, 4_000)
    assert ready(s) == ["s3", "s5"], "4 may have been cut off"
    feed(s, 7, reached=4_500)
    feed(s, 9, reached=6_000)
    s.expire(0.0, 6_000)
    assert ready(s) == ["s7"]
    s.end()
    assert ready(s) == [(8, 8, "end"), "s9"]
    feed(s, 4)
    assert ready(s) == ["s4!"]


def test_where_every_number_may_be_absent_nothing_waits_and_nothing_is_late() -> None:
    s = sequencer(judge=False)
    feed(s, 3, 5, 4, 5, 9)
    s.excuse("s", 7)
    assert ready(s) == ["s3", "s5", "s4", "s5=", "s9"]
    assert s.waiting == 0


# -- what other records say ---------------------------------------------------------------------------------


def test_a_number_that_is_excused_is_not_waited_for() -> None:
    s = sequencer()
    feed(s, 0, 2)
    s.excuse("s", 1)
    assert ready(s) == ["s0", "s2"]
    s.excuse("s", 4)
    feed(s, 5, 3)
    assert ready(s) == ["s3", "s5"]
    feed(s, 4)
    assert ready(s) == ["s4!"], "it came all the same"
    assert s.bytes == 0


def test_a_number_that_is_excused_and_comes_before_its_turn_is_an_ordinary_record() -> None:
    s = sequencer()
    feed(s, 0)
    s.excuse("s", 2)
    feed(s, 2, 1)
    assert ready(s) == ["s0", "s1", "s2"]
    assert s.bytes == 0


@pytest.mark.parametrize("number", [0, 1, 3])
def test_to_excuse_what_came_or_nobody_knows_changes_nothing(number: int) -> None:
    s = sequencer()
    s.excuse("nobody", 0)
    feed(s, 0, 1, 3)
    s.excuse("s", number)
    feed(s, 2)
    assert ready(s) == ["s0", "s1", "s2", "s3"]


# -- what is remembered -------------------------------------------------------------------------------------


def test_a_closed_stream_is_known_and_goes_on_if_it_does_go_on() -> None:
    s = sequencer()
    s.closing("nobody", 3)
    feed(s, 1, 2)
    s.closing("s", 2)
    feed(s, 0)
    assert (s._streams, s._closed) == ({}, {"s": 3})
    feed(s, 1, 4, 3)
    assert ready(s) == ["s0", "s1", "s2", "s1=", "s3", "s4"]
    assert s._closed == {}


def test_a_closed_stream_with_a_gap_is_forgotten_when_the_gap_is_filled() -> None:
    s = sequencer()
    feed(s, 0, 2)
    s.closing("s", 2)
    s.end()
    assert "s" in s._streams
    feed(s, 1)
    assert s._closed == {"s": 3}


def test_of_closed_streams_the_last_are_remembered_and_a_forgotten_one_has_no_gap_before_it() -> None:
    s = sequencer(patience=None)
    with mock.patch.object(sequencing, "CLOSED_STREAMS", 2):
        for name in "abc":
            feed(s, 0, stream=name)
            s.closing(name, 0)
    assert [*s._closed] == ["b", "c"]
    assert s.forgotten == "a"
    ready(s)
    feed(s, 4, stream="a")
    feed(s, 4, stream="d")
    s.expire(5.0, 0)
    assert ready(s) == ["a4"]
    s.end()
    assert ready(s) == [(0, 3, "end"), "d4"]


def test_of_open_streams_those_that_were_heard_of_last_are_remembered_and_those_that_wait() -> None:
    s = sequencer()
    with mock.patch.object(sequencing, "OPEN_STREAMS", 10):
        feed(s, 1, stream="waits")
        feed(s, 0, stream="a")
        s.end()
        feed(s, 3, stream="waits")
        for n in range(9):
            feed(s, 0, stream=f"b{n}")
    assert len(s._streams) == 10
    assert "waits" in s._streams
    assert (s.forgotten, "a" in s._streams) == ("a", False)


def test_ranges_of_missing_numbers_are_bounded_by_taking_the_oldest_two_together() -> None:
    s = sequencer(patience=None)
    with mock.patch.object(sequencing, "MAX_RANGES", 2):
        feed(s, 1, 3, 5, 7)
        s.end()
        assert s._streams["s"].missing == [(0, 4), (6, 6)]
        ready(s)
        feed(s, 3, 6, 2, 3)
    assert ready(s) == ["s3!", "s6!", "s2!", "s3!"], "3 was handed out twice rather than never"


def test_all_ranges_together_are_bounded() -> None:
    s = sequencer(patience=None)
    with mock.patch.object(sequencing, "_ALL_RANGES", 1):
        feed(s, 1, 3, 5)
        s.end()
        assert s._streams["s"].missing == [(0, 4)]


# -- to go on later -----------------------------------------------------------------------------------------


def test_a_snapshot_holds_what_was_handed_out_and_nothing_that_is_ready_or_held() -> None:
    s = sequencer(patience=None)
    give(s, [("s", n, None if n == 3 else Item("s", n)) for n in (0, 1, 2, 3, 4, 8)])
    give(s, [("s", 9, None)])
    s.ready.popleft()
    s.ready.append(Aside())
    assert s.snapshot() == {"s": StreamState(1, [], [(3, 3), (9, 9)], -1)}
    assert [repr(item) for item in s.held] == ["s8"]
    for _ in range(4):
        s.ready.popleft()
    assert s.snapshot() == {"s": StreamState(5, [], [(9, 9)], -1)}
    s.end()
    assert s.snapshot() == {"s": StreamState(5, [], [(9, 9)], -1)}, "the gap was not taken yet"
    s.ready.popleft()
    assert s.snapshot() == {"s": StreamState(8, [(5, 7)], [(9, 9)], -1)}
    s.ready.clear()
    feed(s, 6)
    assert s.snapshot() == {"s": StreamState(10, [(5, 5), (6, 6), (7, 7)], [], -1)}


def test_a_snapshot_knows_closed_streams_and_none_whose_beginning_is_open() -> None:
    s = sequencer(whole=False)
    feed(s, 0, 1)
    s.closing("s", 1)
    feed(s, 7, stream="t")
    assert s.snapshot() == {"s": StreamState(0, [], [], 1)}
    ready(s)
    states = s.snapshot()
    assert states == {"s": StreamState(2, [], [], 1)}
    again = sequencer(whole=False)
    again.restore(states, "r")
    feed(again, 1)
    assert (again._closed, ready(again), again.forgotten) == ({"s": 2}, ["s1="], "r")


# -- against a model ----------------------------------------------------------------------------------------


class Expected:
    """What has to hold of what comes out, whatever went in."""

    def __init__(self) -> None:
        self.given: list[Item] = []
        self.seen: defaultdict[str, set[int]] = defaultdict(set)
        self.next: defaultdict[str, int] = defaultdict(int)
        self.passed: defaultdict[str, set[int]] = defaultdict(set)
        self.missing: defaultdict[str, set[int]] = defaultdict(set)
        self.out: list[Item] = []
        self.duplicates: list[Item] = []
        self.gaps = 0

    def give(self, entries: Iterable[tuple[str, int, Item | None]]) -> None:
        for stream, sequence, item in entries:
            if item is not None:
                self.given.append(item)
            elif sequence not in self.seen[stream]:
                self.passed[stream].add(sequence)
            self.seen[stream].add(sequence)

    def take(self, item: Any) -> None:
        if isinstance(item, Gap):
            self._skip(item.stream_id)
            assert self.next[item.stream_id] == item.first <= item.last
            numbers = {*range(item.first, item.last + 1)}
            assert not numbers & self.seen[item.stream_id], "a gap is what did not come"
            self.missing[item.stream_id] |= numbers
            self.next[item.stream_id] = item.last + 1
            self.gaps += 1
            return
        if isinstance(item, Duplicate):
            self.duplicates.append(item.record)
            return
        stream = item.stream_id
        if item.late:
            self.missing[stream].remove(item.sequence)
        else:
            self._skip(stream)
            assert item.sequence == self.next[stream]
            self.next[stream] += 1
        self.out.append(item)

    def end(self) -> None:
        assert Counter(self.out + self.duplicates) == Counter(self.given), "nothing lost, nothing twice"
        handed = {(item.stream_id, item.sequence) for item in self.out}
        assert len(handed) == len(self.out)
        for item in self.duplicates:
            number = item.stream_id, item.sequence
            assert number in handed or item.sequence in self.passed[item.stream_id]

    def _skip(self, stream: str) -> None:
        while self.next[stream] in self.passed[stream]:
            self.next[stream] += 1


Entry = tuple[str, int, "Item | None"]


@st.composite
def histories(draw: st.DrawFn) -> list[list[Entry]]:
    """Batches of what a merge would give: nearly in order, some missing, doubled, late or filtered."""
    entries: list[tuple[int, str, int]] = []
    for stream in draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)):
        for sequence in range(draw(st.integers(1, 15))):
            for _ in range(draw(st.sampled_from((1, 1, 1, 1, 1, 0, 2)))):
                delay = draw(st.sampled_from((0, 0, 0, 1, 3, 20)))
                entries.append((sequence + delay, stream, sequence))
    entries.sort()
    flat: list[Entry] = [
        (stream, sequence, None if draw(st.integers(0, 5)) == 0 else Item(stream, sequence))
        for _, stream, sequence in entries
    ]
    batches = []
    while flat:
        count = draw(st.integers(1, len(flat)))
        batches.append(flat[:count])
        flat = flat[count:]
    return batches


@given(
    history=histories(),
    memory=st.sampled_from((0, 2_000, 4_000, 1 << 20)),
    patience=st.sampled_from((None, 2.0)),
    seconds=st.lists(st.sampled_from((0, 1, 3)), min_size=1, max_size=5),
)
def test_whatever_comes_each_stream_comes_out_in_order_once_and_with_its_gaps(
    history: Sequence[Sequence[Entry]], memory: int, patience: float | None, seconds: Sequence[int]
) -> None:
    s, expected, clock = sequencer(patience=patience), Expected(), 0
    for number, batch in enumerate(history):
        expected_gaps_before = expected.gaps
        for entry in batch:  # one at a time: a gap must not hold what came with it
            expected.give([entry])
            give(s, [entry], clock * 1_000, clock)
            s.shrink(memory)
            while s.ready:
                expected.take(s.ready.popleft())
        assert s.bytes <= memory
        clock += seconds[number % len(seconds)]
        s.expire(clock, 0)
        while s.ready:
            expected.take(s.ready.popleft())
        if patience is None and memory == 1 << 20:
            assert expected.gaps == expected_gaps_before == 0
    s.end()
    while s.ready:
        expected.take(s.ready.popleft())
    expected.end()
    assert (s.bytes, s.waiting, s.held) == (0, 0, [])


class Relay:
    """A sequencer that is now and then put aside for another one that goes on from its snapshot."""

    def __init__(self, memory: int) -> None:
        self.out: list[Item] = []
        self.gaps: list[Gap] = []
        self.duplicates = 0
        self._memory = memory
        self._sequencer = sequencer(patience=None)

    def feed(self, entries: Sequence[Entry]) -> int:
        give(self._sequencer, entries)
        self._sequencer.shrink(self._memory)
        return len(self._sequencer.ready)

    def take(self, count: int) -> None:
        for _ in range(count):
            item = self._sequencer.ready.popleft()
            if isinstance(item, Gap):
                self.gaps.append(item)
            elif isinstance(item, Duplicate):
                self.duplicates += 1
            else:
                self.out.append(item)

    def end(self) -> None:
        self._sequencer.end()
        self.take(len(self._sequencer.ready))

    def pass_on(self) -> list[Item]:
        """Go on with another one, which has to be given these again."""
        states, forgotten = self._sequencer.snapshot(), self._sequencer.forgotten
        items = [i.record if isinstance(i, Duplicate) else i for i in self._sequencer.ready]
        unhanded = [*self._sequencer.held, *(i for i in items if not isinstance(i, Gap))]
        for item in unhanded:
            item.late = False
        self._sequencer = sequencer(patience=None)
        self._sequencer.restore(states, forgotten)
        return unhanded


@given(history=histories(), memory=st.sampled_from((2_000, 1 << 20)), data=st.data())
def test_a_reader_that_goes_on_from_any_place_hands_out_what_the_first_would_have(
    history: Sequence[Sequence[Entry]], memory: int, data: st.DataObject
) -> None:
    """The unhanded records are read again, in whatever order; what was handed out is not."""
    relay = Relay(memory)
    for batch in history:
        relay.take(data.draw(st.integers(0, relay.feed(batch)), "taken"))
        if data.draw(st.booleans(), "goes on elsewhere"):
            again = data.draw(st.permutations(relay.pass_on()), "unhanded")
            relay.feed([(item.stream_id, item.sequence, item) for item in again])
    relay.end()
    given_items = [item for batch in history for _, _, item in batch if item is not None]
    assert len(relay.out) + relay.duplicates == len(given_items)
    numbers = [(item.stream_id, item.sequence) for item in relay.out]
    assert len(set(numbers)) == len(numbers), "nothing twice"
    filtered = {(stream, n) for batch in history for stream, n, item in batch if item is None}
    assert {(item.stream_id, item.sequence) for item in given_items} <= {*numbers} | filtered, "nothing lost"
    for stream in "abcd":
        rising = [item.sequence for item in relay.out if item.stream_id == stream and not item.late]
        assert rising == sorted(rising)
        gone = [n for gap in relay.gaps if gap.stream_id == stream for n in range(gap.first, gap.last + 1)]
        assert len(set(gone)) == len(gone), "no gap is said twice"
        if memory == 1 << 20:
            assert not {n for batch in history for name, n, _ in batch if name == stream} & {*gone}
