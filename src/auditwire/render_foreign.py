"""What other packages' objects are, told by their types alone: nothing is imported, nothing is evaluated.

In come objects, out come short facts about them. Types are looked at and not instances: an attribute of an
instance can be a lie (mocks, proxies), a query (lazy objects) or a download. What does read an instance's
attributes says so.
"""

from __future__ import annotations

import dataclasses
import re
from itertools import islice
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "MASK",
    "array_summary",
    "fields_of",
    "has",
    "is_numpy_scalar",
    "is_record",
    "is_secret",
    "lazy_summary",
    "qualified_name",
    "stored",
    "summary",
    "type_name",
    "without_addresses",
]

MASK = "**********"
"""What stands for a secret, as in pydantic's own JSON."""

_SHOWN = 80  # characters of a dtype; that of a table of structures can be long
_DIMENSIONS = 16  # of a shape; arrays of real programs have fewer
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+(?=>)")

# Their str and repr run a query.
_QUERIES = {("django", "QuerySet"), ("duckdb", "DuckDBPyRelation"), ("_duckdb", "DuckDBPyRelation")}

# a metaclass may say otherwise, or raise
type_name: Callable[[type], str] = type.__dict__["__name__"].__get__
_ancestors: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_namespace: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_module: Callable[[type], Any] = type.__dict__["__module__"].__get__


def has(kind: type, name: str) -> bool:
    """Whether the class or one of its bases defines the name."""
    for base in _ancestors(kind):  # noqa: SIM110 - any() with a generator takes three times as long
        if name in _namespace(base):
            return True
    return False


def qualified_name(kind: type) -> str:
    """``package.Class``, by the package's first name alone: ``pandas.DataFrame``; builtins have none."""
    package = _package(kind)
    return type_name(kind) if package in ("", "builtins") else f"{package}.{type_name(kind)}"


def _package(kind: type) -> str:
    module = _module(kind)
    return module.partition(".")[0] if isinstance(module, str) else ""


def is_secret(kind: type) -> bool:
    """Pydantic's ``SecretStr``, ``SecretBytes``, ``Secret[T]``, and what is made like them."""
    return has(kind, "get_secret_value")


def is_numpy_scalar(kind: type) -> bool:
    """``numpy.int64`` and its kin: one number, not an array."""
    return any(type_name(base) == "generic" and _package(base) == "numpy" for base in _ancestors(kind))


def summary(value: Any) -> str | None:
    """The text of what is never shown whole: secrets, what is lazy, arrays. None for anything else."""
    kind = type(value)
    if is_secret(kind):
        return MASK
    return None if is_numpy_scalar(kind) else lazy_summary(value) or array_summary(value)


def lazy_summary(value: Any) -> str | None:
    """The name of what would be consumed or run by looking at it: iterators, coroutines, queries."""
    kind = type(value)
    if kind in (GeneratorType, CoroutineType, AsyncGeneratorType):
        return f"<{type_name(kind)} {value.__qualname__}>"
    if has(kind, "__next__") or has(kind, "__anext__"):
        return f"<{qualified_name(kind)}>"
    if any((_package(base), type_name(base)) in _QUERIES for base in _ancestors(kind)):
        return f"<{qualified_name(kind)}>"
    return None


def array_summary(value: Any) -> str | None:
    """Type, shape and dtype of an array, tensor or data frame: ``<numpy.ndarray shape=(2, 3) dtype=int64>``.

    Anything whose class has a ``shape`` and one of ``dtype``, ``dtypes``, ``ndim`` and ``columns`` is one, of
    whatever package. ``shape`` and ``dtype`` are read. None for anything else.
    """
    kind = type(value)
    if kind is memoryview:
        return f"<memoryview of {value.nbytes} bytes>"
    if has(kind, "typecode") and has(kind, "itemsize"):
        return f"<{qualified_name(kind)} length={len(value)} typecode={value.typecode}>"
    if not has(kind, "shape") or not any(has(kind, name) for name in ("dtype", "dtypes", "ndim", "columns")):
        return None
    shape = tuple(islice(value.shape, _DIMENSIONS))
    sizes = tuple(int(n) if isinstance(n, int) else _Plain(n) for n in shape)
    dtype = f" dtype={str(value.dtype)[:_SHOWN]}" if has(kind, "dtype") else ""
    return f"<{qualified_name(kind)} shape={sizes}{dtype}>"


class _Plain:
    """A size that is no number: unknown ones of lazy frames."""

    def __init__(self, size: Any) -> None:
        self._text = "?" if size is None else str(size)[:_SHOWN]

    def __repr__(self) -> str:
        return self._text


def stored(value: Any) -> dict[str, Any] | None:
    """What the instance holds in its own ``__dict__``, without running a property or ``__getattr__``.

    None for a class, and for an instance without ``__dict__``.
    """
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return held if type(held) is dict else None


def is_record(kind: type) -> bool:
    """Whether the class is a dataclass or an attrs class."""
    return has(kind, "__dataclass_fields__") or has(kind, "__attrs_attrs__")


def fields_of(value: Any) -> Iterator[tuple[str, Any]] | None:
    """Names and values of a dataclass's or attrs class's fields; None for anything else.

    A field that its author keeps out of the repr is a secret: its value is :data:`MASK`. One that was never
    set is left out. The values are read as attributes.
    """
    kind = type(value)
    if has(kind, "__dataclass_fields__"):
        shown = [(field.name, field.repr) for field in dataclasses.fields(kind)]
    elif has(kind, "__attrs_attrs__"):
        shown = [(attribute.name, attribute.repr) for attribute in kind.__attrs_attrs__]
    else:
        return None
    return (
        (name, getattr(value, name) if show is True else MASK) for name, show in shown if hasattr(value, name)
    )


def without_addresses(text: str) -> str:
    """``<function f at 0x7f...>`` as ``<function f>``: equal objects have equal texts in all processes."""
    return _ADDRESS.sub("", text) if " at 0x" in text else text
