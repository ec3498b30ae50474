"""What a check of a whole trail comes to: counts, what is wrong beyond single streams, and the exit status.

====== ==========================================================================================
status when
====== ==========================================================================================
1      something is wrong: a stream is at fault, or an expected service has no stream
4      nothing was found, a topic is compacted, or messages that claim to be records of ours, or that
       the client itself found damaged, cannot be read
3      nothing is wrong, and not everything is proven to its end: a stream is open, withheld, removed by
       retention, or its machine was restarted
0      every stream is complete, or recovered with nothing left open
====== ==========================================================================================

The first that applies, in this order, wins. ``sealed`` asks for less: of a stream that is open, what lies at
or below the last record that its last checkpoint lists must be proven; what comes behind is not judged.

A stream that was *recovered* counts as complete when the machine was not restarted: a kill of the process
takes nothing from its journal, so all that it had accepted is there. After a restart of the machine nobody
can tell whether more had been accepted after the journal's last sync: 3, and 0 with ``sealed``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from auditwire.verification.ranges import overlaps

if TYPE_CHECKING:
    from auditwire.verification.report import StreamReport
    from auditwire.verification.state import Totals

__all__ = ["ExitStatus", "Standing", "TrailFault", "TrailReport", "standing"]

ExitStatus = Literal[0, 1, 3, 4]

Standing = Literal["proven", "open", "fault"]
"""What a stream counts for: proven as far as it was asked, not provable to the end, or at fault."""

_HARMLESS = frozenset({"foreign", "tombstone", "headers"})
"""Reasons of :class:`~auditwire.errors.DecodingError` that say nothing of records of ours: whoever may write
to a topic can put such messages there. ``headers``: the record itself was read."""


def standing(report: StreamReport, *, sealed: bool = False) -> Standing:
    """What a stream counts for.

    Args:
        report: The stream's.
        sealed: True asks for what the last checkpoint lists, and no more.
    """
    if report.verdict == "fault" or report.faults:
        return "fault"
    if report.verdict == "complete":
        return "proven"
    if report.verdict == "recovered" and not report.machine_restarted:
        return "proven"
    return "proven" if sealed and _is_sealed(report) else "open"


def _is_sealed(report: StreamReport) -> bool:
    """True when everything up to the last checkpoint's last entry is there and listed without a break.

    A journal that was read after its process had ended lists what the last checkpoint did not.
    """
    end = report.listed_to
    gone = (*report.awaited, *report.unreadable, *report.unaccounted, *report.removed, *report.missing)
    return (
        report.first_sequence == 0
        and report.checkpoints > 0
        and report.sealed_to == end
        and not overlaps(gone, 0, end)
        and not any(number <= end for number in report.withheld)
        and not report.absent_streams
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailFault:
    """What is wrong with a trail and with no stream that is there.

    Attributes:
        kind: ``expected``: a service that must have a stream has none.
        message: The same as a sentence.
        service: The service.
    """

    kind: Literal["expected"]
    message: str
    service: str


@dataclass(slots=True, kw_only=True)
class TrailReport:
    """What a check of a trail found. Streams are added one by one and not kept.

    Attributes:
        prefix: The topics' prefix.
        sealed: Whether streams had to be proven to their last checkpoints only.
        topics: How many topics were read.
        partitions: How many partitions.
        messages: How many Kafka messages.
        streams: How many streams were judged.
        verdicts: How many streams have each verdict.
        standings: How many streams count for what; see :data:`Standing`.
        records: Their records.
        duplicates: How many times a record was there once more; harmless.
        checkpoints: How many of the records are checkpoints.
        missing: Records that had reached the broker and are not there.
        awaited: Records that are not there and may still come.
        unreadable: Records that are neither there nor in a journal that could be read.
        withheld: Records that the broker refused.
        removed: Records that are absent and excused by ``retention`` or ``since``.
        faults: How many of each kind; those of ``trail_faults`` included. ``unlisted``: those that the
            streams' reports only count.
        trail_faults: What is wrong with no stream that is there.
        undecodable: Messages that are no records, by the reason.
        compacted: Topics from which the broker removes records with an older one of the same key.
        oldest_open_ms: Kafka timestamp of the first record of the open stream that began first, milliseconds
            since the Unix epoch; None: no stream is open.
        silent_open_ms: The same of the last record of the open stream that has been silent longest.
        notes: What cannot be proven of the trail, and why; each a sentence.
    """

    prefix: str
    sealed: bool = False
    topics: int = 0
    partitions: int = 0
    messages: int = 0
    streams: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    standings: Counter[Standing] = field(default_factory=Counter)
    records: int = 0
    duplicates: int = 0
    checkpoints: int = 0
    missing: int = 0
    awaited: int = 0
    unreadable: int = 0
    withheld: int = 0
    removed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    trail_faults: list[TrailFault] = field(default_factory=list)
    undecodable: Counter[str] = field(default_factory=Counter)
    compacted: list[str] = field(default_factory=list)
    oldest_open_ms: int | None = None
    silent_open_ms: int | None = None
    notes: list[str] = field(default_factory=list)

    def add(self, report: StreamReport) -> Standing:
        """Count a stream; what it counts for."""
        counts_for = standing(report, sealed=self.sealed)
        self.streams += 1
        self.verdicts[report.verdict] += 1
        self.standings[counts_for] += 1
        self.records += report.records
        self.duplicates += report.duplicates
        self.checkpoints += report.checkpoints
        for name in ("missing", "awaited", "unreadable", "removed", "withheld"):
            setattr(self, name, getattr(self, name) + report.counts.get(name, 0))
        self.faults.update(fault.kind for fault in report.faults)
        if unlisted := report.faults_total - len(report.faults):
            self.faults["unlisted"] += unlisted
        if report.verdict == "open":
            self.oldest_open_ms = _least(self.oldest_open_ms, report.first_timestamp_ms)
            self.silent_open_ms = _least(self.silent_open_ms, report.last_timestamp_ms)
        return counts_for

    def add_totals(self, totals: Totals) -> None:
        """Count streams that an earlier check has judged; none is at fault, of none a record may come."""
        counts_for: Standing = "proven" if totals.standing == "proven" else "open"
        self.streams += totals.streams
        self.verdicts[totals.verdict] += totals.streams
        self.standings[counts_for] += totals.streams
        for name in ("records", "duplicates", "checkpoints", "withheld", "removed"):
            setattr(self, name, getattr(self, name) + getattr(totals, name))
        self.oldest_open_ms = _least(self.oldest_open_ms, totals.oldest_ms)
        self.silent_open_ms = _least(self.silent_open_ms, totals.silent_ms)

    def add_unseen(self, services: list[str]) -> None:
        """Expected services without a stream are faults."""
        for name in services:
            message = f"service {name} is expected, and no stream is of it"
            self.trail_faults.append(TrailFault(kind="expected", message=message, service=name))
            self.faults["expected"] += 1

    @property
    def doubtful(self) -> dict[str, int]:
        """The messages of ``undecodable`` that may have been records of ours."""
        return {reason: count for reason, count in self.undecodable.items() if reason not in _HARMLESS}

    @property
    def exit_status(self) -> ExitStatus:
        """See the module."""
        if self.standings["fault"] or self.trail_faults:
            return 1
        if not self.streams or self.compacted or self.doubtful:
            return 4
        return 3 if self.standings["open"] else 0

    def to_dict(self) -> dict[str, Any]:
        """The report in JSON's own types, the exit status under ``exit_status``."""
        out: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        for name in ("verdicts", "standings", "faults", "undecodable"):
            out[name] = dict(sorted(out[name].items()))
        out["trail_faults"] = [asdict(fault) for fault in self.trail_faults]
        return {**out, "exit_status": self.exit_status}


def _least(known: int | None, found_ms: int | None) -> int | None:
    if found_ms is None or found_ms < 0:  # there is no record, or it has no timestamp
        return known
    return found_ms if known is None else min(known, found_ms)
