"""examples/plain_loop.py, run as its reader would run it."""

from __future__ import annotations

from example_support import run, trail_of

from auditwire import ToolCallCompleteEvent, ToolCallFailureEvent, ToolPolicyDecisionEvent, TurnEndEvent
from auditwire.testing import EmbeddedBroker


def test_the_plain_loop_brings_a_broker_of_its_own_and_prints_the_trail() -> None:
    printed = run("plain_loop.py")
    assert "11 accepted, 11 acknowledged" in printed
    assert "complete, 13 records" in printed


def test_the_plain_loop_leaves_one_outcome_for_each_call_on_the_broker() -> None:
    with EmbeddedBroker() as broker:
        run("plain_loop.py", broker.bootstrap_servers)
        trail = trail_of(broker)
    assert trail.types() == [
        "turn_start",
        "tool_call_attempt",
        "tool_call_complete",
        "tool_call_attempt",
        "tool_call_complete",
        "tool_call_attempt",
        "tool_call_failure",
        "tool_call_attempt",
        "tool_policy_decision",
        "tool_call_complete",
        "turn_end",
    ]
    assert [report.verdict for report in trail.reports] == ["complete"]
    assert len({(e.session_id, e.turn_id, e.agent_id) for e in trail.events}) == 1
    outcomes = [e for e in trail.events if isinstance(e, ToolCallCompleteEvent)]
    assert [(e.tool_name, e.status) for e in outcomes] == [
        ("list_files", "success"),
        ("count_lines", "success"),
        ("delete_file", "denied"),
    ]
    assert "plain_loop.py" in outcomes[0].result_preview
    failure = next(e for e in trail.events if isinstance(e, ToolCallFailureEvent))
    assert (failure.tool_name, failure.error_type) == ("count_lines", "FileNotFoundError")
    decision = next(e for e in trail.events if isinstance(e, ToolPolicyDecisionEvent))
    assert (decision.action, decision.policy_source) == ("deny", "allowed tools")
    end = next(e for e in trail.events if isinstance(e, TurnEndEvent))
    assert end.function_calls_count == 4
    assert "count_lines failed" in end.content_preview
