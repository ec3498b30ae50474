"""An event's fields as OpenTelemetry wants them: attributes, status, the key by which begin and end pair.

In come events, out go plain values; the spans are made in :mod:`auditwire.collectors.otel`, which has the
table of names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditwire.errors import EncodingError, MissingExtraError
from auditwire.event_base import AuditEvent, now_us, us_from_time
from auditwire.jsonable import json_line, plain

try:
    from opentelemetry.trace import StatusCode
except ImportError as error:
    raise MissingExtraError("OTelCollector", "otel") from error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from opentelemetry.trace import Span

    from auditwire.event_base import EventLike

    Fields: TypeAlias = Mapping[str, Any]
    Key: TypeAlias = tuple[str | None, ...]

__all__ = ["attributes_of", "judge", "key_of", "nanoseconds", "read", "text_or_none"]

# elsewhere on the span, or in its name, place and time
_LEFT_OUT = frozenset(
    {"event_type", "timestamp", "session_id", "turn_id", "trace_id", "span_id", "metadata", "finish_reason"}
)
_CONTENT = ("_preview", "_digest")
_NAMES = {
    "agent_id": "gen_ai.agent.name",
    "tool_name": "gen_ai.tool.name",
    "tool_call_id": "gen_ai.tool.call.id",
    "model": "gen_ai.request.model",
    "provider": "gen_ai.provider.name",
    "operation": "gen_ai.operation.name",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "arguments_preview": "gen_ai.tool.call.arguments",
    "result_preview": "gen_ai.tool.call.result",
    "error_type": "error.type",
}
_FAILED = ("error", "failed", "failure")  # words of a status
_FAILURES = ("tool_call_failure", "error")


_MOST = 2**63 - 1  # what an exporter can express


def attributes_of(fields: Fields, *, previews: bool) -> dict[str, Any]:
    """The event's fields as attributes; what is empty is left out."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _LEFT_OUT or value is None or value in ("", []):
            continue
        if name.endswith(_CONTENT) and not previews:
            continue
        if name.endswith("put_tokens") and value == 0:  # not known
            continue
        kept[_NAMES.get(name) or f"auditwire.{name}"] = _attribute(value)
    if fields.get("metadata"):
        kept["auditwire.metadata"] = json_line(fields["metadata"])
    return kept


def read(event: AuditEvent | EventLike) -> tuple[str, Fields, int]:
    """The event's type, its fields in JSON's own types, and its time in nanoseconds."""
    if isinstance(event, AuditEvent):
        fields = event.to_dict()
    else:
        try:
            fields = plain({**event.to_dict(), "event_type": event.event_type})
        except Exception as error:
            raise EncodingError(
                f"{type(event).__name__}: event_type or to_dict() failed: {error!r}"
            ) from error
    try:
        at = us_from_time(fields["timestamp"])
    except (KeyError, TypeError, ValueError, OverflowError):
        at = now_us()
    return str(fields["event_type"]), fields, max(at, 0) * 1_000


def key_of(fields: Fields) -> Key:
    """What the end of a turn or tool call has in common with its beginning, and nothing else has."""
    session, turn, name, call = (
        text_or_none(fields.get(field)) for field in ("session_id", "turn_id", "tool_name", "tool_call_id")
    )
    if fields["event_type"] in ("turn_start", "turn_end"):
        return ("turn", session, turn)
    return ("named", session, turn or "", name) if call is None else ("call", session, call)


def text_or_none(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def judge(span: Span, fields: Fields) -> None:
    """Set the status, when the event says that what the span stands for failed."""
    failure = fields.get("error_type") or fields.get("status")
    failed = fields["event_type"] in _FAILURES or bool(fields.get("error_type"))
    if failed or failure in _FAILED:
        span.set_attribute("error.type", str(failure or "_OTHER"))
        span.set_status(StatusCode.ERROR, str(fields.get("error_message") or failure or ""))


def nanoseconds(fields: Fields) -> int:
    """The event's duration; 0 when it has none that makes sense."""
    try:
        return max(0, int(float(fields.get("duration_ms") or 0) * 1e6))
    except (TypeError, ValueError, OverflowError):
        return 0


def _attribute(value: Any) -> Any:
    """The value, if an attribute can hold it, else its JSON text."""
    if isinstance(value, int):
        return value if -_MOST <= value <= _MOST else str(value)
    if isinstance(value, (str, float)):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return json_line(value)
