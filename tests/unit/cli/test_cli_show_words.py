from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.cli.show_words import anchor, clock, decision, duration, span, tell
from auditwire.events import (
    AgentSwitchEvent,
    AuditEvent,
    CustomEvent,
    ErrorEvent,
    HookMutationEvent,
    ModelCallEvent,
    SkillUsedEvent,
    ToolCallAttemptEvent,
    ToolCallCompleteEvent,
    ToolCallFailureEvent,
    ToolPolicyDecisionEvent,
    TurnEndEvent,
    TurnStartEvent,
)
from support.told import session_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL: dict[str, Any] = {"tool_name": "x", "tool_call_id": "1"}


def words(*events: AuditEvent) -> tuple[str, str, str, str, str]:
    told = tell(session_of(*events).items[0])
    return told.kind, told.title, told.state, told.text, told.result


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (
            [ToolCallAttemptEvent(**CALL, arguments_preview="q")],
            ("tool", "x", "no outcome recorded", "q", ""),
        ),
        (
            [
                ToolCallAttemptEvent(**CALL, arguments_preview="q"),
                ToolCallCompleteEvent(**CALL, result_preview="r"),
            ],
            ("tool", "x", "", "q", "r"),
        ),
        (
            [ToolCallFailureEvent(**CALL, error_type="E", error_message="m")],
            ("tool", "x", "failed", "", "E: m"),
        ),
        ([ToolCallCompleteEvent(**CALL, status="deferred")], ("tool", "x", "deferred", "", "")),
        ([ToolPolicyDecisionEvent(**CALL, action="ask")], ("tool", "x", "not attempted", "", "")),
        (
            [
                TurnStartEvent(turn_id="1", agent_id="a", prompt_preview="p"),
                TurnEndEvent(turn_id="1", content_preview="c"),
            ],
            ("turn", "a", "", "p", "c"),
        ),
        ([TurnStartEvent(turn_id="1")], ("turn", "agent", "no end recorded", "", "")),
        ([TurnEndEvent(turn_id="1")], ("turn", "agent", "no start recorded", "", "")),
        ([ErrorEvent(turn_id="1")], ("turn", "agent", "neither start nor end recorded", "", "")),
        (
            [
                ModelCallEvent(
                    provider="p", model="m", input_tokens=1_200, output_tokens=3, finish_reason="stop"
                )
            ],
            ("model", "p/m", "", "1,200 + 3 tokens · stop", ""),
        ),
        (
            [ModelCallEvent(status="error", error_type="RateLimit", finish_reason="error")],
            ("model", "model", "error RateLimit", "", ""),
        ),
        ([AgentSwitchEvent(from_agent="a", to_agent="b", reason="r")], ("switch", "a → b", "", "r", "")),
        ([CustomEvent(custom_type="c", payload="{}")], ("event", "c", "", "{}", "")),
        ([CustomEvent()], ("event", "custom", "", "{}", "")),
        ([ErrorEvent(error_type="E", error_message="m")], ("error", "error", "", "E: m", "")),
        (
            [SkillUsedEvent(skill_name="s", version="2", outcome="success")],
            ("skill", "skill used", "", "s 2 · success", ""),
        ),
        (
            [ToolPolicyDecisionEvent(tool_name="x", action="deny", policy_source="rules")],
            ("decision", "policy x", "", "deny · rules", ""),
        ),
        ([HookMutationEvent(hook_name="h", mutated_field="f")], ("decision", "hook", "", "h changed f", "")),
    ],
)
def test_what_is_said_of_an_item(events: list[AuditEvent], expected: tuple[str, ...]) -> None:
    assert words(*events) == expected


def test_a_model_call_and_a_skill_have_their_own_duration() -> None:
    assert tell(session_of(ModelCallEvent(duration_ms=12.0)).items[0]).duration_ms == 12.0
    skill = tell(session_of(SkillUsedEvent(skill_name="s", duration_ms=3.0)).items[0])
    assert (skill.text, skill.duration_ms) == ("s · unknown", 3.0)
    assert tell(session_of(ModelCallEvent()).items[0]).duration_ms is None


def test_what_was_decided_about_a_call_is_said_with_its_level() -> None:
    (denied,) = session_of(ToolPolicyDecisionEvent(tool_name="x", action="deny", policy_source="r")).entries
    assert decision(denied) == ("policy", "deny · r", "error")
    (other,) = session_of(ErrorEvent(error_type="E", error_message="m")).entries
    assert decision(other)[0] == "error"


def test_a_turn_and_its_first_event_have_anchors_of_their_own() -> None:
    (turn,) = session_of(ErrorEvent(turn_id="1")).items
    assert anchor(turn) == "t0"
    assert anchor(turn.items[0]) == "e0"  # type: ignore[union-attr] # a turn


@pytest.mark.parametrize(
    ("ms", "text"),
    [(None, ""), (0.0, "0.0 ms"), (1_240.0, "1.24 s"), (float("nan"), ""), (float("inf"), ""), (-1.0, "")],
)
def test_a_duration_that_is_none_is_not_written(ms: float | None, text: str) -> None:
    assert duration(ms) == text


def test_a_span_names_the_date_once_where_it_is_the_same() -> None:
    day = 86_400 * 1_000_000
    assert span(0, 61_000_000, utc=True) == "1970-01-01 00:00:00 to 00:01:01 UTC"
    assert span(0, day, utc=True) == "1970-01-01 00:00:00 to 1970-01-02 00:00:00 UTC"
    assert span(0, day, utc=False).rpartition(" ")[2][0] in "+-"


@pytest.fixture(params=["Pacific/Auckland", "Pacific/Honolulu"])
def far_away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine far to the east or to the west of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize("us", [-(2**63), 2**63 - 1, 0])
def test_any_time_that_an_event_can_hold_has_a_clock(us: int) -> None:
    assert clock(us, utc=True).tzinfo is not None
    assert clock(us, utc=False).tzinfo is not None
