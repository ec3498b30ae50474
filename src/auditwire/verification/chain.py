"""The chain of a stream's checkpoints: each continues where the one before it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditwire.verification.layout import Place, unpacked
from auditwire.verification.report import KEPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.verification.findings import Findings

__all__ = ["ChainJudge"]

_DIGEST_BYTES = 32


class ChainJudge:
    """Takes the checkpoints of a stream in the order of their sequences.

    Args:
        findings: Takes what is found.
        exists: Whether a stream has a record.
        state: What ``state`` returned in an earlier check; checkpoints up to there are passed over.
    """

    __slots__ = ("_absent", "_exists", "_findings", "_last", "_next", "_unbroken")

    def __init__(
        self, findings: Findings, exists: Callable[[str], bool], state: list[Any] | None = None
    ) -> None:
        self._findings = findings
        self._exists = exists
        self._absent: set[str] = set()
        self._last = -1  # the checkpoint before
        self._next = 0  # what the next one has to begin with
        self._unbroken = True
        if state is not None:
            report = findings.report
            self._last, self._next, self._unbroken, absent = state[:4]
            report.checkpoints, report.sealed_to, report.listed_to = state[4:]
            self._look_for(absent)

    @property
    def last(self) -> int:
        """The last checkpoint so far; -1: none."""
        return self._last

    def state(self) -> list[Any]:
        """What a later check needs to go on from here."""
        report = self._findings.report
        counts = [report.checkpoints, report.sealed_to, report.listed_to]
        return [self._last, self._next, self._unbroken, sorted(self._absent), *counts]

    def take(self, sequence: int, payload: bytes, explained_to: int) -> bool:
        """Take a checkpoint; True when it is a closing one.

        Of several different ones with one sequence, which is a fault in itself, the first counts.

        Args:
            sequence: Its number.
            payload: Its claim's.
            explained_to: The highest absent sequence so far of which is known why it is absent.
        """
        first, count, reason, error, named, malformed, *place = unpacked(payload[_DIGEST_BYTES:])
        if sequence <= self._last:
            return bool(reason == "close")
        findings, where = self._findings, Place(*place)
        if reason == "open" and sequence > 0:
            message = f"record {sequence} is an opening checkpoint; only record 0 can be one"
            findings.fault("opening", sequence, message, where)
        if error is not None:
            findings.fault("chain", sequence, f"checkpoint {sequence} {error}", where)
        for text in malformed:
            message = f"checkpoint {sequence} is malformed: previous {text!r} names no record"
            findings.fault("chain", sequence, message, where)
        self._look_for(named)
        if first != self._next:
            self._unbroken = False
            # a checkpoint between them may not have come yet
            if first < self._next or explained_to <= self._last:
                message = (
                    f"checkpoint {sequence} lists records from {first} on, but after the one before it "
                    f"{self._next} is next"
                )
                findings.fault("chain", sequence, message, where, str(self._next), str(first))
        self._next = first + count
        self._last = sequence
        report = findings.report
        report.checkpoints += 1
        report.listed_to = self._next - 1
        if self._unbroken:
            report.sealed_to = self._next - 1
        return bool(reason == "close")

    def _look_for(self, named: list[str]) -> None:
        """Note which earlier streams are absent."""
        self._absent.update(name for name in named if len(self._absent) < KEPT and not self._exists(name))
        self._findings.report.absent_streams = sorted(self._absent)
