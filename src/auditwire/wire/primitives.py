"""What generated decoders are made of: Avro's primitives for bytes that are as a writer of ours leaves them.

Each function takes the value and where to begin, and returns what stands there and where it ends. None looks
at where the value ends: indexing and slicing keep within it, and the caller compares once, at the end, what
was read with what was there (see :mod:`auditwire.wire.codegen`). Whatever is unusual goes to the
interpreter's function of the same kind, which judges it.
"""

from __future__ import annotations

from json import JSONDecoder
from struct import Struct
from typing import Any

from auditwire.errors import DecodingError
from auditwire.wire import interpreter
from auditwire.wire.shorten import MAX_BODY

__all__ = [
    "BOOLEAN",
    "HIGH",
    "LOW",
    "MIDDLE",
    "NEVER",
    "SKIP",
    "array",
    "double",
    "instant",
    "json_object",
    "long",
    "raw",
    "skip",
    "string",
]

SKIP = tuple(0 if first & 0x81 else 1 + (first >> 1) for first in range(256))
"""First byte of a string -> bytes of the whole string, its length included; 0 when that is not all there is
to its length (the top bit: another byte follows) or the length is negative (the lowest bit, by zigzag)."""

BOOLEAN = (False, True)

double = Struct("<d").unpack_from

# -- longs by tables ----------------------------------------------------------------------------------------
#
# A long is its groups of seven bits, the lowest first, each in a byte whose top bit says that another one
# follows; its lowest bit is the sign. A time in microseconds has eight of them from 1978 to 3111: two, two
# and four, whose values are added. The last four change every 134 seconds, and are remembered.

NEVER = -(1 << 62)
"""What makes a sum negative, whatever is added to it."""

LOW = [NEVER] * 65_536
"""The first two bytes as a little-endian number -> what they count for, when both are followed by another and
the sign is plus; else ``NEVER``."""

MIDDLE = [NEVER] * 65_536
"""The same of the third and the fourth byte."""


def _fill() -> None:
    for group in range(128):  # of the second, or fourth, byte
        both = 0x8080 + group * 0x100
        LOW[both : both + 0x80 : 2] = range(group << 6, (group + 1) << 6)
        MIDDLE[both : both + 0x80] = range(group << 20, (group + 1) << 20, 1 << 13)


_fill()

HIGH: dict[bytes, int] = {}
"""The same of the last four bytes of a time; those that were met."""

_MOST_HIGH = 4_096  # those of six days

# All but the last byte with the top bit set, and the lowest bit of the first clear.
_EIGHT_BYTES = 0x0080808080808080

_word = Struct("<Q").unpack_from
_raw_decode = JSONDecoder().raw_decode


def instant(value: bytes, at: int) -> tuple[int, int]:
    """A time: a long of any length. What the last four of eight bytes count for is remembered."""
    (number,) = _word(value, at)
    if number & 0x8080808080808081 != _EIGHT_BYTES:
        return long(value, at)
    # the groups are put together two by two with the top bits still in, which are then taken off in one
    number -= (number >> 8 & 0x00FF00FF00FF00FF) * 0x80
    number -= (number >> 16 & 0x0000FFFF0000FFFF) * 0xC000
    number = (number & 0xFFFFFFFF) + (number >> 32 << 28) - 0x2040810204080 >> 1
    if len(HIGH) >= _MOST_HIGH:
        HIGH.clear()
    HIGH[value[at + 4 : at + 8]] = number >> 27 << 27
    return number, at + 8


def long(value: bytes, at: int) -> tuple[int, int]:
    """A long of two to five bytes: sequences and lengths."""
    first, second = value[at], value[at + 1]
    if first > 0x7F:  # noqa: PLR2004 - the top bit
        if second < 0x80:  # noqa: PLR2004
            number = first & 0x7F | second << 7
            return (number >> 1) ^ -(number & 1), at + 2
        third = value[at + 2]
        if third < 0x80:  # noqa: PLR2004
            number = first & 0x7F | (second & 0x7F) << 7 | third << 14
            return (number >> 1) ^ -(number & 1), at + 3
        number = first & 0x7F | (second & 0x7F) << 7 | (third & 0x7F) << 14
        fourth = value[at + 3]
        if fourth < 0x80:  # noqa: PLR2004
            number |= fourth << 21
            return (number >> 1) ^ -(number & 1), at + 4
        fifth = value[at + 4]
        if fifth < 0x80:  # noqa: PLR2004
            number |= (fourth & 0x7F) << 21 | fifth << 28
            return (number >> 1) ^ -(number & 1), at + 5
    return interpreter.read_long(value, at)


def string(value: bytes, at: int) -> tuple[str, int]:
    """A string whose length takes two bytes: 64 to 8,191 bytes of text."""
    first, second = value[at], value[at + 1]
    if first & 0x81 == 0x80 and second < 0x80:  # noqa: PLR2004
        end = at + 2 + ((first & 0x7F | second << 7) >> 1)
        return value[at + 2 : end].decode(), end
    return interpreter.read_string(value, at)


def raw(value: bytes, at: int) -> tuple[bytes, int]:
    """The bytes of a string of any length, not looked at; too few where the value ends early."""
    size, at = long(value, at) if value[at] > 0x7F else (value[at] >> 1 ^ -(value[at] & 1), at + 1)  # noqa: PLR2004
    if size < 0:
        raise DecodingError("malformed", "a text of negative length")
    return value[at : at + size], at + size


def json_object(text: str) -> dict[str, Any]:
    """The object of a JSON text that has nothing around it, as writers of ours leave it."""
    if len(text) <= MAX_BODY:
        found, end = _raw_decode(text)
        if end == len(text) and type(found) is dict:
            return found
    return interpreter.read_metadata(text)


def skip(value: bytes, at: int) -> int:
    """Where a string ends that is not looked at."""
    size, at = long(value, at)
    if size < 0:
        raise DecodingError("malformed", "a text of negative length")
    return at + size


def array(value: bytes, at: int) -> tuple[list[str], int]:
    """An array of strings, in one block without its size."""
    start = at
    count = value[at]
    if count == 0:
        return [], at + 1
    if count < 0x80:  # noqa: PLR2004
        count, at = count >> 1 ^ -(count & 1), at + 1
    else:
        count, at = long(value, at)
    if not 0 < count <= len(value) - at:  # an item has one byte at least
        return interpreter.read_array(value, start)
    items: list[str] = []
    for _ in range(count):
        size = SKIP[value[at]]
        if size:
            items.append(value[at + 1 : (at := at + size)].decode())
        else:
            item, at = string(value, at)
            items.append(item)
    if value[at] != 0:
        return interpreter.read_array(value, start)
    return items, at + 1
