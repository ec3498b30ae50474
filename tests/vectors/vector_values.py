"""Test vectors of single events and values."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from vector_messages import OPENED_US, SPAN, TRACE, A, C, encoded, encoder, uuid7

from auditwire.events import (
    AuditEvent,
    CheckpointEvent,
    CustomEvent,
    ErrorEvent,
    ModelCallEvent,
    SkillAuthoredEvent,
    ToolCallAttemptEvent,
    ToolCallCompleteEvent,
    TurnStartEvent,
)
from auditwire.stream import Ledger, pack_entry, type_key
from auditwire.wire import (
    frame_confluent,
    frame_single_object,
    headers,
    schema_for,
    source,
    topic_name,
    traceparent,
)


def events() -> list[dict[str, Any]]:
    """Event -> body -> value -> digest -> entry; at last a checkpoint that lists the others."""
    one: list[AuditEvent] = [
        CheckpointEvent(reason="open", trail="audit", resource='{"service.name":"svc"}'),
        TurnStartEvent(
            session_id="s1", turn_id="t1", agent_id="planner", prompt_preview="hi", prompt_length=2
        ),
        ToolCallAttemptEvent(
            tool_name="search", tool_call_id="c1", trace_id=TRACE, span_id=SPAN, metadata={"attempt": 1}
        ),
        ToolCallCompleteEvent(tool_name="search", duration_ms=12.5, result_preview="sn\u00f6 \U0001f4a3"),
        SkillAuthoredEvent(skill_name="sum", unique_tools=["add", "", "\u00e9"], confirmed_by_user=True),
        ModelCallEvent(model="m", provider="p", duration_ms=0.25, input_tokens=2**40, output_tokens=-1),
        CustomEvent(custom_type="cache_miss", payload='{"key":"k"}'),
        ErrorEvent(error_type="ValueError", principal_id="ada", principal_type="user", tenant_id="acme"),
    ]
    ledger = Ledger(trail="audit", resource='{"service.name":"svc"}')
    out: list[dict[str, Any]] = []
    for sequence in range(len(one) + 1):
        event = one[sequence] if sequence < len(one) else ledger.checkpoint("close", acknowledged=sequence)
        event.event_id = uuid7(0x9_0000 + sequence)
        event.timestamp_us = OPENED_US + 1_000_001 * sequence
        body = encoded(event, C, sequence)
        schema = schema_for(event.event_type)
        digest = sha256(body).digest()
        key = type_key(event.event_type, schema.fingerprint)
        trace = traceparent(event.trace_id, event.span_id)
        around = headers(event.event_id, event.event_type, source("my service", C), trace)
        said: dict[str, Any] = {
            "stream_id": C,
            "sequence": sequence,
            "timestamp": event.timestamp_us,
            "metadata": json.dumps(event.metadata, separators=(",", ":")),
        }
        fields = {f.name: said[f.name] if f.name in said else getattr(event, f.name) for f in schema.fields}
        out.append(
            {
                "rules": ["V-2", "V-4", "V-6", "V-7", "V-11"],
                "fields": fields,
                "body": body.hex(),
                "single_object": frame_single_object(schema.fingerprint, body).hex(),
                "confluent_id": 7,
                "confluent": frame_confluent(7, body).hex(),
                "digest": digest.hex(),
                "type": key,
                "entry_with_index_3": pack_entry(3, digest),
                "topic": topic_name("audit", event.event_type),
                "key": event.session_id or C,
                "headers": [[name, value.decode("ascii")] for name, value in around],
            }
        )
        ledger.add(sequence, key, digest, 0.0)
        if sequence == 0:
            assert isinstance(event, CheckpointEvent)
            ledger.listed(event, 0.0)
    return out


def values() -> list[dict[str, Any]]:
    """Values, and why each is no record: ``reason`` as section 2 of the document lists them."""
    event = TurnStartEvent(event_id=uuid7(0x8_0000), timestamp_us=OPENED_US, session_id="s1")
    body = encoded(event, A, 1)
    schema = schema_for("turn_start")
    single = frame_single_object(schema.fingerprint, body)
    id_text = event.event_id.encode()
    kind = b"\x14turn_start"
    assert body.startswith(b"\x48" + id_text + kind)
    after = body[37 + len(kind) :]  # from the timestamp on
    skill = SkillAuthoredEvent(event_id=uuid7(0x8_0001), timestamp_us=OPENED_US, unique_tools=["add"])
    tools = encoded(skill, A, 1)
    assert tools.endswith(b"\x02\x06add\x00\x00")
    stem = tools[: -len(b"\x02\x06add\x00\x00")]
    authored = schema_for("skill_authored").fingerprint

    def framed(changed: bytes) -> bytes:
        return frame_single_object(schema.fingerprint, changed)

    def skills(array: bytes) -> bytes:
        return frame_single_object(authored, stem + array + b"\x00")

    at_type, at_time = 37, 37 + len(kind)
    metadata = body.replace(b"\x04{}", b"\x04[]")
    assert metadata != body
    head, tail = encoder.encode(event, A)
    below_zero = head + b"\x01" + tail
    cases: list[tuple[str, str, bytes | None, str]] = [
        ("2", "no value", None, "tombstone"),
        ("2", "JSON text", b'{"event_type":"turn_start"}', "foreign"),
        ("2", "an empty value", b"", "foreign"),
        ("2", "the first byte of a framing alone", b"\xc3", "foreign"),
        ("2", "a single-object framing that is cut off", single[:9], "truncated"),
        ("2", "a Confluent framing that is cut off", b"\x00\x00\x00", "foreign"),
        ("2", "a negative schema id", b"\x00\xff\xff\xff\xff" + body, "foreign"),
        (
            "3",
            "an unknown fingerprint",
            single[:2] + bytes(8) + body,
            "unknown_fingerprint",
        ),
        (
            "3",
            "a Confluent value of a type that there is not",
            frame_confluent(7, b"\x48" + id_text + b"\x14turn_spilt" + after),
            "foreign",
        ),
        ("3", "a Confluent value without a body", frame_confluent(7, b""), "foreign"),
        (
            "3",
            "a Confluent value of which the first field is no text",
            frame_confluent(7, b"\x01" + body[1:]),
            "foreign",
        ),
        ("3", "a Confluent value that ends in its second field", frame_confluent(7, body[:40]), "foreign"),
        ("3", "a Confluent value that ends behind it", frame_confluent(7, body[:at_time]), "truncated"),
        ("4", "no body", framed(b""), "truncated"),
        ("4", "a body without its last byte", single[:-1], "truncated"),
        ("4", "a byte behind the body", single + b"\x00", "trailing_bytes"),
        ("4", "a text of negative length", framed(b"\x01" + body[1:]), "malformed"),
        (
            "4",
            "a text longer than what is left",
            framed(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + body[1:]),
            "truncated",
        ),
        ("4", "a number of eleven bytes", framed(b"\x80" * 10 + b"\x01"), "malformed"),
        (
            "4",
            "a number of more than 64 bits",
            framed(b"\xff" * 9 + b"\x02"),
            "malformed",
        ),
        (
            "4",
            "a text that is not UTF-8",
            framed(b"\x48\xff" + id_text[1:] + body[at_type:]),
            "malformed",
        ),
        (
            "4",
            "a surrogate in a text",
            framed(b"\x48\xed\xa0\x80" + id_text[3:] + body[at_type:]),
            "malformed",
        ),
        (
            "4",
            "a union with a third branch",
            framed(body[: at_time + len(_long(OPENED_US))] + b"\x04" + after[len(_long(OPENED_US)) + 1 :]),
            "malformed",
        ),
        (
            "4",
            "a type in the body that is not the schema's",
            framed(b"\x48" + id_text + b"\x14turn_spilt" + after),
            "malformed",
        ),
        ("4", "metadata that is no JSON object", framed(metadata), "malformed"),
        (
            "4",
            "an array of more items than there are bytes",
            skills(b"\xfe\xff\xff\xff\x0f\x06add\x00"),
            "truncated",
        ),
        (
            "4",
            "a block of an array with another size than it says",
            skills(b"\x01\x0a\x06add\x00"),
            "malformed",
        ),
        (
            "4",
            "a boolean of two",
            frame_single_object(authored, tools[:-1] + b"\x02"),
            "malformed",
        ),
        ("4", "a negative sequence", framed(below_zero), "malformed"),
    ]
    out = [
        {
            "name": name,
            "rules": [f"V-{rule}", "V-5"],
            "value": None if value is None else value.hex(),
            "reason": reason,
        }
        for rule, name, value, reason in cases
    ]
    out.append(
        {
            "name": "the same array in a block that says its size is a record",
            "rules": ["V-4"],
            "value": skills(b"\x01\x08\x06add\x00").hex(),
            "reason": None,
        }
    )
    return out


def _long(number: int) -> bytes:
    rest, out = number << 1 if number >= 0 else ~(number << 1), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*out, rest))
