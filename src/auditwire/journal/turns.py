"""Turns that threads take, where an exception that a signal handler raises must not leave one taken.

A lock that one call takes and another one frees stays taken for ever when an exception strikes between them:
in the instant before ``try``, or at the beginning of ``finally``. So a turn here lasts as long as its claim
lives, which is a local variable of whoever takes it: it ends at the latest with the frame. And as its holder
may be interrupted by a handler that waits for the very thread that waits for the turn, everybody who waits
does so for a while only, and must be able to go on without it.
"""

from __future__ import annotations

from threading import Lock, get_ident
from weakref import ref

__all__ = ["Claim", "Turns"]


class Claim:
    """One thread's place in the row; keep it in a local variable only, and `finish` it."""

    __slots__ = ("__weakref__", "_finished", "_over", "_thread")

    def __init__(self) -> None:
        self._thread = get_ident()
        self._finished = False
        self._over = Lock()
        self._over.acquire()

    def finish(self) -> None:
        """End the turn, or withdraw; once."""
        self._finished = True
        self._over.release()


class Turns:
    """A row of claims, of which the first has the turn. For any thread; nothing here is locked."""

    __slots__ = ("_row",)

    def __init__(self) -> None:
        self._row: list[ref[Claim]] = []

    def claim(self) -> Claim:
        """Stand in the row."""
        claim = Claim()
        self._row.append(ref(claim, self._row.remove))  # one call each: in the row, and out of it
        return claim

    def has(self, claim: Claim) -> bool:
        """Whether it is this claim's turn."""
        return self._first() is claim

    def wait(self, claim: Claim, timeout: float) -> bool:
        """Wait for the end of whose turn it is now.

        Nobody waits for a turn that is the claim's own, or that this very thread has: a signal handler that
        interrupted it would wait for itself.

        Returns:
            True when it ended, and it is to be looked again; False when there is nothing to wait for, or
            ``timeout`` seconds went by.
        """
        first = self._first()
        if first is None or first is claim or first._thread == claim._thread:  # noqa: SLF001 - of this module
            return False
        over = first._over  # noqa: SLF001
        del first  # who waits must not keep the claim alive
        if not over.acquire(timeout=timeout):
            return False
        over.release()
        return True

    def _first(self) -> Claim | None:
        for place in list(self._row):
            claim = place()
            if claim is not None and not claim._finished:  # noqa: SLF001
                return claim
        return None
