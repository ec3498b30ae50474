from __future__ import annotations

import gzip
import io
import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from typer.testing import CliRunner

from auditwire import AuditEmitter, JSONLSinkCollector
from auditwire.cli.app import app, run
from auditwire.collectors.kafka import KafkaCollector
from auditwire.events import CONTROL_TYPES
from auditwire.reading import Reader
from auditwire.shipping import FileSource

if TYPE_CHECKING:
    from pathlib import Path

    from auditwire.testing import EmbeddedBroker

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")

Capsys = pytest.CaptureFixture[str]
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def to_broker(audit_broker: EmbeddedBroker, trail: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The prefix of an empty trail; broker and prefix stand in the environment."""
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", audit_broker.bootstrap_servers)
    monkeypatch.setenv("AUDITWIRE_PREFIX", trail)
    return trail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What an agent's JSONLSinkCollector wrote: three events."""
    path = tmp_path / "audit.jsonl"
    with AuditEmitter(JSONLSinkCollector(path), "s-1", agent_id="planner") as audit:
        turn = audit.emit_turn_start(prompt="hello")
        audit.emit_tool_call_attempt("search", args={"q": "ø"}, turn_id=turn)
        audit.emit_error("E", "failed", turn_id=turn)
    return path


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def arrived(broker: EmbeddedBroker, prefix: str) -> list[dict[str, Any]]:
    """The events on the broker, by time; without control records."""
    with Reader(broker.bootstrap_servers, prefix=prefix) as reader:
        events = [record.event for record in reader if record.event.event_type not in CONTROL_TYPES]
    return sorted((event.to_dict() for event in events), key=lambda event: str(event["timestamp"]))


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def summary(capsys: Capsys, *arguments: str, status: int = 0) -> dict[str, Any]:
    assert run(["ship", "--json", *arguments]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# -- what arrives -------------------------------------------------------------------------------------------


def test_what_a_jsonl_sink_wrote_arrives_as_it_was(
    audit_broker: EmbeddedBroker, to_broker: str, log: Path, capsys: Capsys
) -> None:
    said = summary(capsys, str(log))
    assert arrived(audit_broker, to_broker) == written(log)
    assert (said["lines"], said["events"], said["acknowledged"], said["rejected"]) == (3, 3, 3, {})
    assert (said["error"], said["dry_run"], said["bytes"]) == (None, False, log.stat().st_size)


def test_what_tail_prints_can_be_piped_in_and_arrives_as_it_was(
    audit_broker: EmbeddedBroker,
    to_broker: str,
    log: Path,
    capsys: Capsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append(log, '{"event_type": "deploy", "timestamp": "2030-01-01T00:00:00Z", "version": 7}\n')
    assert run(["ship", str(log)]) == 0
    capsys.readouterr()
    assert run(["tail", "--no-follow", "--json"]) == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(capsys.readouterr().out.encode())))
    audit_broker.create_topics(prefix=f"{to_broker}-2")
    said = summary(capsys, "-", "--prefix", f"{to_broker}-2")
    assert (said["events"], said["control_records"], said["file"]) == (4, 2, "-")
    assert arrived(audit_broker, f"{to_broker}-2") == arrived(audit_broker, to_broker)


def test_a_compressed_file_is_shipped_with_the_ids_of_the_plain_one(
    audit_broker: EmbeddedBroker, to_broker: str, tmp_path: Path, capsys: Capsys
) -> None:
    text = b'{"event_type":"error","timestamp":"2026-01-31T10:00:00Z"}\n' * 3
    (tmp_path / "plain").write_bytes(text)
    (tmp_path / "plain.gz").write_bytes(gzip.compress(text))
    assert summary(capsys, str(tmp_path / "plain"))["derived_ids"] == 3
    once = {event["event_id"] for event in arrived(audit_broker, to_broker)}
    assert summary(capsys, str(tmp_path / "plain.gz"))["events"] == 3
    twice = [event["event_id"] for event in arrived(audit_broker, to_broker)]
    assert (len(once), len(twice), set(twice)) == (3, 6, once)


def test_a_damaged_compressed_file_is_shipped_as_far_as_it_goes(
    audit_broker: EmbeddedBroker, to_broker: str, log: Path, capsys: Capsys
) -> None:
    packed = log.with_name("audit.jsonl.gz")
    packed.write_bytes(gzip.compress(log.read_bytes())[:-8])
    said = summary(capsys, str(packed), status=1)
    assert said["acknowledged"] == 3
    assert "cannot be read to its end" in said["error"]
    assert len(arrived(audit_broker, to_broker)) == 3


# -- what is said -------------------------------------------------------------------------------------------


def test_bad_lines_are_named_kept_and_the_status_is_one(to_broker: str, log: Path, capsys: Capsys) -> None:
    append(log, 'what?\n{"event_type": "loss"}\n{"event_type": "deploy"}\n')
    rejects = log.with_name("rejects")
    assert run(["ship", str(log), "--rejects", str(rejects)]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"auditwire: {log}, line 4: no JSON: Expecting value at character 1\n"
    first, *rest = captured.out.splitlines()
    assert first.startswith("4 events of 6 lines shipped, 4 acknowledged, ")
    assert rest == [
        "  1 rejected: not_json 1",
        "  1 control records left out: they are of the streams that wrote them",
        "  1 without event_id: derived from the file's content",
        "  1 without timestamp: the time of shipping, noted in the metadata",
        "  1 of types without a schema of their own: on the custom topic",
    ]
    assert rejects.read_text() == "what?\n"


def test_a_dry_run_needs_no_broker_and_says_what_would_happen(log: Path, capsys: Capsys) -> None:
    append(log, '{"event_type": "error", "error_type": 7, "error_message": "' + "x" * 1_000_000 + '"}\n')
    before = {path.name for path in log.parent.iterdir()}
    said = summary(capsys, str(log), "--dry-run", "--state", str(log.with_name("state")))
    assert (said["events"], said["acknowledged"], said["stream_id"]) == (4, 0, None)
    assert (said["coerced"], said["truncated"]) == ({"error_type": 1}, {"error_message": 1})
    assert {path.name for path in log.parent.iterdir()} == before
    assert run(["ship", str(log), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "4 events in 4 lines; none shipped",
        "  1 without event_id: derived from the file's content",
        "  1 without timestamp: the time of shipping, noted in the metadata",
        "  1 values converted: error_type 1",
        "  1 values cut to fit: error_message 1",
    ]


def test_one_line_is_said_in_the_singular(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "log").write_text('{"event_type": "error", "event_id": "e", "timestamp": "2026-01-31"}')
    assert run(["ship", str(tmp_path / "log"), "--dry-run"]) == 0
    assert capsys.readouterr().out == "1 event in 1 line; none shipped\n"


@pytest.mark.parametrize("name", ["audit.jsonl", "-", "audit.jsonl.gz"])
def test_a_terminal_sees_a_bar_and_the_bad_lines_above_it(
    log: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    append(log, "what?\n")
    log.with_name("audit.jsonl.gz").write_bytes(gzip.compress(log.read_bytes()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log.read_bytes())))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    assert run(["ship", name if name == "-" else str(log.with_name(name)), "--dry-run", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["events"] == 3
    assert "3 events" in captured.err
    assert "line 4: no JSON" in captured.err


def test_a_file_that_is_followed_has_no_bar(
    to_broker: str, log: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_source: FileSource) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(FileSource, "over", interrupted)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(["ship", str(log), "--follow"]) == 130
    assert capsys.readouterr().err == ""


def test_help_has_an_example() -> None:
    result = CliRunner().invoke(app, ["ship", "--help"], env={"COLUMNS": "100", "TERM": "dumb"})
    assert result.exit_code == 0
    assert "auditwire ship audit.jsonl" in result.output.partition("xample")[2]


# -- how far ------------------------------------------------------------------------------------------------


def test_with_a_state_only_what_is_new_is_shipped(
    audit_broker: EmbeddedBroker, to_broker: str, log: Path, capsys: Capsys
) -> None:
    state = ["--state", str(log.with_name("state"))]
    assert summary(capsys, str(log), *state)["events"] == 3
    assert summary(capsys, str(log), *state)["events"] == 0
    append(log, '{"event_type": "deploy", "event_id": "d", "timestamp": "2030-01-01T00:00:00Z"}\n')
    assert summary(capsys, str(log), *state)["events"] == 1
    assert len(arrived(audit_broker, to_broker)) == 4


def test_a_rotation_that_cannot_be_found_is_warned_of_and_the_status_is_one(
    to_broker: str, log: Path, capsys: Capsys
) -> None:
    state = ["--state", str(log.with_name("state"))]
    summary(capsys, str(log), *state)
    log.write_text('{"event_type": "deploy"}\n')
    assert run(["ship", str(log), *state]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("1 event of 1 line shipped, 1 acknowledged")
    assert "rotated away and is not found" in captured.err


def test_ctrl_c_keeps_what_is_delivered_and_the_state(
    audit_broker: EmbeddedBroker,
    to_broker: str,
    log: Path,
    capsys: Capsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emit = KafkaCollector.emit

    def interrupted(self: KafkaCollector, event: Any) -> None:
        if event.event_type == "error":
            raise KeyboardInterrupt
        emit(self, event)

    state = ["--state", str(log.with_name("state"))]
    with monkeypatch.context() as patched:
        patched.setattr(KafkaCollector, "emit", interrupted)
        said = summary(capsys, str(log), *state, status=130)
    assert (said["events"], said["acknowledged"], said["error"]) == (2, 2, "KeyboardInterrupt")
    assert summary(capsys, str(log), *state)["events"] == 1
    assert arrived(audit_broker, to_broker) == written(log)


# -- what is refused ----------------------------------------------------------------------------------------


def test_a_broker_that_is_away_ends_it_and_how_many_wait_is_said(log: Path, capsys: Capsys) -> None:
    state = log.with_name("state")
    arguments = ["ship", str(log), "-b", NOWHERE, "--timeout", "0.5", "--state", str(state)]
    assert run(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("3 events of 3 lines shipped, 0 acknowledged")
    assert "records were not acknowledged within 0.5 s" in captured.err
    assert not state.exists()


def test_a_broker_that_is_silent_while_lines_wait_ends_it_before_they_are_all_read(
    tmp_path: Path, capsys: Capsys
) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text('{"event_type": "deploy"}\n' * 60_000)  # more than half of the journal holds
    said = summary(capsys, str(log), "-b", NOWHERE, "--timeout", "0.2", status=1)
    assert 0 < said["events"] < 60_000
    assert "the broker has acknowledged nothing for 0.2 s" in said["error"]


def test_sigterm_ends_it_as_ctrl_c_does(to_broker: str, log: Path, capsys: Capsys) -> None:
    import os
    import signal

    class Terminated(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            data = super().read1(size)
            if not data:
                os.kill(os.getpid(), signal.SIGTERM)
            return data

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", io.TextIOWrapper(Terminated(log.read_bytes())))
        said = summary(capsys, "-", status=143)
    assert (said["events"], said["acknowledged"], said["error"]) == (3, 3, "143")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "--follow"], "--follow: standard input ends with its writer, and is read once"),
        (["-", "--state", "s"], "--state: standard input ends with its writer, and is read once"),
        (["a.gz", "--follow"], "--follow: a compressed file does not grow"),
        (["a.gz", "--state", "s"], "--state: a compressed file does not grow"),
        (["a", "--follow", "--dry-run"], "--dry-run: it ends with the file: leave out --follow"),
        (["a", "--rejects", "a"], "is named for FILE already"),
        (["a", "--rejects", "r", "--state", "./r"], "is named for --state already"),
        (["a", "--rejects", "no/r"], "--rejects: there is no directory"),
        (["none", "--dry-run"], "FILE: "),
        (["none.gz", "--dry-run"], "FILE: none.gz cannot be read: No such file or directory"),
        (["a"], "--bootstrap: no broker is named"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("")
    assert run(["ship", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_state_of_another_file_is_refused(to_broker: str, log: Path, capsys: Capsys) -> None:
    state = log.with_name("state")
    assert run(["ship", str(log), "--state", str(state)]) == 0
    other = log.with_name("other")
    other.write_text("")
    assert run(["ship", str(other), "--state", str(state)]) == 2
    assert "give each file a state of its own" in capsys.readouterr().err
