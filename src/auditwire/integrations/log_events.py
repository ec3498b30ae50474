"""What a log record says in its ``audit`` field -> an audit event. Shared by the logging integrations.

=================================== ======================================================================
``audit``                           becomes
=================================== ======================================================================
a mapping with ``event_type``       the event of that type; keys are the fields of ``docs/events.md``,
                                    others go to ``metadata["auditwire.unknown_fields"]``
with an event_type that is unknown  a custom event of that type, what is no common field as its payload
without ``event_type``, or True     a custom event of the logger's name
an event                            itself, unchanged
None or False                       nothing: the record is no audit record
=================================== ======================================================================

Where the mapping does not say otherwise, the time is the record's, and a custom event's severity follows
from the level. ``log.logger``, ``log.level`` and ``log.message`` go to the metadata.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from auditwire.event_base import field_names
from auditwire.events import ALL_TYPES, AuditEvent, CustomEvent, event_from_dict
from auditwire.jsonable import json_line, plain

if TYPE_CHECKING:
    from auditwire.events import EventLike

__all__ = ["event_of", "is_own"]


def is_own(logger_name: object) -> bool:
    """Whether the logger is one of auditwire's: what it says is never made an event, or it would not end."""
    return isinstance(logger_name, str) and f"{logger_name}.".startswith("auditwire.")


def event_of(
    audit: object, *, logger: str, level: int, message: str, timestamp_us: int
) -> AuditEvent | EventLike | None:
    """The event that a log record stands for; None when it is no audit record.

    Args:
        audit: The record's ``audit`` field.
        logger: The logger's name.
        level: The record's level, as ``logging`` numbers them.
        message: The record's text.
        timestamp_us: Its time, microseconds since the Unix epoch.

    Raises:
        TypeError: The field is none of what the module's table has.
        ValueError: ``event_type`` is no text, or ``timestamp`` no time.
    """
    if audit is None or audit is False:
        return None
    if audit is not True and not isinstance(audit, Mapping):
        if isinstance(getattr(audit, "event_type", None), str):
            return cast("EventLike", audit)
        raise TypeError(f"audit is a {type(audit).__name__}; a mapping, an event or True is expected")
    fields: dict[str, Any] = {} if audit is True else dict(audit)
    about = {"log.logger": logger, "log.level": logging.getLevelName(level), "log.message": message}
    given = fields.get("metadata") or {}
    fields["metadata"] = {**about, **(given if isinstance(given, Mapping) else {"metadata": given})}
    fields.setdefault("timestamp", fields.pop("timestamp_us", timestamp_us))
    event_type = fields.get("event_type")
    if event_type not in ALL_TYPES and event_type != AuditEvent.event_type:
        fields.setdefault("severity", _severity(level))
    if event_type is not None:
        return event_from_dict(fields)
    fields.pop("event_type", None)
    # not by event_from_dict: a logger may have the name of an event type
    envelope = {name: fields.pop(name) for name in field_names(AuditEvent) if name in fields}
    event = CustomEvent(**envelope, custom_type=logger)
    event.timestamp = fields.pop("timestamp")
    event.payload = json_line(plain(fields))
    return event


def _severity(level: int) -> str:
    if level >= logging.ERROR:
        return "error"
    return "warning" if level >= logging.WARNING else "info"
