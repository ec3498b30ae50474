"""The bar of a check, on stderr where a person looks at it: how far, how fast, how long still."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from auditwire.verification.trail import Stage

__all__ = ["VerifyBar"]

_WINDOW = 25
"""Looks that the rate is made of: five seconds."""

_TITLES = {"reading": ("reading", "messages"), "judging": ("judging", "streams")}


class VerifyBar:
    """Shows how far a check is.

    Args:
        stack: Ends it.
        clock: Seconds, monotonic.
    """

    def __init__(self, stack: ExitStack, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
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
                rich.TextColumn("{task.completed:,.0f} {task.fields[unit]}", markup=False),
                rich.TextColumn("{task.fields[rate]:,.0f}/s", markup=False),
                rich.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                auto_refresh=False,
            )
        )
        self._task = self._bar.add_task("", total=None, unit="", rate=0.0)

    def show(self, stage: Stage, done: int, total: int | None) -> None:
        """Say how far it is."""
        if self._bar is None:
            return
        title, unit = _TITLES[stage]
        if stage != self._stage:
            self._stage = stage
            self._looks.clear()
            self._bar.reset(self._task, total=total)
        self._looks.append((self._clock(), done))
        (then, before), (now, _) = self._looks[0], self._looks[-1]
        rate = (done - before) / (now - then) if now > then else 0.0
        self._bar.update(self._task, description=title, completed=done, total=total, unit=unit, rate=rate)
        self._bar.refresh()
