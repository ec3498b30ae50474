"""Up to where retention excuses that records are absent."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auditwire.verification.placement import CLAMP_MS

__all__ = ["Horizon"]

_TIMED = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Horizon:
    """Records with a Kafka timestamp before it may have been removed by retention, or were not read.

    **The rule.** Absent records that would be a fault (missing, or unreadable) are *removed* instead when
    ``cut`` is true and the stream's nearest record below them that is there has a Kafka timestamp before
    ``ms``. Where no record below them is there, the time at which the stream was opened stands for it: the
    time in its id, a UUIDv7. Of an id that has no time, the nearest record above them stands for it; where
    there is none either, nothing is excused.

    So a number is never excused whose lower neighbour is newer than the horizon. Records that lie between an
    older neighbour and the horizon's time are excused though some may be newer: which of them were, nothing
    that is left can tell. Whoever deletes records up to the horizon (DeleteRecords) looks the same.

    Only faults are excused. What is awaited, withheld or unaccounted for stays that.

    Attributes:
        ms: Milliseconds since the Unix epoch.
        cut: True when something was cut off the logs: a partition's first offset is not 0, or reading began
            further on. False excuses nothing.
    """

    ms: int
    cut: bool = True

    @classmethod
    def of(cls, time_ms: int, *, cut: bool = True) -> Horizon:
        """The horizon where retention, or reading, begins at a time: an hour later.

        A sender's Kafka timestamps may lie up to an hour before the time of sending. So a record may have a
        timestamp up to an hour older than the record below it, and be removed though that one is not.

        Args:
            time_ms: Now less the shortest retention, or where reading began; milliseconds since the Unix
                epoch.
            cut: As the attribute.
        """
        return cls(time_ms + CLAMP_MS, cut)

    def excuses(self, stream_id: str, below_ms: int | None, above_ms: int | None) -> bool:
        """Whether absent records of a stream may have been removed.

        Args:
            stream_id: The stream.
            below_ms: Kafka timestamp of the nearest record below that is there; None: there is none. -1: it
                has none, and nothing is excused.
            above_ms: The same of the nearest record above.
        """
        if not self.cut:
            return False
        times = (below_ms,) if below_ms is not None else (_opened_ms(stream_id), above_ms)
        time = next((time for time in times if time is not None), None)
        return time is not None and 0 <= time < self.ms


def _opened_ms(stream_id: str) -> int | None:
    """The time in a UUIDv7 (RFC 9562, section 5.7): its first 48 bits."""
    match = _TIMED.fullmatch(stream_id)
    return match and int(match[1] + match[2], 16)
