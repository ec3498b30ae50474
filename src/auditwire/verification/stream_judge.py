"""The judgement of one stream, in one pass over its sequences.

The pass goes from stop to stop: a sequence that a claim speaks of, or where a block of entries begins or
ends. Between two stops the same blocks list all records, so that as many rows as there are can be compared
with them in one comparison of bytes; only what differs is looked at record by record.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from auditwire.verification.carry import PRESENT, CarryWriter
from auditwire.verification.cursors import each_once, without_copies
from auditwire.verification.findings import Findings
from auditwire.verification.gaps import GapJudge
from auditwire.verification.layout import (
    IDENTITY,
    MAX_SEQUENCE,
    SEQUENCE,
    Kind,
    Names,
    latest_of,
    payload_of,
    sequence_of,
    timestamp_of,
)
from auditwire.verification.listers import Listers, place_of
from auditwire.verification.notes import carry_notes, clock_notes, notes_on, size_notes
from auditwire.verification.said import ClaimJudge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auditwire.verification.cursors import ClaimCursor, RowCursor
    from auditwire.verification.heads import Heads
    from auditwire.verification.horizon import Horizon
    from auditwire.verification.report import StreamReport

__all__ = ["StreamJudge"]

_DIGEST = slice(0, 32)  # of an identity, and of those payloads that begin with one
_OPENS = (Kind.PRESENT, Kind.LISTED, Kind.STATED)


class _Present(NamedTuple):
    """A range of records that an earlier check has seen."""

    end: int  # the sequence behind the last
    latest_ms: int  # the latest time of their events
    listed: bool


_NOTHING = _Present(0, 0, listed=False)


class StreamJudge:
    """Judges a stream.

    Args:
        heads: What is known of it as a whole.
        rows: Its records.
        claims: What is said of them; the heads have been taken.
        names: What the codes in rows stand for.
        horizon: As for ``judge``.
        settled: As for ``judge``.
        exists: Whether another stream has a record.
        carry: True when the stream is to be carried to a later check.
    """

    def __init__(
        self,
        heads: Heads,
        rows: RowCursor,
        claims: ClaimCursor,
        *,
        names: Names,
        horizon: Horizon | None,
        settled: bool,
        exists: Callable[[str], bool],
        carry: bool,
    ) -> None:
        self._heads = heads
        self._rows = rows
        self._claims = claims
        self._names = names
        self._findings = Findings(heads.stream_id)
        self._report = self._findings.report
        self._listers = Listers(self._findings, names)
        self._gaps = GapJudge(self._findings, heads, horizon, settled=settled)
        self._carry = CarryWriter(heads, self._listers, names) if carry else None
        self._said = ClaimJudge(heads, self._findings, self._listers, self._gaps, exists, self._carry)
        self._last: bytes | None = None  # the row of the highest record so far
        self._last_sequence = -1  # its number, or the last of those that an earlier check has seen
        self._latest_ms: int | None = None  # the latest time of an event so far
        self._present = _NOTHING
        self._let_go = 0  # records whose digests an earlier check has let go, and that may have changed since
        self._late = 0  # records behind the closing checkpoint
        self._first_late: bytes | None = None

    def carry(self, *, reported: bool = True) -> bytes | None:
        """What a later check needs; None of a stream at fault. After ``judge``.

        Args:
            reported: False for a stream of which only others speak: its report, and what may be wrong in it,
                is for nobody.
        """
        if self._carry is None or (self._report.faults and reported):
            return None
        return self._carry.blob(self._report, self._said.chain)

    def judge(self) -> StreamReport:
        """The report."""
        heads, report = self._heads, self._report
        report.trail, report.service, report.wanted = heads.trail, heads.service, heads.wanted
        report.acknowledged = heads.acknowledged
        report.duplicates = heads.duplicates
        report.closed = heads.closing is not None
        report.recoveries, report.recovered_to = heads.recovery.count, heads.recovery.last_sequence
        report.machine_restarted = heads.recovery.machine_restarted
        for fault in heads.recovery.faults:
            report.add_fault(fault)
        self._walk()
        self._listers.finish()
        self._gaps.finish()
        self._judge_last()
        self._judge_end()
        self._judge_remembered()
        self._judge_whole()
        report.notes = [
            *clock_notes(report),
            *carry_notes(self._let_go),
            *notes_on(report, heads.recovery.unreadable),
            *size_notes(report),
        ]
        return report

    # -- from stop to stop ----------------------------------------------------------------------------------

    def _walk(self) -> None:
        claims, listers = self._claims, self._listers
        position = 0
        while True:
            listers.expire(position)
            if claims.sequence == position:
                self._open(position)
                if claims.sequence == position:
                    self._meet(position)
                    position += 1
                    continue
            stops = [stop for stop in (claims.sequence, listers.end) if stop is not None]
            if position < self._present.end:
                stops.append(self._present.end)
                self._pass_over(position, min(stops))
            else:
                self._stretch(position, min(stops, default=None))
            if not stops:
                return
            position = min(stops)

    def _open(self, position: int) -> None:
        """Take the claims about ranges that begin here."""
        claims = self._claims
        while claims.sequence == position and claims.kind in _OPENS:
            kind, claim = Kind(claims.kind), claims.take()
            if kind == Kind.PRESENT:
                last, latest_ms, listed = PRESENT.unpack(payload_of(claim))
                self._present = _Present(last + 1, latest_ms, bool(listed))
            else:
                self._listers.open(position, kind, claim)

    def _pass_over(self, position: int, stop: int) -> None:
        """Take the sequences from a position to before a stop, which an earlier check has seen."""
        report, present = self._report, self._present
        if not report.records:
            report.first_sequence, report.first_timestamp_ms = position, self._heads.first_timestamp_ms
        report.records += stop - position
        self._last, self._last_sequence = None, stop - 1
        self._pass_time(present.latest_ms)
        at = position
        while rows := self._rows.below(stop):  # they came again, and cannot be compared any more
            for sequence, same in groupby(rows, sequence_of):
                variants, equal, more = self._rows.sort_out(list(same))
                report.duplicates += len(variants) + equal + more
                self._pass(at, sequence, listed=present.listed)
                self._pass(sequence, sequence + 1, listed=False)
                at = sequence + 1
        self._pass(at, stop, listed=present.listed)

    def _pass(self, first: int, stop: int, *, listed: bool) -> None:
        if first < stop:
            if not listed:
                self._findings.range("unproven", first, stop - 1)
                self._let_go += stop - first
            if self._carry is not None:
                self._carry.present(first, stop - 1, self._present.latest_ms, listed=listed)

    def _stretch(self, position: int, stop: int | None) -> None:
        """Judge the sequences from a position to before a stop, None: to the end; no claim is about one."""
        while stop is None or position < stop:
            rows = self._rows.below(stop)
            if not rows:
                self._absent(position, stop, self._rows.next_row)
                return
            position = self._settle(position, rows)

    def _settle(self, position: int, rows: Sequence[bytes]) -> int:
        """Judge rows, and what is absent from a position to the last of them; the position behind it."""
        first, last = sequence_of(rows[0]), sequence_of(rows[-1])
        again = len(rows) - (last - first + 1)
        once = without_copies(rows) if again > 0 and first < last else rows
        if self._is_plain(first, last, once):
            if first > position:
                self._absent(position, first, rows[0])
            self._count(once, last - first + 1)
            self._report.duplicates += again
            self._prove(once, listed=bool(self._listers))
        elif first == last:
            if first > position:
                self._absent(position, first, rows[0])
            listed = self._judge_group(first, rows)
            self._prove(each_once(rows)[:1], listed=listed)
        else:
            middle = bisect_left(rows, rows[len(rows) // 2][SEQUENCE])
            if not middle:
                middle = bisect_left(rows, (first + 1).to_bytes(8, "big"))
            self._settle(position, rows[:middle])
            self._settle(sequence_of(rows[middle - 1]) + 1, rows[middle:])
        return last + 1

    def _prove(self, rows: Sequence[bytes], *, listed: bool) -> None:
        """Say whether rows, one for each sequence, are listed."""
        if not listed:
            self._findings.range("unproven", sequence_of(rows[0]), sequence_of(rows[-1]))
        if self._carry is not None:
            self._carry.records(rows, listed=listed)

    def _is_plain(self, first: int, last: int, rows: Sequence[bytes]) -> bool:
        """True when there is one row for each sequence from first to last, and that is the listed one."""
        count = last - first + 1
        return (
            count == len(rows)
            and not self._rows.drops
            and b"".join([row[SEQUENCE] for row in rows]) == _sequences(first, count)
            and (
                not self._listers
                or self._listers.agree(first, last + 1, b"".join([row[IDENTITY] for row in rows]))
            )
        )

    def _count(self, rows: Sequence[bytes], sequences: int) -> None:
        """Count records: rows in order, with all that has one of so many sequences."""
        report = self._report
        if not report.records:
            report.first_sequence = sequence_of(rows[0])
            report.first_timestamp_ms = timestamp_of(rows[0])
            if report.first_sequence == 0 and not self._heads.opened:
                self._misses_opening(rows[0])
        report.records += sequences
        self._last, self._last_sequence = rows[-1], sequence_of(rows[-1])
        self._pass_time(latest_of(rows))
        closing = self._heads.closing
        if closing is not None and self._last_sequence > closing:
            self._late += sequences
            self._first_late = self._first_late or rows[0]

    def _pass_time(self, time_ms: int) -> None:
        self._latest_ms = time_ms if self._latest_ms is None else max(self._latest_ms, time_ms)

    def _judge_group(self, sequence: int, rows: Sequence[bytes]) -> bool:
        """Judge the rows of one sequence; True when something lists it."""
        variants, equal, more = self._rows.sort_out(rows)
        self._report.duplicates += equal
        self._count(variants[:1], 1)
        self._pass_time(latest_of(variants))
        if more:
            message = f"record {sequence} is there in {len(variants) + more} ways, each different"
            self._findings.fault("conflict", sequence, message, place_of(variants[0], self._names))
        for other in variants[1:]:
            self._conflict(sequence, variants[0], other)
        if more:  # the listed one may be among those that were left out
            return bool(self._listers)
        return self._listers.compare(sequence, variants)

    def _conflict(self, sequence: int, one: bytes, other: bytes) -> None:
        first, second = place_of(one, self._names), place_of(other, self._names)
        message = f"record {sequence} is there twice, and not the same: {first} and {second}"
        digests = (row[IDENTITY][_DIGEST].hex() for row in (one, other))
        self._findings.fault("conflict", sequence, message, second, *digests)

    def _absent(self, first: int, stop: int | None, above: bytes | None) -> None:
        """Judge absent sequences from the first to before a stop; None: to where the stream should end.

        Args:
            first: The first.
            stop: The one behind the last.
            above: The row of the next record that is there; None: there are no more.
        """
        last = MAX_SEQUENCE if stop is None else stop - 1
        if above is None:
            end = self._end()
            remembered = self._heads.remembered
            if remembered is not None and max(end + 1, first) <= min(last, remembered.last_sequence):
                gone = max(end + 1, first), min(last, remembered.last_sequence)
            else:
                gone = None
            last = min(last, end)
        else:
            gone = None
        if first <= last:
            self._listers.compare_absent(first, last + 1)
            digest = self._listers.listed(first)
            may_come = self._gaps.absent(
                first,
                last,
                self._latest_ms,
                None if above is None else timestamp_of(above),
                None if digest is None else digest.hex(),
            )
            if self._carry is not None:
                for start, end in may_come:
                    self._carry.absent(start, end)
        if gone is not None:
            self._gaps.gone(*gone, self._latest_ms)

    def _end(self) -> int:
        """The last sequence that there should be, once there are no more rows."""
        last = self._last_sequence
        return last if self._heads.closing is not None else max(last, self._heads.known_to)

    # -- one sequence of which something is said -------------------------------------------------------------

    def _meet(self, sequence: int) -> None:
        if sequence < self._present.end:
            self._pass_over(sequence, sequence + 1)
            self._said.hear(sequence, [], self._claims, present=True)
            return
        rows = self._rows.below(sequence + 1)
        listed = bool(rows) and self._judge_group(sequence, rows)
        said = self._said.hear(sequence, rows, self._claims)
        if rows:
            self._prove(each_once(rows)[:1], listed=listed or said.proven)
        elif said.withheld:
            self._listers.compare_absent(sequence, sequence + 1)
            self._findings.withhold(sequence)
            self._gaps.explained_to = sequence
        else:
            self._absent(sequence, sequence + 1, self._rows.next_row)

    # -- all of them together --------------------------------------------------------------------------------

    def _misses_opening(self, row: bytes) -> None:
        message = "record 0 is not an opening checkpoint"
        is_type = self._names.type_key(row[IDENTITY][32:])
        self._findings.fault("opening", 0, message, place_of(row, self._names), "checkpoint", is_type)

    def _judge_last(self) -> None:
        report, row = self._report, self._last
        report.last_sequence = self._last_sequence
        if self._latest_ms is not None:
            report.last_timestamp_ms = self._latest_ms
        if row is not None:
            report.last_digest = row[IDENTITY][_DIGEST].hex()

    def _judge_end(self) -> None:
        """Whether anything comes after the closing checkpoint."""
        closing, known_to = self._heads.closing, self._heads.known_to
        if closing is None:
            return
        if self._first_late is not None:
            first = sequence_of(self._first_late)
            message = f"{self._late} records, from {first} on, come after the closing checkpoint {closing}"
            self._findings.fault("after_close", first, message, place_of(self._first_late, self._names))
        if known_to > self._report.last_sequence:
            message = (
                f"another stream says that this one goes on to record {known_to}, behind its closing "
                f"checkpoint {closing}"
            )
            self._findings.fault("recovery", known_to, message)

    def _judge_remembered(self) -> None:
        """Whether what an earlier check has seen is still there."""
        known = self._heads.remembered
        if known is None or not self._gaps.lost_last or self._gaps.excused_last:
            return
        report, last, digest = self._report, known.last_sequence, known.digest.hex()
        if not report.records:
            message = f"the stream is gone: an earlier check saw its records up to {last}"
            self._findings.fault("vanished", 0, message, expected=digest)
            return
        message = f"record {last} is gone, which was the last one that an earlier check saw"
        self._findings.fault("shrunk", last, message, expected=digest)

    def _judge_whole(self) -> None:
        report = self._report
        whole = report.first_sequence == 0 and not (
            report.missing
            or report.awaited
            or report.unreadable
            or report.unaccounted
            or report.removed
            or report.withheld
            or report.absent_streams
        )
        if report.faults or not whole:
            return
        if report.unproven:
            return
        if report.closed and report.sealed_to == report.last_sequence - 1:
            report.verdict = "complete"
        elif report.recoveries and not (report.closed or self._heads.recovery.unreadable):
            report.verdict = "recovered"


def _sequences(first: int, count: int) -> bytes:
    """So many sequences as they stand in rows."""
    return struct.pack(f">{count}Q", *range(first, first + count))
