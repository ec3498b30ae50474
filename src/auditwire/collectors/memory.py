"""Events in a list, for tests and for looking at what an agent just did."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, overload

from auditwire.collectors.base import Managed
from auditwire.events import AuditEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["InMemoryCollector"]

E = TypeVar("E", bound=AuditEvent)


class InMemoryCollector(Managed):
    """Keeps every event in the order it came in, until ``clear``; there is no bound.

    Thread-safe without a lock: each method is one atomic operation on a list, so that a signal handler or a
    forked child can never find a lock taken. Closing keeps the events, and the collector goes on taking them.
    """

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: list[AuditEvent] = []

    def emit(self, event: AuditEvent) -> None:
        self._events.append(event)

    def flush(self) -> None:
        """Nothing to wait for."""

    def get_events(self) -> list[AuditEvent]:
        """A new list of the events, oldest first; the events themselves are not copied."""
        return self._events.copy()

    @overload
    def get_events_by_type(self, event_type: type[E]) -> list[E]: ...
    @overload
    def get_events_by_type(self, event_type: str) -> list[AuditEvent]: ...
    def get_events_by_type(self, event_type: str | type[E]) -> list[AuditEvent] | list[E]:
        """A new list of the events of one type, oldest first.

        Args:
            event_type: The type's name (``"tool_call_attempt"``), or an event class, which takes its
                subclasses in.
        """
        if isinstance(event_type, str):
            return [event for event in self._events.copy() if event.event_type == event_type]
        return [event for event in self._events.copy() if isinstance(event, event_type)]

    def clear(self) -> None:
        self._events.clear()

    def __len__(self) -> int:
        return len(self._events)

    def __bool__(self) -> bool:
        """Always true: an empty collector is still a collector (``collector or default`` must keep it)."""
        return True

    def __iter__(self) -> Iterator[AuditEvent]:
        """Over the events there are now; what comes in meanwhile is not seen."""
        return iter(self._events.copy())
