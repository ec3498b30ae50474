"""What an incremental check carries over of a stream, so that the next one need not read it again.

In comes, while a stream is judged, each record and what is said of it; out comes a blob that
``FactWriter.add_carry`` turns into facts again. The judgement of these facts and of what was read since is
that of all facts.

Most records are carried as ranges: those that are listed, and of which a checkpoint says that the broker had
them. The others are carried as rows, with the entries that list them: they may be listed later, and they
may come again, sent once more by whoever adopts the journal of a process that ended. A record that comes
again and is carried in a range cannot be compared any more; it counts as a duplicate, and as unproven.

**Size.** About 300 bytes, and 110 for each record that is not yet both listed and acknowledged, 33 for
each listed one that is awaited, and 200 for each checkpoint behind the first that is. At most 100,000
rows: of more, the lowest become ranges too, and stay unproven.

====================== =============================================================================
bytes                  meaning
====================== =============================================================================
8                      ``AWCARRY`` and the format's number, 2
4                      CRC-32 of what follows
4                      bytes of the names
names                  JSON object with ``topics`` and ``types``, hex of the code -> text
8                      number of rows
76 each                rows
rest                   claims, each with its length before it (4 bytes)
====================== =============================================================================

Numbers are big-endian; :mod:`auditwire.verification.layout` has rows and claims. A ``CARRIED`` claim is an
array: acknowledged, whether record 0 is an opening checkpoint, its time in ms, the closing checkpoint,
trail, service, duplicates, the time of the first event, and what ``ChainJudge.state`` returns. A stream
without records has none.
"""

from __future__ import annotations

import json
from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from auditwire.verification.layout import (
    ROW_BYTES,
    Kind,
    Names,
    about,
    head,
    latest_of,
    packed,
    sequence_of,
    timestamp_of,
    type_of_code,
)
from auditwire.verification.speech import NAMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditwire.verification.heads import Heads
    from auditwire.verification.listers import Listers
    from auditwire.verification.report import StreamReport

__all__ = ["MOST_ROWS", "PRESENT", "CarriedFacts", "CarryError", "CarryWriter", "read_carry"]

MOST_ROWS = 100_000
"""Rows of one stream that are carried."""

PRESENT = Struct(">QqB")
"""Payload of a ``PRESENT`` claim: last sequence, latest time of an event, 1 when they are listed, else 0."""

_MAGIC = b"AWCARRY\x02"
_LENGTH = Struct(">I")
_COUNT = Struct(">Q")
_TYPE = slice(40, 48)  # of a row
_TOPIC = slice(48, 56)


class CarryError(ValueError):
    """What an earlier check carried over cannot be used: another version made it, or it is damaged.

    Read everything again.
    """


class CarriedFacts(NamedTuple):
    """What a blob holds."""

    names: Names
    rows: list[bytes]
    claims: list[bytes]


class CarryWriter:
    """Gathers what is carried of one stream, in the order of the sequences.

    Args:
        heads: What is known of the stream.
        listers: The blocks that list the sequence at hand.
        names: What the codes in rows stand for.
    """

    __slots__ = ("_claims", "_heads", "_listers", "_names", "_ranges", "_rows")

    def __init__(self, heads: Heads, listers: Listers, names: Names) -> None:
        self._heads = heads
        self._listers = listers
        self._names = names
        self._rows: deque[tuple[bytes, bool]] = deque()  # and whether they are listed
        self._ranges: list[_Range] = []
        self._claims: list[bytes] = []

    def present(self, first: int, last: int, timestamp_ms: int, *, listed: bool) -> None:
        """Take records that an earlier check has seen."""
        self._range(first, last, timestamp_ms, listed=listed)

    def records(self, rows: Sequence[bytes], *, listed: bool) -> None:
        """Take rows of sequences that follow each other, one for each."""
        first, end = sequence_of(rows[0]), sequence_of(rows[-1]) + 1
        settled = min(max(self._heads.acknowledged, first), end) if listed else first
        if settled > first:
            latest_ms = latest_of(rows[: settled - first])
            self._range(first, settled - 1, latest_ms, listed=True)
        if listed:
            self._claims += self._listers.cut(settled, end)
        self._rows += [(row, listed) for row in rows[settled - first :]]
        while len(self._rows) > MOST_ROWS:
            row, was_listed = self._rows.popleft()
            sequence = sequence_of(row)
            self._range(sequence, sequence, timestamp_of(row), listed=was_listed)

    def absent(self, first: int, last: int) -> None:
        """Take sequences whose records may still come."""
        self._claims += self._listers.cut(first, last + 1)

    def say(self, claim: bytes) -> None:
        """Take a claim as it is."""
        self._claims.append(claim)

    def blob(self, report: StreamReport, chain: list[Any]) -> bytes:
        """Everything as bytes.

        Args:
            report: The stream's report.
            chain: What ``ChainJudge.state`` returned.
        """
        heads = self._heads
        said = [
            heads.acknowledged_next,
            heads.opened,
            heads.opened_ms,
            heads.closing,
            heads.trail,
            heads.service,
            report.duplicates,
            report.first_timestamp_ms,
            chain,
        ]
        claims = [*heads.raw]
        if report.records:  # or nothing but what other streams say is known
            claims.append(head(Kind.CARRIED, packed(said)))
        if heads.named_to >= 0:  # it lies below the first ends of the next check, and counts there
            claims.append(head(Kind.NAMED, NAMED.pack(heads.named_to, 0)))
        claims += self._claims
        claims += [
            about(part.first, Kind.PRESENT, PRESENT.pack(part.last, part.timestamp_ms, part.listed))
            for part in self._ranges
        ]
        rows = [row for row, _ in self._rows]
        body = b"".join([*_with_length(self._used(rows)), _COUNT.pack(len(rows)), *rows, *_each(claims)])
        return b"".join((_MAGIC, _LENGTH.pack(crc32(body)), body))

    def _range(self, first: int, last: int, timestamp_ms: int, *, listed: bool) -> None:
        if self._ranges and self._ranges[-1].last == first - 1 and self._ranges[-1].listed == listed:
            first, _, earlier_ms, _ = self._ranges.pop()
            timestamp_ms = max(timestamp_ms, earlier_ms)
        self._ranges.append(_Range(first, last, timestamp_ms, listed))

    def _used(self, rows: Iterable[bytes]) -> bytes:
        """The names of the codes in rows."""
        names = self._names
        topics = {code.hex(): names.topic(code) for code in {row[_TOPIC] for row in rows}}
        types = {
            code.hex(): names.type_key(code)
            for code in {row[_TYPE] for row in rows}
            if type_of_code(code) is None
        }
        return json.dumps({"topics": topics, "types": types}).encode("ascii")


class _Range(NamedTuple):
    first: int
    last: int
    timestamp_ms: int
    listed: bool


def read_carry(blob: bytes) -> CarriedFacts:
    """The other way round.

    Raises:
        CarryError: Another version made it, or it is damaged.
    """
    start = len(_MAGIC) + _LENGTH.size
    if blob[: len(_MAGIC)] != _MAGIC:
        raise CarryError("what an earlier check carried over was made by another version of auditwire")
    if len(blob) < start or crc32(blob[start:]) != _LENGTH.unpack_from(blob, len(_MAGIC))[0]:
        raise CarryError("what an earlier check carried over is damaged")
    (length,) = _LENGTH.unpack_from(blob, start)
    at = start + _LENGTH.size
    texts = json.loads(blob[at : at + length])
    names = Names(*({bytes.fromhex(c): text for c, text in texts[what].items()} for what in Names._fields))
    at += length
    (count,) = _COUNT.unpack_from(blob, at)
    at += _COUNT.size
    rows = [blob[i : i + ROW_BYTES] for i in range(at, at + count * ROW_BYTES, ROW_BYTES)]
    at += count * ROW_BYTES
    claims = []
    while at < len(blob):
        (length,) = _LENGTH.unpack_from(blob, at)
        at += _LENGTH.size + length
        claims.append(blob[at - length : at])
    return CarriedFacts(names, rows, claims)


def _with_length(data: bytes) -> tuple[bytes, bytes]:
    return _LENGTH.pack(len(data)), data


def _each(claims: Iterable[bytes]) -> Iterable[bytes]:
    for claim in claims:
        yield from _with_length(claim)
