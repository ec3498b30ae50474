"""What happens to values that do not fit their field: they are converted, and neither raise nor get lost.

In come any objects, out come values that Avro can hold, and how far they are what came in. Used only when the
encoder's quick look found something odd, so it may be thorough.

=========== ==========================================================================================
field       what is taken
=========== ==========================================================================================
string      text, a lone surrogate in it as U+FFFD; None gives the default; anything else by ``str``
long        what ``int`` takes; beyond 64 bits the nearest number that fits
double      what ``float`` takes; beyond its range the nearest number that fits
boolean     what equals 0 or 1; the words true, false, yes, no, on, off, 1 and 0
array       list, tuple, set, frozenset, deque, a dict's keys() or values(); each item by ``str``
timestamp   also ISO-8601 text and datetime
metadata    a dictionary; its values as in ``auditwire.jsonable``
=========== ==========================================================================================

A field of null or a type takes None too. What cannot be converted becomes the field's default. Whenever what
is stored does not tell what came in, its text (the first 1,000 characters) goes to
``metadata["auditwire.coerced"]``, under the field's name.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import KeysView, ValuesView
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.events import us_from_time
from auditwire.jsonable import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.wire.schemas import Field

__all__ = ["NOTE_CHARACTERS", "Converted", "Unfit", "convert", "note_of"]

NOTE_CHARACTERS = 1_000
"""Characters of a value's text that are kept where the value itself cannot be."""

_INT64_FIRST, _INT64_LAST = -(2**63), 2**63 - 1
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_SETS = (set, frozenset)
_SEQUENCES = (list, tuple, deque, KeysView, ValuesView)

# Types are asked of type(value) and not of isinstance, which believes value.__class__: a mock may lie there.


class Unfit(Exception):  # noqa: N818 - says what the value is; never leaves the package
    """The value has no place in a field of this type."""


class Converted(NamedTuple):
    """A value as its field can hold it.

    Attributes:
        value: The value.
        same: True when nothing was done to it that anybody would notice.
        lossless: True when ``value`` tells what came in.
    """

    value: Any
    same: bool
    lossless: bool


def note_of(value: Any) -> str:
    """The first characters of the value's text, to be kept where the value itself cannot be; never raises."""
    if issubclass(type(value), str):  # not 100 MB for the sake of its beginning
        value = str.__getitem__(value, slice(NOTE_CHARACTERS))
    return text_of(value)[:NOTE_CHARACTERS]


def convert(field: Field, value: Any) -> Converted:
    """The value as this field can hold it.

    Raises:
        Unfit: There is no such value. Whatever the value's own methods raise becomes this.
    """
    if value is None and field.nullable:
        return Converted(None, same=True, lossless=True)
    try:
        if field.name == "timestamp" and issubclass(type(value), (str, datetime)):
            return Converted(us_from_time(value), same=False, lossless=True)
        out, lossless = _CONVERT[field.type](value)
    except Exception as e:
        raise Unfit from e
    return Converted(out, same=lossless and _same(out, value), lossless=lossless)


def _same(ours: object, theirs: object) -> bool:
    kind = type(theirs)
    if kind is bool or not issubclass(kind, type(ours)):
        return ours is theirs  # True is an int by its class, and in a long a mix-up
    try:
        return bool(ours == theirs) or ours is theirs
    except Exception:  # noqa: BLE001 - the items of a list may refuse to be compared
        return False


def _string(value: Any) -> tuple[str, bool]:
    if value is None:
        raise Unfit
    if not issubclass(type(value), (str, int, bytes, bytearray)):
        str(value)  # raises where text_of would only tell that it does
    return text_of(value), True


def _long(value: Any) -> tuple[int, bool]:
    number = int(value)
    held = min(max(number, _INT64_FIRST), _INT64_LAST)
    return held, held == number and (issubclass(type(value), str) or bool(number == value))


def _double(value: Any) -> tuple[float, bool]:
    try:
        number = float(value)
    except OverflowError:
        return math.copysign(sys.float_info.max, -1 if value < 0 else 1), False
    return number, issubclass(type(value), (str, float)) or bool(number == value)


def _boolean(value: Any) -> tuple[bool, bool]:
    if issubclass(type(value), str):
        return _WORDS[value.strip().lower()], True
    if value == 1:
        return True, True
    if value == 0:
        return False, True
    raise Unfit


def _array(value: Any) -> tuple[list[str], bool]:
    if issubclass(type(value), _SETS):
        return sorted(map(text_of, value)), True
    if not issubclass(type(value), _SEQUENCES):
        raise Unfit
    items = list(value)
    return ["" if item is None else text_of(item) for item in items], not any(item is None for item in items)


_CONVERT: dict[str, Callable[[Any], tuple[Any, bool]]] = {
    "string": _string,
    "long": _long,
    "double": _double,
    "boolean": _boolean,
    "array": _array,
}
