from __future__ import annotations

import socket
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from auditwire.errors import BrokerError, ConfigurationError
from auditwire.replaying import target
from auditwire.replaying.target import Cluster, Topics, look, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.testing import EmbeddedBroker

DAY_MS = 86_400_000


def done(result: Any = None, error: Exception | None = None) -> Future[Any]:
    future: Future[Any] = Future()
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
    return future


def described(topic: int, leader: int = 0) -> Any:
    partitions = {number: SimpleNamespace(leader=leader) for number in range(topic)}
    return SimpleNamespace(error=None, partitions=partitions)


class Admin:
    """An administrative client's seam: a cluster with topics and their settings."""

    def __init__(self, topics: dict[str, int], settings: dict[str, dict[str, str]] | None = None) -> None:
        self.topics = {name: described(count) for name, count in topics.items()}
        self.settings = settings
        self.refused: set[str] = set()
        self.appear = True
        self.created: list[tuple[str, int, int, str]] = []
        self.faults = 0

    def list_topics(self, *, timeout: float) -> Any:
        if self.faults:
            self.faults -= 1
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, "refused"))
        return SimpleNamespace(cluster_id="c-1", topics=dict(self.topics), brokers={1: None, 2: None})

    def create_topics(self, requests: list[Any], **_: float) -> dict[str, Future[Any]]:
        answers = {}
        for new in requests:
            error = None
            if new.topic in self.refused:
                error = KafkaException(KafkaError(KafkaError.POLICY_VIOLATION, "too many"))
            elif self.appear:
                self.topics[new.topic] = described(new.num_partitions)
            self.created.append(
                (new.topic, new.num_partitions, new.replication_factor, new.config["retention.ms"])
            )
            answers[new.topic] = done(error=error)
        return answers

    def describe_configs(self, wanted: list[Any], *, request_timeout: float) -> dict[Any, Future[Any]]:
        answers = {}
        for resource in wanted:
            if self.settings is None:
                answers[resource] = done(error=KafkaException(KafkaError(KafkaError._TIMED_OUT)))
            else:
                values = self.settings.get(resource.name, {})
                answers[resource] = done(
                    {name: SimpleNamespace(value=value) for name, value in values.items()}
                )
        return answers


def prepared(admin: Admin, wanted: dict[str, int], *, create: bool = True, timeout: float = 5.0) -> Topics:
    client: Any = admin
    return prepare(
        client,
        "host:1",
        wanted,
        create=create,
        replication=None,
        retention_days=3,
        timeout=timeout,
        sleep=lambda _: None,
    )


# -- looking ------------------------------------------------------------------------------------------------


def test_a_cluster_says_its_id_and_topics_and_is_asked_about_none_that_it_might_create(
    audit_broker: EmbeddedBroker,
) -> None:
    name = f"look-{uuid4().hex[:8]}"
    audit_broker.create_topics([name], partitions=3)
    found = look(AdminClient({"bootstrap.servers": audit_broker.bootstrap_servers}), "x", 30.0)
    assert found.topics[name] == 3
    assert found.id
    assert found.brokers == 1


def test_an_error_that_passes_is_waited_out() -> None:
    admin: Any = Admin({"t": 2})
    admin.faults = 2
    assert look(admin, "host:1", 5.0) == Cluster("c-1", {"t": 2}, 2)


def test_a_topic_without_a_leader_or_with_an_error_is_not_there_yet() -> None:
    admin: Any = Admin({"t": 2})
    admin.topics["led"] = described(1, leader=-1)
    admin.topics["faulty"] = SimpleNamespace(error="x", partitions={})
    assert look(admin, "host:1", 5.0).topics == {"t": 2}


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nothing listens, and nothing will while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def test_no_broker_is_said_with_what_to_look_at(nobody: str) -> None:
    admin = AdminClient({"bootstrap.servers": nobody, "log_level": 0})
    with pytest.raises(
        BrokerError, match=rf"no broker answered at {nobody} within 0\.1 s .+credentials right"
    ):
        look(admin, nobody, 0.1)


# -- making -------------------------------------------------------------------------------------------------


def test_missing_topics_are_made_with_the_partitions_of_their_sources() -> None:
    admin = Admin({"there": 4}, {name: {"retention.ms": "-1"} for name in ("there", "a", "b", "c")})
    ready = prepared(admin, {"there": 6, "a": 6, "b": 3, "c": 6})
    assert sorted(admin.created) == [
        (name, n, 2, str(3 * DAY_MS)) for name, n in (("a", 6), ("b", 3), ("c", 6))
    ]
    assert ready == Topics({"there": 4, "a": 6, "b": 3, "c": 6}, made=("a", "b", "c"))


def test_missing_topics_are_named_when_they_may_not_be_made() -> None:
    admin = Admin({"there": 1}, {})
    with pytest.raises(
        BrokerError, match=r"host:1: topic a does not exist: make it \(auditwire topics create"
    ):
        prepared(admin, {"there": 1, "a": 1}, create=False)
    with pytest.raises(BrokerError, match=r"topic a \(and 2 more\) does not exist"):
        prepared(admin, {"there": 1, "a": 1, "b": 1, "c": 1}, create=False)
    assert admin.created == []


def test_a_topic_that_the_cluster_refuses_to_make_is_named_with_the_reason() -> None:
    admin = Admin({})
    admin.refused.add("b")
    with pytest.raises(BrokerError, match="host:1: topic b could not be made: POLICY_VIOLATION: too many"):
        prepared(admin, {"a": 1, "b": 1})


def test_a_topic_that_was_made_and_does_not_come_up_is_not_waited_for_for_ever() -> None:
    admin = Admin({})
    admin.appear = False
    with pytest.raises(BrokerError, match=r"topic a was made and is not there after 0\.1 s"):
        prepared(admin, {"a": 1}, timeout=0.1)


def test_nothing_wanted_is_nothing_asked() -> None:
    assert prepared(Admin({}), {}) == Topics({})


# -- what would not keep a copy -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"message.timestamp.type": "LogAppendTime"}, "topic t has message.timestamp.type=LogAppendTime"),
        ({"cleanup.policy": "compact"}, r"topic t is compacted \(cleanup.policy=compact\)"),
        ({"cleanup.policy": "compact,delete"}, r"topic t is compacted \(cleanup.policy=compact,delete\)"),
    ],
)
def test_a_topic_that_would_change_or_lose_records_is_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--to-prefix: {message}"):
        prepared(Admin({"t": 1}, {"t": settings}), {"t": 1})


def test_how_long_topics_keep_records_is_known() -> None:
    admin = Admin(
        {"short": 1, "for-ever": 1, "silent": 1},
        {"short": {"retention.ms": "1000", "cleanup.policy": "delete"}, "for-ever": {"retention.ms": "-1"}},
    )
    ready = prepared(admin, {"short": 1, "for-ever": 1, "silent": 1})
    assert (ready.retention_ms, ready.described) == ({"short": 1000}, True)


def test_a_broker_that_does_not_describe_its_topics_is_taken_as_it_is_and_that_is_known() -> None:
    ready = prepared(Admin({"t": 1}), {"t": 1})
    assert (ready.retention_ms, ready.described) == ({}, False)


def test_an_embedded_broker_does_not_describe_its_topics(
    audit_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "DESCRIBE_SECONDS", 0.2)
    name = f"described-{uuid4().hex[:8]}"
    audit_broker.create_topics([name], partitions=1)
    admin = AdminClient({"bootstrap.servers": audit_broker.bootstrap_servers, "log_level": 0})
    ready = prepare(admin, "x", {name: 1}, create=False, replication=None, retention_days=1, timeout=30.0)
    assert ready == Topics({name: 1}, described=False)
