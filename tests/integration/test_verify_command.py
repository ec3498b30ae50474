"""``auditwire verify`` on a real broker: what librdkafka's mock cluster does not have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AclOperation,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from auditwire import AuditEmitter, KafkaCollector
from auditwire.cli.app import run
from auditwire.reading import Reader
from support.trails import Trail, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rig.broker import Broker
    from rig.secure import SecureKafka

pytestmark = pytest.mark.needs("create_topics")

SOON = 60.0
COMMAND = [sys.executable, "-c", "from auditwire.cli import main; main()"]

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def own(broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Trail:
    return named(broker, prefix, monkeypatch)


def named(broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Trail:
    """A trail that the environment names; its topics are made when they are needed."""
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", broker.bootstrap)
    monkeypatch.setenv("AUDITWIRE_PREFIX", prefix)
    return Trail(broker.bootstrap, prefix, create_topics=True)


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def admin(broker: Broker) -> AdminClient:
    return AdminClient(broker.client())


def cut(admin: AdminClient, prefix: str, *, topic: str, before: dict[int, int]) -> None:
    """Remove records from the beginnings of partitions, as retention does."""
    places = [TopicPartition(f"{prefix}.{topic}", number, offset) for number, offset in before.items()]
    for future in admin.delete_records(places).values():
        future.result(SOON)


def places_of(own: Trail, topic: str) -> dict[int, int]:
    """Partition -> the offset behind the last record."""
    found: dict[int, int] = {}
    with Reader(own.bootstrap, topics=[f"{own.prefix}.{topic}"]) as reader:
        for record in reader:
            found[record.partition] = max(found.get(record.partition, 0), record.offset + 1)
    return found


# -- retention ----------------------------------------------------------------------------------------------


def test_what_retention_may_have_removed_is_a_fault_unless_it_is_said_how_long_records_are_kept(
    admin: AdminClient, own: Trail, capsys: Captured
) -> None:
    stream = own.write(events=20)
    cut(admin, own.prefix, topic="turn-start", before=places_of(own, "turn-start"))
    streams, trail = told(capsys, status=1)
    assert streams[0]["missing"] == [[1, 20]]
    assert any("say how long it keeps records" in note for note in trail["notes"])
    # kept for a year, and gone today: that was not retention
    assert told(capsys, "--retention", "365d", status=1)[1]["missing"] == 20
    # kept for a second: it may have been
    streams, trail = told(capsys, "--retention", "1s", status=3)
    assert (streams[0]["stream_id"], streams[0]["removed"]) == (stream, [[1, 20]])
    assert (trail["removed"], trail["missing"]) == (20, 0)


def test_a_known_stream_that_retention_has_removed_is_forgotten(
    admin: AdminClient, own: Trail, capsys: Captured, state: str
) -> None:
    own.write(events=3)
    told(capsys, "--state", state)
    for topic in ("turn-start", "checkpoint"):
        cut(admin, own.prefix, topic=topic, before=places_of(own, topic))
    later = own.write(events=3)
    assert told(capsys, "--state", state, status=1)[1]["faults"] == {"vanished": 1}
    streams, trail = told(capsys, "--state", state, "--retention", "1s")
    assert [one["stream_id"] for one in streams] == [later]
    assert "1 streams are older than the retention, and forgotten" in trail["notes"]
    assert told(capsys, "--state", state)[1]["streams"] == 1


# -- topics that are not what they were ---------------------------------------------------------------------


def test_a_topic_that_was_made_anew_is_noticed_and_what_it_held_is_missed(
    admin: AdminClient, own: Trail, capsys: Captured, state: str
) -> None:
    stream = own.write(events=5)
    told(capsys, "--state", state, "--incremental")
    topic = f"{own.prefix}.turn-start"
    admin.delete_topics([topic])[topic].result(SOON)
    soon(lambda: topic not in admin.list_topics(timeout=SOON).topics)
    admin.create_topics([NewTopic(topic, 6, 1)])[topic].result(SOON)
    soon(lambda: topic in admin.list_topics(timeout=SOON).topics)
    own.write(events=50)  # so many that it is as long as it was
    streams, trail = told(capsys, "--state", state, "--incremental", status=1)
    assert trail["notes"][0].startswith("everything was read again: ")
    assert {one["stream_id"] for one in streams if one["verdict"] == "fault"} == {stream}
    assert trail["missing"] == 5


def test_a_topic_that_was_deleted_is_noticed(
    admin: AdminClient, own: Trail, capsys: Captured, state: str
) -> None:
    own.write(events=5)
    told(capsys, "--state", state, "--incremental")
    topics = [f"{own.prefix}.turn-start", f"{own.prefix}.checkpoint"]
    for future in admin.delete_topics(topics).values():
        future.result(SOON)
    soon(lambda: not set(topics) & admin.list_topics(timeout=SOON).topics.keys())
    trail = told(capsys, "--state", state, "--incremental", status=1)[1]
    assert trail["faults"] == {"vanished": 1}
    assert "is gone" in trail["notes"][0]


def test_a_compacted_topic_leaves_a_trail_unproven(admin: AdminClient, own: Trail, capsys: Captured) -> None:
    own.write()
    topic = f"{own.prefix}.turn-start"
    entry = ConfigEntry("cleanup.policy", "compact,delete", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(SOON)
    assert told(capsys, status=4)[1]["compacted"] == [topic]
    assert run(["verify"]) == 4
    assert f"topic {topic} is compacted" in capsys.readouterr().out


# -- a range ------------------------------------------------------------------------------------------------


def test_a_range_of_time_leaves_out_what_is_older(own: Trail, capsys: Captured) -> None:
    own.write(events=3)
    middle = int(time.time() * 1_000) + 1
    soon(lambda: time.time() * 1_000 > middle + 5)
    stream = own.write(events=4)
    streams, trail = told(capsys, "--since", str(middle))
    assert [one["stream_id"] for one in streams] == [stream]
    assert trail["messages"] == 6
    assert told(capsys, "--since", "1h")[1]["streams"] == 2


# -- while somebody writes ----------------------------------------------------------------------------------


def test_a_trail_that_is_being_written_is_never_at_fault(own: Trail, capsys: Captured, state: str) -> None:
    end = threading.Event()

    def write() -> None:
        with AuditEmitter(own.collector(), "s-1") as audit:
            while not end.is_set():
                for _ in range(20):
                    audit.emit_turn_end(content="x" * 50)
                    audit.emit_tool_call_attempt("search")
                end.wait(0.05)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for number in range(4):
            jobs = str(1 + number % 2)
            assert run(["verify", "--jobs", jobs]) in (0, 3, 4)
            assert run(["verify", "--state", state, "--incremental", "--jobs", jobs]) in (0, 3, 4)
    finally:
        end.set()
        for writer in writers:
            writer.join()
    capsys.readouterr()
    whole, _ = told(capsys)
    incremental, trail = told(capsys, "--state", state, "--incremental")
    assert incremental == whole
    assert trail["notes"] == []
    assert {one["verdict"] for one in whole} == {"complete"}


# -- brokers that are lost, signals -------------------------------------------------------------------------


@pytest.fixture
def watched(faulty_broker: Broker, tmp_path: Path) -> Iterator[tuple[Trail, subprocess.Popen[str], Path]]:
    own = Trail(faulty_broker.bootstrap, "audit", create_topics=True)
    own.write()
    file = tmp_path / "audit.prom"
    arguments = ["-b", faulty_broker.bootstrap, "--watch", "--every", "0.2", "--timeout", "2", "--json"]
    with subprocess.Popen(
        [*COMMAND, "verify", *arguments, "--metrics-file", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:
        try:
            yield own, process, file
        finally:
            process.kill()


def up(file: Path) -> float | None:
    if not file.exists():
        return None
    (line,) = (line for line in file.read_text().splitlines() if line.startswith("auditwire_verify_up{"))
    return float(line.rpartition(" ")[2])


@pytest.mark.needs("faults")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_watch_survives_a_lost_broker_and_ends_by_a_signal(
    faulty_broker: Broker,
    watched: tuple[Trail, subprocess.Popen[str], Path],
    number: signal.Signals,
    status: int,
) -> None:
    own, process, file = watched
    soon(lambda: up(file) == 1)
    faulty_broker.kill()
    soon(lambda: up(file) == 0)
    assert process.poll() is None
    faulty_broker.start_again()
    soon(lambda: up(file) == 1)
    own.write()
    soon(lambda: 'streams{prefix="audit",verdict="complete"} 2.0' in file.read_text())
    process.send_signal(number)
    out, err = process.communicate(timeout=SOON)
    assert process.returncode == status, err
    rounds = [json.loads(line) for line in out.splitlines()]
    results = {made["result"] for made in rounds}
    # a round may read what is being written: open, as it then is
    assert {"complete", "failed"} <= results <= {"complete", "failed", "open"}
    assert all(made["reason"] for made in rounds if made["result"] == "failed")
    assert not [path for path in file.parent.iterdir() if path != file]


@pytest.mark.needs("faults")
def test_a_check_whose_broker_is_lost_on_the_way_is_no_verdict(
    faulty_broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    own = named(faulty_broker, "audit", monkeypatch)
    own.write()
    faulty_broker.kill()
    for jobs in ("1", "2"):
        assert run(["verify", "--timeout", "2", "--jobs", jobs]) == 4
        assert "the check could not be made: " in capsys.readouterr().err


# -- a principal that may read and nothing else -------------------------------------------------------------


@pytest.mark.needs("acls")
def test_a_principal_that_may_only_read_can_verify_and_is_told_what_it_cannot_know(
    secure_broker: SecureKafka, prefix: str, tmp_path: Path, capsys: Captured, state: str
) -> None:
    config = secure_broker.client("admin", "admin-secret", mechanism="PLAIN")
    bootstrap = config.pop("bootstrap.servers")
    with AuditEmitter(KafkaCollector(bootstrap, prefix=prefix, config=config), "s-1") as audit:
        audit.emit_turn_start(prompt="hello")
    secure_broker.add_user("auditor", "auditor-secret")
    secure_broker.allow("auditor", prefix, AclOperation.READ, AclOperation.DESCRIBE, prefix=True)
    properties = tmp_path / "auditor.properties"
    properties.write_text(
        "".join(
            f"{name}={value}\n" for name, value in secure_broker.client("auditor", "auditor-secret").items()
        )
    )
    arguments = ["--config", str(properties), "--prefix", prefix, "--state", state, "--incremental"]
    for jobs in ("1", "2"):
        streams, trail = told(capsys, *arguments, "--jobs", jobs)
        assert [one["verdict"] for one in streams] == ["complete"]
        (note,) = trail["notes"]
        assert note.endswith("the principal needs the operation DescribeConfigs on them")
