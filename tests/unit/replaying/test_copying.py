from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from auditwire.errors import BrokerError, ConfigurationError
from auditwire.replaying.copying import KafkaCopy
from auditwire.replaying.target import Topics
from auditwire.wire import frame_confluent, frame_single_object, topic_name
from support.stream_builder import StreamBuilder

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable

    from auditwire.reading import Record
    from auditwire.testing import EmbeddedBroker

SOON = 30.0
DAY_MS = 86_400_000


@pytest.fixture
def trail(audit_broker: EmbeddedBroker) -> str:
    """A prefix of the test's own, with its topics made."""
    prefix = f"copy-{uuid4().hex[:8]}"
    audit_broker.create_topics(prefix=prefix, partitions=2)
    return prefix


def with_values(records: Iterable[Record]) -> list[Record]:
    out = list(records)
    for record in out:
        confluent = record.framing == "confluent"
        record.value = (
            frame_confluent(7, record.body)
            if confluent
            else frame_single_object(record.fingerprint, record.body)
        )
    return out


RECORDS = with_values(
    [*StreamBuilder().turns(40).records, *StreamBuilder(framing="confluent").turns(1).records]
)


def topics(prefix: str, partitions: int = 2, **more: Any) -> Topics:
    return Topics({topic_name(prefix, name): partitions for name in ("turn_start", "checkpoint")}, **more)


def consumed(broker: EmbeddedBroker, prefix: str, partitions: int) -> list[Any]:
    """What stands on the topics, by a client that knows nothing of auditwire."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": prefix})
    try:
        places = [
            TopicPartition(topic_name(prefix, name), number, 0)
            for name in ("turn_start", "checkpoint")
            for number in range(partitions)
        ]
        total = sum(consumer.get_watermark_offsets(place, SOON)[1] for place in places)
        consumer.assign(places)
        found: list[Any] = []
        while len(found) < total:
            batch = consumer.consume(total - len(found), SOON)
            assert batch, f"{len(found)} of {total}"
            found += batch
        return found
    finally:
        consumer.close()


# -- on a broker --------------------------------------------------------------------------------------------


def test_value_key_headers_time_and_partition_are_what_they_were(
    audit_broker: EmbeddedBroker, trail: str
) -> None:
    sources = {"audit.turn-start": 2, "audit.checkpoint": 2}
    records = [record for record in RECORDS if record.partition < 2]
    records[1].headers = [("twice", b"1"), ("twice", b"2"), ("nothing", None), ("empty", b"")]
    copy = KafkaCopy(
        audit_broker.bootstrap_servers, {}, prefix=trail, topics=topics(trail), sources=sources, timeout=SOON
    )
    for record in records:
        copy.write(record)
    assert copy.settle() == {"acknowledged": len(records), "untimed": 0}
    copy.close()
    found = {message.value(): message for message in consumed(audit_broker, trail, 2)}
    assert len(found) == len(records)
    for record in records:
        message = found[record.value]
        assert message.topic() == topic_name(trail, record.event.event_type)
        assert (message.key(), message.headers()) == (record.key, record.headers)
        assert (message.timestamp()[1], message.partition()) == (record.timestamp_ms, record.partition)


def test_with_another_number_of_partitions_a_key_stays_on_one_partition(
    audit_broker: EmbeddedBroker, trail: str
) -> None:
    sources = {"audit.turn-start": 6, "audit.checkpoint": 6}
    with_keys = [*RECORDS[:40]]
    copy = KafkaCopy(
        audit_broker.bootstrap_servers, {}, prefix=trail, topics=topics(trail), sources=sources, timeout=SOON
    )
    for record in with_keys:
        copy.write(record)
    copy.settle()
    copy.close()
    places: dict[bytes | None, set[int]] = {}
    for message in consumed(audit_broker, trail, 2):
        places.setdefault(message.key(), set()).add(message.partition())
    assert set(map(len, places.values())) == {1}
    assert {number for numbers in places.values() for number in numbers} == {0, 1}


def test_records_without_key_headers_or_time_are_copied_and_those_without_time_are_counted(
    audit_broker: EmbeddedBroker, trail: str
) -> None:
    (record,) = with_values(StreamBuilder().records)
    record.key, record.headers, record.timestamp_ms = None, [], -1
    copy = KafkaCopy(
        audit_broker.bootstrap_servers,
        {},
        prefix=trail,
        topics=topics(trail, retention_ms={topic_name(trail, "checkpoint"): DAY_MS}),
        sources={},
        timeout=SOON,
        known={"acknowledged": 10, "untimed": 2},
    )
    copy.write(record)
    assert copy.settle() == {"acknowledged": 11, "untimed": 3}
    copy.close()
    (message,) = consumed(audit_broker, trail, 2)
    assert (message.key(), message.headers(), message.value()) == (None, None, record.value)


# -- a producer that does what a test says ------------------------------------------------------------------


class Report:
    """What librdkafka hands to a delivery callback."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def topic(self) -> str:
        return self._topic


class Wire:
    """A producer's seam: takes so many records, and reports when it is served."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.silent = False
        self.fault: KafkaError | None = None
        self.raised: list[Exception] = []
        self.produced: list[str] = []
        self.config: dict[str, Any] = {}
        self.purged = False
        self._waiting: list[tuple[str, Callable[[Any, Any], None]]] = []

    def __call__(self, config: dict[str, Any], *, logger: logging.Logger) -> Wire:
        self.config = config
        return self

    def produce(self, topic: str, value: bytes, key: bytes | None, *, on_delivery: Any, **_: Any) -> None:
        if self.raised:
            raise self.raised.pop()
        if len(self._waiting) >= self.room:
            raise BufferError
        self.produced.append(topic)
        self._waiting.append((topic, on_delivery))

    def poll(self, _seconds: float) -> None:
        if self.raised:
            raise self.raised.pop()
        while self._waiting and not self.silent:
            topic, report = self._waiting.pop(0)
            report(self.fault, Report(topic))

    flush = poll

    def purge(self) -> None:
        self.purged = True


class Clock:
    """A second goes by at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def copying(
    wire: Wire, *, retention: dict[str, int] | None = None, hurried: float | None = None
) -> KafkaCopy:
    return KafkaCopy(
        "host:1",
        {},
        prefix="copy",
        topics=topics("copy", retention_ms=retention or {}),
        sources={},
        timeout=20.0,
        hurried=lambda: hurried,
        clock=Clock(),
        now_ms=lambda: RECORDS[0].timestamp_ms + 10 * DAY_MS,
        make_producer=wire,
    )


def test_a_full_queue_is_waited_for_and_nothing_is_left_out() -> None:
    wire = Wire(room=3)
    copy = copying(wire)
    for record in RECORDS:
        copy.write(record)
    assert copy.settle()["acknowledged"] == len(RECORDS) == len(wire.produced)


def test_reports_are_served_while_records_come() -> None:
    wire = Wire()
    copy = copying(wire)
    for _ in range(4):
        for record in RECORDS:
            copy.write(record)
    assert len(wire._waiting) < len(wire.produced)


def test_a_refused_record_is_an_error_that_names_the_topic_and_the_reason() -> None:
    wire = Wire()
    wire.fault = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    copy = copying(wire)
    for record in RECORDS:
        copy.write(record)
    with pytest.raises(BrokerError, match=r"host:1: topic copy\.checkpoint refused a record: .+MSG_SIZE"):
        copy.settle()
    with pytest.raises(BrokerError, match=r"copy\.checkpoint"):  # and stays one
        copy.settle()


def test_a_topic_that_the_client_refuses_at_once_is_named() -> None:
    wire = Wire()
    wire.raised = [KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))]
    with pytest.raises(BrokerError, match=r"host:1: topic copy\.checkpoint: .*uthoriz"):
        copying(wire).write(RECORDS[0])


def test_a_broker_that_acknowledges_nothing_is_given_up_after_the_timeout() -> None:
    wire = Wire()
    copy = copying(wire)
    copy.write(RECORDS[0])
    copy._on_error(KafkaError(KafkaError._TRANSPORT, "Connection refused"))
    wire.silent = True
    with pytest.raises(
        BrokerError, match=r"host:1 has acknowledged nothing for 20 s, and 1 records wait: Connection refused"
    ):
        copy.settle()
    wire.silent = False
    assert copy.settle()["acknowledged"] == 1


def test_in_a_hurry_it_is_given_up_sooner() -> None:
    wire = Wire(room=1)
    copy = copying(wire, hurried=3.0)
    copy.write(RECORDS[0])
    wire.silent = True
    with pytest.raises(BrokerError, match=r"acknowledged nothing for 3 s, and 1 records wait$"):
        copy.write(RECORDS[1])


def test_a_client_that_cannot_go_on_ends_the_copy() -> None:
    wire = Wire()
    copy = copying(wire)
    copy.write(RECORDS[0])
    wire.raised = [KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))]
    with pytest.raises(BrokerError, match="host:1: the client cannot go on: fenced"):
        copy.settle()
    wire.raised = [KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))]
    copy.close()
    assert wire.purged


def test_a_record_that_retention_would_remove_is_refused_before_it_is_written() -> None:
    wire = Wire()
    copy = copying(wire, retention={"copy.checkpoint": 7 * DAY_MS, "copy.turn-start": 20 * DAY_MS})
    copy.write(RECORDS[1])
    with pytest.raises(
        ConfigurationError,
        match=r"--to-prefix: topic copy\.checkpoint keeps records for 7 days, and one of 2023-11-14T22:13:20",
    ):
        copy.write(RECORDS[0])
    assert wire.produced == ["copy.turn-start"]


# -- settings -----------------------------------------------------------------------------------------------


def test_it_waits_for_all_replicas_and_writes_nothing_twice_by_itself() -> None:
    wire = Wire()
    copying(wire)
    settings = {
        name: wire.config[name] for name in ("acks", "enable.idempotence", "allow.auto.create.topics")
    }
    assert settings == {"acks": "all", "enable.idempotence": True, "allow.auto.create.topics": False}
    assert (wire.config["client.id"], wire.config["bootstrap.servers"]) == ("auditwire-replay", "host:1")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"acks": "1"}, "acks: '1' is refused"),
        ({"sasl.mechanisms": "NONSENSE", "security.protocol": "sasl_plaintext"}, "sasl.mechanisms: "),
        ({"no.such.property": "1"}, "no.such.property: "),
    ],
)
def test_a_setting_that_breaks_a_promise_or_is_none_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        KafkaCopy("host:1", config, prefix="copy", topics=topics("copy"), sources={}, timeout=1.0)
