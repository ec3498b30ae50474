"""One of the processes that share a check: orders in, progress and results out, over a pipe.

A program: ``python -m auditwire.verification.worker DESCRIPTOR``; the descriptor is the pipe's. What goes
over it is pickled tuples, between processes of one program alone:

=========================================== =================================================================
to the worker                               from the worker
=========================================== =================================================================
``(source, directory)`` once
``("gather", partitions, known)``           ``("began",)`` when E1 is taken; ``("progress", (done, total))``
``"go on"`` when all have begun             ``("gathered", Gathered)``
``("judge", runs, judging, shard)``         ``("streams", [...])`` several times, then ``("judged",)``
..                                          ``("failed", error)`` instead of a result
=========================================== =================================================================

It ends when the pipe does.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple

from auditwire.errors import AuditwireError
from auditwire.verification.gathering import gather
from auditwire.verification.judging import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from auditwire.reading.record import Place
    from auditwire.verification.gathering import Source
    from auditwire.verification.horizon import Horizon
    from auditwire.verification.report import StreamReport
    from auditwire.verification.state import KnownPartition

__all__ = ["Judged", "Judging", "judge_with_carry", "serve"]

_BATCH = 50  # streams in one message


class Judged(NamedTuple):
    """What a stream came to.

    Attributes:
        stream_id: The stream.
        report: Its report; None of a stream that others speak of, and of which no record was read yet.
        facts: What a state carries of it; None where that is nothing.
    """

    stream_id: str
    report: StreamReport | None
    facts: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How streams are judged; see :func:`~auditwire.verification.judge`.

    Attributes:
        settled: Nothing can be on its way any more.
        horizon: Up to where retention excuses what is absent.
        carry: Whether a state wants to keep what it takes to go on.
    """

    settled: bool = False
    horizon: Horizon | None = None
    carry: bool = False


def judge_with_carry(
    runs: Sequence[Path],
    how: Judging,
    *,
    shard: tuple[int, int] = (0, 1),
    known: Callable[[str], bool] | None = None,
) -> Iterator[Judged]:
    """Judge the wanted streams, each report with what is to be carried of its stream.

    Streams that have no report may have something to carry: what an opening checkpoint says of an earlier
    stream, whose records come later, would be forgotten otherwise.
    """
    carried: dict[str, bytes] = {}
    reports = judge(
        runs,
        shard=shard,
        settled=how.settled,
        horizon=how.horizon,
        known=known,
        on_carry=carried.__setitem__ if how.carry else None,
    )
    for report in reports:
        facts = carried.pop(report.stream_id, None)
        yield from _without_report(carried)
        if report.wanted:
            yield Judged(report.stream_id, report, facts)
    yield from _without_report(carried)


def _without_report(carried: dict[str, bytes]) -> Iterator[Judged]:
    for stream_id in list(carried):
        yield Judged(stream_id, None, carried.pop(stream_id))


def serve(pipe: Connection) -> None:
    """Do what comes over the pipe, until it ends."""
    try:
        source, directory = pipe.recv()
        while True:
            what, *values = pipe.recv()
            try:
                if what == "gather":
                    _gather(pipe, source, directory, *values)
                else:
                    _judge(pipe, *values)
            except (BrokenPipeError, ConnectionResetError):
                raise
            except (AuditwireError, OSError) as error:
                pipe.send(("failed", error))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the check is over


def _gather(
    pipe: Connection,
    source: Source,
    directory: Path,
    only: Collection[Place],
    known: Mapping[Place, KnownPartition],
) -> None:
    found = gather(
        source,
        directory,
        only=only,
        known=known,
        on_began=lambda: pipe.send(("began",)),
        all_began=pipe.recv,
        on_progress=lambda done, total: pipe.send(("progress", (done, total))),
    )
    pipe.send(("gathered", found))


def _judge(pipe: Connection, runs: Sequence[Path], how: Judging, shard: tuple[int, int]) -> None:
    batch: list[Judged] = []
    for judged in judge_with_carry(runs, how, shard=shard):
        batch.append(judged)
        if len(batch) == _BATCH:
            pipe.send(("streams", batch))
            batch = []
    pipe.send(("streams", batch))
    pipe.send(("judged",))


if __name__ == "__main__":
    # what is sent has to be of the module's classes, which the other side knows, and not of the program's
    from auditwire.verification import worker  # noqa: PLW0406 - the program is another module than this one

    worker.serve(Connection(int(sys.argv[1])))
