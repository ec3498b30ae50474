from __future__ import annotations

import threading

from bombardment import bombarded

from auditwire.collectors import InMemoryCollector, NullCollector
from auditwire.events import AuditEvent, ErrorEvent, TurnEndEvent, TurnStartEvent


def test_events_are_kept_in_order() -> None:
    collector = InMemoryCollector()
    made = [TurnStartEvent(), ErrorEvent(), TurnEndEvent()]
    for event in made:
        collector.emit(event)
    assert collector.get_events() == made
    assert list(collector) == made
    assert len(collector) == 3
    assert all(kept is event for kept, event in zip(collector, made, strict=True))


def test_get_events_gives_a_list_of_its_own() -> None:
    collector = InMemoryCollector()
    collector.emit(ErrorEvent())
    collector.get_events().clear()
    assert len(collector) == 1


def test_events_can_be_had_by_the_name_or_the_class_of_their_type() -> None:
    class MyError(ErrorEvent):
        event_type = "my_error"

    collector = InMemoryCollector()
    start, error, mine = TurnStartEvent(), ErrorEvent(), MyError()
    for event in (start, error, mine):
        collector.emit(event)
    assert collector.get_events_by_type("error") == [error]
    assert collector.get_events_by_type(ErrorEvent) == [error, mine]
    assert collector.get_events_by_type(AuditEvent) == [start, error, mine]
    assert collector.get_events_by_type("turn_end") == []
    [typed] = collector.get_events_by_type(TurnStartEvent)
    assert typed.prompt_preview == ""


def test_clear_forgets_all() -> None:
    collector = InMemoryCollector()
    collector.emit(ErrorEvent())
    collector.clear()
    assert len(collector) == 0
    assert collector.get_events() == []


def test_an_empty_collector_is_true() -> None:
    assert InMemoryCollector()


def test_iteration_sees_the_events_of_its_beginning() -> None:
    collector = InMemoryCollector()
    collector.emit(ErrorEvent())
    for _ in collector:
        collector.emit(ErrorEvent())
    assert len(collector) == 2


def test_closing_keeps_the_events() -> None:
    with InMemoryCollector() as collector:
        collector.emit(ErrorEvent())
        collector.flush()
    assert len(collector) == 1


def test_threads_lose_no_event() -> None:
    collector = InMemoryCollector()

    def work() -> None:
        for _ in range(10_000):
            collector.emit(ErrorEvent(event_id="x", timestamp_us=0))
            collector.get_events_by_type("none") if len(collector) % 5_000 == 0 else None

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(collector) == 80_000


def test_a_signal_handler_may_emit_inside_an_emit() -> None:
    collector = InMemoryCollector()
    handled = emitted = 0

    def handle() -> None:
        nonlocal handled
        collector.emit(ErrorEvent(error_type="signal"))
        handled += 1

    with bombarded(handle) as order:
        while handled < 500:
            order()
            collector.emit(ErrorEvent(error_type="loop"))
            emitted += 1
    events = collector.get_events_by_type(ErrorEvent)
    assert len(events) == emitted + handled
    assert sum(event.error_type == "signal" for event in events) == handled


def test_the_null_collector_takes_everything_and_keeps_nothing() -> None:
    with NullCollector() as collector:
        collector.emit(ErrorEvent())
        collector.flush()
    collector.emit(ErrorEvent())
