"""Checks a trail again and again, and keeps the numbers that an alert needs.

In comes a function that checks once, out come :class:`Round` objects and :class:`Numbers`. A check that
cannot be made, because no broker answers or a disk is full, is a round too: it is counted, its reason is
kept, and the next one comes in its time. Nothing but a stop, or a setting that is wrong from the beginning,
ends the watch.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from auditwire.errors import AuditwireError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auditwire.verification.outcome import TrailReport

__all__ = ["RESULTS", "Numbers", "Result", "Round", "Watch"]

Result = Literal["complete", "fault", "open", "nothing", "failed"]
"""What a round came to: the exit status in a word, or ``failed`` where the check could not be made."""

RESULTS: tuple[Result, ...] = ("complete", "fault", "open", "nothing", "failed")

_OF_STATUS: Mapping[int, Result] = {0: "complete", 1: "fault", 3: "open", 4: "nothing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One check.

    Attributes:
        number: From 1 on.
        began: When, seconds since the Unix epoch.
        seconds: How long it took.
        result: What it came to.
        report: What it found; None when it failed.
        reason: Why it failed; None when it did not.
    """

    number: int
    began: float
    seconds: float
    result: Result
    report: TrailReport | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The round in JSON's own types, the report's members among its own."""
        told = {} if self.report is None else self.report.to_dict()
        return {
            "round": self.number,
            "began": self.began,
            "seconds": round(self.seconds, 3),
            "result": self.result,
            "reason": self.reason,
            **told,
        }


@dataclass(slots=True)
class Numbers:
    """What an alert needs; written by the watch, and read by any thread as a copy that the watch gives.

    Attributes:
        rounds: How many rounds came to each result.
        broker_up: False when the last round failed.
        last_completed: When the last round ended that did not fail, seconds since the Unix epoch; 0: none.
        last_success: The same of the last one that found no fault, and something to check.
        seconds: How long the last round took.
        streams: How many streams have each verdict, as of the last round that did not fail.
        faults: How many faults of each kind came up, over all rounds: one that stays is counted once.
        missing: How many records are missing now.
        records: How many messages were read, over all rounds.
        lag: How many messages the last round had to read: so far behind the check was.
        oldest_open_ms: As in the report.
        silent_open_ms: As in the report.
    """

    rounds: Counter[Result] = field(default_factory=Counter)
    broker_up: bool = False
    last_completed: float = 0.0
    last_success: float = 0.0
    seconds: float = 0.0
    streams: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    records: int = 0
    lag: int = 0
    oldest_open_ms: int | None = None
    silent_open_ms: int | None = None

    def copy(self) -> Numbers:
        """As they are now."""
        values = {name: getattr(self, name) for name in self.__slots__}
        for name in ("rounds", "streams", "faults"):
            values[name] = Counter(values[name])
        return Numbers(**values)


class Watch:
    """See the module. ``stop`` and ``numbers`` are for any thread, ``run`` for one.

    Args:
        check: Checks once. An :class:`AuditwireError` of it fails the round; a
            :class:`ConfigurationError` of the first round comes out of ``run``.
        every: Seconds from the beginning of a round to that of the next; a round that takes longer is
            followed at once.
        on_round: Called after each round.
        clock: Seconds since the Unix epoch.
        monotonic: Seconds that no clock setting changes.
    """

    def __init__(
        self,
        check: Callable[[], TrailReport],
        *,
        every: float,
        on_round: Callable[[Round], None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check = check
        self._every = every
        self._on_round = on_round
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._numbers = Numbers()
        self._known: Counter[str] = Counter()  # the faults of the last round that did not fail
        self._stop = threading.Event()

    @property
    def numbers(self) -> Numbers:
        """A copy of the numbers."""
        with self._lock:
            return self._numbers.copy()

    def stop(self) -> None:
        """End after the round that is under way; for any thread or signal handler."""
        self._stop.set()

    def run(self, *, fail_fast: bool = False) -> Round:
        """Check until ``stop`` is called.

        Args:
            fail_fast: True ends at the first round that finds a fault, too.

        Returns:
            The last round.

        Raises:
            ConfigurationError: A setting is wrong: the first round said so.
        """
        number = 0
        while True:
            number += 1
            began = self._monotonic()
            made = self._round(number)
            self._count(made)
            self._on_round(made)
            if fail_fast and made.result == "fault":
                return made
            if self._stop.wait(max(0.0, began + self._every - self._monotonic())):
                return made

    def _round(self, number: int) -> Round:
        began, start = self._clock(), self._monotonic()
        try:
            report = self._check()
        except AuditwireError as error:
            if number == 1 and isinstance(error, ConfigurationError):
                raise
            seconds = self._monotonic() - start
            return Round(number=number, began=began, seconds=seconds, result="failed", reason=str(error))
        seconds = self._monotonic() - start
        result = _OF_STATUS[report.exit_status]
        return Round(number=number, began=began, seconds=seconds, result=result, report=report)

    def _count(self, made: Round) -> None:
        with self._lock:
            numbers, report = self._numbers, made.report
            numbers.rounds[made.result] += 1
            numbers.seconds = made.seconds
            numbers.broker_up = report is not None
            if report is None:
                return
            numbers.last_completed = made.began + made.seconds
            if made.result in ("complete", "open"):
                numbers.last_success = numbers.last_completed
            numbers.streams = Counter(report.verdicts)
            numbers.faults += report.faults - self._known
            self._known = Counter(report.faults)
            numbers.missing = report.missing
            numbers.records += report.messages
            numbers.lag = report.messages
            numbers.oldest_open_ms = report.oldest_open_ms
            numbers.silent_open_ms = report.silent_open_ms
