from __future__ import annotations

import random
from collections import deque

import pytest
from durable_journal import DurableJournal
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from auditwire.delivery import backlog as module
from auditwire.delivery.backlog import HOLD_BYTES, Backlog, Hold, Lost, Place
from auditwire.delivery.feed import Feed
from auditwire.errors import AuditwireError
from auditwire.journal import Draft, MemoryJournal, Record

STREAM = "01a2084c-c3e5-7061-bb16-f33d4bf54187"
DRAFT = Draft("error", "audit.error", b"k", 1, "e", None, b"head", b"tail")


def durable(hold: Hold) -> tuple[Feed, DurableJournal]:
    journal = DurableJournal(DRAFT)
    journal.accept(1_000_000)
    return Feed(journal, STREAM, None, 0.0, hold), journal


def sequences(backlog: Backlog) -> list[int]:
    out = []
    while backlog.front or backlog.refill():
        out.append(backlog.front.popleft().sequence)
    return out


def test_what_is_little_waits_in_memory_and_is_not_read_again() -> None:
    hold = Hold()
    feed, journal = durable(hold)
    backlog = Backlog(hold)
    for record in feed.take(500, 0.0):
        backlog.append(record)
    assert len(backlog) == len(backlog.front) == 500
    assert sequences(backlog) == list(range(500))
    assert journal.reads == 0


def test_behind_what_was_spilled_only_the_place_is_kept() -> None:
    hold = Hold()
    feed, journal = durable(hold)
    backlog = Backlog(hold)
    for record in feed.take(1, 0.0):
        backlog.append(record)
    backlog.spill(0, 0)
    for record in feed.take(499, 0.0):
        backlog.append(record)
    assert (len(backlog), len(backlog.front)) == (500, 0)
    assert (hold.count, hold.size) == (0, 0)
    assert sequences(backlog) == list(range(500))
    assert journal.reads == 500


def test_bytes_make_memory_short_too() -> None:
    hold = Hold()
    states = []
    for size in (HOLD_BYTES - 1, 1, -1):
        hold.add(0, size)
        states.append(hold.full)
    assert states == [False, True, False]


def test_what_is_in_memory_only_is_never_let_go() -> None:
    hold = Hold()
    journal = MemoryJournal()
    memory = Feed(journal, STREAM, None, 0.0, hold)
    feed, _ = durable(hold)
    backlog = Backlog(hold)
    for _ in range(4):
        journal.append(DRAFT)
    mixed: list[Record] = []
    for first, second in zip(memory.take(4, 0.0), feed.take(4, 0.0), strict=True):
        mixed += (first, second)
    for record in mixed:
        backlog.append(record)
    backlog.spill(1, 1 << 20)
    backlog.spill(0, 0)
    out = []
    while backlog.front or backlog.refill():
        out.append(backlog.front.popleft())
    assert out == mixed
    assert hold.count == 4


def test_only_so_much_is_read_again_at_once() -> None:
    hold = Hold()
    feed, journal = durable(hold)
    backlog = Backlog(hold)
    for record in feed.take(10_000, 0.0):
        backlog.append(record)
    backlog.spill(0, 0)
    assert hold.count == hold.size == 0
    backlog.refill()
    assert len(backlog.front) == hold.count == journal.reads == module.REFILL_RECORDS
    assert sequences(backlog) == list(range(10_000))


def test_the_first_ones_may_stay_in_memory() -> None:
    hold = Hold()
    feed, journal = durable(hold)
    backlog = Backlog(hold)
    records = feed.take(100, 0.0)
    for record in records:
        backlog.append(record)
    backlog.spill(10, 1 << 20)
    assert (len(backlog.front), hold.count) == (10, 10)
    backlog.spill(10, records[0].size * 3)
    assert (len(backlog.front), hold.count) == (3, 3)
    backlog.spill(10, 1 << 20)
    assert sequences(backlog) == list(range(100))
    assert journal.reads == 97


def test_what_is_put_back_comes_first_wherever_the_rest_is() -> None:
    hold = Hold()
    feed, _ = durable(hold)
    backlog = Backlog(hold)
    records = feed.take(10, 0.0)
    for record in records[3:]:
        backlog.append(record)
    backlog.spill(0, 0)
    backlog.put_back(records[:3])
    assert sequences(backlog) == list(range(10))


def test_a_record_that_is_gone_is_named_once_and_the_next_one_follows() -> None:
    hold = Hold()
    feed, journal = durable(hold)
    backlog = Backlog(hold)
    for record in feed.take(5, 0.0):
        backlog.append(record)
    backlog.spill(0, 0)
    journal.damaged[2] = AuditwireError("its checksum differs")
    assert backlog.refill()
    assert [backlog.front.popleft().sequence for _ in range(2)] == [0, 1]
    with pytest.raises(Lost, match="checksum") as caught:
        backlog.refill()
    assert caught.value.place == Place(feed, 2, 2)
    assert sequences(backlog) == [3, 4]
    assert len(backlog) == 0


def test_what_cannot_be_read_now_stays() -> None:
    hold = Hold()
    feed, journal = durable(hold)
    backlog = Backlog(hold)
    for record in feed.take(3, 0.0):
        backlog.append(record)
    backlog.spill(0, 0)
    journal.damaged[1] = OSError(5, "input/output error")
    assert backlog.refill()
    backlog.front.popleft()
    for _ in range(2):
        with pytest.raises(OSError, match="input/output"):
            backlog.refill()
    journal.damaged.clear()
    assert sequences(backlog) == [1, 2]


def test_everything_can_be_taken_out_by_feed() -> None:
    hold = Hold()
    one, _ = durable(hold)
    other, _ = durable(hold)
    journal = MemoryJournal()
    memory = Feed(journal, STREAM, None, 0.0, hold)
    for _ in range(3):
        journal.append(DRAFT)
    backlog = Backlog(hold)
    for records in (one.take(3, 0.0), other.take(2, 0.0), memory.take(3, 0.0), one.take(3, 0.0)):
        for record in records:
            backlog.append(record)
    backlog.spill(2, 1 << 20)
    out = {feed: list(items) for feed, items in backlog.drain().items()}
    assert [item.sequence for item in out[one]] == [0, 1, 2, 3, 4, 5]
    assert [item.sequence for item in out[other]] == [0, 1]
    assert [item.sequence for item in out[memory]] == [0, 1, 2]
    assert len(backlog) == 0
    for feed in (one, other, memory):
        for item in out[feed]:
            backlog.put(item)
    assert sequences(backlog) == [0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 2]


def test_what_was_spilled_can_move() -> None:
    hold = Hold()
    one, _ = durable(hold)
    other, _ = durable(hold)
    backlog = Backlog(hold)
    for records in (one.take(4, 0.0), other.take(4, 0.0), one.take(4, 0.0)):
        for record in records:
            backlog.append(record)
    backlog.spill(0, 0)
    assert [place.sequence for place in backlog.places(one)] == list(range(8))
    backlog.relocate(one, {})
    backlog.relocate(one, {1: 1_001, 2: 1_002, 5: 1_005})
    assert [p.position for p in backlog.places(one)] == [0, 1_001, 1_002, 3, 4, 1_005, 6, 7]
    assert [p.position for p in backlog.places(other)] == [0, 1, 2, 3]


class BacklogMachine(RuleBasedStateMachine):
    """A backlog against a plain queue, whatever is in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.hold = Hold()
        self.feeds = [durable(self.hold)[0] for _ in range(2)]
        self.backlog = Backlog(self.hold)
        self.model: deque[tuple[int, int]] = deque()
        self.way: list[Record] = []

    @rule(which=st.integers(0, 1), count=st.integers(1, 90))
    def takes(self, which: int, count: int) -> None:
        for record in self.feeds[which].take(count, 0.0):
            self.backlog.append(record)
            self.model.append((which, record.sequence))

    @rule(count=st.integers(1, 100))
    def produces(self, count: int) -> None:
        for _ in range(count):
            if not self.backlog.front and not self.backlog.refill():
                break
            record = self.backlog.front.popleft()
            assert (self.feeds.index(record.origin), record.sequence) == self.model.popleft()
            self.way.append(record)

    @rule(keep=st.integers(0, 5))
    def spills(self, keep: int) -> None:
        self.backlog.spill(keep, 1 << 20)

    @rule()
    def puts_back(self) -> None:
        self.backlog.put_back(self.way)
        self.model.extendleft((self.feeds.index(r.origin), r.sequence) for r in reversed(self.way))
        self.way = []

    @invariant()
    def agrees(self) -> None:
        assert len(self.backlog) == len(self.model)
        assert self.hold.count == len(self.backlog.front) + len(self.way)


TestBacklogMachine = BacklogMachine.TestCase


def test_a_long_backlog_takes_sixteen_bytes_a_record() -> None:
    hold = Hold()
    feed, _ = durable(hold)
    backlog = Backlog(hold)
    for record in feed.take(50_000, 0.0):
        backlog.append(record)
    backlog.spill(0, 0)
    size = sum(len(r.positions) * 8 + len(r.sequences) * 8 for r in backlog._runs)
    assert size == 50_000 * 16
    order = list(range(50_000))
    random.Random(1).shuffle(order)
    backlog.relocate(feed, {n: n + 100_000 for n in order[:100]})
    assert len(list(backlog.places(feed))) == 50_000
