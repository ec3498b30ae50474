"""``auditwire show`` on a real broker, and its page in a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from datetime import datetime, timezone
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from auditwire import AuditEmitter, KafkaCollector
from auditwire.cli import show_rows
from auditwire.cli.app import run
from auditwire.cli.show_html import page
from auditwire.events import AuditEvent, ErrorEvent, ModelCallEvent, TurnEndEvent, TurnStartEvent
from auditwire.reading import Reader
from auditwire.sessions import judge_trail
from support.told import script, session_of

if TYPE_CHECKING:
    from pathlib import Path

    from rig.broker import Broker

SESSION = "support-4711"
SOON = 30.0


@pytest.fixture
def environment(broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broker and prefix, as a person would set them."""
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", broker.bootstrap)
    monkeypatch.setenv("AUDITWIRE_PREFIX", prefix)


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["show", SESSION, "--json", *arguments]) == status
    out: dict[str, Any] = json.loads(capsys.readouterr().out)
    return out


def turns(told: dict[str, Any]) -> list[str]:
    return [item["turn_id"] for item in told["session"]["items"] if item["kind"] == "turn"]


@pytest.mark.usefixtures("environment")
def test_a_session_of_two_processes_is_told_and_complete(
    broker: Broker, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk, payments = script().emitters(broker.bootstrap, prefix=prefix)
    with desk, payments:
        script().play(desk, payments)
    out = told(capsys, "--html", str(tmp_path / "session.html"))
    assert turns(out) == ["concierge-1", "concierge-2"]
    assert (out["session"]["totals"]["events"], out["trail"]["verdict"]) == (56, "complete")
    assert "Complete" in (tmp_path / "session.html").read_text(encoding="utf-8")


@pytest.mark.needs("create_topics")
@pytest.mark.usefixtures("environment")
def test_a_span_of_time_shows_a_part_and_checks_it(
    broker: Broker, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with AuditEmitter(KafkaCollector(broker.bootstrap, prefix=prefix), SESSION) as audit:
        audit.emit_turn_start("a", "first", "hello")
        audit.emit_turn_end("a", "first", "done")
    between_ms = time.time_ns() // 1_000_000 + 1
    while time.time_ns() // 1_000_000 <= between_ms:
        pass
    with AuditEmitter(KafkaCollector(broker.bootstrap, prefix=prefix), SESSION) as audit:
        audit.emit_turn_start("a", "second", "hello")
        audit.emit_turn_end("a", "second", "done")
    between = datetime.fromtimestamp(between_ms / 1_000, timezone.utc).isoformat(timespec="milliseconds")
    late, early = told(capsys, "--since", between), told(capsys, "--until", between)
    assert (turns(late), turns(early), turns(told(capsys))) == (["second"], ["first"], ["first", "second"])
    assert late["trail"]["verdict"] == early["trail"]["verdict"] == "complete"
    assert run(["show", SESSION, "--until", "2020-01-01T00:00:00Z"]) == 4
    assert "in that span of time" in capsys.readouterr().err


@pytest.mark.needs("create_topics")
@pytest.mark.usefixtures("environment")
def test_a_record_that_was_deleted_on_the_broker_makes_the_trail_a_fault(
    broker: Broker, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with AuditEmitter(KafkaCollector(broker.bootstrap, prefix=prefix), SESSION) as audit:
        audit.emit_turn_start("a", "t", "hello")
        audit.emit_error("E", "to be deleted")
        audit.emit_turn_end("a", "t", "done")
    with Reader(broker.bootstrap, prefix=prefix, types="error") as reader:
        (record,) = reader
    place = TopicPartition(record.topic, record.partition, record.offset + 1)
    admin = AdminClient(broker.client())
    for done in admin.delete_records([place]).values():
        done.result(SOON)
    out = told(capsys, status=1)
    assert out["trail"]["verdict"] == "fault"
    assert out["trail"]["streams"][0]["gaps"] == [
        {"first": record.sequence, "last": record.sequence, "what": "missing"}
    ]
    # the range of what is shown is no excuse for what is missing in it
    assert told(capsys, "--since", "10m", status=1)["trail"]["verdict"] == "fault"


@pytest.mark.usefixtures("environment")
def test_a_session_that_goes_on_is_shown_as_far_as_it_is(
    broker: Broker, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with AuditEmitter(KafkaCollector(broker.bootstrap, prefix=prefix), SESSION) as audit:
        audit.emit_turn_start("a", "t", "hello")
        audit.emit_tool_call_attempt("search", "q", "a", "t", tool_call_id="1")
        audit.flush(SOON)
        out = told(capsys)
    (turn,) = out["session"]["items"]
    assert (turn["state"], turn["items"][0]["state"]) == ("unfinished", "unfinished")
    assert out["trail"]["verdict"] == "open"
    assert out["trail"]["sentence"].startswith("Nothing is wrong, and it is not proven to the end")


# -- in a browser -------------------------------------------------------------------------------------------


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def opened(path: Path, fragment: str = "") -> str:
    """The document as it is when the page is loaded and its script has run."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={path.parent / 'profile'}",
            "--enable-logging=stderr",
            "--dump-dom",
            f"{path.as_uri()}{fragment}",
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    # what a page's policy refuses, and what its script throws, is written to the console
    assert "CONSOLE" not in done.stderr
    return done.stdout


def events() -> list[AuditEvent]:
    hostile = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    return [
        TurnStartEvent(turn_id="t", agent_id="a", prompt_preview=hostile),
        ModelCallEvent(turn_id="t", agent_id="a", model=hostile),
        ErrorEvent(turn_id="t", agent_id="a", error_message=hostile),
        TurnEndEvent(turn_id="t", agent_id="a", content_preview=hostile),
    ]


@in_a_browser
@pytest.mark.parametrize("large", [False, True])
def test_a_browser_runs_the_pages_script_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, large: bool
) -> None:
    if large:
        monkeypatch.setattr(show_rows, "INLINE", 0)
    session = session_of(*events())
    path = tmp_path / "session.html"
    path.write_text(page(session, judge_trail(session, None), where="here"), encoding="utf-8")
    document = opened(path)
    assert "<title>s-1 · auditwire</title>" in document
    assert '<div class="controls">' in document  # the script has shown it
    assert "<img" not in document


@in_a_browser
def test_a_link_to_a_row_opens_it_and_the_turns_around_it_and_fetches_its_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show_rows, "INLINE", 0)
    monkeypatch.setattr(show_rows, "OPEN", 0)
    session = session_of(*events())
    path = tmp_path / "session.html"
    path.write_text(page(session, judge_trail(session, None), where="here"), encoding="utf-8")
    document = opened(path, "#e2")
    assert '<details class="turn c0" id="t0" open="">' in document
    row = document[document.index('id="e2"') :]
    assert row.startswith('id="e2" data-kind="error" open="">')
    shown = unescape(row[row.index("<pre") : row.index("</pre>")])
    assert f'"event_id": "{session.entries[2].event.event_id}"' in shown
