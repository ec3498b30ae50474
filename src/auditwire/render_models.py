"""pydantic models as their own JSON, in bounds, without importing pydantic.

In comes a model, out comes what its ``model_dump_json()`` makes of it: secrets masked, excluded fields out,
its author's serializers asked. A model cannot be stopped in the middle of its dump, so it is weighed before:
fields that are too large, or would be consumed by dumping them, are left out of it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.render_bounds import MAX_DEPTH
from auditwire.render_foreign import fields_of, has, lazy_summary, stored

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Dumped", "dump", "is_model", "weight"]


class Dumped(NamedTuple):
    """A model's JSON.

    Attributes:
        json: One JSON value.
        values: How many values were found in the fields of the dump.
        fields_left_out: How many fields are not in it.
    """

    json: str
    values: int
    fields_left_out: int


def is_model(kind: type) -> bool:
    """Whether the class is a pydantic model or dataclass (version 2), or dumps itself in the same way."""
    return has(kind, "model_dump_json") or has(kind, "__pydantic_serializer__")


def dump(value: Any, max_values: int, max_chars: int, fallback: Callable[[Any], str]) -> Dumped:
    """The model's JSON, without the fields that do not fit.

    Args:
        value: A model.
        max_values: How many values its fields may hold.
        max_chars: How many characters their texts may hold.
        fallback: Makes the text of what pydantic has no JSON for.

    Raises:
        Exception: Whatever the model's serializers raise.
    """
    names = stored(value)
    fields = dict(names if names is not None else fields_of(value) or ())
    left_out: set[str] = set()
    values, chars = max_values, max_chars
    for name, inner in fields.items():
        weighed = weight(inner, values, chars)
        if weighed is None:
            left_out.add(name)
        else:
            values, chars = values - weighed[0], chars - weighed[1]
    # a model of one root, asked to leave it out, would dump all of it
    nothing_left = left_out and len(left_out) == len(fields)
    text = "{}" if nothing_left else _dumped(value, left_out, fallback)
    if left_out and text[-1:] == "}":
        text = f'{text[:-1]}{"" if text == "{}" else ","}"...":"<{len(left_out)} more items>"}}'
    return Dumped(text, max_values - values, len(left_out))


def _dumped(value: Any, left_out: set[str], fallback: Callable[[Any], str]) -> str:
    kind = type(value)
    options: dict[str, Any] = {"exclude": left_out} if left_out else {}
    # warnings would reach the agent's own log for what its models hold
    rich = {**options, "fallback": fallback, "warnings": False}
    if not has(kind, "model_dump_json"):
        return str(kind.__pydantic_serializer__.to_json(value, **rich), "utf-8")  # type: ignore[attr-defined,unused-ignore]
    try:
        return str.__str__(value.model_dump_json(**rich))
    except TypeError:  # pydantic before 2.10 has no fallback, and a class of its own may take nothing
        return str.__str__(value.model_dump_json(**options))


def weight(value: Any, max_values: int, max_chars: int) -> tuple[int, int] | None:
    """How many values and characters are in the value; None if too many, too deep, or not to be read."""
    values = chars = 0
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        inner, depth = waiting.pop()
        kind = type(inner)
        values += 1
        if issubclass(kind, (str, bytes, bytearray)):
            chars += len(inner)
        elif issubclass(kind, int):
            chars += int.bit_length(inner) // 3
        else:
            held = _held(inner)
            if held is None or depth >= MAX_DEPTH or values + len(waiting) + len(held) > max_values:
                return None
            waiting.extend((item, depth + 1) for item in held)
        if values > max_values or chars > max_chars:
            return None
    return values, chars


def _held(value: Any) -> Any:
    """The values in a value, sized; None for what would be consumed."""
    kind = type(value)
    if issubclass(kind, dict):
        return _Both(value)
    if issubclass(kind, (list, tuple, set, frozenset, deque)):
        return value
    if lazy_summary(value) is not None:
        return None
    if is_model(kind) or has(kind, "__dataclass_fields__"):
        names = stored(value)
        return list((names if names is not None else dict(fields_of(value) or ())).values())
    return ()


class _Both:
    """Keys and values of a dictionary, without a copy."""

    def __init__(self, held: dict[Any, Any]) -> None:
        self._held = held

    def __len__(self) -> int:
        return 2 * dict.__len__(self._held)

    def __iter__(self) -> Any:
        yield from dict.keys(self._held)
        yield from dict.values(self._held)
