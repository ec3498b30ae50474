"""The loss of power from end to end, at the seam of records.

What the broker has, what the journal kept of it, what the adopter states, and what the check makes of it.
"""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from auditwire.events import CheckpointEvent
from auditwire.journal import MemoryJournal
from auditwire.journal.disk import DiskJournal
from auditwire.verification import StreamReport, check_streams
from auditwire.verification.ranges import in_words
from support.emitters import Broker, Emitter, adopted, disk_journal
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditwire.reading import Record


PATH = "/journal"
ORPHAN = "01920000-0000-7000-8000-000000000001"
ADOPTER = "01920000-0000-7000-8000-000000000002"
CHECKPOINT = CheckpointEvent.event_type


def check(broker: Broker) -> StreamReport:
    """The report on the orphan; the adopter's own stream has to be complete."""
    *orphans, adopter = check_streams(broker.records.values(), settled=True)
    assert (adopter.stream_id, adopter.verdict) == (ADOPTER, "complete"), adopter
    return orphans[0] if orphans else StreamReport(stream_id=ORPHAN)  # of nothing, nothing is said


def emitter_on(fs: SimulatedFileSystem, broker: Broker, *, mapped: bool = True) -> Emitter:
    return Emitter(disk_journal(fs, ORPHAN, mapped=mapped), ORPHAN, broker)


def adopt(fs: SimulatedFileSystem, broker: Broker, *, machine_restarted: bool) -> set[int]:
    """Deliver what can be read of the orphan, and state what was found; the sequences that could be read."""
    adopter = Emitter(MemoryJournal(), ADOPTER, broker)
    found = adopted(fs, ORPHAN, adopter, machine_restarted=machine_restarted)
    broker.take(ORPHAN, found.values())
    adopter.close()
    return set(found)


def ranges_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if out and out[-1][1] == number - 1:
            out[-1] = (out[-1][0], number)
        else:
            out.append((number, number))
    return out


def listed_by(records: Iterable[Record]) -> set[int]:
    return {
        number
        for record in records
        if isinstance(record.event, CheckpointEvent)
        for number in range(
            record.event.first_sequence, record.event.first_sequence + len(record.event.entries)
        )
    }


@pytest.mark.parametrize("mapped", [True, False])
def test_what_the_broker_has_beyond_the_journal_is_unproven_and_nothing_is_at_fault(*, mapped: bool) -> None:
    """Everything is acknowledged, nothing of the second half was synchronised, and the power fails."""
    for seed in range(100):
        broker = Broker()
        fs = SimulatedFileSystem()
        emitter = emitter_on(fs, broker, mapped=mapped)
        assert isinstance(emitter.journal, DiskJournal)
        emitter.emit(5)
        emitter.checkpoint()
        assert emitter.journal.sync()
        emitter.emit(20)
        emitter.arrive(range(27))
        kept = adopt(fs.crash(random.Random(seed)), broker, machine_restarted=True)
        report = check(broker)
        assert (report.faults, report.missing, report.unaccounted) == ([], [], [])
        assert kept >= set(range(7)), "what was synchronised is there"
        assert report.unproven == ranges_of(set(range(27)) - kept)
        last = max(kept)
        if last < 26 and len(kept) == last + 1:
            break
    else:
        pytest.fail("no crash cut the journal's end off")
    assert (report.verdict, report.recovered_to, report.machine_restarted) == ("open", last, True)
    assert report.unproven == [(last + 1, 26)]
    assert report.notes[0].startswith(
        f"nothing lists {in_words(last + 1, 26)}, behind record {last}, the last"
    )


def test_a_killed_process_leaves_a_stream_that_is_recovered_whole() -> None:
    broker = Broker()
    fs = SimulatedFileSystem()
    emitter = emitter_on(fs, broker)
    emitter.emit(5)
    emitter.checkpoint()
    emitter.emit(5)
    emitter.arrive([0, 2, 8])
    assert adopt(fs.kill(), broker, machine_restarted=False) == set(range(12))
    report = check(broker)
    assert (report.verdict, report.faults, report.notes) == ("recovered", [], [])
    assert (report.recovered_to, report.last_sequence) == (11, 11)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=5
    ),
    st.booleans(),
    st.data(),
)
def test_whatever_survives_the_check_says_exactly_what_is_lost_and_what_is_unproven(
    plan: list[tuple[int, bool, bool, bool]], mapped: bool, data: st.DataObject
) -> None:
    broker = Broker()
    fs = SimulatedFileSystem()
    emitter = emitter_on(fs, broker, mapped=mapped)
    assert isinstance(emitter.journal, DiskJournal)
    for count, listed, synced, written_back in plan:
        emitter.emit(count)
        if listed:
            emitter.checkpoint()
        on_the_way = data.draw(st.sets(st.integers(0, len(emitter.taken) - 1)), label="on the way")
        emitter.arrive(set(range(len(emitter.taken))) - on_the_way)
        if synced:
            assert emitter.journal.sync()
        if written_back:
            fs.write_back(random.Random(data.draw(st.integers(0, 99), label="written back")))
    synced_to = emitter.journal.next_sequence - emitter.journal.unsynced
    digests = {record.sequence: sha256(record.body).digest() for record in emitter.taken}
    kept = adopt(
        fs.crash(random.Random(data.draw(st.integers(0, 999), label="crash"))), broker, machine_restarted=True
    )
    report = check(broker)

    there = broker.sequences(ORPHAN)
    assert there >= set(range(synced_to))
    assert all(broker.records[ORPHAN, n].digest == digests[n] for n in there)
    last = max(kept, default=-1)
    absent = set(range(max(there, default=-1) + 1)) - there
    lost = {n for n in absent if n < last}
    assert report.unreadable == ranges_of(lost)
    assert {fault.kind for fault in report.faults} == ({"unreadable"} if lost else set())
    assert (report.missing, report.awaited) == ([], [])
    assert report.unaccounted == ranges_of(absent - lost)
    on_broker = [record for (stream, _), record in broker.records.items() if stream == ORPHAN]
    stated = {n for n in kept if n >= report_first(on_broker, kept)}
    assert report.unproven == ranges_of(there - listed_by(on_broker) - stated)
    event(
        f"verdict {report.verdict}, unproven {bool(report.unproven)}, unaccounted {bool(report.unaccounted)}"
    )
    assert report.verdict == "fault" if lost else report.verdict in {"recovered", "open"}


def report_first(records: Iterable[Record], kept: set[int]) -> int:
    """The first sequence that no checkpoint lists which can be read in the journal."""
    listed = listed_by(record for record in records if record.sequence in kept)
    return max(listed, default=-1) + 1
