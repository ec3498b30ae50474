"""Many threads emit and flush at once: every flush keeps its word, and the stream has no gap."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from emit_support import Ends, assert_complete, collector, read_all

from auditwire import AuditEmitter
from auditwire.events import TurnStartEvent

if TYPE_CHECKING:
    from rig.broker import Broker

THREADS, EVENTS = 8, 5_000


def test_after_a_flush_under_load_everything_emitted_before_is_in_the_log(
    broker: Broker, prefix: str
) -> None:
    kafka = collector(broker, prefix)
    ends = Ends(broker.client(), prefix)
    emitted = [0] * THREADS  # each thread counts for itself what emit returned for
    flushes: list[tuple[int, int]] = []
    go = threading.Barrier(THREADS + 3)
    done = threading.Event()

    def emit(number: int) -> None:
        emitter = AuditEmitter(kafka, session_id=f"s-{number}", on_error="raise")
        go.wait()
        for index in range(EVENTS):
            if index % 2:
                emitter.emit_tool_call_complete("search", result="r" * (index % 300))
            else:
                emitter.emit_turn_start(prompt=f"{number}.{index}")
            emitted[number] += 1

    def flush() -> None:
        go.wait()
        while not done.is_set():
            before = sum(emitted)
            kafka.flush()
            flushes.append((before, ends.total()))

    with ThreadPoolExecutor(THREADS + 3) as pool:
        flushers = [pool.submit(flush) for _ in range(3)]
        try:
            for future in [pool.submit(emit, number) for number in range(THREADS)]:
                future.result()
        finally:
            done.set()
        for future in flushers:
            future.result()
    kafka.flush()
    health = kafka.health()
    kafka.close()

    assert len(flushes) >= 3
    assert [pair for pair in flushes if pair[1] < pair[0]] == []
    assert any(0 < before < THREADS * EVENTS for before, _ in flushes)
    assert ends.total() == THREADS * EVENTS
    assert (health.accepted, health.delivered) == (THREADS * EVENTS, THREADS * EVENTS)
    assert (health.state, health.lost, health.faults, health.producers) == ("ok", {}, 0, 1)

    trail = read_all(broker.bootstrap, prefix)
    (report,) = trail.reports
    assert_complete(report)
    assert len(trail.unique) == THREADS * EVENTS
    assert trail.duplicates == 0
    assert [r.sequence for r in trail.records] == list(range(len(trail.records)))
    for number in range(
        THREADS
    ):  # the events of one thread are numbered in the order in which it emitted them
        prompts = [
            r.event.prompt_preview
            for r in trail.events
            if isinstance(r.event, TurnStartEvent) and r.event.session_id == f"s-{number}"
        ]
        assert prompts == [f"{number}.{index}" for index in range(0, EVENTS, 2)]


def test_a_flush_of_an_idle_collector_returns_at_once_and_changes_nothing(
    broker: Broker, prefix: str
) -> None:
    with collector(broker, prefix) as kafka:
        kafka.emit(TurnStartEvent())
        kafka.flush()
        before = kafka.health()
        for _ in range(50):
            kafka.flush(1.0)
        after = kafka.health()
    assert (after.accepted, after.delivered, after.pending_records) == (1, 1, 0)
    assert after.control == before.control


def test_the_event_loop_goes_on_while_aflush_waits(broker: Broker, prefix: str) -> None:
    async def agent() -> int:
        ticks = 0
        async with collector(broker, prefix) as kafka:
            for _ in range(500):
                kafka.emit(TurnStartEvent())
            flushing = asyncio.ensure_future(kafka.aflush())
            while not flushing.done():
                ticks += 1
                await asyncio.sleep(0)
            await flushing
            assert kafka.health().delivered == 500
        return ticks

    assert asyncio.run(agent()) > 10
    assert_complete(read_all(broker.bootstrap, prefix).reports[0])


def test_two_collectors_in_one_process_have_streams_of_their_own(broker: Broker, prefix: str) -> None:
    with collector(broker, prefix) as one, collector(broker, prefix) as two:
        for number in range(1_000):
            (one, two)[number % 2].emit(TurnStartEvent(session_id=str(number % 5)))
    trail = read_all(broker.bootstrap, prefix)
    assert [r.stream_id for r in trail.reports] == sorted({one.stream_id, two.stream_id})
    for report in trail.reports:
        assert_complete(report)
    assert len(trail.unique) == 1_000
