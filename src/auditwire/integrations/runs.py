"""What the adapters share: a bounded table of runs that have not ended, and handlers that never raise.

In come a framework's run ids and callbacks; out comes the run that an end belongs to. Frameworks lose ends (a
cancelled tool, a process pool that died), so the table has a limit: the oldest run is dropped and counted.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from auditwire import forksafe
from auditwire.refusals import RefusalLog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

__all__ = [
    "OPEN_RUNS",
    "OpenRuns",
    "RunDroppedError",
    "RunUnfinishedError",
    "count_of",
    "first_text",
    "guarded",
]

OPEN_RUNS = 10_000
"""How many runs an adapter remembers at most: with a few kB each, some tens of MB."""

Run = TypeVar("Run")
F = TypeVar("F", bound="Callable[..., None]")
A = TypeVar("A", bound="Callable[..., Coroutine[Any, Any, None]]")


class RunUnfinishedError(Exception):
    """Recorded as the failure of a call that had no end when the run it was part of ended."""


class RunDroppedError(Exception):
    """Recorded as the failure of a run whose end had not come when too many were open."""


class OpenRuns(Generic[Run]):
    """Runs by the framework's id, oldest first. Thread-safe; nothing is called with the lock held.

    Args:
        limit: How many to remember; 1 or more.
        on_dropped: Called with a run that is forgotten because there are more.
    """

    __slots__ = ("__weakref__", "_limit", "_lock", "_log", "_on_dropped", "_runs")

    def __init__(self, limit: int, on_dropped: Callable[[Run], object]) -> None:
        self._limit = limit
        self._on_dropped = on_dropped
        self._runs: dict[Hashable, Run] = {}
        self._lock = threading.RLock()
        self._log = RefusalLog("runs dropped, for too many had begun and not ended")
        forksafe.register(self)

    @property
    def dropped(self) -> int:
        """How many were forgotten."""
        return self._log.total

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, key: Hashable, run: Run) -> None:
        """Remember a run; the oldest goes when there are too many."""
        with self._lock:
            self._runs[key] = run
            oldest = self._runs.pop(next(iter(self._runs))) if len(self._runs) > self._limit else None
        if oldest is not None:
            self._log.add(oldest, RunDroppedError(f"more than {self._limit} open runs"))
            self._on_dropped(oldest)

    def get(self, key: Hashable) -> Run | None:
        """The run, if it is remembered."""
        return self._runs.get(key)

    def pop(self, key: Hashable) -> Run | None:
        """The run, if it is remembered, and forget it."""
        with self._lock:
            return self._runs.pop(key, None)

    def after_fork(self) -> None:
        """See :mod:`auditwire.forksafe`."""
        self._lock = forksafe.usable_lock(self._lock)


def guarded(handler: F) -> F:
    """A handler that never raises: the framework must not break because the audit trail did.

    What it raises is counted in the object's ``_failures``, a :class:`~auditwire.refusals.RefusalLog`, and
    logged at most once a minute.
    """

    @functools.wraps(handler)
    def never_raises(self: Any, /, *args: Any, **kwargs: Any) -> None:
        try:
            handler(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - of whatever kind
            self._failures.add(self, error)

    return cast("F", never_raises)


def guarded_async(handler: A) -> A:
    """:func:`guarded` for a coroutine function; a cancellation goes on."""

    @functools.wraps(handler)
    async def never_raises(self: Any, /, *args: Any, **kwargs: Any) -> None:
        try:
            await handler(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - of whatever kind
            self._failures.add(self, error)

    return cast("A", never_raises)


def first_text(*candidates: Any) -> str:
    """The first that is a text and not empty."""
    return next((text for text in candidates if isinstance(text, str) and text), "")


def count_of(value: Any) -> int:
    """A number of tokens; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
