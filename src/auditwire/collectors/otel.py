"""Events as OpenTelemetry spans: one for each turn, tool call and model call, and what happened in them.

In come events, out go spans of the tracer ``auditwire``, by the tracer provider that the program has. Names
and attributes are those of the GenAI semantic conventions (in development); what they know nothing of stands
under ``auditwire.``.

========================================= ==============================================================
event                                     becomes
========================================= ==============================================================
turn_start ... turn_end                   span ``invoke_agent {agent_id}``
tool_call_attempt ... complete or failure span ``execute_tool {tool_name}``
model_call                                span ``{operation} {model}``, of ``duration_ms``
error                                     span event ``exception`` on the turn
any other                                 span event ``auditwire.{event_type}`` on the tool call or turn
what has neither turn nor tool call       span of no length, of the same name
========================================= ==============================================================

========================================= ==============================================================
field                                     attribute
========================================= ==============================================================
agent_id                                  gen_ai.agent.name
session_id                                gen_ai.conversation.id
tool_name, tool_call_id                   gen_ai.tool.name, gen_ai.tool.call.id
model, provider                           gen_ai.request.model, gen_ai.provider.name
input_tokens, output_tokens               gen_ai.usage.input_tokens, gen_ai.usage.output_tokens
finish_reason                             gen_ai.response.finish_reasons
error_type                                error.type, and the span's status becomes ERROR
arguments_preview, result_preview         gen_ai.tool.call.arguments, gen_ai.tool.call.result (``previews``)
any other                                 auditwire.{field}
========================================= ==============================================================

Begin and end are the events' own times. A turn's span lies in that of its ``parent_turn_id``; else, as all
other spans, in the span that was active when the event was made (``trace_id``, ``span_id``). Turns pair by
session and ``turn_id``, tool calls by session and ``tool_call_id``; where there is none, by turn and name,
the youngest first. Only an error whose ``error_context`` is "turn" makes the turn's status ERROR: that is the
one with which it ended.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from auditwire import forksafe
from auditwire._version import __version__
from auditwire.collectors.base import Managed
from auditwire.collectors.otel_fields import attributes_of, judge, key_of, nanoseconds, read, text_or_none
from auditwire.errors import CollectorClosed, ConfigurationError, FlushTimeout, MissingExtraError

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
except ImportError as error:
    raise MissingExtraError("OTelCollector", "otel") from error

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

    from auditwire.collectors.otel_fields import Fields, Key
    from auditwire.event_base import AuditEvent, EventLike

__all__ = ["TRACER_NAME", "OTelCollector"]

TRACER_NAME = "auditwire"
"""The instrumentation scope of all spans made here; who turns spans into events leaves these out."""

_TURN = ("invoke_agent", "agent_id")  # the operation, and the field that names what it is done with
_CALL = ("execute_tool", "tool_name")
_BEGINNINGS = {"turn_start": _TURN, "tool_call_attempt": _CALL}
_ENDS = {"turn_end": _TURN, "tool_call_complete": _CALL, "tool_call_failure": _CALL}
_PARENT_CALL = "auditwire.parent_tool_call_id"  # in the metadata of a call that a tool made


class _Open:
    """A span that was begun and waits for its end."""

    __slots__ = ("began", "span")

    def __init__(self, span: Span, began: int) -> None:
        self.span = span
        self.began = began


class OTelCollector(Managed):
    """Makes OpenTelemetry spans of turns, tool calls and model calls. Thread-safe; no lock is held meanwhile.

    Traces are sampled and dropped on overload, and are no audit trail: put this beside the collector that
    keeps one, in a ``CompositeCollector``.

    Args:
        tracer_provider: Where the spans go; the program's global one when left out, also when that is set
            later.
        previews: True: what the events show of prompts, arguments, answers and results becomes attributes.
            The conventions want such content left out unless asked for.
        max_open: How many turns and tool calls may wait for their ends. Beyond that the oldest is ended with
            ``auditwire.unpaired``.

    Raises:
        MissingExtraError: OpenTelemetry's API is not installed; by the import of this module.
        ConfigurationError: ``max_open`` is no positive number.
    """

    __slots__ = (
        "_closed",
        "_count",
        "_lock",
        "_max_open",
        "_open",
        "_previews",
        "_provider",
        "_tracer",
        "_unpaired",
    )

    def __init__(
        self, tracer_provider: TracerProvider | None = None, *, previews: bool = False, max_open: int = 10_000
    ) -> None:
        if type(max_open) is not int or max_open < 1:
            raise ConfigurationError("max_open", f"{max_open!r} is no number of spans (1 or more)")
        self._provider = tracer_provider
        self._tracer = trace.get_tracer(TRACER_NAME, __version__, tracer_provider=tracer_provider)
        self._previews = previews
        self._max_open = max_open
        # key -> spans begun under it, the oldest key first; more than one only for calls without an id, and
        # for ids that are used again
        self._open: dict[Key, list[_Open]] = {}
        self._count = 0
        self._lock = threading.RLock()
        self._closed = False
        self._unpaired = 0
        forksafe.register(self)

    @property
    def open_spans(self) -> int:
        """How many turns and tool calls wait for their ends."""
        return self._count

    @property
    def unpaired(self) -> int:
        """How many spans had no beginning or no end; each says so in ``auditwire.unpaired``."""
        return self._unpaired

    def emit(self, event: AuditEvent | EventLike) -> None:
        """Begin or end a span, or add to one.

        Raises:
            CollectorClosed: The collector was closed.
            EncodingError: The event is of a foreign class, and its ``event_type`` or ``to_dict`` failed.
        """
        if self._closed:
            raise CollectorClosed("the OTelCollector was closed before this event")
        kind, fields, at = read(event)
        if kind in _BEGINNINGS:
            self._begin(fields, at, *_BEGINNINGS[kind])
        elif kind in _ENDS:
            self._end(fields, at, *_ENDS[kind])
        elif kind == "model_call":
            self._model_call(fields, at)
        else:
            self._add(kind, fields, at)

    def flush(self, timeout: float = 30.0) -> None:
        """Have the tracer provider export the spans that have ended, where it can be asked to.

        Args:
            timeout: Seconds.

        Raises:
            FlushTimeout: The provider says that it did not. How many spans wait is not known: ``pending`` is
                0. Some exporters drop what they cannot send, and say that all is well.
        """
        provider = self._provider or trace.get_tracer_provider()
        force_flush = getattr(provider, "force_flush", None)
        if callable(force_flush) and force_flush(int(timeout * 1000)) is False:
            raise FlushTimeout(f"the tracer provider did not export all spans in {timeout:g} s", pending=0)

    def close(self) -> None:
        """End what is open, with ``auditwire.unpaired``, and flush. The provider is not shut down.

        Raises:
            FlushTimeout: As ``flush``.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = [waiting for spans in self._open.values() for waiting in spans]
            self._open.clear()
            self._count = 0
        for waiting in left:
            self._abandon(waiting)
        self.flush()

    def after_fork(self) -> None:
        """See :mod:`auditwire.forksafe`: what the parent began it will end; here it can only be a parent."""
        self._lock = forksafe.usable_lock(self._lock)
        for spans in self._open.values():
            for waiting in spans:
                waiting.span = NonRecordingSpan(waiting.span.get_span_context())

    # -- spans ------------------------------------------------------------------------------------------

    def _begin(self, fields: Fields, at: int, operation: str, name: str) -> None:
        span = self._start(fields, at, operation, name)
        key, over = key_of(fields), None
        with self._lock:
            self._open.setdefault(key, []).append(_Open(span, at))
            self._count += 1
            if self._count > self._max_open:
                over = self._take(next(iter(self._open)), 0)
        if over is not None:
            self._abandon(over)

    def _end(self, fields: Fields, at: int, operation: str, name: str) -> None:
        with self._lock:
            waiting = self._take(key_of(fields))
            self._unpaired += waiting is None
        if waiting is None:
            began = at - nanoseconds(fields)
            waiting = _Open(self._start(fields, began, operation, name), began)
            waiting.span.set_attribute("auditwire.unpaired", "begin")
        attributes = attributes_of(fields, previews=self._previews)
        for both in ("event_id", "metadata"):  # those of the beginning stay
            if f"auditwire.{both}" in attributes:
                attributes[f"auditwire.end_{both}"] = attributes.pop(f"auditwire.{both}")
        waiting.span.set_attributes(attributes)
        judge(waiting.span, fields)
        waiting.span.end(max(at, waiting.began))

    def _model_call(self, fields: Fields, at: int) -> None:
        began = at - nanoseconds(fields)
        operation = str(fields.get("operation") or "chat")
        span = self._start(fields, began, operation, "model", SpanKind.CLIENT)
        if fields.get("finish_reason"):
            span.set_attribute("gen_ai.response.finish_reasons", [str(fields["finish_reason"])])
        judge(span, fields)
        span.end(at)

    def _add(self, kind: str, fields: Fields, at: int) -> None:
        attributes = attributes_of(fields, previews=self._previews)
        span = self._told_of(fields)
        if span is None:
            span = self._tracer.start_span(
                f"auditwire.{kind}", self._parent(fields), attributes=attributes, start_time=at
            )
            judge(span, fields)
            span.end(at)
            return
        if kind == "error":
            attributes["exception.type"] = attributes.pop("error.type", "")
            attributes["exception.message"] = attributes.pop("auditwire.error_message", "")
            if fields.get("error_context") == "turn":
                judge(span, fields)
        span.add_event("exception" if kind == "error" else f"auditwire.{kind}", attributes, at)

    def _start(
        self, fields: Fields, at: int, operation: str, name: str, kind: SpanKind = SpanKind.INTERNAL
    ) -> Span:
        attributes = attributes_of(fields, previews=self._previews)
        attributes["gen_ai.operation.name"] = operation
        if fields.get("session_id"):
            attributes["gen_ai.conversation.id"] = str(fields["session_id"])
        if fields.get("turn_id"):
            attributes["auditwire.turn_id"] = str(fields["turn_id"])
        title = f"{operation} {fields[name]}" if fields.get(name) else operation
        return self._tracer.start_span(title, self._parent(fields), kind, attributes, start_time=at)

    def _abandon(self, waiting: _Open) -> None:
        with self._lock:
            self._unpaired += 1
        waiting.span.set_attribute("auditwire.unpaired", "end")
        waiting.span.end()

    # -- what belongs to what; spans move in and out of the table under the lock only --------------------

    def _parent(self, fields: Fields) -> Context:
        """In which span a new one lies; the one that is active now may have nothing to do with it."""
        session, metadata = text_or_none(fields.get("session_id")), fields.get("metadata")
        outer_call = metadata.get(_PARENT_CALL) if isinstance(metadata, dict) else None
        turn = "parent_turn_id" if fields["event_type"] == "turn_start" else "turn_id"
        with self._lock:
            span = self._look("call", session, outer_call) or self._look("turn", session, fields.get(turn))
        span = span or _active(fields.get("trace_id"), fields.get("span_id"))
        return Context() if span is None else trace.set_span_in_context(span, Context())

    def _told_of(self, fields: Fields) -> Span | None:
        """The open span that an event without a span of its own tells of."""
        session, turn, name = (
            text_or_none(fields.get(field)) for field in ("session_id", "turn_id", "tool_name")
        )
        with self._lock:
            return (
                self._look("call", session, fields.get("tool_call_id"))
                or (self._look("named", session, turn or "", name) if name else None)
                or self._look("turn", session, turn)
            )

    def _look(self, *key: Any) -> Span | None:
        if key[-1] is None:
            return None
        waiting = self._open.get(tuple(text_or_none(part) for part in key))
        return waiting[-1].span if waiting else None

    def _take(self, key: Key, which: int = -1) -> _Open | None:
        waiting = self._open.get(key)
        if waiting is None:
            return None
        taken = waiting.pop(which)
        self._count -= 1
        if not waiting:
            del self._open[key]
        return taken


def _active(trace_id: Any, span_id: Any) -> Span | None:
    """The span whose ids the event was stamped with; the span itself while it is the active one."""
    now = trace.get_current_span()
    context = now.get_span_context()
    try:
        ids = int(str(trace_id), 16), int(str(span_id), 16)
    except ValueError:
        return None
    if (context.trace_id, context.span_id) == ids:
        return now
    # whether it was sampled is not known; that the event's own process had it is a reason to think so
    stamped = SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return NonRecordingSpan(stamped) if stamped.is_valid else None
