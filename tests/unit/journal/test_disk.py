"""The disk journal from without: appends, the sender's end, a full disk, synchronisation, ends and forks."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from stream_files import event, is_written

from auditwire.errors import CollectorClosed, JournalFull
from auditwire.ids import uuid7
from auditwire.journal import Draft
from auditwire.journal.disk import MIN_CAPACITY, DiskJournal
from auditwire.journal.layout import JournalPath
from auditwire.journal.making import FIRST_SEGMENT, RESERVE
from auditwire.journal.reader import StreamReader
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from auditwire.journal.base import Record

PATH = "/journal"
SOON = 20.0
FOR_EVER = 600.0
"""Patience that no test could wait for: the time limit would end it."""

ENDED = "01890a5d-ac96-774b-bcce-b302099a8057"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float = 10.0) -> None:
        self.now += seconds


def journal_on(fs: SimulatedFileSystem, *, opened: bool = True, **settings: Any) -> DiskJournal:
    """A journal with its opening checkpoint, or what stands for one here."""
    options: dict[str, Any] = {"on_full": "drop_newest", "capacity": MIN_CAPACITY, **settings}
    stream_id = uuid7()
    journal = DiskJournal(JournalPath(fs, PATH), stream_id, {"stream": stream_id}, **options)
    if opened:
        assert journal.append_control(event(0)) == 0
    return journal


def draft(size: int = 100, name: str = "e") -> Draft:
    return Draft("error", "audit.error", b"key", 1, name, None, b"h", b"t" * size)


def fill(journal: DiskJournal, size: int = 100_000) -> int:
    """Append until it is full; how many found room."""
    accepted = 0
    while True:
        try:
            journal.append(draft(size))
        except JournalFull:
            return accepted
        accepted += 1


def drain(journal: DiskJournal) -> list[Record]:
    """Everything that was not taken yet."""
    records: list[Record] = []
    while batch := journal.take(512):
        records += batch
    return records


def deliver(journal: DiskJournal) -> list[Record]:
    """Take everything, and be done with it."""
    records = drain(journal)
    journal.advance(journal.next_sequence, journal.next_sequence)
    journal.release(sum(record.size for record in records))
    return records


def left(fs: SimulatedFileSystem, journal: DiskJournal) -> list[int]:
    """The sequences that another process finds in a stream whose owner is gone."""
    directory = JournalPath(fs, PATH).open_stream(journal.stream_id)
    reader = StreamReader(fs, directory, live=lambda: False)
    sequences: list[int] = []
    while not reader.at_end:
        sequences += [record.sequence for record in reader.take(512)]
    assert not reader.damaged
    reader.close()
    return sequences


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.001)


def run_aside(call: Callable[[], object]) -> object:
    """What the call gives, or raises, on another thread."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(SOON)
    assert found, "it did not return"
    return found[0]


# -- from append to take ---------------------------------------------------------------------------------


def test_what_is_appended_is_taken_in_order_and_whole() -> None:
    journal = journal_on(SimulatedFileSystem())
    for number in range(1, 1_000):
        journal.append(event(number))
    assert journal.backlog == journal.next_sequence == 1_000
    assert journal.backlog_drafts == 0
    taken = [*journal.take(7), *drain(journal)]
    assert [record.sequence for record in taken] == list(range(1_000))
    assert all(map(is_written, taken))
    assert journal.backlog == 0
    assert journal.take(512) == []


def test_records_say_whose_they_are_and_can_be_read_again() -> None:
    journal = journal_on(SimulatedFileSystem())
    journal.origin = origin = object()
    for number in range(1, 50):
        journal.append(event(number))
    records = drain(journal)
    assert all(record.origin is origin for record in records)
    assert [journal.read(record.position) for record in records] == records


def test_records_can_be_looked_at_ahead_once_and_are_taken_all_the_same() -> None:
    journal = journal_on(SimulatedFileSystem(), opened=False)
    assert journal.look_ahead(10) == []
    assert journal.append_control(event(0)) == 0
    for number in range(1, 300):
        journal.append(event(number))
    assert [record.sequence for record in journal.take(100)] == list(range(100))
    ahead = [*journal.look_ahead(50), *journal.look_ahead(1_000)]
    assert [record.sequence for record in ahead] == list(range(100, 300))
    assert all(map(is_written, ahead))
    assert journal.look_ahead(10) == []
    assert journal.backlog == 200
    assert [record.sequence for record in drain(journal)] == list(range(100, 300))
    journal.append(event(300))
    assert [record.sequence for record in journal.take(10)] == [300]
    assert vars(journal)["_ahead"] is None  # it would keep the disk space of segments that are removed
    journal.append(event(301))
    assert [record.sequence for record in journal.look_ahead(10)] == [301]
    journal.close(ended=None)


def test_bytes_wait_until_they_are_released() -> None:
    journal = journal_on(SimulatedFileSystem())
    for number in range(1, 50):
        journal.append(event(number))
    assert journal.pending_bytes == sum(record.size for record in drain(journal)) > 0
    journal = journal_on(SimulatedFileSystem())
    fill(journal)  # over many segments
    deliver(journal)
    assert journal.pending_bytes == 0


def test_many_threads_append_while_another_takes_and_nothing_is_lost_or_mixed_up() -> None:
    journal = journal_on(SimulatedFileSystem(), capacity=64 << 20)
    stop = threading.Event()
    accepted: list[list[str]] = [[] for _ in range(4)]
    taken: list[Record] = []

    def emit(number: int) -> None:
        for count in range(1_500):
            name = f"{number}-{count}"
            journal.append(draft(count % 3_000, name))
            accepted[number].append(name)

    def take() -> None:
        while not stop.is_set() or journal.backlog:
            taken.extend(journal.take(100))

    threads = [threading.Thread(target=emit, args=(number,)) for number in range(4)]
    taker = threading.Thread(target=take)
    for thread in (*threads, taker):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    taker.join(SOON)
    assert [record.sequence for record in taken] == list(range(6_001))
    for number in range(4):
        mine = [r.event_id for r in taken[1:] if r.event_id.startswith(f"{number}-")]
        assert mine == accepted[number]


def test_a_mark_has_the_number_behind_everything_accepted_before_it() -> None:
    journal = journal_on(SimulatedFileSystem())
    journal.append(draft())
    mark = journal.barrier()
    journal.append(draft())
    assert mark.sequence == 2
    withdrawn = journal.barrier()
    journal.withdraw(withdrawn)
    journal.withdraw(withdrawn)
    assert withdrawn.withdrawn
    assert journal.barriers() == [mark]
    assert journal.barriers() == []


def test_the_senders_wait_ends_with_an_append_a_mark_or_the_time() -> None:
    journal = journal_on(SimulatedFileSystem())
    journal.wait(FOR_EVER)  # record 0 waits
    drain(journal)
    journal.wait(0)
    for call in (lambda: journal.append(draft()), journal.barrier, journal.wake):
        thread = threading.Thread(target=journal.wait, args=(FOR_EVER,))
        thread.start()
        until(lambda: journal._idle)
        call()
        thread.join(SOON)
        assert not thread.is_alive()
        drain(journal)
        journal.barriers()


def test_a_wake_before_the_wait_is_not_forgotten() -> None:
    journal = journal_on(SimulatedFileSystem())
    drain(journal)
    journal.wake()
    journal.wait(FOR_EVER)


# -- full ------------------------------------------------------------------------------------------------


def test_a_full_path_refuses_by_its_bound_and_says_so() -> None:
    fs = SimulatedFileSystem()
    journal = journal_on(fs)
    accepted = fill(journal)
    assert accepted * 100_000 > MIN_CAPACITY * 0.7
    assert sum(map(len, fs.files(PATH).values())) <= MIN_CAPACITY
    with pytest.raises(
        JournalFull, match=rf"the journal is full: .*\([0-9]+ of {MIN_CAPACITY} bytes of {PATH}"
    ):
        journal.append(draft(100_000))
    assert len(drain(journal)) == accepted + 1
    assert journal.problem is None  # the disk refuses nothing


def test_a_full_journal_takes_control_records_from_a_reserve() -> None:
    journal = journal_on(SimulatedFileSystem())
    fill(journal, 1_000)
    before = journal.next_sequence
    written = 0
    while journal.append_control(draft(1_000)) is not None:
        written += 1
    assert RESERVE * 0.8 < written * 1_000 <= RESERVE
    assert [r.sequence for r in drain(journal)] == list(range(before + written))


def test_room_comes_back_when_segments_are_done_with() -> None:
    fs = SimulatedFileSystem()
    journal = journal_on(fs)
    accepted = fill(journal)
    first = journal.take(15)
    journal.advance(first[-1].sequence + 1, 0)  # delivered, but no checkpoint lists it: nothing may go
    with pytest.raises(JournalFull):
        journal.append(draft(100_000))
    journal.advance(first[-1].sequence + 1, first[-1].sequence + 1)
    journal.append(draft(100_000))
    deliver(journal)
    assert journal.budget.used < MIN_CAPACITY * 0.5
    assert fill(journal) >= accepted - 20


def test_room_has_to_be_made_from_half_of_the_bound_on() -> None:
    journal = journal_on(SimulatedFileSystem())
    pressures: list[tuple[bool, bool]] = []
    while not pressures or journal.budget.used < MIN_CAPACITY * 0.7:
        journal.append(draft(100_000))
        pressures.append((journal.budget.used > MIN_CAPACITY // 2, journal.pressure))
    assert {expected == told for expected, told in pressures} == {True}
    assert {told for _, told in pressures} == {False, True}


def test_a_full_disk_counts_as_full_with_its_reason_and_recovers_by_itself() -> None:
    fs, clock = SimulatedFileSystem(capacity=3 << 20), Clock()
    journal = journal_on(fs, capacity=64 << 20, monotonic=clock)
    fill(journal)
    with pytest.raises(JournalFull, match="No space left on device"):
        journal.append(draft(100_000))
    assert "No space left on device" in str(journal.problem)
    assert journal.pressure
    fs.disk.capacity = 64 << 20
    clock.tick()
    journal.append(draft(100_000))
    assert journal.problem is None


def test_a_disk_that_has_room_again_is_no_problem_any_more_though_nobody_emits() -> None:
    fs, clock = SimulatedFileSystem(capacity=3 << 20), Clock()
    journal = journal_on(fs, capacity=64 << 20, monotonic=clock)
    fill(journal)
    for _ in range(3):
        drain(journal)  # the sender looks, again and again
        clock.tick()
        assert "No space left on device" in str(journal.problem)
    fs.disk.capacity = 64 << 20
    drain(journal)
    assert journal.problem is None
    assert not journal.pressure
    assert not [path for path in fs.files(PATH) if path.endswith(".try")]
    journal.append(draft(100_000))
    fill(journal, 1_000_000)
    fs.disk.capacity = 0
    assert journal.problem is None  # that was the bound
    deliver(journal)
    with pytest.raises(JournalFull):
        journal.append(draft(1_000_000))
    assert "No space left on device" in str(journal.problem)  # the same words, and another refusal


def test_every_refusal_of_the_file_system_is_full_and_not_an_error_of_its_own() -> None:
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.EROFS,
        errno.EACCES,
        errno.ENOENT,
    ):
        fs, clock = SimulatedFileSystem(), Clock()
        journal = journal_on(fs, monotonic=clock)
        fs.fail("create", number, "*.seg", times=None)
        assert fill(journal) < 20
        with pytest.raises(JournalFull, match="Errno"):
            journal.append(draft(100_000))
        assert os.strerror(number) in str(journal.problem)
        fs.heal()
        clock.tick()
        journal.append(draft(100_000))
        assert journal.problem is None


def test_an_append_waits_for_room_and_goes_on_when_it_comes() -> None:
    journal = journal_on(SimulatedFileSystem(), on_full="block", full_timeout=FOR_EVER)
    journal._patience = 0.0
    fill(journal)
    journal._patience = FOR_EVER
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(run_aside(lambda: journal.append(draft(100_000)))))
    thread.start()
    until(lambda: len(journal._room._waiting) == 1)
    assert not done
    run_aside(lambda: deliver(journal))
    thread.join(SOON)
    assert done == [None]


def test_only_the_first_append_of_a_full_period_waits_and_the_next_period_begins_anew() -> None:
    journal = journal_on(SimulatedFileSystem(), on_full="block", full_timeout=0.05)
    for _ in range(2):
        begin = time.monotonic()
        fill(journal)
        assert time.monotonic() - begin >= 0.05
        journal._patience = FOR_EVER
        with pytest.raises(JournalFull):
            journal.append(draft(100_000))
        journal._patience = 0.05
        run_aside(lambda: deliver(journal))


def test_room_that_another_process_makes_ends_the_full_period_too() -> None:
    """The owner of a stream that a forwarder delivers hears of no delivery: only that there is room again."""
    fs, clock = SimulatedFileSystem(), Clock()
    journal = journal_on(fs, on_full="block", full_timeout=0.05, sends=False, monotonic=clock)
    fill(journal)
    forwarder = StreamReader(fs, journal.path.open_stream(journal.stream_id), live=lambda: True)
    while forwarder.take(512):
        continue
    forwarder.advance(forwarder.next_sequence, forwarder.next_sequence)
    clock.tick()
    journal.append(draft(100_000))
    assert not journal._gave_up


def test_a_full_disk_that_goes_on_being_full_is_one_period_however_much_is_delivered() -> None:
    """Nothing is known of room until a segment could be made: each caller would wait anew otherwise."""
    fs, clock = SimulatedFileSystem(capacity=3 << 20), Clock()
    journal = journal_on(fs, capacity=64 << 20, on_full="block", full_timeout=0.05, monotonic=clock)
    fill(journal)
    fs.disk.capacity = 0  # somebody else takes what the journal frees
    journal._patience = FOR_EVER
    for record in run_aside(lambda: drain(journal)):  # type: ignore[attr-defined]
        clock.tick()
        journal.advance(record.sequence, 0)
        journal.release(record.size)
        with pytest.raises(JournalFull):
            journal.append(draft(100_000))


def test_others_stop_waiting_when_the_first_one_gave_up() -> None:
    journal = journal_on(SimulatedFileSystem(), on_full="block", full_timeout=0.0)
    fill(journal)
    journal._patience = 0.3
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(run_aside(lambda: journal.append(draft(100_000)))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert [type(result) for result in results] == [JournalFull] * 4


def test_nothing_waits_on_a_thread_with_a_running_event_loop() -> None:
    journal = journal_on(SimulatedFileSystem(), on_full="block", full_timeout=0.0)
    fill(journal)
    journal._patience = FOR_EVER

    async def main() -> None:
        journal.append(draft(100_000))

    with pytest.raises(JournalFull):
        asyncio.run(main())


def test_the_sender_itself_never_waits() -> None:
    journal = journal_on(SimulatedFileSystem(), on_full="block", full_timeout=0.0)
    fill(journal)
    journal._patience = FOR_EVER
    journal.take(1)  # this thread is the sender now
    with pytest.raises(JournalFull):
        journal.append(draft(100_000))


def test_an_event_that_no_segment_could_hold_is_not_waited_for() -> None:
    journal = journal_on(SimulatedFileSystem(), on_full="block", full_timeout=0.05)
    begun = time.monotonic()
    with pytest.raises(JournalFull):
        journal.append(draft(MIN_CAPACITY))
    assert time.monotonic() - begun < SOON
    journal.append(draft())  # it stops nobody else


# -- the opening checkpoint is record 0 ------------------------------------------------------------------


def test_no_event_becomes_record_0_however_the_disk_was_at_the_beginning() -> None:
    fs, clock = SimulatedFileSystem(), Clock()
    full = fs.fail("create", errno.ENOSPC, "*.seg", times=None)
    journal = journal_on(fs, opened=False, monotonic=clock)
    assert journal.append_control(event(0)) is None
    with pytest.raises(JournalFull, match="No space left on device"):
        journal.append(event(1))
    assert "No space left on device" in str(journal.problem)
    assert full.hits
    fs.heal()
    clock.tick()
    with pytest.raises(JournalFull):
        journal.append(event(1))  # there is room, but the checkpoint comes first
    assert journal.take(512) == []
    with pytest.raises(JournalFull, match="is being opened"):
        journal.append(event(1))
    assert journal.append_control(event(0)) == 0
    journal.append(event(1))
    assert [record.sequence for record in drain(journal)] == [0, 1]


def test_a_directory_that_cannot_be_made_now_is_made_later() -> None:
    for pattern in (f"{PATH}/.new-*", f"{PATH}/.new-*/stream.json", PATH):
        fs, clock = SimulatedFileSystem(), Clock()
        path = JournalPath(fs, PATH)
        for operation in ("mkdir", "rename", "write"):
            fs.fail(operation, errno.ENOSPC, pattern if operation != "write" else "*/.new-stream.json", None)
        stream_id = uuid7()
        journal = DiskJournal(path, stream_id, {}, on_full="drop_newest", monotonic=clock)
        assert journal.directory is None
        assert journal.append_control(event(0)) is None
        assert journal.take(512) == []
        assert not journal.sync() or journal.next_sequence == 0
        assert "No space left" in str(journal.problem)
        fs.heal()
        clock.tick()
        assert journal.append_control(event(0)) == 0
        assert [record.sequence for record in journal.take(512)] == [0]
        assert path.streams() == [stream_id]


def test_a_start_on_a_full_path_leaves_nothing_there() -> None:
    """Else a process that is started again and again fills the disk with directories."""
    fs = SimulatedFileSystem()
    fill(journal_on(fs))
    before = fs.files(PATH)
    for _ in range(5):
        journal = journal_on(fs, opened=False)
        assert journal.append_control(event(0)) is None
        with pytest.raises(JournalFull, match="the journal is full"):
            journal.append(event(1))
        assert "the journal is full" in str(journal.problem)
        journal.close(ended=None)
    assert fs.files(PATH) == before


def test_a_directory_without_a_record_is_removed_at_the_end() -> None:
    fs = SimulatedFileSystem()
    fs.fail("create", errno.ENOSPC, "*.seg", times=None)
    journal = journal_on(fs, opened=False)
    assert journal.path.streams() == [journal.stream_id]
    journal.close(ended=None)
    assert fs.files(PATH) == {}


def test_a_path_that_is_no_directory_any_more_refuses_as_a_full_one_does() -> None:
    """A forked child opens its journal inside an emit, where nobody expects a ConfigurationError."""
    fs, clock = SimulatedFileSystem(), Clock()
    path = JournalPath(fs, PATH)
    fs.rmdir(PATH)
    fs.open(PATH, create=True).close()
    journal = DiskJournal(path, uuid7(), {}, on_full="drop_newest", monotonic=clock)
    assert journal.take(512) == []
    assert journal.append_control(event(0)) is None
    with pytest.raises(JournalFull, match="Not a directory"):
        journal.append(event(1))
    fs.unlink(PATH)
    clock.tick()
    assert journal.append_control(event(0)) == 0


def test_a_directory_that_is_removed_takes_nothing_more_and_what_is_in_it_can_still_be_taken() -> None:
    fs, clock = SimulatedFileSystem(), Clock()
    journal = journal_on(fs, monotonic=clock)
    journal.append(event(1))
    clock.tick()
    journal.take(1)
    fs.rename(f"{PATH}/{journal.stream_id}", "/elsewhere")
    fs.fail("inode", errno.EACCES, "*/owner.lock")
    clock.tick()
    journal.take(0)
    journal.append(event(2))  # it could not be told whether it is there
    clock.tick()
    journal.take(0)
    with pytest.raises(JournalFull, match="directory was removed"):
        journal.append(event(3))
    assert "directory was removed" in str(journal.problem)
    assert journal.append_control(event(3)) == 3
    assert [record.sequence for record in drain(journal)] == [1, 2, 3]
    fs.rename("/elsewhere", f"{PATH}/{journal.stream_id}")  # a mistake, and put right
    clock.tick()
    journal.take(0)
    assert journal.problem is None
    journal.append(event(4))


def test_an_append_waits_for_the_opening_as_for_room() -> None:
    fs = SimulatedFileSystem()
    fs.fail("create", errno.ENOSPC, "*.seg", times=None)
    journal = journal_on(fs, opened=False, on_full="block", full_timeout=FOR_EVER)
    assert journal.append_control(event(0)) is None
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(run_aside(lambda: journal.append(event(1)))))
    thread.start()
    until(lambda: len(journal._room._waiting) == 1)
    fs.heal()
    until(lambda: journal.append_control(event(0)) == 0)
    thread.join(SOON)
    assert done == [None]
    assert [record.sequence for record in drain(journal)] == [0, 1]


def test_a_list_of_ended_streams_that_cannot_be_read_does_not_keep_a_journal_from_opening() -> None:
    fs = SimulatedFileSystem()
    path = JournalPath(fs, PATH)
    path.note_ended(f"{ENDED}:7:{'ab' * 32}")
    fs.fail("list", errno.EMFILE, f"{PATH}/ended")
    stream_id = uuid7()
    journal = DiskJournal(path, stream_id, {})
    assert list(journal.previous) == []  # the next stream names it
    assert journal.append_control(event(0)) == 0


# -- streams that ended before ---------------------------------------------------------------------------


def test_an_ended_stream_is_forgotten_when_the_checkpoint_that_names_it_is_on_the_disk() -> None:
    fs = SimulatedFileSystem()
    line = f"{ENDED}:7:{'ab' * 32}"
    JournalPath(fs, PATH).note_ended(line)
    journal = journal_on(fs)
    assert list(journal.previous) == [line]
    drain(journal)
    assert journal.path.ended() == [line]  # a power loss would take the checkpoint: the next one names it
    assert journal.sync()
    drain(journal)
    assert journal.path.ended() == []
    assert JournalPath(fs.crash(random.Random(1)), PATH).ended() in ([], [line])


@pytest.mark.parametrize("ended", [True, False])
def test_an_ended_stream_is_forgotten_at_the_end_when_nothing_was_synchronised_before(ended: bool) -> None:
    fs = SimulatedFileSystem()
    JournalPath(fs, PATH).note_ended(f"{ENDED}:7:{'ab' * 32}")
    journal = journal_on(fs, sync="never")
    journal.start()
    deliver(journal)
    own = f"{journal.stream_id}:0:{'cd' * 32}"
    journal.close(ended=own if ended else None)
    assert journal.path.ended() == ([own] if ended else [])


def test_an_ended_stream_that_cannot_be_forgotten_is_named_again(caplog: pytest.LogCaptureFixture) -> None:
    fs = SimulatedFileSystem()
    line = f"{ENDED}:7:{'ab' * 32}"
    JournalPath(fs, PATH).note_ended(line)
    journal = journal_on(fs)
    fs.fail("unlink", errno.EIO, f"*/{ENDED}", times=None)
    assert journal.sync()
    with caplog.at_level(logging.WARNING, "auditwire"):
        for _ in range(3):
            drain(journal)
    assert len(caplog.records) == 1
    fs.heal()
    assert list(journal_on(fs).previous) == [line]


# -- synchronisation -------------------------------------------------------------------------------------


def test_with_sync_always_what_append_returned_for_survives_a_loss_of_power() -> None:
    for seed in range(20):
        fs = SimulatedFileSystem()
        journal = journal_on(fs, sync="always")
        for number in range(1, 30):
            journal.append(event(number))
        assert journal.unsynced == 0
        assert left(fs.crash(random.Random(seed)), journal) == list(range(30))


def test_with_sync_interval_a_thread_synchronises_what_is_accepted() -> None:
    fs = SimulatedFileSystem()
    journal = journal_on(fs, sync="interval", sync_seconds=0.001)
    journal.append(event(1))
    assert journal.unsynced == 2
    journal.start()
    journal.start()  # does nothing
    until(lambda: journal.unsynced == 0)
    until(lambda: journal._syncer.idle)
    journal.append(event(2))  # wakes it
    until(lambda: journal.unsynced == 0)
    journal.append_control(event(3))
    until(lambda: journal.unsynced == 0)
    journal.close(ended=None)
    assert journal._thread is not None
    assert not journal._thread.is_alive()
    assert left(fs.crash(random.Random(3)), journal) == [0, 1, 2, 3]


def test_with_sync_never_nothing_is_synchronised_before_the_end() -> None:
    fs = SimulatedFileSystem()
    journal = journal_on(fs, sync="never")
    journal.start()
    assert journal._thread is None
    fill(journal)
    assert [path for operation, path in fs.log if operation == "sync" and path.endswith(".seg")] == []
    journal.close(ended=None)
    assert left(fs.crash(random.Random(3)), journal) == list(range(journal.next_sequence))


def test_a_synchronisation_that_was_asked_for_says_whether_it_succeeded() -> None:
    fs, clock = SimulatedFileSystem(), Clock()
    journal = journal_on(fs, monotonic=clock)
    for number in range(1, 10):
        journal.append(event(number))
    fs.fail("sync", errno.EIO, "*.seg", times=None)
    assert not journal.sync()
    assert "Input/output error" in str(journal.problem)
    assert journal.unsynced == 10
    fs.heal()
    clock.tick(60)
    assert journal.sync()  # from a segment of its own, written anew
    assert journal.problem is None
    assert left(fs.crash(random.Random(3)), journal) == list(range(10))


def test_with_sync_always_an_event_is_accepted_though_the_disk_does_not_confirm_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fs = SimulatedFileSystem()
    journal = journal_on(fs, sync="always")
    fs.fail("sync", errno.EIO, "*", times=None)
    journal.append(event(1))
    assert "could not be synchronised" in caplog.text
    assert "Input/output error" in (journal.problem or "")  # the health is failing
    assert journal.unsynced == 2
    assert [record.sequence for record in drain(journal)] == [0, 1]


def test_a_process_that_can_start_no_thread_synchronises_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 and later start none while the interpreter shuts down."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    fs = SimulatedFileSystem()
    journal = journal_on(fs)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    journal.start()
    journal.append(event(1))
    journal.close(ended=None)
    assert left(fs.crash(random.Random(3)), journal) == [0, 1]


# -- the end ---------------------------------------------------------------------------------------------


def test_a_sealed_journal_takes_control_records_only() -> None:
    journal = journal_on(SimulatedFileSystem())
    journal.append(event(1))
    journal.seal()
    with pytest.raises(CollectorClosed):
        journal.append(event(2))
    assert journal.append_control(event(2)) == 2
    assert [record.sequence for record in drain(journal)] == [0, 1, 2]


def test_who_waits_for_room_while_the_journal_is_sealed_hears_that_it_is_closed() -> None:
    journal = journal_on(SimulatedFileSystem(), on_full="block", full_timeout=0.0)
    fill(journal)
    journal._patience = FOR_EVER
    errors: list[object] = []
    thread = threading.Thread(target=lambda: errors.append(run_aside(lambda: journal.append(draft(100_000)))))
    thread.start()
    until(lambda: len(journal._room._waiting) == 1)
    journal.seal()
    thread.join(SOON)
    assert [type(error) for error in errors] == [CollectorClosed]


def test_a_stream_that_ended_leaves_a_note_and_nothing_else() -> None:
    fs = SimulatedFileSystem()
    journal = journal_on(fs)
    journal.append(event(1))
    deliver(journal)
    line = f"{journal.stream_id}:1:{'cd' * 32}"
    journal.close(ended=line)
    journal.close(ended=line)
    path = JournalPath(fs, PATH)
    assert path.streams() == path.strangers() == []
    assert path.ended() == [line]
    assert list(fs.files(PATH)) == [f"{PATH}/ended/{journal.stream_id}"]


def test_a_stream_that_did_not_end_is_left_whole_synchronised_and_free_for_the_next_one() -> None:
    fs = SimulatedFileSystem()
    journal = journal_on(fs)
    for number in range(1, 30):
        journal.append(event(number))
    other = fs.process()
    directory = JournalPath(other, PATH).open_stream(journal.stream_id)
    assert directory.take_owner() is None
    assert directory.take_sender() is None
    assert directory.owner_alive()
    journal.close(ended=None)
    assert directory.take_owner() is not None
    assert directory.take_sender() is not None
    assert left(fs.crash(random.Random(3)), journal) == list(range(30))


def test_a_journal_that_another_process_sends_leaves_the_senders_lock_to_it() -> None:
    fs = SimulatedFileSystem()
    journal = journal_on(fs, sends=False)
    directory = JournalPath(fs.process(), PATH).open_stream(journal.stream_id)
    assert directory.take_owner() is None
    assert directory.take_sender() is not None
    info = directory.info()
    assert info is not None
    assert info["delivers"] is False
    journal.close(ended=None)


@pytest.mark.parametrize("operation", ["mkdir", "rename", "sync"])
def test_a_stream_that_cannot_be_put_away_stays_for_the_next_one(
    operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    fs = SimulatedFileSystem()
    journal = journal_on(fs)
    deliver(journal)
    journal.sync()
    fs.fail(operation, errno.ENOSPC, f"{PATH}/*", times=None)
    with caplog.at_level(logging.WARNING, "auditwire"):
        journal.close(ended=f"{journal.stream_id}:0:{'cd' * 32}")
    assert "could not be put away" in caplog.text
    fs.heal()
    assert JournalPath(fs, PATH).streams() == [journal.stream_id]
    assert JournalPath(fs.process(), PATH).open_stream(journal.stream_id).take_owner() is not None


def test_a_journal_that_never_found_room_ends_all_the_same() -> None:
    fs = SimulatedFileSystem()
    JournalPath(fs, PATH)
    fs.fail("mkdir", errno.ENOSPC, times=None)
    journal = journal_on(fs, opened=False)
    journal.start()
    journal.seal()
    assert journal.append_control(event(0)) is None
    journal.close(ended=None)
    assert fs.files(PATH) == {}


# -- forks -----------------------------------------------------------------------------------------------


def test_a_forked_child_lets_go_of_locks_and_cursor_and_unlocks_nothing(tmp_path: Path) -> None:
    script = """
        import os, signal, sys, time
        from auditwire.errors import CollectorClosed
        from auditwire.ids import uuid7
        from auditwire.journal import Draft
        from auditwire.journal.disk import DiskJournal
        from auditwire.journal.filesystem import REAL
        from auditwire.journal.layout import JournalPath

        def draft():
            return Draft("error", "audit.error", b"key", 1, "e", None, b"h", b"t" * 100_000)

        def inherited():
            links = []
            for number in os.listdir("/proc/self/fd"):
                try:
                    links.append(os.readlink(f"/proc/self/fd/{number}"))
                except FileNotFoundError:  # the listing's own
                    pass
            # mmap keeps a duplicate of its file's descriptor: what is still mapped may be there, no lock
            return [link for link in links if sys.argv[1] in link and not link.endswith(".seg")]

        stream_id = uuid7()
        journal = DiskJournal(JournalPath(REAL, sys.argv[1]), stream_id, {}, capacity=64 << 20)
        assert journal.append_control(draft()) == 0
        for _ in range(30):  # several segments
            journal.append(draft())
        taken = [record for _ in range(3) for record in journal.take(8)]
        journal.advance(1, 1)
        assert inherited()
        parent_lives, _parents_end = os.pipe()
        child_says, report = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(_parents_end)
            journal.after_fork()
            assert inherited() == [], inherited()
            try:
                journal.append(draft())
            except CollectorClosed:
                pass
            journal.close(ended=f"{stream_id}:0:{'ab' * 32}")  # as an exit of the child would
            os.write(report, b"closed")
            os.read(parent_lives, 1)  # until the parent is dead
            directory = JournalPath(REAL, sys.argv[1]).open_stream(stream_id)
            end = time.monotonic() + 20
            # the kernel closes a killed process's files one after the other
            while (lock := directory.take_owner()) is None and time.monotonic() < end:
                time.sleep(0.001)
            print("free" if lock else "held", flush=True)
            os._exit(0)
        os.close(report)
        assert os.read(child_says, 10) == b"closed"
        other = JournalPath(REAL, sys.argv[1]).open_stream(stream_id)
        assert other.take_owner() is other.take_sender() is None
        journal.append(draft())
        while batch := journal.take(100):
            taken += batch
        assert [r.sequence for r in taken] == list(range(32))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert (done.stdout, done.returncode) == ("free\n", -9)


def test_a_forked_child_lets_go_of_locks_that_another_thread_is_just_taking(tmp_path: Path) -> None:
    """Nobody else knows of them yet; a child that kept one would keep it after its parent has died."""
    script = """
        import os, sys, threading
        from auditwire.journal.filesystem import RealFileSystem
        from auditwire.journal.locks import Lock

        locked, go_on = threading.Event(), threading.Event()

        class Slow(RealFileSystem):
            def inode(self, path):  # acquire looks at the name, with the file locked
                locked.set()
                go_on.wait(20)
                return super().inode(path)

        path = sys.argv[1] + "/owner.lock"
        taken = []
        thread = threading.Thread(target=lambda: taken.append(Lock.acquire(Slow(), path)))
        thread.start()
        assert locked.wait(20)
        parent_lives, end = os.pipe()
        child_lives, report = os.pipe()
        if os.fork() == 0:
            os.close(end)
            os.write(report, b".")
            os.read(parent_lives, 1)  # lives until its parent has looked
            os._exit(0)
        os.read(child_lives, 1)
        go_on.set()
        thread.join()
        taken[0].abandon()  # closes it and unlocks nothing, as the death of a process does
        print("held" if Lock.held(RealFileSystem(), path) else "free")
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("free\n", "")


def test_a_child_of_a_journal_that_has_nothing_open_yet_lets_go_too() -> None:
    fs = SimulatedFileSystem()
    JournalPath(fs, PATH)
    fs.fail("mkdir", errno.ENOSPC, times=None)
    journal = journal_on(fs, opened=False)
    journal.after_fork()
    fs.heal()
    with pytest.raises(CollectorClosed):
        journal.append(event(1))
    assert journal.append_control(event(0)) is None
    assert fs.files(PATH) == {}
    assert FIRST_SEGMENT == 1 << 20
