from __future__ import annotations

import logging
from typing import Any

import pytest

from auditwire.errors import ConfigurationError
from auditwire.reading.settings import DEFAULTS, GROUPED, consumer_config, fetch_sizes

BROKER = "localhost:9092"


def test_the_defaults_join_no_group_and_read_from_the_beginning() -> None:
    settings, logger, error_cb = consumer_config(BROKER, None)
    assert settings == {**DEFAULTS, "bootstrap.servers": BROKER}
    assert logger.name == "auditwire.librdkafka"
    assert error_cb is None


def test_what_the_user_sets_wins_and_the_users_dictionary_stays_as_it_is() -> None:
    config = {"client.id": "me", "group.id": "allowed-by-acl", "fetch.min.bytes": 5, "sasl.username": None}
    before = dict(config)
    settings, _, _ = consumer_config(BROKER, config)
    assert (settings["client.id"], settings["group.id"]) == ("me", "allowed-by-acl")
    assert settings["fetch.min.bytes"] == 5
    assert "sasl.username" not in settings, "None means: as if it was not there"
    assert config == before


@pytest.mark.parametrize("name", ["bootstrap.servers", "metadata.broker.list"])
def test_the_broker_can_stand_in_the_config(name: str) -> None:
    for argument in (None, BROKER):
        settings, _, _ = consumer_config(argument, {name: BROKER})
        assert settings["bootstrap.servers"] == BROKER
        assert "metadata.broker.list" not in settings


def test_a_broker_has_to_be_named() -> None:
    with pytest.raises(ConfigurationError, match="name a broker") as caught:
        consumer_config(None, {})
    assert caught.value.key == "bootstrap_servers"


def test_two_different_brokers_are_a_contradiction() -> None:
    with pytest.raises(ConfigurationError, match=r"contradicts config.*'other:1'"):
        consumer_config(BROKER, {"bootstrap.servers": "other:1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enable.auto.commit", True),
        ("enable.auto.commit", "true"),
        ("enable.partition.eof", False),
        ("auto.offset.reset", "latest"),
        ("auto.offset.reset", "error"),
        ("allow.auto.create.topics", True),
        ("on_commit", print),
    ],
)
def test_what_would_break_a_promise_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        consumer_config(BROKER, {name: value})
    assert caught.value.key == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enable.auto.commit", False),
        ("enable.auto.commit", "False"),
        ("enable.partition.eof", True),
        ("auto.offset.reset", "smallest"),
        ("allow.auto.create.topics", "0"),
        ("on_commit", None),
    ],
)
def test_what_says_the_same_as_the_promise_is_taken(name: str, value: Any) -> None:
    consumer_config(BROKER, {name: value})


def test_a_logger_of_the_users_own_gets_the_clients_lines() -> None:
    own = logging.getLogger("own")
    settings, logger, _ = consumer_config(BROKER, {"logger": own})
    assert logger is own
    assert "logger" not in settings
    with pytest.raises(ConfigurationError, match=r"logging\.Logger"):
        consumer_config(BROKER, {"logger": print})


@pytest.mark.parametrize("name", ["error_cb", "stats_cb", "throttle_cb"])
def test_a_callback_has_to_be_callable(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        consumer_config(BROKER, {name: "print"})
    assert caught.value.key == name


def test_a_callback_that_raises_is_logged_and_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    got: list[Any] = []

    def callback(argument: Any) -> None:
        got.append(argument)
        raise RuntimeError("mine")

    settings, _, error_cb = consumer_config(BROKER, {"stats_cb": callback, "error_cb": callback})
    assert "error_cb" not in settings, "ours comes first and calls it"
    assert error_cb is not None
    error_cb("an error")
    settings["stats_cb"]("{}")
    assert got == ["an error", "{}"]
    assert [r.getMessage() for r in caplog.records] == [
        "error_cb of the reader's config raised",
        "stats_cb of the reader's config raised",
    ]


# -- groups and sizes ---------------------------------------------------------------------------------------


def test_a_member_of_a_group_commits_what_is_processed_and_nothing_by_itself() -> None:
    settings, _, _ = consumer_config(BROKER, {"auto.offset.reset": "latest"}, group_id="g")
    assert settings == {
        **GROUPED,
        "bootstrap.servers": BROKER,
        "group.id": "g",
        "auto.offset.reset": "latest",
    }
    assert settings["enable.auto.commit"] is True
    assert settings["enable.auto.offset.store"] is False


@pytest.mark.parametrize("name", ["enable.auto.offset.store", "allow.auto.create.topics"])
def test_what_would_break_a_members_promises_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="must stay false") as caught:
        consumer_config(BROKER, {name: True}, group_id="g")
    assert caught.value.key == name


def test_two_different_groups_are_a_contradiction() -> None:
    with pytest.raises(ConfigurationError, match=r"contradicts config.*'h'") as caught:
        consumer_config(BROKER, {"group.id": "h"}, group_id="g")
    assert caught.value.key == "group_id"
    settings, _, _ = consumer_config(BROKER, {"group.id": "g"}, group_id="g")
    assert settings["group.id"] == "g"


@pytest.mark.parametrize(
    ("memory", "topics", "piece", "whole"),
    [
        (64 << 20, 22, (64 << 20) // (16 * 6 * 22), 4 << 20),
        (64 << 20, 1, (64 << 20) // 96, 4 << 20),
        (64 << 20, 0, (64 << 20) // 96, 4 << 20),
        (1 << 30, 1, 1 << 20, 64 << 20),
        (1, 22, 16 * 1024, 1 << 20),
    ],
)
def test_more_partitions_or_less_memory_mean_smaller_pieces(
    memory: int, topics: int, piece: int, whole: int
) -> None:
    assert fetch_sizes(memory, topics) == {"max.partition.fetch.bytes": piece, "fetch.max.bytes": whole}


def test_what_the_user_says_about_sizes_wins() -> None:
    settings, _, _ = consumer_config(BROKER, {"fetch.max.bytes": 5_000_000}, sizes=fetch_sizes(64 << 20, 22))
    assert settings["fetch.max.bytes"] == 5_000_000
