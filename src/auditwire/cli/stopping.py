"""Ctrl-C and SIGTERM as a wish: the command ends at the next place where it can be gone on with.

A second one ends it at once. The exit statuses are those of :mod:`auditwire.cli.app`.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from typing_extensions import Self

__all__ = ["Stopping"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ENDED_BY_SIGNAL = 128


class Stopping:
    """Notes the first SIGINT or SIGTERM while its block runs; raises at the second. For the main thread.

    In any other thread it notes nothing: Python gives no signals there.

    Attributes:
        signal: Which one it was; 0 before.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.signal = 0
        self._clock = clock
        self._since = 0.0
        self._before: dict[int, object] = {}

    def wanted(self) -> bool:
        """Whether the block is to end."""
        return self.signal != 0

    @property
    def seconds(self) -> float:
        """How long that has been wanted; 0.0 before."""
        return self._clock() - self._since if self.signal else 0.0

    def raise_signal(self) -> None:
        """End as the signal would have ended the command; does nothing when there was none.

        Raises:
            KeyboardInterrupt: For SIGINT.
            SystemExit: For SIGTERM, with its status.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal:
            raise SystemExit(_ENDED_BY_SIGNAL + self.signal)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # a shell starts background jobs with SIGINT ignored: they are not meant
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal.signal returned
        self._before.clear()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        # no lock is taken here, and no Event set: the thread may be inside one
        if self.signal:
            self.signal = number
            self.raise_signal()
        self.signal, self._since = number, self._clock()
