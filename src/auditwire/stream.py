"""Streams of numbered records, and the checkpoints that list their digests.

In come the digests of records in the order of their numbers; out come :class:`CheckpointEvent` objects. Pure
data structures without threads, clocks or Kafka: the background sender writes checkpoints with them, the
verifier reads checkpoints with them.

**Stream.** One collector's records, numbered from 0 without a gap: ``stream_id`` (UUIDv7 text) and
``sequence`` stand in every record. Record 0 is the opening checkpoint.

**Digest of a record.** SHA-256 (FIPS 180-4) of the Avro body: the whole record as encoded, envelope and
``sequence`` included, without the framing in front of it (single-object or Confluent), Kafka key, headers or
timestamp. The same record therefore has the same digest in every framing and on every topic.

**Entry.** 44 characters of unpadded base64url (RFC 4648, section 5) that stand for 33 bytes::

    byte  0      index into the checkpoint's ``types``, 0 to 255
    bytes 1-32   the record's digest

33 bytes are a whole number of base64 groups, so that each entry has exactly one spelling.

**Type.** ``event_type:fingerprint``, for example ``turn_start:8f5c3a0b1d2e4f60``. The fingerprint is the
schema's CRC-64-AVRO as 16 lower-case hex digits, little-endian as in the single-object header.

**Checkpoint.** An ordinary record of type ``checkpoint`` with an own sequence:

==================  =====================================================================================
``reason``          ``open`` (record 0), ``interval``, ``heartbeat``, ``close`` (the last record)
``trail``           name of the trail
``resource``        JSON object text, OpenTelemetry resource attributes of the process
``acknowledged``    every record with a lower sequence has been acknowledged by the broker, or the
                    quarantine record that stands for it has
``first_sequence``  sequence of the record that the first entry stands for
``entries``         one entry for each record from ``first_sequence`` on, without a hole; at most 4,000
``types``           what the entries' first byte points into, in order of first use; at most 256
``previous``        ``stream:sequence:digest`` (digest as 64 hex digits) of the last readable record of
                    earlier streams of the same journal path that no later stream has named; in the opening
                    one only
``parent_stream``   stream id of the parent process, after a fork; in the opening one only
``key_id``,         signature over the body before it; null when unsigned
``next_key``,
``signature``
==================  =====================================================================================

Each checkpoint continues where the one before it ended: its ``first_sequence`` is the one before's plus the
number of entries there, 0 for the opening one, which has no entries. A checkpoint is listed by a later one as
any record is, and so checkpoints form a chain. It lists records before itself only, and not necessarily all:
records that were accepted but not yet hashed when it was made are listed by the next. A closing checkpoint
lists everything before itself; nothing lists a closing checkpoint.

A checkpoint is due

- ``interval``: when 1,000 records are unlisted, or 10 s after the first unlisted record that is not itself a
  checkpoint (checkpoints would call for checkpoints for ever otherwise), or at once when one checkpoint
  could not hold what was there to be listed;
- ``heartbeat``: 60 s after the last checkpoint when nothing else is unlisted, so that a reader can tell an
  idle stream from a dead one.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol

from auditwire.events import CheckpointEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "CHECKPOINT_RECORDS",
    "CHECKPOINT_SECONDS",
    "HEARTBEAT_SECONDS",
    "MAX_ENTRIES",
    "MAX_TYPES",
    "Ledger",
    "Reason",
    "entries_of",
    "pack_entry",
    "type_key",
    "unpack_entry",
]

Reason = Literal["open", "interval", "heartbeat", "close"]
"""Why a checkpoint was written."""

CHECKPOINT_RECORDS = 1_000
"""Unlisted records that make a checkpoint due."""

CHECKPOINT_SECONDS = 10.0
"""Seconds after the first unlisted record, checkpoints aside, that make a checkpoint due."""

HEARTBEAT_SECONDS = 60.0
"""Seconds after the last checkpoint that make one due on an idle stream."""

MAX_ENTRIES = 4_000
"""Entries of one checkpoint at most: 184 KB of Avro, far below the 900 KiB that a record may have."""

MAX_TYPES = 256
"""Types of one checkpoint at most: what one byte can point into."""

_DIGEST_BYTES = 32
_ENTRY_LENGTH = 44
_ENTRY = re.compile(r"[A-Za-z0-9_-]{44}")  # the decoder alone would skip foreign characters in silence
_CHECKPOINT = CheckpointEvent.event_type + ":"


def type_key(event_type: str, fingerprint: bytes) -> str:
    """``event_type:fingerprint`` as it stands in a checkpoint's ``types``.

    Args:
        event_type: The record's type, for example ``turn_start``.
        fingerprint: CRC-64-AVRO of its schema, 8 bytes, little-endian.
    """
    return f"{event_type}:{fingerprint.hex()}"


def pack_entry(type_index: int, digest: bytes) -> str:
    """A checkpoint's entry for one record: 44 characters of base64url.

    Args:
        type_index: Index into the checkpoint's ``types``, 0 to 255.
        digest: SHA-256 of the record's Avro body, 32 bytes.

    Raises:
        ValueError: The index or the digest's length is out of range.
    """
    if len(digest) != _DIGEST_BYTES:
        raise ValueError(f"a digest has {_DIGEST_BYTES} bytes, not {len(digest)}")
    return urlsafe_b64encode(bytes((type_index,)) + digest).decode("ascii")


def unpack_entry(text: str) -> tuple[int, bytes]:
    """Index into ``types`` and digest of an entry.

    Raises:
        ValueError: The text is not 44 characters of unpadded base64url.
    """
    if not _ENTRY.fullmatch(text):
        raise ValueError(f"not an entry of a checkpoint: {text[:60]!r}")
    raw = urlsafe_b64decode(text)
    return raw[0], raw[1:]


class _Listing(Protocol):
    """What lists records: a checkpoint, or what an adopter states about an orphaned stream."""

    first_sequence: int
    entries: list[str]
    types: list[str]


def entries_of(listing: _Listing) -> Iterator[tuple[int, str, bytes]]:
    """Sequence, ``event_type:fingerprint`` and digest of each record that a checkpoint lists, in order.

    Raises:
        ValueError: An entry is malformed or points beyond ``types``; the message says which.
    """
    for sequence, text in enumerate(listing.entries, listing.first_sequence):
        index, digest = unpack_entry(text)
        if index >= len(listing.types):
            raise ValueError(
                f"the entry of sequence {sequence} points to type {index} of {len(listing.types)}"
            )
        yield sequence, listing.types[index], digest


class Ledger:
    """The records of one stream that no checkpoint lists yet, and when the next checkpoint is due.

    For one thread. Times are seconds of a monotonic clock that the caller reads. The way of a checkpoint::

        if reason := ledger.due(now):
            event = ledger.checkpoint(reason, acknowledged=low_water_mark)  # looks, changes nothing
            if append_to_journal(event):  # there was room
                ledger.listed(event, now)  # only now are its records done with

    A checkpoint that finds no room is simply dropped; a later one lists the same records and more. The
    checkpoint itself comes back through ``add`` when the sender hashes it, like any other record.

    Args:
        trail: Name of the trail.
        resource: JSON object text that describes the process.
        previous: ``stream:sequence:digest`` of earlier streams; goes into the opening checkpoint.
        parent_stream: Stream id of the parent process after a fork; goes into the opening checkpoint.
    """

    __slots__ = (
        "_first",
        "_last_checkpoint",
        "_parent_stream",
        "_previous",
        "_resource",
        "_since",
        "_trail",
        "_unlisted",
    )

    def __init__(
        self,
        *,
        trail: str,
        resource: str = "{}",
        previous: Sequence[str] = (),
        parent_stream: str | None = None,
    ) -> None:
        self._trail = trail
        self._resource = resource
        self._previous = tuple(previous)
        self._parent_stream = parent_stream
        self._first = 0  # sequence of _unlisted[0]
        self._unlisted: list[tuple[str, bytes, float]] = []
        self._since: float | None = None  # when the first unlisted record that is no checkpoint was added
        self._last_checkpoint: float | None = None

    @property
    def unlisted(self) -> int:
        """How many records were added and are listed by no checkpoint yet."""
        return len(self._unlisted)

    @property
    def next_sequence(self) -> int:
        """The sequence that ``add`` expects next."""
        return self._first + len(self._unlisted)

    def add(self, sequence: int, type_name: str, digest: bytes, now: float) -> None:
        """Take the next record of the stream, the stream's own checkpoints included.

        Args:
            sequence: Its number; one more than the record's before, 0 for the first.
            type_name: ``event_type:fingerprint``, as ``type_key`` makes it.
            digest: SHA-256 of its Avro body, 32 bytes.
            now: Seconds of the monotonic clock.

        Raises:
            ValueError: Another sequence is expected; nothing was changed.
        """
        self.add_all(sequence, [(type_name, digest, now)])

    def add_all(self, sequence: int, records: Sequence[tuple[str, bytes, float]]) -> None:
        """Take the next records, as ``add`` takes one.

        Args:
            sequence: The number of the first one.
            records: Of each type, digest and seconds of the monotonic clock, as for ``add``.

        Raises:
            ValueError: Another sequence is expected; nothing was changed.
        """
        if sequence != self.next_sequence:
            raise ValueError(f"sequence {sequence} does not follow: {self.next_sequence} is next")
        for _, digest, _ in records:
            if len(digest) != _DIGEST_BYTES:
                raise ValueError(f"a digest has {_DIGEST_BYTES} bytes, not {len(digest)}")
        self._unlisted += records
        if self._since is None:
            self._since = next((at for name, _, at in records if not name.startswith(_CHECKPOINT)), None)

    def due(self, now: float) -> Reason | None:
        """Why a checkpoint is due, None when none is; ``open`` until the first one is listed.

        It stays due until ``listed``: whoever finds no room waits for room, not for ``next_due``.
        """
        if self._last_checkpoint is None:
            return "open"
        if self.next_due(now) > 0:
            return None
        return "heartbeat" if self._since is None and not self._full else "interval"

    def next_due(self, now: float) -> float:
        """Seconds until a checkpoint becomes due if nothing more is added; 0.0 when one is due."""
        if self._last_checkpoint is None or self._full:
            return 0.0
        if self._since is not None:
            return max(0.0, self._since + CHECKPOINT_SECONDS - now)
        return max(0.0, self._last_checkpoint + HEARTBEAT_SECONDS - now)

    @property
    def _full(self) -> bool:
        return len(self._unlisted) >= CHECKPOINT_RECORDS

    def checkpoint(self, reason: Reason, *, acknowledged: int) -> CheckpointEvent:
        """A new checkpoint that lists what is unlisted, as far as one holds; the ledger stays as it is.

        Args:
            reason: Why it is made. A closing checkpoint has to list everything: while one cannot hold it,
                ``close`` gives an ``interval`` checkpoint, to be appended and listed before asking again.
            acknowledged: Every record below this sequence is known to have reached the broker.
        """
        types: dict[str, int] = {}
        raw = bytearray()
        for type_name, digest, _ in islice(self._unlisted, MAX_ENTRIES):
            index = types.setdefault(type_name, len(types))
            if index == MAX_TYPES:
                del types[type_name]
                break
            raw.append(index)
            raw += digest
        text = urlsafe_b64encode(raw).decode("ascii")  # each entry is a whole number of base64 groups
        entries = [text[at : at + _ENTRY_LENGTH] for at in range(0, len(text), _ENTRY_LENGTH)]
        if reason == "close" and len(entries) < len(self._unlisted):
            reason = "interval"
        opening = self._last_checkpoint is None
        return CheckpointEvent(
            reason=reason,
            trail=self._trail,
            resource=self._resource,
            acknowledged=acknowledged,
            first_sequence=self._first,
            entries=entries,
            types=list(types),
            previous=list(self._previous) if opening else [],
            parent_stream=self._parent_stream if opening else None,
        )

    def listed(self, checkpoint: CheckpointEvent, now: float) -> None:
        """Forget the records that this checkpoint lists; call it when the checkpoint is in the journal.

        Args:
            checkpoint: What ``checkpoint`` returned last.
            now: Seconds of the monotonic clock.

        Raises:
            ValueError: The checkpoint does not begin where the ledger does; nothing was changed.
        """
        count = len(checkpoint.entries)
        if checkpoint.first_sequence != self._first or count > len(self._unlisted):
            raise ValueError(
                f"a checkpoint of {count} records from sequence {checkpoint.first_sequence} on does not fit: "
                f"{len(self._unlisted)} from {self._first} on are unlisted"
            )
        del self._unlisted[:count]
        self._first += count
        self._last_checkpoint = now
        self._since = next((at for name, _, at in self._unlisted if not name.startswith(_CHECKPOINT)), None)
        if self._since is not None and (count == MAX_ENTRIES or len(checkpoint.types) == MAX_TYPES):
            self._since = float("-inf")  # what one checkpoint could not hold does not wait for the clock
