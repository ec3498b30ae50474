from __future__ import annotations

import logging
from typing import Any

import pytest
from confluent_kafka import KafkaError

from auditwire.delivery import client as module
from auditwire.delivery.client import Client, Throttle
from auditwire.delivery.faults import Fault, classify
from auditwire.delivery.settings import producer_config
from auditwire.errors import ConfigurationError


def make(config: dict[str, Any] | None = None, **more: Any) -> Client:
    merged, callbacks = producer_config("127.0.0.1:1", config)
    return Client(merged, callbacks, lambda: 0.0, **more)


def test_a_thing_is_said_once_a_minute() -> None:
    throttle = Throttle()
    assert [throttle.may("a", t) for t in (0.0, 59.9, 60.0, 61.0)] == [True, False, True, False]
    assert throttle.may("b", 61.0)


@pytest.mark.parametrize(
    ("config", "key", "words"),
    [
        ({"no.such": 1}, "no.such", "No such configuration property"),
        ({"compression.type": "rar"}, "compression.type", "Invalid value"),
        ({"linger.ms": "soon"}, "linger.ms", "Invalid value"),
        ({"sasl.mechanism": "NONSENSE", "security.protocol": "sasl_ssl"}, "sasl.mechanism", "mechanism"),
    ],
)
def test_what_librdkafka_refuses_is_said_in_its_words(config: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        make(config)
    assert caught.value.key == key


def test_a_secret_in_librdkafkas_words_is_hidden() -> None:
    client = make()
    client._config["sasl.password"] = "hunter2"
    error = KafkaError(KafkaError._INVALID_ARG, 'property "sasl.password": hunter2 is bad')
    assert "hunter2" not in str(client._configuration_error(error))


def test_each_producer_has_a_generation_of_its_own() -> None:
    client = make()
    first, generation = client.producer, client.generation
    client.renew()
    assert client.producer is not first
    assert client.generation > generation
    assert client.made == 2
    client.abandon()
    client.abandon()
    assert client.producer is None


def test_a_producer_that_cannot_be_purged_is_dropped_all_the_same() -> None:
    class Stubborn:
        def purge(self) -> None:
            raise RuntimeError("no")

    client = make(make_producer=lambda config, logger: Stubborn())
    client.abandon()
    assert client.producer is None
    assert client.faults == 1


def test_a_fatal_error_is_remembered_and_the_users_callback_called() -> None:
    seen: list[KafkaError] = []
    client = make({"error_cb": seen.append})
    fatal = KafkaError(KafkaError._FATAL, "gone", True)
    client._on_error(fatal)
    assert client.fatal is not None
    assert seen == [fatal]
    assert "gone" in client.last_error


def test_an_aftermath_does_not_hide_its_cause() -> None:
    client = make()
    client.note(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert "_ALL_BROKERS_DOWN" in client.last_error
    client.note(KafkaError(KafkaError._AUTHENTICATION, "wrong password"))
    client.note(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert "wrong password" in client.last_error


def test_the_same_error_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    client = make()
    with caplog.at_level(logging.WARNING, "auditwire"):
        for _ in range(3):
            client.note(KafkaError(KafkaError._AUTHENTICATION, "wrong password"))
        client.note(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no"), "audit.error")
    lines = [r.getMessage() for r in caplog.records if r.name == "auditwire"]
    assert len(lines) == 2
    assert "wrong password" in lines[0]
    assert "(topic audit.error)" in lines[1]


def test_librdkafkas_repetitions_are_thinned() -> None:
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append  # type: ignore[method-assign,assignment]
    module.librdkafka_log.addHandler(handler)
    try:
        for _ in range(5):
            module.librdkafka_log.error("%s [%s] %s", "TESTFAC", "producer", "connection refused")
        module.librdkafka_log.error("without arguments %d", 1)
        module.librdkafka_log.error("one mapping %(a)s", {"a": 1})
    finally:
        module.librdkafka_log.removeHandler(handler)
    assert len([r for r in seen if r.args and isinstance(r.args, tuple) and r.args[0] == "TESTFAC"]) == 1


def test_callbacks_are_handed_on_and_guarded() -> None:
    def stats(text: str) -> None:
        raise RuntimeError("bug")

    seen: list[dict[str, Any]] = []

    def make_producer(config: dict[str, Any], logger: logging.Logger) -> object:
        seen.append(config)
        return object()

    def oauth(config: str) -> tuple[str, float]:
        return "token", 0.0

    client = make({"stats_cb": stats, "oauth_cb": oauth, "throttle_cb": print}, make_producer=make_producer)
    seen[0]["stats_cb"]("{}")
    assert client.faults == 1
    assert seen[0]["oauth_cb"] is oauth
    assert callable(seen[0]["throttle_cb"])


def test_an_admin_client_is_made_of_the_same_connection() -> None:
    seen: list[dict[str, Any]] = []
    client = make({"security.protocol": "plaintext"}, make_admin=seen.append)
    client.admin()
    assert seen[0]["bootstrap.servers"] == "127.0.0.1:1"
    assert seen[0]["security.protocol"] == "plaintext"
    assert "acks" not in seen[0]
    assert make().admin() is not None


def test_new_credentials_are_kept_without_a_producer_too() -> None:
    client = make()
    client.abandon()
    client.set_sasl_credentials("u", "p")
    assert client._config["sasl.password"] == "p"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), Fault.TOO_LARGE),
        (KafkaError(KafkaError.INVALID_RECORD), Fault.POISON),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), Fault.PARK),
        (KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), Fault.PARK),
        (KafkaError(KafkaError.INVALID_TIMESTAMP), Fault.PARK),
        (KafkaError(KafkaError._MSG_TIMED_OUT), Fault.RETRY),
        (KafkaError(KafkaError._FENCED), Fault.FATAL),
        (KafkaError(KafkaError.POLICY_VIOLATION, "x", True), Fault.FATAL),
        (KafkaError(9_999), Fault.PARK),
    ],
)
def test_codes_decide_what_is_done(error: KafkaError, fault: Fault) -> None:
    assert classify(error) is fault
