from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.events import (
    ALL_TYPES,
    CONTROL_TYPES,
    EVENT_TYPES,
    CustomEvent,
    ErrorEvent,
    TurnStartEvent,
    iso_from_us,
)
from auditwire.shipping import BadLine, Parsed, parse

if TYPE_CHECKING:
    from auditwire.events import AuditEvent

NOW = 1_770_000_000_000_000
AT = "2026-01-31T10:00:00.123456+00:00"


def parsed(line: bytes | dict[str, Any]) -> Parsed:
    raw = line if isinstance(line, bytes) else json.dumps(line).encode()
    return parse(raw, lambda: "derived", lambda: NOW)


def event_of(line: bytes | dict[str, Any]) -> AuditEvent:
    event = parsed(line).event
    assert event is not None
    return event


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_what_a_jsonl_sink_wrote_is_the_event_again(name: str) -> None:
    event = EVENT_TYPES[name](session_id="s", metadata={"a": [1, {"b": None}]}, trace_id="ab")
    assert event_of(event.to_json().encode()) == event


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_the_place_of_a_record_that_tail_printed_is_not_the_events(name: str) -> None:
    event = EVENT_TYPES[name](session_id="s")
    place = {"stream_id": "x", "sequence": 3, "topic": "audit.error", "partition": 0, "offset": 17}
    assert event_of({**event.to_dict(), **place}) == event


def test_fields_that_are_not_known_are_kept_in_the_metadata() -> None:
    event = event_of({"event_type": "error", "timestamp": AT, "event_id": "e", "topic": "mine", "n": 1})
    assert event == ErrorEvent(
        event_id="e",
        timestamp_us=event.timestamp_us,
        metadata={"auditwire.unknown_fields": {"topic": "mine", "n": 1}},
    )


@pytest.mark.parametrize("name", CONTROL_TYPES)
def test_control_records_are_left_out(name: str) -> None:
    assert parsed(ALL_TYPES[name]().to_json().encode()) == Parsed(None)


def test_a_type_that_is_not_known_becomes_a_custom_event() -> None:
    event = event_of({"event_type": "deploy", "timestamp": AT, "event_id": "e-1", "session_id": "s", "n": 1})
    assert isinstance(event, CustomEvent)
    assert (event.custom_type, json.loads(event.payload)) == ("deploy", {"n": 1})
    assert (event.event_id, event.session_id, event.timestamp) == ("e-1", "s", AT)


@pytest.mark.parametrize("given_id", [None, "", ...])
def test_a_line_without_an_id_gets_the_derived_one(given_id: Any) -> None:
    line = {"event_type": "error", "timestamp": AT, **({} if given_id is ... else {"event_id": given_id})}
    result = parsed(line)
    assert result.event is not None
    assert (result.event.event_id, result.derived, result.event.metadata) == ("derived", True, {})


def test_an_id_that_is_no_text_is_replaced_and_kept_in_the_metadata() -> None:
    result = parsed({"event_type": "error", "timestamp": AT, "event_id": 17, "metadata": {"k": "v"}})
    assert result.event is not None
    assert (result.event.event_id, result.derived) == ("derived", True)
    assert result.event.metadata == {"k": "v", "auditwire.coerced": {"event_id": "17"}}


@pytest.mark.parametrize(
    "stamp",
    [
        AT,
        "2026-01-31T10:00:00.123456Z",
        "2026-01-31 10:00:00,123456",
        "2026-01-31T10:00:00.123456",
        "2026-01-31T10:00:00.123456789Z",
        "2026-01-31T12:00:00.123456+0200",
        "2026-01-31T04:30:00.123456 -05:30",
        1_769_853_600.123456,
        1_769_853_600_123_456,
    ],
)
def test_a_time_that_is_clear_is_kept(stamp: Any) -> None:
    assert event_of({"event_type": "error", "timestamp": stamp}).timestamp == AT
    assert event_of({"event_type": "error", "timestamp_us": stamp}).timestamp == AT


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00.000000+00:00"),
        ("2026-01-31T10:00:00.5Z", "2026-01-31T10:00:00.500000+00:00"),
        ("2026-01-31", "2026-01-31T00:00:00.000000+00:00"),
    ],
)
def test_a_time_may_have_fewer_digits(stamp: str, expected: str) -> None:
    assert event_of({"event_type": "error", "timestamp": stamp}).timestamp == expected


@given(us=st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_every_time_that_an_event_can_have_comes_back(us: int) -> None:
    assert event_of({"event_type": "error", "timestamp": iso_from_us(us)}).timestamp_us == us


@pytest.mark.parametrize(
    "stamp",
    [
        "yesterday", "", "2026-13-01T00:00:00Z", "2026-01-31T25:00:00Z", 0, 1_769_853_600, 1_769_853_600_123,
        -1.0, 1e12, float("nan"), True, [], {},
    ],
)  # fmt: skip
def test_a_time_that_is_not_clear_makes_a_bad_line(stamp: Any) -> None:
    with pytest.raises(BadLine, match=r"timestamp .* is no ISO-8601 text") as raised:
        parsed({"event_type": "error", "timestamp": stamp})
    assert raised.value.reason == "bad_timestamp"


def test_a_line_without_a_time_has_that_of_shipping_and_says_so() -> None:
    result = parsed({"event_type": "turn_start", "timestamp": None, "metadata": None})
    assert result.event == TurnStartEvent(
        event_id="derived",
        timestamp_us=NOW,
        metadata={"auditwire.ship": {"timestamp": "none in the line: the time of shipping"}},
    )
    assert result.untimed


@pytest.mark.parametrize(
    ("line", "reason", "message"),
    [
        (b"what?", "not_json", "no JSON: Expecting value at character 1"),
        (b'{"event_type":"error"', "not_json", "no JSON: Expecting ',' delimiter at character 22"),
        (b'{"event_type":"error"} {}', "not_json", "no JSON: Extra data at character 24"),
        (b'{"event_type":"error","n":' + b"1" * 5_000 + b"}", "not_json", "JSON with a number too long"),
        (b"[" * 200_000, "not_json", "JSON nested too deep to be read"),
        (b'{"event_type":"\xff"}', "not_utf8", "no UTF-8: byte 16 of the line is wrong"),
        ('{"event_type":"error"}'.encode("utf-16"), "not_utf8", "no UTF-8: byte 1 of the line is wrong"),
        (b"[]", "not_object", "no event: the JSON is no object"),
        (b"null", "not_object", "no event: the JSON is no object"),
        (b"{}", "no_event_type", "no event: event_type is missing, empty or no text"),
        (b'{"event_type":""}', "no_event_type", "no event: event_type is missing, empty or no text"),
        (b'{"event_type":7}', "no_event_type", "no event: event_type is missing, empty or no text"),
        (b'{"event_type":"error","a":{"b":1,"b":2}}', "repeated_member", "ambiguous JSON: 'b' occurs more"),
    ],
)
def test_a_line_that_is_no_event_is_told_with_a_reason(line: bytes, reason: str, message: str) -> None:
    with pytest.raises(BadLine) as raised:
        parsed(line)
    assert raised.value.reason == reason
    assert str(raised.value).startswith(message)


@given(line=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_raise_anything_but_a_bad_line(line: bytes) -> None:
    try:
        parsed(line)
    except BadLine:
        return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from(
    ["event_id", "session_id", "metadata", "custom_type", "payload", "severity", "tool_name", "n", "trace_id"]
)


@given(
    event_type=st.sampled_from([*EVENT_TYPES, "base", "deploy"]),
    fields=st.dictionaries(KEYS, JSON, max_size=6),
)
def test_whatever_the_fields_hold_an_event_comes_of_it_that_can_be_encoded(
    event_type: str, fields: dict[str, Any]
) -> None:
    from auditwire.wire import FastavroEncoder

    event = event_of({"event_type": event_type, "timestamp": AT, **fields})
    head, tail = FastavroEncoder().encode(event, "stream")
    assert head
    assert tail is not None
