"""What ``auditwire show`` reads: the session's events, then the streams that hold them."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING

from auditwire.cli.connection import ANSWER_SECONDS
from auditwire.cli.output import remark
from auditwire.cli.progress import Bar
from auditwire.reading import Reader
from auditwire.sessions import SessionBuilder, judge_trail
from auditwire.verification import check_streams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.cli.connection import Connection
    from auditwire.cli.filters import Filters
    from auditwire.reading import Record
    from auditwire.sessions import Session, Trail

__all__ = ["judge_streams", "read_session"]

_SLICE = 0.25
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

    Args:
        where: The trail.
        session: The session.
        filters: The span of time that was read.
        check: False leaves the streams unchecked.

    Raises:
        BrokerError: The trail cannot be read.
    """
    if not check:
        return judge_trail(session, None)
    if filters.since_ms is not None or filters.until_ms is not None:
        remark("the streams are checked as a whole, whatever --since and --until say")
    streams = {share.stream_id for share in session.streams}
    with Reader(
        where.bootstrap, prefix=where.prefix, config=where.config, timeout=ANSWER_SECONDS, stream_id=streams
    ) as reader:
        return judge_trail(session, check_streams(_shown(reader, "checking")))
