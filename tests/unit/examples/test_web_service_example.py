"""examples/web_service.py: requests at the same time, each with its own session and user."""

from __future__ import annotations

from example_support import run, trail_of

from auditwire import ToolCallFailureEvent, TurnEndEvent
from auditwire.testing import EmbeddedBroker

REQUESTS = [("ann", "Oslo"), ("bob", "Nowhere"), ("cem", "Lyon")]
CALLS = ["tool_call_attempt"] * 2
OUTCOMES = {"tool_call_complete", "tool_call_failure"}


def test_requests_at_the_same_time_keep_their_sessions_users_and_calls_apart() -> None:
    with EmbeddedBroker() as broker:
        printed = run("web_service.py", broker.bootstrap_servers)
        trail = trail_of(broker)
    assert "rain in Oslo; a train to Oslo at 12:34" in printed
    assert [report.verdict for report in trail.reports] == ["complete"]
    sessions = sorted({str(e.session_id) for e in trail.events})
    assert len(sessions) == 3
    for session, user, place in zip(
        sessions, ["ann", "bob", "cem"], ["Oslo", "Nowhere", "Lyon"], strict=True
    ):
        types = trail.types(session)
        assert (types[0], types[-1], len(types)) == ("turn_start", "turn_end", 6)
        assert [kind for kind in types if kind == "tool_call_attempt"] == CALLS
        assert len([kind for kind in types if kind in OUTCOMES]) == 2
        mine = [e for e in trail.events if e.session_id == session]
        assert {(e.principal_id, e.principal_type, e.agent_id) for e in mine} == {(user, "user", "guide")}
        assert len({e.turn_id for e in mine}) == 1
        end = next(e for e in mine if isinstance(e, TurnEndEvent))
        assert (end.function_calls_count, end.content_preview.split("; ")[0]) == (2, f"rain in {place}")


def test_a_call_that_took_too_long_is_a_failure_of_its_own_request_only() -> None:
    with EmbeddedBroker() as broker:
        printed = run("web_service.py", broker.bootstrap_servers)
        trail = trail_of(broker)
    assert "rain in Nowhere; no answer" in printed
    failures = [e for e in trail.events if isinstance(e, ToolCallFailureEvent)]
    assert [(e.tool_name, e.error_type, e.principal_id) for e in failures] == [
        ("trains", "CancelledError", "bob")
    ]
