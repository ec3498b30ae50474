"""Absent records of a stream: what their absence means, range by range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from auditwire.verification.absence import AbsenceRule
from auditwire.verification.notes import bytes_in_words
from auditwire.verification.ranges import Range, in_words

if TYPE_CHECKING:
    from auditwire.verification.findings import Findings
    from auditwire.verification.heads import Heads
    from auditwire.verification.horizon import Horizon

__all__ = ["GapJudge"]

_What = Literal["missing", "awaited", "unreadable", "unaccounted", "removed", "gone"]
_EXPLAINED: frozenset[_What] = frozenset({"awaited", "unaccounted", "unreadable", "removed"})
_MAY_COME: frozenset[_What] = frozenset({"awaited", "unaccounted"})
_EXCUSED: frozenset[_What] = frozenset({"missing", "unreadable", "gone"})


class GapJudge:
    """Takes absent ranges in rising order, joins what touches, and sorts it into the report.

    Args:
        findings: Takes what is found.
        heads: What is known of the stream.
        horizon: Up to where absence is excused; None: nowhere.
        settled: True when nothing can be on its way any more.

    Attributes:
        explained_to: The highest absent sequence that explains why a checkpoint is not there; -1: none.
        first_open: The first absent sequence that may still come; -1: none.
        excused_last: True when the record that a state file knows may have been removed.
        lost_last: True when it is not there.
    """

    __slots__ = (
        "_findings",
        "_heads",
        "_horizon",
        "_pending",
        "_rule",
        "_settled",
        "excused_last",
        "explained_to",
        "first_open",
        "lost_last",
    )

    def __init__(self, findings: Findings, heads: Heads, horizon: Horizon | None, *, settled: bool) -> None:
        self._findings = findings
        self._heads = heads
        self._horizon = horizon
        self._settled = settled
        self._rule = AbsenceRule(
            heads.recovery,
            acknowledged=heads.acknowledged,
            known_to=heads.known_to,
            delivered_to=heads.delivered_to,
            settled=settled,
        )
        self._pending: _Piece | None = None  # may still grow
        self.explained_to = -1
        self.first_open = -1
        self.excused_last = self.lost_last = False

    def absent(
        self, first: int, last: int, below_ms: int | None, above_ms: int | None, listed: str | None
    ) -> list[Range]:
        """Take a range of absent sequences; those parts of it that may still come are returned.

        Args:
            first: The first.
            last: The last.
            below_ms: The latest time of the events below that are there; None: none is.
            above_ms: The time of the nearest event above; None: there is none.
            listed: The digest that is listed for the first one, in hex; None: nothing lists it.
        """
        excused = self._horizon is not None and self._horizon.excuses(
            self._heads.stream_id, below_ms, above_ms
        )
        may_come: list[Range] = []
        for absence, (start, end) in self._rule.sort((first, last)):
            what: _What = "removed" if excused and absence in _EXCUSED else absence
            self._take(_Piece(what, start, end, listed if start == end == first else None))
            if what in _MAY_COME:
                may_come.append((start, end))
        if may_come and self.first_open < 0:
            self.first_open = may_come[0][0]
        return may_come

    def gone(self, first: int, last: int, below_ms: int | None) -> None:
        """Take a range behind the last record that is there, up to the one that a state file knows.

        Args:
            first: The first.
            last: The last.
            below_ms: As for ``absent``.
        """
        remembered = self._heads.remembered
        excused = (
            remembered is not None
            and self._horizon is not None
            and self._horizon.excuses(
                self._heads.stream_id, max(remembered.last_timestamp_ms, below_ms or 0), None
            )
        )
        self.excused_last |= excused
        self._take(_Piece("removed" if excused else "gone", first, last, None))

    def finish(self) -> None:
        """Say what the last range is."""
        if self._pending is not None:
            self._tell(self._pending)
            self._pending = None

    def _take(self, piece: _Piece) -> None:
        if piece.what in _EXPLAINED:
            self.explained_to = piece.last
        before = self._pending
        if before is not None and before.what == piece.what and before.last == piece.first - 1:
            piece = _Piece(piece.what, before.first, piece.last, None)
        elif before is not None:
            self._tell(before)
        self._pending = piece

    def _tell(self, piece: _Piece) -> None:
        what, first, last, listed = piece
        self._findings.range("missing" if what == "gone" else what, first, last)
        if what == "missing":
            verb = "is" if first == last else "are"
            message = f"{in_words(first, last)} {verb} missing: {self._why_missing(first)}"
            self._findings.fault("missing", first, message, expected=listed)
        elif what == "unreadable":
            ranges = self._heads.recovery.unreadable
            where = f" (segment:from-to {bytes_in_words(ranges)})" if ranges else ""
            message = (
                f"the broker does not have {in_words(first, last)}, which had been accepted: that part of "
                f"the journal cannot be read any more{where}"
            )
            self._findings.fault("unreadable", first, message)

    def _why_missing(self, first: int) -> str:
        if self._settled:
            return "nothing is on its way any more"
        if first < self._heads.acknowledged:
            return "a checkpoint says that the broker had them"
        return f"a later stream says that all up to record {self._heads.delivered_to} was delivered"


class _Piece(NamedTuple):
    """A range of absent sequences whose absence means the same."""

    what: _What
    first: int
    last: int
    listed: str | None
