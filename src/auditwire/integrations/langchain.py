"""LangChain and LangGraph: in come the callbacks of a run, out go audit events.

::

    handler = AuditCallbackHandler(audit)
    graph.invoke(inputs, config={"callbacks": [handler]})

One handler serves any number of runs at once, in threads and tasks, by ``invoke``, ``ainvoke``, ``stream``,
``astream`` and ``batch``.

================================================== ==========================================================
callback                                           events
================================================== ==========================================================
outermost chain or graph: start, end               ``turn_start``, ``turn_end``
... error                                          ``error``, ``turn_end``
a graph inside (node, tool): start, end, error     the same, with ``parent_turn_id`` and ``parent_agent_id``
any other chain inside                             none; what happens in it belongs to the turn around it
tool: start                                        ``tool_call_attempt``
tool: end                                          ``tool_call_complete``; ``tool_call_failure`` for a
                                                   ``ToolMessage`` with the status "error"
tool: end with ``Command(goto=...)``               also ``agent_switch``
tool: error                                        ``tool_call_failure``; ``tool_call_complete`` with the
                                                   status "interrupted" when LangGraph interrupts it
retriever: start, end, error                       as a tool
chat model or LLM: end, error                      ``model_call``
================================================== ==========================================================

``agent_id`` is the handler's, else the emitter's, else the outermost run's name; inside, the graph's name,
or the node's where the graph has none. ``session_id`` is the config's ``session_id`` or ``thread_id``.
``tool_call_id`` is the model's, or the run's id where LangChain does not tell.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from auditwire.context import current_scope
from auditwire.errors import MissingExtraError
from auditwire.integrations.langchain_values import (
    answer_of,
    hand_off_of,
    is_control_flow,
    name_of,
    question_of,
    session_of,
    told_by,
)
from auditwire.integrations.runs import (
    OPEN_RUNS,
    OpenRuns,
    RunDroppedError,
    RunUnfinishedError,
    first_text,
    guarded,
)
from auditwire.refusals import RefusalLog

try:
    from langchain_core.callbacks import BaseCallbackHandler
except ImportError as error:
    raise MissingExtraError("the callback handler for LangChain and LangGraph", "langchain") from error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from langchain_core.documents import Document
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

    from auditwire.calls import ToolCall, Turn
    from auditwire.emitter import AuditEmitter

__all__ = ["AuditCallbackHandler"]

_UNNAMED_GRAPH = "LangGraph"  # the run's name of a graph that was compiled without one


class _Run:
    """A run of LangChain's that began: a chain, a tool call, or a model call."""

    __slots__ = (
        "began",
        "inputs",
        "inside",
        "key",
        "metadata",
        "model",
        "name",
        "operation",
        "parent",
        "span",
    )

    def __init__(self, key: UUID, parent: _Run | None, name: str, metadata: Mapping[str, Any] | None) -> None:
        self.key = key
        self.parent = parent
        self.name = name
        self.metadata = metadata or {}
        self.inside: dict[UUID, _Run] = {}
        self.inputs: Any = None
        self.span: Turn | ToolCall | None = None
        self.model: Mapping[str, Any] | None = None
        self.operation = ""
        self.began = 0

    @property
    def around(self) -> Turn | ToolCall | None:
        """The turn or call that this run is, or is part of."""
        run: _Run | None = self
        while run is not None and run.span is None:
            run = run.parent
        return None if run is None else run.span


class AuditCallbackHandler(BaseCallbackHandler):
    """Audits the runs it is given to. Thread-safe; no callback of it raises or waits for a broker.

    What goes wrong in it, a refused event of an emitter with ``on_error="raise"`` included, is counted in
    :attr:`failures` and logged at most once a minute: the agent does not notice.

    Args:
        audit: Where the events go.
        agent_id: The agent of the outermost turns; the emitter's own, else the run's name, when left out.
        open_runs: How many runs that have not ended are remembered. Beyond it the oldest one is recorded as
            failed with ``RunDroppedError``, and counted in :attr:`dropped`.
    """

    run_inline = True
    """On the thread or task of the run itself, so that events are in its order; they cost microseconds."""

    def __init__(
        self, audit: AuditEmitter, *, agent_id: str | None = None, open_runs: int = OPEN_RUNS
    ) -> None:
        super().__init__()
        self._audit = audit
        self._agent_id = agent_id
        self._failures = RefusalLog("LangChain callbacks that could not be audited")
        self._runs: OpenRuns[_Run] = OpenRuns(open_runs, self._drop)

    @property
    def failures(self) -> int:
        """How many callbacks raised inside, and were kept from the agent."""
        return self._failures.total

    @property
    def dropped(self) -> int:
        """How many runs were dropped because too many had not ended."""
        return self._runs.dropped

    @property
    def open_runs(self) -> int:
        """How many runs have begun and not ended."""
        return len(self._runs)

    # -- chains and graphs ------------------------------------------------------------------------------

    @guarded
    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A turn begins, or a part of one; the start of a node shows that the run around it is a graph."""
        run = self._begin(run_id, parent_run_id, name_of(serialized, kwargs), metadata)
        run.inputs = inputs
        if run.parent is None:
            agent = self._agent_id or self._audit.agent_for(None, current_scope()) or run.name
            self._begin_turn(run, agent)
        elif run.parent.span is None and any(tag.startswith("graph:step:") for tag in tags or ()):
            graph = run.parent
            named = graph.name if graph.name != _UNNAMED_GRAPH else ""
            self._begin_turn(graph, first_text(named, graph.metadata.get("langgraph_node"), graph.name))

    @guarded
    def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **_kwargs: Any) -> None:
        """A turn, or a part of one, ends."""
        run = self._end(run_id, None)
        if run is not None and run.span is not None:
            run.span.content = answer_of(outputs)  # type: ignore[union-attr]  # a chain's span is a turn
            run.span.finish()

    @guarded
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_kwargs: Any) -> None:
        """A turn, or a part of one, ends with an error."""
        run = self._end(run_id, error)
        if run is not None and run.span is not None:
            run.span.finish(None if is_control_flow(error) else error)

    def _begin_turn(self, run: _Run, agent_id: str) -> None:
        inputs, run.inputs = run.inputs, None
        metadata = {"langchain.run_id": str(run.key), "langchain.run_name": run.name}
        run.span = self._audit.turn(
            question_of(inputs),
            agent_id=agent_id or None,
            session_id=session_of(run.metadata),
            metadata=metadata,
            parent=None if run.parent is None else run.parent.around,
        )
        run.span.start()

    # -- tools ------------------------------------------------------------------------------------------

    @guarded
    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A tool call begins."""
        run = self._begin(run_id, parent_run_id, name_of(serialized, kwargs), metadata)
        self._begin_call(run, input_str if inputs is None else inputs, kwargs.get("tool_call_id"))

    @guarded
    def on_tool_end(self, output: Any, *, run_id: UUID, **_kwargs: Any) -> None:
        """A tool call ends; it may hand over to another agent."""
        run = self._end(run_id, None)
        if run is None or run.span is None:
            return
        call: ToolCall = run.span  # type: ignore[assignment]  # a tool's span is a call
        if (
            getattr(output, "status", None) == "error"
        ):  # the tool's own handler made a message of what it raised
            call.failed("ToolException", str(output.content))
        call.result = output
        call.finish()
        to_agent = hand_off_of(output)
        if to_agent:
            emitter = self._audit.within(call.scope)
            emitter.emit_agent_switch(call.scope.agent_id or "", to_agent, reason=call.tool_name)

    @guarded
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_kwargs: Any) -> None:
        """A tool call fails, or LangGraph interrupts it to ask somebody."""
        self._end_call(run_id, error)

    def _begin_call(self, run: _Run, args: object, call_id: object) -> None:
        around = None if run.parent is None else run.parent.around
        audit, session = self._audit, session_of(run.metadata)
        if around is None and session is not None:  # a tool that is called outside of any chain
            audit = audit.for_session(session)
        run.span = audit.tool_call(
            run.name,
            args,
            tool_call_id=first_text(call_id, str(run.key)),
            metadata={"langchain.run_id": str(run.key)},
            parent=around,
        )
        run.span.start()

    def _end_call(self, run_id: UUID, error: BaseException) -> None:
        run = self._end(run_id, error)
        if run is None or run.span is None:
            return
        if is_control_flow(error):
            run.span.status = "interrupted"  # type: ignore[union-attr]  # a tool's span is a call
            run.span.finish()
        else:
            run.span.finish(error)

    # -- retrievers -------------------------------------------------------------------------------------

    @guarded
    def on_retriever_start(
        self,
        serialized: dict[str, Any],
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A retrieval begins: what an agent reads is as much its doing as what it calls."""
        run = self._begin(run_id, parent_run_id, name_of(serialized, kwargs), metadata)
        self._begin_call(run, query, None)

    @guarded
    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **_kwargs: Any) -> None:
        """A retrieval ends."""
        run = self._end(run_id, None)
        if run is not None and run.span is not None:
            run.span.result = [document.page_content for document in documents]  # type: ignore[union-attr]
            run.span.finish()

    @guarded
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **_kwargs: Any) -> None:
        """A retrieval fails."""
        self._end_call(run_id, error)

    # -- models -----------------------------------------------------------------------------------------

    @guarded
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],  # noqa: ARG002 - the base names it
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A chat model is asked."""
        self._begin_model(run_id, parent_run_id, serialized, metadata, kwargs, "chat")

    @guarded
    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],  # noqa: ARG002 - the base names it
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A completion model is asked."""
        self._begin_model(run_id, parent_run_id, serialized, metadata, kwargs, "text_completion")

    @guarded
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_kwargs: Any) -> None:
        """A model has answered."""
        run = self._end(run_id, None)
        if run is not None:
            self._model_call(run, response, None)

    @guarded
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_kwargs: Any) -> None:
        """A model has not answered."""
        run = self._end(run_id, error)
        if run is not None:
            self._model_call(run, None, error)

    def _begin_model(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        serialized: Mapping[str, Any],
        metadata: Mapping[str, Any] | None,
        kwargs: Mapping[str, Any],
        operation: str,
    ) -> None:
        run = self._begin(run_id, parent_run_id, name_of(serialized, kwargs), metadata)
        run.model = kwargs.get("invocation_params") or {}
        run.operation = operation
        run.began = time.monotonic_ns()

    def _model_call(self, run: _Run, response: LLMResult | None, error: BaseException | None) -> None:
        asked = run.model or {}
        told, tokens, finish_reason = told_by(response)
        around = run.around
        scope = current_scope() if around is None else around.scope
        if around is None:  # a model that is asked outside of any chain
            scope = scope.with_values({"session_id": session_of(run.metadata)})
        self._audit.within(scope).emit_model_call(
            first_text(
                told.get("model_name"),
                told.get("model"),
                run.metadata.get("ls_model_name"),
                asked.get("model"),
                asked.get("model_name"),
                run.name,
            ),
            provider=first_text(run.metadata.get("ls_provider")),
            operation=run.operation,
            status="success" if error is None else "error",
            duration_ms=(time.monotonic_ns() - run.began) / 1e6,
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            finish_reason=finish_reason,
            error_type="" if error is None else type(error).__name__,
            metadata={"langchain.run_id": str(run.key)},
        )

    # -- the table of runs ------------------------------------------------------------------------------

    def _begin(
        self, key: UUID, parent_key: UUID | None, name: str, metadata: Mapping[str, Any] | None
    ) -> _Run:
        parent = None if parent_key is None else self._runs.get(parent_key)
        run = _Run(key, parent, name, metadata)
        if parent is not None:
            parent.inside[key] = run
        self._runs.add(key, run)
        return run

    def _end(self, key: UUID, error: BaseException | None) -> _Run | None:
        """The run, forgotten now; what is open inside it is recorded as unfinished. None when unknown."""
        run = self._runs.pop(key)
        if run is None:
            return None
        if run.parent is not None:
            run.parent.inside.pop(key, None)
        if error is None or isinstance(error, Exception):
            error = RunUnfinishedError(f"{run.name or 'the run'} around it ended first")
        self._close_inside(run, error)  # else it was cancelled or interrupted, and all inside with it
        return run

    def _close_inside(self, run: _Run, error: BaseException) -> None:
        for key, child in list(run.inside.items()):
            if self._runs.pop(key) is not None:
                self._close_inside(child, error)
                self._close(child, error)
        run.inside.clear()

    def _close(self, run: _Run, error: BaseException) -> None:
        if run.span is not None:
            run.span.finish(error)
        elif run.model is not None:
            self._model_call(run, None, error)

    @guarded
    def _drop(self, run: _Run) -> None:
        if run.parent is not None:
            run.parent.inside.pop(run.key, None)
        self._close(run, RunDroppedError("too many runs had begun and not ended"))
