"""The commands on a real broker, and what Kafka's own tools say of it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from auditwire import AuditEmitter, KafkaCollector
from auditwire.cli.app import run
from auditwire.events import ALL_TYPES, EVENT_TYPES
from auditwire.wire import topic_name

if TYPE_CHECKING:
    from rig.broker import Broker

pytestmark = pytest.mark.needs("create_topics")

Capsys = pytest.CaptureFixture[str]


def json_lines(capsys: Capsys) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def offsets(broker: Broker, prefix: str) -> dict[str, int]:
    """Topic -> records, as kafka-get-offsets.sh sees them."""
    counts: Counter[str] = Counter()
    for line in broker.tool("kafka-get-offsets.sh", "--topic", f"{prefix}\\..*").splitlines():
        topic, _, offset = line.split(":")
        counts[topic] += int(offset)
    return dict(counts)


@pytest.mark.needs("kafka_tools")
def test_the_demos_counts_are_those_of_kafkas_own_tools(broker: Broker, prefix: str, capsys: Capsys) -> None:
    assert run(["demo", "--bootstrap", broker.bootstrap, "--prefix", prefix, "--json"]) == 0
    *events, last = json_lines(capsys)
    summary = last["summary"]
    assert {event["event_type"] for event in events} == {*EVENT_TYPES, "checkpoint"}
    assert [event["sequence"] for event in events] == list(range(len(events)))
    assert (summary["lost"], summary["verdict"]) == (0, "complete")
    assert summary["accepted"] == summary["acknowledged"]
    assert summary["topics"] == offsets(broker, prefix)
    assert sum(summary["topics"].values()) == len(events)


def test_the_demo_takes_under_ten_seconds(broker: Broker, prefix: str, capsys: Capsys) -> None:
    assert run(["demo", "--bootstrap", broker.bootstrap, "--prefix", prefix, "--json"]) == 0
    assert json_lines(capsys)[-1]["summary"]["seconds"] < 10


def test_tail_shows_what_comes_also_to_topics_that_were_not_there(broker: Broker, prefix: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from auditwire.cli import main; main()", "tail", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "AUDITWIRE_BOOTSTRAP_SERVERS": broker.bootstrap,
            "AUDITWIRE_PREFIX": prefix,
        },
    )
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in process.stdout or ():
            lines.put(line)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        with AuditEmitter(KafkaCollector(broker.bootstrap, prefix=prefix), "s-1") as audit:
            # it shows what comes after its start, and says by nothing else that it has started
            end = time.monotonic() + 60
            while lines.empty():
                assert time.monotonic() < end
                audit.emit_error("E")
                audit.flush()
                time.sleep(0.1)
            turn = audit.emit_turn_start(prompt="first")
            audit.emit_turn_end(turn_id=turn, content="done")
            audit.flush()
            events: list[dict[str, Any]] = []
            while not {"turn_start", "turn_end"} <= {event["event_type"] for event in events}:
                events.append(json.loads(lines.get(timeout=30)))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        listener.join(10)
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()
    (start,) = (event for event in events if event["event_type"] == "turn_start")
    assert (start["turn_id"], start["topic"], start["offset"]) == (turn, topic_name(prefix, "turn_start"), 0)
    places = [(event["topic"], event["partition"], event["offset"]) for event in events]
    assert len(set(places)) == len(places)


def test_topics_are_created_with_the_settings_of_the_contract_and_once(
    broker: Broker, prefix: str, capsys: Capsys
) -> None:
    arguments = ["-b", broker.bootstrap, "--prefix", prefix, "--json"]
    assert run(["topics", "create", *arguments]) == 0
    made = {line["topic"]: line for line in json_lines(capsys)}
    assert made.keys() == {topic_name(prefix, event_type) for event_type in ALL_TYPES}
    assert {line["status"] for line in made.values()} == {"created"}

    def listed() -> list[dict[str, Any]]:
        assert run(["topics", "list", *arguments]) == 0
        return json_lines(capsys)

    # metadata lags behind the creation
    end = time.monotonic() + 30
    while len(found := listed()) < len(ALL_TYPES):
        assert time.monotonic() < end
    assert {line["topic"] for line in found} == made.keys()
    for line in found:
        assert line["partitions"] == 6
        assert line["replication"] == made[line["topic"]]["replication"]
        assert (line["retention_ms"], line["cleanup_policy"], line["records"]) == (
            400 * 86_400_000,
            "delete",
            0,
        )

    assert run(["topics", "create", *arguments, "--partitions", "3"]) == 0
    again = json_lines(capsys)
    assert {(line["status"], line["partitions"]) for line in again} == {("exists", 6)}


def test_options_shape_the_topics(broker: Broker, prefix: str, capsys: Capsys) -> None:
    arguments = ["-b", broker.bootstrap, "--prefix", prefix, "--json"]
    options = ["--partitions", "2", "--replication", "1", "--retention-days", "30"]
    assert run(["topics", "create", *arguments, *options, "--dry-run"]) == 0
    assert {line["status"] for line in json_lines(capsys)} == {"would create"}
    assert run(["topics", "list", *arguments]) == 0
    assert json_lines(capsys) == []
    assert run(["topics", "create", *arguments, *options]) == 0
    assert {line["config"]["retention.ms"] for line in json_lines(capsys)} == {"2592000000"}
    end = time.monotonic() + 30
    while True:
        assert run(["topics", "list", *arguments]) == 0
        found = json_lines(capsys)
        if len(found) == len(ALL_TYPES):
            break
        assert time.monotonic() < end
    assert {(line["partitions"], line["replication"], line["retention_ms"]) for line in found} == {
        (2, 1, 30 * 86_400_000)
    }


def test_topics_that_the_broker_refuses_are_named_with_the_reason(
    broker: Broker, prefix: str, capsys: Capsys
) -> None:
    """More replicas than brokers: every topic is refused, and none is made."""
    arguments = ["-b", broker.bootstrap, "--prefix", prefix]
    assert run(["topics", "create", *arguments, "--replication", "100"]) == 1
    captured = capsys.readouterr()
    refused = [
        line for line in captured.err.splitlines() if " was refused: INVALID_REPLICATION_FACTOR" in line
    ]
    assert len(refused) == len(ALL_TYPES)
    assert run(["topics", "list", *arguments]) == 0
    assert capsys.readouterr().out == ""
