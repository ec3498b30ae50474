"""What a checkpoint or a recovery record lists, in blocks that are cheap to compare with rows.

A listing is cut at the multiples of 1,024 sequences, so that a check never holds more than 1,024 entries
of it, and so that equal statements of several adopters become equal blocks.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from struct import Struct
from typing import TYPE_CHECKING, Protocol

from auditwire.stream import entries_of
from auditwire.verification.layout import ENTRY_BYTES, Kind, about, code_of_type, packed, payload_of, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

__all__ = ["BLOCK", "Block", "Entries", "blocks_of", "read_entries"]

BLOCK = 1_024
"""Sequences between two cuts."""

_COUNT = Struct(">H")
_ENTRY_TEXT = 44
_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SHOWN = 200  # characters of a type that is not one of ours: a report shows no more
_CODE = slice(32, 40)
_IDENTITY_BYTES = 40


class Listing(Protocol):
    """A checkpoint or a recovery record."""

    first_sequence: int
    entries: list[str]
    types: list[str]


class Entries:
    """The entries of a listing up to the first malformed one.

    Attributes:
        raw: 33 bytes each.
        error: What is malformed behind them; None when nothing is.
    """

    __slots__ = ("error", "raw")

    def __init__(self, raw: bytes, error: str | None = None) -> None:
        self.raw = raw
        self.error = error

    def __len__(self) -> int:
        return len(self.raw) // ENTRY_BYTES


def read_entries(listing: Listing) -> Entries:
    """A listing's entries as bytes."""
    entries = listing.entries
    try:
        text = "".join(entries).encode("ascii")
    except UnicodeEncodeError:
        return _read_one_by_one(listing)
    if not text and not entries:
        return Entries(b"")
    if set(map(len, entries)) != {_ENTRY_TEXT} or text.translate(None, _BASE64URL):
        return _read_one_by_one(listing)
    raw = urlsafe_b64decode(text)
    if max(raw[::ENTRY_BYTES]) >= len(listing.types):
        return _read_one_by_one(listing)
    return Entries(raw)


def _read_one_by_one(listing: Listing) -> Entries:
    """As far as it goes, and what is wrong then."""
    good, wrong = 0, None
    try:
        for _ in entries_of(listing):
            good += 1
    except ValueError as error:
        wrong = str(error)
    return Entries(urlsafe_b64decode("".join(listing.entries[:good])), wrong)


def blocks_of(
    kind: Kind, entries: Entries, types: Sequence[str], first: int, below: int, by: list[Any]
) -> Iterator[bytes]:
    """The claims of a listing, in the order of the sequences that they begin with.

    Args:
        kind: ``LISTED`` or ``STATED``.
        entries: Its entries.
        types: What they point into.
        first: The sequence of the first entry; what lies below 0 is left out.
        below: Entries of this sequence or higher are left out.
        by: Who lists, as the kind has it.
    """
    end = min(first + len(entries), below)
    at = max(first, 0)
    who: bytes | None = None
    while at < end:
        stop = min(end, at - at % BLOCK + BLOCK)
        if who is None:
            named = [[code_of_type(text).hex(), text[:_SHOWN]] for text in types]
            who = packed([named, *by])
        piece = entries.raw[(at - first) * ENTRY_BYTES : (stop - first) * ENTRY_BYTES]
        yield about(at, kind, _COUNT.pack(stop - at) + piece + who)
        at = stop


class Block:
    """Entries of neighbouring sequences, by one lister.

    Args:
        sequence: The first one.
        claim: As ``blocks_of`` made it.

    Attributes:
        first: The first sequence.
        end: The one behind the last.
        by: Who lists, as the kind has it.
        identities: For each entry 40 bytes, as they stand in a row: digest and type.
    """

    __slots__ = ("_payload", "_types", "by", "end", "first", "identities", "kind")

    def __init__(self, sequence: int, kind: Kind, claim: bytes) -> None:
        payload = payload_of(claim)
        (count,) = _COUNT.unpack_from(payload)
        after = _COUNT.size + count * ENTRY_BYTES
        types, *self.by = unpacked(payload[after:])
        self._payload = payload
        self.kind = kind
        self.first = sequence
        self.end = sequence + count
        self._types: dict[bytes, str] = {bytes.fromhex(code): text for code, text in types}
        codes = [bytes.fromhex(code) for code, _ in types]
        self.identities = b"".join(
            [
                payload[at + 1 : at + ENTRY_BYTES] + codes[payload[at]]
                for at in range(_COUNT.size, after, ENTRY_BYTES)
            ]
        )

    def identity(self, sequence: int) -> bytes:
        """Digest and type that are listed for a sequence of the block."""
        return self.identities_in(sequence, sequence + 1)

    def identities_in(self, first: int, end: int) -> bytes:
        """The same for several, one after the other."""
        start = self.first
        return self.identities[(first - start) * _IDENTITY_BYTES : (end - start) * _IDENTITY_BYTES]

    def cut(self, first: int, end: int) -> bytes:
        """A claim that lists only the entries from a sequence to before another."""
        start, after = (_COUNT.size + (at - self.first) * ENTRY_BYTES for at in (first, end))
        who = self._payload[_COUNT.size + (self.end - self.first) * ENTRY_BYTES :]
        return about(first, self.kind, _COUNT.pack(end - first) + self._payload[start:after] + who)

    def says_the_same(self, other: Block) -> bool:
        """True when the other lists the same of the same sequences."""
        return (self.kind, self.first, self.end) == (other.kind, other.first, other.end) and (
            self.identities == other.identities
        )

    def type_key(self, identity: bytes) -> str:
        """The type of an identity of the block, in words."""
        return self._types[identity[_CODE]]
