"""Large events among small ones: cut to what a record may have, or withheld and said so; small ones go on."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not all in its __all__
    AdminClient,
    NewTopic,
)
from emit_support import assert_complete, collector, read_all

from auditwire.events import ErrorEvent, QuarantineEvent, TurnStartEvent

if TYPE_CHECKING:
    from auditwire import KafkaCollector
    from rig.broker import Broker


def noise(size: int, seed: int = 1) -> str:
    """Text that no compression makes much smaller: six bits a character."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
    return "".join(random.Random(seed).choices(letters, k=size))


def create(broker: Broker, topic: str, **config: str) -> None:
    admin = AdminClient(broker.client(log_level=0))
    new = NewTopic(topic, 3, 1, config={name.replace("_", "."): value for name, value in config.items()})
    admin.create_topics([new])[topic].result(20)


def emit_errors(kafka: KafkaCollector, count: int, session: str = "s", size: int = 100) -> None:
    for number in range(count):
        kafka.emit(ErrorEvent(session_id=session, error_type=str(number), error_message=noise(size, number)))


def test_one_value_of_5_mb_among_small_ones_arrives_cut_with_its_length_and_digest(
    broker: Broker, prefix: str
) -> None:
    large = noise(5_000_000)
    with collector(broker, prefix) as kafka:
        emit_errors(kafka, 1_000)
        kafka.emit(ErrorEvent(session_id="s", error_type="large", error_message=large))
        emit_errors(kafka, 1_000)
        kafka.flush()
        health = kafka.health()
    trail = read_all(broker.bootstrap, prefix)
    assert_complete(trail.reports[0])
    assert len(trail.unique) == 2_001
    (record,) = [r for r in trail.events if isinstance(r.event, ErrorEvent) and r.event.error_type == "large"]
    assert isinstance(record.event, ErrorEvent)
    assert large.startswith(record.event.error_message)
    assert len(record.event.error_message) > 800_000
    assert record.event.metadata == {
        "auditwire.truncated": {
            "error_message": {
                "length": 5_000_000,
                "digest": f"sha256:{hashlib.sha256(large.encode()).hexdigest()}",
            }
        }
    }
    assert (health.truncated, health.quarantined, health.resent) == ({"error_message": 1}, {}, 0)


@pytest.mark.needs("create_topics")
def test_a_record_above_its_topics_limit_is_withheld_and_said_so_while_all_small_ones_arrive(
    broker: Broker, prefix: str
) -> None:
    topic = f"{prefix}.error"
    create(broker, topic, max_message_bytes="20000")
    kafka = collector(broker, prefix)
    emit_errors(kafka, 3_000)
    kafka.emit(ErrorEvent(session_id="s", error_type="large", error_message=noise(500_000)))
    emit_errors(kafka, 3_000)
    kafka.emit(TurnStartEvent(session_id="s"))
    kafka.flush()
    health = kafka.health()
    kafka.close()
    assert health.quarantined == {"MSG_SIZE_TOO_LARGE": 1}
    assert (health.state, health.lost, health.parked, health.faults) == ("degraded", {}, {}, 0)
    assert health.accepted == 6_002
    assert health.pending_records == 0

    trail = read_all(broker.bootstrap, prefix)
    assert len(trail.of_type("error")) == 6_000
    assert len(trail.of_type("turn_start")) == 1
    (record,) = trail.of_type("quarantine")
    said = record.event
    assert isinstance(said, QuarantineEvent)
    assert record.topic == f"{prefix}.quarantine"
    assert said.quarantined_stream == kafka.stream_id
    assert said.quarantined_type == "error"
    assert said.topic == topic
    assert 500_000 < said.size < 501_000
    assert said.reason == "MSG_SIZE_TOO_LARGE"
    (report,) = trail.reports
    assert report.withheld == [said.quarantined_sequence]
    assert said.quarantined_sequence not in {r.sequence for r in trail.records}
    # the digest is the one that a checkpoint lists for the record, else it would be a fault
    assert (report.verdict, report.closed, report.faults) == ("open", True, [])


@pytest.mark.needs("create_topics")
def test_batches_above_a_topics_limit_are_made_smaller_until_they_fit(broker: Broker, prefix: str) -> None:
    create(broker, f"{prefix}.error", max_message_bytes="20000")
    kafka = collector(broker, prefix, config={"compression.type": "none"})
    emit_errors(kafka, 2_000, size=2_000)
    kafka.flush()
    health = kafka.health()
    kafka.close()
    assert (health.delivered, health.quarantined, health.lost) == (2_000, {}, {})
    trail = read_all(broker.bootstrap, prefix)
    assert_complete(trail.reports[0])
    numbers = [r.event.error_type for r in trail.events if isinstance(r.event, ErrorEvent)]
    assert numbers == [str(number) for number in range(2_000)]


@pytest.mark.needs("create_topics")
def test_many_records_above_the_limit_are_each_withheld_and_said_so(broker: Broker, prefix: str) -> None:
    create(broker, f"{prefix}.error", max_message_bytes="20000")
    kafka = collector(broker, prefix)
    for number in range(300):
        size = 50_000 if number % 10 == 0 else 100
        kafka.emit(ErrorEvent(session_id=f"s-{number % 7}", error_message=noise(size, number)))
    kafka.close()  # without a flush before: what is withheld is said before the closing checkpoint
    assert kafka.health().quarantined == {"MSG_SIZE_TOO_LARGE": 30}
    trail = read_all(broker.bootstrap, prefix)
    (report,) = trail.reports
    assert len(trail.of_type("error")) == 270
    assert len(trail.of_type("quarantine")) == len(report.withheld) == 30
    assert report.faults == []


def test_a_producer_that_may_send_less_than_a_record_withholds_it(broker: Broker, prefix: str) -> None:
    """librdkafka itself refuses it then, in the call of produce."""
    kafka = collector(broker, prefix, config={"message.max.bytes": 100_000})
    emit_errors(kafka, 100)
    kafka.emit(ErrorEvent(session_id="s", error_message=noise(200_000)))
    emit_errors(kafka, 100)
    kafka.flush()
    kafka.close()
    assert kafka.health().quarantined == {"MSG_SIZE_TOO_LARGE": 1}
    trail = read_all(broker.bootstrap, prefix)
    assert len(trail.of_type("error")) == 200
    (report,) = trail.reports
    assert (report.verdict, report.withheld, report.faults) == ("open", [101], [])


@pytest.mark.needs("retention")
def test_100_records_of_900_kb_arrive_in_order_through_a_journal_that_holds_a_few(
    broker: Broker, prefix: str
) -> None:
    kafka = collector(broker, prefix, journal_bytes=4 << 20, full_timeout=30.0)
    text = noise(900_000)
    for number in range(100):
        kafka.emit(ErrorEvent(session_id="s", error_type=str(number), error_message=text))
    kafka.flush()
    kafka.close()
    trail = read_all(broker.bootstrap, prefix)
    assert_complete(trail.reports[0])
    assert [r.event.error_type for r in trail.events if isinstance(r.event, ErrorEvent)] == [
        str(number) for number in range(100)
    ]
