"""What lists the records at hand: checkpoints of the stream, and recovery records, against what is there.

Records are compared with every lister that lists them. Where two recovery records contradict each other,
that is one fault for all the records that they list differently, and those are not compared with either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.verification.blocks import Block
from auditwire.verification.layout import IDENTITY, ROW, Kind, Names, Place
from auditwire.verification.report import KEPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditwire.verification.findings import Findings

__all__ = ["MOST_BLOCKS", "Listers", "place_of"]

MOST_BLOCKS = 1_024
"""Listings of one record that are compared with it. An honest stream has one, and one for each adopter."""

_DIGEST = slice(0, 32)  # of an identity


def place_of(row: bytes, names: Names) -> Place:
    """Where a row's record is."""
    _, _, _, topic, partition, offset, _ = ROW.unpack(row)
    return Place(names.topic(topic), partition, offset)


class Listers:
    """The blocks that list the sequence at hand.

    Args:
        findings: Takes the faults.
        names: What the codes in rows stand for.

    Attributes:
        end: The sequence behind the shortest block; None when there is no block.
    """

    __slots__ = ("_blocks", "_disputes", "_findings", "_names", "_refused", "end")

    def __init__(self, findings: Findings, names: Names) -> None:
        self._findings = findings
        self._names = names
        self._blocks: list[Block] = []
        self._disputes: dict[tuple[str, str], _Dispute] = {}
        self._refused = False
        self.end: int | None = None

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def open(self, sequence: int, kind: Kind, claim: bytes) -> None:
        """Take a block that begins with the sequence at hand."""
        if len(self._blocks) >= MOST_BLOCKS:
            if not self._refused:
                self._refused = True
                message = f"more than {MOST_BLOCKS} checkpoints or recovery records list record {sequence}"
                self._findings.fault("chain", sequence, message)
            return
        block = Block(sequence, kind, claim)
        for other in self._blocks:
            if other.says_the_same(block):
                other.by = min(other.by, block.by)
                return
        self._blocks.append(block)
        self.end = block.end if self.end is None else min(self.end, block.end)

    def expire(self, sequence: int) -> None:
        """Let go of the blocks that end before a sequence."""
        if self.end is not None and self.end <= sequence:
            self._blocks = [block for block in self._blocks if block.end > sequence]
            self.end = min((block.end for block in self._blocks), default=None)

    def agree(self, first: int, end: int, identities: bytes) -> bool:
        """True when all blocks list these identities for the records from first to before end."""
        return all(block.identities_in(first, end) == identities for block in self._blocks)

    def compare(self, sequence: int, variants: Sequence[bytes]) -> bool:
        """Compare a record with what lists it; True when something does.

        Args:
            sequence: Its number.
            variants: The rows of that number; one of them has to be the listed one.
        """
        there = {row[IDENTITY] for row in variants}
        stated = None if self._dispute(sequence) else self._stated()  # the others say the same
        for block in self._blocks:
            if block.kind == Kind.STATED and block is not stated:
                continue
            identity = block.identity(sequence)
            if identity not in there:
                self.changed(sequence, variants[0], _lister(block), identity, block.type_key(identity))
        return bool(self._blocks)

    def changed(self, sequence: int, row: bytes, lister: str, identity: bytes, type_key: str) -> None:
        """Say that a record is not the listed one."""
        digest, found, place = identity[_DIGEST], row[IDENTITY][_DIGEST], place_of(row, self._names)
        if digest == found:
            is_type = self._names.type_key(row[IDENTITY][32:])
            message = f"record {sequence} is of type {is_type}, {lister} lists {type_key}"
            self._findings.fault("changed", sequence, message, place, type_key, is_type)
            return
        message = (
            f"record {sequence} was changed: {lister} lists digest {digest.hex()[:16]}..., "
            f"{place} has {found.hex()[:16]}..."
        )
        self._findings.fault("changed", sequence, message, place, digest.hex(), found.hex())

    def compare_absent(self, first: int, end: int) -> None:
        """Compare what lists absent records with each other, from first to before end."""
        if len(self._blocks) < 2:  # noqa: PLR2004 - it takes two to contradict
            return
        for sequence in range(first, end):
            if self._dispute(sequence):
                continue
            listed = next((b.identity(sequence) for b in self._blocks if b.kind == Kind.LISTED), None)
            block = self._stated()
            if listed is None or block is None:
                continue
            digest, stated = listed[_DIGEST], block.identity(sequence)[_DIGEST]
            if digest != stated:
                message = f"{_lister(block)} and a checkpoint list record {sequence} differently"
                self._findings.fault("recovery", sequence, message, _place(block), digest.hex(), stated.hex())

    def cut(self, first: int, end: int) -> list[bytes]:
        """The claims that list, of the sequences from the first to before the end, what the blocks list."""
        parts = ((block, max(first, block.first), min(end, block.end)) for block in self._blocks)
        return [block.cut(start, stop) for block, start, stop in parts if start < stop]

    def listed(self, sequence: int) -> bytes | None:
        """The digest that is listed for the sequence at hand."""
        block = next((b for b in self._blocks if b.kind == Kind.LISTED), None) or self._stated()
        return None if block is None else block.identity(sequence)[_DIGEST]

    def finish(self) -> None:
        """Say what was found about several records together."""
        for dispute in self._disputes.values():
            dispute.tell(self._findings)

    def _stated(self) -> Block | None:
        """What the first adopter says."""
        return min((b for b in self._blocks if b.kind == Kind.STATED), key=_by, default=None)

    def _dispute(self, sequence: int) -> bool:
        """True when recovery records list a record differently."""
        stated = [block for block in self._blocks if block.kind == Kind.STATED]
        if len(stated) < 2:  # noqa: PLR2004 - as above
            return False
        first = min(stated, key=_by)
        identity = first.identity(sequence)
        differing = [block for block in stated if block.identity(sequence) != identity]
        for block in differing:
            pair = str(first.by), str(block.by)
            dispute = self._disputes.get(pair)
            if dispute is not None:
                dispute.count += 1
            elif len(self._disputes) < KEPT:
                self._disputes[pair] = _Dispute(sequence, first, block)
        return bool(differing)


class _Dispute:
    """Two recovery records that list records differently."""

    __slots__ = ("count", "expected", "found", "message", "place", "sequence")

    def __init__(self, sequence: int, first: Block, second: Block) -> None:
        self.sequence = sequence
        self.count = 1
        self.expected = first.identity(sequence)[_DIGEST].hex()
        self.found = second.identity(sequence)[_DIGEST].hex()
        self.place = _place(second)
        self.message = (
            f"recovery records {_named(first)} and {_named(second)} list different digests or types"
        )

    def tell(self, findings: Findings) -> None:
        message = f"{self.message} for {self.count} records, from {self.sequence} on"
        findings.fault("recovery", self.sequence, message, self.place, self.expected, self.found)


def _by(block: Block) -> tuple[str, int]:
    key, sequence, *_ = block.by
    return key, sequence


def _named(block: Block) -> str:
    _, sequence, stream_id, *_ = block.by
    return f"{sequence} of stream {stream_id}"


def _lister(block: Block) -> str:
    return f"checkpoint {block.by[0]}" if block.kind == Kind.LISTED else f"recovery record {_named(block)}"


def _place(block: Block) -> Place:
    return Place(*block.by[3:])
