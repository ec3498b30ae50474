from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from confluent_kafka import Producer

from auditwire import AuditEmitter, KafkaCollector
from auditwire import events as ev
from auditwire.cli.app import app, run
from auditwire.cli.connection import Connection
from auditwire.cli.output import ClosedPipe
from auditwire.cli.tail import _say_what_is_followed
from auditwire.events import ALL_TYPES, event_from_dict
from auditwire.wire import frame_single_object
from support.stream_builder import STREAM, record_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.reading import Reader
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


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes pytest's stdout look like a terminal without colours; to be called in the test."""

    def pretend() -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("COLUMNS", "100")

    return pretend


@pytest.mark.parametrize(
    "options", [["--flat"], ["--severity", "error"], ["-t", "error"], ["-w", "sequence>0"]]
)
def test_a_terminal_gets_columns_and_their_names_where_turns_are_not_whole(
    filled: str, capsys: pytest.CaptureFixture[str], on_a_terminal: Callable[[], None], options: list[str]
) -> None:
    on_a_terminal()
    assert run(["tail", "--no-follow", "-s", "s-2", *options]) == 0
    header, rule, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["time", "type", "agent", "tool", "detail"]
    assert set(rule) == {"─", " "}
    assert "other session" in line


@pytest.mark.parametrize(
    "options", [[], ["--severity", "info", "--severity", "error"], ["--tree", "-w", "sequence>0"]]
)
def test_a_terminal_gets_whole_turns_as_a_tree(
    filled: str, capsys: pytest.CaptureFixture[str], on_a_terminal: Callable[[], None], options: list[str]
) -> None:
    on_a_terminal()
    assert run(["tail", "--no-follow", "-s", "s-1", *options]) == 0
    start, attempt = capsys.readouterr().out.splitlines()
    assert start.endswith("┌ planner  hello")
    assert attempt.endswith("├ → search  q\\x1b[31m")


def test_a_tree_can_be_had_in_a_pipe(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tail", "--no-follow", "--tree", "-t", "turn_start"]) == 0
    assert capsys.readouterr().out.endswith(" s-1            ┌ planner t1  hello\n")


def test_who_follows_on_a_terminal_is_told_what(
    filled: str, capsys: pytest.CaptureFixture[str], on_a_terminal: Callable[[], None]
) -> None:
    on_a_terminal()
    assert run(["tail", "--from-beginning", "-n", "1"]) == 0
    captured = capsys.readouterr()
    assert f"auditwire: following {len(ALL_TYPES)} topics {filled}.* on " in captured.err
    assert captured.err.endswith("; Ctrl-C ends it\n")


def test_who_follows_topics_that_are_not_there_is_told_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, broker = SimpleNamespace(topics=[]), Connection("h:1", "audti", {})
    _say_what_is_followed(cast("Reader", reader), broker)
    assert "there are no topics audti.* on h:1 yet: waiting for them" in capsys.readouterr().err


def test_conditions_ids_and_severities_narrow_what_is_shown(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert types(tail(capsys, "--no-follow", "--where", "tool_name=search")) == ["tool_call_attempt"]
    assert types(tail(capsys, "--no-follow", "-w", "event_type~^turn", "-w", "turn_id=t1")) == ["turn_start"]
    assert types(tail(capsys, "--no-follow", "--turn", "t1")) == ["tool_call_attempt", "turn_start"]
    assert types(tail(capsys, "--no-follow", "--severity", "error")) == ["error"]
    found = tail(capsys, "--no-follow", "--agent", "planner", "-s", "s-1", "-s", "s-2")
    assert types(found) == ["error", "tool_call_attempt", "turn_start"]
    assert len(tail(capsys, "--no-follow", "--stream", found[0]["stream_id"])) == 5


def test_a_limit_counts_what_is_shown(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert types(tail(capsys, "--from-beginning", "-n", "1", "-w", "tool_name=search")) == [
        "tool_call_attempt"
    ]


def test_since_begins_with_what_is_there_and_until_ends(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(tail(capsys, "--since", "1h", "-n", "5")) == 5
    assert len(tail(capsys, "--since", "1h", "--until", "0s")) == 5


def test_that_nothing_is_shown_is_said(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tail", "--until", "1h"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"auditwire: nothing to show of {filled}.* on ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--until", "1h", "--follow"], "--until: a range has an end: leave out --follow"),
        (["--tree", "--json"], "--tree: lines for people are not --json"),
        (["--flat", "--json"], "--flat: lines for people are not --json"),
        (["--since", "soon"], "--since: 'soon' is no time"),
        (["--where", "tool=x"], "--where: no record has a field tool; did you mean tool_name?"),
        (["--severity", "warn"], "--severity: warn is no severity; did you mean warning?"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(
    filled: str, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run(["tail", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"auditwire: {said}")
    assert captured.err.count("\n") == 1


def test_a_record_that_is_not_there_is_a_line_among_the_others(
    audit_broker: EmbeddedBroker, filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Producer({"bootstrap.servers": audit_broker.bootstrap_servers})
    for sequence in (0, 1, 4):
        record = record_of(ev.LossEvent(), sequence)
        value = frame_single_object(record.fingerprint, record.body)
        client.produce(f"{filled}.loss", value, partition=0, timestamp=record.timestamp_ms)
    client.flush(10)
    assert run(["tail", "--no-follow", "--stream", STREAM]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = f"! missing: 2 records, 2 to 3 of stream {STREAM}, not on the broker up to the end"
    assert [line[12:32].strip() for line in lines if "missing" not in line] == ["loss"] * 3
    assert lines.index(said) == 2


def test_whoever_no_longer_reads_ends_it_though_nothing_comes(filled: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from auditwire.cli import main; main()", "tail", "--since", "1h"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        for _ in range(5):
            assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == ""


def test_it_looks_for_its_reader_whenever_it_has_nothing_to_write(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditwire.cli.tail.nobody_reads", lambda stream: True)
    for options in ([], ["--from-beginning", "--where", "tool_name=none"]):
        with pytest.raises(ClosedPipe):
            app(args=["tail", *options], standalone_mode=False)


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
