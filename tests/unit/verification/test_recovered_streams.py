"""Streams whose processes ended without closing them, and what other streams say of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.events import CheckpointEvent, QuarantineEvent, RecoveryEvent, TurnStartEvent
from auditwire.stream import pack_entry
from auditwire.verification import StreamReport, check_streams
from support.facts import judged
from support.stream_builder import OPENED_US, STREAM, StreamBuilder, record_of, rewritten

if TYPE_CHECKING:
    from auditwire.reading import Record

ADOPTER = "01920000-0000-7000-8000-000000000002"
THIRD = "01920000-0000-7000-8000-000000000003"


def orphan_of(records: list[Record], *, settled: bool = True) -> StreamReport:
    """The report on the orphan; the others have to be whole."""
    reports = {report.stream_id: report for report in check_streams(records, settled=settled)}
    orphan = reports.pop(STREAM)
    assert all(report.verdict == "complete" for report in reports.values()), reports
    return orphan


def kinds(report: StreamReport) -> list[tuple[str, int]]:
    return [(fault.kind, fault.sequence) for fault in report.faults]


def killed() -> StreamBuilder:
    """open 0, turns 1-5, checkpoint 6, turns 7-11: 6 to 11 are listed by no checkpoint."""
    return StreamBuilder().turns(5).checkpoint().turns(5)


def adopter() -> StreamBuilder:
    return StreamBuilder(ADOPTER)


def forgery(stream: StreamBuilder, *sequences: int) -> StreamBuilder:
    """The same stream with these records rewritten."""
    forged = StreamBuilder(stream.stream_id)
    forged.records = [
        rewritten(record, prompt_preview="x") if record.sequence in sequences else record
        for record in stream.records
    ]
    return forged


# -- a process that was killed ------------------------------------------------------------------------------


def test_a_killed_process_leaves_a_recovered_stream_when_its_journal_was_delivered() -> None:
    orphan = killed()
    report = orphan_of(orphan.records + adopter().adopt(orphan, first=6, last=11).close().records)
    assert report == StreamReport(
        stream_id=STREAM,
        verdict="recovered",
        service="svc",
        trail="audit",
        records=12,
        first_sequence=0,
        last_sequence=11,
        last_digest=orphan.records[11].digest.hex(),
        first_timestamp_ms=orphan.records[0].timestamp_ms,
        last_timestamp_ms=orphan.records[11].timestamp_ms,
        checkpoints=2,
        acknowledged=6,
        sealed_to=5,
        listed_to=5,
        recoveries=1,
        recovered_to=11,
    )


def test_without_the_recovery_record_the_same_stream_is_open_and_its_end_unproven() -> None:
    report = orphan_of(killed().records)
    assert (report.verdict, report.unproven, report.notes) == ("open", [(6, 11)], [])


def test_a_statement_in_several_parts_is_as_good_as_one() -> None:
    orphan = killed()
    report = orphan_of(orphan.records + adopter().adopt(orphan, first=6, last=11, part=2).close().records)
    assert (report.verdict, report.recoveries) == ("recovered", 3)


def test_equal_statements_by_several_adopters_and_duplicates_of_them_are_fine() -> None:
    orphan = killed()
    one = adopter().adopt(orphan, first=6, last=11).close()
    two = StreamBuilder(THIRD).adopt(orphan, first=8, last=11).close()
    report = orphan_of([*orphan.records, *one.records, *two.records, one.records[1]])
    assert (report.verdict, report.recoveries) == ("recovered", 2)


def test_what_the_adopter_has_not_delivered_yet_is_awaited_and_missing_once_settled() -> None:
    orphan = killed()
    records = orphan.records[:9] + adopter().adopt(orphan, first=6, last=11).close().records
    report = orphan_of(records, settled=False)
    assert (report.verdict, report.awaited, report.last_sequence) == ("open", [(9, 11)], 8)
    report = orphan_of(records)
    assert (kinds(report), report.missing) == ([("missing", 9)], [(9, 11)])


def test_a_missing_record_is_named_with_the_digest_that_the_recovery_record_lists() -> None:
    orphan = killed()
    report = orphan_of(orphan.without(8) + adopter().adopt(orphan, first=6, last=11).close().records)
    assert (kinds(report), report.faults[0].expected) == ([("missing", 8)], orphan.records[8].digest.hex())


def test_a_record_below_the_acknowledged_is_missing_whatever_the_journal_had() -> None:
    orphan = killed()
    records = orphan.without(3) + adopter().adopt(orphan, first=6, last=11, unreadable=["0:64-128"]).records
    (report, _) = check_streams(records)
    assert kinds(report) == [("missing", 3)]


def test_an_orphan_of_which_nothing_is_there_is_awaited_and_missing_once_settled() -> None:
    orphan = killed()
    records = adopter().adopt(orphan, first=0, last=11).close().records
    report = orphan_of(records, settled=False)
    assert (report.verdict, report.awaited, report.records) == ("open", [(0, 11)], 0)
    assert (report.first_sequence, report.last_sequence) == (-1, -1)
    assert kinds(orphan_of(records)) == [("missing", 0)]


def test_a_journal_that_was_left_empty_gives_no_report() -> None:
    (report,) = check_streams(adopter().adopt(StreamBuilder(), first=0, last=-1).close().records)
    assert report.stream_id == ADOPTER


def test_a_stream_that_was_closed_after_all_is_complete() -> None:
    orphan = killed().close()
    report = orphan_of(orphan.records + adopter().adopt(orphan, first=6, last=11).close().records)
    assert (report.verdict, report.notes) == ("complete", [])


def test_a_withheld_record_at_the_end_of_a_journal_is_not_missing() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=11)
    gone = orphan.records[11]
    who.add(
        QuarantineEvent(
            quarantined_stream=STREAM, quarantined_sequence=11, quarantined_digest=gone.digest.hex()
        )
    )
    report = orphan_of(orphan.without(11) + who.close().records)
    assert (report.verdict, report.withheld, report.faults) == ("open", [11], [])


def test_a_quarantine_record_with_another_digest_than_the_recovery_record_is_a_fault() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=11)
    who.add(QuarantineEvent(quarantined_stream=STREAM, quarantined_sequence=11, quarantined_digest="0" * 64))
    report = orphan_of(orphan.without(11) + who.close().records)
    assert kinds(report) == [("quarantine", 11)]


# -- a machine that lost power ------------------------------------------------------------------------------


def test_after_a_loss_of_power_the_stream_is_recovered_and_says_what_nobody_can_know() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=9, machine_restarted=True).close()
    report = orphan_of(orphan.records[:10] + who.records)
    assert (report.verdict, report.machine_restarted, report.recovered_to) == ("recovered", True, 9)
    assert report.notes == [
        (
            "the machine was restarted before the journal was read: whether more had been accepted behind "
            "record 9, the last readable one in the journal, after its last sync, cannot be told"
        )
    ]


def test_what_the_broker_has_beyond_the_journal_is_no_fault_and_named_as_unproven() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=8, machine_restarted=True).close()
    report = orphan_of(orphan.records + who.records)
    assert (report.verdict, report.faults, report.unproven) == ("open", [], [(9, 11)])
    assert report.notes[0] == (
        "nothing lists records 9 to 11, behind record 8, the last readable one in the journal: "
        "whether changes were made cannot be told"
    )


def test_a_number_that_is_absent_beyond_the_journal_is_unaccounted_for_and_not_missing() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=8, machine_restarted=True).close()
    records = orphan.without(10) + who.records
    report = orphan_of(records)
    assert (report.verdict, report.faults) == ("open", [])
    assert (report.unproven, report.unaccounted) == ([(9, 9), (11, 11)], [(10, 10)])
    assert report.notes[2] == (
        "nothing is known of record 10, behind record 8, the last readable one in the journal: "
        "lost with the journal's end, or removed from the broker"
    )
    report = orphan_of(records, settled=False)
    assert (report.awaited, report.unaccounted) == ([(10, 10)], [])


def test_a_checkpoint_beyond_the_journal_proves_what_it_lists() -> None:
    orphan = killed().checkpoint(acknowledged=7).turns(1)
    who = adopter().adopt(orphan, first=6, last=8, machine_restarted=True).close()
    assert orphan_of(orphan.records + who.records).unproven == [(12, 13)]


def test_a_number_beyond_the_journal_that_a_checkpoint_says_the_broker_had_is_missing() -> None:
    orphan = killed().checkpoint(acknowledged=12).turns(1)
    who = adopter().adopt(orphan, first=6, last=8, machine_restarted=True).close()
    assert kinds(orphan_of(orphan.without(10) + who.records)) == [("missing", 10)]


def test_a_checkpoint_that_was_lost_beyond_the_journal_breaks_no_chain() -> None:
    orphan = killed().checkpoint(acknowledged=7).turns(1).checkpoint(acknowledged=7)
    who = adopter().adopt(orphan, first=6, last=8, machine_restarted=True).close()
    report = orphan_of(orphan.without(12) + who.records)
    assert (report.faults, report.unaccounted, report.sealed_to) == ([], [(12, 12)], 5)


def test_a_journal_of_which_nothing_is_left_leaves_the_broker_s_records_unproven() -> None:
    orphan = StreamBuilder().turns(2)
    who = adopter().adopt(orphan, first=0, last=-1, machine_restarted=True).close()
    report = orphan_of(orphan.records + who.records)
    assert (report.verdict, report.unproven, report.recovered_to) == ("open", [(0, 2)], -1)
    assert "behind the empty journal's end" in report.notes[0]


# -- a damaged disk -----------------------------------------------------------------------------------------


def test_records_that_neither_the_broker_nor_the_journal_has_are_unreadable() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=11, without=[8, 9], unreadable=["0:4096-8192"]).close()
    for settled in (False, True):
        report = orphan_of(orphan.without(8, 9) + who.records, settled=settled)
        assert (report.verdict, report.unreadable, report.missing) == ("fault", [(8, 9)], [])
        assert kinds(report) == [("unreadable", 8)]
        assert report.faults[0].message == (
            "the broker does not have records 8 to 9, which had been accepted: that part of the journal "
            "cannot be read any more (segment:from-to 0:4096-8192)"
        )


def test_a_missing_segment_has_no_bytes_to_name_and_is_the_same_fault() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=11, without=[8]).close()
    report = orphan_of(orphan.without(8) + who.records)
    assert report.faults[0].message.endswith(
        "which had been accepted: that part of the journal cannot be read any more"
    )


def test_unreadable_records_that_the_broker_has_are_no_fault_but_unproven() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=11, without=[8], unreadable=["0:4096-4608"]).close()
    report = orphan_of(orphan.records + who.records)
    assert (report.verdict, report.faults, report.unproven) == ("open", [], [(8, 8)])
    assert report.notes == [
        "no checkpoint and no recovery record lists record 8: whether changes were made cannot be told",
        (
            "bytes of the journal could not be read (segment:from-to 0:4096-4608): whether they held records "
            "behind record 11, the last readable one in the journal, cannot be told"
        ),
    ]


def test_unreadable_bytes_that_no_number_is_absent_for_leave_the_stream_not_provable() -> None:
    orphan = killed()
    ranges = [f"0:{n}-{n + 8}" for n in range(1_000, 1_700, 100)]
    who = adopter().adopt(orphan, first=6, last=11, unreadable=ranges).close()
    report = orphan_of(orphan.records + who.records)
    assert (report.verdict, report.faults, report.unproven) == ("open", [], [])
    assert "0:1400-1408 and 2 more)" in report.notes[0]


def test_a_part_of_a_statement_that_has_not_come_yet_is_no_damage() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=11, part=2)
    records = orphan.without(8, 9) + who.without(2)
    orphaned, adopting = check_streams(records)
    assert (orphaned.verdict, orphaned.awaited, orphaned.faults) == ("open", [(8, 9)], [])
    assert (adopting.awaited, adopting.faults) == ([(2, 2)], [])


def test_a_second_adopter_can_have_what_the_first_could_not_read() -> None:
    orphan = killed()
    one = adopter().adopt(orphan, first=6, last=11, without=[8]).close()
    two = StreamBuilder(THIRD).adopt(orphan, first=6, last=11).close()
    report = orphan_of(orphan.without(8) + one.records + two.records)
    assert kinds(report) == [("missing", 8)]
    assert orphan_of(orphan.records + one.records + two.records).verdict == "recovered"


def test_what_is_unreadable_before_the_statement_begins_is_told_once_all_has_come() -> None:
    orphan = StreamBuilder().turns(8)
    who = adopter().adopt(orphan, first=4, last=8, unreadable=["0:64-4096"]).close()
    records = [orphan.records[0], *orphan.records[4:], *who.records]
    assert orphan_of(records, settled=False).awaited == [(1, 3)]
    report = orphan_of(records)
    assert (report.unreadable, kinds(report)) == ([(1, 3)], [("unreadable", 1)])


def test_a_checkpoint_that_cannot_be_read_any_more_is_one_fault_and_no_broken_chain() -> None:
    orphan = killed().checkpoint(acknowledged=6).turns(1)
    who = adopter().adopt(orphan, first=0, last=13, without=[6], unreadable=["0:4096-8192"]).close()
    assert kinds(orphan_of(orphan.without(6) + who.records)) == [("unreadable", 6)]


# -- tampering and contradictions ---------------------------------------------------------------------------


def test_a_record_that_is_not_the_one_the_recovery_record_lists_was_changed() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=11).close()
    report = orphan_of(orphan.swapped(rewritten(orphan.records[9], prompt_preview="x")) + who.records)
    assert kinds(report) == [("changed", 9)]
    assert f"recovery record 1 of stream {ADOPTER} lists digest" in report.faults[0].message


def test_one_of_two_conflicting_records_being_the_listed_one_is_a_conflict_only() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=11).close()
    forged = rewritten(orphan.records[9], prompt_preview="x")
    assert kinds(orphan_of([forged, *orphan.records, *who.records])) == [("conflict", 9)]


def test_the_same_body_under_another_schema_than_the_recovery_record_lists_was_changed() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=11).close()
    relabelled = replace(orphan.records[9], fingerprint=bytes(8))
    report = orphan_of(orphan.swapped(relabelled) + who.records)
    assert kinds(report) == [("changed", 9)]
    assert f"recovery record 1 of stream {ADOPTER} lists turn_start:" in report.faults[0].message


def test_statements_that_contradict_each_other_are_one_fault_for_all_their_records() -> None:
    orphan = killed()
    forged = forgery(orphan, 8, 9, 10)
    one = adopter().adopt(orphan, first=6, last=11).close()
    two = StreamBuilder(THIRD).adopt(forged, first=6, last=11).close()
    report = orphan_of(orphan.records + one.records + two.records)
    assert kinds(report) == [("recovery", 8)]
    fault = report.faults[0]
    assert "list different digests or types for 3 records, from 8 on" in fault.message
    assert (fault.offset, fault.expected) == (two.records[1].offset, orphan.records[8].digest.hex())


def test_a_statement_that_contradicts_a_checkpoint_about_an_absent_record_is_a_fault() -> None:
    orphan = StreamBuilder().turns(5).checkpoint(acknowledged=0)
    forged = forgery(orphan, 3)
    who = adopter().adopt(forged, first=3, last=6).close()
    report = orphan_of(orphan.without(3) + who.records, settled=False)
    assert kinds(report) == [("recovery", 3)]
    assert report.faults[0].expected == orphan.records[3].digest.hex()


@pytest.mark.parametrize(
    ("first", "last", "entries", "why"),
    [
        (-1, 5, [pack_entry(0, bytes(32))], "it lists records -1 to -1, and the last readable one is 5"),
        (5, 5, [pack_entry(0, bytes(32))] * 2, "it lists records 5 to 6, and the last readable one is 5"),
        (2, 5, ["!"], "not an entry"),
        (2, 5, [pack_entry(7, bytes(32))], "points to type 7 of 1"),
    ],
)
def test_a_malformed_statement_is_a_fault_that_says_so(
    first: int, last: int, entries: list[str], why: str
) -> None:
    who = adopter()
    who.add(
        RecoveryEvent(
            orphan_stream=STREAM,
            first_sequence=first,
            last_sequence=last,
            entries=entries,
            types=["turn_start:0000000000000000"],
        )
    )
    report = orphan_of(killed().records + who.close().records)
    assert kinds(report) == [("recovery", max(0, first))]
    assert "is malformed" in report.faults[0].message
    assert why in report.faults[0].message
    assert report.recoveries == 0


def test_a_journal_that_goes_on_behind_the_closing_checkpoint_is_a_fault() -> None:
    orphan = killed().close()
    longer = killed().turns(2)
    who = adopter().adopt(longer, first=13, last=13).close()
    report = orphan_of(orphan.records + who.records)
    assert kinds(report) == [("recovery", 13)]
    assert "goes on to record 13, behind its closing checkpoint 12" in report.faults[0].message


def test_numbers_in_a_statement_that_nobody_could_have_written_cost_neither_time_nor_memory() -> None:
    huge = 2**62
    who = adopter()
    for first in (0, huge - 1):
        event = RecoveryEvent(
            orphan_stream=STREAM,
            first_sequence=first,
            last_sequence=huge,
            entries=[pack_entry(0, bytes(32))],
            types=["turn_start:0000000000000000"],
        )
        who.add(event)
    report = orphan_of(who.close().records)
    assert report.unreadable == [(1, huge - 2)]
    assert report.missing == [(0, 0), (huge - 1, huge)]
    far = record_of(
        RecoveryEvent(
            orphan_stream=STREAM,
            first_sequence=huge,
            last_sequence=huge,
            entries=[pack_entry(0, bytes(32))],
            types=["x:0"],
            timestamp_us=OPENED_US,
        ),
        huge,
        ADOPTER,
    )
    assert check_streams([*who.records, far])[0].stream_id == STREAM


# -- streams that come after -------------------------------------------------------------------------------


def naming(record: Record, digest: str | None = None) -> str:
    return f"{record.stream_id}:{record.sequence}:{digest or record.digest.hex()}"


def test_a_stream_that_a_later_one_names_and_that_is_there_is_complete_with_it() -> None:
    first = killed().close()
    second = StreamBuilder(ADOPTER, previous=[naming(first.records[-1])]).turns(1).close()
    reports = check_streams(first.records + second.records)
    assert [(report.verdict, report.absent_streams) for report in reports] == [("complete", [])] * 2


def test_a_named_stream_that_is_absent_is_reported_by_the_one_that_names_it() -> None:
    first = killed().close()
    second = StreamBuilder(ADOPTER, previous=[naming(first.records[-1])]).turns(1).close()
    (report,) = check_streams(second.records)
    assert (report.verdict, report.absent_streams, report.faults) == ("open", [STREAM], [])


def test_a_named_stream_that_only_a_recovery_record_speaks_of_is_absent_too() -> None:
    first = killed()
    second = StreamBuilder(ADOPTER, previous=[naming(first.records[-1])])
    reports = check_streams(second.adopt(first, first=0, last=11).close().records)
    assert [(report.stream_id, report.absent_streams) for report in reports] == [
        (STREAM, []),
        (ADOPTER, [STREAM]),
    ]


def test_a_cut_tail_that_a_later_stream_names_is_missing() -> None:
    first = killed().close()
    second = StreamBuilder(ADOPTER, previous=[naming(first.records[-1])]).close()
    report = orphan_of(first.records[:10] + second.records, settled=False)
    assert (kinds(report), report.missing) == ([("missing", 10)], [(10, 12)])
    assert report.faults[0].message == (
        "records 10 to 12 are missing: a later stream says that all up to record 12 was delivered"
    )


def test_it_is_awaited_while_the_naming_lies_behind_the_first_ends() -> None:
    first = killed().close()
    second = StreamBuilder(ADOPTER, previous=[naming(first.records[-1])]).close()
    cut = first.records[:10]
    assert judged(cut, uncounted=second.records)[0].awaited == [(10, 12)]
    assert kinds(judged(cut, uncounted=second.records, settled=True)[0]) == [("missing", 10)]
    # of two namings the one counts that goes less far
    third = StreamBuilder(THIRD, previous=[naming(first.records[11])]).close()
    report = judged(cut + third.records, uncounted=second.records)[0]
    assert (report.missing, report.awaited) == ([(10, 11)], [(12, 12)])


def test_what_a_journal_had_lost_is_unreadable_at_once_where_a_later_stream_names_its_end() -> None:
    orphan = StreamBuilder().turns(8)
    who = adopter().adopt(orphan, first=4, last=8, unreadable=["0:64-4096"]).close()
    third = StreamBuilder(THIRD, previous=[naming(orphan.records[-1])]).close()
    there = orphan.without(1, 2, 3) + who.records
    assert judged(there, uncounted=third.records)[0].awaited == [(1, 3)]
    assert judged(there + third.records)[0].unreadable == [(1, 3)]


def test_a_part_behind_the_first_ends_declares_no_hole() -> None:
    orphan = killed()
    who = adopter().adopt(orphan, first=6, last=11, without=[8, 9], unreadable=["0:4096-8192"]).close()
    there, second = orphan.without(8, 9) + who.records[:2], who.records[2:]
    assert judged(there, uncounted=second)[0].awaited == [(8, 9)]
    assert judged(there, uncounted=second, settled=True)[0].unreadable == [(8, 9)]
    # a copy of it that lies below them does
    assert judged(there + second[:1], uncounted=second)[0].unreadable == [(8, 9)]


def test_a_withheld_record_that_an_adopter_and_a_checkpoint_list_differently_is_a_contradiction() -> None:
    orphan = StreamBuilder().turns(3)
    orphan.checkpoint(acknowledged=0)
    who = adopter().adopt(forgery(orphan, 3), first=3, last=4)
    said = QuarantineEvent(
        quarantined_stream=STREAM,
        quarantined_sequence=3,
        quarantined_digest=orphan.records[3].digest.hex(),
    )
    who.add(said)
    report = orphan_of(orphan.without(3) + who.close().records)
    assert (kinds(report), report.withheld) == ([("recovery", 3)], [3])


def test_a_last_record_that_is_not_the_named_one_was_changed() -> None:
    first = killed().close()
    second = StreamBuilder(ADOPTER, previous=[naming(first.records[-1], "0" * 64)]).close()
    report = orphan_of(first.records + second.records)
    assert kinds(report) == [("changed", 12)]
    assert f"checkpoint 0 of stream {ADOPTER} lists digest 0000" in report.faults[0].message


def test_a_named_record_that_is_one_of_two_conflicting_ones_is_a_conflict_only() -> None:
    first = killed()
    second = StreamBuilder(ADOPTER, previous=[naming(first.records[-1])]).close()
    forged = rewritten(first.records[-1], prompt_preview="x")
    assert kinds(orphan_of([forged, *first.records, *second.records])) == [("conflict", 11)]


def test_a_naming_proves_the_record_that_it_names() -> None:
    first = killed()
    second = StreamBuilder(ADOPTER, previous=[naming(first.records[-1])]).close()
    report = orphan_of(first.records + second.records)
    assert (report.verdict, report.unproven) == ("open", [(6, 10)])


@pytest.mark.parametrize(
    "text", ["", "x", f"{STREAM}:1", f"{STREAM}:-1:{'0' * 64}", f"{STREAM}:1:{'0' * 63}"]
)
def test_a_malformed_naming_is_a_fault_of_the_stream_that_has_it(text: str) -> None:
    stream = StreamBuilder(ADOPTER, previous=[text]).close()
    (report,) = check_streams(stream.records)
    assert kinds(report) == [("chain", 0)]
    assert "names no record" in report.faults[0].message


# -- the report --------------------------------------------------------------------------------------------


def test_a_report_on_a_recovered_stream_is_json() -> None:
    orphan = killed().turns(4)
    who = adopter().adopt(
        orphan, first=6, last=11, without=[8], unreadable=["0:64-128"], machine_restarted=True
    )
    out = orphan_of(orphan.without(8, 13) + who.close().records).to_dict()
    assert json.loads(json.dumps(out)) == out
    assert (out["unreadable"], out["unaccounted"], out["unproven"]) == (
        [[8, 8]],
        [[13, 13]],
        [[12, 12], [14, 15]],
    )


# -- properties --------------------------------------------------------------------------------------------

plans = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=6)


def ranges_of(numbers: set[int]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if out and out[-1][1] == number - 1:
            out[-1] = (out[-1][0], number)
        else:
            out.append((number, number))
    return out


@settings(max_examples=150, deadline=None)
@given(plans, st.data())
def test_whatever_a_kill_or_a_loss_of_power_leaves_only_what_damage_took_is_a_fault(
    plan: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """A model: what the broker had, what the journal kept of it, and what the report must therefore say."""
    orphan = StreamBuilder()
    arrived: set[int] = set()  # while the process lived; a checkpoint acknowledges what it then knew
    for turns, listed in plan:
        orphan.turns(turns)
        arrived |= data.draw(st.sets(st.integers(0, orphan.next - 1)), label="arrived")
        if listed:
            orphan.checkpoint(acknowledged=next(n for n in range(orphan.next + 1) if n not in arrived))
    last = data.draw(st.integers(0, orphan.next - 1), label="last readable")
    damaged = data.draw(st.sets(st.integers(0, last - 1)) if last else st.just(set()), label="damaged")
    kept = set(range(last + 1)) - damaged
    listed_to = max(
        (
            r.event.first_sequence + len(r.event.entries)
            for r in orphan.records
            if r.sequence in kept and isinstance(r.event, CheckpointEvent)
        ),
        default=0,
    )
    who = adopter().adopt(
        orphan,
        first=min(n for n in kept if n >= listed_to),
        last=last,
        without=damaged,
        part=data.draw(st.integers(1, 4), label="part"),
        unreadable=["0:64-128"] if damaged else [],
        machine_restarted=True,
    )
    there = arrived | kept
    records = [orphan.records[n] for n in sorted(there)] + who.close().records
    report = orphan_of(data.draw(st.permutations(records)))

    absent = set(range(max(there) + 1)) - there
    lost = {n for n in absent if n < last}
    assert ranges_of(lost) == report.unreadable
    assert report.unaccounted == ranges_of(absent - lost)
    assert (report.missing, report.awaited) == ([], [])
    assert {fault.kind for fault in report.faults} == ({"unreadable"} if lost else set())
    listed_numbers = {
        n
        for r in orphan.records
        if r.sequence in there and isinstance(r.event, CheckpointEvent)
        for n in range(r.event.first_sequence, r.event.first_sequence + len(r.event.entries))
    }
    stated = {n for n in kept if n >= listed_to}
    assert report.unproven == ranges_of(there - listed_numbers - stated)
    if not damaged and max(there) == last:
        assert report.verdict == "recovered"
    elif not lost:
        assert report.verdict == "open"


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 12), st.data())
def test_nothing_can_be_done_to_a_recovered_stream_that_leaves_it_recovered(
    turns: int, data: st.DataObject
) -> None:
    orphan = StreamBuilder().turns(3).checkpoint().turns(turns)
    who = adopter().adopt(orphan, first=4, last=orphan.next - 1).close()
    assert orphan_of(orphan.records + who.records).verdict == "recovered"
    target = data.draw(st.sampled_from(orphan.records))
    ways = {
        "delete": orphan.without(target.sequence),
        "edit": orphan.swapped(rewritten(target, agent_id="nobody")),
        "double": [*orphan.records, rewritten(target, agent_id="nobody")],
        "append": [*orphan.records, record_of(TurnStartEvent(timestamp_us=OPENED_US), orphan.next)],
    }
    way = data.draw(st.sampled_from(sorted(ways)))
    report = orphan_of(ways[way] + who.records)
    assert report.verdict == ("open" if way == "append" else "fault"), way
