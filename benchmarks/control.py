"""The control: a collector that accepts events as a KafkaCollector does, and at which no sender works.

What an emit takes here is the caller's part alone: the event, its encoding, the append to the journal. What
it takes longer in a KafkaCollector is the other thread's doing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from auditwire.collectors.streaming import Stream, StreamingCollector
from auditwire.journal import MemoryJournal

if TYPE_CHECKING:
    from auditwire.errors import FlushTimeout
    from auditwire.journal.drafter import Drafter

__all__ = ["QueueOnly"]


class _Nobody:
    """A worker that takes nothing and waits for its end."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self._end = threading.Event()
        self.finished = False

    def run(self) -> None:
        """Until closed."""
        self._end.wait()
        self.finished = True

    def close(self, _deadline: float) -> None:
        """End ``run``."""
        self._journal.seal()
        self._end.set()

    @property
    def pending(self) -> int:
        """Nothing that anybody waits for."""
        return 0

    @property
    def parked(self) -> dict[str, str]:
        """Nothing is sent anywhere."""
        return {}

    @property
    def ended(self) -> str | None:
        """Nothing is delivered."""
        return None


class QueueOnly(StreamingCollector[_Nobody]):
    """See the module.

    Args:
        capacity: Bytes of the journal; when they are used up, an event is refused.
    """

    def __init__(self, capacity: int = 1 << 30) -> None:
        self._capacity = capacity
        self._describe(
            prefix="audit",
            topics=None,
            service="benchmark",
            service_version=None,
            environment=None,
            source=None,
            headers="cloudevents",
        )
        super().__init__(exit_timeout=1.0)

    def _open(self, parent: str | None) -> Stream[_Nobody]:  # noqa: ARG002 - as the base class has it
        drafter, notes, _ = self._draft()
        journal = MemoryJournal(self._capacity, on_full="drop_newest")
        return Stream(drafter, journal, notes, _Nobody(journal))

    def flush(self, timeout: float = 30.0) -> None:
        """Nothing to wait for."""

    def _flush_timeout(self, stream: Stream[_Nobody], timeout: float) -> FlushTimeout:
        raise NotImplementedError(f"{stream} is never waited for, not for {timeout} s either")

    @property
    def drafter(self) -> Drafter:
        """What encodes its events."""
        return self._stream.drafter

    @property
    def accepted(self) -> int:
        """Events in the journal."""
        journal = self._stream.journal
        return journal.next_sequence + journal.backlog_drafts
