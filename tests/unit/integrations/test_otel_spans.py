"""AuditSpanProcessor: the events of GenAI spans, with the real SDK and the spans of a real framework."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip(
    "opentelemetry.sdk.trace", reason="needs opentelemetry-sdk (pip install 'auditwire[otel]')"
)

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from auditwire import (
    AuditEmitter,
    CompositeCollector,
    FlushTimeout,
    InMemoryCollector,
    MissingExtraError,
    SinkError,
)
from auditwire.collectors.otel import OTelCollector
from auditwire.integrations.otel_spans import AuditSpanProcessor

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


class Traced:
    """A tracer whose spans become events."""

    def __init__(self, audit: AuditEmitter | None = None, **options: Any) -> None:
        self.kept = InMemoryCollector()
        self.audit = audit or AuditEmitter(self.kept, session_id="fallback")
        self.processor = AuditSpanProcessor(self.audit, **options)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)
        self.tracer: Tracer = self.provider.get_tracer("framework")

    @property
    def events(self) -> list[Any]:
        return self.kept.get_events()

    @property
    def kinds(self) -> list[str]:
        return [event.event_type for event in self.events]


@pytest.fixture
def traced() -> Traced:
    return Traced()


AGENT = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "planner",
    "gen_ai.conversation.id": "c-1",
    "gen_ai.input.messages": "find it",
}
TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "search",
    "gen_ai.tool.call.id": "call-1",
    "gen_ai.tool.call.arguments": '{"q":1}',
}
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "p",
    "gen_ai.request.model": "m-1",
    "gen_ai.usage.input_tokens": 7,
    "gen_ai.usage.output_tokens": 3,
    "gen_ai.response.finish_reasons": ["stop"],
}


def hex_id(span: Span) -> str:
    return f"{span.get_span_context().span_id:016x}"


def test_agent_tool_and_model_spans_become_the_events_of_a_turn(traced: Traced) -> None:
    with traced.tracer.start_as_current_span("invoke_agent planner", attributes=AGENT) as agent:
        traced.tracer.start_span("chat m-1", attributes=CHAT).end()
        with (
            traced.tracer.start_as_current_span("running tools"),
            traced.tracer.start_as_current_span("execute_tool search", attributes=TOOL) as tool,
        ):
            tool.set_attribute("gen_ai.tool.call.result", "found")
        agent.set_attribute("gen_ai.output.messages", "here it is")
    assert traced.kinds == [
        "turn_start",
        "model_call",
        "tool_call_attempt",
        "tool_call_complete",
        "turn_end",
    ]
    start, model, attempt, complete, end = traced.events
    assert {event.turn_id for event in traced.events} == {hex_id(agent)}
    assert {event.agent_id for event in traced.events} == {"planner"}
    assert {event.session_id for event in traced.events} == {"c-1"}
    assert {event.trace_id for event in traced.events} == {f"{agent.get_span_context().trace_id:032x}"}
    assert (start.span_id, attempt.span_id) == (hex_id(agent), hex_id(tool))
    assert (start.prompt_preview, start.parent_turn_id) == ("find it", None)
    assert (model.model, model.provider, model.operation, model.status) == ("m-1", "p", "chat", "success")
    assert (model.input_tokens, model.output_tokens, model.finish_reason) == (7, 3, "stop")
    assert (attempt.tool_name, attempt.tool_call_id) == ("search", "call-1")
    assert (attempt.arguments_preview, complete.result_preview) == ('{"q":1}', "found")
    assert complete.tool_call_id == "call-1"
    assert (end.content_preview, end.function_calls_count) == ("here it is", 1)


def test_times_and_durations_are_the_spans_own(traced: Traced) -> None:
    span = traced.tracer.start_span("t", attributes=TOOL, start_time=5_000_000_000)
    span.end(7_500_000_000)
    attempt, complete = traced.events
    assert (attempt.timestamp_us, complete.timestamp_us) == (5_000_000, 7_500_000)
    assert complete.duration_ms == 2500.0
    traced.tracer.start_span("chat", attributes=CHAT, start_time=2_000_000_000).end(1_000_000_000)
    assert traced.events[-1].duration_ms == 0.0


def test_without_attributes_of_its_own_a_span_takes_what_is_known(traced: Traced) -> None:
    span = traced.tracer.start_span("lookup", attributes={"gen_ai.operation.name": "execute_tool"})
    span.end()
    attempt = traced.events[0]
    assert (attempt.tool_name, attempt.tool_call_id) == ("lookup", hex_id(span))
    assert (attempt.session_id, attempt.turn_id, attempt.agent_id) == ("fallback", None, None)


def test_a_tool_that_raises_is_a_failure_with_the_exceptions_class_and_text(traced: Traced) -> None:
    with pytest.raises(KeyError), traced.tracer.start_as_current_span("t", attributes=TOOL):
        raise KeyError("q")
    failure = traced.events[-1]
    assert traced.kinds == ["tool_call_attempt", "tool_call_failure"]
    assert (failure.error_type, failure.error_message) == ("KeyError", "'q'")
    assert failure.metadata["duration_ms"] >= 0


@pytest.mark.parametrize(
    ("attributes", "status", "told"),
    [
        ({"error.type": "timeout"}, None, ("timeout", "")),
        ({}, "it broke", ("error", "it broke")),
        ({"error.type": "500"}, "it broke", ("500", "it broke")),
    ],
)
def test_an_error_is_told_from_wherever_the_span_says_so(
    traced: Traced, attributes: dict[str, str], status: str | None, told: tuple[str, str]
) -> None:
    with traced.tracer.start_as_current_span("t", attributes={**TOOL, **attributes}) as span:
        if status is not None:
            span.set_status(StatusCode.ERROR, status)
    assert (traced.events[-1].error_type, traced.events[-1].error_message) == told


def test_a_failed_turn_emits_an_error_and_then_its_end(traced: Traced) -> None:
    with pytest.raises(OSError, match="gone"), traced.tracer.start_as_current_span("a", attributes=AGENT):
        raise OSError("gone")
    assert traced.kinds == ["turn_start", "error", "turn_end"]
    wrong, end = traced.events[1:]
    assert (wrong.error_type, wrong.error_message, wrong.error_context) == ("OSError", "gone", "turn")
    assert wrong.turn_id == end.turn_id


def test_a_failed_model_call_says_so(traced: Traced) -> None:
    traced.tracer.start_span("chat", attributes={**CHAT, "error.type": "RateLimit"}).end()
    assert (traced.events[0].status, traced.events[0].error_type) == ("error", "RateLimit")


def test_older_names_and_odd_values_are_understood(traced: Traced) -> None:
    traced.tracer.start_span(
        "completion",
        attributes={
            "gen_ai.operation.name": "text_completion",
            "gen_ai.system": "old",
            "gen_ai.response.model": "m-2",
            "gen_ai.usage.input_tokens": "many",
            "gen_ai.response.finish_reasons": "stop",
        },
    ).end()
    (model,) = traced.events
    assert (model.operation, model.provider, model.model) == ("text_completion", "old", "m-2")
    assert (model.input_tokens, model.finish_reason) == (0, "")


def test_a_sub_agents_turn_names_the_turn_around_it(traced: Traced) -> None:
    with (
        traced.tracer.start_as_current_span("a", attributes=AGENT) as boss,
        traced.tracer.start_as_current_span("t", attributes=TOOL),
        traced.tracer.start_as_current_span(
            "b", attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.id": "aide"}
        ) as aide,
    ):
        traced.tracer.start_span("chat", attributes=CHAT).end()
    sub = [event for event in traced.events if event.event_type == "turn_start"][1]
    assert (sub.turn_id, sub.agent_id, sub.session_id) == (hex_id(aide), "aide", "c-1")
    assert (sub.parent_turn_id, sub.parent_agent_id) == (hex_id(boss), "planner")
    model = next(event for event in traced.events if event.event_type == "model_call")
    assert (model.turn_id, model.agent_id) == (hex_id(aide), "aide")
    attempt = next(event for event in traced.events if event.event_type == "tool_call_attempt")
    assert attempt.turn_id == hex_id(boss)


def test_attributes_set_after_the_start_are_seen_at_the_first_span_below(traced: Traced) -> None:
    with traced.tracer.start_as_current_span("a") as agent:
        agent.set_attributes(AGENT)
        assert traced.kinds == []
        traced.tracer.start_span("t", attributes=TOOL).end()
    assert traced.kinds == ["turn_start", "tool_call_attempt", "tool_call_complete", "turn_end"]
    assert {event.turn_id for event in traced.events} == {hex_id(agent)}


def test_attributes_set_after_the_start_are_seen_at_the_end_at_the_latest(traced: Traced) -> None:
    span = traced.tracer.start_span("t", start_time=1_000_000)
    span.set_attributes(TOOL)
    span.end(2_000_000)
    assert [(e.event_type, e.timestamp_us) for e in traced.events] == [
        ("tool_call_attempt", 1000),
        ("tool_call_complete", 2000),
    ]


def test_other_operations_become_custom_events_without_content(traced: Traced) -> None:
    attributes = {
        "gen_ai.operation.name": "create_agent",
        "gen_ai.request.model": "m",
        "gen_ai.system_instructions": "secret",
    }
    with traced.tracer.start_as_current_span("create_agent x", attributes=attributes) as span:
        span.set_status(StatusCode.ERROR)
    (event,) = traced.events
    assert event.custom_type == "gen_ai.create_agent"
    payload = json.loads(event.payload)
    assert payload.pop("duration_ms") >= 0
    assert payload == {
        "operation": "create_agent",
        "name": "create_agent x",
        "model": "m",
        "provider": "",
        "error_type": "error",
    }


def test_spans_of_anything_else_become_no_events(traced: Traced) -> None:
    with traced.tracer.start_as_current_span("GET /"):
        traced.tracer.start_span("query", attributes={"gen_ai.operation.name": 7}).end()
    assert traced.events == []


def test_previews_are_redacted_as_the_emitter_does() -> None:
    kept = InMemoryCollector()
    audit = AuditEmitter(kept, redact=lambda text: text.replace("secret", "***"), preview_chars=8)
    traced = Traced(audit)
    traced.tracer.start_span("t", attributes={**TOOL, "gen_ai.tool.call.arguments": "a secret long"}).end()
    attempt: Any = kept.get_events()[0]
    assert (attempt.arguments_preview, attempt.arguments_length) == ("a *** lo", len("a *** long"))


def test_an_event_that_became_a_span_does_not_become_an_event_again() -> None:
    kept, exporter, provider = (
        InMemoryCollector(),
        InMemorySpanExporter(),
        TracerProvider(shutdown_on_exit=False),
    )
    audit = AuditEmitter(CompositeCollector([kept, OTelCollector(provider)]), on_error="raise")
    provider.add_span_processor(AuditSpanProcessor(audit))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with audit.turn(), audit.tool_call("own"):
        provider.get_tracer("framework").start_span("t", attributes=TOOL).end()
    assert [event.event_type for event in kept.get_events()] == [
        "turn_start",
        "tool_call_attempt",
        "tool_call_attempt",
        "tool_call_complete",
        "tool_call_complete",
        "turn_end",
    ]
    assert sorted(span.name for span in exporter.get_finished_spans()) == [
        "execute_tool own",
        "execute_tool search",
        "invoke_agent",
        "t",
    ]


def test_spans_below_a_turn_of_the_pairing_api_belong_to_it(traced: Traced) -> None:
    with traced.audit.turn(agent_id="main") as turn:
        traced.tracer.start_span("t", attributes=TOOL).end()
    assert {event.turn_id for event in traced.events} == {turn.id}


class Refusing(InMemoryCollector):
    def emit(self, event: Any) -> None:
        raise SinkError("no room")

    def flush(self) -> None:
        raise SinkError("no room")


@pytest.mark.parametrize("on_error", ["log", "raise"])
def test_a_collector_that_refuses_does_not_break_the_programs_spans(on_error: Any) -> None:
    audit = AuditEmitter(Refusing(), on_error=on_error)
    traced = Traced(audit)
    with traced.tracer.start_as_current_span("a", attributes=AGENT):
        traced.tracer.start_span("t", attributes=TOOL).end()
    assert audit.refused == 4
    assert traced.processor.failures == (4 if on_error == "raise" else 0)
    assert traced.processor.force_flush() is False


def test_a_span_that_is_no_span_is_counted_and_not_raised(traced: Traced) -> None:
    broken: Any = object()
    traced.processor.on_start(broken)
    traced.processor.on_end(broken)
    assert traced.processor.failures == 2
    traced.processor.shutdown()


def test_force_flush_tells_when_the_emitter_could_not(traced: Traced) -> None:
    class Slow(InMemoryCollector):
        asked = 0.0

        def flush(self, timeout: float = 0.0) -> None:
            self.asked = timeout
            raise FlushTimeout("slow", pending=1)

    assert traced.provider.force_flush(1500) is True
    slow = Slow()
    assert Traced(AuditEmitter(slow)).processor.force_flush(1500) is False
    assert slow.asked == 1.5


def test_the_emitter_outlives_the_tracer_provider(traced: Traced) -> None:
    traced.provider.shutdown()
    traced.audit.emit_turn_start()
    assert traced.kinds == ["turn_start"]


def test_the_end_of_a_span_that_was_forgotten_is_still_an_event() -> None:
    traced = Traced(max_open=1)
    agent = traced.tracer.start_span("a", attributes=AGENT)
    tool = traced.tracer.start_span("t", attributes=TOOL)
    chat = traced.tracer.start_span("chat", attributes=CHAT)
    other = traced.tracer.start_span("o", attributes={"gen_ai.operation.name": "create_agent"})
    for span in (agent, tool, chat, other):
        span.end()
    assert traced.kinds == [
        "turn_start",
        "tool_call_attempt",
        "turn_end",
        "tool_call_complete",
        "model_call",
        "custom",
    ]
    assert traced.processor.dropped == 3


def test_spans_of_many_threads_keep_to_their_own_turns(traced: Traced) -> None:
    def work(number: int) -> None:
        attributes = {**AGENT, "gen_ai.agent.name": f"a{number}"}
        with traced.tracer.start_as_current_span("a", attributes=attributes):
            for _ in range(20):
                with traced.tracer.start_as_current_span("t", attributes=TOOL):
                    pass

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ends = [event for event in traced.events if event.event_type == "turn_end"]
    assert sorted(end.function_calls_count for end in ends) == [20] * 8
    agents = {end.turn_id: end.agent_id for end in ends}
    assert all(agents[event.turn_id] == event.agent_id for event in traced.events)


def test_the_spans_of_a_real_framework_become_events(traced: Traced) -> None:
    pydantic_ai = pytest.importorskip("pydantic_ai", reason="needs pydantic-ai-slim, for spans of its making")
    from pydantic_ai.models.instrumented import InstrumentationSettings
    from pydantic_ai.models.test import TestModel

    agent = pydantic_ai.Agent(TestModel(), name="helper")

    def weather(city: str) -> str:
        return f"sun in {city}"

    agent.tool_plain(weather)
    agent.instrument = InstrumentationSettings(tracer_provider=traced.provider)
    asyncio.run(agent.run("how is it in a?", conversation_id="c-9"))
    assert traced.kinds == [
        "turn_start",
        "model_call",
        "tool_call_attempt",
        "tool_call_complete",
        "model_call",
        "turn_end",
    ]
    assert {event.agent_id for event in traced.events} == {"helper"}
    assert {event.session_id for event in traced.events} == {"c-9"}
    assert len({event.turn_id for event in traced.events}) == 1
    assert traced.events[2].tool_name == "weather"
    assert json.loads(traced.events[2].arguments_preview) == {"city": "a"}
    assert traced.events[3].result_preview == "sun in a"
    assert traced.events[1].input_tokens > 0


def test_without_the_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    for loaded in ("auditwire.integrations.otel_spans", "opentelemetry.sdk.trace"):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    with pytest.raises(MissingExtraError, match=r"auditwire\[otel\]"):
        importlib.import_module("auditwire.integrations.otel_spans")
