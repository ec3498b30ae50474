"""The reader on a real broker: what librdkafka's mock cluster does not have."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AclOperation,
    AdminClient,
    NewPartitions,
    NewTopic,
)

from auditwire.errors import BrokerError
from auditwire.events import TurnStartEvent
from auditwire.reading import Reader, Record
from auditwire.reading.client import Client
from auditwire.reading.partitions import Partitions
from auditwire.wire import FastavroEncoder, frame_single_object, join_body, schema_for

if TYPE_CHECKING:
    from rig.broker import Broker
    from rig.secure import SecureKafka

SOON = 20.0
STREAM = "01920000-0000-7000-8000-000000000001"
BEGAN_MS = int(time.time() * 1_000) - 30 * 3_600_000  # so old that no broker's retention looks at it


def value(sequence: int) -> bytes:
    head, tail = FastavroEncoder().encode(TurnStartEvent(), STREAM)
    return frame_single_object(schema_for("turn_start").fingerprint, join_body(head, sequence, tail))


def create(admin: AdminClient, topic: str, partitions: int) -> None:
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result(SOON)
    deadline = time.monotonic() + SOON
    while len(admin.list_topics(topic, SOON).topics[topic].partitions) < partitions:
        assert time.monotonic() < deadline  # metadata lag behind the creation


def produce(producer: Producer, topic: str, *sequences: int, partition: int = 0) -> None:
    for sequence in sequences:
        producer.produce(topic, value(sequence), partition=partition)
    assert producer.flush(SOON) == 0


def next_of(reader: Reader) -> Record:
    deadline = time.monotonic() + SOON
    while (record := reader.poll(0.1)) is None:
        assert time.monotonic() < deadline
    return record


@pytest.mark.needs("create_topics")
def test_topics_that_are_not_there_are_told_from_those_that_are_in_one_answer(
    broker: Broker, prefix: str
) -> None:
    there = [f"{prefix}.turn-start", f"{prefix}.turn-end"]
    for topic in there:
        create(AdminClient(broker.client()), topic, 3)
    absent = [f"{prefix}.error", f"{prefix}.custom", f"{prefix} is no name", f"{prefix}{'x' * 250}"]
    places = {(topic, number) for topic in there for number in range(3)}
    settings = {"statistics.interval.ms": 100, "stats_cb": lambda _: None}
    client = Client(broker.bootstrap, settings, timeout=SOON, follow=False, undecodable=Counter())
    with contextlib.closing(client):
        assert client.find([*there, *absent], must_exist=False) == places
        assert client._describe({*there, *absent}) == (places, set())
        with pytest.raises(BrokerError, match=rf"topic {prefix}.* does not exist"):
            client.find([*there, *absent], must_exist=True)
    assert not set(AdminClient(broker.client()).list_topics(timeout=SOON).topics) & set(absent)


@pytest.mark.needs("create_topics")
def test_markers_of_transactions_at_the_end_keep_no_reader_waiting(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}.turn-start"
    create(AdminClient(broker.client()), topic, 3)
    producer = Producer(broker.client(**{"transactional.id": prefix}))
    producer.init_transactions(SOON)
    for sequences, end in (((0, 1), "commit"), ((2, 3), "abort"), ((4,), "commit"), ((5,), "abort")):
        producer.begin_transaction()
        produce(producer, topic, *sequences)
        getattr(producer, f"{end}_transaction")(SOON)
    for isolation, expected in (("read_committed", [0, 1, 4]), ("read_uncommitted", [0, 1, 2, 3, 4, 5])):
        config = {"isolation.level": isolation}
        with Reader(broker.bootstrap, prefix=prefix, config=config, timeout=SOON) as reader:
            assert [record.sequence for record in reader] == expected


@pytest.mark.needs("create_topics")
def test_a_reader_of_committed_records_ends_before_a_transaction_that_is_still_open(
    broker: Broker, prefix: str
) -> None:
    topic = f"{prefix}.turn-start"
    create(AdminClient(broker.client()), topic, 1)
    producer = Producer(broker.client(**{"transactional.id": prefix}))
    producer.init_transactions(SOON)
    producer.begin_transaction()
    produce(producer, topic, 0)
    producer.commit_transaction(SOON)
    producer.begin_transaction()
    produce(producer, topic, 1)
    with Reader(broker.bootstrap, prefix=prefix, timeout=SOON) as reader:
        assert [record.sequence for record in reader] == [0]
    producer.abort_transaction(SOON)


@pytest.mark.needs("create_topics")
def test_partitions_that_are_added_are_read_from_their_beginning(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}.turn-start"
    admin = AdminClient(broker.client())
    create(admin, topic, 1)
    with Reader(broker.bootstrap, prefix=prefix, from_beginning=False, follow=True, refresh=0.2) as reader:
        for future in admin.create_partitions([NewPartitions(topic, 3)]).values():
            future.result(SOON)
        deadline = time.monotonic() + SOON
        while len(admin.list_topics(topic, SOON).topics[topic].partitions) < 3:
            assert time.monotonic() < deadline
        produce(Producer(broker.client()), topic, 7, partition=2)
        record = next_of(reader)
        assert (record.sequence, record.partition) == (7, 2)


@pytest.mark.needs("create_topics")
def test_an_emptied_partition_is_at_its_end(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}.turn-start"
    admin = AdminClient(broker.client())
    create(admin, topic, 2)
    produce(Producer(broker.client()), topic, 0, 1)
    for future in admin.delete_records([TopicPartition(topic, 0, 2)]).values():
        future.result(SOON)
    with Reader(broker.bootstrap, prefix=prefix, timeout=SOON) as reader:
        assert list(reader) == []


# -- ranges and what retention took -------------------------------------------------------------------------


def timed(producer: Producer, topic: str, *records: tuple[int, int], partition: int = 0) -> None:
    """Produce records of these numbers, so many seconds after the trail began."""
    for sequence, seconds in records:
        timestamp = BEGAN_MS + seconds * 1_000
        producer.produce(topic, value(sequence), partition=partition, timestamp=timestamp)
    assert producer.flush(SOON) == 0


@pytest.mark.needs("create_topics")
def test_a_range_reads_no_more_than_it_must_and_is_exact(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}.turn-start"
    create(AdminClient(broker.client()), topic, 2)
    producer = Producer(broker.client())
    hour = 3_600
    timed(producer, topic, *((n, n * hour) for n in range(0, 20, 2)))
    timed(producer, topic, *((n, n * hour) for n in range(1, 20, 2)), partition=1)
    since, until = BEGAN_MS + 5 * hour * 1_000, BEGAN_MS + 9 * hour * 1_000
    with Reader(broker.bootstrap, prefix=prefix, since=since, until=until, timeout=SOON) as reader:
        assert [record.sequence for record in reader] == [5, 6, 7, 8]
        assert reader.gaps == 0
        # from 5 to 10: what was sent within an hour after it happened lies before the first of that age
        assert reader.progress.total == 5
    with Reader(broker.bootstrap, prefix=prefix, since=since + 20 * hour * 1_000, timeout=SOON) as reader:
        assert reader.finished
    with Reader(broker.bootstrap, prefix=prefix, until=BEGAN_MS + 100 * hour * 1_000, timeout=SOON) as reader:
        assert [record.sequence for record in reader] == list(range(20))


@pytest.mark.needs("create_topics")
def test_what_was_sent_an_hour_after_it_happened_is_found_in_its_range(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}.turn-start"
    create(AdminClient(broker.client()), topic, 1)
    minute = 60
    timed(Producer(broker.client()), topic, (0, 0), (1, 50 * minute), (2, 5 * minute), (3, 70 * minute))
    until = BEGAN_MS + 10 * minute * 1_000
    with Reader(broker.bootstrap, prefix=prefix, until=until, timeout=SOON) as reader:
        assert [record.sequence for record in reader] == [0, 2]


@pytest.mark.needs("create_topics")
def test_numbers_that_retention_took_are_no_gaps_and_skipped_offsets_are_counted(
    broker: Broker, prefix: str
) -> None:
    topic = f"{prefix}.turn-start"
    admin = AdminClient(broker.client())
    create(admin, topic, 2)
    producer = Producer(broker.client())
    timed(producer, topic, *((n, n) for n in range(0, 20, 2)))
    timed(producer, topic, *((n, n) for n in range(1, 20, 2)), partition=1)
    with Reader(broker.bootstrap, prefix=prefix, timeout=SOON) as reader:
        assert [next(reader).sequence for _ in range(3)] == [0, 1, 2]
        position = reader.position
    for future in admin.delete_records([TopicPartition(topic, 0, 6), TopicPartition(topic, 1, 2)]).values():
        future.result(SOON)
    with Reader(broker.bootstrap, prefix=prefix, timeout=SOON) as reader:
        # partition 0 begins with 12, partition 1 with 5: what is missing between them was taken away
        assert [record.sequence for record in reader] == [5, 7, 9, 11, *range(12, 20)]
        assert (reader.gaps, reader.late, reader.skipped) == (0, 0, 0)
    with Reader(broker.bootstrap, prefix=prefix, start=position, timeout=SOON) as reader:
        assert [record.sequence for record in reader] == [5, 7, 9, 11, *range(12, 20)]
        assert (reader.gaps, reader.skipped) == (0, 4 + 1)


@pytest.mark.needs("create_topics")
def test_retention_that_overtakes_a_reader_is_counted(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}.turn-start"
    admin = AdminClient(broker.client())
    create(admin, topic, 1)
    produce(Producer(broker.client()), topic, *range(3_000))
    small = {"fetch.max.bytes": 1_000_000, "max.partition.fetch.bytes": 20_000, "queued.min.messages": 10}
    with Reader(broker.bootstrap, prefix=prefix, config=small, memory=1, timeout=SOON) as reader:
        first = [next(reader).sequence for _ in range(10)]
        for future in admin.delete_records([TopicPartition(topic, 0, 2_900)]).values():
            future.result(SOON)
        rest = [record.sequence for record in reader]
    read = first + rest
    assert read == sorted(read)
    assert rest[-100:] == list(range(2_900, 3_000))
    assert reader.skipped == 3_000 - len(read) > 0


@pytest.mark.needs("create_topics")
def test_partitions_are_extended_to_their_new_ends_within_bounds(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}.turn-start"
    create(AdminClient(broker.client()), topic, 2)
    producer = Producer(broker.client())
    timed(producer, topic, (0, 0), (1, 60), (2, 120))
    partitions = Partitions(
        broker.bootstrap,
        wanted=[topic],
        since_ms=BEGAN_MS + 30_000,
        until_ms=BEGAN_MS + 200_000,
        timeout=SOON,
    )
    with contextlib.closing(partitions):
        assert partitions.starts == {(topic, 0): 1, (topic, 1): 0}
        found = read_all(partitions)
        timed(producer, topic, (3, 180), (4, 5_000))
        partitions.extend()
        found += read_all(partitions)
    assert found == [1, 2, 3]


def read_all(partitions: Partitions) -> list[int]:
    """The offsets of what is left to be read."""
    found: list[int] = []
    while not partitions.finished:
        found += [message.offset() for message in partitions.fetch(0.1)]
    return found


# -- permissions --------------------------------------------------------------------------------------------


def client(secure_broker: SecureKafka, user: str, **config: Any) -> dict[str, Any]:
    out = secure_broker.client(user, f"{user}-secret", **config)
    out.pop("bootstrap.servers", None)
    return out


@pytest.fixture
def filled(secure_broker: SecureKafka, prefix: str) -> str:
    """A prefix with one topic of one record, written by the administrator."""
    create(secure_broker.admin, f"{prefix}.turn-start", 2)
    config = secure_broker.client("admin", "admin-secret", mechanism="PLAIN")
    produce(Producer(config), f"{prefix}.turn-start", 0)
    return prefix


@pytest.mark.needs("acls")
def test_describe_and_read_on_the_topics_are_enough(secure_broker: SecureKafka, filled: str) -> None:
    secure_broker.add_user("auditor", "auditor-secret")
    secure_broker.allow("auditor", filled, AclOperation.READ, AclOperation.DESCRIBE, prefix=True)
    config = client(secure_broker, "auditor")
    for follow in (False, True):
        with Reader(
            secure_broker.bootstrap, prefix=filled, config=config, follow=follow, timeout=SOON
        ) as reader:
            assert next_of(reader).sequence == 0
            began = time.monotonic()
            while follow and time.monotonic() - began < 3:  # the group's coordinator is looked for meanwhile
                assert reader.poll(0.1) is None
    day_ms = 24 * 3_600_000
    now_ms = int(time.time() * 1_000)
    with Reader(
        secure_broker.bootstrap,
        prefix=filled,
        config=config,
        since=now_ms - day_ms,
        until=now_ms + day_ms,
        timeout=SOON,
    ) as reader:
        assert next_of(reader).sequence == 0
        reader._partitions.extend()
        assert reader.finished


@pytest.mark.needs("acls")
@pytest.mark.parametrize("allowed", [[], [AclOperation.DESCRIBE]])
def test_a_topic_that_may_not_be_read_is_named(
    secure_broker: SecureKafka, filled: str, allowed: list[AclOperation]
) -> None:
    user = f"u{len(allowed)}"
    secure_broker.add_user(user, f"{user}-secret")
    if allowed:
        secure_broker.allow(user, filled, *allowed, prefix=True)
    began = time.monotonic()
    with (
        pytest.raises(BrokerError, match=rf"topic {filled}\.\S+ may not be read"),
        Reader(
            secure_broker.bootstrap, prefix=filled, config=client(secure_broker, user), timeout=60
        ) as reader,
    ):
        list(reader)
    assert time.monotonic() - began < SOON


@pytest.mark.needs("acls")
def test_a_wrong_password_is_not_waited_for(secure_broker: SecureKafka, filled: str) -> None:
    config = {**client(secure_broker, "nobody"), "sasl.password": "wrong"}
    began = time.monotonic()
    with pytest.raises(BrokerError, match=r"(?i)authentication"):
        Reader(secure_broker.bootstrap, prefix=filled, config=config, timeout=60)
    assert time.monotonic() - began < SOON
