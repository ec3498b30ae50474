"""examples/langgraph_agent.py, run as its reader would run it."""

from __future__ import annotations

import pytest
from example_support import run, trail_of

from auditwire import ModelCallEvent, TurnEndEvent
from auditwire.testing import EmbeddedBroker

pytest.importorskip("langchain_core", reason="needs auditwire[langchain]")
pytest.importorskip("langgraph", reason="needs langgraph")


def test_the_langgraph_agent_brings_a_broker_of_its_own_and_prints_the_trail() -> None:
    printed = run("langgraph_agent.py")
    assert "Your parcel is in Bremen" in printed
    assert "complete, 10 records" in printed


def test_the_langgraph_agent_leaves_one_whole_turn_on_the_broker() -> None:
    with EmbeddedBroker() as broker:
        run("langgraph_agent.py", broker.bootstrap_servers)
        trail = trail_of(broker)
    types = trail.types()
    assert (types[:2], types[-2:]) == (["turn_start", "model_call"], ["model_call", "turn_end"])
    # two calls at once, on threads: in any order
    assert sorted(types[2:-2]) == ["tool_call_attempt"] * 2 + ["tool_call_complete"] * 2
    assert [report.verdict for report in trail.reports] == ["complete"]
    assert len({(e.session_id, e.turn_id, e.agent_id) for e in trail.events}) == 1
    assert {getattr(e, "tool_call_id", None) for e in trail.events[2:-2]} == {"call-1", "call-2"}
    models = [e for e in trail.events if isinstance(e, ModelCallEvent)]
    assert [(e.input_tokens, e.output_tokens, e.finish_reason) for e in models] == [
        (212, 31, "tool_calls"),
        (260, 12, "stop"),
    ]
    end = trail.events[-1]
    assert isinstance(end, TurnEndEvent)
    assert end.content_preview == "Your parcel is in Bremen and arrives tomorrow."
    assert end.function_calls_count == 2
