"""What an incremental check carries from one reading to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.events import CheckpointEvent, QuarantineEvent, TurnStartEvent
from auditwire.verification import carry
from auditwire.verification.carry import CarryError, read_carry
from auditwire.verification.facts import FactWriter
from auditwire.verification.speech import naming_of
from support.facts import Rounds, judged
from support.stream_builder import OPENED_US, STREAM, StreamBuilder, record_of, rewritten

if TYPE_CHECKING:
    from pathlib import Path

    from auditwire.reading import Record
    from auditwire.verification import StreamReport

ADOPTER = "01920000-0000-7000-8000-000000000002"


def vouched_by(record: Record) -> set[tuple[str, int]]:
    """What the broker had when the record was written."""
    if not isinstance(record.event, CheckpointEvent):
        return set()
    namings = filter(None, map(naming_of, record.event.previous))
    named = {(naming.stream_id, number) for naming in namings for number in range(naming.sequence + 1)}
    return named | {(record.stream_id, number) for number in range(record.event.acknowledged)}


def arrivals(records: list[Record], data: st.DataObject) -> list[Record]:
    """The records in an order in which they can be read: what a checkpoint vouches for comes before it."""
    order: list[Record] = []
    waiting = list(data.draw(st.permutations(records), label="order"))
    while waiting:
        there = {(record.stream_id, record.sequence) for record in order}
        ready = next(record for record in waiting if vouched_by(record) <= there)
        waiting = [record for record in waiting if record is not ready]
        order.append(ready)
    return order


def without_one(order: list[Record], data: st.DataObject) -> list[Record]:
    """Without a record that nobody says the broker had; or all of them."""
    vouched = {there for record in order for there in vouched_by(record)}
    never = [r for r in order if (r.stream_id, r.sequence) not in vouched]
    gone = data.draw(st.sampled_from([None, *never]), label="never comes")
    return [record for record in order if record is not gone]


def read_in_rounds(order: list[Record], data: st.DataObject, *, settled: bool = False) -> None:
    """Judge the records in several checks, and after each all so far in one."""
    rounds = Rounds()
    ends = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=3), label="rounds"))
    for start, end in zip([0, *ends], [*ends, len(order)], strict=True):
        assert rounds.judge(order[start:end], settled=settled) == judged(order[:end], settled=settled)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=6), st.data())
def test_what_is_read_in_several_checks_is_judged_as_if_it_were_read_in_one(
    plan: list[tuple[int, bool]], data: st.DataObject
) -> None:
    stream = StreamBuilder()
    for turns, listed in plan:
        stream.turns(turns)
        if listed:
            stream.checkpoint(acknowledged=data.draw(st.integers(0, stream.next), label="acknowledged"))
    if data.draw(st.booleans(), label="closed"):
        stream.close()
    read_in_rounds(without_one(arrivals(stream.records, data), data), data)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 5), st.integers(1, 6), st.data())
def test_a_stream_and_its_adopter_are_judged_in_several_checks_as_in_one(
    listed: int, unlisted: int, data: st.DataObject
) -> None:
    orphan = StreamBuilder().turns(listed).checkpoint(acknowledged=data.draw(st.integers(0, listed + 1)))
    orphan.turns(unlisted)
    last = data.draw(st.integers(listed + 2, orphan.next - 1), label="last readable")
    who = StreamBuilder(ADOPTER).adopt(
        orphan, first=listed + 1, last=last, part=data.draw(st.integers(1, 4), label="part")
    )
    after = StreamBuilder(
        "01920000-0000-7000-8000-000000000003",
        previous=[f"{STREAM}:{last}:{orphan.records[last].digest.hex()}"],
    ).turns(1)
    records = orphan.records + who.close().records + after.records
    read_in_rounds(without_one(arrivals(records, data), data), data)


def one(reports: list[StreamReport]) -> StreamReport:
    (report,) = reports
    return report


def test_a_closed_stream_is_carried_in_a_few_hundred_bytes_however_long_it_was() -> None:
    sizes = []
    for turns in (10, 2_000):
        rounds = Rounds()
        stream = StreamBuilder().turns(turns).checkpoint().close()
        assert one(rounds.judge(stream.records)).verdict == "complete"
        assert one(rounds.judge([])).verdict == "complete"
        sizes.append(len(rounds.carried[STREAM]))
    assert sizes[1] - sizes[0] < 50
    assert sizes[1] < 1_500


def test_a_long_open_stream_is_carried_in_the_size_of_what_is_not_settled() -> None:
    rounds, stream, read = Rounds(), StreamBuilder(), 0
    sizes = []
    for _ in range(6):
        stream.turns(300).checkpoint()
        rounds.judge(stream.records[read:])
        read = stream.next
        sizes.append(len(rounds.carried[STREAM]))
    assert max(sizes) - min(sizes) < 100
    assert one(rounds.judge(stream.close().records[read:])).verdict == "complete"


def test_a_record_that_was_carried_as_a_range_and_comes_again_is_unproven_from_then_on() -> None:
    stream = StreamBuilder().turns(5).checkpoint().turns(1)
    rounds = Rounds()
    rounds.judge(stream.records)
    again = one(rounds.judge([stream.records[2], stream.records[3], stream.records[3]]))
    assert (again.verdict, again.duplicates, again.records) == ("open", 3, 8)
    assert again.unproven == [(2, 3), (6, 7)]
    closed = one(rounds.judge(stream.close().records[8:]))
    assert (closed.verdict, closed.unproven, closed.duplicates, closed.closed) == ("open", [(2, 3)], 3, True)
    assert closed.notes == again.notes
    assert closed.notes[0].startswith("2 records came again, or were not listed yet, when an earlier check")


def test_a_record_that_was_not_acknowledged_and_comes_again_is_compared() -> None:
    stream = StreamBuilder().turns(5).checkpoint(acknowledged=2)
    for record, verdict in (
        (stream.records[3], "open"),
        (rewritten(stream.records[3], agent_id="x"), "fault"),
    ):
        rounds = Rounds()
        rounds.judge(stream.records)
        assert one(rounds.judge([record])).verdict == verdict


def test_an_awaited_record_is_compared_with_what_lists_it_when_it_comes() -> None:
    stream = StreamBuilder().turns(5).checkpoint(acknowledged=2)
    rounds = Rounds()
    assert one(rounds.judge(stream.without(3))).awaited == [(3, 3)]
    before = dict(rounds.carried)
    assert one(rounds.judge([stream.records[3]])).awaited == []
    rounds.carried = before
    report = one(rounds.judge([rewritten(stream.records[3], agent_id="x")]))
    assert [(fault.kind, fault.sequence) for fault in report.faults] == [("changed", 3)]


def test_what_is_said_behind_the_first_ends_of_a_check_counts_in_the_next() -> None:
    first = StreamBuilder().turns(5).checkpoint()
    late = StreamBuilder(ADOPTER, previous=[f"{STREAM}:6:{first.records[6].digest.hex()}"])
    orphan = StreamBuilder().turns(5)
    who = StreamBuilder(ADOPTER).adopt(orphan, first=0, last=5, without=[2])
    for there, uncounted, missing, unreadable in (
        (first.without(2, 6), first.records[6:], [(2, 2)], []),  # acknowledged
        (first.without(2, 6), late.records, [(2, 2), (6, 6)], []),  # named
        (orphan.without(2), who.records, [], [(2, 2)]),  # a hole
    ):
        rounds = Rounds()
        report, *_ = rounds.judge(there, uncounted=uncounted)
        awaited = report.awaited
        assert (awaited, report.faults) == (missing or unreadable, [])
        report, *_ = rounds.judge([])
        assert (report.missing, report.unreadable) == (missing, unreadable)
        assert [report] == judged([*there, *uncounted])[:1]


def test_what_comes_after_a_closed_stream_is_found_when_that_was_only_carried() -> None:
    stream = StreamBuilder().turns(3).close()
    rounds = Rounds()
    rounds.judge(stream.records)
    late = record_of(TurnStartEvent(timestamp_us=OPENED_US), stream.next)
    assert [fault.kind for fault in one(rounds.judge([late])).faults] == ["after_close"]


def test_a_stream_at_fault_is_not_carried() -> None:
    rounds = Rounds()
    rounds.judge(StreamBuilder().turns(3).close().without(2))
    assert rounds.carried == {}


def test_a_withheld_record_stays_withheld() -> None:
    stream = StreamBuilder().turns(3)
    stream.add(
        QuarantineEvent(
            quarantined_stream=STREAM,
            quarantined_sequence=2,
            quarantined_digest=stream.records[2].digest.hex(),
        )
    )
    rounds = Rounds()
    first = rounds.judge(stream.close().without(2))
    assert one(first).withheld == [2]
    assert rounds.judge([]) == first


def test_a_stream_whose_id_is_no_uuid_keeps_its_name() -> None:
    rounds = Rounds()
    stream = StreamBuilder("\U0001f4a3").turns(2)
    rounds.judge(stream.records)
    assert [report.stream_id for report in rounds.judge([])] == ["\U0001f4a3"]


def test_of_too_many_unlisted_records_the_lowest_are_carried_as_a_range_and_stay_unproven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(carry, "MOST_ROWS", 4)
    stream = StreamBuilder().turns(9)
    rounds = Rounds()
    assert one(rounds.judge(stream.records)).unproven == [(0, 9)]
    assert len(read_carry(rounds.carried[STREAM]).rows) == 4
    assert one(rounds.judge(stream.close().records[10:])).unproven == [(0, 5)]


def test_what_is_said_of_a_stream_before_its_first_record_is_read_is_carried_without_a_report() -> None:
    first = StreamBuilder().turns(2)
    named = StreamBuilder(ADOPTER, previous=[f"{STREAM}:2:{'0' * 64}"])
    rounds = Rounds()
    assert [report.stream_id for report in rounds.judge(named.records)] == [ADOPTER]
    assert set(rounds.carried) == {STREAM, ADOPTER}
    report, other = rounds.judge(first.records)
    assert [(fault.kind, fault.sequence) for fault in report.faults] == [("changed", 2)]
    assert other.absent_streams == []


def test_what_is_said_of_records_that_were_carried_as_a_range_is_taken_in() -> None:
    stream = StreamBuilder().turns(3).checkpoint().turns(3).checkpoint()
    rounds = Rounds()
    rounds.judge(stream.records)
    again = stream.records[4]
    named = stream.records[2]
    later = StreamBuilder(ADOPTER, previous=[f"{STREAM}:2:{named.digest.hex()}"]).close()
    withheld = StreamBuilder("01920000-0000-7000-8000-000000000003")
    withheld.add(QuarantineEvent(quarantined_stream=STREAM, quarantined_sequence=3))
    report, *_ = rounds.judge([again, *later.records, *withheld.close().records])
    assert (report.verdict, report.duplicates, report.withheld) == ("open", 1, [])
    assert (report.sealed_to, report.checkpoints, report.unproven) == (7, 3, [(4, 4), (8, 8)])


def test_a_check_that_carries_no_further_gives_the_same_report() -> None:
    stream = StreamBuilder().turns(3).checkpoint().turns(1)
    rounds = Rounds()
    first = rounds.judge(stream.records)
    assert rounds.judge([], carry=False) == first
    assert rounds.carried == {}


def test_that_a_session_was_wanted_is_carried() -> None:
    stream = StreamBuilder()
    stream.add(TurnStartEvent(session_id="s1"))
    stream.checkpoint()
    other = StreamBuilder(ADOPTER).turns(1)
    rounds = Rounds(sessions={"s1"})
    for records in (stream.records + other.records[:1], []):
        assert [report.wanted for report in rounds.judge(records)] == [True, False]


def test_an_earlier_stream_that_was_only_carried_is_not_absent() -> None:
    first = StreamBuilder().turns(2).close()
    rounds = Rounds()
    rounds.judge(first.records)
    last = first.records[-1]
    second = StreamBuilder(ADOPTER, previous=[f"{STREAM}:{last.sequence}:{last.digest.hex()}"]).close()
    assert [report.absent_streams for report in rounds.judge(second.records)] == [[], []]


@pytest.mark.parametrize("where", [0, 7, 9, 30, -1])
def test_a_blob_that_was_changed_is_refused(where: int, tmp_path: Path) -> None:
    rounds = Rounds()
    rounds.judge(StreamBuilder().turns(2).records)
    blob = bytearray(rounds.carried[STREAM])
    blob[where] ^= 1
    with FactWriter(tmp_path) as writer, pytest.raises(CarryError):
        writer.add_carry(STREAM, bytes(blob))


@pytest.mark.parametrize("length", [0, 8, 11])
def test_a_blob_that_was_cut_off_is_refused(length: int) -> None:
    rounds = Rounds()
    rounds.judge(StreamBuilder().turns(2).records)
    with pytest.raises(CarryError):
        read_carry(rounds.carried[STREAM][:length])
