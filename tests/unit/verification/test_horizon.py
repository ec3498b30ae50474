"""Up to where retention excuses that records are absent: the borders of the rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditwire.verification import Horizon, StreamReport
from auditwire.verification.placement import CLAMP_MS
from support.facts import judged
from support.stream_builder import OPENED_US, STREAM, StreamBuilder

OPENED_MS = OPENED_US // 1_000
ID_MS = 0x019200000000  # the time in STREAM
NO_TIME = "01920000-0000-4000-8000-000000000001"


def check(
    stream: StreamBuilder, *without: int, ms: int, cut: bool = True, settled: bool = False
) -> StreamReport:
    (report,) = judged(stream.without(*without), horizon=Horizon(ms, cut), settled=settled)
    return report


def a_stream(stream_id: str = STREAM) -> StreamBuilder:
    """Record n has the Kafka timestamp OPENED_MS + n."""
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
    assert check(a_stream(), 0, 1, ms=ID_MS + 1).removed == [(0, 1)]
    assert check(a_stream(), 0, 1, ms=ID_MS).missing == [(0, 1)]


def test_an_absent_head_of_a_stream_whose_id_has_no_time_by_the_record_above() -> None:
    assert check(a_stream(NO_TIME), 0, 1, ms=OPENED_MS + 3).removed == [(0, 1)]
    assert check(a_stream(NO_TIME), 0, 1, ms=OPENED_MS + 2).missing == [(0, 1)]
    assert check(a_stream("7" * 36), 0, 1, ms=OPENED_MS + 2).missing == [(0, 1)]


def test_a_stream_of_which_only_an_adopter_speaks_is_judged_by_its_id() -> None:
    for stream_id, removed in ((STREAM, [(0, 4)]), (NO_TIME, [])):
        orphan = StreamBuilder(stream_id).turns(4)
        who = StreamBuilder("01920000-0000-7000-8000-000000000002").adopt(orphan, first=0, last=4).close()
        report = judged(who.records, horizon=Horizon(2**62), settled=True)[0]
        assert report.removed == removed
        assert report.missing == ([] if removed else [(0, 4)])


def test_a_neighbour_without_timestamp_excuses_nothing() -> None:
    stream = a_stream()
    records = [replace(r, timestamp_ms=-1) if r.sequence == 2 else r for r in stream.without(3)]
    (report,) = judged(records, horizon=Horizon(2**62))
    assert report.missing == [(3, 3)]


@pytest.mark.parametrize("last", [3, 5])
@pytest.mark.parametrize("timestamp_ms", [5, -1])
def test_of_a_neighbour_s_copies_the_latest_timestamp_counts(last: int, timestamp_ms: int) -> None:
    stream = a_stream()
    there = stream.without(*range(3, last + 1))
    for offset in (0, 1_000):  # before the record in the order of places, and behind it
        again = [replace(stream.records[2], timestamp_ms=timestamp_ms, offset=offset + n) for n in range(3)]
        for ms, missing in ((OPENED_MS + 2, [(3, last)]), (OPENED_MS + 3, [])):
            (report,) = judged([*there, *again], horizon=Horizon(ms))
            assert (report.missing, report.duplicates) == (missing, 3)


def test_what_is_awaited_stays_awaited_however_old_it_is() -> None:
    stream = StreamBuilder().turns(5).checkpoint(acknowledged=0)
    assert check(stream, 3, ms=2**62).awaited == [(3, 3)]
    assert check(stream, 3, ms=2**62, settled=True).removed == [(3, 3)]


def test_what_could_not_be_read_of_a_journal_is_removed_when_it_is_old_enough() -> None:
    orphan = StreamBuilder().turns(5)
    who = StreamBuilder("01920000-0000-7000-8000-000000000002").adopt(orphan, first=0, last=5, without=[3])
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
