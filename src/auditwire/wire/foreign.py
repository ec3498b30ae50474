"""Any object that looks like an event -> an event of a class that has a schema.

========================================= ================================================================
what comes in                             what comes out
========================================= ================================================================
an instance of a known class              itself
of a subclass with the same event_type    the known class; what the subclass adds goes to
                                          ``metadata["auditwire.unknown_fields"]``
anything else with a text ``event_type``  :class:`CustomEvent`: ``custom_type`` is the event_type, ``payload``
and ``to_dict()``                         the rest of the dictionary as JSON
========================================= ================================================================

A custom event takes over what fits the envelope, from the dictionary or else from the object's attributes:
``event_id`` and ``severity`` (text, not empty), the identities (text or None), ``metadata`` (a dictionary),
and the time: ``timestamp_us``, or ``timestamp`` as ISO-8601 text, datetime, a float of Unix seconds or an int
of Unix microseconds. What does not fit stays in the payload. Where no id or time fits, the event gets a new
id, or the time of the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, cast

from auditwire.errors import EncodingError
from auditwire.events import ALL_TYPES, AuditEvent, CustomEvent, us_from_time
from auditwire.jsonable import json_line, plain, text_of, whole
from auditwire.wire.notes import UNKNOWN_FIELDS

__all__ = ["as_audit_event"]

_KNOWN = frozenset(ALL_TYPES.values())
_TEXTS = (
    "session_id",
    "turn_id",
    "agent_id",
    "principal_id",
    "principal_type",
    "tenant_id",
    "trace_id",
    "span_id",
)
_ENVELOPE = ("event_id", "severity", "metadata", *_TEXTS)
_ABSENT = object()

# Seconds are taken up to the year 5138, whole numbers for microseconds from 1973 to 5138: seconds and
# milliseconds of our time are far below, nanoseconds far above, and a guess would be an invented time.
_SECONDS_END = 1e11
_PLAUSIBLE_US = range(10**14, 10**17)


def as_audit_event(event: object) -> AuditEvent:
    """The event itself when its class has a schema, else an event that has one and holds the same.

    Raises:
        EncodingError: The object has no text ``event_type`` or no ``to_dict()`` that returns a dictionary.
    """
    if type(event) in _KNOWN:
        return cast("AuditEvent", event)
    try:
        return _converted(event)
    except EncodingError:
        raise
    except Exception as e:
        raise EncodingError(
            f"an event of class {type(event).__qualname__} cannot be read: {type(e).__name__}: {text_of(e)}"
        ) from e


def _converted(event: object) -> AuditEvent:
    event_type = getattr(event, "event_type", None)
    if not isinstance(event_type, str) or not event_type:
        raise EncodingError(f"an object of class {type(event).__qualname__} is no event: no event_type text")
    known = ALL_TYPES.get(event_type)
    if known is not None and isinstance(event, known):
        return _narrowed(event, known)
    return _custom(event, whole(event_type), _contents(event))


def _narrowed(event: AuditEvent, known: type[AuditEvent]) -> AuditEvent:
    """The same event as an instance of the class that has the schema."""
    values = _attributes(event)
    names = {f.name for f in fields(known)}
    own = {name: value for name, value in values.items() if name in names}
    more = {name: value for name, value in values.items() if name not in names}
    out = known(**own)
    if more:
        given: Any = out.metadata  # nothing keeps a caller from setting something else
        out.metadata = {**(given if isinstance(given, dict) else {"metadata": given}), UNKNOWN_FIELDS: more}
    return out


def _attributes(event: AuditEvent) -> dict[str, Any]:
    """The event's fields, and what else was set on it where the class has room for that."""
    found = {f.name: getattr(event, f.name, _ABSENT) for f in fields(event)}
    found.update(getattr(event, "__dict__", {}))
    return {name: value for name, value in found.items() if value is not _ABSENT}


def _contents(event: Any) -> dict[Any, Any]:
    """The event's dictionary, free to be taken apart."""
    if getattr(type(event), "to_dict", None) is AuditEvent.to_dict:
        # not by to_dict, which would fail where a value's __str__ does
        return _attributes(event)
    to_dict = getattr(event, "to_dict", None)
    if not callable(to_dict):
        raise EncodingError(f"an object of class {type(event).__qualname__} is no event: no to_dict()")
    data = to_dict()
    if not isinstance(data, Mapping):
        raise EncodingError(
            f"to_dict() of class {type(event).__qualname__} returned {type(data).__qualname__}, no dictionary"
        )
    return dict(data)


def _custom(event: object, event_type: str, rest: dict[Any, Any]) -> CustomEvent:
    values: dict[str, Any] = {}
    for name in _ENVELOPE:
        value = _found(event, rest, name)
        if _fits(name, value):
            values[name] = value
            rest.pop(name, None)
    for name in ("timestamp_us", "timestamp"):
        us = _us(_found(event, rest, name), seconds=name == "timestamp")
        if us is not None and "timestamp_us" not in values:
            values["timestamp_us"] = us
            rest.pop(name, None)
    if rest.get("event_type") == event_type:
        del rest["event_type"]
    return CustomEvent(custom_type=event_type, payload=json_line(plain(rest)), **values)


def _found(event: object, rest: dict[Any, Any], name: str) -> Any:
    if name in rest:
        return rest[name]
    try:
        return getattr(event, name, None)
    except Exception:  # noqa: BLE001 - a property of a foreign class; the event has no such value then
        return None


def _fits(name: str, value: Any) -> bool:
    if name == "metadata":
        return isinstance(value, dict)
    if name in _TEXTS:
        return value is None or isinstance(value, str)
    return isinstance(value, str) and value != ""


def _us(value: Any, *, seconds: bool) -> int | None:
    """Microseconds since the epoch, or None when the value does not say so clearly."""
    if isinstance(value, (str, datetime)):
        try:
            return us_from_time(value)
        except ValueError:
            return None
    if seconds and isinstance(value, float):
        return round(value * 1e6) if 0 <= value < _SECONDS_END else None
    return value if isinstance(value, int) and value in _PLAUSIBLE_US else None
