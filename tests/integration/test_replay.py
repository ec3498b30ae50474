"""``auditwire replay`` on a real broker: killed and gone on with, copied and verified, refused, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, AdminClient, NewTopic  # type: ignore[attr-defined] # not in its __all__
from emit_support import Ends, assert_complete, read_all, until

from auditwire import AuditEmitter
from auditwire.cli.app import run
from auditwire.delivery.topics import create_topics
from auditwire.events import ErrorEvent
from auditwire.ids import uuid7
from auditwire.reading import Reader
from auditwire.verification import check_streams
from auditwire.wire import frame_single_object
from support.stream_builder import StreamBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from auditwire.reading import Record
    from rig.broker import Broker
    from rig.secure import SecureKafka

pytestmark = pytest.mark.needs("create_topics")

COMMAND = [sys.executable, "-c", "from auditwire.cli import main; main()"]
# a state is saved every second, not every five: what is waited for here is the next one
HASTY = "from auditwire.replaying import replay; assert replay.SAVE_SECONDS > 1; replay.SAVE_SECONDS = 1.0"
EVENTS = 3_000
MINUTES = 50
SPEED = "100x"  # 50 minutes in 30 s: slow enough to be killed in the middle

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def source(broker: Broker, prefix: str) -> str:
    """The prefix of a trail whose events lie evenly over the last 50 minutes."""
    return filled(broker, f"{prefix}-source")


def filled(broker: Broker, prefix: str) -> str:
    """An honest stream, as a collector would have written it in that time, with checkpoints and closed."""
    stream = StreamBuilder(uuid7(), opened=False)
    first = stream.now_us = time.time_ns() // 1_000 - MINUTES * 60_000_000
    stream.checkpoint("open", acknowledged=0)
    for number in range(EVENTS):
        stream.now_us = first + number * MINUTES * 60_000_000 // EVENTS
        if number and number % 500 == 0:
            stream.checkpoint()
        stream.add(ErrorEvent(error_type=str(number), session_id=f"s-{number % 7}"))
    names = [f"{prefix}.error", f"{prefix}.checkpoint"]
    admin = AdminClient(broker.client(log_level=0))
    assert set(create_topics(admin, names).values()) == {None}
    producer = Producer(broker.client(log_level=0, partitioner="murmur2_random"))
    for record in stream.close().records:
        topic = f"{prefix}.{record.event.event_type}"
        value = frame_single_object(record.fingerprint, record.body)
        headers: list[tuple[str, str | bytes | None]] = list(record.headers)
        producer.produce(topic, value, record.key, timestamp=record.timestamp_ms, headers=headers)
    assert producer.flush(30) == 0
    return prefix


def environment(broker: Broker, prefix: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "AUDITWIRE_BOOTSTRAP_SERVERS": broker.bootstrap,
        "AUDITWIRE_PREFIX": prefix,
    }


@contextmanager
def replaying(broker: Broker, prefix: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, which is killed at the end if it has not ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{HASTY}; from auditwire.cli import main; main()", "replay", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(broker, prefix),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def remembered(state: Path) -> int:
    """Records that the state says are safe."""
    if not state.exists():
        return 0
    records: int = json.loads(state.read_text())["tally"]["records"]
    return records


def killed_twice(
    broker: Broker, prefix: str, state: Path, written: Callable[[], int] | None, *arguments: str
) -> None:
    """Begin, and kill it behind a state that it has just saved, when it has written more; twice."""
    for _ in range(2):
        before = remembered(state)
        with replaying(broker, prefix, *arguments, "--speed", SPEED) as process:
            until(lambda before=before: remembered(state) > before, "a state")  # type: ignore[misc] # mypy infers no lambda with defaults
            if written is not None:
                until(lambda: written() > remembered(state), "records behind the state")
            process.send_signal(signal.SIGKILL)
            process.wait(30)
    assert 0 < remembered(state) < EVENTS


def with_duplicates(broker: Broker, prefix: str) -> tuple[list[Record], int]:
    """All records under a prefix, the doubled ones included, and how many those are."""
    duplicates: list[Record] = []
    with Reader(broker.bootstrap, prefix=prefix, on_duplicate=duplicates.append) as reader:
        records = list(reader)
    return [*records, *duplicates], len(duplicates)


# -- killed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_a_file_is_whole_and_has_every_line_once_however_often_the_replay_is_killed(
    broker: Broker, source: str, tmp_path: Path, capsys: Capsys, name: str
) -> None:
    out, state = tmp_path / name, tmp_path / "state"
    arguments = ["--to", str(out), "--resume", str(state)]

    def written() -> int:
        return len(content(out).splitlines())

    # of a compressed file only what was settled can be counted
    killed_twice(broker, source, state, None if out.suffix == ".gz" else written, *arguments)
    where = ["-b", broker.bootstrap, "--prefix", source]
    assert run(["replay", *where, *arguments]) == 0
    undisturbed = tmp_path / f"undisturbed-{name}"
    assert run(["replay", *where, "--to", str(undisturbed)]) == 0
    assert content(out) == content(undisturbed)
    lines = [json.loads(line) for line in content(out).splitlines()]
    assert [line["error_type"] for line in lines if "error_type" in line] == [str(n) for n in range(EVENTS)]
    capsys.readouterr()
    before = out.stat()
    assert run(["replay", *where, *arguments]) == 0
    assert capsys.readouterr().out.startswith(f"Already done: {len(lines):,} records of 1 stream")
    assert out.stat() == before


def content(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    return subprocess.run(["gzip", "-dc", str(path)], capture_output=True, check=True).stdout


def test_a_copy_that_is_killed_and_gone_on_with_verifies_as_its_source_and_agrees_with_its_manifest(
    broker: Broker, source: str, prefix: str, tmp_path: Path
) -> None:
    copy, state, manifest = f"{prefix}-copy", tmp_path / "state", tmp_path / "manifest.json"
    arguments = ["--to-prefix", copy, "--resume", str(state), "--manifest", str(manifest)]
    ends = Ends({"bootstrap.servers": broker.bootstrap}, copy)
    killed_twice(broker, source, state, ends.total, *arguments)
    assert not manifest.exists()
    where = ["-b", broker.bootstrap, "--prefix", source]
    assert run(["replay", *where, *arguments]) == 0
    assert run(["replay", "-b", broker.bootstrap, "--check", str(manifest)]) == 0
    said = json.loads(manifest.read_text())
    assert (said["runs"], said["crashes"]) == (3, 2)
    before, none = with_duplicates(broker, source)
    after, doubled = with_duplicates(broker, copy)
    assert (none, said["records"]) == (0, len(before))
    # what was acknowledged behind the states that the killed processes saved last
    assert 0 < doubled < EVENTS // 2
    assert {seen(record, copy) for record in after} == {seen(record, source) for record in before}
    (one,), (two,) = check_streams(before, settled=True), check_streams(after, settled=True)
    assert_complete(one)
    assert two.to_dict() == {**one.to_dict(), "duplicates": doubled}
    assert [run(["verify", "-b", broker.bootstrap, "--prefix", name]) for name in (source, copy)] == [0, 0]
    assert run(["replay", *where, *arguments]) == 0
    assert with_duplicates(broker, copy)[1] == doubled


def seen(record: Record, prefix: str) -> tuple[Any, ...]:
    """All that Kafka has of a record, but for the prefix and the offset."""
    topic = record.topic.removeprefix(prefix)
    return topic, record.partition, record.timestamp_ms, record.key, record.value, tuple(record.headers)


def test_ctrl_c_in_a_long_pause_ends_a_copy_at_once_and_nothing_is_doubled(
    broker: Broker, source: str, prefix: str, tmp_path: Path
) -> None:
    copy, state = f"{prefix}-copy", tmp_path / "state"
    arguments = ["--to-prefix", copy, "--resume", str(state), "--manifest", str(tmp_path / "m.json")]
    with replaying(broker, source, *arguments, "--speed", "1x") as process:
        until(state.exists, "the first state")
        until(lambda: len(with_duplicates(broker, copy)[0]) > 0, "a record")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"goes on from {state}" in err
    said = json.loads(state.read_text())
    assert said["status"] == "ended"
    assert f"{said['output']['acknowledged']:,} acknowledged" in out
    assert run(["replay", "-b", broker.bootstrap, "--prefix", source, *arguments]) == 0
    records, doubled = with_duplicates(broker, copy)
    assert doubled == 0
    (report,) = check_streams(records, settled=True)
    assert_complete(report)


# -- copies -------------------------------------------------------------------------------------------------


def test_topics_of_a_copy_are_made_with_the_partitions_of_the_source_and_the_retention_asked_for(
    broker: Broker, source: str, prefix: str, tmp_path: Path, capsys: Capsys
) -> None:
    copy = f"{prefix}-copy"
    arguments = ["-b", broker.bootstrap, "--prefix", source, "--to-prefix", copy, "--retention-days", "30"]
    assert run(["replay", *arguments, "--no-create-topics", "--manifest", str(tmp_path / "m")]) == 1
    assert "does not exist: make it (auditwire topics create" in capsys.readouterr().err
    assert run(["replay", *arguments, "--manifest", str(tmp_path / "m")]) == 0
    assert "2 topics made, which keep records for 30 days" in capsys.readouterr().err
    assert run(["topics", "list", "-b", broker.bootstrap, "--prefix", copy, "--json"]) == 0
    made = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(topic["event_type"], topic["partitions"], topic["retention_ms"]) for topic in made} == {
        (name, 6, 30 * 86_400_000) for name in ("checkpoint", "error")
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"message.timestamp.type": "LogAppendTime"}, "has message.timestamp.type=LogAppendTime"),
        ({"cleanup.policy": "compact"}, "is compacted (cleanup.policy=compact)"),
        ({"retention.ms": "600000"}, "keeps records for 0.00694444 days, and one of "),
    ],
    ids=["LogAppendTime", "compacted", "short retention"],
)
def test_a_topic_that_would_not_keep_what_is_copied_is_refused_before_anything_is_written(
    broker: Broker,
    source: str,
    prefix: str,
    tmp_path: Path,
    capsys: Capsys,
    config: dict[str, str],
    message: str,
) -> None:
    copy = f"{prefix}-copy"
    admin = AdminClient(broker.client(log_level=0))
    for name in ("error", "checkpoint"):
        for future in admin.create_topics([NewTopic(f"{copy}.{name}", 1, 1, config=config)]).values():
            future.result(30)
    arguments = ["-b", broker.bootstrap, "--prefix", source, "--to-prefix", copy]
    assert run(["replay", *arguments, "--type", "error", "--manifest", str(tmp_path / "m")]) == 2
    assert message in capsys.readouterr().err
    assert with_duplicates(broker, copy)[0] == []


def test_a_record_that_the_target_refuses_is_an_error_and_no_silence(
    broker: Broker, source: str, prefix: str, tmp_path: Path, capsys: Capsys
) -> None:
    copy = f"{prefix}-copy"
    admin = AdminClient(broker.client(log_level=0))
    small = NewTopic(f"{copy}.error", 6, 1, config={"max.message.bytes": "100"})
    for future in admin.create_topics([small]).values():
        future.result(30)
    arguments = ["-b", broker.bootstrap, "--prefix", source, "--to-prefix", copy, "--type", "error"]
    manifest = tmp_path / "m"
    assert run(["replay", *arguments, "--manifest", str(manifest), "--json"]) == 1
    captured = capsys.readouterr()
    assert f"topic {copy}.error refused a record: " in captured.err
    said = json.loads(captured.out)
    assert "MSG_SIZE_TOO_LARGE" in said["error"]
    assert not said["complete"]
    assert not manifest.exists()


def test_a_range_of_time_and_a_session_are_copied_and_agree_with_their_manifest(
    broker: Broker, source: str, prefix: str, tmp_path: Path, capsys: Capsys
) -> None:
    copy, manifest = f"{prefix}-copy", tmp_path / "m.json"
    arguments = ["--since", "30m", "--until", "10m", "--session", "s-3", "--to-prefix", copy]
    assert (
        run(["replay", "-b", broker.bootstrap, "--prefix", source, *arguments, "--manifest", str(manifest)])
        == 0
    )
    content = json.loads(manifest.read_text())
    copied = read_all(broker.bootstrap, copy).records
    assert len(copied) == content["records"] > 0
    whole = [
        record for record in read_all(broker.bootstrap, source).records if record.event.session_id == "s-3"
    ]
    since, until_ = content["selection"]["since_ms"], content["selection"]["until_ms"]
    expected = [record for record in whole if since <= record.timestamp_ms < until_]
    assert [seen(record, copy) for record in copied] == [seen(record, source) for record in expected]
    assert run(["replay", "-b", broker.bootstrap, "--check", str(manifest)]) == 0


# -- lines --------------------------------------------------------------------------------------------------


def test_what_one_trail_holds_is_piped_into_another(broker: Broker, source: str, prefix: str) -> None:
    target = f"{prefix}-target"
    with replaying(broker, source, "--to", "-", "--session", "s-1") as replay:
        shipped = subprocess.run(
            [*COMMAND, "ship", "-", "--json"],
            env=environment(broker, target),
            stdin=replay.stdout,
            capture_output=True,
            check=True,
        )
        _, err = replay.communicate(timeout=30)
    assert replay.returncode == 0, err
    said = json.loads(shipped.stdout)
    assert said["derived_ids"] == said["control_records"] == 0
    one, two = (
        {record.event.event_id: record.event for record in read_all(broker.bootstrap, name).events}
        for name in (source, target)
    )
    assert two == {name: event for name, event in one.items() if event.session_id == "s-1"}
    assert len(two) == said["acknowledged"] == len([n for n in range(EVENTS) if n % 7 == 1])


# -- rights and faults --------------------------------------------------------------------------------------


@pytest.mark.needs("acls")
def test_describe_and_read_are_enough_for_lines(
    secure_broker: SecureKafka, prefix: str, tmp_path: Path, capsys: Capsys
) -> None:
    writing = secure_broker.client("admin", "admin-secret", mechanism="PLAIN")
    address = writing.pop("bootstrap.servers")
    from auditwire import KafkaCollector

    with AuditEmitter(KafkaCollector(address, prefix=prefix, config=writing), "s-1") as audit:
        audit.emit_error("E", "failed")
    secure_broker.add_user("auditor", "auditor-secret")
    secure_broker.allow("auditor", prefix, AclOperation.READ, AclOperation.DESCRIBE, prefix=True)
    reading = secure_broker.client("auditor", "auditor-secret")
    reading.pop("bootstrap.servers")
    config = tmp_path / "auditor.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in reading.items()))
    arguments = ["-b", secure_broker.bootstrap, "--prefix", prefix, "--config", str(config)]
    assert run(["replay", *arguments, "--to", str(tmp_path / "out")]) == 0
    assert len((tmp_path / "out").read_text().splitlines()) == 3
    capsys.readouterr()
    assert (
        run(["replay", *arguments, "--to-prefix", f"{prefix}-copy", "--manifest", str(tmp_path / "m")]) == 1
    )
    assert f"topic {prefix}-copy." in capsys.readouterr().err


@pytest.mark.needs("faults")
def test_a_broker_that_goes_away_is_waited_for(faulty_broker: Broker, prefix: str, tmp_path: Path) -> None:
    source, copy, state = filled(faulty_broker, prefix), f"{prefix}-copy", tmp_path / "state"
    arguments = ["--to-prefix", copy, "--resume", str(state), "--manifest", str(tmp_path / "m.json")]
    with replaying(faulty_broker, source, *arguments, "--speed", "300x") as process:
        until(lambda: remembered(state) > 0, "a state")
        faulty_broker.kill()
        assert remembered(state) < EVENTS // 2  # there is more to be sent than the client has already
        back = threading.Timer(1.0, faulty_broker.start_again)
        back.start()
        try:
            out, err = process.communicate(timeout=120)
        finally:
            back.join()
    assert process.returncode == 0, err
    assert "manifest: " in out
    (report,) = read_all(faulty_broker.bootstrap, copy).reports
    assert_complete(report)
    assert run(["replay", "-b", faulty_broker.bootstrap, "--check", str(tmp_path / "m.json")]) == 0
