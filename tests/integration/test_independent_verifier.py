"""Two verifiers, written apart, say the same of trails on a real broker: ours, and the one in tests/verifier.

The other one is in Go and was written from docs/verification.md alone. Where there is no Go, or its modules
cannot be fetched, it is not run, and that is said.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not in its __all__
    AdminClient,
    NewTopic,
)
from durable_support import Site
from emit_support import QUICK, SOON, collector, until

from auditwire import AuditEmitter, KafkaCollector
from auditwire.events import CheckpointEvent, ToolCallAttemptEvent
from auditwire.verification.trail import verify_trail
from auditwire.wire import FastavroEncoder, decode, frame_single_object, join_body, schema_for
from rig.plugin import RUN
from support.stored import Stored, as_record
from support.verification_vectors import FILE, VECTORS, comparable, judged, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.events import AuditEvent
    from rig.broker import Broker

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "verifier"
BUILD_SECONDS = 150
pytestmark = pytest.mark.timeout(BUILD_SECONDS + 180)


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier in Go, built once."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed: the verifier in Go was not run")
    program = tmp_path_factory.mktemp("verifier") / "verifier"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    run = partial(
        subprocess.run,
        cwd=SOURCE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    fetched = run([go, "mod", "download"])
    if fetched.returncode:
        pytest.skip(f"the modules of the verifier in Go cannot be fetched: {fetched.stderr.strip()[-200:]}")
    built = run([go, "build", "-buildvcs=false", "-o", str(program), "."])
    assert built.returncode == 0, built.stderr
    return program


def run_vectors(verifier: Path, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [verifier, "-avro", ROOT / "avro", "-vectors", file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_other_verifier_agrees_with_every_test_vector(verifier: Path) -> None:
    done = run_vectors(verifier, FILE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("compared, 0 differ\n")


def test_the_other_verifier_sees_a_vector_that_expects_something_else(verifier: Path, tmp_path: Path) -> None:
    vectors = json.loads(FILE.read_text(encoding="ascii"))
    vectors["events"][1]["digest"] = "00" * 32
    vectors["values"][0]["reason"] = "foreign"
    vectors["trails"][0]["streams"][0]["records"] += 1
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps(vectors))
    done = run_vectors(verifier, file)
    assert (done.returncode, done.stdout.splitlines()[-1].endswith(" 6 differ")) == (1, True), done.stdout


def some_trail(rng: random.Random) -> dict[str, Any]:
    """Records of two of the vectors' trails, without different ones of one sequence, many of them gone."""
    trails = [trail["records"] for trail in VECTORS["trails"] if trail["records"]]
    kept: dict[tuple[str, int], tuple[bytes, list[str]]] = {}
    for name in {**dict.fromkeys(rng.choice(trails)), **dict.fromkeys(rng.choice(trails))}:
        message = stored(name)
        if name in {"foreign", "damaged"}:
            continue
        record = as_record(message)
        digest, names = kept.setdefault((record.stream_id, record.sequence), (record.digest, []))
        if digest == record.digest:
            names.append(name)
    share = rng.choice([0, 0.05, 0.2, 0.5])
    records = [name for _, names in kept.values() for name in names if rng.random() >= share]
    rng.shuffle(records)
    out = {"name": "", "rules": [], "records": records, "settled": rng.random() < 0.5}
    if records and rng.random() < 0.3:
        message = stored(rng.choice(records))
        out["first_ends"] = {f"{message.topic}/{message.partition}": message.offset}
    if rng.random() < 0.3:
        out["horizon_ms"] = 1_800_000_000_000 + rng.randrange(12)
    return out


def is_ambiguous(stream: dict[str, Any]) -> bool:
    """Which of two listings of a withheld record counts is up to the verifier (V-26)."""
    kinds = {kind for kind, _ in stream["faults"]}
    return "chain" in kinds and bool(stream["withheld"] or "recovery" in kinds)


def test_both_say_the_same_of_random_trails(verifier: Path, tmp_path: Path) -> None:
    rng = random.Random(6)
    trails = []
    for number in range(500):
        trail = some_trail(rng)
        folder = tmp_path / str(number)
        folder.mkdir()
        outcome, reports = judged(trail, folder)
        streams = [comparable(report) for report in reports]
        if not any(map(is_ambiguous, streams)):
            trails.append({**trail, "exit_status": outcome.exit_status, "streams": streams})
    assert {trail["exit_status"] for trail in trails} >= {0, 1, 3}
    assert len(trails) > 400
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps({**VECTORS, "trails": trails}))
    done = run_vectors(verifier, file)
    assert done.returncode == 0, done.stdout[-4_000:]


# -- what both say of a trail -------------------------------------------------------------------------------


def everything(broker: Broker, prefix: str) -> list[Stored]:
    """All messages on the topics of a prefix, read by a consumer that knows nothing of auditwire."""
    consumer = Consumer(broker.client(**{"group.id": prefix, "log_level": 0}))
    try:
        found = consumer.list_topics(timeout=SOON).topics
        places = [
            TopicPartition(name, number, 0)
            for name, topic in found.items()
            if name.startswith(f"{prefix}.")
            for number in topic.partitions
        ]
        ends = {(p.topic, p.partition): consumer.get_watermark_offsets(p, SOON)[1] for p in places}
        consumer.assign(places)
        messages: list[Stored] = []

        def fetched() -> bool:
            for message in consumer.consume(1_000, 0.2):
                assert message.error() is None, message.error()
                messages.append(
                    Stored(
                        topic=str(message.topic()),
                        partition=int(message.partition() or 0),
                        offset=int(message.offset() or 0),
                        timestamp_ms=message.timestamp()[1],
                        key=message.key(),
                        headers=list(message.headers() or []),  # type: ignore[arg-type] # pairs of text and bytes
                        value=message.value(),
                    )
                )
            return len(messages) >= sum(ends.values())

        until(fetched, f"{sum(ends.values())} messages of {prefix} are read")
    finally:
        consumer.close()
    return messages


def put(broker: Broker, prefix: str, messages: list[Stored]) -> None:
    """Write messages to the topics of another prefix, each to the partition that it came from."""
    admin = AdminClient(broker.client())
    copies = [replace(m, topic=f"{prefix}.{m.topic.partition('.')[2]}") for m in messages]
    partitions: dict[str, int] = {}
    for copy in copies:
        partitions[copy.topic] = max(partitions.get(copy.topic, 1), copy.partition + 1)
    for future in admin.create_topics(
        [NewTopic(name, count, 1) for name, count in partitions.items()]
    ).values():
        future.result(SOON)
    producer = Producer(broker.client())
    for copy in copies:
        producer.produce(
            copy.topic,
            copy.value,
            copy.key,
            copy.partition,
            timestamp=copy.timestamp_ms,
            headers=copy.headers,  # type: ignore[arg-type] # a null value is one
        )
    assert producer.flush(SOON) == 0


def theirs(verifier: Path, broker: Broker, prefix: str, *, settled: bool) -> tuple[int, list[dict[str, Any]]]:
    command: list[str | Path] = [verifier, "-avro", ROOT / "avro", "-bootstrap", broker.bootstrap]
    options = ["-prefix", prefix, "-json", f"-settled={str(settled).lower()}"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    assert (said["exit_status"], said["undecodable"]) == (done.returncode, {})
    return done.returncode, said["streams"]


def ours(broker: Broker, prefix: str, *, settled: bool) -> tuple[int, list[dict[str, Any]]]:
    reports: list[dict[str, Any]] = []
    outcome = verify_trail(
        broker.bootstrap,
        prefix=prefix,
        config=QUICK,
        settled=settled,
        on_report=lambda report, _standing: reports.append(comparable(report)),
    )
    return outcome.exit_status, reports


def agreed(
    verifier: Path, broker: Broker, prefix: str, *, settled: bool = True
) -> tuple[int, list[dict[str, Any]]]:
    """What both say: the exit status, and the reports."""
    said = theirs(verifier, broker, prefix, settled=settled)
    assert said == ours(broker, prefix, settled=settled)
    return said


def emit(kafka: KafkaCollector, count: int) -> None:
    audit = AuditEmitter(kafka)
    for number in range(count):
        session = audit.for_session(f"session {number % 5}")
        with session.turn(prompt=f"prompt {number}"), session.tool_call("search", args={"n": number}) as call:
            if number % 7 == 0:
                call.denied("not today")
            call.result = number
    audit.emit_error("ValueError", "\N{BOMB}")


@pytest.mark.needs("create_topics")
def test_both_find_closed_streams_complete_while_another_is_written(
    broker: Broker, prefix: str, verifier: Path
) -> None:
    for count in (600, 3):
        with collector(broker, prefix) as kafka:
            emit(kafka, count)
    status, reports = agreed(verifier, broker, prefix)
    assert (status, [report["verdict"] for report in reports]) == (0, ["complete", "complete"])
    assert reports[0]["records"] > 2_400
    with collector(broker, prefix) as kafka:
        emit(kafka, 1)
        kafka.flush(SOON)
        status, reports = agreed(verifier, broker, prefix, settled=False)
        assert (status, reports[-1]["verdict"]) == (3, "open")
    assert agreed(verifier, broker, prefix)[0] == 0


KILLED = """
kafka = make()
emit(kafka, 1500, "killed")
kafka.flush(30)
emit(kafka, 40, "killed")
print("ready", flush=True)
signal.pause()
"""


@pytest.mark.needs("create_topics")
def test_both_find_a_killed_process_s_stream_recovered(
    broker: Broker, prefix: str, tmp_path: Path, verifier: Path
) -> None:
    site = Site(broker, prefix, tmp_path)
    process = site.start(KILLED)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=SOON)
    site.recover()
    with site.collector():  # names the streams before it
        pass
    status, reports = agreed(verifier, broker, prefix)
    verdicts = sorted((report["verdict"], report["recoveries"] > 0) for report in reports)
    assert (status, verdicts) == (0, [("complete", False), ("complete", False), ("recovered", True)])


@dataclass
class Copy:
    """A closed stream's messages by their sequences, to be changed, and messages that are added to them."""

    messages: dict[int, Stored]
    added: list[Stored]

    @property
    def last(self) -> int:
        return max(self.messages)

    def of_type(self, cls: type[AuditEvent]) -> list[int]:
        return [n for n in sorted(self.messages) if isinstance(as_record(self.messages[n]).event, cls)]

    def delete(self, *sequences: int) -> None:
        for sequence in sequences:
            del self.messages[sequence]

    def edited(self, sequence: int, to: int | None = None) -> Stored:
        """The message with another agent in its body, and with another number when one is given."""
        message = self.messages[sequence]
        found = decode(message.value)
        found.event.agent_id = "somebody else"
        head, tail = FastavroEncoder().encode(found.event, found.stream_id)
        body = join_body(head, sequence if to is None else to, tail)
        value = frame_single_object(schema_for(found.event.event_type).fingerprint, body)
        return replace(message, value=value)

    def edit(self, sequence: int) -> None:
        self.messages[sequence] = self.edited(sequence)

    def replace(self, sequence: int, **changes: Any) -> None:
        self.messages[sequence] = replace(self.messages[sequence], **changes)

    def swap(self, one: int, two: int) -> None:
        first, second = self.edited(one, two), self.edited(two, one)
        self.messages[one], self.messages[two] = second, first


def an_event(copy: Copy) -> int:
    return copy.of_type(ToolCallAttemptEvent)[10]


MUTATIONS: dict[str, tuple[int, Callable[[Copy], Any]]] = {
    "nothing": (0, lambda copy: None),
    "one deleted": (1, lambda copy: copy.delete(an_event(copy))),
    "a range deleted": (1, lambda copy: copy.delete(*range(30, 45))),
    "all of a type deleted": (1, lambda copy: copy.delete(*copy.of_type(ToolCallAttemptEvent))),
    "a checkpoint deleted": (1, lambda copy: copy.delete(copy.of_type(CheckpointEvent)[2])),
    "the head deleted": (1, lambda copy: copy.delete(*range(5))),
    "the tail deleted": (3, lambda copy: copy.delete(*range(copy.last - 3, copy.last + 1))),
    "one edited": (1, lambda copy: copy.edit(an_event(copy))),
    "a checkpoint edited": (1, lambda copy: copy.edit(copy.of_type(CheckpointEvent)[1])),
    "two swapped": (1, lambda copy: copy.swap(*copy.of_type(ToolCallAttemptEvent)[3:5])),
    "one doubled": (0, lambda copy: copy.added.append(copy.messages[an_event(copy)])),
    "one doubled and changed": (1, lambda copy: copy.added.append(copy.edited(an_event(copy)))),
    "one forged behind the end": (
        1,
        lambda copy: copy.added.append(copy.edited(an_event(copy), copy.last + 1)),
    ),
    "a key changed": (1, lambda copy: copy.replace(an_event(copy), key=b"somebody else")),
    "headers changed": (1, lambda copy: copy.replace(an_event(copy), headers=[("ce_id", b"x")])),
    "headers left out": (0, lambda copy: copy.replace(an_event(copy), headers=[])),
}


@pytest.fixture(scope="module")
def closed(broker: Broker, pytestconfig: pytest.Config) -> list[Stored]:
    """The messages of a closed stream with some checkpoints."""
    prefix = f"{pytestconfig.stash[RUN].id}-closed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auditwire.stream.CHECKPOINT_RECORDS", 20)
        with collector(broker, prefix) as kafka:
            for _ in range(5):
                emit(kafka, 10)
                kafka.flush(SOON)
    messages = everything(broker, prefix)
    assert len({as_record(message).stream_id for message in messages}) == 1
    assert sum(message.topic.endswith(".checkpoint") for message in messages) > 3
    return messages


@pytest.mark.needs("create_topics")
@pytest.mark.parametrize("what", MUTATIONS)
def test_both_see_the_same_in_a_changed_copy(
    broker: Broker, prefix: str, verifier: Path, closed: list[Stored], what: str
) -> None:
    status, change = MUTATIONS[what]
    copy = Copy({as_record(message).sequence: message for message in closed}, [])
    change(copy)
    put(broker, prefix, [*copy.messages.values(), *copy.added])
    found, (report,) = agreed(verifier, broker, prefix)
    assert (found, report["verdict"] == "fault") == (status, status == 1), report
    assert report["records"] == len(copy.messages) + (what == "one forged behind the end")
