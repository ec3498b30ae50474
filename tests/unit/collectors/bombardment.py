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

# A process of its own, because a thread of this one would only run where the main thread lets it; and not a
# timer, because pytest-timeout has the only one.
SENDER = """
import os, random, signal, sys, time
target, pick = os.getppid(), random.Random(int(sys.argv[1]))
while os.getppid() == target:
    os.kill(target, signal.SIGUSR1)
    time.sleep(pick.uniform(0.000_02, 0.000_3))
"""


@contextlib.contextmanager
def bombarded(handle: Callable[[], object]) -> Iterator[None]:
    """Within the block, ``handle`` is called in a signal handler some thousand times a second."""
    if sys.platform == "win32":
        pytest.skip("no such signals on this system")
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: handle())
    sender = subprocess.Popen([sys.executable, "-c", SENDER, str(os.getpid())])
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        sender.terminate()
        sender.wait()
        signal.signal(signal.SIGUSR1, before)
