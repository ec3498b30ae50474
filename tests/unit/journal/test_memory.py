from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from auditwire.errors import CollectorClosed, JournalFull
from auditwire.journal import Draft, MemoryJournal
from auditwire.journal.base import OVERHEAD, Waiters, Wakeup

MEBIBYTE = 1 << 20


def draft(name: str = "e", size: int = 100) -> Draft:
    return Draft("error", "audit.error", b"key", 1, name, None, b"h" * (size // 2), b"t" * (size // 2))


def names(journal: MemoryJournal, limit: int = 512) -> list[tuple[int, str]]:
    return [(r.sequence, r.event_id) for r in journal.take(limit)]


def test_records_are_numbered_from_0_in_the_order_of_their_appends() -> None:
    journal = MemoryJournal()
    for name in "abc":
        journal.append(draft(name))
    assert names(journal, 2) == [(0, "a"), (1, "b")]
    assert names(journal) == [(2, "c")]
    assert names(journal) == []


def test_a_body_holds_its_sequence_between_its_parts() -> None:
    journal = MemoryJournal()
    for _ in range(65):
        journal.append(draft(size=2))
    bodies = [r.body for r in journal.take(512)]
    assert bodies[0] == b"h\x00t"
    assert bodies[1] == b"h\x02t"  # zigzag
    assert bodies[64] == b"h\x80\x01t"


def test_control_records_come_first_and_share_the_numbers() -> None:
    journal = MemoryJournal()
    journal.append(draft("event"))
    assert journal.append_control(draft("checkpoint")) == 0
    assert names(journal) == [(0, "checkpoint"), (1, "event")]
    assert journal.append_control(draft("loss")) == 2


def test_a_mark_gets_the_number_behind_everything_accepted_before_it() -> None:
    journal = MemoryJournal()
    journal.append(draft("a"))
    mark = journal.barrier()
    journal.append(draft("b"))
    assert names(journal, 1) == [(0, "a")]
    assert journal.barriers() == []
    journal.take(512)
    assert journal.barriers() == [mark]
    assert mark.sequence == 1
    assert not mark.wait(0)
    mark.release()
    assert mark.wait(0)
    assert mark.wait(0)


def test_marks_are_no_records() -> None:
    journal = MemoryJournal()
    journal.append(draft("a"))
    marks = [journal.barrier() for _ in range(3)]
    assert journal.backlog == journal.backlog_drafts == 1
    journal.withdraw(marks[0])
    assert journal.backlog == 1
    journal.take(10)
    assert journal.backlog == 0
    assert journal.barriers() == marks[1:]


def test_the_oldest_that_waits_is_told_by_its_time_behind_any_marks() -> None:
    journal = MemoryJournal()
    journal.barrier()
    assert journal.oldest_us is None
    journal.append(draft("a"))
    journal.append(draft("b")._replace(timestamp_us=2))
    oldest: list[int | None] = []
    for _ in range(3):
        oldest.append(journal.oldest_us)
        journal.take(1)
    assert oldest == [1, 2, None]


def test_a_mark_that_nobody_waits_for_is_withdrawn() -> None:
    journal = MemoryJournal()
    mark = journal.barrier()
    journal.withdraw(mark)
    journal.withdraw(mark)
    assert journal.backlog == 0


def test_bytes_are_bounded_and_room_comes_back_with_releases() -> None:
    size = draft().size
    assert size == 100 + 3 + OVERHEAD
    journal = MemoryJournal(10 * size, on_full="drop_newest")
    for _ in range(10):
        journal.append(draft())
    with pytest.raises(JournalFull, match=f"{10 * size} of {10 * size} bytes"):
        journal.append(draft())
    assert journal.pending_bytes == 10 * size
    for record in journal.take(512):
        journal.release(record.size)
    assert journal.pending_bytes == 0
    journal.append(draft())


def test_an_event_larger_than_the_journal_is_refused_at_once() -> None:
    journal = MemoryJournal(1_000, full_timeout=60)
    with pytest.raises(JournalFull, match="can never fit"):
        journal.append(draft(size=2_000))


def test_control_records_have_a_reserve_that_is_bounded_too() -> None:
    journal = MemoryJournal(1_000, on_full="drop_newest")
    journal.append(draft(size=400))
    with pytest.raises(JournalFull):
        journal.append(draft(size=400))
    count = 0
    while journal.append_control(draft(size=10_000)) is not None:
        count += 1
    assert 90 < count < 105


def test_an_append_waits_for_room_and_goes_on_when_it_comes() -> None:
    journal = MemoryJournal(1_000, full_timeout=30)
    journal.append(draft(size=400))
    (record,) = take_on_another_thread(journal)
    accepted = threading.Event()

    def late() -> None:
        journal.append(draft("late", size=400))
        accepted.set()

    thread = threading.Thread(target=late)
    thread.start()
    wait_until(lambda: len(journal._room._waiting) == 1)
    assert not accepted.is_set()
    journal.release(record.size)
    assert accepted.wait(10)
    thread.join()


def test_only_the_first_append_of_a_full_period_waits() -> None:
    journal = MemoryJournal(1_000, full_timeout=0.05)
    journal.append(draft(size=400))
    (record,) = take_on_another_thread(journal)
    with pytest.raises(JournalFull):
        journal.append(draft(size=400))
    assert vars(journal)["_gave_up"]
    journal._patience = 600.0  # were it asked for, the test would time out
    with pytest.raises(JournalFull):
        journal.append(draft(size=400))
    journal.release(record.size)
    assert not vars(journal)["_gave_up"]
    journal.append(draft(size=400))


def test_others_stop_waiting_when_the_first_one_gave_up() -> None:
    journal = MemoryJournal(1_000, full_timeout=0.3)
    journal.append(draft(size=400))
    take_on_another_thread(journal)
    errors: list[BaseException] = []

    def refused() -> None:
        try:
            journal.append(draft(size=400))
        except JournalFull as error:
            errors.append(error)

    threads = [threading.Thread(target=refused) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(errors) == 4


def test_nothing_waits_on_a_thread_with_a_running_event_loop() -> None:
    journal = MemoryJournal(1_000, full_timeout=600)
    journal.append(draft(size=400))

    async def main() -> None:
        journal.append(draft(size=400))

    with pytest.raises(JournalFull):
        asyncio.run(main())


def test_the_sender_itself_never_waits() -> None:
    journal = MemoryJournal(1_000, full_timeout=600)
    journal.append(draft(size=400))
    journal.take(1)  # this thread is the sender now
    with pytest.raises(JournalFull):
        journal.append(draft(size=400))


def test_a_sealed_journal_takes_control_records_only() -> None:
    journal = MemoryJournal()
    journal.append(draft("a"))
    journal.seal()
    with pytest.raises(CollectorClosed):
        journal.append(draft("b"))
    assert journal.append_control(draft("close")) == 0
    assert [name for _, name in names(journal)] == ["close", "a"]


def test_who_waits_for_room_is_sent_away_when_the_journal_is_sealed() -> None:
    journal = MemoryJournal(1_000, full_timeout=600)
    journal.append(draft(size=400))
    take_on_another_thread(journal)
    errors: list[BaseException] = []

    def refused() -> None:
        try:
            journal.append(draft(size=400))
        except CollectorClosed as error:
            errors.append(error)

    thread = threading.Thread(target=refused)
    thread.start()
    wait_until(lambda: len(journal._room._waiting) == 1)
    journal.seal()
    thread.join(10)
    assert len(errors) == 1


class _SealsInside:
    """A queue whose append is followed by another thread's seal, and perhaps by the sender's last take."""

    def __init__(self, journal: MemoryJournal, *, take: bool) -> None:
        self.journal, self.take, self.inner = journal, take, journal._inbox

    def append(self, item: Any) -> None:
        self.inner.append(item)
        self.journal._inbox = self.inner
        self.journal.seal()
        if self.take:
            assert len(self.journal.take(10)) == 1


@pytest.mark.parametrize("taken", [True, False])
def test_an_append_that_a_seal_overtook_is_accepted_or_refused_but_never_lost(taken: bool) -> None:
    journal = MemoryJournal()
    journal._inbox = _SealsInside(journal, take=taken)  # type: ignore[assignment]
    if taken:
        journal.append(draft())
    else:
        with pytest.raises(CollectorClosed):
            journal.append(draft())
        assert journal.backlog == 0
        assert journal.pending_bytes == 0


def test_a_wait_ends_when_something_is_appended() -> None:
    journal = MemoryJournal()
    woken = threading.Event()

    def sender() -> None:
        journal.wait(600)
        woken.set()

    thread = threading.Thread(target=sender)
    thread.start()
    wait_until(lambda: journal._idle)
    journal.append(draft())
    assert woken.wait(10)
    thread.join()


def test_a_wait_does_not_sleep_over_what_is_already_there() -> None:
    journal = MemoryJournal()
    journal.append(draft())
    journal.wait(600)
    journal.take(1)
    journal.append_control(draft())
    journal.wait(600)


def test_a_wait_is_bounded_and_old_signals_do_not_pile_up() -> None:
    journal = MemoryJournal()
    for _ in range(5):
        journal.wake()
    journal.wait(600)
    assert journal._signal._given.empty()
    journal.wait(0.001)


def test_what_an_interruption_left_apart_is_put_right_when_the_queue_is_empty() -> None:
    journal = MemoryJournal()
    journal._inbox.append(draft("interrupted"))  # appended, and not added up
    (record,) = journal.take(10)
    journal.release(record.size)
    assert journal._in - journal._out < 0
    for _ in range(2):  # the same difference twice: no append is under way
        journal.wait(0)
    assert journal._in - journal._out == 0
    assert journal.pending_bytes == 0


def test_waiters_do_not_miss_what_happens_between_looking_and_queueing() -> None:
    waiters = Waiters()
    answers = iter([False, True])
    assert waiters.wait(lambda: next(answers), time.monotonic() + 600)
    assert not waiters._waiting


def test_waiters_give_up_at_their_deadline() -> None:
    assert not Waiters().wait(lambda: False, time.monotonic() + 0.01)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_many_threads_append_without_a_gap_or_a_double(order: int) -> None:
    journal = MemoryJournal()
    taken: list[tuple[int, str]] = []
    stop = threading.Event()

    def sender() -> None:
        while not stop.is_set() or journal.backlog:
            for record in journal.take(512):
                taken.append((record.sequence, record.event_id))
                journal.release(record.size)

    reader = threading.Thread(target=sender)
    reader.start()

    def write(i: int) -> None:
        for n in range(10_000):
            journal.append(draft(f"{i}-{n}"))

    writers = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert [sequence for sequence, _ in taken] == list(range(80_000))
    for i in range(8):
        mine = [int(name.split("-")[1]) for _, name in taken if name.startswith(f"{i}-")]
        assert mine == list(range(10_000))
    assert journal.pending_bytes == 0


class Model(RuleBasedStateMachine):
    """The journal against two lists and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = MemoryJournal(5_000, on_full="drop_newest")
        self.waiting: list[str] = []
        self.held: list[int] = []
        self.bytes = 0
        self.next = 0
        self.count = 0

    @rule(size=st.integers(0, 3_000))
    def append(self, size: int) -> None:
        self.count += 1
        item = draft(str(self.count), size)
        fits = self.bytes + item.size <= 5_000
        try:
            self.journal.append(item)
        except JournalFull:
            assert not fits
        else:
            assert fits
            self.waiting.append(item.event_id)
            self.bytes += item.size

    @rule(limit=st.integers(1, 5))
    def take(self, limit: int) -> None:
        expected, self.waiting = self.waiting[:limit], self.waiting[limit:]
        records = self.journal.take(limit)
        assert [r.event_id for r in records] == expected
        assert [r.sequence for r in records] == list(range(self.next, self.next + len(records)))
        self.next += len(records)
        self.held.extend(r.size for r in records)

    @rule()
    def release(self) -> None:
        if self.held:
            size = self.held.pop(0)
            self.bytes -= size
            self.journal.release(size)

    @rule()
    def rest(self) -> None:
        self.journal.wait(0)

    @invariant()
    def agrees(self) -> None:
        assert self.journal.pending_bytes == self.bytes
        assert self.journal.backlog == self.journal.backlog_drafts == len(self.waiting)
        assert self.journal.next_sequence == self.next


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=50, deadline=None)


def take_on_another_thread(journal: MemoryJournal) -> list[Any]:
    out: list[Any] = []
    thread = threading.Thread(target=lambda: out.extend(journal.take(512)))
    thread.start()
    thread.join()
    journal._reader = -1  # the next thread may get the ended one's identifier
    return out


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_sleep_ends_at_once_when_it_was_given_before_and_forgets_it() -> None:
    wakeup = Wakeup()
    wakeup.give()
    wakeup.give()
    wakeup.sleep(600)
    wakeup.clear()
    begin = time.monotonic()
    wakeup.sleep(0.01)
    assert time.monotonic() - begin >= 0.009


def test_a_short_sleep_ends_however_often_it_was_given_before() -> None:
    """On Python 3.10 one in some ten thousand never did."""
    wakeup = Wakeup()
    for _ in range(100_000):
        wakeup.give()
        wakeup.sleep(600)
        wakeup.clear()
        wakeup.sleep(0)
