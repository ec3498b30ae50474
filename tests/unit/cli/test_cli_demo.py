from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.cli import demo
from auditwire.cli.app import run
from auditwire.cli.connection import Connection
from auditwire.cli.demo_agent import DemoAgent
from auditwire.cli.output import Output
from auditwire.delivery.health import Health
from auditwire.events import EVENT_TYPES
from auditwire.reading import Reader, Record
from auditwire.testing import EmbeddedBroker
from auditwire.verification import StreamReport

if TYPE_CHECKING:
    from collections.abc import Callable


pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")


def json_lines(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    *events, last = map(json.loads, capsys.readouterr().out.splitlines())
    summary: dict[str, Any] = last["summary"]
    return events, summary


def test_every_event_comes_back_in_the_order_of_the_stream(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--json"]) == 0
    events, summary = json_lines(capsys)
    assert [event["sequence"] for event in events] == list(range(len(events)))
    assert {event["event_type"] for event in events} == {*EVENT_TYPES, "checkpoint"}
    assert {event["stream_id"] for event in events} == {summary["stream_id"]}


def test_the_summary_agrees_with_what_came_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--json"]) == 0
    events, summary = json_lines(capsys)
    written = sum(event["event_type"] != "checkpoint" for event in events)
    assert (summary["accepted"], summary["acknowledged"], summary["lost"]) == (written, written, 0)
    assert sum(summary["topics"].values()) == len(events) == written + summary["control_records"]
    assert (summary["verdict"], summary["stream"]["missing"]) == ("complete", [])


def test_people_see_events_topics_counts_the_verdict_and_what_is_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["demo"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "\x1b" not in captured.out
    for said in (
        ", in memory; topics audit.*",
        "tool_loop_block       planner     file_exists   4 calls · same call, same arguments",
        "✓ 46 accepted, 46 acknowledged, 0 lost",
        "✓ stream complete and closed: 48 records, 2 checkpoints, none missing or changed",
        "auditwire demo --serve",
    ):
        assert said in captured.out
    assert ["audit.tool-call-attempt", "13"] in [line.split() for line in captured.out.splitlines()]
    assert all(line == line.rstrip() for line in captured.out.splitlines())


def test_a_broker_of_ones_own_gets_the_prefix_and_hints_with_its_address(
    audit_broker: EmbeddedBroker, trail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--bootstrap", audit_broker.bootstrap_servers, "--prefix", trail]) == 0
    out = capsys.readouterr().out
    assert f"broker {audit_broker.bootstrap_servers}; topics {trail}.*" in out
    assert f"export AUDITWIRE_BOOTSTRAP_SERVERS={audit_broker.bootstrap_servers}\n" in out
    assert f"auditwire tail --prefix {trail} --from-beginning" in out


def test_what_lies_on_the_broker_already_is_not_shown(
    audit_broker: EmbeddedBroker, trail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert run(["demo", "--json", "-b", audit_broker.bootstrap_servers, "--prefix", trail]) == 0
        events, _ = json_lines(capsys)
        assert len(events) == 48


def test_the_environments_broker_and_prefix_are_not_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("AUDITWIRE_PREFIX", "production")
    assert run(["demo", "--json"]) == 0
    _, summary = json_lines(capsys)
    assert summary["bootstrap_servers"] != "127.0.0.1:1"
    assert {topic.split(".")[0] for topic in summary["topics"]} == {"audit"}


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_colours_and_lines_that_fit(columns: int) -> None:
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    process = subprocess.Popen(
        [sys.executable, "-c", "from auditwire.cli import main; main()", "demo"],
        stdout=child,
        env={**environment, "TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    os.close(child)
    shown = bytearray()
    with contextlib.suppress(OSError):  # what Linux says when the other side is closed
        while part := os.read(parent, 65536):
            shown += part
    os.close(parent)
    assert process.wait(60) == 0
    text = shown.decode()
    assert "\x1b[31m" in text
    from rich.text import Text

    lines = [Text.from_ansi(line) for line in text.splitlines()]
    assert max(line.cell_len for line in lines) <= columns
    assert sum(line.plain.startswith("audit.") for line in lines) == (19 if columns == 80 else 10)


def test_records_that_were_not_accepted_by_the_broker_are_said_and_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # a broker without topics, that makes none
    monkeypatch.setattr(EmbeddedBroker, "create_topics", lambda *_, **__: [])
    monkeypatch.setattr(demo, "_CLOSE_SECONDS", 1.0)
    monkeypatch.setattr(demo, "_ARRIVAL_SECONDS", 1.0)
    assert run(["demo"]) == 1
    out = capsys.readouterr().out
    assert "✗ 46 accepted, 0 acknowledged, 46 lost" in out
    assert "audit.turn-start takes no records: the topic does not exist" in out
    assert "✗ nothing was read back: there is no verdict" in out


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the reader leave out one record, as if it had vanished from the broker."""
    poll = Reader.poll

    def prepare(sequence: int) -> None:
        def leave_out(self: Reader, timeout: float = 1.0) -> Record | None:
            record = poll(self, timeout)
            return None if record is not None and record.sequence == sequence else record

        monkeypatch.setattr(Reader, "poll", leave_out)
        monkeypatch.setattr(demo, "_ARRIVAL_SECONDS", 1.0)

    return prepare


def test_a_record_that_is_missing_is_a_fault_and_those_behind_it_are_shown(
    without: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    without(7)
    assert run(["demo", "--json"]) == 1
    events, summary = json_lines(capsys)
    assert [event["sequence"] for event in events] == [*range(7), *range(8, 48)]
    assert (summary["verdict"], summary["stream"]["missing"], summary["lost"]) == ("fault", [[7, 7]], 0)


def test_people_see_that_a_stream_was_recovered_and_what_cannot_be_proven(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = StreamReport(stream_id="s", verdict="recovered", records=9, checkpoints=2, notes=["a note"])
    monkeypatch.setattr("auditwire.verification.check_streams", lambda *_, **__: [report])
    assert run(["demo"]) == 1, "the demo closes its stream: anything else is not what it should show"
    out = capsys.readouterr().out
    assert (
        "✗ stream not closed, and recovered from its journal: 9 records, 2 checkpoints, none missing" in out
    )
    assert "  a note" in out


def test_people_see_what_is_wrong(without: Callable[[int], None], capsys: pytest.CaptureFixture[str]) -> None:
    without(7)
    assert run(["demo"]) == 1
    out = capsys.readouterr().out
    assert "✗ stream at fault: 1 found in 47 records" in out
    assert "  missing: " in out


def test_a_stream_without_its_end_is_not_complete(
    without: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    without(47)
    assert run(["demo"]) == 1
    assert "✗ stream not closed: 47 records, 1 checkpoints" in capsys.readouterr().out


def test_what_was_lost_or_withheld_is_said_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    health = Health(
        state="closed",
        stream_id="s",
        accepted=3,
        delivered=2,
        control=2,
        pending_records=0,
        pending_bytes=0,
        capacity_bytes=0,
        oldest_seconds=0.0,
        lost={"journal_full": 4},
        quarantined={"MSG_SIZE_TOO_LARGE": 1},
    )
    told = demo._Run(Connection("h:1", "audit", {}), Output(as_json=False), embedded=True, health=health)
    told.report(1.0)
    assert not told.passed
    out = capsys.readouterr().out
    for said in (
        "✗ 3 accepted, 2 acknowledged, 5 lost",
        "4 lost: journal_full",
        "1 withheld: MSG_SIZE_TOO_LARGE",
    ):
        assert said in out


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_topics_stand_in_two_halves_where_there_is_room(count: int) -> None:
    topics = Counter({f"audit.t{number}": number + 1 for number in range(count)})
    for wide in (True, False):
        header, *rows = [line.plain.split() for line in demo._topic_lines(topics, wide=wide)]
        assert header == ["topic", "records"] * (2 if wide else 1)
        assert len(rows) == ((count + 1) // 2 if wide else count)
        assert {name: int(n) for row in rows for name, n in zip(row[::2], row[1::2], strict=True)} == topics


def test_an_agent_that_breaks_ends_the_demo_with_its_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: DemoAgent) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DemoAgent, "run", fail)
    assert run(["demo"]) == 1
    assert (
        capsys.readouterr().err
        == "auditwire: [Errno 28] No space left on device (AUDITWIRE_DEBUG=1 shows the traceback)\n"
    )


def test_a_broker_that_stays_open_is_used_by_others_until_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def meanwhile() -> None:
        captured = capsys.readouterr()
        address = captured.err.partition("stays open at ")[2].partition(";")[0]
        assert f"export AUDITWIRE_BOOTSTRAP_SERVERS={address}\n" in captured.out
        with Reader(address) as reader:
            seen.extend(record.event.event_type for record in reader)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_wait", meanwhile)
    assert run(["demo", "--serve"]) == 130
    assert len(seen) == 48


def test_the_wait_ends_with_ctrl_c() -> None:
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        demo._wait()
    timer.join()


def test_ctrl_c_while_the_agent_works_closes_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    def interrupt(self: object, *_: object) -> None:
        raise KeyboardInterrupt

    from auditwire import KafkaCollector

    close = KafkaCollector.close

    def note(self: KafkaCollector, timeout: float = 10.0) -> None:
        close(self, timeout)
        closed.append(self.health().pending_records == 0)

    monkeypatch.setattr(demo._Run, "_show", interrupt)
    monkeypatch.setattr(KafkaCollector, "close", note)
    assert run(["demo"]) == 130
    assert closed == [True]
