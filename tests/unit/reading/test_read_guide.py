"""The code of docs/guides/read.md, run from its first block to its last."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from auditwire import AuditEmitter, KafkaCollector
from auditwire.reading import GroupReader, Reader
from auditwire.testing import EmbeddedBroker

PAGE = (Path(__file__).parents[3] / "docs/guides/read.md").read_text(encoding="utf-8")


def test_the_code_of_the_guide_does_what_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    with EmbeddedBroker() as broker:
        with AuditEmitter(KafkaCollector(broker.bootstrap_servers, create_topics=False), "s-1") as audit:
            with audit.turn(prompt="p"), audit.tool_call("search", {}):
                pass
            audit.emit_tool_call_failure("search", "ValueError", "no")
            audit.flush()
        names: dict[str, Any] = {}
        source = code.replace("localhost:9092", broker.bootstrap_servers) + "\n\nhandle(1)\n"
        exec(compile(source, "read.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "events; 0 gaps, 0 late, 0 duplicates" in printed
    assert printed.endswith("alert: search\n")
    (failure,) = names["failures"]
    assert failure.event.event_type == "tool_call_failure"
    assert names["rows"] == [event.to_dict() for event in names["events"]], (
        "the second call found nothing new"
    )
    assert names["refused"] == []


@pytest.mark.parametrize("name", ["gap_seconds", "on_gap", "memory", "since", "start", "on_undecodable"])
def test_the_guide_and_the_reader_know_each_others_arguments(name: str) -> None:
    assert f"`{name}" in PAGE or f"{name}=" in PAGE
    assert f"\n    {name}: " in (inspect.getdoc(Reader) or "")
    assert "at least once" in PAGE
    assert "at least once" in (GroupReader.__doc__ or "")
