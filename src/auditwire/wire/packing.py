"""What generated encoders are made of: Avro's primitives for values whose type is known to be exactly right.

Each function takes a value and returns its bytes, or refuses it by an exception of
:data:`auditwire.wire.encoder_source.REFUSED`. Nothing is converted here; who asks has compared the type,
since a subclass may render itself as it likes.

========== ==================================================================================================
long       zigzag, 7 bits a byte, the lowest first, the top bit set on all but the last; 10 bytes at most
string     long: number of bytes; then UTF-8
double     8 bytes, IEEE 754, little-endian
boolean    one byte, 0 or 1
array      long: number of items; the items; 0. An empty one is the 0 alone
union      of null and a type: 0, or 2 and the value (the zigzag of 0 and 1)
metadata   string: a JSON object
========== ==================================================================================================
"""

from __future__ import annotations

from json.encoder import encode_basestring
from struct import Struct
from typing import TYPE_CHECKING, Any

from auditwire.wire.shorten import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LATE", "LONG", "LOW", "PRESENT", "TABLE", "array", "double", "flat_json", "long", "text"]

TABLE = 1024
"""Numbers whose bytes are looked up and not computed: 0 to one less. Most lengths are among them."""

_FIRST, _LAST = -(1 << 63), (1 << 63) - 1

double: Callable[[float], bytes] = Struct("<d").pack

quote: Callable[[str], str] = encode_basestring


def long(number: int) -> bytes:
    """A long of any size.

    Raises:
        OverflowError: It has more than 64 bits.
    """
    if not _FIRST <= number <= _LAST:
        raise OverflowError("a long has 64 bits")
    rest = number << 1 if number >= 0 else ~(number << 1)
    if rest < 1 << 14:
        return bytes((rest & 0x7F | 0x80, rest >> 7)) if rest > 0x7F else bytes((rest,))  # noqa: PLR2004
    out = bytearray()
    while rest > 0x7F:  # noqa: PLR2004 - seven bits
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


LONG = tuple(map(long, range(TABLE)))
"""Number -> its bytes as a long: the lengths of most texts."""

PRESENT = tuple(b"\x02" + size for size in LONG)
"""Length -> what stands before a text of so many bytes in a union with null."""

LOW = tuple(bytes((bits | 0x80,)) for bits in range(128))
"""Seven bits -> their byte in a long, another one following."""


class _Late(dict[int, bytes]):
    """The time in units of 2**20 microseconds -> the last five of its eight bytes as a long.

    It changes once a second, so it is computed once a second. Times of less or more than eight bytes, before
    1978 or after 3111, are refused.
    """

    __slots__ = ()
    _ENTRIES = 64

    def __missing__(self, late: int) -> bytes:
        if not 1 << 28 <= late < 1 << 35:
            raise ValueError("no time of eight bytes")
        if len(self) >= self._ENTRIES:  # events of other times than now: an import
            self.clear()
        out = self[late] = bytes((late >> shift & 0x7F | 0x80) for shift in (0, 7, 14, 21)) + bytes(
            (late >> 28,)
        )
        return out


LATE = _Late()


def text(value: str) -> bytes:
    """A string, its length included."""
    utf8 = value.encode()
    return long(len(utf8)) + utf8


def array(items: list[Any]) -> bytes:
    """An array of strings, in one block.

    A copy is written: another thread may be changing the list.

    Raises:
        TypeError: An item is no text.
    """
    copy = list(items)
    if not copy:
        return b"\x00"
    if set(map(type, copy)) != {str}:
        raise TypeError("an item is no text")
    utf8 = list(map(str.encode, copy))
    sizes = set(map(len, utf8))
    if len(sizes) == 1:  # the entries of a checkpoint: one for each record, all of one length
        size = long(sizes.pop())
        written = size + size.join(utf8)
    else:
        written = b"".join([part for item in utf8 for part in (long(len(item)), item)])
    return b"".join((long(len(copy)), written, b"\x00"))


def _quoted(value: str) -> str | None:
    return quote(value) if len(value) <= MAX_BODY else None


def _whole(value: int) -> str | None:
    return int.__repr__(value) if _FIRST <= value <= _LAST else None


def _fraction(value: float) -> str | None:
    return float.__repr__(value) if value - value == 0 else None  # infinities and NaN, which JSON lacks


_RENDER: dict[type, Callable[[Any], str | None]] = {
    str: _quoted,
    int: _whole,
    float: _fraction,
    bool: {False: "false", True: "true"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}


def flat_json(metadata: dict[Any, Any]) -> str | None:
    """The text that :func:`auditwire.jsonable.json_line` makes of a dictionary that needs no thought.

    That is one with text keys and plain values, and nothing huge; None for any other. A general JSON encoder
    is made anew for each call, which costs several times as much.
    """
    if not metadata:
        return "{}"
    parts = []
    size = 0
    for key, value in metadata.items():
        render = _RENDER.get(type(value))
        shown = render(value) if render is not None and type(key) is str else None
        if shown is None:
            return None
        part = f"{quote(key)}:{shown}"
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
    out = f"{{{','.join(parts)}}}"
    if not out.isascii():  # as json_line does, for the same reason
        out = out.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return out
