"""Turns while they happen: in come records in their order, out go the steps that a tree of them grows by.

Each open turn of a session has a lane, a column of its own in which its events stand below each other; a turn
inside another has its lane to the right of it. A step never changes what was before it, so that it can be
shown at once and be left standing. Nothing is written here: :mod:`auditwire.cli.turn_lines` draws the steps.

A turn is inside another when its start says so (``parent_turn_id``, or ``parent_agent_id`` with an open turn
of that agent), or when an ``agent_switch`` in an open turn has just named its agent. Memory is bounded: a
turn that got no event for an hour of the trail's time, or that is one of too many, is forgotten without a
step; should it go on, a step says that its start is not shown.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal, TypeAlias

from auditwire import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.events import AuditEvent
    from auditwire.reading import Record

__all__ = ["OpenTurn", "OpenTurns", "Step"]

Kind: TypeAlias = Literal["begin", "resume", "event", "end", "broken"]

_IDLE_US = 3_600_000_000
_MOST_SESSIONS = 1_000
_MOST_TURNS = 64  # of a session
_MOST_CALLS = 256  # of a session, attempted and without an outcome
_MOST_SWITCHES = 32  # of a session, whose agent has not begun
_ENDED = 32  # turns of a session, remembered for what comes behind their end
_LONGEST_MS = 1e12


@dataclass(slots=True, eq=False)
class OpenTurn:
    """A turn that has not ended, as far as is known.

    Attributes:
        turn_id: Its id.
        session_id: Its session; None when it has none.
        agent_id: Whose turn it is.
        stream_id: The stream in which it began, or was first seen.
        parent: The turn it is inside of, which may have ended since.
        began_us: Its start, microseconds since the Unix epoch; None when the start was not seen.
        last_us: The time of its last event.
        lane: Its column among the open turns of its session, from 0.
        events: How many events it has, start included.
        calls: How many tool calls were attempted.
        errors: How many of its events have the severity ``error``.
        open: False once it has ended or is forgotten.
    """

    turn_id: str
    session_id: str | None
    agent_id: str | None
    stream_id: str
    parent: OpenTurn | None
    began_us: int | None
    last_us: int
    lane: int
    events: int = 0
    calls: int = 0
    errors: int = 0
    open: bool = True

    @property
    def parent_lane(self) -> int | None:
        """The lane of the turn it is inside of, while that is open."""
        return self.parent.lane if self.parent is not None and self.parent.open else None


@dataclass(frozen=True, slots=True)
class Step:
    """What a tree of turns grows by: a line.

    Attributes:
        kind: ``begin`` and ``end`` of a turn; ``event`` of one, or of none; ``resume``, the first event of a
            turn whose start is not shown comes next; ``broken``, a turn's stream was closed or recovered and
            the turn had not ended.
        record: The record it comes of.
        session: Counts the sessions, from 0, in the order in which they were first seen; what is of none is
            counted by its stream. None for the library's own records.
        turn: The turn; None for an event that belongs to none that is open.
        lanes: The lanes of the session, and whether a turn runs through them beside this step; True for the
            step's own.
        joined: For ``begin``, ``end`` and ``broken``: the lane of the turn that it is inside of, if that is
            open.
        duration_us: Microseconds, of the turn that ended or of the tool call whose outcome it is; None when
            it is not known.
    """

    kind: Kind
    record: Record
    session: int | None = None
    turn: OpenTurn | None = None
    lanes: tuple[bool, ...] = ()
    joined: int | None = None
    duration_us: int | None = None


class OpenTurns:
    """All turns that are open. For one thread."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}  # the one that was seen last is the last
        self._seen = 0

    def place(self, record: Record) -> list[Step]:
        """The steps that the record makes, in their order; one, mostly."""
        event = record.event
        if event.event_type in ev.CONTROL_TYPES:
            return [*self._broken(record), Step("event", record)]
        # without a session: its stream keeps a turn apart from others of the same id
        return self._session(event.session_id or record.stream_id).place(record)

    def _session(self, key: str) -> _Session:
        found = self._sessions.pop(key, None)
        if found is None:
            found = _Session(self._seen)
            self._seen += 1
            if len(self._sessions) >= _MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
        self._sessions[key] = found
        return found

    def _broken(self, record: Record) -> Iterator[Step]:
        """The turns that are left open by a stream of which nothing more will come."""
        event = record.event
        if isinstance(event, ev.CheckpointEvent) and event.reason == "close":
            stream_id = record.stream_id
        elif isinstance(event, ev.RecoveryEvent):
            stream_id = event.orphan_stream
        else:
            return
        for session in self._sessions.values():
            yield from session.broken(record, stream_id)


class _Session:
    """The open turns of one session.

    Args:
        number: Of the session, for its steps.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._lanes: list[OpenTurn | None] = []
        self._turns: dict[str, OpenTurn] = {}  # the one that had the last event is the last
        self._ended: deque[str] = deque(maxlen=_ENDED)
        self._switches: dict[str, OpenTurn] = {}  # agent -> the turn that handed over to it
        self._calls = _Calls()

    def place(self, record: Record) -> list[Step]:
        event = record.event
        if isinstance(event, ev.TurnStartEvent) and event.turn_id is not None and not record.late:
            return [self._begin(record, event, event.turn_id)]
        duration = self._calls.take(event)
        if event.turn_id is None:
            return [self._step("event", record, duration_us=duration)]
        turn = self._turns.get(event.turn_id)
        if isinstance(event, ev.TurnEndEvent):
            return [self._end(record, turn, event.turn_id)]
        if turn is not None:
            self._touch(turn, event)
        elif not record.late and event.turn_id not in self._ended:
            turn = self._open(event.turn_id, record, None, began_us=None)
            self._touch(turn, event)
            first = self._step("resume", record, turn)
            return [first, self._step("event", record, turn, duration_us=duration)]
        return [self._step("event", record, turn, duration_us=duration)]

    def broken(self, record: Record, stream_id: str) -> Iterator[Step]:
        """End the turns of a stream. The inner ones first, as they would have ended."""
        left = [turn for turn in self._turns.values() if turn.stream_id == stream_id]
        for turn in sorted(left, key=lambda turn: -turn.lane):
            yield self._step("broken", record, turn, joined=turn.parent_lane)
            self._forget(turn)

    # -- begin and end --------------------------------------------------------------------------------------

    def _begin(self, record: Record, event: ev.TurnStartEvent, turn_id: str) -> Step:
        known = self._turns.get(turn_id)
        if known is not None:  # begun twice: the id was used again
            self._forget(known)
        turn = self._open(turn_id, record, self._parent(event), began_us=event.timestamp_us)
        self._touch(turn, event)
        return self._step("begin", record, turn, joined=turn.parent_lane)

    def _parent(self, event: ev.TurnStartEvent) -> OpenTurn | None:
        switched = self._switches.pop(event.agent_id or "", None)
        if event.parent_turn_id is not None:
            return self._turns.get(event.parent_turn_id)
        if event.parent_agent_id is not None:
            of_agent = [turn for turn in self._turns.values() if turn.agent_id == event.parent_agent_id]
            if of_agent:
                return of_agent[-1]
        return switched if switched is not None and switched.open else None

    def _end(self, record: Record, turn: OpenTurn | None, turn_id: str) -> Step:
        self._ended.append(turn_id)
        if turn is None:
            return self._step("end", record)
        self._touch(turn, record.event)
        duration = None if turn.began_us is None else _positive(record.event.timestamp_us - turn.began_us)
        step = self._step("end", record, turn, joined=turn.parent_lane, duration_us=duration)
        self._forget(turn)
        return step

    def _open(
        self, turn_id: str, record: Record, parent: OpenTurn | None, *, began_us: int | None
    ) -> OpenTurn:
        event = record.event
        for turn in [t for t in self._turns.values() if t.last_us < event.timestamp_us - _IDLE_US]:
            if turn is not parent:
                self._forget(turn)
        if len(self._turns) >= _MOST_TURNS:
            self._forget(next(turn for turn in self._turns.values() if turn is not parent))
        lane = -1 if parent is None else parent.lane
        lane = next(
            (n for n in range(lane + 1, len(self._lanes)) if self._lanes[n] is None), len(self._lanes)
        )
        turn = OpenTurn(
            turn_id,
            event.session_id,
            event.agent_id,
            record.stream_id,
            parent,
            began_us,
            event.timestamp_us,
            lane,
        )
        self._lanes[lane : lane + 1] = [turn]
        self._turns[turn_id] = turn
        return turn

    def _forget(self, turn: OpenTurn) -> None:
        turn.open = False
        del self._turns[turn.turn_id]
        self._lanes[turn.lane] = None
        while self._lanes and self._lanes[-1] is None:
            self._lanes.pop()

    # -- under way ------------------------------------------------------------------------------------------

    def _touch(self, turn: OpenTurn, event: AuditEvent) -> None:
        self._turns[turn.turn_id] = self._turns.pop(turn.turn_id)
        around: OpenTurn | None = turn
        while around is not None:  # a turn that waits for one inside it is not idle
            around.last_us = max(around.last_us, event.timestamp_us)
            around = around.parent
        turn.events += 1
        turn.calls += isinstance(event, ev.ToolCallAttemptEvent)
        turn.errors += event.severity == "error"
        if isinstance(event, ev.AgentSwitchEvent) and event.to_agent:
            self._switches[event.to_agent] = turn
            if len(self._switches) > _MOST_SWITCHES:
                del self._switches[next(iter(self._switches))]

    def _step(
        self,
        kind: Kind,
        record: Record,
        turn: OpenTurn | None = None,
        *,
        joined: int | None = None,
        duration_us: int | None = None,
    ) -> Step:
        lanes = tuple(lane is not None for lane in self._lanes)
        return Step(kind, record, self._number, turn, lanes, joined, duration_us)


class _Calls:
    """Tool calls of a session that were attempted and have no outcome yet."""

    def __init__(self) -> None:
        self._began: dict[tuple[str | None, ...], deque[int]] = {}

    def take(self, event: AuditEvent) -> int | None:
        """Remember an attempt; of an outcome, give the duration in microseconds.

        That is the one it tells, or the time since its attempt: the one of the same id or, where there is
        none, the oldest of this tool in the turn.
        """
        if isinstance(event, ev.ToolCallAttemptEvent):
            began = self._began.setdefault(_call_key(event), deque(maxlen=_MOST_CALLS))
            began.append(event.timestamp_us)
            if len(self._began) > _MOST_CALLS:
                del self._began[next(iter(self._began))]
            return None
        if not isinstance(event, (ev.ToolCallCompleteEvent, ev.ToolCallFailureEvent)):
            return None
        key = _call_key(event)
        waiting = self._began.get(key)
        started = waiting.popleft() if waiting else None
        if waiting is not None and not waiting:
            del self._began[key]
        told = event.duration_ms if isinstance(event, ev.ToolCallCompleteEvent) else 0.0
        if isfinite(told) and 0 < told < _LONGEST_MS:
            return round(told * 1_000)
        return None if started is None else _positive(event.timestamp_us - started)


def _call_key(
    event: ev.ToolCallAttemptEvent | ev.ToolCallCompleteEvent | ev.ToolCallFailureEvent,
) -> tuple[str | None, ...]:
    return (event.tool_call_id,) if event.tool_call_id else (event.turn_id, event.tool_name)


def _positive(duration_us: int) -> int | None:
    """None for what a clock that was set has made of a duration."""
    return duration_us if duration_us >= 0 else None
