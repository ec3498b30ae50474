"""What was replayed: counts, places, and for each stream a digest that another reader can compute again.

**A stream's digest.** It begins as 32 zero bytes. For each record of the stream that was replayed, in the
order of their sequences, it becomes the SHA-256 of 72 bytes:

========= ================================================
bytes     what
========= ================================================
0 to 31   the digest so far
32 to 39  the record's sequence, big-endian, signed
40 to 71  SHA-256 of the record's Avro body
========= ================================================

The record's own digest is the one that checkpoints list (``auditwire.stream``), so framing, topic and headers
do not matter. A record that stands on the topics several times counts once. Memory does not grow with the
records, and the digest can be gone on with after a restart.

**Late records.** A reader hands out a stream in the order of its sequences, but for numbers that came after
it had given them up (its memory was full). Those are left out of the digest, and listed with their own.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditwire.errors import DecodingError
    from auditwire.reading import Gap, Message, Record

__all__ = ["GAPS_KEPT", "Places", "StreamTally", "Tally", "follow"]

GAPS_KEPT = 1_000
"""Gaps that are kept in detail; all are counted."""

_ZERO = bytes(32)
_OF_CLIENT = ("corrupt", "headers")
_BELOW_ALL = -(1 << 63) - 1  # a forged record may have any 64-bit number


def follow(digest: bytes, sequence: int, record_digest: bytes) -> bytes:
    """A stream's digest after one more record; see the module.

    Args:
        digest: The digest so far, 32 bytes.
        sequence: The record's number.
        record_digest: SHA-256 of its Avro body, 32 bytes.
    """
    return sha256(digest + sequence.to_bytes(8, "big", signed=True) + record_digest).digest()


class StreamTally:
    """One stream's part of it.

    Attributes:
        first: The lowest sequence that was replayed.
        last: The highest one.
        records: How many, each number once.
        digest: Of those that came in order; see the module.
        late: Sequence -> the record's digest, of those that did not.
    """

    __slots__ = ("_end", "digest", "first", "last", "late", "records")

    def __init__(self) -> None:
        self.first = -1
        self.last = -1
        self.records = 0
        self.digest = _ZERO
        self.late: dict[int, bytes] = {}
        self._end = _BELOW_ALL  # the highest sequence that came in order

    def add(self, sequence: int, digest: bytes) -> None:
        """Count one record."""
        if not self.records:
            self.first = self.last = sequence
        else:
            self.first, self.last = min(self.first, sequence), max(self.last, sequence)
        self.records += 1
        if sequence > self._end:
            self._end = sequence
            self.digest = follow(self.digest, sequence, digest)
        else:
            self.late[sequence] = digest

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types; digests in hex."""
        out: dict[str, Any] = {
            "first": self.first,
            "last": self.last,
            "records": self.records,
            "digest": self.digest.hex(),
        }
        if self.late:
            out["late"] = {str(sequence): digest.hex() for sequence, digest in sorted(self.late.items())}
        return out

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> StreamTally:
        """What ``to_dict`` made.

        Raises:
            ValueError, KeyError, TypeError: It is something else.
        """
        made = cls()
        made.first, made.last = int(content["first"]), int(content["last"])
        made.records = whole(content["records"])
        made.digest = hashed(content["digest"])
        made.late = {int(text): hashed(digest) for text, digest in content.get("late", {}).items()}
        made._end = made.last  # the highest one cannot have come late
        return made


Places = dict[str, dict[int, list[int]]]
"""Topic -> partition -> the first offset that was replayed, the last one, and how many."""


class Tally:
    """What was replayed so far. For one thread.

    Attributes:
        records: How many, duplicates not counted.
        duplicates: Records that stood on the topics once more.
        late: Records that came after their number had been given up.
        first_ms: The oldest Kafka timestamp, milliseconds since the Unix epoch; None before there is one.
        last_ms: The newest one.
        streams: Stream id -> its part.
        places: Where the records were read, duplicates included.
        gaps: Numbers that the reader waited for and gave up; the first thousand.
        gap_count: How many times it did.
    """

    def __init__(self) -> None:
        self.records = 0
        self.duplicates = 0
        self.late = 0
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.streams: dict[str, StreamTally] = {}
        self.places: Places = {}
        self._undecodable: Counter[str] = Counter()
        self._of_client: Counter[str] = Counter()
        self.gaps: list[dict[str, Any]] = []
        self.gap_count = 0
        self._counted: dict[str, dict[int, int]] = {}  # topic -> partition -> offset counted as undecodable

    def add(self, record: Record) -> None:
        """Count a record that was written."""
        stream = self.streams.get(record.stream_id)
        if stream is None:
            stream = self.streams[record.stream_id] = StreamTally()
        stream.add(record.sequence, record.digest)
        self.records += 1
        self.late += record.late
        timestamp = record.timestamp_ms
        if timestamp >= 0:
            if self.first_ms is None or timestamp < self.first_ms:
                self.first_ms = timestamp
            if self.last_ms is None or timestamp > self.last_ms:
                self.last_ms = timestamp
        self._place(record)

    def duplicate(self, record: Record) -> None:
        """Count a record that was written though its number had been before."""
        self.duplicates += 1
        self._place(record)

    def _place(self, record: Record) -> None:
        partitions = self.places.setdefault(record.topic, {})
        place = partitions.get(record.partition)
        if place is None:
            partitions[record.partition] = [record.offset, record.offset, 1]
        else:
            place[0], place[1] = min(place[0], record.offset), max(place[1], record.offset)
            place[2] += 1

    def gap(self, gap: Gap) -> None:
        """Take note of numbers that will not be there."""
        self.gap_count += 1
        if len(self.gaps) < GAPS_KEPT:
            self.gaps.append(
                {"stream_id": gap.stream_id, "first": gap.first, "last": gap.last, "reason": gap.reason}
            )

    def undecoded(self, message: Message, error: DecodingError) -> None:
        """Count a message that is no record, once: what is read again after a restart was counted before."""
        partitions = self._counted.setdefault(message.topic, {})
        if message.offset > partitions.get(message.partition, -1):
            partitions[message.partition] = message.offset
            self._undecodable[error.reason] += 1

    def unread(self, counts: Mapping[str, int]) -> None:
        """What this run's reader has counted so far and handed to nobody: ``corrupt`` and ``headers``."""
        self._of_client = Counter({reason: counts[reason] for reason in _OF_CLIENT if counts.get(reason)})

    @property
    def undecodable(self) -> Counter[str]:
        """Reason -> messages that are no records, or whose headers could not be read."""
        return self._undecodable + self._of_client

    # -- as a document --------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types, for a state: ``from_dict`` goes on from there."""
        return {
            "records": self.records,
            "duplicates": self.duplicates,
            "late": self.late,
            "first_timestamp_ms": self.first_ms,
            "last_timestamp_ms": self.last_ms,
            "streams": {name: stream.to_dict() for name, stream in sorted(self.streams.items())},
            "places": _with_text_keys(self.places),
            "undecodable": dict(sorted(self.undecodable.items())),
            "undecodable_to": _with_text_keys(self._counted),
            "gaps": self.gaps,
            "gap_count": self.gap_count,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Tally:
        """What ``to_dict`` made.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: It is something else.
        """
        made = cls()
        made.records, made.duplicates = whole(content["records"]), whole(content["duplicates"])
        made.late, made.gap_count = whole(content["late"]), whole(content["gap_count"])
        made.first_ms, made.last_ms = content["first_timestamp_ms"], content["last_timestamp_ms"]
        made.streams = {name: StreamTally.from_dict(stream) for name, stream in content["streams"].items()}
        made.places = {
            topic: {int(number): list(map(whole, place)) for number, place in partitions.items()}
            for topic, partitions in content["places"].items()
        }
        made._undecodable = Counter({str(k): whole(n) for k, n in content["undecodable"].items()})
        made._counted = {
            topic: {int(number): whole(offset) for number, offset in partitions.items()}
            for topic, partitions in content["undecodable_to"].items()
        }
        made.gaps = list(content["gaps"])
        return made


def _with_text_keys(places: Mapping[str, Mapping[int, Any]]) -> dict[str, dict[str, Any]]:
    return {
        topic: {str(number): value for number, value in sorted(partitions.items())}
        for topic, partitions in sorted(places.items())
    }


def whole(value: Any) -> int:
    """A count from a document.

    Raises:
        ValueError: It is none.
    """
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def hashed(value: Any) -> bytes:
    """A SHA-256 from a document.

    Raises:
        ValueError: It is none.
    """
    digest = bytes.fromhex(value)
    if len(digest) != len(_ZERO):
        raise ValueError(f"{value!r} is no SHA-256")
    return digest
