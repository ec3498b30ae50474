"""Records through the engine of verification, in one check or in several."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from auditwire.verification import FactWriter, judge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from auditwire.reading import Record
    from auditwire.verification import Horizon, StreamReport


def judged(
    records: Iterable[Record],
    *,
    memory: int = 1 << 20,
    writers: int = 1,
    shards: int = 1,
    settled: bool = False,
    horizon: Horizon | None = None,
    uncounted: Iterable[Record] = (),
    sessions: Collection[str] | None = None,
    topics: dict[str, str] | None = None,
) -> list[StreamReport]:
    """The reports on records.

    Args:
        records: The records.
        memory: Of each writer.
        writers: How many of them take the records in turn.
        shards: How many shares the streams are judged in.
        settled: As for ``judge``.
        horizon: As for ``judge``.
        uncounted: Further records, above the first ends.
        sessions: As for ``FactWriter``.
        topics: As for ``FactWriter``.
    """
    with tempfile.TemporaryDirectory() as name:
        some = [
            FactWriter(Path(name), memory=memory, sessions=sessions, topics=topics) for _ in range(writers)
        ]
        for number, record in enumerate(records):
            some[number % writers].add_record(record)
        for record in uncounted:
            some[0].add_record(record, counted=False)
        runs = [run for writer in some for run in writer.close()]
        reports = [
            report
            for shard in range(shards)
            for report in judge(runs, shard=(shard, shards), settled=settled, horizon=horizon)
        ]
    return sorted(reports, key=lambda report: report.stream_id)


class Rounds:
    """An incremental check: each round reads what is new.

    Args:
        sessions: As for ``FactWriter``.

    Attributes:
        carried: Stream id -> what is carried of it.
    """

    def __init__(self, sessions: Collection[str] | None = None) -> None:
        self._sessions = sessions
        self.carried: dict[str, bytes] = {}

    def judge(
        self,
        records: Iterable[Record],
        *,
        settled: bool = False,
        horizon: Horizon | None = None,
        carry: bool = True,
        uncounted: Iterable[Record] = (),
    ) -> list[StreamReport]:
        """The reports after these records have been read too, and some behind the first ends."""
        with tempfile.TemporaryDirectory() as name:
            with FactWriter(Path(name), sessions=self._sessions) as writer:
                for stream_id, blob in self.carried.items():
                    writer.add_carry(stream_id, blob)
                for record in records:
                    writer.add_record(record)
                for record in uncounted:
                    writer.add_record(record, counted=False)
            carried: dict[str, bytes] = {}
            on_carry = carried.__setitem__ if carry else None
            reports = list(judge(writer.close(), settled=settled, horizon=horizon, on_carry=on_carry))
        self.carried = carried
        return sorted(reports, key=lambda report: report.stream_id)
