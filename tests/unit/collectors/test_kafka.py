"""The Kafka collector against librdkafka's mock cluster, and against nobody."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from auditwire.collectors import lifetime
from auditwire.collectors.kafka import KafkaCollector
from auditwire.delivery.topics import TopicSettings
from auditwire.emitter import AuditEmitter
from auditwire.errors import (
    AuditwireError,
    CollectorClosed,
    ConfigurationError,
    EncodingError,
    FlushTimeout,
    JournalFull,
)
from auditwire.events import CheckpointEvent, ErrorEvent
from auditwire.wire import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    mock = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    brokers = mock.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{b.host}:{b.port}" for b in brokers)
    del mock


def collector_at(address: str, **more: Any) -> KafkaCollector:
    config = {"allow.auto.create.topics": True, **more.pop("config", {})}
    return KafkaCollector(address, config=config, create_topics=False, **more)


def read(address: str, topic: str) -> list[Any]:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "test", "fetch.wait.max.ms": 10})
    try:
        ids = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        marks = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in ids]
        consumer.assign([TopicPartition(topic, p, low) for p, (low, _) in zip(ids, marks, strict=True)])
        wanted = sum(high - low for low, high in marks)
        found: list[Any] = []
        while len(found) < wanted:
            found.extend(decode(m.value()) for m in consumer.consume(1_000, 0.05) if m.error() is None)
        return found
    finally:
        consumer.close()


def test_what_is_emitted_is_on_the_broker_after_a_flush(address: str) -> None:
    with collector_at(address, prefix="flush", service="tests") as collector:
        audit = AuditEmitter(collector, session_id="s", on_error="raise")
        for number in range(500):
            audit.emit_error("kind", str(number))
        collector.flush(20)
        health = collector.health()
        assert (health.accepted, health.delivered, health.pending_records) == (500, 500, 0)
    events = sorted(read(address, "flush.error"), key=lambda d: d.sequence)
    assert [d.event.error_message for d in events] == [str(n) for n in range(500)]
    assert {d.stream_id for d in events} == {collector.stream_id}
    checkpoints = sorted(read(address, "flush.checkpoint"), key=lambda d: d.sequence)
    assert [c.event.reason for c in checkpoints] == ["open", "close"]
    resource = json.loads(checkpoints[0].event.resource)
    assert resource["service.name"] == "tests"
    assert resource["process.pid"] == os.getpid()
    assert checkpoints[1].event.acknowledged == 501


def test_flush_and_close_have_awaitable_twins(address: str) -> None:
    async def main() -> None:
        collector = collector_at(address, prefix="async")
        collector.emit(ErrorEvent())
        await collector.aflush(20)
        await collector.aclose(20)

    asyncio.run(main())
    assert len(read(address, "async.error")) == 1


def test_a_closed_collector_refuses_and_closing_again_does_nothing(address: str) -> None:
    collector = collector_at(address, prefix="closed")
    collector.close(20)
    collector.close(20)
    with pytest.raises(CollectorClosed):
        collector.emit(ErrorEvent())
    health = collector.health()
    assert health.state == "closed"
    assert health.lost == {"closed": 1}
    collector.flush(1)


def test_an_object_that_is_no_event_is_refused_and_counted(address: str) -> None:
    with collector_at(address, prefix="refused") as collector:

        class Broken:
            event_type = "broken"

            def to_dict(self) -> dict[str, Any]:
                raise RuntimeError("no")

        for thing in (object(), Broken(), CheckpointEvent(reason="close")):
            with pytest.raises(EncodingError):
                collector.emit(thing)  # type: ignore[arg-type]
        collector.flush(20)
        assert collector.health().lost == {"encoding": 3}
    assert sum(d.event.count for d in read(address, "refused.loss")) == 3


def test_with_nobody_listening_every_call_returns_in_its_time(capfd: pytest.CaptureFixture[str]) -> None:
    begin = time.monotonic()
    collector = KafkaCollector(NOBODY, exit_timeout=0)
    collector.emit(ErrorEvent())
    assert collector.health().accepted == 1
    with pytest.raises(FlushTimeout) as caught:
        collector.flush(0.3)
    assert caught.value.pending >= 1
    assert caught.value.durable is False
    assert caught.value.retriable
    with pytest.raises(FlushTimeout, match="in memory only"):
        collector.close(0.3)
    assert time.monotonic() - begin < 10
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""


def test_a_full_journal_refuses_and_the_loss_is_counted() -> None:
    collector = KafkaCollector(NOBODY, journal_bytes=2 << 20, on_full="drop_newest", exit_timeout=0)
    with pytest.raises(JournalFull):  # noqa: PT012 - the twentieth or so
        for _ in range(100):
            collector.emit(ErrorEvent(error_message="x" * 100_000))
    health = collector.health()
    assert health.lost == {"journal_full": 1}
    assert health.pending_bytes <= 2 << 20
    assert health.state == "degraded"
    with pytest.raises(FlushTimeout):
        collector.close(0.1)


def test_a_flush_from_the_senders_own_thread_is_refused(address: str) -> None:
    seen: list[BaseException] = []
    done = threading.Event()

    def on_delivery(error: Any, message: Any) -> None:
        try:
            collector.flush(5)
        except AuditwireError as refusal:
            seen.append(refusal)
        done.set()

    collector = collector_at(address, prefix="inside", config={"on_delivery": on_delivery})
    assert done.wait(20)
    collector.close(20)
    assert "would never end" in str(seen[0])


def test_a_callback_may_close_the_collector_that_calls_it(address: str) -> None:
    closed = threading.Event()
    errors: list[BaseException] = []

    def on_delivery(error: Any, message: Any) -> None:
        try:
            collector.close(5)
        except Exception as failure:  # noqa: BLE001 - whatever it is, there must be none
            errors.append(failure)
        closed.set()

    collector = collector_at(address, prefix="from-inside", config={"on_delivery": on_delivery})
    assert closed.wait(20)
    thread = collector._stream.thread
    assert thread is not None
    thread.join(20)
    assert errors == []
    assert collector.health().state == "closed"
    assert [d.event.reason for d in read(address, "from-inside.checkpoint")] == ["open", "close"]
    lifetime.unregister(collector)


def test_topics_may_have_other_names(address: str) -> None:
    with collector_at(address, prefix="named", topics={"error": "all-errors"}) as collector:
        collector.emit(ErrorEvent())
    assert len(read(address, "all-errors")) == 1


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"headers": "xml"}, "headers"),
        ({"on_full": "panic"}, "on_full"),
        ({"journal": __file__}, "journal"),
        ({"journal": "journal", "journal_bytes": 10}, "journal_bytes"),
        ({"journal": "journal", "sync": "sometimes"}, "sync"),
        ({"sync": "always"}, "sync"),
        ({"journal_group": "audit"}, "journal_group"),
        ({"journal_bytes": 10}, "journal_bytes"),
        ({"journal_bytes": "many"}, "journal_bytes"),
        ({"full_timeout": -1}, "full_timeout"),
        ({"full_timeout": "long"}, "full_timeout"),
        ({"exit_timeout": None}, "exit_timeout"),
        ({"create_topics": 6}, "create_topics"),
        ({"config": ["linger.ms"]}, "config"),
        ({"topics": {"error": ".."}}, "topics['error']"),
        ({"prefix": "not a topic"}, "prefix"),
        ({"prefix": ""}, "prefix"),
        ({"prefix": "x" * 240}, "prefix"),
        ({"topics": {"nonsense": "x"}}, "topics['nonsense']"),
        ({"topics": {"error": "not a topic"}}, "topics['error']"),
        ({"config": {"no.such.property": 1}}, "no.such.property"),
        ({"config": {"linger.ms": "soon"}}, "linger.ms"),
        ({"config": {"linger.ms": 10**9}}, "linger.ms"),
        ({"config": {"acks": 1}}, "acks"),
        ({"config": {"stats_cb": 3}}, "stats_cb"),
        ({"config": {"ssl.ca.location": "/no/such/file", "security.protocol": "ssl"}}, "ssl.ca.location"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(arguments: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        KafkaCollector(NOBODY, **arguments)
    assert caught.value.key == key


def test_a_password_is_never_part_of_an_error() -> None:
    config = {"sasl.password": "hunter2", "sasl.mechanism": "NONSENSE", "security.protocol": "sasl_ssl"}
    with pytest.raises(ConfigurationError) as caught:
        KafkaCollector(NOBODY, config=config)
    assert "hunter2" not in str(caught.value)


def test_topic_settings_of_your_own_are_taken() -> None:
    collector = KafkaCollector(NOBODY, create_topics=TopicSettings(partitions=3), exit_timeout=0)
    assert collector._topic_settings == TopicSettings(partitions=3)
    assert "127.0.0.1:1" in repr(collector)
    with pytest.raises(FlushTimeout):
        collector.close(0)


def test_new_credentials_are_kept_for_every_later_producer(address: str) -> None:
    with collector_at(address, prefix="credentials") as collector:
        collector.set_sasl_credentials("user", "new")
        assert collector._config["sasl.password"] == "new"
        stream: Any = collector._stream
        assert stream.client._config["sasl.password"] == "new"


# -- the ends and the splits of a process ----------------------------------------------------------


def run(script: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


BEGIN = """
    import os, sys, threading
    from auditwire import AuditEmitter, KafkaCollector
    from auditwire.events import CheckpointEvent, ErrorEvent
    def make(prefix, **more):
        return KafkaCollector(sys.argv[1], prefix=prefix, create_topics=False,
                              config={"allow.auto.create.topics": True}, **more)
"""


@pytest.mark.parametrize(
    ("name", "end", "code"),
    [
        ("returns", "pass", 0),
        ("exits", "sys.exit(3)", 3),
        ("raises", "raise RuntimeError('unhandled')", 1),
        ("dropped", "collector = None; import gc; gc.collect()", 0),
    ],
)
def test_a_process_that_forgets_to_close_delivers_all_the_same(
    address: str, name: str, end: str, code: int
) -> None:
    script = (
        BEGIN
        + f"""
    collector = make("exit-{name}")
    for n in range(1000):
        collector.emit(ErrorEvent(error_message=str(n)))
    {end}
    """
    )
    run(script, address, code=code)
    assert len(read(address, f"exit-{name}.error")) == 1_000
    assert [d.event.reason for d in read(address, f"exit-{name}.checkpoint")][-1] == "close"


def test_an_exit_with_a_dead_broker_is_bounded_and_says_what_is_lost() -> None:
    script = (
        BEGIN
        + """
    collector = make("dead", exit_timeout=0.3)
    for n in range(10):
        collector.emit(ErrorEvent())
    """
    )
    begin = time.monotonic()
    done = run(script, NOBODY)
    assert time.monotonic() - begin < 20
    # ten events, the opening checkpoint, and the closing one where there was time for it
    *before, last = done.stderr.splitlines()
    assert re.match(r"auditwire: 1[12] records of <KafkaCollector 127.0.0.1:1 prefix='dead'> were not", last)
    assert all("what is accepted stays in the journal" in line for line in before)


def test_a_forked_child_has_a_stream_of_its_own_and_leaves_the_parents_alone(address: str) -> None:
    script = (
        BEGIN
        + """
    import time
    collector = make("fork")
    collector.emit(ErrorEvent(error_message="parent before"))
    parent = collector.stream_id
    pid = os.fork()
    if pid == 0:
        collector.emit(ErrorEvent(error_message="child"))
        assert collector.stream_id != parent
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    collector.emit(ErrorEvent(error_message="parent after"))
    assert collector.stream_id == parent
    print(parent)
    """
    )
    parent = run(script, address).stdout.strip()
    by_message = {d.event.error_message: d for d in read(address, "fork.error")}
    assert set(by_message) == {"parent before", "child", "parent after"}
    assert by_message["parent before"].stream_id == by_message["parent after"].stream_id == parent
    checkpoints = read(address, "fork.checkpoint")
    child = [d for d in checkpoints if d.stream_id == by_message["child"].stream_id]
    assert [(d.event.reason, d.event.parent_stream) for d in sorted(child, key=lambda d: d.sequence)] == [
        ("open", parent),
        ("close", None),
    ]
    assert sorted(d.event.reason for d in checkpoints if d.stream_id == parent) == ["close", "open"]


def test_a_child_that_emits_nothing_opens_no_stream(address: str) -> None:
    script = (
        BEGIN
        + """
    collector = make("silent")
    pid = os.fork()
    if pid == 0:
        collector.close()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    """
    )
    run(script, address)
    assert len({d.stream_id for d in read(address, "silent.checkpoint")}) == 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessings_children_deliver_without_closing(address: str, method: str, tmp_path: Any) -> None:
    script = (
        BEGIN
        + f"""
    import multiprocessing
    def work(n):
        global collector
        if {method!r} != "fork":
            collector = make("mp-{method}")
        for i in range(100):
            collector.emit(ErrorEvent(error_message=f"{{n}}-{{i}}"))
    if __name__ == "__main__":
        collector = make("mp-{method}")
        context = multiprocessing.get_context({method!r})
        children = [context.Process(target=work, args=(n,)) for n in range(3)]
        for child in children: child.start()
        for child in children: child.join()
        assert [c.exitcode for c in children] == [0, 0, 0]
    """
    )
    path = tmp_path / "main.py"  # spawn imports the main module by its path
    path.write_text(textwrap.dedent(script))
    subprocess.run([sys.executable, str(path), address], check=True, timeout=120)
    events = read(address, f"mp-{method}.error")
    assert sorted(d.event.error_message for d in events) == sorted(
        f"{n}-{i}" for n in range(3) for i in range(100)
    )
    assert len({d.stream_id for d in events}) == 3


def test_what_is_closed_is_not_kept(address: str) -> None:
    collector = collector_at(address, prefix="kept")
    assert collector in lifetime._open
    collector.close(20)
    assert collector not in lifetime._open


def test_a_thread_that_cannot_start_leaves_the_work_to_the_exit(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    collector = collector_at(address, prefix="late")
    collector.emit(ErrorEvent())
    collector.close(20)
    assert len(read(address, "late.error")) == 1
