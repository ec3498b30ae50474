"""The ids of the active OpenTelemetry span in every event, with the real SDK."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from typing import Any

import pytest

pytest.importorskip(
    "opentelemetry.sdk.trace", reason="needs opentelemetry-sdk (pip install 'auditwire[otel]')"
)

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from auditwire import AuditEmitter, InMemoryCollector, TurnStartEvent

tracer = TracerProvider().get_tracer("app")


@pytest.fixture
def kept() -> InMemoryCollector:
    return InMemoryCollector()


@pytest.fixture
def audit(kept: InMemoryCollector) -> AuditEmitter:
    return AuditEmitter(kept, on_error="raise")


def ids(event: Any) -> tuple[str | None, str | None]:
    return event.trace_id, event.span_id


def shown(span: trace.Span) -> tuple[str, str]:
    context = span.get_span_context()
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


def test_events_carry_the_active_span(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    with tracer.start_as_current_span("outer") as outer:
        audit.emit_turn_start()
        with tracer.start_as_current_span("inner") as inner:
            audit.emit_tool_call_attempt("t")
        audit.emit_turn_end()
    assert [ids(event) for event in kept.get_events()] == [shown(outer), shown(inner), shown(outer)]


def test_without_an_active_span_there_are_no_ids(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    audit.emit_turn_start()
    assert ids(kept.get_events()[0]) == (None, None)


def test_ids_that_an_event_brings_are_kept(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    with tracer.start_as_current_span("active"):
        audit.emit(TurnStartEvent(trace_id="a" * 32, span_id="b" * 16))
    assert ids(kept.get_events()[0]) == ("a" * 32, "b" * 16)


def test_a_span_of_another_process_counts_as_active(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    remote = trace.NonRecordingSpan(trace.SpanContext(0xA, 0xB, is_remote=True))
    with trace.use_span(remote):
        audit.emit_turn_start()
    assert ids(kept.get_events()[0]) == (f"{0xA:032x}", f"{0xB:016x}")


def test_turns_and_calls_carry_the_span_that_is_active_at_each_of_their_events(
    audit: AuditEmitter, kept: InMemoryCollector
) -> None:
    turn = audit.turn()
    with tracer.start_as_current_span("begin") as begin:
        turn.start()
    with tracer.start_as_current_span("end") as end:
        turn.finish()
    assert [ids(event) for event in kept.get_events()] == [shown(begin), shown(end)]


def test_each_task_and_thread_has_the_span_of_its_own_context(
    audit: AuditEmitter, kept: InMemoryCollector
) -> None:
    expected = {}

    async def request(number: int) -> None:
        with tracer.start_as_current_span(f"request {number}") as span:
            expected[f"t{number}"] = shown(span)
            await asyncio.sleep(0)
            audit.emit_turn_start(turn_id=f"t{number}")

    async def requests() -> None:
        await asyncio.gather(*(request(n) for n in range(50)))

    asyncio.run(requests())
    with tracer.start_as_current_span("main") as span:
        expected["copied"] = shown(span)
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(audit.emit_turn_start, None, "copied"))
        thread.start()
        thread.join()
    assert {event.turn_id: ids(event) for event in kept.get_events()} == expected


def test_who_does_not_use_opentelemetry_does_not_load_it() -> None:
    code = (
        "import sys, auditwire; auditwire.AuditEmitter().emit_turn_start(); "
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
