"""What records say of other records, as claims: checkpoints, recovery, quarantine and loss records.

In comes one such record, out come claims, each for the stream that it speaks of.
"""

from __future__ import annotations

import json
import re
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from auditwire.events import CheckpointEvent, LossEvent, QuarantineEvent, RecoveryEvent
from auditwire.verification.blocks import blocks_of, read_entries
from auditwire.verification.layout import MAX_SEQUENCE, Kind, about, head, key_of, packed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.events import AuditEvent
    from auditwire.verification.layout import Place

__all__ = ["CHECKPOINT_HEAD", "NAMED", "RECOVERY", "TALKERS", "Naming", "claims_of", "naming_of"]

TALKERS = frozenset(kind.event_type for kind in (CheckpointEvent, LossEvent, QuarantineEvent, RecoveryEvent))
"""The types of records that say something of other records, or of what is no record."""

CHECKPOINT_HEAD = Struct(">Q32s")
NAMED = Struct(">QB")
RECOVERY = Struct(">16sQ32sB")
_MAX_LONG = (1 << 63) - 1  # an Avro long, as all sequences are
_NAMING = re.compile(r"([^:]+):([0-9]{1,19}):([0-9a-f]{64})")


class Naming(NamedTuple):
    """One line of ``previous``: the last readable record of an earlier stream."""

    stream_id: str
    sequence: int
    digest: bytes


def naming_of(text: str) -> Naming | None:
    """``stream:sequence:digest`` taken apart; None when it is not that."""
    match = _NAMING.fullmatch(text)
    if match is None or int(match[2]) > _MAX_LONG:
        return None
    return Naming(match[1], int(match[2]), bytes.fromhex(match[3]))


def claims_of(
    event: AuditEvent, stream_id: str, sequence: int, digest: bytes, place: Place, *, counted: bool
) -> Iterator[tuple[str, bytes]]:
    """Each stream that a record speaks of, and the claim.

    Args:
        event: The record's event.
        stream_id: The record's stream.
        sequence: Its number there.
        digest: SHA-256 of its body.
        place: Where it is.
        counted: Whether a checkpoint's ``acknowledged`` counts.
    """
    if isinstance(event, CheckpointEvent):
        yield from _of_checkpoint(event, stream_id, sequence, digest, place, counted=counted)
    elif isinstance(event, RecoveryEvent):
        yield from _of_recovery(event, stream_id, sequence, digest, place, counted=counted)
    elif isinstance(event, QuarantineEvent):
        number = event.quarantined_sequence
        if 0 <= number <= MAX_SEQUENCE:
            # it may stand in another stream: that of whoever adopted an ended process's journal
            said = packed([event.quarantined_digest, *place])
            yield event.quarantined_stream, about(number, Kind.QUARANTINED, said)
    elif isinstance(event, LossEvent):
        yield stream_id, about(sequence, Kind.LOSS, digest + packed([event.count, event.reason, *place]))


def _of_checkpoint(
    event: CheckpointEvent, stream_id: str, sequence: int, digest: bytes, place: Place, *, counted: bool
) -> Iterator[tuple[str, bytes]]:
    first, entries = event.first_sequence, read_entries(event)
    # what a checkpoint says of records after itself cannot be true
    acknowledged = min(event.acknowledged, sequence)
    said = [acknowledged, counted, event.reason, event.timestamp_us, event.trail, _service(event.resource)]
    yield stream_id, head(Kind.CHECKPOINT_HEAD, CHECKPOINT_HEAD.pack(sequence, digest) + packed(said))
    error = None
    if len(entries) and first + len(entries) > sequence:
        error = f"lists record {max(first, sequence)}, which cannot be before it"
    elif entries.error is not None:
        error = f"is malformed: {entries.error}"
    for block in blocks_of(Kind.LISTED, entries, event.types, first, sequence, [sequence]):
        yield stream_id, block
    named, malformed = [], []
    for text in event.previous:
        naming = naming_of(text)
        if naming is None:
            malformed.append(text[:200])
            continue
        named.append(naming.stream_id)
        by = f"checkpoint {sequence} of stream {stream_id}".encode("utf-8", "surrogatepass")
        yield naming.stream_id, head(Kind.NAMED, NAMED.pack(naming.sequence, not counted))
        yield naming.stream_id, about(naming.sequence, Kind.NAMING, naming.digest + by)
    chain = [first, len(event.entries), event.reason, error, named, malformed, *place]
    yield stream_id, about(sequence, Kind.CHECKPOINT, digest + packed(chain))


def _of_recovery(
    event: RecoveryEvent, stream_id: str, sequence: int, digest: bytes, place: Place, *, counted: bool
) -> Iterator[tuple[str, bytes]]:
    first, end = event.first_sequence, event.first_sequence + len(event.entries)
    entries = read_entries(event)
    error = entries.error
    if event.entries and not 0 <= first < end <= event.last_sequence + 1:
        error = f"it lists records {first} to {end - 1}, and the last readable one is {event.last_sequence}"
    unreadable = sorted(event.unreadable)
    said = [
        stream_id,
        *place,
        first,
        len(event.entries),
        event.last_sequence,
        unreadable,
        event.machine_restarted,
        error,
    ]
    of = RECOVERY.pack(key_of(stream_id), sequence, digest, not counted)
    yield event.orphan_stream, head(Kind.RECOVERY, of + packed(said))
    if error is None:
        by = [key_of(stream_id).hex(), sequence, stream_id, *place]
        for block in blocks_of(Kind.STATED, entries, event.types, first, end, by):
            yield event.orphan_stream, block


def _service(resource: str) -> str | None:
    """``service.name`` of a resource's JSON text."""
    try:
        name = json.loads(resource)["service.name"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None
