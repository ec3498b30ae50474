"""``--where``: a condition on one field of a record, from text.

``FIELD OP VALUE``, such as ``tool_name=search``, ``duration_ms > 500`` or ``error_message ~ "time.?out"``.

======== ====================================================================================================
part     what it may be
======== ====================================================================================================
FIELD    a name of ``--json``; behind a dot what lies in it: ``metadata.user``, ``payload.words`` of a custom
         event. A key of the metadata may have dots itself.
OP       ``=`` ``!=`` ``<`` ``<=`` ``>`` ``>=``, ``~`` (the regular expression is found), ``!~`` (it is not)
VALUE    the rest of the text, in single or double quotes or without
======== ====================================================================================================

Numbers compare as numbers: a field that is one, with any OP; text that reads as one (in the metadata, say),
where an order is asked for and VALUE has no quotes. Other values compare as text. ``timestamp`` compares with
a time in one of the forms of :mod:`auditwire.cli.times`.

A field that a record does not have, or that is null, is the empty text to ``=`` ``!=`` ``~`` ``!~``, so that
``tool_name!=search`` holds for a record without a tool and ``turn_id=`` finds those without a turn; it has no
order. A list is compared with each of its items: one that holds is enough, and with ``!=`` and ``!~`` none
may be equal or match.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from auditwire.cli.times import time_us
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.reading import Record

__all__ = ["Condition", "field_names", "parse_condition"]

_OPTION = "--where"
_SHAPE = re.compile(r"\s*([^\s=!<>~]+)\s*(!=|!~|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_QUOTES = "'\""

_MISTAKEN = {"==": "=", "=~": "~", "~=": "~", "<>": "!=", "=<": "<=", "=>": ">=", "!==": "!="}
_SHORT = {
    "type": "event_type",
    "session": "session_id",
    "turn": "turn_id",
    "agent": "agent_id",
    "tool": "tool_name",
    "stream": "stream_id",
    "time": "timestamp",
    "duration": "duration_ms",
    "id": "event_id",
}

_OF_RECORD = ("stream_id", "sequence", "topic", "partition", "offset")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NEGATED = {"!=": "=", "!~": "~"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that a record meets or does not. Made by :func:`parse_condition`; for any thread.

    Attributes:
        path: The field, what stood behind its dots included, such as ``metadata.user``.
        op: One of ``=`` ``!=`` ``<`` ``<=`` ``>`` ``>=`` ``~`` ``!~``.
        value: What it is compared with, without its quotes.
    """

    path: str
    op: str
    value: str
    _name: str = field(repr=False)
    _below: str = field(repr=False)
    _number: float | None = field(repr=False)
    _pattern: re.Pattern[str] | None = field(repr=False)

    def matches(self, record: Record) -> bool:
        """Whether it holds for the record."""
        found = _look_up(record, self._name)
        if self._below:
            found = _below(found, self._below)
        plain = _NEGATED.get(self.op)
        if plain is not None:
            return not self._holds(found, plain)
        return self._holds(found, self.op)

    def _holds(self, found: Any, op: str) -> bool:
        if isinstance(found, list) and found:
            return any(self._holds(item, op) for item in found)
        compare = _ORDER.get(op)
        if compare is not None:
            return self._in_order(found, compare)
        if self._pattern is not None:
            return self._pattern.search(_text(found)) is not None
        if self._number is not None and _is_number(found):
            return bool(found == self._number)
        return _text(found) == (self.value.lower() if isinstance(found, bool) else self.value)

    def _in_order(self, found: Any, compare: Callable[[Any, Any], bool]) -> bool:
        if found is None or found in ("", []):
            return False
        if self._number is not None:
            number = found if _is_number(found) else _number(_text(found))
            if number is not None:
                return compare(number, self._number)
        return compare(_text(found), self.value)


def parse_condition(text: str, *, now_us: int | None = None) -> Condition:
    """The condition that the text says.

    Args:
        text: FIELD OP VALUE, as the module says.
        now_us: What a time such as ``timestamp>2h`` counts from; the machine's by default.

    Raises:
        ConfigurationError: It has another shape, no record has such a field, or the value is none for it.
    """
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise ConfigurationError(
            _OPTION,
            f"{text!r} is no condition; write FIELD OP VALUE, such as tool_name=search, and quote the whole "
            "where < or > stands in it: 'duration_ms>500'",
        )
    path, op, raw = shape.groups()
    name, _, below = path.partition(".")
    kind = _kind_of(name, below)
    value, quoted = _unquoted(text, op, raw)
    if op in _ORDER and not value:
        raise ConfigurationError(_OPTION, f"{text!r}: what {op} compares with is missing")
    number = _number(value) if kind == "number" or not quoted else None
    pattern = None
    if op in ("~", "!~"):
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise ConfigurationError(_OPTION, f"{value!r} is no regular expression: {error}") from error
    elif kind == "time":
        number = time_us(value, f"{_OPTION} {name}", now_us=now_us)
        name = "timestamp_us"
    elif kind == "number" and number is None and value:
        raise ConfigurationError(_OPTION, f"{path} is a number, and {value!r} is none")
    elif kind == "boolean" and value.lower() not in ("true", "false", ""):
        raise ConfigurationError(_OPTION, f"{path} is true or false, and not {value!r}")
    return Condition(path, op, value, name, below, number, pattern)


@cache
def _kinds() -> dict[str, str]:
    """Field -> ``text``, ``number``, ``boolean``, ``list``, ``time`` or ``mapping``, as ``--json`` has it."""
    from auditwire.events import ALL_TYPES  # noqa: PLC0415 - --help needs no schemas
    from auditwire.wire import schema_for  # noqa: PLC0415 - as above

    names = {"string": "text", "long": "number", "double": "number", "boolean": "boolean", "array": "list"}
    kinds = {
        column.name: names[column.type]
        for event_type in ALL_TYPES
        for column in schema_for(event_type).fields
    }
    kinds.update(topic="text", partition="number", offset="number", quarantined_topic="text")
    kinds.update(timestamp="time", metadata="mapping")
    return kinds


def field_names() -> list[str]:
    """The fields that a condition may name, in alphabetical order."""
    return sorted(_kinds())


def _kind_of(name: str, below: str) -> str:
    kinds = _kinds()
    if name not in kinds:
        near = get_close_matches(_SHORT.get(name, name), kinds, 1)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else "--json shows the names; metadata.NAME looks into the metadata"
        )
        raise ConfigurationError(_OPTION, f"no record has a field {name}; {hint}")
    kind = kinds[name]
    if below and kind not in ("mapping", "text"):
        raise ConfigurationError(_OPTION, f"{name} is a {kind}: there is nothing behind a dot in it")
    return "text" if below else kind


def _unquoted(text: str, op: str, raw: str) -> tuple[str, bool]:
    if raw[:1] and raw[0] in _QUOTES:
        if len(raw) == 1 or raw[-1] != raw[0]:
            raise ConfigurationError(_OPTION, f"{text!r}: the quote is not closed")
        return raw[1:-1], True
    if raw[:1] and raw[0] in "=<>~":
        meant = _MISTAKEN.get(op + raw[0])
        hint = f"write {meant}; " if meant else ""
        raise ConfigurationError(
            _OPTION,
            f"{text!r}: there is no operator {op}{raw[0]}; {hint}a value that begins so is put in quotes",
        )
    return raw, False


def _look_up(record: Record, name: str) -> Any:
    if name in _OF_RECORD:
        return getattr(record, name)
    if name == "quarantined_topic":
        name = "topic"
    return getattr(record.event, name, None)


def _below(found: Any, path: str) -> Any:
    """What lies under the path; a key may have dots itself, so the longest that is there counts."""
    if isinstance(found, str):
        found = _object(found)
    if not isinstance(found, Mapping):
        return None
    if path in found:
        return found[path]
    head = path
    while "." in head:
        head = head.rpartition(".")[0]
        if head in found:
            return _below(found[head], path[len(head) + 1 :])
    return None


def _object(text: str) -> Any:
    """A text that holds a JSON object, as ``payload`` and ``resource`` do; None for other text."""
    if not text.startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_number(found: Any) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool)


def _number(text: str) -> float | None:
    """Whole numbers stay whole: a sequence or an offset may be larger than what a float tells apart."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return int(text)
    except ValueError:
        return float(text)


def _text(found: Any) -> str:
    if found is None:
        return ""
    if isinstance(found, str):
        return found
    if isinstance(found, list) and not found:
        return ""
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), default=str)
