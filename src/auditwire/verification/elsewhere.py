"""Answers about streams other than the one that is judged."""

from __future__ import annotations

from bisect import bisect_right
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING

from auditwire.verification.carry import PRESENT
from auditwire.verification.cursors import ClaimCursor
from auditwire.verification.layout import Kind, key_of, payload_of
from auditwire.verification.ranges import joined
from auditwire.verification.runs import has_records, merged_claims, merged_rows, sequences_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from auditwire.verification.ranges import Range
    from auditwire.verification.runs import Group, Runs

__all__ = ["Elsewhere"]

_MOST_RANGES = 100_000  # kept of one stream
_MOST_STREAMS = 8


class Elsewhere:
    """Looks into the facts of other streams, by the index of each run.

    Few streams are asked about: those that a new stream of the same journal path names, and adopters whose
    statements have holes. The answers of the latter are kept for a while, as ranges: a statement of many
    parts asks about the same adopter again and again.

    Args:
        runs: All facts.
        known: As for ``judge``.
    """

    def __init__(self, runs: Runs, known: Callable[[str], bool] | None) -> None:
        self._runs = runs
        self._known = known
        self._present: dict[str, list[Range]] = {}

    def exists(self, stream_id: str) -> bool:
        """Whether a stream has a record."""
        if has_records(self._runs.groups_of(key_of(stream_id))):
            return True
        return self._known is not None and self._known(stream_id)

    def has_all(self, stream_id: str, first: int, end: int) -> bool:
        """Whether a stream has every record from the first to before the end."""
        ranges = self._present.get(stream_id)
        if ranges is None:
            while len(self._present) >= _MOST_STREAMS:
                del self._present[next(iter(self._present))]
            groups = self._runs.groups_of(key_of(stream_id))
            found = chain(sequences_in(merged_rows(groups)), _seen_before(groups))
            ranges = self._present[stream_id] = joined(islice(found, _MOST_RANGES))
        at = bisect_right(ranges, first, key=itemgetter(0)) - 1
        return at >= 0 and ranges[at][1] >= end - 1


def _seen_before(groups: Sequence[Group]) -> Iterator[Range]:
    """The ranges that only an earlier check has read."""
    claims = ClaimCursor(merged_claims(groups))
    list(claims.heads(Kind.REMEMBERED_HEAD))  # the last kind of head: all are passed over
    while (first := claims.sequence) is not None:
        kind, claim = claims.kind, claims.take()
        if kind == Kind.PRESENT:
            yield first, PRESENT.unpack(payload_of(claim))[0]
