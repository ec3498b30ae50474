"""AuditEmitter: the vocabulary in which an agent says what it does.

In come plain arguments, one method for each event type; out go finished events, by way of
:class:`~auditwire.emitter_base.EmitterBase`, to the collector.

What all ``emit_*`` methods share:

- ``agent_id`` is the emitter's own when left out; ``turn_id`` ties the events of one turn together.
- ``tool_call_id`` (where there is one) ties attempt, decisions and outcome of one tool call together.
- ``metadata`` is copied: a mapping of anything, which the trail keeps as JSON.
- A parameter typed ``object`` is rendered: text as it is, None as "", anything else by ``str()``. The event
  keeps the first ``preview_chars`` characters, and the full length in characters.
- Nothing is raised but, with ``on_error="raise"``, the collector's refusal of the event.
- Names, order and defaults of the positional parameters are a public contract; what is new comes
  keyword-only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditwire import events
from auditwire.emitter_base import metadata_dict, string_list
from auditwire.emitter_tools import ToolEmitter
from auditwire.ids import turn_id as new_turn_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["AuditEmitter"]


class AuditEmitter(ToolEmitter):
    """Makes events and hands them to a collector. Thread-safe; no lock is held around the collector.

    ::

        with AuditEmitter(KafkaCollector("localhost:9092"), session_id="s-1", agent_id="planner") as audit:
            turn = audit.emit_turn_start(prompt=prompt)
            audit.emit_tool_call_attempt("search", args=query, turn_id=turn)

    ``with`` and ``async with`` close the collector at the end.

    Args:
        collector: Where the events go; an ``InMemoryCollector`` of its own when left out.
        session_id: Filled in where an event names no session. So are ``agent_id``, ``principal_id`` (on whose
            behalf the agent acts), ``principal_type`` (user, service, system) and ``tenant_id``.
        on_error: What a refused event does. ``"log"``: it is counted (``refused``) and logged by the logger
            ``auditwire``, at most once a minute; the agent does not notice. ``"raise"``: the caller gets the
            collector's error.
        preview_chars: How many characters of a prompt, argument or result an event keeps.

    Raises:
        ConfigurationError: ``on_error`` or ``preview_chars`` is none of these.
    """

    def emit_turn_start(
        self,
        agent_id: str | None = None,
        turn_id: str | None = None,
        prompt: object = "",
        *,
        parent_turn_id: str | None = None,
        parent_agent_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """A turn begins: the agent was given a prompt.

        Args:
            agent_id: The agent whose turn it is.
            turn_id: 12 lower-case hex digits are made when none is given.
            prompt: What the agent was given; rendered.
            parent_turn_id: The turn that started this one, in a hand-off or sub-agent.
            parent_agent_id: The agent of that turn.
            metadata: See the module.

        Returns:
            The turn's id.
        """
        turn = new_turn_id() if turn_id is None else turn_id
        text, length = self._preview(prompt)
        self.emit(
            events.TurnStartEvent(
                agent_id=agent_id,
                turn_id=turn,
                metadata=metadata_dict(metadata),
                prompt_preview=text,
                prompt_length=length,
                parent_turn_id=parent_turn_id,
                parent_agent_id=parent_agent_id,
            )
        )
        return turn

    def emit_turn_end(
        self,
        agent_id: str | None = None,
        turn_id: str | None = None,
        content: object = "",
        fc_count: int = 0,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A turn ended with an answer (``content``, rendered) after ``fc_count`` function calls."""
        text, length = self._preview(content)
        self.emit(
            events.TurnEndEvent(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                content_preview=text,
                content_length=length,
                function_calls_count=fc_count,
            )
        )

    def emit_error(
        self,
        error_type: str = "",
        error_msg: str = "",
        context: str = "",
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        severity: str = "error",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Something failed outside of a tool call; ``context`` says where."""
        self.emit(
            events.ErrorEvent(
                agent_id=agent_id,
                turn_id=turn_id,
                severity=severity,
                metadata=metadata_dict(metadata),
                error_type=error_type,
                error_message=error_msg,
                error_context=context,
            )
        )

    def emit_agent_switch(
        self,
        from_agent: str,
        to_agent: str,
        reason: str = "",
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """One agent handed over to another."""
        self.emit(
            events.AgentSwitchEvent(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                from_agent=from_agent,
                to_agent=to_agent,
                reason=reason,
            )
        )

    def emit_skill_used(
        self,
        skill_name: str,
        version: str = "",
        outcome: str = "unknown",
        duration_ms: float = 0.0,
        triggered_automatically: bool = True,
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A skill ran for ``duration_ms`` milliseconds, chosen by the agent itself or by the user."""
        self.emit(
            events.SkillUsedEvent(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                skill_name=skill_name,
                version=version,
                outcome=outcome,
                duration_ms=duration_ms,
                triggered_automatically=triggered_automatically,
            )
        )

    def emit_skill_authored(
        self,
        skill_name: str,
        version: str = "",
        source_path: str = "",
        tool_count: int = 0,
        unique_tools: Iterable[str] | None = None,
        confirmed_by_user: bool = False,
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A skill was written, from ``tool_count`` tool calls of the tools in ``unique_tools``."""
        self.emit(
            events.SkillAuthoredEvent(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                skill_name=skill_name,
                version=version,
                source_path=source_path,
                tool_count=tool_count,
                unique_tools=string_list(unique_tools),
                confirmed_by_user=confirmed_by_user,
            )
        )

    def emit_skill_feedback(
        self,
        skill_name: str,
        rating: str = "neutral",
        reason: str = "",
        source: str = "user",
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A skill was rated, by ``source``."""
        self.emit(
            events.SkillFeedbackEvent(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                skill_name=skill_name,
                rating=rating,
                reason=reason,
                source=source,
            )
        )

    def emit_model_call(
        self,
        model: str,
        provider: str = "",
        operation: str = "chat",
        status: str = "success",
        duration_ms: float = 0.0,
        input_tokens: int = 0,
        output_tokens: int = 0,
        finish_reason: str = "",
        error_type: str = "",
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A model was called: ``duration_ms`` milliseconds, tokens as the provider counts them."""
        self.emit(
            events.ModelCallEvent(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                model=model,
                provider=provider,
                operation=operation,
                status=status,
                duration_ms=duration_ms,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                finish_reason=finish_reason,
                error_type=error_type,
            )
        )
