"""The bar of a replay, on stderr where a person looks at it: how far, how many, how fast, how long still."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from auditwire.reading import Progress

__all__ = ["ReplayBar"]

_EVERY = 0.1
_WINDOW = 50
"""Looks that the rate is made of: five seconds."""


class ReplayBar:
    """Shows how far a replay is, at most ten times a second.

    The bar and the time left follow the offsets that are to be read; the rate is that of the records written.

    Args:
        stack: Ends it.
        title: What is done.
        progress: How far the reader is.
        records: How many records were written.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        stack: ExitStack,
        title: str,
        progress: Callable[[], Progress],
        records: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = progress
        self._records = records
        self._clock = clock
        self._due = 0.0
        self._looks: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._bar: Any = None
        if not sys.stderr.isatty():
            return
        from rich import progress as rich  # noqa: PLC0415 - only where it is shown
        from rich.console import Console  # noqa: PLC0415 - as above

        self._bar = stack.enter_context(
            rich.Progress(
                rich.TextColumn("{task.description}", markup=False),
                rich.BarColumn(),
                rich.TaskProgressColumn(),
                rich.TextColumn("{task.fields[records]:,} records", markup=False),
                rich.TextColumn("{task.fields[rate]:,.0f}/s", markup=False),
                rich.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                auto_refresh=False,
            )
        )
        self._task = self._bar.add_task(title, total=None, records=0, rate=0.0)

    def show(self) -> None:
        """Say how far it is."""
        if self._bar is None:
            return
        now = self._clock()
        if now < self._due:
            return
        self._due = now + _EVERY
        records, progress = self._records(), self._progress()
        self._looks.append((now, records))
        then, before = self._looks[0]
        rate = (records - before) / (now - then) if now > then else 0.0
        self._bar.update(
            self._task, completed=progress.done, total=progress.total, records=records, rate=rate
        )
        self._bar.refresh()
