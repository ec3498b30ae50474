"""Decoding: what was written is read; anything else is refused with a reason and never harms the reader."""

from __future__ import annotations

import hashlib
import math
import struct
import tracemalloc

import pytest
from event_strategies import any_event, reference_row
from hypothesis import example, given
from hypothesis import strategies as st

from auditwire.errors import DecodingError
from auditwire.events import (
    ALL_TYPES,
    AuditEvent,
    SkillAuthoredEvent,
    SkillUsedEvent,
    ToolCallCompleteEvent,
    TurnStartEvent,
)
from auditwire.wire import (
    MAX_BODY,
    Decoded,
    Envelope,
    FastavroEncoder,
    decode,
    envelope,
    frame_confluent,
    frame_single_object,
    join_body,
    schema_for,
)
from support.codecs import both_codecs  # noqa: F401 - a fixture

STREAM = "01890a5d-ac96-774b-bcce-b302099a8057"
REASONS = {
    "tombstone",
    "foreign",
    "oversized",
    "unknown_fingerprint",
    "truncated",
    "trailing_bytes",
    "malformed",
}
HUGE = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # -2**63
LARGE = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # 2**63 - 1


def body_of(event: AuditEvent, sequence: int = 0) -> bytes:
    head, tail = FastavroEncoder().encode(event, STREAM)
    return join_body(head, sequence, tail)


def value_of(event: AuditEvent, sequence: int = 0) -> bytes:
    return framed(event.event_type, body_of(event, sequence))


def framed(event_type: str, body: bytes) -> bytes:
    return frame_single_object(schema_for(event_type).fingerprint, body)


def reason(value: bytes | None, event_type: str | None = None) -> str:
    with pytest.raises(DecodingError) as caught:
        decode(value, event_type=event_type)
    assert str(caught.value)
    return caught.value.reason


def reason_of_envelope(value: bytes | None) -> str:
    with pytest.raises(DecodingError) as caught:
        envelope(value)
    return caught.value.reason


@given(event=any_event, sequence=st.integers(0, 2**63 - 1))
def test_what_was_written_is_read_in_either_framing(event: AuditEvent, sequence: int) -> None:
    body = body_of(event, sequence)
    schema = schema_for(event.event_type)
    single = decode(frame_single_object(schema.fingerprint, body))
    confluent = decode(frame_confluent(77, body), event_type=event.event_type)
    for decoded in (single, confluent):
        assert decoded.event == event
        assert type(decoded.event) is type(event)
        assert (decoded.stream_id, decoded.sequence) == (STREAM, sequence)
        assert decoded.body == body
        assert decoded.digest == hashlib.sha256(body).digest()
        assert decoded.fingerprint == schema.fingerprint
    assert (single.framing, confluent.framing) == ("single-object", "confluent")
    assert decode(frame_confluent(77, body)).event == event


@given(event=any_event, at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_is_read_as_the_reference_reads_it_or_refused(
    event: AuditEvent, at: int, byte: int
) -> None:
    body = bytearray(body_of(event))
    body[at % len(body)] = byte
    agrees_or_refused(event.event_type, bytes(body))


@given(event_type=st.sampled_from(list(ALL_TYPES)), body=st.binary(max_size=300))
def test_any_bytes_are_read_as_the_reference_reads_them_or_refused(event_type: str, body: bytes) -> None:
    agrees_or_refused(event_type, body)


def agrees_or_refused(event_type: str, body: bytes) -> None:
    decoded = decoded_or_refused(framed(event_type, body))
    if decoded is None:
        return
    row, left = reference_row(schema_for(event_type), body)
    assert left == 0
    assert row["event_type"] == event_type
    for name in ALL_TYPES[event_type].__dataclass_fields__:
        if name == "timestamp_us":
            assert decoded.event.timestamp_us == row["timestamp"]
        elif name != "metadata":
            ours, theirs = getattr(decoded.event, name), row[name]
            assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))


@given(value=st.binary(max_size=100))
@example(b"\x00\x00\x00\x00\x01")
@example(b"\x00\x00\x00\x00\x01" + HUGE)
@example(b"\x00\x00\x00\x00\x01\x00" + LARGE)
def test_any_value_is_an_event_or_a_decoding_error(value: bytes) -> None:
    decoded_or_refused(value)


def decoded_or_refused(value: bytes) -> Decoded | None:
    try:
        return decode(value)
    except DecodingError as e:
        refused = e
    assert refused.reason in REASONS
    return None


@pytest.mark.parametrize("cls", [TurnStartEvent, SkillAuthoredEvent, SkillUsedEvent])
def test_a_body_that_ends_anywhere_too_early_is_truncated(cls: type[AuditEvent]) -> None:
    event = cls(agent_id="a", metadata={"a": "b"})
    if isinstance(event, SkillAuthoredEvent):
        event.unique_tools = ["one", "two"]
    value = value_of(event, 1_000_000)
    assert decode(value).event == event
    for end in range(10, len(value)):
        assert reason(value[:end]) == "truncated"


def test_bytes_after_the_record_are_refused() -> None:
    assert reason(value_of(TurnStartEvent()) + b"\x00") == "trailing_bytes"
    assert reason(frame_confluent(1, body_of(TurnStartEvent()) + b"\x00")) == "trailing_bytes"


def test_a_tombstone_and_a_foreign_value_say_so() -> None:
    for refused in (reason, reason_of_envelope):
        assert refused(None) == "tombstone"
        assert refused(b'{"event_type": "turn_start"}') == "foreign"
        assert refused(b"") == "foreign"


def test_a_value_of_more_than_16_mib_is_refused_unread() -> None:
    value = framed("turn_start", bytes(16 * 1024 * 1024))
    assert reason(value) == reason_of_envelope(value) == "oversized"


def test_an_envelope_is_what_all_types_have_in_common() -> None:
    event = ToolCallCompleteEvent(
        session_id="s", turn_id="t", agent_id="a", severity="warning", trace_id="1" * 32, span_id="2" * 16
    )
    body = body_of(event, 70_000)
    fingerprint = schema_for("tool_call_complete").fingerprint
    for value in (frame_single_object(fingerprint, body), frame_confluent(7, body)):
        assert envelope(value, event_type="tool_call_complete") == Envelope(
            event_id=event.event_id,
            event_type="tool_call_complete",
            timestamp_us=event.timestamp_us,
            session_id="s",
            turn_id="t",
            agent_id="a",
            severity="warning",
            trace_id="1" * 32,
            span_id="2" * 16,
            stream_id=STREAM,
            sequence=70_000,
            value=value,
            framing="single-object" if value[0] else "confluent",
            fingerprint=fingerprint,
        )
        assert envelope(value).body == body
        assert envelope(value).digest == hashlib.sha256(body).digest()


def test_an_envelope_that_cannot_be_read_is_refused_with_the_reason() -> None:
    assert reason_of_envelope(value_of(TurnStartEvent())[:60]) == "truncated"
    assert reason_of_envelope(frame_single_object(bytes(8), b"")) == "unknown_fingerprint"
    assert reason_of_envelope(value_of(TurnStartEvent()).replace(b"turn_start", b"turn_stars")) == "malformed"
    head, tail = FastavroEncoder().encode(TurnStartEvent(), STREAM)
    assert reason_of_envelope(framed("turn_start", head + b"\x01" + tail)) == "malformed"


def test_a_fingerprint_that_no_schema_has_is_refused_and_named() -> None:
    with pytest.raises(DecodingError, match="0102030405060708") as caught:
        decode(frame_single_object(bytes(range(1, 9)), body_of(TurnStartEvent())))
    assert caught.value.reason == "unknown_fingerprint"


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x02a", HUGE, LARGE, b"\xff" * 20])
def test_a_confluent_value_that_does_not_begin_as_a_record_is_foreign(body: bytes) -> None:
    """Another program's, of the same registry for example: no reason to doubt the trail."""
    for event_type in (None, "turn_start"):
        assert reason(frame_confluent(1, body), event_type) == "foreign"


def test_a_confluent_value_of_another_programs_type_is_foreign() -> None:
    assert reason(frame_confluent(1, b"\x02a\x0aorder" + bytes(50))) == "foreign"


@pytest.mark.parametrize("event_type", ["turn_end", "of_nobody", ""])
def test_a_record_on_the_topic_of_another_type_is_read_in_either_framing_and_misplaced(
    event_type: str,
) -> None:
    event = TurnStartEvent(prompt_preview="p")
    for value in (value_of(event, 5), frame_confluent(1, body_of(event, 5))):
        for found in (decode(value, event_type="turn_start"), decode(value)):
            assert (found.event, found.misplaced) == (event, False)
        for _ in range(2):  # the second one finds what the first has left
            found = decode(value, event_type=event_type)
            assert (found.event, found.misplaced) == (event, True)
            assert (found.stream_id, found.sequence, found.value) == (STREAM, 5, value)
            assert (found.framing, found.fingerprint) == (decode(value).framing, decode(value).fingerprint)
        assert envelope(value, event_type=event_type).event_type == "turn_start"


def test_what_is_no_record_is_refused_for_the_same_reason_on_the_topic_of_any_type() -> None:
    for value in (value_of(TurnStartEvent())[:-1], frame_confluent(1, body_of(TurnStartEvent()))[:-1]):
        assert reason(value) == reason(value, "turn_start") == reason(value, "turn_end") == "truncated"


def test_a_body_that_says_it_is_of_another_type_than_its_schema_is_refused() -> None:
    body = body_of(TurnStartEvent()).replace(b"turn_start", b"turn_stars")
    assert reason(framed("turn_start", body)) == "malformed"


def test_a_negative_sequence_is_refused() -> None:
    head, tail = FastavroEncoder().encode(TurnStartEvent(), STREAM)
    assert reason(framed("turn_start", head + b"\x01" + tail)) == "malformed"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "1", "{", "nothing", "[" * 100_000, '{"a":' * 100_000, '{"a": 1' + "0" * 5_000 + "}"],
    ids=lambda text: text[:10],
)
def test_metadata_that_is_no_json_object_is_refused(text: str) -> None:
    event = TurnStartEvent(metadata={"replace": "me"})
    body = body_of(event).replace(string('{"replace":"me"}'), string(text))
    assert reason(framed("turn_start", body)) == "malformed"


def test_metadata_larger_than_any_record_of_ours_is_refused_unread() -> None:
    body = body_of(TurnStartEvent(metadata={"replace": "me"}))
    huge = '{"a":[' + "[]," * MAX_BODY + "[]]}"
    body = body.replace(string('{"replace":"me"}'), string(huge))
    tracemalloc.start()
    try:
        assert reason(framed("turn_start", body)) == "oversized"
        assert (
            tracemalloc.get_traced_memory()[1] < 20_000_000
        )  # a few copies of the text; its lists are 60 MB
    finally:
        tracemalloc.stop()


def string(text: str) -> bytes:
    return long(len(text.encode())) + text.encode()


def long(number: int) -> bytes:
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


# -- hostile numbers, in the fields of a record that is good otherwise --------------------------------------

HEAD, TAIL = FastavroEncoder().encode(SkillAuthoredEvent(), STREAM)
BEFORE = HEAD + b"\x00" + 3 * b"\x00" + b"\x00"  # sequence, three texts, tool_count
AFTER = b"\x00"  # confirmed_by_user


def with_tools(array: bytes) -> bytes:
    return framed("skill_authored", BEFORE + array + AFTER)


def test_the_record_around_the_hostile_numbers_is_good() -> None:
    assert join_body(HEAD, 0, TAIL) == BEFORE + b"\x00" + AFTER


@pytest.mark.parametrize(
    ("array", "tools"),
    [
        (b"\x00", []),
        (long(2) + string("a") + string("b") + b"\x00", ["a", "b"]),
        (long(1) + string("a") + long(1) + string("b") + b"\x00", ["a", "b"]),
        (long(-2) + long(4) + string("a") + string("b") + b"\x00", ["a", "b"]),
        (b"\x82\x00" + string("a") + b"\x80\x00", ["a"]),  # numbers with more bytes than they need
    ],
)
def test_an_array_in_any_form_that_avro_allows_is_read(array: bytes, tools: list[str]) -> None:
    value = with_tools(array)
    event = decode(value).event
    assert isinstance(event, SkillAuthoredEvent)
    assert event.unique_tools == tools
    row, left = reference_row(schema_for("skill_authored"), value[10:])
    assert (row["unique_tools"], left) == (tools, 0)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (LARGE, "truncated"),
        (HUGE + long(1), "truncated"),
        (HUGE + HUGE, "truncated"),
        (long(3) + string("a") + string("b"), "truncated"),
        (long(-1) + long(7) + string("a") + b"\x00", "malformed"),
        (long(-1) + long(-1) + string("a") + b"\x00", "malformed"),
        (long(1) + LARGE, "truncated"),
        (long(1) + long(-1), "malformed"),
        (long(1) + long(2**31), "truncated"),
        (long(1) + b"\x02\xff" + b"\x00", "malformed"),
        (long(1) + b"\x06\xed\xa0\x80" + b"\x00", "malformed"),  # a surrogate in UTF-8's clothes
        (b"\xff" * 9 + b"\x02", "malformed"),
        (b"\xff" * 10 + b"\x01", "malformed"),
        (b"\x80" * 100, "malformed"),
    ],
)
def test_a_hostile_array_is_refused(array: bytes, why: str) -> None:
    assert reason(with_tools(array)) == why


def test_a_hostile_count_costs_no_memory() -> None:
    value = with_tools(long(10_000_000) + bytes(1_000))
    tracemalloc.start()
    try:
        assert reason(value) == "truncated"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("byte", "why"), [(b"\x02", "malformed"), (b"\xff", "malformed"), (b"", "truncated")]
)
def test_a_boolean_is_zero_or_one(byte: bytes, why: str) -> None:
    assert reason(framed("skill_authored", BEFORE + b"\x00" + byte)) == why
    assert decode(framed("skill_authored", BEFORE + b"\x00\x01")).event.confirmed_by_user is True  # type: ignore[attr-defined]


@pytest.mark.parametrize("branch", [b"\x01", b"\x04", LARGE, HUGE])
def test_a_union_has_two_branches(branch: bytes) -> None:
    body = body_of(TurnStartEvent())
    assert reason(framed("turn_start", body[:-1] + branch)) == "malformed"


@pytest.mark.parametrize("number", [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324])
def test_a_double_keeps_its_bits(number: float) -> None:
    event = decode(value_of(ToolCallCompleteEvent(duration_ms=number))).event
    assert isinstance(event, ToolCallCompleteEvent)
    assert struct.pack("<d", event.duration_ms) == struct.pack("<d", number)


def test_times_are_numbers_beyond_the_years_that_python_knows() -> None:
    for us in (-(2**63), 2**63 - 1):
        assert decode(value_of(TurnStartEvent(timestamp_us=us))).event.timestamp_us == us
