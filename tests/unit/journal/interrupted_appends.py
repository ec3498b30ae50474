"""A process of its own, run by test_writer: appends under thousands of real signals, and what is left.

Not inside pytest: an exception in the middle of coverage's or pytest's own bookkeeping would leave that half
done, and the one interval timer is pytest-timeout's.

    python interrupted_appends.py raise | time-out | emit | wait
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import tempfile
from typing import TYPE_CHECKING

from writing import Stream, in_thread

from auditwire.journal import making, writer
from auditwire.journal.filesystem import REAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class Interrupted(BaseException):
    """As Ctrl-C, and gunicorn's SystemExit."""


def interrupted(stream: Stream) -> None:
    raise Interrupted


def timed_out(stream: Stream) -> None:
    raise TimeoutError


def emits(stream: Stream) -> None:
    stream.append(f"inner-{len(stream.begun)}")


def waits(stream: Stream) -> None:
    in_thread(lambda: emits(stream))


SCENARIOS: dict[str, tuple[Callable[[Stream], None], int]] = {
    "raise": (interrupted, 5000),
    "time-out": (timed_out, 5000),
    "emit": (emits, 5000),
    "wait": (waits, 500),
}


def main(scenario: str) -> None:
    for module in (making, writer):
        vars(module).update(FIRST_SEGMENT=4096, RESERVE=512)
    writer._ROTATE_SECONDS = 0.01
    strike, signals = SCENARIOS[scenario]
    pick = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        stream = Stream(REAL, folder)
        stream.append("first")  # whose type's schema is read from a file
        struck = inside = 0

        def on_signal(number: int, frame: FrameType | None) -> None:
            nonlocal struck, inside
            struck += 1
            while frame is not None:
                inside += frame.f_code is writer.StreamWriter.append.__code__
                frame = frame.f_back
            strike(stream)

        begun = 0

        def until_struck() -> None:  # a call of its own: what strikes between two rounds is caught too
            nonlocal begun
            before = struck
            signal.setitimer(signal.ITIMER_REAL, pick.uniform(1e-6, 150e-6))
            while struck == before:
                begun += 1
                stream.append(f"outer-{begun}", pick.randrange(300))

        signal.signal(signal.SIGALRM, on_signal)
        while struck < signals:
            with contextlib.suppress(Interrupted, TimeoutError):
                until_struck()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        stream.append("last")
        stream.check(interrupted=frozenset(stream.begun - stream.answers.keys()))
        assert not stream.writer._inbox
        assert inside > signals // 4  # else the test interrupted something else


if __name__ == "__main__":
    main(sys.argv[1])
    print("whole")  # noqa: T201 - what the test waits for
