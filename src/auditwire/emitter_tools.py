"""The part of the emitter's vocabulary that is about tool calls: attempt, decisions about it, outcome.

What all ``emit_*`` methods share stands in :mod:`auditwire.emitter`. ``tool_call_id`` ties the events of one
call together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditwire import events
from auditwire.emitter_base import EmitterBase, metadata_dict
from auditwire.event_base import Maker

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ToolEmitter"]


class _Make:
    """One for each type that an ``emit_*`` method makes."""

    tool_call_attempt = Maker(events.ToolCallAttemptEvent)
    tool_call_complete = Maker(events.ToolCallCompleteEvent)
    tool_call_failure = Maker(events.ToolCallFailureEvent)
    tool_policy_decision = Maker(events.ToolPolicyDecisionEvent)
    tool_loop_warning = Maker(events.ToolLoopWarningEvent)
    tool_loop_block = Maker(events.ToolLoopBlockEvent)
    sandbox_decision = Maker(events.SandboxDecisionEvent)
    hook_mutation = Maker(events.HookMutationEvent)
    approval = Maker(events.ApprovalEvent)


class ToolEmitter(EmitterBase):
    """An emitter that can speak of tool calls only; see :class:`auditwire.emitter.AuditEmitter`."""

    def emit_tool_call_attempt(
        self,
        tool_name: str,
        args: object = "",
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A tool is about to be called with ``args`` (rendered)."""
        kept = metadata_dict(metadata)
        text, length, digest = self._preview(args, kept)
        self.emit(
            _Make.tool_call_attempt(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=kept,
                tool_name=tool_name,
                arguments_preview=text,
                arguments_length=length,
                arguments_digest=digest,
                tool_call_id=tool_call_id,
            )
        )

    def emit_tool_call_complete(
        self,
        tool_name: str,
        status: str = "success",
        duration_ms: float = 0.0,
        result: object = "",
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A tool returned ``result`` (rendered) after ``duration_ms`` milliseconds."""
        kept = metadata_dict(metadata)
        text, length, digest = self._preview(result, kept)
        self.emit(
            _Make.tool_call_complete(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=kept,
                tool_name=tool_name,
                status=status,
                duration_ms=duration_ms,
                result_preview=text,
                result_length=length,
                result_digest=digest,
                tool_call_id=tool_call_id,
            )
        )

    def emit_tool_call_failure(
        self,
        tool_name: str,
        error_type: str = "",
        error_msg: str = "",
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A tool failed: ``error_type`` is the exception's class or the tool's own code. Severity error."""
        self.emit(
            _Make.tool_call_failure(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                tool_name=tool_name,
                error_type=error_type,
                error_message=error_msg,
                tool_call_id=tool_call_id,
            )
        )

    def emit_tool_policy_decision(
        self,
        tool_name: str,
        agent_id: str | None = None,
        action: str = "",
        source: str = "",
        turn_id: str | None = None,
        *,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A policy decided on a tool call: ``action`` is allow, deny, ask or a word of the policy's own."""
        self.emit(
            _Make.tool_policy_decision(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                tool_name=tool_name,
                action=action,
                policy_source=source,
                tool_call_id=tool_call_id,
            )
        )

    def emit_tool_loop_warning(
        self,
        tool_name: str,
        pattern: str = "",
        severity: str = "warning",
        count: int = 0,
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """The agent seems to repeat itself: ``pattern`` was seen ``count`` times.

        ``severity`` is the loop detector's own level (``severity_level`` of the event); the event's severity
        is warning.
        """
        self.emit(
            _Make.tool_loop_warning(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                tool_name=tool_name,
                pattern=pattern,
                severity_level=severity,
                call_count=count,
                tool_call_id=tool_call_id,
            )
        )

    emit_loop_warning = emit_tool_loop_warning

    def emit_tool_loop_block(
        self,
        tool_name: str,
        pattern: str = "",
        count: int = 0,
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A tool call was stopped as part of a loop: ``pattern`` was seen ``count`` times. Severity error."""
        self.emit(
            _Make.tool_loop_block(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                tool_name=tool_name,
                pattern=pattern,
                call_count=count,
                tool_call_id=tool_call_id,
            )
        )

    def emit_sandbox_decision(
        self,
        tool_name: str,
        context: str = "",
        reason: str = "",
        backend_type: str = "",
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Where a tool call runs was decided: ``backend_type`` is the sandbox (none, container, vm, ...)."""
        self.emit(
            _Make.sandbox_decision(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                tool_name=tool_name,
                context=context,
                reason=reason,
                backend_type=backend_type,
                tool_call_id=tool_call_id,
            )
        )

    def emit_hook_mutation(
        self,
        hook_name: str,
        tool_name: str = "",
        agent_id: str | None = None,
        field: str = "",
        turn_id: str | None = None,
        *,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A hook changed ``field`` of a tool call, before or after the call."""
        self.emit(
            _Make.hook_mutation(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                hook_name=hook_name,
                tool_name=tool_name,
                mutated_field=field,
                tool_call_id=tool_call_id,
            )
        )

    def emit_approval(
        self,
        tool_name: str,
        decision: str = "",
        approver_id: str = "",
        approver_type: str = "user",
        reason: str = "",
        agent_id: str | None = None,
        turn_id: str | None = None,
        *,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Somebody, or a policy, approved or refused a tool call."""
        self.emit(
            _Make.approval(
                agent_id=agent_id,
                turn_id=turn_id,
                metadata=metadata_dict(metadata),
                tool_name=tool_name,
                decision=decision,
                approver_id=approver_id,
                approver_type=approver_type,
                reason=reason,
                tool_call_id=tool_call_id,
            )
        )
