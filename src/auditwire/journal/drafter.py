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
        self._encode = encoder.encode
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
        head, tail = self._encode(event, self.stream_id)
        event_type = event.event_type
        session = event.session_id
        return Draft(
            event_type,
            self.topic(event_type),
            _key(session) if session else self._default_key,
            _microseconds(event.timestamp_us),
            event.event_id,
            traceparent(event.trace_id, event.span_id) if event.trace_id else None,
            head,
            tail,
        )


def _key(session: object) -> bytes:
    return str(session).encode("utf-8", "replace")


def _microseconds(value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return] # any value
    except (TypeError, ValueError, OverflowError):
        return 0
