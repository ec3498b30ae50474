"""The OpenAI Agents SDK: in come its spans and run hooks, out go audit events.

::

    processor = AuditTracingProcessor(audit)
    set_trace_processors([processor])  # or add_trace_processor(processor), beside OpenAI's own
    await Runner.run(agent, question, hooks=processor.hooks)

The spans tell what began and ended, and how; the hooks what no span holds when it begins: the prompt, a tool
call's id and arguments. The processor works without its hooks, and then leaves those empty.

====================================== ======================================================================
span or hook                           events
====================================== ======================================================================
agent span                             ``turn_start``, ``turn_end``; ``error`` when it ends with one
... inside a function span             the same, with ``parent_turn_id`` and ``parent_agent_id``
function span                          ``tool_call_attempt``, then ``tool_call_complete``, or
                                       ``tool_call_failure`` when it ends with an error
... whose tool was never run           ``tool_call_complete`` with the status "not_run": it waits for an
                                       approval, or was refused one, or a guardrail rejected it
handoff span                           ``agent_switch``
generation, response span              ``model_call``
LLM hooks of a model without a span    ``model_call``
guardrail span                         ``tool_policy_decision``: "deny" when it was triggered, else "allow"
other spans                            none; what happens in them belongs to the turn around them
====================================== ======================================================================

``agent_id`` is the agent's name, ``session_id`` the trace's ``group_id``.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from auditwire.context import current_scope
from auditwire.errors import ConfigurationError, MissingExtraError
from auditwire.integrations.openai_agents_hooks import AuditRunHooks
from auditwire.integrations.openai_agents_values import message_of, told_by
from auditwire.integrations.runs import (
    OPEN_RUNS,
    OpenRuns,
    RunDroppedError,
    RunUnfinishedError,
    guarded,
)
from auditwire.refusals import RefusalLog

try:
    from agents import get_current_span, get_current_trace
    from agents.tracing import TracingProcessor
except ImportError as error:
    raise MissingExtraError("the adapter for the OpenAI Agents SDK", "openai-agents") from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents import Span, Trace

    from auditwire.calls import ToolCall, Turn
    from auditwire.context import Scope
    from auditwire.emitter import AuditEmitter

__all__ = ["AuditRunHooks", "AuditTracingProcessor"]

_MODEL_SPANS = ("generation", "response")


class _Run:
    """A trace or span that began."""

    __slots__ = (
        "asked_at", "began", "call", "data", "handled", "hooked", "inside", "key", "kind", "parent", "ran",
        "session_id", "turn",
    )  # fmt: skip

    def __init__(self, key: str, kind: str, data: Any, parent: _Run | None) -> None:
        self.key = key
        self.kind = kind
        self.data = data
        self.parent = parent
        self.inside: dict[str, _Run] = {}
        self.session_id: str | None = None if parent is None else parent.session_id
        # an agent that is called as a tool has hooks of its own, or none
        inner = kind == "agent" and parent is not None and parent.agent is not None
        self.hooked: bool = parent is not None and parent.hooked and not inner
        self.turn: Turn | None = None
        self.call: ToolCall | None = None
        self.ran = False
        self.asked_at: int | None = None
        self.began = time.monotonic_ns()
        # an exception that is being handled where the span begins is not what the span ends with
        self.handled = sys.exc_info()[1]

    @property
    def agent(self) -> _Run | None:
        """The agent's span that this one is, or is part of."""
        run: _Run | None = self
        while run is not None and run.kind != "agent":
            run = run.parent
        return run

    @property
    def around(self) -> Turn | ToolCall | None:
        """The turn or call that this is, or is part of; the turn or call has begun."""
        run: _Run | None = self
        while run is not None:
            if run.turn is not None or run.call is not None:
                return run.turn or run.call
            run = run.parent
        return None


class AuditTracingProcessor(TracingProcessor):
    """Audits the runs of the OpenAI Agents SDK. Thread-safe; no callback raises or waits for a broker.

    What goes wrong in it, a refused event of an emitter with ``on_error="raise"`` included, is counted in
    :attr:`failures` and logged at most once a minute: the agent does not notice.

    Args:
        audit: Where the events go. It is not closed by the SDK's shutdown.
        open_runs: How many spans that have not ended are remembered. Beyond it the oldest one is recorded as
            failed with ``RunDroppedError``, and counted in :attr:`dropped`.

    Attributes:
        hooks: For ``Runner.run(..., hooks=processor.hooks)``; one object serves any number of runs.
    """

    def __init__(self, audit: AuditEmitter, *, open_runs: int = OPEN_RUNS) -> None:
        self._audit = audit
        self._failures = RefusalLog("callbacks of the OpenAI Agents SDK that could not be audited")
        self._runs: OpenRuns[_Run] = OpenRuns(open_runs, self._drop)
        self._hooked_traces: dict[str, None] = {}
        self.hooks = AuditRunHooks(self)

    @property
    def failures(self) -> int:
        """How many callbacks raised inside, and were kept from the agent."""
        return self._failures.total

    @property
    def failure_log(self) -> RefusalLog:
        """Where the hooks count theirs too."""
        return self._failures

    @property
    def dropped(self) -> int:
        """How many spans were dropped because too many had not ended."""
        return self._runs.dropped

    @property
    def open_runs(self) -> int:
        """How many traces and spans have begun and not ended."""
        return len(self._runs)

    # -- the SDK's side ---------------------------------------------------------------------------------

    @guarded
    def on_trace_start(self, trace: Trace) -> None:
        """A workflow begins; its group is the session."""
        run = _Run(trace.trace_id, "trace", None, None)
        run.session_id = _group_of(trace)
        self._runs.add(run.key, run)

    @guarded
    def on_trace_end(self, trace: Trace) -> None:
        """A workflow ends; what is open in it is recorded as unfinished."""
        self._end(trace.trace_id, None)

    @guarded
    def on_span_start(self, span: Span[Any]) -> None:
        """Something begins. An agent's turn waits for the prompt, which its first hook brings."""
        data = span.span_data
        parent = self._runs.get(span.parent_id or span.trace_id)
        run = _Run(span.span_id, data.type, data, parent)
        if parent is None:
            # a run that is resumed, after an approval: its trace does not begin again, and its tools are run
            # before any agent is asked
            run.session_id = _group_of(get_current_trace())
            run.hooked = span.trace_id in self._hooked_traces
        if parent is not None:
            parent.inside[run.key] = run
        self._runs.add(run.key, run)
        if run.kind in _MODEL_SPANS:
            self._begin_turn(run)
            if parent is not None:
                parent.asked_at = None  # the span tells of this call, and the hook need not
        elif run.kind == "function":
            self._begin_turn(run)
            if not run.hooked:
                self._begin_call(run, "", None)

    @guarded
    def on_span_end(self, span: Span[Any]) -> None:
        """Something ends."""
        raised = sys.exc_info()[1]
        run = self._end(span.span_id, raised)
        if run is not None:
            self._close(run, None if raised is run.handled else raised, span.error)

    @guarded
    def force_flush(self) -> None:
        """Wait until what was emitted is where the collector puts it; a timeout is counted, not raised."""
        self._audit.flush()

    def shutdown(self) -> None:
        """Log what no line has told of yet. The emitter stays open: it belongs to who made it."""
        self._failures.report_rest()

    # -- the hooks' side --------------------------------------------------------------------------------

    def _current(self) -> tuple[_Run, str]:
        """The innermost span that is open in this task, and its trace's id."""
        span = get_current_span()
        run = None if span is None else self._runs.get(span.span_id)
        if span is None or run is None:
            raise ConfigurationError(
                "hooks",
                "the processor knows no span of this run: tracing is disabled, or set_trace_processors or "
                "add_trace_processor was not called with it before the run",
            )
        return run, span.trace_id

    def agent_begins(self, prompt: object) -> None:
        """By the hooks: an agent is asked."""
        run, trace_id = self._current()
        agent = run.agent
        if agent is not None:
            run.hooked = agent.hooked = True
            if agent.parent is None or agent.parent.agent is None:
                self._hooked_traces[trace_id] = None
                while len(self._hooked_traces) > OPEN_RUNS:
                    self._hooked_traces.pop(next(iter(self._hooked_traces)), None)
        self._begin_turn(run, prompt)

    def agent_answers(self, output: object) -> None:
        """By the hooks: an agent has its final output."""
        agent = self._current()[0].agent
        if agent is not None and agent.turn is not None:
            agent.turn.content = output

    def tool_begins(self, arguments: object, call_id: str | None) -> None:
        """By the hooks: a tool is run, after guardrails and approvals."""
        run, _ = self._current()
        run.ran = True
        if run.kind == "function" and run.call is None:
            self._begin_call(run, arguments, call_id)

    def model_begins(self) -> None:
        """By the hooks: a model is asked."""
        self._current()[0].asked_at = time.monotonic_ns()

    def model_answers(self, model: str, input_tokens: int, output_tokens: int) -> None:
        """By the hooks: a model has answered; nothing when a span tells of it."""
        run, _ = self._current()
        asked_at, run.asked_at = run.asked_at, None
        if asked_at is not None:
            self._audit.within(self._scope(run)).emit_model_call(
                model,
                duration_ms=(time.monotonic_ns() - asked_at) / 1e6,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
            )

    # -- beginnings -------------------------------------------------------------------------------------

    def _begin_turn(self, run: _Run, prompt: object = "") -> Turn | None:
        """The turn of the agent that this run is, or is part of; begun now unless it has."""
        agent = run.agent
        if agent is None:
            return None
        if agent.turn is None:
            agent.turn = self._audit.turn(
                prompt,
                agent_id=agent.data.name or None,
                session_id=agent.session_id,
                metadata={"openai_agents.span_id": agent.key},
                parent=None if agent.parent is None else agent.parent.around,
            )
            agent.turn.start()
        return agent.turn

    def _begin_call(self, run: _Run, arguments: object, call_id: str | None) -> ToolCall:
        around = None if run.parent is None else run.parent.around
        audit = self._audit
        if around is None and run.session_id is not None:  # outside of any agent
            audit = audit.for_session(run.session_id)
        run.call = audit.tool_call(
            run.data.name,
            arguments,
            tool_call_id=call_id or run.key,
            metadata={"openai_agents.span_id": run.key},
            parent=around,
        )
        return run.call.start()

    def _scope(self, run: _Run) -> Scope:
        self._begin_turn(run)
        around = run.around
        if around is not None:
            return around.scope
        return current_scope().with_values({"session_id": run.session_id})  # outside of any agent

    # -- ends -------------------------------------------------------------------------------------------

    def _end(self, key: str, raised: BaseException | None) -> _Run | None:
        """The run, forgotten now; what is open inside it is recorded as unfinished. None when unknown."""
        run = self._runs.pop(key)
        if run is None:
            return None
        if run.parent is not None:
            run.parent.inside.pop(key, None)
        if raised is None or raised is run.handled or isinstance(raised, Exception):
            raised = RunUnfinishedError(f"the {run.kind} around it ended first")
        self._close_inside(run, raised)  # else it was cancelled or interrupted, and all inside with it
        return run

    def _close_inside(self, run: _Run, raised: BaseException) -> None:
        for key, child in list(run.inside.items()):
            if self._runs.pop(key) is not None:
                self._close_inside(child, raised)
                self._close(child, raised, None)
        run.inside.clear()

    @guarded
    def _drop(self, run: _Run) -> None:
        if run.parent is not None:
            run.parent.inside.pop(run.key, None)
        self._close(run, RunDroppedError("too many spans had begun and not ended"), None)

    def _close(self, run: _Run, raised: BaseException | None, error: Mapping[str, Any] | None) -> None:
        if run.kind == "agent":
            self._end_turn(run, raised, error)
        elif run.kind == "function":
            self._end_call(run, raised, error)
        elif run.kind in _MODEL_SPANS:
            self._model_call(run, raised, error)
        elif run.kind == "handoff":
            self._hand_off(run, raised, error)
        elif run.kind == "guardrail":
            self._audit.within(self._scope(run)).emit_tool_policy_decision(
                "",  # it is about what an agent is asked or answers, not about a tool
                action="deny" if run.data.triggered else "allow",
                source=run.data.name,
            )

    def _end_turn(self, run: _Run, raised: BaseException | None, error: Mapping[str, Any] | None) -> None:
        turn = self._begin_turn(run)
        if turn is None:  # pragma: no cover - an agent's run is part of itself
            return
        if raised is None and error is not None:
            turn.error("SpanError", message_of(error), "turn")
        turn.finish(raised)

    def _end_call(self, run: _Run, raised: BaseException | None, error: Mapping[str, Any] | None) -> None:
        call = run.call or self._begin_call(run, run.data.input, None)
        if raised is None and error is not None:
            call.failed("SpanError", message_of(error))
        elif run.hooked and not run.ran:
            call.status = "not_run"
        call.result = run.data.output
        call.finish(raised)

    def _hand_off(self, run: _Run, raised: BaseException | None, error: Mapping[str, Any] | None) -> None:
        emitter = self._audit.within(self._scope(run))
        if run.data.to_agent:
            emitter.emit_agent_switch(run.data.from_agent or "", run.data.to_agent, reason="handoff")
        if raised is None and error is not None:
            emitter.emit_error("SpanError", message_of(error), "handoff")

    def _model_call(self, run: _Run, raised: BaseException | None, error: Mapping[str, Any] | None) -> None:
        told = told_by(run.data)
        agent = run.agent
        if agent is not None and agent.turn is not None and told.text:
            agent.turn.content = told.text  # the last answer is the turn's, unless a hook knows better
        failed = raised is not None or error is not None
        self._audit.within(self._scope(run)).emit_model_call(
            told.model,
            status="error" if failed else "success",
            duration_ms=(time.monotonic_ns() - run.began) / 1e6,
            input_tokens=told.input_tokens,
            output_tokens=told.output_tokens,
            finish_reason=told.finish_reason,
            error_type=type(raised).__name__ if raised is not None else "SpanError" if failed else "",
            metadata={"openai_agents.span_id": run.key},
        )


def _group_of(trace: Trace | None) -> str | None:
    group = getattr(trace, "group_id", None)
    return None if group is None else str(group)
