from __future__ import annotations

import contextlib
import json

import pytest
from event_strategies import any_event
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.errors import DecodingError
from auditwire.events import AuditEvent, TurnStartEvent
from auditwire.wire import FastavroEncoder, Schema, envelope, frame_single_object, join_body, schema_for
from auditwire.wire.codegen import REFUSALS, Outline, readers_of
from auditwire.wire.primitives import raw

STREAM = "01920000-0000-7000-8000-000000000001"
HEADER = 10
sequences = st.integers(0, 2**63 - 1) | st.integers(0, 200)


def value_of(event: AuditEvent, sequence: int) -> bytes:
    head, tail = FastavroEncoder().encode(event, STREAM)
    return frame_single_object(schema_for(event.event_type).fingerprint, join_body(head, sequence, tail))


def outline(value: bytes, event_type: str) -> Outline | None:
    with contextlib.suppress(*REFUSALS):
        return readers_of(schema_for(event_type)).outline(value, HEADER)
    return None


def expected(value: bytes) -> Outline:
    found = envelope(value)
    session, trace, span = (
        None if text is None else text.encode() for text in (found.session_id, found.trace_id, found.span_id)
    )
    stream_id, event_id = found.stream_id.encode(), found.event_id.encode()
    return stream_id, found.sequence, event_id, found.timestamp_us, session, trace, span


@settings(max_examples=300)
@given(any_event, sequences)
def test_an_outline_has_of_any_event_what_its_envelope_has(event: AuditEvent, sequence: int) -> None:
    value = value_of(event, sequence)
    assert outline(value, event.event_type) == expected(value)


def test_the_outline_of_a_usual_event_is_read_and_not_refused() -> None:
    for event in (TurnStartEvent(session_id="s"), TurnStartEvent(session_id="s" * 90, trace_id="1" * 32)):
        for sequence in (0, 70, 10_000, 2**40):
            value = value_of(event, sequence)
            assert outline(value, "turn_start") == expected(value)


@settings(max_examples=60)
@given(any_event, sequences, st.data())
def test_an_outline_of_a_value_that_was_cut_off_is_that_of_the_whole_or_none(
    event: AuditEvent, sequence: int, data: st.DataObject
) -> None:
    value = value_of(event, sequence)
    cut = value[: data.draw(st.integers(HEADER, len(value)))]
    found = outline(cut, event.event_type)
    assert found is None or found == expected(value)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_of_any_bytes_an_outline_is_what_the_envelope_is_or_none(body: bytes) -> None:
    value = frame_single_object(schema_for("turn_start").fingerprint, body)
    found = outline(value, "turn_start")
    try:
        assert found in (expected(value), None)
    except DecodingError:  # a text that is not UTF-8 is left to whoever decodes it
        assert found is None or any(map(_is_no_text, found))


def _is_no_text(text: bytes | int | None) -> bool:
    if not isinstance(text, bytes):
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return True
    return False


@pytest.mark.parametrize(
    ("value", "text"), [(b"\x06abc", b"abc"), (b"\x00", b""), (b"\x80\x01" + b"x" * 64, b"x" * 64)]
)
def test_a_raw_text_is_the_bytes_that_stand_there(value: bytes, text: bytes) -> None:
    assert raw(value, 0) == (text, len(value))


@pytest.mark.parametrize("value", [b"\x05abc", b"\x81\x01abc"])
def test_a_raw_text_of_negative_length_is_refused(value: bytes) -> None:
    with pytest.raises(DecodingError):
        raw(value, 0)


def test_a_raw_text_that_ends_early_ends_behind_the_value() -> None:
    assert raw(b"\x06ab", 0) == (b"ab", 4)


def test_a_schema_that_no_decoder_is_generated_for_has_no_outline() -> None:
    known = schema_for("turn_start")
    raw_schema = json.loads(known.text)
    raw_schema["fields"].append({"name": "class", "type": "string", "doc": ""})
    schema = Schema("turn_start", "0.0.9", json.dumps(raw_schema), bytes(8), "")
    assert readers_of(schema).outline(value_of(TurnStartEvent(), 1), HEADER) is None
