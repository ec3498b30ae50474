from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from auditwire import events as ev
from auditwire.cli.demo_agent import DemoAgent, Stopped, WordsCounted
from auditwire.testing import CapturedEvents, capture_events

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def session(tmp_path: Path) -> CapturedEvents:
    with capture_events("demo-1") as audit:
        DemoAgent(audit.emitter, tmp_path, threading.Event()).run()
    return audit


def test_every_type_of_event_an_agent_emits_is_there(session: CapturedEvents) -> None:
    assert {type(event) for event in session} == {
        *(set(ev.EVENT_TYPES.values()) - {ev.CustomEvent}),
        WordsCounted,  # what a KafkaCollector makes a CustomEvent of
    }


def test_the_tools_really_ran(session: CapturedEvents, tmp_path: Path) -> None:
    assert (tmp_path / "report.md").read_text() == "The notes have 18 words.\n"
    assert (tmp_path / "skills/count-words/skill.py").exists()
    counted = [
        e.result_preview for e in session.of_type(ev.ToolCallCompleteEvent) if e.tool_name == "run_python"
    ]
    assert counted == ["18", "18"]
    assert [e.words for e in session.of_type(WordsCounted)] == [18]


def test_every_attempt_has_one_outcome_or_was_refused(session: CapturedEvents) -> None:
    attempts = [e.tool_call_id for e in session.of_type(ev.ToolCallAttemptEvent)]
    refused = [e.tool_call_id for e in session.of_type(ev.ToolPolicyDecisionEvent) if e.action == "deny"]
    refused += [e.tool_call_id for e in session.of_type(ev.ToolLoopBlockEvent)]
    ended = [e.tool_call_id for e in session.of_type(ev.ToolCallCompleteEvent)]
    ended += [e.tool_call_id for e in session.of_type(ev.ToolCallFailureEvent)]
    assert Counter(attempts) == Counter(ended + refused)
    assert len(set(attempts)) == len(attempts)


def test_a_missing_file_is_a_failure_and_its_path_tells_nothing_of_the_machine(
    session: CapturedEvents, tmp_path: Path
) -> None:
    (failure,) = session.of_type(ev.ToolCallFailureEvent)
    assert (failure.error_type, failure.error_message) == (
        "FileNotFoundError",
        "No such file or directory: friday.md",
    )
    assert all(str(tmp_path) not in event.to_json() for event in session)


def test_the_loop_is_warned_of_and_then_stopped(session: CapturedEvents) -> None:
    assert [e.call_count for e in session.of_type(ev.ToolLoopWarningEvent)] == [3]
    assert [e.call_count for e in session.of_type(ev.ToolLoopBlockEvent)] == [4]


def test_the_hook_changes_only_what_is_too_long(session: CapturedEvents) -> None:
    (mutation,) = session.of_type(ev.HookMutationEvent)
    assert (mutation.agent_id, mutation.tool_name, mutation.mutated_field) == (
        "planner",
        "run_python",
        "timeout",
    )


def test_the_reviewers_turn_names_the_turn_that_asked_for_it(session: CapturedEvents) -> None:
    planner, reviewer = session.of_type(ev.TurnStartEvent)
    assert (reviewer.parent_turn_id, reviewer.parent_agent_id) == (planner.turn_id, "planner")
    assert (planner.parent_turn_id, planner.parent_agent_id) == (None, None)
    ends = session.of_type(ev.TurnEndEvent)
    assert [end.turn_id for end in ends] == [reviewer.turn_id, planner.turn_id]
    assert ends[-1].content_preview == "The report is written and reviewed: the number is right."


def test_every_event_belongs_to_the_session_a_turn_and_an_agent(session: CapturedEvents) -> None:
    assert {event.session_id for event in session} == {"demo-1"}
    assert len({event.turn_id for event in session}) == 2
    assert {event.agent_id for event in session} == {"planner", "reviewer"}


def test_no_model_is_claimed(session: CapturedEvents) -> None:
    assert {(e.provider, e.input_tokens, e.output_tokens) for e in session.of_type(ev.ModelCallEvent)} == {
        ("scripted", 0, 0)
    }


def test_it_ends_before_its_next_step_when_asked_to(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with capture_events() as audit, pytest.raises(Stopped):
        DemoAgent(audit.emitter, tmp_path, stop, pause=60.0).run()
    assert audit.types == ["turn_start", "error", "model_call"]


def test_a_wrong_number_is_found_by_the_review(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def miscount(self: DemoAgent, code: str, timeout: float) -> str:
        return "18" if timeout > 4 and self._agent == "planner" else "17"

    monkeypatch.setattr(DemoAgent, "_run_python", miscount)
    with capture_events() as audit:
        DemoAgent(audit.emitter, tmp_path, threading.Event()).run()
    assert [e.rating for e in audit.of_type(ev.SkillFeedbackEvent)] == ["negative"]
    assert audit.of_type(ev.TurnEndEvent)[-1].content_preview.endswith("the number is wrong.")


def test_a_tool_that_fails_in_any_way_is_a_failure_event_and_the_agent_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: DemoAgent, code: str, timeout: float) -> str:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(DemoAgent, "_run_python", fail)
    with capture_events() as audit:
        DemoAgent(audit.emitter, tmp_path, threading.Event()).run()
    failures = [
        e.error_message for e in audit.of_type(ev.ToolCallFailureEvent) if e.tool_name == "run_python"
    ]
    assert failures == ["by zero", "by zero"]
    assert (tmp_path / "report.md").read_text() == "The notes have ? words.\n"
