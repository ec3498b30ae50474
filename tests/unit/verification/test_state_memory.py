"""What an incremental check takes from a state; it comes to the same as one that reads everything."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.events import CheckpointEvent, QuarantineEvent, TurnStartEvent
from auditwire.verification.horizon import Horizon
from auditwire.verification.memory import report_from, text_of_report
from auditwire.verification.outcome import TrailReport
from auditwire.verification.report import Fault, StreamReport
from auditwire.verification.state import LARGE
from support.facts import judged
from support.state_rounds import StateRounds
from support.stream_builder import OPENED_US, STREAM, StreamBuilder, record_of, rewritten

if TYPE_CHECKING:
    from auditwire.reading import Record
    from support.state_rounds import Checked

FIRST, SECOND, THIRD, FOURTH = (f"01920000-0000-7000-8000-00000000000{number}" for number in range(1, 5))


@pytest.fixture
def rounds(tmp_path: Path) -> StateRounds:
    return StateRounds(tmp_path / "state")


def naming(stream: StreamBuilder, sequence: int, *, digest: str | None = None) -> str:
    """A line of ``previous``."""
    return f"{stream.stream_id}:{sequence}:{digest or stream.records[sequence].digest.hex()}"


# -- what is said of streams that were not read yet ---------------------------------------------------------


def test_what_an_opening_checkpoint_says_of_an_earlier_stream_is_not_forgotten(rounds: StateRounds) -> None:
    first = StreamBuilder(FIRST).turns(2)
    second = StreamBuilder(SECOND, previous=[naming(first, 2)]).close()
    assert rounds.check(second.records).reports[0].absent_streams == [FIRST]
    assert rounds.check([]).given == []
    changed = rewritten(first.records[2], agent_id="somebody else")
    report, other = rounds.check(first.swapped(changed)).reports
    assert [(fault.kind, fault.sequence) for fault in report.faults] == [("changed", 2)]
    assert other.absent_streams == []


def test_that_a_stream_whose_end_was_cut_off_before_it_was_read_should_go_on_is_not_forgotten(
    rounds: StateRounds,
) -> None:
    first = StreamBuilder(FIRST).turns(4)
    second = StreamBuilder(SECOND, previous=[naming(first, 4)])
    rounds.check(second.records)
    report, _ = rounds.check(first.records[:3]).reports
    assert report.missing + report.awaited == [(3, 4)]


def test_a_record_that_is_quarantined_before_its_stream_is_read_is_withheld(rounds: StateRounds) -> None:
    first = StreamBuilder(FIRST).turns(3).close()
    second = StreamBuilder(SECOND)
    second.add(
        QuarantineEvent(
            quarantined_stream=FIRST,
            quarantined_sequence=2,
            quarantined_digest=first.records[2].digest.hex(),
        )
    )
    rounds.check(second.records)
    assert rounds.check(first.without(2)).reports[0].withheld == [2]


def test_what_is_said_of_a_stream_behind_all_that_have_a_record_is_not_forgotten(rounds: StateRounds) -> None:
    last = StreamBuilder(FOURTH).turns(2).close()
    first = StreamBuilder(FIRST)
    first.add(
        QuarantineEvent(
            quarantined_stream=FOURTH,
            quarantined_sequence=1,
            quarantined_digest=last.records[1].digest.hex(),
        )
    )
    rounds.check(first.records)
    assert rounds.check(last.without(1)).reports[-1].withheld == [1]


# -- which streams are judged again -------------------------------------------------------------------------


def closed(*stream_ids: str) -> list[Record]:
    return [record for one in stream_ids for record in StreamBuilder(one).turns(2).close().records]


def test_streams_of_which_nothing_new_was_read_are_not_judged_again(rounds: StateRounds) -> None:
    live, others = StreamBuilder(SECOND).turns(1), closed(FIRST, THIRD)
    rounds.check([*others, *live.records])
    assert rounds.check([]).given == []
    seen = live.next
    again = rounds.check(live.turns(2).records[seen:])
    assert again.given == [SECOND]
    assert again.verdicts == {FIRST: "complete", SECOND: "open", THIRD: "complete"}
    assert again.reports == judged([*others, *live.records])


def test_a_stream_that_new_facts_name_is_judged_again(rounds: StateRounds) -> None:
    orphan = StreamBuilder(FIRST).turns(3)
    rounds.check([*orphan.records, *closed(THIRD)])
    adopter = StreamBuilder(SECOND).adopt(orphan, first=0, last=3)
    again = rounds.check(adopter.records)
    assert again.given == [FIRST]
    assert again.verdicts == {FIRST: "recovered", SECOND: "open", THIRD: "complete"}


def test_a_stream_that_misses_an_earlier_one_is_judged_again_when_that_comes(rounds: StateRounds) -> None:
    first = StreamBuilder(FIRST).turns(1).close()
    second = StreamBuilder(SECOND, previous=[naming(first, 2)]).close()
    assert rounds.check([*second.records, *closed(THIRD)]).verdicts == {SECOND: "open", THIRD: "complete"}
    again = rounds.check(first.records)
    assert set(again.given) == {FIRST, SECOND}
    assert again.verdicts == dict.fromkeys((FIRST, SECOND, THIRD), "complete")


def test_a_hole_in_an_adopters_statement_is_judged_again_when_the_adopters_records_are_complete(
    rounds: StateRounds,
) -> None:
    orphan = StreamBuilder(FIRST).turns(5)
    adopter = StreamBuilder(SECOND).turns(1)
    adopter.adopt(orphan, first=0, last=5, without=[3], unreadable=["0:10-20"])
    between = adopter.records[3]  # the second part of the statement, without what stands before it
    present = [*orphan.without(3), *adopter.records[:2], *adopter.records[3:], *closed(THIRD)]
    rounds.check(present)
    adopter.turns(2)
    rest = [adopter.records[2], *adopter.records[-2:]]
    again = rounds.check(rest)
    assert between.event.event_type == "recovery"
    assert set(again.given) >= {FIRST, SECOND}
    assert THIRD not in again.given
    whole = judged([*present, *rest])
    assert again.reports == whole
    assert whole[0].unreadable == [(3, 3)]


def test_what_was_said_above_the_first_ends_counts_in_the_next_check(rounds: StateRounds) -> None:
    orphan, other = StreamBuilder(FIRST).turns(5), closed(THIRD)
    adopter = StreamBuilder(SECOND).adopt(orphan, first=0, last=5, without=[3], unreadable=["0:10-20"])
    rounds.check([*orphan.without(3), *other], uncounted=adopter.records)
    again = rounds.check([])
    assert again.reports == judged([*orphan.without(3), *other, *adopter.records])
    assert again.verdicts == {FIRST: "fault", SECOND: "open", THIRD: "complete"}


def test_what_a_checkpoint_above_the_first_ends_says_of_all_records_counts_in_the_next_check(
    rounds: StateRounds,
) -> None:
    stream = StreamBuilder(FIRST).turns(2).close()
    told = rounds.check(stream.records[:-1], uncounted=stream.records[-1:])
    assert told.reports[0].acknowledged == 0
    assert rounds.check([]).reports == judged(stream.records)
    assert rounds.check([]).given == []


def test_other_settings_let_all_streams_be_judged_again(rounds: StateRounds) -> None:
    stream = StreamBuilder(FIRST).turns(5).checkpoint(acknowledged=0)
    rounds.check([*stream.without(2), *closed(SECOND)])
    assert rounds.check([]).verdicts == {FIRST: "open", SECOND: "complete"}
    again = rounds.check([], settled=True)
    assert again.given == [FIRST, SECOND]
    assert again.verdicts == {FIRST: "fault", SECOND: "complete"}


def test_another_version_lets_all_streams_be_judged_again(
    rounds: StateRounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds.check(closed(FIRST, SECOND))
    monkeypatch.setattr("auditwire.verification.memory.__version__", "999.0")
    assert rounds.check([]).given == [FIRST, SECOND]
    assert rounds.check([]).given == []


# -- streams at fault ---------------------------------------------------------------------------------------


def after_close(stream: StreamBuilder) -> Record:
    return record_of(TurnStartEvent(timestamp_us=OPENED_US), stream.next, stream.stream_id)


@pytest.mark.parametrize("changed_only", [False, True])
def test_a_stream_at_fault_is_told_once_by_every_check(rounds: StateRounds, *, changed_only: bool) -> None:
    stream = StreamBuilder(SECOND).turns(1).close()
    rounds.check([*stream.records, *closed(FIRST, THIRD)])
    late = after_close(stream)
    told = rounds.check([late], changed_only=changed_only)
    assert told.verdicts[SECOND] == "fault"
    for records in ([], [late]):  # and when more comes of it, too
        again = rounds.check(records, changed_only=changed_only)
        at_fault = [report for report in again.reports if report.verdict == "fault"]
        assert at_fault == [report for report in told.reports if report.verdict == "fault"]
        assert again.out.verdicts == {"complete": 2, "fault": 1}
        assert again.out.faults == {"after_close": 1}


# -- what is handed out, and what is counted ----------------------------------------------------------------


def test_a_check_that_asks_for_changes_gets_what_was_judged_and_counts_the_rest(rounds: StateRounds) -> None:
    live, others = StreamBuilder(SECOND).turns(1), closed(FIRST, THIRD)
    rounds.check([*others, *live.records])
    seen = live.next
    told = rounds.check(live.turns(1).records[seen:], changed_only=True)
    assert told.verdicts == {SECOND: "open"}
    whole = TrailReport(prefix="audit")
    for report in judged([*others, *live.records]):
        whole.add(report)
    assert told.out == whole


def test_what_streams_count_for_follows_what_is_asked(rounds: StateRounds) -> None:
    stream = StreamBuilder(FIRST).turns(2).checkpoint().turns(1)
    rounds.check(stream.records)
    for sealed, standings in ((False, {"open": 1}), (True, {"proven": 1})):
        assert rounds.check([], changed_only=True, sealed=sealed).out.standings == standings


def test_streams_come_in_the_order_of_their_ids_with_others_among_them(rounds: StateRounds) -> None:
    names = [FOURTH, "zebra", SECOND, "ant", FIRST, THIRD]
    rounds.check(closed(*names))
    late = [after_close(StreamBuilder(name).turns(2).close()) for name in (FIRST, FOURTH, "ant")]
    ids = [report.stream_id for report in rounds.check(late).reports]
    assert [name for name in ids if name.startswith("0192")] == [FIRST, SECOND, THIRD, FOURTH]
    assert sorted(ids) == sorted(names)


def test_numbers_that_are_too_large_for_a_sum_are_counted_all_the_same(rounds: StateRounds) -> None:
    far, later = 2**62, Horizon(OPENED_US)  # in milliseconds: long after the records
    streams = [StreamBuilder(name) for name in (FIRST, SECOND, THIRD)]
    last = StreamBuilder(FOURTH, previous=[naming(one, far, digest="0" * 64) for one in streams])
    rounds.check([record for stream in (*streams, last) for record in stream.records], horizon=later)
    told = rounds.check([], changed_only=True, horizon=later)
    assert told.given == []
    assert told.out.removed == 3 * far > 2**63 > LARGE
    assert told.out.streams == 4


def test_services_of_streams_that_are_not_judged_again_are_known(tmp_path: Path) -> None:
    from auditwire.verification.memory import Memory
    from auditwire.verification.state import State

    rounds = StateRounds(tmp_path / "state")
    rounds.check(closed(FIRST))
    with State(rounds.path, prefix="audit") as state:
        state.select([])
        assert Memory(state, incremental=True).services() == {"svc"}
        assert Memory(state, incremental=False).services() == set()


def test_a_known_stream_that_retention_has_removed_is_forgotten(rounds: StateRounds) -> None:
    rounds.check(closed(FIRST))
    rest = closed(SECOND)
    later = Horizon(OPENED_US)
    assert rounds.check(rest, incremental=False).out.faults == {"vanished": 1}
    told = rounds.check(rest, incremental=False, horizon=later)
    assert (told.verdicts, told.forgotten) == ({SECOND: "complete"}, 1)
    assert rounds.check(rest, incremental=False).verdicts == {SECOND: "complete"}


# -- the text of a report -----------------------------------------------------------------------------------


def test_a_report_is_kept_in_few_bytes_and_comes_back_as_it_was() -> None:
    report = StreamReport(stream_id=STREAM, verdict="complete", records=3, last_sequence=2, removed=[(0, 1)])
    assert report_from(text_of_report(report)) == report
    assert len(text_of_report(report)) < 150
    report.add_fault(Fault(kind="missing", sequence=1, message="gone", topic="t", partition=0, offset=2))
    assert report_from(text_of_report(report)) == report


def test_a_state_does_not_grow_by_checks_that_read_nothing(rounds: StateRounds) -> None:
    rounds.check(closed(FIRST, SECOND))
    size = rounds.path.stat().st_size
    for _ in range(3):
        rounds.check([])
    assert rounds.path.stat().st_size == size
    with closing(sqlite3.connect(rounds.path)) as database:
        assert database.execute("SELECT count(*) FROM judged").fetchone() == (2,)


# -- any trail, in any rounds -------------------------------------------------------------------------------


Name = tuple[str, int]
"""Stream and sequence of a record."""


def vouched(record: Record) -> set[Name]:
    """What the broker had before a record was written, as the record itself says."""
    if not isinstance(record.event, CheckpointEvent):
        return set()
    said = {(record.stream_id, number) for number in range(record.event.acknowledged)}
    for text in record.event.previous:
        stream_id, last, _ = text.split(":")
        said |= {(stream_id, number) for number in range(int(last) + 1)}
    return said


def arrivals(records: list[Record], before: dict[Name, set[Name]], data: st.DataObject) -> list[Record]:
    """The records in an order in which they can be read.

    Args:
        records: All of them.
        before: Record -> what the broker had before it.
        data: Draws.
    """
    order: list[Record] = []
    coming = {(record.stream_id, record.sequence) for record in records}
    waiting = list(data.draw(st.permutations(records), label="order"))
    while waiting:
        ready = next(r for r in waiting if not before[r.stream_id, r.sequence] & coming)
        waiting = [record for record in waiting if record is not ready]
        order.append(ready)
        coming.discard((ready.stream_id, ready.sequence))
    return order


def some_trail(data: st.DataObject) -> list[Record]:
    """A process that is killed, who adopts its journal, a stream that names both, and one of its own.

    In an order in which it can be read; one record may never come.
    """
    draw = data.draw
    listed, unlisted = draw(st.integers(0, 3), label="listed"), draw(st.integers(1, 5), label="unlisted")
    orphan = StreamBuilder(FIRST).turns(listed)
    orphan.checkpoint(acknowledged=draw(st.integers(0, listed + 1), label="acknowledged")).turns(unlisted)
    last = draw(st.integers(listed + 2, orphan.next - 1), label="last readable")
    between = range(listed + 2, last)
    damaged = draw(st.sets(st.sampled_from(between)) if between else st.just(set()), label="damaged")
    adopter = StreamBuilder(SECOND).turns(draw(st.integers(0, 1)))
    adopter.adopt(
        orphan,
        first=listed + 1,
        last=last,
        without=damaged,
        part=draw(st.integers(1, 3), label="part"),
        unreadable=["0:10-20"] if damaged else [],
    )
    if draw(st.booleans(), label="adopter closed"):
        adopter.close()
    later = StreamBuilder(THIRD, previous=[naming(orphan, last), naming(adopter, adopter.next - 1)]).turns(1)
    other = StreamBuilder(FOURTH).turns(draw(st.integers(0, 3))).checkpoint().close()
    records = [*orphan.records, *adopter.records, *later.records, *other.records]
    if draw(st.booleans(), label="forged"):
        records.append(after_close(other))
    before = {(r.stream_id, r.sequence): vouched(r) for r in records}
    sure = set().union(*before.values())
    never = [r for r in records if (r.stream_id, r.sequence) not in sure]
    gone = draw(st.sampled_from([None, *never]), label="never comes")
    for record in adopter.records:
        if record.event.event_type == "recovery":  # all of the killed process that was on its way has arrived
            before[record.stream_id, record.sequence] |= {(FIRST, number) for number in damaged}
    return arrivals([record for record in records if record is not gone], before, data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_trail_in_any_rounds_is_judged_as_in_one(data: st.DataObject) -> None:
    order = some_trail(data)
    ends = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4), label="rounds"))
    with tempfile.TemporaryDirectory() as directory:
        rounds = StateRounds(Path(directory, "state"))
        for start, end in zip([0, *ends], [*ends, len(order)], strict=True):
            changed_only = data.draw(st.booleans(), label="changed only")
            first_end = data.draw(st.integers(start, end), label="first end")
            above = order[first_end:end]
            told = rounds.check(order[start:first_end], uncounted=above, changed_only=changed_only)
            compare(told, judged(order[:first_end], uncounted=above), changed_only=changed_only)
        compare(rounds.check([]), judged(order), changed_only=False)


def compare(told: Checked, whole: list[StreamReport], *, changed_only: bool) -> None:
    """A round's reports and counts with those of a check of all that was read so far."""
    expected = {report.stream_id: report for report in whole}
    found = {report.stream_id: report for report in told.reports}
    assert len(found) == len(told.reports)
    assert changed_only or found.keys() == expected.keys()
    for stream_id, report in found.items():
        assert report.verdict == expected[stream_id].verdict
        if report.verdict != "fault":  # of one at fault the report stays what it was when that was found
            assert report == expected[stream_id]
    out = TrailReport(prefix="audit")
    for report in whole:
        out.add(report)
    assert (told.out.verdicts, told.out.standings) == (out.verdicts, out.standings)
    if not out.faults:
        assert told.out == out
