"""Records to topics, topics to partitions, partitions to the producer, and reports back.

In come numbered records; out go calls of ``produce``, and for each record exactly one of two answers to the
sender: ``on_acked`` or ``on_poison``. A record that gets neither stays in its lane and is produced again.

A topic is *parked* while it cannot take records (missing, not authorised, against a policy): its records
wait, the others go on, and it is tried again with growing pauses, one record first.
"""

from __future__ import annotations

import logging
from heapq import merge
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException

from auditwire.delivery.backlog import Lost
from auditwire.delivery.faults import Fault, classify
from auditwire.delivery.lanes import Chunk
from auditwire.delivery.queues import RETRY_FIRST, RETRY_LAST, TopicQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from auditwire.delivery.backlog import Backlog, Hold, Place
    from auditwire.delivery.client import Client
    from auditwire.delivery.feed import Feed
    from auditwire.delivery.lanes import Lane
    from auditwire.delivery.topics import Directory
    from auditwire.journal import Record

__all__ = ["Router"]

log = logging.getLogger("auditwire")

REFRESH_SECONDS = 300.0
"""How often a topic's partitions are counted again."""

LOOKUP_FIRST, LOOKUP_LAST = 0.05, 2.0
"""Seconds until an unknown topic is looked up again, doubled each time."""

DISTRIBUTED = 2_000
"""Records of a topic that go from waiting for its partitions to their lanes in one round."""

PAUSE = 0.1
"""Seconds that a lane rests after an error that is nobody's fault."""

OLDEST_MS = 3_600_000
"""A Kafka timestamp is at most this old: retention would delete an older record within minutes."""

READ_SECONDS = 30.0
"""How long a disk that fails is asked again for a record, before it is lost."""

_KEYS = 4_096
_GONE = {
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - librdkafka's local codes
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
}


class Router:
    """See the module. For the sender's thread; times are monotonic seconds.

    Args:
        client: The producer in use.
        directory: The topics and their partitions.
        hash_key: Hash of a record's key; the partition is its remainder.
        value_of: Record -> framed value.
        message_of: Record -> framed value and headers, None for a record without.
        on_acked: Called with records that the broker has.
        on_poison: Called with a record that the broker refuses for good, and the reason; False puts it back.
        on_lost: Called with the place of a record that cannot be read again, and why: its answer.
        hold: Counts what is in memory.
        monotonic: Clock, seconds.
        wall_ms: Clock, milliseconds since the Unix epoch.
    """

    def __init__(
        self,
        client: Client,
        directory: Directory,
        *,
        hash_key: Callable[[bytes], int],
        value_of: Callable[[Record], bytes],
        message_of: Callable[[Record], tuple[bytes, list[tuple[str, bytes]] | None]],
        on_acked: Callable[[list[Record]], None],
        on_poison: Callable[[Record, str], bool],
        on_lost: Callable[[Place, str], None],
        hold: Hold,
        monotonic: Callable[[], float],
        wall_ms: Callable[[], int],
    ) -> None:
        self._client = client
        self._directory = directory
        self._hash_key = hash_key
        self._value_of = value_of
        self._message_of = message_of
        self._on_acked = on_acked
        self._on_poison = on_poison
        self._on_lost = on_lost
        self._hold = hold
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._topics: dict[str, TopicQueue] = {}
        self._active: dict[Lane, TopicQueue] = {}
        self._hashes: dict[bytes, int] = {}
        self._unreachable_until = 0.0
        self._renew_at = 0.0
        self._renew_pause = 0.0
        self.resent = 0
        """Records that were produced more than once."""

    # -- in ---------------------------------------------------------------------------------------------

    def put(self, records: Iterable[Record], now: float) -> None:
        """Take records; they stay here until one of the two answers."""
        topics, active = self._topics, self._active
        for record in records:
            topic = topics.get(record.topic)
            if topic is None:
                topic = self._add(record.topic)
            if topic.flows:
                active[topic.to_lane(record, now)] = topic
            else:
                topic.wait(record)

    def put_place(self, topic: str, place: Place) -> None:
        """Take a record that is not in memory."""
        (self._topics.get(topic) or self._add(topic)).wait(place)

    def _add(self, name: str) -> TopicQueue:
        topic = self._topics[name] = TopicQueue(name, self._hold, self._partition)
        return topic

    def _partition(self, key: bytes, partitions: int) -> int:
        hashed = self._hashes.get(key)
        if hashed is None:
            if len(self._hashes) >= _KEYS:
                self._hashes.clear()
            hashed = self._hashes[key] = self._hash_key(key)
        return hashed % partitions

    @property
    def parked(self) -> dict[str, str]:
        """Topic -> why it takes no records."""
        return {t.name: t.reason for t in list(self._topics.values()) if t.reason is not None}

    def parked_places(self, feed: Feed) -> Iterator[Place]:
        """A feed's records of parked topics, in order, but for those on their way; none stays in memory."""
        topics = [topic for topic in self._topics.values() if topic.reason is not None]
        return merge(*(p for t in topics for p in t.places(feed)), key=lambda place: place.sequence)

    def relocate(self, feed: Feed, moved: Mapping[int, int]) -> None:
        """Records that ``parked_places`` named lie elsewhere now: sequence -> position."""
        for topic in self._topics.values():
            topic.relocate(feed, moved)

    # -- out --------------------------------------------------------------------------------------------

    def pump(self, now: float) -> int:
        """Produce what may be produced now; how many records were."""
        if self._client.fatal is not None:
            if now < self._renew_at:
                return 0
            self._begin_again(now)
        for topic in self._topics.values():
            if now >= topic.check_at and (topic.waiting or topic.partitions) and now >= topic.retry_at:
                self._look_up(topic, now)
            if topic.partitions and not topic.flows:
                self._distribute(topic, now)
        produced = 0
        for lane, topic in list(self._active.items()):
            if topic.reason is not None and now < topic.retry_at:
                continue
            count, full = self._fill(lane, topic, now)
            produced += count
            if lane.idle:
                self._active.pop(lane, None)  # it may have been dropped with its topic's partitions
            if full or self._client.fatal is not None:
                break
        return produced

    def _fill(  # noqa: C901 - every record goes through it: no call in it that can be left out
        self, lane: Lane, topic: TopicQueue, now: float
    ) -> tuple[int, bool]:
        """Produce from one lane; how many, and whether the producer's queue is full."""
        most, most_bytes = lane.room(now)
        if most <= 0:
            return 0, False
        chunk = Chunk(lane, self._client.generation, alone=not lane.unacked)
        report = self._report_to(chunk)
        produce, message_of = self._client.producer.produce, self._message_of
        newest = self._wall_ms()
        oldest = newest - OLDEST_MS
        front, records = lane.backlog.front, chunk.records
        full = False
        while len(records) < most:
            if not front and not self._refill_lane(lane, now):
                break
            record = front[0]
            size = record.size
            if records and chunk.size + size > most_bytes:
                break
            try:
                stamp = record.timestamp_us // 1_000
                if not oldest <= stamp <= newest:
                    stamp = min(max(stamp, oldest), newest)
                value, headers = message_of(record)
                # by position: cheaper than by name. callback and on_delivery are two names of one parameter
                produce(lane.topic, value, record.key, lane.partition, report, report, stamp, headers)
            except BufferError:
                full = True
                break
            except KafkaException as error:
                self._refused(lane, topic, error.args[0], now)
                break
            except Exception:  # noqa: BLE001 - one record must not hold up all lanes; fault() logs
                self._client.fault("a record could not be produced: it is withheld")
                if self._on_poison(record, "internal"):
                    front.popleft()
                else:
                    lane.not_before = now + PAUSE
                break
            front.popleft()
            records.append(record)
            chunk.size += size
        if records:
            lane.sent(chunk, now)
        return len(records), full

    def _refill_lane(self, lane: Lane, now: float) -> bool:
        found = self._refill(lane.backlog, now)
        if not found and lane.backlog:
            lane.not_before = now + PAUSE  # the disk fails
        return found

    def _refill(self, backlog: Backlog, now: float) -> bool:
        """Have the next records in memory; whether there is one.

        A disk that fails is asked again for a while; then what it does not give is lost, so that it does not
        hold up what waits behind it, of other streams too.
        """
        since = backlog.failing_since
        while True:
            try:
                found = backlog.refill(give_up=since is not None and now - since > READ_SECONDS)
            except Lost as lost:  # noqa: PERF203 - the next one may be there
                self._on_lost(lost.place, str(lost.__cause__))
            except OSError:
                self._client.fault("records could not be read again: it is tried again")
                if since is None:
                    backlog.failing_since = now
                return False
            else:
                if found:
                    backlog.failing_since = None
                return found

    def spill(self) -> None:
        """Memory is short: keep of what waits only what is next, and of the rest where it is."""
        for topic in self._topics.values():
            topic.spill()

    def _refused(self, lane: Lane, topic: TopicQueue, error: KafkaError, now: float) -> None:
        """``produce`` itself refused the first record of the backlog."""
        self._client.note(error, lane.topic)
        fault = classify(error)
        if error.code() in _GONE:
            self._forget_partitions(topic)
        elif fault is Fault.FATAL:
            self._client.fail(error)
        elif fault in (Fault.TOO_LARGE, Fault.POISON):
            if self._on_poison(lane.backlog.front[0], error.name()):
                lane.backlog.front.popleft()
            else:
                lane.not_before = now + PAUSE
        elif fault is Fault.PARK:
            topic.park(f"{error.name()}: {error.str()}", now)
        else:
            lane.not_before = now + PAUSE

    def retry_now(self) -> None:
        """Try every parked topic in the next round: something was mended."""
        self._directory.begin_again()
        self._unreachable_until = 0.0
        for topic in self._topics.values():
            if topic.reason is not None or not topic.partitions:
                topic.retry_at = topic.check_at = topic.pause = 0.0

    # -- reports ----------------------------------------------------------------------------------------

    def _report_to(self, chunk: Chunk) -> Callable[[Any, Any], None]:
        client, records, user = self._client, chunk.records, self._client.on_delivery

        def on_delivery(error: Any, message: Any) -> None:
            try:
                if chunk.generation == client.generation:
                    chunk.reported += 1
                    if error is not None:
                        chunk.failures[message.value()] = error.code()
                        client.note(error, chunk.lane.topic)
                        if classify(error) is Fault.FATAL:
                            client.fail(error)
                    if chunk.reported == len(records):
                        self._settle(chunk)
            except Exception:  # noqa: BLE001 - must not leave a callback; fault() logs
                client.fault("a delivery report could not be handled")
            if user is not None:
                user(error, message)

        return on_delivery

    def _settle(self, chunk: Chunk) -> None:
        now = self._monotonic()
        lane = chunk.lane
        topic = self._topics[lane.topic]
        lane.settled(chunk, now)
        if not chunk.failures:
            topic.recovered()
            self._renew_pause = 0.0
            self._on_acked(chunk.records)
            return
        again: list[Record] = []
        arrived: list[Record] = []
        faults: set[Fault] = set()
        names: set[str] = set()
        for record in chunk.records:
            code = chunk.failures.get(self._value_of(record))
            if code is None:
                arrived.append(record)
                continue
            again.append(record)
            error = KafkaError(code)
            faults.add(classify(error))
            names.add(f"{error.name()}: {error.str()}")
        if arrived:
            self._on_acked(arrived)
        self._try_again(lane, topic, again, faults, "; ".join(sorted(names)), chunk, now)

    def _try_again(
        self,
        lane: Lane,
        topic: TopicQueue,
        records: list[Record],
        faults: set[Fault],
        reason: str,
        chunk: Chunk,
        now: float,
    ) -> None:
        """Put back what failed, and change what has to be different the next time."""
        self._active[lane] = topic
        if faults & {Fault.TOO_LARGE, Fault.POISON}:
            if len(chunk.records) == 1 and chunk.alone:
                if self._on_poison(records[0], reason.partition(":")[0]):
                    lane.widen()
                    return
                lane.not_before = now + PAUSE
            else:
                # half of it the next time: a topic with a small limit settles at a batch that fits, and one
                # record that is to blame is soon alone
                lane.narrow_to(chunk.size // 2, now)
        elif Fault.PARK in faults:
            topic.park(reason, now)
        elif Fault.FATAL not in faults:
            lane.not_before = now + PAUSE
        self.resent += len(records)
        lane.put_back(chunk, records)

    def _begin_again(self, now: float) -> None:
        """The producer is of no more use: everything on its way goes back into its lane, for another one."""
        log.error("the producer failed for good (%s): another one begins", self._client.fatal)
        self._renew_pause = min(RETRY_LAST, max(RETRY_FIRST, self._renew_pause * 2))
        self._renew_at = now + self._renew_pause
        for topic in self._topics.values():
            for lane in topic.lanes.values():
                arrived, again = lane.forget_sent()
                if arrived:
                    self._on_acked(arrived)
                if again:
                    self.resent += again
                    self._active[lane] = topic
        self._client.renew()

    # -- topics -----------------------------------------------------------------------------------------

    def _look_up(self, topic: TopicQueue, now: float) -> None:
        if now < self._unreachable_until:
            return
        found = self._directory.look_up(topic.name)
        now = self._monotonic()  # a look-up may take its second
        if found.partitions:
            topic.check_at = now + REFRESH_SECONDS
            topic.partitions = found.partitions
            if topic.reason is None:
                topic.pause = 0.0
            if topic.reason is not None:
                for lane in topic.lanes.values():
                    lane.narrow_to(0, now)
        elif found.refused is not None:
            topic.park(found.refused, now)
        elif found.unreachable:
            self._unreachable_until = now + LOOKUP_LAST
        else:
            topic.pause = min(LOOKUP_LAST, max(LOOKUP_FIRST, topic.pause * 2))
            topic.check_at = now + topic.pause

    def _distribute(self, topic: TopicQueue, now: float) -> None:
        """What waited for the number of partitions goes to its lanes, so much in one round."""
        for _ in range(DISTRIBUTED):
            front = topic.waiting.front
            if not front and not self._refill(topic.waiting, now):
                topic.flows = not topic.waiting
                return
            self._active[topic.to_lane(front.popleft(), now)] = topic

    def _forget_partitions(self, topic: TopicQueue) -> None:
        """The topic was deleted, or made anew with fewer partitions: look again where its records belong."""
        for lane in topic.lanes.values():
            self._active.pop(lane, None)
        topic.forget_partitions()
