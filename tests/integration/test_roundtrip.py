"""From ``emit_*`` to a broker and back: the same event, and the bytes that the schema says."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from io import BytesIO
from typing import TYPE_CHECKING, Any

import fastavro
import pytest
from emit_support import assert_complete, collector, consume, read_all

from auditwire import AuditEmitter, CompositeCollector, InMemoryCollector
from auditwire.event_base import us_from_time
from auditwire.events import ALL_TYPES, EVENT_TYPES, AuditEvent, CheckpointEvent, CustomEvent, TurnStartEvent
from auditwire.wire import (
    FastavroEncoder,
    decode,
    frame_single_object,
    join_body,
    schema_by_fingerprint,
    schema_for,
    topic_name,
)

if TYPE_CHECKING:
    from rig.broker import Broker

WHO: dict[str, Any] = {"agent_id": "planner", "turn_id": "0a1b2c3d4e5f", "metadata": {"k": ["v", 1, None]}}
CALL: dict[str, Any] = {**WHO, "tool_name": "search", "tool_call_id": "call-1"}

CALLS: dict[str, dict[str, Any]] = {
    "turn_start": {**WHO, "prompt": "p" * 300, "parent_turn_id": "ffffffffffff", "parent_agent_id": "boss"},
    "turn_end": {**WHO, "content": "Værsågod \N{ROBOT FACE}", "fc_count": 3},
    "tool_call_attempt": {**CALL, "args": {"q": "x"}},
    "tool_call_complete": {**CALL, "status": "cached", "duration_ms": 12.5, "result": [1, 2]},
    "tool_call_failure": {**CALL, "error_type": "OSError", "error_msg": "no space"},
    "tool_policy_decision": {**CALL, "action": "deny", "source": "policy.yaml"},
    "tool_loop_warning": {**CALL, "pattern": "a,b,a,b", "severity": "high", "count": 4},
    "tool_loop_block": {**CALL, "pattern": "a,a,a", "count": 9},
    "sandbox_decision": {**CALL, "context": "shell", "reason": "untrusted", "backend_type": "vm"},
    "hook_mutation": {**CALL, "hook_name": "redact", "field": "arguments.path"},
    "error": {**WHO, "error_type": "ValueError", "error_msg": "bad", "context": "planning"},
    "agent_switch": {**WHO, "from_agent": "a", "to_agent": "b", "reason": "hand-off"},
    "skill_used": {
        **WHO,
        "skill_name": "s",
        "version": "2",
        "outcome": "ok",
        "duration_ms": 0.25,
        "triggered_automatically": False,
    },
    "skill_authored": {
        **WHO,
        "skill_name": "s",
        "version": "1",
        "source_path": "/s.md",
        "tool_count": 2,
        "unique_tools": ["a", "b"],
        "confirmed_by_user": True,
    },
    "skill_feedback": {**WHO, "skill_name": "s", "rating": "good", "reason": "fast", "source": "reviewer"},
    "model_call": {
        **WHO,
        "model": "m-1",
        "provider": "p",
        "operation": "embed",
        "status": "error",
        "duration_ms": 1.5,
        "input_tokens": 10,
        "output_tokens": 20,
        "finish_reason": "stop",
        "error_type": "Timeout",
    },
    "approval": {
        **CALL,
        "decision": "allow",
        "approver_id": "kari",
        "approver_type": "group",
        "reason": "known",
    },
}
"""Event type -> what its emitter method is called with: every parameter, none at its default."""


class Deployed:
    """An event of a program's own, unknown to auditwire."""

    event_type = "deployed"

    def to_dict(self) -> dict[str, Any]:
        return {"event_type": "deployed", "session_id": "s-9", "version": "1.2.3", "ok": True}


def everything_set(cls: type[AuditEvent]) -> AuditEvent:
    """An event of this class with no field at its default."""
    values: dict[str, Any] = {}
    for number, field in enumerate(fields(cls), 1):
        kind = str(field.type)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.name == "trace_id":
            values[field.name] = "0af7651916cd43dd8448eb211c80319c"
        elif field.name == "span_id":
            values[field.name] = "b7ad6b7169203331"
        elif field.name in {"event_id", "timestamp_us"}:
            continue
        elif kind.startswith("str"):
            values[field.name] = f"{field.name} é\N{ROBOT FACE}"
        elif kind == "int":
            values[field.name] = (1 << 40) + number
        elif kind == "float":
            values[field.name] = number + 0.1
        elif kind == "bool":
            values[field.name] = not default
        elif kind == "list[str]":
            values[field.name] = [field.name, "", "ø"]
        else:
            assert field.name == "metadata"
            values[field.name] = {"a": [1, {"b": None}], "ø": True}
        assert values[field.name] != default
    return cls(**values)


def test_one_turn_start_goes_to_the_broker_and_comes_back_equal(broker: Broker, prefix: str) -> None:
    with collector(broker, prefix) as kafka:
        emitter = AuditEmitter(kafka, session_id="s-1", agent_id="planner")
        turn = emitter.emit_turn_start(prompt="What is the weather in Trondheim?")
        emitter.flush()
    (record,) = read_all(broker.bootstrap, prefix).of_type("turn_start")
    assert isinstance(record.event, TurnStartEvent)
    assert record.event.turn_id == turn
    assert record.event.session_id == "s-1"
    assert record.event.agent_id == "planner"
    assert record.event.prompt_preview == "What is the weather in Trondheim?"
    assert record.topic == f"{prefix}.turn-start"


def test_what_every_emitter_method_emits_comes_back_equal_from_its_own_topic(
    broker: Broker, prefix: str
) -> None:
    assert CALLS.keys() == EVENT_TYPES.keys() - {"custom"}
    memory = InMemoryCollector()
    with collector(broker, prefix) as kafka:
        emitter = AuditEmitter(
            CompositeCollector([memory, kafka]),
            session_id="s-1",
            principal_id="ola",
            principal_type="user",
            tenant_id="t-1",
            on_error="raise",
        )
        for event_type, arguments in CALLS.items():
            getattr(emitter, f"emit_{event_type}")(**arguments)
        emitter.flush()
    trail = read_all(broker.bootstrap, prefix)
    emitted = memory.get_events()
    assert [r.event for r in trail.events] == emitted
    assert [r.topic for r in trail.events] == [topic_name(prefix, e.event_type) for e in emitted]
    for event in emitted:
        for name in ("session_id", "agent_id", "turn_id", "principal_id", "principal_type", "tenant_id"):
            assert getattr(event, name), f"{event.event_type}.{name}"
    assert_complete(trail.report(kafka.stream_id))


def test_every_type_with_every_field_set_is_byte_for_byte_what_its_schema_says(
    broker: Broker, prefix: str
) -> None:
    """Read by a plain consumer, decoded by fastavro with nothing but the .avsc file."""
    emitted = {cls.event_type: everything_set(cls) for cls in EVENT_TYPES.values()}
    with collector(broker, prefix) as kafka:
        for event in emitted.values():
            kafka.emit(event)
        kafka.flush()
        stream_id = kafka.stream_id
    encoder = FastavroEncoder()
    for event_type, event in emitted.items():
        (message,) = consume(broker.bootstrap, topic_name(prefix, event_type))
        value = message.value
        assert value is not None
        schema = schema_for(event_type)
        found = decode(value)
        head, tail = encoder.encode(event, stream_id)
        assert value == frame_single_object(schema.fingerprint, join_body(head, found.sequence, tail))
        assert found.event == event
        assert found.stream_id == stream_id

        body = BytesIO(value[10:])
        plain: Any = fastavro.schemaless_reader(body, json.loads(schema.text), None)
        assert body.read() == b""
        assert plain["stream_id"] == stream_id
        assert plain["sequence"] == found.sequence
        assert json.loads(plain["metadata"]) == event.metadata
        assert us_from_time(plain["timestamp"]) == event.timestamp_us
        for field in fields(event):
            if field.name not in {"metadata", "timestamp_us"}:
                assert plain[field.name] == getattr(event, field.name), f"{event_type}.{field.name}"


def test_an_event_of_a_foreign_class_goes_to_the_custom_topic_with_its_fields(
    broker: Broker, prefix: str
) -> None:
    with collector(broker, prefix) as kafka:
        AuditEmitter(kafka, on_error="raise").emit(Deployed())
    (record,) = read_all(broker.bootstrap, prefix).of_type("custom")
    assert isinstance(record.event, CustomEvent)
    assert record.topic == f"{prefix}.custom"
    assert record.event.custom_type == "deployed"
    assert record.event.session_id == "s-9"
    assert json.loads(record.event.payload) == {"version": "1.2.3", "ok": True}
    assert record.key == b"s-9"


def test_a_stream_begins_with_an_opening_checkpoint_and_ends_with_a_closing_one(
    broker: Broker, prefix: str
) -> None:
    kafka = collector(
        broker, prefix, service="billing", service_version="1.4", environment="test", headers="none"
    )
    with kafka:
        for number in range(2_500):
            kafka.emit(TurnStartEvent(session_id=f"s-{number % 7}"))
    trail = read_all(broker.bootstrap, prefix)
    (report,) = trail.reports
    assert_complete(report)
    checkpoints = [r for r in trail.records if isinstance(r.event, CheckpointEvent)]
    first, *between, last = [r.event for r in checkpoints if isinstance(r.event, CheckpointEvent)]
    assert (first.reason, checkpoints[0].sequence) == ("open", 0)
    assert (last.reason, checkpoints[-1].sequence) == ("close", len(trail.records) - 1)
    assert {c.reason for c in between} == {"interval"}
    assert last.acknowledged == len(trail.records) - 1
    resource = json.loads(first.resource)
    assert resource["service.name"] == "billing"
    assert resource["service.version"] == "1.4"
    assert resource["deployment.environment.name"] == "test"
    assert first.trail == prefix
    for record in checkpoints:
        assert schema_by_fingerprint(record.fingerprint) is schema_for("checkpoint")
        assert record.topic == f"{prefix}.checkpoint"
        assert record.key == kafka.stream_id.encode()


@pytest.mark.needs("create_topics")
def test_topics_of_other_names_are_used_where_they_are_given(broker: Broker, prefix: str) -> None:
    topics = {"turn_start": f"{prefix}-begun", "checkpoint": f"{prefix}-proof"}
    with collector(broker, prefix, topics=topics) as kafka:
        kafka.emit(TurnStartEvent(session_id="s"))
    trail = read_all(broker.bootstrap, prefix, topics=topics)
    assert {r.topic for r in trail.records} == set(topics.values())
    assert_complete(trail.reports[0])


def test_all_types_are_known_to_these_tests() -> None:
    assert len(ALL_TYPES) == len(CALLS) + 1 + 4  # custom, and the control types
