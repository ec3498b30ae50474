"""Puts a session together from its records.

In come records in any order, out comes a :class:`~auditwire.sessions.Session`.

**Order.** Within a stream events stand in the order of their sequence, which is that of their acceptance.
Streams are merged by the events' times; an event counts as no earlier than those before it in its stream, so
that a clock that was set back shuffles nothing.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import heappush, heappushpop
from operator import attrgetter
from typing import TYPE_CHECKING

from auditwire import events as ev
from auditwire.sessions.findings import findings_in
from auditwire.sessions.model import Entry, Session, StreamShare
from auditwire.sessions.totals import Totals
from auditwire.sessions.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditwire.reading.record import Record

__all__ = ["MOST", "SessionBuilder"]

MOST = 50_000
"""Events of a session that are kept by default, about 2 KiB each."""


class SessionBuilder:
    """Takes a session's records one after the other. For one thread.

    Args:
        session_id: The session; records of others, and the library's own, are left aside.
        most: Events that are kept, the earliest. Later ones are counted, and told as left out.
    """

    def __init__(self, session_id: str, *, most: int = MOST) -> None:
        self._session_id = session_id
        self._most = most
        self._latest_first: list[tuple[int, int, Entry]] = []  # a heap
        self._by_event: dict[str, Entry] = {}
        self._totals = Totals()
        self._shares: dict[str, StreamShare] = {}
        self._left_out = self._repeated = 0
        self._began_us: int | None = None
        self._ended_us = 0

    def add(self, record: Record) -> None:
        """Take a record."""
        event = record.event
        if event.session_id != self._session_id or event.event_type in ev.CONTROL_TYPES:
            return
        self._share(record.stream_id, record.sequence)
        held = self._by_event.get(event.event_id)
        if held is not None and held.event == event:
            self._repeated += 1
            return
        self._totals.add(event)
        began, when = self._began_us, event.timestamp_us
        self._began_us = when if began is None else min(began, when)
        self._ended_us = when if began is None else max(self._ended_us, when)
        self._keep(Entry.of(record))

    def _keep(self, entry: Entry) -> None:
        """Keep the entry, at the cost of the latest one where there are too many; of equal ones the last."""
        self._by_event.setdefault(entry.event.event_id, entry)
        key = -entry.event.timestamp_us, -self._totals.events, entry
        if len(self._latest_first) < self._most:
            heappush(self._latest_first, key)
            return
        _, _, dropped = heappushpop(self._latest_first, key)
        self._by_event.pop(dropped.event.event_id, None)
        self._left_out += 1

    def _share(self, stream_id: str, sequence: int) -> None:
        share = self._shares.get(stream_id)
        if share is None:
            self._shares[stream_id] = StreamShare(stream_id, 1, sequence, sequence)
            return
        share.records += 1
        share.first_sequence = min(share.first_sequence, sequence)
        share.last_sequence = max(share.last_sequence, sequence)

    def build(self) -> Session | None:
        """The session; None when no record of it has come. Call it once."""
        if self._began_us is None:
            return None
        session = Session(
            self._session_id,
            self._began_us,
            self._ended_us,
            entries=_ordered(entry for _, _, entry in self._latest_first),
            totals=self._totals,
            streams=[share for _, share in sorted(self._shares.items())],
            left_out=self._left_out,
            repeated=self._repeated,
        )
        session.totals.settle()
        _identify(session)
        session.items = Tree().grow(session.entries, session.totals)
        session.findings = findings_in(session.items)
        return session


def _ordered(entries: Iterable[Entry]) -> list[Entry]:
    """By time, and in each stream by sequence; numbered."""
    streams: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        streams[entry.stream_id].append(entry)
    keyed: list[tuple[int, str, int, Entry]] = []
    for stream_id, own in streams.items():
        latest = 0
        for place, entry in enumerate(sorted(own, key=attrgetter("sequence", "offset"))):
            latest = max(latest, entry.event.timestamp_us)
            keyed.append((latest, stream_id, place, entry))
    keyed.sort(key=lambda key: key[:3])
    ordered = [entry for _, _, _, entry in keyed]
    for number, entry in enumerate(ordered):
        entry.number = number
    return ordered


def _identify(session: Session) -> None:
    """Who acted, and for whom."""
    agents: dict[str, None] = {}
    principals: dict[tuple[str, str], None] = {}
    tenants: dict[str, None] = {}
    for entry in session.entries:
        event = entry.event
        agents.setdefault(event.agent_id or "")
        tenants.setdefault(event.tenant_id or "")
        principals.setdefault((event.principal_type or "", event.principal_id or ""))
    session.agents = [name for name in agents if name]
    session.tenants = [name for name in tenants if name]
    session.principals = [who for who in principals if who[1]]
