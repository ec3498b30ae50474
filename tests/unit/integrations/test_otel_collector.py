"""OTelCollector: what the real SDK exports of the events of agents that behave, and of those that do not."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip(
    "opentelemetry.sdk.trace", reason="needs opentelemetry-sdk (pip install 'auditwire[otel]')"
)

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from auditwire import (
    AuditEmitter,
    CollectorClosed,
    CompositeCollector,
    ConfigurationError,
    CustomEvent,
    EncodingError,
    FlushTimeout,
    InMemoryCollector,
    MissingExtraError,
    ToolCallAttemptEvent,
    ToolCallCompleteEvent,
    TurnEndEvent,
    TurnStartEvent,
)
from auditwire.collectors.otel import OTelCollector

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


class Traces:
    """A provider of its own with an exporter that keeps the spans."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.collector = OTelCollector(self.provider, **options)
        self.audit = AuditEmitter(self.collector, session_id="s", agent_id="main", on_error="raise")

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def span(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@pytest.fixture
def traces() -> Traces:
    return Traces()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def span_id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def inside(child: ReadableSpan, parent: ReadableSpan) -> bool:
    return child.parent is not None and child.parent.span_id == span_id(parent)


def test_a_turn_and_its_calls_become_nested_spans_of_the_conventions(traces: Traces) -> None:
    with traces.audit.turn(prompt="find it", agent_id="planner") as turn:
        with traces.audit.tool_call("search", {"q": 1}) as call:
            call.result = "found"
        turn.model_call(
            "m-1", provider="p", duration_ms=250.0, input_tokens=7, output_tokens=3, finish_reason="stop"
        )
    outer, tool, model = (traces.span(n) for n in ("invoke_agent planner", "execute_tool search", "chat m-1"))
    assert inside(tool, outer)
    assert inside(model, outer)
    assert outer.parent is None
    shown = attributes(outer)
    assert shown["gen_ai.operation.name"] == "invoke_agent"
    assert shown["gen_ai.agent.name"] == "planner"
    assert shown["gen_ai.conversation.id"] == "s"
    assert shown["auditwire.turn_id"] == turn.id
    assert shown["auditwire.function_calls_count"] == 1
    shown = attributes(tool)
    assert shown["gen_ai.operation.name"] == "execute_tool"
    assert (shown["gen_ai.tool.name"], shown["gen_ai.tool.call.id"]) == ("search", call.id)
    assert shown["auditwire.status"] == "success"
    assert tool.status.status_code is StatusCode.UNSET
    shown = attributes(model)
    assert (shown["gen_ai.request.model"], shown["gen_ai.provider.name"]) == ("m-1", "p")
    assert (shown["gen_ai.usage.input_tokens"], shown["gen_ai.usage.output_tokens"]) == (7, 3)
    assert shown["gen_ai.response.finish_reasons"] == ("stop",)
    assert model.kind is SpanKind.CLIENT
    assert model.end_time is not None
    assert model.start_time is not None
    assert model.end_time - model.start_time == 250_000_000
    assert traces.collector.unpaired == traces.collector.open_spans == 0


def test_a_span_has_the_times_and_the_ids_of_its_events(traces: Traces) -> None:
    start = TurnStartEvent(turn_id="t", timestamp_us=1_000_000, metadata={"a": 1})
    end = TurnEndEvent(turn_id="t", timestamp_us=3_500_000, metadata={"b": [2]})
    traces.audit.emit(start)
    traces.audit.emit(end)
    (span,) = traces.spans
    assert (span.start_time, span.end_time) == (1_000_000_000, 3_500_000_000)
    shown = attributes(span)
    assert (shown["auditwire.event_id"], shown["auditwire.end_event_id"]) == (start.event_id, end.event_id)
    assert (shown["auditwire.metadata"], shown["auditwire.end_metadata"]) == ('{"a":1}', '{"b":[2]}')


def test_an_end_before_its_beginning_makes_a_span_of_no_length(traces: Traces) -> None:
    traces.audit.emit(TurnStartEvent(turn_id="t", timestamp_us=2_000_000))
    traces.audit.emit(TurnEndEvent(turn_id="t", timestamp_us=1_000_000))
    assert (traces.spans[0].start_time, traces.spans[0].end_time) == (2_000_000_000, 2_000_000_000)


def test_content_stays_out_unless_it_is_asked_for(traces: Traces) -> None:
    asked = Traces(previews=True)
    for each in (traces, asked):
        with (
            each.audit.turn(prompt="secret prompt") as turn,
            each.audit.tool_call("t", "secret args") as call,
        ):
            call.result = "secret result"
            turn.content = "secret answer"
    assert "secret" not in repr([attributes(span) for span in traces.spans])
    tool, turn_span = attributes(asked.span("execute_tool t")), attributes(asked.span("invoke_agent main"))
    assert tool["gen_ai.tool.call.arguments"] == "secret args"
    assert tool["gen_ai.tool.call.result"] == "secret result"
    assert turn_span["auditwire.prompt_preview"] == "secret prompt"
    assert turn_span["auditwire.content_preview"] == "secret answer"
    assert attributes(traces.span("execute_tool t"))["auditwire.arguments_length"] == len("secret args")


def test_a_failed_call_has_the_status_error(traces: Traces) -> None:
    with pytest.raises(KeyError), traces.audit.turn(), traces.audit.tool_call("search"):
        raise KeyError("q")
    tool, turn = traces.span("execute_tool search"), traces.span("invoke_agent main")
    for span in (tool, turn):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "'q'"
        assert attributes(span)["error.type"] == "KeyError"
    (exception,) = turn.events
    assert exception.name == "exception"
    assert dict(exception.attributes or {})["exception.type"] == "KeyError"
    assert dict(exception.attributes or {})["exception.message"] == "'q'"


def test_an_error_that_did_not_end_the_turn_leaves_its_status_alone(traces: Traces) -> None:
    with traces.audit.turn() as turn:
        turn.error("Timeout", "slow")
    (span,) = traces.spans
    assert span.status.status_code is StatusCode.UNSET
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.parametrize(("status", "code"), [("denied", StatusCode.UNSET), ("failed", StatusCode.ERROR)])
def test_only_words_of_failure_in_a_status_make_an_error(
    traces: Traces, status: str, code: StatusCode
) -> None:
    with traces.audit.tool_call("t") as call:
        call.status = status
    assert traces.spans[0].status.status_code is code


def test_a_failed_model_call_has_the_status_error(traces: Traces) -> None:
    traces.audit.emit_model_call("m", error_type="RateLimit", status="error")
    (span,) = traces.spans
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "RateLimit"
    assert "gen_ai.usage.input_tokens" not in attributes(span)


def test_decisions_are_events_on_the_span_of_the_call(traces: Traces) -> None:
    with traces.audit.turn() as turn, traces.audit.tool_call("rm") as call:
        call.allowed("policy.rego")
        call.sandboxed("gvisor")
        call.approved_by("alice")
        call.mutated("scrub", "path")
        turn.loop_warning("rm", "rm rm", 3)
        turn.agent_switch("other")
    assert [event.name for event in traces.span("execute_tool rm").events] == [
        "auditwire.tool_policy_decision",
        "auditwire.sandbox_decision",
        "auditwire.approval",
        "auditwire.hook_mutation",
    ]
    assert [event.name for event in traces.span("invoke_agent main").events] == [
        "auditwire.tool_loop_warning",
        "auditwire.agent_switch",
    ]
    decision = dict(traces.span("execute_tool rm").events[0].attributes or {})
    assert (decision["auditwire.action"], decision["auditwire.policy_source"]) == ("allow", "policy.rego")


def test_a_decision_without_an_id_finds_the_call_by_its_name(traces: Traces) -> None:
    turn = traces.audit.emit_turn_start()
    traces.audit.emit_tool_call_attempt("rm", turn_id=turn)
    traces.audit.emit_tool_policy_decision("rm", action="allow", turn_id=turn)
    traces.audit.emit_tool_policy_decision("ls", action="allow", turn_id=turn)
    traces.audit.emit_tool_call_complete("rm", turn_id=turn)
    traces.audit.emit_turn_end(turn_id=turn)
    assert len(traces.span("execute_tool rm").events) == 1
    assert len(traces.span("invoke_agent main").events) == 1


@pytest.mark.parametrize("failed", [False, True])
def test_what_belongs_to_nothing_that_is_open_becomes_a_span_of_its_own(traces: Traces, failed: bool) -> None:
    if failed:
        traces.audit.emit_error("Broken", "it is")
    else:
        traces.audit.emit_skill_used("pdf", version="1")
    (span,) = traces.spans
    assert span.name == ("auditwire.error" if failed else "auditwire.skill_used")
    assert span.start_time == span.end_time
    assert (span.status.status_code is StatusCode.ERROR) is failed


def test_calls_without_an_id_pair_by_turn_and_name_the_youngest_first(traces: Traces) -> None:
    for at, turn in ((1, "a"), (2, "a"), (3, "b")):
        traces.audit.emit(ToolCallAttemptEvent(tool_name="t", turn_id=turn, timestamp_us=at))
    for at, turn in ((4, "a"), (5, "a"), (6, "b")):
        traces.audit.emit(ToolCallCompleteEvent(tool_name="t", turn_id=turn, timestamp_us=at))
    assert [(span.start_time, span.end_time) for span in traces.spans] == [
        (2000, 4000),
        (1000, 5000),
        (3000, 6000),
    ]


def test_the_same_turn_id_in_two_sessions_is_two_turns(traces: Traces) -> None:
    one, two = traces.audit.for_session("one"), traces.audit.for_session("two")
    one.emit_turn_start(turn_id="1")
    two.emit_turn_start(turn_id="1")
    one.emit_turn_end(turn_id="1")
    assert [attributes(span)["gen_ai.conversation.id"] for span in traces.spans] == ["one"]
    assert traces.collector.open_spans == 1


def test_a_sub_agents_turn_lies_in_the_turn_that_started_it(traces: Traces) -> None:
    with (
        traces.audit.turn(agent_id="boss"),
        traces.audit.tool_call("ask"),
        traces.audit.turn(agent_id="aide"),
        traces.audit.tool_call("search"),
    ):
        pass
    assert inside(traces.span("invoke_agent aide"), traces.span("invoke_agent boss"))
    assert inside(traces.span("execute_tool search"), traces.span("invoke_agent aide"))


def test_a_tool_that_calls_a_tool_holds_its_span(traces: Traces) -> None:
    with traces.audit.turn(), traces.audit.tool_call("outer"), traces.audit.tool_call("inner"):
        pass
    assert inside(traces.span("execute_tool inner"), traces.span("execute_tool outer"))


def test_a_turn_lies_in_the_span_that_was_active(traces: Traces) -> None:
    tracer = traces.provider.get_tracer("app")
    with tracer.start_as_current_span("request"), traces.audit.turn():
        pass
    assert inside(traces.span("invoke_agent main"), traces.span("request"))


def test_a_turn_lies_in_the_span_it_was_stamped_with_when_that_is_over(traces: Traces) -> None:
    tracer = traces.provider.get_tracer("app")
    kept = InMemoryCollector()
    with tracer.start_as_current_span("request"):
        AuditEmitter(kept).emit_turn_start(turn_id="t")
    traces.audit.emit(kept.get_events()[0])
    traces.audit.emit_turn_end(turn_id="t")
    assert inside(traces.span("invoke_agent main"), traces.span("request"))


def test_a_span_that_is_active_later_is_no_parent(traces: Traces) -> None:
    event = TurnStartEvent(turn_id="t", trace_id="nonsense", span_id="nonsense")
    zeros = TurnStartEvent(turn_id="u", trace_id="0" * 32, span_id="0" * 16)
    with traces.provider.get_tracer("app").start_as_current_span("other"):
        traces.collector.emit(event)
        traces.collector.emit(zeros)
    traces.collector.close()
    assert [span.parent for span in traces.spans if span.name == "invoke_agent"] == [None, None]


def test_what_the_application_does_not_sample_is_not_sampled_here() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    audit = AuditEmitter(OTelCollector(provider), on_error="raise")
    with provider.get_tracer("app").start_as_current_span("request"), audit.turn(), audit.tool_call("t"):
        pass
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("outcome", ["complete", "failure"])
def test_an_outcome_without_an_attempt_still_becomes_a_span(traces: Traces, outcome: str) -> None:
    if outcome == "complete":
        traces.audit.emit_tool_call_complete("t", duration_ms=5.0)
    else:
        traces.audit.emit_tool_call_failure("t")
    (span,) = traces.spans
    assert attributes(span)["auditwire.unpaired"] == "begin"
    assert span.end_time is not None
    assert span.start_time is not None
    assert span.end_time - span.start_time == (5_000_000 if outcome == "complete" else 0)
    assert (span.status.status_code is StatusCode.ERROR) is (outcome == "failure")
    assert traces.collector.unpaired == 1


def test_a_turns_end_without_a_beginning_still_becomes_a_span(traces: Traces) -> None:
    traces.audit.emit_turn_end(turn_id="never")
    assert attributes(traces.span("invoke_agent main"))["auditwire.unpaired"] == "begin"


def test_close_ends_what_is_open_and_leaves_the_provider_alone(traces: Traces) -> None:
    traces.audit.emit_turn_start(turn_id="t")
    traces.audit.emit_tool_call_attempt("t", turn_id="t")
    traces.collector.close()
    traces.collector.close()
    assert [attributes(span)["auditwire.unpaired"] for span in traces.spans] == ["end", "end"]
    assert traces.collector.unpaired == 2
    assert traces.collector.open_spans == 0
    with pytest.raises(CollectorClosed):
        traces.audit.emit_turn_start()
    traces.provider.get_tracer("app").start_span("later").end()
    assert traces.span("later").end_time


def test_the_oldest_is_ended_when_too_many_are_open() -> None:
    traces = Traces(max_open=2)
    for name in ("a", "b", "c"):
        traces.audit.emit_tool_call_attempt(name)
    assert [span.name for span in traces.spans] == ["execute_tool a"]
    assert traces.collector.open_spans == 2
    assert traces.collector.unpaired == 1


def test_the_oldest_of_calls_with_the_same_name_is_ended_when_too_many_are_open() -> None:
    traces = Traces(max_open=2)
    for at in (1, 2, 3):
        traces.audit.emit(ToolCallAttemptEvent(tool_name="t", timestamp_us=at))
    assert [span.start_time for span in traces.spans] == [1000]


@pytest.mark.parametrize("wrong", [0, -1, True, "10", 1.5])
def test_a_number_of_open_spans_that_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_open"):
        OTelCollector(max_open=wrong)


def test_values_that_do_not_fit_an_attribute_are_shown_as_text(traces: Traces) -> None:
    event: Any = ToolCallCompleteEvent(tool_name="t", tool_call_id="c")
    event.duration_ms = "soon"
    event.result_length = 2**70
    event.status = {"a": [1]}
    event.session_id = 5
    event.timestamp_us = "never"
    traces.collector.emit(event)
    shown = attributes(traces.spans[0])
    assert shown["auditwire.duration_ms"] == "soon"
    assert shown["auditwire.result_length"] in (str(2**70), hex(2**70))
    assert shown["auditwire.status"] == '{"a":[1]}'
    assert shown["gen_ai.conversation.id"] == "5"


def test_numbers_beyond_what_an_exporter_can_express_are_shown_as_text(traces: Traces) -> None:
    event: Any = ToolCallCompleteEvent(tool_name="t", tool_call_id="c", result_length=2**63)
    event.duration_ms = float("inf")
    traces.collector.emit(event)
    assert attributes(traces.spans[0])["auditwire.result_length"] == str(2**63)


def test_a_list_of_texts_stays_a_list(traces: Traces) -> None:
    traces.audit.emit_skill_authored("pdf", unique_tools=["a", "b"])
    assert attributes(traces.spans[0])["auditwire.unique_tools"] == ("a", "b")


class Foreign:
    event_type = "deploy"

    def to_dict(self) -> dict[str, Any]:
        return {"target": "prod", "turn_id": "t", "session_id": "s", "timestamp": "2026-01-01T00:00:00Z"}


class Broken(Foreign):
    def to_dict(self) -> dict[str, Any]:
        raise ValueError("no")


def test_events_of_foreign_classes_are_events_on_the_turn(traces: Traces) -> None:
    traces.audit.emit_turn_start(turn_id="t")
    traces.audit.emit(Foreign())
    traces.audit.emit(CustomEvent(custom_type="x", turn_id="t"))
    traces.audit.emit_turn_end(turn_id="t")
    deploy, custom = traces.spans[0].events
    assert (deploy.name, deploy.timestamp) == ("auditwire.deploy", 1_767_225_600_000_000_000)
    assert dict(deploy.attributes or {})["auditwire.target"] == "prod"
    assert dict(custom.attributes or {})["auditwire.custom_type"] == "x"


def test_an_event_of_a_foreign_class_that_fails_is_refused_by_name(traces: Traces) -> None:
    with pytest.raises(EncodingError, match="Broken"):
        traces.audit.emit(Broken())


def test_without_a_provider_of_its_own_it_uses_the_programs_and_flush_asks_it_if_it_can() -> None:
    collector = OTelCollector()  # the global one is a proxy here, which has nothing to flush
    AuditEmitter(collector).emit_turn_start()
    collector.flush()
    collector.close()


def test_flush_hands_on_the_timeout_and_believes_a_provider_that_says_no() -> None:
    class Slow(SpanProcessor):
        asked: int | None = None

        def force_flush(self, timeout_millis: int = 0) -> bool:
            self.asked = timeout_millis
            return False

    slow, provider = Slow(), TracerProvider()
    provider.add_span_processor(slow)
    collector = OTelCollector(provider)
    with pytest.raises(FlushTimeout, match=r"1\.5 s"):
        AuditEmitter(collector).flush(timeout=1.5)
    assert slow.asked is not None
    assert slow.asked <= 1500
    with pytest.raises(FlushTimeout):
        collector.close()


def test_a_processor_that_raises_is_counted_by_the_emitter_and_does_not_reach_the_agent() -> None:
    class Rude(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            raise RuntimeError("no")

    provider = TracerProvider()
    provider.add_span_processor(Rude())
    kept = InMemoryCollector()
    audit = AuditEmitter(CompositeCollector([OTelCollector(provider), kept]))
    with audit.turn(), audit.tool_call("t"):
        pass
    assert audit.refused == 4
    assert len(kept) == 4


def test_a_processor_that_emits_while_a_span_ends_does_not_deadlock(traces: Traces) -> None:
    class Talkative(SpanProcessor):
        def on_end(self, span: Any) -> None:
            if span.name.startswith("execute_tool"):
                traces.audit.emit_skill_used("told")

    traces.provider.add_span_processor(Talkative())
    with traces.audit.tool_call("t"):
        pass
    assert traces.span("auditwire.skill_used").end_time


def test_many_threads_pair_their_own_calls(traces: Traces) -> None:
    def work(number: int) -> None:
        with traces.audit.turn(agent_id=f"a{number}"):
            for _ in range(20):
                with traces.audit.tool_call(f"tool{number}"):
                    pass

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    turns = {f"a{n}": traces.span(f"invoke_agent a{n}") for n in range(8)}
    tools = [span for span in traces.spans if span.name.startswith("execute_tool")]
    assert len(tools) == 160
    assert all(inside(tool, turns["a" + tool.name.removeprefix("execute_tool tool")]) for tool in tools)
    assert traces.collector.open_spans == traces.collector.unpaired == 0


FORKED = """
import os
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from auditwire import AuditEmitter
from auditwire.collectors.otel import OTelCollector

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
audit = AuditEmitter(OTelCollector(provider), on_error="raise")
audit.emit_turn_start(turn_id="t")
child = os.fork()
if child == 0:
    with audit.bind(turn_id="t"), audit.tool_call("below"):
        pass
    audit.close()
else:
    os.waitpid(child, 0)
    audit.emit_turn_end(turn_id="t")
for span in exporter.get_finished_spans():
    print(span.name, span.parent.span_id if span.parent else span.context.span_id, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_end_its_parents_spans_but_may_lie_in_them() -> None:
    # a process of its own: to fork one with threads, as this one may have, is a warning from 3.12 on
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    below, turn = done.stdout.splitlines()
    assert turn.startswith("invoke_agent ")
    assert below == f"execute_tool below {turn.split()[-1]}"


@pytest.mark.parametrize("module", ["auditwire.collectors.otel", "auditwire.collectors.otel_fields"])
def test_without_opentelemetry_it_says_what_to_install(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for loaded in ("auditwire.collectors.otel", "auditwire.collectors.otel_fields", "opentelemetry.trace"):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    with pytest.raises(MissingExtraError, match=r"auditwire\[otel\]"):
        importlib.import_module(module)
