"""Identifiers: UUIDv7 text for events and streams, twelve hex digits for turns.

UUIDv7 (RFC 9562, section 5.7) as 36 characters of text::

    bits  0-47   Unix time in milliseconds
         48-51   version, 7
         52-63   12 bits of a counter
         64-65   variant, 2
         66-81   16 bits of the same counter
         82-127  46 random bits, drawn once for each process

The counter starts at random and is taken by one C call, so that two threads, or a signal handler inside a
call, never draw the same number. The random bits are drawn anew in a forked child, which would otherwise
repeat its parent's identifiers.

A turn's id is the next of a walk through all numbers of 48 bits whose beginning and step were drawn by the
process: within it none comes twice, and two processes meet as seldom as random numbers do.

The system is asked for random bytes once in a process: ``os.urandom`` lets go of the interpreter, and every
call wakes a background thread that waits for it.
"""

from __future__ import annotations

import itertools
import os
import time

__all__ = ["turn_id", "uuid7"]

_COUNTER_BITS = 28
_TURN_MASK = (1 << 48) - 1

_VARIANT = tuple(f"{0x80 | bits:02x}" for bits in range(64))
"""Six bits of the counter -> their byte's text, behind the variant."""

_BYTE = tuple(f"{byte:02x}" for byte in range(256))


class _State:
    """What a process draws once."""

    __slots__ = ("head", "next", "node", "tails", "turns")

    def __init__(self) -> None:
        self.node = int.from_bytes(os.urandom(6), "big") >> 2
        self.next = itertools.count(int.from_bytes(os.urandom(3), "big")).__next__
        # by an odd step through 2**48 numbers: all of them come before the first comes again
        start, step = (int.from_bytes(os.urandom(6), "big") for _ in range(2))
        self.turns = itertools.count(start, step | 1)
        self.head = -1, ""  # the first 19 characters, and the number that they were made of
        self.tails = [f"-{low << 46 | self.node:012x}" for low in range(4)]  # the last 13


_state = _State()


def _after_fork() -> None:
    global _state  # noqa: PLW0603 - one per process by its nature
    _state = _State()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows, which does not fork either
    os.register_at_fork(after_in_child=_after_fork)


def uuid7(time_ns: int | None = None) -> str:
    """A new UUIDv7 as text, unique over processes and machines; later ones sort after earlier ones by the ms.

    Args:
        time_ns: Unix time in nanoseconds; the default is now.
    """
    state = _state
    count = state.next() & ((1 << _COUNTER_BITS) - 1)
    ms = ((time.time_ns() if time_ns is None else time_ns) // 1_000_000) & 0xFFFF_FFFF_FFFF
    known, head = state.head
    number = ms << 12 | count >> 16
    if number != known:
        head = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{count >> 16:03x}-"
        state.head = number, head  # one store: whoever reads it meanwhile has the old one or this one
    return f"{head}{_VARIANT[count >> 10 & 0x3F]}{_BYTE[count >> 2 & 0xFF]}{state.tails[count & 3]}"


def turn_id() -> str:
    """A new turn id: 12 lower-case hex digits, none of them twice in a process."""
    return f"{next(_state.turns) & _TURN_MASK:012x}"
