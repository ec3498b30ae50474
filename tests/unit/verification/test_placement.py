from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.events import ToolCallAttemptEvent, TurnStartEvent
from auditwire.verification.placement import CLAMP_MS, Disagreement, disagreements, is_antedated
from support.stream_builder import OPENED_US, STREAM, record_of

if TYPE_CHECKING:
    from auditwire.reading import Record

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OPENED_MS = OPENED_US // 1_000


def a_record(trace_id: str | None = None, span_id: str | None = None) -> Record:
    event = ToolCallAttemptEvent(event_id="e1", session_id="s1", trace_id=trace_id, span_id=span_id)
    event.timestamp_us = OPENED_US
    return record_of(event, 5)


def with_header(record: Record, name: str, *values: bytes | None) -> Record:
    """The record with these values of a header instead of its own."""
    others = [pair for pair in record.headers if pair[0] != name]
    return replace(record, headers=[*others, *((name, value) for value in values)])


def found(record: Record, **topics: str) -> list[Disagreement]:
    return list(disagreements(record, topics))


def test_a_record_as_the_sender_places_it_disagrees_in_nothing() -> None:
    assert found(a_record()) == []
    assert found(a_record(trace_id=TRACE, span_id=SPAN)) == []


@given(st.text(), st.text())
def test_any_session_and_event_id_agree_with_the_key_and_headers_made_of_them(
    session_id: str, event_id: str
) -> None:
    assert found(record_of(TurnStartEvent(session_id=session_id, event_id=event_id), 1)) == []


@pytest.mark.parametrize("session_id", [None, ""])
def test_without_a_session_the_key_is_the_stream(session_id: str | None) -> None:
    record = record_of(TurnStartEvent(session_id=session_id), 1)
    assert record.key == STREAM.encode()
    assert found(record) == []
    assert found(replace(record, key=b"")) == [("key", STREAM, "")]


def test_another_key_is_shown_even_when_it_is_no_text() -> None:
    assert found(replace(a_record(), key=b"\xff")) == [("key", "s1", r"\xff")]


def test_a_message_without_key_is_not_judged_by_it() -> None:
    assert found(replace(a_record(), key=None)) == []


@pytest.mark.parametrize("topic", ["audit.turn-start", "audit.tool_call_attempt", "tool-call-attempt", ""])
def test_a_topic_of_another_type_disagrees(topic: str) -> None:
    expected = "<prefix>.tool-call-attempt"
    assert found(replace(a_record(), topic=topic)) == [("topic", expected, topic)]


def test_any_prefix_will_do_also_one_with_dots() -> None:
    assert found(replace(a_record(), topic="eu.prod.audit.tool-call-attempt")) == []


def test_a_topic_that_the_collector_was_given_is_compared_as_a_whole() -> None:
    renamed = replace(a_record(), topic="tools")
    assert found(renamed, tool_call_attempt="tools") == []
    assert found(a_record(), tool_call_attempt="tools") == [("topic", "tools", "audit.tool-call-attempt")]
    assert found(replace(renamed, topic="my.tools"), tool_call_attempt="tools") == [
        ("topic", "tools", "my.tools")
    ]


def test_a_collector_can_leave_the_headers_out() -> None:
    assert found(replace(a_record(trace_id=TRACE, span_id=SPAN), headers=[])) == []


@pytest.mark.parametrize(("name", "expected"), [("ce_id", "e1"), ("ce_type", "auditwire.tool_call_attempt")])
@pytest.mark.parametrize("value", [b"x", None])
def test_a_changed_cloudevents_header_disagrees(name: str, expected: str, value: bytes | None) -> None:
    shown = "x" if value else "nothing"
    assert found(with_header(a_record(), name, value)) == [(f"header {name}", expected, shown)]


@pytest.mark.parametrize("name", ["ce_id", "ce_type"])
def test_a_header_that_was_taken_away_or_added_again_disagrees(name: str) -> None:
    record = a_record()
    own = dict(record.headers)[name]
    assert [what for what, _, _ in found(with_header(record, name))] == [f"header {name}"]
    assert [what for what, _, _ in found(with_header(record, name, own, b"x"))] == [f"header {name}"]


def test_another_traceparent_disagrees() -> None:
    record = a_record(trace_id=TRACE, span_id=SPAN)
    expected = f"00-{TRACE}-{SPAN}-01"
    assert found(with_header(record, "traceparent", b"00-x")) == [("header traceparent", expected, "00-x")]
    assert found(with_header(record, "traceparent")) == [("header traceparent", expected, "nothing")]


def test_a_traceparent_that_instrumentation_of_the_client_adds_is_no_disagreement() -> None:
    traced = a_record(trace_id=TRACE, span_id=SPAN)
    assert found(replace(traced, headers=[*traced.headers, ("traceparent", b"00-x")])) == []
    assert found(with_header(a_record(), "traceparent", b"00-x")) == []


def test_a_source_of_another_stream_disagrees_but_not_one_of_another_form() -> None:
    record = a_record()
    other = with_header(record, "ce_source", b"/auditwire/svc/another-stream")
    expected = f"/auditwire/<service>/{STREAM}"
    assert found(other) == [("header ce_source", expected, "/auditwire/svc/another-stream")]
    for value in (b"urn:my:agents", None):
        assert found(with_header(record, "ce_source", value)) == []


def test_foreign_headers_are_nobodys_business() -> None:
    assert found(with_header(a_record(), "x-mirrored-from", b"\xff", None)) == []


# -- Kafka timestamps ---------------------------------------------------------------------------------------


@given(event_ms=st.integers(0, 2**41), sent_after_ms=st.integers(0, 2**40))
def test_a_timestamp_that_the_sender_can_have_made_is_never_antedated(
    event_ms: int, sent_after_ms: int
) -> None:
    sent = OPENED_MS + sent_after_ms
    clamped = min(max(event_ms, sent - CLAMP_MS), sent)
    assert not is_antedated(clamped, event_ms * 1_000, OPENED_MS)


def test_a_timestamp_older_than_the_event_and_an_hour_older_than_the_stream_is_antedated() -> None:
    timestamp_ms = OPENED_MS - CLAMP_MS - 1
    assert is_antedated(timestamp_ms, OPENED_US, OPENED_MS)
    assert not is_antedated(timestamp_ms, OPENED_US, OPENED_MS - 1)
    assert not is_antedated(0, 0, OPENED_MS), "equal to the event's own time"


def test_a_message_without_timestamp_is_not_judged_by_it() -> None:
    assert not is_antedated(-1, OPENED_US, OPENED_MS)
