from __future__ import annotations

from typing import Any

import pytest

from auditwire.collectors import CompositeCollector, InMemoryCollector
from auditwire.errors import CollectorGroupError, ConfigurationError, FlushTimeout, SinkError
from auditwire.events import AuditEvent, ErrorEvent


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A collector whose flush takes its time and says how much it was given; it may fail at everything."""

    def __init__(self, clock: Clock, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.clock, self.seconds, self.error = clock, seconds, error
        self.calls: list[Any] = []

    def emit(self, event: AuditEvent) -> None:
        self._call("emit")

    def flush(self, timeout: float = 30.0) -> None:
        self.clock.now += self.seconds
        self._call(timeout)

    def close(self) -> None:
        self._call("close")

    def _call(self, what: Any) -> None:
        self.calls.append(what)
        if self.error:
            raise self.error


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_every_collector_gets_every_event() -> None:
    first, second, late = InMemoryCollector(), InMemoryCollector(), InMemoryCollector()
    composite = CompositeCollector([first, second])
    composite.emit(ErrorEvent())
    composite.add(late)
    composite.emit(ErrorEvent())
    assert (len(first), len(second), len(late)) == (2, 2, 1)
    assert composite.collectors == (first, second, late)
    assert first.get_events() == second.get_events()


def test_a_composite_of_none_takes_events_and_keeps_none() -> None:
    with CompositeCollector() as composite:
        composite.emit(ErrorEvent())
        composite.flush()
        composite.flush(1.0)
    assert composite.collectors == ()


@pytest.mark.parametrize("call", ["emit", "flush", "flush in time", "close"])
def test_a_failure_keeps_no_other_collector_from_its_call(call: str, clock: Clock) -> None:
    full, bug, well = Slow(clock, error=SinkError("full")), Slow(clock, error=KeyError("k")), Slow(clock)
    composite = CompositeCollector([full, bug, well], clock=clock)
    calls: dict[str, Any] = {
        "emit": lambda: composite.emit(ErrorEvent()),
        "flush": composite.flush,
        "flush in time": lambda: composite.flush(5.0),
        "close": composite.close,
    }
    with pytest.raises(CollectorGroupError) as caught:
        calls[call]()
    assert caught.value.exceptions == (full.error, bug.error)
    assert caught.value.__cause__ is full.error
    assert len(well.calls) == len(bug.calls) == len(full.calls) == 1


def test_one_failure_is_a_group_of_one(clock: Clock) -> None:
    composite = CompositeCollector([Slow(clock, error=FlushTimeout("late", pending=1))])
    with pytest.raises(CollectorGroupError, match="1 collector failed: FlushTimeout: late") as caught:
        composite.flush()
    assert caught.value.retriable


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes_through(stop: type[BaseException], clock: Clock) -> None:
    class Interrupted(InMemoryCollector):
        def emit(self, event: AuditEvent) -> None:
            raise stop

    with pytest.raises(stop):
        CompositeCollector([Interrupted()]).emit(ErrorEvent())


def test_all_flushes_share_one_deadline(clock: Clock) -> None:
    slow, slower, rest = Slow(clock, seconds=2.0), Slow(clock, seconds=9.0), Slow(clock)
    CompositeCollector([slow, slower, rest], clock=clock).flush(10.0)
    assert slow.calls == [10.0]
    assert slower.calls == [8.0]
    assert rest.calls == [0.0], "nothing is left, but it is asked: it may have nothing to wait for"


def test_without_a_timeout_each_collector_has_its_own_default(clock: Clock) -> None:
    one, other = Slow(clock, seconds=50.0), Slow(clock)
    CompositeCollector([one, other, InMemoryCollector()], clock=clock).flush()
    assert one.calls == other.calls == [30.0]


def test_with_closes_every_collector(clock: Clock) -> None:
    one, other = Slow(clock), Slow(clock)
    with CompositeCollector([one, InMemoryCollector(), other]):
        pass
    assert one.calls == other.calls == ["close"]


def test_what_is_no_collector_is_refused_with_the_reason() -> None:
    with pytest.raises(
        ConfigurationError, match=r"collectors: object is no collector: it needs emit.* and flush"
    ):
        CompositeCollector([object()])  # type: ignore[list-item]  # what is tested


def test_a_composite_cannot_hold_itself() -> None:
    composite = CompositeCollector()
    with pytest.raises(ConfigurationError, match="itself"):
        composite.add(composite)


def test_composites_can_be_nested() -> None:
    inner = InMemoryCollector()
    CompositeCollector([CompositeCollector([inner])]).emit(ErrorEvent())
    assert len(inner) == 1
