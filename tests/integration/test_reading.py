"""The reader on a real broker: what librdkafka's mock cluster does not have."""

from __future__ import annotations

import time
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
from auditwire.wire import FastavroEncoder, frame_single_object, join_body, schema_for

if TYPE_CHECKING:
    from rig.broker import Broker
    from rig.secure import SecureKafka

SOON = 20.0
STREAM = "01920000-0000-7000-8000-000000000001"


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
