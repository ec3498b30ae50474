from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.events import (
    ApprovalEvent,
    HookMutationEvent,
    SandboxDecisionEvent,
    ToolCallAttemptEvent,
    ToolCallCompleteEvent,
    ToolCallFailureEvent,
    ToolLoopBlockEvent,
    ToolLoopWarningEvent,
    ToolPolicyDecisionEvent,
    TurnStartEvent,
)
from auditwire.sessions import Moment, Session, ToolCall
from auditwire.sessions.tree import walk
from support.told import session_of

if TYPE_CHECKING:
    from auditwire.events import AuditEvent

T: dict[str, Any] = {"turn_id": "t1", "agent_id": "a"}


def attempt(call: str | None = None, tool: str = "search", **more: Any) -> ToolCallAttemptEvent:
    return ToolCallAttemptEvent(**{**T, **more}, tool_name=tool, tool_call_id=call)


def complete(call: str | None = None, tool: str = "search", **more: Any) -> ToolCallCompleteEvent:
    return ToolCallCompleteEvent(**{**T, **more}, tool_name=tool, tool_call_id=call)


def failure(call: str | None = None, tool: str = "search", **more: Any) -> ToolCallFailureEvent:
    return ToolCallFailureEvent(**{**T, **more}, tool_name=tool, tool_call_id=call, error_type="E")


def policy(action: str, call: str | None = None, **more: Any) -> ToolPolicyDecisionEvent:
    return ToolPolicyDecisionEvent(**{**T, **more}, tool_name="search", action=action, tool_call_id=call)


def calls(session: Session) -> list[ToolCall]:
    return [item for item in walk(session.items) if isinstance(item, ToolCall)]


def told(*events: AuditEvent) -> list[tuple[str | None, str, str, float | None]]:
    return [
        (call.call_id, call.state, call.pairing, call.duration_ms)
        for call in calls(session_of(TurnStartEvent(**T), *events))
    ]


def test_attempt_and_outcome_with_one_id_are_one_call_whatever_comes_between() -> None:
    events = attempt("1"), attempt("2"), failure("2"), complete("1")
    assert told(*events) == [("1", "done", "id", 3_000.0), ("2", "failed", "id", 1_000.0)]


def test_the_duration_that_a_completion_tells_is_taken_before_the_clock() -> None:
    assert told(attempt("1"), complete("1", duration_ms=12.5)) == [("1", "done", "id", 12.5)]


@pytest.mark.parametrize("told_ms", [-1.0, float("nan"), float("inf")])
def test_a_duration_that_is_none_is_not_taken(told_ms: float) -> None:
    assert told(attempt("1"), complete("1", duration_ms=told_ms)) == [("1", "done", "id", 1_000.0)]


def test_a_call_without_an_outcome_is_unfinished() -> None:
    assert told(attempt("1")) == [("1", "unfinished", "alone", None)]


def test_an_outcome_without_an_attempt_is_a_call_that_began_its_duration_earlier() -> None:
    (call,) = calls(session_of(TurnStartEvent(**T), complete("1", duration_ms=500.0)))
    assert (call.state, call.pairing, call.attempt) == ("done", "alone", None)
    assert (call.began_us, call.ended_us) == (1_500_000, 2_000_000)


def test_an_id_that_is_used_again_begins_another_call() -> None:
    events = attempt("1"), complete("1"), attempt("1"), failure("1")
    assert [state for _, state, _, _ in told(*events)] == ["done", "failed"]


def test_the_same_id_in_two_turns_is_two_calls() -> None:
    events = attempt("1"), attempt("1", turn_id="t2"), failure("1", turn_id="t2"), complete("1")
    assert sorted(state for _, state, _, _ in told(*events)) == ["done", "failed"]


def test_the_outcome_of_a_deferred_call_may_come_in_a_later_turn() -> None:
    assert told(attempt("1"), complete("1", turn_id="t2")) == [("1", "done", "id", 1_000.0)]


def test_a_completion_with_another_status_says_what_became_of_the_call() -> None:
    assert told(attempt("1"), complete("1", status="deferred")) == [("1", "deferred", "id", 1_000.0)]
    assert told(attempt("1"), complete("1", status="")) == [("1", "done", "id", 1_000.0)]


# -- without ids ------------------------------------------------------------------------------------------


def test_without_ids_the_only_open_call_of_the_tool_is_taken() -> None:
    events = attempt(), attempt(tool="read"), complete(tool="read"), complete()
    assert told(*events) == [(None, "done", "order", 3_000.0), (None, "done", "order", 1_000.0)]


def test_of_several_open_calls_without_ids_the_first_is_taken_and_called_a_guess_without_a_duration() -> None:
    events = attempt(), attempt(), failure(), complete()
    assert told(*events) == [(None, "failed", "guess", None), (None, "done", "order", 2_000.0)]


def test_agents_and_turns_are_kept_apart_without_ids() -> None:
    events = attempt(), attempt(agent_id="b"), attempt(turn_id="t2"), complete(agent_id="b")
    assert [state for _, state, _, _ in told(*events)] == ["unfinished", "done", "unfinished"]


def test_a_denied_call_leaves_the_outcome_to_the_next_one() -> None:
    events = attempt(), policy("deny"), attempt(), complete()
    assert [(state, how) for _, state, how, _ in told(*events)] == [("denied", "alone"), ("done", "order")]


def test_a_denied_call_gets_its_own_completion_when_no_other_is_open() -> None:
    events = attempt(), policy("deny"), complete(status="denied")
    assert [(state, how) for _, state, how, _ in told(*events)] == [("denied", "order")]


def test_an_outcome_without_an_id_ends_a_call_with_one_and_the_other_way_round() -> None:
    assert [how for *_, how, _ in told(attempt("1"), complete())] == ["order"]
    assert [how for *_, how, _ in told(attempt(), complete("1"))] == ["order"]


def test_an_outcome_with_an_id_ends_no_call_with_another_one() -> None:
    assert [state for _, state, _, _ in told(attempt("1"), complete("2"))] == ["unfinished", "done"]


# -- what is decided about a call -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (policy("deny", "1"), "denied"),
        (policy(" Denied ", "1"), "denied"),
        (policy("allow", "1"), "unfinished"),
        (ApprovalEvent(**T, tool_call_id="1", tool_name="search", decision="rejected"), "refused"),
        (ApprovalEvent(**T, tool_call_id="1", tool_name="search", decision="approved"), "unfinished"),
        (ToolLoopBlockEvent(**T, tool_call_id="1", tool_name="search"), "blocked"),
        (ToolLoopWarningEvent(**T, tool_call_id="1", tool_name="search"), "unfinished"),
        (SandboxDecisionEvent(**T, tool_call_id="1", tool_name="search"), "unfinished"),
        (HookMutationEvent(**T, tool_call_id="1", tool_name="search"), "unfinished"),
    ],
)
def test_without_an_outcome_what_was_decided_says_what_became_of_the_call(
    event: AuditEvent, state: str
) -> None:
    (call,) = calls(session_of(TurnStartEvent(**T), attempt("1"), event))
    assert (call.state, len(call.around)) == (state, 1)


def test_a_decision_that_comes_before_the_attempt_belongs_to_it() -> None:
    (call,) = calls(session_of(TurnStartEvent(**T), policy("allow", "1"), attempt("1"), complete("1")))
    assert call.attempt is not None
    assert (call.state, len(call.around), call.number, call.began_us) == ("done", 1, 1, 2_000_000)


def test_a_call_that_was_never_attempted_is_undecided_or_denied() -> None:
    assert [state for _, state, _, _ in told(policy("ask", "1"))] == ["undecided"]
    assert [state for _, state, _, _ in told(policy("deny", "1"))] == ["denied"]


def test_a_decision_without_an_id_belongs_to_the_call_that_was_opened_last() -> None:
    found = calls(session_of(TurnStartEvent(**T), attempt(), attempt(), policy("allow")))
    assert [len(call.around) for call in found] == [0, 1]


def test_a_decision_without_an_id_and_without_an_open_call_stands_alone() -> None:
    session = session_of(TurnStartEvent(**T), policy("deny"))
    (moment,) = (item for item in walk(session.items) if isinstance(item, Moment))
    assert isinstance(moment.entry.event, ToolPolicyDecisionEvent)


def test_a_decision_outside_of_any_turn_finds_the_call_by_its_id() -> None:
    found = calls(session_of(TurnStartEvent(**T), attempt("1"), policy("deny", "1", turn_id=None)))
    assert [call.state for call in found] == ["denied"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([attempt, complete, failure, policy]),
            st.sampled_from([None, "1", "2"]),
            st.sampled_from(["t1", "t2", None]),
        ),
        max_size=12,
    )
)
def test_each_event_is_in_the_tree_once(plan: list[tuple[Any, str | None, str | None]]) -> None:
    events = [
        policy("deny", call, turn_id=turn) if make is policy else make(call, turn_id=turn)
        for make, call, turn in plan
    ]
    session = session_of(TurnStartEvent(**T), *events)
    entries = [
        entry.number
        for item in walk(session.items)
        if not isinstance(item, Moment)
        for entry in (item.entries if isinstance(item, ToolCall) else filter(None, (item.start, item.end)))
    ]
    entries += [item.entry.number for item in walk(session.items) if isinstance(item, Moment)]
    assert sorted(entries) == list(range(len(events) + 1))
    assert session.totals.tool_calls == len(calls(session))
