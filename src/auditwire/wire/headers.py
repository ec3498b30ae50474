"""What stands around the value of a Kafka record: headers, trace context, topic name.

Headers are CloudEvents 1.0 in binary mode
(https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md#32-binary-content-mode)
and W3C Trace Context (https://www.w3.org/TR/trace-context-1/#traceparent-header):

================== ============================================================================
``ce_specversion`` ``1.0``
``ce_id``          the event's id
``ce_source``      ``/auditwire/<service>/<stream_id>``, the service percent-encoded
``ce_type``        ``auditwire.<event_type>``
``content-type``   ``application/avro``; the value begins with the framing bytes
``traceparent``    ``00-<trace id>-<span id>-01``, only when the event has both
================== ============================================================================
"""

from __future__ import annotations

import re
from urllib.parse import quote

from auditwire.jsonable import whole

__all__ = ["event_type_of", "headers", "source", "topic_name", "traceparent"]

_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/avro")
_SHARED = 1_024
_shared: dict[
    tuple[str, str], tuple[tuple[str, bytes], ...]
] = {}  # (source, event type) -> what follows the id
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")


def headers(
    event_id: str, event_type: str, source: str, traceparent: bytes | None = None
) -> list[tuple[str, bytes]]:
    """The headers of a record, as the Kafka client takes them. Lone surrogates become U+FFFD, as in the body.

    Args:
        event_id: The event's id.
        event_type: Such as ``turn_start``.
        source: What :func:`source` made.
        traceparent: What :func:`traceparent` made, or None.
    """
    shared = _shared.get((source, event_type))
    if shared is None:
        if len(_shared) >= _SHARED:  # a forwarder may see any number of streams
            _shared.clear()
        kind = "ce_type", b"auditwire." + _utf8(event_type)
        shared = _shared[source, event_type] = ("ce_source", _utf8(source)), kind, _CONTENT_TYPE
    out = [_SPECVERSION, ("ce_id", event_id.encode() if event_id.isascii() else _utf8(event_id)), *shared]
    if traceparent is not None:
        out.append(("traceparent", traceparent))
    return out


def source(service: str, stream_id: str) -> str:
    """``/auditwire/<service>/<stream_id>``: a URI-reference, the service percent-encoded as UTF-8."""
    return f"/auditwire/{quote(_utf8(service), safe='')}/{stream_id}"


def traceparent(trace_id: str | None, span_id: str | None) -> bytes | None:
    """The ``traceparent`` header, flagged as sampled, or None when an id is missing or not well-formed.

    Args:
        trace_id: 32 lower-case hex digits, not all zero.
        span_id: 16 lower-case hex digits, not all zero.
    """
    if trace_id is None or span_id is None:  # by far the most frequent
        return None
    if not _TRACE_ID.fullmatch(trace_id) or not _SPAN_ID.fullmatch(span_id):
        return None
    return f"00-{trace_id}-{span_id}-01".encode("ascii")


def topic_name(prefix: str, event_type: str) -> str:
    """``<prefix>.<event-type-with-dashes>``: ``audit.turn-start``.

    Dashes, because Kafka's metric names take ``.`` and ``_`` for the same character.
    """
    return f"{prefix}.{event_type.replace('_', '-')}"


def event_type_of(prefix: str, topic: str) -> str | None:
    """The event type that :func:`topic_name` made this topic of, or None when it made it of none.

    Only the form is looked at: ``audit.a-topic-of-your-own`` reads as type ``a_topic_of_your_own``.
    """
    start = prefix + "."
    if not topic.startswith(start) or len(topic) == len(start) or "_" in topic[len(start) :]:
        return None
    return topic[len(start) :].replace("-", "_")


def _utf8(text: str) -> bytes:
    return whole(text).encode("utf-8")
