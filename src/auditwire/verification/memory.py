"""What a state gives to a check, and what it takes from it.

To a check that reads everything it gives how far it knows each stream: the judge says what has vanished,
shrunk or changed. To an incremental one it gives what was carried of the streams that are to be judged again,
and how the others were judged.

**Who is judged again.** The streams of which there are new facts, whether their own records or what others
say of them. A report says something of other streams' records in two places: which earlier streams are
absent, and whether an adopter's statement has a hole for good. Where a report does so of a stream that has
new facts, it is made again, too. So is that of a stream whose records may still come, or of which a
checkpoint above the first ends has spoken: what lies there in one check counts in the next. Nothing else can
change a report, but other settings and another version of the rules: then all streams are judged again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from heapq import merge
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire._version import __version__
from auditwire.verification.carry import read_carry
from auditwire.verification.layout import Kind, is_hashed, key_of, unpacked
from auditwire.verification.outcome import standing
from auditwire.verification.report import RANGES, Fault, StreamReport
from auditwire.verification.runs import stream_ids
from auditwire.verification.state import LARGE, KnownStream, Summary
from auditwire.verification.statements import Statement, put_together

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from auditwire.verification.facts import FactWriter
    from auditwire.verification.outcome import TrailReport
    from auditwire.verification.state import State
    from auditwire.verification.worker import Judged

__all__ = ["Memory", "report_from", "text_of_report"]

_KEEP = frozenset({"vanished", "shrunk", "changed", "conflict"})
"""Faults after which a known stream is remembered as it was, so that the next check finds them again."""

_NOT_KNOWN = StreamReport(stream_id="")
_FIELDS = [field.name for field in fields(StreamReport)]


class Memory:
    """See the module.

    Args:
        state: The file.
        incremental: Whether the check reads on from where the last one ended.
        settings: What reports depend on besides facts.

    Attributes:
        forgotten: How many known streams are gone and excused by retention.
        judged_as: The settings, and the version of the rules.
    """

    def __init__(self, state: State, *, incremental: bool, settings: str = "") -> None:
        self._state = state
        self._incremental = incremental
        self.judged_as = f"{__version__} {settings}".rstrip()
        self.forgotten = 0

    def give(self, writer: FactWriter, runs: Sequence[Path]) -> None:
        """Give what is known.

        Args:
            writer: Takes it.
            runs: The new facts.

        Raises:
            CarryError: What was carried was made by another version, or is damaged.
        """
        if self._incremental:
            same = self._state.judged_as == self.judged_as
            self._state.select(stream_ids(runs) if same else None)
            for stream_id, facts in self._state.carried():
                writer.add_carry(stream_id, facts)
        else:
            for known in self._state.streams():
                writer.add_remembered(
                    known.stream_id, known.last_sequence, known.digest, known.last_ms, closed=known.closed
                )

    def knows(self, stream_id: str) -> bool:
        """True when an earlier check has seen the stream."""
        return self._state.stream(stream_id) is not None

    def reports(
        self, judged: Iterable[Judged], out: TrailReport, *, changed_only: bool
    ) -> Iterator[StreamReport]:
        """Take what was judged; the reports of all streams, in the order of the ids.

        Args:
            judged: What was judged.
            out: Counts what is not handed out.
            changed_only: Hand out only the reports of those that were judged, and then of those at fault.
        """
        new = (report for one in judged if (report := self._take(one)) is not None)
        if not self._incremental:
            yield from new
            return
        before = (report_from(text) for text in self._state.reports(apart=changed_only))
        if not changed_only:
            for _, report in merge(_in_order(new), _in_order(before), key=itemgetter(0)):
                yield report
            return
        yield from new
        yield from before
        for totals in self._state.totals(sealed=out.sealed):
            out.add_totals(totals)

    def services(self) -> set[str]:
        """The services of the streams that were not judged again."""
        return self._state.services() if self._incremental else set()

    def _take(self, judged: Judged) -> StreamReport | None:
        """Remember a stream.

        Returns:
            Its report. None of a stream that has no record yet or that retention has removed, and in an
            incremental check of one that is known to be at fault: the earlier report holds, since the records
            that showed it were not read again.
        """
        stream_id, report, facts = judged
        if self._incremental and not self._state.is_due(stream_id):
            return None
        self._state.carry(stream_id, facts)
        if report is None:
            return None
        known = self._state.stream(stream_id)
        if not report.records and known is not None:
            report.service = report.service or known.service
            if report.removed and not report.faults:
                self._state.forget(stream_id)
                self.forgotten += 1
                return None
        if report.last_digest is not None:
            wrong = any(fault.kind in _KEEP for fault in report.faults)
            self._state.remember(_seen(report, report.last_digest), unless_known=wrong)
        later = _Later(0, set()) if facts is None else _later(facts)
        self._state.keep(_summary(report, later), {*report.absent_streams, *later.asked})
        return report


def _in_order(reports: Iterable[StreamReport]) -> Iterator[tuple[str, StreamReport]]:
    """Reports with what they are merged by: ids that are no UUIDs stand where they stood among the others."""
    at = ""
    for report in reports:
        if not is_hashed(key_of(report.stream_id)):
            at = max(at, report.stream_id)
        yield at, report


class _Later(NamedTuple):
    """What is carried of a stream, and may change its report though nothing new is said of it.

    Attributes:
        acknowledged: The broker had every record below this sequence; from the next check on.
        asked: The adopters whose statements have holes: their own records tell whether for good.
    """

    acknowledged: int
    asked: set[str]


def _later(facts: bytes) -> _Later:
    out = _Later(0, set())

    def has_all(adopter: str, _first: int, _end: int) -> bool:
        out.asked.add(adopter)
        return True

    claims = read_carry(facts).claims
    recoveries = (claim[1:] for claim in claims if claim[0] == Kind.RECOVERY)
    put_together(map(Statement.of, recoveries), has_all)
    for claim in claims:
        if claim[0] == Kind.CARRIED:
            return out._replace(acknowledged=unpacked(claim[1:])[0])
    return out


def _seen(report: StreamReport, digest: str) -> KnownStream:
    return KnownStream(
        report.stream_id,
        report.last_sequence,
        bytes.fromhex(digest),
        report.closed,
        report.last_timestamp_ms,
        report.service,
    )


def _summary(report: StreamReport, later: _Later) -> Summary:
    counts_for = standing(report)
    names = ("records", "duplicates", "checkpoints", "withheld", "removed")
    counts = {name: report.counts.get(name, 0) for name in names[3:]}
    counts |= {name: getattr(report, name) for name in names[:3]}
    return Summary(
        stream_id=report.stream_id,
        verdict=report.verdict,
        standing=counts_for,
        sealed=standing(report, sealed=True),
        apart=counts_for == "fault" or max(counts.values()) > LARGE,
        unsettled=bool(report.awaited) or later.acknowledged > report.acknowledged,
        service=report.service,
        first_ms=report.first_timestamp_ms,
        last_ms=report.last_timestamp_ms,
        report=text_of_report(report),
        **{name: min(count, LARGE) for name, count in counts.items()},
    )


def text_of_report(report: StreamReport) -> str:
    """A report as JSON, without the members that are as in a report of which nothing is known."""
    told = {name: getattr(report, name) for name in _FIELDS}
    told = {name: value for name, value in told.items() if value != getattr(_NOT_KNOWN, name)}
    return json.dumps(told, separators=(",", ":"), default=asdict)  # faults are no types of JSON's own


def report_from(text: str) -> StreamReport:
    """The report of which :func:`text_of_report` made the text."""
    told: dict[str, Any] = json.loads(text)
    for name in told.keys() & set(RANGES):
        told[name] = [tuple(ends) for ends in told[name]]
    told["faults"] = [Fault(**fault) for fault in told.get("faults", ())]
    return StreamReport(**told)
