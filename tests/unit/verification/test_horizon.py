"""Up to where retention excuses that records are absent: the borders of the rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditwire.verification import Horizon, StreamReport
from auditwire.verification.placement import CLAMP_MS
from support.facts import judged
from support.stream_builder import OPENED_US, StreamBuilder, rewritten

OPENED_MS = OPENED_US // 1_000
NO_TIME = "01920000-0000-4000-8000-000000000001"
STREAM = f"{OPENED_MS:012x}"[:8] + "-" + f"{OPENED_MS:012x}"[8:] + "-7000-8000-000000000001"
ADOPTER = STREAM[:-1] + "2"


def check(
    stream: StreamBuilder, *without: int, ms: int, cut: bool = True, settled: bool = False
) -> StreamReport:
    (report,) = judged(stream.without(*without), horizon=Horizon(ms, cut), settled=settled)
    return report


def a_stream(stream_id: str = STREAM) -> StreamBuilder:
    """Record n has the time OPENED_MS + n."""
    return StreamBuilder(stream_id).turns(5).checkpoint().turns(3).close()


def test_absent_records_are_removed_when_the_record_below_them_is_older_than_the_horizon() -> None:
    report = check(a_stream(), 3, 4, ms=OPENED_MS + 3)  # record 2 is the neighbour
    assert (report.verdict, report.removed, report.missing, report.faults) == ("open", [(3, 4)], [], [])
    assert report.counts == {"removed": 2}
    assert report.to_dict()["removed"] == [[3, 4]]


def test_they_are_missing_when_that_record_is_as_old_as_the_horizon_or_younger() -> None:
    for ms in (OPENED_MS + 2, OPENED_MS):
        assert check(a_stream(), 3, 4, ms=ms).missing == [(3, 4)]


def test_nothing_is_removed_when_nothing_was_cut_off_the_logs() -> None:
    assert check(a_stream(), 3, ms=2**62, cut=False).missing == [(3, 3)]


def test_each_gap_is_judged_by_its_own_neighbour() -> None:
    report = check(a_stream(), 2, 5, 7, ms=OPENED_MS + 5)
    assert (report.removed, report.missing) == ([(2, 2), (5, 5)], [(7, 7)])


def test_an_absent_head_is_judged_by_the_time_in_the_stream_s_id() -> None:
    assert check(a_stream(), 0, 1, ms=OPENED_MS + 1).removed == [(0, 1)]
    assert check(a_stream(), 0, 1, ms=OPENED_MS).missing == [(0, 1)]


def test_the_time_in_the_id_counts_where_the_events_below_are_older() -> None:
    """Events that came with times of their own, from a file for example."""
    stream = a_stream()
    old = [rewritten(record, timestamp_us=5_000) for record in stream.records[:3]]
    for ms, missing in ((OPENED_MS, [(3, 3)]), (OPENED_MS + 1, [])):
        (report,) = judged([*old, *stream.records[4:]], horizon=Horizon(ms))
        assert report.missing == missing


def test_the_latest_event_below_counts_and_not_the_nearest() -> None:
    stream = a_stream()
    there = stream.swapped(rewritten(stream.records[3], timestamp_us=5_000))
    for ms, missing in ((OPENED_MS + 2, [(4, 4)]), (OPENED_MS + 3, [])):
        (report,) = judged([r for r in there if r.sequence != 4], horizon=Horizon(ms))
        assert report.missing == missing


def test_an_absent_head_of_a_stream_whose_id_has_no_time_by_the_record_above() -> None:
    assert check(a_stream(NO_TIME), 0, 1, ms=OPENED_MS + 3).removed == [(0, 1)]
    assert check(a_stream(NO_TIME), 0, 1, ms=OPENED_MS + 2).missing == [(0, 1)]
    assert check(a_stream("7" * 36), 0, 1, ms=OPENED_MS + 2).missing == [(0, 1)]


def test_a_stream_of_which_only_an_adopter_speaks_is_judged_by_its_id() -> None:
    for stream_id, removed in ((STREAM, [(0, 4)]), (NO_TIME, [])):
        orphan = StreamBuilder(stream_id).turns(4)
        who = StreamBuilder(ADOPTER).adopt(orphan, first=0, last=4).close()
        (report,) = (
            report
            for report in judged(who.records, horizon=Horizon(2**62), settled=True)
            if report.stream_id == stream_id
        )
        assert report.removed == removed
        assert report.missing == ([] if removed else [(0, 4)])


@pytest.mark.parametrize("kafka_ms", [-1, 5, 2**62])
def test_it_does_not_matter_which_kafka_timestamp_a_record_or_a_copy_of_it_has(kafka_ms: int) -> None:
    """One that was delivered late has a later one, and whoever makes a copy can choose."""
    stream = a_stream()
    below = stream.records[2]
    copies = [replace(below, timestamp_ms=kafka_ms, offset=offset) for offset in (0, 1, 1_000, 1_001)]
    for there in (copies, [below, *copies], [*copies, below]):
        for ms, missing in ((OPENED_MS + 2, [(3, 3)]), (OPENED_MS + 3, [])):
            (report,) = judged([*stream.without(2, 3), *there], horizon=Horizon(ms))
            assert (report.missing, report.duplicates) == (missing, len(there) - 1)


def test_of_different_records_with_one_number_the_latest_counts() -> None:
    stream = a_stream()
    other = rewritten(stream.records[2], timestamp_us=(OPENED_MS + 9) * 1_000)
    for ms, missing in ((OPENED_MS + 9, [(3, 3)]), (OPENED_MS + 10, [])):
        (report,) = judged([*stream.without(3), other], horizon=Horizon(ms))
        assert report.missing == missing


def test_what_is_awaited_stays_awaited_however_old_it_is() -> None:
    stream = StreamBuilder(STREAM).turns(5).checkpoint(acknowledged=0)
    assert check(stream, 3, ms=2**62).awaited == [(3, 3)]
    assert check(stream, 3, ms=2**62, settled=True).removed == [(3, 3)]


def test_what_could_not_be_read_of_a_journal_is_removed_when_it_is_old_enough() -> None:
    orphan = StreamBuilder(STREAM).turns(5)
    who = StreamBuilder(ADOPTER).adopt(orphan, first=0, last=5, without=[3])
    records = orphan.without(3) + who.close().records
    assert judged(records)[0].unreadable == [(3, 3)]
    report = judged(records, horizon=Horizon(2**62))[0]
    assert (report.removed, report.unreadable, report.faults) == ([(3, 3)], [], [])


def test_a_checkpoint_that_was_removed_breaks_no_chain_and_leaves_the_rest_unsealed() -> None:
    report = check(a_stream(), 6, ms=2**62)
    assert (report.removed, report.faults, report.sealed_to, report.listed_to) == ([(6, 6)], [], -1, 9)


def test_a_horizon_of_a_time_lies_an_hour_behind_it() -> None:
    assert Horizon.of(5) == Horizon(5 + CLAMP_MS, cut=True)
    assert Horizon.of(5, cut=False) == Horizon(5 + CLAMP_MS, cut=False)


@pytest.mark.parametrize(
    "stream_id", ["", "x", "7" * 14, f"{STREAM}x", "0192_000-0000-7000-8000-000000000001"]
)
def test_an_id_of_another_form_has_no_time(stream_id: str) -> None:
    assert not Horizon(2**62).excuses(stream_id, None, None)
    assert Horizon(2**62).excuses(stream_id, None, 5) == Horizon(2**62).excuses(STREAM, 5, None)
