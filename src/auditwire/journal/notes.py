"""What callers' threads have to tell the sender: events refused, values converted, values cut.

In come notes from any thread, signal handlers included; out come totals, and the losses that no loss record
has told of yet. A note is one append to a queue, so that it is neither lost nor counted twice, whatever
interrupts it; the sender alone adds up.
"""

from __future__ import annotations

from collections import Counter, deque

from auditwire.events import now_us

__all__ = ["Loss", "Notes"]


class Loss:
    """Events refused for one reason: how many, and when first and last, in microseconds since the epoch."""

    __slots__ = ("count", "first", "last")

    def __init__(self, at: int) -> None:
        self.count = 0
        self.first = self.last = at


class Notes:
    """``lost``, ``coerced``, ``truncated`` and ``totals`` are for any thread, ``read`` for the sender's."""

    def __init__(self) -> None:
        self._queue: deque[tuple[str, str, int]] = deque()
        self._totals: dict[str, Counter[str]] = {k: Counter() for k in ("lost", "coerced", "truncated")}
        self.losses: dict[str, Loss] = {}
        """Reason -> what is not written down yet. For the sender's thread."""

    def __bool__(self) -> bool:
        """True while something waits to be read or written down."""
        return bool(self._queue or self.losses)

    def lost(self, reason: str) -> None:
        """An event was refused before it was accepted."""
        self._queue.append(("lost", reason, now_us()))

    def coerced(self, field: str) -> None:
        """A value did not fit its field and was converted."""
        self._queue.append(("coerced", field, 0))

    def truncated(self, field: str) -> None:
        """A value was cut because its record was too large."""
        self._queue.append(("truncated", field, 0))

    def read(self) -> None:
        """Add up what was noted since the last call."""
        queue = self._queue
        while queue:
            kind, what, at = queue.popleft()
            self._totals[kind][what] += 1
            if kind == "lost":
                loss = self.losses.setdefault(what, Loss(at))
                loss.count += 1
                loss.first, loss.last = min(loss.first, at), max(loss.last, at)

    def totals(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        """Lost by reason, coerced and truncated by field, with what is not read yet."""
        totals = {kind: Counter(counter) for kind, counter in self._totals.items()}
        for kind, what, _ in list(self._queue):
            totals[kind][what] += 1
        return dict(totals["lost"]), dict(totals["coerced"]), dict(totals["truncated"])
