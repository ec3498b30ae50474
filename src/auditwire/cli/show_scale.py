"""Where a time lies on a timeline on which long pauses are short.

A session is seconds of work between minutes of waiting. Drawn to scale, the work would be a few lines in an
empty picture. So no pause between two neighbouring times gets more than its share of the width; a pause that
is shortened is known with its real length, to be written there.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Pause", "Scale"]

_SHARE = 0.09
_ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Pause:
    """A shortened pause.

    Attributes:
        left: Where it begins, in percent of the width.
        right: Where it ends.
        us: How long it is, in microseconds.
    """

    left: float
    right: float
    us: int


class Scale:
    """Times to percent of the width, 0 to 100; never decreasing.

    Args:
        times: All times that are to be shown, in microseconds, in any order.
    """

    def __init__(self, times: Iterable[int]) -> None:
        self._times = sorted(set(times)) or [0]
        steps = [after - before for before, after in pairwise(self._times)]
        longest = _longest(steps)
        widths = [min(float(step), longest) for step in steps]
        whole = sum(widths) or 1.0
        self._at = [0.0]
        for width in widths:
            self._at.append(self._at[-1] + 100.0 * width / whole)
        self.pauses = [
            Pause(self._at[place], self._at[place + 1], step)
            for place, step in enumerate(steps)
            if step > 2 * longest
        ]

    def at(self, us: int) -> float:
        """Where the time lies; outside of the known times it is the first or last one's place."""
        place = bisect_right(self._times, us) - 1
        if place < 0:
            return 0.0
        if place == len(self._times) - 1:
            return self._at[-1]
        before, after = self._times[place], self._times[place + 1]
        part = (us - before) / (after - before)
        return self._at[place] + part * (self._at[place + 1] - self._at[place])


def _longest(steps: list[int]) -> float:
    """The longest that a step may be drawn: with it, no step has more than its share of the whole."""
    if not steps:
        return 1.0
    # of few steps each must have more, or the longest would shrink for ever
    share = max(_SHARE, 2.0 / len(steps))
    longest = float(max(steps))
    for _ in range(_ROUNDS):
        longest = min(longest, share * sum(min(float(step), longest) for step in steps))
    return max(longest, 1.0)
