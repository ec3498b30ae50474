"""How long records take from being made to being acknowledged, as a histogram of fixed buckets.

In come acknowledged records' times, one for each chunk, out come snapshots. One observation costs about a
microsecond, whatever the number of records in the chunk.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

__all__ = ["BOUNDS", "Latency", "LatencyMeter"]

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the buckets in seconds, inclusive; a last bucket has none.

Fine below a second, where a working cluster answers; coarse up to an hour, for what waited out an outage.
"""


@dataclass(frozen=True, slots=True)
class Latency:
    """A snapshot.

    Attributes:
        buckets: For each of :data:`BOUNDS`, and one more for what is above: how many observations fell into
            it (not into those before), and their sum in seconds.
    """

    buckets: tuple[tuple[int, float], ...] = ((0, 0.0),) * (len(BOUNDS) + 1)

    @property
    def count(self) -> int:
        """How many observations there were."""
        return sum(count for count, _ in self.buckets)

    @property
    def sum(self) -> float:
        """All observations together, seconds."""
        return sum(seconds for _, seconds in self.buckets)


class LatencyMeter:
    """``observe`` is for one thread, ``snapshot`` for any.

    Args:
        opened_ms: When the stream was opened, milliseconds since the Unix epoch. An event from before, such
            as one shipped from an old log, tells nothing about delivery and is left out; so is one from the
            future.
    """

    def __init__(self, opened_ms: int) -> None:
        self._opened_ms = opened_ms
        self._buckets = list(Latency().buckets)

    def observe(self, made_us: int, now_ms: int) -> None:
        """A record made at ``made_us`` (microseconds since the epoch) was acknowledged ``now_ms``."""
        made_ms = made_us // 1_000
        if not self._opened_ms <= made_ms <= now_ms:
            return
        seconds = (now_ms - made_ms) / 1_000
        index = bisect_left(BOUNDS, seconds)
        count, total = self._buckets[index]
        # one assignment: a snapshot never sees a count without its seconds
        self._buckets[index] = (count + 1, total + seconds)

    def snapshot(self) -> Latency:
        """What was observed so far."""
        return Latency(tuple(self._buckets))
