from __future__ import annotations

import pytest

import auditwire.testing
from auditwire import AuditEmitter, CollectorClosed, InMemoryCollector
from auditwire.events import AuditEvent, ToolCallAttemptEvent, TurnStartEvent
from auditwire.testing import CapturedEvents, capture_events


def run_agent(audit: AuditEmitter) -> None:
    turn = audit.emit_turn_start(prompt="hello", agent_id="planner")
    audit.emit_tool_call_attempt("search", args="q", turn_id=turn)
    audit.emit_turn_end(turn_id=turn)


def test_events_are_seen_in_the_order_of_their_emission() -> None:
    with capture_events() as audit:
        run_agent(audit.emitter)
    assert audit.types == ["turn_start", "tool_call_attempt", "turn_end"]
    assert len(audit) == 3
    assert [event.event_type for event in audit] == audit.types


def test_events_of_one_class_come_typed() -> None:
    with capture_events() as audit:
        run_agent(audit.emitter)
    (start,) = audit.of_type(TurnStartEvent)
    assert start.prompt_preview == "hello"
    (attempt,) = audit.of_type(ToolCallAttemptEvent)
    assert attempt.turn_id == start.turn_id


def test_an_index_gives_an_event_and_a_slice_a_list() -> None:
    with capture_events() as audit:
        run_agent(audit.emitter)
    assert isinstance(audit[0], TurnStartEvent)
    assert [event.event_type for event in audit[-2:]] == ["tool_call_attempt", "turn_end"]


def test_the_session_is_stamped_on_every_event() -> None:
    with capture_events("s-1") as audit:
        run_agent(audit.emitter)
    assert {event.session_id for event in audit} == {"s-1"}


def test_what_was_captured_can_be_forgotten() -> None:
    with capture_events() as audit:
        run_agent(audit.emitter)
        audit.clear()
        audit.emitter.emit_error("E")
    assert audit.types == ["error"]


def test_code_that_makes_its_own_emitter_takes_the_collector() -> None:
    with capture_events() as audit:
        run_agent(AuditEmitter(audit.collector, "s-2"))
    assert audit[0].session_id == "s-2"


def test_captures_are_kept_apart() -> None:
    with capture_events() as one, capture_events() as other:
        run_agent(one.emitter)
    assert len(one) == 3
    assert len(other) == 0


def test_a_failing_assertion_shows_the_types() -> None:
    with capture_events() as audit:
        audit.emitter.emit_error("E")
    assert repr(audit) == "<CapturedEvents ['error']>"


def test_a_refused_event_fails_the_test_instead_of_a_line_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: InMemoryCollector, event: AuditEvent) -> None:
        raise CollectorClosed("refused")

    monkeypatch.setattr(InMemoryCollector, "emit", refuse)
    with capture_events() as audit, pytest.raises(CollectorClosed):
        audit.emitter.emit_error("E")


def test_the_package_offers_what_it_says_and_nothing_else() -> None:
    assert auditwire.testing.CapturedEvents is CapturedEvents
    assert sorted(auditwire.testing.__all__) == sorted(auditwire.testing._HOMES)
    for name in auditwire.testing.__all__:
        assert getattr(auditwire.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = auditwire.testing.nothing
