"""The audit events: one plain, slotted class for each type.

In come keyword arguments, out come objects that every collector takes. An event is mutable until it is
emitted; ``event_id`` and the time are taken at construction, so that every collector shows the same.

Time is kept as ``timestamp_us``, microseconds since the Unix epoch, and read as text by ``timestamp``.
The meaning and unit of each field stand in the ``doc`` of its schema (``avro/<event_type>.avsc``); a test
keeps class, schema, emitter method, topic and documentation table the same.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from auditwire.ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CONTROL_TYPES",
    "EVENT_TYPES",
    "AgentSwitchEvent",
    "ApprovalEvent",
    "AuditEvent",
    "CheckpointEvent",
    "CustomEvent",
    "ErrorEvent",
    "EventLike",
    "HookMutationEvent",
    "LossEvent",
    "ModelCallEvent",
    "QuarantineEvent",
    "RecoveryEvent",
    "SandboxDecisionEvent",
    "SkillAuthoredEvent",
    "SkillFeedbackEvent",
    "SkillUsedEvent",
    "ToolCallAttemptEvent",
    "ToolCallCompleteEvent",
    "ToolCallFailureEvent",
    "ToolLoopBlockEvent",
    "ToolLoopWarningEvent",
    "ToolPolicyDecisionEvent",
    "TurnEndEvent",
    "TurnStartEvent",
    "event_from_dict",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIRST = -62_135_596_800_000_000  # 0001-01-01, the first microsecond that a datetime can hold
_LAST = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999
_MICROSECOND = timedelta(microseconds=1)
_PLAIN_DEPTH = 32


def now_us() -> int:
    """The time, in microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def iso_from_us(us: int) -> str:
    """ISO-8601 text in UTC, with microseconds and offset; held to the years 1 to 9999."""
    return (_EPOCH + timedelta(microseconds=min(max(int(us), _FIRST), _LAST))).isoformat(
        timespec="microseconds"
    )


def us_from_time(value: str | datetime | int) -> int:
    """Microseconds since the epoch from ISO-8601 text, a datetime (a naive one is UTC) or microseconds.

    Raises:
        ValueError: The text is no ISO-8601 time.
    """
    if isinstance(value, str):
        # 3.10 does not take the Z
        value = datetime.fromisoformat(value[:-1] + "+00:00" if value[-1:] in "Zz" else value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=timezone.utc)
        return (value - _EPOCH) // _MICROSECOND
    return int(value)


def plain(value: Any, depth: int = 0) -> Any:
    """The value in JSON's own types; what JSON cannot express becomes text.

    Numbers that are not finite become "NaN", "Infinity" or "-Infinity": JSON has no word for them, and most
    readers refuse Python's. What is nested deeper than 32 levels, or in itself, becomes text too.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - NaN
    if depth < _PLAIN_DEPTH:
        if isinstance(value, dict):
            return {k if isinstance(k, str) else str(k): plain(v, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v, depth + 1) for v in value]
        if isinstance(value, (set, frozenset)):
            return sorted((plain(v, depth + 1) for v in value), key=repr)
    return str(value) if depth < _PLAIN_DEPTH else f"<{type(value).__name__}>"


class EventLike(Protocol):
    """An event of a foreign class: it goes to the ``custom`` topic with its type's name and its fields."""

    @property
    def event_type(self) -> str:
        """The type's name."""

    def to_dict(self) -> Mapping[str, Any]:
        """The fields, in types that JSON knows."""


@dataclass(slots=True, kw_only=True)
class AuditEvent:
    """What all events have in common.

    A subclass of your own, with an ``event_type`` of its own, goes to the ``custom`` topic with its type's
    name and its fields as JSON.
    """

    event_type: ClassVar[str] = "base"

    event_id: str = field(default_factory=uuid7)
    timestamp_us: int = field(default_factory=now_us)
    session_id: str | None = None
    turn_id: str | None = None
    agent_id: str | None = None
    principal_id: str | None = None
    principal_type: str | None = None
    tenant_id: str | None = None
    severity: str = "info"
    metadata: dict[str, Any] = field(default_factory=dict)
    trace_id: str | None = None
    span_id: str | None = None

    @property
    def timestamp(self) -> str:
        """The event's time as ISO-8601 text in UTC, with microseconds and offset."""
        return iso_from_us(self.timestamp_us)

    @timestamp.setter
    def timestamp(self, value: str | datetime | int) -> None:
        self.timestamp_us = us_from_time(value)

    def to_dict(self) -> dict[str, Any]:
        """The event as a new dictionary of JSON's own types, ``event_type`` and ``timestamp`` included."""
        out: dict[str, Any] = {
            "event_id": self.event_id,
            "event_type": self.event_type,
            "timestamp": self.timestamp,
        }
        for f in fields(self)[2:]:
            out[f.name] = plain(getattr(self, f.name))
        return out

    def to_json(self) -> str:
        """``to_dict`` as one line of JSON, non-ASCII characters as they are."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))


@dataclass(slots=True, kw_only=True)
class TurnStartEvent(AuditEvent):
    event_type: ClassVar[str] = "turn_start"
    prompt_preview: str = ""
    prompt_length: int = 0
    prompt_digest: str | None = None
    parent_turn_id: str | None = None
    parent_agent_id: str | None = None


@dataclass(slots=True, kw_only=True)
class TurnEndEvent(AuditEvent):
    event_type: ClassVar[str] = "turn_end"
    content_preview: str = ""
    content_length: int = 0
    content_digest: str | None = None
    function_calls_count: int = 0


@dataclass(slots=True, kw_only=True)
class ToolCallAttemptEvent(AuditEvent):
    event_type: ClassVar[str] = "tool_call_attempt"
    tool_name: str = ""
    arguments_preview: str = ""
    arguments_length: int = 0
    arguments_digest: str | None = None
    tool_call_id: str | None = None


@dataclass(slots=True, kw_only=True)
class ToolCallCompleteEvent(AuditEvent):
    event_type: ClassVar[str] = "tool_call_complete"
    tool_name: str = ""
    status: str = "success"
    duration_ms: float = 0.0
    result_preview: str = ""
    result_length: int = 0
    result_digest: str | None = None
    tool_call_id: str | None = None


@dataclass(slots=True, kw_only=True)
class ToolCallFailureEvent(AuditEvent):
    event_type: ClassVar[str] = "tool_call_failure"
    severity: str = "error"
    tool_name: str = ""
    error_type: str = ""
    error_message: str = ""
    tool_call_id: str | None = None


@dataclass(slots=True, kw_only=True)
class ToolPolicyDecisionEvent(AuditEvent):
    event_type: ClassVar[str] = "tool_policy_decision"
    tool_name: str = ""
    action: str = ""
    policy_source: str = ""
    tool_call_id: str | None = None


@dataclass(slots=True, kw_only=True)
class ToolLoopWarningEvent(AuditEvent):
    event_type: ClassVar[str] = "tool_loop_warning"
    severity: str = "warning"
    tool_name: str = ""
    pattern: str = ""
    severity_level: str = "warning"
    call_count: int = 0
    tool_call_id: str | None = None


@dataclass(slots=True, kw_only=True)
class ToolLoopBlockEvent(AuditEvent):
    event_type: ClassVar[str] = "tool_loop_block"
    severity: str = "error"
    tool_name: str = ""
    pattern: str = ""
    call_count: int = 0
    tool_call_id: str | None = None


@dataclass(slots=True, kw_only=True)
class SandboxDecisionEvent(AuditEvent):
    event_type: ClassVar[str] = "sandbox_decision"
    tool_name: str = ""
    context: str = ""
    reason: str = ""
    backend_type: str = ""
    tool_call_id: str | None = None


@dataclass(slots=True, kw_only=True)
class HookMutationEvent(AuditEvent):
    event_type: ClassVar[str] = "hook_mutation"
    hook_name: str = ""
    tool_name: str = ""
    mutated_field: str = ""
    tool_call_id: str | None = None


@dataclass(slots=True, kw_only=True)
class ErrorEvent(AuditEvent):
    event_type: ClassVar[str] = "error"
    severity: str = "error"
    error_type: str = ""
    error_message: str = ""
    error_context: str = ""


@dataclass(slots=True, kw_only=True)
class AgentSwitchEvent(AuditEvent):
    event_type: ClassVar[str] = "agent_switch"
    from_agent: str = ""
    to_agent: str = ""
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class SkillUsedEvent(AuditEvent):
    event_type: ClassVar[str] = "skill_used"
    skill_name: str = ""
    version: str = ""
    outcome: str = "unknown"
    duration_ms: float = 0.0
    triggered_automatically: bool = True


@dataclass(slots=True, kw_only=True)
class SkillAuthoredEvent(AuditEvent):
    event_type: ClassVar[str] = "skill_authored"
    skill_name: str = ""
    version: str = ""
    source_path: str = ""
    tool_count: int = 0
    unique_tools: list[str] = field(default_factory=list)
    confirmed_by_user: bool = False


@dataclass(slots=True, kw_only=True)
class SkillFeedbackEvent(AuditEvent):
    event_type: ClassVar[str] = "skill_feedback"
    skill_name: str = ""
    rating: str = "neutral"
    reason: str = ""
    source: str = "user"


@dataclass(slots=True, kw_only=True)
class ModelCallEvent(AuditEvent):
    event_type: ClassVar[str] = "model_call"
    model: str = ""
    provider: str = ""
    operation: str = "chat"
    status: str = "success"
    duration_ms: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str = ""
    error_type: str = ""


@dataclass(slots=True, kw_only=True)
class ApprovalEvent(AuditEvent):
    event_type: ClassVar[str] = "approval"
    tool_name: str = ""
    decision: str = ""
    approver_id: str = ""
    approver_type: str = "user"
    reason: str = ""
    tool_call_id: str | None = None


@dataclass(slots=True, kw_only=True)
class CustomEvent(AuditEvent):
    """Any event of a class that auditwire does not know: its type's name, and its fields as JSON text."""

    event_type: ClassVar[str] = "custom"
    custom_type: str = ""
    payload: str = "{}"


# -- control records: the library's own, about a stream of records ------------------------------------------


@dataclass(slots=True, kw_only=True)
class CheckpointEvent(AuditEvent):
    """The digests of the records since the checkpoint before; see ``auditwire.stream``."""

    event_type: ClassVar[str] = "checkpoint"
    reason: str = ""
    trail: str = ""
    resource: str = "{}"
    acknowledged: int = 0
    first_sequence: int = 0
    entries: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    previous: list[str] = field(default_factory=list)
    parent_stream: str | None = None
    key_id: str | None = None
    next_key: str | None = None
    signature: str | None = None


@dataclass(slots=True, kw_only=True)
class RecoveryEvent(AuditEvent):
    """What an adopter found of a stream whose process ended without closing it."""

    event_type: ClassVar[str] = "recovery"
    severity: str = "warning"
    orphan_stream: str = ""
    last_sequence: int = -1
    first_sequence: int = 0
    entries: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    machine_restarted: bool = False


@dataclass(slots=True, kw_only=True)
class QuarantineEvent(AuditEvent):
    """A record that the broker refuses for good; it is withheld, and this stands for it."""

    event_type: ClassVar[str] = "quarantine"
    severity: str = "error"
    quarantined_stream: str = ""
    quarantined_sequence: int = -1
    quarantined_digest: str = ""
    quarantined_type: str = ""
    topic: str = ""
    size: int = 0
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class LossEvent(AuditEvent):
    """Events that were refused before they were accepted: how many, why, and when."""

    event_type: ClassVar[str] = "loss"
    severity: str = "error"
    count: int = 0
    reason: str = ""
    first_lost_us: int = 0
    last_lost_us: int = 0


EVENT_TYPES: Mapping[str, type[AuditEvent]] = {
    cls.event_type: cls
    for cls in (
        TurnStartEvent,
        TurnEndEvent,
        ToolCallAttemptEvent,
        ToolCallCompleteEvent,
        ToolCallFailureEvent,
        ToolPolicyDecisionEvent,
        ToolLoopWarningEvent,
        ToolLoopBlockEvent,
        SandboxDecisionEvent,
        HookMutationEvent,
        ErrorEvent,
        AgentSwitchEvent,
        SkillUsedEvent,
        SkillAuthoredEvent,
        SkillFeedbackEvent,
        ModelCallEvent,
        ApprovalEvent,
        CustomEvent,
    )
}
"""Event type -> class, for everything an agent emits."""

CONTROL_TYPES: Mapping[str, type[AuditEvent]] = {
    cls.event_type: cls for cls in (CheckpointEvent, RecoveryEvent, QuarantineEvent, LossEvent)
}
"""Event type -> class, for what the library writes about its own stream."""

ALL_TYPES: Mapping[str, type[AuditEvent]] = {**EVENT_TYPES, **CONTROL_TYPES}


def event_from_dict(data: Mapping[str, Any]) -> AuditEvent:
    """The event that ``to_dict`` made this of; a type that is not known becomes a :class:`CustomEvent`.

    Keys that the class does not know are kept in ``metadata["auditwire.unknown_fields"]``.

    Raises:
        ValueError: ``event_type`` or ``timestamp`` is missing or no text.
    """
    rest = dict(data)
    name, stamp = rest.pop("event_type", None), rest.pop("timestamp", None)
    if not isinstance(name, str) or not name or not isinstance(stamp, (str, int, datetime)):
        raise ValueError("an event needs event_type and timestamp")
    cls = ALL_TYPES.get(name, CustomEvent)
    known = {f.name for f in fields(cls)}
    values = {k: rest.pop(k) for k in list(rest) if k in known}
    values["timestamp_us"] = us_from_time(stamp)
    if not isinstance(values.get("metadata", {}), dict):
        values["metadata"] = {"metadata": values["metadata"]}
    if cls is CustomEvent and name != CustomEvent.event_type:
        values.update(custom_type=name, payload=json.dumps(plain(rest), ensure_ascii=False))
    elif rest:
        values["metadata"] = {**values.get("metadata", {}), "auditwire.unknown_fields": rest}
    return cls(**values)
