"""Generated decoders: made for every schema, and equal to the interpreter on all bytes."""

from __future__ import annotations

import json

import fastavro
import pytest
from event_strategies import any_event
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import DecodingError
from auditwire.events import ALL_TYPES, AuditEvent, SkillAuthoredEvent, TurnStartEvent
from auditwire.wire import (
    Decoded,
    Schema,
    decoder_source,
    frame_confluent,
    frame_single_object,
    interpreter,
    schema_for,
)
from auditwire.wire.codegen import Inexpressible, readers_of
from support.wire_samples import STREAM, body_of, full_event, value_of
from support.wire_twins import checked, generated

HUGE = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # -2**63
LARGE = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # 2**63 - 1
HOSTILE = [
    HUGE,
    LARGE,
    b"\xff" * 10,
    b"\x80" * 11,
    b"\xfe\xff\x7f",
    b"\x80\x00",  # numbers with more bytes than they need
    b"\x82\x00",
    b"\x01\x00",  # an array's block of one item in no bytes
    b"\x01",
    b"\x03",
    b"\x04",
    b"",
]
every_type = pytest.mark.parametrize("cls", ALL_TYPES.values(), ids=list(ALL_TYPES))


@every_type
def test_the_source_is_python_that_depends_on_the_schema_alone(cls: type[AuditEvent]) -> None:
    schema = schema_for(cls.event_type)
    source = decoder_source(schema)
    compile(source, schema.name, "exec")
    assert source == decoder_source(
        Schema(schema.event_type, schema.version, schema.text, schema.fingerprint, "")
    )
    assert schema.fingerprint.hex() in source


@given(event=any_event, sequence=st.integers(0, 2**63 - 1))
def test_what_was_written_is_read_without_the_interpreter(event: AuditEvent, sequence: int) -> None:
    readers = readers_of(schema_for(event.event_type))
    for value in (value_of(event, sequence), frame_confluent(7, body_of(event, sequence))):
        decoded = generated(readers.decode, value)
        assert decoded is not None
        assert decoded.event == event
        assert (decoded.stream_id, decoded.sequence) == (STREAM, sequence)
        envelope = generated(readers.envelope, value)
        assert envelope is not None
        assert (envelope.event_id, envelope.sequence) == (event.event_id, sequence)
        assert checked(value) == decoded


@every_type
def test_a_record_cut_off_anywhere_is_truncated(cls: type[AuditEvent]) -> None:
    for event in (cls(), full_event(cls)):
        value = value_of(event)
        assert isinstance(checked(value), Decoded)
        _, behind_id = interpreter.read_string(value, 10)
        _, behind_type = interpreter.read_string(value, behind_id)
        for end in range(10, len(value)):
            assert refused(value[:end]) == "truncated"
            why = "truncated" if end >= behind_type else "foreign"  # nothing else says that it is one of ours
            assert refused(b"\x00\x00\x00\x00\x01" + value[10:end], cls.event_type) == why


@every_type
def test_hostile_numbers_in_place_of_any_byte_are_judged_alike(cls: type[AuditEvent]) -> None:
    for event in (cls(), full_event(cls)):
        value = value_of(event)
        for at in range(10, len(value)):
            for hostile in HOSTILE:
                checked(value[:at] + hostile + value[at + 1 :])


@given(
    event=any_event,
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=3)), min_size=1, max_size=4),
    confluent=st.booleans(),
    hint=st.none() | st.sampled_from([*ALL_TYPES, "another"]),
)
def test_changed_bytes_are_judged_alike(
    event: AuditEvent, changes: list[tuple[int, bytes]], confluent: bool, hint: str | None
) -> None:
    value = bytearray(frame_confluent(1, body_of(event)) if confluent else value_of(event))
    for at, new in changes:
        place = at % len(value) if value else 0
        value[place : place + 1] = new
    checked(bytes(value), hint)


@given(event_type=st.sampled_from(list(ALL_TYPES)), body=st.binary(max_size=300))
def test_any_bytes_are_judged_alike(event_type: str, body: bytes) -> None:
    checked(frame_single_object(schema_for(event_type).fingerprint, body))


def refused(value: bytes, event_type: str | None = None) -> str:
    found = checked(value, event_type)
    assert isinstance(found, DecodingError)
    return found.reason


@pytest.mark.parametrize("us", [0, -1, 2**48 - 1, 2**48, 2**55 - 1, 2**55, 1_700_000_000_000_000, -(2**63)])
def test_times_of_any_length_are_read(us: int) -> None:
    for event_id in ("short", "a" * 36, "a" * 100, "é" * 8_000):
        event = TurnStartEvent(event_id=event_id, timestamp_us=us)
        found = checked(value_of(event))
        assert isinstance(found, Decoded)
        assert found.event == event


@pytest.mark.parametrize("characters", [0, 1, 63, 64, 8_191, 8_192, 100_000])
def test_texts_of_any_length_are_read_and_those_of_the_metadata_passed_over(characters: int) -> None:
    event = TurnStartEvent(
        principal_id="p" * characters, metadata={"key": "v" * characters}, prompt_preview="é" * characters
    )
    value = value_of(event)
    found = checked(value)
    assert isinstance(found, Decoded)
    assert found.event == event
    assert generated(readers_of(schema_for("turn_start")).envelope, value) is not None


@pytest.mark.parametrize("characters", [1, 63, 64, 8_191, 8_192])
def test_a_length_is_not_negative(characters: int) -> None:
    value = value_of(TurnStartEvent(prompt_preview="~" * characters))
    at = value.index(b"~" * characters) - 1
    while value[at - 1] & 0x80:
        at -= 1
    assert refused(value[:at] + bytes([value[at] | 1]) + value[at + 1 :]) == "malformed"


@pytest.mark.parametrize("items", [0, 1, 63, 64, 8_191, 8_192])
def test_arrays_of_any_length_are_read(items: int) -> None:
    event = SkillAuthoredEvent(unique_tools=["short", "long" * 30] * (items // 2) + ["x"] * (items % 2))
    value = value_of(event)
    found = checked(value)
    assert isinstance(found, Decoded)
    assert found.event == event
    assert generated(readers_of(schema_for("skill_authored")).decode, value) is not None


@pytest.mark.parametrize(
    "text", ["{}", " {}", "{} ", '{"a":1}\n', "\ufeff{}", "[]", "{}{}", "", '{"a":NaN}', "[" * 100_000, "1"]
)
def test_metadata_in_any_form_is_judged_alike(text: str) -> None:
    length = len(text.encode())
    prefix = (length << 1 | 0x80) & 0xFF, (length << 1) >> 7 & 0x7F | 0x80, length >> 13
    value = value_of(TurnStartEvent(metadata={"a": "b"}))
    checked(value.replace(b'\x12{"a":"b"}', bytes(prefix) + text.encode()))


def test_an_envelope_is_read_whatever_follows_it_and_in_what_it_does_not_hold() -> None:
    value = value_of(TurnStartEvent(principal_id="principal", metadata={"key": "value"}))
    for changed in (
        value + b"\x00",
        value.replace(b"principal", b"princip\xff\xff"),
        value.replace(b'"key"', b'"key\xff'),
        value.replace(b'{"key"', b'["key"'),
    ):
        readers = readers_of(schema_for("turn_start"))
        assert generated(readers.envelope, changed) is not None
        assert isinstance(checked(changed), DecodingError)


# -- schemas that the installation does not have ------------------------------------------------------------


def schema_with(fields: list[dict[str, object]]) -> Schema:
    raw = {**json.loads(schema_for("turn_start").text), "fields": fields}
    canonical = fastavro.schema.to_parsing_canonical_form(raw)
    crc64 = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
    return Schema("turn_start", "0.0.9", json.dumps(raw), crc64, "")


def fields_of_turn_start() -> list[dict[str, object]]:
    fields: list[dict[str, object]] = json.loads(schema_for("turn_start").text)["fields"]
    return fields


def test_a_schema_without_the_youngest_field_gives_events_with_its_default() -> None:
    schema = schema_with(fields_of_turn_start()[:-1])
    event = TurnStartEvent(prompt_preview="p", metadata={"a": 1})
    value = frame_single_object(schema.fingerprint, body_of(event)[:-1])
    decoded = generated(readers_of(schema).decode, value)
    assert decoded is not None
    assert decoded.event == event
    assert decoded == interpreter.read(schema, value, 10, "single-object")


def test_a_class_that_does_something_when_it_is_made_is_made_by_its_constructor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "new(TurnStartEvent)" in decoder_source(schema_for("turn_start"))
    monkeypatch.setattr(TurnStartEvent, "__post_init__", lambda self: None, raising=False)
    assert "TurnStartEvent(\n" in decoder_source(schema_for("turn_start"))


@pytest.mark.parametrize("name", ["class", "value", "string", "at", "Decoded"])
def test_a_schema_with_a_name_that_no_variable_can_have_is_left_to_the_interpreter(name: str) -> None:
    schema = schema_with([*fields_of_turn_start(), {"name": name, "type": "string", "doc": ""}])
    with pytest.raises(Inexpressible, match=name):
        decoder_source(schema)


def test_a_schema_whose_envelope_is_in_another_order_is_left_to_the_interpreter() -> None:
    first, second, *others = fields_of_turn_start()
    schema = schema_with([second, first, *others])
    with pytest.raises(Inexpressible):
        decoder_source(schema)
    event = TurnStartEvent(prompt_preview="p")
    body = body_of(event)
    ours, known = body[:37], body[37:48]
    assert known == b"\x14turn_start"
    value = frame_single_object(schema.fingerprint, known + ours + body[48:])
    readers = readers_of(schema)
    decoded, envelope = generated(readers.decode, value), generated(readers.envelope, value)
    assert decoded is not None
    assert decoded.event == event
    assert envelope is not None
    assert envelope.event_id == event.event_id
