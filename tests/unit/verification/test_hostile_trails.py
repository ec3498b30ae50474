"""Records that no producer of ours writes: bounded time and memory, a fault or a note, never an exception."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.events import CheckpointEvent, LossEvent, QuarantineEvent, RecoveryEvent, TurnStartEvent
from auditwire.stream import pack_entry
from auditwire.verification import StreamReport, cursors, listers, statements
from auditwire.verification.cursors import MOST_VARIANTS
from support.facts import judged
from support.stream_builder import OPENED_US, STREAM, StreamBuilder, record_of, rewritten

if TYPE_CHECKING:
    from auditwire.reading import Record

OTHER = "01920000-0000-7000-8000-000000000002"
ENTRY = pack_entry(0, bytes(32))
TYPE = "turn_start:0000000000000000"
TOP = 2**63 - 1


def kinds(report: StreamReport) -> list[tuple[str, int]]:
    return [(fault.kind, fault.sequence) for fault in report.faults]


def one(reports: list[StreamReport]) -> StreamReport:
    (report,) = reports
    return report


def checkpoint(sequence: int, stream_id: str = STREAM, **values: Any) -> Record:
    values = {"reason": "interval", "types": [TYPE], "timestamp_us": OPENED_US, **values}
    return at(record_of(CheckpointEvent(**values), sequence, stream_id))


def at(record: Record, offset: int = 7) -> Record:
    """The record at an offset that Kafka has; the builder's follow the sequence."""
    return replace(record, offset=offset)


def opened(*records: Record) -> list[Record]:
    return [*StreamBuilder().records, *records]


# -- numbers ------------------------------------------------------------------------------------------------


def test_a_checkpoint_at_the_highest_number_that_lists_the_one_before_it() -> None:
    report = one(
        judged(opened(checkpoint(TOP, first_sequence=TOP - 2, entries=[ENTRY] * 2, acknowledged=TOP)))
    )
    assert report.missing == [(1, TOP - 1)]
    assert kinds(report) == [("missing", 1), ("chain", TOP)]
    assert report.listed_to == TOP - 1


@pytest.mark.parametrize("first", [-(2**63), -5, 0, 4, 2**62, TOP])
def test_a_checkpoint_that_begins_anywhere(first: int) -> None:
    report = one(judged(opened(checkpoint(5, first_sequence=first, entries=[ENTRY] * 3, acknowledged=TOP))))
    assert report.acknowledged == 5
    assert report.verdict == "fault"


@pytest.mark.parametrize("number", [-(2**63), -1, 5, 2**62, TOP])
def test_a_quarantine_of_any_number(number: int) -> None:
    stream = StreamBuilder()
    stream.add(
        QuarantineEvent(quarantined_stream=STREAM, quarantined_sequence=number, quarantined_digest="?")
    )
    report = one(judged(stream.close().records))
    assert (report.withheld, kinds(report)) == ([], [] if number < 0 else [("quarantine", number)])
    report = one(judged(stream.records[:2]))
    assert (report.withheld, kinds(report)) == ([] if number < 0 else [number], [])


@pytest.mark.parametrize("number", ["0", "5", str(TOP), "9" * 19])
def test_a_naming_of_any_number(number: str) -> None:
    named = StreamBuilder().turns(2)
    second = StreamBuilder(OTHER, previous=[f"{STREAM}:{number}:{'0' * 64}"]).close()
    report, naming = judged(named.records, uncounted=second.records)
    last = int(number)
    if last > TOP:  # no record can have it
        assert (report.awaited, kinds(naming)) == ([], [("chain", 0)])
        return
    assert report.awaited == ([(3, last)] if last > 2 else [])
    assert naming.verdict == "complete"
    report, _ = judged(named.records + second.records)
    assert report.missing == ([(3, last)] if last > 2 else [])


def test_losses_of_any_number_are_added_up() -> None:
    stream = StreamBuilder()
    for count in (-5, 2**62, 0):
        stream.add(LossEvent(count=count, reason="x" * 1_000))
    assert one(judged(stream.records)).declared_lost == 2**62 - 5


# -- many of one thing --------------------------------------------------------------------------------------


def test_thousands_of_different_records_with_one_number_are_counted_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("auditwire.verification.runs._ROWS_READ", 1_000)
    stream = StreamBuilder().turns(3).close()
    forged = [rewritten(stream.records[2], agent_id=str(number)) for number in range(6_000)]
    again = [replace(record, offset=5) for record in forged[:100]]
    report = one(judged([*stream.records, *forged, *again]))
    assert report.records == 5
    assert report.faults_total == 1_000, "999 others of the first 1,000, and how many there are"
    assert report.duplicates == 100
    assert report.faults[0].message == "record 2 is there in 6001 ways, each different"


def test_thousands_of_copies_of_one_record_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditwire.verification.runs._ROWS_READ", 1_000)
    monkeypatch.setattr(cursors, "_THIN", 100)
    stream = StreamBuilder().turns(3).close()
    copies = [replace(stream.records[2], offset=1_000 + number) for number in range(3_000)]
    report = one(judged([*stream.records, *copies]))
    assert (report.verdict, report.duplicates, report.records) == ("complete", 3_000, 5)


@pytest.mark.parametrize("at_a_time", [7, 50, 65_536])
def test_how_many_different_records_there_are_does_not_depend_on_what_is_read_at_a_time(
    monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr("auditwire.verification.runs._ROWS_READ", at_a_time)
    monkeypatch.setattr("auditwire.verification.runs._LEAST_ROWS", 1)
    monkeypatch.setattr(cursors, "_THIN", 20)
    monkeypatch.setattr(cursors, "MOST_VARIANTS", 5)
    stream = StreamBuilder().turns(3)
    forged = [rewritten(stream.records[2], agent_id=str(number)) for number in range(200)]
    copies = [replace(record, offset=5 + n) for record in forged for n in range(3)]
    report = one(judged([*stream.records, *copies]))
    assert report.duplicates == 400
    assert report.faults[0].message == "record 2 is there in 201 ways, each different"


def test_a_record_that_more_checkpoints_list_than_are_looked_at_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listers, "MOST_BLOCKS", 3)
    many = [
        checkpoint(10 + n, first_sequence=0, entries=[pack_entry(0, bytes([n]) * 32)] * 2) for n in range(6)
    ]
    report = one(judged(opened(*many)))
    assert ("chain", 0) in kinds(report)
    assert "more than 3 checkpoints or recovery records list record 0" in {f.message for f in report.faults}


def test_more_recovery_records_than_are_looked_at_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "MOST_STATEMENTS", 5)
    orphan, who = StreamBuilder().turns(2), StreamBuilder(OTHER)
    for _ in range(9):
        who.adopt(orphan, first=0, last=2)
    report, _ = judged(orphan.records + who.close().records)
    assert (kinds(report), report.recoveries) == ([("recovery", 0)], 5)
    assert "more than 5 recovery records speak of the stream" in report.faults[0].message


def test_recovery_records_that_list_a_stream_in_as_many_ways_are_faults_up_to_a_limit() -> None:
    who = StreamBuilder(OTHER)
    for number in range(1_300):
        entry = pack_entry(0, number.to_bytes(32, "big"))
        who.add(RecoveryEvent(orphan_stream=STREAM, last_sequence=0, entries=[entry], types=[TYPE]))
    report, _ = judged(who.records)
    assert report.faults_total == 1_001
    assert kinds(report)[0] == ("chain", 0)


def test_texts_of_unreadable_bytes_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "_MOST_UNREADABLE", 3)
    who = StreamBuilder(OTHER)
    texts = [f"{n}:{'x' * 500}" for n in (5, 1, 3, 2, 4, 1)]
    who.add(RecoveryEvent(orphan_stream=STREAM, last_sequence=0, unreadable=texts))
    report, _ = judged(who.records, settled=True)
    assert report.unreadable == [(0, 0)]
    assert all(f"{n}:xxx" in report.faults[0].message for n in (1, 2, 3))
    assert len(report.faults[0].message) < 1_000


def test_a_checkpoint_that_names_thousands_of_streams_notes_the_first_thousand_that_are_absent() -> None:
    ids = [f"01920000-0000-7000-8000-{number:012d}" for number in range(100, 1_400)]
    stream = StreamBuilder(previous=[f"{name}:1:{'0' * 64}" for name in ids])
    (report,) = judged(stream.records)
    assert report.absent_streams == ids[:1_000]


def test_entries_that_are_no_entries_are_one_fault_however_many_they_are() -> None:
    report = one(judged(opened(checkpoint(1, first_sequence=0, entries=["?"] * 100_000))))
    assert kinds(report) == [("chain", 1)]
    assert "is malformed: not an entry of a checkpoint: '?'" in report.faults[0].message


def test_a_billion_records_that_a_statement_speaks_of_cost_nothing() -> None:
    who = StreamBuilder(OTHER)
    for first in range(0, 2_000_000_000, 100_000_000):
        who.add(
            RecoveryEvent(
                orphan_stream=STREAM, first_sequence=first, last_sequence=TOP, entries=[ENTRY], types=[TYPE]
            )
        )
    report, _ = judged(who.close().records)
    assert report.counts["unreadable"] == 1_900_000_000 - 19
    assert report.awaited[-1] == (1_900_000_000, TOP)


def test_memory_does_not_grow_with_the_checkpoints_of_a_stream() -> None:
    peaks = []
    for count in (500, 4_000):
        records = [checkpoint(n + 1, first_sequence=n, entries=[ENTRY]) for n in range(count)]
        tracemalloc.start()
        judged(opened(*records), memory=64 << 10)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5 + 1_000_000


# -- texts --------------------------------------------------------------------------------------------------


def test_a_trail_of_ids_that_are_no_uuids_has_a_report_for_each() -> None:
    ids = ["", "x", "\U0001f4a3", "x" * 10_000, "01920000-0000-F000-8000-000000000001", "a/b:c\n"]
    records = [record for name in ids for record in StreamBuilder(name).turns(1).close().records]
    for shards in (1, 3):
        reports = judged(records, memory=128, shards=shards)
        assert [report.stream_id for report in reports] == sorted(ids)
        assert {report.verdict for report in reports} == {"complete"}


def test_statements_about_streams_whose_ids_are_no_uuids_find_them() -> None:
    orphan = StreamBuilder("orphan").turns(2)
    last = orphan.records[-1]
    who = StreamBuilder("adopter", previous=[f"orphan:{last.sequence}:{last.digest.hex()}"])
    reports = judged(orphan.records + who.adopt(orphan, first=0, last=2).close().records)
    assert [(report.stream_id, report.verdict) for report in reports] == [
        ("adopter", "complete"),
        ("orphan", "recovered"),
    ]


# -- anything -----------------------------------------------------------------------------------------------

anything = st.text(max_size=8) | st.sampled_from([ENTRY, f"{STREAM}:1:{'0' * 64}", STREAM, OTHER, TYPE])
texts = st.lists(anything, max_size=4)
numbers = st.integers(-(2**63), TOP) | st.integers(-3, 12)
places = st.integers(0, 12) | st.integers(0, TOP)
checkpoints = st.builds(
    CheckpointEvent,
    reason=st.sampled_from(["open", "interval", "close", "?"]),
    resource=anything,
    acknowledged=numbers,
    first_sequence=numbers,
    entries=texts,
    types=texts,
    previous=texts,
    timestamp_us=st.integers(-(2**40), 2**51),
)
recoveries = st.builds(
    RecoveryEvent,
    orphan_stream=anything,
    last_sequence=numbers,
    first_sequence=numbers,
    entries=texts,
    types=texts,
    unreadable=texts,
    machine_restarted=st.booleans(),
)
quarantines = st.builds(
    QuarantineEvent, quarantined_stream=anything, quarantined_sequence=numbers, quarantined_digest=anything
)
losses = st.builds(LossEvent, count=numbers, reason=anything)
events = checkpoints | recoveries | quarantines | losses | st.builds(TurnStartEvent)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(events, places, st.sampled_from([STREAM, OTHER, ""])), max_size=8), st.booleans())
def test_whatever_the_records_say_there_are_reports_and_no_exception(
    trail: list[tuple[Any, int, str]], settled: bool
) -> None:
    records = [at(record_of(event, number, name), n) for n, (event, number, name) in enumerate(trail)]
    reports = judged(records, settled=settled)
    assert {report.stream_id for report in reports} >= {record.stream_id for record in records}
    assert reports == judged(records[::-1], settled=settled, memory=128, shards=2)
    for report in reports:
        assert report.to_dict()
        assert (report.verdict == "fault") == bool(report.faults)
    assert MOST_VARIANTS == 1_000
