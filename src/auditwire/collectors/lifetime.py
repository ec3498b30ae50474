"""The ends of a process: interpreter exit, and the exit of multiprocessing children.

In come collectors that own a background thread; at exit each is closed within its ``exit_timeout``, all at
the same time, and what a memory journal loses is said on stderr with the count.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import Protocol

__all__ = ["register", "unregister"]


class _Owner(Protocol):
    exit_timeout: float

    @property
    def durable(self) -> bool: ...

    def begin_close(self, timeout: float) -> None: ...
    def end_close(self, timeout: float) -> None: ...
    def abandoned(self) -> int | None: ...
    def obstacle(self) -> str: ...


_open: set[_Owner] = set()  # strong: a collector that nobody holds any more still has events to deliver
_finalizer_pid = 0


def register(owner: _Owner) -> None:
    """Close this collector when the process ends, if nobody did."""
    _open.add(owner)
    _register_with_multiprocessing()


def unregister(owner: _Owner) -> None:
    """It is closed."""
    _open.discard(owner)


def _register_with_multiprocessing() -> None:
    """``atexit`` does not run in multiprocessing's children; their own finalisers do.

    Registered at a collector's first event, not at fork or construction: multiprocessing clears its registry
    when the child begins, and a forkserver's child imports the main module before it is known for a child.
    """
    global _finalizer_pid  # noqa: PLW0603 - one per process by its nature
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _finalizer_pid == os.getpid():
        return
    from multiprocessing.util import Finalize  # noqa: PLC0415 - only in such a child

    _finalizer_pid = os.getpid()
    Finalize(None, _close_all, exitpriority=10)


def _close_all() -> None:
    owners = [owner for owner in list(_open) if owner.abandoned() is not None]
    for owner in owners:
        owner.begin_close(owner.exit_timeout)
    for owner in owners:
        owner.end_close(owner.exit_timeout)
        _open.discard(owner)  # a spawned child comes here twice: by multiprocessing's finaliser and by atexit
        lost = owner.abandoned()
        if lost:
            with contextlib.suppress(OSError, ValueError):  # stderr may be gone already
                what = "wait in its journal" if owner.durable else "are lost with its memory"
                sys.stderr.write(
                    f"auditwire: {lost} records of {owner!r} were not acknowledged before the process ended, "
                    f"and {what}{owner.obstacle()}\n"
                )


atexit.register(_close_all)
