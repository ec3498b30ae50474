"""Brokers that do not answer, or refuse who asks: calls end in time, health says why, all can be mended."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not all in its __all__
    AclOperation,
)
from emit_support import QUICK, assert_complete, read_all, run_script, until

from auditwire import FlushTimeout, KafkaCollector
from auditwire.events import TurnEndEvent, TurnStartEvent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig.secure import SecureKafka


@pytest.fixture(params=["refuses", "silent", "no such host"])
def nowhere(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of no broker: nobody listens, somebody listens and says nothing, the name means nothing."""
    if request.param == "no such host":
        yield "broker.invalid:9092"
        return
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "silent":
            server.listen()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def raw_lines(err: str) -> list[str]:
    """What librdkafka itself wrote to standard error for a collector's clients, past all logging."""
    return [line for line in err.splitlines() if line.startswith("%") and "auditwire" in line]


def seconds(call: Any, *args: Any) -> float:
    start = time.monotonic()
    call(*args)
    return time.monotonic() - start


def test_without_a_broker_every_call_returns_in_bounded_time(
    nowhere: str, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    start = time.monotonic()
    kafka = KafkaCollector(nowhere, config=QUICK)
    assert time.monotonic() - start < 1
    assert max(seconds(kafka.emit, TurnStartEvent()) for _ in range(1_000)) < 0.5
    assert seconds(kafka.health) < 0.5
    start = time.monotonic()
    with pytest.raises(FlushTimeout) as caught:
        kafka.flush(0.5)
    assert 0.5 <= time.monotonic() - start < 1.5
    assert caught.value.pending == 1_001
    assert not caught.value.durable
    if "silent" not in request.node.name:  # librdkafka waits 10 s for an answer before it calls it an error
        until(lambda: kafka.health().last_error != "", "an error is said")
    start = time.monotonic()
    with pytest.raises(FlushTimeout):
        kafka.close(0.5)
    assert time.monotonic() - start < 3.5
    assert kafka.health().pending_records >= 1_001
    assert capfd.readouterr() == ("", "")


def test_a_flush_that_waits_is_no_record(nowhere: str) -> None:
    """What waits is counted in records, however many threads wait for it."""
    kafka = KafkaCollector(nowhere, config=QUICK)
    kafka.emit(TurnStartEvent())
    until(lambda: kafka.health().pending_records == 2, "the event and the opening checkpoint")
    for _ in range(20):
        with pytest.raises(FlushTimeout) as caught:
            kafka.flush(0.0)
        assert caught.value.pending == 2
        health = kafka.health()
        assert (health.accepted, health.pending_records) == (1, 2)
    with pytest.raises(FlushTimeout):
        kafka.close(0.1)


def test_a_program_without_a_broker_ends_in_bounded_time_and_says_once_what_is_lost(
    nowhere: str, tmp_path: Path
) -> None:
    ended = run_script(
        """
        import sys
        from auditwire import AuditEmitter, KafkaCollector

        audit = AuditEmitter(KafkaCollector(sys.argv[1], exit_timeout=1.0))
        for _ in range(10):
            audit.emit_turn_start()
        """,
        nowhere,
        path=tmp_path,
    )
    assert ended.code == 0
    assert ended.seconds < 6
    (line,) = [line for line in ended.err.splitlines() if "lost" in line]
    assert re.match(r"auditwire: 1[12] records of <KafkaCollector ", line)  # with one checkpoint or two
    assert "not acknowledged" in line
    assert raw_lines(ended.err) == []


# -- a broker that refuses who asks -------------------------------------------------------------------------


def writer(secure_broker: SecureKafka, prefix: str, password: str = "right") -> str:
    """A user that may make, describe and write the topics of the prefix."""
    name = f"w-{prefix}"
    secure_broker.add_user(name, password)
    secure_broker.allow(
        name, f"{prefix}.", AclOperation.CREATE, AclOperation.WRITE, AclOperation.DESCRIBE, prefix=True
    )
    return name


def admin(secure_broker: SecureKafka) -> dict[str, Any]:
    return secure_broker.client("admin", "admin-secret", mechanism="PLAIN")


def test_after_a_wrong_password_was_put_right_everything_is_delivered(
    secure_broker: SecureKafka, prefix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    user = writer(secure_broker, prefix)
    config = {**secure_broker.client(user, "wrong"), **QUICK}
    kafka = KafkaCollector(config=config, prefix=prefix)
    for number in range(100):
        kafka.emit(TurnStartEvent(session_id=str(number)))
    until(lambda: "AUTHENTICATION" in kafka.health().last_error, "the refused login is said")
    with pytest.raises(FlushTimeout, match="AUTHENTICATION") as caught:
        kafka.flush(1.5)
    assert "wrong" not in str(caught.value)
    assert "AUTHENTICATION" in kafka.health().last_error
    kafka.set_sasl_credentials(user, "right")
    kafka.flush(20)
    kafka.close()
    assert raw_lines(capfd.readouterr().err) == []
    trail = read_all(secure_broker.bootstrap, prefix, config=admin(secure_broker))
    assert len(trail.unique) == 100
    assert_complete(trail.reports[0])


def test_a_collector_with_a_wrong_password_closes_in_bounded_time(
    secure_broker: SecureKafka, prefix: str
) -> None:
    user = writer(secure_broker, prefix)
    kafka = KafkaCollector(config={**secure_broker.client(user, "wrong"), **QUICK}, prefix=prefix)
    kafka.emit(TurnStartEvent())
    start = time.monotonic()
    with pytest.raises(FlushTimeout):
        kafka.close(1.0)
    assert time.monotonic() - start < 4


def test_an_authority_that_did_not_sign_the_brokers_certificate_is_said(
    secure_broker: SecureKafka, prefix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    user = writer(secure_broker, prefix)
    other = {"ssl.ca.location": str(secure_broker.secrets / "other-ca.pem")}
    kafka = KafkaCollector(config={**secure_broker.client(user, "right", **other), **QUICK}, prefix=prefix)
    kafka.emit(TurnStartEvent())
    until(lambda: "SSL" in kafka.health().last_error, "the refused certificate is said")
    with pytest.raises(FlushTimeout, match="SSL"):
        kafka.flush(1.5)
    with pytest.raises(FlushTimeout):
        kafka.close(0.5)
    assert raw_lines(capfd.readouterr().err) == []


def test_after_a_password_was_rotated_new_topics_are_still_made(
    secure_broker: SecureKafka, prefix: str
) -> None:
    """The admin client that makes topics lives on beside the producer, and has to be told as well."""
    user = writer(secure_broker, prefix)
    kafka = KafkaCollector(config={**secure_broker.client(user, "right"), **QUICK}, prefix=prefix)
    kafka.emit(TurnStartEvent())
    kafka.flush()
    secure_broker.add_user(user, "rotated")
    secure_broker.node.shut_down()  # connections end, and have to log in again
    secure_broker.node.start_again()
    kafka.set_sasl_credentials(user, "rotated")
    kafka.emit(TurnEndEvent())  # the first of its type
    kafka.flush(30)
    kafka.close()
    trail = read_all(secure_broker.bootstrap, prefix, config=admin(secure_broker))
    assert len(trail.unique) == 2
    assert_complete(trail.reports[0])
