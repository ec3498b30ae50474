"""pydantic-ai: in come the hooks of an agent's runs, out go audit events.

::

    agent = Agent("...", name="planner", capabilities=[AuditCapability(audit)])

One capability serves any number of agents and runs at once, by ``run``, ``run_sync``, ``run_stream`` and
``iter``; it can also be given to a single run.

====================================== ======================================================================
what happens                           events
====================================== ======================================================================
a run begins, ends                     ``turn_start``, ``turn_end``
... fails or is cancelled              ``error``, ``turn_end``
a run inside a tool (delegation)       the same, with ``parent_turn_id`` and ``parent_agent_id``
a tool, or an output function, is run  ``tool_call_attempt``, ``tool_call_complete``
... raises; asks the model to retry    ``tool_call_attempt``, ``tool_call_failure`` (``ToolRetryError``)
... is called with wrong arguments     the same: the tool did not run
... is deferred                        ``tool_call_complete`` with the status "deferred"
... needs approval                     ``tool_policy_decision`` (ask), ``tool_call_complete`` with the status
                                       "approval_required"
... is skipped by another capability   ``tool_call_complete`` with the status "skipped"
a model answers, or fails for good     ``model_call``; what is tried again within one request is one
====================================== ======================================================================

====================================== ======================================================================
of the run                             field
====================================== ======================================================================
run_id                                 turn_id
name of the agent                      agent_id, where the capability was given none; else the emitter's
conversation_id                        session_id, where neither context nor emitter has one; always in
                                       metadata ``pydantic_ai.conversation_id``
prompt, output                         prompt, content; rendered and redacted as the emitter does
tool_call_id                           tool_call_id
number of the retry                    metadata ``pydantic_ai.retry``, from the first retry on
====================================== ======================================================================
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

from auditwire.context import current_scope
from auditwire.errors import MissingExtraError
from auditwire.integrations.blocks import guarded_block
from auditwire.refusals import RefusalLog

try:
    from pydantic import ValidationError
    from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering, Instrumentation
    from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry, SkipToolExecution
except ImportError as error:
    raise MissingExtraError("the capability for pydantic-ai (2 or later)", "pydantic-ai") from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic_ai import RunContext
    from pydantic_ai.capabilities.abstract import (
        RawToolArgs,
        ValidatedToolArgs,
        WrapModelRequestHandler,
        WrapOutputProcessHandler,
        WrapRunHandler,
        WrapToolExecuteHandler,
        WrapToolValidateHandler,
    )
    from pydantic_ai.messages import ModelResponse, ToolCallPart
    from pydantic_ai.models import ModelRequestContext
    from pydantic_ai.output import OutputContext
    from pydantic_ai.run import AgentRunResult
    from pydantic_ai.tools import ToolDefinition

    from auditwire.calls import ToolCall, Turn
    from auditwire.emitter import AuditEmitter

__all__ = ["AuditCapability"]


class AuditCapability(AbstractCapability[Any]):
    """Makes audit events of what agents do. An agent goes on when the audit trail fails.

    Args:
        audit: Where the events go.
        agent_id: The agent's id in the events; the agent's own name, else the emitter's, when left out.

    Raises:
        MissingExtraError: pydantic-ai 2 or later is not installed; by the import of this module.
    """

    def __init__(self, audit: AuditEmitter, *, agent_id: str | None = None) -> None:
        self._audit = audit
        self._agent_id = agent_id
        self._failures = RefusalLog("audit events of pydantic-ai agents that could not be made")
        self._turn: Turn | None = None  # of the run that a copy is for

    @property
    def failures(self) -> int:
        """How often something failed here: a refusal of an emitter that raises, or an odd value."""
        return self._failures.total

    @classmethod
    def get_serialization_name(cls) -> str | None:
        """None: an emitter cannot be written into an agent's specification."""
        return None

    def get_ordering(self) -> CapabilityOrdering:
        """Outside of everything that mends or retries, inside of the spans, whose ids the events take."""
        return CapabilityOrdering(position="outermost", wrapped_by=[Instrumentation])

    async def for_run(self, ctx: RunContext[Any]) -> AuditCapability:  # noqa: ARG002 - the framework's
        """A copy that knows the turn of its run: hooks may be called in other contexts than the run's."""
        return copy.copy(self)

    async def wrap_run(self, ctx: RunContext[Any], *, handler: WrapRunHandler) -> AgentRunResult[Any]:
        """A run is a turn."""
        agent = self._agent_id or (ctx.agent.name if ctx.agent is not None else None)
        session = current_scope().session_id or self._audit.session_id or ctx.conversation_id
        metadata = {"pydantic_ai.conversation_id": ctx.conversation_id} if ctx.conversation_id else None
        turn = self._audit.turn(
            "" if ctx.prompt is None else ctx.prompt,
            agent_id=agent,
            turn_id=ctx.run_id,
            session_id=session,
            metadata=metadata,
        )
        with guarded_block(turn, self._failures):
            self._turn = turn
            result = await handler()
            turn.content = result.output
            return result

    async def wrap_model_request(
        self,
        ctx: RunContext[Any],  # noqa: ARG002 - the framework's
        *,
        request_context: ModelRequestContext,
        handler: WrapModelRequestHandler,
    ) -> ModelResponse:
        """A request to a model, with what is tried again within it."""
        model = request_context.model
        began = time.monotonic_ns()
        try:
            response = await handler(request_context)
        except BaseException as error:
            self._model_call(
                model.model_name,
                provider=model.system,
                status="error",
                duration_ms=(time.monotonic_ns() - began) / 1e6,
                error_type=type(error).__name__,
            )
            raise
        self._model_call(
            response.model_name or model.model_name,
            provider=response.provider_name or model.system,
            duration_ms=(time.monotonic_ns() - began) / 1e6,
            input_tokens=response.usage.input_tokens,
            output_tokens=response.usage.output_tokens,
            finish_reason=response.finish_reason or "",
        )
        return response

    async def wrap_tool_validate(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,  # noqa: ARG002 - the framework's
        args: RawToolArgs,
        handler: WrapToolValidateHandler,
    ) -> ValidatedToolArgs:
        """Arguments that do not fit end the call before it is run, and are a failure of it."""
        try:
            return await handler(args)
        except (ValidationError, ModelRetry) as error:
            with guarded_block(
                self._call(ctx, call.tool_name, args, call.tool_call_id), self._failures
            ) as told:
                told.failed(type(error).__name__, _message(error))
            raise

    async def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,  # noqa: ARG002 - the framework's
        args: ValidatedToolArgs,
        handler: WrapToolExecuteHandler,
    ) -> Any:
        """A tool is run."""
        return await self._run(self._call(ctx, call.tool_name, args, call.tool_call_id), handler, args)

    async def wrap_output_process(
        self,
        ctx: RunContext[Any],
        *,
        output_context: OutputContext,
        output: Any,
        handler: WrapOutputProcessHandler,
    ) -> Any:
        """An output function is run; without one, the output is what the model said, and nothing is run."""
        if not output_context.has_function:
            return await handler(output)
        asked = output_context.tool_call
        name = asked.tool_name if asked is not None else output_context.function_name or "output_function"
        call = self._call(ctx, name, output, None if asked is None else asked.tool_call_id)
        return await self._run(call, handler, output)

    # -- events -----------------------------------------------------------------------------------------

    def _call(self, ctx: RunContext[Any], name: str, args: Any, call_id: str | None) -> ToolCall:
        metadata = {"pydantic_ai.retry": ctx.retry} if ctx.retry else None
        return self._audit.tool_call(
            name, args, tool_call_id=call_id or None, metadata=metadata, parent=self._turn
        )

    async def _run(self, call: ToolCall, handler: Callable[[Any], Awaitable[Any]], args: Any) -> Any:
        signal: Exception
        with guarded_block(call, self._failures):
            try:
                call.result = result = await handler(args)
            except CallDeferred as deferred:
                signal, call.status = deferred, "deferred"
            except ApprovalRequired as approval:
                signal = approval
                self._ask(call)
            except SkipToolExecution as skipped:
                signal, call.status, call.result = skipped, "skipped", skipped.result
            else:
                return result
        raise signal  # out of the block, for it is no failure of the tool

    def _ask(self, call: ToolCall) -> None:
        call.status = "approval_required"
        try:
            call.asked("pydantic-ai")
        except Exception as error:  # noqa: BLE001 - an emitter that raises must not break the run
            self._failures.add(call, error)

    def _model_call(self, model: str, **fields: Any) -> None:
        try:
            if self._turn is None:
                self._audit.emit_model_call(model, **fields)
            else:
                self._turn.model_call(model, **fields)
        except Exception as error:  # noqa: BLE001 - as above
            self._failures.add(self, error)


def _message(error: ValidationError | ModelRetry) -> str:
    """What was wrong; of arguments without their values, which are nobody's to redact here."""
    if isinstance(error, ModelRetry):
        return error.message
    return "; ".join(
        f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}" for wrong in error.errors(include_input=False)
    )
