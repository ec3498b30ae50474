"""What of a session needs a person's attention: what failed, was denied, was stopped, or did not end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from auditwire import events as ev
from auditwire.event_base import iso_from_us
from auditwire.sessions.model import Moment, ToolCall, Turn
from auditwire.sessions.tree import walk
from auditwire.sessions.vocabulary import is_denial, is_refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeAlias

    from auditwire.sessions.model import Entry, Item

    _Found: TypeAlias = "tuple[Level, str, str, str, Entry]"

__all__ = ["Finding", "Level", "findings_in", "findings_of", "level_of"]

Level = Literal["error", "warning"]

_SEVERITIES: Mapping[str, Level] = {"warning": "warning", "error": "error"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that needs attention.

    Attributes:
        level: ``error`` for what failed or was stopped, ``warning`` for what may be in order.
        what: In a few words of ours: ``failed``, ``denied``, ``turn without an end``, ...
        subject: Whom it is about, from the events: a tool, a model, a turn's agent.
        text: What the event says about it, from the event.
        entry: The event.
        item: The turn, call or single event that it was found in.
    """

    level: Level
    what: str
    subject: str
    text: str
    entry: Entry
    item: Item

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types, with the event's place instead of the event."""
        entry = self.entry
        return {
            "level": self.level,
            "what": self.what,
            "subject": self.subject,
            "text": self.text,
            "timestamp": iso_from_us(entry.event.timestamp_us),
            "event_id": entry.event.event_id,
            "stream_id": entry.stream_id,
            "sequence": entry.sequence,
        }


def findings_in(items: Iterable[Item]) -> list[Finding]:
    """What needs attention in these items and below them, in the session's order."""
    found = [finding for item in walk(items) for finding in findings_of(item)]
    return sorted(found, key=lambda finding: finding.entry.number)


def findings_of(item: Item) -> list[Finding]:
    """What needs attention in an item itself; of a turn, without what lies in it."""
    if isinstance(item, ToolCall):
        found = _of_call(item)
    elif isinstance(item, Turn):
        found = _of_turn(item)
    else:
        found = _of_event(item.entry)
    return [Finding(*parts, item) for parts in found]


def level_of(findings: Iterable[Finding]) -> Level | None:
    """The worst of them."""
    levels = {finding.level for finding in findings}
    return "error" if "error" in levels else "warning" if levels else None


def _of_turn(turn: Turn) -> Iterator[_Found]:
    entry = turn.start or next(_entries(turn.items), None)
    if turn.end is None and entry is not None:
        yield ("warning", "turn without an end", turn.agent_id or "", "", entry)


def _entries(items: Iterable[Item]) -> Iterator[Entry]:
    for item in walk(items):
        if isinstance(item, Moment):
            yield item.entry
        elif isinstance(item, ToolCall):
            yield from item.entries


def _of_call(call: ToolCall) -> Iterator[_Found]:
    for entry in call.around:
        yield from _of_event(entry)
    outcome, state = call.outcome, call.state
    if outcome is not None and isinstance(outcome.event, ev.ToolCallFailureEvent):
        event = outcome.event
        yield ("error", "failed", call.tool_name, f"{event.error_type}: {event.error_message}", outcome)
    elif outcome is not None and state != "done":
        told = any(found for entry in call.around for found in _of_event(entry))
        if not (told and is_denial(state)):
            level: Level = "error" if is_denial(state) or state == "error" else "warning"
            yield (level, "ended as", call.tool_name, state, outcome)
    elif state == "unfinished" and call.attempt is not None:
        yield ("warning", "call without an outcome", call.tool_name, "", call.attempt)


def _of_event(entry: Entry) -> Iterator[_Found]:
    event = entry.event
    found: tuple[Level, str, str, str] | None = None
    if isinstance(event, ev.ErrorEvent):
        text = f"{event.error_type}: {event.error_message}"
        found = ("error", "error", event.agent_id or "", text)
    elif isinstance(event, ev.ToolPolicyDecisionEvent) and is_denial(event.action):
        found = ("error", "denied by a policy", event.tool_name, event.policy_source)
    elif isinstance(event, ev.ApprovalEvent) and is_refusal(event.decision):
        by = f"{event.approver_type} {event.approver_id}".strip()
        found = ("error", "not approved", event.tool_name, f"{by}: {event.reason}" if event.reason else by)
    elif isinstance(event, ev.ToolLoopBlockEvent):
        found = ("error", "stopped as a loop", event.tool_name, f"{event.pattern}, {event.call_count} calls")
    elif isinstance(event, ev.ToolLoopWarningEvent):
        text = f"{event.pattern}, {event.call_count} calls"
        found = ("warning", "may be a loop", event.tool_name, text)
    elif isinstance(event, ev.ModelCallEvent) and event.status != "success":
        name = "/".join(filter(None, (event.provider, event.model)))
        found = ("error", "model call failed", name, f"{event.status} {event.error_type}".strip())
    elif event.severity in _SEVERITIES:
        subject, text = event.event_type, ""
        if isinstance(event, ev.CustomEvent):
            subject, text = event.custom_type, event.payload
        found = (_SEVERITIES[event.severity], event.severity, subject, text)
    if found is not None:
        yield (*found, entry)
