"""What all events have in common: identity, time, severity, metadata, and their shape as JSON.

Time is kept as ``timestamp_us``, microseconds since the Unix epoch, and read as text by ``timestamp``.
"""

from __future__ import annotations

import time
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, Protocol, TypeVar

from auditwire.ids import uuid7
from auditwire.jsonable import Plain, json_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["AuditEvent", "EventLike", "Maker", "field_names", "iso_from_us", "now_us", "us_from_time"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIRST = -62_135_596_800_000_000  # 0001-01-01, the first microsecond that a datetime can hold
_LAST = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999
_MICROSECOND = timedelta(microseconds=1)


def now_us() -> int:
    """The time, in microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def iso_from_us(us: int) -> str:
    """ISO-8601 text in UTC, with microseconds and offset; held to the years 1 to 9999."""
    return (_EPOCH + timedelta(microseconds=min(max(int(us), _FIRST), _LAST))).isoformat(
        timespec="microseconds"
    )


def us_from_time(value: str | datetime | int) -> int:
    """Microseconds since the epoch from ISO-8601 text, a datetime (a naive one is UTC) or microseconds.

    Raises:
        ValueError: The text is no ISO-8601 time.
        TypeError: It is none of these.
    """
    if isinstance(value, str):
        # 3.10 does not take the Z
        value = datetime.fromisoformat(value[:-1] + "+00:00" if value[-1:] in "Zz" else value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=timezone.utc)
        return (value - _EPOCH) // _MICROSECOND
    return int(value)


class EventLike(Protocol):
    """An event of a foreign class: it goes to the ``custom`` topic with its type's name and its fields."""

    @property
    def event_type(self) -> str:
        """The type's name."""

    def to_dict(self) -> Mapping[str, Any]:
        """The fields, in types that JSON knows."""


@dataclass(slots=True, kw_only=True)
class AuditEvent:
    """What all events have in common.

    A subclass of your own, with an ``event_type`` of its own, goes to the ``custom`` topic with its type's
    name and its fields as JSON.
    """

    event_type: ClassVar[str] = "base"

    event_id: str = field(default_factory=uuid7)
    timestamp_us: int = field(default_factory=now_us)
    session_id: str | None = None
    turn_id: str | None = None
    agent_id: str | None = None
    principal_id: str | None = None
    principal_type: str | None = None
    tenant_id: str | None = None
    severity: str = "info"
    metadata: dict[str, Any] = field(default_factory=dict)
    trace_id: str | None = None
    span_id: str | None = None

    @property
    def timestamp(self) -> str:
        """The event's time as ISO-8601 text in UTC, with microseconds and offset."""
        return iso_from_us(self.timestamp_us)

    @timestamp.setter
    def timestamp(self, value: str | datetime | int) -> None:
        self.timestamp_us = us_from_time(value)

    def to_dict(self) -> dict[str, Any]:
        """The event as a new dictionary of JSON's own types, ``event_type`` and ``timestamp`` included.

        Never raises; what JSON cannot express is rendered as :mod:`auditwire.jsonable` says.
        """
        walk = Plain()
        try:
            timestamp = self.timestamp
        except Exception:  # noqa: BLE001 - the text of whatever is in timestamp_us says more than an error
            timestamp = walk.value(self.timestamp_us)
        out: dict[str, Any] = {
            "event_id": walk.value(self.event_id),
            "event_type": walk.value(self.event_type),
            "timestamp": timestamp,
        }
        for name in field_names(type(self))[2:]:
            out[name] = walk.value(getattr(self, name, None))
        return out

    def to_json(self) -> str:
        """``to_dict`` as one line of JSON, non-ASCII characters as they are. Never raises."""
        return json_line(self.to_dict())


P = ParamSpec("P")
E = TypeVar("E", bound=AuditEvent)

_NOT_FROM_EMITTERS = frozenset(
    (
        "event_id",
        "timestamp_us",
        "session_id",
        "principal_id",
        "principal_type",
        "tenant_id",
        "trace_id",
        "span_id",
    )
)


class Maker(Generic[P, E]):
    """A class attribute: a function that makes events as their class does, in two thirds of the time.

    It takes by name what the ``emit_*`` methods give: the class's own fields, ``turn_id``, ``agent_id``,
    ``severity`` and ``metadata``, with the class's defaults; ``metadata`` must be given. The other fields are
    filled in as a constructor that is not told about them does. Calling a class with names costs a
    dictionary of them, and a default costs more than a constant in the code.

    Args:
        make: The class. The type says less, so that type checkers know the names and types of its fields.
    """

    def __init__(self, make: Callable[P, E]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: None, owner: type) -> Callable[P, E]:
        """The function, which takes this object's place: it is compiled when the first event is made."""
        made: Callable[P, E] = _compile(self._make)
        setattr(owner, self._name, staticmethod(made))
        return made


def _compile(cls: Any) -> Any:
    values: dict[str, Any] = {"cls": cls, "new": object.__new__, "time": time, "uuid7": uuid7}
    names, lines = [], []
    for f in fields(cls):
        if f.name == "event_id":
            lines.append("event.event_id = uuid7(now)")
        elif f.name == "timestamp_us":
            lines.append("event.timestamp_us = now // 1_000")
        elif f.name in _NOT_FROM_EMITTERS:
            values["default_" + f.name] = f.default
            lines.append(f"event.{f.name} = default_{f.name}")
        else:
            lines.append(f"event.{f.name} = {f.name}")
            if f.default is MISSING:
                names.append(f.name)
            else:
                values["default_" + f.name] = f.default
                names.append(f"{f.name}=default_{f.name}")
    source = "\n    ".join(
        (
            f"def make(*, {', '.join(names)}):",
            "now = time.time_ns()",
            "event = new(cls)",
            *lines,
            "return event",
        )
    )
    exec(source, values)  # noqa: S102 - of nothing but the names of a class's fields, as dataclasses does it
    return values["make"]


_names: dict[type[AuditEvent], tuple[str, ...]] = {}


def field_names(cls: type[AuditEvent]) -> tuple[str, ...]:
    """The names of the class's fields, in the order of its definition: ``event_id``, ``timestamp_us``, ..."""
    names = _names.get(cls)
    if names is None:
        names = _names[cls] = tuple(f.name for f in fields(cls))
    return names
