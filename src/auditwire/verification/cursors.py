"""The rows and the claims of one stream, taken piece by piece in the order of the sequences."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, cast

from auditwire.verification.layout import BODY, IDENTITY, SEQUENCE, Kind, sequence_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MOST_VARIANTS", "ClaimCursor", "RowCursor", "each_once", "without_copies"]

MOST_VARIANTS = 1_000
"""Different records with one sequence that are looked at; more are counted."""

_THIN = 4_096  # rows of one sequence that are held at most
_RECORD = slice(0, 48)  # of a row: sequence, digest, type
_SEQUENCE = Struct(">Q")
_ABOUT = Struct(">BQB")


class RowCursor:
    """The rows of a stream.

    Args:
        pieces: The rows in order, in lists.
    """

    __slots__ = ("_at", "_dropped", "_held", "_pieces", "_rows")

    def __init__(self, pieces: Iterator[list[bytes]]) -> None:
        self._pieces: Iterator[list[bytes]] | None = pieces
        self._rows: list[bytes] = []
        self._at = 0
        self._held: list[bytes] = []  # of a sequence that may go on in the next piece
        # sequence -> equal and different rows that were left out, and the last different one
        self._dropped: dict[int, tuple[int, int, bytes]] = {}
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

    def sort_out(self, rows: Sequence[bytes]) -> tuple[list[bytes], int, int]:
        """One row for each different record; how many equal and how many different ones there are besides.

        Args:
            rows: All rows of a sequence, as ``below`` gave them.
        """
        variants = self._thinned(rows)
        equal, more, _ = self._dropped.pop(sequence_of(rows[0]))
        return variants, equal, more

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
                self._held = self._thinned(self._held)

    def _thinned(self, rows: Sequence[bytes]) -> list[bytes]:
        """One row of each record of a sequence, and of not too many; what is left out is counted."""
        sequence = sequence_of(rows[0])
        equal, more, last = self._dropped.get(sequence, (0, 0, b""))
        variants = each_once(rows)
        equal += len(rows) - len(variants)
        for row in variants[MOST_VARIANTS:]:
            if row[IDENTITY] == last:
                equal += 1
            else:
                more += 1
                last = row[IDENTITY]
        self._dropped[sequence] = equal, more, last
        return variants[:MOST_VARIANTS]


def each_once(rows: Sequence[bytes]) -> list[bytes]:
    """Of rows of one sequence one for each different record, the first."""
    out = [rows[0]]
    out += (row for before, row in pairwise(rows) if row[IDENTITY] != before[IDENTITY])
    return out


def without_copies(rows: Sequence[bytes]) -> list[bytes]:
    """Rows in order, of equal ones the first; as ``each_once``, for many sequences."""
    out: dict[bytes, bytes] = {}
    for row in rows:
        out.setdefault(row[_RECORD], row)
    return list(out.values())


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
        claim = cast("bytes", self._next)  # sequence says that there is one
        self._next = next(self._claims, None)
        self._look()
        return claim

    def _look(self) -> None:
        claim = self._next
        if claim is None or claim[0] != BODY:
            self.sequence = None
        else:
            _, self.sequence, self.kind = _ABOUT.unpack_from(claim)
