"""Stopping a piece of work before each of its calls in turn."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from support.simulated_fs import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.simulated_fs import SimulatedFileSystem

SEEDS = range(12)


def after_every_stop(
    prepare: Callable[[], SimulatedFileSystem],
    act: Callable[[SimulatedFileSystem], None],
    check: Callable[[SimulatedFileSystem], None],
) -> int:
    """Stop an act before each of its calls, by a kill and by power losses, and check what is left each time.

    Args:
        prepare: Makes what the act begins with, anew each time.
        act: The work.
        check: Looks at what is left.

    Returns:
        How many calls of the act changed anything.
    """
    after = 0
    while True:
        for seed in (None, *SEEDS):
            fs = prepare()
            fs.interrupt(after)
            try:
                act(fs)
            except Stopped:
                stopped = True
            else:
                stopped = False
            check(fs.kill() if seed is None else fs.crash(random.Random(seed)))
        if not stopped:
            return after
        after += 1
