"""Turns and tool calls as things that begin and end: always one start, one end, one attempt, one outcome.

In come ``with`` blocks, or ``start`` and ``finish`` from a framework's callbacks; out go events through the
emitter that made them. How a block ends decides which events follow:

======================================= ================================================================
a tool call's block                     the outcome
======================================= ================================================================
ends                                    complete, ``status`` "success" or what ``call.status`` was set to
raises, is cancelled, times out         failure with the exception's class and text; it goes on
is left by KeyboardInterrupt, sys.exit  the same
is closed as a generator                complete, ``status`` "closed"
was ``denied``                          complete, ``status`` "denied", unless it raises
was ``failed``                          failure as told
======================================= ================================================================

A turn whose block raises emits an error, then its end. Durations are of the monotonic clock.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from auditwire.context import NOWHERE, Scope, current_scope, enter, leave
from auditwire.ids import turn_id as new_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token
    from types import TracebackType

    from typing_extensions import Self

    from auditwire.emitter import AuditEmitter

__all__ = ["ToolCall", "Turn"]


class _Span:
    """What begins once and ends once, whoever says so first. Not for two threads at the same instant."""

    __slots__ = ("_audit", "_begun", "_ended", "_metadata", "_outer", "_parent", "_scope", "_token")

    def __init__(
        self, audit: AuditEmitter, metadata: Mapping[str, Any] | None, parent: Turn | ToolCall | None
    ) -> None:
        self._audit = audit
        self._metadata = metadata
        self._parent = parent
        self._outer = self._scope = NOWHERE
        self._token: Token[Scope] | None = None
        self._begun = self._ended = False

    def start(self) -> Self:
        """Emit the beginning, without touching the context; a second call does nothing.

        For frameworks whose callbacks say when something begins and ends, perhaps on different threads. Use
        ``with`` where you can.
        """
        if not self._begun:
            self._begun = True
            self._outer = current_scope() if self._parent is None else self._parent.scope
            self._parent = None
            self._begin()
        return self

    def finish(self, error: BaseException | None = None) -> None:
        """Emit the end; ``error`` is what it ended with. A second call does nothing."""
        if self._begun and not self._ended:
            self._ended = True
            self._end(error)

    @property
    def scope(self) -> Scope:
        """What emits below this belong to."""
        return self._scope

    def _begin(self) -> None:
        raise NotImplementedError

    def _end(self, error: BaseException | None) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        self._token = enter(self._scope)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.finish(exc)
        finally:
            token, self._token = self._token, None
            if token is not None:
                leave(token)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)


class Turn(_Span):
    """One turn of an agent; made by :meth:`auditwire.AuditEmitter.turn`.

    Attributes:
        id: The turn's id.
        agent_id: The agent whose turn it is.
        content: Set it to what the agent answered; rendered into ``turn_end``.
    """

    __slots__ = ("_calls", "_prompt", "_session_id", "agent_id", "content", "id")

    def __init__(
        self,
        audit: AuditEmitter,
        prompt: object,
        *,
        agent_id: str | None,
        turn_id: str | None,
        session_id: str | None,
        metadata: Mapping[str, Any] | None,
        parent: Turn | ToolCall | None,
    ) -> None:
        super().__init__(audit, metadata, parent)
        self._prompt = prompt
        self._session_id = session_id
        self._calls = itertools.count()
        self.agent_id = agent_id
        self.id = turn_id or new_id()
        self.content: object = ""

    def count_call(self) -> None:
        """A tool call begins in this turn. By :class:`ToolCall`; any thread."""
        next(self._calls)

    @property
    def calls(self) -> int:
        """Tool calls that began in this turn so far."""
        return int(repr(self._calls)[6:-1])  # "count(3)": the only way to look without taking one

    def _begin(self) -> None:
        outer = self._outer
        self.agent_id = self._audit.agent_for(self.agent_id, outer)
        self._scope = Scope(
            outer.session_id if self._session_id is None else self._session_id,
            self.agent_id,
            self.id,
            None,  # inside a tool call it is a sub-agent's: what it calls belongs to the turn, not to that
            outer.principal_id,
            outer.principal_type,
            outer.tenant_id,
            self,
        )
        self._prompt, prompt = "", self._prompt  # not kept for as long as the turn lasts
        self._audit = self._audit.within(self._scope)
        self._audit.emit_turn_start(
            agent_id=self.agent_id,
            turn_id=self.id,
            prompt=prompt,
            parent_turn_id=outer.turn_id,
            parent_agent_id=outer.agent_id if outer.turn_id else None,
            metadata=self._metadata,
        )

    def _end(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, GeneratorExit):
            self._audit.emit_error(type(error).__name__, _text(error), context="turn")
        content, self.content = self.content, ""
        self._audit.emit_turn_end(content=content, fc_count=self.calls)

    # -- what happens in a turn -------------------------------------------------------------------------

    def error(self, error_type: str = "", message: str = "", context: str = "") -> None:
        """Something failed that ends neither a tool call nor the turn."""
        self._audit.emit_error(error_type, message, context)

    def loop_warning(
        self, tool_name: str, pattern: str = "", count: int = 0, severity: str = "warning"
    ) -> None:
        """The agent repeats itself."""
        self._audit.emit_tool_loop_warning(tool_name, pattern, severity, count)

    def loop_block(self, tool_name: str, pattern: str = "", count: int = 0) -> None:
        """The agent repeated itself and was stopped."""
        self._audit.emit_tool_loop_block(tool_name, pattern, count)

    def model_call(self, model: str, **fields: Any) -> None:
        """A model was asked; the fields of :meth:`auditwire.AuditEmitter.emit_model_call`."""
        self._audit.emit_model_call(model, **fields)

    def agent_switch(self, to_agent: str, reason: str = "") -> None:
        """The turn's agent hands over to another."""
        self._audit.emit_agent_switch(self.agent_id or "", to_agent, reason)


class ToolCall(_Span):
    """One call of a tool; made by :meth:`auditwire.AuditEmitter.tool_call`.

    Attributes:
        id: The call's id, which ties its events together.
        tool_name: The tool.
        result: Set it to what the tool returned; rendered into ``tool_call_complete``.
        status: "success"; set it to say something else in ``tool_call_complete``.
    """

    __slots__ = (
        "_agent_id",
        "_args",
        "_began",
        "_failure",
        "_turn_id",
        "id",
        "result",
        "status",
        "tool_name",
    )

    def __init__(
        self,
        audit: AuditEmitter,
        tool_name: str,
        args: object,
        *,
        tool_call_id: str | None,
        agent_id: str | None,
        turn_id: str | None,
        metadata: Mapping[str, Any] | None,
        parent: Turn | ToolCall | None,
    ) -> None:
        super().__init__(audit, metadata, parent)
        self._args = args
        self._agent_id, self._turn_id = agent_id, turn_id
        self._failure: tuple[str, str] | None = None
        self._began = 0
        self.tool_name = tool_name
        self.id = tool_call_id or new_id()
        self.result: object = ""
        self.status = "success"

    def _begin(self) -> None:
        outer = self._outer
        agent = self._audit.agent_for(self._agent_id, outer)
        self._scope = Scope(
            outer.session_id,
            agent,
            outer.turn_id if self._turn_id is None else self._turn_id,
            self.id,
            outer.principal_id,
            outer.principal_type,
            outer.tenant_id,
            outer.turn,
        )
        if isinstance(outer.turn, Turn) and self._turn_id in (None, outer.turn_id):
            outer.turn.count_call()
        metadata = self._metadata
        if outer.tool_call_id is not None:  # a tool that calls a tool
            metadata = {**(metadata or {}), "auditwire.parent_tool_call_id": outer.tool_call_id}
        self._args, args = "", self._args
        self._began = time.monotonic_ns()  # for an attempt that is refused; the tool's own time begins below
        self._audit = self._audit.within(self._scope)
        self._audit.emit_tool_call_attempt(self.tool_name, args, tool_call_id=self.id, metadata=metadata)
        self._began = time.monotonic_ns()

    def _end(self, error: BaseException | None) -> None:
        duration = (time.monotonic_ns() - self._began) / 1e6
        result, self.result = self.result, ""
        if isinstance(error, GeneratorExit):
            error, self.status = None, "closed"
        if error is not None:
            self._failure = (type(error).__name__, _text(error))
        if self._failure is not None:
            metadata = {"duration_ms": duration}
            self._audit.emit_tool_call_failure(
                self.tool_name, *self._failure, tool_call_id=self.id, metadata=metadata
            )
        else:
            self._audit.emit_tool_call_complete(
                self.tool_name, self.status, duration, result, tool_call_id=self.id
            )

    # -- what is decided about a call -------------------------------------------------------------------

    def allowed(self, source: str = "") -> None:
        """A policy allowed the call."""
        self._audit.emit_tool_policy_decision(
            self.tool_name, action="allow", source=source, tool_call_id=self.id
        )

    def denied(self, source: str = "") -> None:
        """A policy denied the call: it completes with the status "denied"."""
        self.status = "denied"
        self._audit.emit_tool_policy_decision(
            self.tool_name, action="deny", source=source, tool_call_id=self.id
        )

    def asked(self, source: str = "") -> None:
        """A policy wants somebody to be asked."""
        self._audit.emit_tool_policy_decision(
            self.tool_name, action="ask", source=source, tool_call_id=self.id
        )

    def sandboxed(self, backend_type: str = "", reason: str = "", context: str = "") -> None:
        """Where the tool runs, and why."""
        self._audit.emit_sandbox_decision(self.tool_name, context, reason, backend_type, tool_call_id=self.id)

    def approved_by(
        self, approver_id: str, decision: str = "approved", approver_type: str = "user", reason: str = ""
    ) -> None:
        """Somebody decided about the call."""
        self._audit.emit_approval(
            self.tool_name, decision, approver_id, approver_type, reason, tool_call_id=self.id
        )

    def mutated(self, hook_name: str, field: str = "") -> None:
        """A hook changed something about the call."""
        self._audit.emit_hook_mutation(hook_name, self.tool_name, field=field, tool_call_id=self.id)

    def failed(self, error_type: str = "", message: str = "") -> None:
        """The tool said that it failed, without an exception."""
        self._failure = (error_type, message)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001 - an exception's __str__ may raise anything
        return f"<unprintable {type(error).__name__}: {type(failure).__name__}>"
