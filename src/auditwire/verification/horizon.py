"""Up to where retention excuses that records are absent."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auditwire.verification.placement import CLAMP_MS

__all__ = ["Horizon"]

_TIMED = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Horizon:
    """Records that were accepted before it may have been removed by retention, or were not read.

    **The rule.** Absent records that would be a fault (missing, or unreadable) are *removed* instead when
    ``cut`` is true and the time from which on they were accepted is before ``ms``. That is the latest of the
    time in the stream's id, a UUIDv7, and of the times of all events below them that are there. Where the id
    has no time and nothing below is there, the event right above them stands for it; where there is none
    either, nothing is excused.

    **Why it excuses all that retention removes.** Retention goes by Kafka timestamps. The sender gives a
    record none that is earlier than an hour before it sends it. It sends it after it was accepted, and that
    was after all records below it were accepted, so after the times of their events. So what has a Kafka
    timestamp from before a time lies above no event that is an hour later than that; ``of`` adds the hour.
    However late a record was delivered changes nothing of that.

    **Why it excuses no more.** The times of events stand in the bodies, which have digests; Kafka timestamps
    can be chosen by whoever produces a copy. A number is never excused when anything below it is newer than
    the horizon. Absent records above events that are all older are excused though some may be newer: which of
    them were, nothing that is left can tell. Whoever deletes records up to the horizon (DeleteRecords) looks
    the same.

    Where a clock was set back by more than an hour, or an event was given a time in the future, records above
    it that retention removed can look missing, as long as that event itself is there.

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
        """The horizon where retention, or reading, begins at a Kafka timestamp: an hour later.

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
            below_ms: The latest time of the events below that are there; None: there is none.
            above_ms: The time of the nearest event above; None: there is none.
        """
        if not self.cut:
            return False
        since = [time for time in (_opened_ms(stream_id), below_ms) if time is not None]
        time = max(since, default=above_ms)
        return time is not None and time < self.ms


def _opened_ms(stream_id: str) -> int | None:
    """The time in a UUIDv7 (RFC 9562, section 5.7): its first 48 bits."""
    match = _TIMED.fullmatch(stream_id)
    return match and int(match[1] + match[2], 16)
