from __future__ import annotations

import copy
import json
import pickle
import time
import typing
import uuid
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditwire import events
from auditwire.event_base import Maker
from auditwire.events import (
    ALL_TYPES,
    CONTROL_TYPES,
    EVENT_TYPES,
    AuditEvent,
    CustomEvent,
    ErrorEvent,
    SkillAuthoredEvent,
    ToolCallAttemptEvent,
    TurnStartEvent,
    event_from_dict,
    iso_from_us,
    now_us,
    us_from_time,
)

ENVELOPE = [
    "event_id",
    "timestamp_us",
    "session_id",
    "turn_id",
    "agent_id",
    "principal_id",
    "principal_type",
    "tenant_id",
    "severity",
    "metadata",
    "trace_id",
    "span_id",
]

# class name -> event type, severity, the type's own fields with their defaults, in order
CONTRACT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "TurnStartEvent": (
        "turn_start",
        "info",
        {
            "prompt_preview": "",
            "prompt_length": 0,
            "prompt_digest": None,
            "parent_turn_id": None,
            "parent_agent_id": None,
        },
    ),
    "TurnEndEvent": (
        "turn_end",
        "info",
        {"content_preview": "", "content_length": 0, "content_digest": None, "function_calls_count": 0},
    ),
    "ToolCallAttemptEvent": (
        "tool_call_attempt",
        "info",
        {
            "tool_name": "",
            "arguments_preview": "",
            "arguments_length": 0,
            "arguments_digest": None,
            "tool_call_id": None,
        },
    ),
    "ToolCallCompleteEvent": (
        "tool_call_complete",
        "info",
        {
            "tool_name": "",
            "status": "success",
            "duration_ms": 0.0,
            "result_preview": "",
            "result_length": 0,
            "result_digest": None,
            "tool_call_id": None,
        },
    ),
    "ToolCallFailureEvent": (
        "tool_call_failure",
        "error",
        {"tool_name": "", "error_type": "", "error_message": "", "tool_call_id": None},
    ),
    "ToolPolicyDecisionEvent": (
        "tool_policy_decision",
        "info",
        {"tool_name": "", "action": "", "policy_source": "", "tool_call_id": None},
    ),
    "ToolLoopWarningEvent": (
        "tool_loop_warning",
        "warning",
        {"tool_name": "", "pattern": "", "severity_level": "warning", "call_count": 0, "tool_call_id": None},
    ),
    "ToolLoopBlockEvent": (
        "tool_loop_block",
        "error",
        {"tool_name": "", "pattern": "", "call_count": 0, "tool_call_id": None},
    ),
    "SandboxDecisionEvent": (
        "sandbox_decision",
        "info",
        {"tool_name": "", "context": "", "reason": "", "backend_type": "", "tool_call_id": None},
    ),
    "HookMutationEvent": (
        "hook_mutation",
        "info",
        {"hook_name": "", "tool_name": "", "mutated_field": "", "tool_call_id": None},
    ),
    "ErrorEvent": ("error", "error", {"error_type": "", "error_message": "", "error_context": ""}),
    "AgentSwitchEvent": ("agent_switch", "info", {"from_agent": "", "to_agent": "", "reason": ""}),
    "SkillUsedEvent": (
        "skill_used",
        "info",
        {
            "skill_name": "",
            "version": "",
            "outcome": "unknown",
            "duration_ms": 0.0,
            "triggered_automatically": True,
        },
    ),
    "SkillAuthoredEvent": (
        "skill_authored",
        "info",
        {
            "skill_name": "",
            "version": "",
            "source_path": "",
            "tool_count": 0,
            "unique_tools": [],
            "confirmed_by_user": False,
        },
    ),
    "SkillFeedbackEvent": (
        "skill_feedback",
        "info",
        {"skill_name": "", "rating": "neutral", "reason": "", "source": "user"},
    ),
    "ModelCallEvent": (
        "model_call",
        "info",
        {
            "model": "",
            "provider": "",
            "operation": "chat",
            "status": "success",
            "duration_ms": 0.0,
            "input_tokens": 0,
            "output_tokens": 0,
            "finish_reason": "",
            "error_type": "",
        },
    ),
    "ApprovalEvent": (
        "approval",
        "info",
        {
            "tool_name": "",
            "decision": "",
            "approver_id": "",
            "approver_type": "user",
            "reason": "",
            "tool_call_id": None,
        },
    ),
    "CustomEvent": ("custom", "info", {"custom_type": "", "payload": "{}"}),
}

every_class = pytest.mark.parametrize("cls", [AuditEvent, *ALL_TYPES.values()], ids=lambda cls: cls.__name__)


def test_the_event_types_are_those_of_the_contract() -> None:
    assert {cls.__name__: name for name, cls in EVENT_TYPES.items()} == {
        class_name: event_type for class_name, (event_type, _, _) in CONTRACT.items()
    }


@pytest.mark.parametrize("class_name", CONTRACT)
def test_an_event_has_the_fields_and_defaults_of_the_contract(class_name: str) -> None:
    event_type, severity, defaults = CONTRACT[class_name]
    event = getattr(events, class_name)()
    assert event.event_type == event_type
    assert event.severity == severity
    assert [f.name for f in fields(event)] == [*ENVELOPE, *defaults]
    for name, default in defaults.items():
        assert getattr(event, name) == default, name
        assert type(getattr(event, name)) is type(default), name
    for name in set(ENVELOPE) - {"event_id", "timestamp_us", "severity", "metadata"}:
        assert getattr(event, name) is None, name
    assert event.metadata == {}


def test_the_base_event_is_of_type_base() -> None:
    assert AuditEvent().event_type == "base"
    assert [f.name for f in fields(AuditEvent)] == ENVELOPE


def test_control_types_are_no_event_types_of_an_agent() -> None:
    assert list(CONTROL_TYPES) == ["checkpoint", "recovery", "quarantine", "loss"]
    assert not set(CONTROL_TYPES) & set(EVENT_TYPES)
    assert {**EVENT_TYPES, **CONTROL_TYPES} == ALL_TYPES


@every_class
def test_an_event_is_slotted_and_its_type_cannot_be_set(cls: type[AuditEvent]) -> None:
    event = cls()
    with pytest.raises(AttributeError):
        event.event_type = "other"  # type: ignore[misc]  # what is tested
    with pytest.raises(AttributeError):
        event.no_such_field = 1  # type: ignore[attr-defined]  # what is tested
    assert not hasattr(event, "__dict__")


@every_class
def test_an_event_takes_keywords_only(cls: type[AuditEvent]) -> None:
    with pytest.raises(TypeError):
        cls("an id")  # type: ignore[call-arg]  # what is tested


@every_class
def test_an_event_can_be_copied_and_pickled(cls: type[AuditEvent]) -> None:
    event = cls(session_id="s", metadata={"k": [1]})
    assert copy.copy(event) == event
    assert pickle.loads(pickle.dumps(event)) == event


def test_each_event_has_an_id_of_its_own_from_construction_on() -> None:
    made = [ErrorEvent() for _ in range(1_000)]
    assert len({event.event_id for event in made}) == 1_000
    assert uuid.UUID(made[0].event_id).version == 7


def test_the_time_is_taken_at_construction() -> None:
    before = time.time_ns() // 1_000
    event = ErrorEvent()
    assert before <= event.timestamp_us <= time.time_ns() // 1_000
    read = datetime.fromisoformat(event.timestamp)
    assert read.utcoffset() == timedelta(0)
    assert us_from_time(event.timestamp) == event.timestamp_us


def test_events_share_no_metadata_or_list() -> None:
    one, other = SkillAuthoredEvent(), SkillAuthoredEvent()
    one.metadata["k"] = 1
    one.unique_tools.append("search")
    assert other.metadata == {}
    assert other.unique_tools == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1970-01-01T00:00:01+00:00", 1_000_000),
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("1970-01-01T00:00:01.000002z", 1_000_002),
        ("1970-01-01T02:00:01+02:00", 1_000_000),
        ("1970-01-01T00:00:01", 1_000_000),
        ("1969-12-31T23:59:59+00:00", -1_000_000),
        (datetime(1970, 1, 1, 0, 0, 1), 1_000_000),  # noqa: DTZ001 - a naive time is UTC
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0),
        (7, 7),
    ],
)
def test_a_time_can_be_given_as(value: str | datetime | int, expected: int) -> None:
    assert us_from_time(value) == expected
    event = AuditEvent()
    event.timestamp = value
    assert event.timestamp_us == expected


@pytest.mark.parametrize("value", ["", "yesterday", "Z", "2026-13-01T00:00:00Z"])
def test_text_that_is_no_time_is_a_value_error(value: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|month"):
        us_from_time(value)


@given(us=st.integers(-(2**70), 2**70))
def test_any_number_reads_as_a_time_of_26_digits_with_offset(us: int) -> None:
    text = iso_from_us(us)
    assert len(text) == len("2026-01-01T00:00:00.000000+00:00")
    assert text.endswith("+00:00")
    if -62_135_596_800_000_000 <= us <= 253_402_300_799_999_999:
        assert us_from_time(text) == us


@every_class
def test_to_dict_begins_with_id_type_and_time_and_holds_every_field(cls: type[AuditEvent]) -> None:
    event = cls()
    out = event.to_dict()
    assert list(out) == [
        "event_id",
        "event_type",
        "timestamp",
        *[f.name for f in fields(cls) if f.name not in {"event_id", "timestamp_us"}],
    ]
    assert out["event_id"] == event.event_id
    assert out["event_type"] == event.event_type
    assert out["timestamp"] == event.timestamp


def test_to_dict_shares_nothing_with_the_event() -> None:
    event = SkillAuthoredEvent(metadata={"list": [1]}, unique_tools=["search"])
    out = event.to_dict()
    out["metadata"]["list"].append(2)
    out["unique_tools"].append("fetch")
    assert event.metadata == {"list": [1]}
    assert event.unique_tools == ["search"]


def test_to_json_is_to_dict_on_one_line_with_its_characters_as_they_are() -> None:
    event = TurnStartEvent(prompt_preview="Grüße\n\u2028 日本", metadata={"π": 3.14})
    text = event.to_json()
    assert json.loads(text) == event.to_dict()
    assert len(text.splitlines()) == 1
    assert "Grüße" in text
    assert "π" in text


class Unprintable:
    def __str__(self) -> str:
        raise ValueError


classes: st.SearchStrategy[type[AuditEvent]] = st.sampled_from([AuditEvent, *ALL_TYPES.values()])
odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | st.text(st.characters())
    | st.sampled_from([Unprintable(), object, 1j, float("inf"), "\ud800\udfff", datetime(1, 1, 1)]),  # noqa: DTZ001
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
    max_leaves=8,
)


@given(data=st.data(), cls=classes)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_to_json_takes_any_value_in_any_field(data: st.DataObject, cls: type[AuditEvent]) -> None:
    names = [f.name for f in fields(cls)]
    values: dict[str, Any] = data.draw(st.dictionaries(st.sampled_from(names), odd, max_size=6))
    event = cls(**values)
    text = event.to_json()
    text.encode()
    assert len(text.splitlines()) == 1
    assert json.loads(text, parse_constant=pytest.fail) == event.to_dict()


clean = st.text(st.characters(exclude_categories=["Cs"]))
jsonish = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | clean,
    lambda inner: st.lists(inner) | st.dictionaries(clean, inner),
    max_leaves=8,
)
OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: clean,
    str | None: st.none() | clean,
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    list[str]: st.lists(clean),
    dict[str, Any]: st.dictionaries(clean, jsonish),
}


@st.composite
def well_typed_events(draw: st.DrawFn) -> AuditEvent:
    cls = draw(classes)
    hints = typing.get_type_hints(cls)
    values = {f.name: draw(OF_TYPE[hints[f.name]]) for f in fields(cls)}
    values["timestamp_us"] = draw(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
    return cls(**values)


@given(event=well_typed_events())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_an_event_comes_back_from_its_dictionary_and_from_its_json(event: AuditEvent) -> None:
    assert event_from_dict(event.to_dict()) == event
    again = event_from_dict(json.loads(event.to_json()))
    assert again == event
    assert type(again) is type(event)


def test_an_event_of_your_own_class_comes_back_as_a_custom_event() -> None:
    @dataclass(slots=True, kw_only=True)
    class Deployment(AuditEvent):
        event_type: ClassVar[str] = "deployment"
        service: str = ""
        payload: str = ""

    mine = Deployment(session_id="s", service="web", payload="p", metadata={"a": 1})
    again = event_from_dict(mine.to_dict())
    assert isinstance(again, CustomEvent)
    assert again.custom_type == "deployment"
    assert json.loads(again.payload) == {"service": "web", "payload": "p"}
    assert (again.event_id, again.timestamp, again.session_id) == (mine.event_id, mine.timestamp, "s")
    assert again.metadata == {"a": 1}


def test_keys_that_the_class_does_not_know_are_kept_in_the_metadata() -> None:
    data = {**ErrorEvent(metadata={"a": 1}).to_dict(), "error_code": 7}
    again = event_from_dict(data)
    assert again.metadata == {"a": 1, "auditwire.unknown_fields": {"error_code": 7}}
    assert "error_code" in data, "the caller's dictionary is not changed"


def test_metadata_that_is_no_mapping_is_kept_under_its_name() -> None:
    again = event_from_dict({**ErrorEvent().to_dict(), "metadata": ["x"], "odd": 1})
    assert again.metadata == {"metadata": ["x"], "auditwire.unknown_fields": {"odd": 1}}


def test_what_is_missing_gets_its_default() -> None:
    again = event_from_dict({"event_type": "tool_call_attempt", "timestamp": 5, "tool_name": "search"})
    assert isinstance(again, ToolCallAttemptEvent)
    assert again.tool_name == "search"
    assert again.arguments_length == 0
    assert again.timestamp_us == 5
    assert uuid.UUID(again.event_id).version == 7


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"event_type": "error"},
        {"timestamp": "2026-01-01T00:00:00Z"},
        {"event_type": 3, "timestamp": "2026-01-01T00:00:00Z"},
        {"event_type": "", "timestamp": "2026-01-01T00:00:00Z"},
        {"event_type": "error", "timestamp": None},
        {"event_type": "error", "timestamp": "soon"},
    ],
)
def test_a_dictionary_without_type_or_time_is_a_value_error(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs event_type|isoformat"):
        event_from_dict(data)


def test_a_subclass_that_leaves_fields_unset_is_shown_with_none() -> None:
    class Careless(AuditEvent):
        def __init__(self) -> None:
            self.event_id = "x"
            self.timestamp_us = 0

    assert Careless().to_dict()["session_id"] is None


def test_a_time_that_is_none_is_shown_as_what_it_is() -> None:
    assert ErrorEvent(timestamp_us="noon").to_dict()["timestamp"] == "noon"  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", EVENT_TYPES.values())
def test_a_maker_fills_in_what_the_class_itself_does(cls: type[AuditEvent]) -> None:
    class Make:
        event: Maker[..., AuditEvent] = Maker(cls)

    lists = {f.name: ["a"] for f in fields(cls) if f.default_factory is list}
    before = now_us()
    first, second = (Make.event(metadata={"k": 1}, turn_id="t", **lists) for _ in range(2))
    assert before <= first.timestamp_us <= now_us()
    assert uuid.UUID(first.event_id).version == 7
    assert first.event_id < second.event_id
    twin = cls(
        event_id=first.event_id,
        timestamp_us=first.timestamp_us,
        metadata={"k": 1},
        turn_id="t",
        **lists,  # type: ignore[arg-type]  # as above
    )
    assert type(first) is cls
    assert first == twin


def test_a_maker_takes_what_an_emitter_gives_over_the_defaults_and_nothing_else() -> None:
    class Make:
        error = Maker(ErrorEvent)

    event = Make.error(metadata={}, agent_id="a", severity="warning", error_type="T", error_message="m")
    assert (event.agent_id, event.severity, event.error_type, event.error_message) == (
        "a",
        "warning",
        "T",
        "m",
    )
    assert Make.error is Make.error  # compiled once
    with pytest.raises(TypeError, match="event_id"):
        Make.error(metadata={}, event_id="e")
