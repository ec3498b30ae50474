"""What is read of a record's value: the whole event, or the envelope alone.

Made by the million, so plain slotted classes with nothing computed in advance: the body is cut out of the
value and hashed when it is asked for. Nothing changes them after they were made.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar

from auditwire.wire.framing import HEADER_BYTES

if TYPE_CHECKING:
    from auditwire.events import AuditEvent
    from auditwire.wire.framing import Framing

__all__ = ["Decoded", "Envelope", "Misplaced"]


@dataclass(slots=True, kw_only=True)
class _Read:
    """Where a record stands in its stream, and the value that it was read from."""

    stream_id: str
    sequence: int
    value: bytes
    framing: Framing
    fingerprint: bytes

    @property
    def body(self) -> bytes:
        """The Avro body, without framing: a new copy each time."""
        return self.value[HEADER_BYTES[self.framing] :]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the body, 32 bytes: what checkpoints list. Computed each time."""
        return sha256(self.body).digest()


@dataclass(slots=True, kw_only=True)
class Decoded(_Read):
    """What a value held.

    Attributes:
        event: The event.
        stream_id: Identifier of its stream.
        sequence: Its number in the stream.
        value: The value that it was read from, framing included.
        framing: ``single-object`` or ``confluent``.
        fingerprint: CRC-64-AVRO of the schema that it was read with, 8 bytes, little-endian.
        misplaced: True when the topic is said to be of another event type.
    """

    event: AuditEvent
    misplaced: ClassVar[bool] = False


class Misplaced(Decoded):
    """What a value held that lies on the topic of another event type.

    A class of its own, so that nothing is asked or stored for the millions that lie where they belong.
    """

    __slots__ = ()
    misplaced: ClassVar[bool] = True

    @classmethod
    def of(cls, found: Decoded) -> Misplaced:
        """The same, misplaced."""
        return cls(
            event=found.event,
            stream_id=found.stream_id,
            sequence=found.sequence,
            value=found.value,
            framing=found.framing,
            fingerprint=found.fingerprint,
        )


@dataclass(slots=True, kw_only=True)
class Envelope(_Read):
    """The part of a record that all event types have in common, as far as a check needs it.

    Attributes:
        event_id: The event's id.
        event_type: Such as ``turn_start``.
        timestamp_us: The event's time, microseconds since the Unix epoch.
        session_id: The session, or None.
        turn_id: The turn, or None.
        agent_id: The agent, or None.
        severity: ``info``, ``warning`` or ``error``.
        trace_id: W3C trace identifier, or None.
        span_id: W3C span identifier, or None.
        stream_id: Identifier of its stream.
        sequence: Its number in the stream.
        value: The value that it was read from, framing included.
        framing: ``single-object`` or ``confluent``.
        fingerprint: CRC-64-AVRO of the schema that it was read with, 8 bytes, little-endian.
    """

    event_id: str
    event_type: str
    timestamp_us: int
    session_id: str | None
    turn_id: str | None
    agent_id: str | None
    severity: str
    trace_id: str | None
    span_id: str | None
