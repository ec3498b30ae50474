"""A log to a collector: reads, hands over, waits for acknowledgements, remembers how far, keeps count.

**Nothing is dropped.** Before a journal is full, reading waits: the collector never has to refuse an event. A
line that is no event is counted by reason, reported with its number and reason, and kept.

**What is remembered is acknowledged.** The state is written behind a ``flush``, and says the place that was
reached before it. A crash between the two sends the lines in between once more, with the same ids.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from auditwire.errors import EncodingError, FlushTimeout
from auditwire.events import CustomEvent, now_us
from auditwire.shipping.identity import Chain, derived_id
from auditwire.shipping.lines import MAX_LINE, Line, Splitter
from auditwire.shipping.parsing import BadLine, parse
from auditwire.shipping.state import State, save_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from auditwire.delivery.health import Health
    from auditwire.events import AuditEvent
    from auditwire.shipping.source import Source

__all__ = ["Counts", "Shipper", "Target"]

POLL_SECONDS = 0.25
"""Between two looks at a file that has no more."""

ROOM_SECONDS = 0.02
"""Between two looks at a journal that has no room."""

COMMIT_SECONDS = 5.0
"""Between two states while lines come."""

IDLE_COMMIT_SECONDS = 1.0
"""The same while none come."""

COMMIT_TIMEOUT = 10.0
WARN_SECONDS = 60.0

_BLANK = b" \t\r\n\0"  # zeros: what a crash or a truncation by another left in front of a line
_BOM = b"\xef\xbb\xbf"


class Target(Protocol):
    """What events are shipped to: a KafkaCollector."""

    def emit(self, event: AuditEvent) -> None:
        """Take one event."""

    def flush(self, timeout: float) -> None:
        """Return when everything taken is acknowledged; FlushTimeout otherwise."""

    def health(self) -> Health:
        """What waits, and what was acknowledged."""


@dataclass
class Counts:
    """What a run has seen.

    Attributes:
        bytes: Read.
        lines: Looked at, empty ones included.
        blank: Empty lines.
        events: Handed to the collector.
        custom: Events among them whose type has no schema of its own.
        derived_ids: Events among them whose id was derived.
        untimed: Events among them that have the time of shipping.
        control: Control records of other streams, left out.
        rejected: Reason -> lines that are no events.
    """

    bytes: int = 0
    lines: int = 0
    blank: int = 0
    events: int = 0
    custom: int = 0
    derived_ids: int = 0
    untimed: int = 0
    control: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


class _Rejects(Protocol):
    def write(self, data: bytes, /) -> Any: ...

    def flush(self) -> None: ...


class Shipper:
    """Ships one source; for one thread.

    Args:
        source: Where the bytes come from.
        target: Where the events go. It must not refuse them for want of room in less than a chunk's time.
        bad_line: Is told number and reason of each line that is no event.
        rejects: Gets those lines as they are.
        state_path: Where to keep how far the log is shipped; None keeps it nowhere.
        warn: Is told, in a sentence, that the broker is away.
        progress: Called often, also while it waits.
        timeout: Seconds without any acknowledgement after which it gives up; when following, never.
        clock: Seconds, monotonic.
        wait: Waits for so many seconds.
        limit: Bytes of the longest line.

    Attributes:
        counts: What this run has seen so far.
    """

    def __init__(
        self,
        source: Source,
        target: Target,
        *,
        bad_line: Callable[[int, str], None],
        warn: Callable[[str], None],
        rejects: _Rejects | None = None,
        state_path: Path | None = None,
        progress: Callable[[], None] = lambda: None,
        timeout: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
        limit: int = MAX_LINE,
    ) -> None:
        self.counts = Counts()
        self._source = source
        self._target = target
        self._bad_line = bad_line
        self._warn = warn
        self._rejects = rejects
        self._state_path = state_path
        self._progress = progress
        self._timeout = timeout
        self._clock = clock
        self._wait = wait
        self._limit = limit
        self._saved_at = self._warned_at = clock()
        self._saved: State | None = source.resumed
        self._go_to(source.resumed)

    def _go_to(self, state: State | None) -> None:
        self._chain = Chain() if state is None else Chain(bytes.fromhex(state.chain))
        offset, line = (0, 0) if state is None else (state.offset, state.line)
        # place, line and chain of what was handed over; one value, so that an interrupt finds them together
        self._reached = (offset, line, self._chain.value)
        spill = None if self._rejects is None else self._rejects.write
        self._splitter = Splitter(offset, line, limit=self._limit, spill=spill)

    def run(self) -> None:
        """Ship until the source ends; one that is followed does not.

        Raises:
            FlushTimeout: The broker has acknowledged nothing for ``timeout`` seconds.
            AuditwireError: Source, rejects or state failed. What was handed over before is in the collector.
        """
        while True:
            data = self._source.read()
            if data:
                self.counts.bytes += len(data)
                for line in self._splitter.feed(data):
                    self._take(line)
                self._progress()
                self._await_room()
                self._commit_when_due(COMMIT_SECONDS)
            elif self._source.over():
                if not self._source.turn():
                    self._finish_line()
                    self._go_to(None)
            elif self._source.follow:
                self._commit_when_due(IDLE_COMMIT_SECONDS)
                self._progress()
                self._wait(POLL_SECONDS)
            else:
                self._finish_line()
                return

    def commit(self, timeout: float) -> None:
        """Wait until everything so far is acknowledged, and remember it.

        Raises:
            FlushTimeout: It was not in time; nothing new is remembered.
            SinkError: The state could not be written.
        """
        state = None if self._state_path is None else self._source.state(*self._reached)
        self._saved_at = self._clock()
        if self._rejects is not None:
            self._rejects.flush()  # what is remembered as done must not be in a buffer
        self._target.flush(timeout)
        if state is not None and self._state_path is not None and state != self._saved:
            save_state(self._state_path, state, now_us())
            self._saved = state

    # -- lines ----------------------------------------------------------------------------------------------

    def _finish_line(self) -> None:
        line = self._splitter.finish()
        if line is not None:
            self._take(line)

    def _take(self, line: Line) -> None:
        raw = line.raw.removeprefix(_BOM) if line.number == 1 else line.raw
        text = raw.strip(_BLANK)
        self.counts.lines += 1
        if not text and not line.too_long:
            self.counts.blank += 1
        else:
            self._chain.advance(text)
            try:
                self._ship(line, text)
            except BadLine as error:
                self._reject(line, error)
                if not line.ended:
                    return  # its other half may come; then the next run looks at the whole
        # a line that is not ended: its line break, should one come, still belongs to it
        self._reached = (line.end, line.number - (not line.ended), self._chain.value)

    def _ship(self, line: Line, text: bytes) -> None:
        if line.too_long:
            raise BadLine("too_long", f"{line.length:,} bytes; the most is {self._limit:,}")
        event, derived, untimed = parse(text, self._new_id, now_us)
        if event is None:
            self.counts.control += 1
            return
        try:
            self._target.emit(event)
        except EncodingError as error:
            raise BadLine("refused", str(error)) from error
        self.counts.events += 1
        self.counts.derived_ids += derived
        self.counts.untimed += untimed
        self.counts.custom += isinstance(event, CustomEvent)

    def _new_id(self) -> str:
        return derived_id(self._chain.value)

    def _reject(self, line: Line, error: BadLine) -> None:
        self.counts.rejected[error.reason] += 1
        if self._rejects is not None and not line.too_long:  # of a long one every byte is there already
            self._rejects.write(line.raw + b"\n")
        self._bad_line(line.number, str(error))

    # -- the broker -----------------------------------------------------------------------------------------

    def _await_room(self) -> None:
        """Wait while more than half of the journal is full; the next chunk's events always fit."""
        health = self._target.health()
        since, delivered = self._clock(), health.delivered
        while health.pending_bytes > health.capacity_bytes // 2:
            self._wait(ROOM_SECONDS)
            self._progress()
            health = self._target.health()
            now = self._clock()
            if health.delivered != delivered:
                since, delivered = now, health.delivered
            elif now - since >= self._timeout:
                self._stalled(health, now)

    def _stalled(self, health: Health, now: float) -> None:
        reasons = "; ".join(f"{topic}: {reason}" for topic, reason in sorted(health.parked.items()))
        said = (
            f"the broker has acknowledged nothing for {self._timeout:g} s, {health.pending_records} records "
            f"wait: {reasons or health.last_error or 'no error was reported'}"
        )
        if not self._source.follow:
            raise FlushTimeout(said, pending=health.pending_records, parked=health.parked)
        if now - self._warned_at >= WARN_SECONDS:
            self._warned_at = now
            self._warn(said)

    def _commit_when_due(self, interval: float) -> None:
        if self._state_path is None or self._clock() - self._saved_at < interval:
            return
        saved = self._saved
        if saved is not None and self._reached == (saved.offset, saved.line, bytes.fromhex(saved.chain)):
            return
        try:
            self.commit(COMMIT_TIMEOUT)
        except FlushTimeout as error:
            now = self._clock()
            self._saved_at = now
            if now - self._warned_at >= WARN_SECONDS:
                self._warned_at = now
                self._warn(f"{error}. The state waits for them")
