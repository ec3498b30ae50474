"""The loop of a replay: reads, waits for the time of a record, writes, and remembers how far.

**What is remembered is safe.** A state is taken between two records: everything before it was written, and
the output says that it is on the disk, or acknowledged. A crash between two states writes what lies between
once more: into a file not even that, because it is cut back to the state.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Protocol

from auditwire.errors import AuditwireError
from auditwire.reading.pacing import paced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditwire.reading import Record
    from auditwire.replaying.state import Status
    from auditwire.replaying.tally import Tally

    Save = Callable[[dict[str, Any], dict[str, Any], Status], None]

__all__ = ["Output", "Replay", "Source"]

SAVE_SECONDS = 5.0
"""Between two states, if writing one takes no time to speak of."""

_SHARE = 20
"""Of the time that states take, the rest is at least so many times as long: they grow with the streams."""

_POLL_SECONDS = 0.25
_STEP_SECONDS = 0.2  # of a long pause: so soon a wish to stop is noticed


class Source(Protocol):
    """What is replayed: a :class:`~auditwire.reading.Reader`."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""

    @property
    def position(self) -> dict[str, Any]:
        """Where another reader goes on behind what was handed out."""

    @property
    def undecodable(self) -> Any:
        """Reason -> messages that were no records."""

    def poll(self, timeout: float) -> Record | None:
        """The next record, or None when none came in time."""


class Output(Protocol):
    """Where records are written to."""

    def write(self, record: Record) -> None:
        """Take one record."""

    def settle(self) -> dict[str, Any]:
        """Return when everything written is safe, with what a state has to know of it."""

    def finish(self) -> dict[str, Any]:
        """``settle`` for the last time."""

    def close(self) -> None:
        """Let go of it."""


class Replay:
    """One run. For one thread.

    Args:
        source: Where records come from, in their order.
        output: Where they go.
        tally: Counts them.
        wanted: Whether a record is asked for; the source need not have looked at everything.
        duplicates: True writes those too that ``duplicate`` is told of; they are counted in any case.
        save: Called between two records with the source's position, what the output says of itself, and the
            status, when everything up to there is safe; None keeps no state.
        stopped: Asked often: True ends the run between two records.
        progress: Called often, also while records are skipped.
        speed: As for :func:`~auditwire.reading.pacing.paced`.
        max_pause: As there.
        clock: Seconds, monotonic.
        sleep: Waits for so many seconds.

    Attributes:
        complete: Whether everything was replayed.
    """

    def __init__(
        self,
        source: Source,
        output: Output,
        tally: Tally,
        *,
        wanted: Callable[[Record], bool] = lambda _: True,
        duplicates: bool = False,
        save: Save | None = None,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[], None] = lambda: None,
        speed: float = math.inf,
        max_pause: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.complete = False
        self._source = source
        self._output = output
        self._tally = tally
        self._wanted = wanted
        self._duplicates = duplicates
        self._broken = False  # the output holds a part of a record, or lacks one that was handed out
        self._save = save
        self._stopped = stopped
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._due = clock() + SAVE_SECONDS
        self._records = paced(self._read(), speed, max_pause=max_pause, clock=clock, sleep=self._pause)

    def run(self) -> None:
        """Replay everything, or until ``stopped``; all that was written is safe when it returns.

        Raises:
            AuditwireError: Reading or writing failed. The last state that was saved stands.
            BrokenPipeError: Nobody reads the output any more.
        """
        try:
            for record in self._records:
                self._write(record)
                self._tally.add(record)
        except AuditwireError:
            if not self._broken:  # reading failed: what was read before is written
                self._end("ended")
            raise
        self._end("done" if self._source.finished and not self._stopped() else "ended")

    def _end(self, status: Status) -> None:
        said = self._output.finish() if status == "done" else self._output.settle()
        self._tally.unread(self._source.undecodable)
        if self._save is not None:
            self._save(self._source.position, said, status)
        self.complete = status == "done"
        self._progress()

    def _write(self, record: Record) -> None:
        try:
            self._output.write(record)
        except BaseException:
            self._broken = True
            raise

    def duplicate(self, record: Record) -> None:
        """Take a record whose number was handed out before: the source calls this where it drops one."""
        if not self._wanted(record):
            return
        if self._duplicates:
            self._write(record)
            self._tally.duplicate(record)
        else:
            self._tally.duplicates += 1

    def _read(self) -> Iterator[Record]:
        """The records that are asked for. When it is gone on with, the record before is written."""
        while not (self._source.finished or self._stopped()):
            self._progress()
            if self._save is not None and self._clock() >= self._due:
                self._remember(self._save)
            record = self._source.poll(_POLL_SECONDS)
            if record is not None and self._wanted(record):
                yield record

    def _remember(self, save: Save) -> None:
        began = self._clock()
        said = self._settle()
        self._tally.unread(self._source.undecodable)
        save(self._source.position, said, "running")
        now = self._clock()
        self._due = now + max(SAVE_SECONDS, _SHARE * (now - began))

    def _settle(self) -> dict[str, Any]:
        try:
            return self._output.settle()
        except BaseException:
            self._broken = True
            raise

    def _pause(self, seconds: float) -> None:
        """Sleep, in steps: a wish to stop ends it, and the record that waited comes early."""
        due = self._clock() + seconds
        while not self._stopped():
            remaining = due - self._clock()
            if remaining <= 0:
                return
            self._progress()
            self._sleep(min(_STEP_SECONDS, remaining))
