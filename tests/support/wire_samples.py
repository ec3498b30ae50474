"""Events with something in every field, and values of Kafka records made of them or spoilt."""

from __future__ import annotations

from typing import Any

from auditwire.events import ALL_TYPES, AuditEvent
from auditwire.wire import FastavroEncoder, frame_confluent, frame_single_object, join_body, schema_for

__all__ = ["STREAM", "body_of", "full_event", "samples", "value_of"]

STREAM = "01890a5d-ac96-774b-bcce-b302099a8057"
_ENCODER = FastavroEncoder()
_LARGE = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # 2**63 - 1
_HUGE = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # -2**63


def full_event(cls: type[AuditEvent], **given: Any) -> AuditEvent:
    """An event with something in every field: always the same."""
    of_type = {"string": "text", "long": 300, "double": 1.5, "boolean": True, "array": ["one", "two"]}
    values: dict[str, Any] = {f.name: of_type[f.type] for f in schema_for(cls.event_type).tail}
    values.update(
        event_id="01890a5d-ac96-774b-bcce-b302099a8058",
        timestamp_us=1_700_000_000_000_000,
        session_id="s" * 36,
        turn_id="0123456789ab",
        agent_id="planner",
        principal_id="someone@example.org",
        principal_type="user",
        tenant_id="é",
        severity="error",
        metadata={"key": ["value", 1]},
        trace_id="1" * 32,
        span_id="2" * 16,
    )
    return cls(**{**values, **given})


def body_of(event: AuditEvent, sequence: int = 1_000_000) -> bytes:
    """The Avro body of the event's record."""
    head, tail = _ENCODER.encode(event, STREAM)
    return join_body(head, sequence, tail)


def value_of(event: AuditEvent, sequence: int = 1_000_000) -> bytes:
    """The value of the event's record, without a schema registry."""
    return frame_single_object(schema_for(event.event_type).fingerprint, body_of(event, sequence))


def samples() -> dict[str, bytes]:
    """Values of records by name: of every type, and what has been thought of to harm a reader."""
    out: dict[str, bytes] = {}
    for event_type, cls in ALL_TYPES.items():
        out[f"{event_type}-full"] = value_of(full_event(cls))
        if event_type in {"turn_start", "checkpoint", "skill_used"}:
            out[f"{event_type}-confluent"] = frame_confluent(7, body_of(full_event(cls)))
    turn, authored = ALL_TYPES["turn_start"], ALL_TYPES["skill_authored"]
    plain = {"event_id": "id", "timestamp_us": 0}
    none = dict.fromkeys(("session_id", "turn_id", "agent_id", "principal_id", "principal_type", "tenant_id"))
    out["turn_start-sparse"] = value_of(
        full_event(turn, **plain, **none, severity="info", metadata={}, trace_id=None, span_id=None), 0
    )
    out["turn_start-long-texts"] = value_of(full_event(turn, prompt_preview="é" * 100, agent_id="a" * 64))
    good = out["skill_authored-full"]
    tools = b"\x04\x06one\x06two\x00"
    for name, array in {
        "count-large": _LARGE,
        "count-huge": _HUGE,
        "blocks": b"\x02\x06one\x01\x08\x06two\x00",
        "block-of-nothing": b"\x01\x00",
        "block-too-long": b"\x01\x0e\x06one\x00",
        "item-large": b"\x02" + _LARGE,
        "item-negative": b"\x02\x01",
        "item-not-utf8": b"\x02\x06\xed\xa0\x80\x00",
        "number-padded": b"\x84\x00\x06one\x86\x00two\x80\x00",
        "number-endless": b"\x80" * 12,
    }.items():
        out[f"array-{name}"] = _replaced(good, tools, array)
    out["array-many"] = value_of(full_event(authored, unique_tools=["t"] * 70))
    good = out["turn_start-full"]
    for name, text in {
        "none": "",
        "spaced": ' {"a": 1} ',
        "array": "[]",
        "deep": "[" * 60,
        "nan": '{"a":NaN}',
        "bom": "\ufeff{}",
        "twice": "{}{}",
    }.items():
        raw = text.encode()
        out[f"metadata-{name}"] = _replaced(good, b'\x26{"key":["value",1]}', bytes([len(raw) << 1]) + raw)
    long_name = value_of(full_event(turn, agent_id="a" * 64))
    out["length-negative"] = _replaced(long_name, b"\x80\x01aaa", b"\x81\x01aaa")
    out["union-third-branch"] = good[:-6] + b"\x04" + good[-5:]
    sequence = STREAM.encode() + b"\x80\x89\x7a"
    out["sequence-negative"] = _replaced(good, sequence, sequence.replace(b"\x80\x89", b"\x81\x89"))
    out["type-of-another"] = _replaced(good, b"turn_start", b"turn_stars")
    out["cut-off"] = good[:-1]
    out["trailing"] = good + b"\x00"
    out["fingerprint-unknown"] = good[:2] + bytes(8) + good[10:]
    out["framing-cut-off"] = good[:9]
    out["confluent-cut-off"] = b"\x00\x00\x00"
    out["confluent-id-negative"] = b"\x00\x80\x00\x00\x00" + good[10:]
    out["confluent-foreign"] = frame_confluent(1, b"\x02a\x0aorder" + bytes(50))
    out["json"] = b'{"event_type": "turn_start"}'
    return out


def _replaced(value: bytes, old: bytes, new: bytes) -> bytes:
    assert value.count(old) == 1
    return value.replace(old, new)
