"""Any object in JSON's own types: what the events' ``to_dict`` and ``to_json`` stand on.

In comes whatever an agent put into an event, out comes what every JSON reader takes. Nothing raises, and
nothing is left out without a text in its place.

=========================================== ==============================================================
value                                       becomes
=========================================== ==============================================================
None, bool, int, finite float, str          itself; of a subclass the plain value
lone surrogate in text                      U+FFFD; a pair of surrogates becomes its character
NaN, infinities                             "NaN", "Infinity", "-Infinity": JSON has no word for them
int of more than 2,048 bits                 hexadecimal text: Python limits the digits it writes and reads
dict                                        object; keys by ``str``; see below
list, tuple                                 array
set, frozenset                              array, sorted by the items' repr
anything else                               its ``str``, or ``<unprintable TypeName>`` if that raises
container in itself, or 32 levels deep      ``<TypeName>``
container that raises when it is read       ``<unprintable TypeName>``
beyond a million values or 512 Mi of text   ``<TypeName>``: lists that share lists can stand for more values
                                            than a machine can hold
=========================================== ==============================================================

A key whose text would hide another gets its type's name as well: ``1`` after ``"1"`` becomes ``"1 (int)"``.
"""

from __future__ import annotations

import json
import math
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeGuard

__all__ = ["Plain", "json_line", "plain", "text_of", "whole"]

_DEPTH = 32  # far below the depth at which json.loads gives up
_INT_BITS = 2_048  # 617 digits; Python's limit for writing and reading digits can be set down to 640
_BUDGET = 512 * 1024 * 1024  # characters of one event's text
_NODE = 512  # characters' worth of each value, whatever its size: no more than a million values

_T = TypeVar("_T")

_encode: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
).encode

# a metaclass may say otherwise, or raise
_type_name: Callable[[type], str] = type.__dict__["__name__"].__get__


def plain(value: Any) -> Any:
    """The value in JSON's own types, as the module's table says; new where it is a container."""
    return Plain().value(value)


def json_line(value: Any) -> str:
    """A plain value as one line of JSON: non-ASCII characters as they are, but no line break of any kind.

    Unicode's own line breaks (U+0085, U+2028, U+2029) are escaped: ``str.splitlines`` and others split there.
    """
    text = _encode(value)
    if not text.isascii():
        # inside JSON text they can only stand in a string, where the escape means the same
        text = text.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return text


def whole(text: str) -> str:
    """The text with each lone surrogate replaced by U+FFFD; a pair of surrogates becomes its character."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str.__str__(text)  # of a subclass the content, whatever its own __str__ says


def text_of(value: object) -> str:
    """The value's ``str`` without lone surrogates; never raises."""
    try:
        if _is(value, str):
            return whole(value)
        if _is(value, (bytes, bytearray)):  # the same text as str's, which is an error under python -bb
            return repr(value)
        return whole(str(value))
    except Exception:  # noqa: BLE001 - foreign code can raise anything
        if _is(value, int):  # its digits are too many
            return hex(int.__index__(value))
        return f"<unprintable {_type_name(type(value))}>"


class Plain:
    """One pass over the values of one event, with one budget for all of them. Not thread-safe."""

    __slots__ = ("_left", "_path")

    def __init__(self) -> None:
        self._left = _BUDGET
        self._path: list[int] = []  # ids of the containers around the value, outermost first

    def value(self, value: Any) -> Any:
        """The value in JSON's own types."""
        if value is None or value is True or value is False:
            return value
        self._left -= _NODE
        kind = type(value)
        if issubclass(kind, str):
            return self._text(value)
        if issubclass(kind, int):
            small = int.bit_length(value) <= _INT_BITS
            return int.__index__(value) if small else hex(int.__index__(value))
        if issubclass(kind, float):
            return _number(float.__float__(value))
        if issubclass(kind, (dict, list, tuple, set, frozenset)):
            return self._container(value)
        return self._text(text_of(value))

    def _text(self, value: str) -> str:
        self._left -= str.__len__(value)
        return whole(value) if self._left >= 0 else f"<{_type_name(type(value))}>"

    def _container(self, value: Any) -> Any:
        name = _type_name(type(value))
        if len(self._path) >= _DEPTH or id(value) in self._path or self._left < 0:
            return f"<{name}>"
        self._path.append(id(value))
        try:
            return self._object(value) if _is(value, dict) else self._array(value)
        except Exception:  # noqa: BLE001 - a foreign container that fails, or changes while it is read
            return f"<unprintable {name}>"
        finally:
            self._path.pop()

    def _object(self, value: dict[Any, Any]) -> Any:
        items = self._all(value.items())
        if items is None:
            return f"<{_type_name(type(value))}>"
        out: dict[str, Any] = {}
        for raw, inner in items:
            key = text_of(raw)
            self._left -= len(key)
            while key in out:
                key = f"{key} ({_type_name(type(raw))})"
            out[key] = self.value(inner)
        return out

    def _array(self, value: Any) -> Any:
        items = self._all(value)
        if items is None:
            return f"<{_type_name(type(value))}>"
        out = [self.value(item) for item in items]
        if _is(value, (set, frozenset)):
            out.sort(key=repr)
        return out

    def _all(self, items: Any) -> list[Any] | None:
        """The items as they are now, or None when they are more than the budget holds."""
        room = self._left // _NODE
        held = list(islice(items, room + 1))
        return held if len(held) <= room else None


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _is(value: object, kind: type[_T] | tuple[type[_T], ...]) -> TypeGuard[_T]:
    """``isinstance`` without asking ``value.__class__``, which may lie (mocks, proxies) or raise."""
    return issubclass(type(value), kind)
