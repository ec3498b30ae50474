"""A bar on stderr where a person looks at it, and nothing anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from contextlib import ExitStack

__all__ = ["Bar"]

_EVERY = 0.1


class Bar:
    """Shows how far something is, at most ten times a second.

    Args:
        stack: Ends it.
        title: What is done.
        total: When it is done.
        unit: What is counted.
    """

    def __init__(self, stack: ExitStack, title: str, total: int, unit: Literal["bytes", "records"]) -> None:
        self._due = 0.0
        self._done = 0
        self._bar: Any = None
        if not sys.stderr.isatty():
            return
        from rich import progress  # noqa: PLC0415 - only where it is shown
        from rich.console import Console  # noqa: PLC0415 - as above

        columns = (
            (progress.DownloadColumn(), progress.TransferSpeedColumn())
            if unit == "bytes"
            else (progress.MofNCompleteColumn(), progress.TextColumn("records"))
        )
        self._bar = stack.enter_context(
            progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                *columns,
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                auto_refresh=False,
            )
        )
        self._task = self._bar.add_task(title, total=total)

    def add(self, count: int) -> None:
        """So much more is done."""
        self.show(self._done + count)

    def show(self, done: int, total: int | None = None) -> None:
        """So much is done in all; ``total`` where that has changed."""
        self._done = done
        now = time.monotonic()
        if self._bar is not None and now >= self._due:
            self._due = now + _EVERY
            self._bar.update(self._task, completed=done, total=total)
            self._bar.refresh()
