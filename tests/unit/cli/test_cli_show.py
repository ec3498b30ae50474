"""The command, against a real protocol; what it prints is tested beside it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from auditwire import AuditEmitter, KafkaCollector
from auditwire.cli import show_reading
from auditwire.cli.app import run
from auditwire.cli.filters import Filters
from auditwire.events import ErrorEvent
from auditwire.wire import FastavroEncoder, frame_single_object, join_body, schema_for, topic_name
from support.told import script

if TYPE_CHECKING:
    from auditwire.testing import EmbeddedBroker

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")

SESSION = "support-4711"


@pytest.fixture
def played(
    own_environment: None, audit_broker: EmbeddedBroker, trail: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The prefix of a trail with the example's session; broker and prefix stand in the environment."""
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", audit_broker.bootstrap_servers)
    monkeypatch.setenv("AUDITWIRE_PREFIX", trail)
    desk, payments = script().emitters(audit_broker.bootstrap_servers, prefix=trail, create_topics=False)
    with desk, payments:
        script().play(desk, payments)
        desk.for_session("another").emit_error("E", "of another session")
    return trail


@pytest.fixture
def without_a_record(
    own_environment: None, audit_broker: EmbeddedBroker, trail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trail with a session of which a record is not on the topics that are read."""
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", audit_broker.bootstrap_servers)
    monkeypatch.setenv("AUDITWIRE_PREFIX", trail)
    elsewhere = f"{trail}-elsewhere"
    audit_broker.create_topics(prefix=elsewhere, partitions=1)
    topics = {"error": topic_name(elsewhere, "error")}
    collector = KafkaCollector(
        audit_broker.bootstrap_servers, prefix=trail, create_topics=False, topics=topics
    )
    with AuditEmitter(collector, SESSION) as audit:
        audit.emit_turn_start("a", "t1", "hello")
        audit.emit_error("E", "gone")
        audit.emit_turn_end("a", "t1", "done")


def show(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert run(["show", *arguments]) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(show(capsys, SESSION, "--json", *arguments, status=status))
    return out


@pytest.mark.usefixtures("played")
def test_a_session_is_told_with_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    lines = show(capsys, SESSION).splitlines()
    assert lines[0] == "Session support-4711"
    assert "  agents       concierge, researcher, payments" in lines
    assert "  for          user dana@example.org" in lines
    assert lines[lines.index("Needs attention") + 1].endswith(
        "✗ track_parcel failed: TimeoutError: the carrier did not answer within 5 s"
    )
    tree = lines[lines.index("What happened") + 1 : lines.index("Trail") - 1]
    assert len([line for line in tree if "● " in line]) == 4
    assert any("│  │  ├─ ✓ run_python" in line for line in tree)
    assert "of another session" not in "\n".join(lines)
    assert lines[lines.index("Trail") + 1] == (
        "  ✓ Complete: the session is 56 records in 2 streams, and no record of these streams is missing or "
        "changed."
    )
    assert any("of support-desk: 35 records of the session, numbers 1 to 35" in line for line in lines)


@pytest.mark.usefixtures("played")
def test_json_has_the_tree_the_findings_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys)
    session, trail = out["session"], out["trail"]
    assert [(turn["agent_id"], turn["state"]) for turn in session["items"]] == [("concierge", "ended")] * 2
    assert session["totals"]["events"] == 56
    assert [finding["what"] for finding in session["findings"]][:2] == ["failed", "may be a loop"]
    assert (trail["verdict"], [s["verdict"] for s in trail["streams"]]) == ("complete", ["complete"] * 2)
    assert [s["service"] for s in trail["streams"]] == ["support-desk", "payments"]


@pytest.mark.usefixtures("played")
def test_without_a_verdict_the_streams_are_not_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--no-verdict")["trail"]["verdict"] == "unchecked"


@pytest.mark.usefixtures("played")
def test_a_limit_counts_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    session = told(capsys, "--limit", "10")["session"]
    assert (session["left_out"], session["totals"]["events"]) == (46, 56)
    assert "46 events more: counted above and not shown" in show(capsys, SESSION, "-n", "10")


@pytest.mark.usefixtures("without_a_record")
def test_a_record_that_is_missing_is_said_and_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    lines = show(capsys, SESSION, status=1).splitlines()
    assert lines[lines.index("Trail") + 1].startswith("  ✗ The trail is at fault: the stream that holds")
    assert "    record 2 is missing: a checkpoint says that the broker had them" in lines
    assert told(capsys, status=1)["trail"]["streams"][0]["gaps"] == [
        {"first": 2, "last": 2, "what": "missing"}
    ]


def test_an_unknown_session_is_status_4_and_a_sentence(
    played: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", "support-471", "--json"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(
        "auditwire: no event of session support-471 among 57 records of 18 topics "
    )
    assert f"topics {played}.* at" in captured.err


def test_a_prefix_without_topics_is_status_4_and_says_so(
    played: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", SESSION, "--prefix", f"{played}-none"]) == 4
    assert f"there are no topics {played}-none.* at" in capsys.readouterr().err


def test_an_empty_id_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", ""]) == 2
    assert "SESSION: it is empty" in capsys.readouterr().err


def test_a_broker_that_is_not_there_is_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditwire.cli.show_reading.ANSWER_SECONDS", 1.0)
    assert run(["show", SESSION, "-b", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err.startswith("auditwire: 127.0.0.1:1")


def test_messages_that_are_no_events_are_counted_once_each_time_they_are_read(
    audit_broker: EmbeddedBroker, played: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Producer({"bootstrap.servers": audit_broker.bootstrap_servers})
    client.produce(f"{played}.error", b"what is this?")
    client.flush(10)
    assert run(["show", SESSION, "--no-verdict"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Session support-4711\n")
    assert "foreign 1" in captured.err


def test_records_that_cannot_be_read_are_said_beside_the_verdict(
    audit_broker: EmbeddedBroker, played: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Producer({"bootstrap.servers": audit_broker.bootstrap_servers})
    client.produce(f"{played}.error", frame_single_object(schema_for("error").fingerprint, b"\x02"))
    client.flush(10)
    assert run(["show", SESSION]) == 0
    out = capsys.readouterr().out
    assert "messages on the topics look like records and cannot be read: 1 " in out


def test_records_of_other_sessions_are_not_even_decoded_and_those_without_a_key_are(
    audit_broker: EmbeddedBroker, played: str, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, stream = FastavroEncoder(), "01920000-0000-7000-8000-000000000001"
    head, tail = encoder.encode(ErrorEvent(session_id="keyless"), stream)
    value = frame_single_object(schema_for("error").fingerprint, join_body(head, 1, tail))
    client = Producer({"bootstrap.servers": audit_broker.bootstrap_servers})
    client.produce(f"{played}.error", value)
    client.produce(f"{played}.error", value[:-1], key=b"another")
    client.flush(10)
    assert run(["show", "keyless", "--json", "--no-verdict"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["session"]["totals"]["events"] == 1
    assert captured.err == ""


def test_a_span_of_time_ends_before_its_end_and_takes_in_what_has_no_time() -> None:
    class Stamped:
        def __init__(self, kind: int, ms: int) -> None:
            self.stamp = kind, ms

        def timestamp(self) -> tuple[int, int]:
            return self.stamp

    messages: list[Any] = [Stamped(1, ms) for ms in (9, 10, 19, 20)] + [Stamped(0, -1)]
    for since_ms, until_ms, expected in (
        (10, 20, [10, 19, -1]),
        (10, None, [10, 19, 20, -1]),
        (None, 20, [9, 10, 19, -1]),
    ):
        filters = Filters(since_ms=since_ms, until_ms=until_ms)
        assert [m.timestamp()[1] for m in show_reading._within(messages, filters)] == expected


# -- the page ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("played")
def test_a_page_is_written_whole_and_can_be_read_by_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "session.html"
    assert run(["show", SESSION, "--html", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "56 events" in captured.err
    assert "Complete: the session is 56 records" in captured.err
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["session.html"]


@pytest.mark.usefixtures("played")
def test_a_page_that_is_there_is_kept_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "session.html"
    path.write_text("mine", encoding="utf-8")
    assert run(["show", SESSION, "--html", str(path)]) == 2
    assert "session.html is there already; --force writes over it" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "mine"
    assert run(["show", SESSION, "--html", str(path), "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["session"]["session_id"] == SESSION
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.usefixtures("played")
def test_a_page_goes_to_stdout_for_a_dash(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["show", SESSION, "--html", "-"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"<!doctype html>")


def test_a_page_and_json_cannot_both_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", SESSION, "--html", "-", "--json"]) == 2
    assert "--html: - and --json both write to stdout" in capsys.readouterr().err


def test_a_directory_that_is_not_there_is_said_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", SESSION, "-b", "127.0.0.1:1", "--html", str(tmp_path / "none" / "x.html")]) == 2
    assert "none does not exist" in capsys.readouterr().err


@pytest.mark.usefixtures("played")
def test_a_page_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: Path, _target: Path) -> Path:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    assert run(["show", SESSION, "--html", str(tmp_path / "x.html")]) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
