"""What all collectors do that write a stream, with a worker of the test's own."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.collectors import lifetime
from auditwire.collectors.lifetime import unregister
from auditwire.collectors.streaming import Stream, StreamingCollector
from auditwire.errors import CollectorClosed, EncodingError, FlushTimeout, JournalFull
from auditwire.events import CheckpointEvent, ErrorEvent
from auditwire.ids import uuid7
from auditwire.journal import MemoryJournal
from auditwire.journal.drafter import Drafter
from auditwire.journal.notes import Notes
from auditwire.wire import FastavroEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOON = 20.0


class Taker:
    """A worker that is done with a record when it has taken it; ``blocked`` keeps it from taking."""

    parked: dict[str, str] = {}  # noqa: RUF012 - never changed
    ended: str | None = None

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.blocked = threading.Event()
        self.taken: list[str] = []
        self.finished = False
        self.ran_on: int | None = None
        self.on_take: Callable[[], object] = lambda: None
        self._deadline: float | None = None

    def run(self) -> None:
        self.ran_on = threading.get_ident()
        while not self.finished:
            self.journal.wait(0.01)
            if not self.blocked.is_set():
                self.taken += [record.event_id for record in self.journal.take(512)]
                for mark in self.journal.barriers():
                    mark.release()
                self.on_take()
            if self._deadline is not None:
                self.finished = not self.journal.backlog or time.monotonic() >= self._deadline

    def close(self, deadline: float) -> None:
        self._deadline = deadline
        self.journal.seal()
        self.journal.wake()

    @property
    def pending(self) -> int:
        return self.journal.backlog


class PlainCollector(StreamingCollector[Taker]):
    """See the module."""

    def __init__(self, capacity: int = 1 << 20, exit_timeout: float = 1.0) -> None:
        self.capacity = capacity
        self.opened: list[Stream[Taker]] = []
        self.parents: list[str | None] = []
        self.while_opening: Callable[[], object] = lambda: None
        super().__init__(exit_timeout)

    def _open(self, parent: str | None) -> Stream[Taker]:
        journal = MemoryJournal(self.capacity, on_full="drop_newest")
        stream = Stream(Drafter(uuid7(), FastavroEncoder(), "audit"), journal, Notes(), Taker(journal))
        self.parents.append(parent)
        self.opened.append(stream)
        call, self.while_opening = self.while_opening, lambda: None
        call()
        return stream

    def flush(self, timeout: float = SOON) -> None:
        stream = self._current()
        if not self._reached(stream, stream.journal.barrier(), time.monotonic() + timeout):
            raise self._flush_timeout(stream, timeout)

    def _flush_timeout(self, stream: Stream[Taker], timeout: float) -> FlushTimeout:
        return FlushTimeout(f"{timeout:g} s", pending=stream.worker.pending, durable=False)

    @property
    def taken(self) -> list[list[str]]:
        return [stream.worker.taken for stream in self.opened]


@pytest.fixture
def collector() -> Iterator[PlainCollector]:
    found = PlainCollector()
    yield found
    for stream in found.opened:
        stream.worker.close(0.0)
        if stream.thread is not None:
            stream.thread.join(SOON)
    unregister(found)


def emitted(collector: PlainCollector, count: int = 1) -> list[str]:
    events = [ErrorEvent(error_message=str(n)) for n in range(count)]
    for event in events:
        collector.emit(event)
    return [event.event_id for event in events]


def test_the_thread_takes_what_is_emitted_and_a_flush_waits_for_it(collector: PlainCollector) -> None:
    ids = emitted(collector, 1_000)
    collector.flush()
    assert collector.taken == [ids]
    assert collector.parents == [None]
    assert collector.stream_id == collector.opened[0].drafter.stream_id
    assert collector.durable is False
    assert collector.opened[0].worker.ran_on != threading.get_ident()


def test_a_flush_that_is_not_reached_in_time_leaves_no_mark_behind(collector: PlainCollector) -> None:
    worker = collector.opened[0].worker
    worker.blocked.set()
    emitted(collector, 3)
    with pytest.raises(FlushTimeout) as caught:
        collector.flush(0.01)
    assert caught.value.pending == 3
    assert collector.opened[0].journal.backlog == 3
    worker.blocked.clear()
    collector.flush()


def test_a_flush_ends_with_the_worker_whether_or_not_it_released_the_mark(collector: PlainCollector) -> None:
    collector.close(SOON)
    collector.flush(600)
    worker = collector.opened[0].worker
    worker.finished = True
    collector.opened[0].journal.append_control(collector.opened[0].drafter.draft(ErrorEvent()))
    with pytest.raises(FlushTimeout):
        collector.flush(600)  # something is left, and nobody takes it any more
    collector.opened[0].journal.take(1)


def test_every_refusal_is_raised_as_documented_and_written_down_by_its_reason() -> None:
    class Broken:
        event_type = "broken"

        def to_dict(self) -> dict[str, Any]:
            raise ZeroDivisionError("no")

    collector = PlainCollector(capacity=4_000)
    worker, notes = collector.opened[0].worker, collector.opened[0].notes
    worker.blocked.set()
    for thing in (object(), Broken(), CheckpointEvent(reason="close")):
        with pytest.raises(EncodingError):
            collector.emit(thing)  # type: ignore[arg-type]
    with pytest.raises(JournalFull):  # noqa: PT012 - the third or so
        for _ in range(20):
            collector.emit(ErrorEvent(error_message="x" * 1_000))
    worker.blocked.clear()
    collector.close(SOON)
    for _ in range(2):
        with pytest.raises(CollectorClosed):
            collector.emit(ErrorEvent())
    assert notes.totals()[0] == {"encoding": 3, "journal_full": 1, "closed": 2}


def test_an_event_that_the_journal_cannot_take_for_another_reason_is_lost_as_refused(
    collector: PlainCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(draft: object) -> None:
        raise EncodingError("a key of 70,000 bytes")

    monkeypatch.setattr(collector.opened[0].journal, "append", refuse)
    with pytest.raises(EncodingError):
        collector.emit(ErrorEvent())
    assert collector.opened[0].notes.totals()[0] == {"refused": 1}


def test_closing_waits_for_what_is_accepted_and_closing_again_does_nothing(collector: PlainCollector) -> None:
    ids = emitted(collector, 100)
    collector.close(SOON)
    collector.close(SOON)
    assert collector.taken == [ids]
    assert collector.abandoned() == 0
    thread = collector.opened[0].thread
    assert thread is not None
    assert not thread.is_alive()


def test_a_close_that_cannot_deliver_ends_in_its_time_and_says_so(collector: PlainCollector) -> None:
    collector.opened[0].worker.blocked.set()
    emitted(collector, 5)
    with pytest.raises(FlushTimeout) as caught:
        collector.close(0.05)
    assert caught.value.pending == collector.abandoned() == 5


def test_the_worker_may_be_the_one_that_closes(collector: PlainCollector) -> None:
    """A user's callback runs on its thread; it cannot wait for itself."""
    closed = threading.Event()

    def close() -> None:
        collector.close(SOON)
        closed.set()

    collector.opened[0].worker.on_take = close
    assert closed.wait(SOON)
    thread = collector.opened[0].thread
    assert thread is not None
    thread.join(SOON)
    assert not thread.is_alive()


def test_a_process_that_can_start_no_thread_does_the_work_when_it_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python 3.12 and later start none while the interpreter shuts down."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    collector = PlainCollector()
    ids = emitted(collector, 3)
    collector.close(SOON)
    assert collector.opened[0].thread is None
    assert collector.opened[0].worker.ran_on == threading.get_ident()
    assert collector.taken == [ids]


def test_a_collector_that_nobody_holds_is_kept_until_the_exit() -> None:
    collector = PlainCollector()
    emitted(collector)
    held = weakref.ref(collector)
    del collector
    gc.collect()
    kept = held()
    assert kept is not None
    assert kept in lifetime._open
    kept.close(SOON)
    assert kept not in lifetime._open


# -- forks; `after_fork` is what the child's hook calls, and here nothing else of a fork ---------------------


def test_a_forked_child_begins_a_stream_at_its_first_event_and_names_its_parents(
    collector: PlainCollector,
) -> None:
    emitted(collector)
    collector.flush()
    collector.after_fork()
    assert len(collector.opened) == 1  # a child that emits nothing has no stream
    assert collector.abandoned() is None
    ids = emitted(collector, 5)
    collector.flush()
    parent, child = collector.opened
    assert collector.parents == [None, parent.drafter.stream_id]
    assert child.worker.taken == ids
    assert collector.stream_id == child.drafter.stream_id
    assert collector.abandoned() == 0
    collector.after_fork()
    emitted(collector)
    assert collector.parents[2] == child.drafter.stream_id


def test_a_child_that_emitted_nothing_closes_without_a_stream(collector: PlainCollector) -> None:
    collector.after_fork()
    collector.close(SOON)
    with pytest.raises(CollectorClosed):
        collector.emit(ErrorEvent())
    collector.after_fork()  # its own child
    assert len(collector.opened) == 1


def test_a_closed_collector_stays_closed_in_a_child(collector: PlainCollector) -> None:
    collector.close(SOON)
    collector.after_fork()
    with pytest.raises(CollectorClosed):
        collector.emit(ErrorEvent())
    assert len(collector.opened) == 1


def test_many_threads_of_a_child_begin_one_stream_together(collector: PlainCollector) -> None:
    collector.after_fork()
    start = threading.Barrier(8)

    def emit() -> None:
        start.wait(SOON)
        emitted(collector, 10)

    threads = [threading.Thread(target=emit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    collector.flush()
    assert [len(taken) for taken in collector.taken] == [0, 80]


def test_a_signal_handler_may_emit_while_the_childs_stream_is_being_begun(collector: PlainCollector) -> None:
    collector.after_fork()
    inner: list[str] = []
    collector.while_opening = lambda: inner.extend(emitted(collector))
    outer = emitted(collector)
    collector.flush()
    _, unused, used = collector.opened  # the handler was quicker: its stream is the child's
    assert used.worker.taken == inner + outer
    assert unused.worker.taken == []
    assert unused.thread is None
    assert collector.stream_id == used.drafter.stream_id


def test_a_lock_that_another_thread_held_while_the_process_forked_stops_nobody(
    collector: PlainCollector,
) -> None:
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with collector._starting:
            held.set()
            go_on.wait(SOON)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(SOON)
    collector.after_fork()
    ids = emitted(collector)
    collector.flush()
    go_on.set()
    thread.join(SOON)
    assert collector.taken[1] == ids


def test_a_stream_of_the_parents_is_never_collected_in_the_child(collector: PlainCollector) -> None:
    """Its producer would wait for threads that do not exist."""
    before = collector.opened[0]
    collector.after_fork()
    emitted(collector)
    held = weakref.ref(before.worker)
    collector.opened[0] = collector.opened[1]
    thread = before.thread
    before.worker.close(0.0)
    assert thread is not None
    thread.join(SOON)
    del before, thread
    gc.collect()
    assert held() is not None
