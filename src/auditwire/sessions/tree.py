"""The tree of a session: which event belongs to which turn, and which turn lies in which.

An event belongs to the turn that its ``turn_id`` names. A turn lies in the one that its ``parent_turn_id``
names; without one, in an unfinished turn that has handed over to its agent (``agent_switch``); else it stands
at the top. Turns that name each other in a circle are cut open at the first of them.
"""

from __future__ import annotations

from collections import defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING

from auditwire import events as ev
from auditwire.sessions.model import Moment, ToolCall, Turn
from auditwire.sessions.pairing import AROUND, OUTCOMES, Pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from auditwire.sessions.model import Entry, Item
    from auditwire.sessions.totals import Totals

__all__ = ["DEPTH", "Tree", "walk"]

DEPTH = 24
"""Turns that lie in each other; what is deeper stands on the last level, so that any walk may recurse."""


def walk(items: Iterable[Item]) -> Iterator[Item]:
    """All items, each before those that lie in it."""
    for item in items:
        yield item
        if isinstance(item, Turn):
            yield from walk(item.items)


class Tree:
    """Turns and tool calls as they grow, event by event. For one session."""

    def __init__(self) -> None:
        self._top: list[Item] = []
        self._pairs = Pairs()
        self._turns: list[Turn] = []
        self._latest: dict[str, Turn] = {}  # turn id -> the latest turn of that id
        self._cause: dict[int, Turn] = {}  # id() of a turn -> the one that it lies in
        self._handed: dict[str, Turn] = {}  # agent -> the turn that has handed over to it

    def grow(self, entries: Iterable[Entry], totals: Totals) -> list[Item]:
        """The items at the top; the entries have to come in the session's order."""
        for entry in entries:
            self._take(entry)
        self._nest()
        for item in self._top:
            if isinstance(item, Turn):
                _sum_up(item)
        for item in walk(self._top):
            if isinstance(item, Turn):
                totals.turns += 1
                totals.unfinished_turns += item.end is None
            elif isinstance(item, ToolCall):
                totals.tool_calls += 1
                totals.states[item.state] += 1
        return self._top

    def _take(self, entry: Entry) -> None:
        event = entry.event
        if isinstance(event, ev.TurnStartEvent):
            self._begin(entry, event)
            return
        turn = self._turn_of(entry) if event.turn_id else None
        if isinstance(event, ev.TurnEndEvent) and turn is not None and turn.end is None:
            turn.end = entry
            return
        item: Item | None
        if isinstance(event, ev.ToolCallAttemptEvent):
            item = self._pairs.attempt(entry, event, turn)
        elif isinstance(event, OUTCOMES):
            item = self._pairs.outcome(entry, event, turn)
        elif isinstance(event, AROUND):
            call, new = self._pairs.around(entry, event, turn)
            item = Moment(entry) if call is None else call if new else None
        else:
            item = Moment(entry)
            if isinstance(event, ev.AgentSwitchEvent) and turn is not None:
                self._handed[event.to_agent] = turn
        if item is not None:
            (self._top if turn is None else turn.items).append(item)

    def _turn_of(self, entry: Entry) -> Turn:
        """The turn that the event names; where no start of it has come, it begins with this event."""
        turn_id = entry.event.turn_id or ""
        return self._latest.get(turn_id) or self._new(entry, turn_id)

    def _new(self, entry: Entry, turn_id: str) -> Turn:
        turn = Turn(turn_id, entry.event.agent_id, number=entry.number)
        self._turns.append(turn)
        if turn_id:
            self._latest[turn_id] = turn
        return turn

    def _begin(self, entry: Entry, event: ev.TurnStartEvent) -> None:
        parent = self._latest.get(event.parent_turn_id or "")
        turn = self._latest.get(event.turn_id or "")
        if turn is None or turn.start is not None:  # else its events came before its start: two clocks
            turn = self._new(entry, event.turn_id or "")
        turn.start, turn.agent_id, turn.parent_turn_id = entry, event.agent_id, event.parent_turn_id
        handing = self._handed.pop(event.agent_id or "", None)
        if parent is None and not event.parent_turn_id and handing is not None and handing.end is None:
            parent = handing
        if parent is not None:
            self._cause[id(turn)] = parent

    # -- when all events are there --------------------------------------------------------------------------

    def _nest(self) -> None:
        """Put each turn into the one that it lies in."""
        # a turn of which there was nothing but the outcome of another turn's call is none
        self._turns = [turn for turn in self._turns if turn.start or turn.end or turn.items]
        held = {id(turn) for turn in self._turns}
        below: defaultdict[int, list[Turn]] = defaultdict(list)
        top: list[Turn] = []
        for turn in self._turns:
            # a parent whose first event stands behind this one's start is found only now
            parent = self._cause.get(id(turn)) or self._latest.get(turn.parent_turn_id or "")
            if parent is None or parent is turn or id(parent) not in held:
                top.append(turn)
            else:
                below[id(parent)].append(turn)
        nested: set[int] = set()
        for turn in (*top, *self._turns):  # the second time: those that only a circle leads to
            if id(turn) not in nested:
                self._top.append(turn)
                _place(turn, below, nested)
        self._top.sort(key=attrgetter("number"))
        for turn in self._turns:
            turn.items.sort(key=attrgetter("number"))


def _place(root: Turn, below: dict[int, list[Turn]], nested: set[int]) -> None:
    """Put all turns that lie in this one into it, without recursion: nothing bounds the depth yet."""
    nested.add(id(root))
    path = [(root, root)]  # a turn, and the one that takes what lies in it
    while path:
        turn, holder = path.pop()
        for child in below.get(id(turn), ()):
            if id(child) not in nested:
                nested.add(id(child))
                child.depth = holder.depth + 1
                holder.items.append(child)
                path.append((child, child if child.depth < DEPTH else holder))


def _sum_up(turn: Turn) -> None:
    """Calls, tokens and times of a turn, from those below it."""
    times = [entry.event.timestamp_us for entry in (turn.start, turn.end) if entry is not None]
    for item in turn.items:
        if isinstance(item, Turn):
            _sum_up(item)
            turn.calls += item.calls
            turn.input_tokens += item.input_tokens
            turn.output_tokens += item.output_tokens
            times += (item.began_us, item.last_us)
        elif isinstance(item, ToolCall):
            turn.calls += 1
            times += [entry.event.timestamp_us for entry in item.entries]
        else:
            event = item.entry.event
            times.append(event.timestamp_us)
            if isinstance(event, ev.ModelCallEvent):
                turn.input_tokens += event.input_tokens
                turn.output_tokens += event.output_tokens
    turn.began_us = min(times) if turn.start is None else turn.start.event.timestamp_us
    turn.last_us = max(times) if turn.end is None else turn.end.event.timestamp_us
