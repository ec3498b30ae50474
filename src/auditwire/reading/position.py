"""Where a reader is: what it takes to go on exactly there later, as JSON.

========= ===================================================================================================
version   1
whole     true when reading began at the start of the logs
forgotten the greatest id of a stream that is not remembered any more; empty when all are
offsets   topic -> partition -> the offset to go on from. A string names the partition, as JSON wants it
pending   topic -> partition -> ranges ``[first, last]`` of lower offsets that were read and not handed out
streams   stream id -> ``[next, missing, passed, closing]``: see :class:`StreamState`. Streams that were
          forgotten, and those of which nothing was handed out, are absent
========= ===================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError
from auditwire.reading.sequencing import StreamState, ranges_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditwire.reading.record import Place
    from auditwire.reading.sequencing import Range

__all__ = ["Position"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader is.

    Attributes:
        whole: True when reading began at the start of the logs.
        forgotten: The greatest id of a stream that was forgotten.
        offsets: Of each partition the offset to go on from.
        pending: Of each partition the lower offsets that were read and not handed out.
        streams: What was handed out of each stream.
    """

    whole: bool
    forgotten: str
    offsets: Mapping[Place, int]
    pending: Mapping[Place, frozenset[int]]
    streams: Mapping[str, StreamState]

    @property
    def starts(self) -> dict[Place, int]:
        """The offsets to begin with: lower ones where something is pending."""
        return {
            place: min(self.pending.get(place, ()), default=offset) for place, offset in self.offsets.items()
        }

    def left(self) -> dict[Place, tuple[int, frozenset[int]]]:
        """Of each partition with something pending: the offset to go on from, and what is pending below."""
        return {place: (self.offsets[place], waiting) for place, waiting in self.pending.items() if waiting}

    def to_dict(self) -> dict[str, Any]:
        """The position in JSON's own types."""
        offsets: dict[str, dict[str, int]] = {}
        for (topic, number), offset in sorted(self.offsets.items()):
            offsets.setdefault(topic, {})[str(number)] = offset
        pending: dict[str, dict[str, list[list[int]]]] = {}
        for (topic, number), waiting in sorted(self.pending.items()):
            if waiting:
                ranges = [list(part) for part in ranges_of(sorted(waiting))]
                pending.setdefault(topic, {})[str(number)] = ranges
        streams = {
            stream_id: [
                state.next,
                [list(part) for part in state.missing],
                [list(part) for part in state.passed],
                state.closing,
            ]
            for stream_id, state in self.streams.items()
        }
        return {
            "version": _VERSION,
            "whole": self.whole,
            "forgotten": self.forgotten,
            "offsets": offsets,
            "pending": pending,
            "streams": streams,
        }

    @classmethod
    def parse(cls, key: str, raw: Mapping[str, Any]) -> Position:
        """The position that ``to_dict`` gave.

        Args:
            key: The parameter's name, for the error.
            raw: What it gave, perhaps by way of JSON.

        Raises:
            ConfigurationError: It is none, or of another version of auditwire.
        """
        try:
            if raw["version"] != _VERSION:
                words = f"is of version {raw['version']!r}, and this auditwire reads version {_VERSION}"
                raise ConfigurationError(key, words)
            return cls(
                whole=bool(raw["whole"]),
                forgotten=str(raw["forgotten"]),
                offsets={
                    (str(topic), int(number)): int(offset)
                    for topic, offsets in raw["offsets"].items()
                    for number, offset in offsets.items()
                },
                pending={
                    (str(topic), int(number)): frozenset(
                        offset for first, last in _parsed(ranges) for offset in range(first, last + 1)
                    )
                    for topic, pending in raw["pending"].items()
                    for number, ranges in pending.items()
                },
                streams={
                    str(stream_id): StreamState(
                        int(state[0]), _parsed(state[1]), _parsed(state[2]), int(state[3])
                    )
                    for stream_id, state in raw["streams"].items()
                },
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(key, f"is no position of a reader: {error!r}") from error


def _parsed(ranges: list[list[int]]) -> list[Range]:
    """Ranges that are as they should be, rising."""
    found: list[Range] = [(int(first), int(last)) for first, last in ranges]
    bounds = [number for part in found for number in part]
    if bounds != sorted(bounds) or (bounds and bounds[0] < 0):
        raise ValueError(f"ranges {found} do not rise")
    return found
