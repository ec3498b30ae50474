from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import BrokerError, SinkError
from auditwire.replaying.replay import SAVE_SECONDS, Replay
from auditwire.replaying.tally import Tally
from support.stream_builder import StreamBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.reading import Record

RECORDS = StreamBuilder().turns(20).records


class Time:
    """A clock that goes on by sleeping, and by so much at each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 100.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Source:
    """A reader's seam: records from a position on, with what may happen between them."""

    def __init__(self, start: int = 0, records: list[Record] | None = None) -> None:
        self.records = RECORDS if records is None else records
        self.at = start
        self.undecodable: Counter[str] = Counter()
        self.between: Callable[[int], None] = lambda _: None

    @property
    def finished(self) -> bool:
        return self.at == len(self.records)

    @property
    def position(self) -> dict[str, Any]:
        return {"at": self.at}

    def poll(self, timeout: float) -> Record | None:
        self.between(self.at)
        record = self.records[self.at]
        self.at += 1
        return record


class Memory:
    """An output that knows what is safe."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.safe = 0
        self.finished = 0
        self.fault_at = -1

    def write(self, record: Record) -> None:
        if record.sequence == self.fault_at:
            raise SinkError("disk full")
        self.written.append(record.sequence)

    def settle(self) -> dict[str, Any]:
        self.safe = len(self.written)
        return {"records": self.safe}

    def finish(self) -> dict[str, Any]:
        self.finished += 1
        return self.settle()

    def close(self) -> None: ...


class Saved:
    """The states that were saved, each checked to speak of what is safe and of nothing else."""

    def __init__(self, source: Source, output: Memory, tally: Tally) -> None:
        self.all: list[tuple[int, int, str]] = []
        self.source, self.output, self.tally = source, output, tally

    def __call__(self, position: dict[str, Any], said: dict[str, Any], status: str) -> None:
        assert said["records"] == self.output.safe == len(self.output.written)
        assert self.tally.records + self.tally.duplicates == len(self.output.written)
        self.all.append((position["at"], said["records"], status))


def test_everything_is_written_counted_and_remembered_once() -> None:
    source, output, tally = Source(), Memory(), Tally()
    saved = Saved(source, output, tally)
    source.undecodable["headers"] = 2
    replay = Replay(source, output, tally, save=saved)
    replay.run()
    assert output.written == list(range(21))
    assert saved.all == [(21, 21, "done")]
    assert (replay.complete, output.finished, tally.records, tally.undecodable) == (
        True,
        1,
        21,
        {"headers": 2},
    )


def test_nothing_has_to_be_remembered() -> None:
    replay = Replay(Source(), Memory(), Tally())
    replay.run()
    assert replay.complete


def test_states_are_taken_between_two_records_while_it_runs() -> None:
    source, output, tally, time = Source(), Memory(), Tally(), Time()
    saved = Saved(source, output, tally)
    source.between = lambda _: time.sleep(SAVE_SECONDS / 5)
    Replay(source, output, tally, save=saved, clock=time).run()
    assert saved.all == [(n, n, "running") for n in (5, 10, 15, 20)] + [(21, 21, "done")]


def test_states_that_take_long_are_taken_seldom() -> None:
    source, output, tally, time = Source(), Memory(), Tally(), Time(step=1.0)
    saves: list[float] = []

    def slow(position: dict[str, Any], said: dict[str, Any], status: str) -> None:
        saves.append(time.now)
        time.now += 10 * SAVE_SECONDS

    Replay(source, output, tally, save=slow, clock=time).run()
    assert len(saves) == 2  # one on the way, and the last: 20 times as long as it took has not gone by


def test_a_wish_to_stop_ends_it_between_two_records_and_is_no_completion() -> None:
    source, output, tally = Source(), Memory(), Tally()
    saved = Saved(source, output, tally)
    replay = Replay(source, output, tally, save=saved, stopped=lambda: len(output.written) >= 5)
    replay.run()
    assert saved.all == [(5, 5, "ended")]
    assert (replay.complete, output.finished) == (False, 0)


def test_what_was_read_before_reading_fails_is_remembered() -> None:
    source, output, tally = Source(), Memory(), Tally()
    saved = Saved(source, output, tally)

    def fail(at: int) -> None:
        if at == 7:
            raise BrokerError("gone")

    source.between = fail
    replay = Replay(source, output, tally, save=saved)
    with pytest.raises(BrokerError, match="gone"):
        replay.run()
    assert saved.all == [(7, 7, "ended")]
    assert not replay.complete


def test_nothing_is_remembered_when_writing_fails() -> None:
    source, output, tally = Source(), Memory(), Tally()
    output.fault_at = 7
    saved = Saved(source, output, tally)
    with pytest.raises(SinkError, match="disk full"):
        Replay(source, output, tally, save=saved).run()
    assert saved.all == []


def test_nothing_is_remembered_when_what_was_written_cannot_be_made_safe() -> None:
    source, output, tally = Source(), Memory(), Tally()
    saved = Saved(source, output, tally)

    def fail() -> dict[str, Any]:
        raise SinkError("disk full")

    output.settle = fail  # type: ignore[method-assign] # a fault
    with pytest.raises(SinkError, match="disk full"):
        Replay(source, output, tally, save=saved, clock=Time(step=1.0)).run()
    assert saved.all == []


def test_nothing_is_remembered_when_a_duplicate_cannot_be_written() -> None:
    source, output, tally = Source(), Memory(), Tally()
    saved = Saved(source, output, tally)
    replay = Replay(source, output, tally, duplicates=True, save=saved)
    output.fault_at = 3
    source.between = lambda at: replay.duplicate(RECORDS[3]) if at == 2 else None
    with pytest.raises(SinkError):
        replay.run()
    assert saved.all == []


@pytest.mark.parametrize("written", [True, False])
def test_duplicates_are_written_where_they_are_wanted_and_counted_in_any_case(written: bool) -> None:
    source, output, tally = Source(), Memory(), Tally()
    replay = Replay(source, output, tally, duplicates=written, wanted=lambda record: record.sequence != 4)
    source.between = lambda at: [replay.duplicate(RECORDS[n]) for n in (4, 5)] if at == 9 else None  # type: ignore[func-returns-value, assignment] # for its effect
    replay.run()
    assert (tally.records, tally.duplicates) == (20, 1)
    assert Counter(output.written)[5] == (2 if written else 1)
    assert 4 not in output.written


def test_what_is_not_wanted_is_passed_over_and_shown_as_progress() -> None:
    source, output, looks = Source(), Memory(), []
    replay = Replay(
        source,
        output,
        Tally(),
        wanted=lambda record: record.sequence == 19,
        progress=lambda: looks.append(source.at),
    )
    replay.run()
    assert output.written == [19]
    assert looks == [*range(21), 21]


def test_a_source_that_has_nothing_yet_is_asked_again() -> None:
    class Slow(Source):
        asked = 0

        def poll(self, timeout: float) -> Record | None:
            self.asked += 1
            return super().poll(timeout) if self.asked % 2 else None

    output = Memory()
    Replay(Slow(), output, Tally()).run()
    assert output.written == list(range(21))


def test_records_come_at_their_pace_and_a_long_pause_is_slept_in_steps() -> None:
    records = StreamBuilder().turns(1).records
    records[0].timestamp_ms, records[1].timestamp_ms = 0, 60_000
    time, output, looks = Time(), Memory(), []
    replay = Replay(
        Source(records=records),
        output,
        Tally(),
        speed=2,
        clock=time,
        sleep=time.sleep,
        progress=lambda: looks.append(time.now),
    )
    replay.run()
    assert time.now == pytest.approx(130)
    assert len(looks) >= 30 / 0.2
    assert output.written == [0, 1]


def test_a_wish_to_stop_ends_a_long_pause_and_the_record_that_waited_is_not_lost() -> None:
    records = StreamBuilder().turns(2).records
    for number, record in enumerate(records):
        record.timestamp_ms = number * 3_600_000
    source, output, tally, time = Source(records=records), Memory(), Tally(), Time()
    saved = Saved(source, output, tally)
    replay = Replay(
        source,
        output,
        tally,
        save=saved,
        speed=1,
        clock=time,
        sleep=time.sleep,
        stopped=lambda: time.now > 110,
    )
    replay.run()
    assert saved.all[-1] == (2, 2, "ended")
    assert time.now < 111
    assert not replay.complete


@given(st.lists(st.integers(0, 20), max_size=8), st.integers(0, 3), st.booleans())
def test_killed_and_gone_on_with_at_any_place_everything_is_there_and_in_order(
    kills: list[int], step: int, duplicates: bool
) -> None:
    """A model of a crash: what is behind the last state is cut off, as of a file, and the counts go back."""
    state: tuple[int, list[int], dict[str, Any]] = (0, [], Tally().to_dict())

    class KilledError(Exception):
        pass

    for kill in [*kills, -1]:
        at, written, counts = state
        source, output, tally = Source(at), Memory(), Tally.from_dict(counts)
        output.written = list(written)

        def save(position: dict[str, Any], _said: dict[str, Any], _status: str) -> None:
            nonlocal state
            state = (position["at"], list(output.written), tally.to_dict())  # noqa: B023 - called in this round

        replay = Replay(source, output, tally, duplicates=duplicates, save=save, clock=Time(step=float(step)))

        def between(at: int) -> None:
            if at == kill:  # noqa: B023 - called in this round
                raise KilledError
            if at == 10:
                replay.duplicate(RECORDS[0])  # noqa: B023 - called in this round

        source.between = between
        try:
            replay.run()
            break
        except KilledError:
            continue
    _, written, counts = state
    expected = list(range(21))
    if duplicates:
        expected.insert(10, 0)
    assert written == expected
    assert (counts["records"], counts["duplicates"]) == (21, 1)
    whole = Tally()
    for record in RECORDS:
        whole.add(record)
    assert counts["streams"] == whole.to_dict()["streams"]
