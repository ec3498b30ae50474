"""How topics are found: all of them listed, and those that are not in the list asked for by name."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import Future
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from faulty_cluster import FaultyCluster, faulty_cluster

from auditwire.errors import BrokerError
from auditwire.reading import client as client_module
from auditwire.reading.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 10.0
THERE, LATER, ABSENT = "audit.turn-start", "audit.turn-end", "audit.error"

QUIET = logging.getLogger("quiet")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


@pytest.fixture
def cluster() -> Iterator[FaultyCluster]:
    with faulty_cluster() as cluster:
        cluster.create([THERE], 2)
        yield cluster


def made(cluster: FaultyCluster, **config: Any) -> closing[Client]:
    config = {"logger": QUIET, **config}
    return closing(
        Client(cluster.bootstrap_servers, config, timeout=SOON, follow=False, undecodable=Counter())
    )


def test_topics_that_a_cluster_does_not_describe_are_asked_for_one_by_one(cluster: FaultyCluster) -> None:
    with made(cluster) as client:
        assert client._describe({LATER, ABSENT}) == (
            set(),
            {LATER, ABSENT},
        )  # it has no controller
        assert client.find({THERE, LATER, ABSENT}, must_exist=False) == {(THERE, 0), (THERE, 1)}
        assert not client.tells_times  # from now on it is known to be the mock, which is not waited for
        assert client._describe({LATER, ABSENT}) == (set(), {LATER, ABSENT})


def test_a_single_topic_is_asked_for_by_the_consumer(cluster: FaultyCluster) -> None:
    with made(cluster) as client:
        assert client._describe({ABSENT}) == (set(), {ABSENT})
        assert client._describe(set()) == (set(), set())
        with pytest.raises(BrokerError, match=f"topic {ABSENT} does not exist"):
            client.find([THERE, ABSENT], must_exist=True)


def test_settings_that_only_a_consumer_can_live_with_are_no_obstacle(cluster: FaultyCluster) -> None:
    with made(cluster, **{"enable.idempotence": True, "acks": 1}) as client:
        assert client._describe({LATER, ABSENT}) == (set(), {LATER, ABSENT})
        assert client.find({THERE, LATER, ABSENT}, must_exist=False) == {(THERE, 0), (THERE, 1)}


class Answering:
    """An administrative client with the answers of a broker; the real ones are given in tests/integration."""

    answers: dict[str, Any]

    def __init__(self, settings: dict[str, Any], logger: logging.Logger) -> None:
        assert not any(callable(value) for name, value in settings.items() if name != "oauth_cb")
        assert logger is QUIET

    def describe_topics(self, topics: Any, request_timeout: float) -> dict[str, Future[Any]]:
        assert topics.topic_names == sorted(self.answers)
        assert request_timeout > 0
        out = {}
        for name, answer in self.answers.items():
            out[name] = Future[Any]()
            if isinstance(answer, int):
                out[name].set_exception(KafkaException(KafkaError(answer)))
            else:
                out[name].set_result(answer)
        return out


class Described:
    def __init__(self, *numbers: int) -> None:
        self.partitions = [Numbered(number) for number in numbers]


class Numbered:
    def __init__(self, number: int) -> None:
        self.id = number


def test_what_was_described_is_not_asked_for_again(
    cluster: FaultyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "AdminClient", Answering)
    monkeypatch.setattr(
        Answering,
        "answers",
        {
            ABSENT: KafkaError.UNKNOWN_TOPIC_OR_PART,
            LATER: Described(0, 1),  # made since the list was asked for
            "not a name": KafkaError.TOPIC_EXCEPTION,
            "slow": KafkaError.REQUEST_TIMED_OUT,
        },
        raising=False,
    )
    with made(cluster, stats_cb=print) as client:
        found, untold = client._describe(set(Answering.answers))
    assert found == {(LATER, 0), (LATER, 1)}
    assert untold == {"slow"}


def test_a_topic_that_may_not_be_described_is_named_among_others(
    cluster: FaultyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {ABSENT: KafkaError.UNKNOWN_TOPIC_OR_PART, LATER: KafkaError.TOPIC_AUTHORIZATION_FAILED}
    monkeypatch.setattr(client_module, "AdminClient", Answering)
    monkeypatch.setattr(Answering, "answers", answers, raising=False)
    with (
        made(cluster) as client,
        pytest.raises(BrokerError, match=rf"topic {LATER} may not be read: .*Describe and Read"),
    ):
        client._describe({LATER, ABSENT})
