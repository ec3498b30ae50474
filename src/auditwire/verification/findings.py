"""A report while it is made: what is found, counted without end and kept up to a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.verification.report import KEPT, Fault, StreamReport

if TYPE_CHECKING:
    from auditwire.verification.layout import Place
    from auditwire.verification.report import FaultKind

__all__ = ["Findings"]


class Findings:
    """Fills a report.

    Args:
        stream_id: The stream.

    Attributes:
        report: The report.
    """

    __slots__ = ("report",)

    def __init__(self, stream_id: str) -> None:
        self.report = StreamReport(stream_id=stream_id)

    def fault(
        self,
        kind: FaultKind,
        sequence: int,
        message: str,
        place: Place | None = None,
        expected: str | None = None,
        found: str | None = None,
    ) -> None:
        """Say that something is wrong."""
        fault = Fault(kind=kind, sequence=sequence, message=message, expected=expected, found=found)
        if place is not None:
            fault.topic, fault.partition, fault.offset = place
        self.report.add_fault(fault)

    def range(self, name: str, first: int, last: int) -> None:
        """Add sequences to one of the report's fields that are ranges; they come in rising order."""
        ranges: list[tuple[int, int]] = getattr(self.report, name)
        if ranges and ranges[-1][1] >= first - 1:
            first = max(first, ranges[-1][1] + 1)
            if first > last:
                return
            ranges[-1] = (ranges[-1][0], last)
        elif len(ranges) < KEPT:
            ranges.append((first, last))
        self._count(name, last - first + 1)

    def withhold(self, sequence: int) -> None:
        """Add a sequence to ``withheld``."""
        if len(self.report.withheld) < KEPT:
            self.report.withheld.append(sequence)
        self._count("withheld", 1)

    def _count(self, name: str, number: int) -> None:
        counts = self.report.counts
        counts[name] = counts.get(name, 0) + number
