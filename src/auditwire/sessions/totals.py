"""Counts over a session's events."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from auditwire import events as ev
from auditwire.sessions.vocabulary import is_approval, is_denial, is_refusal

if TYPE_CHECKING:
    from auditwire.events import AuditEvent

__all__ = ["ModelTotals", "Totals", "most_first"]


@dataclass(slots=True)
class ModelTotals:
    """The calls of one model.

    Attributes:
        provider: Who runs it.
        model: Its name.
        calls: How many.
        failed: How many of these with another status than ``success``.
        input_tokens: What went in.
        output_tokens: What came out.
        duration_ms: The calls' durations together; they may have overlapped.
    """

    provider: str
    model: str
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    duration_ms: float = 0.0


@dataclass(slots=True)
class Totals:
    """How much of what.

    Attributes:
        events: All events.
        types: Event type -> events.
        turns: Turns, those without a start or an end included.
        unfinished_turns: Turns without an end.
        tool_calls: Tool calls, those without an attempt or an outcome included.
        states: A tool call's state -> calls.
        models: Provider and name -> what this model was called for.
        decisions: Policy decisions.
        denied: Those of them that denied a call.
        approved: Approvals given.
        refused: Approvals not given.
        loop_warnings: Warnings of the guard against loops.
        loop_blocks: Calls that it stopped.
        errors: ``error`` events.
        switches: Hand-offs from one agent to another.
    """

    events: int = 0
    types: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    unfinished_turns: int = 0
    tool_calls: int = 0
    states: Counter[str] = field(default_factory=Counter)
    models: dict[tuple[str, str], ModelTotals] = field(default_factory=dict)
    decisions: int = 0
    denied: int = 0
    approved: int = 0
    refused: int = 0
    loop_warnings: int = 0
    loop_blocks: int = 0
    errors: int = 0
    switches: int = 0

    @property
    def model_calls(self) -> int:
        return sum(model.calls for model in self.models.values())

    @property
    def input_tokens(self) -> int:
        return sum(model.input_tokens for model in self.models.values())

    @property
    def output_tokens(self) -> int:
        return sum(model.output_tokens for model in self.models.values())

    def settle(self) -> None:
        """Put the models into an order that does not depend on that in which the events came."""
        self.models = dict(sorted(self.models.items(), key=lambda item: (-item[1].calls, item[0])))

    def add(self, event: AuditEvent) -> None:
        """Count an event; what turns and tool calls became is counted by whoever puts them together."""
        self.events += 1
        self.types[event.event_type] += 1
        if isinstance(event, ev.ModelCallEvent):
            self._add_model_call(event)
        elif isinstance(event, ev.ToolPolicyDecisionEvent):
            self.decisions += 1
            self.denied += is_denial(event.action)
        elif isinstance(event, ev.ApprovalEvent):
            self.refused += is_refusal(event.decision)
            self.approved += is_approval(event.decision)
        elif isinstance(event, ev.ToolLoopWarningEvent):
            self.loop_warnings += 1
        elif isinstance(event, ev.ToolLoopBlockEvent):
            self.loop_blocks += 1
        elif isinstance(event, ev.ErrorEvent):
            self.errors += 1
        elif isinstance(event, ev.AgentSwitchEvent):
            self.switches += 1

    def _add_model_call(self, event: ev.ModelCallEvent) -> None:
        key = event.provider, event.model
        known = self.models.get(key)
        if known is None:
            known = self.models[key] = ModelTotals(*key)
        known.calls += 1
        known.failed += event.status != "success"
        known.input_tokens += event.input_tokens
        known.output_tokens += event.output_tokens
        known.duration_ms += event.duration_ms

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types."""
        return {item.name: getattr(self, item.name) for item in fields(self)} | {
            "types": most_first(self.types),
            "states": most_first(self.states),
            "models": [asdict(model) for model in self.models.values()],
            "model_calls": self.model_calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
        }


def most_first(counts: Counter[str]) -> dict[str, int]:
    """The counts, the highest first, and equal ones by their names."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
