"""One judgement, whatever the order, the memory, the number of writers and of shards."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.events import CheckpointEvent, LossEvent, QuarantineEvent, TurnStartEvent
from auditwire.verification import FactWriter, Horizon, StreamReport, judge
from auditwire.verification.report import KEPT, Fault
from support.facts import Rounds, judged
from support.stream_builder import OPENED_US, STREAM, StreamBuilder, record_of, rewritten

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from auditwire.reading import Record

STREAMS = [f"01920000-0000-7000-8000-00000000000{n}" for n in range(1, 6)]
ADOPTER = STREAMS[1]


def kinds(report: StreamReport) -> list[tuple[str, int]]:
    return [(fault.kind, fault.sequence) for fault in report.faults]


def one(reports: list[StreamReport]) -> StreamReport:
    (report,) = reports
    return report


# -- what does not matter -----------------------------------------------------------------------------------


def tampered_trail(rng: random.Random) -> list[Record]:
    """A few streams that speak of each other, with a few things done to them."""
    first = StreamBuilder(STREAMS[0])
    for _ in range(rng.randint(1, 4)):
        first.turns(rng.randint(0, 8)).checkpoint(acknowledged=rng.choice([None, rng.randint(0, first.next)]))
    if rng.random() < 0.5:
        first.close()
    records = list(first.records)
    for name in STREAMS[1 : rng.randint(1, 4)]:
        named = rng.choice(first.records)
        other = StreamBuilder(name, previous=[f"{STREAMS[0]}:{named.sequence}:{named.digest.hex()}"])
        start = rng.randint(0, first.next - 1)
        end = rng.randint(start, first.next - 1)
        holes = {n for n in range(start, end) if rng.random() < 0.2}
        other.adopt(first, first=start, last=end, without=holes, part=rng.randint(1, 4))
        gone = rng.choice(first.records)
        other.add(
            QuarantineEvent(
                quarantined_stream=STREAMS[0],
                quarantined_sequence=gone.sequence,
                quarantined_digest=gone.digest.hex(),
            )
        )
        other.add(LossEvent(count=2, reason="full"))
        records += other.close().records
    for _ in range(rng.randint(0, 4)):
        at = rng.randrange(len(records))
        record = records[at]
        match rng.randrange(6):
            case 0:
                del records[at]
            case 1:
                records.append(replace(record, offset=1_000 + at, timestamp_ms=5))
            case 2:
                records[at] = rewritten(record, agent_id="x")
            case 3:
                records.append(replace(rewritten(record, agent_id="y"), offset=2_000))
            case 4:
                records[at] = replace(record, key=b"x")
            case _:
                records.append(record_of(TurnStartEvent(timestamp_us=OPENED_US), 40, STREAMS[4]))
    return records


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([1, 128 * 3, 128 * 20]),
    st.integers(1, 3),
    st.integers(1, 4),
    st.booleans(),
)
def test_order_memory_writers_and_shards_do_not_matter(
    seed: int, memory: int, writers: int, shards: int, settled: bool
) -> None:
    rng = random.Random(seed)
    records = tampered_trail(rng)
    horizon = rng.choice([None, Horizon(OPENED_US // 1_000 + rng.randint(0, 20))])
    reports = judged(records, settled=settled, horizon=horizon)
    rng.shuffle(records)
    assert reports == judged(
        records, memory=memory, writers=writers, shards=shards, settled=settled, horizon=horizon
    )


def test_every_stream_is_in_one_shard() -> None:
    records = [r for n in range(20) for r in StreamBuilder(f"{STREAM[:-2]}{n:02d}").turns(1).records]
    for shards in range(1, 5):
        assert [r.stream_id for r in judged(records, shards=shards)] == sorted({r.stream_id for r in records})


def test_a_stream_whose_records_are_merged_piece_by_piece_is_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("auditwire.verification.runs._ROWS_READ", 8)
    monkeypatch.setattr("auditwire.verification.runs._LEAST_ROWS", 1)
    stream = StreamBuilder()
    for _ in range(5):
        stream.turns(50).checkpoint()
    records = stream.close().records * 2
    random.Random(1).shuffle(records)
    report = one(judged(records, memory=128 * 40))
    assert (report.verdict, report.records, report.duplicates) == ("complete", 257, 257)


# -- acknowledged -------------------------------------------------------------------------------------------


def test_what_a_checkpoint_above_the_first_ends_says_was_acknowledged_does_not_count() -> None:
    stream = StreamBuilder().turns(5).checkpoint()
    *records, checkpoint = stream.without(3)
    report = one(judged(records, uncounted=[checkpoint]))
    assert (report.acknowledged, report.awaited, report.faults, report.verdict) == (0, [(3, 3)], [], "open")
    assert report.sealed_to == 5, "what it lists counts"


def test_an_acknowledged_below_zero_is_none() -> None:
    event = CheckpointEvent(reason="open", acknowledged=-5, timestamp_us=OPENED_US)
    assert one(judged([record_of(event, 0)])).acknowledged == 0


# -- what a state file knows --------------------------------------------------------------------------------


def with_memory(
    tmp_path: Path,
    records: list[Record],
    known: Record,
    *,
    digest: bytes | None = None,
    horizon: Horizon | None = None,
) -> list[StreamReport]:
    with FactWriter(tmp_path) as writer, FactWriter(tmp_path) as state:
        for record in records:
            writer.add_record(record)
        state.add_remembered(
            known.stream_id, known.sequence, digest or known.digest, known.timestamp_ms, closed=False
        )
    return list(judge([*writer.close(), *state.close()], horizon=horizon))


def test_a_stream_that_is_as_the_state_knows_it_is_complete(tmp_path: Path) -> None:
    stream = StreamBuilder().turns(4).close()
    for known in stream.records:
        assert one(with_memory(tmp_path, stream.records, known)).verdict == "complete"


def test_a_stream_that_is_gone_has_vanished(tmp_path: Path) -> None:
    stream = StreamBuilder().turns(4)
    report = one(with_memory(tmp_path, [], stream.records[4]))
    assert (kinds(report), report.missing, report.records) == ([("vanished", 0)], [(0, 4)], 0)
    assert report.faults[0].expected == stream.records[4].digest.hex()


def test_a_stream_that_ends_before_the_known_record_has_shrunk(tmp_path: Path) -> None:
    stream = StreamBuilder().turns(6)
    report = one(with_memory(tmp_path, stream.records[:3], stream.records[5]))
    assert (kinds(report), report.missing) == ([("shrunk", 5)], [(3, 5)])


def test_a_closed_stream_of_which_the_end_is_gone_has_shrunk(tmp_path: Path) -> None:
    stream = StreamBuilder().turns(6).close()
    forged = StreamBuilder().turns(2).close()
    report = one(with_memory(tmp_path, forged.records, stream.records[7]))
    assert kinds(report) == [("shrunk", 7)]


def test_a_known_record_that_is_absent_between_others_has_shrunk_the_stream(tmp_path: Path) -> None:
    stream = StreamBuilder().turns(6)
    report = one(with_memory(tmp_path, stream.without(5), stream.records[5]))
    assert (kinds(report), report.awaited) == ([("shrunk", 5)], [(5, 5)])


def test_a_known_record_that_is_another_now_was_changed(tmp_path: Path) -> None:
    stream = StreamBuilder().turns(6)
    edited = rewritten(stream.records[5], agent_id="x")
    report = one(with_memory(tmp_path, stream.swapped(edited), stream.records[5]))
    assert kinds(report) == [("changed", 5)]
    assert "the state of an earlier check lists digest" in report.faults[0].message
    both = one(with_memory(tmp_path, [*stream.records, edited], stream.records[5]))
    assert kinds(both) == [("conflict", 5)]


def test_what_the_state_knows_is_excused_when_its_last_record_is_older_than_the_horizon(
    tmp_path: Path,
) -> None:
    stream = StreamBuilder("an id without a time").turns(4)
    known = stream.records[4]
    horizon = Horizon(known.timestamp_ms + 1)
    report = one(with_memory(tmp_path, [], known, horizon=horizon))
    assert (report.verdict, report.removed, report.faults, report.records) == ("open", [(0, 4)], [], 0)
    report = one(with_memory(tmp_path, stream.records[:2], known, horizon=horizon))
    assert (report.verdict, report.removed, report.faults) == ("open", [(2, 4)], [])
    younger = Horizon(known.timestamp_ms)
    assert kinds(one(with_memory(tmp_path, [], known, horizon=younger))) == [("vanished", 0)]
    later = [rewritten(stream.records[0], timestamp_us=(known.timestamp_ms + 1) * 1_000)]
    assert kinds(one(with_memory(tmp_path, later, known, horizon=horizon))) == [("shrunk", 4)]


# -- other streams ------------------------------------------------------------------------------------------


def test_an_earlier_stream_that_a_state_knows_is_not_absent(tmp_path: Path) -> None:
    second = StreamBuilder(ADOPTER, previous=[f"{STREAM}:1:{'0' * 64}", f"{STREAMS[2]}:1:{'0' * 64}"]).close()
    with FactWriter(tmp_path) as writer:
        for record in second.records:
            writer.add_record(record)
    (report,) = judge(writer.close(), known={STREAM}.__contains__)
    assert report.absent_streams == [STREAMS[2]]


def test_statements_with_holes_of_more_adopters_than_are_kept_in_mind_are_all_understood() -> None:
    records: list[Record] = []
    for n in range(12):
        orphan = StreamBuilder(f"01920000-0000-7000-8000-1000000000{n:02d}").turns(6)
        adopter = StreamBuilder(f"01920000-0000-7000-8000-2000000000{n:02d}")
        adopter.adopt(orphan, first=0, last=6, without=[3]).turns(1)
        records += orphan.without(3) + adopter.adopt(orphan, first=0, last=6, without=[3]).close().records
    for report in judged(records)[:12]:
        assert report.unreadable == [(3, 3)]


def test_a_hole_is_seen_when_the_adopter_was_read_by_an_earlier_check() -> None:
    orphan, rounds = StreamBuilder().turns(6), Rounds()
    who = StreamBuilder(ADOPTER).adopt(orphan, first=0, last=2).turns(5).checkpoint()
    first, _ = rounds.judge(orphan.records[:1] + who.records)
    assert (first.awaited, first.faults) == ([(1, 2)], [])
    read = who.next
    who.adopt(orphan, first=4, last=6)
    second, _ = rounds.judge(who.records[read:])
    assert (second.awaited, second.unreadable) == ([(1, 2), (4, 6)], [(3, 3)])


def test_of_an_adopter_with_very_many_gaps_the_first_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditwire.verification.elsewhere._MOST_RANGES", 2)
    orphan = StreamBuilder().turns(6)
    who = StreamBuilder(ADOPTER).turns(6).adopt(orphan, first=0, last=6, without=[3])
    assert judged(orphan.without(3) + who.without(1))[0].unreadable == [(3, 3)]
    assert judged(orphan.without(3) + who.without(1, 3))[0].awaited == [(3, 3)]


def test_a_timestamp_from_before_the_stream_is_noted_once_however_often_the_record_came() -> None:
    stream = StreamBuilder().turns(3)
    old = [replace(stream.records[2], timestamp_ms=number, offset=number) for number in range(3)]
    report = one(judged([*stream.without(2), *old]))
    assert (report.antedated, report.counts["antedated"], report.duplicates) == ([(2, 2)], 1, 2)


# -- limits -------------------------------------------------------------------------------------------------


def test_faults_are_counted_without_end_and_the_first_thousand_kept() -> None:
    stream = StreamBuilder().turns(1_500).close()
    records = [replace(record, key=b"x") for record in stream.records]
    random.Random(1).shuffle(records)
    report = one(judged(records))
    assert report.faults_total == 1_502
    assert [fault.sequence for fault in report.faults] == list(range(KEPT))
    assert report.notes == ["the first 1000 of 1502 faults are shown"]


def test_ranges_are_counted_without_end_and_the_first_thousand_kept() -> None:
    stream = StreamBuilder().turns(2_500)
    report = one(judged(stream.records[::2]))
    assert len(report.awaited) == len(report.unproven) == KEPT
    assert report.awaited[:2] == [(1, 1), (3, 3)]
    assert report.counts == {"awaited": 1_250, "unproven": 1_251}
    assert report.notes == [
        "awaited shows the first 1000 ranges: it is 1250 sequences in all",
        "unproven shows the first 1000 ranges: it is 1251 sequences in all",
    ]


def test_withheld_sequences_are_counted_without_end_and_the_first_thousand_kept() -> None:
    stream = StreamBuilder()
    for number in range(1_100):
        stream.add(QuarantineEvent(quarantined_stream=STREAM, quarantined_sequence=5_000 + number))
    report = one(judged(stream.records))
    assert (len(report.withheld), report.counts["withheld"]) == (KEPT, 1_100)
    assert report.notes == ["withheld shows the first 1000 of 1100 sequences"]


def test_a_fault_that_is_added_to_a_report_makes_it_one_of_a_fault_and_stands_in_its_place() -> None:
    report = one(judged(StreamBuilder().turns(3).close().without(2)))
    report.add_fault(Fault(kind="vanished", sequence=0, message="gone"))
    assert kinds(report) == [("vanished", 0), ("missing", 2)]
    assert (report.verdict, report.faults_total) == ("fault", 2)
    clean = one(judged(StreamBuilder().close().records))
    clean.add_fault(Fault(kind="shrunk", sequence=5, message="gone"))
    assert clean.verdict == "fault"
