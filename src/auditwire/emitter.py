"""AuditEmitter: the vocabulary in which an agent says what it does.

In come plain arguments, one method for each event type; out go finished events, by way of
:class:`~auditwire.emitter_base.EmitterBase`, to the collector.

What all ``emit_*`` methods share:

- ``agent_id`` is the emitter's own when left out; ``turn_id`` ties the events of one turn together.
- ``tool_call_id`` (where there is one) ties attempt, decisions and outcome of one tool call together.
- ``metadata`` is copied: a mapping of anything, which the trail keeps as JSON.
- A parameter typed ``object`` is rendered to text, as :mod:`auditwire.render` says; any object will do.
  The event keeps the first ``preview_chars`` characters, the full text's length in characters and, with
  ``digests``, its digest.
- Nothing is raised but, with ``on_error="raise"``, the collector's refusal of the event.
- Names, order and defaults of the positional parameters are a public contract; what is new comes
  keyword-only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from auditwire import events
from auditwire.calls import ToolCall, Turn
from auditwire.emitter_base import metadata_dict, string_list
from auditwire.emitter_tools import ToolEmitter
from auditwire.event_base import Maker
from auditwire.ids import turn_id as new_turn_id
from auditwire.tooling import tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["AuditEmitter"]

F = TypeVar("F", bound="Callable[..., Any]")


class _Make:
    """One for each type that an ``emit_*`` method makes."""

    turn_start = Maker(events.TurnStartEvent)
    turn_end = Maker(events.TurnEndEvent)
    error = Maker(events.ErrorEvent)
    agent_switch = Maker(events.AgentSwitchEvent)
    skill_used = Maker(events.SkillUsedEvent)
    skill_authored = Maker(events.SkillAuthoredEvent)
    skill_feedback = Maker(events.SkillFeedbackEvent)
    model_call = Maker(events.ModelCallEvent)


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
        digests: ``"sha256"`` or a :class:`~auditwire.render_digest.DigestKey`: each event with a preview also
            keeps a digest of the full text, plain or keyed. None: no digests. Plain ones of short texts can
            be found by trying.
        redact: Called with the full text of each prompt, argument, answer and result (JSON where it was a
            structure) before it is measured, hashed and cut; returns what may be kept. When it raises, the
            event shows ``<redaction failed>``, has no digest, and ``redaction_failures`` counts it. It is not
            called for what is given as plain fields: names, reasons, error messages, metadata.

    Raises:
        ConfigurationError: ``on_error``, ``preview_chars``, ``digests`` or ``redact`` is none of these.
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
        kept = metadata_dict(metadata)
        text, length, digest = self._preview(prompt, kept)
        self.emit(
            _Make.turn_start(
                agent_id=agent_id,
                turn_id=turn,
                metadata=kept,
                prompt_preview=text,
                prompt_length=length,
                prompt_digest=digest,
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
        kept = metadata_dict(metadata)
        text, length, digest = self._preview(content, kept)
        self.emit(
            _Make.turn_end(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=kept,
                content_preview=text,
                content_length=length,
                content_digest=digest,
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
            _Make.error(
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
            _Make.agent_switch(
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
            _Make.skill_used(
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
            _Make.skill_authored(
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
            _Make.skill_feedback(
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
            _Make.model_call(
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

    # -- turns and tool calls as blocks -----------------------------------------------------------------

    def turn(
        self,
        prompt: object = "",
        *,
        agent_id: str | None = None,
        turn_id: str | None = None,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        parent: Turn | ToolCall | None = None,
    ) -> Turn:
        """A turn as a block: ``turn_start`` at its beginning, ``turn_end`` at its end, also when it raises.

        ::

            with audit.turn(prompt=prompt, agent_id="planner") as turn:
                turn.content = answer(prompt)

        ``async with`` works too. Session, agent and turn reach every emit below it by a context variable. A
        turn inside a turn is a sub-agent's: its ``parent_turn_id`` and ``parent_agent_id`` are filled in.
        Where a block cannot be had, ``start()`` and ``finish(error)`` do the same without touching the
        context.

        Args:
            prompt: What the agent was given; rendered.
            agent_id: The agent whose turn it is.
            turn_id: 12 lower-case hex digits are made when none is given.
            session_id: For this turn and all below it.
            metadata: For ``turn_start``.
            parent: What it happens in, where the context does not tell (callbacks on other threads).
        """
        return Turn(
            self,
            prompt,
            agent_id=agent_id,
            turn_id=turn_id,
            session_id=session_id,
            metadata=metadata,
            parent=parent,
        )

    def tool_call(
        self,
        tool_name: str,
        args: object = "",
        *,
        tool_call_id: str | None = None,
        agent_id: str | None = None,
        turn_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        parent: Turn | ToolCall | None = None,
    ) -> ToolCall:
        """A tool call as a block: attempt, then exactly one of complete and failure; exceptions go on.

        ::

            with audit.tool_call("search", args={"q": q}) as call:
                call.result = search(q)

        ``async with`` works too; the rest is as for :meth:`turn`. ``call.denied(...)``,
        ``call.sandboxed(...)`` and their like say what was decided about it.

        Args:
            tool_name: The tool.
            args: What it is called with; rendered.
            tool_call_id: The framework's own id; one is made when none is given.
            agent_id: The agent that calls.
            turn_id: The turn that it is part of.
            metadata: For the attempt.
            parent: What it happens in, where the context does not tell (callbacks on other threads).
        """
        return ToolCall(
            self,
            tool_name,
            args,
            tool_call_id=tool_call_id,
            agent_id=agent_id,
            turn_id=turn_id,
            metadata=metadata,
            parent=parent,
        )

    @overload
    def tool(self, function: F, /) -> F: ...

    @overload
    def tool(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        arguments: bool = True,
        result: bool = True,
    ) -> Callable[[F], F]: ...

    def tool(
        self,
        function: F | None = None,
        /,
        *,
        name: str | None = None,
        arguments: bool = True,
        result: bool = True,
    ) -> F | Callable[[F], F]:
        """``@audit.tool``, ``@audit.tool(name=...)``: each call of the function is a tool call in the trail.

        Takes a def, async def, generator or async generator, and gives one that behaves the same.

        Args:
            function: The function.
            name: The tool's name; the function's own when left out.
            arguments: False keeps the arguments out of the trail.
            result: False keeps the result out of it.
        """

        def audited(function: F) -> F:
            return tool(self, function, name, arguments=arguments, result=result)

        return audited if function is None else audited(function)
