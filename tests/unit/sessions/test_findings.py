from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from auditwire.events import (
    ApprovalEvent,
    CustomEvent,
    ErrorEvent,
    ModelCallEvent,
    SkillUsedEvent,
    ToolCallAttemptEvent,
    ToolCallCompleteEvent,
    ToolPolicyDecisionEvent,
    TurnEndEvent,
    TurnStartEvent,
)
from auditwire.sessions.findings import level_of
from auditwire.sessions.vocabulary import is_approval, is_denial, is_refusal
from support.told import session_of

if TYPE_CHECKING:
    from auditwire.events import AuditEvent

CALL: dict[str, Any] = {"tool_name": "x", "tool_call_id": "1"}


def found(*events: AuditEvent) -> list[tuple[str, str, str, str]]:
    return [(f.level, f.what, f.subject, f.text) for f in session_of(*events).findings]


@pytest.mark.parametrize(
    ("event", "finding"),
    [
        (
            ErrorEvent(agent_id="a", error_type="E", error_message="m"),
            [("error", "error", "a", "E: m")],
        ),
        (CustomEvent(custom_type="c", payload="{}", severity="warning"), [("warning", "warning", "c", "{}")]),
        (SkillUsedEvent(severity="error"), [("error", "error", "skill_used", "")]),
        (
            ModelCallEvent(provider="p", model="m", status="error", error_type="RateLimit"),
            [("error", "model call failed", "p/m", "error RateLimit")],
        ),
        (
            ApprovalEvent(tool_name="x", decision="no", approver_id="dana"),
            [("error", "not approved", "x", "user dana")],
        ),
        (ApprovalEvent(tool_name="x", decision="yes"), []),
        (ToolPolicyDecisionEvent(tool_name="x", action="allow"), []),
        (CustomEvent(custom_type="c"), []),
        (ModelCallEvent(model="m"), []),
        (TurnStartEvent(agent_id="a"), [("warning", "turn without an end", "a", "")]),
        (TurnEndEvent(turn_id="t", agent_id="a"), []),
    ],
)
def test_what_an_event_is_found_to_be(event: AuditEvent, finding: list[tuple[str, str, str, str]]) -> None:
    assert found(event) == finding


@pytest.mark.parametrize(
    ("status", "finding"),
    [
        ("success", []),
        ("", []),
        ("deferred", [("warning", "ended as", "x", "deferred")]),
        ("error", [("error", "ended as", "x", "error")]),
        ("denied", [("error", "ended as", "x", "denied")]),
    ],
)
def test_what_the_end_of_a_call_is_found_to_be(status: str, finding: list[tuple[str, str, str, str]]) -> None:
    assert found(ToolCallAttemptEvent(**CALL), ToolCallCompleteEvent(**CALL, status=status)) == finding


def test_a_denial_is_told_once_where_policy_and_completion_both_tell_it() -> None:
    events = (
        ToolCallAttemptEvent(**CALL),
        ToolPolicyDecisionEvent(**CALL, action="deny", policy_source="rules"),
        ToolCallCompleteEvent(**CALL, status="denied"),
    )
    assert found(*events) == [("error", "denied by a policy", "x", "rules")]


def test_a_call_that_was_denied_is_not_called_unfinished_too() -> None:
    events = ToolCallAttemptEvent(**CALL), ToolPolicyDecisionEvent(**CALL, action="deny")
    assert [what for _, what, _, _ in found(*events)] == ["denied by a policy"]


def test_a_turn_without_start_and_end_is_found_by_its_first_event() -> None:
    session = session_of(ToolCallAttemptEvent(**CALL, turn_id="t"), ErrorEvent(turn_id="t"))
    whats = [(finding.what, finding.entry.number) for finding in session.findings]
    assert whats == [("turn without an end", 0), ("call without an outcome", 0), ("error", 1)]


def test_the_level_of_an_item_is_the_worst() -> None:
    session = session_of(TurnStartEvent(), ErrorEvent())
    assert level_of(session.findings) == "error"
    assert level_of(session.findings[:1]) == "warning"
    assert level_of([]) is None


def test_a_finding_says_where_its_event_is() -> None:
    session = session_of(ErrorEvent(error_type="E", error_message="m"))
    out = session.findings[0].to_dict()
    event = session.entries[0].event
    assert (out["event_id"], out["sequence"], out["timestamp"]) == (event.event_id, 1, event.timestamp)


def test_words_that_mean_no_are_known_in_any_case() -> None:
    assert is_denial(" DENY ")
    assert not is_denial("rejected")
    assert is_refusal("Rejected")
    assert is_refusal("denied")
    assert is_approval("Granted")
    assert not is_approval("ask")
