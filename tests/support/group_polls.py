"""Polling group readers, a record each in turn, until something is so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.reading import GroupReader

__all__ = ["poll_until", "take"]

_SOON = 30.0  # seconds


def take(reader: GroupReader, count: int) -> list[int]:
    """The sequences of the reader's next records."""
    seen: list[int] = []
    poll_until(lambda: len(seen) == count, seen, reader)
    return seen


def poll_until(condition: Callable[[], object], seen: list[int], *readers: GroupReader) -> None:
    """Add the sequences of what the readers give to ``seen``, until the condition holds."""
    deadline = time.monotonic() + _SOON
    while not condition():
        assert time.monotonic() < deadline, seen
        for reader in readers:
            record = reader.poll(0.05)
            if record is not None:
                seen.append(record.sequence)
