"""Whether a record stands where it belongs: topic, key, headers and Kafka timestamp against its body.

Only the body has a digest. What stands around it is what consumers select and sort by, and could be changed
by producing the same body again, elsewhere or under another key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from auditwire.wire import headers, traceparent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from auditwire.reading.record import Record

__all__ = [
    "CLAMP_MS",
    "Around",
    "Disagreement",
    "disagreements",
    "is_antedated",
    "is_own_topic",
]

CLAMP_MS = 3_600_000
"""Milliseconds: the sender gives no record a Kafka timestamp older than this at the time of sending."""


class Around(NamedTuple):
    """A record's place on the broker, and those parts of its body that decide what it should be."""

    topic: str
    key: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    event_id: str
    event_type: str
    session_id: str | None
    trace_id: str | None
    span_id: str | None
    stream_id: str

    @classmethod
    def record(cls, record: Record) -> Around:
        """Of a record that was read."""
        event = record.event
        return cls(
            record.topic,
            record.key,
            record.headers,
            event.event_id,
            event.event_type,
            event.session_id,
            event.trace_id,
            event.span_id,
            record.stream_id,
        )


class Disagreement(NamedTuple):
    """What disagrees with the body: its name, what the body says it should be, and what it is."""

    what: str
    expected: str
    found: str


def is_own_topic(topic: str, event_type: str, topics: Mapping[str, str]) -> bool:
    """True for the topic of an event type, of whatever prefix."""
    own = topics.get(event_type)
    return topic == own if own else topic.endswith(_ending(event_type))


def disagreements(around: Around | Record, topics: Mapping[str, str]) -> Iterator[Disagreement]:
    """What around a record disagrees with its body.

    A message without key, or without any CloudEvents header, is no disagreement: a collector can be told to
    leave the headers out, and a copy may have lost its key.

    Args:
        around: The record.
        topics: Event type -> topic, for the types that are not on ``<prefix>.<type>``.
    """
    if not isinstance(around, Around):
        around = Around.record(around)
    if not is_own_topic(around.topic, around.event_type, topics):
        own = topics.get(around.event_type) or f"<prefix>{_ending(around.event_type)}"
        yield Disagreement("topic", own, around.topic)
    key = _bytes(around.session_id or around.stream_id)
    if around.key is not None and around.key != key:
        yield Disagreement("key", _text(key), _text(around.key))
    yield from _of_headers(around)


def _of_headers(around: Around) -> Iterator[Disagreement]:
    trace = traceparent(around.trace_id, around.span_id)
    expected = dict(headers(around.event_id, around.event_type, "", trace))
    there: dict[str, list[bytes | None]] = {}
    for name, value in around.headers:
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
        source = value or b""
        # a collector can be given a source of another form, which says nothing about the stream
        if source.startswith(b"/auditwire/") and not source.endswith(b"/" + _bytes(around.stream_id)):
            yield Disagreement("header ce_source", f"/auditwire/<service>/{around.stream_id}", _text(value))


def is_antedated(timestamp_ms: int, event_us: int, opened_ms: int) -> bool:
    """True when a record's Kafka timestamp is older than the sender could have made it.

    The sender takes the event's time, held to the hour before it sends. So an honest timestamp may be later
    than the event's (sent hours afterwards), or earlier (the event's time lies in the future), but in that
    case not earlier than an hour before its stream was opened.

    Args:
        timestamp_ms: Kafka's, milliseconds since the Unix epoch; negative: none, which is not judged.
        event_us: The event's own time, microseconds since the Unix epoch.
        opened_ms: The time of the stream's opening checkpoint, milliseconds since the Unix epoch.
    """
    return 0 <= timestamp_ms < min(event_us // 1_000, opened_ms - CLAMP_MS)


def _ending(event_type: str) -> str:
    return "." + event_type.replace("_", "-")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _text(value: bytes | None) -> str:
    return "nothing" if value is None else value.decode("utf-8", "backslashreplace")
