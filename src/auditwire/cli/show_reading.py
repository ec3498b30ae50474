"""What ``auditwire show`` reads: the session's events, then the streams that hold them."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from auditwire.cli.connection import ANSWER_SECONDS
from auditwire.cli.output import remark
from auditwire.cli.progress import Bar
from auditwire.cli.verify_progress import VerifyBar
from auditwire.errors import DecodingError
from auditwire.events import EVENT_TYPES
from auditwire.reading.partitions import SENT_WITHIN_MS, Partitions
from auditwire.reading.record import record_from, timestamp_of
from auditwire.reading.wanted import event_types
from auditwire.sessions import SessionBuilder, judge_trail
from auditwire.verification import verify_trail
from auditwire.wire import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from auditwire.cli.connection import Connection
    from auditwire.cli.filters import Filters
    from auditwire.reading.record import ClientMessage
    from auditwire.sessions import Session, Trail
    from auditwire.verification import StreamReport
    from auditwire.verification.outcome import TrailReport

__all__ = ["judge_streams", "read_session"]

_SLICE = 0.25
_AROUND_MS = 120_000  # two heartbeats: the longest between a record and the checkpoint that lists it


def read_session(where: Connection, session_id: str, filters: Filters, limit: int) -> Session | None:
    """The session; None, and a line on stderr, when nothing of it is there.

    A record's key is its session's id, so that records of other sessions are passed over without being
    decoded: some ten times faster than a :class:`~auditwire.reading.Reader`, which has to know all numbers to
    keep their order. Here the order is made when all is there. A record of the session under another key is
    not found; the check of its stream says so.

    Args:
        where: The trail.
        session_id: The session.
        filters: The span of time.
        limit: Events that are kept.

    Raises:
        BrokerError: The trail cannot be read.
    """
    builder = SessionBuilder(session_id, most=limit)
    types = event_types(where.prefix, None, frozenset(EVENT_TYPES))
    undecodable: Counter[str] = Counter()
    with ExitStack() as stack:
        partitions = Partitions(
            where.bootstrap,
            where.config,
            wanted=types,
            timeout=ANSWER_SECONDS,
            undecodable=undecodable,
            since_ms=filters.since_ms,
            until_ms=filters.until_ms,
        )
        stack.callback(partitions.close)
        total = sum(max(0, end - partitions.starts[place]) for place, end in partitions.ends.items())
        bar = Bar(stack, "reading", total, "records")
        looked_at = 0
        while not partitions.finished:
            batch = partitions.fetch(_SLICE)
            looked_at += len(batch)
            bar.add(len(batch))
            for message in _within(_of_session(batch, session_id), filters):
                _take(message, types, builder, undecodable)
    session = builder.build()
    if undecodable:
        counts = ", ".join(f"{reason} {count}" for reason, count in undecodable.most_common())
        remark(f"{sum(undecodable.values())} messages could not be decoded: {counts}", style="yellow")
    if session is None:
        remark(_nothing(where, session_id, filters, looked_at, len(partitions.topics)), style="yellow")
    return session


def _of_session(batch: list[ClientMessage], session_id: str) -> list[ClientMessage]:
    """The messages that may be of the session: those with its key, and those without any."""
    keys = (session_id.encode("utf-8", "surrogateescape"), None)
    return [message for message in batch if message.key() in keys]


def _within(batch: list[ClientMessage], filters: Filters) -> Iterator[ClientMessage]:
    """Those in the span of time; a message without a Kafka timestamp is in any."""
    since_ms, until_ms = filters.since_ms, filters.until_ms
    for message in batch:
        ms = timestamp_of(message)
        if ms < 0 or ((since_ms is None or ms >= since_ms) and (until_ms is None or ms < until_ms)):
            yield message


def _take(
    message: ClientMessage,
    types: Mapping[str, str | None],
    builder: SessionBuilder,
    undecodable: Counter[str],
) -> None:
    try:
        found = decode(message.value(), event_type=types.get(message.topic()))
    except DecodingError as error:
        undecodable[error.reason] += 1
    else:
        builder.add(record_from(message, found, undecodable))


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
            since=None if since_ms is None else max(0, since_ms - SENT_WITHIN_MS - _AROUND_MS),
            until=None if until_ms is None else until_ms + _AROUND_MS,
            session_id=session.session_id,
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
