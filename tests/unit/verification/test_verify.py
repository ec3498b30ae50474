from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.events import CheckpointEvent, LossEvent, QuarantineEvent, TurnEndEvent, TurnStartEvent
from auditwire.stream import pack_entry
from auditwire.verification import StreamReport, check_streams
from support.stream_builder import OPENED_US, STREAM, StreamBuilder, record_of, rewritten

if TYPE_CHECKING:
    from auditwire.reading import Record

OTHER = "01920000-0000-7000-8000-000000000002"


def check(records: list[Record], *, settled: bool = False) -> StreamReport:
    (report,) = check_streams(records, settled=settled)
    return report


def kinds(report: StreamReport) -> list[tuple[str, int]]:
    return [(fault.kind, fault.sequence) for fault in report.faults]


def closed_stream() -> StreamBuilder:
    """open 0, turns 1-5, checkpoint 6, turns 7-11, checkpoint 12, turns 13-14, close 15."""
    return StreamBuilder().turns(5).checkpoint().turns(5).checkpoint().turns(2).close()


# -- honest streams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["single-object", "confluent"])
def test_a_closed_stream_is_complete_in_either_framing(framing: str) -> None:
    stream = StreamBuilder(framing=framing).turns(3).checkpoint().turns(2).close()
    assert check(stream.records) == StreamReport(
        stream_id=STREAM,
        verdict="complete",
        service="svc",
        trail="audit",
        records=8,
        first_sequence=0,
        last_sequence=7,
        last_digest=stream.records[7].digest.hex(),
        first_timestamp_ms=stream.records[0].timestamp_ms,
        last_timestamp_ms=stream.records[7].timestamp_ms,
        checkpoints=3,
        acknowledged=7,
        sealed_to=6,
        listed_to=6,
        closed=True,
    )


def test_a_stream_that_nothing_was_written_to_is_complete() -> None:
    assert check(StreamBuilder().close().records).verdict == "complete"


def test_records_in_any_order_and_several_times_are_the_same_stream() -> None:
    records = closed_stream().records * 2
    random.Random(1).shuffle(records)
    report = check(records)
    assert (report.verdict, report.records, report.duplicates) == ("complete", 16, 16)


def test_no_records_give_no_reports() -> None:
    assert check_streams([]) == []


def test_each_stream_has_its_report_in_the_order_of_their_ids() -> None:
    late, early = StreamBuilder(OTHER).turns(1), closed_stream()
    reports = check_streams(late.records + early.records)
    assert [(report.stream_id, report.verdict) for report in reports] == [
        (STREAM, "complete"),
        (OTHER, "open"),
    ]


def test_a_stream_that_is_still_written_is_open() -> None:
    report = check(StreamBuilder().turns(3).checkpoint().turns(2).records)
    assert (report.verdict, report.closed, report.sealed_to) == ("open", False, 3)
    assert (report.missing, report.awaited, report.faults) == ([], [], [])


def test_a_closing_checkpoint_that_does_not_list_all_before_it_leaves_the_stream_open() -> None:
    stream = StreamBuilder().turns(3)
    event = stream.ledger.checkpoint("close", acknowledged=4)
    stream.turns(1)
    stream.add(event)
    report = check(stream.records)
    assert (report.verdict, report.closed, report.sealed_to, report.faults) == ("open", True, 3, [])


def test_a_record_that_is_listed_but_not_acknowledged_is_awaited_until_the_stream_is_settled() -> None:
    stream = StreamBuilder().turns(5).checkpoint(acknowledged=3).turns(1)
    report = check(stream.without(4))
    assert (report.verdict, report.awaited, report.missing) == ("open", [(4, 4)], [])
    settled = check(stream.without(4), settled=True)
    assert (settled.verdict, settled.awaited, settled.missing) == ("fault", [], [(4, 4)])
    assert kinds(settled) == [("missing", 4)]


def test_a_checkpoint_that_has_not_come_yet_explains_why_the_next_continues_further_on() -> None:
    stream = StreamBuilder().turns(3).checkpoint(acknowledged=0).turns(2).checkpoint(acknowledged=2)
    report = check(stream.without(4))
    assert (report.verdict, report.awaited, report.sealed_to) == ("open", [(4, 4)], -1)


def test_an_opening_checkpoint_that_has_not_come_yet_is_awaited() -> None:
    report = check(StreamBuilder().turns(2).records[1:])
    assert (report.verdict, report.awaited, report.service) == ("open", [(0, 0)], None)


def test_a_gap_that_begins_below_the_acknowledged_and_ends_above_is_cut_in_two() -> None:
    stream = StreamBuilder().turns(6).checkpoint(acknowledged=4)
    report = check(stream.without(2, 3, 4, 5))
    assert (report.missing, report.awaited) == ([(2, 3)], [(4, 5)])


# -- tampering ----------------------------------------------------------------------------------------------


def test_one_deleted_record_is_missing_with_its_digest() -> None:
    stream = closed_stream()
    report = check(stream.without(3))
    assert (report.verdict, report.missing, kinds(report)) == ("fault", [(3, 3)], [("missing", 3)])
    assert report.faults[0].expected == stream.records[3].digest.hex()
    assert report.faults[0].message == "record 3 is missing: a checkpoint says that the broker had them"


def test_a_deleted_range_is_one_fault() -> None:
    report = check(closed_stream().without(8, 9, 10))
    assert (report.missing, kinds(report)) == ([(8, 10)], [("missing", 8)])
    assert report.faults[0].topic is None
    assert "records 8 to 10 are missing" in report.faults[0].message


def test_a_cut_head_is_missing() -> None:
    report = check(closed_stream().records[4:])
    assert (report.missing, report.first_sequence, report.verdict) == ([(0, 3)], 4, "fault")
    assert report.service == "svc", "every checkpoint tells whose stream it is"


def test_a_cut_tail_leaves_the_stream_open() -> None:
    report = check(closed_stream().records[:-1])
    assert (report.verdict, report.closed, report.faults) == ("open", False, [])


def test_a_dropped_checkpoint_is_missing_and_breaks_the_chain() -> None:
    report = check(closed_stream().without(6))
    assert kinds(report) == [("missing", 6), ("chain", 12)]
    assert (report.sealed_to, report.faults[1].expected, report.faults[1].found) == (-1, "0", "6")


def test_an_edited_field_is_a_change_that_names_record_and_checkpoint() -> None:
    stream = closed_stream()
    edited = rewritten(stream.records[4], prompt_preview="nothing to see")
    report = check(stream.swapped(edited))
    assert kinds(report) == [("changed", 4)]
    fault = report.faults[0]
    assert (fault.topic, fault.partition, fault.offset) == ("audit.turn-start", 4, 104)
    assert (fault.expected, fault.found) == (stream.records[4].digest.hex(), edited.digest.hex())
    assert "checkpoint 6 lists" in fault.message


def test_two_records_that_changed_numbers_are_both_changed() -> None:
    stream = closed_stream()
    one, two = stream.records[2], stream.records[5]
    records = stream.without(2, 5)
    records += [record_of(one.event, 5), record_of(two.event, 2)]
    assert kinds(check(records)) == [("changed", 2), ("changed", 5)]


def test_a_record_of_another_type_in_its_place_is_a_change() -> None:
    stream = closed_stream()
    forged = record_of(TurnEndEvent(session_id="s1", timestamp_us=OPENED_US), 4)
    assert kinds(check(stream.swapped(forged))) == [("changed", 4)]


def test_the_same_body_under_another_schema_is_a_change() -> None:
    stream = closed_stream()
    relabelled = replace(stream.records[4], fingerprint=bytes(8))
    report = check(stream.swapped(relabelled))
    assert kinds(report) == [("changed", 4)]
    assert report.faults[0].found == "turn_start:0000000000000000"


def test_the_same_record_again_is_harmless() -> None:
    stream = closed_stream()
    report = check([*stream.records, replace(stream.records[4], offset=999)])
    assert (report.verdict, report.duplicates) == ("complete", 1)


@pytest.mark.parametrize("forged_first", [True, False])
def test_a_different_record_with_the_same_sequence_is_a_conflict_whichever_comes_first(
    *, forged_first: bool
) -> None:
    stream = closed_stream()
    forged = replace(rewritten(stream.records[4], prompt_preview="x"), offset=999)
    records = [forged, *stream.records] if forged_first else [*stream.records, forged, forged]
    report = check(records)
    assert kinds(report) == [("conflict", 4)]
    assert "audit.turn-start [4] offset 999" in report.faults[0].message
    assert report.duplicates == (0 if forged_first else 1)


def test_neither_of_two_conflicting_records_being_listed_is_a_change_besides() -> None:
    stream = closed_stream()
    forged = [rewritten(stream.records[4], prompt_preview=text) for text in "xy"]
    assert kinds(check([*stream.without(4), *forged])) == [("changed", 4), ("conflict", 4)]


def test_a_record_appended_after_the_closing_checkpoint_is_a_fault() -> None:
    stream = closed_stream()
    report = check([*stream.records, record_of(TurnStartEvent(timestamp_us=OPENED_US), 16)])
    assert kinds(report) == [("after_close", 16)]
    assert "1 records, from 16 on" in report.faults[0].message


def test_record_0_has_to_be_an_opening_checkpoint() -> None:
    stream = StreamBuilder(opened=False).turns(2)
    assert kinds(check(stream.records)) == [("opening", 0)]
    report = check([record_of(CheckpointEvent(reason="interval", timestamp_us=OPENED_US), 0)])
    assert kinds(report) == [("opening", 0)]


def test_no_other_record_can_be_an_opening_checkpoint() -> None:
    stream = StreamBuilder().turns(1).checkpoint("open")
    assert kinds(check(stream.records)) == [("opening", 2)]


def test_a_checkpoint_that_lists_records_again_breaks_the_chain() -> None:
    stream = closed_stream()
    again = rewritten(stream.records[12], first_sequence=0, entries=[], types=[])
    report = check([*stream.without(12, 13, 14, 15), again])
    assert kinds(report) == [("chain", 12)]
    assert report.sealed_to == 5


def test_a_checkpoint_cannot_list_itself() -> None:
    stream = StreamBuilder().turns(1)
    event = stream.ledger.checkpoint("interval", acknowledged=0)
    event.entries.append(pack_entry(0, bytes(32)))
    stream.add(event)
    report = check(stream.records)
    assert kinds(report) == [("chain", 2)]
    assert "lists record 2" in report.faults[0].message


@pytest.mark.parametrize("entry", ["", "A" * 43 + "+", pack_entry(9, bytes(32))])
def test_a_malformed_checkpoint_is_a_fault_that_says_so(entry: str) -> None:
    stream = StreamBuilder().turns(1)
    event = stream.ledger.checkpoint("interval", acknowledged=0)
    event.entries[1] = entry
    stream.add(event)
    report = check(stream.records)
    assert kinds(report) == [("chain", 2)]
    assert "checkpoint 2 is malformed" in report.faults[0].message


def test_numbers_that_nobody_could_have_written_cost_neither_time_nor_memory() -> None:
    huge = 2**62
    stream = StreamBuilder()
    stream.records.append(
        record_of(
            CheckpointEvent(
                reason="interval", acknowledged=huge, first_sequence=-huge, timestamp_us=OPENED_US
            ),
            huge,
        )
    )
    report = check(stream.records)
    assert report.missing == [(1, huge - 1)]
    assert kinds(report) == [("missing", 1), ("chain", huge)]


def test_a_stream_id_and_a_resource_can_be_any_text() -> None:
    for resource in ("", "[]", "[[", '{"service.name": 1}', "null", "[" * 100_000):
        event = CheckpointEvent(reason="open", resource=resource, trail="t", timestamp_us=OPENED_US)
        report = check([record_of(event, 0, "\U0001f4a3")])
        assert (report.stream_id, report.service, report.trail) == ("\U0001f4a3", None, "t")
        assert report.verdict == "open"


# -- what the producer says ---------------------------------------------------------------------------------


def test_declared_losses_are_faults_and_are_counted_once() -> None:
    stream = StreamBuilder().turns(1)
    lost = stream.add(LossEvent(count=3, reason="journal full"))
    stream.add(LossEvent(count=4, reason="journal full"))
    report = check([*stream.close().records, lost, replace(lost, offset=lost.offset + 1_000)])
    assert (report.declared_lost, report.verdict) == (7, "fault")
    assert kinds(report) == [("declared_loss", 2), ("declared_loss", 3)]


def quarantine(record: Record, **changes: str) -> QuarantineEvent:
    event = QuarantineEvent(
        quarantined_stream=record.stream_id,
        quarantined_sequence=record.sequence,
        quarantined_digest=record.digest.hex(),
        reason="message too large",
    )
    for name, value in changes.items():
        setattr(event, name, value)
    return event


def test_a_quarantined_record_is_withheld_and_the_stream_open() -> None:
    stream = StreamBuilder().turns(3)
    stream.add(quarantine(stream.records[2]))
    stream.close()
    report = check(stream.without(2), settled=True)
    assert (report.verdict, report.withheld, report.missing, report.faults) == ("open", [2], [], [])


def test_the_quarantine_record_may_stand_in_another_stream() -> None:
    orphan, adopter = StreamBuilder().turns(3), StreamBuilder(OTHER)
    adopter.add(quarantine(orphan.records[2]))
    adopter.add(quarantine(orphan.records[3]))
    reports = check_streams(orphan.without(2, 3) + adopter.close().records)
    assert (reports[0].withheld, reports[0].verdict) == ([2, 3], "open")
    assert reports[1].verdict == "complete"


def test_a_quarantined_record_that_is_there_all_the_same_is_not_withheld() -> None:
    stream = StreamBuilder().turns(3)
    stream.add(quarantine(stream.records[2]))
    report = check(stream.close().records)
    assert (report.verdict, report.withheld) == ("complete", [])


def test_a_quarantine_record_that_names_another_digest_than_the_checkpoint_is_a_fault() -> None:
    stream = StreamBuilder().turns(3)
    said = stream.add(quarantine(stream.records[2], quarantined_digest="00" * 32))
    report = check(stream.close().without(2))
    assert kinds(report) == [("quarantine", 2)]
    assert (report.faults[0].offset, report.faults[0].found) == (said.offset, "00" * 32)


def test_a_quarantined_sequence_below_zero_is_not_withheld() -> None:
    stream = StreamBuilder().turns(1)
    event = quarantine(stream.records[1])
    event.quarantined_sequence = -1
    stream.add(event)
    assert check(stream.close().records).verdict == "complete"


def test_a_withheld_checkpoint_explains_why_the_next_continues_further_on() -> None:
    stream = StreamBuilder().turns(2).checkpoint()
    stream.add(quarantine(stream.records[3]))
    report = check(stream.close().without(3))
    assert (report.verdict, report.withheld, report.faults) == ("open", [3], [])


# -- where records stand ------------------------------------------------------------------------------------


def test_a_record_under_another_key_is_a_fault_that_says_which() -> None:
    stream = closed_stream()
    report = check(stream.swapped(replace(stream.records[4], key=b"somebody else")))
    assert kinds(report) == [("placement", 4)]
    assert report.faults[0].message == "record 4: its key is somebody else, and should be s1"
    assert (report.faults[0].expected, report.faults[0].found) == ("s1", "somebody else")


def test_topics_that_the_collector_was_given_are_no_fault() -> None:
    stream = closed_stream()
    records = [
        replace(record, topic="turns") if record.topic == "audit.turn-start" else record
        for record in stream.records
    ]
    (report,) = check_streams(records, topics={"turn_start": "turns"})
    assert report.verdict == "complete"
    assert check(records).verdict == "fault"


def test_a_kafka_timestamp_from_before_the_stream_was_opened_is_noted_and_no_fault() -> None:
    # a clock that was set back looks the same, and no digest covers the timestamp
    stream = closed_stream()
    hour_ms = 3_600_000
    opened_ms = OPENED_US // 1_000
    honest = replace(stream.records[4], timestamp_ms=opened_ms - hour_ms)
    assert check(stream.swapped(honest)).verdict == "complete"
    report = check(stream.swapped(replace(stream.records[4], timestamp_ms=opened_ms - hour_ms - 1)))
    assert report.verdict == "complete"
    assert report.antedated == [(4, 4)]
    assert report.to_dict()["antedated"] == [[4, 4]]
    assert "1 records, from record 4 on, have Kafka timestamps" in report.notes[0]
    assert not check(stream.records).antedated


def test_without_the_opening_checkpoint_the_kafka_timestamp_is_not_judged() -> None:
    stream = closed_stream()
    records = [replace(stream.records[4], timestamp_ms=0), *stream.without(0, 4)]
    assert kinds(check(records)) == [("missing", 0)]


# -- the report ---------------------------------------------------------------------------------------------


def test_a_report_is_json() -> None:
    stream = StreamBuilder().turns(6).checkpoint(acknowledged=4)
    out = check(stream.without(2, 3, 4)).to_dict()
    assert json.loads(json.dumps(out)) == out
    assert (out["missing"], out["awaited"]) == ([[2, 3]], [[4, 4]])
    assert out["faults"][0]["kind"] == "missing"


# -- properties ---------------------------------------------------------------------------------------------

Steps = list[tuple[int, bool]]
steps = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=6)


def build(plan: Steps) -> StreamBuilder:
    stream = StreamBuilder()
    for turns, listed in plan:
        stream.turns(turns)
        if listed:
            stream.checkpoint()
    return stream


@settings(max_examples=60, deadline=None)
@given(steps, st.data())
def test_nothing_can_be_done_to_a_closed_stream_that_leaves_it_complete(
    plan: Steps, data: st.DataObject
) -> None:
    stream = build(plan).close()
    assert check(stream.records).verdict == "complete"
    last = stream.next - 1
    target = data.draw(st.sampled_from(stream.records[:-1]))
    number = target.sequence
    ways = {
        "delete": stream.without(number),
        "delete to the end": stream.records[: number + 1],
        "edit": stream.swapped(rewritten(target, agent_id="nobody")),
        "double": [*stream.records, rewritten(target, agent_id="nobody")],
        "append": [*stream.records, record_of(target.event, last + 1)],
        "key": stream.swapped(replace(target, key=b"x")),
        "topic": stream.swapped(replace(target, topic="audit.elsewhere")),
    }
    way = data.draw(st.sampled_from(sorted(ways)))
    records = data.draw(st.permutations(ways[way]))
    verdict = check(records).verdict
    assert verdict == ("open" if way == "delete to the end" else "fault"), way


@settings(max_examples=60, deadline=None)
@given(steps, st.data())
def test_whatever_part_of_an_honest_stream_has_arrived_it_is_not_at_fault(
    plan: Steps, data: st.DataObject
) -> None:
    stream = StreamBuilder()
    arrived: set[int] = set()
    for turns, listed in plan:
        stream.turns(turns)
        arrived |= data.draw(st.sets(st.integers(0, stream.next - 1)))
        if listed:
            low = next(n for n in range(stream.next + 1) if n not in arrived)
            stream.checkpoint(acknowledged=low)
    records = [stream.records[n] for n in sorted(arrived)]
    for report in check_streams(records):
        assert report.faults == []
        absent = {n for first, last in report.awaited for n in range(first, last + 1)}
        assert absent == set(range(max(arrived))) - arrived
        assert report.sealed_to < stream.next
