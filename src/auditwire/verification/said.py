"""What is said of one record, besides what lists it, against what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.verification.chain import ChainJudge
from auditwire.verification.layout import IDENTITY, Kind, Place, about, payload_of, unpacked
from auditwire.verification.placement import CLAMP_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auditwire.verification.carry import CarryWriter
    from auditwire.verification.cursors import ClaimCursor
    from auditwire.verification.findings import Findings
    from auditwire.verification.gaps import GapJudge
    from auditwire.verification.heads import Heads
    from auditwire.verification.listers import Listers

__all__ = ["ClaimJudge", "Said"]

_DIGEST = slice(0, 32)  # of an identity, and of those payloads that begin with one
_AFTER = slice(32, None)
_CARRIED = frozenset({Kind.NAMING, Kind.QUARANTINED, Kind.ANTEDATED})


class Said(NamedTuple):
    """What the claims about a record come to.

    Attributes:
        proven: True when one of them proves it though nothing lists it.
        withheld: True when it is quarantined.
    """

    proven: bool
    withheld: bool


class ClaimJudge:
    """Judges the claims that speak of one record alone.

    Args:
        heads: What is known of the stream.
        findings: Takes what is found.
        listers: What lists the records.
        gaps: Knows what absence is explained.
        exists: Whether another stream has a record.
        carry: Takes what a later check needs; None: there is to be none.

    Attributes:
        chain: Where the chain of checkpoints stands; where a record may still come, as it stood there.
    """

    __slots__ = (
        "_carry",
        "_chain",
        "_chain_before",
        "_findings",
        "_gaps",
        "_heads",
        "_judges",
        "_listers",
        "_lost",
        "_present",
        "_rows",
        "_sequence",
    )

    def __init__(
        self,
        heads: Heads,
        findings: Findings,
        listers: Listers,
        gaps: GapJudge,
        exists: Callable[[str], bool],
        carry: CarryWriter | None,
    ) -> None:
        self._heads = heads
        self._findings = findings
        self._listers = listers
        self._gaps = gaps
        self._chain = ChainJudge(findings, exists, heads.chain)
        self._carry = carry
        self._chain_before: list[Any] | None = None  # the first record that may still come
        self._present = False
        self._sequence = -1
        self._rows: Sequence[bytes] = []
        self._lost = b""  # the loss record that was counted last
        self._judges: dict[int, Callable[[bytes], bool]] = {
            Kind.NAMING: self._naming,
            Kind.REMEMBERED: self._remembered,
            Kind.QUARANTINED: self._quarantined,
            Kind.MISPLACED: self._misplaced,
            Kind.LOSS: self._loss,
            Kind.ANTEDATED: self._antedated,
            Kind.CHECKPOINT: self._checkpoint,
        }

    @property
    def chain(self) -> list[Any]:
        return self._chain_before or self._chain.state()

    def hear(
        self, sequence: int, rows: Sequence[bytes], claims: ClaimCursor, *, present: bool = False
    ) -> Said:
        """Take all claims about a record.

        Args:
            sequence: Its number.
            rows: Its rows; none when it is absent.
            claims: Stands on the first of its claims.
            present: True when an earlier check has seen it, so that it cannot be compared.
        """
        self._sequence, self._rows, self._lost, self._present = sequence, rows, b"", present
        proven = withheld = False
        while claims.sequence == sequence:
            kind, claim = claims.kind, claims.take()
            if self._carry is not None and kind in _CARRIED:
                self._carry.say(claim)
            answer = self._judges[kind](payload_of(claim))
            if kind == Kind.QUARANTINED:
                withheld |= answer
            else:
                proven |= answer
        return Said(proven, withheld)

    # each takes the payload of a claim; True: it proves the record, or withholds it

    def _naming(self, payload: bytes) -> bool:
        self._compare(payload[_DIGEST], payload[_AFTER].decode("utf-8", "surrogatepass"))
        return True

    def _remembered(self, payload: bytes) -> bool:
        self._compare(payload, "the state of an earlier check")
        if not (self._rows or self._present):
            self._gaps.lost_last = True
        return False

    def _compare(self, digest: bytes, by: str) -> None:
        rows = self._rows
        if rows and not self._present and all(row[IDENTITY][_DIGEST] != digest for row in rows):
            self._listers.changed(self._sequence, rows[0], by, digest, "")

    def _quarantined(self, payload: bytes) -> bool:
        if self._rows or self._present:
            return False
        digest, *place = unpacked(payload)
        closing = self._heads.closing
        if closing is not None and self._sequence > closing:
            message = f"record {self._sequence} is quarantined, but the stream was closed by record {closing}"
            self._findings.fault("quarantine", self._sequence, message, Place(*place))
            return False
        listed = self._listers.listed(self._sequence)
        if listed is not None and digest != listed.hex():
            message = f"record {self._sequence} is quarantined with another digest than a checkpoint lists"
            self._findings.fault("quarantine", self._sequence, message, Place(*place), listed.hex(), digest)
        return True

    def _misplaced(self, payload: bytes) -> bool:
        what, expected, found, *place = unpacked(payload)
        message = f"record {self._sequence}: its {what} is {found}, and should be {expected}"
        self._findings.fault("placement", self._sequence, message, Place(*place), expected, found)
        return False

    def _loss(self, payload: bytes) -> bool:
        if payload[_DIGEST] != self._lost:  # the same record from another place comes right after it
            self._lost = payload[_DIGEST]
            count, reason, *place = unpacked(payload[_AFTER])
            self._findings.report.declared_lost += count
            message = f"record {self._sequence}: the producer had to refuse {count} events: {reason}"
            self._findings.fault("declared_loss", self._sequence, message, Place(*place))
        return False

    def _antedated(self, payload: bytes) -> bool:
        opened_ms = self._heads.opened_ms
        if opened_ms is not None and int.from_bytes(payload, "big") < opened_ms - CLAMP_MS:
            self._findings.range("antedated", self._sequence, self._sequence)
        return False

    def _checkpoint(self, payload: bytes) -> bool:
        chain, carry = self._chain, self._carry
        if carry is not None:
            if self._gaps.first_open >= 0:
                self._chain_before = self._chain_before or chain.state()
            if self._heads.closing == self._sequence or (self._chain_before and self._sequence > chain.last):
                carry.say(about(self._sequence, Kind.CHECKPOINT, payload))
        return chain.take(self._sequence, payload, self._gaps.explained_to)
