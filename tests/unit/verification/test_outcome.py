from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from auditwire.verification.outcome import TrailReport, standing
from auditwire.verification.report import Fault, StreamReport, Verdict

STREAM = "01920000-0000-7000-8000-000000000001"


def report(verdict: Verdict = "complete", **values: Any) -> StreamReport:
    """Of a stream of ten records, of which the last checkpoint lists the first eight."""
    told: dict[str, Any] = {
        "records": 10,
        "first_sequence": 0,
        "last_sequence": 9,
        "checkpoints": 2,
        "sealed_to": 7,
        "listed_to": 7,
        "first_timestamp_ms": 1_000,
        "last_timestamp_ms": 2_000,
        **values,
    }
    found = StreamReport(stream_id=STREAM, verdict=verdict, **told)
    if verdict == "fault":
        found.add_fault(Fault(kind="missing", sequence=3, message="record 3 is missing"))
    return found


def checked(*reports: StreamReport, sealed: bool = False, **values: Any) -> TrailReport:
    out = TrailReport(prefix="audit", sealed=sealed, **values)
    for one in reports:
        out.add(one)
    return out


# -- what a stream counts for -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "whole", "sealed"),
    [
        (report("complete"), "proven", "proven"),
        (report("fault"), "fault", "fault"),
        (report("recovered"), "proven", "proven"),
        (report("recovered", machine_restarted=True), "open", "proven"),
        (report("open"), "open", "proven"),
        # a stream that has just begun: its opening checkpoint lists nothing
        (
            report("open", records=1, last_sequence=0, checkpoints=1, sealed_to=-1, listed_to=-1),
            "open",
            "proven",
        ),
        # the chain is broken before the last checkpoint
        (report("open", sealed_to=3), "open", "open"),
        # records are absent behind what is listed, or among it
        (report("open", awaited=[(8, 8)]), "open", "proven"),
        (report("open", awaited=[(7, 8)]), "open", "open"),
        (report("open", removed=[(0, 4)], first_sequence=5), "open", "open"),
        (report("open", removed=[(2, 4)]), "open", "open"),
        (report("open", unaccounted=[(7, 7)]), "open", "open"),
        (report("open", unaccounted=[(12, 15)]), "open", "proven"),
        (report("open", withheld=[8]), "open", "proven"),
        (report("open", withheld=[7]), "open", "open"),
        (report("open", absent_streams=["another"]), "open", "open"),
        # nothing of it is there but what others say
        (
            report("open", records=0, first_sequence=-1, checkpoints=0, sealed_to=-1, listed_to=-1),
            "open",
            "open",
        ),
    ],
)
def test_what_a_stream_counts_for(found: StreamReport, whole: str, sealed: str) -> None:
    assert standing(found) == whole
    assert standing(found, sealed=True) == sealed


# -- the exit status ----------------------------------------------------------------------------------------

REPORTS = {"proven": report("complete"), "open": report("open", sealed_to=3), "fault": report("fault")}


@pytest.mark.parametrize("found", [*product([False, True], repeat=3)])
@pytest.mark.parametrize("unreadable", [False, True])
def test_a_fault_wins_over_what_is_unreadable_and_that_over_what_is_open(
    found: tuple[bool, ...], unreadable: bool
) -> None:
    out = checked(*(one for one, there in zip(REPORTS.values(), found, strict=True) if there))
    if unreadable:
        out.undecodable["corrupt"] += 1
    _, is_open, fault = found
    nothing = not any(found)
    expected = 1 if fault else 4 if unreadable or nothing else 3 if is_open else 0
    assert out.exit_status == expected


@pytest.mark.parametrize(
    ("out", "status"),
    [
        (checked(), 4),
        (checked(compacted=["audit.turn-start"]), 4),
        (checked(report()), 0),
        (checked(report(), report("recovered")), 0),
        (checked(report(), report("open")), 3),
        (checked(report(), report("open"), sealed=True), 0),
        (checked(report(), compacted=["audit.turn-start"]), 4),
        (checked(report("fault"), compacted=["audit.turn-start"]), 1),
        (checked(report("open"), report("fault"), sealed=True), 1),
    ],
)
def test_the_exit_status(out: TrailReport, status: int) -> None:
    assert out.exit_status == status


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("foreign", 0),
        ("tombstone", 0),
        ("headers", 0),
        ("corrupt", 4),
        ("unknown_fingerprint", 4),
        ("truncated", 4),
        ("trailing_bytes", 4),
        ("oversized", 4),
        ("malformed", 4),
    ],
)
def test_messages_that_may_have_been_records_leave_a_trail_unproven_and_others_do_not(
    reason: str, status: int
) -> None:
    out = checked(report())
    out.undecodable[reason] += 2
    assert out.exit_status == status
    assert out.doubtful == ({reason: 2} if status else {})


def test_an_expected_service_without_a_stream_is_a_fault_even_where_nothing_was_found() -> None:
    for out in (checked(), checked(report())):
        out.add_unseen(["planner", "search"])
        assert out.exit_status == 1
        assert out.faults == {"expected": 2}
        assert [(fault.kind, fault.service) for fault in out.trail_faults] == [
            ("expected", "planner"),
            ("expected", "search"),
        ]
        assert out.trail_faults[0].message == "service planner is expected, and no stream is of it"


# -- counts -------------------------------------------------------------------------------------------------


def test_streams_are_counted_and_added_up() -> None:
    out = checked(
        report(duplicates=2),
        report("open", counts={"awaited": 5, "withheld": 1, "removed": 7}),
        report("fault", counts={"missing": 3_000, "unreadable": 2}),
    )
    assert (out.streams, out.records, out.checkpoints, out.duplicates) == (3, 30, 6, 2)
    assert (out.missing, out.awaited, out.unreadable) == (3_000, 5, 2)
    assert (out.removed, out.withheld) == (7, 1)
    assert out.verdicts == {"complete": 1, "open": 1, "fault": 1}
    assert out.standings == {"proven": 1, "open": 1, "fault": 1}
    assert out.faults == {"missing": 1}


def test_faults_that_a_report_only_counts_are_counted_too() -> None:
    found = report("fault")
    found.faults_total = 41
    assert checked(found, report("fault")).faults == {"missing": 2, "unlisted": 40}


def test_the_open_streams_that_are_oldest_and_silent_longest_are_told() -> None:
    out = checked(
        report("complete", first_timestamp_ms=1, last_timestamp_ms=2),
        report("open", first_timestamp_ms=500, last_timestamp_ms=9_000),
        report("open", first_timestamp_ms=600, last_timestamp_ms=700),
        report("open", first_timestamp_ms=-1, last_timestamp_ms=-1),
    )
    assert (out.oldest_open_ms, out.silent_open_ms) == (500, 700)
    assert (checked(report()).oldest_open_ms, checked(report()).silent_open_ms) == (None, None)


def test_a_report_is_json_with_its_exit_status() -> None:
    out = checked(report("fault"), report("open"))
    out.add_unseen(["planner"])
    told = json.loads(json.dumps(out.to_dict()))
    assert told["exit_status"] == 1
    assert told["verdicts"] == {"fault": 1, "open": 1}
    assert told["faults"] == {"expected": 1, "missing": 1}
    assert told["trail_faults"] == [
        {
            "kind": "expected",
            "message": "service planner is expected, and no stream is of it",
            "service": "planner",
        }
    ]
    assert (told["prefix"], told["oldest_open_ms"]) == ("audit", 1_000)
