from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from auditwire.delivery.topics import Directory, TopicSettings, create_topics
from auditwire.errors import ConfigurationError


class Cluster:
    """Metadata and topic creation, as far as a directory asks for them."""

    def __init__(self, brokers: int = 1) -> None:
        self.brokers = dict.fromkeys(range(brokers))
        self.topics: dict[str, Any] = {}
        self.down = False
        self.requests: list[Any] = []
        self.futures: dict[str, Future[None]] = {}
        self.made = 0

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        if self.down:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return self

    def admin(self) -> Cluster:
        self.made += 1
        return self

    def create_topics(self, requests: list[Any], **timeouts: float) -> dict[str, Future[None]]:
        self.requests.extend(requests)
        self.futures = {r.topic: Future() for r in requests}
        return self.futures

    def poll(self, timeout: float) -> int:
        return 0

    def has(self, name: str, partitions: int = 0, error: int = 0) -> None:
        topic = type("Topic", (), {})()
        topic.error = KafkaError(error) if error else None
        topic.partitions = dict.fromkeys(range(partitions))
        self.topics[name] = topic


def directory(cluster: Cluster, settings: TopicSettings | None = None) -> Directory:
    return Directory(cluster.list_topics, cluster.admin, settings)


@pytest.mark.parametrize(
    ("brokers", "replication", "min_isr"), [(1, 1, None), (2, 2, None), (3, 3, "2"), (9, 3, "2")]
)
def test_replication_follows_the_cluster(brokers: int, replication: int, min_isr: str | None) -> None:
    settings = TopicSettings()
    assert settings.replication(brokers) == replication
    config = settings.config(brokers)
    assert config.get("min.insync.replicas") == min_isr
    assert config["retention.ms"] == str(400 * 24 * 3600 * 1000)
    assert (config["cleanup.policy"], config["message.timestamp.type"]) == ("delete", "CreateTime")
    assert settings.new_topic("t", brokers).num_partitions == 6


@pytest.mark.parametrize("key", ["partitions", "replication_factor", "retention_days"])
def test_settings_that_make_no_topic_are_refused_by_name(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TopicSettings(**{key: 0})
    assert caught.value.key == key


def test_a_topic_that_exists_is_known_by_its_partitions() -> None:
    cluster = Cluster()
    cluster.has("t", 12)
    assert directory(cluster).look_up("t").partitions == 12


def test_no_broker_is_told_from_no_topic() -> None:
    cluster = Cluster()
    cluster.down = True
    found = directory(cluster).look_up("t")
    assert found.unreachable
    assert "_TRANSPORT" in (found.pending or "")


def test_a_topic_without_a_leader_is_asked_for_again() -> None:
    cluster = Cluster()
    cluster.has("t", error=KafkaError.LEADER_NOT_AVAILABLE)
    assert directory(cluster).look_up("t").pending == "the topic has no leader yet"


def test_a_topic_that_may_not_be_seen_is_refused() -> None:
    cluster = Cluster()
    cluster.has("t", error=KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert "TOPIC_AUTHORIZATION_FAILED" in (directory(cluster).look_up("t").refused or "")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "é", "t" * 250])
def test_a_name_that_kafka_does_not_allow_is_refused_without_asking(name: str) -> None:
    """The client raises for some of them, and names come from files that others wrote."""
    cluster = Cluster()
    cluster.list_topics = None  # type: ignore[method-assign,assignment]
    assert "allows no topic" in (directory(cluster, TopicSettings()).look_up(name).refused or "")


def test_a_missing_topic_is_not_made_unless_wanted() -> None:
    cluster = Cluster()
    cluster.has("t", error=KafkaError.UNKNOWN_TOPIC_OR_PART)
    assert directory(cluster).look_up("t").refused == "the topic does not exist and create_topics is off"
    assert cluster.made == 0


def test_a_missing_topic_is_made_once_and_then_waited_for() -> None:
    cluster = Cluster(3)
    cluster.has("t", error=KafkaError.UNKNOWN_TOPIC_OR_PART)
    topics = directory(cluster, TopicSettings())
    assert topics.look_up("t").pending == "being created"
    assert topics.look_up("t").pending == "being created"
    assert len(cluster.requests) == cluster.made == 1
    cluster.futures["t"].set_result(None)
    assert topics.look_up("t").pending == "created, not in the metadata yet"
    cluster.has("t", 6)
    assert topics.look_up("t").partitions == 6
    assert topics.look_up("t").partitions == 6
    assert len(cluster.requests) == 1


def test_a_topic_that_someone_else_made_meanwhile_is_no_refusal() -> None:
    cluster = Cluster()
    topics = directory(cluster, TopicSettings())
    topics.look_up("t")
    cluster.futures["t"].set_exception(KafkaException(KafkaError(KafkaError.TOPIC_ALREADY_EXISTS)))
    assert topics.look_up("t").pending == "just created by someone else"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KafkaException(KafkaError(KafkaError.POLICY_VIOLATION)), "POLICY_VIOLATION"),
        (RuntimeError("odd"), "RuntimeError: odd"),
    ],
)
def test_a_refused_creation_says_why_and_is_tried_again(error: Exception, words: str) -> None:
    cluster = Cluster()
    topics = directory(cluster, TopicSettings())
    topics.look_up("t")
    cluster.futures["t"].set_exception(error)
    assert words in (topics.look_up("t").refused or "")
    assert topics.look_up("t").pending == "being created"
    assert len(cluster.requests) == 2
    assert cluster.made == 2  # a client of its own: the first one's credentials may be the reason


def test_what_is_under_way_is_forgotten_when_credentials_change() -> None:
    cluster = Cluster()
    topics = directory(cluster, TopicSettings())
    topics.look_up("t")
    topics.begin_again()
    assert topics.look_up("t").pending == "being created"
    assert len(cluster.requests) == cluster.made == 2


def test_create_topics_reports_each_topic() -> None:
    class Answers(Cluster):
        def create_topics(self, requests: list[Any], **timeouts: float) -> dict[str, Future[None]]:
            futures = super().create_topics(requests, **timeouts)
            futures["new"].set_result(None)
            futures["old"].set_exception(KafkaException(KafkaError(KafkaError.TOPIC_ALREADY_EXISTS)))
            futures["bad"].set_exception(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
            return futures

    cluster = Answers(2)
    results = create_topics(cluster, ["new", "old", "bad", "new"])
    assert results["new"] is results["old"] is None
    assert "TOPIC_AUTHORIZATION_FAILED" in (results["bad"] or "")
    assert [r.replication_factor for r in cluster.requests] == [2, 2, 2]
    assert create_topics(cluster, []) == {}
