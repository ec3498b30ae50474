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

__all__ = ["BOOLEAN", "SKIP", "array", "double", "json_object", "long", "raw", "skip", "string", "word"]

SKIP = tuple(0 if first & 0x81 else 1 + (first >> 1) for first in range(256))
"""First byte of a string -> bytes of the whole string, its length included; 0 when that is not all there is
to its length (the top bit: another byte follows) or the length is negative (the lowest bit, by zigzag)."""

BOOLEAN = (False, True)

double = Struct("<d").unpack_from
word = Struct("<Q").unpack_from

_raw_decode = JSONDecoder().raw_decode


def long(value: bytes, at: int) -> tuple[int, int]:
    """A long of two or three bytes: most sequences and lengths."""
    first, second = value[at], value[at + 1]
    if first > 0x7F:  # noqa: PLR2004 - the top bit
        if second < 0x80:  # noqa: PLR2004
            number = first & 0x7F | second << 7
            return (number >> 1) ^ -(number & 1), at + 2
        third = value[at + 2]
        if third < 0x80:  # noqa: PLR2004
            number = first & 0x7F | (second & 0x7F) << 7 | third << 14
            return (number >> 1) ^ -(number & 1), at + 3
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
