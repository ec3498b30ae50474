"""The sender's rounds, one by one: no thread, no time, and a producer that does what a test says."""

from __future__ import annotations

import json
import tracemalloc
from collections import deque
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from durable_journal import DurableJournal

from auditwire.delivery.backlog import HOLD_RECORDS
from auditwire.delivery.client import Client
from auditwire.delivery.lanes import FIRST_RECORDS, SILENCE_SECONDS
from auditwire.delivery.partitioner import murmur2
from auditwire.delivery.queues import RETRY_FIRST
from auditwire.delivery.router import LOOKUP_LAST, READ_SECONDS
from auditwire.delivery.sender import BATCH, Sender
from auditwire.delivery.topics import Directory, TopicSettings
from auditwire.errors import AuditwireError, CollectorClosed
from auditwire.events import (
    AuditEvent,
    CheckpointEvent,
    ErrorEvent,
    LossEvent,
    QuarantineEvent,
    TurnStartEvent,
)
from auditwire.journal import MemoryJournal
from auditwire.journal.drafter import Drafter
from auditwire.journal.notes import Notes
from auditwire.stream import Ledger, entries_of
from auditwire.wire import FastavroEncoder, decode

STREAM = "01a2084c-c3e5-7061-bb16-f33d4bf54187"
TOO_LARGE = KafkaError.MSG_SIZE_TOO_LARGE


class Message:
    def __init__(
        self, topic: str, value: bytes, key: bytes, partition: int, stamp: int, headers: Any
    ) -> None:
        self.topic, self._value, self.key = topic, value, key
        self.partition, self.stamp, self.headers = partition, stamp, headers

    def value(self) -> bytes:
        return self._value


class Producer:
    """Reports what ``answer`` says of each message at the next poll: None, an error code, or "later"."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.waiting: deque[tuple[Message, Any]] = deque()
        self.purged = False

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        partition: int,
        report: Any,
        _: Any,
        stamp: int,
        headers: Any,
    ) -> None:
        message = Message(topic, value, key, partition, stamp, headers)
        refusal = self.world.refuse(message)
        if refusal is not None:
            raise refusal
        self.waiting.append((message, report))

    def poll(self, timeout: float) -> int:
        later = []
        count = 0
        for message, report in list(self.waiting):
            self.waiting.popleft()
            answer = self.world.answer(message)
            if answer == "later":
                later.append((message, report))
                continue
            count += 1
            if answer is None:
                self.world.log.append(message)
            report(None if answer is None else KafkaError(answer), message)
        self.waiting.extend(later)
        return count

    def flush(self, timeout: float) -> int:
        self.world.flushes += 1
        self.poll(0)
        return len(self.waiting)

    def purge(self) -> None:
        self.purged = True
        self.world.answer_once = KafkaError._PURGE_QUEUE

    def set_sasl_credentials(self, username: str, password: str) -> None:
        self.world.credentials = (username, password)

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.world.lookups += 1
        if self.world.unreachable:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        partitions, error = self.world.topics.get(topic, (0, KafkaError.UNKNOWN_TOPIC_OR_PART))
        found = type("Topic", (), {})()
        found.error = KafkaError(error) if error else None
        found.partitions = dict.fromkeys(range(partitions))
        metadata = type("Metadata", (), {})()
        metadata.brokers, metadata.topics = {1: None}, {topic: found}
        return metadata


class Default(dict[str, tuple[int, int]]):
    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, (6, 0))


class World:
    """A sender, what surrounds it, and a clock that moves when it is told."""

    def __init__(
        self, *, settings: TopicSettings | None = None, capacity: int = 64 << 20, **more: Any
    ) -> None:
        self.now = 1_000.0
        self.wall = 1_800_000_000_000
        self.log: list[Message] = []
        self.topics: dict[str, tuple[int, int]] = Default()
        self.unreachable = False
        self.lookups = self.flushes = 0
        self.credentials: Any = None
        self.answer_once: Any = None
        self.producers: list[Producer] = []
        self.errors: Any = None
        self.answer: Any = lambda message: None
        self.refuse: Any = lambda message: None
        self.journal: Any = more.pop("journal", None) or MemoryJournal(capacity, on_full="drop_newest")
        self.notes = Notes()
        self.drafter = Drafter(more.pop("stream", STREAM), FastavroEncoder(), "audit")
        self.client = Client({}, more.pop("callbacks", {}), lambda: self.now, self._make)
        self.sender = Sender(
            self.journal,
            self.client,
            Directory(self.client.list_topics, lambda: self, settings),
            Ledger(trail="audit"),
            self.drafter,
            self.notes,
            hash_key=murmur2,
            source=more.pop("source", "/auditwire/test"),
            capacity=capacity,
            adoption=more.pop("adoption", None),
            monotonic=lambda: self.now,
            wall_ms=lambda: self.wall,
            sleep=self._sleep,
        )

    def _make(self, config: dict[str, Any], logger: Any) -> Producer:
        self.errors = config["error_cb"]
        self.producers.append(Producer(self))
        return self.producers[-1]

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def emit(self, *events: AuditEvent) -> None:
        for event in events:
            self.journal.append(self.drafter.draft(event))

    def rounds(self, count: int = 4, seconds: float = 0.0) -> None:
        for _ in range(count):
            self.now += seconds
            self.sender.step()

    def partitions(self, topic: str) -> int:
        return dict.get(self.topics, topic, (6, 0))[0]

    def events(self, kind: type[AuditEvent] | None = None) -> list[Any]:
        decoded = sorted((decode(m.value()) for m in self.log), key=lambda d: d.sequence)
        return [d.event for d in decoded if kind is None or isinstance(d.event, kind)]

    def sequences(self) -> list[int]:
        return sorted(decode(m.value()).sequence for m in self.log)


def error(name: str = "x", session: str | None = None, **more: Any) -> ErrorEvent:
    return ErrorEvent(error_type=name, session_id=session, **more)


def test_a_stream_begins_with_a_checkpoint_and_is_numbered_without_a_gap() -> None:
    world = World()
    world.emit(error("a"), error("b"))
    world.rounds()
    assert [type(e).__name__ for e in world.events()] == ["CheckpointEvent", "ErrorEvent", "ErrorEvent"]
    assert world.events(CheckpointEvent)[0].reason == "open"
    assert world.sequences() == [0, 1, 2]
    assert world.sender.pending == 0
    assert world.sender.low_water_mark == 3
    assert world.journal.pending_bytes == 0


def test_a_record_carries_key_partition_headers_and_a_time_that_the_broker_takes() -> None:
    world = World()
    world.emit(
        error("now", "s1", timestamp_us=world.wall * 1_000 - 5),
        error("old", timestamp_us=1),
        error("future", timestamp_us=(world.wall + 10**9) * 1_000),
        error("traced", trace_id="a" * 32, span_id="b" * 16),
    )
    world.rounds()
    now, old, future, traced = (
        next(m for m in world.log if b"%s" % name in m.value())
        for name in (b"now", b"old", b"future", b"traced")
    )
    assert now.topic == "audit.error"
    assert (now.key, now.partition, now.stamp) == (b"s1", murmur2(b"s1") % 6, world.wall - 1)
    assert (old.key, old.stamp) == (STREAM.encode(), world.wall - 3_600_000)
    assert future.stamp == world.wall
    headers = dict(now.headers)
    assert headers["ce_type"] == b"auditwire.error"
    assert headers["ce_source"] == b"/auditwire/test"
    assert "traceparent" not in headers
    assert dict(traced.headers)["traceparent"] == b"00-%s-%s-01" % (b"a" * 32, b"b" * 16)


def test_headers_can_be_left_out() -> None:
    world = World(source=None)
    world.rounds()
    assert world.log[0].headers is None


def test_checkpoints_list_every_record_once_and_each_other() -> None:
    world = World()
    for _ in range(5):
        world.emit(*(error() for _ in range(700)))
        world.rounds(3)
    world.rounds(2, seconds=11)
    listed = [s for c in world.events(CheckpointEvent) for s, _, _ in entries_of(c)]
    assert listed == list(range(len(listed)))
    assert len(listed) > 3_500
    assert [c.reason for c in world.events(CheckpointEvent)][:3] == ["open", "interval", "interval"]
    acknowledged = [c.acknowledged for c in world.events(CheckpointEvent)]
    assert acknowledged == sorted(acknowledged)
    assert acknowledged[-1] > 3_000


def test_an_idle_stream_says_that_it_lives_once_a_minute() -> None:
    world = World()
    world.rounds(2)
    world.rounds(30, seconds=10)
    assert [c.reason for c in world.events(CheckpointEvent)] == ["open"] + ["heartbeat"] * 5


def test_a_partition_that_answers_not_even_once_has_one_record_on_its_way() -> None:
    """KAFKA-15591: a second batch behind a first one that is refused for the moment would take its place."""
    world = World()
    world.answer = lambda m: "later" if m.topic == "audit.error" else None
    world.emit(*(error(str(n), "s") for n in range(10)))
    world.rounds(10)
    assert len(world.producers[0].waiting) == 1
    world.answer = lambda m: None
    world.rounds()
    assert [e.error_type for e in world.events(ErrorEvent)] == [str(n) for n in range(10)]


def test_a_window_of_one_partition_does_not_hold_up_the_others() -> None:
    world = World()
    stuck = murmur2(b"stuck") % 6
    free = next(name for name in ("a", "b", "c", "d") if murmur2(name.encode()) % 6 != stuck)
    world.emit(error("x", "stuck"), error("y", free))  # the first one of a partition goes alone
    world.rounds()
    world.log.clear()
    world.answer = lambda m: "later" if m.topic == "audit.error" and m.partition == stuck else None
    world.emit(*(error("x", "stuck") for _ in range(5_000)))
    world.emit(*(error("y", free) for _ in range(5_000)))
    world.rounds(60)
    waiting = len(world.producers[0].waiting)
    assert waiting == FIRST_RECORDS
    assert sum(m.key == free.encode() for m in world.log) == 5_000
    assert world.sender.health().pending_records == 5_000
    world.rounds(5, seconds=SILENCE_SECONDS)
    assert len(world.producers[0].waiting) == waiting
    world.answer = lambda m: None
    world.rounds(60)
    assert world.sender.pending == 0


def test_a_full_queue_is_tried_again() -> None:
    world = World()
    world.refuse = lambda m: BufferError("queue full")
    world.emit(error())
    world.rounds(3)
    assert world.log == []
    world.refuse = lambda m: None
    world.rounds()
    assert world.sequences() == [0, 1]


def test_no_broker_costs_one_look_in_two_seconds_and_nothing_is_parked() -> None:
    world = World()
    world.unreachable = True
    world.emit(error())
    world.rounds(100, seconds=LOOKUP_LAST / 10)
    assert world.lookups <= 12
    assert world.sender.parked == {}
    world.unreachable = False
    world.rounds(4, seconds=LOOKUP_LAST)
    assert world.sequences()[:2] == [0, 1]
    assert world.sender.pending == 0


def test_a_topic_that_is_missing_waits_and_the_others_go_on() -> None:
    world = World()
    world.topics["audit.error"] = (0, KafkaError.UNKNOWN_TOPIC_OR_PART)
    world.emit(error())
    world.rounds()
    assert world.sequences() == [0]
    assert "create_topics is off" in world.sender.parked["audit.error"]
    health = world.sender.health()
    assert (health.state, list(health.parked)) == ("degraded", ["audit.error"])
    world.topics["audit.error"] = (6, 0)
    world.rounds(4, seconds=60)
    assert world.sender.parked == {}
    assert world.sequences()[:2] == [0, 1]


def test_a_parked_topic_is_tried_again_with_growing_pauses() -> None:
    world = World()
    world.topics["audit.error"] = (0, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    world.emit(error())
    world.rounds(2)
    looks = world.lookups
    world.rounds(int(RETRY_FIRST * 10) - 2, seconds=0.1)
    assert world.lookups == looks
    world.rounds(600, seconds=0.1)
    assert 3 <= world.lookups - looks <= 8
    assert "TOPIC_AUTHORIZATION_FAILED" in world.sender.parked["audit.error"]


def test_a_refusal_in_a_report_parks_the_topic_and_one_record_tries_it_again() -> None:
    world = World()
    world.emit(error("first", "s"))
    world.rounds()
    world.log.clear()
    world.answer = lambda m: KafkaError.TOPIC_AUTHORIZATION_FAILED if m.topic == "audit.error" else None
    world.emit(*(error(str(i), "s") for i in range(50)))
    world.rounds()
    assert list(world.sender.parked) == ["audit.error"]
    produced: list[Message] = []

    def refuse(message: Message) -> int:
        produced.append(message)
        return KafkaError.TOPIC_AUTHORIZATION_FAILED

    world.answer = refuse
    world.rounds(1, seconds=RETRY_FIRST)
    assert len(produced) == 1
    world.answer = lambda m: None
    world.rounds(6, seconds=5)
    assert world.sender.parked == {}
    errors = [decode(m.value()) for m in world.log if m.topic == "audit.error"]
    assert [d.event.error_type for d in errors] == [str(i) for i in range(50)]  # type: ignore[attr-defined]
    assert world.sender.health().resent >= 50


def test_many_lanes_refused_at_once_make_one_pause() -> None:
    world = World()
    world.answer = lambda m: KafkaError.TOPIC_AUTHORIZATION_FAILED if m.topic == "audit.error" else None
    world.emit(*(error("x", f"session-{i}") for i in range(60)))
    world.rounds()
    world.answer = lambda m: None
    world.rounds(1, seconds=RETRY_FIRST)
    world.rounds(3, seconds=0.01)
    assert world.sender.pending == 0


def test_a_refusal_by_produce_itself_parks_too() -> None:
    world = World()
    forbidden = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    world.refuse = lambda m: forbidden if m.topic == "audit.error" else None
    world.emit(error())
    world.rounds()
    assert list(world.sender.parked) == ["audit.error"]
    world.refuse = lambda m: None
    world.rounds(3, seconds=5)
    assert world.sender.parked == {}
    assert world.sender.pending == 0


def test_only_the_record_that_fails_alone_is_withheld() -> None:
    world = World()
    limit = 3_000

    # the broker judges a batch: what waits beside a message counts with it
    batch_limit = {"bytes": 0}

    def judge(message: Message) -> int | None:
        if message.topic != "audit.error":
            return None
        return TOO_LARGE if batch_limit["bytes"] > limit else None

    real_poll = world.producers[0].poll

    def poll(timeout: float) -> int:
        batch_limit["bytes"] = sum(
            len(m.value()) for m, _ in world.producers[0].waiting if m.topic == "audit.error"
        )
        return real_poll(timeout)

    world.producers[0].poll = poll  # type: ignore[method-assign]
    world.answer = judge
    world.emit(*(error(f"small-{i}", "s") for i in range(100)))
    world.emit(error("large", "s", error_message="x" * 10_000))
    world.emit(*(error(f"small-{i}", "s") for i in range(100, 200)))
    world.rounds(1_500, seconds=0.01)
    names = {e.error_type for e in world.events(ErrorEvent)}
    assert names == {f"small-{i}" for i in range(200)}
    (quarantine,) = world.events(QuarantineEvent)
    assert quarantine.quarantined_type == "error"
    assert quarantine.reason == "MSG_SIZE_TOO_LARGE"
    assert quarantine.topic == "audit.error"
    assert quarantine.size > 10_000
    withheld = quarantine.quarantined_sequence
    world.rounds(2, seconds=11)
    listed = {s: d.hex() for c in world.events(CheckpointEvent) for s, _, d in entries_of(c)}
    assert listed[withheld] == quarantine.quarantined_digest
    health = world.sender.health()
    assert health.quarantined == {"MSG_SIZE_TOO_LARGE": 1}
    assert health.pending_records == 0


def test_the_mark_waits_for_the_quarantine_record() -> None:
    world = World()
    world.rounds()
    world.answer = lambda m: TOO_LARGE if m.topic == "audit.error" else "later"
    world.emit(error())
    world.rounds(4)
    assert world.sender.health().quarantined == {"MSG_SIZE_TOO_LARGE": 1}
    assert world.sender.low_water_mark == 1
    world.answer = lambda m: None
    world.rounds(2)
    assert world.sender.low_water_mark == 3


def test_a_record_too_large_for_the_client_is_withheld_at_once() -> None:
    world = World()
    refusal = KafkaException(KafkaError(TOO_LARGE))
    world.refuse = lambda m: refusal if b"large" in m.value() and m.topic == "audit.error" else None
    world.emit(error("a", "s"), error("large", "s"), error("b", "s"))
    world.rounds(6)
    assert {e.error_type for e in world.events(ErrorEvent)} == {"a", "b"}
    assert len(world.events(QuarantineEvent)) == 1
    assert world.sender.pending == 0


@pytest.mark.parametrize("code", [KafkaError._FATAL, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER])
def test_after_a_fatal_error_another_producer_begins_at_the_mark(code: int) -> None:
    world = World()
    world.rounds()
    world.answer = lambda m: code
    world.emit(*(error(str(i), "s") for i in range(10)))
    world.rounds(1)
    world.answer = lambda m: None
    world.rounds(4)
    assert len(world.producers) == 2
    assert world.producers[0].purged
    assert world.sender.pending == 0
    assert world.sequences() == list(range(11))
    assert world.sender.health().producers == 2


def test_a_fatal_error_that_poll_raises_is_no_bug_of_the_sender() -> None:
    world = World()
    refusal = KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "no producer id", True)

    def poll(timeout: float) -> int:
        raise KafkaException(refusal)

    world.producers[0].poll = poll  # type: ignore[method-assign]
    world.emit(error())
    world.rounds(1)
    assert world.client.fatal == str(refusal)
    world.client.note(KafkaError(KafkaError._FATAL))
    health = world.sender.health()
    assert health.faults == 0
    assert "no producer id" in health.last_error
    world.rounds(4)
    assert world.sender.pending == 0


def test_an_error_that_poll_raises_and_that_is_not_fatal_is_remembered() -> None:
    world = World()
    refusal = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
    real, raised = world.producers[0].poll, iter([KafkaException(refusal)])

    def poll(timeout: float) -> int:
        for error in raised:
            raise error
        return real(timeout)

    world.producers[0].poll = poll  # type: ignore[method-assign]
    world.rounds(3)
    assert "COORDINATOR_LOAD_IN_PROGRESS" in world.sender.health().last_error
    assert len(world.producers) == 1
    assert world.sender.pending == 0


def test_reports_of_an_abandoned_producer_are_nobodys() -> None:
    world = World()
    world.rounds()
    world.answer = lambda m: "later"
    world.emit(error("a", "s"))
    world.rounds(1)
    (message, report) = world.producers[0].waiting[0]
    world.errors(KafkaError(KafkaError._FATAL, "fatal", True))
    world.rounds(1)
    assert len(world.producers) == 2
    report(None, message)
    assert world.sender.pending == 1
    world.answer = lambda m: None
    world.rounds(2)
    assert world.sender.pending == 0


def test_fatal_errors_in_a_row_make_producers_with_growing_pauses() -> None:
    world = World()
    world.answer = lambda m: KafkaError._FATAL
    world.emit(error())
    world.rounds(200, seconds=0.1)
    assert 4 <= len(world.producers) <= 8


def test_losses_are_written_down_by_reason_and_once_a_second() -> None:
    world = World()
    world.rounds()
    for _ in range(3):
        world.notes.lost("journal_full")
    world.rounds(2)
    world.notes.lost("journal_full")
    world.notes.lost("encoding")
    world.rounds(2)
    assert [(e.reason, e.count) for e in world.events(LossEvent)] == [("journal_full", 3)]
    world.rounds(2, seconds=1)
    assert [(e.reason, e.count) for e in world.events(LossEvent)] == [
        ("journal_full", 3),
        ("journal_full", 1),
        ("encoding", 1),
    ]
    assert world.sender.health().lost == {"journal_full": 4, "encoding": 1}


def test_a_checkpoint_without_room_is_made_later_and_lists_more() -> None:
    world = World(capacity=3_000)
    world.rounds()
    world.answer = lambda m: "later"
    append = world.journal.append_control
    world.journal.append_control = lambda draft: None
    world.emit(error(), error())
    world.rounds(5, seconds=11)
    world.journal.append_control = append
    world.answer = lambda m: None
    world.rounds(3, seconds=1)
    checkpoint = world.events(CheckpointEvent)[-1]
    assert checkpoint.first_sequence == 0
    assert len(checkpoint.entries) == 3


def test_a_mark_is_released_when_everything_before_it_is_acknowledged() -> None:
    world = World()
    world.answer = lambda m: "later"
    world.emit(error())
    mark = world.journal.barrier()
    world.rounds()
    assert world.flushes > 0
    assert not mark.wait(0)
    world.answer = lambda m: None
    world.rounds(1)
    assert mark.wait(0)


def test_a_mark_that_nobody_waits_for_any_more_is_dropped() -> None:
    world = World()
    world.answer = lambda m: "later"
    world.emit(error())
    marks = [world.journal.barrier() for _ in range(5)]
    world.rounds()
    for mark in marks:
        world.journal.withdraw(mark)
    world.rounds(1)
    assert not world.sender._barriers
    flushes = world.flushes
    world.rounds(3)
    assert world.flushes == flushes


def test_closing_delivers_writes_the_closing_checkpoint_and_ends() -> None:
    world = World()
    world.emit(error(), error())
    world.sender.close(world.now + 10)
    with pytest.raises(CollectorClosed):
        world.emit(error())
    world.sender.run()
    last = world.events()[-1]
    assert (last.reason, last.acknowledged) == ("close", 3)
    assert [s for c in world.events(CheckpointEvent) for s, _, _ in entries_of(c)] == [0, 1, 2]
    health = world.sender.health()
    assert (health.state, health.pending_records, health.delivered, health.control) == ("closed", 0, 2, 2)
    assert world.producers[0].purged


def test_losses_up_to_the_end_stand_before_the_closing_checkpoint() -> None:
    world = World()
    world.rounds()
    world.notes.lost("journal_full")
    world.notes.lost("encoding")
    world.sender.close(world.now + 10)
    world.sender.run()
    kinds = [type(e).__name__ for e in world.events()]
    assert kinds == ["CheckpointEvent", "LossEvent", "LossEvent", "CheckpointEvent"]


def test_closing_with_a_dead_broker_ends_at_the_deadline() -> None:
    world = World()
    world.rounds()
    world.answer = lambda m: "later"
    world.emit(error())
    world.sender.close(world.now + 10)
    for _ in range(100):
        world.rounds(1, seconds=0.2)
        if world.sender.finished:
            break
    assert world.sender.finished
    assert (
        world.sender.pending == 2
    )  # the event, and the closing checkpoint that says what was not acknowledged


def test_closing_ends_though_threads_go_on_emitting() -> None:
    world = World()
    world.rounds()
    producer, flush = world.producers[0], world.producers[0].flush

    def another_is_refused_meanwhile(timeout: float) -> int:
        world.notes.lost("closed")
        return flush(timeout)

    producer.flush = another_is_refused_meanwhile  # type: ignore[method-assign]
    world.sender.close(world.now + 10)
    for _ in range(20):
        world.rounds(1)
        if world.sender.finished:
            break
    assert world.sender.finished
    assert world.events()[-1].reason == "close"
    assert world.sender.pending == 0


def test_closing_ends_at_the_deadline_though_no_checkpoint_finds_room() -> None:
    world = World()
    world.rounds()
    world.journal.append_control = lambda draft: None
    world.notes.lost("journal_full")
    world.sender.close(world.now + 10)
    for _ in range(100):
        world.rounds(1, seconds=0.2)
        if world.sender.finished:
            break
    assert world.sender.finished


def test_the_loop_goes_on_whatever_happens_in_it() -> None:
    world = World()
    world.emit(error())
    step, failures = world.sender.step, iter([RuntimeError("bug"), OSError("bug")])

    def stumbling() -> bool:
        for failure in failures:
            raise failure
        return step()

    world.sender.step = stumbling  # type: ignore[method-assign]
    world.sender.close(world.now + 10)
    world.sender.run()
    assert world.sequences() == [0, 1, 2]
    assert world.sender.health().faults == 2


def test_a_loop_whose_every_round_fails_ends_at_the_deadline() -> None:
    world = World()

    def fails() -> bool:
        raise RuntimeError("bug")

    world.sender.step = fails  # type: ignore[method-assign]
    world.sender.close(world.now + 1)
    world.sender.run()
    assert world.sender.finished


def test_callbacks_of_the_user_are_called_after_ours_and_may_raise() -> None:
    seen: list[Any] = []

    def on_delivery(error: Any, message: Any) -> None:
        seen.append((error, message.topic, world.sender.pending))
        raise RuntimeError("the user's bug")

    def error_cb(error: KafkaError) -> None:
        seen.append(error.name())
        raise RuntimeError("the user's bug")

    world = World(callbacks={"on_delivery": on_delivery, "error_cb": error_cb})
    world.rounds(2)
    world.errors(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert seen == [(None, "audit.checkpoint", 0), "_ALL_BROKERS_DOWN"]
    health = world.sender.health()
    assert health.faults == 2
    assert "raised" in health.last_error


def test_a_topic_that_lost_partitions_has_its_records_routed_again() -> None:
    world = World()
    world.rounds()
    gone = KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
    world.refuse = lambda m: gone if m.partition >= world.partitions(m.topic) else None
    world.emit(*(error(str(i), f"session-{i}") for i in range(20)))
    world.topics["audit.error"] = (6, 0)
    world.sender.step()
    world.rounds()
    world.topics["audit.error"] = (1, 0)
    world.emit(*(error(str(i), f"session-{i}") for i in range(20, 40)))
    world.rounds(6)
    assert world.sender.pending == 0
    assert {e.error_type for e in world.events(ErrorEvent)} == {str(i) for i in range(40)}


def test_a_record_that_cannot_even_be_produced_does_not_hold_up_the_others() -> None:
    world = World()
    bug = TypeError("a bug of ours")
    world.refuse = lambda m: bug if b"wrong" in m.value() and m.topic == "audit.error" else None
    world.emit(error("a", "s"), error("wrong", "s"), error("b", "s"))
    world.rounds(6)
    assert {e.error_type for e in world.events(ErrorEvent)} == {"a", "b"}
    assert [e.reason for e in world.events(QuarantineEvent)] == ["internal"]
    assert world.sender.pending == 0


def test_what_is_parked_is_tried_at_once_when_something_was_mended() -> None:
    world = World()
    world.topics["audit.error"] = (0, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    world.emit(error())
    world.rounds(20, seconds=10)
    world.topics["audit.error"] = (6, 0)
    world.rounds(3)
    assert world.sender.parked
    world.sender.retry_now()
    world.rounds(3)
    assert not world.sender.parked
    assert world.sender.pending == 0


def test_new_credentials_reach_the_producer_and_later_ones() -> None:
    world = World()
    world.client.set_sasl_credentials("u", "p")
    assert world.credentials == ("u", "p")


def test_health_says_failing_when_nothing_is_acknowledged_for_long() -> None:
    world = World()
    world.rounds()
    world.answer = lambda m: "later"
    world.emit(error())
    world.rounds(2)
    assert world.sender.health().state == "ok"
    world.now += 11
    health = world.sender.health()
    assert health.state == "failing"
    assert health.oldest_seconds == pytest.approx(11, abs=0.1)
    assert json.dumps(health.to_dict())


def test_a_chunk_is_one_observation_of_latency_from_its_oldest_record() -> None:
    world = World()
    world.emit(error("first", "s"))
    world.rounds()
    before, summed = world.sender.health().latency.count, world.sender.health().latency.sum
    world.answer = lambda m: "later"
    world.emit(
        *(error(str(i), "s", timestamp_us=world.wall * 1_000 + i * 900) for i in range(10)),
    )
    world.rounds()
    world.wall += 2_000
    world.answer = lambda m: None
    world.rounds()
    latency = world.sender.health().latency
    assert latency.count == before + 1
    assert latency.sum - summed == pytest.approx(2.0)


def test_an_event_with_a_time_before_the_stream_is_no_observation_of_latency() -> None:
    world = World()
    world.rounds()
    before = world.sender.health().latency
    world.emit(error("shipped", timestamp_us=1_500_000_000_000_000))
    world.rounds()
    assert world.sender.health().delivered == 1
    assert world.sender.health().latency == before


# -- a journal on disk ------------------------------------------------------------------------------------


def on_disk(*events: AuditEvent) -> tuple[World, DurableJournal]:
    drafter = Drafter(STREAM, FastavroEncoder(), "audit")
    journal = DurableJournal(*(drafter.draft(event) for event in events))
    return World(journal=journal), journal


def test_a_sender_that_holds_all_it_may_is_not_kept_awake_by_what_waits() -> None:
    world, journal = on_disk(error())
    world.answer = lambda m: "later"
    journal.accept(2 * HOLD_RECORDS)
    world.rounds(HOLD_RECORDS // BATCH + 10, seconds=0.1)
    assert world.sender._hold.full
    assert not any(world.sender.step() for _ in range(5))


def test_memory_does_not_grow_with_what_waits_while_the_broker_takes_nothing() -> None:
    world, journal = on_disk(*(error("x", f"s{n}") for n in range(30)))
    world.unreachable = True
    world.rounds(2)
    journal.accept(1_000_000)
    tracemalloc.start()
    try:
        world.rounds(100, seconds=0.1)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert journal.taken <= HOLD_RECORDS + BATCH
    assert held < 40 << 20
    assert world.sender.health().pending_records >= 1_000_000
    world.unreachable = False
    world.answer = lambda m: "later"
    world.rounds(100, seconds=0.1)
    assert journal.taken <= HOLD_RECORDS + BATCH
    assert journal.reads == 0


def test_a_silent_partition_waits_on_disk_and_the_others_go_on_in_order() -> None:
    stuck = murmur2(b"stuck") % 6
    free = next(name for name in "abcdefgh" if murmur2(name.encode()) % 6 != stuck)
    world, journal = on_disk(error("x", "stuck"), error("x", "stuck"), error("x", free))
    world.rounds(2)
    world.answer = lambda m: "later" if m.topic == "audit.error" and m.partition == stuck else None
    journal.accept(60_000)
    for _ in range(400):
        world.rounds(1, seconds=0.002)
        assert world.sender._hold.count <= HOLD_RECORDS + BATCH
    delivered = [decode(m.value()).sequence for m in world.log if m.key == free.encode()]
    assert delivered == [n for n in range(1, 60_001) if n % 3 == 2]
    assert world.sender._hold.count < HOLD_RECORDS
    assert journal.backlog == 0
    world.answer = lambda m: None
    world.rounds(300, seconds=0.01)
    assert world.sender.pending == 0
    held_up = [decode(m.value()).sequence for m in world.log if m.key == b"stuck"]
    assert held_up == [n for n in range(1, 60_001) if n % 3 != 2]
    assert world.sender._hold.count == world.sender._hold.size == 0


def test_a_parked_topic_waits_on_disk_and_the_others_go_on() -> None:
    world, journal = on_disk(error("x", "s"), TurnStartEvent(session_id="s"))
    world.topics["audit.error"] = (0, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    world.rounds(2)
    journal.accept(60_000)
    world.rounds(300, seconds=0.002)
    assert sum(m.topic == "audit.turn-start" for m in world.log) == 30_000
    assert world.sender._hold.count < HOLD_RECORDS
    world.topics["audit.error"] = (6, 0)
    world.rounds(200, seconds=0.5)
    assert world.sender.pending == 0
    errors = [decode(m.value()).sequence for m in world.log if m.topic == "audit.error"]
    assert errors == sorted(errors)
    assert len(errors) == 30_000


def test_the_journal_hears_what_is_acknowledged_and_what_is_listed() -> None:
    world, journal = on_disk(error("x", "s"))
    world.rounds(2)
    journal.accept(2_500)
    world.rounds(20, seconds=0.06)
    world.rounds(2, seconds=10)
    world.rounds(2, seconds=1)
    low, listed = journal.advanced[-1]
    assert low == world.sender.low_water_mark == journal.next_sequence
    assert listed > 2_500
    assert listed <= low


def test_a_record_that_cannot_be_read_again_is_a_loss_and_holds_nothing_up() -> None:
    world, journal = on_disk(error("x", "s"))
    world.topics["audit.error"] = (0, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    world.rounds(2)
    journal.accept(10)
    world.rounds(3)
    world.sender._router.spill()
    journal.damaged[4] = AuditwireError("its checksum differs")
    world.topics["audit.error"] = (6, 0)
    world.rounds(6, seconds=1)
    assert [s for s in world.sequences() if s <= 10] == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert [(e.reason, e.count) for e in world.events(LossEvent)] == [("unreadable", 1)]
    health = world.sender.health()
    assert health.lost == {"unreadable": 1}
    assert health.pending_records == 0
    assert health.delivered == 9


def test_a_disk_that_cannot_be_read_now_is_asked_again() -> None:
    world, journal = on_disk(error("x", "s"))
    world.unreachable = True
    journal.accept(10)
    world.rounds(3)
    world.sender._router.spill()
    world.unreachable = False
    journal.damaged[4] = OSError(5, "input/output error")
    world.rounds(6, seconds=1)
    assert world.sender.health().faults > 0
    assert world.sender.pending > 0
    journal.damaged.clear()
    world.rounds(3, seconds=1)
    assert world.sender.pending == 0
    assert world.sender.health().lost == {}


def test_a_disk_that_fails_for_long_loses_what_it_does_not_give_and_holds_nothing_up() -> None:
    world, journal = on_disk(error("x", "s"))
    world.topics["audit.error"] = (0, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    world.rounds(2)
    journal.accept(10)
    world.rounds(3)
    world.sender._router.spill()
    world.topics["audit.error"] = (6, 0)
    for bad in (3, 5):
        journal.damaged[bad] = OSError(5, "input/output error")
    world.rounds(int(READ_SECONDS / 0.2) - 10, seconds=0.2)
    assert world.sender.health().lost == {}
    world.rounds(50, seconds=0.2)
    assert world.sender.health().lost == {"unreadable": 1}
    world.rounds(int(READ_SECONDS / 0.2) + 10, seconds=0.2)
    assert world.sender.health().lost == {"unreadable": 2}
    assert world.sender.pending == 0
    assert [s for s in world.sequences() if s <= 10] == [0, 1, 2, 4, 6, 7, 8, 9, 10]


def test_a_journal_that_fails_is_tried_again_and_the_answers_are_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, journal = on_disk(error("x", "s"))
    world.rounds(2)

    def fails(*arguments: Any) -> Any:
        raise OSError(5, "input/output error")

    world.answer = lambda m: "later"
    journal.accept(5)
    world.rounds(2, seconds=0.1)
    monkeypatch.setattr(journal, "take", fails)
    monkeypatch.setattr(journal, "advance", fails)
    world.answer = lambda m: None
    mark = journal.barrier()
    world.rounds(3, seconds=0.1)
    assert mark.wait(0)
    assert world.sender.health().faults > 0
    monkeypatch.undo()
    world.rounds(3, seconds=0.1)
    assert journal.advanced[-1][0] == journal.next_sequence


def test_a_partition_less_keeps_the_order_of_what_waits_on_disk() -> None:
    world, journal = on_disk(*(error("x", f"session-{n}") for n in range(7)))
    world.rounds(2)
    world.answer = lambda m: "later" if m.topic == "audit.error" else None
    journal.accept(3_000)
    world.rounds(4)
    world.sender._router.spill()
    gone = KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
    world.topics["audit.error"] = (2, 0)
    world.refuse = lambda m: gone if m.topic == "audit.error" and m.partition >= 2 else None
    world.answer = lambda m: (
        KafkaError._UNKNOWN_PARTITION if m.topic == "audit.error" and m.partition >= 2 else None
    )
    world.rounds(80, seconds=0.2)
    assert world.sender.pending == 0
    assert sorted(set(world.sequences())) == world.sequences()


def test_partitions_that_go_twice_keep_the_order_of_what_waits() -> None:
    world, journal = on_disk(error("x", "s"))
    world.rounds(2)
    world.answer = lambda m: "later" if m.topic == "audit.error" else None
    gone = KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
    journal.accept(5_000)
    world.rounds(3)
    world.refuse = lambda m: gone if m.topic == "audit.error" else None
    world.unreachable = True
    world.rounds(8)
    journal.accept(100)
    world.rounds(2)
    world.unreachable = False
    world.rounds(2, seconds=LOOKUP_LAST)  # some are in a lane again, most wait behind them
    world.refuse = lambda m: None
    world.answer = lambda m: None
    world.rounds(60, seconds=LOOKUP_LAST)
    assert world.sender.pending == 0
    sent = [decode(m.value()).sequence for m in world.log if m.topic == "audit.error"]
    assert sent == sorted(sent)
    assert len(sent) == 5_100


def test_a_quarantine_record_without_room_is_written_later() -> None:
    world, journal = on_disk(error("x", "s"))
    world.rounds(2)
    world.answer = lambda m: TOO_LARGE if m.topic == "audit.error" else None
    append = journal.append_control
    world.journal.append_control = lambda draft: None
    journal.accept(1)
    world.rounds(5, seconds=1)
    assert world.sender.health().quarantined == {}
    world.journal.append_control = append
    world.rounds(5, seconds=1)
    assert world.sender.health().quarantined == {"MSG_SIZE_TOO_LARGE": 1}
    assert world.sender.pending == 0
