"""OpenTelemetry: in come spans by the GenAI conventions, whoever makes them, out go audit events.

::

    provider.add_span_processor(AuditSpanProcessor(audit))

====================================== ======================================================================
``gen_ai.operation.name`` of the span  events
====================================== ======================================================================
invoke_agent                           ``turn_start``, ``turn_end``; before it ``error``, when it failed
execute_tool                           ``tool_call_attempt``; ``tool_call_complete`` or ``tool_call_failure``
chat, text_completion, embeddings,     ``model_call``
generate_content
any other (create_agent, ...)          ``custom`` of the type ``gen_ai.{operation}``
none                                   none; what happens in it belongs to the turn around it
====================================== ======================================================================

====================================== ======================================================================
attribute                              field
====================================== ======================================================================
the span's id; that of the next        turn_id; parent_turn_id
``invoke_agent`` around it
gen_ai.agent.name, gen_ai.agent.id     agent_id; else the turn's
gen_ai.conversation.id                 session_id; else the turn's, else the emitter's
gen_ai.tool.name, gen_ai.tool.call.id  tool_name, tool_call_id (without one: the span's id)
gen_ai.tool.call.arguments, .result    arguments, result; rendered and redacted as the emitter does
gen_ai.input.messages, output.messages prompt, content; likewise
gen_ai.request.model, response.model   model
gen_ai.provider.name, gen_ai.system    provider
gen_ai.usage.input_tokens, .output_... input_tokens, output_tokens
gen_ai.response.finish_reasons         finish_reason
error.type, status, exception          error_type, error_message
====================================== ======================================================================

The time of an event is the span's own; ``trace_id`` and ``span_id`` are the span's. Spans that
``OTelCollector`` makes are left out: an event does not come back as an event.

Only spans that are sampled, and are made in this process, come here: where the audit trail is to be complete,
sample all of them or instrument the agent itself. Attributes that are set after the span's start are seen at
the first span below it, or at its end; so a prompt may be missing in ``turn_start``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from auditwire import events, forksafe
from auditwire.errors import FlushTimeout, MissingExtraError
from auditwire.integrations.runs import OPEN_RUNS, OpenRuns, count_of, first_text, guarded
from auditwire.jsonable import json_line
from auditwire.refusals import RefusalLog

try:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import StatusCode

    from auditwire.collectors.otel import TRACER_NAME
except ImportError as error:
    raise MissingExtraError("AuditSpanProcessor", "otel") from error

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from auditwire.emitter import AuditEmitter

__all__ = ["AuditSpanProcessor"]

_TURN, _TOOL = "invoke_agent", "execute_tool"
_MODEL = ("chat", "text_completion", "generate_content", "embeddings")


class _Run:
    """A span that has not ended."""

    __slots__ = ("agent", "begun", "calls", "id", "outer", "session", "span")

    def __init__(self, span: Span, outer: _Run | None) -> None:
        self.span = span
        self.outer = outer  # the turn around it
        self.id = _ids(span)[1]
        self.begun = False
        self.agent: str | None = None
        self.session: str | None = None
        self.calls = 0


class AuditSpanProcessor(SpanProcessor):
    """Turns GenAI spans into audit events. Thread-safe; never raises into the program that makes the spans.

    Args:
        audit: Where the events go. It stays open when the tracer provider is shut down.
        max_open: How many spans are remembered until their ends. The end of one that was forgotten is an
            event nevertheless, without the turn that it was part of.

    Raises:
        MissingExtraError: The OpenTelemetry SDK is not installed; by the import of this module.
    """

    def __init__(self, audit: AuditEmitter, *, max_open: int = OPEN_RUNS) -> None:
        self._audit = audit
        self._runs: OpenRuns[_Run] = OpenRuns(max_open, lambda _: None)
        self._lock = threading.RLock()
        self._failures = RefusalLog("spans that became no audit event")
        forksafe.register(self)

    @property
    def failures(self) -> int:
        """How many events could not be made of spans, or were refused while the emitter raises."""
        return self._failures.total

    @property
    def dropped(self) -> int:
        """How many spans were forgotten before their ends."""
        return self._runs.dropped

    @guarded
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's
        """A span begins."""
        if _is_ours(span):
            return
        around = None if span.parent is None else self._runs.get(span.parent.span_id)
        if around is not None:
            self._begin(around)  # its operation may have been set after its start
            if _operation(around.span) != _TURN:
                around = around.outer
        run = _Run(span, around)
        self._runs.add(int(run.id, 16), run)
        self._begin(run)

    @guarded
    def on_end(self, span: ReadableSpan) -> None:
        """A span ended."""
        if _is_ours(span):
            return
        run = self._runs.pop(int(_ids(span)[1], 16))
        if run is not None:
            self._begin(run)
        operation = _operation(span)
        if operation == _TURN:
            self._end_turn(span, run)
        elif operation == _TOOL:
            self._end_call(span, run)
        elif operation in _MODEL:
            self._model_call(span, run, operation)
        elif operation:
            self._other(span, run, operation)

    def shutdown(self) -> None:
        """The tracer provider is shut down; the emitter stays open."""
        self._failures.report_rest()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the emitter.

        Returns:
            False when not everything got there in time, or the flush failed.
        """
        try:
            self._audit.flush(timeout_millis / 1000)
        except FlushTimeout:
            return False
        except Exception as error:  # noqa: BLE001 - the program that flushes its traces must not break
            self._failures.add(self, error)
            return False
        return True

    def after_fork(self) -> None:
        """See :mod:`auditwire.forksafe`."""
        self._lock = forksafe.usable_lock(self._lock)

    # -- events -----------------------------------------------------------------------------------------

    def _begin(self, run: _Run) -> None:
        """Emit the beginning, once, as soon as the span says what it is."""
        operation = _operation(run.span)
        if operation not in (_TURN, _TOOL):
            return
        with self._lock:
            if run.begun:
                return
            run.begun = True
            if operation == _TOOL and run.outer is not None:
                run.outer.calls += 1
        if operation == _TURN:
            self._begin_turn(run)
        else:
            self._begin_call(run)

    def _begin_turn(self, run: _Run) -> None:
        span, outer = run.span, run.outer
        common = _common(span, outer)
        run.agent, run.session = common["agent_id"], common["session_id"]
        common["turn_id"] = run.id
        text, length, digest = self._preview(_attribute(span, "gen_ai.input.messages"), common)
        self._emit(
            events.TurnStartEvent(
                **common,
                timestamp_us=_microseconds(span.start_time),
                prompt_preview=text,
                prompt_length=length,
                prompt_digest=digest,
                parent_turn_id=None if outer is None else outer.id,
                parent_agent_id=None if outer is None else outer.agent,
            )
        )

    def _begin_call(self, run: _Run) -> None:
        common = _common(run.span, run.outer)
        text, length, digest = self._preview(_attribute(run.span, "gen_ai.tool.call.arguments"), common)
        self._emit(
            events.ToolCallAttemptEvent(
                **common,
                timestamp_us=_microseconds(run.span.start_time),
                tool_name=_tool(run.span),
                arguments_preview=text,
                arguments_length=length,
                arguments_digest=digest,
                tool_call_id=_call_id(run.span),
            )
        )

    def _end_turn(self, span: ReadableSpan, run: _Run | None) -> None:
        common = _common(span, None if run is None else run.outer)
        common["turn_id"] = _ids(span)[1]
        at = _microseconds(span.end_time)
        failure = _failure(span)
        if failure is not None:
            self._emit(
                events.ErrorEvent(
                    **{**common, "metadata": {}},
                    timestamp_us=at,
                    error_type=failure[0],
                    error_message=failure[1],
                    error_context="turn",
                )
            )
        text, length, digest = self._preview(_attribute(span, "gen_ai.output.messages"), common)
        self._emit(
            events.TurnEndEvent(
                **common,
                timestamp_us=at,
                content_preview=text,
                content_length=length,
                content_digest=digest,
                function_calls_count=0 if run is None else run.calls,
            )
        )

    def _end_call(self, span: ReadableSpan, run: _Run | None) -> None:
        common = _common(span, None if run is None else run.outer)
        at, call_id = _microseconds(span.end_time), _call_id(span)
        failure = _failure(span)
        if failure is not None:
            common["metadata"]["duration_ms"] = _milliseconds(span)
            self._emit(
                events.ToolCallFailureEvent(
                    **common,
                    timestamp_us=at,
                    tool_name=_tool(span),
                    error_type=failure[0],
                    error_message=failure[1],
                    tool_call_id=call_id,
                )
            )
            return
        text, length, digest = self._preview(_attribute(span, "gen_ai.tool.call.result"), common)
        self._emit(
            events.ToolCallCompleteEvent(
                **common,
                timestamp_us=at,
                tool_name=_tool(span),
                duration_ms=_milliseconds(span),
                result_preview=text,
                result_length=length,
                result_digest=digest,
                tool_call_id=call_id,
            )
        )

    def _model_call(self, span: ReadableSpan, run: _Run | None, operation: str) -> None:
        failure = _failure(span)
        reasons = _attribute(span, "gen_ai.response.finish_reasons")
        self._emit(
            events.ModelCallEvent(
                **_common(span, None if run is None else run.outer),
                timestamp_us=_microseconds(span.end_time),
                model=_text(span, "gen_ai.request.model", "gen_ai.response.model"),
                provider=_text(span, "gen_ai.provider.name", "gen_ai.system"),
                operation=operation,
                status="success" if failure is None else "error",
                duration_ms=_milliseconds(span),
                input_tokens=count_of(_attribute(span, "gen_ai.usage.input_tokens")),
                output_tokens=count_of(_attribute(span, "gen_ai.usage.output_tokens")),
                finish_reason=",".join(map(str, reasons)) if isinstance(reasons, (tuple, list)) else "",
                error_type="" if failure is None else failure[0],
            )
        )

    def _other(self, span: ReadableSpan, run: _Run | None, operation: str) -> None:
        failure = _failure(span)
        payload = {  # not all attributes: they may hold content, which would escape the emitter's redaction
            "operation": operation,
            "name": span.name,
            "model": _text(span, "gen_ai.request.model"),
            "provider": _text(span, "gen_ai.provider.name", "gen_ai.system"),
            "duration_ms": _milliseconds(span),
            "error_type": "" if failure is None else failure[0],
        }
        self._emit(
            events.CustomEvent(
                **_common(span, None if run is None else run.outer),
                timestamp_us=_microseconds(span.end_time),
                custom_type=f"gen_ai.{operation}",
                payload=json_line(payload),
            )
        )

    def _preview(self, value: Any, common: dict[str, Any]) -> tuple[str, int, str | None]:
        # the emitter's own: with its length of previews, redaction and digests
        return self._audit._preview("" if value is None else value, common["metadata"])  # noqa: SLF001

    def _emit(self, event: events.AuditEvent) -> None:
        try:
            self._audit.emit(event)
        except Exception as error:  # noqa: BLE001 - an emitter that raises must not end the program's span
            self._failures.add(event, error)


def _is_ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == TRACER_NAME


def _attribute(span: ReadableSpan, name: str) -> Any:
    return None if span.attributes is None else span.attributes.get(name)


def _text(span: ReadableSpan, *names: str) -> str:
    return first_text(*(_attribute(span, name) for name in names))


def _operation(span: ReadableSpan) -> str:
    return _text(span, "gen_ai.operation.name")


def _tool(span: ReadableSpan) -> str:
    return _text(span, "gen_ai.tool.name") or span.name


def _ids(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    if context is None:
        raise ValueError("a span without a context")
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def _call_id(span: ReadableSpan) -> str:
    return _text(span, "gen_ai.tool.call.id") or _ids(span)[1]


def _common(span: ReadableSpan, outer: _Run | None) -> dict[str, Any]:
    """What every event made of the span has; None where the context or the emitter is to fill in."""
    trace_id, span_id = _ids(span)
    agent = _text(span, "gen_ai.agent.name", "gen_ai.agent.id")
    session = _text(span, "gen_ai.conversation.id")
    return {
        "agent_id": agent or (None if outer is None else outer.agent),
        "session_id": session or (None if outer is None else outer.session),
        "turn_id": None if outer is None else outer.id,
        "trace_id": trace_id,
        "span_id": span_id,
        "metadata": {},
    }


def _failure(span: ReadableSpan) -> tuple[str, str] | None:
    """Class and message of the error that the span ended with, from wherever it says so."""
    named = _text(span, "error.type")
    if span.status.status_code is not StatusCode.ERROR and not named:
        return None
    raised = next((event.attributes for event in reversed(span.events) if event.name == "exception"), None)
    kind = named or first_text((raised or {}).get("exception.type"))
    message = first_text((raised or {}).get("exception.message"), span.status.description)
    return kind or "error", message


def _microseconds(nanoseconds: int | None) -> int:
    return events.now_us() if nanoseconds is None else nanoseconds // 1_000


def _milliseconds(span: ReadableSpan) -> float:
    if span.start_time is None or span.end_time is None:
        return 0.0
    return max(0, span.end_time - span.start_time) / 1e6
