from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from auditwire import AuditEmitter, KafkaCollector
from auditwire.cli.app import run
from auditwire.events import event_from_dict

if TYPE_CHECKING:
    from auditwire.testing import EmbeddedBroker


pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")


@pytest.fixture
def filled(audit_broker: EmbeddedBroker, trail: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The prefix of a trail with two sessions; broker and prefix stand in the environment."""
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", audit_broker.bootstrap_servers)
    monkeypatch.setenv("AUDITWIRE_PREFIX", trail)
    collector = KafkaCollector(audit_broker.bootstrap_servers, prefix=trail, create_topics=False)
    with AuditEmitter(collector, "s-1", agent_id="planner") as audit:
        audit.emit_turn_start(turn_id="t1", prompt="hello")
        audit.emit_tool_call_attempt("search", args="q\x1b[31m", turn_id="t1")
        audit.for_session("s-2").emit_error("E", "other session")
    return trail


def tail(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert run(["tail", "--json", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def types(events: list[dict[str, Any]]) -> list[str]:
    return sorted(event["event_type"] for event in events)


def test_to_the_current_end_everything_is_shown_once(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = tail(capsys, "--no-follow")
    assert types(found) == ["checkpoint", "checkpoint", "error", "tool_call_attempt", "turn_start"]
    assert sorted(event["sequence"] for event in found) == [0, 1, 2, 3, 4]
    (stream,) = {event["stream_id"] for event in found}
    start = next(event for event in found if event["event_type"] == "turn_start")
    assert start["topic"] == f"{filled}.turn-start"
    assert (start["offset"], start["stream_id"], start["session_id"]) == (0, stream, "s-1")
    assert start["partition"] in (0, 1)


def test_a_line_of_json_is_the_event_again(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = tail(capsys, "--no-follow", "--type", "turn_start")
    event = event_from_dict(line)
    assert (event.event_type, event.turn_id, event.agent_id) == ("turn_start", "t1", "planner")


def test_a_session_is_shown_alone(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert types(tail(capsys, "--no-follow", "--session", "s-2")) == ["error"]


def test_types_are_shown_alone(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = tail(capsys, "--no-follow", "-t", "error", "-t", "turn_start")
    assert types(found) == ["error", "turn_start"]


def test_a_limit_ends_it(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(tail(capsys, "--from-beginning", "--limit", "2")) == 2


def test_lines_for_people_are_plain_in_a_pipe(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tail", "--no-follow"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = sorted(line[12:] for line in captured.out.splitlines())
    assert "  tool_call_attempt     s-1             planner     search        q\\x1b[31m" in lines
    assert len(lines) == 5
    assert "time" not in captured.out


def test_a_terminal_gets_the_columns_names(
    filled: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert run(["tail", "--no-follow", "-s", "s-2"]) == 0
    header, rule, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["time", "type", "agent", "tool", "detail"]
    assert set(rule) == {"─", " "}
    assert "other session" in line


def test_messages_that_are_no_events_are_counted_at_the_end(
    audit_broker: EmbeddedBroker, filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Producer({"bootstrap.servers": audit_broker.bootstrap_servers})
    client.produce(f"{filled}.error", b"what is this?")
    client.produce(f"{filled}.error", None)
    client.flush(10)
    assert run(["tail", "--no-follow", "-t", "error"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    said, _, counts = captured.err.strip().rpartition(": ")
    assert said.startswith("auditwire: 2 messages ")
    assert sorted(counts.split(", ")) == ["foreign 1", "tombstone 1"]


@pytest.mark.parametrize(
    ("name", "hint"), [("eror", "did you mean error?"), ("zzz", "known are agent_switch, approval")]
)
def test_an_unknown_type_is_refused_with_a_hint(
    filled: str, capsys: pytest.CaptureFixture[str], name: str, hint: str
) -> None:
    assert run(["tail", "-t", name]) == 2
    assert f"--type: {name} is no event type; {hint}" in capsys.readouterr().err


def test_a_broker_that_is_not_there_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditwire.cli.tail.ANSWER_SECONDS", 1.0)
    assert run(["tail", "-b", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err.startswith("auditwire: 127.0.0.1:1")
