"""Puts messages of many partitions into the order of their Kafka timestamps.

A merge of sources, each of which gives its items in about that order. A pure data structure: no Kafka, no
clock.

Timestamps in a partition need not rise: a sender that was cut off sends old records among the new ones of
others. So a source is not taken by its order but by its **top**, the highest timestamp that it has given so
far: what it gives next will hardly be older. An item is **due** when its own timestamp is not above the top
of any source that is not at its end. A source that has nothing waiting and is not at its end **blocks**: the
others go on only with its next item.

Due items are merged in runs, with one sort for all that became due together: to sort runs that are in order
already costs a fraction of a heap's step for each item.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Sequence

__all__ = ["Merge"]

K = TypeVar("K", bound="Hashable")
M = TypeVar("M")

_NEVER = -1
_ALWAYS = 1 << 63


class _Source(Generic[M]):
    """What one source gave and what is not due yet, in the order of the timestamps."""

    __slots__ = ("at_end", "bytes", "items", "stamps", "top")

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.items: list[M] = []
        self.bytes = 0
        self.top = _NEVER
        self.at_end = False


class Merge(Generic[K, M]):
    """A merge by timestamps. For one thread.

    Args:
        size: Bytes that some items count for.

    Attributes:
        count: Items in it.
        reached: The highest timestamp of the items that were taken; -1 before the first.
    """

    def __init__(self, size: Callable[[Sequence[M]], int]) -> None:
        self.count = 0
        self.reached = _NEVER
        self._size = size
        self._sources: dict[K, _Source[M]] = {}
        self._bytes = 0  # of what is not due
        self._due: list[M] = []  # the next one last: to take from the beginning moves all
        self._due_stamps: list[int] = []
        self._due_bytes = 0

    @property
    def bytes(self) -> int:
        """What the items in it count for; about, because those of one source count alike when they leave."""
        return self._bytes + self._due_bytes

    @property
    def due(self) -> bool:
        """Whether something is left of what was found to be due; more may be."""
        return bool(self._due)

    @property
    def blocking(self) -> list[K]:
        """The sources that hold up the others."""
        return [name for name, source in self._sources.items() if not (source.items or source.at_end)]

    @property
    def unfinished(self) -> list[K]:
        """The sources that are not at their end."""
        return [name for name, source in self._sources.items() if not source.at_end]

    @property
    def ahead(self) -> dict[K, int]:
        """The sources that have items which are not due, and what these count for."""
        return {name: source.bytes for name, source in self._sources.items() if source.items}

    def bytes_of(self, name: K) -> int:
        """What a source's items that are not due count for."""
        return self._sources[name].bytes

    def open(self, name: K) -> None:
        """Begin with a source."""
        self._sources.setdefault(name, _Source())

    def at_end(self, name: K) -> None:
        """The source has given all that it has for now, and holds nobody up until it gives more."""
        self._sources[name].at_end = True

    def add(self, name: K, items: Sequence[M], stamps: Sequence[int]) -> None:
        """Take a source's next items.

        Args:
            name: A source that is open.
            items: What it gave; at least one.
            stamps: Their timestamps; a negative one counts as the highest before it.
        """
        source = self._sources[name]
        if min(stamps) < 0:
            before = [*accumulate(stamps, max, initial=source.top)]  # one more: what was highest before each
            stamps = [top if stamp < 0 else stamp for stamp, top in zip(stamps, before, strict=False)]
        first = bisect_right(source.stamps, min(stamps))  # before it nothing changes its place
        in_order = first == len(source.stamps) and stamps == sorted(stamps)
        source.stamps += stamps
        source.items += items
        if not in_order:
            tail, moved = source.stamps[first:], source.items[first:]
            order = sorted(range(len(tail)), key=tail.__getitem__)
            source.stamps[first:] = [tail[i] for i in order]
            source.items[first:] = [moved[i] for i in order]
        size = self._size(items)
        source.bytes += size
        self._bytes += size
        self.count += len(items)
        source.top = max(source.top, *stamps)
        source.at_end = False

    def take(self, limit: int) -> tuple[list[M], list[int]]:
        """The next items that are due, at most so many, and their timestamps; none when none is."""
        if not self._due:
            self._merge(min([s.top for s in self._sources.values() if not s.at_end], default=_ALWAYS))
        if not self._due:
            return [], []
        taken, stamps = self._due[-limit:], self._due_stamps[-limit:]
        taken.reverse()
        stamps.reverse()
        self.reached = max(self.reached, stamps[-1])
        self._due_bytes -= self._due_bytes * len(taken) // len(self._due)
        self.count -= len(taken)
        del self._due[-limit:], self._due_stamps[-limit:]
        return taken, stamps

    def remove(self, name: K, items: Collection[M]) -> list[M]:
        """Take those of a source's items out of turn that are not due yet; the others come by themselves."""
        source = self._sources[name]
        chosen = set(map(id, items))
        taken = [item for item in source.items if id(item) in chosen]
        if taken:
            kept = [place for place, item in enumerate(source.items) if id(item) not in chosen]
            self._leave(source, len(taken))
            source.items = [source.items[place] for place in kept]
            source.stamps = [source.stamps[place] for place in kept]
            self.count -= len(taken)
        return taken

    def not_due(self) -> Iterator[tuple[K, list[M]]]:
        """The sources, each with its items that are not due."""
        for name, source in self._sources.items():
            yield name, source.items

    def waiting(self) -> Iterator[M]:
        """All items in it, in no order."""
        yield from self._due
        for source in self._sources.values():
            yield from source.items

    def _merge(self, safe: int) -> None:
        """Move all that is due out of the sources."""
        stamps: list[int] = []
        items: list[M] = []
        for source in self._sources.values():
            if source.stamps and source.stamps[0] <= safe:
                count = bisect_right(source.stamps, safe)
                stamps += source.stamps[:count]
                items += source.items[:count]
                self._due_bytes += self._leave(source, count)
                del source.stamps[:count], source.items[:count]
        order = sorted(range(len(stamps)), key=stamps.__getitem__)
        order.reverse()
        self._due = list(map(items.__getitem__, order))
        self._due_stamps = list(map(stamps.__getitem__, order))

    def _leave(self, source: _Source[M], count: int) -> int:
        """So many of a source's items leave it: what they count for."""
        size = source.bytes * count // len(source.items)
        source.bytes -= size
        self._bytes -= size
        return size
