"""Members of a consumer group on a real broker: who gets what, and what is committed when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from auditwire.errors import BrokerError
from auditwire.events import TurnStartEvent
from auditwire.reading import GroupReader
from auditwire.wire import FastavroEncoder, frame_single_object, join_body, schema_for
from support.group_polls import poll_until, take

if TYPE_CHECKING:
    from rig.broker import Broker
    from rig.secure import SecureKafka

SOON = 30.0
STREAM = "01920000-0000-7000-8000-000000000001"
QUICK = {"session.timeout.ms": 6_000, "heartbeat.interval.ms": 500, "topic.metadata.refresh.interval.ms": 500}


def value(sequence: int) -> bytes:
    head, tail = FastavroEncoder().encode(TurnStartEvent(session_id=f"s{sequence % 2}"), STREAM)
    return frame_single_object(schema_for("turn_start").fingerprint, join_body(head, sequence, tail))


def create(admin: AdminClient, topic: str, partitions: int) -> None:
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result(SOON)
    deadline = time.monotonic() + SOON
    while len(admin.list_topics(topic, SOON).topics[topic].partitions) < partitions:
        assert time.monotonic() < deadline  # metadata lag behind the creation


def produce(broker: Broker, topic: str, *sequences: int, partitions: int = 1) -> None:
    producer = Producer(broker.client())
    for sequence in sequences:
        producer.produce(topic, value(sequence), partition=sequence % partitions)
    assert producer.flush(SOON) == 0


def member(broker: Broker, prefix: str, **options: Any) -> GroupReader:
    config = {**QUICK, **options.pop("config", {})}
    return GroupReader(broker.bootstrap, group_id=f"{prefix}-group", prefix=prefix, config=config, **options)


def committed(broker: Broker, prefix: str, topic: str, partition: int = 0) -> int:
    consumer = Consumer(broker.client(**{"group.id": f"{prefix}-group"}))
    try:
        (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=SOON)
        return int(found.offset)
    finally:
        consumer.close()


@pytest.fixture
def topic(broker: Broker, prefix: str) -> str:
    create(AdminClient(broker.client()), f"{prefix}.turn-start", 2)
    return f"{prefix}.turn-start"


@pytest.mark.needs("create_topics")
def test_a_record_is_committed_when_the_next_one_is_asked_for_and_not_before(
    broker: Broker, prefix: str, topic: str
) -> None:
    produce(broker, topic, 0, 1, 2, 3)
    with member(broker, prefix) as reader:
        assert take(reader, 3) == [0, 1, 2]
    assert committed(broker, prefix, topic) == 2, "2 was handed out, and perhaps not processed"
    with member(broker, prefix) as reader:
        assert take(reader, 2) == [2, 3]
        reader.commit()
        assert committed(broker, prefix, topic) == 4
        reader.commit()


@pytest.mark.needs("create_topics")
def test_a_record_whose_processing_raises_is_handed_out_again(
    broker: Broker, prefix: str, topic: str
) -> None:
    produce(broker, topic, 0, 1)

    def process() -> None:
        with member(broker, prefix) as reader:
            for record in reader:
                assert record.sequence == 0

    with pytest.raises(AssertionError):
        process()
    with member(broker, prefix) as reader:
        assert take(reader, 1) == [1]


@pytest.mark.needs("create_topics")
def test_nothing_is_committed_behind_the_callers_back_when_it_is_switched_off(
    broker: Broker, prefix: str, topic: str
) -> None:
    produce(broker, topic, 0, 1, 2)
    with member(broker, prefix, config={"enable.auto.commit": False}) as reader:
        assert take(reader, 2) == [0, 1]
        reader.commit()
        assert take(reader, 1) == [2]
    assert committed(broker, prefix, topic) == 2


@pytest.mark.needs("create_topics")
def test_what_is_filtered_out_or_no_record_counts_as_processed(
    broker: Broker, prefix: str, topic: str
) -> None:
    produce(broker, topic, 0, 1)
    producer = Producer(broker.client())
    producer.produce(topic, b"?", partition=0)
    assert producer.flush(SOON) == 0
    refused = []
    with member(broker, prefix, session_id="s1", on_undecodable=lambda m, e: refused.append(e)) as reader:
        assert take(reader, 1) == [1]
        poll_until(lambda: refused, [], reader)
    assert reader.undecodable == {"foreign": 1}
    assert committed(broker, prefix, topic) == 3


@pytest.mark.needs("create_topics")
def test_members_share_the_partitions_and_what_one_leaves_another_takes(
    broker: Broker, prefix: str, topic: str
) -> None:
    first, second = member(broker, prefix), member(broker, prefix)
    seen: list[int] = []
    try:
        poll_until(lambda: len(first.assigned) == len(second.assigned) == 1, seen, first, second)
        assert sorted(first.assigned + second.assigned) == [(topic, 0), (topic, 1)]
        produce(broker, topic, *range(20), partitions=2)
        poll_until(lambda: len(seen) == 20, seen, first, second)
        assert sorted(seen) == list(range(20))
        second.poll(0)
        second.close()
        poll_until(lambda: len(first.assigned) == 2, seen, first)
        produce(broker, topic, 20, 21, partitions=2)
        poll_until(lambda: len(seen) == 22, seen, first)
        assert sorted(seen) == list(range(22)), "nothing twice: what was processed was committed in time"
    finally:
        first.close()
        second.close()


@pytest.mark.needs("create_topics")
def test_partitions_that_go_to_another_member_take_their_fetched_records_with_them(
    broker: Broker, prefix: str, topic: str
) -> None:
    produce(broker, topic, *range(60), partitions=2)
    first = member(broker, prefix)
    seen = take(first, 10)
    second = member(broker, prefix)
    try:
        poll_until(lambda: len(first.assigned) == len(second.assigned) == 1, seen, first, second)
        poll_until(lambda: len({*seen}) == 60, seen, first, second)
        # at most the one that was handed out and not processed when its partition went away comes again
        assert len(seen) <= 61
    finally:
        first.close()
        second.close()


@pytest.mark.needs("create_topics")
def test_a_topic_that_appears_later_is_read(broker: Broker, prefix: str) -> None:
    with member(broker, prefix) as reader:
        assert reader.poll(0) is None
        create(AdminClient(broker.client()), f"{prefix}.turn-start", 1)
        produce(broker, f"{prefix}.turn-start", 5)
        assert take(reader, 1) == [5]


@pytest.mark.needs("create_topics")
def test_stop_ends_the_iteration(broker: Broker, prefix: str, topic: str) -> None:
    produce(broker, topic, 0, 1)
    with member(broker, prefix) as reader:
        for record in reader:
            assert record.sequence == 0
            reader.stop()
    assert reader.poll() is None


@pytest.mark.needs("acls")
def test_read_on_the_group_is_needed_and_named(secure_broker: SecureKafka, prefix: str) -> None:
    create(secure_broker.admin, f"{prefix}.turn-start", 1)
    user = "member"
    secure_broker.add_user(user, f"{user}-secret")
    secure_broker.allow(user, prefix, AclOperation.READ, AclOperation.DESCRIBE, prefix=True)
    config = {**secure_broker.client(user, f"{user}-secret"), **QUICK}
    config.pop("bootstrap.servers", None)

    def reader() -> GroupReader:
        group = f"{prefix}-group"
        return GroupReader(
            secure_broker.bootstrap, group_id=group, prefix=prefix, config=config, timeout=SOON
        )

    with (
        reader() as r,
        pytest.raises(BrokerError, match=rf"group {prefix}-group may not be used.*Read on it"),
    ):
        poll_until(lambda: False, [], r)
    allowed = AclBinding(
        ResourceType.GROUP,
        f"{prefix}-group",
        ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        AclOperation.READ,
        AclPermissionType.ALLOW,
    )
    for future in secure_broker.admin.create_acls([allowed]).values():
        future.result(SOON)
    produce_config = secure_broker.client("admin", "admin-secret", mechanism="PLAIN")
    producer = Producer(produce_config)
    producer.produce(f"{prefix}.turn-start", value(0))
    assert producer.flush(SOON) == 0
    with reader() as r:
        assert take(r, 1) == [0]
        r.commit()
