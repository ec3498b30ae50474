"""The collector without a Kafka client: what it leaves on the disk, and how its process may end."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest
from journal_trail import records_in, reports_of

from auditwire import AuditEmitter, CollectorClosed, ConfigurationError, JournalCollector, KafkaCollector
from auditwire.collectors.journals import DiskJournals
from auditwire.errors import EncodingError, FlushTimeout, JournalFull
from auditwire.events import CheckpointEvent, ErrorEvent, LossEvent
from auditwire.journal.cursor import Cursor
from auditwire.journal.disk import MIN_CAPACITY
from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath
from auditwire.journal.target import Target
from auditwire.stream import entries_of
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from pathlib import Path

    from auditwire.reading import Record

NOBODY = "127.0.0.1:1"


def checkpoints(records: list[Record]) -> list[CheckpointEvent]:
    return [record.event for record in records if isinstance(record.event, CheckpointEvent)]


def run(script: str, *arguments: str, code: int = 0) -> str:
    """The standard output of a Python process that says nothing on stderr but what it ends with."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "auditwire:" not in done.stderr
    return done.stdout


# -- what it writes ----------------------------------------------------------------------------------------


def test_everything_emitted_is_in_one_whole_and_closed_stream(tmp_path: Path) -> None:
    with JournalCollector(tmp_path, service="tests") as collector:
        audit = AuditEmitter(collector, session_id="s", on_error="raise")
        for number in range(2_500):
            audit.emit_error("kind", str(number))
    records = records_in(tmp_path)
    (report,) = check = reports_of(tmp_path)
    assert report.verdict == "complete", report.to_dict()
    assert [r.stream_id for r in check] == [collector.stream_id]
    messages = [r.event.error_message for r in records if isinstance(r.event, ErrorEvent)]
    assert messages == [str(number) for number in range(2_500)]
    reasons = [c.reason for c in checkpoints(records)]
    assert (reasons[0], reasons[-1]) == ("open", "close")
    assert set(reasons[1:-1]) == {"interval"}
    info = JournalPath(REAL, str(tmp_path)).open_stream(collector.stream_id).info()
    assert info is not None
    assert info["service"] == "tests"
    assert info["target"] == {"bootstrap": "", "prefix": "audit"}
    assert info["delivers"] is False
    assert info["pid"] == os.getpid()


def test_topics_keys_and_the_source_are_as_they_were_set(tmp_path: Path) -> None:
    options: dict[str, Any] = {"prefix": "own", "topics": {"error": "all-errors"}, "source": "urn:me"}
    with JournalCollector(tmp_path / "a", **options) as collector:
        collector.emit(ErrorEvent(session_id="s-7"))
        collector.emit(ErrorEvent())
    first, error, other, last = records_in(tmp_path / "a")
    assert [first.topic, error.topic, last.topic] == ["own.checkpoint", "all-errors", "own.checkpoint"]
    assert error.key == b"s-7"
    assert other.key == first.key == collector.stream_id.encode()
    assert dict(error.headers)["ce_source"] == b"urn:me"
    with JournalCollector(tmp_path / "b", headers="none"):
        pass
    assert {tuple(record.headers) for record in records_in(tmp_path / "b")} == {()}


def test_its_control_records_are_those_that_a_kafka_collector_writes(tmp_path: Path) -> None:
    """Who delivers is to make no difference to who verifies."""

    def fill(collector: Any) -> None:
        audit = AuditEmitter(collector, on_error="raise")
        for number in range(1_700):
            audit.emit_tool_call_attempt(f"tool-{number}")
            if number % 10 == 0:
                audit.emit_error("kind", "text")
        with pytest.raises(EncodingError):
            collector.emit(object())

    own = JournalCollector(tmp_path / "own", service="svc", service_version="1", environment="test")
    sending = KafkaCollector(
        NOBODY, journal=tmp_path / "kafka", service="svc", service_version="1", environment="test"
    )
    for collector in (own, sending):
        fill(collector)
    own.close()
    with pytest.raises(FlushTimeout):
        sending.close(2.0)
    described = []
    for name in ("own", "kafka"):
        records = records_in(tmp_path / name)
        by_sequence = {record.sequence: record for record in records}
        listed: list[int] = []
        types = set()
        for checkpoint in checkpoints(records):
            for sequence, type_name, digest in entries_of(checkpoint):
                assert digest == by_sequence[sequence].digest
                assert (
                    type_name
                    == f"{by_sequence[sequence].event.event_type}:{by_sequence[sequence].fingerprint.hex()}"
                )
                listed.append(sequence)
            types |= set(checkpoint.types)
        assert listed == list(range(len(records) - 1))
        opening, closing = checkpoints(records)[0], checkpoints(records)[-1]
        resource = json.loads(opening.resource)
        assert resource.pop("service.instance.id") == records[0].stream_id
        losses = [r.event for r in records if isinstance(r.event, LossEvent)]
        described.append(
            {
                "types": types,
                "resource": resource,
                "reasons": (opening.reason, closing.reason),
                "trail": {c.trail for c in checkpoints(records)},
                "previous": [c.previous for c in checkpoints(records) if c.previous],
                "parent": {c.parent_stream for c in checkpoints(records)},
                "acknowledged": {c.acknowledged for c in checkpoints(records)},
                "topics": {record.topic for record in records},
                "losses": [(loss.reason, loss.count) for loss in losses],
            }
        )
    assert described[0] == described[1]


def test_a_checkpoint_says_what_the_process_that_delivers_has_acknowledged(tmp_path: Path) -> None:
    collector = JournalCollector(tmp_path)
    for _ in range(50):
        collector.emit(ErrorEvent())
    directory = JournalPath(REAL, str(tmp_path)).open_stream(collector.stream_id)
    assert directory.take_sender() is not None  # it is for whoever delivers
    cursor = Cursor.open(REAL, directory.cursor_path, writable=True)
    cursor.write(31, 0, 0)
    cursor.close()
    collector.close()
    assert checkpoints(records_in(tmp_path))[-1].acknowledged == 31


def test_a_second_collector_on_the_path_names_the_stream_that_ended_before_it(tmp_path: Path) -> None:
    line = f"01890a5d-ac96-774b-bcce-b302099a8057:7:{'ab' * 32}"
    path = JournalPath(REAL, str(tmp_path))
    path.note_ended(line)
    with JournalCollector(tmp_path) as collector:
        collector.flush()
    assert checkpoints(records_in(tmp_path))[0].previous == [line]
    assert path.ended() == []


def test_it_loads_no_kafka_client(tmp_path: Path) -> None:
    said = run(
        """
        import sys
        from auditwire import AuditEmitter, JournalCollector
        with JournalCollector(sys.argv[1]) as collector:
            AuditEmitter(collector).emit_error("a", "b")
            collector.flush()
        print([name for name in sys.modules if name.startswith("confluent_kafka")])
        """,
        str(tmp_path),
    )
    assert said == "[]\n"


# -- flush, close, refusals --------------------------------------------------------------------------------


def test_a_flush_returns_when_everything_is_synchronised(tmp_path: Path) -> None:
    collector = JournalCollector(tmp_path, sync="never")
    for _ in range(100):
        collector.emit(ErrorEvent())
    assert collector.abandoned()
    collector.flush()
    assert collector.abandoned() == 0
    asyncio.run(collector.aflush())
    asyncio.run(collector.aclose())
    assert reports_of(tmp_path)[0].verdict == "complete"


def test_a_disk_that_does_not_confirm_makes_flush_and_close_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = JournalCollector(tmp_path, sync="never")
    collector.emit(ErrorEvent())

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", refuse)
    with pytest.raises(FlushTimeout, match=r"could not be synchronised .*Input/output error") as caught:
        collector.flush()
    assert caught.value.pending == 2
    assert caught.value.durable is False
    with pytest.raises(FlushTimeout, match="Input/output error"):
        collector.close()
    assert reports_of(tmp_path)[0].verdict == "complete"  # all the same, as long as the power stays on


def test_a_full_journal_refuses_and_the_losses_are_declared(tmp_path: Path) -> None:
    collector = JournalCollector(tmp_path, journal_bytes=MIN_CAPACITY, on_full="drop_newest", sync="never")
    with pytest.raises(JournalFull):  # noqa: PT012 - after some
        while True:
            collector.emit(ErrorEvent(error_message="x" * 50_000))
    for _ in range(24):
        with pytest.raises(JournalFull):
            collector.emit(ErrorEvent(error_message="x" * 50_000))
    collector.close()
    records = records_in(tmp_path)
    assert sum(r.event.count for r in records if isinstance(r.event, LossEvent)) == 25
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= MIN_CAPACITY
    (report,) = reports_of(tmp_path)
    assert report.declared_lost == 25
    assert {fault.kind for fault in report.faults} == {"declared_loss"}
    assert report.closed


def test_health_tells_what_another_process_has_delivered_and_what_waits_for_it(tmp_path: Path) -> None:
    with JournalCollector(tmp_path, journal_bytes=MIN_CAPACITY) as collector:
        for number in range(5):
            collector.emit(ErrorEvent(error_message=str(number)))
        waiting = collector.health()
        assert (waiting.state, waiting.accepted, waiting.delivered) == ("ok", 5, 0)
        assert (waiting.control, waiting.pending_records) == (1, 6)
        assert waiting.pending_bytes > 0
        assert waiting.journal_used_bytes > 0
        assert waiting.capacity_bytes == MIN_CAPACITY
        collector.flush()
        assert collector.health().unsynced_records == 0
        cursor = Cursor.open(REAL, str(tmp_path / collector.stream_id / "cursor"), writable=True)
        cursor.write(4, 1, 0)  # as a forwarder that has delivered the checkpoint and three events
        cursor.close()
        told = collector.health()
        assert (told.delivered, told.pending_records) == (3, 2)
        assert collector.metrics()["events.delivered"] == 3
    assert collector.health().state == "closed"


def test_health_says_why_the_disk_refuses(tmp_path: Path) -> None:
    with JournalCollector(tmp_path, on_full="drop_newest") as collector:
        journal: Any = collector._stream.journal
        journal._writer._maker.problem = "OSError: [Errno 28] No space left on device"
        told = collector.health()
        assert told.state == "failing"
        assert "No space left" in told.journal_problem
        journal._writer._maker.problem = None
        collector._stream.notes.lost("journal_full")
        assert collector.health().state == "degraded"


def test_a_closed_collector_refuses(tmp_path: Path) -> None:
    collector = JournalCollector(tmp_path)
    collector.close()
    collector.close()
    with pytest.raises(CollectorClosed):
        collector.emit(ErrorEvent())
    assert len(records_in(tmp_path)) == 2


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"headers": "xml"}, "headers"),
        ({"on_full": "panic"}, "on_full"),
        ({"sync": "sometimes"}, "sync"),
        ({"journal_bytes": MIN_CAPACITY - 1}, "journal_bytes"),
        ({"journal_bytes": "many"}, "journal_bytes"),
        ({"journal_group": "no-such-group"}, "journal_group"),
        ({"full_timeout": -1}, "full_timeout"),
        ({"exit_timeout": None}, "exit_timeout"),
        ({"prefix": "not a topic"}, "prefix"),
        ({"topics": {"nonsense": "x"}}, "topics['nonsense']"),
        ({"path": __file__}, "journal"),
        ({"path": f"{__file__}/below"}, "journal"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_leaves_nothing(
    arguments: dict[str, Any], key: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        JournalCollector(**{"path": tmp_path, **arguments})
    assert caught.value.key == key
    assert JournalPath(REAL, str(tmp_path)).streams() == []


def test_a_directory_that_cannot_be_made_for_want_of_room_is_refused_by_name() -> None:
    fs = SimulatedFileSystem()
    fs.fail("mkdir", errno.ENOSPC)
    with pytest.raises(ConfigurationError, match="No space left on device") as caught:
        DiskJournals("/journal", Target("", "audit"), fs=fs)
    assert caught.value.key == "journal"


def test_it_says_what_it_is(tmp_path: Path) -> None:
    with JournalCollector(tmp_path, prefix="own") as collector:
        assert repr(collector) == f"<JournalCollector {tmp_path} prefix='own'>"
        assert collector.durable


def test_threads_emit_and_flush_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    collector = JournalCollector(tmp_path, sync="always")

    def emit(number: int) -> None:
        for count in range(150):
            collector.emit(ErrorEvent(error_type=str(number), error_message=str(count)))
            if count % 50 == number:
                collector.flush()

    threads = [threading.Thread(target=emit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    collector.close()
    assert reports_of(tmp_path)[0].verdict == "complete"
    for number in range(4):
        mine = [
            r.event.error_message
            for r in records_in(tmp_path)
            if isinstance(r.event, ErrorEvent) and r.event.error_type == str(number)
        ]
        assert mine == [str(count) for count in range(150)]


# -- the ends and the splits of a process ------------------------------------------------------------------

BEGIN = """
    import multiprocessing, os, signal, sys
    from auditwire import JournalCollector
    from auditwire.events import ErrorEvent

    def emit(count, agent):
        for number in range(count):
            collector.emit(ErrorEvent(agent_id=agent, error_message=str(number)))

    collector = JournalCollector(sys.argv[1], service="tests")
"""


def agents_in(path: Path) -> dict[str, dict[str | None, int]]:
    """Stream -> agent -> events."""
    found: dict[str, dict[str | None, int]] = {}
    for record in records_in(path):
        agents = found.setdefault(record.stream_id, {})
        if isinstance(record.event, ErrorEvent):
            agents[record.event.agent_id] = agents.get(record.event.agent_id, 0) + 1
    return found


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("pass", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError('unhandled')", 1),
        ("collector = None; import gc; gc.collect()", 0),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); os.kill(os.getpid(), signal.SIGTERM)", 0),
    ],
)
def test_a_process_that_forgets_to_close_leaves_a_closed_stream(tmp_path: Path, end: str, code: int) -> None:
    run(f"{BEGIN}\n    emit(1_000, 'parent')\n    {end}\n", str(tmp_path), code=code)
    (report,) = reports_of(tmp_path)
    assert report.verdict == "complete"
    assert list(agents_in(tmp_path).values()) == [{"parent": 1_000}]


def test_a_process_that_ends_at_once_leaves_what_it_accepted_and_an_open_stream(tmp_path: Path) -> None:
    for end in ("os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"):
        path = tmp_path / end[:8]
        run(f"{BEGIN}\n    emit(1_000, 'parent')\n    {end}\n", str(path), code=0 if "_exit" in end else -9)
        (report,) = reports_of(path)
        assert (report.closed, report.faults, report.missing) == (False, [], [])
        assert list(agents_in(path).values()) == [{"parent": 1_000}]


def test_forked_children_have_streams_of_their_own_that_name_their_parents(tmp_path: Path) -> None:
    run(
        BEGIN
        + """
    emit(10, "parent")
    pid = os.fork()
    if pid == 0:
        emit(20, "child")
        grandchild = os.fork()
        if grandchild == 0:
            emit(30, "grandchild")
            sys.exit(0)
        os.waitpid(grandchild, 0)
        emit(1, "child")
        collector.close()
        os._exit(0)
    silent = os.fork()
    if silent == 0:
        sys.exit(0)
    os.waitpid(pid, 0)
    os.waitpid(silent, 0)
    emit(10, "parent")
    """,
        str(tmp_path),
    )
    agents = agents_in(tmp_path)
    assert sorted(map(str, agents.values())) == ["{'child': 21}", "{'grandchild': 30}", "{'parent': 20}"]
    assert {report.verdict for report in reports_of(tmp_path)} == {"complete"}
    stream_of = {agent: stream for stream, found in agents.items() for agent in found}
    assert {
        record.stream_id: record.event.parent_stream
        for record in records_in(tmp_path)
        if isinstance(record.event, CheckpointEvent) and record.event.reason == "open"
    } == {
        stream_of["parent"]: None,
        stream_of["child"]: stream_of["parent"],
        stream_of["grandchild"]: stream_of["child"],
    }


def test_the_children_of_multiprocessing_close_their_streams_too(tmp_path: Path) -> None:
    run(
        BEGIN
        + """
    process = multiprocessing.get_context("fork").Process(target=emit, args=(100, "child"))
    process.start()
    process.join()
    assert process.exitcode == 0
    emit(10, "parent")
    """,
        str(tmp_path),
    )
    assert sorted(map(str, agents_in(tmp_path).values())) == ["{'child': 100}", "{'parent': 10}"]
    assert {report.verdict for report in reports_of(tmp_path)} == {"complete"}
