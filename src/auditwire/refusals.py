"""Counting what was refused, and saying so in the log, at most once a minute.

In come events and the errors they met, out come a count and log lines of the logger ``auditwire``.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from auditwire import forksafe
from auditwire.errors import AuditwireError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOG_INTERVAL", "RefusalLog"]

LOG_INTERVAL = 60.0
"""Seconds between two log lines of the same kind."""

logger = logging.getLogger("auditwire")


class RefusalLog:
    """Counts occurrences; logs the first at once, then one line a minute at most, with the count since.

    Thread-safe. The lock is re-entrant and never held while logging: a log handler, or a signal handler
    inside ``add``, may itself emit events that are refused.

    Args:
        what: What is counted, for the log line: ``"audit events refused"``.
        clock: Seconds, monotonic.
    """

    __slots__ = ("__weakref__", "_clock", "_lock", "_logged", "_next_line", "_total", "_what")

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._lock = threading.RLock()
        self._total = 0
        self._logged = 0
        self._next_line = float("-inf")
        forksafe.register(self)

    @property
    def total(self) -> int:
        """How many there have been."""
        return self._total

    def add(self, detail: Any, error: BaseException) -> None:
        """Count one, and log it when a line is due.

        Args:
            detail: What it happened to; shown by its ``event_type`` and ``event_id`` or its class.
            error: What was raised.
        """
        with self._lock:
            self._total += 1
            now = self._clock()
            if now < self._next_line:
                return
            self._next_line = now + LOG_INTERVAL
            count, self._logged = self._total - self._logged, self._total
        self._write(count, detail, error)

    def report_rest(self) -> None:
        """Log what no line has told of yet; for the end, after which no further one would."""
        with self._lock:
            count, self._logged = self._total - self._logged, self._total
        if count:
            self._write(count)

    def _write(self, count: int, detail: Any = None, error: BaseException | None = None) -> None:
        # Counted already: a log handler that raises, or an object that cannot even be named, must not reach
        # the agent.
        with contextlib.suppress(Exception):
            if error is None:
                logger.error("%s: %d since the last line", self._what, count)
            else:
                # an error of our own says all there is to say; anything else is a bug somewhere
                trace = None if isinstance(error, AuditwireError) else error
                logger.error(
                    "%s: %d; the last: %s: %s: %s",
                    self._what,
                    count,
                    _name(detail),
                    type(error).__name__,
                    error,
                    exc_info=trace,
                )

    def after_fork(self) -> None:
        """See :mod:`auditwire.forksafe`."""
        self._lock = forksafe.usable_lock(self._lock)


def _name(detail: Any) -> str:
    event_type, event_id = getattr(detail, "event_type", None), getattr(detail, "event_id", None)
    return f"{event_type} {event_id}" if isinstance(event_type, str) else type(detail).__name__
