"""A journal that outlives nothing and holds any number of records: each is made when it is asked for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from auditwire.journal import Barrier, Record
from auditwire.wire import join_body, schema_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditwire.journal import Draft


class DurableJournal:
    """Accepts the given drafts in turn, as often as ``accept`` says; a record's position is its number.

    What is removed by ``advance`` cannot be read any more.
    """

    durable = True
    previous: Sequence[str] = ()

    def __init__(self, *drafts: Draft) -> None:
        self.origin: Any = None
        self.drafts = drafts
        self.others: dict[int, Draft] = {}
        self.next_sequence = 0
        self.taken = 0
        self.removed = 0
        self.released = 0
        self.reads = 0
        self.advanced: list[tuple[int, int]] = []
        self.damaged: dict[int, Exception] = {}
        self.marks: deque[Barrier] = deque()
        self.sealed = False
        self.pressure = False

    def accept(self, count: int) -> None:
        self.next_sequence += count

    def append(self, draft: Draft) -> None:
        self.others[self.next_sequence] = draft
        self.next_sequence += 1

    def append_control(self, draft: Draft) -> int | None:
        self.append(draft)
        return self.next_sequence - 1

    def record(self, sequence: int) -> Record:
        draft = self.others.get(sequence) or self.drafts[sequence % len(self.drafts)]
        body = join_body(draft.head, sequence, draft.tail)
        return Record(
            *(sequence, draft.event_type, draft.topic, draft.key, draft.timestamp_us, draft.event_id),
            *(draft.trace, body, len(body) + 100, schema_for(draft.event_type).fingerprint),
            *(sequence, self.origin),
        )

    def take(self, limit: int) -> list[Record]:
        first, self.taken = self.taken, min(self.next_sequence, self.taken + limit)
        return [self.record(sequence) for sequence in range(first, self.taken)]

    def read(self, position: int) -> Record:
        self.reads += 1
        if position in self.damaged:
            raise self.damaged[position]
        assert position >= self.removed, "a record was asked for that was said to be done with"
        return self.record(position)

    def advance(self, low: int, listed: int) -> None:
        self.advanced.append((low, listed))
        self.removed = min(low, listed)

    def release(self, size: int) -> None:
        self.released += size

    def barrier(self) -> Barrier:
        mark = Barrier()
        mark.sequence = self.next_sequence
        self.marks.append(mark)
        return mark

    def withdraw(self, mark: Barrier) -> None:
        mark.withdrawn = True

    def barriers(self) -> list[Barrier]:
        reached = list(self.marks)
        self.marks.clear()
        return reached

    def start(self) -> None:
        """Nothing goes on in the background."""

    def close(self, *, ended: str | None) -> None:
        """There is nothing to let go of."""

    def after_fork(self) -> None:
        """There is nothing to let go of."""

    def seal(self) -> None:
        self.sealed = True

    def wait(self, timeout: float) -> None:
        """Nothing is ever waited for in a test."""

    def wake(self) -> None:
        """Nobody sleeps."""

    @property
    def backlog(self) -> int:
        return self.next_sequence - self.taken

    @property
    def backlog_drafts(self) -> int:
        return 0

    @property
    def oldest_us(self) -> int | None:
        return None

    @property
    def pending_bytes(self) -> int:
        return 0
