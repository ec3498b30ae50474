"""Merges the facts of all records, and judges one stream after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.verification.cursors import ClaimCursor, RowCursor
from auditwire.verification.elsewhere import Elsewhere
from auditwire.verification.heads import read_heads
from auditwire.verification.runs import Runs, has_records, merged_claims, merged_rows
from auditwire.verification.stream_judge import StreamJudge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from auditwire.verification.horizon import Horizon
    from auditwire.verification.report import StreamReport

__all__ = ["judge"]


def judge(
    runs: Iterable[Path],
    *,
    shard: tuple[int, int] = (0, 1),
    settled: bool = False,
    horizon: Horizon | None = None,
    known: Callable[[str], bool] | None = None,
    on_carry: Callable[[str, bytes], None] | None = None,
) -> Iterator[StreamReport]:
    """Judge the streams whose facts were written, one after the other.

    The reports do not depend on the order in which the facts were written, by how many writers, or in how
    many runs, nor on the number of shards.

    **Memory.** Constant in records and in streams. Of the stream at hand there are held: 65,536 rows, the
    blocks of entries that list the sequence at hand (45 KB each; an honest stream has one, and one for
    each adopter), the report, whose lists are capped at 1,000 elements, and of what recovery records say
    of it the ranges and bytes, of at most 100,000 of them. Checkpoints are not held.

    Args:
        runs: What all writers returned, whatever the shard: streams speak of each other.
        shard: Number of a share of the streams, from 0 on, and how many shares there are: for several
            processes.
        settled: True when nothing can be on its way any more: the processes have ended, their journals are
            drained, and the topics were read to their ends after that. What would be awaited is then missing.
        horizon: Up to where retention, or the beginning of what was read, excuses that records are absent.
            None: nothing is excused.
        known: Whether a stream exists that these facts say nothing of; asked about the earlier streams that a
            stream names.
        on_carry: Called with the id of each stream without a fault, and what ``FactWriter.add_carry``
            needs of it in a later check that reads only what is new: right before its report is yielded,
            and also for streams that others speak of and that have no record yet, and no report.

    Returns:
        One report for each stream that has a record, or of which a recovery record or a state file says
        that it had; in the order of the ids of those that are UUIDs, any others among them.

    Raises:
        ValueError: A file is no whole run.
    """
    number, of = shard
    with Runs(runs) as all_runs:
        elsewhere = Elsewhere(all_runs, known)
        for key, groups in all_runs.streams():
            if key[-1] % of != number:
                continue
            claims = ClaimCursor(merged_claims(groups))
            heads = read_heads(
                key, claims, elsewhere.has_all, sessions=all_runs.sessions, carry=on_carry is not None
            )
            # or others name it, and that is all
            exists = has_records(groups) or heads.remembered or heads.recovery.says_something
            if not exists and on_carry is None:
                continue
            stream = StreamJudge(
                heads,
                RowCursor(merged_rows(groups)),
                claims,
                names=all_runs.names,
                horizon=horizon,
                settled=settled,
                exists=elsewhere.exists,
                carry=on_carry is not None,
            )
            report = stream.judge()
            carried = stream.carry(reported=bool(exists))
            if on_carry is not None and carried is not None:
                on_carry(report.stream_id, carried)
            if exists:
                yield report
