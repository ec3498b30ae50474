"""Several collectors behind one: each event goes to all of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from auditwire.collectors.base import AuditCollector, Managed, close_collector, flush_collector
from auditwire.errors import CollectorGroupError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from auditwire.events import AuditEvent

__all__ = ["CompositeCollector"]


class CompositeCollector(Managed):
    """Hands each event to every collector, in the order they were added.

    A collector that fails keeps none of the others from its event; what failed is raised afterwards, as one
    :class:`~auditwire.errors.CollectorGroupError`. Thread-safe; no lock is held around a collector.

    Args:
        collectors: The first collectors; none when left out.
    """

    __slots__ = ("_clock", "_collectors")

    def __init__(
        self,
        collectors: Iterable[AuditCollector] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collectors: list[AuditCollector] = []
        self._clock = clock
        for collector in collectors or ():
            self.add(collector)

    @property
    def collectors(self) -> tuple[AuditCollector, ...]:
        """The collectors, in order."""
        return tuple(self._collectors)

    def add(self, collector: AuditCollector) -> None:
        """Add a collector; it sees the events emitted from now on.

        Raises:
            ConfigurationError: It has no ``emit`` and ``flush``, or it is this composite.
        """
        if collector is self:
            raise ConfigurationError("collectors", "a composite cannot hold itself")
        if not isinstance(collector, AuditCollector):
            raise ConfigurationError(
                "collectors", f"{type(collector).__name__} is no collector: it needs emit(event) and flush()"
            )
        self._collectors.append(collector)

    def emit(self, event: AuditEvent) -> None:
        """Hand the event to every collector.

        Raises:
            CollectorGroupError: One or more refused it; the others have it.
        """
        self._each(lambda collector: collector.emit(event))

    def flush(self, timeout: float | None = None) -> None:
        """Flush every collector, one after the other.

        Args:
            timeout: Seconds for all together: each is given what those before it left, the last ones perhaps
                nothing. None leaves each its own default.

        Raises:
            CollectorGroupError: One or more failed; every one was called.
        """
        if timeout is None:
            self._each(flush_collector)
            return
        deadline = self._clock() + timeout
        self._each(lambda collector: flush_collector(collector, max(0.0, deadline - self._clock())))

    def close(self) -> None:
        """Close every collector that can be closed.

        Raises:
            CollectorGroupError: One or more failed; every one was called.
        """
        self._each(close_collector)

    def _each(self, action: Callable[[AuditCollector], object]) -> None:
        failures: list[Exception] = []
        for collector in tuple(self._collectors):
            try:
                action(collector)
            except Exception as error:  # noqa: BLE001, PERF203 - collected and raised below
                failures.append(error)
        if failures:
            raise CollectorGroupError(failures) from failures[0]
