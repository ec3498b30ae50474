"""The encoder that emits go through: code made from the schema, and the thorough way for what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.events import ALL_TYPES
from auditwire.wire.encoder import FastavroEncoder, ignore
from auditwire.wire.encoder_source import REFUSED, Write, writer_of
from auditwire.wire.packing import text
from auditwire.wire.schemas import schema_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.events import AuditEvent
    from auditwire.wire.encoder import Encoded

__all__ = ["GeneratedEncoder"]

_CLASSES = frozenset(ALL_TYPES.values())


class GeneratedEncoder:
    """The default :class:`~auditwire.wire.Encoder`. Keeps no state but what it learnt about classes.

    An event whose values all fit their fields is written by code that was generated from its schema
    (:mod:`auditwire.wire.encoder_source`), at about a tenth of the cost of a general Avro library. Any other
    goes the way of :class:`FastavroEncoder`, so both make the same of every event.

    Args:
        on_coerced: Called with the name of each field that was coerced, ``metadata`` for anything in it.
        on_truncated: Called with the name of each field that was cut, ``metadata`` for anything in it.

    The callbacks run on the thread that emits, before ``encode`` returns, and must not raise.
    """

    def __init__(
        self, on_coerced: Callable[[str], None] = ignore, on_truncated: Callable[[str], None] = ignore
    ) -> None:
        self._thorough = FastavroEncoder(on_coerced, on_truncated)
        self._writers: dict[type, Write] = {}

    def encode(self, event: AuditEvent, stream_id: str) -> tuple[bytes, bytes]:
        """Head and tail of the event's body. An event of another class becomes one by :func:`as_audit_event`.

        Raises:
            EncodingError: The event could not be turned into bytes, in spite of coercion and shortening.
            SchemaError: The schema is missing from the installation.
        """
        return self.encode_fitted(event, stream_id)[:2]

    def encode_fitted(self, event: AuditEvent, stream_id: str) -> tuple[bytes, bytes, AuditEvent]:
        """As ``encode``, and the event as it was encoded: see :class:`Encoder`."""
        found = self._quickly(event, text(stream_id))
        if found is not None:
            return found[0], found[1], event
        return self._thorough.encode_fitted(event, stream_id)

    def bound(self, stream_id: str) -> Callable[[AuditEvent], Encoded]:
        """``encode`` for events of one stream: see :class:`Encoder`."""
        stream, quickly, thoroughly = text(stream_id), self._quickly, self._thorough.bound(stream_id)
        known = self._writers.get

        def encode(event: AuditEvent) -> Encoded:
            write = known(type(event))
            if write is not None:
                try:
                    found = write(event, stream)
                except REFUSED:
                    found = None
            else:  # the first one of its class
                found = quickly(event, stream)
            return thoroughly(event) if found is None else found

        return encode

    def _quickly(self, event: AuditEvent, stream: bytes) -> Encoded | None:
        """What generated code makes of the event; None when it is for the thorough way."""
        write = self._writers.get(type(event))
        if write is None:
            if type(event) not in _CLASSES:
                return None
            write = writer_of(schema_for(event.event_type))
            if write is None:
                return None
            self._writers[type(event)] = write
        try:
            return write(event, stream)
        except REFUSED:
            return None
