"""What an item of a session is called and says: the words that the terminal and the page share.

All texts from events are unsafe here: whoever shows them escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from auditwire import events as ev
from auditwire.cli.lines import detail, duration_text
from auditwire.sessions import Moment, ToolCall, Turn
from auditwire.sessions.findings import findings_of, level_of

if TYPE_CHECKING:
    from typing import TypeAlias

    from auditwire.sessions import Entry, Item
    from auditwire.sessions.findings import Level

__all__ = ["Kind", "Told", "anchor", "clock", "decision", "duration", "span", "tell"]

Kind: TypeAlias = Literal["turn", "tool", "model", "decision", "error", "switch", "skill", "event"]
"""What an item is, as far as it is drawn and filtered differently."""

_KINDS: dict[type[ev.AuditEvent], Kind] = {
    ev.ModelCallEvent: "model",
    ev.ErrorEvent: "error",
    ev.AgentSwitchEvent: "switch",
    ev.SkillUsedEvent: "skill",
    ev.SkillAuthoredEvent: "skill",
    ev.SkillFeedbackEvent: "skill",
    ev.ToolPolicyDecisionEvent: "decision",
    ev.ToolLoopWarningEvent: "decision",
    ev.ToolLoopBlockEvent: "decision",
    ev.SandboxDecisionEvent: "decision",
    ev.HookMutationEvent: "decision",
    ev.ApprovalEvent: "decision",
}

_DECISIONS: dict[type[ev.AuditEvent], str] = {
    ev.ToolPolicyDecisionEvent: "policy",
    ev.ToolLoopWarningEvent: "loop warning",
    ev.ToolLoopBlockEvent: "loop stopped",
    ev.SandboxDecisionEvent: "sandbox",
    ev.HookMutationEvent: "hook",
    ev.ApprovalEvent: "approval",
}

_STATES = {
    "done": "",
    "unfinished": "no outcome recorded",
    "undecided": "not attempted",
    "blocked": "stopped as a loop",
    "refused": "not approved",
}


_LONGEST = 1e15
"""Milliseconds, 30,000 years: a float that an event tells may be anything."""


@dataclass(frozen=True, slots=True)
class Told:
    """One item in words.

    Attributes:
        kind: What it is.
        title: Its subject: an agent, a tool, a model, a type.
        state: What became of it, where that is not simply that it is done.
        text: What it says, or what went in.
        result: What came out; empty where that is nothing or not known.
        level: How much attention it needs; None: none.
        duration_ms: How long it took; None where that is not known or means nothing.
    """

    kind: Kind
    title: str
    state: str
    text: str
    result: str
    level: Level | None
    duration_ms: float | None


def anchor(item: Item) -> str:
    """What links to the item use; a turn without a start has the number of its first event."""
    return f"{'t' if isinstance(item, Turn) else 'e'}{item.number}"


def tell(item: Item) -> Told:
    """The item itself, without what lies in it."""
    level = level_of(findings_of(item))
    if isinstance(item, Turn):
        return _turn(item, level)
    if isinstance(item, ToolCall):
        return _call(item, level)
    return _moment(item, level)


def _turn(turn: Turn, level: Level | None) -> Told:
    start, end = turn.start and turn.start.event, turn.end and turn.end.event
    state = "" if turn.end is not None else "no end recorded"
    if turn.start is None:
        state = "no start recorded" if turn.end is not None else "neither start nor end recorded"
    return Told(
        kind="turn",
        title=turn.agent_id or "agent",
        state=state,
        text=start.prompt_preview if isinstance(start, ev.TurnStartEvent) else "",
        result=end.content_preview if isinstance(end, ev.TurnEndEvent) else "",
        level=level,
        duration_ms=turn.duration_ms,
    )


def _call(call: ToolCall, level: Level | None) -> Told:
    attempt, outcome = call.attempt and call.attempt.event, call.outcome and call.outcome.event
    result = ""
    if isinstance(outcome, ev.ToolCallCompleteEvent):
        result = outcome.result_preview
    elif isinstance(outcome, ev.ToolCallFailureEvent):
        result = f"{outcome.error_type}: {outcome.error_message}"
    return Told(
        kind="tool",
        title=call.tool_name or "tool",
        state=_STATES.get(call.state, call.state),
        text=attempt.arguments_preview if isinstance(attempt, ev.ToolCallAttemptEvent) else "",
        result=result,
        level=level,
        duration_ms=call.duration_ms,
    )


def _moment(moment: Moment, level: Level | None) -> Told:
    event = moment.entry.event
    title, text, state, took = event.event_type.replace("_", " "), detail(event), "", None
    if isinstance(event, ev.ModelCallEvent):
        title = "/".join(filter(None, (event.provider, event.model))) or "model"
        state = "" if event.status == "success" else f"{event.status} {event.error_type}".strip()
        text = " · ".join(filter(None, (_tokens(event), event.finish_reason if not state else "")))
        took = event.duration_ms
    elif isinstance(event, ev.AgentSwitchEvent):
        title, text = f"{event.from_agent} → {event.to_agent}", event.reason
    elif isinstance(event, ev.CustomEvent):
        title, text = event.custom_type or "custom", event.payload
    elif isinstance(event, ev.SkillUsedEvent):
        text, took = f"{event.skill_name} {event.version}".rstrip() + f" · {event.outcome}", event.duration_ms
    elif type(event) in _DECISIONS:
        title = f"{decision(moment.entry)[0]} {getattr(event, 'tool_name', '')}".strip()
    return Told(_KINDS.get(type(event), "event"), title, state, text, "", level, took or None)


def _tokens(event: ev.ModelCallEvent) -> str:
    if not (event.input_tokens or event.output_tokens):
        return ""
    return f"{event.input_tokens:,} + {event.output_tokens:,} tokens"


def decision(entry: Entry) -> tuple[str, str, Level | None]:
    """Something that was decided about a tool call: by what, what, and how much attention it needs."""
    event = entry.event
    label = _DECISIONS.get(type(event), event.event_type.replace("_", " "))
    return label, detail(event), level_of(findings_of(Moment(entry)))


# -- times ------------------------------------------------------------------------------------------------


def clock(us: int, *, utc: bool) -> datetime:
    """The time, of this machine's zone or UTC; held to what a datetime can be."""
    when = datetime.fromisoformat(ev.iso_from_us(us))
    try:
        return when if utc else when.astimezone()
    except (OverflowError, ValueError):  # the first and last hours of all time have no other zone
        return when.astimezone(timezone.utc)


def duration(ms: float | None) -> str:
    """As :func:`~auditwire.cli.lines.duration_text`; empty for None and for what is no duration."""
    return duration_text(round(ms * 1_000)) if ms is not None and 0 <= ms < _LONGEST else ""


def span(began_us: int, ended_us: int, *, utc: bool) -> str:
    """From when to when, with the date once where it is the same, and the zone."""
    began, ended = clock(began_us, utc=utc), clock(ended_us, utc=utc)
    last = f"{ended:%H:%M:%S}" if began.date() == ended.date() else f"{ended:%Y-%m-%d %H:%M:%S}"
    zone = "UTC" if utc else f"{ended:%z}"
    return f"{began:%Y-%m-%d %H:%M:%S} to {last} {zone}"
