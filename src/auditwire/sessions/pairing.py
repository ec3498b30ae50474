"""Which events make one tool call: attempt, decisions and outcome are separate records.

By ``tool_call_id`` where the events have one. Ids are unique within a turn; the outcome of a call that was
deferred may come in a later turn, or in none. Without an id by turn, agent and tool: an outcome belongs to
the call that was opened first and is not denied, a decision to the one that was opened last.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from auditwire import events as ev
from auditwire.sessions.model import ToolCall

if TYPE_CHECKING:
    from typing import TypeAlias

    from auditwire.sessions.model import Entry, Turn

    Outcome: TypeAlias = "ev.ToolCallCompleteEvent | ev.ToolCallFailureEvent"
    Around: TypeAlias = (
        "ev.ToolPolicyDecisionEvent | ev.ToolLoopWarningEvent | ev.ToolLoopBlockEvent"
        " | ev.SandboxDecisionEvent | ev.HookMutationEvent | ev.ApprovalEvent"
    )

__all__ = ["AROUND", "OUTCOMES", "Pairs"]

OUTCOMES = (ev.ToolCallCompleteEvent, ev.ToolCallFailureEvent)

AROUND = (
    ev.ToolPolicyDecisionEvent,
    ev.ToolLoopWarningEvent,
    ev.ToolLoopBlockEvent,
    ev.SandboxDecisionEvent,
    ev.HookMutationEvent,
    ev.ApprovalEvent,
)

_SETTLED = ("denied", "blocked", "refused")


class _Waiting:
    """The calls of one tool, by one agent, in one turn, that have no outcome; each step costs the same."""

    __slots__ = ("named", "settled", "unnamed")

    def __init__(self) -> None:
        self.unnamed: dict[int, ToolCall] = {}
        self.named: dict[int, ToolCall] = {}
        self.settled: dict[int, ToolCall] = {}  # denied or stopped: an outcome, if one comes, is another's

    def add(self, call: ToolCall) -> None:
        if call.state in _SETTLED:
            self.settled[id(call)] = call
        else:
            (self.unnamed if call.call_id is None else self.named)[id(call)] = call

    def remove(self, call: ToolCall) -> None:
        for calls in (self.unnamed, self.named, self.settled):
            calls.pop(id(call), None)

    def first(self, *, has_id: bool) -> tuple[ToolCall | None, bool]:
        """The call that an outcome ends, and whether others could be meant as well.

        An outcome with an id ends no call that has another one.
        """
        for calls in (self.unnamed,) if has_id else (self.unnamed, self.named, self.settled):
            if calls:
                return next(iter(calls.values())), len(calls) > 1
        return None, False

    def last(self) -> ToolCall | None:
        """The call that a decision is about."""
        for calls in (self.unnamed, self.named):
            if calls:
                return calls[next(reversed(calls))]
        return None


class Pairs:
    """The tool calls of a session as they grow. Events have to come in the session's order."""

    def __init__(self) -> None:
        self._in_turn: dict[tuple[int, str], ToolCall] = {}  # (turn, call id) -> the latest such call
        self._by_id: dict[str, ToolCall] = {}
        self._waiting: defaultdict[tuple[int, str | None, str], _Waiting] = defaultdict(_Waiting)
        self._places: dict[int, _Waiting] = {}

    def attempt(self, entry: Entry, event: ev.ToolCallAttemptEvent, turn: Turn | None) -> ToolCall | None:
        """The call that begins; None when it is known already, from a decision that came before."""
        call = self._in_turn.get((id(turn), event.tool_call_id or ""))
        known = call is not None and call.attempt is None and call.outcome is None
        if call is None or not known:
            call = self._new(event, turn)
        call.attempt = entry
        waiting = self._places[id(call)] = self._waiting[_place(event, turn)]
        waiting.add(call)
        return None if known else call

    def outcome(self, entry: Entry, event: Outcome, turn: Turn | None) -> ToolCall | None:
        """A call of which only the outcome is there; None when the outcome belongs to a known one."""
        call, guessed = self._awaiting(event, turn)
        known = call is not None
        call = call or self._new(event, turn)
        call.outcome = entry
        if id(call) in self._places:
            self._places.pop(id(call)).remove(call)
        if call.attempt is not None:
            same = call.call_id is not None and call.call_id == event.tool_call_id
            call.pairing = "id" if same else "guess" if guessed else "order"
        return None if known else call

    def around(self, entry: Entry, event: Around, turn: Turn | None) -> tuple[ToolCall | None, bool]:
        """The call that a decision is about, None where none can be told; and whether it is a new one."""
        call_id = event.tool_call_id
        if call_id:
            call = self._in_turn.get((id(turn), call_id))
            if call is None and turn is None:
                call = self._by_id.get(call_id)
            new = call is None
            call = call or self._new(event, turn)
        else:
            call, new = self._waiting[_place(event, turn)].last(), False
        if call is not None:
            call.around.append(entry)
            if id(call) in self._places and call.state in _SETTLED:
                waiting = self._places[id(call)]
                waiting.remove(call)
                waiting.add(call)
        return call, new

    def _awaiting(self, event: Outcome, turn: Turn | None) -> tuple[ToolCall | None, bool]:
        """The call that the outcome ends, and whether others could be meant as well."""
        call_id = event.tool_call_id
        if call_id:
            call = self._in_turn.get((id(turn), call_id)) or self._by_id.get(call_id)
            if call is not None and call.outcome is None:
                return call, False
        return self._waiting[_place(event, turn)].first(has_id=bool(call_id))

    def _new(self, event: ev.ToolCallAttemptEvent | Outcome | Around, turn: Turn | None) -> ToolCall:
        call = ToolCall(event.tool_name, event.tool_call_id or None, event.agent_id)
        if call.call_id is not None:
            self._in_turn[id(turn), call.call_id] = self._by_id[call.call_id] = call
        return call


def _place(
    event: ev.ToolCallAttemptEvent | Outcome | Around, turn: Turn | None
) -> tuple[int, str | None, str]:
    return id(turn), event.agent_id, event.tool_name
