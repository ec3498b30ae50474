"""Whether a record stands where it belongs: topic, key, headers and Kafka timestamp against its body.

Only the body has a digest. What stands around it is what consumers select and sort by, and could be changed
by producing the same body again, elsewhere or under another key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from auditwire.wire import headers, traceparent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from auditwire.reading.record import Record

__all__ = ["CLAMP_MS", "Disagreement", "disagreements", "is_antedated"]

CLAMP_MS = 3_600_000
"""Milliseconds: the sender gives no record a Kafka timestamp older than this at the time of sending."""


class Disagreement(NamedTuple):
    """What disagrees with the body: its name, what the body says it should be, and what it is."""

    what: str
    expected: str
    found: str


def disagreements(record: Record, topics: Mapping[str, str]) -> Iterator[Disagreement]:
    """What around a record disagrees with its body.

    A message without key, or without any CloudEvents header, is no disagreement: a collector can be told to
    leave the headers out, and a copy may have lost its key.

    Args:
        record: The record.
        topics: Event type -> topic, for the types that are not on ``<prefix>.<type>``.
    """
    event = record.event
    ending = topics.get(event.event_type) or "." + event.event_type.replace("_", "-")
    if record.topic != ending and not (ending[0] == "." and record.topic.endswith(ending)):
        yield Disagreement("topic", ending if ending[0] != "." else f"<prefix>{ending}", record.topic)
    key = _bytes(event.session_id or record.stream_id)
    if record.key is not None and record.key != key:
        yield Disagreement("key", _text(key), _text(record.key))
    yield from _of_headers(record)


def _of_headers(record: Record) -> Iterator[Disagreement]:
    event = record.event
    trace = traceparent(event.trace_id, event.span_id)
    expected = dict(headers(event.event_id, event.event_type, "", trace))
    there: dict[str, list[bytes | None]] = {}
    for name, value in record.headers:
        there.setdefault(name, []).append(value)
    if "ce_id" not in there and "ce_type" not in there:
        return
    for name in ("ce_id", "ce_type"):
        for value in there.get(name, [None]):
            if value != expected[name]:
                yield Disagreement(f"header {name}", _text(expected[name]), _text(value))
    # instrumentation of the client may add a traceparent of its own
    traces = there.get("traceparent", [])
    if trace is not None and trace not in traces:
        yield Disagreement("header traceparent", _text(trace), ", ".join(map(_text, traces)) or "nothing")
    for value in there.get("ce_source", []):
        start, _, stream = (value or b"").rpartition(b"/")
        # a collector can be given a source of another form, which says nothing about the stream
        if start.startswith(b"/auditwire/") and stream != _bytes(record.stream_id):
            yield Disagreement("header ce_source", f"/auditwire/<service>/{record.stream_id}", _text(value))


def is_antedated(record: Record, opened_ms: int) -> bool:
    """True when the Kafka timestamp is older than the sender could have made it.

    The sender takes the event's time, held to the hour before it sends. So an honest timestamp may be later
    than the event's (sent hours afterwards), or earlier (the event's time lies in the future), but in that
    case not earlier than an hour before its stream was opened.

    Args:
        record: The record.
        opened_ms: The time of the stream's opening checkpoint, milliseconds since the Unix epoch.
    """
    return 0 <= record.timestamp_ms < min(record.event.timestamp_us // 1_000, opened_ms - CLAMP_MS)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _text(value: bytes | None) -> str:
    return "nothing" if value is None else value.decode("utf-8", "backslashreplace")
