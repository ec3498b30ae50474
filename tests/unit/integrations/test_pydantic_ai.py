"""AuditCapability: runs of real pydantic-ai agents with scripted models."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip(
    "pydantic_ai.capabilities",
    reason="needs pydantic-ai-slim 2 or later (pip install 'auditwire[pydantic-ai]')",
)

from pydantic_ai import Agent, DeferredToolRequests, ModelRetry, RunContext
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.exceptions import CallDeferred, SkipToolExecution, UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel

from auditwire import AuditEmitter, InMemoryCollector, MissingExtraError, SinkError
from auditwire.integrations.pydantic_ai import AuditCapability

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@pytest.fixture
def kept() -> InMemoryCollector:
    return InMemoryCollector()


@pytest.fixture
def audit(kept: InMemoryCollector) -> AuditEmitter:
    return AuditEmitter(kept, on_error="raise")


def kinds(kept: InMemoryCollector) -> list[str]:
    return [event.event_type for event in kept.get_events()]


def of_kind(kept: InMemoryCollector, kind: str) -> list[Any]:
    return [event for event in kept.get_events() if event.event_type == kind]


def scripted(*answers: Sequence[Any]) -> FunctionModel:
    """A model that gives these answers, one after the other."""
    left = iter(answers)

    def answer(messages: list[ModelMessage], info: Any) -> ModelResponse:
        return ModelResponse(parts=list(next(left)), finish_reason="stop")

    return FunctionModel(answer, model_name="scripted")


def agent_of(
    audit: AuditEmitter, model: Any, *tools: Callable[..., Any], name: str = "planner", **options: Any
) -> Agent[None, Any]:
    agent: Agent[None, Any] = Agent(model, name=name, capabilities=[AuditCapability(audit)], **options)
    for tool in tools:
        agent.tool_plain(retries=3)(tool)
    return agent


def run(agent: Agent[None, Any], prompt: str, **options: Any) -> Any:
    # not run_sync, which leaves an event loop open
    return asyncio.run(agent.run(prompt, **options))


def weather(city: str) -> str:
    if city == "nowhere":
        raise ModelRetry("no such city")
    if city == "broken":
        raise OSError("no sky")
    return f"sun in {city}"


def ask(city: Any, call_id: str = "c-1") -> ToolCallPart:
    return ToolCallPart("weather", {"city": city}, tool_call_id=call_id)


DONE = [TextPart("done")]


def test_a_run_is_a_turn_with_its_calls(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    agent = agent_of(audit, scripted([ask("rome")], DONE), weather)
    run(agent, "how is it?", conversation_id="conv-1")
    assert kinds(kept) == [
        "turn_start",
        "model_call",
        "tool_call_attempt",
        "tool_call_complete",
        "model_call",
        "turn_end",
    ]
    start, model, attempt, complete, _, end = (event.to_dict() for event in kept.get_events())
    assert {event.agent_id for event in kept.get_events()} == {"planner"}
    assert {event.session_id for event in kept.get_events()} == {"conv-1"}
    assert len({event.turn_id for event in kept.get_events()}) == 1
    assert start["prompt_preview"] == "how is it?"
    assert start["metadata"] == {"pydantic_ai.conversation_id": "conv-1"}
    assert model["model"] == "scripted"
    assert model["provider"] == "function"
    assert model["input_tokens"] > 0
    assert model["output_tokens"] > 0
    assert model["finish_reason"] == "stop"
    assert model["duration_ms"] > 0
    assert attempt["tool_call_id"] == complete["tool_call_id"] == "c-1"
    assert attempt["arguments_preview"] == '{"city":"rome"}'
    assert complete["result_preview"] == "sun in rome"
    assert end["content_preview"] == "done"
    assert end["function_calls_count"] == 1


@pytest.mark.parametrize("how", ["run", "run_stream", "iter"])
def test_every_way_to_run_tells_the_same(audit: AuditEmitter, kept: InMemoryCollector, how: str) -> None:
    agent = agent_of(audit, TestModel(), weather)

    async def main() -> None:
        if how == "run":
            await agent.run("hi")
        elif how == "run_stream":
            async with agent.run_stream("hi") as stream:
                await stream.get_output()
        else:
            async with agent.iter("hi") as run:
                async for _ in run:
                    pass

    asyncio.run(main())
    assert kinds(kept) == [
        "turn_start",
        "model_call",
        "tool_call_attempt",
        "tool_call_complete",
        "model_call",
        "turn_end",
    ]
    assert len({event.turn_id for event in kept.get_events()}) == 1


def test_a_session_of_the_emitter_or_the_context_goes_before_the_conversation(
    kept: InMemoryCollector,
) -> None:
    audit = AuditEmitter(kept, session_id="emitter")
    agent = agent_of(audit, TestModel())
    run(agent, "hi")
    with audit.bind(session_id="bound"):
        run(agent, "hi")
    assert [event.session_id for event in of_kind(kept, "turn_start")] == ["emitter", "bound"]


def test_the_capabilitys_agent_goes_before_the_agents_name(
    audit: AuditEmitter, kept: InMemoryCollector
) -> None:
    run(Agent(TestModel(), name="own", capabilities=[AuditCapability(audit, agent_id="given")]), "hi")
    assert {event.agent_id for event in kept.get_events()} == {"given"}


def test_what_a_tool_emits_belongs_to_its_call(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    def look() -> str:
        audit.emit_sandbox_decision("look", backend_type="gvisor")
        return "seen"

    run(agent_of(audit, TestModel(), look), "hi")
    (decision,) = of_kind(kept, "sandbox_decision")
    (attempt,) = of_kind(kept, "tool_call_attempt")
    assert decision.turn_id == attempt.turn_id
    assert decision.tool_call_id == attempt.tool_call_id


def test_a_tool_that_asks_the_model_to_retry_is_a_failure_and_the_retry_a_call_of_its_own(
    audit: AuditEmitter, kept: InMemoryCollector
) -> None:
    model = scripted([ask("nowhere", "c-1")], [ask("rome", "c-2")], DONE)
    run(agent_of(audit, model, weather), "hi")
    (failure,) = of_kind(kept, "tool_call_failure")
    assert (failure.tool_call_id, failure.error_type) == ("c-1", "ToolRetryError")
    assert "no such city" in failure.error_message
    first, second = of_kind(kept, "tool_call_attempt")
    assert (first.metadata, second.metadata) == ({}, {"pydantic_ai.retry": 1})
    assert of_kind(kept, "tool_call_complete")[0].tool_call_id == "c-2"


def test_arguments_that_do_not_fit_are_a_failure_that_does_not_show_them(
    audit: AuditEmitter, kept: InMemoryCollector
) -> None:
    model = scripted([ask(["secret"])], DONE)
    run(agent_of(audit, model, weather), "hi")
    (failure,) = of_kind(kept, "tool_call_failure")
    assert len(of_kind(kept, "tool_call_attempt")) == 1
    assert failure.error_type == "ValidationError"
    assert failure.error_message == "city: Input should be a valid string"


def test_a_validator_that_asks_for_a_retry_is_a_failure(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    def check(ctx: RunContext[None], city: str) -> None:
        if city == "bad":
            raise ModelRetry("ask for another")

    agent = agent_of(audit, scripted([ask("bad")], DONE))
    agent.tool_plain(args_validator=check)(weather)
    run(agent, "hi")
    (failure,) = of_kind(kept, "tool_call_failure")
    assert (failure.error_type, failure.error_message) == ("ModelRetry", "ask for another")


def test_a_tool_that_raises_ends_the_turn_with_an_error(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    with pytest.raises(OSError, match="no sky"):
        run(agent_of(audit, scripted([ask("broken")]), weather), "hi")
    assert kinds(kept)[2:] == ["tool_call_attempt", "tool_call_failure", "error", "turn_end"]
    assert of_kind(kept, "error")[0].error_context == "turn"
    assert of_kind(kept, "tool_call_failure")[0].error_type == "OSError"


def test_a_model_that_fails_is_a_model_call_with_an_error(
    audit: AuditEmitter, kept: InMemoryCollector
) -> None:
    def fail(messages: list[ModelMessage], info: Any) -> ModelResponse:
        raise UnexpectedModelBehavior("nonsense")

    with pytest.raises(UnexpectedModelBehavior):
        run(agent_of(audit, FunctionModel(fail, model_name="m")), "hi")
    (model,) = of_kind(kept, "model_call")
    assert (model.model, model.status, model.error_type) == ("m", "error", "UnexpectedModelBehavior")
    assert kinds(kept)[-2:] == ["error", "turn_end"]


def test_a_run_that_is_cancelled_ends_what_it_began(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def wait() -> str:
            started.set()
            await asyncio.Event().wait()
            return ""

        task = asyncio.create_task(agent_of(audit, TestModel(), wait).run("hi"))
        await asyncio.wait_for(started.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    # the framework ends the run first, and then the tools
    assert sorted(kinds(kept)[2:]) == ["error", "tool_call_attempt", "tool_call_failure", "turn_end"]
    (failure,) = of_kind(kept, "tool_call_failure")
    assert failure.error_type == "CancelledError"
    assert failure.turn_id == of_kind(kept, "turn_end")[0].turn_id


def test_a_delegated_run_names_the_turn_it_is_part_of(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    aide = agent_of(audit, TestModel(), name="aide")

    async def delegate(task: str) -> str:
        return str((await aide.run(task)).output)

    run(agent_of(audit, TestModel(), delegate, name="boss"), "hi")
    boss, sub = of_kind(kept, "turn_start")
    assert (boss.agent_id, boss.parent_turn_id) == ("boss", None)
    assert (sub.agent_id, sub.parent_turn_id, sub.parent_agent_id) == ("aide", boss.turn_id, "boss")
    assert [event.agent_id for event in of_kind(kept, "model_call")] == ["boss", "aide", "boss"]


def test_many_runs_at_once_keep_their_own_turns(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    agent = agent_of(audit, TestModel(), weather)

    async def main() -> None:
        await asyncio.gather(*(agent.run(f"{n}") for n in range(50)))

    asyncio.run(main())
    turns: dict[str | None, list[str]] = {}
    for event in kept.get_events():
        turns.setdefault(event.turn_id, []).append(event.event_type)
    assert len(turns) == 50
    assert all(
        events
        == ["turn_start", "model_call", "tool_call_attempt", "tool_call_complete", "model_call", "turn_end"]
        for events in turns.values()
    )


def test_calls_that_are_deferred_or_need_approval_are_no_failures(
    audit: AuditEmitter, kept: InMemoryCollector
) -> None:
    def later() -> str:
        raise CallDeferred

    def guarded() -> str:
        return "done"

    agent = agent_of(audit, TestModel(), later, output_type=[str, DeferredToolRequests])

    def asks(ctx: RunContext[None]) -> str:
        from pydantic_ai.exceptions import ApprovalRequired

        raise ApprovalRequired

    agent.tool(asks)
    result = run(agent, "hi")
    assert isinstance(result.output, DeferredToolRequests)
    status = {event.tool_name: event.status for event in of_kind(kept, "tool_call_complete")}
    assert status == {"later": "deferred", "asks": "approval_required"}
    (decision,) = of_kind(kept, "tool_policy_decision")
    assert (decision.tool_name, decision.action, decision.policy_source) == ("asks", "ask", "pydantic-ai")
    assert of_kind(kept, "tool_call_failure") == of_kind(kept, "error") == []


def test_a_call_that_another_capability_skips_says_so(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    from pydantic_ai.capabilities import Hooks

    hooks: Hooks[None] = Hooks()

    async def skip(ctx: Any, *, call: Any, tool_def: Any, args: Any) -> Any:
        raise SkipToolExecution("from the cache")

    hooks.on.before_tool_execute(skip)
    agent: Agent[None, str] = Agent(
        scripted([ask("rome")], DONE), name="a", capabilities=[hooks, AuditCapability(audit)]
    )
    agent.tool_plain(weather)
    run(agent, "hi")
    (complete,) = of_kind(kept, "tool_call_complete")
    assert (complete.status, complete.result_preview) == ("skipped", "from the cache")


def test_an_output_function_is_a_call(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    def finish(answer: str) -> str:
        return answer.upper()

    model = scripted([ToolCallPart("final_result", {"answer": "yes"}, tool_call_id="c-9")])
    run(agent_of(audit, model, output_type=finish), "hi")
    (attempt,) = of_kind(kept, "tool_call_attempt")
    (complete,) = of_kind(kept, "tool_call_complete")
    assert (attempt.tool_name, attempt.tool_call_id) == ("final_result", "c-9")
    assert complete.result_preview == "YES"


def test_an_output_that_runs_nothing_is_no_call(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    run(agent_of(audit, TestModel(), output_type=int), "hi")
    assert of_kind(kept, "tool_call_attempt") == []


class Refusing(InMemoryCollector):
    def emit(self, event: Any) -> None:
        raise SinkError("no room")


@pytest.mark.parametrize("on_error", ["log", "raise"])
def test_a_collector_that_refuses_does_not_break_the_run(on_error: Any) -> None:
    def asks() -> str:
        from pydantic_ai.exceptions import ApprovalRequired

        raise ApprovalRequired

    audit = AuditEmitter(Refusing(), on_error=on_error)
    capability = AuditCapability(audit)
    agent: Agent[None, Any] = Agent(
        TestModel(), name="a", capabilities=[capability], output_type=[str, DeferredToolRequests]
    )
    agent.tool_plain(weather)
    assert run(agent, "hi").output
    agent.tool_plain(asks)
    run(agent, "hi")
    assert audit.refused > 10
    assert capability.failures == (audit.refused if on_error == "raise" else 0)


def test_events_take_the_ids_of_the_frameworks_own_spans(
    audit: AuditEmitter, kept: InMemoryCollector
) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="needs opentelemetry-sdk")
    export = importlib.import_module("opentelemetry.sdk.trace.export")
    memory = importlib.import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    settings = InstrumentationSettings(tracer_provider=provider)
    agent: Agent[None, str] = Agent(
        TestModel(), name="a", capabilities=[AuditCapability(audit), Instrumentation(settings=settings)]
    )
    agent.tool_plain(weather)
    run(agent, "hi")
    names = {f"{span.context.span_id:016x}": span.name for span in exporter.get_finished_spans()}
    told = {event.event_type: names[event.span_id or ""].split()[0] for event in kept.get_events()}
    assert told["turn_start"] == "invoke_agent"
    assert told["tool_call_attempt"] == told["tool_call_complete"] == "execute_tool"


def test_outside_of_a_run_a_model_call_still_becomes_an_event(
    audit: AuditEmitter, kept: InMemoryCollector
) -> None:
    AuditCapability(audit)._model_call("m", input_tokens=1)
    assert kinds(kept) == ["model_call"]


def test_it_does_not_go_into_an_agents_specification() -> None:
    assert AuditCapability.get_serialization_name() is None


def test_without_pydantic_ai_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_ai.capabilities", None)
    monkeypatch.delitem(sys.modules, "auditwire.integrations.pydantic_ai")
    with pytest.raises(MissingExtraError, match=r"auditwire\[pydantic-ai\]"):
        importlib.import_module("auditwire.integrations.pydantic_ai")
