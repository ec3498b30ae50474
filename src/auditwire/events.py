"""The audit events: one plain, slotted class for each type.

In come keyword arguments, out come objects that every collector takes. An event is mutable until it is
emitted; ``event_id`` and the time are taken at construction, so that every collector shows the same.

The meaning and unit of each field stand in the ``doc`` of its schema (``avro/<event_type>.avsc``); a test
keeps class, schema, emitter method, topic and documentation table the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from auditwire.event_base import AuditEvent, EventLike, field_names, iso_from_us, now_us, us_from_time
from auditwire.jsonable import json_line, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ALL_TYPES",
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
    "iso_from_us",
    "now_us",
    "us_from_time",
]


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
"""Event type -> class, for everything that has a schema."""

_UNKNOWN = "auditwire.unknown_fields"


def event_from_dict(data: Mapping[str, Any]) -> AuditEvent:
    """The event that ``to_dict`` made this of; a type that is not known becomes a :class:`CustomEvent`.

    Keys that the class does not know are kept in ``metadata["auditwire.unknown_fields"]``. Values are taken
    as they are.

    Raises:
        ValueError: ``event_type`` is missing or no text, or ``timestamp`` is missing or no time.
    """
    rest = dict(data)
    name, stamp = rest.pop("event_type", None), rest.pop("timestamp", None)
    if not isinstance(name, str) or not name or not isinstance(stamp, (str, int, datetime)):
        raise ValueError("an event needs event_type, a text, and timestamp, an ISO-8601 text")
    cls = AuditEvent if name == AuditEvent.event_type else ALL_TYPES.get(name, CustomEvent)
    values = {key: rest.pop(key) for key in field_names(cls) if key in rest}
    values["timestamp_us"] = us_from_time(stamp)
    if not isinstance(values.get("metadata", {}), dict):
        values["metadata"] = {"metadata": values["metadata"]}
    if cls is CustomEvent and name != CustomEvent.event_type:
        # fields of the foreign type that happen to have the names of CustomEvent's own belong to the payload
        rest.update({key: values.pop(key) for key in ("custom_type", "payload") if key in values})
        values.update(custom_type=name, payload=json_line(plain(rest)))
    elif rest:
        values["metadata"] = {**values.get("metadata", {}), _UNKNOWN: rest}
    return cls(**values)
