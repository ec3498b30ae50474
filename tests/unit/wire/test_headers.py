"""Headers, trace context and topic names."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.events import ALL_TYPES
from auditwire.wire import event_type_of, headers, source, topic_name, traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_headers_are_cloudevents_in_binary_mode() -> None:
    assert headers("id-1", "turn_start", "/auditwire/app/stream") == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"id-1"),
        ("ce_source", b"/auditwire/app/stream"),
        ("ce_type", b"auditwire.turn_start"),
        ("content-type", b"application/avro"),
    ]


def test_a_trace_adds_the_traceparent_last() -> None:
    parent = traceparent(TRACE, SPAN)
    assert headers("id", "error", "/s", parent)[-1] == ("traceparent", f"00-{TRACE}-{SPAN}-01".encode())


def test_a_lone_surrogate_in_an_id_is_replaced_as_in_the_body() -> None:
    assert headers("\ud800", "error", "/s")[1] == ("ce_id", "\ufffd".encode())


@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [
        (None, SPAN),
        (TRACE, None),
        (TRACE.upper(), SPAN),
        (TRACE, SPAN.upper()),
        (TRACE[1:], SPAN),
        (TRACE, SPAN + "0"),
        ("0" * 32, SPAN),
        (TRACE, "0" * 16),
        (TRACE + "\n", SPAN),
        ("g" * 32, SPAN),
        ("\uff10" * 31 + "1", SPAN),
        ("", ""),
    ],
)
def test_ids_that_are_not_well_formed_make_no_traceparent(trace_id: str | None, span_id: str | None) -> None:
    assert traceparent(trace_id, span_id) is None


def test_ids_that_begin_or_end_with_zeros_are_well_formed() -> None:
    assert traceparent("0" * 31 + "1", "1" + "0" * 15) is not None


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("checkout", "/auditwire/checkout/s-1"),
        ("my service/v2?#", "/auditwire/my%20service%2Fv2%3F%23/s-1"),
        ("Büro", "/auditwire/B%C3%BCro/s-1"),
        ("\ud800", "/auditwire/%EF%BF%BD/s-1"),
    ],
)
def test_the_source_is_a_path_with_the_service_percent_encoded(service: str, path: str) -> None:
    assert source(service, "s-1") == path


@given(service=st.text())
def test_any_service_name_makes_a_uri_reference_of_three_segments(service: str) -> None:
    parts = urlsplit(source(service, "s-1"))
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert parts.path.isascii()
    assert [unquote(part) for part in parts.path.split("/")] == ["", "auditwire", service, "s-1"]


@pytest.mark.parametrize("event_type", ALL_TYPES)
@pytest.mark.parametrize("prefix", ["audit", "eu.prod.audit", "team_a"])
def test_a_topic_tells_the_type_that_it_was_made_of(prefix: str, event_type: str) -> None:
    assert event_type_of(prefix, topic_name(prefix, event_type)) == event_type


def test_topics_have_dashes() -> None:
    assert topic_name("audit", "tool_call_complete") == "audit.tool-call-complete"


@pytest.mark.parametrize(
    "topic", ["audit", "audit.", "auditor.turn-start", "other.turn-start", "audit.turn_start"]
)
def test_a_topic_that_was_made_of_no_type_tells_none(topic: str) -> None:
    assert event_type_of("audit", topic) is None
