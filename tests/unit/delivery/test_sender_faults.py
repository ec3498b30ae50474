"""The sender under faults that come and go by chance: when all is well again, all is there, and in time."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from durable_journal import DurableJournal
from test_sender import STREAM, Message, Producer, World

from auditwire.delivery.topics import TopicSettings
from auditwire.events import ErrorEvent, QuarantineEvent, TurnStartEvent
from auditwire.verification import check_streams
from support.stored import Stored, as_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.reading import Record

BATCH_LIMIT = 4_000
PAUSES = 120.0
"""Seconds of all pauses that may follow one another once all is well: parked, narrow, renewed."""

REFUSALS = [
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._PURGE_INFLIGHT,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
]
FATAL = [KafkaError._FATAL, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER]


class Abandoned(Producer):
    """Some of what is on its way when it is thrown away gets there, and nobody hears of it."""

    def __init__(self, world: World, chance: random.Random) -> None:
        super().__init__(world)
        self._chance = chance

    def purge(self) -> None:
        super().purge()
        kept = self._chance.randint(0, len(self.waiting))
        self.world.log.extend(message for message, _ in list(self.waiting)[:kept])
        self.waiting.clear()


class ByChance(World):
    """A world with chance in it."""

    def __init__(self, chance: random.Random, **more: Any) -> None:
        self._chance = chance
        super().__init__(**more)

    def _make(self, config: dict[str, Any], logger: Any) -> Producer:
        super()._make(config, logger)
        self.producers[-1] = Abandoned(self, self._chance)
        return self.producers[-1]


class Weather:
    """What a broker does to a sender, drawn by chance; nothing any more once ``clear`` was called."""

    def __init__(self, chance: random.Random, journal: DurableJournal | None) -> None:
        self.chance = chance
        self.world = ByChance(
            chance,
            journal=journal,
            capacity=1 << 20,
            settings=TopicSettings(),
            source=f"/auditwire/svc/{STREAM}",
        )
        self.world.sender.open()
        self.world.answer = self._answer
        self.world.refuse = self._refuse
        self._lanes: dict[tuple[str, int], Any] = {}
        self._refusals: list[Callable[[], Exception]] = []
        self._fine = False
        self.emitted: list[str] = []

    def change(self) -> None:
        """Another weather for some."""
        chance, world = self.chance, self.world
        for topic in ("audit.error", "audit.turn-start", "audit.checkpoint"):
            for partition in range(8):
                if chance.random() < 0.3:
                    fault = chance.choice([None, None, None, "later", "later", "refuse"])
                    self._lanes[topic, partition] = chance.choice(REFUSALS) if fault == "refuse" else fault
            if chance.random() < 0.2:
                world.topics[topic] = chance.choice(
                    [(6, 0), (6, 0), (8, 0), (3, 0), (0, KafkaError.TOPIC_AUTHORIZATION_FAILED)]
                )
        world.unreachable = chance.random() < 0.1
        self._refusals = chance.choice([[], [], [], [], [BufferError], [self._no_topic]])
        if chance.random() < 0.05:
            world.errors(KafkaError(chance.choice(FATAL), "by chance", fatal=True))

    def _no_topic(self) -> Exception:
        return KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))

    def clear(self) -> None:
        self._fine = True
        self._refusals = []
        self._lanes.clear()
        self.world.topics.clear()
        self.world.unreachable = False

    def emit(self, count: int) -> None:
        for _ in range(count):
            name = f"e-{len(self.emitted)}"
            session = self.chance.choice("abcdef")
            kind = self.chance.random()
            if kind < 0.5:
                self.world.emit(TurnStartEvent(event_id=name, session_id=session))
            else:
                text = "x" * (2 * BATCH_LIMIT) if kind > 0.98 else "poison" if kind > 0.97 else "x" * 200
                self.world.emit(ErrorEvent(event_id=name, session_id=session, error_message=text))
            self.emitted.append(name)

    def _refuse(self, message: Message) -> Exception | None:
        if message.partition >= self.world.partitions(message.topic) > 0:
            return KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        if self._refusals and self.chance.random() < 0.3:
            return self._refusals[0]()
        return None

    def _answer(self, message: Message) -> Any:
        """Batches are judged whole: what waits for the same partition goes or stays with this one."""
        if message.partition >= self.world.partitions(message.topic) > 0:
            return KafkaError._UNKNOWN_PARTITION
        beside = [
            m.value()
            for producer in self.world.producers
            for m, _ in producer.waiting
            if (m.topic, m.partition) == (message.topic, message.partition)
        ]
        if message.topic == "audit.error":
            batch = [message.value(), *beside]
            if sum(map(len, batch)) > BATCH_LIMIT:
                return KafkaError.MSG_SIZE_TOO_LARGE
            if any(b"poison" in value for value in batch):
                return KafkaError.INVALID_RECORD
        return self._lanes.get((message.topic, message.partition))

    def arrived(self) -> list[Record]:
        offsets: defaultdict[tuple[str, int], int] = defaultdict(int)
        found = []
        for m in self.world.log:
            place = m.topic, m.partition
            found.append(
                as_record(
                    Stored(
                        topic=m.topic,
                        partition=m.partition,
                        offset=offsets[place],
                        timestamp_ms=m.stamp,
                        key=m.key,
                        headers=list(m.headers),
                        value=m.value(),
                    )
                )
            )
            offsets[place] += 1
        return found


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("seed", range(100))
def test_after_all_faults_everything_is_delivered_in_time_and_the_trail_is_whole(
    seed: int, durable: bool
) -> None:
    chance = random.Random(seed)
    weather = Weather(chance, DurableJournal() if durable else None)
    world, sender = weather.world, weather.world.sender
    for _ in range(chance.randint(1, 12)):
        weather.emit(chance.choice((0, 5, 60)))
        weather.change()
        if durable and chance.random() < 0.3:
            sender._router.spill()
        world.rounds(chance.randrange(1, 30), seconds=chance.choice((0.0, 0.01, 0.3, 3.0)))
    weather.clear()
    begun = world.now
    while sender.pending:
        assert world.now - begun < PAUSES, (sender.health(), sender.parked)
        world.rounds(1, seconds=0.02)
    sender.close(world.now + 30)
    while not sender.finished:
        world.rounds(1, seconds=0.02)
    assert sender.ended is not None
    health = sender.health()
    assert (health.lost, health.faults) == ({}, 0), health
    assert health.accepted == len(weather.emitted) == health.delivered
    records = weather.arrived()
    withheld = {r.event.quarantined_sequence for r in records if isinstance(r.event, QuarantineEvent)}
    arrived = {r.sequence for r in records}
    assert arrived | withheld == set(range(max(arrived) + 1))
    (report,) = check_streams(records, settled=True)
    assert (report.faults, report.closed) == ([], True), report.to_dict()
