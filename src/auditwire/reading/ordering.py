"""Puts messages of many partitions into the order of their Kafka timestamps.

A k-way merge of sources, each of which gives its items in its own order. A pure data structure: no Kafka, no
clock.

An item's **key** is the highest timestamp that its source has given so far: within a source the order stays
as it is, though timestamps in a partition need not rise. An item is **due** when no source can give one with
a lower key any more: that is, when its key is not above the last key of any source that is not at its end. A
source that has nothing waiting and is not at its end **blocks**: the others go on only with its next item.

Due items are merged in runs, with one sort for all that became due together: a sort of runs that are in order
already costs a fraction of a heap's step for each item.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

__all__ = ["Merge"]

K = TypeVar("K", bound="Hashable")
M = TypeVar("M")

_NEVER = -1
_ALWAYS = 1 << 63


class _Source(Generic[M]):
    """What one source gave and what is not due yet."""

    __slots__ = ("at_end", "items", "keys", "top")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.items: list[M] = []
        self.top = _NEVER  # the key of the last item that it gave
        self.at_end = False


class Merge(Generic[K, M]):
    """A merge by timestamps. For one thread.

    Args:
        size: Bytes that an item counts for.

    Attributes:
        bytes: What all items in it count for.
        count: How many they are.
        reached: The key of the last item that was taken; -1 before the first.
    """

    def __init__(self, size: Callable[[M], int]) -> None:
        self.bytes = 0
        self.count = 0
        self.reached = _NEVER
        self._size = size
        self._sources: dict[K, _Source[M]] = {}
        self._due: list[M] = []  # the next one last
        self._due_keys: list[int] = []

    def open(self, name: K) -> None:
        """Begin with a source, or go on with one that was closed."""
        self._sources.setdefault(name, _Source()).at_end = False

    def at_end(self, name: K) -> None:
        """The source has given all that it has for now, and holds nobody up until it gives more."""
        self._sources[name].at_end = True

    def add(self, name: K, items: Sequence[M], timestamps: Sequence[int]) -> None:
        """Take a source's next items.

        Args:
            name: A source that is open.
            items: What it gave.
            timestamps: Theirs; a negative one counts as the one before.
        """
        source = self._sources[name]
        source.at_end = False
        keys = list(accumulate(timestamps, max, initial=source.top))
        del keys[0]
        source.keys += keys
        source.items += items
        source.top = keys[-1]
        self.bytes += sum(map(self._size, items))
        self.count += len(items)

    @property
    def blocking(self) -> list[K]:
        """The sources that hold up the others."""
        return [name for name, source in self._sources.items() if not (source.items or source.at_end)]

    @property
    def unfinished(self) -> list[K]:
        """The sources that are not at their end."""
        return [name for name, source in self._sources.items() if not source.at_end]

    @property
    def ahead(self) -> list[K]:
        """The sources that have items which are not due."""
        return [name for name, source in self._sources.items() if source.items]

    def take(self, limit: int) -> list[M]:
        """The next items that are due, at most so many; none when none is."""
        if not self._due:
            self._merge()
        taken = self._due[-limit:]
        if taken:
            taken.reverse()
            del self._due[-limit:]
            self.reached = self._due_keys[-len(taken)]
            del self._due_keys[-limit:]
            self.bytes -= sum(map(self._size, taken))
            self.count -= len(taken)
        return taken

    def waiting(self) -> Iterator[M]:
        """All items in it, in no order."""
        yield from self._due
        for source in self._sources.values():
            yield from source.items

    def _merge(self) -> None:
        """Move all that is due out of the sources."""
        sources = self._sources.values()
        safe = min([source.top for source in sources if not source.at_end], default=_ALWAYS)
        keys: list[int] = []
        items: list[M] = []
        for source in sources:
            if source.keys and source.keys[0] <= safe:
                count = bisect_right(source.keys, safe)
                keys += source.keys[:count]
                items += source.items[:count]
                del source.keys[:count], source.items[:count]
        # the next one comes last, and of equal ones that of the first source: sorted() keeps their order
        order = sorted(range(len(keys)), key=keys.__getitem__)
        order.reverse()
        self._due = [items[i] for i in order]
        self._due_keys = [keys[i] for i in order]
