"""What of a record goes to Kafka: the framed value, and the headers that its stream asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.wire import frame_single_object, headers

if TYPE_CHECKING:
    from auditwire.journal import Record

__all__ = ["message_of", "value_of"]

_FRAMES = 4_096
_frames: dict[bytes, bytes] = {}


def value_of(record: Record) -> bytes:
    """The body behind its framing, with the fingerprint of the schema that the record was written with."""
    fingerprint = record.fingerprint
    frame = _frames.get(fingerprint)
    if frame is None:
        if len(_frames) >= _FRAMES:  # files of others may hold any number of them
            _frames.clear()
        frame = _frames[fingerprint] = frame_single_object(fingerprint, b"")
    return frame + record.body


def message_of(record: Record) -> tuple[bytes, list[tuple[str, bytes]] | None]:
    """The value, as ``value_of`` makes it, and the headers; None for a stream without."""
    # every record goes through it: one call for both, and the tuple is taken apart once
    _, event_type, _, _, _, event_id, trace, body, _, fingerprint, _, origin = record
    frame = _frames.get(fingerprint)
    value = value_of(record) if frame is None else frame + body
    source = origin.source
    return value, None if source is None else headers(event_id, event_type, source, trace)
