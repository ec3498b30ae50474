"""What ``--dry-run`` ships to: events are encoded, as they would be for the broker, and go nowhere."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from auditwire.delivery.health import Health
from auditwire.ids import uuid7
from auditwire.wire import new_encoder

if TYPE_CHECKING:
    from auditwire.events import AuditEvent

__all__ = ["Trial"]


class Trial:
    """Takes events and delivers none; knows which of their values would be converted or cut."""

    def __init__(self) -> None:
        self._stream_id = uuid7()
        self._coerced: Counter[str] = Counter()
        self._truncated: Counter[str] = Counter()
        self._encode = new_encoder(
            lambda field: self._coerced.update((field,)), lambda field: self._truncated.update((field,))
        ).encode
        self._accepted = 0

    def emit(self, event: AuditEvent) -> None:
        """Encode an event.

        Raises:
            EncodingError: It cannot be encoded.
        """
        self._encode(event, self._stream_id)
        self._accepted += 1

    def flush(self, timeout: float) -> None:
        """Nothing waits."""

    def health(self) -> Health:
        """How many events were encoded, and what was converted or cut."""
        return Health(
            state="ok",
            stream_id=self._stream_id,
            accepted=self._accepted,
            delivered=0,
            control=0,
            pending_records=0,
            pending_bytes=0,
            capacity_bytes=0,
            oldest_seconds=0.0,
            coerced=dict(self._coerced),
            truncated=dict(self._truncated),
        )
