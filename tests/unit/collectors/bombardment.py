"""Signals from outside, at any moment: what a collector must stand in the middle of an emit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

# A process of its own, because a thread of this one would only run where the main thread lets it; and not a
# timer, because pytest-timeout has the only one.
SENDER = """
import os, random, signal, sys, time
target, pick = os.getppid(), random.Random(int(sys.argv[1]))
while os.read(0, 1):
    time.sleep(pick.uniform(0, 0.000_3))
    os.kill(target, signal.SIGUSR1)
"""


@contextlib.contextmanager
def bombarded(handle: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Gives a function that orders a signal: soon afterwards ``handle`` runs, wherever the main thread is.

    An order is ignored while another is under way, so that no handler runs inside another: that is livelock
    on a slow machine, and a crash of the interpreter (SystemError) in Python 3.10.
    """
    if sys.platform == "win32":
        pytest.skip("no such signals on this system")
    under_way = False

    def handler(_number: int, _frame: FrameType | None) -> None:
        nonlocal under_way
        under_way = False
        handle()

    def order() -> None:
        nonlocal under_way
        if not under_way:
            under_way = True
            os.write(orders.fileno(), b"x")

    before = signal.signal(signal.SIGUSR1, handler)
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, str(os.getpid())], stdin=subprocess.PIPE, bufsize=0
    )
    assert sender.stdin is not None
    orders = sender.stdin
    try:
        yield order
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        orders.close()
        sender.wait()
        signal.signal(signal.SIGUSR1, before)
