"""A line of JSON to an event, or a reason why it is none.

What a line has to be: one JSON object (RFC 8259, UTF-8) with a text ``event_type``. What is done with it:

=================== ==========================================================================================
in the line         becomes
=================== ==========================================================================================
known event_type    the event of that class; fields that it does not know go to
                    ``metadata["auditwire.unknown_fields"]``
any other           a custom event: the type's name, and the fields as JSON
event_id            kept; none, null or empty: derived from the line's place (:mod:`.identity`); no text:
                    derived too, and its text kept in ``metadata["auditwire.coerced"]``
timestamp           kept: ISO-8601 text (without offset: UTC), Unix seconds with a fraction, or whole Unix
                    microseconds; ``timestamp_us`` in its place too
no timestamp        the time of shipping, which ``metadata["auditwire.ship"]`` says: the event itself does
                    not tell when it was
stream_id, topic,   left out when all five are there: the place of a record that ``tail --json`` printed, not
sequence, offset,   the event's
partition
control record      nothing: it is about another stream
=================== ==========================================================================================

A member that occurs twice makes a line bad: which of the two was meant, nobody knows.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.events import CONTROL_TYPES, AuditEvent, event_from_dict, us_from_time
from auditwire.jsonable import text_of
from auditwire.wire.notes import COERCED, add_notes

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BadLine", "Parsed", "parse"]

NOTE = "auditwire.ship"
"""The key in an event's metadata under which it is told what was added to it."""

_PLACE = ("stream_id", "sequence", "topic", "partition", "offset")
_NOTED = 1_000
_SECONDS_END = 1e11  # the year 5138, as in auditwire.wire.foreign
_PLAUSIBLE_US = range(
    10**14, 10**17
)  # 1973 to 5138: seconds, milliseconds and nanoseconds of our time are not

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d+))?\s*(?:[Zz]|([+-]\d\d):?(\d\d))?", re.ASCII
)


class BadLine(ValueError):  # noqa: N818 - says what the line is; answered by whoever reads on
    """A line that is no event.

    Attributes:
        reason: A short, stable word for counters: ``too_long``, ``not_utf8``, ``not_json``, ``not_object``,
            ``repeated_member``, ``no_event_type``, ``bad_timestamp`` or ``refused``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Parsed(NamedTuple):
    """What a line is.

    Attributes:
        event: The event; None for a control record.
        derived: It has an id that was derived.
        untimed: It has the time of shipping.
    """

    event: AuditEvent | None
    derived: bool = False
    untimed: bool = False


def parse(line: bytes, new_id: Callable[[], str], now_us: Callable[[], int]) -> Parsed:
    """The event of a line.

    Args:
        line: Its bytes.
        new_id: The id for an event that has none.
        now_us: The time for an event that has none, in microseconds since the epoch.

    Raises:
        BadLine: It is no event.
    """
    fields = _fields(line)
    event_type = fields.get("event_type")
    if not isinstance(event_type, str) or not event_type:
        raise BadLine("no_event_type", "no event: event_type is missing, empty or no text")
    if event_type in CONTROL_TYPES:
        return Parsed(None)
    if all(name in fields for name in _PLACE):
        for name in _PLACE:
            del fields[name]
    given = fields.get("event_id")
    derived = not isinstance(given, str) or not given
    if derived:
        fields["event_id"] = new_id()
    at = _time(fields)
    fields["timestamp"] = now_us() if at is None else at
    if fields.get("metadata", ...) is None:
        del fields["metadata"]
    event = event_from_dict(fields)
    if at is None:
        add_notes(event.metadata, NOTE, {"timestamp": "none in the line: the time of shipping"})
    if derived and given not in (None, ""):
        add_notes(event.metadata, COERCED, {"event_id": text_of(given)[:_NOTED]})
    return Parsed(event, derived, at is None)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadLine(
            "repeated_member", f"ambiguous JSON: {twice[:100]!r} occurs more than once in an object"
        )
    return found


_decode: Callable[[str], Any] = json.JSONDecoder(object_pairs_hook=_members).decode


def _fields(line: bytes) -> dict[str, Any]:
    try:
        # not json.loads(bytes), which would guess at UTF-16 and UTF-32
        value = _decode(line.decode())
    except BadLine:
        raise
    except UnicodeDecodeError as error:
        raise BadLine("not_utf8", f"no UTF-8: byte {error.start + 1} of the line is wrong") from error
    except json.JSONDecodeError as error:
        raise BadLine("not_json", f"no JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise BadLine("not_json", "JSON nested too deep to be read") from error
    except ValueError as error:  # a number with more digits than Python reads
        raise BadLine("not_json", "JSON with a number too long to be read") from error
    if not isinstance(value, dict):
        raise BadLine("not_object", "no event: the JSON is no object")
    return value


def _time(fields: dict[str, Any]) -> int | None:
    """Takes the time out of the fields; microseconds since the epoch, None when there is none."""
    us = fields.pop("timestamp_us", None)
    stamp = fields.pop("timestamp", None)
    if stamp is None:
        stamp = us
    if stamp is None:
        return None
    found = _us(stamp)
    if found is None:
        raise BadLine(
            "bad_timestamp",
            f"timestamp {text_of(stamp)[:100]!r} is no ISO-8601 text, no Unix seconds with a fraction and no "
            "whole Unix microseconds",
        )
    return found


def _us(stamp: Any) -> int | None:
    if isinstance(stamp, str):
        return _us_of_text(stamp)
    if isinstance(stamp, float):
        return round(stamp * 1e6) if 0 <= stamp < _SECONDS_END else None
    return stamp if isinstance(stamp, int) and stamp in _PLAUSIBLE_US else None


def _us_of_text(text: str) -> int | None:
    with suppress(ValueError, OverflowError):
        return us_from_time(text)
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    # into the form that every Python reads: 3.10 takes three or six digits behind a point, and no +0200
    day, clock, fraction, hours, minutes = match.groups()
    with suppress(ValueError, OverflowError):
        return us_from_time(f"{day}T{clock}.{(fraction or '0')[:6]:0<6}{hours or '+00'}:{minutes or '00'}")
    return None
