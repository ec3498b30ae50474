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
        self._encode = encoder.encode_fitted
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
        # key, headers and time are taken from the event as it was encoded: what was converted or cut would be
        # one thing in the body and another beside it
        head, tail, fitted = self._encode(event, self.stream_id)
        event_type = fitted.event_type
        session = fitted.session_id
        return Draft(
            event_type,
            self.topic(event_type),
            session.encode() if session else self._default_key,
            fitted.timestamp_us,
            fitted.event_id,
            traceparent(fitted.trace_id, fitted.span_id) if fitted.trace_id else None,
            head,
            tail,
        )
