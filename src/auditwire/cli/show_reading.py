"""What ``auditwire show`` reads: the session's events, then the streams that hold them."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING

from auditwire.cli.connection import ANSWER_SECONDS
from auditwire.cli.output import remark
from auditwire.cli.progress import Bar
from auditwire.cli.verify_progress import VerifyBar
from auditwire.reading import Reader
from auditwire.sessions import SessionBuilder, judge_trail
from auditwire.verification.placement import CLAMP_MS
from auditwire.verification.trail import verify_trail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.cli.connection import Connection
    from auditwire.cli.filters import Filters
    from auditwire.reading import Record
    from auditwire.sessions import Session, Trail
    from auditwire.verification import StreamReport
    from auditwire.verification.outcome import TrailReport

__all__ = ["judge_streams", "read_session"]

_SLICE = 0.25
_AROUND_MS = 120_000  # two heartbeats: the longest between a record and the checkpoint that lists it
_OFTEN = 500  # records between two looks at the progress, which has to be put together


def read_session(where: Connection, session_id: str, filters: Filters, limit: int) -> Session | None:
    """The session; None, and a line on stderr, when nothing of it is there.

    Args:
        where: The trail.
        session_id: The session.
        filters: The span of time.
        limit: Events that are kept.

    Raises:
        BrokerError: The trail cannot be read.
    """
    builder = SessionBuilder(session_id, most=limit)
    with Reader(
        where.bootstrap,
        prefix=where.prefix,
        config=where.config,
        session_id=session_id,
        timeout=ANSWER_SECONDS,
        **filters.reader_arguments(),
    ) as reader:
        for record in _shown(reader, "reading"):
            builder.add(record)
        looked_at, topics = reader.progress.done, len(reader.topics)
    session = builder.build()
    if session is None:
        remark(_nothing(where, session_id, filters, looked_at, topics), style="yellow")
    return session


def _shown(reader: Reader, title: str) -> Iterator[Record]:
    """The reader's records, while a bar shows how far it is."""
    with ExitStack() as stack:
        bar = Bar(stack, title, reader.progress.total or 0, "records")
        for count in itertools.count():
            if reader.finished:
                break
            record = reader.poll(_SLICE)
            if record is None or count % _OFTEN == 0:
                bar.show(reader.progress.done)
            if record is not None:
                yield record


def _nothing(where: Connection, session_id: str, filters: Filters, looked_at: int, topics: int) -> str:
    if not topics:
        return f"there are no topics {where.prefix}.* at {where.bootstrap}: is the --prefix right?"
    ranged = filters.since_ms is not None or filters.until_ms is not None
    when = " in that span of time (without --since and --until all is read)" if ranged else ""
    return (
        f"no event of session {session_id} among {looked_at:,} records of {topics} topics {where.prefix}.* "
        f"at {where.bootstrap}{when}; an id has to be given exactly as it is in the events"
    )


def judge_streams(where: Connection, session: Session, filters: Filters, *, check: bool) -> Trail:
    """The verdict on the streams that hold the session.

    A check of a span of time excuses what may have been sent before it, for an hour (see
    :class:`~auditwire.verification.Horizon`), and what a checkpoint behind it would list. So more is checked
    than is shown: an hour before, and two heartbeats after.

    Args:
        where: The trail.
        session: The session.
        filters: The span of time that was read.
        check: False leaves the streams unchecked.

    Raises:
        BrokerError: The trail cannot be read.
        SinkError: What the check sorts cannot be written to the directory for temporary files.
    """
    if not check:
        return judge_trail(session, None)
    since_ms, until_ms = filters.since_ms, filters.until_ms
    reports: list[StreamReport] = []
    with ExitStack() as stack:
        found = verify_trail(
            where.bootstrap,
            prefix=where.prefix,
            config=where.config,
            since_ms=None if since_ms is None else max(0, since_ms - CLAMP_MS - _AROUND_MS),
            until_ms=None if until_ms is None else until_ms + _AROUND_MS,
            session_ids=[session.session_id],
            timeout=ANSWER_SECONDS,
            on_report=lambda report, _standing: reports.append(report),
            on_progress=VerifyBar(stack).show,
        )
    return judge_trail(session, reports, notes=_notes(found))


def _notes(found: TrailReport) -> Iterator[str]:
    yield from found.notes
    for topic in found.compacted:
        yield f"topic {topic} is compacted: the broker removes records of it"
    if found.doubtful:
        counts = ", ".join(f"{number:,} {reason}" for reason, number in sorted(found.doubtful.items()))
        yield f"messages on the topics look like records and cannot be read: {counts}"
