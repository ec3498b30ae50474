from __future__ import annotations

import gzip
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from auditwire import AuditEmitter
from auditwire.cli import replay_output, replay_run
from auditwire.cli.app import app, run
from auditwire.cli.replay_words import size
from auditwire.collectors.kafka import KafkaCollector
from auditwire.errors import BrokerError, SinkError
from auditwire.events import ALL_TYPES, CONTROL_TYPES
from auditwire.reading import Reader, Record
from auditwire.replaying import target as replay_target
from auditwire.replaying.copying import KafkaCopy
from auditwire.replaying.lines import FileLines
from auditwire.replaying.replay import Replay
from auditwire.replaying.target import Cluster, Topics
from auditwire.verification import check_streams
from auditwire.wire import frame_single_object, topic_name
from support.stream_builder import StreamBuilder

if TYPE_CHECKING:
    from auditwire.testing import EmbeddedBroker

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")

Capsys = pytest.CaptureFixture[str]
NOWHERE = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def quick_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded broker does not describe its topics, and is not waited for five seconds."""
    monkeypatch.setattr(replay_target, "DESCRIBE_SECONDS", 0.1)


@pytest.fixture
def full(audit_broker: EmbeddedBroker, trail: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The prefix of a trail of two sessions; broker and prefix stand in the environment, and it is cd'ed."""
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", audit_broker.bootstrap_servers)
    monkeypatch.setenv("AUDITWIRE_PREFIX", trail)
    monkeypatch.chdir(tmp_path)
    collector = KafkaCollector(audit_broker.bootstrap_servers, prefix=trail, create_topics=False)
    with AuditEmitter(collector, "s-1", agent_id="planner") as audit:
        for session in (audit, audit.for_session("s-2")):
            with session.turn(prompt="hello"), session.tool_call("search") as call:
                call.result = "ø"
    return trail


@pytest.fixture
def copy(audit_broker: EmbeddedBroker, full: str) -> str:
    """The prefix of an empty trail beside it."""
    audit_broker.create_topics(prefix=f"{full}-copy", partitions=2)
    return f"{full}-copy"


def records(broker: EmbeddedBroker, prefix: str) -> list[Record]:
    with Reader(broker.bootstrap_servers, prefix=prefix) as reader:
        return sorted(reader, key=lambda record: (record.stream_id, record.sequence))


def lines(path: Path | str) -> list[dict[str, Any]]:
    data = Path(path).read_bytes()
    text = gzip.decompress(data) if str(path).endswith(".gz") else data
    return [json.loads(line) for line in text.splitlines()]


def summary(capsys: Capsys, *arguments: str, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["replay", "--json", *arguments]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# -- lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_a_file_has_the_lines_that_tail_prints_in_the_order_of_their_numbers(
    full: str, capsys: Capsys, name: str
) -> None:
    assert run(["tail", "--no-follow", "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = summary(capsys, "--to", name)
    found = lines(name)
    assert sorted(found, key=lambda line: line["sequence"]) == sorted(
        printed, key=lambda line: line["sequence"]
    )
    assert [line["sequence"] for line in found] == list(range(len(found)))
    assert (said["records"], said["streams"], said["complete"], said["error"]) == (len(found), 1, True, None)
    assert said["output"]["bytes"] == Path(name).stat().st_size


def test_lines_on_stdout_can_be_shipped_and_arrive_as_they_were(
    audit_broker: EmbeddedBroker, full: str, copy: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stdout)
        assert run(["replay", "--to", "-"]) == 0
    piped = stdout.buffer.getvalue()
    assert b"\xc3\xb8" in piped
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "records of 1 stream to stdout, " in captured.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
    assert run(["ship", "-", "--prefix", copy]) == 0
    one, two = (
        [
            record.event
            for record in records(audit_broker, name)
            if record.event.event_type not in CONTROL_TYPES
        ]
        for name in (full, copy)
    )
    assert one == two
    assert len(one) == 8


def test_filters_choose_what_is_written(full: str, capsys: Capsys) -> None:
    for arguments, count in (
        (["--session", "s-1"], 4),
        (["--type", "turn_start"], 2),
        (["--session", "s-2", "--type", "turn_start"], 1),
        (["--where", "tool_name=search"], 4),
        (["--since", "1h", "--agent", "planner"], 8),
    ):
        assert summary(capsys, *arguments, "--to", f"{count}-{arguments[1]}")["records"] == count
        assert len(lines(f"{count}-{arguments[1]}")) == count


def test_nothing_to_replay_is_status_four_and_can_be_asked_for_again(
    audit_broker: EmbeddedBroker, full: str, capsys: Capsys
) -> None:
    arguments = ["replay", "--session", "s-3", "--to", "out", "--resume", "state"]
    assert run(arguments) == 4
    assert capsys.readouterr().out.startswith("Nothing to replay: ")
    assert run(["replay", "--prefix", "no-such", "--to", "none"]) == 4
    collector = KafkaCollector(audit_broker.bootstrap_servers, prefix=full, create_topics=False)
    with AuditEmitter(collector, "s-3") as audit:
        audit.emit_error("E")
    assert run(arguments) == 0
    assert [line["error_type"] for line in lines("out")] == ["E"]


def test_at_a_speed_records_come_one_by_one_with_pauses(
    full: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    class Watched(Replay):
        def __init__(self, *args: Any, **more: Any) -> None:
            made.append(more)
            super().__init__(*args, **more)

    monkeypatch.setattr(replay_run, "Replay", Watched)
    assert summary(capsys, "--to", "out", "--speed", "0.5X", "--max-pause", "0")["complete"]
    assert (made[0]["speed"], made[0]["max_pause"]) == (0.5, 0.0)
    assert len(lines("out")) == 10


# -- copies -------------------------------------------------------------------------------------------------


def test_a_copy_has_the_same_records_verifies_alike_and_agrees_with_its_manifest(
    audit_broker: EmbeddedBroker, full: str, copy: str, capsys: Capsys
) -> None:
    assert run(["replay", "--to-prefix", copy]) == 0
    captured = capsys.readouterr()
    assert "10 acknowledged" in captured.out
    assert f"manifest: auditwire-replay-{copy}.json" in captured.out
    assert "topics that were there keep what they hold" in captured.err
    assert "does not describe its topics' settings" in captured.err
    one, two = records(audit_broker, full), records(audit_broker, copy)
    for before, after in zip(one, two, strict=True):
        assert after.value == before.value
        assert (after.key, after.headers) == (before.key, before.headers)
        assert (after.timestamp_ms, after.partition) == (before.timestamp_ms, before.partition)
        assert after.topic == before.topic.replace(full, copy)
    (source,), (target,) = (check_streams(some, settled=True) for some in (one, two))
    assert target.to_dict() == source.to_dict()
    assert target.verdict == "complete"
    assert run(["replay", "--check", f"auditwire-replay-{copy}.json"]) == 0
    assert (
        capsys.readouterr().out == "The copy has the 10 records of 1 stream of its manifest, each unchanged\n"
    )


def test_the_manifest_says_what_was_asked_for_and_what_was_left_out(
    audit_broker: EmbeddedBroker, full: str, copy: str, capsys: Capsys
) -> None:
    producer = Producer({"bootstrap.servers": audit_broker.bootstrap_servers})
    producer.produce(f"{full}.error", b"what?")
    assert producer.flush(30) == 0
    said = summary(capsys, "--since", "2h", "--session", "s-1", "--to-prefix", copy, "--manifest", "m.json")
    manifest = json.loads(Path("m.json").read_text())
    assert said["manifest"] == "m.json"
    assert said["undecodable"] == manifest["left_out"]["undecodable"] == {"foreign": 1}
    assert manifest["selection"]["session"] == ["s-1"]
    assert manifest["selection"]["since"] == "2h"
    assert manifest["selection"]["since_ms"] > 1_700_000_000_000
    assert (manifest["source"]["prefix"], manifest["target"]["prefix"]) == (full, copy)
    assert manifest["source"]["cluster_id"] == manifest["target"]["cluster_id"] is not None
    assert manifest["records"] == 4
    assert summary(capsys, "--check", "m.json")["differences"] == []


def test_records_with_one_number_that_differ_are_both_copied_so_that_the_fault_stays_one(
    audit_broker: EmbeddedBroker, full: str, copy: str, capsys: Capsys
) -> None:
    one = records(audit_broker, full)
    producer = Producer({"bootstrap.servers": audit_broker.bootstrap_servers})
    same, forged = one[1], one[2]
    body = forged.value.replace(b"planner", b"plumber")
    for record, value in ((same, same.value), (forged, body)):
        producer.produce(record.topic, value, record.key, record.partition, timestamp=record.timestamp_ms)
    assert producer.flush(30) == 0
    assert summary(capsys, "--to-prefix", copy)["duplicates"] == 2
    reports = []
    for prefix in (full, copy):
        duplicates: list[Record] = []
        with Reader(audit_broker.bootstrap_servers, prefix=prefix, on_duplicate=duplicates.append) as reader:
            reports.append(check_streams([*reader, *duplicates], settled=True)[0])
    assert [report.verdict for report in reports] == ["fault", "fault"]
    assert [report.duplicates for report in reports] == [1, 1]
    assert [[fault.kind for fault in report.faults] for report in reports] == [["conflict"]] * 2
    assert summary(capsys, "--to", "out.jsonl")["duplicates"] == 2
    assert len(lines("out.jsonl")) == 10


def test_a_copy_that_lacks_a_record_or_has_another_is_not_as_its_manifest_says(
    audit_broker: EmbeddedBroker, full: str, copy: str, capsys: Capsys
) -> None:
    summary(capsys, "--to-prefix", copy, "--manifest", "m.json")
    lacking = f"{copy}-2"
    audit_broker.create_topics(prefix=lacking, partitions=2)
    summary(capsys, "--type", "turn_start", "--to-prefix", lacking, "--manifest", "other.json")
    said = summary(capsys, "--check", "m.json", "--to-prefix", lacking, status=1)
    assert (said["records"], said["found"], said["others"]) == (10, 2, 0)
    assert [difference["kind"] for difference in said["differences"]] == ["missing"]
    assert run(["replay", "--check", "m.json", "--to-prefix", lacking]) == 1
    captured = capsys.readouterr()
    assert captured.out == "The copy is not as its manifest says: 1 stream of 1 differ\n"
    assert "8 of 10 records are not there" in captured.err
    said = summary(capsys, "--check", "other.json", "--to-prefix", copy, status=1)
    assert (said["differences"][0]["kind"], said["found"]) == ("added", 5)


def test_a_copy_that_comes_slowly_is_waited_for(
    full: str, copy: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary(capsys, "--to-prefix", copy, "--manifest", "m.json")
    poll, calls = Reader.poll, []

    def every_second_time(self: Reader, timeout: float = 1.0) -> Record | None:
        calls.append(timeout)
        return poll(self, timeout) if len(calls) % 2 else None

    monkeypatch.setattr(Reader, "poll", every_second_time)
    assert summary(capsys, "--check", "m.json")["found"] == 10
    assert len(calls) >= 19


def test_an_empty_copy_is_status_four_and_other_records_are_said(
    audit_broker: EmbeddedBroker, full: str, copy: str, capsys: Capsys
) -> None:
    summary(capsys, "--to-prefix", copy, "--manifest", "m.json")
    empty = f"{copy}-empty"
    audit_broker.create_topics(prefix=empty)
    assert run(["replay", "--check", "m.json", "--to-prefix", empty]) == 4
    assert f"nothing of the 10 records of 1 stream is on the topics {empty}.*" in capsys.readouterr().err
    collector = KafkaCollector(audit_broker.bootstrap_servers, prefix=copy, create_topics=False)
    with AuditEmitter(collector, "s-9"):
        pass
    assert run(["replay", "--check", "m.json"]) == 0
    assert "  2 other records there, of which the manifest says nothing\n" in capsys.readouterr().out


def test_of_many_differences_the_first_are_named(full: str, capsys: Capsys) -> None:
    stream = {"first": 0, "last": 0, "records": 1, "digest": "00" * 32}
    assert run(["replay", "--to-prefix", f"{full}-x", "--no-create-topics"]) == 1  # for its sentence
    assert f"topic {full}-x." in capsys.readouterr().err
    with Reader(os.environ["AUDITWIRE_BOOTSTRAP_SERVERS"], prefix=full) as reader:
        known = next(iter(reader)).stream_id
    manifest = {
        "format": "auditwire replay manifest",
        "version": 1,
        "target": {"prefix": full},
        "records": 31,
        "first_timestamp_ms": None,
        "untimed": 0,
        "streams": {known: stream, **{f"s{n}": stream for n in range(30)}},
    }
    Path("m.json").write_text(json.dumps(manifest))
    assert run(["replay", "--check", "m.json"]) == 1
    captured = capsys.readouterr()
    assert "... and 11 more streams; --json names all of them" in captured.err
    assert "31 streams of 31 differ" in captured.out


def test_the_topics_that_are_read_are_not_written_to(
    full: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["--to-prefix", full], ["--to-bootstrap", os.environ["AUDITWIRE_BOOTSTRAP_SERVERS"]]):
        assert run(["replay", *arguments]) == 2
        assert f"--to-prefix: the topics {full}.* of this cluster are read" in capsys.readouterr().err
    monkeypatch.setattr(replay_run, "look", lambda *_: Cluster(None, {}, 1))
    assert run(["replay", "--to-prefix", full]) == 2
    assert "a cluster does not tell its id" in capsys.readouterr().err


def test_another_cluster_may_have_the_same_prefix(full: str, capsys: Capsys) -> None:
    from auditwire.testing import EmbeddedBroker

    with EmbeddedBroker(prefix=full, partitions=2) as other:
        there = ["--to-bootstrap", other.bootstrap_servers]
        assert summary(capsys, *there, "--manifest", "m.json")["records"] == 10
        assert summary(capsys, "--check", "m.json", *there)["found"] == 10
        assert len(records(other, full)) == 10


# -- how far ------------------------------------------------------------------------------------------------


def interrupt_after(monkeypatch: pytest.MonkeyPatch, kind: Any, count: int, number: int) -> None:
    """Send this process a signal while the record of that count is written."""
    write = kind.write
    written = []

    def interrupted(self: Any, record: Record) -> None:
        write(self, record)
        written.append(record)
        if len(written) == count:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(kind, "write", interrupted)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_file_is_gone_on_with_after_ctrl_c_and_sigterm(
    full: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    arguments = ["--to", "out.jsonl", "--resume", "state"]
    with monkeypatch.context() as patched:
        interrupt_after(patched, FileLines, 4, number)
        assert run(["replay", *arguments]) == status
    captured = capsys.readouterr()
    assert captured.out.startswith("4 records of 1 stream to ")
    assert "not complete: the same command goes on from state" in captured.err
    assert len(lines("out.jsonl")) == 4
    with Path("out.jsonl").open("a") as file:
        file.write("part of a li")
    assert run(["replay", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("6 records of 1 stream to ")
    assert "4 records before, in 1 earlier run" in captured.out
    assert [line["sequence"] for line in lines("out.jsonl")] == list(range(10))
    before = Path("out.jsonl").stat()
    assert run(["replay", *arguments]) == 0
    assert capsys.readouterr().out.startswith("Already done: 10 records of 1 stream were replayed.")
    assert summary(capsys, *arguments)["already_done"]
    assert Path("out.jsonl").stat() == before


def test_a_copy_is_gone_on_with_and_its_manifest_has_everything(
    audit_broker: EmbeddedBroker, full: str, copy: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--to-prefix", copy, "--resume", "state"]
    with monkeypatch.context() as patched:
        interrupt_after(patched, KafkaCopy, 4, signal.SIGINT)
        said = summary(capsys, *arguments, status=130)
    assert (said["records"], said["output"], said["manifest"]) == (
        4,
        {"acknowledged": 4, "untimed": 0},
        None,
    )
    manifest = Path(f"auditwire-replay-{copy}.json")
    assert not manifest.exists()
    said = summary(capsys, *arguments)
    assert (said["records"], said["resumed_after"], said["output"]["acknowledged"]) == (10, 4, 10)
    content = json.loads(manifest.read_text())
    assert (content["records"], content["runs"], content["crashes"]) == (10, 2, 0)
    assert len(records(audit_broker, copy)) == 10
    assert summary(capsys, "--check", str(manifest))["found"] == 10


def test_a_run_that_died_is_counted_and_what_it_wrote_twice_is_harmless(
    audit_broker: EmbeddedBroker, full: str, copy: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(self: Any) -> NoReturn:
        settle(self)
        raise Died

    settle = KafkaCopy.settle
    arguments = ["--to-prefix", copy, "--resume", "state", "--manifest", "m.json"]
    with monkeypatch.context() as patched:
        patched.setattr(KafkaCopy, "finish", die)  # all is written, and nothing remembered
        with pytest.raises(Died):
            run(["replay", *arguments])
    assert json.loads(Path("state").read_text())["status"] == "running"
    assert summary(capsys, *arguments)["records"] == 10
    assert json.loads(Path("m.json").read_text())["crashes"] == 1
    duplicates: list[Record] = []
    with Reader(audit_broker.bootstrap_servers, prefix=copy, on_duplicate=duplicates.append) as reader:
        (report,) = check_streams([*reader, *duplicates], settled=True)
    assert (report.verdict, report.duplicates) == ("complete", 10)
    assert summary(capsys, "--check", "m.json")["differences"] == []


def test_what_was_missing_late_or_doubled_is_said(
    audit_broker: EmbeddedBroker, trail: str, capsys: Capsys, tmp_path: Path
) -> None:
    producer = Producer({"bootstrap.servers": audit_broker.bootstrap_servers})
    for record in StreamBuilder().turns(6).without(3):
        value = frame_single_object(record.fingerprint, record.body)
        topic = topic_name(trail, record.event.event_type)
        producer.produce(topic, value, record.key, timestamp=record.timestamp_ms)
    assert producer.flush(30) == 0
    where = ["-b", audit_broker.bootstrap_servers, "--prefix", trail]
    arguments = ["replay", *where, "--to", str(tmp_path / "out"), "--resume", str(tmp_path / "state")]
    assert run(arguments) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("6 records of 1 stream to ")
    assert rest == ["  1 gap: numbers that are not there; auditwire verify judges"]
    state = json.loads((tmp_path / "state").read_text())
    state["tally"]["late"], state["status"], state["runs"] = 2, "ended", 2
    (tmp_path / "state").write_text(json.dumps(state))
    assert run(arguments) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  6 records before, in 2 earlier runs",
        "  1 gap: numbers that are not there; auditwire verify judges",
        "  2 records out of order: they came after they were given up",
    ]


def test_topics_that_are_made_are_said(
    full: str, copy: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepared(_admin: Any, _address: str, wanted: dict[str, int], **_: Any) -> Topics:
        return Topics(wanted, made=tuple(wanted))

    monkeypatch.setattr(replay_output, "prepare", prepared)
    assert run(["replay", "--to-prefix", copy, "--retention-days", "7"]) == 0
    err = capsys.readouterr().err
    assert err == f"auditwire: {len(ALL_TYPES)} topics made, which keep records for 7 days\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1_000, "1.0 kB"), (4_234_567, "4.2 MB"), (10**16, "10000.0 TB")],
)
def test_sizes_are_said_with_three_digits_or_so(count: int, text: str) -> None:
    assert size(count) == text


def test_without_a_state_an_interrupted_run_says_how_it_could_have_been_gone_on_with(
    full: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        interrupt_after(patched, FileLines, 4, signal.SIGINT)
        assert run(["replay", "--to", "out"]) == 130
    assert "--resume would have made it possible to go on" in capsys.readouterr().err


def test_a_second_signal_ends_it_at_once(full: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(self: FileLines, record: Record) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("not reached")

    monkeypatch.setattr(FileLines, "write", twice)
    assert run(["replay", "--to", "out"]) == 143
    assert capsys.readouterr().out == ""


def test_what_is_relative_to_now_stays_where_it_was_in_the_first_run(
    full: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--since", "2h", "--to", "out", "--resume", "state"]
    with monkeypatch.context() as patched:
        interrupt_after(patched, FileLines, 4, signal.SIGINT)
        summary(capsys, *arguments, status=130)
    state = json.loads(Path("state").read_text())
    state["began_us"] -= 100 * 3_600_000_000
    Path("state").write_text(json.dumps(state))
    asked: list[dict[str, Any]] = []

    def noted(*args: Any, **more: Any) -> Any:
        asked.append(more)
        return Reader(*args, **more)

    monkeypatch.setattr(replay_run, "Reader", noted)
    summary(capsys, *arguments)
    assert asked[0]["since"] == state["began_us"] // 1_000 - 2 * 3_600_000
    assert asked[0]["start"] == state["position"]
    assert len(lines("out")) == 10


def test_a_broker_that_goes_away_leaves_what_was_read_and_the_next_run_goes_on(
    full: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll = Reader.poll

    def fail(self: Reader, timeout: float = 1.0) -> Record | None:
        record = poll(self, timeout)
        if record is not None and record.sequence == 5:
            raise BrokerError("the broker is gone")
        return record

    arguments = ["--to", "out", "--resume", "state"]
    with monkeypatch.context() as patched:
        patched.setattr(Reader, "poll", fail)
        said = summary(capsys, *arguments, status=1)
    assert (said["records"], said["error"], said["complete"]) == (5, "the broker is gone", False)


def test_a_full_disk_is_status_one_and_the_state_before_stands(
    full: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: FileLines, record: Record) -> NoReturn:
        raise SinkError("out could not be written: No space left on device")

    arguments = ["--to", "out", "--resume", "state"]
    with monkeypatch.context() as patched:
        patched.setattr(FileLines, "write", refuse)
        assert run(["replay", *arguments]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert summary(capsys, *arguments)["records"] == 10


def test_a_reader_of_stdout_that_goes_away_ends_it_quietly(
    full: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stdout, monkeypatch.context() as patched:  # noqa: PTH123 - a descriptor
        patched.setattr(sys, "stdout", stdout)
        assert run(["replay", "--to", "-", "--speed", "1000000x"]) == 141
        assert capsys.readouterr().err == ""


# -- what a person sees -------------------------------------------------------------------------------------


def test_a_terminal_sees_a_bar_with_records_rate_and_time_left(
    full: str, copy: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    assert run(["replay", "--to-prefix", copy, "--json"]) == 0
    err = capsys.readouterr().err
    assert f"{copy}.* on " in err
    assert " records" in err
    assert "/s" in err


def test_help_has_examples_and_the_exit_statuses() -> None:
    result = CliRunner().invoke(app, ["replay", "--help"], env={"COLUMNS": "100", "TERM": "dumb"})
    assert result.exit_code == 0
    assert "auditwire replay --check copy.json" in result.output.partition("xample")[2]
    assert "4 when there was nothing to replay" in " ".join(result.output.split())


# -- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--to: say where to: a file, - for standard output, or"),
        (["--to", "a", "--to-prefix", "p"], "--to: contradicts --to-bootstrap and --to-prefix"),
        (["--to", "a", "--manifest", "m"], "--manifest: not with --to: it describes a copy on Kafka"),
        (["--to", "-", "--resume", "s"], "--resume: not with --to -: a pipe cannot be cut back"),
        (["--to", "-", "--json"], "--json: not with --to -: the lines stand on stdout"),
        (["--to", "a", "--resume", "./a"], "--resume: "),
        (["--to", "no/a"], "--to: there is no directory "),
        (["--to-prefix", "p", "--manifest", "no/m"], "--manifest: there is no directory "),
        (["--to", "a", "--speed", "fast"], "--speed: 'fast' is no speed: write 1x, 10x, 0.5x or max"),
        (["--to", "a", "--speed", "0x"], "--speed: '0x' is no speed"),
        (["--to", "a", "--max-pause", "1"], "--max-pause: there are no pauses without --speed"),
        (["--to", "a", "--type", "eror"], "--type: eror is no event type; did you mean error?"),
        (["--to-prefix", "p/q"], "--to-prefix: 'p/q' cannot begin a topic's name"),
        (["--to-prefix", "p", "--to-config", "none"], "--to-config: "),
        (["--check", "m", "--to", "a"], "--to: not with --check: it reads the whole copy"),
        (["--check", "m", "--session", "s"], "--session: not with --check"),
        (["--check", "m"], "--check: m cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused(
    audit_broker: EmbeddedBroker,
    tmp_path: Path,
    capsys: Capsys,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["replay", *arguments, "-b", audit_broker.bootstrap_servers]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_broker_has_to_be_named(capsys: Capsys, tmp_path: Path) -> None:
    assert run(["replay", "--to", str(tmp_path / "a")]) == 2
    assert "--bootstrap: no broker is named" in capsys.readouterr().err


def test_a_broker_that_is_away_is_said_and_nothing_is_made(capsys: Capsys, tmp_path: Path) -> None:
    arguments = ["--to", str(tmp_path / "a"), "--resume", str(tmp_path / "s"), "--timeout", "0.1"]
    assert run(["replay", *arguments, "-b", NOWHERE]) == 1
    assert f"no broker answered at {NOWHERE} within 0.1 s" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_another_replay_is_refused(full: str, capsys: Capsys) -> None:
    assert run(["replay", "--to", "out", "--resume", "state"]) == 0
    for arguments, what in ((["--to", "other"], "target"), (["--to", "out", "--session", "s"], "selection")):
        assert run(["replay", *arguments, "--resume", "state"]) == 2
        assert f"--resume: state is of another replay: its {what} was " in capsys.readouterr().err


def test_a_manifest_that_is_there_is_not_replaced(full: str, copy: str, capsys: Capsys) -> None:
    Path("m.json").write_text("mine")
    assert run(["replay", "--to-prefix", copy, "--manifest", "m.json"]) == 2
    assert "--manifest: m.json exists: it may be another copy's" in capsys.readouterr().err
    assert Path("m.json").read_text() == "mine"
