"""Event -> draft: what the caller's thread does of an emit, up to the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.journal.base import Draft
from auditwire.wire import topic_name, traceparent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditwire.events import AuditEvent
    from auditwire.wire import Encoder

__all__ = ["Drafter"]

_new = tuple.__new__


class Drafter:
    """Encodes events of one stream. Safe for any number of threads.

    Args:
        stream_id: The stream that the records will belong to.
        encoder: Turns an event into its body's two parts.
        prefix: Topics are ``<prefix>.<event-type-with-dashes>``.
        topics: Event type -> topic, where another name is wanted.
    """

    __slots__ = ("_default_key", "_encode", "_prefix", "_topics", "stream_id")

    def __init__(
        self, stream_id: str, encoder: Encoder, prefix: str, topics: Mapping[str, str] | None = None
    ) -> None:
        self.stream_id = stream_id
        self._encode = encoder.bound(stream_id)
        self._prefix = prefix
        self._topics = dict(topics or {})
        self._default_key = stream_id.encode()

    def topic(self, event_type: str) -> str:
        """The topic of a type."""
        topic = self._topics.get(event_type)
        if topic is None:
            topic = self._topics[event_type] = topic_name(self._prefix, event_type)
        return topic

    def draft(self, event: AuditEvent) -> Draft:
        """The event as it goes into the journal; the event itself is not changed.

        Raises:
            EncodingError: The event cannot be encoded, whatever is converted or cut.
        """
        # key, headers and time are of the same reading of the event as its body: what was converted or cut,
        # or is changed by another thread meanwhile, would be one thing in the body and another beside it
        head, tail, event_type, session, timestamp_us, event_id, trace_id, span_id = self._encode(event)
        return _new(  # by a half cheaper than the named tuple's own constructor
            Draft,
            (
                event_type,
                self._topics.get(event_type) or self.topic(event_type),
                session or self._default_key,
                timestamp_us,
                event_id,
                traceparent(trace_id, span_id) if trace_id else None,
                head,
                tail,
            ),
        )
