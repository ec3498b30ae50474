"""What AI agents do, as an audit trail on Apache Kafka that can be checked for completeness.

::

    from auditwire import AuditEmitter, KafkaCollector

    with AuditEmitter(KafkaCollector("localhost:9092"), session_id="s-1", agent_id="planner") as audit:
        turn = audit.emit_turn_start(prompt="...")
        audit.emit_tool_call_attempt("search", args="...", turn_id=turn)

The public names of the package stand here. What needs a Kafka client (``KafkaCollector``, ``Reader``) is
loaded when it is first asked for, so that ``import auditwire`` costs an agent without Kafka nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from auditwire._version import __version__
from auditwire.calls import ToolCall, Turn
from auditwire.collectors.base import AuditCollector
from auditwire.collectors.composite import CompositeCollector
from auditwire.collectors.jsonl import JSONLSinkCollector
from auditwire.collectors.memory import InMemoryCollector
from auditwire.collectors.null import NullCollector
from auditwire.emitter import AuditEmitter
from auditwire.errors import (
    AuditwireError,
    BrokerError,
    CollectorClosed,
    CollectorGroupError,
    ConfigurationError,
    DecodingError,
    EncodingError,
    FlushTimeout,
    JournalFull,
    MissingExtraError,
    SchemaError,
    SinkError,
)
from auditwire.events import (
    CONTROL_TYPES,
    EVENT_TYPES,
    AgentSwitchEvent,
    ApprovalEvent,
    AuditEvent,
    CheckpointEvent,
    CustomEvent,
    ErrorEvent,
    EventLike,
    HookMutationEvent,
    LossEvent,
    ModelCallEvent,
    QuarantineEvent,
    RecoveryEvent,
    SandboxDecisionEvent,
    SkillAuthoredEvent,
    SkillFeedbackEvent,
    SkillUsedEvent,
    ToolCallAttemptEvent,
    ToolCallCompleteEvent,
    ToolCallFailureEvent,
    ToolLoopBlockEvent,
    ToolLoopWarningEvent,
    ToolPolicyDecisionEvent,
    TurnEndEvent,
    TurnStartEvent,
    event_from_dict,
)
from auditwire.render_digest import DigestKey

if TYPE_CHECKING:
    from auditwire.collectors.journal import JournalCollector
    from auditwire.collectors.kafka import KafkaCollector
    from auditwire.collectors.otel import OTelCollector
    from auditwire.delivery.topics import TopicSettings
    from auditwire.environment import from_env
    from auditwire.reading import Reader

__all__ = [
    "CONTROL_TYPES",
    "EVENT_TYPES",
    "AgentSwitchEvent",
    "ApprovalEvent",
    "AuditCollector",
    "AuditEmitter",
    "AuditEvent",
    "AuditwireError",
    "BrokerError",
    "CheckpointEvent",
    "CollectorClosed",
    "CollectorGroupError",
    "CompositeCollector",
    "ConfigurationError",
    "CustomEvent",
    "DecodingError",
    "DigestKey",
    "EncodingError",
    "ErrorEvent",
    "EventLike",
    "FlushTimeout",
    "HookMutationEvent",
    "InMemoryCollector",
    "JSONLSinkCollector",
    "JournalCollector",
    "JournalFull",
    "KafkaCollector",
    "LossEvent",
    "MissingExtraError",
    "ModelCallEvent",
    "NullCollector",
    "OTelCollector",
    "QuarantineEvent",
    "Reader",
    "RecoveryEvent",
    "SandboxDecisionEvent",
    "SchemaError",
    "SinkError",
    "SkillAuthoredEvent",
    "SkillFeedbackEvent",
    "SkillUsedEvent",
    "ToolCall",
    "ToolCallAttemptEvent",
    "ToolCallCompleteEvent",
    "ToolCallFailureEvent",
    "ToolLoopBlockEvent",
    "ToolLoopWarningEvent",
    "ToolPolicyDecisionEvent",
    "TopicSettings",
    "Turn",
    "TurnEndEvent",
    "TurnStartEvent",
    "__version__",
    "event_from_dict",
    "from_env",
]

_LAZY = {
    "JournalCollector": "auditwire.collectors.journal",
    "KafkaCollector": "auditwire.collectors.kafka",
    "OTelCollector": "auditwire.collectors.otel",
    "Reader": "auditwire.reading",
    "TopicSettings": "auditwire.delivery.topics",
    "from_env": "auditwire.environment",
}


def __getattr__(name: str) -> Any:
    """Load what needs a Kafka client when it is first asked for (PEP 562)."""
    if name in _LAZY:
        value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
