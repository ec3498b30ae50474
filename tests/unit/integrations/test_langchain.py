"""The LangChain adapter, on real chains and graphs whose models answer by a script."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_core", reason="needs auditwire[langchain]")
pytest.importorskip("langgraph", reason="needs langgraph")

from langchain_core.callbacks import CallbackManager
from langchain_core.documents import Document
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt

from auditwire import AuditEmitter, FlushTimeout, InMemoryCollector, KafkaCollector
from auditwire.events import (
    AgentSwitchEvent,
    AuditEvent,
    ErrorEvent,
    ModelCallEvent,
    ToolCallAttemptEvent,
    ToolCallCompleteEvent,
    ToolCallFailureEvent,
    TurnEndEvent,
    TurnStartEvent,
)
from auditwire.integrations.langchain import AuditCallbackHandler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.tools import BaseTool

    from auditwire.testing import CapturedEvents


class ScriptedModel(FakeMessagesListChatModel):
    """Takes tools as a real model does, and answers by its script."""

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return self


def asks(*calls: tuple[str, dict[str, Any], str]) -> AIMessage:
    """A model's answer that calls tools: (name, arguments, id)."""
    return AIMessage(
        "",
        tool_calls=[ToolCall(name=name, args=args, id=call_id) for name, args, call_id in calls],
        usage_metadata={"input_tokens": 30, "output_tokens": 4, "total_tokens": 34},
        response_metadata={"finish_reason": "tool_calls", "model_name": "scripted-1"},
    )


@tool
def search(q: str) -> str:
    """Search."""
    if q == "boom":
        raise ValueError("no such index")
    return f"found {q}"


@tool
def ask(question: str) -> str:
    """Ask a human."""
    return str(interrupt(question))


@tool
def transfer_to_bob() -> Command[Any]:
    """Hand over."""
    return Command(goto="bob", graph=Command.PARENT, update={})


def agent(
    answers: list[AIMessage], tools: Sequence[BaseTool], name: str | None = None, saver: Any = None
) -> Any:
    """A model and its tools in a loop."""
    model = ScriptedModel(responses=list(answers))

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode(tools, handle_tool_errors=False))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    return graph.compile(name=name, checkpointer=saver)


QUESTION = {"messages": [("user", "Where is my parcel?")]}
BOTH = [asks(("search", {"q": "a"}, "c1"), ("search", {"q": "b"}, "c2")), AIMessage("At home.")]


@pytest.fixture
def handler(audit_events: CapturedEvents) -> AuditCallbackHandler:
    return AuditCallbackHandler(audit_events.emitter)


def config(handler: AuditCallbackHandler, **more: Any) -> RunnableConfig:
    return {"callbacks": [handler], **more}  # type: ignore[typeddict-item]


def manager(handler: AuditCallbackHandler) -> CallbackManager:
    """LangChain's own side of the callbacks, for ends that no chain can be made to lose."""
    return CallbackManager([handler], inheritable_handlers=[handler])


def attempts_and_outcomes(events: CapturedEvents) -> dict[str | None, list[str]]:
    """Call id -> its events' types."""
    found: dict[str | None, list[str]] = {}
    for event in events:
        call_id = getattr(event, "tool_call_id", None)
        if call_id is not None:
            found.setdefault(call_id, []).append(event.event_type)
    return found


def run_sync(graph: Any, settings: RunnableConfig) -> None:
    graph.invoke(QUESTION, settings)


def run_async(graph: Any, settings: RunnableConfig) -> None:
    asyncio.run(graph.ainvoke(QUESTION, settings))


def run_stream(graph: Any, settings: RunnableConfig) -> None:
    for _ in graph.stream(QUESTION, settings):
        pass


def run_astream(graph: Any, settings: RunnableConfig) -> None:
    async def consume() -> None:
        async for _ in graph.astream(QUESTION, settings):
            pass

    asyncio.run(consume())


def run_batch(graph: Any, settings: RunnableConfig) -> None:
    graph.batch([QUESTION], settings)


EVERY_WAY = pytest.mark.parametrize("run", [run_sync, run_async, run_stream, run_astream, run_batch])


@EVERY_WAY
def test_a_graph_is_a_turn_with_its_tool_calls_and_model_calls(
    audit_events: CapturedEvents, handler: AuditCallbackHandler, run: Any
) -> None:
    run(agent(BOTH, [search], "shipping"), config(handler))
    assert audit_events.types[:2] == ["turn_start", "model_call"]
    assert audit_events.types[-2:] == ["model_call", "turn_end"]
    assert sorted(audit_events.types[2:-2]) == ["tool_call_attempt"] * 2 + ["tool_call_complete"] * 2
    [start] = audit_events.of_type(TurnStartEvent)
    [end] = audit_events.of_type(TurnEndEvent)
    assert (start.prompt_preview, end.content_preview) == ("Where is my parcel?", "At home.")
    assert (start.agent_id, start.parent_turn_id, end.function_calls_count) == ("shipping", None, 2)
    assert {event.turn_id for event in audit_events} == {start.turn_id}
    assert {event.agent_id for event in audit_events} == {"shipping"}
    assert handler.open_runs == handler.failures == handler.dropped == 0


@EVERY_WAY
def test_parallel_calls_of_one_tool_are_paired_by_the_models_ids(
    audit_events: CapturedEvents, handler: AuditCallbackHandler, run: Any
) -> None:
    run(agent(BOTH, [search]), config(handler))
    pair = ["tool_call_attempt", "tool_call_complete"]
    assert attempts_and_outcomes(audit_events) == {"c1": pair, "c2": pair}
    arguments = {
        event.tool_call_id: event.arguments_preview for event in audit_events.of_type(ToolCallAttemptEvent)
    }
    results = {
        event.tool_call_id: event.result_preview for event in audit_events.of_type(ToolCallCompleteEvent)
    }
    assert arguments == {"c1": '{"q":"a"}', "c2": '{"q":"b"}'}
    assert results == {"c1": "found a", "c2": "found b"}


def test_a_model_call_has_tokens_finish_reason_and_duration(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    run_sync(agent(BOTH, [search]), config(handler))
    first, second = audit_events.of_type(ModelCallEvent)
    assert (first.model, first.input_tokens, first.output_tokens) == ("scripted-1", 30, 4)
    assert (first.finish_reason, first.operation, first.status) == ("tool_calls", "chat", "success")
    assert first.duration_ms > 0
    assert first.provider == "scriptedmodel"
    assert (second.model, second.input_tokens, second.finish_reason) == ("ScriptedModel", 0, "")


@EVERY_WAY
def test_a_tool_that_raises_fails_and_so_does_the_turn(
    audit_events: CapturedEvents, handler: AuditCallbackHandler, run: Any
) -> None:
    graph = agent([asks(("search", {"q": "boom"}, "c1"))], [search])
    with pytest.raises(ValueError, match="no such index"):
        run(graph, config(handler))
    assert audit_events.types == [
        "turn_start", "model_call", "tool_call_attempt", "tool_call_failure", "error", "turn_end",
    ]  # fmt: skip
    [failure] = audit_events.of_type(ToolCallFailureEvent)
    assert (failure.error_type, failure.error_message) == ("ValueError", "no such index")
    [error] = audit_events.of_type(ErrorEvent)
    assert (error.error_type, error.error_message) == ("ValueError", "no such index")
    assert handler.open_runs == 0


def test_what_a_tool_itself_makes_a_message_of_is_a_failure_of_the_call_and_not_of_the_turn(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    @tool
    def locked() -> str:
        """Locked."""
        raise ToolException("the door is locked")

    locked.handle_tool_error = True
    run_sync(agent([asks(("locked", {}, "c1")), AIMessage("ok")], [locked]), config(handler))
    [failure] = audit_events.of_type(ToolCallFailureEvent)
    assert (failure.error_type, failure.error_message) == ("ToolException", "the door is locked")
    assert audit_events.types[-1] == "turn_end"
    assert not audit_events.of_type(ErrorEvent)


def test_an_interrupted_tool_is_no_failure_and_the_resumed_run_is_a_turn_of_its_own(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    graph = agent([asks(("ask", {"question": "sure?"}, "c1")), AIMessage("ok")], [ask], saver=InMemorySaver())
    settings = config(handler, configurable={"thread_id": "t-1"})
    graph.invoke(QUESTION, settings)
    [outcome] = audit_events.of_type(ToolCallCompleteEvent)
    assert outcome.status == "interrupted"
    assert audit_events.types[-1] == "turn_end"
    graph.invoke(Command(resume="yes"), settings)
    again = audit_events.of_type(ToolCallCompleteEvent)[1]
    assert (again.status, again.result_preview, again.tool_call_id) == ("success", "yes", "c1")
    assert len({event.turn_id for event in audit_events}) == 2
    assert {event.session_id for event in audit_events} == {"t-1"}
    assert not audit_events.of_type(ErrorEvent)


@pytest.mark.parametrize("run", [run_sync, run_async])
def test_graphs_inside_a_graph_are_turns_of_their_own_and_a_command_hands_over(
    audit_events: CapturedEvents, handler: AuditCallbackHandler, run: Any
) -> None:
    team = StateGraph(MessagesState)
    team.add_node("alice", agent([asks(("transfer_to_bob", {}, "h1"))], [transfer_to_bob], "alice"),
                  destinations=("bob",))  # fmt: skip
    team.add_node("bob", agent([AIMessage("I am Bob.")], [search]))
    team.add_edge(START, "alice")
    run(team.compile(name="team"), config(handler))
    whole, alice, bob = audit_events.of_type(TurnStartEvent)
    assert [event.agent_id for event in (whole, alice, bob)] == ["team", "alice", "bob"]
    assert [event.parent_turn_id for event in (alice, bob)] == [whole.turn_id] * 2
    assert alice.parent_agent_id == "team"
    [switch] = audit_events.of_type(AgentSwitchEvent)
    assert (switch.from_agent, switch.to_agent, switch.reason) == ("alice", "bob", "transfer_to_bob")
    assert switch.turn_id == alice.turn_id
    assert [event.turn_id for event in audit_events.of_type(ModelCallEvent)] == [alice.turn_id, bob.turn_id]
    assert [event.turn_id for event in audit_events.of_type(TurnEndEvent)] == [
        alice.turn_id, bob.turn_id, whole.turn_id,
    ]  # fmt: skip
    assert not audit_events.of_type(ErrorEvent)
    assert handler.open_runs == handler.failures == 0


def test_a_graph_that_a_tool_calls_is_a_turn_below_the_agent(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    inner = agent([AIMessage("inner answer")], [search], "expert")

    @tool
    def consult() -> str:
        """Consult."""
        return str(inner.invoke(QUESTION)["messages"][-1].content)

    run_sync(agent([asks(("consult", {}, "c1")), AIMessage("ok")], [consult], "lead"), config(handler))
    lead, expert = audit_events.of_type(TurnStartEvent)
    assert (expert.agent_id, expert.parent_turn_id, expert.parent_agent_id) == (
        "expert",
        lead.turn_id,
        "lead",
    )
    [call] = audit_events.of_type(ToolCallCompleteEvent)
    assert (call.turn_id, call.result_preview) == (lead.turn_id, "inner answer")


def test_an_outermost_turn_belongs_to_the_context_around_it(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    audit = audit_events.emitter
    with audit.bind(session_id="s-1", tenant_id="acme"), audit.turn(agent_id="outer") as turn:
        run_sync(agent(BOTH, [search]), config(handler))
    _, inner = audit_events.of_type(TurnStartEvent)
    assert inner.parent_turn_id == turn.id
    assert {(event.session_id, event.tenant_id) for event in audit_events} == {("s-1", "acme")}


@pytest.mark.parametrize(
    ("own", "emitters", "expected"), [("a", "b", "a"), (None, "b", "b"), (None, None, "the-run")]
)
def test_the_agent_is_the_handlers_else_the_emitters_else_the_runs(
    own: str | None, emitters: str | None, expected: str
) -> None:
    collector = InMemoryCollector()
    handler = AuditCallbackHandler(AuditEmitter(collector, agent_id=emitters), agent_id=own)
    RunnableLambda(str).invoke(1, config(handler, run_name="the-run"))
    assert [event.agent_id for event in collector.get_events()] == [expected] * 2


@pytest.mark.parametrize(
    ("given", "question"),
    [
        ({"input": "by key"}, "by key"),
        ("a text", "a text"),
        ([AIMessage("first"), AIMessage([{"type": "text", "text": "blocks"}])], "blocks"),
        ({"other": 1}, '{"other":1}'),
        ([], "[]"),
    ],
)
def test_the_prompt_is_the_last_message_or_the_input(
    audit_events: CapturedEvents, handler: AuditCallbackHandler, given: Any, question: str
) -> None:
    RunnableLambda(lambda _: {"output": "done"}).invoke(given, config(handler))
    [start] = audit_events.of_type(TurnStartEvent)
    assert start.prompt_preview == question
    assert audit_events.of_type(TurnEndEvent)[0].content_preview == "done"


def test_a_tool_by_itself_is_a_call_without_a_turn(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    search.invoke({"q": "x"}, config(handler, metadata={"session_id": "t-9"}))
    attempt, outcome = (
        audit_events.of_type(ToolCallAttemptEvent)[0],
        audit_events.of_type(ToolCallCompleteEvent)[0],
    )
    assert (attempt.turn_id, attempt.tool_call_id) == (None, outcome.tool_call_id)
    assert attempt.tool_call_id == attempt.metadata["langchain.run_id"]
    assert {event.session_id for event in audit_events} == {"t-9"}


def test_a_model_by_itself_is_a_model_call_of_the_session(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    FakeListLLM(responses=["x"]).invoke("p", config(handler, metadata={"session_id": "s-7"}))
    [call] = audit_events.of_type(ModelCallEvent)
    assert (call.model, call.operation, call.session_id) == ("FakeListLLM", "text_completion", "s-7")
    assert (call.turn_id, call.input_tokens, call.finish_reason) == (None, 0, "")


def test_a_model_that_fails_is_a_model_call_with_the_error(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    class Refuses(ScriptedModel):
        def _generate(self, *_: Any, **__: Any) -> Any:
            raise TimeoutError("no answer")

    with pytest.raises(TimeoutError):
        Refuses(responses=[]).invoke("p", config(handler))
    [call] = audit_events.of_type(ModelCallEvent)
    assert (call.status, call.error_type) == ("error", "TimeoutError")


class Shelf(BaseRetriever):
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        if query == "boom":
            raise OSError("shelf fell")
        return [Document(page_content="one"), Document(page_content="two")]


def test_a_retriever_is_a_tool(audit_events: CapturedEvents, handler: AuditCallbackHandler) -> None:
    Shelf().invoke("books", config(handler))
    [attempt] = audit_events.of_type(ToolCallAttemptEvent)
    [outcome] = audit_events.of_type(ToolCallCompleteEvent)
    assert (attempt.tool_name, attempt.arguments_preview) == ("Shelf", "books")
    assert outcome.result_preview == '["one","two"]'
    with pytest.raises(OSError, match="fell"):
        Shelf().invoke("boom", config(handler))
    [failure] = audit_events.of_type(ToolCallFailureEvent)
    assert failure.error_message == "shelf fell"


def test_a_cancelled_run_leaves_no_call_without_an_outcome(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    async def cancelled() -> None:
        begun = asyncio.Event()

        @tool
        async def forever() -> str:
            """Wait."""
            begun.set()
            await asyncio.Event().wait()
            return ""

        graph = agent([asks(("forever", {}, "c1"))], [forever])
        task = asyncio.create_task(graph.ainvoke(QUESTION, config(handler)))
        await asyncio.wait_for(begun.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert attempts_and_outcomes(audit_events) == {"c1": ["tool_call_attempt", "tool_call_failure"]}
    assert audit_events.of_type(ToolCallFailureEvent)[0].error_type == "CancelledError"
    assert audit_events.types[-1] == "turn_end"
    assert handler.open_runs == 0


def test_a_stream_that_its_reader_leaves_ends_the_turn(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    stream = agent(BOTH, [search]).stream(QUESTION, config(handler))
    next(stream)
    stream.close()
    assert audit_events.types[-1] == "turn_end"
    assert not audit_events.of_type(ErrorEvent)
    assert handler.open_runs == 0


def test_what_is_open_when_the_run_around_it_ends_is_recorded_as_unfinished(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    run = manager(handler).on_chain_start(None, {}, name="lost")
    inside = run.get_child().on_chain_start(None, {}, name="part")
    call = inside.get_child().on_tool_start({"name": "slow"}, "x")
    inside.get_child().on_llm_start({"name": "model"}, ["p"])
    run.on_chain_end({})
    assert audit_events.types == [
        "turn_start",
        "tool_call_attempt",
        "tool_call_failure",
        "model_call",
        "turn_end",
    ]
    assert audit_events.of_type(ToolCallFailureEvent)[0].error_type == "RunUnfinishedError"
    assert audit_events.of_type(ModelCallEvent)[0].error_type == "RunUnfinishedError"
    call.on_tool_end("late")
    inside.on_chain_end({})
    assert audit_events.types[-1] == "turn_end"
    assert handler.open_runs == 0


@pytest.mark.parametrize(
    "end", ["chain", "chain_error", "tool", "tool_error", "llm", "llm_error", "retriever"]
)
def test_an_end_without_a_beginning_is_let_be(
    audit_events: CapturedEvents, handler: AuditCallbackHandler, end: str
) -> None:
    from uuid import uuid4

    name = end if end.endswith("error") else f"{end}_end"
    getattr(handler, f"on_{name}")(ValueError() if "error" in end else [], run_id=uuid4())
    assert (len(audit_events), handler.failures) == (0, 0)


def test_runs_that_never_end_are_bounded_and_recorded(audit_events: CapturedEvents) -> None:
    handler = AuditCallbackHandler(audit_events.emitter, open_runs=3)
    run = manager(handler).on_chain_start(None, {}, name="first")
    for number in range(5):
        run.get_child().on_tool_start({"name": f"slow{number}"}, "x")
    assert (handler.open_runs, handler.dropped) == (3, 3)
    dropped = [
        event.error_type for event in audit_events if isinstance(event, (ErrorEvent, ToolCallFailureEvent))
    ]
    assert dropped == ["RunDroppedError"] * 3
    assert len(audit_events.of_type(TurnEndEvent)) == 1


def test_a_broker_that_is_away_is_not_noticed() -> None:
    collector = KafkaCollector("127.0.0.1:1")
    try:
        ours = AuditCallbackHandler(AuditEmitter(collector, on_error="raise"))
        run_sync(agent(BOTH, [search]), config(ours))
        assert (collector.health().accepted, ours.failures) == (8, 0)
    finally:
        with pytest.raises(FlushTimeout):  # nothing came to take them, which is what was to be shown
            collector.close(0)


class Refusing(InMemoryCollector):
    def emit(self, event: AuditEvent) -> None:
        raise RuntimeError("the trail is broken")


@EVERY_WAY
def test_a_trail_that_raises_is_counted_and_does_not_reach_the_agent(
    caplog: pytest.LogCaptureFixture, run: Any
) -> None:
    handler = AuditCallbackHandler(AuditEmitter(Refusing(), on_error="raise"))
    run(agent(BOTH, [search]), config(handler))
    assert handler.failures > 0
    assert handler.open_runs == 0
    lines = [record for record in caplog.records if "LangChain callbacks" in record.getMessage()]
    assert len(lines) == 1


def test_many_runs_at_once_through_one_handler_stay_apart(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    barrier = threading.Barrier(8)

    @tool
    def together(n: int) -> int:
        """Meet."""
        barrier.wait(30)
        return n

    def one(number: int) -> None:
        answers = [asks(("together", {"n": number}, f"c{number}")), AIMessage(f"answer {number}")]
        settings = config(handler, configurable={"thread_id": f"t{number}"})
        agent(answers, [together]).invoke({"messages": [("user", f"question {number}")]}, settings)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number in range(8):
        mine = [event for event in audit_events if event.session_id == f"t{number}"]
        assert [event.event_type for event in mine] == [
            "turn_start", "model_call", "tool_call_attempt", "tool_call_complete", "model_call", "turn_end",
        ]  # fmt: skip
        assert len({event.turn_id for event in mine}) == 1
        last = mine[-1]
        assert isinstance(last, TurnEndEvent)
        assert last.content_preview == f"answer {number}"


def test_a_tool_that_answers_with_a_list_hands_over_by_the_command_in_it(
    audit_events: CapturedEvents, handler: AuditCallbackHandler
) -> None:
    call = manager(handler).on_tool_start({"name": "transfer"}, "x")
    call.on_tool_end([ToolMessage("ok", tool_call_id="c"), Command(goto="carol")])
    [switch] = audit_events.of_type(AgentSwitchEvent)
    assert (switch.to_agent, switch.reason) == ("carol", "transfer")
