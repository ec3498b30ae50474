"""The rig keeps its promises: what tests of delivery and faults rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AclOperation,
    AdminClient,
    NewTopic,
)

from rig.broker import Broker, BrokerError, until

if TYPE_CHECKING:
    from rig.container import KafkaCluster
    from rig.secure import SecureKafka

# the default back-off of 10 s would be most of the time that a restart takes
QUIET = {
    "log_level": 0,
    "enable.idempotence": True,
    "message.timeout.ms": 60000,
    "reconnect.backoff.max.ms": 500,
}


def create(conf: dict[str, Any], topic: str, partitions: int = 1, copies: int = 1) -> AdminClient:
    admin = AdminClient(conf)
    admin.create_topics([NewTopic(topic, partitions, copies)])[topic].result(20)
    # metadata lags the creation
    until(lambda: topic in admin.list_topics(timeout=10).topics, 20, f"topic {topic}")
    return admin


class Sent:
    """Produces numbered records and keeps what became of each."""

    def __init__(self, conf: dict[str, Any], topic: str) -> None:
        self.acknowledged: list[int] = []
        self.errors: list[KafkaError] = []
        self._topic = topic
        self._next = 0
        self.producer = Producer({**QUIET, **conf, "error_cb": lambda _: None})

    def more(self, count: int) -> None:
        for _ in range(count):
            self.producer.produce(self._topic, b"%d" % self._next, key=b"k", on_delivery=self._delivered)
            self._next += 1

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acknowledged.append(int(message.value() or b""))
        else:
            self.errors.append(error)

    def flush(self) -> int:
        return self.producer.flush(60)


def read(conf: dict[str, Any], topic: str, count: int) -> list[int]:
    """The records of the topic from the first on; all have one key, so they come in order."""
    consumer = Consumer({**conf, "group.id": topic, "log_level": 0})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    got: list[int] = []

    def enough() -> bool:
        got.extend(int(m.value() or b"") for m in consumer.consume(1000, 0.5) if m.error() is None)
        return len(got) >= count

    try:
        until(enough, 30, f"{count} records of {topic}")
    finally:
        consumer.close()
    return got


def test_a_record_comes_back(broker: Broker, prefix: str) -> None:
    if "create_topics" in broker.capabilities:  # else they appear at their first use
        create(broker.client(), prefix)
    sent = Sent(broker.client(), prefix)
    sent.more(10)
    assert sent.flush() == 0
    assert read(broker.client(), prefix, 10) == list(range(10))


@pytest.mark.needs("create_topics", "kafka_tools")
def test_kafkas_own_tools_see_a_record(broker: Broker, prefix: str) -> None:
    create(broker.client(), prefix, partitions=2)
    producer = Producer({**QUIET, **broker.client()})
    producer.produce(prefix, b"v\xff", key=b"key", headers=[("name", b"value")], partition=1)
    assert producer.flush(20) == 0

    assert prefix in broker.tool("kafka-topics.sh", "--list").split()
    assert broker.tool("kafka-get-offsets.sh", "--topic", prefix).split() == [
        f"{prefix}:0:0",
        f"{prefix}:1:1",
    ]
    shown = [f"--formatter-property=print.{what}=true" for what in ("partition", "headers", "key")]
    line = broker.tool(
        "kafka-console-consumer.sh", "--topic", prefix, "--from-beginning", "--max-messages", "1", *shown
    )
    assert line.encode(errors="surrogateescape") == b"Partition:1\tname:value\tkey\tv\xff\n"


@pytest.mark.needs("kafka_tools")
def test_a_tool_that_fails_says_why(broker: Broker) -> None:
    with pytest.raises(BrokerError, match=r"kafka-topics\.sh .*exit 1\n.*does not exist"):
        broker.tool("kafka-topics.sh", "--describe", "--topic", "no-such-topic")


def test_a_killed_broker_keeps_its_records_and_its_address(faulty_broker: Broker, prefix: str) -> None:
    create(faulty_broker.client(), prefix)
    sent = Sent(faulty_broker.client(), prefix)
    address = faulty_broker.bootstrap
    sent.more(100)
    assert sent.flush() == 0
    faulty_broker.kill()
    sent.more(100)
    sent.producer.poll(0.5)
    assert len(sent.acknowledged) == 100
    faulty_broker.start_again()
    assert sent.flush() == 0
    faulty_broker.shut_down()
    faulty_broker.start_again()
    assert faulty_broker.bootstrap == address
    assert read(faulty_broker.client(), prefix, 200) == sent.acknowledged == list(range(200))


def test_a_paused_broker_answers_nothing_until_it_goes_on(faulty_broker: Broker, prefix: str) -> None:
    create(faulty_broker.client(), prefix)
    sent = Sent(faulty_broker.client(), prefix)
    sent.more(1)
    assert sent.flush() == 0
    faulty_broker.pause()
    sent.more(1)
    assert sent.producer.flush(1) == 1
    faulty_broker.unpause()
    assert sent.flush() == 0
    assert sent.acknowledged == [0, 1]


def test_a_user_writes_only_what_an_acl_allows(secure_broker: SecureKafka, prefix: str) -> None:
    allowed, forbidden = f"{prefix}.allowed", f"{prefix}-forbidden"
    for topic in (allowed, forbidden):
        secure_broker.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    secure_broker.add_user("writer", "secret")
    secure_broker.allow("writer", f"{prefix}.", AclOperation.WRITE, AclOperation.DESCRIBE, prefix=True)

    writer = secure_broker.client("writer", "secret")
    good, bad = Sent(writer, allowed), Sent(writer, forbidden)
    good.more(1)
    bad.more(1)
    assert good.flush() == bad.flush() == 0
    assert good.acknowledged == [0]
    assert [error.code() for error in bad.errors] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    assert secure_broker.revoke("writer") == 2


def test_three_brokers_lose_nothing_when_a_leader_is_killed(kafka_cluster: KafkaCluster, prefix: str) -> None:
    admin = create(kafka_cluster.client(), prefix, copies=3)
    leader = admin.list_topics(prefix, timeout=10).topics[prefix].partitions[0].leader
    sent = Sent(kafka_cluster.client(), prefix)
    sent.more(1000)
    sent.producer.poll(0.01)
    kafka_cluster.nodes[leader].kill()
    sent.more(1000)
    assert sent.flush() == 0
    survivors = [node for i, node in kafka_cluster.nodes.items() if i != leader]
    assert read(survivors[0].client(), prefix, 2000) == sent.acknowledged == list(range(2000))
