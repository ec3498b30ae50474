"""Any object as text, in bounded time and memory.

In comes whatever an agent passes as prompt, arguments, answer or result; out comes its text.

======================================= ==================================================================
value                                   text
======================================= ==================================================================
str                                     itself, of any size
None                                    the empty text; ``null`` inside of a structure
chat message (``role`` and ``content``, its content; text parts joined by line breaks, other parts as JSON;
or an object with ``content``), list of  the messages of a list joined by line breaks
them
dict, list, tuple, set, deque, dict     compact JSON, non-ASCII characters as they are; sets sorted; other
views, mapping                          keys than text by their text
dataclass, attrs class                  JSON object of its fields; those kept out of the repr masked
pydantic model                          its own ``model_dump_json()``: secrets, excluded fields and
                                        serializers as it has them
enum                                    its value
bool, int, float, Decimal, UUID, Path   ``str``; an int of more than 2,048 bits in hexadecimal
date, time, datetime                    ISO 8601
bytes, bytearray                        ``b'...'``
exception                               ``TypeName: message``
pydantic's ``SecretStr`` and its kin    ``**********``
generator, iterator, coroutine, query   ``<generator name>``, ``<TypeName>``; never consumed or run
array, tensor, data frame               ``<numpy.ndarray shape=(2, 3) dtype=int64>``; never rendered whole
anything else                           ``str``, without the addresses of objects
what raises                             ``<unprintable TypeName>``
======================================= ==================================================================

**Bounds.** A text by itself, or as the content of one message, is never cut here. Of anything else at most
10,000 values (``MAX_VALUES``; each item of each container is one) and 1,000,000 characters (``MAX_CHARS``;
before JSON escapes them; of bytes a quarter as many) are rendered, and containers 32 levels deep
(``MAX_DEPTH``). Where that ends the text says how much is left out: ``<990000 more items>``,
``<12 more characters>``, ``<12 more bytes>``, ``<list of 3 items>`` at the depth's end, ``<cyclic list>`` for
a container in itself. The length and the digest of such a text are those of the text as rendered, marks
included, and not of the object; :class:`TextWalk` counts what is left out, and the event's
``metadata["auditwire.rendered"]`` tells it.

Of a pydantic model whole fields are left out, those that alone or after the others would pass the bounds or
hold an iterator: what is dumped is dumped by the model, so that no secret gets by its serializers.

An object's own ``__str__``, and a model's own serializers, run as they are: their time and memory are their
author's business. What comes out is cut at ``MAX_CHARS``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import date, time
from enum import Enum
from itertools import islice
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from auditwire.render_bounds import MAX_CHARS, MAX_DEPTH, MAX_VALUES
from auditwire.render_chat import NO_MESSAGE, message_content, part_text
from auditwire.render_foreign import (
    fields_of,
    has,
    is_numpy_scalar,
    is_secret,
    summary,
    type_name,
    without_addresses,
)
from auditwire.render_models import dump, is_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["MAX_CHARS", "MAX_DEPTH", "MAX_VALUES", "TextWalk"]

_INT_BITS = 2_048  # 617 digits; Python's limit for writing digits can be set down to 640

_quote: Callable[[str], str] = encode_basestring
_USUAL = frozenset({dict, list, tuple, int, float, type(None)})  # need no unwrapping; asked first for speed
_ARRAYS: tuple[type, ...] = (
    list, tuple, set, frozenset, deque, type({}.keys()), type({}.values()), type({}.items())
)  # fmt: skip


class TextWalk:
    """One pass over one object, with one set of bounds. Not thread-safe.

    Args:
        on_failure: Called with a value and the error when rendering it raises.
        max_values: See the module; so is ``max_chars``.

    Attributes:
        items_left_out: Items of the containers at which the bounds were reached, and fields of models; not
            what was in them.
        chars_left_out: Characters of texts, bytes of bytes.
    """

    __slots__ = ("_chars", "_on_failure", "_parts", "_path", "_values", "chars_left_out", "items_left_out")

    def __init__(
        self,
        on_failure: Callable[[Any, Exception], object] | None = None,
        *,
        max_values: int = MAX_VALUES,
        max_chars: int = MAX_CHARS,
    ) -> None:
        self._on_failure = on_failure
        self._values = max_values  # left
        self._chars = max_chars  # left
        self._parts: list[str] = []
        self._path: list[int] = []  # ids of the containers around the value, outermost first
        self.items_left_out = 0
        self.chars_left_out = 0

    def text(self, value: Any) -> str:
        """The object's text, an exact str. Raises nothing but what is no ``Exception``."""
        try:
            return self._text(value)
        except Exception as error:  # noqa: BLE001 - foreign code can raise anything
            return self._unprintable(value, error)

    def _text(self, value: Any) -> str:
        kind = type(value)
        if kind not in _USUAL:
            value = _unwrapped(value)
            kind = type(value)
        if value is None:
            return ""
        if issubclass(kind, str):
            return str.__str__(value)
        if issubclass(kind, (int, float)):
            return self._clipped(_number(value))
        said = self._said(value)
        if said is not None:
            return said
        mark = len(self._parts)
        return self._taken(mark) if self._structure(value) else self._leaf(value)

    def _taken(self, mark: int) -> str:
        text = "".join(self._parts[mark:])
        del self._parts[mark:]
        return text

    def _clipped(self, text: str) -> str:
        room = max(self._chars, 0)
        self._chars = room - len(text)
        return text if self._chars >= 0 else self._marked(text[:room], len(text) - room, "characters")

    def _marked(self, text: str, left_out: int, unit: str) -> str:
        self.chars_left_out += left_out
        return f"{text}<{left_out} more {unit}>"

    def _unprintable(self, value: Any, error: Exception) -> str:
        if self._on_failure is not None:
            self._on_failure(value, error)
        return f"<unprintable {type_name(type(value))}>"

    def _leaf(self, value: Any) -> str:
        """The text of what is neither text nor number nor structure, within the bounds."""
        kind = type(value)
        if issubclass(kind, (bytes, bytearray)):
            return self._bytes(memoryview(value))
        if issubclass(kind, BaseException):
            return self._exception(value)
        if issubclass(kind, (date, time)):
            return self._clipped(str.__str__(value.isoformat()))
        text = summary(value)
        return self._clipped(without_addresses(_str(value)) if text is None else text)

    def _bytes(self, value: memoryview) -> str:
        room = max(self._chars // 4, 0)  # as many characters stand for one byte, at most
        text = repr(bytes(value[:room]))
        self._chars -= len(text)
        return text if len(value) <= room else self._marked(text, len(value) - room, "bytes")

    def _exception(self, error: BaseException) -> str:
        """As the last line of a traceback."""
        kind = type(error)
        if kind.__str__ is not BaseException.__str__:
            return self._clipped(f"{type_name(kind)}: {_str(error)}")
        # str() of an exception of several arguments holds the whole repr of each
        texts = []
        for argument in error.args[: max(self._values, 0)]:
            self._values -= 1
            is_text = issubclass(type(argument), str)
            texts.append(self._clipped(str.__str__(argument)) if is_text else self._text(argument))
        texts += self._more(len(error.args) - len(texts))
        return f"{type_name(kind)}: {', '.join(texts)}" if texts else type_name(kind)

    # -- chat messages ------------------------------------------------------------------------------

    def _said(self, value: Any) -> str | None:
        """What a chat message, or each of a list of them, says; None for anything else."""
        content = message_content(value)
        if content is not NO_MESSAGE:
            return self._content(content)
        kind = type(value)
        if not issubclass(kind, (list, tuple)) or not kind.__len__(value):
            return None
        contents = []
        for message in islice(value, max(self._values, 0)):
            content = message_content(message)
            if content is NO_MESSAGE:
                return None
            contents.append(content)
        if not contents:
            return None
        self._values -= len(contents)
        lines = [self._clipped(self._content(content)) for content in contents]
        return "\n".join(lines + self._more(len(value) - len(lines)))

    def _content(self, content: Any) -> str:
        if content is None:
            return ""
        if issubclass(type(content), str):
            return str.__str__(content)
        lines = []
        for part in islice(content, max(self._values, 0)):
            self._values -= 1
            text = part_text(part)
            mark = len(self._parts)
            if text is None:
                self._json(part)
            lines.append(self._taken(mark) if text is None else self._clipped(str.__str__(text)))
        return "\n".join(lines + self._more(len(content) - len(lines)))

    def _more(self, left_out: int) -> list[str]:
        if left_out <= 0:
            return []
        self.items_left_out += left_out
        return [f"<{left_out} more items>"]

    # -- structures ---------------------------------------------------------------------------------

    def _json(self, value: Any) -> None:
        """Write the value as JSON."""
        self._values -= 1
        kind = type(value)
        if kind is str:
            self._parts.append(_quote(self._clipped(value)))
        elif value is None or kind is bool:
            self._parts.append(_WORDS[value])
        else:
            try:
                self._json_other(value if kind in _USUAL else _unwrapped(value))
            except Exception as error:  # noqa: BLE001 - foreign code can raise anything
                self._parts.append(_quote(self._unprintable(value, error)))

    def _json_other(self, value: Any) -> None:
        kind = type(value)
        if issubclass(kind, str):
            self._parts.append(_quote(self._clipped(str.__str__(value))))
        elif kind is bool or value is None:  # it was the value of an enum's member, or of numpy's
            self._parts.append(_WORDS[value])
        elif issubclass(kind, (int, float)):
            text = _number(value)
            self._chars -= len(text)
            is_json = text[-1:].isdigit() and text[:2] != "0x" and text[:3] != "-0x"
            self._parts.append(text if is_json else _quote(_JSON_WORDS.get(text, text)))
        elif not self._structure(value):
            self._parts.append(_quote(self._leaf(value)))

    def _structure(self, value: Any) -> bool:
        """Write the value as JSON if it is a structure; False if it is none."""
        write = self._writer(value)
        if write is None:
            return False
        name = type_name(type(value))
        if id(value) in self._path:
            self._parts.append(_quote(f"<cyclic {name}>"))
            return True
        if len(self._path) >= MAX_DEPTH:
            count = len(value) if has(type(value), "__len__") else 1
            self.items_left_out += count
            self._parts.append(_quote(f"<{name} of {count} items>"))
            return True
        self._path.append(id(value))
        mark = len(self._parts)
        try:
            write()
        except BaseException:
            del self._parts[mark:]
            raise
        finally:
            self._path.pop()
        return True

    def _writer(self, value: Any) -> Callable[[], None] | None:
        kind = type(value)
        if issubclass(kind, dict):  # what it holds, whatever its own methods say
            return lambda: self._object(dict.items(value), dict.__len__(value))
        for base in _ARRAYS:
            if issubclass(kind, base):
                return lambda: self._array(base.__iter__(value), base.__len__(value), kind)  # type: ignore[attr-defined]
        if is_model(kind):
            return lambda: self._model(value)
        if is_secret(kind):
            return None
        fields = fields_of(value)
        if fields is not None:
            held = list(fields)
            return lambda: self._object(held, len(held))
        return (lambda: self._object(value.items(), len(value))) if issubclass(kind, Mapping) else None

    def _array(self, items: Iterator[Any], size: int, kind: type) -> None:
        held = list(islice(items, max(self._values, 0)))
        start = len(self._parts) + 1
        texts: list[str] = []
        self._parts.append("[")
        for item in held:
            if self._values <= 0 or self._chars < 0:
                break
            self._json(item)
            texts.append(self._taken(start))
        if issubclass(kind, (set, frozenset)):
            texts.sort()  # the order of a set differs from process to process
        texts += [_quote(mark) for mark in self._more(size - len(texts))]
        self._parts.append(",".join(texts) + "]")

    def _object(self, items: Iterable[tuple[Any, Any]], size: int) -> None:
        held = list(islice(items, max(self._values, 0)))
        names: set[str] = set()
        comma, done = "{", 0
        for key, value in held:
            if self._values <= 0 or self._chars < 0:
                break
            if type(key) is str:
                name = key
            else:
                # another key's text may be the same
                names = names or {other for other, _ in held if type(other) is str}
                name = self._name(key, names)
            self._parts.append(f"{comma}{_quote(self._clipped(name))}:")
            self._json(value)
            comma, done = ",", done + 1
        for mark in self._more(size - done):
            self._parts.append(f'{comma}"...":{_quote(mark)}')
            comma = ","
        self._parts.append("}" if comma == "," else "{}")

    def _name(self, key: Any, names: set[str]) -> str:
        """The text of a key that is none; one that would hide another gets its type's name as well."""
        text = _number(key) if type(key) is int else "None" if key is None else self.text(key)
        while text in names:
            text = f"{text} ({type_name(type(key))})"
        names.add(text)
        return text

    def _model(self, value: Any) -> None:
        inner = TextWalk(self._on_failure, max_values=self._values, max_chars=self._chars)
        inner._path = self._path.copy()
        dumped = dump(value, self._values, self._chars, inner.text)
        self._values -= dumped.values
        self._chars -= len(dumped.json)
        self._parts.append(dumped.json)
        self.items_left_out += dumped.fields_left_out + inner.items_left_out
        self.chars_left_out += inner.chars_left_out


_WORDS: dict[bool | None, str] = {None: "null", True: "true", False: "false"}
_JSON_WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}  # as in auditwire.jsonable


def _number(value: Any) -> str:
    """``str`` of the plain number; with too many digits, in hexadecimal, or the size of it."""
    kind = type(value)
    if kind is bool:
        return str(value)
    if issubclass(kind, float):
        return float.__repr__(value)
    bits = int.bit_length(value)
    if bits <= _INT_BITS:
        return int.__repr__(value)
    return hex(int.__index__(value)) if bits <= 4 * MAX_CHARS else f"<int of {bits} bits>"


def _str(value: Any) -> str:
    return str.__str__(str(value))  # of a subclass of str its content


def _unwrapped(value: Any) -> Any:
    """The value of an enum's member, the number of a numpy scalar where Python has one like it."""
    kind = type(value)
    if issubclass(kind, Enum):
        return value.value
    if kind.__module__ == "numpy" and is_numpy_scalar(kind):
        item = value.item()
        if type(item) in (bool, int, float, str, bytes):
            return item
    return value
