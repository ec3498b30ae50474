"""What a forked child has to put right: locks that another thread of its parent held, descriptors it shares.

An object registers itself; in each forked child its ``after_fork`` is called once, before anything else runs.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

__all__ = ["AfterFork", "register", "usable_lock"]


class AfterFork(Protocol):
    """Something that has to know when it finds itself in a forked child; hashable, and weakly referable."""

    def after_fork(self) -> None:
        """Called in the child, by the only thread there is. Must not raise."""


_registered: weakref.WeakSet[AfterFork] = weakref.WeakSet()


def register(thing: AfterFork) -> None:
    """Have ``after_fork`` called in forked children, for as long as somebody else holds the object."""
    _registered.add(thing)


def usable_lock(lock: threading.RLock) -> threading.RLock:
    """The re-entrant lock itself, or a new one when a thread that does not exist in the child holds it.

    A lock that the forking thread itself holds stays: the code that took it goes on in the child, and
    releases it.
    """
    if lock.acquire(blocking=False):
        lock.release()
        return lock
    return threading.RLock()


def _after_fork() -> None:
    for thing in list(_registered):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows, which does not fork either
    os.register_at_fork(after_in_child=_after_fork)
