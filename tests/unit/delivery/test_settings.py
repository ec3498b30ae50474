from __future__ import annotations

import logging
from typing import Any

import pytest

from auditwire.delivery.settings import DEFAULTS, client_config, producer_config
from auditwire.errors import ConfigurationError


def test_the_defaults_hold_what_the_promises_rest_on() -> None:
    config, callbacks = producer_config("k:9092", None)
    assert config == {**DEFAULTS, "bootstrap.servers": "k:9092"}
    assert callbacks == {}
    assert config["acks"] == "all"
    assert config["enable.idempotence"] is True
    assert config["message.timeout.ms"] == 0


def test_the_users_settings_win_over_the_defaults() -> None:
    config, _ = producer_config("k:9092", {"linger.ms": 50, "compression.type": "lz4", "client.id": "me"})
    assert (config["linger.ms"], config["compression.type"], config["client.id"]) == (50, "lz4", "me")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("acks", 1),
        ("acks", "0"),
        ("request.required.acks", 1),
        ("enable.idempotence", False),
        ("enable.idempotence", "false"),
        ("max.in.flight", 6),
        ("max.in.flight.requests.per.connection", "many"),
        ("message.timeout.ms", 30_000),
        ("delivery.timeout.ms", 1),
        ("delivery.report.only.error", True),
        ("transactional.id", "t"),
        ("retries", 3),
        ("message.send.max.retries", "0"),
        ("partitioner", "random"),
        ("dr_cb", print),
        ("error_cb", "not callable"),
        ("logger", print),
    ],
)
def test_what_would_break_a_promise_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        producer_config("k:9092", {key: value})
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("acks", -1),
        ("acks", "ALL"),
        ("enable.idempotence", "true"),
        ("max.in.flight", 1),
        ("message.timeout.ms", "0"),
        ("delivery.report.only.error", "false"),
        ("retries", 2147483647),
        ("partitioner", "consistent"),
        ("transactional.id", None),
    ],
)
def test_what_keeps_the_promises_is_taken(key: str, value: Any) -> None:
    config, _ = producer_config("k:9092", {key: value})
    assert config[key] == value


def test_two_spellings_of_one_property_do_not_stand_beside_each_other() -> None:
    config, _ = producer_config("k:9092", {"delivery.timeout.ms": 0, "max.in.flight": 2})
    assert "message.timeout.ms" not in config
    assert "max.in.flight.requests.per.connection" not in config


def test_callbacks_are_kept_apart() -> None:
    logger = logging.getLogger("mine")
    config, callbacks = producer_config("k:9092", {"error_cb": print, "logger": logger, "stats_cb": None})
    assert callbacks == {"error_cb": print, "logger": logger}
    assert "error_cb" not in config


def test_a_broker_has_to_be_named_once() -> None:
    assert producer_config(None, {"bootstrap.servers": "a:1"})[0]["bootstrap.servers"] == "a:1"
    assert producer_config(None, {"metadata.broker.list": "a:1"})[0]["metadata.broker.list"] == "a:1"
    assert producer_config("a:1", {"metadata.broker.list": "a:1"})[0]["bootstrap.servers"] == "a:1"
    with pytest.raises(ConfigurationError, match="name a broker"):
        producer_config(None, None)
    with pytest.raises(ConfigurationError, match="contradicts"):
        producer_config("b:1", {"bootstrap.servers": "a:1"})


def test_an_admin_client_gets_the_connection_and_nothing_of_the_producer() -> None:
    config, _ = producer_config(
        "k:9092", {"security.protocol": "ssl", "ssl.ca.location": "/ca", "linger.ms": 1}
    )
    assert client_config(config) == {
        "bootstrap.servers": "k:9092",
        "security.protocol": "ssl",
        "ssl.ca.location": "/ca",
        "client.id": "auditwire",
    }
