from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from auditwire import AuditEmitter
from auditwire.cli.app import run
from support.trails import CUT_OFF, Trail, told

if TYPE_CHECKING:
    from pathlib import Path

    from auditwire.testing import EmbeddedBroker

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def own(audit_broker: EmbeddedBroker, trail: str, monkeypatch: pytest.MonkeyPatch) -> Trail:
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", audit_broker.bootstrap_servers)
    monkeypatch.setenv("AUDITWIRE_PREFIX", trail)
    return Trail(audit_broker.bootstrap_servers, trail)


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def test_a_stream_that_vanished_since_the_last_check_is_a_fault(
    audit_broker: EmbeddedBroker, own: Trail, capsys: Captured, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = own.write()
    told(capsys, "--state", state)
    # the same trail without its topics: they were deleted and made anew, and somebody writes again
    from auditwire.testing import EmbeddedBroker as Another

    with Another() as other:
        other.create_topics(prefix=own.prefix, partitions=2)
        monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", other.bootstrap_servers)
        later = Trail(other.bootstrap_servers, own.prefix).write()
        streams, trail = told(capsys, "--state", state, status=1)
        assert {one["stream_id"]: one["verdict"] for one in streams} == {stream: "fault", later: "complete"}
        assert trail["faults"] == {"vanished": 1}
        gone = next(one for one in streams if one["stream_id"] == stream)
        assert gone["service"] == "planner"
        # and again: it is not forgotten
        assert told(capsys, "--state", state, status=1)[1]["faults"] == {"vanished": 1}
        # nor by a check that goes on from there
        assert told(capsys, "--state", state, "--incremental", status=1)[1]["faults"] == {"vanished": 1}


def test_an_incremental_check_reads_only_what_came_since(own: Trail, capsys: Captured, state: str) -> None:
    first = own.write(events=50)
    assert told(capsys, "--state", state, "--incremental")[1]["messages"] == 52
    assert told(capsys, "--state", state, "--incremental")[1]["messages"] == 0
    second = own.write(events=3)
    streams, trail = told(capsys, "--state", state, "--incremental")
    assert (trail["messages"], trail["notes"]) == (5, [])
    whole, _ = told(capsys)
    assert streams == whole
    assert [stream["stream_id"] for stream in streams] == sorted([first, second])


def test_an_incremental_check_judges_a_stream_as_one_that_reads_everything(
    own: Trail, capsys: Captured, state: str
) -> None:
    collector = own.collector()
    audit = AuditEmitter(collector, "s-1")
    audit.emit_turn_start(prompt="hello")
    collector.flush()
    told(capsys, "--state", state, "--incremental", status=3)
    for _ in range(1_500):  # a checkpoint lists a thousand
        audit.emit_turn_start(prompt="hello")
    collector.flush()
    for status in (3, 0):
        if not status:
            audit.close()
        streams, trail = told(capsys, "--state", state, "--incremental", status=status)
        assert trail["notes"] == []
        assert streams == told(capsys, status=status)[0]


def test_a_fault_that_came_since_is_found_and_not_forgotten(own: Trail, capsys: Captured, state: str) -> None:
    stream = own.write()
    told(capsys, "--state", state, "--incremental")
    own.forge(stream, 12)
    for messages in (1, 0):
        streams, trail = told(capsys, "--state", state, "--incremental", status=1)
        assert trail["messages"] == messages
        assert streams[0]["faults"][0]["kind"] == "after_close"
    own.forge(stream, 13)
    assert told(capsys, "--state", state, "--incremental", status=1)[1]["verdicts"] == {"fault": 1}
    assert told(capsys, "--state", state, status=1)[1]["messages"] == 14


def test_messages_that_are_no_records_are_not_forgotten(own: Trail, capsys: Captured, state: str) -> None:
    own.write()
    own.produce("error", CUT_OFF)
    for _ in range(3):
        trail = told(capsys, "--state", state, "--incremental", status=4)[1]
        assert trail["undecodable"] == {"truncated": 1}
    assert told(capsys, "--state", state, status=4)[1]["undecodable"] == {"truncated": 1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE partitions SET digest = zeroblob(32) WHERE last_offset >= 0", "another message at offset"),
        ("UPDATE partitions SET next_offset = 99, last_offset = 98", "was read to offset 99, and ends at"),
        ("INSERT INTO partitions VALUES ('gone', 0, NULL, 1, 0, NULL)", "gone [0] is gone"),
        ("UPDATE trail SET cluster = 'another'", "and was another"),
        (
            "UPDATE carried SET facts = x'00'; UPDATE trail SET judged_as = NULL",
            "another version of auditwire",
        ),
        ("DELETE FROM judged", "of 1 streams the state does not hold what it takes"),
    ],
)
def test_what_is_not_as_it_was_is_read_again_and_said(
    own: Trail, capsys: Captured, state: str, change: str, why: str
) -> None:
    own.write()
    told(capsys, "--state", state, "--incremental")
    with closing(sqlite3.connect(state)) as database:
        database.executescript(change)
    trail = told(capsys, "--state", state, "--incremental")[1]
    (note,) = trail["notes"]
    assert note.startswith("everything was read again: ")
    assert why in note
    assert trail["messages"] == 12
    assert told(capsys, "--state", state, "--incremental")[1]["messages"] == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE partitions SET digest = zeroblob(32) WHERE last_offset >= 0", "another message at offset"),
        ("INSERT INTO partitions VALUES ('gone', 0, NULL, 1, 0, NULL)", "gone [0] is gone"),
    ],
)
def test_several_processes_notice_it_too(
    own: Trail, capsys: Captured, state: str, change: str, why: str
) -> None:
    own.write()
    told(capsys, "--state", state, "--incremental")
    with closing(sqlite3.connect(state)) as database:
        database.execute(change)
        database.commit()
    trail = told(capsys, "--state", state, "--incremental", "--jobs", "2")[1]
    assert why in trail["notes"][0]
    assert trail["messages"] == 12
    own.write(events=1)
    streams, trail = told(capsys, "--state", state, "--incremental", "--jobs", "2")
    assert (len(streams), trail["messages"], trail["notes"]) == (2, 3, [])


def test_a_check_that_failed_leaves_the_state_as_it_was(
    own: Trail, capsys: Captured, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.write()
    told(capsys, "--state", state)
    with closing(sqlite3.connect(state)) as database:
        before = [*database.iterdump()]
    assert run(["verify", "--state", state, "-b", "127.0.0.1:1", "--timeout", "1"]) == 4
    with closing(sqlite3.connect(state)) as database:
        assert [*database.iterdump()] == before
