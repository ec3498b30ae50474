"""Members of a consumer group, on librdkafka's mock cluster."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from faulty_cluster import FETCH, FIND_COORDINATOR, FaultyCluster, faulty_cluster
from mock_topics import QUICK, QUIET, SOON, Topics, value_of

from auditwire.errors import BrokerError, ConfigurationError, DecodingError
from auditwire.events import TurnEndEvent
from auditwire.reading import GroupReader, Message
from auditwire.wire import frame_confluent, frame_single_object
from support.group_polls import poll_until, take
from support.stream_builder import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.reading.record import ClientMessage

# of a group that a member has left, the mock cluster lets the next one wait for a second less than a session
FAST = {**QUICK, "session.timeout.ms": 3_000, "heartbeat.interval.ms": 200, "logger": QUIET}


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyCluster]:
    with faulty_cluster() as cluster:
        cluster.rebalance_at_once()
        yield cluster


@pytest.fixture
def topics(server: FaultyCluster, request: pytest.FixtureRequest) -> Topics:
    return Topics(server, f"g{abs(hash(request.node.name))}").make("turn_start")


def member(topics: Topics, **options: Any) -> GroupReader:
    config = {**FAST, **options.pop("config", {})}
    options = {"prefix": topics.prefix, "timeout": SOON, "group_id": topics.prefix, **options}
    return GroupReader(topics.bootstrap, config=config, **options)


def committed(topics: Topics, partition: int = 0) -> int:
    consumer = Consumer({"bootstrap.servers": topics.bootstrap, "group.id": topics.prefix}, logger=QUIET)
    try:
        asked = TopicPartition(topics.name("turn_start"), partition)
        return int(consumer.committed([asked], timeout=SOON)[0].offset)
    finally:
        consumer.close()


def test_a_record_is_processed_when_the_next_one_is_asked_for(topics: Topics) -> None:
    topics.produce("turn_start", *map(value_of, range(4)))
    with member(topics) as reader:
        assert take(reader, 3) == [0, 1, 2]
        assert reader.assigned == [(topics.name("turn_start"), n) for n in (0, 1)]
    assert committed(topics) == 2
    with member(topics) as reader:
        assert take(reader, 2) == [2, 3]
        reader.commit()
    assert committed(topics) == 4


def test_it_can_be_iterated_over_and_stopped_and_closed_twice(topics: Topics) -> None:
    topics.produce("turn_start", *map(value_of, range(3)))
    reader = member(topics)
    seen = []
    for record in reader:
        seen.append(record.sequence)
        if record.sequence == 1:
            reader.stop()
    assert seen == [0, 1]
    assert reader.poll() is None
    reader.close()
    reader.close()
    assert list(reader) == []


def test_to_poll_without_time_returns_at_once(topics: Topics) -> None:
    with member(topics) as reader:
        began = time.monotonic()
        assert reader.poll(0) is None
        assert time.monotonic() - began < SOON / 2


def test_what_the_filters_leave_out_and_what_is_no_record_counts_as_processed(topics: Topics) -> None:
    topics.produce("turn_start", value_of(0, "a"), value_of(1, "b"), value_of(2, "a"), b"?", None)
    refused: list[tuple[Message, DecodingError]] = []
    with member(topics, session_id="b", on_undecodable=lambda m, e: refused.append((m, e))) as reader:
        assert take(reader, 1) == [1]
        poll_until(lambda: len(refused) == 2, [], reader)
        assert reader.undecodable == Counter(foreign=1, tombstone=1)
    assert [(message.offset, error.reason) for message, error in refused] == [
        (3, "foreign"),
        (4, "tombstone"),
    ]
    assert committed(topics) == 5


def test_a_record_on_the_topic_of_another_type_is_handed_out_as_what_it_is_and_counted(
    topics: Topics,
) -> None:
    moved = record_of(TurnEndEvent(session_id="s1"), 0)
    values = frame_confluent(7, moved.body), frame_single_object(moved.fingerprint, moved.body), value_of(1)
    topics.produce("turn_start", *values)
    seen: list[tuple[str, bool]] = []
    with member(topics) as reader:
        for record in reader:
            seen.append((record.event.event_type, record.misplaced))
            if len(seen) == len(values):
                break
        assert (reader.misplaced, reader.undecodable) == (2, Counter())
    assert seen == [("turn_end", True), ("turn_end", True), ("turn_start", False)]


def test_what_on_undecodable_raises_comes_out_and_the_message_comes_again(topics: Topics) -> None:
    topics.produce("turn_start", b"?", value_of(1))

    def refuse(_message: Message, error: DecodingError) -> None:
        raise error

    with member(topics, on_undecodable=refuse) as reader, pytest.raises(DecodingError):
        take(reader, 1)
    with member(topics) as reader:
        assert take(reader, 1) == [1]
        assert reader.undecodable == Counter(foreign=1)


def test_partitions_that_are_taken_away_take_what_was_fetched_of_them_along(topics: Topics) -> None:
    topics.produce("turn_start", *map(value_of, range(6)))
    with member(topics) as reader:
        assert take(reader, 2) == [0, 1]
        place = TopicPartition(topics.name("turn_start"), 0)
        reader._membership._lost(None, [place])
        assert reader.poll(0) is None
        assert reader.assigned == [(topics.name("turn_start"), 1)]
        reader.commit()
    assert committed(topics) < 2, "what was lost is not committed"


def test_the_client_hears_of_a_reader_that_has_records_left(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or Kafka would take its partitions away after five minutes."""
    topics.produce("turn_start", *map(value_of, range(5)))
    with member(topics) as reader:
        assert take(reader, 1) == [0]
        while len(reader._fetched) < 4:  # they may come in several answers of the broker
            reader._fetched.extend(reader._membership.fetch(4, 0.25))
        asked: list[int] = []
        fetch = reader._membership.fetch

        def spied(limit: int, wait: float) -> list[ClientMessage]:
            asked.append(limit)
            return fetch(limit, wait)

        monkeypatch.setattr(reader._membership, "fetch", spied)
        reader.poll(0)
        assert asked == []
        reader._heard -= 11.0
        reader.poll(0)
        assert asked == [1]
        assert take(reader, 2) == [3, 4]


def test_a_topic_that_is_made_later_is_read(topics: Topics) -> None:
    with member(topics, types=["turn_end"], config={"topic.metadata.refresh.interval.ms": 100}) as reader:
        assert reader.poll(0.2) is None
        topics.make("turn_end", partitions=1)
        record = value_of(7)
        topics.produce("turn_end", record)
        poll_until(lambda: reader.assigned == [(topics.name("turn_end"), 0)], [], reader)
        assert reader.poll(0) is None, "a turn_start on that topic is not wanted"


def test_a_topic_given_by_name_has_to_exist(topics: Topics) -> None:
    with pytest.raises(BrokerError, match="nowhere does not exist"):
        GroupReader(topics.bootstrap, group_id="g", topics=["nowhere"], timeout=SOON)


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"group_id": ""}, "group_id", "name a consumer group"),
        ({"config": {"group.id": "other"}}, "group_id", "contradicts"),
        (
            {"config": {"enable.auto.offset.store": True}},
            "enable.auto.offset.store",
            "before it is processed",
        ),
        ({"types": "x"}, "types", "no event type"),
        ({"agent_id": ()}, "agent_id", "empty"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(
    topics: Topics, options: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        member(topics, **options)
    assert caught.value.key == key


def test_an_unreachable_broker_is_an_error_in_time() -> None:
    with pytest.raises(BrokerError, match="could not list the topics"):
        GroupReader("127.0.0.1:1", group_id="g", timeout=0.3)


# -- errors -------------------------------------------------------------------------------------------------


def test_a_group_that_may_not_be_used_is_named() -> None:
    with faulty_cluster() as cluster:
        cluster.create(["audit.turn-start"], 1)
        cluster.answer(FIND_COORDINATOR, KafkaError.GROUP_AUTHORIZATION_FAILED)
        reader = GroupReader(cluster.bootstrap_servers, group_id="g", config=FAST, timeout=SOON)
        with reader, pytest.raises(BrokerError, match=r"group g may not be used: .*Read on it"):
            take(reader, 1)


def test_a_topic_that_may_not_be_read_is_named() -> None:
    with faulty_cluster() as cluster:
        cluster.create(["audit.turn-start"], 1)
        cluster.answer(FETCH, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        reader = GroupReader(cluster.bootstrap_servers, group_id="g", config=FAST, timeout=SOON)
        with reader, pytest.raises(BrokerError, match=r"topic audit\.turn-start may not be read"):
            take(reader, 1)


class Refusing:
    """A client that refuses to commit."""

    def __init__(self, code: int) -> None:
        self._code = code

    def commit(self, *, asynchronous: bool) -> None:
        raise KafkaException(KafkaError(self._code, "refused"))


def test_a_commit_that_is_refused_is_an_error_and_one_of_nothing_is_none(topics: Topics) -> None:
    with member(topics) as reader:
        consumer = reader._membership._consumer
        reader._membership._consumer = Refusing(KafkaError._NO_OFFSET)  # type: ignore[assignment]
        reader.commit()
        reader._membership._consumer = Refusing(KafkaError.REBALANCE_IN_PROGRESS)  # type: ignore[assignment]
        with pytest.raises(BrokerError, match="could not commit: refused; what is not committed is handed"):
            reader.commit()
        reader._membership._consumer = consumer


def test_an_error_beside_messages_is_raised_when_they_were_handed_out(topics: Topics) -> None:
    topics.produce("turn_start", *map(value_of, range(3)))
    with member(topics) as reader:
        assert take(reader, 1) == [0]
        message = reader._fetched[0]

        class Failed:
            topic = message.topic
            error = staticmethod(lambda: KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "refused"))

        reader._membership.assigned.add((message.topic(), message.partition()))
        consumer = reader._membership._consumer

        class Both:
            consume = staticmethod(lambda *_: [message, Failed()])
            store_offsets = staticmethod(lambda **_: None)

        reader._membership._consumer = Both()  # type: ignore[assignment]
        assert reader._membership.fetch(10, 0) == [message]
        with pytest.raises(BrokerError, match="may not be read"):
            reader._membership.fetch(10, 0)
        reader._membership._consumer = consumer
