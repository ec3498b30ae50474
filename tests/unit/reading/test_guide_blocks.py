"""The code of docs/guides/show.md and docs/guides/replay.md, run against a session of this moment."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from auditwire import AuditEmitter, KafkaCollector
from auditwire.sessions import Session
from auditwire.testing import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDES = Path(__file__).parents[3] / "docs/guides"


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        collector = KafkaCollector(broker.bootstrap_servers, create_topics=False)
        with AuditEmitter(collector, "support-4711") as audit, audit.turn(prompt="p"):
            audit.emit_error("ValueError", "no")
        yield broker


def run_code(page: str, broker: EmbeddedBroker) -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    text = (GUIDES / page).read_text(encoding="utf-8").replace("localhost:9092", broker.bootstrap_servers)
    text = text.replace("2026-03-01T10:00:00Z", (now - timedelta(hours=1)).isoformat())
    text = text.replace("2026-03-01T11:00:00Z", (now + timedelta(hours=1)).isoformat())
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile(code, page, "exec"), names)
    return names


def test_the_code_of_the_guide_to_show_builds_the_session(embedded: EmbeddedBroker) -> None:
    session = run_code("show.md", embedded)["session"]
    assert isinstance(session, Session)
    assert session.session_id == "support-4711"
    assert session.totals.events == 3


def test_the_code_of_the_guide_to_replay_prints_the_events(
    embedded: EmbeddedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    run_code("replay.md", embedded)
    printed = [json.loads(line)["event_type"] for line in capsys.readouterr().out.splitlines()]
    assert [name for name in printed if name != "checkpoint"] == ["turn_start", "error", "turn_end"]
