"""Hands out records at the pace at which they were written, or a multiple of it.

In come records in the reader's order, out come the same ones, each when it is due. Clock and sleep are passed
in. Nothing is read ahead: a record is taken from the reader when the one before it has been worked on.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from auditwire.reading.record import Record

__all__ = ["paced"]


def paced(
    records: Iterable[Record],
    speed: float = 1.0,
    *,
    max_pause: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Record]:
    """The records, with the pauses between them that there were when they were written.

    ::

        with Reader("localhost:9092", since="2h") as reader:
            for record in paced(reader, speed=10, max_pause=5):
                handle(record)

    A record's time is its Kafka timestamp: that is the order in which the reader hands them out. The first
    record comes at once. The others follow a timetable that is fixed by the first one, so that the time spent
    on a record is not added to the pauses: a caller who is slower than the timetable gets the next records at
    once until it is back on it. A record that is older than one before it (a clock was set back, a late
    record) or has no timestamp comes at once. So the whole takes no longer than the time between the oldest
    and the newest record, divided by the speed, unless the caller does.

    Args:
        records: A reader, or any other records in their order.
        speed: How many times as fast as they were written; ``math.inf`` makes no pauses.
        max_pause: Seconds of the longest pause between two records, after the speed is taken into account:
            nights and weekends are cut to it, and the timetable is moved forward by what was cut. None cuts
            nothing.
        clock: Seconds of a monotonic clock.
        sleep: Waits for so many seconds. It may return early, so that a caller can stop: the record
            then comes early.

    Raises:
        ConfigurationError: ``speed`` is not above 0, or ``max_pause`` is below 0; raised at once, not at the
            first record.
    """
    if not speed > 0:
        raise ConfigurationError("speed", f"{speed!r} is not a number above 0")
    if max_pause is not None and not max_pause >= 0:
        raise ConfigurationError("max_pause", f"{max_pause!r} is not a number of seconds from 0 on")
    if math.isinf(speed):
        return iter(records)
    return _paced(records, speed, math.inf if max_pause is None else max_pause, clock, sleep)


def _paced(
    records: Iterable[Record],
    speed: float,
    max_pause: float,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> Iterator[Record]:
    newest: int | None = None  # milliseconds: the newest timestamp so far
    due = 0.0  # when the record of that timestamp was to come, by the clock
    for record in records:
        timestamp = record.timestamp_ms
        if timestamp >= 0:
            if newest is None:
                newest, due = timestamp, clock()
            elif timestamp > newest:
                due += min((timestamp - newest) / 1_000 / speed, max_pause)
                newest = timestamp
                remaining = due - clock()
                if remaining > 0:
                    sleep(remaining)
        yield record
