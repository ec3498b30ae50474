"""The reader's order, gaps, ranges, filters and positions, on topics of librdkafka's mock cluster."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from mock_topics import SOON, Topics, eventually, sequences, value_of

from auditwire.errors import ConfigurationError
from auditwire.events import ErrorEvent, QuarantineEvent, TurnEndEvent, TurnStartEvent
from auditwire.reading import Gap, Reader, Record
from auditwire.testing import EmbeddedBroker
from auditwire.wire import frame_single_object
from support.stream_builder import OPENED_US, STREAM, StreamBuilder, record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OTHER = "01920000-0000-7000-8000-000000000002"
OPENED_MS = OPENED_US // 1_000
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(prefix=None) as broker:
        yield broker


@pytest.fixture
def topics(server: EmbeddedBroker, request: pytest.FixtureRequest) -> Topics:
    return Topics(server, f"o{abs(hash(request.node.name))}")


def at(seconds: float, sequence: int, stream: str = STREAM, **fields: Any) -> Record:
    """A turn's record, so many seconds after the trail began."""
    us = OPENED_US + int(seconds * 1e6)
    return record_of(TurnStartEvent(timestamp_us=us, **fields), sequence, stream)


def mixed(stream_id: str, turns: int, *, every: int = 9) -> StreamBuilder:
    """A stream over three topics, with a checkpoint now and then."""
    stream = StreamBuilder(stream_id)
    for n in range(turns):
        if n % every == every - 1:
            stream.checkpoint()
        stream.turns(1)
        stream.add(TurnEndEvent(session_id=f"s{n % 5}"))
    return stream.close()


def in_order(records: Iterable[Record]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for record in records:
        found.setdefault(record.stream_id, []).append(record.sequence)
    return found


# -- order --------------------------------------------------------------------------------------------------


def test_streams_come_in_their_order_and_side_by_side_whatever_partition_they_lie_in(topics: Topics) -> None:
    first, second = mixed(STREAM, 60), mixed(OTHER, 60)
    topics.make("turn_start", "turn_end", "checkpoint", partitions=4)
    topics.write(*sorted(first.records + second.records, key=lambda record: record.timestamp_ms))
    with topics.reader() as reader:
        records = list(reader)
        assert (reader.duplicates, reader.gaps, reader.late, reader.skipped) == (0, 0, 0, 0)
        assert reader.progress.done == reader.progress.total == first.next + second.next
        assert reader.progress.timestamp_ms == max(record.timestamp_ms for record in records)
    assert in_order(records) == {STREAM: list(range(first.next)), OTHER: list(range(second.next))}
    times = [record.timestamp_ms for record in records]
    assert times == sorted(times)
    assert not any(record.late for record in records)


def test_records_are_the_same_whether_they_are_iterated_over_polled_or_taken_with_next(
    topics: Topics,
) -> None:
    stream = mixed(STREAM, 20)
    topics.make("turn_start", "turn_end", "checkpoint", partitions=3).write(*stream.records)
    with topics.reader() as reader:
        assert next(reader).sequence == 0
        polled = reader.poll(SOON)
        assert polled is not None
        assert polled.sequence == 1
        assert sequences(list(reader)) == list(range(2, stream.next))
        with pytest.raises(StopIteration):
            next(reader)


def test_a_number_that_was_handed_out_is_dropped_when_it_comes_again(topics: Topics) -> None:
    again: list[Record] = []
    topics.make("turn_start").write(*(at(n, n) for n in (0, 1, 1, 2, 0)))
    assert sequences(topics.read()) == [0, 1, 2]
    with topics.reader(on_duplicate=again.append) as reader:
        assert sequences(list(reader)) == [0, 1, 2]
        assert reader.duplicates == 2
    assert sorted(sequences(again)) == [0, 1]


def test_a_duplicate_that_the_filters_leave_out_is_counted_and_not_told(topics: Topics) -> None:
    again: list[Record] = []
    written = [at(0, 0, session_id="a"), at(1, 0, session_id="b"), at(2, 0, session_id="a")]
    topics.make("turn_start", partitions=1).write(*written)
    with topics.reader(session_id="a", on_duplicate=again.append) as reader:
        assert sequences(list(reader)) == [0]
        assert reader.duplicates == 2
    assert [record.event.session_id for record in again] == ["a"]


def test_a_timestamp_in_the_far_future_holds_nobody_up(topics: Topics) -> None:
    """As long as it is a broker of before Kafka 3.6, which takes any timestamp."""
    topics.make("turn_start", "turn_end", partitions=1)
    ends = [record_of(TurnEndEvent(timestamp_us=OPENED_US + n), n) for n in (1, 3)]
    topics.write(replace(at(0, 0), timestamp_ms=1 << 45), at(2, 2), *ends)
    with topics.reader(memory=1) as reader:
        assert sequences(list(reader)) == [0, 1, 2, 3]
        assert reader.gaps == 0


def delivered_late(topics: Topics) -> StreamBuilder:
    """A stream whose checkpoints came to the broker an hour after what follows them."""
    stream = StreamBuilder()
    for _ in range(30):
        stream.turns(20).checkpoint()
    stream.close()
    topics.make("turn_start", "checkpoint", partitions=2)
    topics.write(
        *(
            replace(r, timestamp_ms=r.timestamp_ms + HOUR_MS) if r.event.event_type == "checkpoint" else r
            for r in stream.records
        )
    )
    return stream


@pytest.mark.parametrize("options", [{}, {"session_id": "s1"}])
def test_a_record_that_was_delivered_late_is_taken_before_its_time_when_its_number_is_due(
    topics: Topics, options: dict[str, Any]
) -> None:
    stream = delivered_late(topics)
    with topics.reader(memory=150_000, **options) as reader:
        records = list(reader)
        assert (reader.gaps, reader.late, reader.duplicates) == (0, 0, 0)
    expected = [r.sequence for r in stream.records if not options or r.event.session_id == "s1"]
    assert sequences(records) == expected


def test_what_was_taken_before_its_time_comes_once_for_a_reader_that_goes_on(topics: Topics) -> None:
    stream = delivered_late(topics)
    came: list[int] = []
    position = None
    while len(came) < len(stream.records):
        with topics.reader(memory=150_000, start=position) as reader:
            came += sequences([record for _, record in zip(range(100), reader, strict=False)])
            position = reader.position
    assert came == [record.sequence for record in stream.records]


# -- memory -------------------------------------------------------------------------------------------------


def test_partitions_that_run_ahead_are_paused_and_nothing_is_lost_or_moved(topics: Topics) -> None:
    """Each partition holds another piece of the same hour, all far larger than the memory."""
    topics.make("turn_start", "turn_end", "error", partitions=2)
    count = 6_000
    kinds = (TurnStartEvent, TurnEndEvent, ErrorEvent)
    topics.write(
        *(
            record_of(kinds[n % 3](timestamp_us=OPENED_US + n * 1_000, session_id=f"s{n % 7}"), n)
            for n in range(count)
        )
    )
    paused: set[tuple[str, int]] = set()
    memory = 200_000
    with topics.reader(memory=memory, config={"max.partition.fetch.bytes": 20_000}) as reader:
        flow = reader._flow
        for n, record in enumerate(reader):
            assert record.sequence == n
            paused |= flow._paused
            if n % 100 == 0:
                # a batch of the client comes on top of each partition's share
                assert flow._merge.bytes + flow._sequencer.bytes < memory + 6 * 50 * 1_500
        assert reader.progress.done == count
    assert len(paused) >= 2


def test_when_memory_is_short_the_order_by_time_goes_before_anything_is_given_up(topics: Topics) -> None:
    """Number 0 comes last by time, but is fetched already when the memory is full."""
    topics.make("turn_start", "turn_end", partitions=1)
    topics.write(*(at(n, n) for n in range(1, 120)))
    topics.write(record_of(TurnEndEvent(timestamp_us=OPENED_US + 1_000_000_000), 0))
    topics.write(*(at(2_000 + n, n, OTHER) for n in range(60)))
    with topics.reader(memory=300_000) as reader:
        records = list(reader)
        assert (reader.gaps, reader.late) == (0, 0)
    assert in_order(records) == {STREAM: list(range(120)), OTHER: list(range(60))}


def test_what_is_missing_is_given_up_when_the_memory_is_full(topics: Topics) -> None:
    gaps: list[Gap] = []
    topics.make("turn_start", partitions=1).write(*(at(n, n) for n in range(200) if n != 10))
    with topics.reader(memory=60_000, on_gap=gaps.append) as reader:
        numbers = [(record.sequence, len(gaps)) for record in reader]
    assert gaps == [Gap(STREAM, 10, 10, 0.0, "memory")]
    assert numbers == [(n, int(n > 10)) for n in range(200) if n != 10], "said before the record behind it"


# -- what is missing ----------------------------------------------------------------------------------------


def test_a_gap_is_said_before_the_record_behind_it(topics: Topics) -> None:
    gaps: list[Gap] = []
    topics.make("turn_start").write(*(at(n, n) for n in (0, 3, 4)))
    with topics.reader(on_gap=gaps.append) as reader:
        assert next(reader).sequence == 0
        assert gaps == []
        assert next(reader).sequence == 3
        assert gaps == [Gap(STREAM, 1, 2, 0.0, "end")]
        assert sequences(list(reader)) == [4]
        assert reader.gaps == 1


def test_a_reader_that_follows_gives_up_after_a_time_and_takes_what_comes_late(topics: Topics) -> None:
    gaps: list[Gap] = []
    topics.make("turn_start").write(at(0, 0), at(1, 3))
    with topics.reader(follow=True, gap_seconds=0.2, on_gap=gaps.append) as reader:
        assert sequences(eventually(reader, lambda got: len(got) == 2)) == [0, 3]
        (gap,) = gaps
        assert (gap.first, gap.last, gap.reason) == (1, 2, "time")
        assert gap.waited_s >= 0.2
        topics.write(at(2, 1), at(3, 4))
        late, next_one = eventually(reader, lambda got: len(got) == 2)
        assert (late.sequence, late.late, next_one.sequence, next_one.late) == (1, True, 4, False)
        assert reader.late == 1


def test_a_number_that_was_withheld_is_not_waited_for_and_no_gap(topics: Topics) -> None:
    quarantine = QuarantineEvent(
        quarantined_stream=STREAM, quarantined_sequence=1, timestamp_us=OPENED_US + 3_000_000, session_id="s"
    )
    written = [at(0, 0, session_id="s"), at(2, 2, session_id="s"), record_of(quarantine, 3)]
    topics.make("turn_start", "quarantine", partitions=1).write(*written)
    for options in ({}, {"session_id": "s"}, {"severity": "info"}):
        with topics.reader(**options) as reader:
            assert sequences(list(reader))[:2] == [0, 2]
            assert reader.gaps == 0


def test_filters_do_not_change_what_is_missing(topics: Topics) -> None:
    gaps: list[Gap] = []
    written = [at(n, n, session_id="ab"[n % 2]) for n in range(10) if n not in (4, 5)]
    topics.make("turn_start", partitions=1).write(*written)
    with topics.reader(session_id="b", on_gap=gaps.append) as reader:
        assert sequences(list(reader)) == [1, 3, 7, 9]
    assert gaps == [Gap(STREAM, 4, 5, 0.0, "end")]


def test_where_topics_are_left_out_every_number_may_be_absent(topics: Topics) -> None:
    topics.make("turn_start", "turn_end", partitions=3)
    stream = StreamBuilder(opened=False)
    for _ in range(30):
        stream.turns(1).add(TurnEndEvent())
    topics.write(*stream.records, *stream.records[:4])
    even = list(range(0, 60, 2))
    for options in ({"types": "turn_start"}, {"topics": [topics.name("turn_start")]}):
        with topics.reader(**options) as reader:
            assert sequences(list(reader)) == even
            assert (reader.gaps, reader.late, reader.duplicates) == (0, 0, 2)
    sessions = [r.sequence for r in stream.records[::2] if r.event.session_id == "s1"]
    with topics.reader(types="turn_start", session_id="s1") as reader:
        assert sequences(list(reader)) == sessions


# -- what is asked for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"session_id": "a"}, [0, 1]),
        ({"session_id": ["a", "b"]}, [0, 1, 2]),
        ({"turn_id": "t2"}, [1, 2]),
        ({"agent_id": {"planner"}}, [0]),
        ({"stream_id": OTHER}, [0]),
        ({"severity": "error"}, [3]),
        ({"severity": ("error", "info"), "turn_id": "t2", "session_id": "b"}, [2]),
        ({"types": "error"}, [3]),
        ({"types": ["error", "turn_start"], "session_id": "a"}, [0, 1]),
    ],
)
def test_of_each_filter_one_value_has_to_match_and_of_several_filters_all(
    topics: Topics, options: dict[str, Any], expected: list[int]
) -> None:
    topics.make("turn_start", "error", partitions=1)
    topics.write(
        at(0, 0, session_id="a", turn_id="t1", agent_id="planner"),
        at(1, 1, session_id="a", turn_id="t2"),
        at(2, 2, session_id="b", turn_id="t2"),
        record_of(ErrorEvent(timestamp_us=OPENED_US + 3_000_000), 3),
        at(4, 0, OTHER, session_id="c"),
    )
    assert sequences(topics.read(**options)) == expected


def test_a_range_takes_what_lies_at_or_after_its_beginning_and_before_its_end(topics: Topics) -> None:
    topics.make("turn_start").write(*(at(n, n) for n in range(10)))
    since = datetime.fromtimestamp(OPENED_MS / 1_000 + 3, timezone.utc)
    assert sequences(topics.read(since=since)) == [3, 4, 5, 6, 7, 8, 9]
    assert sequences(topics.read(since=since.isoformat(), until=OPENED_MS + 6_000)) == [3, 4, 5]
    text = since.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert sequences(topics.read(until=text)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"since": "2026-01-01T00:00:00"}, "since", "no offset from UTC"),
        ({"since": datetime(2026, 1, 1)}, "since", "no offset from UTC"),  # noqa: DTZ001 - what is refused
        ({"until": "tomorrow"}, "until", "no ISO-8601 time"),
        ({"until": 1.5}, "until", "is no time"),
        ({"since": True}, "since", "is no time"),
        ({"until": 1, "follow": True}, "until", "contradicts follow"),
        ({"session_id": []}, "session_id", "leave it out"),
        ({"start": {}}, "start", "no position"),
        ({"start": {"version": 2}}, "start", "version 2"),
    ],
)
def test_a_wrong_range_filter_or_position_is_refused_by_its_name(
    options: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Reader("127.0.0.1:1", timeout=0.1, **options)
    assert caught.value.key == key


# -- positions ----------------------------------------------------------------------------------------------


def told(reader: Reader, count: int | None = None) -> list[Any]:
    """What a reader hands out, callbacks included, as far as so many records."""
    out: list[Any] = []
    for _ in range(1 << 30 if count is None else count):
        record = next(reader, None)
        if record is None:
            break
        out.append((record.stream_id, record.sequence, record.late))
    return out


@pytest.mark.parametrize("memory", [10_000, 64 * 1024 * 1024])
@pytest.mark.parametrize("options", [{}, {"session_id": "s1"}, {"types": ["turn_start", "turn_end"]}])
def test_a_reader_goes_on_exactly_where_another_was(
    topics: Topics, options: dict[str, Any], memory: int
) -> None:
    first, second = mixed(STREAM, 25, every=4), mixed(OTHER, 12, every=4)
    topics.make("turn_start", "turn_end", "checkpoint", partitions=3)
    topics.write(*first.without(7, 8, 30), *second.records, *first.records[3:6])
    topics.produce("turn_end", b"?", None)
    events: list[Any] = []

    def reader(**more: Any) -> Reader:
        return topics.reader(
            **options,
            **more,
            memory=memory,
            on_gap=lambda gap: events.append((gap.stream_id, gap.first, gap.last)),
            on_duplicate=lambda record: events.append((record.stream_id, record.sequence)),
            on_undecodable=lambda message, error: events.append((message.offset, error.reason)),
        )

    with reader() as whole:
        expected = told(whole)
    expected_events, events = events, []
    got: list[Any] = []
    position = None
    while len(got) < len(expected):
        with reader(start=position) as part:
            got += told(part, 5)
            position = json.loads(json.dumps(part.position))
    with reader(start=position) as rest:
        assert told(rest) == []
    if memory > 10_000:
        assert got == expected
    else:  # what is given up for want of memory depends on what was held
        assert sorted(got, key=lambda r: r[:2]) == sorted(expected, key=lambda r: r[:2]) or {
            r[:2] for r in got
        } == {r[:2] for r in expected}
    assert len({r[:2] for r in got}) == len(got)
    assert sorted(events, key=repr) == sorted(expected_events, key=repr) or memory == 10_000


def test_a_position_is_of_use_to_a_reader_that_follows_and_knows_what_to_wait_for(topics: Topics) -> None:
    topics.make("turn_start").write(*(at(n, n) for n in (0, 1, 2, 4)))
    with topics.reader(follow=True, gap_seconds=1e6) as reader:
        eventually(reader, lambda got: len(got) == 3)
        position = reader.position
        assert reader.progress.total is None
    assert reader.position == position, "also of a closed reader"
    topics.write(at(5, 5))
    with topics.reader(start=position, follow=True, gap_seconds=1e6) as reader:
        began = time.monotonic()
        while time.monotonic() - began < 0.3:
            assert reader.poll(0.05) is None
        topics.write(at(6, 3))
        assert sequences(eventually(reader, lambda got: len(got) == 3)) == [3, 4, 5]


def test_what_is_new_since_a_position_is_read_also_from_new_topics(topics: Topics) -> None:
    topics.make("turn_start").write(at(0, 0))
    with topics.reader() as reader:
        list(reader)
        position = reader.position
    topics.make("turn_end").write(at(1, 1), record_of(TurnEndEvent(timestamp_us=OPENED_US + 2_000_000), 2))
    assert sequences(topics.read(start=position)) == [1, 2]


# -- beginnings ---------------------------------------------------------------------------------------------


def test_a_reader_that_begins_at_the_end_takes_a_streams_first_record_as_its_beginning(
    topics: Topics,
) -> None:
    gaps: list[Gap] = []
    topics.make("turn_start", partitions=1).write(*(at(n, n) for n in range(5)))
    with topics.reader(follow=True, from_beginning=False, on_gap=gaps.append) as reader:
        topics.write(at(6, 6), at(5, 5), at(7, 7))
        assert sequences(eventually(reader, lambda got: len(got) == 3)) == [5, 6, 7]
    assert gaps == []


def test_the_framing_does_not_matter_to_order_and_filters(topics: Topics) -> None:
    topics.make("turn_start", partitions=1)
    written = [record_of(TurnStartEvent(session_id="a"), n, framing="confluent") for n in (1, 0, 2)]
    topics.write(*written)
    assert sequences(topics.read(session_id="a")) == [0, 1, 2]
    assert topics.read(session_id="b") == []


def test_a_damaged_body_of_a_session_that_was_not_asked_for_is_counted_when_its_envelope_is_damaged(
    topics: Topics,
) -> None:
    record = at(1, 1, session_id="b")
    value = frame_single_object(record.fingerprint, record.body)
    topics.make("turn_start").produce("turn_start", value_of(0, "a"), value + b"!", value[:40], b"x")
    with topics.reader(session_id="a") as reader:
        assert sequences(list(reader)) == [0]
        assert reader.undecodable == {"truncated": 1, "foreign": 1}
