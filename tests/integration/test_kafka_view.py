"""What Kafka's own tools see: topics, partitions, keys, headers, timestamps."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from emit_support import collector, read_all

from auditwire import KafkaCollector
from auditwire.delivery.topics import TopicSettings
from auditwire.events import TurnStartEvent

if TYPE_CHECKING:
    from rig.broker import Broker
    from rig.container import KafkaCluster

pytestmark = pytest.mark.needs("create_topics", "kafka_tools")

HOUR_MS = 3_600_000
DAY_US = 86_400_000_000


def console(broker: Broker, topic: str, count: int) -> list[dict[str, str]]:
    """The first records of a topic as Kafka's console consumer prints them, without their values."""
    shown = ["timestamp", "partition", "headers", "key"]
    printed = broker.tool(
        "kafka-console-consumer.sh",
        *("--topic", topic, "--from-beginning", "--max-messages", str(count), "--timeout-ms", "20000"),
        *(f"--formatter-property=print.{what}=true" for what in shown),
        "--formatter-property=print.value=false",
    )
    rows = [line.split("\t") for line in printed.splitlines()]
    return [dict(zip(shown, row, strict=True)) for row in rows]


def test_kafkas_console_consumer_shows_key_and_cloudevents_headers(broker: Broker, prefix: str) -> None:
    traced = TurnStartEvent(
        session_id="økt-1", trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331"
    )
    plain = TurnStartEvent()
    with collector(broker, prefix, service="billing & co") as kafka:
        kafka.emit(traced)
        kafka.emit(plain)
    rows = {row["key"]: row for row in console(broker, f"{prefix}.turn-start", 2)}
    key = "økt-1"
    assert rows.keys() == {key, kafka.stream_id}
    common = f"ce_source:/auditwire/billing%20%26%20co/{kafka.stream_id},ce_type:auditwire.turn_start"
    assert rows[key]["headers"] == (
        f"ce_specversion:1.0,ce_id:{traced.event_id},{common},content-type:application/avro,"
        "traceparent:00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    )
    assert rows[kafka.stream_id]["headers"] == (
        f"ce_specversion:1.0,ce_id:{plain.event_id},{common},content-type:application/avro"
    )


def test_without_headers_kafkas_console_consumer_shows_none(broker: Broker, prefix: str) -> None:
    with collector(broker, prefix, headers="none") as kafka:
        kafka.emit(TurnStartEvent(session_id="s"))
    assert [row["headers"] for row in console(broker, f"{prefix}.turn-start", 1)] == ["NO_HEADERS"]


def test_a_key_is_on_the_partition_where_kafkas_own_java_producer_puts_it(
    broker: Broker, prefix: str
) -> None:
    keys = [str(number) for number in range(60)]
    with collector(broker, prefix) as kafka:
        for key in keys:
            kafka.emit(TurnStartEvent(session_id=key))
    ours = {r.event.session_id: r.partition for r in read_all(broker.bootstrap, prefix).events}
    # Java's VerifiableProducer, into the same topic: keys 0 to 59 as text, and it says where each one went
    printed = broker.tool(
        *("kafka-run-class.sh", "org.apache.kafka.tools.VerifiableProducer"),
        *("--bootstrap-server", "localhost:19092" if broker.tier == "container" else broker.bootstrap),
        *("--topic", f"{prefix}.turn-start", "--max-messages", "60", "--repeating-keys", "60"),
    )
    said = [json.loads(line) for line in printed.splitlines()]
    javas = {e["key"]: e["partition"] for e in said if e["name"] == "producer_send_success"}
    assert ours == javas
    assert len(set(ours.values())) == 6


def test_kafkas_tools_show_topics_that_keep_records_for_400_days_on_6_partitions(
    broker: Broker, prefix: str
) -> None:
    with collector(broker, prefix) as kafka:
        kafka.emit(TurnStartEvent(session_id="s"))
    for name in ("turn-start", "checkpoint"):
        described = broker.tool("kafka-topics.sh", "--describe", "--topic", f"{prefix}.{name}")
        for setting in (
            "PartitionCount: 6",
            "ReplicationFactor: 1",
            "cleanup.policy=delete",
            "retention.ms=34560000000",
            "message.timestamp.type=CreateTime",
        ):
            assert setting in described


def test_topics_are_made_as_the_settings_say(broker: Broker, prefix: str) -> None:
    settings = TopicSettings(partitions=2, retention_days=30)
    with collector(broker, prefix, create_topics=settings) as kafka:
        kafka.emit(TurnStartEvent(session_id="s"))
    described = broker.tool("kafka-topics.sh", "--describe", "--topic", f"{prefix}.turn-start")
    assert "PartitionCount: 2" in described
    assert "retention.ms=2592000000" in described


def test_a_topic_that_is_there_is_used_as_it_is(broker: Broker, prefix: str) -> None:
    name = f"{prefix}.turn-start"
    broker.tool("kafka-topics.sh", "--create", "--topic", name, "--partitions", "3")
    with collector(broker, prefix) as kafka:
        for number in range(30):
            kafka.emit(TurnStartEvent(session_id=f"s-{number}"))
    assert "PartitionCount: 3" in broker.tool("kafka-topics.sh", "--describe", "--topic", name)
    assert {r.partition for r in read_all(broker.bootstrap, prefix).events} == {0, 1, 2}


def test_kafkas_timestamp_is_held_to_the_last_hour_while_the_body_keeps_the_true_time(
    broker: Broker, prefix: str
) -> None:
    now_us = time.time_ns() // 1_000
    times = {
        "old": now_us - 40 * DAY_US,
        "ancient": -5_000_000,
        "recent": now_us - 60_000_000,
        "future": now_us + 2 * HOUR_MS * 1_000,
        "far": 1 << 62,
    }
    with collector(broker, prefix) as kafka:
        for session, at in times.items():
            kafka.emit(TurnStartEvent(session_id=session, timestamp_us=at))
        kafka.flush()
    after_ms = time.time_ns() // 1_000_000
    shown = {
        row["key"]: int(row["timestamp"].removeprefix("CreateTime:"))
        for row in console(broker, f"{prefix}.turn-start", len(times))
    }
    now_ms = now_us // 1_000
    assert shown["recent"] == times["recent"] // 1_000
    for session in ("old", "ancient"):
        assert now_ms - HOUR_MS <= shown[session] <= after_ms - HOUR_MS
    for session in ("future", "far"):
        assert now_ms <= shown[session] <= after_ms
    trail = read_all(broker.bootstrap, prefix)
    assert {r.event.session_id: r.event.timestamp_us for r in trail.events} == times
    assert trail.reports[0].faults == []


def test_on_three_brokers_topics_have_three_copies_of_which_two_must_acknowledge(
    kafka_cluster: KafkaCluster, prefix: str
) -> None:
    with KafkaCollector(kafka_cluster.bootstrap, prefix=prefix) as kafka:
        kafka.emit(TurnStartEvent(session_id="s"))
    tool = kafka_cluster.nodes[1].tool
    described = tool("kafka-topics.sh", "--describe", "--topic", f"{prefix}.turn-start")
    assert "ReplicationFactor: 3" in described
    assert "min.insync.replicas=2" in described
