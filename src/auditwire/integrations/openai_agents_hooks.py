# ruff: noqa: ARG002 - the SDK says what a hook is given
"""Run hooks of the OpenAI Agents SDK: in come its calls, out go prompts, arguments and ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditwire.errors import MissingExtraError
from auditwire.integrations.runs import count_of, first_text, guarded_async

try:
    from agents import RunHooks
except ImportError as error:
    raise MissingExtraError("the adapter for the OpenAI Agents SDK", "openai-agents") from error

if TYPE_CHECKING:
    from auditwire.integrations.openai_agents import AuditTracingProcessor
    from auditwire.refusals import RefusalLog

__all__ = ["AuditRunHooks"]


class AuditRunHooks(RunHooks[Any]):
    """What spans do not hold when they begin: the ``hooks`` of an ``AuditTracingProcessor``.

    With hooks of your own: subclass this and call ``super()``, or call these methods from yours.
    """

    def __init__(self, processor: AuditTracingProcessor) -> None:
        self._processor = processor

    @property
    def _failures(self) -> RefusalLog:
        return self._processor.failure_log

    @guarded_async
    async def on_agent_start(self, context: Any, agent: Any) -> None:
        """The prompt: the last item of what the agent is given."""
        items = getattr(context, "turn_input", None)
        self._processor.agent_begins(items[-1] if isinstance(items, list) and items else items)

    @guarded_async
    async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
        """The answer."""
        self._processor.agent_answers(output)

    @guarded_async
    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        """A tool call's arguments, and the model's id for it."""
        arguments = getattr(context, "tool_arguments", None)
        self._processor.tool_begins(arguments, first_text(getattr(context, "tool_call_id", None)) or None)

    @guarded_async
    async def on_llm_start(self, context: Any, agent: Any, system_prompt: Any, input_items: Any) -> None:
        """A model is asked."""
        self._processor.model_begins()

    @guarded_async
    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        """A model has answered."""
        model = agent.model if isinstance(agent.model, str) else type(agent.model).__name__
        usage = response.usage
        self._processor.model_answers(model, count_of(usage.input_tokens), count_of(usage.output_tokens))
