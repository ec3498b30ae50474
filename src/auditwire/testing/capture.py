"""Events in memory for assertions: in comes what the code under test emits, out comes a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, overload

from auditwire.collectors.memory import InMemoryCollector
from auditwire.emitter import AuditEmitter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.events import AuditEvent

__all__ = ["CapturedEvents", "capture_events"]

_Event = TypeVar("_Event", bound="AuditEvent")


class CapturedEvents(Sequence["AuditEvent"]):
    """The events emitted so far, in the order of their emission; it grows while the test runs.

    Attributes:
        emitter: What the code under test is given. Its ``on_error`` is ``"raise"``, so that a refused event
            fails the test instead of a line in a log.
        collector: The collector behind it, for code that makes its emitter itself.
    """

    def __init__(self, session_id: str | None = None) -> None:
        self.collector = InMemoryCollector()
        self.emitter = AuditEmitter(self.collector, session_id, on_error="raise")

    @property
    def types(self) -> list[str]:
        """The event types in order: ``["turn_start", "tool_call_attempt", ...]``."""
        return [event.event_type for event in self.collector.get_events()]

    def of_type(self, event_type: type[_Event]) -> list[_Event]:
        """The events of one class, in order."""
        return self.collector.get_events_by_type(event_type)

    def clear(self) -> None:
        """Forget the events so far."""
        self.collector.clear()

    def __len__(self) -> int:
        return len(self.collector)

    @overload
    def __getitem__(self, index: int) -> AuditEvent: ...

    @overload
    def __getitem__(self, index: slice) -> list[AuditEvent]: ...

    def __getitem__(self, index: int | slice) -> AuditEvent | list[AuditEvent]:
        return self.collector.get_events()[index]

    def __repr__(self) -> str:
        return f"<CapturedEvents {self.types}>"


@contextmanager
def capture_events(session_id: str | None = None) -> Iterator[CapturedEvents]:
    """Captured events with an emitter of their own. At the end it is closed; the events stay readable.

    ::

        with capture_events() as audit:
            run_agent(audit.emitter)
        assert audit.types == ["turn_start", "turn_end"]
        assert audit.of_type(TurnStartEvent)[0].prompt_preview == "hello"

    Args:
        session_id: The emitter's session; none by default.
    """
    captured = CapturedEvents(session_id)
    with captured.emitter:
        yield captured
