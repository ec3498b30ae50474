"""The adapter for the OpenAI Agents SDK, on real runs whose models answer by a script."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("agents", reason="needs auditwire[openai-agents]")

from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    Model,
    ModelResponse,
    RunConfig,
    Runner,
    Usage,
    agent_span,
    custom_span,
    function_span,
    function_tool,
    generation_span,
    handoff_span,
    input_guardrail,
    response_span,
    set_trace_processors,
    trace,
)
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseUsage,
)
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from auditwire import AuditEmitter, FlushTimeout, InMemoryCollector, KafkaCollector
from auditwire.events import (
    AgentSwitchEvent,
    AuditEvent,
    ErrorEvent,
    ModelCallEvent,
    ToolCallAttemptEvent,
    ToolCallCompleteEvent,
    ToolCallFailureEvent,
    ToolPolicyDecisionEvent,
    TurnEndEvent,
    TurnStartEvent,
)
from auditwire.integrations.openai_agents import AuditTracingProcessor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from auditwire.testing import CapturedEvents

Item = Any


def says(text: str) -> list[Item]:
    content = ResponseOutputText(text=text, type="output_text", annotations=[])
    return [
        ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[content])
    ]


def asks(*calls: tuple[str, str, str]) -> list[Item]:
    """A model's answer that calls tools: (name, arguments as JSON, id)."""
    return [
        ResponseFunctionToolCall(type="function_call", name=name, arguments=arguments, call_id=call_id)
        for name, arguments, call_id in calls
    ]


class Scripted(Model):
    """Answers by its script, as a model with a generation span or, ``spans=False``, without one."""

    def __init__(self, *script: list[Item] | Exception, spans: bool = True) -> None:
        self.script = list(script)
        self.spans = spans

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        usage = Usage(requests=1, input_tokens=30, output_tokens=4, total_tokens=34)
        with generation_span(model="scripted-1", disabled=not self.spans) as span:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            span.span_data.usage = {"input_tokens": 30, "output_tokens": 4}
            return ModelResponse(output=answer, usage=usage, response_id=None)

    async def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        with response_span() as span:
            answer = self.script.pop(0)
            assert not isinstance(answer, Exception)
            span.span_data.response = response(answer)
            yield ResponseCompletedEvent(
                type="response.completed", sequence_number=0, response=span.span_data.response
            )


def response(output: list[Item]) -> Response:
    return Response(
        id="r", created_at=0, model="scripted-2", object="response", output=output, status="completed",
        parallel_tool_calls=True, tool_choice="auto", tools=[],
        usage=ResponseUsage(
            input_tokens=50, output_tokens=6, total_tokens=56,
            input_tokens_details=InputTokensDetails.model_construct(cached_tokens=0),
            output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        ),
    )  # fmt: skip


@function_tool
def search(q: str) -> str:
    """Search."""
    if q == "boom":
        raise ValueError("no such index")
    return f"found {q}"


@function_tool(failure_error_function=None)
def strict(q: str) -> str:
    """Search, and raise."""
    raise ValueError("no such index")


@function_tool(needs_approval=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@pytest.fixture
def processor(
    audit_events: CapturedEvents, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AuditTracingProcessor]:
    """The only processor: nothing is exported, and nothing goes to a network."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    ours = AuditTracingProcessor(audit_events.emitter)
    set_trace_processors([ours])
    yield ours
    set_trace_processors([])


def agent(*script: list[Item] | Exception, name: str = "shipping", **more: Any) -> Agent[Any]:
    more.setdefault("tools", [search])
    return Agent(name=name, model=more.pop("model", None) or Scripted(*script), **more)


def run(agent: Agent[Any], processor: AuditTracingProcessor, **more: Any) -> Any:
    return asyncio.run(Runner.run(agent, "Where is my parcel?", hooks=processor.hooks, **more))


BOTH = [asks(("search", '{"q":"a"}', "c1"), ("search", '{"q":"b"}', "c2")), says("At home.")]


def test_an_agents_run_is_a_turn_with_its_tool_calls_and_model_calls(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    run(agent(*BOTH), processor, run_config=RunConfig(group_id="chat-1"))
    assert audit_events.types[:2] == ["turn_start", "model_call"]
    assert audit_events.types[-2:] == ["model_call", "turn_end"]
    assert sorted(audit_events.types[2:-2]) == ["tool_call_attempt"] * 2 + ["tool_call_complete"] * 2
    [start] = audit_events.of_type(TurnStartEvent)
    [end] = audit_events.of_type(TurnEndEvent)
    assert (start.prompt_preview, end.content_preview) == ("Where is my parcel?", "At home.")
    assert (start.parent_turn_id, end.function_calls_count) == (None, 2)
    stamps = {(event.session_id, event.turn_id, event.agent_id) for event in audit_events}
    assert stamps == {("chat-1", start.turn_id, "shipping")}
    assert processor.open_runs == processor.failures == processor.dropped == 0


def test_parallel_calls_of_one_tool_are_paired_by_the_models_ids(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    run(agent(*BOTH), processor)
    arguments = {e.tool_call_id: e.arguments_preview for e in audit_events.of_type(ToolCallAttemptEvent)}
    results = {e.tool_call_id: e.result_preview for e in audit_events.of_type(ToolCallCompleteEvent)}
    assert arguments == {"c1": '{"q":"a"}', "c2": '{"q":"b"}'}
    assert results == {"c1": "found a", "c2": "found b"}


def test_a_model_call_has_tokens_and_duration(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    run(agent(says("yes")), processor)
    [call] = audit_events.of_type(ModelCallEvent)
    assert (call.model, call.input_tokens, call.output_tokens, call.status) == (
        "scripted-1",
        30,
        4,
        "success",
    )
    assert call.duration_ms > 0


def test_a_model_without_a_span_is_told_of_by_the_hooks(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    run(agent(model=Scripted(*BOTH, spans=False)), processor)
    calls = audit_events.of_type(ModelCallEvent)
    assert [(call.model, call.input_tokens, call.output_tokens) for call in calls] == [
        ("Scripted", 30, 4)
    ] * 2
    assert calls[0].duration_ms > 0
    assert processor.failures == 0


def test_a_streamed_run_is_the_same_with_the_responses_own_words(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    async def consume() -> None:
        streamed = Runner.run_streamed(agent(*BOTH), "Where is my parcel?", hooks=processor.hooks)
        async for _ in streamed.stream_events():
            pass

    asyncio.run(consume())
    first, _ = audit_events.of_type(ModelCallEvent)
    assert (first.model, first.input_tokens, first.output_tokens) == ("scripted-2", 50, 6)
    assert first.finish_reason == "completed"
    assert len(audit_events.of_type(ToolCallCompleteEvent)) == 2
    assert audit_events.of_type(TurnEndEvent)[0].content_preview == "At home."
    assert processor.open_runs == processor.failures == 0


def test_without_its_hooks_the_processor_tells_the_same_without_prompt_and_arguments(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    asyncio.run(Runner.run(agent(*BOTH), "Where is my parcel?"))
    assert sorted(audit_events.types) == sorted(
        ["turn_start", "turn_end", *["model_call", "tool_call_attempt", "tool_call_complete"] * 2]
    )
    attempts = audit_events.of_type(ToolCallAttemptEvent)
    assert {e.tool_call_id for e in attempts} == {e.metadata["openai_agents.span_id"] for e in attempts}
    assert {e.arguments_preview for e in attempts} == {""}
    assert audit_events.of_type(TurnStartEvent)[0].prompt_preview == ""


def test_a_tool_whose_error_goes_to_the_model_is_a_failure_of_the_call_alone(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    run(agent(asks(("search", '{"q":"boom"}', "c1")), says("sorry")), processor)
    [failure] = audit_events.of_type(ToolCallFailureEvent)
    assert (failure.tool_call_id, failure.error_type) == ("c1", "SpanError")
    assert failure.error_message.startswith("Error running tool (non-fatal)")
    assert not audit_events.of_type(ErrorEvent)
    assert audit_events.types[-1] == "turn_end"


def test_a_tool_that_raises_ends_the_turn_with_an_error(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    with pytest.raises(Exception, match="no such index"):
        run(agent(asks(("strict", '{"q":"a"}', "c1")), tools=[strict]), processor)
    [failure] = audit_events.of_type(ToolCallFailureEvent)
    assert "no such index" in failure.error_message
    [error] = audit_events.of_type(ErrorEvent)
    assert "no such index" in error.error_message
    assert audit_events.types[-2:] == ["error", "turn_end"]
    assert processor.open_runs == 0


def test_a_model_that_fails_is_a_model_call_with_the_error(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    with pytest.raises(TimeoutError):
        run(agent(TimeoutError("no answer")), processor)
    [call] = audit_events.of_type(ModelCallEvent)
    assert (call.status, call.error_type) == ("error", "TimeoutError")
    assert audit_events.types[-2:] == ["error", "turn_end"]


def test_an_exception_that_was_being_handled_before_is_not_the_runs(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    try:
        int("earlier")
    except ValueError:
        run(agent(*BOTH), processor)
    assert not audit_events.of_type(ErrorEvent)
    assert not audit_events.of_type(ToolCallFailureEvent)


def test_a_run_that_is_stopped_after_too_many_turns_says_so(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    with pytest.raises(MaxTurnsExceeded):
        run(agent(*BOTH), processor, max_turns=1)
    [error] = audit_events.of_type(ErrorEvent)
    assert "ax turns" in f"{error.error_type} {error.error_message}"


def test_a_hand_off_is_an_agent_switch_and_the_next_agent_has_a_turn_of_its_own(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    bob = agent(says("I am Bob."), name="bob")
    run(agent(asks(("transfer_to_bob", "{}", "h1")), name="alice", handoffs=[bob]), processor)
    alice_start, bob_start = audit_events.of_type(TurnStartEvent)
    assert (alice_start.agent_id, bob_start.agent_id) == ("alice", "bob")
    [switch] = audit_events.of_type(AgentSwitchEvent)
    assert (switch.from_agent, switch.to_agent, switch.turn_id) == ("alice", "bob", alice_start.turn_id)
    assert audit_events.types == [
        "turn_start", "model_call", "agent_switch", "turn_end", "turn_start", "model_call", "turn_end",
    ]  # fmt: skip


def test_an_agent_as_a_tool_is_a_turn_below_the_call(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    expert = agent(says("expert says"), name="expert").as_tool("consult", "Consult.", hooks=processor.hooks)
    run(agent(asks(("consult", '{"input":"x"}', "c1")), says("ok"), name="lead", tools=[expert]), processor)
    lead, inner = audit_events.of_type(TurnStartEvent)
    assert (inner.agent_id, inner.parent_turn_id, inner.parent_agent_id) == ("expert", lead.turn_id, "lead")
    assert inner.prompt_preview == "x"
    [call] = audit_events.of_type(ToolCallCompleteEvent)
    assert (call.turn_id, call.result_preview) == (lead.turn_id, "expert says")


def test_a_call_that_waits_for_an_approval_was_not_run(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    async def approve() -> None:
        payer = agent(asks(("pay", '{"amount":5}', "c1")), says("done"), tools=[pay])
        settings = RunConfig(group_id="chat-3")
        asked = await Runner.run(payer, "Pay.", hooks=processor.hooks, run_config=settings)
        [interruption] = asked.interruptions
        state = asked.to_state()
        state.approve(interruption)
        await Runner.run(payer, state, hooks=processor.hooks)

    asyncio.run(approve())
    assert {event.session_id for event in audit_events} == {"chat-3"}
    attempts = audit_events.of_type(ToolCallAttemptEvent)
    assert [e.arguments_preview for e in attempts] == ['{"amount":5}'] * 2
    assert attempts[1].tool_call_id == "c1"
    outcomes = audit_events.of_type(ToolCallCompleteEvent)
    assert [(e.status, e.result_preview) for e in outcomes] == [("not_run", ""), ("success", "paid 5")]
    assert processor.open_runs == processor.failures == 0


@pytest.mark.parametrize("triggered", [True, False])
def test_a_guardrail_is_a_policy_decision(
    audit_events: CapturedEvents, processor: AuditTracingProcessor, triggered: bool
) -> None:
    @input_guardrail(name="no_secrets")
    async def guardrail(*_: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=triggered)

    guarded_agent = agent(says("yes"), input_guardrails=[guardrail])
    if triggered:
        with pytest.raises(InputGuardrailTripwireTriggered):
            run(guarded_agent, processor)
    else:
        run(guarded_agent, processor)
    [decision] = audit_events.of_type(ToolPolicyDecisionEvent)
    assert (decision.action, decision.policy_source) == ("deny" if triggered else "allow", "no_secrets")
    assert len(audit_events.of_type(ErrorEvent)) == triggered
    assert audit_events.types[-1] == "turn_end"


def test_a_cancelled_run_leaves_no_call_without_an_outcome(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    async def cancelled() -> None:
        begun = asyncio.Event()

        @function_tool
        async def forever() -> str:
            """Wait."""
            begun.set()
            await asyncio.Event().wait()
            return ""

        waits = agent(asks(("forever", "{}", "c1")), tools=[forever])
        task = asyncio.create_task(Runner.run(waits, "Wait.", hooks=processor.hooks))
        await asyncio.wait_for(begun.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    [failure] = audit_events.of_type(ToolCallFailureEvent)
    assert (failure.tool_call_id, failure.error_type) == ("c1", "CancelledError")
    assert audit_events.types[-1] == "turn_end"
    assert processor.open_runs == 0


def test_spans_outside_of_any_agent_are_calls_without_a_turn(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    with trace("workflow", group_id="chat-2"), custom_span("step"):
        with function_span("lookup", input="x") as span:
            span.span_data.output = "y"
        with generation_span(model="m", output=[{"role": "assistant", "content": "hi"}]):
            pass
    assert audit_events.types == ["tool_call_attempt", "tool_call_complete", "model_call"]
    assert {(event.session_id, event.turn_id) for event in audit_events} == {("chat-2", None)}


def test_an_agents_span_with_an_error_that_nobody_raised_is_a_turn_with_that_error(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    with trace("workflow"), agent_span("planner") as span:
        span.set_error({"message": "Tool not found", "data": {"tool_name": "x"}})
    assert audit_events.types == ["turn_start", "error", "turn_end"]
    [error] = audit_events.of_type(ErrorEvent)
    assert (error.error_type, error.error_message) == ("SpanError", "Tool not found")


def test_a_hand_off_that_fails_is_an_error(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    with trace("workflow"), handoff_span(from_agent="a") as span:
        span.set_error({"message": "Multiple handoffs requested", "data": {}})
    [error] = audit_events.of_type(ErrorEvent)
    assert (error.error_message, error.error_context) == ("Multiple handoffs requested", "handoff")


def test_what_is_open_when_the_trace_ends_is_recorded_as_unfinished(
    audit_events: CapturedEvents, processor: AuditTracingProcessor
) -> None:
    with trace("workflow"):
        span = function_span("slow")
        span.start()
    [failure] = audit_events.of_type(ToolCallFailureEvent)
    assert failure.error_type == "RunUnfinishedError"
    span.finish()
    assert len(audit_events) == 2
    assert processor.open_runs == processor.failures == 0


def test_spans_that_never_end_are_bounded_and_recorded(audit_events: CapturedEvents) -> None:
    processor = AuditTracingProcessor(audit_events.emitter, open_runs=3)
    set_trace_processors([processor])
    with trace("workflow"):
        for number in range(5):
            function_span(f"slow{number}").start()
        assert (processor.open_runs, processor.dropped) == (3, 3)
    errors = [event.error_type for event in audit_events.of_type(ToolCallFailureEvent)]
    assert errors[:2] == ["RunDroppedError"] * 2


def test_hooks_without_tracing_are_counted_and_said_in_the_log(
    audit_events: CapturedEvents, processor: AuditTracingProcessor, caplog: pytest.LogCaptureFixture
) -> None:
    run(agent(*BOTH), processor, run_config=RunConfig(tracing_disabled=True))
    assert len(audit_events) == 0
    assert processor.failures > 0
    [line] = [record.getMessage() for record in caplog.records if "OpenAI Agents" in record.getMessage()]
    assert "tracing is disabled" in line


def test_a_broker_that_is_away_is_not_noticed() -> None:
    collector = KafkaCollector("127.0.0.1:1")
    try:
        ours = AuditTracingProcessor(AuditEmitter(collector, on_error="raise"))
        set_trace_processors([ours])
        run(agent(*BOTH), ours)
        assert (collector.health().accepted, ours.failures) == (8, 0)
    finally:
        with pytest.raises(FlushTimeout):  # nothing came to take them, which is what was to be shown
            collector.close(0)


class Refusing(InMemoryCollector):
    def emit(self, event: AuditEvent) -> None:
        raise RuntimeError("the trail is broken")

    def flush(self) -> None:
        raise RuntimeError("the trail is broken")


def test_a_trail_that_raises_is_counted_and_does_not_reach_the_agent() -> None:
    processor = AuditTracingProcessor(AuditEmitter(Refusing(), on_error="raise"))
    set_trace_processors([processor])
    assert run(agent(*BOTH), processor).final_output == "At home."
    counted = processor.failures
    assert counted > 0
    assert processor.open_runs == 0
    processor.force_flush()
    processor.shutdown()
    assert processor.failures == counted + 1


def test_many_runs_at_once_stay_apart(audit_events: CapturedEvents, processor: AuditTracingProcessor) -> None:
    async def one(number: int) -> None:
        script = [asks(("search", f'{{"q":"{number}"}}', f"c{number}")), says(f"answer {number}")]
        await Runner.run(
            agent(*script),
            f"question {number}",
            hooks=processor.hooks,
            run_config=RunConfig(group_id=f"chat-{number}"),
        )

    async def everybody() -> None:
        await asyncio.gather(*(one(number) for number in range(50)))

    asyncio.run(everybody())
    for number in range(50):
        mine = [event for event in audit_events if event.session_id == f"chat-{number}"]
        assert [event.event_type for event in mine] == [
            "turn_start", "model_call", "tool_call_attempt", "tool_call_complete", "model_call", "turn_end",
        ]  # fmt: skip
        assert len({event.turn_id for event in mine}) == 1
        first, last = mine[0], mine[-1]
        assert isinstance(first, TurnStartEvent)
        assert isinstance(last, TurnEndEvent)
        assert (first.prompt_preview, last.content_preview) == (f"question {number}", f"answer {number}")
