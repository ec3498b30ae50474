from __future__ import annotations

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


# -- what it says -------------------------------------------------------------------------------------------


def test_a_trail_whose_streams_are_closed_is_complete(own: Trail, capsys: Captured) -> None:
    ids = sorted([own.write("planner"), own.write("search", "s-2", events=3)])
    streams, trail = told(capsys)
    assert [stream["stream_id"] for stream in streams] == ids
    assert {stream["verdict"] for stream in streams} == {"complete"}
    assert {stream["service"]: stream["records"] for stream in streams} == {"planner": 12, "search": 5}
    assert {stream["service"]: stream["last_sequence"] for stream in streams} == {"planner": 11, "search": 4}
    assert (trail["records"], trail["messages"], trail["checkpoints"]) == (17, 17, 4)
    assert trail["verdicts"] == {"complete": 2}


def test_people_get_a_line_a_stream_and_a_sentence(own: Trail, capsys: Captured) -> None:
    stream = own.write()
    assert run(["verify"]) == 0
    captured = capsys.readouterr()
    header, line, conclusion = captured.out.splitlines()
    assert header.split() == ["stream", "service", "first", "last", "records", "chkpts", "verdict"]
    assert line.split() == [stream, "planner", "0", "11", "12", "2", "complete"]
    assert conclusion == "complete: 1 stream (1 complete), 12 records"
    assert captured.err == ""


def test_an_open_stream_is_not_provable_to_its_end_but_to_its_last_checkpoint(
    own: Trail, capsys: Captured
) -> None:
    collector = own.collector()
    audit = AuditEmitter(collector, "s-1")
    audit.emit_turn_start(prompt="hello")
    collector.flush()
    try:
        assert run(["verify"]) == 3
        out = capsys.readouterr().out
        assert "  not closed; 2 records listed by no checkpoint (records 0 to 1)" in out
        assert out.splitlines()[-1].startswith("nothing wrong, not provable to the end: 1 stream (1 open)")
        assert run(["verify", "--sealed"]) == 0
        assert "complete up to the last checkpoints: 1 stream (1 open)" in capsys.readouterr().out
    finally:
        audit.close()


def test_a_forged_record_is_a_fault_with_its_place(own: Trail, capsys: Captured) -> None:
    stream = own.write()
    own.forge(stream, 12)
    streams, trail = told(capsys, status=1)
    (fault,) = streams[0]["faults"]
    assert (fault["kind"], fault["sequence"], fault["topic"], fault["offset"]) == (
        "after_close",
        12,
        f"{own.prefix}.error",
        0,
    )
    assert trail["faults"] == {"after_close": 1}
    assert run(["verify"]) == 1
    out = capsys.readouterr().out
    assert "  after_close: 1 records, from 12 on, come after the closing checkpoint 11" in out
    assert f"    record    12 on {own.prefix}.error [{fault['partition']}] at offset 0" in out
    assert "at fault: 1 stream (1 fault)" in out


def test_a_record_that_was_doubled_differently_is_told_with_both_digests(
    own: Trail, capsys: Captured
) -> None:
    stream = own.write()
    own.forge(stream, 5)
    assert run(["verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    at = next(
        number for number, line in enumerate(lines) if line.startswith("  conflict: record 5 is there twice")
    )
    assert [line.split()[0] for line in lines[at + 1 : at + 4]] == ["record", "expected", "found"]
    assert len(lines[at + 2].split()[1]) == len(lines[at + 3].split()[1]) == 64


def test_nothing_found_is_never_complete(own: Trail, capsys: Captured) -> None:
    assert run(["verify"]) == 4
    assert capsys.readouterr().out == f"nothing found: no stream under the prefix {own.prefix}\n"
    assert told(capsys, status=4)[1]["streams"] == 0


@pytest.mark.parametrize(
    ("value", "status", "said"),
    [
        (b"what is this?", 0, "messages that are no records: foreign 1"),
        (None, 0, "messages that are no records: tombstone 1"),
        (CUT_OFF, 4, "messages that are no records: truncated 1"),
    ],
)
def test_a_message_that_may_have_been_a_record_leaves_the_trail_unproven(
    own: Trail, capsys: Captured, value: bytes | None, status: int, said: str
) -> None:
    own.write()
    own.produce("error", value)
    assert run(["verify"]) == status
    assert said in capsys.readouterr().out


def test_of_many_streams_those_at_fault_are_shown_and_the_others_counted(
    own: Trail, capsys: Captured
) -> None:
    ids = [own.write(events=1) for _ in range(22)]
    for stream in (ids[1], ids[21]):
        own.forge(stream, 3)
    assert run(["verify"]) == 1
    out = capsys.readouterr().out
    assert [name in out for name in ids] == [name in (ids[1], ids[21]) for name in ids]
    assert "at fault: 22 streams (20 complete, 2 fault), 68 records" in out
    assert run(["verify", "--all-streams"]) == 1
    out = capsys.readouterr().out
    assert all(name in out for name in ids)


def test_only_streams_of_a_session_are_told(own: Trail, capsys: Captured) -> None:
    own.write(session="s-1")
    stream = own.write(session="s-2")
    streams, trail = told(capsys, "--session", "s-2")
    assert [one["stream_id"] for one in streams] == [stream]
    assert trail["streams"] == 1
    assert told(capsys, "--session", "nobody", status=4)[0] == []


def test_an_expected_service_without_a_stream_is_a_fault(
    own: Trail, capsys: Captured, tmp_path: Path
) -> None:
    expect = tmp_path / "services"
    expect.write_text("planner\nsearch # since March\n")
    own.write("planner")
    assert run(["verify", "--expect", str(expect)]) == 1
    assert "service search is expected, and no stream is of it" in capsys.readouterr().out
    own.write("search")
    assert run(["verify", "--expect", str(expect)]) == 0


def test_the_first_fault_can_be_the_end(own: Trail, capsys: Captured) -> None:
    ids = [own.write(events=1) for _ in range(4)]
    own.forge(ids[1], 3)
    streams, trail = told(capsys, "--fail-fast", status=1)
    assert [one["stream_id"] for one in streams] == sorted(ids)[:2]
    assert trail["notes"] == ["the check ended at the first fault: other streams were not judged"]


def test_several_processes_find_the_same_as_one(own: Trail, capsys: Captured) -> None:
    ids = [own.write(events=5) for _ in range(6)]
    own.forge(ids[2], 7)
    own.forge(ids[4], 3)
    one, of_one = told(capsys, status=1)
    three, of_three = told(capsys, "--jobs", "3", status=1)
    assert three == one
    assert of_three == of_one
    assert [stream["verdict"] for stream in one].count("fault") == 2


# -- what cannot be checked ---------------------------------------------------------------------------------


def test_a_broker_that_is_not_there_is_no_verdict(capsys: Captured) -> None:
    assert run(["verify", "-b", "127.0.0.1:1", "--timeout", "1"]) == 4
    assert capsys.readouterr().err.startswith("auditwire: the check could not be made: 127.0.0.1:1")


def test_a_work_directory_that_cannot_be_used_is_no_verdict(
    own: Trail, capsys: Captured, tmp_path: Path
) -> None:
    own.write()
    assert run(["verify", "--work-directory", str(tmp_path / "none")]) == 4
    error = capsys.readouterr().err
    assert f"the facts could not be sorted in {tmp_path / 'none'}: No such file or directory" in error
    assert "--work-directory" in error


def test_a_bug_of_ours_is_no_verdict(own: Trail, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("auditwire.verification.verify_trail", broken)
    monkeypatch.setenv("AUDITWIRE_DEBUG", "1")
    assert run(["verify"]) == 4
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "the check could not be made: internal error: ZeroDivisionError: oops (AUDITWIRE_DEBUG=1" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--incremental"], "--incremental: needs --state"),
        (["--metrics", "127.0.0.1:0"], "--metrics: tells of a watch: give --watch, too"),
        (["--metrics-file", "x.prom"], "--metrics-file: tells of a watch"),
        (["--watch", "--since", "2h"], "--watch: checks whole trails"),
        (["--watch", "--session", "s-1"], "--watch: checks whole trails"),
        (["--state", "s", "--since", "2h"], "--state: remembers whole trails, and since asks for a part"),
        (
            ["--state", "s", "--session", "a"],
            "--state: remembers whole trails, and session_id asks for a part",
        ),
        (["--retention", "soon"], "--retention: 'soon' is no time"),
        (["--retention", "2999-01-01"], "--retention: 2999-01-01 is no duration; write 400d or 12h"),
        (["--since", "1h", "--until", "2h"], "--until: 2h does not lie after --since 1h"),
        (["--expect", "/none"], "--expect: /none cannot be read"),
        (["--jobs", "0"], "Invalid value for '--jobs' / '-j'"),
        (["--watch", "--metrics", "nowhere"], "--metrics: 'nowhere' is no HOST:PORT"),
    ],
)
def test_wrong_usage_is_status_2(
    capsys: Captured, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["verify", "-b", "127.0.0.1:1", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_help_says_what_each_status_means(capsys: Captured) -> None:
    assert run(["verify", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "Exits with 0 when",
        "; 1 when",
        "; 2 for wrong usage; 3 when",
        "; 4 when",
        "--retention 400d",
    ):
        assert part in text
