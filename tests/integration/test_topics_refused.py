"""A topic that cannot take records: its records wait and are named, the others go on, nothing is lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not all in its __all__
    AclOperation,
    AdminClient,
    NewTopic,
)
from emit_support import QUICK, Ends, assert_complete, collector, read_all, until

from auditwire import FlushTimeout, KafkaCollector
from auditwire.events import ErrorEvent, TurnEndEvent, TurnStartEvent

if TYPE_CHECKING:
    from rig.broker import Broker
    from rig.secure import SecureKafka

PARTITIONS = 6


def create(config: dict[str, Any], *topics: str, partitions: int = PARTITIONS) -> None:
    admin = AdminClient({**config, "log_level": 0})
    for future in admin.create_topics([NewTopic(topic, partitions, 1) for topic in topics]).values():
        future.result(20)


def emit_both(kafka: KafkaCollector, start: int, count: int) -> None:
    """As many turn_start as turn_end, spread over all partitions."""
    for number in range(start, start + count):
        kafka.emit(TurnStartEvent(session_id=f"s-{number}"))
        kafka.emit(TurnEndEvent(session_id=f"s-{number}"))


def assert_parked_then_recovered(
    kafka: KafkaCollector, good: Ends, bad_topic: str, word: str, mend: Any, *, count: int
) -> None:
    """``bad_topic`` is parked with ``word``, the others are not; after ``mend`` all of it arrives."""
    until(lambda: bad_topic in kafka.health().parked, "the topic is parked")
    until(lambda: good.total() >= count, "the other topics' records arrive")
    emit_both(kafka, count, 1_000)
    until(lambda: good.total() >= count + 1_000, "the other topics' records go on arriving")
    with pytest.raises(FlushTimeout, match=word) as caught:
        kafka.flush(1.0)
    assert caught.value.parked.keys() == {bad_topic}
    assert word in caught.value.parked[bad_topic]
    assert bad_topic in str(caught.value)
    assert caught.value.pending >= count + 1_000
    health = kafka.health()
    assert health.state in {"degraded", "failing"}
    assert health.parked.keys() == {bad_topic}
    assert word in health.parked[bad_topic]

    mend()
    start = time.monotonic()
    kafka.flush(30)
    assert time.monotonic() - start < 15
    health = kafka.health()
    assert (health.state, health.parked, health.pending_records) == ("ok", {}, 0)
    assert (health.lost, health.quarantined, health.faults) == ({}, {}, 0)
    assert health.accepted == health.delivered == 2 * (count + 1_000)


@pytest.mark.needs("create_topics")
def test_a_missing_topic_waits_until_somebody_makes_it_and_the_others_go_on(
    broker: Broker, prefix: str
) -> None:
    create(broker.client(), f"{prefix}.turn-start", f"{prefix}.checkpoint")
    kafka = collector(broker, prefix, create_topics=False)
    emit_both(kafka, 0, 500)
    assert_parked_then_recovered(
        kafka,
        Ends(broker.client(), prefix),
        f"{prefix}.turn-end",
        "does not exist",
        lambda: create(broker.client(), f"{prefix}.turn-end"),
        count=500,
    )
    kafka.close()
    trail = read_all(broker.bootstrap, prefix)
    assert_complete(trail.reports[0])
    assert len(trail.unique) == 3_000


@pytest.mark.needs("create_topics")
def test_without_the_checkpoint_topic_the_events_still_arrive(broker: Broker, prefix: str) -> None:
    create(broker.client(), f"{prefix}.turn-start")
    kafka = collector(broker, prefix, create_topics=False)
    for number in range(3_000):
        kafka.emit(TurnStartEvent(session_id=f"s-{number}"))
    until(lambda: kafka.health().delivered == 3_000, "the events are delivered")
    assert kafka.health().parked.keys() == {f"{prefix}.checkpoint"}
    create(broker.client(), f"{prefix}.checkpoint")
    kafka.flush(15)
    kafka.close()
    assert_complete(read_all(broker.bootstrap, prefix).reports[0])


@pytest.mark.needs("create_topics")
def test_closing_with_a_parked_topic_is_bounded_and_the_check_says_what_has_not_come(
    broker: Broker, prefix: str
) -> None:
    create(broker.client(), f"{prefix}.turn-start", f"{prefix}.checkpoint")
    kafka = collector(broker, prefix, create_topics=False)
    emit_both(kafka, 0, 10)
    start = time.monotonic()
    with pytest.raises(FlushTimeout, match="turn-end") as caught:
        kafka.close(2.0)
    assert time.monotonic() - start < 5
    assert caught.value.pending == 10
    (report,) = read_all(broker.bootstrap, prefix, settled=False).reports
    assert (report.verdict, report.closed, report.missing) == ("open", True, [])
    assert sum(last - first + 1 for first, last in report.awaited) == 10
    (report,) = read_all(broker.bootstrap, prefix, settled=True).reports
    assert report.verdict == "fault"
    assert sum(last - first + 1 for first, last in report.missing) == 10


@pytest.mark.needs("create_topics")
def test_a_topic_that_is_deleted_under_way_is_made_again(broker: Broker, prefix: str) -> None:
    admin = AdminClient({**broker.client(), "log_level": 0})
    kafka = collector(broker, prefix)
    emit_both(kafka, 0, 500)
    kafka.flush()
    admin.delete_topics([f"{prefix}.turn-end"])[f"{prefix}.turn-end"].result(20)
    ends = Ends(broker.client(), prefix)
    until(lambda: f"{prefix}.turn-end" not in ends.by_topic(), "the topic is gone")
    emit_both(kafka, 500, 500)
    kafka.flush(60)
    health = kafka.health()
    assert (health.delivered, health.lost, health.parked, health.faults) == (2_000, {}, {}, 0)
    kafka.close()
    trail = read_all(broker.bootstrap, prefix)
    later = {r.event.session_id for r in trail.of_type("turn_end")}
    assert later == {f"s-{number}" for number in range(500, 1_000)}
    assert len(trail.of_type("turn_start")) == 1_000


@pytest.mark.needs("create_topics")
@pytest.mark.parametrize("partitions", [1, 2, 12])
def test_a_topic_made_anew_with_another_number_of_partitions_is_filled(
    broker: Broker, prefix: str, partitions: int
) -> None:
    topic = f"{prefix}.turn-end"
    admin = AdminClient({**broker.client(), "log_level": 0})
    kafka = collector(broker, prefix)
    emit_both(kafka, 0, 200)
    kafka.flush()
    admin.delete_topics([topic])[topic].result(20)
    ends = Ends(broker.client(), prefix)
    until(lambda: topic not in ends.by_topic(), "the topic is gone")
    create(broker.client(), topic, partitions=partitions)
    emit_both(kafka, 200, 200)
    kafka.flush(60)
    kafka.close()
    health = kafka.health()
    assert (health.delivered, health.lost, health.faults) == (800, {}, 0)
    later = [r.event.session_id for r in read_all(broker.bootstrap, prefix).of_type("turn_end")]
    assert set(later) == {f"s-{number}" for number in range(200, 400)}


# -- ACLs ---------------------------------------------------------------------------------------------------


def user_of(secure_broker: SecureKafka, prefix: str) -> str:
    user = f"u-{prefix}"
    secure_broker.add_user(user, "secret")
    return user


def secure_collector(secure_broker: SecureKafka, prefix: str, **options: Any) -> tuple[KafkaCollector, Ends]:
    config = {**secure_broker.client(f"u-{prefix}", "secret"), **QUICK}
    return KafkaCollector(config=config, prefix=prefix, **options), Ends(admin_config(secure_broker), prefix)


def admin_config(secure_broker: SecureKafka) -> dict[str, Any]:
    return secure_broker.client("admin", "admin-secret", mechanism="PLAIN")


ALL = (AclOperation.CREATE, AclOperation.DESCRIBE, AclOperation.WRITE)


@pytest.mark.parametrize("create_topics", [True, False])
@pytest.mark.parametrize("granted", [(), (AclOperation.DESCRIBE,)])
def test_a_forbidden_topic_waits_until_it_is_granted_and_the_others_go_on(
    secure_broker: SecureKafka, prefix: str, create_topics: bool, granted: tuple[AclOperation, ...]
) -> None:
    user = user_of(secure_broker, prefix)
    topics = [f"{prefix}.{name}" for name in ("turn-start", "turn-end", "checkpoint")]
    create(admin_config(secure_broker), *topics)
    for topic in (topics[0], topics[2]):
        secure_broker.allow(user, topic, *ALL)
    if granted:
        secure_broker.allow(user, topics[1], *granted)
    kafka, good = secure_collector(secure_broker, prefix, create_topics=create_topics)
    emit_both(kafka, 0, 500)
    assert_parked_then_recovered(
        kafka,
        good,
        topics[1],
        "TOPIC_AUTHORIZATION_FAILED",
        lambda: secure_broker.allow(user, topics[1], *ALL),
        count=500,
    )
    kafka.close()
    trail = read_all(secure_broker.bootstrap, prefix, config=admin_config(secure_broker))
    assert_complete(trail.reports[0])
    assert len(trail.unique) == 3_000


def test_a_topic_that_may_not_be_made_waits_until_it_may(secure_broker: SecureKafka, prefix: str) -> None:
    user = user_of(secure_broker, prefix)
    for name in ("turn-start", "checkpoint"):
        secure_broker.allow(user, f"{prefix}.{name}", *ALL)
    secure_broker.allow(user, f"{prefix}.turn-end", AclOperation.DESCRIBE, AclOperation.WRITE)
    kafka, good = secure_collector(secure_broker, prefix)
    emit_both(kafka, 0, 500)
    assert_parked_then_recovered(
        kafka,
        good,
        f"{prefix}.turn-end",
        "could not be created",
        lambda: secure_broker.allow(user, f"{prefix}.turn-end", AclOperation.CREATE),
        count=500,
    )
    kafka.close()


def test_rights_taken_away_and_given_back_under_way_cost_nothing(
    secure_broker: SecureKafka, prefix: str
) -> None:
    user = user_of(secure_broker, prefix)
    secure_broker.allow(user, f"{prefix}.", *ALL, prefix=True)
    kafka, _ = secure_collector(secure_broker, prefix)
    for number in range(1_000):
        kafka.emit(ErrorEvent(session_id=f"s-{number}"))
    kafka.flush()
    assert secure_broker.revoke(user) == len(ALL)
    for number in range(1_000, 2_000):
        kafka.emit(ErrorEvent(session_id=f"s-{number}"))
    until(lambda: f"{prefix}.error" in kafka.health().parked, "the topic is parked")
    secure_broker.allow(user, f"{prefix}.", *ALL, prefix=True)
    kafka.flush(20)
    kafka.close()
    trail = read_all(secure_broker.bootstrap, prefix, config=admin_config(secure_broker))
    assert_complete(trail.reports[0])
    assert len(trail.unique) == 2_000


def test_a_user_without_any_rights_is_told_why_and_delivers_all_once_they_are_granted(
    secure_broker: SecureKafka, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """librdkafka gives its producer up for good then: it gets no producer id."""
    user = user_of(secure_broker, prefix)
    kafka, _ = secure_collector(secure_broker, prefix)
    emit_both(kafka, 0, 500)
    until(lambda: "AUTHORIZATION" in kafka.health().last_error, "the lack of rights is said")
    with pytest.raises(FlushTimeout, match="AUTHORIZATION"):
        kafka.flush(2.0)
    secure_broker.allow(user, f"{prefix}.", *ALL, prefix=True)
    kafka.flush(30)
    kafka.close()
    health = kafka.health()
    assert (health.delivered, health.lost, health.faults) == (1_000, {}, 0)
    assert "Traceback" not in caplog.text
    trail = read_all(secure_broker.bootstrap, prefix, config=admin_config(secure_broker))
    assert_complete(trail.reports[0])
    assert len(trail.unique) == 1_000
