from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.events import ErrorEvent
from auditwire.sessions import SessionBuilder, Trail, judge_trail
from auditwire.verification import check_streams
from support.stream_builder import StreamBuilder
from support.told import ID, OTHER_STREAM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditwire.reading import Record


def stream(stream_id: str | None = None, events: int = 3) -> StreamBuilder:
    builder = StreamBuilder() if stream_id is None else StreamBuilder(stream_id)
    for _ in range(events):
        builder.add(ErrorEvent(session_id=ID))
    return builder


def trail_of(records: Iterable[Record], *, check: bool = True) -> Trail:
    records = list(records)
    builder = SessionBuilder(ID)
    for record in records:
        builder.add(record)
    session = builder.build()
    assert session is not None
    return judge_trail(session, check_streams(records) if check else None)


def test_closed_streams_without_a_fault_make_a_complete_session() -> None:
    trail = trail_of([*stream().close().records, *stream(OTHER_STREAM).close().records])
    assert trail.standing == "complete"
    assert trail.sentence == (
        "Complete: the session is 6 records in 2 streams, and no record of these streams is missing or "
        "changed."
    )
    assert [s.sentence for s in trail.streams] == [
        "is closed, and all its 5 records are there and unchanged"
    ] * 2
    assert [(s.standing, s.service, s.sealed, s.gaps) for s in trail.streams] == [
        ("complete", "svc", True, [])
    ] * 2


def test_an_open_stream_whose_checkpoints_cover_the_session_is_complete_so_far() -> None:
    trail = trail_of(stream().checkpoint().records)
    assert (trail.standing, trail.streams[0].sealed) == ("open", True)
    assert trail.sentence.startswith("Complete so far: the session is 3 records in 1 stream, ")
    assert "(records 1 to 3)" in trail.streams[0].sentence


def test_an_open_stream_whose_end_is_not_sealed_is_not_proven_to_the_end() -> None:
    builder = stream().checkpoint()
    builder.add(ErrorEvent(session_id=ID))
    trail = trail_of(builder.records)
    assert (trail.standing, trail.streams[0].sealed) == ("open", False)
    assert trail.sentence.startswith("Nothing is wrong, and it is not proven to the end")
    assert "listed up to record 3, the session goes on to 5" in trail.streams[0].sentence


def test_a_stream_of_which_no_checkpoint_is_there_says_no_number() -> None:
    trail = trail_of(stream().records[1:])
    assert (trail.streams[0].standing, trail.streams[0].sealed) == ("open", False)
    assert "listed up to" not in trail.streams[0].sentence
    assert trail.streams[0].gaps == [(0, 0, "not arrived yet")]


def test_a_record_that_is_missing_is_a_gap_and_a_fault() -> None:
    trail = trail_of([*stream().close().without(2), *stream(OTHER_STREAM).close().records])
    assert trail.standing == "fault"
    assert trail.sentence == (
        "The trail is at fault: 1 of 2 streams that hold this session has faults. What is shown here may be "
        "incomplete or altered."
    )
    bad = trail.streams[0]
    assert (bad.gaps, bad.faults_total, bad.sentence) == ([(2, 2, "missing")], 1, "has 1 fault")
    assert bad.faults == ["record 2 is missing: a checkpoint says that the broker had them"]


def test_the_fault_of_the_only_stream_is_said_so() -> None:
    trail = trail_of(stream().close().without(2))
    assert "the stream that holds this session has faults" in trail.sentence


def test_a_fault_names_the_place_of_a_record_that_is_there() -> None:
    builder = stream().close()
    builder.records[2].key = b"another"
    (fault,) = trail_of(builder.records).streams[0].faults
    assert fault.endswith("(audit.error [2] @ 102)")


def test_a_recovered_stream_is_complete_as_far_as_its_process_came() -> None:
    orphan = stream()
    adopter = StreamBuilder(OTHER_STREAM).adopt(orphan, first=0, last=3).close()
    trail = trail_of([*orphan.records, *adopter.records])
    assert trail.standing == "recovered"
    assert "up to record 3" in trail.streams[0].sentence
    assert trail.sentence.startswith("Complete as far as its processes came")


def test_without_a_check_nothing_is_known() -> None:
    trail = trail_of(stream().close().records, check=False)
    assert (trail.standing, trail.streams[0].sentence) == ("unchecked", "was not checked")
    assert trail.sentence.startswith("Not checked: the session is 3 records in 1 stream")


def test_a_stream_of_which_the_check_says_nothing_is_unchecked() -> None:
    builder = SessionBuilder(ID)
    for record in stream().records:
        builder.add(record)
    session = builder.build()
    assert session is not None
    assert judge_trail(session, []).standing == "unchecked"


def test_ranges_that_a_report_leaves_out_may_hold_the_session() -> None:
    records = stream().checkpoint().records
    builder = SessionBuilder(ID)
    for record in records:
        builder.add(record)
    session = builder.build()
    assert session is not None
    (report,) = check_streams(records)
    assert judge_trail(session, [report]).streams[0].sealed
    report.counts["unproven"] = 5_000
    assert not judge_trail(session, [report]).streams[0].sealed


def test_notes_on_the_trail_are_kept() -> None:
    records = stream().records
    builder = SessionBuilder(ID)
    builder.add(records[1])
    session = builder.build()
    assert session is not None
    trail = judge_trail(session, check_streams(records), notes=["a note"])
    assert trail.to_dict()["notes"] == ["a note"]


def test_the_dictionary_has_the_share_beside_the_verdict() -> None:
    out = trail_of(stream().close().without(2)).to_dict()
    (first,) = out["streams"]
    assert (out["verdict"], first["verdict"], first["session_records"]) == ("fault", "fault", 2)
    assert first["gaps"] == [{"first": 2, "last": 2, "what": "missing"}]
