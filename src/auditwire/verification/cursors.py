"""The rows and the claims of one stream, taken piece by piece in the order of the sequences."""

from __future__ import annotations

from bisect import bisect_left
from struct import Struct
from typing import TYPE_CHECKING

from auditwire.verification.layout import BODY, IDENTITY, SEQUENCE, Kind, sequence_of, timestamp_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MOST_VARIANTS", "ClaimCursor", "RowCursor", "each_once"]

MOST_VARIANTS = 1_000
"""Different records with one sequence that are looked at; more are counted."""

_THIN = 4_096  # rows of one sequence that are held at most
_SEQUENCE = Struct(">Q")
_ABOUT = Struct(">BQB")


class RowCursor:
    """The rows of a stream.

    Args:
        pieces: The rows in order, in lists.
    """

    __slots__ = ("_at", "_dropped", "_held", "_last_dropped", "_pieces", "_rows")

    def __init__(self, pieces: Iterator[list[bytes]]) -> None:
        self._pieces: Iterator[list[bytes]] | None = pieces
        self._rows: list[bytes] = []
        self._at = 0
        self._held: list[bytes] = []  # of a sequence that may go on in the next piece
        self._dropped: dict[int, tuple[int, int]] = {}
        self._last_dropped = b""
        self._fill()

    @property
    def next_row(self) -> bytes | None:
        """The next row, which stays; None when there are no more."""
        return self._rows[self._at] if self._at < len(self._rows) else None

    def below(self, sequence: int | None) -> list[bytes]:
        """The next rows below a sequence, as many as are at hand; of each sequence all or none.

        Args:
            sequence: The first that is not wanted; None: all are.
        """
        rows, at = self._rows, self._at
        end = len(rows) if sequence is None else bisect_left(rows, _SEQUENCE.pack(sequence), at)
        taken = rows if at == 0 and end == len(rows) else rows[at:end]
        self._at = end
        if end == len(rows):
            self._fill()
        return taken

    def dropped(self, sequence: int) -> tuple[int, int]:
        """How many rows of a sequence were left out: equal ones, and different ones beyond the limit."""
        return self._dropped.pop(sequence, (0, 0))

    @property
    def drops(self) -> bool:
        """True when rows were left out and not yet asked for."""
        return bool(self._dropped)

    def _fill(self) -> None:
        """Get more rows, whole sequences; what may go on in the piece after is held back."""
        self._at = 0
        self._rows = []
        while not self._rows and self._pieces is not None:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                self._rows, self._held = self._held, []
                return
            rows = self._held + piece if self._held else piece
            end = bisect_left(rows, rows[-1][SEQUENCE])
            self._rows, self._held = rows[:end], rows[end:]
            if len(self._held) > _THIN:
                self._thin()

    def _thin(self) -> None:
        """Keep one row of each record of the sequence that is held, and of not too many."""
        sequence = sequence_of(self._held[0])
        if sequence not in self._dropped:
            self._last_dropped = b""
        equal, more = self._dropped.get(sequence, (0, 0))
        variants = each_once(self._held)
        equal += len(self._held) - len(variants)
        self._held = variants[:MOST_VARIANTS]
        for row in variants[MOST_VARIANTS:]:
            if row[IDENTITY] == self._last_dropped:
                equal += 1
            else:
                more += 1
                self._last_dropped = row[IDENTITY]
        self._dropped[sequence] = equal, more


def each_once(rows: Sequence[bytes]) -> list[bytes]:
    """Of rows of one sequence one for each different record: of equal ones that with the latest timestamp.

    An old timestamp is easily given to a copy, and would excuse what is absent behind it.
    """
    out = [rows[0]]
    for row in rows[1:]:  # equal ones stand together
        if row[IDENTITY] != out[-1][IDENTITY]:
            out.append(row)
        elif timestamp_of(row) > timestamp_of(out[-1]):
            out[-1] = row
    return out


class ClaimCursor:
    """The claims of a stream: heads first, then the others.

    Args:
        claims: In order.

    Attributes:
        sequence: What the next claim that is no head speaks of; None when there is none.
        kind: Its kind.
    """

    __slots__ = ("_claims", "_next", "kind", "sequence")

    def __init__(self, claims: Iterator[bytes]) -> None:
        self._claims = claims
        self.sequence: int | None = None
        self.kind = 0
        self._next = next(claims, None)
        self._look()

    def heads(self, kind: Kind) -> Iterator[bytes]:
        """The payloads of the heads of one kind; kinds have to be asked for in their order."""
        while self._next is not None and self._next[0] <= kind:
            claim = self._next
            if claim[0] == kind:
                yield claim[1:]
            self._next = next(self._claims, None)
        self._look()

    def take(self) -> bytes:
        """The next claim that is no head."""
        claim = self._next
        if claim is None:
            raise StopIteration
        self._next = next(self._claims, None)
        self._look()
        return claim

    def _look(self) -> None:
        claim = self._next
        if claim is None or claim[0] != BODY:
            self.sequence = None
        else:
            _, self.sequence, self.kind = _ABOUT.unpack_from(claim)
